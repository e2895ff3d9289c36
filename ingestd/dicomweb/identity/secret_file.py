"""A secret in a file: the only place a secret may stand.

It is read for each use, so one that was changed or replaced (Kubernetes swaps a symlink, systemd and cert-manager rename) is used
at once. A file that every user of the machine can read or write is refused, at the start and later. Errors name the key and, at the
start, the path; never what stands in the file, nor a value that may be the secret itself instead of its file's path (I7).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ingestd.core.errors import ConfigurationError, IngestdError

LIMIT = 64 * 1024
_OTHERS = stat.S_IROTH | stat.S_IWOTH


class SecretError(IngestdError):
    """The file can't be used now. One line: the key and why."""


class SecretFile:
    """`key` is the setting that names the file, such as auth.client_secret_file. Any thread."""

    def __init__(self, key: str, path: Path) -> None:
        """Raises ConfigurationError where it can't be used now."""
        self.key = key
        self._path = path
        try:
            self._read()
        except _UnusableError as error:
            raise ConfigurationError(f"{told(key, path)}: {error}") from None

    def content(self) -> bytes:
        """What it holds now, at most 64 KiB and not nothing. Raises SecretError."""
        try:
            return self._read()
        except _UnusableError as error:
            raise SecretError(f"{self.key}: {error}") from None

    def text(self) -> str:
        """Its one line without the line end. Raises SecretError."""
        try:
            text = self.content().decode("utf-8").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            text = ""
        if not text or not text.isprintable():
            raise SecretError(f"{self.key}: put the secret alone into it, in one line of UTF-8")
        return text

    def refusal(self, error: SecretError) -> ConfigurationError:
        """What `error` is while the settings are checked: the path is named as well."""
        return ConfigurationError(str(error).replace(self.key, told(self.key, self._path), 1))

    def _read(self) -> bytes:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            try:
                content = _regular(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            text = f"it can't be read ({os.strerror(error.errno or 0)}): put it there, readable for the service's user"
            raise _UnusableError(text) from None
        if not content.strip() or len(content) > LIMIT:
            raise _UnusableError("it is larger than 64 KiB" if len(content) > LIMIT else "it is empty")
        return content


def told(key: str, path: Path) -> str:
    """`key = path`, or the key and a hint where the value looks like what should stand in the file."""
    value = os.fspath(path)
    plainly = os.sep in value and value.isprintable() and "-----" not in value  # PEM has slashes, too
    return f"{key} = {value}" if plainly else f"{key} (give the path of a file, with its folder)"


def _regular(descriptor: int) -> bytes:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise _UnusableError("it is no regular file")
    if found.st_mode & _OTHERS:
        raise _UnusableError(
            "every user of this machine can use it: chmod o-rw it (a Kubernetes volume: defaultMode 0440)"
        )
    return os.read(descriptor, LIMIT + 1)


class _UnusableError(IngestdError):
    """Why, without key and path."""
