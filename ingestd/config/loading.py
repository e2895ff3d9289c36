"""How settings are read: flags over the environment over the file, and one line for each thing that is wrong.

A key that is not in sections.py has no effect anywhere and is refused, and so is a value that can't work. Nothing is opened or
made before all of it is right.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from ingestd.config.mistakes import PREFIX, Keys, nearest_key, nearest_section, single_underscores, variable
from ingestd.config.section import TELLING_SIGNS, Section
from ingestd.config.sections import BatchSection, Folders, Intake, Retry, Settings
from ingestd.config.service import Auth, Service
from ingestd.core.errors import ConfigurationError

DEFAULT_FILE = Path("/etc/ingestd/ingestd.toml")

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
    return _validated(Settings, {"service": {}} | _merged(file, environment, flags), environment)


def load_folders(*, file: Path | None, environment: Mapping[str, str], flags: Raw) -> FolderSettings:
    """The same for a command that talks to no service: it asks for none, and looks at no other section."""
    return _validated(FolderSettings, _only(FolderSettings, _merged(file, environment, flags)), environment)


def load_service(*, file: Path | None, environment: Mapping[str, str], flags: Raw) -> ServiceSettings:
    """The same for a command that touches no folder of the daemon's."""
    merged = _only(ServiceSettings, {"service": {}} | _merged(file, environment, flags))
    return _validated(ServiceSettings, merged, environment)


def unread(environment: Mapping[str, str]) -> Sequence[str]:
    """A line for each variable that has no effect because it has one underscore where two belong."""
    return [
        f"{name} has no effect: between section and key stand two underscores: {right}"
        for name, right in single_underscores(environment, _keys())
    ]


def _only(model: type[Section], merged: Raw) -> Raw:
    return {name: keys for name, keys in merged.items() if name in model.model_fields}


def _merged(file: Path | None, environment: Mapping[str, str], flags: Raw) -> Raw:
    merged: Raw = {}
    chosen = _file(file, environment)
    for layer in (_read(chosen) if chosen else {}, _from_environment(environment), flags):
        for section, keys in layer.items():
            merged.setdefault(section, {}).update(keys)
    return merged


def _validated(model: type[_Model], merged: Raw, environment: Mapping[str, str]) -> _Model:
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        problems = error.errors(include_url=False)
    meant = {key for problem in problems if problem["type"] == "extra_forbidden" for key in _meant(problem)}
    wanted = [p for p in problems if p["type"] != "missing" or _key(p) not in meant]  # a wrong name is said once
    raise ConfigurationError("\n".join(_line(problem, environment) for problem in wanted))


def _keys() -> Keys:
    annotations = {section: field.annotation for section, field in Settings.model_fields.items()}
    return {section: model.model_fields for section, model in annotations.items() if model is not None}


def _file(file: Path | None, environment: Mapping[str, str]) -> Path | None:
    if file is not None:
        return file
    if name := environment.get("INGESTD_CONFIG"):
        return Path(name)
    return None if _is_missing(DEFAULT_FILE) else DEFAULT_FILE


def _is_missing(file: Path) -> bool:
    """Only where the system says so: a folder that this user may not look into can hold the file."""
    try:
        file.stat()
    except OSError as error:
        return isinstance(error, FileNotFoundError | NotADirectoryError)
    return False


def _read(file: Path) -> Raw:
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        hint = "give a file that can be read with --config"
        if isinstance(error, PermissionError):
            hint = f"run this as the service's user, or {hint}"
        raise ConfigurationError(f"{file}: {error.strerror}: {hint}") from None
    except (ValueError, RecursionError) as error:
        # TOMLDecodeError, UnicodeDecodeError, a number of more than 4300 digits
        raise ConfigurationError(f"{file}: not TOML: {error}") from None
    for section, keys in raw.items():
        if not isinstance(keys, dict):
            meant = nearest_key("", section, _keys()) or ("service", section)
            raise ConfigurationError(
                f"{file}: {section} stands outside any section: put it under one, such as [{meant[0]}]"
            )
    return raw


def _from_environment(environment: Mapping[str, str]) -> Raw:
    """INGESTD_<SECTION>__<KEY>. Names without `__` are not ours (kubelet injects INGESTD_SERVICE_HOST)."""
    raw: Raw = {}
    for name, value in sorted(environment.items()):
        if name.startswith(PREFIX) and "__" in name:
            section, _, key = name.removeprefix(PREFIX).lower().partition("__")
            raw.setdefault(section, {})[key] = value
    return raw


def _key(error: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in error["loc"])


def _line(error: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    key = _key(error)
    message = str(error["msg"]).removeprefix("Value error, ")
    match error["type"]:
        case "missing":
            return _missing(key, environment)
        case "extra_forbidden":
            return _unknown(error, environment)
        case "value_error" if "." not in key:  # a check over a whole section names its keys itself
            return message
        case _:
            return f"{_said(key, error['input'])}: {message}"


def _missing(key: str, environment: Mapping[str, str]) -> str:
    section, _, name = key.partition(".")
    if not name:
        text = "folders is not set: give --root DIR (for DIR/inbox, done, failed and state), or a [folders] section"
    else:
        flag = {"folders": " or give --root DIR", "service": " or give --url URL"}.get(section, "")
        text = f"{key} is not set: set it in the configuration file, {variable(section, name)}{flag}"
    begin = variable(section, name)
    wrong = [there for there, right in single_underscores(environment, _keys()) if right.startswith(begin)]
    return f"{text}; {wrong[0]}, which is set, lacks an underscore" if wrong else text


def _unknown(error: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """A key or a section that does not exist, and the nearest one that does, as the environment spells them if it has it."""
    section, _, name = _key(error).partition(".")
    begin = variable(section, name)
    names = (n for n in environment if n.startswith(PREFIX))
    there = next((n for n in names if n.upper() == begin or (not name and n.upper().startswith(begin))), None)
    hint = "`ingestd config docs` lists all of them"
    said = _said(_key(error), error["input"])
    if name and (meant := nearest_key(section, name, _keys())) is not None:
        hint = f"did you mean {'.'.join(meant)}{f' ({variable(*meant)})' if there else ''}?"
        said = _key(error) if _holds_a_secret(".".join(meant), error["input"]) else said
    elif not name and (found := nearest_section(section, _keys())) is not None:
        hint = f"did you mean {variable(found, '...') if there else f'[{found}]'}?"
    where = f" ({there})" if there else ""
    return f"{said}{where}: there is no such {'key' if name else 'section'}: {hint}"


def _meant(error: Mapping[str, Any]) -> Collection[str]:
    """The keys and sections that a wrong name was probably meant to set."""
    section, _, name = _key(error).partition(".")
    if name:
        meant = nearest_key(section, name, _keys())
        return () if meant is None else (".".join(meant),)
    if (found := nearest_section(section, _keys())) is None:
        return ()
    return (found, *(f"{found}.{key}" for key in error["input"]))


def _said(key: str, value: object) -> str:
    """Key and value, but for a value that may be a secret in the wrong place (I7)."""
    return key if _holds_a_secret(key, value) else f"{key} = {value!r}"


def _holds_a_secret(key: str, value: object) -> bool:
    if key in ("service.url", "service.proxy"):
        return any(sign in str(value) for sign in TELLING_SIGNS)
    return isinstance(value, dict) or _SECRETIVE.match(key) is not None
