"""Whole agents in this process, sim driver: how they start, stop, fail, and what a stolen one can do."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fabric import config as configuration
from fabric.agent import Agent, PartFailedError
from fabric.agent_control import ControlSide
from fabric.agent_local import LocalSide
from fabric.agent_roles import conductor_of
from fabric.agent_voter_slot import VoterSlot
from fabric.cli.main import cli
from fabric.core.membership.model import RoleClaim
from fabric.core.servers.queries import GetAssignments
from fabric.dev.places import free_port
from fabric.errors import CommandRejectedError, ConfigError, RemoteError
from fabric.mesh.contract import PeerAddress
from fabric.mesh.curve import new_curve_key_pair
from fabric.mesh.errors import TransportError
from fabric.mesh.router_dealer import RouterDealer
from fabric.runtime.clock import SystemClock
from fabric.runtime.local_socket import LocalClient
from fabric.runtime.node_identity import IdentityError, load_or_create
from fabric.runtime.remote_state import RemoteState
from fabric.store.errors import StoreLockedError
from proto.ids import RequestId, new_uuid
from tests.fixtures.mesh_nodes import until
from tests.fixtures.store_world import host_register

WAIT_S = 30.0


@dataclass
class Machine:
    """One node: its configuration file, and the agent while it runs."""

    path: Path
    config: configuration.Config
    agent: Agent | None = None
    running: asyncio.Task[None] | None = None

    @property
    def state_dir(self) -> Path:
        return self.config.state_dir

    @property
    def local(self) -> LocalClient:
        return LocalClient(self.state_dir, read_timeout_s=WAIT_S)

    async def start(self) -> Agent:
        agent = self.launch()
        assert self.running is not None
        async with asyncio.timeout(WAIT_S):
            while not agent._ready:
                if self.running.done():
                    self.running.result()
                await asyncio.sleep(0.01)
        return agent

    def launch(self) -> Agent:
        self.agent = Agent(self.config)
        self.running = asyncio.create_task(self.agent.run())
        return self.agent

    async def stop(self) -> None:
        """As SIGTERM does. Raises what the agent raised."""
        if self.agent is None or self.running is None:
            return
        self.agent._on_signal()
        try:
            await asyncio.wait_for(self.running, WAIT_S)
        finally:
            self.agent = self.running = None

    async def cli(self, *argv: str, stdin: str = "") -> Result:
        def invoke() -> Result:
            return CliRunner().invoke(cli, [*argv, "--config", str(self.path)], input=stdin)

        return await asyncio.to_thread(invoke)

    async def token(self, *, ttl_s: int = 60, uses: int = 1) -> str:
        made = await asyncio.to_thread(self.local.post, "/token", {"ttl_s": ttl_s, "uses": uses})
        return str(made["token"])


@dataclass
class Yard:
    directory: Path
    machines: list[Machine] = field(default_factory=list)

    def machine(self, name: str) -> Machine:
        home = self.directory / f"{len(self.machines)}-{name}"
        home.mkdir()
        config = configuration.Config(
            node=configuration.NodeSection(name=name, state_dir=str(home / "state")),
            mesh=configuration.MeshSection(address="127.0.0.1", port=free_port(), door_port=free_port()),
            api=configuration.ApiSection(listen="127.0.0.1", port=free_port()),
            voters=configuration.VotersSection(in_process=True),
            compute=configuration.ComputeSection(driver="sim"),
        )
        path = home / "fabric.toml"
        path.write_text(configuration.render(config))
        self.machines.append(Machine(path, config))
        return self.machines[-1]

    async def founder(self, name: str = "h1") -> Machine:
        made = self.machine(name)
        done = await made.cli("init")
        assert done.exit_code == 0, done.output
        await made.start()
        return made

    async def joined(self, founder: Machine, name: str) -> Machine:
        made = self.machine(name)
        done = await made.cli("join", "-", stdin=await founder.token())
        assert done.exit_code == 0, (done.output, done.exception)
        await made.start()
        return made


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    made = Yard(tmp_path)
    try:
        yield made
    finally:
        for machine in made.machines:
            if machine.running is not None and not machine.running.done():
                await machine.stop()


# -- starting


async def test_a_node_of_no_fabric_says_what_to_do(yard: Yard) -> None:
    made = yard.machine("h1")
    made.state_dir.mkdir()
    with pytest.raises(IdentityError, match=r"`fabric init` founds one, `fabric join TOKEN` enters one"):
        await made.start()


async def test_two_agents_never_share_a_state_directory(yard: Yard) -> None:
    first = await yard.founder()
    with pytest.raises(StoreLockedError, match="in use by another process"):
        await Machine(first.path, first.config).start()
    assert (await asyncio.to_thread(first.local.get, "/status"))["ready"]  # its socket was left alone


async def test_a_host_is_registered_before_its_operator_can_ask_it_anything(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    founder = await yard.founder()
    real, known = LocalSide.open, dict[str, bool]()

    async def look_first(self: LocalSide, stack: AsyncExitStack) -> None:
        agent = next(each.agent for each in reversed(yard.machines) if each.agent is not None)
        assert agent._host is not None
        known[self._node.config.node_name] = agent._host.registered.is_set()
        await real(self, stack)

    monkeypatch.setattr(LocalSide, "open", look_first)
    await yard.joined(founder, "h2")
    assert known == {"h2": True}


async def test_ports_in_use_are_named_by_their_setting(yard: Yard) -> None:
    made = await yard.founder()
    await made.stop()
    for port, error, setting in (
        (made.config.mesh.port, TransportError, "mesh.port"),
        (made.config.mesh.door_port, TransportError, "mesh.door_port"),
        (made.config.api.port, ConfigError, "api.port"),
    ):
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", port))
            taken.listen()
            with pytest.raises(error, match=f"{setting}: cannot listen on .*Address already in use"):
                await made.start()
    await made.start()  # nothing of the failed starts is in the way


async def test_a_node_with_lost_keys_does_not_start(yard: Yard) -> None:
    made = await yard.founder()
    await made.stop()
    key = made.state_dir / "node.key"
    content = key.read_bytes()
    key.unlink()
    with pytest.raises(IdentityError, match=r"node\.key is missing"):
        await made.start()
    assert not key.exists()
    elsewhere = made.path.parent / "elsewhere"
    elsewhere.mkdir()
    load_or_create(elsewhere)
    key.write_bytes((elsewhere / "node.key").read_bytes())
    with pytest.raises(IdentityError, match="two different nodes"):
        await made.start()
    key.write_bytes(content)
    await made.start()


# -- stopping and failing


STEPS: dict[str, type] = {
    "_start_mesh": Agent,
    "open": LocalSide,
    "_start_host": Agent,
    "_start_api": ControlSide,
    "start": VoterSlot,
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_stop_in_the_middle_of_the_start_is_clean(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, step: str, moment: str
) -> None:
    made = await yard.founder()
    await made.stop()
    real = getattr(STEPS[step], step)
    reached = asyncio.Event()

    async def hang(self: object, *args: object) -> object:
        if moment == "after":
            await real(self, *args)
        reached.set()
        return await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(STEPS[step], step, hang)
        made.launch()
        await asyncio.wait_for(reached.wait(), WAIT_S)
        await made.stop()
    await made.start()
    await made.stop()


async def test_a_stop_does_not_wait_for_a_request_that_hangs(yard: Yard) -> None:
    made = await yard.founder()
    head = b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", made.config.api.port)
    writer.write(head + b"Content-Type: application/json\r\n\r\n{")
    await writer.drain()
    follower = asyncio.create_task(asyncio.to_thread(lambda: list(_lines(made.local))))
    async with asyncio.timeout(15):
        await made.stop()
    writer.close()
    await follower
    assert await reader.read(1 << 16) is not None


def _lines(client: LocalClient) -> list[object]:
    seen = []
    try:
        for line in client.lines("/events?follow=1"):
            seen.append(line)
    except Exception:
        return seen
    return seen


@pytest.mark.parametrize(
    "part", ["scheduler", "reaper", "host nudger", "host side", "capacity", "blob sweeper"]
)
async def test_a_part_that_fails_stops_the_agent_loudly_and_it_can_start_again(yard: Yard, part: str) -> None:
    made = await yard.founder()
    assert made.running is not None
    async with asyncio.timeout(WAIT_S):  # a duty begins when the conductor's role is taken
        while not (tasks := [task for task in asyncio.all_tasks() if task.get_name() == part]):
            await asyncio.sleep(0.01)
    task = tasks[-1]
    task.cancel()  # for the agent the same as any other end of it
    with pytest.raises(PartFailedError, match=part):
        await asyncio.wait_for(made.running, WAIT_S)
    await made.start()
    await made.stop()


async def test_a_state_that_stops_itself_stops_the_agent(yard: Yard) -> None:
    made = await yard.founder()
    assert made.agent is not None
    assert made.running is not None
    voter = made.agent.voter
    assert voter is not None
    voter._engine.voter._fail(OSError(5, "Input/output error"))  # type: ignore[union-attr]
    with pytest.raises(PartFailedError, match=r"the state stopped itself: .*Input/output error"):
        await asyncio.wait_for(made.running, WAIT_S)


async def test_the_second_signal_is_told_apart(yard: Yard) -> None:
    made = await yard.founder()
    told: list[str] = []
    assert made.agent is not None
    made.agent._on_stopping = lambda: told.append("stopping")
    made.agent._on_impatience = lambda: told.append("impatient")
    made.agent._on_signal()
    made.agent._on_signal()
    await made.stop()
    assert told.count("stopping") == 1
    assert "impatient" in told


# -- joining, through the command line


async def test_every_misuse_of_a_token_says_why_and_leaves_no_member(yard: Yard) -> None:
    founder = await yard.founder()
    stranger = await yard.founder("s1")
    good, used, short = await founder.token(), await founder.token(), await founder.token(ttl_s=1)
    first = yard.machine("h2")
    assert (await first.cli("join", "-", stdin=used)).exit_code == 0
    assert (await first.cli("join", "-", stdin=good)).exception is not None  # it is a member already
    assert (await stranger.cli("join", "-", stdin=good)).exception is not None  # of another fabric
    await asyncio.sleep(1.1)  # the one second the token lives
    for token, word in (
        (used, "used up"),
        (short, "expired"),
        (good[:-8] + "AAAAAAAA", "damaged|not valid|expired|no join door"),
        ("fabric1.", "damaged"),
        ("nonsense", "starts with"),
    ):
        late = yard.machine("h3")
        done = await late.cli("join", "-", stdin=token)
        assert done.exit_code != 0
        said = f"{done.output} {done.exception}"
        assert any(part in said for part in word.split("|")), said
        assert token.strip() not in said or token in ("nonsense", "fabric1.")
        assert not (late.state_dir / "fabric.member").exists()
    taken = await yard.machine("h1").cli("join", "-", stdin=good)  # the founder's own name
    assert "already named h1" in f"{taken.output} {taken.exception}"
    names = {row["name"] for row in await asyncio.to_thread(founder.local.get, "/members")}
    assert names == {"h1", "h2"}
    assert (await yard.machine("h4").cli("join", "-", stdin=good)).exit_code == 0  # it was good all along


# -- a stolen host


async def test_what_a_stolen_host_can_do(yard: Yard) -> None:
    """Its keys and its certificate are the thief's: he speaks as that host, and as nobody else."""
    founder = await yard.founder()
    stolen, third = await yard.joined(founder, "h2"), await yard.joined(founder, "h3")
    good, bad, other = founder.agent, stolen.agent, third.agent
    assert good is not None
    assert bad is not None
    assert other is not None
    await until(
        lambda: all(a._fleet.is_alive(b._fleet.me) for a in (good, bad, other) for b in (good, bad, other))
    )
    me, chief, victim = bad._fleet.me, good._fleet.me, other._fleet.me

    # He says he conducts, with a fence beyond all others: nobody believes it.
    claim = RoleClaim(role="conductor", fence=1 << 50, since_ms=1)
    bad._fleet.publish(roles=(claim, replace(claim, role="api")))
    for agent in (good, other):
        await until(lambda agent=agent: agent._fleet.refused["role_not_allowed"] > 0)  # type: ignore[misc]
        assert conductor_of(agent._fleet) == chief

    # He asks hosts what only who conducts may ask.
    for method in ("host.console_log", "host.nudge"):
        for host in (chief, victim):
            body = {"server_id": new_uuid(), "bytes_max": 10}
            with pytest.raises(RemoteError) as refused:
                await bad._rpc.call(host, method, body, timeout_ms=5_000)
            assert refused.value.remote_code == "fabric.host.forbidden"
    body = {"server_id": new_uuid(), "bytes_max": 10}
    answer = await good._rpc.call(victim, "host.console_log", body, timeout_ms=5_000)
    assert answer == {"data": b""}  # who does is answered

    # He speaks for others, and asks for what is theirs. His way to the state is the agent's own.
    state = RemoteState(bad._rpc, lambda: chief, SystemClock())
    register = host_register(victim, "h3")
    for command in (register, replace(register, host_id=me)):
        with pytest.raises(CommandRejectedError) as spoken:
            await state.propose(command, request_id=RequestId("r1"))
        assert spoken.value.reason == "forbidden"
    with pytest.raises(CommandRejectedError) as read:
        await state.read(GetAssignments(host_id=victim))
    assert read.value.reason == "forbidden"


async def test_a_key_that_was_never_admitted_reaches_nobody(yard: Yard) -> None:
    founder = await yard.founder()
    assert founder.agent is not None
    keys = new_curve_key_pair()
    rogue = RouterDealer(keys, bind="tcp://127.0.0.1:0")
    await rogue.start(lambda node, frame: None)
    try:
        target = founder.agent._fleet.me
        public = founder.agent._identity.curve_public
        endpoint = f"tcp://127.0.0.1:{founder.config.mesh.port}"
        rogue.admit(target, PeerAddress(endpoint, public))
        rogue.pin(frozenset({target}))
        await until(lambda: founder.agent._switchboard.dropped().get("key_not_admitted", 0) > 0)  # type: ignore[union-attr]
        assert not rogue.send(target, b"\x93\x01\x02\x03")
    finally:
        await rogue.close()
    status = await asyncio.to_thread(founder.local.get, "/status")
    assert status["mesh_dropped"]["key_not_admitted"] > 0


async def test_what_is_on_disk_is_private_and_secrets_stay_in_their_files(
    yard: Yard, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    founder = await yard.founder()
    token = await founder.token()
    await yard.joined(founder, "h2")
    openrc = (founder.state_dir / "openrc").read_text()
    (line,) = [line for line in openrc.splitlines() if "OS_PASSWORD" in line]
    told = caplog.text + json.dumps([str(record.__dict__) for record in caplog.records])
    assert line.partition("=")[2] not in told
    assert token not in told
    for machine in yard.machines:
        assert machine.state_dir.stat().st_mode & 0o066 == 0  # others may pass through at most
        for folder, _, files in os.walk(machine.state_dir):
            for name in files:
                mode = (Path(folder) / name).stat().st_mode
                assert mode & 0o077 == 0, f"{folder}/{name}"
