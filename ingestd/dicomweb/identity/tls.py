"""Whom we trust and who we are in TLS: contexts made from files, and made anew when the files change.

TLS 1.2 is the least. Trust is `service.ca_bundle` where it is set, and nothing else then; otherwise the system's own store, where a
hospital's private CA already is; otherwise certifi's. The environment has no say: SSL_CERT_FILE and SSL_CERT_DIR are read only by
OpenSSL's "default locations" and SSLKEYLOGFILE only by ssl.create_default_context, and neither is used here (F59).

Files are looked at when a connection is made, so a certificate that was renewed (cert-manager swaps a symlink) is used from the
next connection on; wire/connection.py lets idle ones that were made with another go, and requests under way keep theirs. What
can't be used now does not replace what could: the context before stays, and `problem` says why.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
import threading
from pathlib import Path

import certifi

from ingestd.core.errors import ConfigurationError, IngestdError
from ingestd.core.ports import Clock
from ingestd.dicomweb.identity.secret_file import told

# Where systems keep all their CAs in one file, for a Python whose OpenSSL was built to look elsewhere.
SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",
)
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")  # how OpenSSL finds a CA in a folder
_REFUSES_US = re.compile(r"ALERT_(.*CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE|DECRYPT_ERROR)")
_OTHERS = stat.S_IROTH | stat.S_IWOTH
EXPIRED = "it has expired: put a new one in its place"
_CERTIFICATE = b"CERTIFICATE-----"

Signature = tuple[tuple[int, ...] | None, ...]


class _UnusableError(IngestdError):
    """These files make no context. Names the key of `service`, and no path: at the start that is added, in a log it is not."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(f"service.{key}: {text}")
        self.key = key
        self.text = text


class Certificates:
    """The TLS context for the next connection. Any thread."""

    def __init__(
        self,
        *,
        clock: Clock,
        ca_bundle: Path | None = None,
        client_cert: Path | None = None,
        client_key: Path | None = None,
    ) -> None:
        """`ca_bundle` is a file or a folder; without `client_key` the key stands in `client_cert`. Raises ConfigurationError."""
        self._clock = clock
        self._ca_bundle = ca_bundle
        self._client_cert = client_cert
        self._client_key = client_key or client_cert
        self._lock = threading.Lock()
        self._refused: str | None = None
        self._signature = self._look()
        try:
            self._context, self._expires = self._make()
        except _UnusableError as error:
            path = {"ca_bundle": ca_bundle, "client_cert": client_cert, "client_key": client_key}[error.key]
            key = f"service.{error.key}"
            raise ConfigurationError(f"{told(key, path) if path else key}: {error.text}") from None

    def context(self) -> ssl.SSLContext:
        """The context of the files as they are, or the last one that could be made. Costs a stat a file."""
        with self._lock:
            signature = self._look()
            if signature != self._signature:
                try:
                    self._context, self._expires = self._make()
                except _UnusableError as error:
                    self._refused = str(error)
                else:
                    self._refused = None
                # Files that changed while they were read may be half of each: they are read again next time.
                self._signature = signature if self._look() == signature else ()
            return self._context

    @property
    def problem(self) -> str | None:
        """What will stop requests sooner or later though they go on now, in one line for the log; None when all is well."""
        self.context()
        if self._refused is not None:
            return f"{self._refused}; what was read before stays in use"
        if self._expires is not None and self._expires <= self._clock.wall():
            return f"service.client_cert: {EXPIRED}"
        return None

    def _look(self) -> Signature:
        return tuple(_state(path) for path in (self._ca_bundle, self._client_cert, self._client_key))

    def _make(self) -> tuple[ssl.SSLContext, float | None]:
        """A context, and when its client certificate expires (Unix time)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # wants a certificate that names the host
        context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a bundle may hold the issuer and not the root above it
        context.set_alpn_protocols(["http/1.1"])
        if self._ca_bundle is None:
            _trust_the_system(context)
        else:
            _trust(context, self._ca_bundle)
        if self._client_cert is None or self._client_key is None:
            return context, None
        return context, self._present(context, self._client_cert, self._client_key)

    def _present(self, context: ssl.SSLContext, certificate: Path, key: Path) -> float | None:
        """Take the pair into the context; when it expires."""
        key_name = "client_cert" if key == certificate else "client_key"
        content = _read(certificate, "client_cert")
        try:
            if key.stat().st_mode & _OTHERS:
                raise _UnusableError(
                    key_name, "every user of this machine can use it: chmod o-rw it (Kubernetes: defaultMode 0440)"
                )
            context.load_cert_chain(certificate, key, password=lambda: _no_passphrase(key_name))
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise _UnusableError(key_name, "the key is not that of service.client_cert") from None
            raise _UnusableError("client_cert", f"no certificate with its key in PEM ({_reason(error)})") from None
        except OSError as error:
            raise _unreadable(key_name, error) from None
        expires = _expiry(content)
        if expires is not None and expires <= self._clock.wall():
            raise _UnusableError("client_cert", EXPIRED)
        return expires


def _no_passphrase(name: str) -> str:
    raise _UnusableError(name, "the key is encrypted, and there is nobody to ask for the passphrase: decrypt it")


def _state(path: Path | None) -> tuple[int, ...] | None:
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return ()
    return found and (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(name, error) from None


def _unreadable(name: str, error: OSError) -> _UnusableError:
    return _UnusableError(name, f"it can't be read ({os.strerror(error.errno or 0)})")


def _trust(context: ssl.SSLContext, bundle: Path) -> None:
    """The CAs of a file, or of all files in a folder: hospitals hand out either, and few have run c_rehash over it."""
    try:
        files = sorted(f for f in bundle.iterdir() if f.is_file()) if bundle.is_dir() else [bundle]
        holding = [file for file in files if _CERTIFICATE in _read(file, "ca_bundle")]
        if not holding:
            raise _UnusableError("ca_bundle", "there is no certificate in PEM in it")
        for file in holding:
            context.load_verify_locations(cafile=file)
    except ssl.SSLError as error:
        raise _UnusableError("ca_bundle", f"a certificate in it is damaged ({_reason(error)})") from None
    except OSError as error:
        raise _unreadable("ca_bundle", error) from None


def _trust_the_system(context: ssl.SSLContext) -> None:
    """What this Python's OpenSSL was built to trust, where that is there; else a bundle in a usual place; else certifi's."""
    paths = ssl.get_default_verify_paths()
    folder = paths.openssl_capath
    found = _takes(context, paths.openssl_cafile)
    if _hashed(folder):
        context.load_verify_locations(capath=folder)
        found = True
    if not found and not any(_takes(context, file) for file in SYSTEM_BUNDLES):
        context.load_verify_locations(cafile=certifi.where())


def _hashed(folder: str) -> bool:
    try:
        return any(_HASHED.fullmatch(name) for name in os.listdir(folder))
    except OSError:
        return False


def _takes(context: ssl.SSLContext, file: str) -> bool:
    try:
        context.load_verify_locations(cafile=file)
    except OSError:  # among them SSLError: it is there and holds nothing
        return False
    return True


def _expiry(content: bytes) -> float | None:
    """When the first certificate expires; None where only OpenSSL can read it."""
    from cryptography import x509  # noqa: PLC0415 - heavy; only client certificates need it

    try:
        return x509.load_pem_x509_certificates(content)[0].not_valid_after_utc.timestamp()
    except ValueError:
        return None


def words(error: Exception) -> str:
    """Why there is no TLS, for the log: OpenSSL's own words and our own settings, nothing that the peer wrote."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: the certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {_reason(error)}"
    return "TLS: the connection ended in the handshake" if isinstance(error, OSError) else "TLS: no such host name"


def refuses_us(error: Exception) -> bool:
    """Whether the peer ended TLS over our certificate, or for want of one. In TLS 1.3 it says so after our handshake."""
    return isinstance(error, ssl.SSLError) and _REFUSES_US.search(error.reason or "") is not None


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "unreadable").lower().replace("_", " ")
