"""A development fabric whose agent is there and does not answer."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabric.dev.layout import DevLayout, DevNode
from fabric.dev.places import DevRefusedError
from fabric.dev.up import DevFabric
from fabric.runtime import local_socket
from tests.fixtures.dev_fabric import eventually
from tests.fixtures.local_agent import local_agent, local_parts
from tests.fixtures.mesh_view_double import MeshDouble
from tests.unit.cli.test_usage import fabric


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DevNode]:
    """Its process is one that only waits; who answers at its socket is the test's business."""
    monkeypatch.setattr("fabric.dev.up.LOOK_S", 0.05)
    config = tmp_path / "h1.toml"
    program = [sys.executable, "-c", "import sys; sys.stdin.read()", "agent", "--config", str(config)]
    process = subprocess.Popen(program, stdin=subprocess.PIPE)
    made = DevNode(
        name="h1", id="", pid=process.pid, dir=tmp_path / "h1", config=config, log=tmp_path / "h1.log"
    )
    made.dir.mkdir()
    DevLayout(
        directory=tmp_path,
        driver="sim",
        api_urls=("http://127.0.0.1:1",),
        api_host="127.0.0.1",
        api_port=1,
        nodes=(made,),
    ).write()
    try:
        # the system names a process by its new program only a moment after Popen is back
        eventually(made.is_running, what="a process with an agent's arguments")
        yield made
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def stuck(node: DevNode) -> Iterator[None]:
    with contextlib.closing(local_socket.bind(node.dir)):
        yield


def test_status_tells_one_that_does_not_answer_from_one_that_does(node: DevNode, tmp_path: Path) -> None:
    with stuck(node):
        shown = fabric("dev", "status", "--dir", str(tmp_path))
        value = DevFabric(tmp_path, lambda text: None).status()["nodes"][0]
    assert "yes, but does not answer" in shown.stdout
    assert (value["running"], value["answers"]) == (True, False)


def test_status_of_one_that_is_well(node: DevNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fabric.dev.up.LOOK_S", 20.0)
    with local_agent(node.dir, local_parts(MeshDouble())):
        value = DevFabric(tmp_path, lambda text: None).status()["nodes"][0]
    assert (value["running"], value["answers"]) == (True, True)


def test_starting_one_that_is_stuck_is_refused(node: DevNode, tmp_path: Path) -> None:
    with stuck(node), pytest.raises(DevRefusedError, match=rf"pid {node.pid}\) and does not answer"):
        DevFabric(tmp_path, lambda text: None).start("h1")
