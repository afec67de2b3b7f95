"""A fabric that lives moves into PostgreSQL and back into its own log, with real agents on each."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabric.store.incarnation import read_incarnation
from fabric.store.life_swap import STATE
from tests.fixtures.dev_fabric import Running, eventually, running_fabric
from tests.fixtures.postgres_cluster import postgres_cluster, why_not

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with running_fabric("sim", nodes=1) as running:
        yield running


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres_cluster() as url:
        yield url


def end(fabric: Running, name: str) -> None:
    os.kill(fabric.node(name).pid, signal.SIGTERM)
    eventually(lambda: not fabric.node(name).is_running(), what=f"the end of {name}")


def configure(fabric: Running, name: str, url: str) -> None:
    path = fabric.node(name).config
    text = re.sub(r'(?m)^(?:# )?url = ".*"$', f'url = "{url}"', path.read_text())
    assert f'url = "{url}"' in text
    path.write_text(text)


def exported(fabric: Running, file: Path, *options: str) -> dict[str, object]:
    done = fabric.cli("state", "export", str(file), "--node", "h1", "--json", *options)
    assert "holds secrets" in done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    found: dict[str, object] = json.loads(done.stdout)
    return found


def goes_on(fabric: Running, known: str, fresh: str) -> str:
    """What is there is known, its host takes the word of these rows, and something new can be made."""
    assert fabric.wait_status(known, "ACTIVE")["status"] == "ACTIVE"
    fabric.act(known, {"os-stop": None})
    fabric.wait_status(known, "SHUTOFF")
    server = fabric.create(fresh)
    fabric.wait_status(server, "ACTIVE")
    return server


def test_into_a_database_and_back(fabric: Running, database: str, tmp_path: Path) -> None:
    first = fabric.create("first")
    fabric.wait_status(first, "ACTIVE")
    running = exported(fabric, tmp_path / "early")
    refused = fabric.cli("state", "import", str(tmp_path / "early"), "--node", "h1", check=False)
    assert refused.returncode == 1, "its agent runs"
    assert "in use" in refused.stderr
    end(fabric, "h1")
    stopped = exported(fabric, tmp_path / "rows")
    assert (running["running"], stopped["running"]) == (True, False)
    assert (running["engine"], stopped["engine"]) == ("sqlite", "sqlite")

    directory = fabric.node("h1").dir
    refused = fabric.cli("state", "import", str(tmp_path / "rows"), "--node", "h1", check=False)
    assert refused.returncode == 1
    assert "there are rows on this node already" in refused.stderr
    done = fabric.cli("state", "import", str(tmp_path / "rows"), "--to", database, "--node", "h1")
    assert "next: set `url = " in done.stderr
    assert not (directory / STATE).exists(), "an agent that does not know of the database founds nothing"
    configure(fabric, "h1", database)
    fabric.cli("dev", "start", "h1")
    second = goes_on(fabric, first, "second")
    lived = exported(fabric, tmp_path / "there")
    assert (lived["running"], lived["engine"]) == (True, "postgresql")
    refused = fabric.cli("backup", str(tmp_path / "b"), "--node", "h1", check=False)
    assert refused.returncode == 1
    assert "fabric state export" in refused.stderr

    end(fabric, "h1")
    last = exported(fabric, tmp_path / "back")
    assert lived["fabric"] == last["fabric"] == stopped["fabric"]
    configure(fabric, "h1", "")
    fabric.cli("state", "import", str(tmp_path / "back"), "--node", "h1")
    fabric.cli("dev", "start", "h1")
    assert (directory / STATE / "log").is_dir()
    assert fabric.wait_status(first, "SHUTOFF")["name"] == "first"
    goes_on(fabric, second, "third")
    lives = [stopped["incarnation"], last["incarnation"], read_incarnation(directory / STATE)]
    assert lives == sorted(set(lives)), "each is a later life"
