"""What a user of the new cloud needs: openrc, clouds.yaml, an SSH key."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fabric.store.files import write_private

KEY_NAME = "id_ed25519"


def write_credentials(directory: Path, *, url: str, password: str, region: str = "RegionOne") -> None:
    """DIR/openrc and DIR/clouds.yaml, readable by their owner only. A password may hold any character:
    quoted for the shell, and as JSON, which YAML reads."""
    settings = {
        "OS_AUTH_URL": f"{url}/identity/v3",
        "OS_IDENTITY_API_VERSION": "3",
        "OS_USERNAME": "admin",
        "OS_PASSWORD": password,
        "OS_PROJECT_NAME": "admin",
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": region,
        "OS_INTERFACE": "public",
    }
    lines = ["# Load it with `.` or `source`; it clears what other clouds may have left behind."]
    lines.append("unset OS_CLOUD OS_TOKEN OS_AUTH_TYPE OS_PROJECT_ID OS_USER_ID OS_SYSTEM_SCOPE OS_TRUST_ID")
    lines += [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
    write_private(directory / "openrc", ("\n".join(lines) + "\n").encode())
    write_private(
        directory / "clouds.yaml",
        (
            "clouds:\n"
            "  fabric:\n"
            "    auth:\n"
            f"      auth_url: {json.dumps(f'{url}/identity/v3')}\n"
            "      username: admin\n"
            f"      password: {json.dumps(password)}\n"
            "      project_name: admin\n"
            "      user_domain_name: Default\n"
            "      project_domain_name: Default\n"
            f"    region_name: {json.dumps(region)}\n"
            "    identity_api_version: 3\n"
            "    interface: public\n"
        ).encode(),
    )


def ensure_ssh_key(directory: Path) -> tuple[Path, str]:
    """DIR/id_ed25519 and its public half, made once. Returns the private file and the public text."""
    private_file, public_file = directory / KEY_NAME, directory / f"{KEY_NAME}.pub"
    if not public_file.exists():
        key = Ed25519PrivateKey.generate()
        write_private(
            private_file,
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            ),
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        public_file.write_text(public.decode() + " fabric-dev\n")
    return private_file, public_file.read_text().strip()
