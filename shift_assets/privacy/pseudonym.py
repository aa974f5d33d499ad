"""Pseudonyms of users: a keyed digest, computed while parsing, before anything is stored or planned by an engine."""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import secrets
import unicodedata
from pathlib import Path

from shift_assets.settings.config_file import ConfigError

KEY_VARIABLE = "SHIFT_PRIVACY_KEY"
KEY_FILE = "pseudonym.key"
KEY_BYTES = 32

_logger = logging.getLogger(__name__)


def pseudonym(key: bytes, raw_id: str) -> str:
    """Return the first 32 hex characters of HMAC-SHA256(`key`, NFC(`raw_id`) as UTF-8).

    >>> pseudonym(b"key", "alice")
    '76fb55e929c06b97b01c35950ee5f72f'
    """
    return hmac.digest(key, unicodedata.normalize("NFC", raw_id).encode(), "sha256").hex()[:32]


def load_key(privacy_folder: Path) -> bytes:
    """Return the secret key of SHIFT_PRIVACY_KEY, else of `privacy_folder`, where it is created if missing.

    The log names the key's path, never the key.

    Raises:
        ConfigError: The key is not hexadecimal, or has fewer than 32 bytes.
    """
    from_environment = os.environ.get(KEY_VARIABLE, "").strip()
    if from_environment:
        return _decoded(from_environment, f"environment variable {KEY_VARIABLE}")
    path = privacy_folder / KEY_FILE
    if not path.exists():
        _create_key(path)
    return _decoded(path.read_text(encoding="ascii", errors="replace").strip(), str(path))


def _decoded(text: str, where: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        raise ConfigError(f"{where}: not hexadecimal; write at least {2 * KEY_BYTES} hex digits") from None
    if len(key) < KEY_BYTES:
        raise ConfigError(f"{where}: {len(key)} bytes; write at least {KEY_BYTES} ({2 * KEY_BYTES} hex digits)")
    return key


def _create_key(path: Path) -> None:
    """Write a new key at `path` unless another process was first.

    The key is written to a temporary file and hard-linked to `path`: linking fails if the name exists, so the first
    key wins, and no reader ever sees a part of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
            _logger.warning("created the pseudonym key %s; keep a copy: no pseudonym can be computed without it", path)
    finally:
        temporary.unlink()
