"""A private CA, as hospitals have one: made for a test, with certificates that are right or wrong in one way."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Paths of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """`Authority(folder).issue("127.0.0.1")`; what it trusts is `ca`."""

    def __init__(self, folder: Path, name: str = "Test CA") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        self._certificate = (
            x509.CertificateBuilder(
                self._name, self._name, self._key.public_key(), x509.random_serial_number(), now - 30 * DAY, now + DAY
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        self._issued = 0

    def issue(self, host: str = "127.0.0.1", *, lives: datetime.timedelta = DAY, passphrase: str | None = None) -> Pair:
        """A certificate for server and client; one that `lives` less than nothing has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        try:
            name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            name = x509.DNSName(host)
        made = (
            x509.CertificateBuilder(
                self._name,
                x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]),
                key.public_key(),
                x509.random_serial_number(),
                now - 20 * DAY,
                now + lives,
            )
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        self._issued += 1
        pair = Pair(certificate=self._folder / f"{self._issued}.crt.pem", key=self._folder / f"{self._issued}.key.pem")
        pair.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            encryption = serialization.BestAvailableEncryption(passphrase.encode())
        pair.key.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        pair.key.chmod(0o600)
        return pair

    def server(self, pair: Pair | None = None, *, wants_client: bool = False) -> ssl.SSLContext:
        """A server's context with this pair, or one for 127.0.0.1."""
        pair = pair or self.issue()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        if wants_client:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def put(source: Path, target: Path) -> None:
    """Replace `target` at once, as a renewal does."""
    new = target.with_name(target.name + ".new")
    new.write_bytes(source.read_bytes())
    new.chmod(0o600)
    os.replace(new, target)
