"""The data folder: database, journal, root key, the file by which clients beside it find the gateway, certificates.

Whoever can read it is the operator: the folder has mode 0700, every file in it 0600.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from app.access.keyring import new_key
from app.access.operator import new_operator_token


class DataFolder:
    """A folder made on first use; `path` may be relative."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def database(self) -> Path:
        return self.path / "fanway.db"

    @property
    def journal(self) -> Path:
        return self.path / "journal.db"

    @property
    def root_key_file(self) -> Path:
        return self.path / "root.key"

    @property
    def operator_token_file(self) -> Path:
        return self.path / "operator.token"

    @property
    def connection_file(self) -> Path:
        return self.path / "connection.json"

    @property
    def tls(self) -> Path:
        return self.path / "tls"

    def create(self) -> None:
        """Make the folder when it is missing. Raises OSError."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def root_key(self) -> str:
        """The root key: read, or generated and written on the first start. Raises OSError."""
        try:
            write_secret(self.root_key_file, new_key().encode() + b"\n", replace=False)
        except FileExistsError:
            pass
        return self.root_key_file.read_text("utf-8").strip()

    def replace_root_key(self, key: str) -> None:
        """Write another root key, after it was renewed in the registry."""
        write_secret(self.root_key_file, key.encode() + b"\n")

    def operator_token(self, chosen: str | None = None) -> str:
        """The operators' token: the one that was chosen, else read, else generated. The file has it. Raises OSError."""
        if chosen is not None:
            write_secret(self.operator_token_file, chosen.encode() + b"\n")
            return chosen
        try:
            write_secret(self.operator_token_file, new_operator_token().encode() + b"\n", replace=False)
        except FileExistsError:
            pass
        return self.operator_token_file.read_text("utf-8").strip()

    def write_connection(self, connection: Mapping[str, object]) -> None:
        """Tell the clients that run in this folder where the gateway is and which key opens it."""
        write_secret(self.connection_file, json.dumps(connection, indent=2).encode() + b"\n")


def write_secret(path: Path, content: bytes, *, replace: bool = True) -> None:
    """Write a file only its owner can read, whole or not at all.

    Raises `FileExistsError` when it exists and `replace` is false.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
