"""Who is heard in a host's name when two processes may have its keys."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.core.membership.model import Member, MemberState
from fabric.runtime.ownership import CONTESTED_MS, OwnerUnclearError, Process, lives_elsewhere, need_owner
from tests.fixtures.mesh_view_double import member_named

HERE, THERE = "tcp://h3:7000", "tcp://copy:7000"


def known(
    state: MemberState = MemberState.ALIVE, *, epoch: int = 2, contested_ms: int | None = None
) -> Member:
    member = member_named("h3", state=state, epoch=epoch)
    record = replace(member.record, boot_id=b"known", endpoint=HERE)
    return replace(member, record=record, contested_ms=contested_ms)


@pytest.mark.parametrize(
    ("process", "state"),
    [
        (None, MemberState.ALIVE),  # a program from before
        (Process(b"known", HERE), MemberState.ALIVE),
        (Process(b"known", THERE), MemberState.ALIVE),  # its address changed, and it says so itself
        (Process(b"again", HERE), MemberState.ALIVE),  # killed and started: nobody waits
        (Process(b"again", THERE), MemberState.LEAVING),  # stopped here, started there
        (Process(b"again", THERE), MemberState.HOST_DOWN),
        (Process(b"again", THERE), MemberState.LEFT),
    ],
)
def test_the_only_owner_is_heard_at_once(process: Process | None, state: MemberState) -> None:
    need_owner(known(state), process, 0)


def test_whoever_was_invited_and_never_started_is_nobody_else() -> None:
    need_owner(known(epoch=0), Process(b"first", THERE), 0)


@pytest.mark.parametrize("state", [MemberState.ALIVE, MemberState.SUSPECT, MemberState.STALLED])
def test_another_process_elsewhere_is_not_heard(state: MemberState) -> None:
    with pytest.raises(
        OwnerUnclearError, match="h3 lives at tcp://h3:7000, and this process is at tcp://copy"
    ):
        need_owner(known(state), Process(b"other", THERE), 0)


def test_while_two_outbid_each_other_neither_is_heard() -> None:
    member = known(contested_ms=5_000)
    for process in (None, Process(b"known", HERE), Process(b"other", THERE)):
        with pytest.raises(OwnerUnclearError, match="two processes"):
            need_owner(member, process, 4_999 + CONTESTED_MS)
    need_owner(member, Process(b"known", HERE), 5_000 + CONTESTED_MS)


def test_a_node_lives_elsewhere_only_while_it_lives() -> None:
    assert lives_elsewhere(known(), THERE)
    assert not lives_elsewhere(known(), HERE)
    assert not lives_elsewhere(known(MemberState.AGENT_DOWN), THERE)
    assert not lives_elsewhere(known(epoch=0), THERE)
    assert not lives_elsewhere(None, THERE)
