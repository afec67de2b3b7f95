"""Which agent a command speaks to, and what it says when there is none."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import click
import pytest

from fabric.cli.target import state_dir_of
from fabric.dev.layout import DevLayout, DevNode, LayoutError
from fabric.runtime import local_socket
from fabric.runtime.local_socket import LocalClient
from tests.unit.cli.test_usage import fabric, refused


def layout(directory: Path, **pids: int) -> DevLayout:
    nodes = tuple(
        DevNode(
            name=name,
            id="",
            pid=pid,
            dir=directory / name,
            config=directory / f"{name}.toml",
            log=directory / f"{name}.log",
        )
        for name, pid in pids.items()
    )
    made = DevLayout(
        directory=directory,
        driver="sim",
        api_urls=("http://127.0.0.1:1",),
        api_host="127.0.0.1",
        api_port=1,
        nodes=nodes,
        state_url="",
    )
    made.write()
    return made


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FABRIC_CONFIG", str(tmp_path / "no.toml"))


def test_a_node_is_found_by_name(tmp_path: Path) -> None:
    layout(tmp_path, h1=0, h2=0)
    assert state_dir_of(str(tmp_path), "h2") == tmp_path / "h2"
    assert state_dir_of(str(tmp_path), None) == tmp_path / "h1"  # nobody runs: the first says so
    with pytest.raises(click.ClickException, match=r"no node 'h9' in .*; there are: h1, h2"):
        state_dir_of(str(tmp_path), "h9")


def test_the_default_directory_is_used_where_it_exists(tmp_path: Path) -> None:
    made = tmp_path / ".fabric" / "dev"
    made.mkdir(parents=True)
    layout(made, h1=0)
    assert state_dir_of(None, None) == made / "h1"
    assert state_dir_of(None, "h1") == made / "h1"


def test_a_real_machine_has_one_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fabric.toml"
    path.write_text(f'[node]\nstate_dir = "{tmp_path}/state"\n')
    monkeypatch.setenv("FABRIC_CONFIG", str(path))
    assert state_dir_of(None, None) == tmp_path / "state"
    with pytest.raises(click.UsageError, match="--node needs --dir"):
        state_dir_of(None, "h1")


@pytest.mark.parametrize("directory", [None, "empty", "missing"])
def test_nothing_here_says_what_would_help(tmp_path: Path, directory: str | None) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(click.ClickException, match="fabric dev up"):
        state_dir_of(None if directory is None else str(tmp_path / directory), None)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"nodes": 5}'])
def test_a_damaged_layout_is_an_error_not_a_traceback(tmp_path: Path, content: str) -> None:
    (tmp_path / "fabric.json").write_text(content)
    with pytest.raises((LayoutError, click.ClickException)):
        state_dir_of(str(tmp_path), None)


def test_another_process_with_the_same_pid_is_not_taken_for_the_agent(tmp_path: Path) -> None:
    layout(tmp_path, h1=os.getpid(), h2=0)
    assert not layout(tmp_path, h1=os.getpid()).nodes[0].is_running()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fabric.cli.target.LocalClient", functools.partial(LocalClient, read_timeout_s=0.02))


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("command", ["members", "events", "metrics"])
def test_a_stuck_agent_of_a_development_fabric(tmp_path: Path, command: str) -> None:
    made = layout(tmp_path, h1=0, h2=0)
    made.nodes[1].dir.mkdir()
    listener = local_socket.bind(made.nodes[1].dir)
    done = fabric(command, "--node", "h2", "--dir", str(tmp_path))
    listener.close()
    pid = os.getpid()
    refused(done, 1, f"the agent (pid {pid}) does not answer: it is stopped or stuck", f"`kill -CONT {pid}`")
    again = f"`fabric dev kill h2 --dir {tmp_path}` and `fabric dev start h2 --dir {tmp_path}`"
    assert again in done.stderr


@pytest.mark.usefixtures("hasty")
def test_a_stuck_agent_of_a_real_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fabric.toml"
    path.write_text(f'[node]\nstate_dir = "{tmp_path}"\n')
    monkeypatch.setenv("FABRIC_CONFIG", str(path))
    listener = local_socket.bind(tmp_path)
    done = fabric("members", env={"FABRIC_CONFIG": str(path)}, cwd=tmp_path)
    listener.close()
    refused(done, 1, f"`kill -CONT {os.getpid()}`", "`systemctl restart fabric-agent`")
