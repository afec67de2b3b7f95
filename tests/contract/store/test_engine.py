"""What every engine promises, whatever the command."""

from __future__ import annotations

import asyncio
import sys

import pytest

from fabric.core.identity.queries import FindProject, GetFabric, GetProject, ListProjects
from fabric.core.queries import AppliedEntry, Query
from fabric.errors import CommandRejectedError, NoQuorumError
from fabric.runtime.hard_state import HardState
from fabric.store.apply.entry import PRUNE_EVERY, REQUEST_KEPT_MS
from fabric.store.apply.registry import handled_kinds
from fabric.store.query import answered_kinds
from proto.commands import all_commands
from proto.commands.identity import ProjectCreate, ProjectUpdate
from proto.ids import ProjectId, RequestId
from tests.fixtures.store_world import DOMAIN, PROJECT, StoreWorld, fabric_init


def project(name: str, **changes: str) -> ProjectCreate:
    return ProjectCreate(project_id=ProjectId(f"p-{name}"), domain_id=DOMAIN, name=name, **changes)


def test_every_command_has_a_handler() -> None:
    assert set(handled_kinds()) == set(all_commands())


def test_every_query_has_an_answer() -> None:
    import fabric.core.catalog.queries
    import fabric.core.identity.queries
    import fabric.core.images.queries
    import fabric.core.networks.queries
    import fabric.core.nodes.queries
    import fabric.core.quotas.model
    import fabric.core.servers.queries  # noqa: F401  # importing them makes the subclasses

    core = [kind for kind in Query.__subclasses__() if kind.__module__.startswith("fabric.core.")]
    # slots=True makes each dataclass twice: the one its module holds is the one that counts
    defined = {getattr(sys.modules[kind.__module__], kind.__name__) for kind in core}
    assert defined == answered_kinds()
    assert len(defined) > 30


async def test_is_a_hard_state(bare: StoreWorld) -> None:
    state: HardState = bare.engine
    applied = await state.propose(fabric_init(), request_id=RequestId("req-1"))
    assert state.applied_index == applied.index


async def test_a_write_is_read_at_once(bare: StoreWorld) -> None:
    await bare.do(fabric_init())
    for number in range(20):
        await bare.do(project(f"n{number}"))
        assert await bare.ask(GetProject(project_id=ProjectId(f"p-n{number}"))) is not None


async def test_indices_grow_and_results_name_them(bare: StoreWorld) -> None:
    first = await bare.do(fabric_init())
    second = await bare.do(project("one"))
    assert second.index > first.index
    assert bare.engine.applied_index == second.index


async def test_replay_gives_the_stored_result_and_changes_nothing(world: StoreWorld) -> None:
    command = world.server_create("web", new_ports=(world.port("web-port"),))
    first = await world.do(command, request="req-1")
    again = await world.do(command, request="req-1")
    assert (again.index, again.result, again.replayed) == (first.index, first.result, True)
    assert not first.replayed


async def test_replay_of_a_rejection_is_the_same_rejection(bare: StoreWorld) -> None:
    await bare.do(fabric_init())
    await bare.do(project("one"))
    for _ in range(2):
        with pytest.raises(CommandRejectedError) as caught:
            await bare.do(project("one"), request="req-2")
        assert caught.value.reason == "conflict"
    # also when it would be accepted by now: the answer to a request does not change
    await bare.do(ProjectUpdate(project_id=ProjectId("p-one"), name="renamed"))
    with pytest.raises(CommandRejectedError):
        await bare.do(project("one"), request="req-2")


async def test_same_id_with_another_command_is_a_conflict(bare: StoreWorld) -> None:
    await bare.do(fabric_init())
    await bare.do(project("one"), request="req-3")
    with pytest.raises(CommandRejectedError, match="already used") as caught:
        await bare.do(project("two"), request="req-3")
    assert caught.value.reason == "conflict"
    assert await bare.ask(FindProject(name="two")) is None
    assert (await bare.do(project("one"), request="req-3")).replayed  # the first answer stays


async def test_concurrent_twins_happen_once(bare: StoreWorld) -> None:
    await bare.do(fabric_init())
    answers = await asyncio.gather(*(bare.do(project("one"), request="req-4") for _ in range(8)))
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 7
    assert len({answer.index for answer in answers}) == 1


async def test_request_rows_are_forgotten_after_a_day_of_log_time(bare: StoreWorld) -> None:
    await bare.do(fabric_init())
    await bare.do(project("one"), request="req-5")
    bare.clock.advance(REQUEST_KEPT_MS + 1)
    for number in range(PRUNE_EVERY):
        await bare.do(ProjectUpdate(project_id=ProjectId("p-one"), description=str(number)))
    await bare.refuse(project("one"), "conflict")
    with pytest.raises(CommandRejectedError, match="Duplicate"):  # judged anew, not replayed
        await bare.do(project("one"), request="req-5")


async def test_a_rejection_in_a_group_undoes_only_itself(bare: StoreWorld) -> None:
    await bare.do(fabric_init())
    commands = [project("same" if number % 2 else f"n{number}") for number in range(20)]
    answers = await asyncio.gather(*(bare.do(command) for command in commands), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, CommandRejectedError)]
    assert len(refused) == 9
    names = {found.name for found in await bare.ask(ListProjects())}
    assert names == {"admin", "service", "same"} | {f"n{number}" for number in range(0, 20, 2)}


async def test_time_never_goes_back(bare: StoreWorld) -> None:
    await bare.do(fabric_init())
    await bare.do(project("one"))
    bare.clock.advance(-5_000)
    await bare.do(project("two"))
    one = await bare.ask(FindProject(name="one"))
    two = await bare.ask(FindProject(name="two"))
    assert one is not None
    assert two is not None
    assert two.created_ms >= one.created_ms


async def test_listeners_hear_accepted_commands_once_and_in_order(bare: StoreWorld) -> None:
    heard: list[AppliedEntry] = []

    def broken(entry: AppliedEntry) -> None:
        raise RuntimeError("a listener's bug")

    bare.engine.subscribe(broken)
    stop = bare.engine.subscribe(heard.append)
    await bare.do(fabric_init())
    await asyncio.gather(*(bare.do(project(f"n{number}"), request=f"r{number}") for number in range(10)))
    await bare.do(project("n3"), request="r3")  # a replay
    await bare.refuse(project("n3"), "conflict")
    stop()
    await bare.do(project("unheard"))
    assert [entry.command.KIND for entry in heard] == ["fabric.init"] + ["project.create"] * 10
    assert [entry.index for entry in heard] == sorted({entry.index for entry in heard})


async def test_a_closed_store_says_that_nothing_was_done(bare: StoreWorld) -> None:
    await bare.engine.close()
    with pytest.raises(NoQuorumError):
        await bare.do(fabric_init())
    with pytest.raises(NoQuorumError):
        await bare.ask(GetFabric())
    await bare.engine.close()


@pytest.mark.parametrize("name", ["nul\0byte", "x" * (1 << 20)], ids=["nul", "huge"])
async def test_values_no_column_takes_are_rejected(bare: StoreWorld, name: str) -> None:
    await bare.do(fabric_init())
    await bare.refuse(ProjectCreate(project_id=ProjectId("p"), domain_id=DOMAIN, name=name), "invalid")
    await bare.do(project("fine"))


async def test_text_survives(bare: StoreWorld) -> None:
    await bare.do(fabric_init())
    name = "Ünïcode 名前 \"'%_\\ ; DROP TABLE projects"
    await bare.do(ProjectCreate(project_id=PROJECT, domain_id=DOMAIN, name=name))
    found = await bare.ask(FindProject(name=name))
    assert found is not None
    assert found.name == name


async def test_a_cancelled_caller_does_not_cancel_its_command(bare: StoreWorld) -> None:
    await bare.do(fabric_init())
    task = asyncio.create_task(bare.do(project("late"), request="req-6"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await bare.do(project("late"), request="req-6")).replayed
