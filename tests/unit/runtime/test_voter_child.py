"""A voter's real process: it is there while its agent is, and no longer."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fabric.core.identity.queries import ListProjects
from fabric.core.membership.record import node_id_of
from fabric.core.raft.configuration import Configuration
from fabric.errors import RemoteError
from fabric.mesh.curve import new_curve_key_pair
from fabric.runtime.voter_proxy import VoterProcessError, VoterProxy
from fabric.runtime.voter_words import SnapshotWord, VoterPeer
from fabric.store.errors import StoreLockedError
from fabric.store.lock import DirectoryLock
from proto.ids import RequestId, node_of, voter_of
from tests.fixtures.mesh_nodes import until
from tests.fixtures.store_world import fabric_init
from tests.fixtures.voter_processes import start_word

WAIT_S = 60.0
HOLD_US = 4_000_000  # election timeouts are drawn from one to two seconds
# An agent that starts its voter, says so, and waits to be killed; its argument is the state's directory.
AGENT = """
import asyncio, sys
from pathlib import Path
from tests.unit.runtime.test_voter_child import proxy_of

async def main():
    proxy = proxy_of(Path(sys.argv[1]), [])
    await proxy.open()
    print(proxy.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

ME = voter_of(node_id_of(bytes(32)), "00000000")  # the same at each start, whatever its keys


def proxy_of(directory: Path, failures: list[BaseException], **changes: object) -> VoterProxy:
    start = start_word(ME, new_curve_key_pair(), directory, is_founder=True)
    word = replace(start, **changes)  # type: ignore[arg-type]
    return VoterProxy(word, send_snapshot=nothing, on_failure=failures.append)


async def nothing(word: SnapshotWord) -> None:
    del word


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_free(directory: Path) -> bool:
    lock = DirectoryLock(directory)
    try:
        lock.acquire()
    except StoreLockedError:
        return False
    lock.release()
    return True


@pytest.fixture
def failures() -> list[BaseException]:
    return []


async def test_it_holds_the_rows_from_one_life_to_the_next(
    tmp_path: Path, failures: list[BaseException]
) -> None:
    proxy = proxy_of(tmp_path, failures)
    assert (await proxy.open()).startswith("tcp://127.0.0.1:")
    pid = proxy.pid
    assert pid is not None
    assert os.getpid() != pid
    assert b"voter-process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert not is_free(tmp_path)
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
    ):  # for the whole group: the agent sees to its end
        os.kill(pid, number)
    await proxy.propose(fabric_init(), request_id=RequestId("q-init"))
    await proxy.close()
    assert not is_alive(pid)
    again = proxy_of(tmp_path, failures)
    await again.open()
    assert {project.name for project in await again.read(ListProjects())} >= {"admin"}
    await again.close()
    assert failures == []


async def test_a_kill_of_the_process_is_told_to_its_agent(
    tmp_path: Path, failures: list[BaseException]
) -> None:
    proxy = proxy_of(tmp_path, failures)
    await proxy.open()
    await proxy.propose(fabric_init(), request_id=RequestId("q-init"))
    assert proxy.pid is not None
    os.kill(proxy.pid, signal.SIGKILL)
    await until(lambda: bool(failures), WAIT_S)
    assert isinstance(failures[0], VoterProcessError)
    await proxy.close()
    assert len(failures) == 1


async def test_the_end_of_the_agent_is_the_end_of_the_process(tmp_path: Path) -> None:
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert agent.stdout is not None
    try:
        pid = int(await asyncio.to_thread(agent.stdout.readline))
        assert is_alive(pid)
    finally:
        agent.kill()
        agent.wait()
        agent.stdout.close()
    await until(lambda: not is_alive(pid), WAIT_S)
    await until(lambda: is_free(tmp_path), WAIT_S)  # its other threads end a moment later


async def test_nobody_but_its_parent_can_be_its_agent(tmp_path: Path, failures: list[BaseException]) -> None:
    with pytest.raises(RemoteError, match="the agent has gone"):
        await proxy_of(tmp_path, failures, agent_pid=1).open()


async def test_a_hold_of_the_interpreter_costs_no_lead(tmp_path: Path) -> None:
    """Of all three agents at once, which share this process, for longer than an election takes."""
    keys = [new_curve_key_pair() for _ in range(3)]
    words = [
        start_word(voter_of(node_id_of(each.public), "00000000"), each, tmp_path / str(at), is_founder=not at)
        for at, each in enumerate(keys)
    ]
    failures: list[BaseException] = []
    proxies = [VoterProxy(word, send_snapshot=nothing, on_failure=failures.append) for word in words]
    try:
        peers = [
            VoterPeer(node_id=node_of(word.me), endpoint=await proxy.open(), curve_public=word.curve_public)
            for word, proxy in zip(words, proxies, strict=True)
        ]
        for me, proxy in enumerate(proxies):
            proxy.know([peer for at, peer in enumerate(peers) if at != me])
        leader, wanted = proxies[0], Configuration(frozenset(word.me for word in words))
        leader.change(wanted.voters)
        await until(lambda: leader.configuration == wanted and not leader.is_changing, WAIT_S)
        await until(lambda: all(proxy.leader_id == leader.me for proxy in proxies), WAIT_S)
        term = leader.term
        ctypes.PyDLL(None).usleep(HOLD_US)
        await leader.read_index()  # a majority follows it still
        assert {proxy.term for proxy in proxies} == {term}
        assert failures == []
    finally:
        for proxy in proxies:
            await proxy.close()
