"""Keys are parsed for real."""

from __future__ import annotations

import base64
import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from fabric.control.errors import InvalidError
from fabric.control.ssh_keys import generate_ssh_key, generate_x509_key, ssh_fingerprint, x509_fingerprint

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINsxMsdhCUmWMzuqT7gUghqovGFhuNBiHQOk7cTCxtUO"


def line(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def test_the_fingerprint_is_what_ssh_keygen_says() -> None:
    # ssh-keygen -E md5 -lf KEY
    assert ssh_fingerprint(KEY) == "b1:1e:0a:8a:fa:08:77:0f:58:42:e7:f6:f5:3d:be:d2"
    assert ssh_fingerprint(f"{KEY} somebody at home") == ssh_fingerprint(f"  {KEY}\n")


def test_kinds_of_keys() -> None:
    for key in (
        rsa.generate_private_key(65_537, 1_024),
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP521R1()),
    ):
        assert len(ssh_fingerprint(line(key.public_key()))) == 47
    made = generate_ssh_key("me")
    assert ssh_fingerprint(made.public_key) == made.fingerprint
    assert made.public_key.endswith(" me")


def test_hardware_keys_are_known_by_the_type_inside() -> None:
    kind = "sk-ssh-ed25519@openssh.com"
    blob = len(kind).to_bytes(4, "big") + kind.encode() + b"rest"
    assert ssh_fingerprint(f"{kind} {base64.b64encode(blob).decode()}")
    with pytest.raises(InvalidError):
        ssh_fingerprint(f"{kind} {KEY.split()[1]}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-rsa",
        "ssh-rsa ####",
        f"{KEY}\n{KEY}",
        KEY[:-8],
        KEY.replace("ed25519", "rsa", 1),
        "pgp AAAA",
        "\x00 a",
    ],
)
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(InvalidError, match="Keypair data is invalid"):
        ssh_fingerprint(text)


def test_certificates() -> None:
    now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = generate_x509_key("ada", now)
    assert x509_fingerprint(made.public_key) == made.fingerprint
    certificate = x509.load_pem_x509_certificate(made.public_key.encode())
    assert certificate.not_valid_before_utc == now
    with pytest.raises(InvalidError):
        x509_fingerprint(KEY)
