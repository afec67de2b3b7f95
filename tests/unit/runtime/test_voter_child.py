"""A voter's real process: it is there while its agent is, and no longer."""

from __future__ import annotations

import asyncio
import ctypes
import io
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fabric.core.identity.queries import ListProjects
from fabric.core.membership.record import node_id_of
from fabric.core.raft.configuration import Configuration
from fabric.mesh.curve import new_curve_key_pair
from fabric.runtime import voter_process
from fabric.runtime import voter_words as words
from fabric.runtime.clock import SystemClock
from fabric.runtime.voter_channel import Body, VoterChannel
from fabric.runtime.voter_child import PROGRAM
from fabric.runtime.voter_process import VoterNotOpenedError
from fabric.runtime.voter_proxy import VoterProxy
from fabric.runtime.voter_words import SnapshotWord, VoterPeer
from fabric.store.backup import put_backup
from fabric.store.errors import StoreLockedError
from fabric.store.incarnation import write_incarnation
from fabric.store.lock import DirectoryLock
from fabric.store.lone_voter import lone_voter
from fabric.store.rows_export import export_voter
from fabric.store.sqlite import DATABASE
from proto.codec import Plain
from proto.ids import RequestId, node_of, voter_of
from tests.fixtures.mesh_nodes import until
from tests.fixtures.store_world import fabric_init
from tests.fixtures.voter_processes import start_word

WAIT_S = 60.0
HOLD_US = 4_000_000  # election timeouts are drawn from one to two seconds

# Starts a voter's process on the socket of that number, says so, and waits to be killed.
PARENT = """
import subprocess, sys

socket, *program = sys.argv[1:]
child = subprocess.Popen([sys.executable, *program, "--fd", socket], pass_fds=[int(socket)])
print(child.pid, flush=True)
child.wait()
"""

ME = voter_of(node_id_of(bytes(32)), "00000000")  # the same at each start, whatever its keys


def proxy_of(directory: Path, failures: list[BaseException]) -> VoterProxy:
    word = start_word(ME, new_curve_key_pair(), directory, is_founder=True)
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


async def test_it_holds_the_rows_from_one_life_to_the_next(tmp_path: Path) -> None:
    failures: list[BaseException] = []
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
    write_incarnation(tmp_path, 1)
    rows, backup = io.BytesIO(), io.BytesIO()
    await asyncio.to_thread(export_voter, tmp_path, rows, now_ms=1)
    scratch = tmp_path / "scratch"
    await asyncio.to_thread(put_backup, tmp_path / DATABASE, backup, scratch, incarnation=1, now_ms=1)
    assert rows.tell() > 0, "its agent copies what another process writes"
    assert backup.tell() > 0
    await proxy.close()
    assert not is_alive(pid)
    again = lone_voter(tmp_path, clock=SystemClock(), me=ME)
    await again.open()  # either kind goes on where the other was
    assert {project.name for project in await again.read(ListProjects())} >= {"admin"}
    await again.close()
    assert failures == []


def test_nobody_but_its_parent_can_be_its_agent(tmp_path: Path) -> None:
    start = start_word(ME, new_curve_key_pair(), tmp_path, is_founder=True)
    with pytest.raises(VoterNotOpenedError, match="the agent has gone"):
        voter_process._begin(start)


async def test_the_kernel_ends_it_with_whoever_started_it() -> None:
    """Though its channel stays open: the test holds the other end."""
    ours, theirs = socket.socketpair()
    number = theirs.fileno()
    command = [sys.executable, "-c", PARENT, str(number), *PROGRAM]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[number])
    theirs.close()
    assert parent.stdout is not None
    channel = VoterChannel(*await asyncio.open_connection(sock=ours), serve=refuse, hear=ignore)
    reading = asyncio.create_task(channel.run())
    try:
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        async with asyncio.timeout(WAIT_S):
            await channel.ask(words.CLOSE, {})  # it has begun
        assert is_alive(pid)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    await until(lambda: not is_alive(pid), WAIT_S)
    await channel.close()
    await reading


async def refuse(kind: str, body: Body) -> Plain:
    raise AssertionError(kind, body)


def ignore(kind: str, body: Body) -> None:
    del kind, body


async def test_a_hold_of_the_interpreter_costs_no_lead(tmp_path: Path) -> None:
    """Of both agents at once, which share this process, for longer than an election takes."""
    keys = [new_curve_key_pair() for _ in range(2)]
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
