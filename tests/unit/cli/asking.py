"""The command line in this process against a real local socket: what it prints and how it exits."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from fabric.api.local.app import LocalParts
from tests.fixtures.local_agent import local_agent
from tests.unit.cli.test_usage import fabric


class Asked:
    """An agent's state directory with a configuration that names it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "fabric.toml"
        self.config.write_text(f'[node]\nname = "me"\nstate_dir = "{directory}"\n')

    def __call__(self, *argv: str) -> CompletedProcess[str]:
        return fabric(*argv, env={"FABRIC_CONFIG": str(self.config)}, cwd=self.directory)

    @contextlib.contextmanager
    def answering(self, parts: LocalParts) -> Iterator[Asked]:
        with local_agent(self.directory, parts):
            yield self


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


def column(done: CompletedProcess[str], name: str) -> list[str]:
    """The cells of a printed table under a head of one word."""
    head, *rows = done.stdout.splitlines()
    start = head.index(name)
    return [row[start:].partition("  ")[0].strip() for row in rows if row]


def environment(config: Path) -> dict[str, str]:
    """For a process of its own."""
    clean: dict[str, Any] = {
        name: value for name, value in os.environ.items() if not name.startswith("FABRIC_")
    }
    return clean | {"FABRIC_CONFIG": str(config), "PYTHONUNBUFFERED": "1"}
