"""Errors that this package raises on purpose.

Every message says what was found, where, and what to do. A command that meets any other exception reports a defect of
ours, with its traceback. Validators of pydantic models raise ValueError, which pydantic collects in a ValidationError;
whoever builds the model from what a person wrote turns that into a UserError.
"""

from __future__ import annotations


class ShiftError(Exception):
    """Base of the errors that this package raises on purpose; commands catch no other."""


class UserError(ShiftError):
    """A person must change the call, the settings, the source or a source file; exit code 2."""


class TransientError(ShiftError):
    """The same work may succeed when it is tried again: a conflict, a lock, a file still being written; exit code 1."""


class PermanentError(ShiftError):
    """The same work fails again until something else is done: a missing partition, a closed gate; exit code 1."""
