"""What `fabric agent --print-unit` gives systemd: the supervisor that starts a stuck agent again."""

from __future__ import annotations

import configparser
from pathlib import Path

from fabric.runtime.watchdog import WatchdogConfig
from tests.unit.cli.test_usage import fabric


def unit(tmp_path: Path) -> dict[str, str]:
    done = fabric("agent", "--print-unit", "--config", str(tmp_path / "fabric.toml"))
    assert done.returncode == 0, done.stderr
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(done.stdout)
    return dict(parser["Service"])


def test_an_agent_that_ends_or_hangs_is_started_again(tmp_path: Path) -> None:
    service = unit(tmp_path)
    assert service["Restart"] == "always"
    assert service["Type"] == "notify"
    assert float(service["WatchdogSec"]) > WatchdogConfig().deadly_s, "the agent's own word comes first"


def test_guests_outlive_their_agent(tmp_path: Path) -> None:
    assert unit(tmp_path)["KillMode"] == "process"
