"""Secrets at rest: AES-256-GCM under one key of the operator, which is never in the database."""

import base64
import binascii
import hashlib
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chainbell.domain.errors import ConfigurationError
from chainbell.storage.database import Connection

KEY_BYTES = 32
KEY_FILE = "secret.key"
_NONCE_BYTES = 12


class SecretBox:
    """Seals and opens small secrets. `key_id` names the key and gives nothing of it away."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            message = f"a secret key has {KEY_BYTES} bytes, not {len(key)}"
            raise ValueError(message)
        self._cipher = AESGCM(key)
        self.key_id = hashlib.sha256(key).hexdigest()[:8]

    def seal(self, secret: bytes, belongs_to: str) -> bytes:
        """Encrypt a secret that can only be opened as that of the same row (``table:id``)."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, belongs_to.encode())

    def open(self, sealed: bytes, belongs_to: str) -> bytes:
        """Decrypt. Raises `ConfigurationError` when this key did not seal it, or not for that row."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], belongs_to.encode())
        except InvalidTag as error:
            message = f"the stored secret {belongs_to} cannot be opened: the key is another one, or the row was changed"
            raise ConfigurationError(message) from error


def parse_secret_key(text: str) -> bytes:
    """Read ``CHAINBELL_SECRET_KEY``: base64 of 32 bytes. Raises `ConfigurationError`, which never shows the value."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        message = (
            "CHAINBELL_SECRET_KEY must be the base64 of 32 random bytes: make one with `openssl rand -base64 32` and keep "
            "it safe, without it stored secrets cannot be read"
        )
        raise ConfigurationError(message) from None
    return key


def load_or_create_key(data_dir: Path) -> bytes:
    """Return the key of an embedded database, ``secret.key`` in its data directory, made at first use.

    Of several processes that start at once all get the same one. Raises `ConfigurationError` when the file cannot be used.
    """
    path = data_dir / KEY_FILE
    try:
        if not path.exists():
            _create(path)
        text = path.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        message = f"the key file {path} cannot be used ({error}): make its directory writable, or restore the file"
        raise ConfigurationError(message) from error
    try:
        return parse_secret_key(text)
    except ConfigurationError:
        message = f"the key file {path} is damaged: restore it from a backup, without it stored secrets cannot be read"
        raise ConfigurationError(message) from None


def _create(path: Path) -> None:
    """Make the file whole or not at all: written beside it first, then linked to its name unless somebody was faster."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def check_secret_key(connection: Connection, box: SecretBox) -> None:
    """Raise `ConfigurationError` when this database's secrets were sealed with another key. Called at start."""
    known = await connection.fetchval("select secret_key_id from installation")
    if known not in {None, box.key_id}:
        raise _another_key(known, box)


async def adopt_secret_key(connection: Connection, box: SecretBox) -> None:
    """Note whose key seals this database's secrets, in the transaction that seals one. Raises as `check_secret_key`."""
    known = await connection.fetchval(
        "update installation set secret_key_id = coalesce(secret_key_id, $1) returning secret_key_id", box.key_id
    )
    if known != box.key_id:
        raise _another_key(known, box)


def _another_key(known: str, box: SecretBox) -> ConfigurationError:
    return ConfigurationError(
        f"this database's secrets were sealed with the key {known}, but the key {box.key_id} was given: set "
        f"CHAINBELL_SECRET_KEY to the former one, or restore {KEY_FILE} in the data directory"
    )
