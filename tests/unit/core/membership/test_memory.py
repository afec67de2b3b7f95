"""What a node writes down of its peers, and when: it is all that it knows when it starts again."""

from __future__ import annotations

import pytest

from fabric.core.membership.events import Effect, LeaveRequested, Persist
from fabric.core.membership.record import read_state
from proto.membership import State
from tests.fixtures.lone_core import LoneCore, record_of, state_of
from tests.fixtures.membership_nodes import fake_node_id, fake_removal

NEW_PLACE = "tcp://elsewhere:7000"


def kept(effects: list[Effect]) -> list[Persist]:
    return [effect for effect in effects if isinstance(effect, Persist)]


def place_of(persist: Persist, name: str) -> str:
    records = (read_state(state).record for state in persist.states)
    return next(record.endpoint for record in records if record.name == name)


def test_many_changes_are_written_once_and_soon() -> None:
    world = LoneCore(("a", "b"))
    world.wait(world.config.persist_interval_ms, beating=("a", "b"))
    world.effects.clear()
    for version in (2, 3, 4):
        world.learn(state_of(record_of("a", version=version, endpoint=NEW_PLACE)), sender="b")
    assert kept(world.effects) == []
    (one,) = kept(world.wait(world.config.persist_interval_ms, beating=("a", "b")))
    assert place_of(one, "a") == NEW_PLACE


@pytest.mark.parametrize("is_removed", [True, False], ids=["removed", "stopped"])
def test_a_last_word_leaves_nothing_unwritten(is_removed: bool) -> None:
    """Found in the field: a node was removed seconds after another had new keys. It was started again, asked
    the door of that other under the old key, and never heard that it was removed."""
    world = LoneCore(("a", "b"))
    world.wait(world.config.persist_interval_ms, beating=("a", "b"))
    world.learn(state_of(record_of("a", epoch=2, endpoint=NEW_PLACE)), sender="b")
    removal = fake_removal(fake_node_id("me"))
    if is_removed:
        effects = world.hear("b", State(removals=(removal,)))
    else:
        effects = world.tell(LeaveRequested(for_good=False))
    (one,) = kept(effects)
    assert place_of(one, "a") == NEW_PLACE
    assert one.removals == ((removal,) if is_removed else ())


def test_a_stop_with_nothing_new_writes_nothing() -> None:
    world = LoneCore(("a", "b"))
    world.wait(world.config.persist_interval_ms, beating=("a", "b"))
    assert kept(world.tell(LeaveRequested(for_good=False))) == []
