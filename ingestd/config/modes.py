"""Which keys of [auth] a mode needs, which it may have, and how authority, scope and names are written."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Literal
from urllib.parse import urlsplit

Mode = Literal[
    "none",
    "default",
    "managed-identity",
    "workload-identity",
    "client-secret",
    "client-certificate",
    "azure-cli",
    "token-file",
    "basic",
]

SCOPE = "https://dicom.healthcareapis.azure.com/.default"
NEEDED: Mapping[Mode, tuple[str, ...]] = {
    "none": (),
    "default": (),
    "managed-identity": (),
    "workload-identity": (),
    "client-secret": ("tenant_id", "client_id", "client_secret_file"),
    "client-certificate": ("tenant_id", "client_id", "certificate_file"),
    "azure-cli": (),
    "token-file": ("token_file",),
    "basic": ("username", "password_file"),
}
ALLOWED: Mapping[Mode, tuple[str, ...]] = {
    "none": (),
    "default": ("scope", "authority", "client_id"),
    "managed-identity": ("scope", "client_id"),
    "workload-identity": ("scope", "authority", "tenant_id", "client_id", "token_file"),
    "client-secret": ("scope", "authority"),
    "client-certificate": ("scope", "authority"),
    "azure-cli": ("scope", "tenant_id"),
    "token-file": (),
    "basic": (),
}
FROM_ENTRA = frozenset(mode for mode, keys in ALLOWED.items() if "scope" in keys)
"""The modes whose tokens come from Microsoft Entra ID."""


def complaint(mode: Mode, given: Collection[str]) -> str | None:
    """What is wrong with the keys of [auth] that were set beside `mode`; one line, or None."""
    for key in NEEDED[mode]:
        if key not in given:
            return f"auth.mode = {mode} needs auth.{key}"
    for key in sorted(given):
        if key not in NEEDED[mode] + ALLOWED[mode]:
            modes = [m for m in NEEDED if key in NEEDED[m] + ALLOWED[m]]
            return f"auth.{key} has no effect while auth.mode = {mode}: set auth.mode = {' or '.join(modes)}"
    return None


def checked_authority(value: str) -> str:
    """`https://HOST`, however it was written. Raises ValueError."""
    parts = urlsplit(value if "//" in value else f"https://{value}")
    plain = parts.hostname is not None and parts.path in ("", "/") and not parts.query and not parts.fragment
    if parts.scheme != "https" or not plain or "@" in value or not value.isprintable() or " " in value:
        raise ValueError("give the host of the authority, such as login.microsoftonline.us; it must speak https")
    if parts.port == 0:  # .port raises ValueError for what is no port at all
        raise ValueError("Port out of range 1-65535")
    return f"https://{parts.netloc}"


def checked_scope(value: str) -> str:
    """An application's own token is always asked for with `/.default` (Entra ID v2.0, client credentials). Raises ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9_.:/-]+/\.default", value):
        raise ValueError(f"give the resource's identifier and /.default, such as {SCOPE}")
    return value


def checked_id(value: str) -> str:
    """A GUID mostly; a tenant can also be a domain. Raises ValueError."""
    if not re.fullmatch(r"[A-Za-z0-9.-]+", value):
        raise ValueError("give the id as Microsoft Entra ID shows it: letters, digits, - and .")
    return value


def checked_username(value: str) -> str:
    """RFC 7617 2: a colon would end it. Raises ValueError."""
    if not value or ":" in value or not value.isprintable():
        raise ValueError("give a user name without a colon")
    return value
