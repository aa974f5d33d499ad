"""One installation, and what commands and assets do with it: open, export, erase, examine, report."""
