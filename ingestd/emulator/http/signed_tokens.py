"""Access by signature: a key file holds one RSA public key in PEM, and a token must be signed with its other half (RS256), be for
the DICOM service and not have expired. Azure forgives five minutes of a wrong clock, this forgives none.

The file is read anew whenever it changed; while it is missing or holds no key nobody gets in.
"""

from pathlib import Path

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from ingestd.emulator import EmulatorError
from ingestd.emulator.http.access import AUDIENCE, Reread, bearer_of


class SignedTokens:
    """Tokens that the key of a file vouches for, as it is now."""

    def __init__(self, path: Path) -> None:
        """Raises EmulatorError when the file cannot be read or holds no RSA public key."""
        self._key = Reread(path, _rsa_key)
        try:
            key = self._key.now()
        except OSError as error:
            raise EmulatorError(f"key file {path}: {error.strerror}; put an RSA public key in PEM into it") from error
        if key is None:
            raise EmulatorError(f"key file {path}: it holds no RSA public key in PEM (-----BEGIN PUBLIC KEY-----)")

    def admits(self, authorization: str) -> bool:
        """True for 'Bearer ' and a token that is signed, in time and for the DICOM service."""
        try:
            key = self._key.now()
        except OSError:
            return False
        shown = bearer_of(authorization)
        if shown is None or key is None:
            return False
        try:
            jwt.decode(shown, key, algorithms=["RS256"], audience=AUDIENCE, options={"require": ["exp", "aud"]})
        except jwt.InvalidTokenError:
            return False
        return True


def _rsa_key(pem: bytes) -> RSAPublicKey | None:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, RSAPublicKey) else None
