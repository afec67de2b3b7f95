"""The host's whole policy, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.contract import DomainState, Power
from fabric.compute.decide import Work, decide, power_change
from fabric.core.moves.model import MoveKind, MoveOfServer
from fabric.core.servers.states import Desired, PowerState, TaskState, VmState
from proto.ids import NodeId
from tests.fixtures.compute_rows import placed

AT_REST: dict[str, Any] = {
    "task_state": None,
    "vm_state": VmState.ACTIVE,
    "power_state": PowerState.RUNNING,
    "launched_ms": 1,
}
WRITTEN_OFF: dict[str, Any] = {"task_state": None, "vm_state": VmState.ERROR}


def domain(power: Power | None) -> DomainState | None:
    return DomainState(server_id=placed().server_id, power=power, pid=None) if power is not None else None


CASES = [
    # row, what the driver shows, done generation, failed generation, expected
    ({}, None, 0, 0, Work.BUILD),
    ({}, Power.RUNNING, 0, 0, Work.BUILD),
    ({}, Power.RUNNING, 2, 0, Work.NONE),
    ({}, None, 1, 1, Work.BUILD),
    ({"task_state": TaskState.SCHEDULING}, None, 0, 0, Work.NONE),
    ({**AT_REST, "task_state": TaskState.POWERING_ON}, Power.SHUTDOWN, 0, 0, Work.START),
    ({**AT_REST, "task_state": TaskState.POWERING_OFF}, Power.RUNNING, 0, 0, Work.STOP),
    ({**AT_REST, "task_state": TaskState.REBOOTING}, Power.RUNNING, 0, 0, Work.REBOOT),
    ({**AT_REST, "task_state": TaskState.REBOOTING_HARD}, None, 0, 0, Work.REBOOT),
    ({**AT_REST, "task_state": TaskState.REBOOTING}, Power.RUNNING, 2, 0, Work.NONE),
    ({**AT_REST, "task_state": TaskState.SHELVING}, Power.RUNNING, 0, 0, Work.LEAVE),
    ({**AT_REST, "task_state": TaskState.SHELVING_IMAGE_UPLOADING}, Power.SHUTDOWN, 1, 0, Work.SAVE),
    ({**AT_REST, "task_state": TaskState.SHELVING_IMAGE_UPLOADING}, Power.SHUTDOWN, 2, 0, Work.NONE),
    (AT_REST, Power.RUNNING, 0, 0, Work.NONE),
    (AT_REST, Power.SHUTDOWN, 0, 0, Work.REPORT),
    (AT_REST, Power.CRASHED, 9, 0, Work.REPORT),
    (AT_REST, None, 0, 0, Work.REPORT),
    ({**AT_REST, "power_state": PowerState.NOSTATE}, None, 0, 0, Work.NONE),
    # Deletes win over everything, at any time, and are done once.
    ({"desired": Desired.ABSENT, "task_state": TaskState.DELETING}, None, 0, 0, Work.REMOVE),
    ({**AT_REST, "desired": Desired.ABSENT}, Power.RUNNING, 1, 0, Work.REMOVE),
    ({"desired": Desired.ABSENT, "task_state": TaskState.DELETING}, None, 2, 0, Work.NONE),
    # A build that failed or ran out of time leaves nothing, unless its guest runs after all.
    (WRITTEN_OFF, None, 0, 0, Work.NONE),
    (WRITTEN_OFF, Power.SHUTDOWN, 0, 0, Work.DISCARD),
    (WRITTEN_OFF, Power.RUNNING, 0, 0, Work.BUILD),
    (WRITTEN_OFF, Power.RUNNING, 2, 0, Work.NONE),
    (WRITTEN_OFF, Power.RUNNING, 2, 2, Work.DISCARD),
    # A server that ran once keeps its disk in ERROR.
    ({**WRITTEN_OFF, "launched_ms": 1, "power_state": PowerState.SHUTDOWN}, Power.SHUTDOWN, 0, 0, Work.NONE),
    ({**WRITTEN_OFF, "task_state": TaskState.REBOOTING_HARD}, None, 0, 0, Work.REBOOT),
]


@pytest.mark.parametrize(("row", "power", "done", "failed", "expected"), CASES)
def test_decide(row: dict[str, Any], power: Power | None, done: int, failed: int, expected: Work) -> None:
    decision = decide(placed(**row), domain(power), done_generation=done, failed_generation=failed)
    assert decision is expected


A, B = NodeId("a" * 32), NodeId("b" * 32)
MOVE = MoveOfServer(move_id="m", kind=MoveKind.MIGRATION, source_host_id=A, dest_host_id=B)


@pytest.mark.parametrize(
    ("task", "host_id", "power", "done", "expected"),
    [
        (TaskState.RESIZE_PREP, A, Power.RUNNING, 0, Work.NONE),  # it has no host yet
        (TaskState.RESIZE_MIGRATING, A, Power.RUNNING, 0, Work.LEAVE),
        (TaskState.RESIZE_MIGRATING, A, Power.SHUTDOWN, 0, Work.LEAVE),  # off already: said all the same
        (TaskState.RESIZE_MIGRATING, A, None, 0, Work.LEAVE),
        (TaskState.RESIZE_MIGRATING, A, Power.SHUTDOWN, 2, Work.NONE),
        (TaskState.RESIZE_FINISH, B, None, 0, Work.ARRIVE),
        (TaskState.RESIZE_FINISH, B, Power.RUNNING, 0, Work.ARRIVE),  # the report got lost
        (TaskState.RESIZE_FINISH, B, Power.RUNNING, 2, Work.NONE),
        (TaskState.RESIZE_REVERTING, B, Power.RUNNING, 0, Work.LEAVE),
        (TaskState.RESIZE_REVERTING, A, Power.SHUTDOWN, 0, Work.START),
        (TaskState.RESIZE_REVERTING, A, Power.RUNNING, 2, Work.NONE),
        (TaskState.REBUILDING, A, None, 0, Work.NONE),
        (TaskState.REBUILD_SPAWNING, B, None, 0, Work.BUILD),
    ],
)
def test_what_a_move_asks_of_either_host(
    task: TaskState, host_id: NodeId, power: Power | None, done: int, expected: Work
) -> None:
    row = placed(**{**AT_REST, "task_state": task, "host_id": host_id})
    assert decide(row, domain(power), move=MOVE, done_generation=done) is expected


def test_a_delete_wins_over_a_move() -> None:
    row = placed(**AT_REST | {"task_state": TaskState.DELETING, "desired": Desired.ABSENT})
    assert decide(row, domain(Power.RUNNING), move=MOVE) is Work.REMOVE


def test_who_is_to_go_back_and_has_no_move_does_nothing() -> None:
    """A row of a newer program's: nobody guesses."""
    row = placed(**AT_REST | {"task_state": TaskState.RESIZE_REVERTING})
    assert decide(row, domain(Power.RUNNING)) is Work.NONE


def test_power_is_not_judged_while_a_task_is_under_way() -> None:
    assert power_change(placed(), domain(Power.SHUTDOWN)) is None
    assert power_change(placed(**AT_REST), domain(Power.PAUSED)) is PowerState.PAUSED
