"""Public keys of users: parsed for real, fingerprinted, or made. Pure and slow: call it in a thread.

Raises InvalidError with a message for the user, and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import NameOID

from fabric.control.errors import InvalidError

PUBLIC_KEY_CHARS_MAX = 16_384  # Nova's; an RSA key of 16,384 bits has 2,800
RSA_BITS_MIN = 1_024  # OpenSSH's RequiredRSASize
_X509_RSA_BITS = 2_048
_X509_DAYS = 3_650  # Nova's key pair certificates last ten years
_SSH_TYPES = frozenset(
    {
        "ssh-rsa",
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
    }
)
_SK_TYPES = frozenset({"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"})


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    public_key: str
    private_key: str
    fingerprint: str


def ssh_fingerprint(public_key: str) -> str:
    """MD5 in pairs of hex digits, as Nova shows it. The key must be one that sshd accepts."""
    fields = public_key.strip().split(None, 2)
    if len(fields) < 2 or "\n" in public_key.strip() or "\r" in public_key.strip():
        raise InvalidError(
            "Keypair data is invalid: failed to generate fingerprint; one OpenSSH line is needed."
        )
    kind, encoded = fields[0], fields[1]
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidError("Keypair data is invalid: failed to generate fingerprint; not base64.") from error
    if kind in _SK_TYPES:
        _check_blob_kind(blob, kind)
    elif kind in _SSH_TYPES:
        _check_ssh_key(kind, encoded)
    else:
        raise InvalidError(f"Keypair data is invalid: '{kind[:64]}' is no supported key type.")
    return _in_pairs(hashlib.md5(blob, usedforsecurity=False).hexdigest())


def x509_fingerprint(public_key: str) -> str:
    """SHA-1 over the certificate, in pairs, as Nova shows it."""
    try:
        certificate = x509.load_pem_x509_certificate(public_key.encode())
    except ValueError as error:
        raise InvalidError("Keypair data is invalid: failed to generate X509 fingerprint.") from error
    return _in_pairs(certificate.fingerprint(hashes.SHA1()).hex())  # noqa: S303  # a name, not a proof


def generate_ssh_key(comment: str) -> GeneratedKey:
    """Ed25519 in OpenSSH's own format."""
    private = ed25519.Ed25519PrivateKey.generate()
    line = private.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    public_key = f"{line.decode()} {comment}"
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return GeneratedKey(public_key, pem.decode(), ssh_fingerprint(public_key))


def generate_x509_key(user: str, now: datetime.datetime) -> GeneratedKey:
    """A self-signed client certificate, for guests that log users in by certificate."""
    private = rsa.generate_private_key(public_exponent=65_537, key_size=_X509_RSA_BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=_X509_DAYS))
        .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    public_key = certificate.public_bytes(serialization.Encoding.PEM).decode()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return GeneratedKey(public_key, pem.decode(), x509_fingerprint(public_key))


def _check_ssh_key(kind: str, encoded: str) -> None:
    try:
        key = serialization.load_ssh_public_key(f"{kind} {encoded}".encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidError(
            "Keypair data is invalid: failed to generate fingerprint; the key is broken."
        ) from error
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_BITS_MIN:
        raise InvalidError(
            f"Keypair data is invalid: an RSA key of {key.key_size} bits is refused by guests; "
            f"{RSA_BITS_MIN} is the least."
        )


def _check_blob_kind(blob: bytes, kind: str) -> None:
    """Hardware-backed keys: the library cannot read them, so at least the type inside must agree."""
    length = int.from_bytes(blob[:4], "big")
    if blob[4 : 4 + length] != kind.encode():
        raise InvalidError("Keypair data is invalid: failed to generate fingerprint; the key is broken.")


def _in_pairs(digest: str) -> str:
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))
