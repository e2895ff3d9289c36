"""How settings are read: flags over the environment over the file, and one line for each thing that is wrong.

A key that is not in sections.py has no effect anywhere and is refused, and so is a value that can't work. Nothing is opened or
made before all of it is right.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from ingestd.config.section import TELLING_SIGNS, Section
from ingestd.config.sections import BatchSection, Folders, Intake, Retry, Settings
from ingestd.config.service import Auth, Service
from ingestd.core.errors import ConfigurationError

DEFAULT_FILE = Path("/etc/ingestd/ingestd.toml")
ENVIRONMENT_PREFIX = "INGESTD_"

_SECRETIVE = re.compile(
    r"(?!auth\.mode$)(?!.*_file$)(auth\.|.*(secret|passw|passphrase|pwd|token|credential|api_?key|authorization|_key))"
)

Raw = dict[str, dict[str, Any]]


class FolderSettings(Section):
    """What the commands need that only move files: the folders, and which names the inbox takes."""

    folders: Folders
    intake: Intake = Intake()


class ServiceSettings(Section):
    """What the commands need that only talk to the service: where it is, who we are, how much at once, how patiently."""

    service: Service
    auth: Auth = Auth()
    batch: BatchSection = BatchSection()
    retry: Retry = Retry()


_Model = TypeVar("_Model", bound=Section)


def load(*, file: Path | None, environment: Mapping[str, str], flags: Raw) -> Settings:
    """Settings from flags over environment over file. Raises ConfigurationError, one line a problem."""
    return _validated(Settings, {"service": {}} | _merged(file, environment, flags))


def load_folders(*, file: Path | None, environment: Mapping[str, str], flags: Raw) -> FolderSettings:
    """The same for a command that talks to no service: it asks for none, and looks at no other section."""
    return _validated(FolderSettings, _only(FolderSettings, _merged(file, environment, flags)))


def load_service(*, file: Path | None, environment: Mapping[str, str], flags: Raw) -> ServiceSettings:
    """The same for a command that touches no folder of the daemon's."""
    return _validated(ServiceSettings, _only(ServiceSettings, {"service": {}} | _merged(file, environment, flags)))


def _only(model: type[Section], merged: Raw) -> Raw:
    return {name: keys for name, keys in merged.items() if name in model.model_fields}


def _merged(file: Path | None, environment: Mapping[str, str], flags: Raw) -> Raw:
    merged: Raw = {}
    chosen = _file(file, environment)
    for layer in (_read(chosen) if chosen else {}, _from_environment(environment), flags):
        for section, keys in layer.items():
            merged.setdefault(section, {}).update(keys)
    return merged


def _validated(model: type[_Model], merged: Raw) -> _Model:
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        raise ConfigurationError("\n".join(_line(e) for e in error.errors(include_url=False))) from None


def _file(file: Path | None, environment: Mapping[str, str]) -> Path | None:
    if file is not None:
        return file
    if name := environment.get("INGESTD_CONFIG"):
        return Path(name)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def _read(file: Path) -> Raw:
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{file}: {error.strerror}: give a file that can be read with --config") from None
    except (ValueError, RecursionError) as error:
        # TOMLDecodeError, UnicodeDecodeError, a number of more than 4300 digits
        raise ConfigurationError(f"{file}: not TOML: {error}") from None
    for section, keys in raw.items():
        if not isinstance(keys, dict):
            raise ConfigurationError(
                f"{file}: {section} stands outside any section: put it under one, such as [service]"
            )
    return raw


def _from_environment(environment: Mapping[str, str]) -> Raw:
    """INGESTD_<SECTION>__<KEY>. Names without `__` are not ours (kubelet injects INGESTD_SERVICE_HOST)."""
    raw: Raw = {}
    for name, value in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
            raw.setdefault(section, {})[key] = value
    return raw


def _line(error: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    match error["type"]:
        case "missing":
            env = ENVIRONMENT_PREFIX + key.upper().replace(".", "__")
            flag = {"folders": " or give --root DIR", "service": " or give --url URL"}.get(key.partition(".")[0], "")
            if key == "folders":
                return "folders is not set: give --root DIR (for DIR/inbox, done, failed and state), or a [folders] section"
            return f"{key} is not set: set it in the configuration file, {env}{flag}"
        case "extra_forbidden":
            kind = "key" if "." in key else "section"
            return f"{_said(key, error['input'])}: there is no such {kind}: `ingestd config docs` lists all of them"
        case "value_error" if "." not in key:  # a check over a whole section names its keys itself
            return message
        case _:
            return f"{_said(key, error['input'])}: {message}"


def _said(key: str, value: object) -> str:
    """Key and value, but for a value that may be a secret in the wrong place (I7)."""
    return key if _holds_a_secret(key, value) else f"{key} = {value!r}"


def _holds_a_secret(key: str, value: object) -> bool:
    if key in ("service.url", "service.proxy"):
        return any(sign in str(value) for sign in TELLING_SIGNS)
    return isinstance(value, dict) or _SECRETIVE.match(key) is not None
