"""`fabric why` and its kin against a real agent's socket, over real rows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import pytest_asyncio
from aiohttp import web

from fabric.agent_placement_desk import AgentPlacementDesk
from fabric.api.local.app import build_local_app
from fabric.control.context import Cloud
from fabric.core.membership.model import Capacity
from fabric.runtime import local_socket
from fabric.runtime.local_socket import AgentRefusedError, LocalClient
from proto.commands.catalog import FlavorCreate
from proto.commands.nodes import HostUpdate
from proto.ids import FlavorId
from tests.api.compute.world import HOSTS, World
from tests.fixtures.local_agent import local_parts
from tests.fixtures.mesh_view_double import MeshDouble, member_named
from tests.unit.cli.test_usage import fabric


class Cli:
    """The program's `main`, asking an agent that has these rows, or none."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.cloud: Cloud | None = None
        self.config = directory / "fabric.toml"
        self.config.write_text(f'[node]\nname = "h1"\nstate_dir = "{directory}"\n')

    async def __call__(self, *argv: str) -> CompletedProcess[str]:
        return await asyncio.to_thread(
            fabric, *argv, env={"FABRIC_CONFIG": str(self.config)}, cwd=self.directory
        )

    async def said(self, *argv: str) -> str:
        done = await self(*argv)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest_asyncio.fixture
async def cli(world: World, tmp_path: Path) -> AsyncIterator[Cli]:
    directory = tmp_path / "agent"
    directory.mkdir()
    asked = Cli(directory)
    asked.cloud = world.cloud
    view = MeshDouble([member_named("h1", capacity=Capacity(vcpus=8, memory_mb=16_384, disk_gb=100))])
    desk = AgentPlacementDesk(view, lambda: asked.cloud)
    runner = web.AppRunner(build_local_app(local_parts(view, placement=desk)), access_log=None)
    await runner.setup()
    await web.SockSite(runner, local_socket.bind(directory)).start()
    yield asked
    await runner.cleanup()


async def test_why_it_is_there(world: World, cli: Cli) -> None:
    server_id = await world.active(world.alice, "web-1", host=1)
    lines = (await cli.said("why", "web-1")).splitlines()
    assert lines[0] == f"web-1 ({server_id}) is ACTIVE and is on h2"
    assert lines[1].startswith(
        "asked for: 1 vCPUs, 512 MB of memory, 1 GB of disk; by what is known at index "
    )
    assert lines[2] == "placed now, it would go to h1 instead"
    assert [line.split() for line in lines[4:6]] == [
        ["FITS", "WEIGHT", "OF", "IT"],
        ["h1", "3.010", "RAM", "+1.000,", "CPU", "+1.000,", "Disk", "+1.000,", "ImageLocality", "+0.010"],
    ]
    assert json.loads(await cli.said("why", server_id, "--json"))["server"]["host"] == "h2"


async def test_why_it_is_nowhere_and_what_would_help(world: World, cli: Cli) -> None:
    await world.do(FlavorCreate(flavor_id=FlavorId("9"), name="m1.huge", vcpus=9, memory_mb=512, root_gb=1))
    await world.fail_placement(await world.boot(world.alice, "huge", flavorRef="9"))
    said = await cli.said("why", "huge")
    assert "is ERROR and has no host" in said
    assert "its fault, of " in said
    assert "\n    h1: 512 MB of RAM missing\n" in said
    assert "it fits nowhere" in said
    row = next(line for line in said.splitlines() if line.startswith("CoreFilter"))
    assert row.split()[:5] == ["CoreFilter", "3", "not", "enough", "vCPUs"]
    assert "h1 needs 9, 8 free; h2 needs 9, 8 free" in row
    assert "it would fit if the flavor had 8 vCPUs (then on h1)" in said


async def test_a_server_must_be_meant(world: World, cli: Cli) -> None:
    for _ in range(2):
        await world.boot(world.alice, "twin")
    done = await cli("why", "twin")
    assert (done.returncode, "Several servers are named 'twin'" in done.stderr) == (1, True)
    done = await cli("why", "twi.")
    assert (done.returncode, "No server has the name or id 'twi.'" in done.stderr) == (1, True)


async def test_why_tells_of_a_move_that_went_wrong(world: World, cli: Cli) -> None:
    server_id = await world.active(world.alice, "web-1", host=0)
    assert "its migration" not in await cli.said("why", "web-1")
    await world.admin.at("2.56").post(f"/servers/{server_id}/action", {"migrate": {"host": "h3"}})
    await world.fail_move(server_id, "No valid host was found.")
    said = await cli.said("why", "web-1")
    assert "its migration from h1 to h3, of " in said
    assert ", ended as error: No valid host was found.\n" in said


async def test_why_not_there(world: World, cli: Cli) -> None:
    await world.active(world.alice, "web-1", host=0, availability_zone="nova")
    said = await cli.said("why-not", "web-1", "h3")
    assert "\nh3 refuses it; h1 would take it\nAvailabilityZoneFilter: is in zone rack2, not nova\n" in said
    assert "it would fit if it was asked for in zone rack2 (then on h3)" in said
    assert "it fits" not in said
    assert (
        "\nit is there\nweight 3.010: RAM +1.000, CPU +1.000, Disk +1.000, ImageLocality +0.010"
        in await cli.said("why-not", "web-1", "h1")
    )
    assert "\nh2 fits it; h1 is better\n" in await cli.said("why-not", "web-1", "h2")
    assert not json.loads(await cli.said("why-not", "web-1", "h3", "--json"))["fits"]
    done = await cli("why-not", "web-1", "h9")
    assert (done.returncode, "Compute host h9 could not be found." in done.stderr) == (1, True)


async def test_explain_what_nobody_asked_for_yet(world: World, cli: Cli) -> None:
    said = await cli.said("explain", "--flavor", "m1.tiny", "--image", "guest", "--zone", "rack2")
    assert "it would go to h3" in said
    assert "AvailabilityZoneFilter" in said
    said = await cli.said("explain", "--flavor", "m1.tiny", "--count", "1000")
    assert "144 of 1000 fit together: 48 on h1, 48 on h2, 48 on h3" in said
    beside = await world.active(world.alice, host=1)
    found = json.loads(await cli.said("explain", "--flavor", "1", "--hint", f"same_host={beside}", "--json"))
    assert found["chosen"] == "h2"
    done = await cli("explain", "--flavor", "m9")
    assert (done.returncode, "flavor: Flavor m9 could not be found." in done.stderr) == (1, True)
    done = await cli("explain", "--flavor", "1", "--hint", "nonsense")
    assert (done.returncode, "'nonsense' is not NAME=VALUE" in done.stderr) == (2, True)


async def test_an_operator_needs_no_project_to_ask_about_a_group(world: World, cli: Cli) -> None:
    body = {"server_group": {"name": "apart", "policy": "anti-affinity"}}
    group_id = (await world.alice.at("2.64").post("/os-server-groups", body)).json["server_group"]["id"]
    said = await cli.said("explain", "--flavor", "1", "--group", group_id, "--count", "9")
    assert "3 of 9 fit together: 1 on h1, 1 on h2, 1 on h3" in said
    assert f"in group {group_id} (anti-affinity)" in said


async def test_what_the_api_would_refuse_is_refused(cli: Cli) -> None:
    client = LocalClient(cli.directory)
    for body, named in (
        ({}, "'flavor' is a required property"),
        ({"flavor": "1", "count": 0}, "count"),
        ([], ""),
    ):
        with pytest.raises(AgentRefusedError) as refused:
            await asyncio.to_thread(client.post, "/placement/explain", body)  # type: ignore[arg-type]
        assert named in str(refused.value)


async def test_capacity_adds_what_is_claimed_and_counts_what_fits(world: World, cli: Cli) -> None:
    await world.active(world.alice, host=0)
    head, row = (await cli.said("capacity")).splitlines()
    assert head.split("  ")[0] == "HOST"
    assert row.split()[-6:] == ["127", "24064", "99", "0", "16/1.5/1", "-"]
    (told,) = json.loads(await cli.said("capacity", "--json"))
    assert (told["vcpus"]["total"], told["claims"]["VCPU"]["used"]) == (8, 1)
    lines = (await cli.said("capacity", "--by", "zone", "--flavor", "m1.tiny")).splitlines()
    assert [line.split()[0] for line in lines] == ["ZONE", "nova", "rack2", "total"]
    assert [line.split()[-1] for line in lines] == ["FIT", "95", "48", "143"]
    assert (
        json.loads(await cli.said("capacity", "--by", "aggregate", "--json"))["rooms"][0]["aggregate"] is None
    )


async def test_rebalance_proposes_and_changes_nothing(world: World, cli: Cli) -> None:
    for number in range(4):
        by_name = {"availability_zone": "nova:h2"} if number == 3 else {}  # which binds its create only
        await world.active(world.alice if number < 3 else world.admin, f"web-{number}", host=1, **by_name)
    await world.do(HostUpdate(host_id=HOSTS[1], enabled=False))
    before = world.cloud.state.applied_index
    done = await cli("rebalance", "--plan", "--max-moves", "3")
    head, *rows, spread = done.stdout.splitlines()
    assert (done.returncode, head.split()[:3], len(rows)) == (0, ["SERVER", "FROM", "TO"], 3)
    assert all(row.split()[1] == "h2" and row.split()[2] in ("h1", "h3") for row in rows)
    assert spread.startswith("spread of the load")
    assert "openstack server migrate --host HOST SERVER" in done.stderr
    found = json.loads(await cli.said("rebalance", "--plan", "--json"))
    assert [move["why"] for move in found["moves"]] == ["host_disabled"] * 4
    assert world.cloud.state.applied_index == before
    done = await cli("rebalance")
    assert (done.returncode, "--plan" in done.stderr) == (2, True)


async def test_where_nothing_is_to_be_moved_it_says_so(world: World, cli: Cli) -> None:
    assert (await cli.said("rebalance", "--plan")).startswith("nothing to move")


async def test_a_node_without_rows_says_where_to_ask(world: World, cli: Cli) -> None:
    cli.cloud = None
    for argv in (
        ("why", "web-1"),
        ("why-not", "web-1", "h1"),
        ("explain", "--flavor", "1"),
        ("rebalance", "--plan"),
        ("capacity", "--by", "zone"),
    ):
        done = await cli(*argv)
        assert (done.returncode, done.stdout) == (1, "")
        assert "this node holds no rows; " in done.stderr
        assert "the conductor" in done.stderr
    done = await cli("capacity")
    assert (done.returncode, done.stdout.splitlines()[0].split()[-1]) == (0, "HYPERVISOR")
    assert "what is claimed is not shown: this node holds no rows" in done.stderr
