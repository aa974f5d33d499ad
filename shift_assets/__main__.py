"""`python -m shift_assets`."""

from shift_assets.cli.app import main

if __name__ == "__main__":
    main()
