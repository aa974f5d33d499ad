"""The list of erased users, whose rows cleaning must not accept again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

ERASED_FILE = "erased.txt"

ERASED_REASON, ERASED_DETAIL = "missing_user", "the user was erased on request"
NOTHING_SHA256 = hashlib.sha256().hexdigest()


def erased_pseudonyms(privacy_folder: Path) -> frozenset[str]:
    """Return the pseudonyms of all erased users."""
    path = privacy_folder / ERASED_FILE
    return frozenset(path.read_text(encoding="ascii").split()) if path.exists() else frozenset()


def add_erased(privacy_folder: Path, pseudonyms: Collection[str]) -> None:
    """Add users to the list, which is replaced as a whole and durably."""
    known = erased_pseudonyms(privacy_folder)
    if known.issuperset(pseudonyms):
        return
    privacy_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = privacy_folder / f".{ERASED_FILE}.{os.getpid()}"
    with temporary.open("w", encoding="ascii") as file:
        temporary.chmod(0o600)
        file.writelines(f"{pseudonym}\n" for pseudonym in sorted(known.union(pseudonyms)))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(privacy_folder / ERASED_FILE)
