"""The command line without any agent: help, completion, and what a mistaken user is told."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from fabric import __version__
from fabric.cli.main import main
from fabric.cli.output import without_password
from proto.ids import TokenId
from proto.join import JoinTokenText, token_text

GOOD_TOKEN = token_text(
    JoinTokenText(
        addresses=("tcp://127.0.0.1:1",),
        door_public=bytes(32),
        root_fingerprint=bytes(32),
        token_id=TokenId("t"),
        secret=bytes(32),
        expires_ms=1 << 42,
    )
)
FABRIC = (sys.executable, "-m", "fabric.cli.main")


def fabric(
    *argv: str, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The program's `main` in this process: what it prints and how it exits."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FABRIC_")}
    raw, talk = io.BytesIO(), io.StringIO()
    out = io.TextIOWrapper(raw, "utf-8", write_through=True)
    with (
        mock.patch.dict(os.environ, clean | (env or {}), clear=True),
        mock.patch.object(sys, "argv", ["fabric", *argv]),
        mock.patch.object(sys, "stdin", io.StringIO()),
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(talk),
    ):
        code: int | str | None = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
    return subprocess.CompletedProcess(argv, int(code or 0), raw.getvalue().decode(), talk.getvalue())


def fabric_process(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*FABRIC, *argv], capture_output=True, text=True, timeout=60)


def refused(done: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for text in said:
        assert text in done.stderr


def test_version_is_quick_and_the_same_both_ways() -> None:
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "fabric.cli.main", "version"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert loaded.stdout.split() == ["fabric", __version__] == fabric("--version").stdout.split()
    modules = {line.rpartition("|")[2].strip() for line in loaded.stderr.splitlines()}
    assert "click" in modules
    assert modules.isdisjoint({"asyncio", "aiohttp", "sqlalchemy", "zmq", "cryptography", "fabric.agent"})


def test_an_agent_begins_with_what_a_host_needs_and_no_more() -> None:
    """The rest of it waits until the host can be given servers (`bench/join.py`)."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import fabric.cli.agent, fabric.agent, drivers.sim"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {"zmq", "fabric.agent", "fabric.compute.host_side"} <= modules
    late = {"aiohttp", "sqlalchemy", "numpy", "pycdlib", "yaml", "fabric.agent_control", "fabric.control"}
    assert modules.isdisjoint(late)


def test_help_is_there_at_every_level() -> None:
    for argv in (["--help"], ["-h"], ["dev", "--help"], ["dev", "up", "-h"]):
        done = fabric(*argv)
        assert done.returncode == 0
        assert done.stdout.startswith("Usage: fabric")


@pytest.mark.parametrize("words", [(), ("members",), ("node",), ("node", "drain")])
def test_help_is_the_same_by_both_names(words: tuple[str, ...]) -> None:
    asked, told = fabric("help", *words), fabric(*words, "--help")
    assert (asked.returncode, asked.stderr) == (0, "")
    assert asked.stdout == told.stdout


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "Usage: fabric"),
        (("bogus",), "No such command 'bogus'"),
        (("membrs",), "No such command 'membrs'. Did you mean 'members'?"),
        (("node", "drian", "h1"), "No such command 'drian'. Did you mean 'drain'?"),
        (("help", "membrs"), "Did you mean 'members'?"),
        (("help", "members", "x"), "fabric members has no commands of its own"),
        (("ping", "-c", "x", "h1"), "'x' is not a valid whole number"),
        (("ping", "-W", "x", "h1"), "'x' is not a valid number of seconds"),
        (("members", "--bogus"), "No such option '--bogus'"),
        (("members", "--node", "h1"), "--node needs --dir"),
        (("dev", "up", "--nodes", "0"), "0 is not in the range"),
        (("dev", "up", "--driver", "xen"), "'xen' is not one of"),
        (("dev", "up", "--api-port", "70000"), "70000 is not in the range"),
        (("dev", "up", "--state-url", "mysql://x"), "--state-url"),
        (("dev", "kill", "h1", "--signal", "FOO"), "'FOO' is no signal"),
        (("dev", "kill", "h1", "--signal", "999"), "'999' is no signal"),
        (("dev", "exec", "h1"), "Missing argument 'COMMAND...'"),
        (("token", "create", "--ttl", "soon"), "'soon' is not a duration"),
        (("token", "create", "--ttl", "0"), "out of range"),
        (("token", "create", "--ttl", "31d"), "out of range"),
        (("token", "create", "--uses", "0"), "0 is not in the range"),
        (("join", "garbage"), "a join token starts with fabric1."),
        (("join", "fabric1.AAAA"), "damaged, or an earlier version made it; nothing was done"),
        (("join", "fabric1." + "A" * 5000), "a join token starts with fabric1."),
        (("join", "-"), "a join token starts with fabric1."),
        (("token", "revoke", ""), "TOKEN_ID is empty"),
        (("completion", "tcsh"), "'tcsh' is not one of"),
        (("why",), "Missing argument 'SERVER'"),
        (("why-not", "web"), "Missing argument 'HOST'"),
        (("explain",), "Missing option '--flavor'"),
        (("explain", "--flavor", "1", "--count", "0"), "0 is not in the range"),
        (("rebalance", "--plan", "--max-moves", "101"), "101 is not in the range"),
        (("capacity", "--by", "rack"), "'rack' is not one of"),
    ],
)  # fmt: skip
def test_misuse_is_exit_2(argv: tuple[str, ...], said: str, tmp_path: Path) -> None:
    refused(fabric(*argv, cwd=tmp_path), 2, said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("members",), "`fabric dev up` starts one"),
        (("members", "--dir", "nowhere"), "`fabric dev up --dir nowhere` starts one"),
        (("dev", "status", "--dir", "nowhere"), "no fabric in"),
        (("dev", "kill", "h1", "--dir", "nowhere"), "no fabric in"),
        (("dev", "start", "h1", "--dir", "nowhere"), "no fabric in"),
        (("dev", "exec", "h1", "--dir", "nowhere", "--", "true"), "no fabric in"),
        (("agent", "--config", "no.toml"), "`fabric init` writes a new one"),
        (("config", "validate", "--config", "no.toml"), "`fabric init --config no.toml` writes one"),
        (("config", "show", "--config", "no.toml"), "cannot be read"),
        (("dev", "up", "--dir", "/proc/nowhere"), "--dir names another place"),
        (("init", "--config", "/proc/nowhere/f.toml"), "--config FILE names another place"),
        (("join", GOOD_TOKEN, "--config", "typo.toml"), "typo.toml: does not exist; nothing was done"),
    ],
)
def test_what_is_not_there_is_exit_1_and_names_the_next_step(
    argv: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    refused(fabric(*argv, cwd=tmp_path, env={"FABRIC_CONFIG": "/nowhere.toml"}), 1, said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"[]", b"{}", b"null", b'{"nodes": 3}', b"\xff\x00", b"[" * 100_000,
     b'{"driver": "sim", "api": ["x"], "api_host": "x", "api_port": 1, "nodes": [{"name": 1}]}',
     b'{"driver": "sim", "api": ["x"], "api_host": "x", "api_port": 1, "nodes": []}'],
)  # fmt: skip
def test_a_damaged_layout_is_named_and_can_be_removed(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "dev" / "fabric.json"
    path.parent.mkdir()
    path.write_bytes(content)
    for argv in (["members"], ["dev", "status"]):
        refused(fabric(*argv, "--dir", str(path.parent)), 1, str(path), "damaged", "`fabric dev down --dir")
    assert fabric("dev", "down", "--dir", str(path.parent)).returncode == 0
    assert not path.parent.exists()


def test_a_directory_of_somebody_else_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    refused(fabric("dev", "up", "--dir", str(tmp_path)), 1, "not empty and holds no fabric")
    refused(fabric("dev", "down", "--dir", str(tmp_path)), 1, "holds no fabric; it was left as it is")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    refused(fabric("dev", "down", "--dir", str(tmp_path / "thesis.tex")), 2, "is a file")


def test_down_where_nothing_is_changes_nothing(tmp_path: Path) -> None:
    done = fabric("dev", "down", "--dir", str(tmp_path / "x"))
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing to do" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_another_user_is_told_what_cannot_be_read(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o700)
    (tmp_path / "fabric.json").write_text("{}")
    program = "import os, sys; from fabric.cli.main import main; from fabric.cli import members; "
    program += "os.setgroups([]); os.setuid(65534); main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "members", "--dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    refused(done, 1, "Permission denied", str(tmp_path))


def test_init_then_once_more(tmp_path: Path) -> None:
    config = tmp_path / "fabric.toml"
    config.write_text(
        f'[node]\nname = "n1"\nstate_dir = "{tmp_path}/state"\n'
        '[mesh]\naddress = "127.0.0.1"\n[compute]\ndriver = "sim"\n'
    )
    refused(
        fabric_process("agent", "--config", str(config)), 1, "belongs to no fabric yet", "`fabric join TOKEN`"
    )
    done = fabric("init", "--config", str(config))
    assert done.returncode == 0, done.stderr
    assert "next: start `fabric agent" in done.stderr
    before = {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "state").rglob("*"))}
    refused(
        fabric("init", "--config", str(config)), 1, "this node has founded fabric", "remove that directory"
    )
    assert before == {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "state").rglob("*"))}
    for path in before:
        assert path.stat().st_mode & 0o077 == 0 or path.name.endswith(".pub"), path
    refused(
        fabric("members", env={"FABRIC_CONFIG": str(config)}),
        1,
        "no agent answers",
        "`systemctl start fabric-agent`",
    )


def test_settings_show_where_they_come_from(tmp_path: Path) -> None:
    config = tmp_path / "fabric.toml"
    config.write_text('[state]\nurl = "postgresql+psycopg://me:secret@db/fabric"\n')
    done = fabric("config", "show", "--json", "--config", str(config), env={"FABRIC_LOG_LEVEL": "DEBUG"})
    rows = {row["setting"]: row for row in json.loads(done.stdout)}
    assert rows["log.level"] == {"setting": "log.level", "value": "DEBUG", "origin": "FABRIC_LOG_LEVEL"}
    assert rows["state.url"]["value"] == "postgresql+psycopg://me:***@db/fabric"
    assert rows["api.port"]["origin"] == "default"
    assert fabric("config", "show", env={"FABRIC_CONFIG": ""}, cwd=tmp_path).returncode == 0
    config.write_text("[compute]\ndrivr = 1\n")
    refused(fabric("config", "validate", "--config", str(config)), 1, "compute.drivr", "did you mean driver?")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("postgresql+psycopg://db/x", "postgresql+psycopg://db/x"),
        ("postgresql+psycopg://me@db/x", "postgresql+psycopg://me@db/x"),
        ("postgresql+psycopg://me:p@ss:w@db/x", "postgresql+psycopg://me:***@db/x"),
    ],
)
def test_passwords_of_urls_are_not_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_scripts_of_their_shell(shell: str) -> None:
    done = fabric("completion", shell)
    assert done.returncode == 0, done.stderr
    assert "_FABRIC_COMPLETE" in done.stdout
    if shutil.which(shell) is not None:  # the script must parse where the shell is installed
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True, timeout=30)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("fabric mem", "plain,members"),
        ("fabric dev ki", "plain,kill"),
        ("fabric dev up --dri", "plain,--driver"),
        ("fabric dev up --driver l", "plain,libvirt"),
        ("fabric completion z", "plain,zsh"),
        ("fabric members --node h", "plain,h7"),
        ("fabric dev kill h", "plain,h7"),
        ("fabric node show h", "plain,h7"),
        ("fabric node drain h", "plain,h7"),
        ("fabric node undrain h", "plain,h7"),
        ("fabric node remove h", "plain,h7"),
        ("fabric why-not web h", "plain,h7"),
        ("fabric explain --host h", "plain,h7"),
        ("fabric capacity --by z", "plain,zone"),
    ],
)
def test_completion_completes(words: str, found: str, tmp_path: Path) -> None:
    node = {"name": "h7", "id": "", "pid": 0, "dir": "x", "config": "x", "log": "x"}
    layout = {"driver": "sim", "api": ["x"], "api_host": "x", "api_port": 1, "nodes": [node]}
    (tmp_path / "fabric.json").write_text(json.dumps(layout))
    env = {
        "_FABRIC_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
        "FABRIC_DIR": str(tmp_path),
    }
    done = fabric(env=env)
    assert done.stdout.split() == [found], done.stderr


def test_completion_says_nothing_about_a_damaged_layout(tmp_path: Path) -> None:
    (tmp_path / "fabric.json").write_text("{")
    env = {"_FABRIC_COMPLETE": "bash_complete", "COMP_WORDS": "fabric members --node h", "COMP_CWORD": "3"}
    done = fabric(env=env | {"FABRIC_DIR": str(tmp_path)})
    assert (done.stdout.strip(), done.stderr) == ("", "")
