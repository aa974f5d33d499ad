"""Errors that this package raises on purpose.

Every message says what was found, where, and what to do. Anything that is not a `ShiftError` is a defect of ours.
"""

from __future__ import annotations


class ShiftError(Exception):
    """Base of all of them; commands catch this one only."""


class UserError(ShiftError):
    """The call, the settings, the source or a delivered file must be changed by a person; exit code 2."""


class TransientError(ShiftError):
    """The same work may succeed when it is tried again: a conflict, a lock, a file still being written."""


class PermanentError(ShiftError):
    """The same work fails again until something before it is done: a missing partition, a closed gate."""
