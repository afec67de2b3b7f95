"""An agent and the process of its voter, as one node. The other way to end:
tests/unit/runtime/test_voter_child.py;
more lives than one: `make chaos`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.dev_fabric import Running, eventually, running_fabric

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

WAIT_S = 120.0


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    with running_fabric("sim", nodes=1, voter_processes=True) as running:
        yield running


def process_of(fabric: Running) -> int:
    """Of the one child that the agent has."""
    agent = fabric.node("h1").pid
    children = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
    found = [int(pid) for pid in children if b"voter-process" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(found) == 1
    return found[0]


def test_the_agent_serves_what_its_voters_process_writes_and_ends_with_it(fabric: Running) -> None:
    assert fabric.cloud().get("/compute/v2.1/flavors")["flavors"]
    secrets = (fabric.node("h1").dir / "node.key").read_bytes().split()
    process = process_of(fabric)
    for place in ("cmdline", "environ"):
        said = Path(f"/proc/{process}/{place}").read_bytes()
        assert not any(secret in said for secret in secrets if len(secret) > 20)
    os.kill(process, signal.SIGKILL)
    eventually(lambda: not fabric.node("h1").is_running(), timeout_s=WAIT_S, what="the end of the agent")
    assert "the voter's process ended" in fabric.node("h1").log.read_text()
