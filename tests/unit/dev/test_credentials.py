"""openrc and clouds.yaml: private, and right for any password."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest

from fabric.dev.credentials import write_credentials

PASSWORDS = ["plain", "two words", "a'b\"c", "$(touch pwned)`id`", "#x: y", "ü€", "back\\slash", "!a&b|c;d"]


@pytest.mark.parametrize("password", PASSWORDS)
def test_any_password_comes_out_as_it_went_in(tmp_path: Path, password: str) -> None:
    write_credentials(tmp_path, url="http://[::1]:8774", password=password, region="R 1")
    shown = subprocess.run(
        ["/bin/sh", "-c", '. ./openrc; printf "%s|%s|%s" "$OS_PASSWORD" "$OS_REGION_NAME" "$OS_AUTH_URL"'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == f"{password}|R 1|http://[::1]:8774/identity/v3"
    assert shown.stderr == ""
    assert not (tmp_path / "pwned").exists()
    lines = (tmp_path / "clouds.yaml").read_text().splitlines()
    (line,) = [line for line in lines if "password:" in line]
    assert json.loads(line.partition(":")[2]) == password
    for name in ("openrc", "clouds.yaml"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
