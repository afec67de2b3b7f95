"""The checker of histories: against brute force, against known good and bad ones, and its limits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import inf
from random import Random
from typing import Any

import pytest

from tests.sim.linearizability import (
    UNKNOWN,
    Finding,
    Model,
    Operation,
    Verdict,
    check,
)
from tests.sim.linearizability_models import (
    CONFLICT,
    CREATED,
    DELETED,
    CompareAndSet,
    Create,
    Delete,
    Look,
    ProjectName,
    Read,
    Register,
    Write,
    key,
    name,
)
from tests.sim.seeds import seeds

SMALL_HISTORIES = 200  # a seed


def history(*lines: tuple[Any, ...]) -> list[Operation]:
    """Of (called, returned, input, output); without the output it is unknown."""
    return [
        Operation(f"c{number}", line[0], line[1] if len(line) > 3 else inf, line[2], *line[3:])
        for number, line in enumerate(lines)
    ]


def permuted(history: Sequence[Operation], model: Model) -> bool:
    """The definition itself: some order of all that returned and some of the rest explains every output."""
    ended = [operation for operation in history if operation.returned != inf]
    open_ended = [operation for operation in history if operation.returned == inf]
    return any(
        _explains(order, model)
        for count in range(len(open_ended) + 1)
        for some in itertools.combinations(open_ended, count)
        for order in itertools.permutations([*ended, *some])
    )


def _explains(order: Sequence[Operation], model: Model) -> bool:
    if any(later.returned < earlier.called for earlier, later in itertools.combinations(order, 2)):
        return False
    state: Any = model.initial
    for operation in order:
        state, output = model.apply(state, operation.input)
        if operation.output is not UNKNOWN and output != operation.output:
            return False
    return True


def some_register_input(rng: Random) -> Any:
    match rng.randrange(3):
        case 0:
            return Read()
        case 1:
            return Write(rng.randrange(3))
        case _:
            return CompareAndSet(rng.choice((None, 0, 1, 2)), rng.randrange(3))


def some_name_input(rng: Random) -> Any:
    number = rng.randrange(3)
    match rng.randrange(3):
        case 0:
            return Look("n")
        case 1:
            return Create(f"c{number}", "n", f"p{number}")
        case _:
            return Delete(f"d{number}", "n", f"p{number}")


OBJECTS = [(Register(), some_register_input), (ProjectName(), some_name_input)]
OBJECT_IDS = ["register", "name"]


def lived(
    rng: Random, model: Model, draw: Any, count: int, *, unknown: float, lies: float
) -> list[Operation]:
    """What clients see of an object: each operation takes effect somewhere in its interval. `lies`: of the
    outputs, that were another operation's."""
    moments = sorted((rng.uniform(0, count / 2), number) for number in range(count))
    state: Any = model.initial
    seen: list[Operation] = []
    outputs: list[Any] = [None]
    for at, number in moments:
        asked = draw(rng)
        called, returned = at - rng.uniform(0, 2), at + rng.uniform(0, 2)
        if rng.random() < unknown:
            if rng.random() < 0.5:
                state, _ = model.apply(state, asked)
            seen.append(Operation(number, called, inf, asked))
            continue
        state, output = model.apply(state, asked)
        outputs.append(output)
        if rng.random() < lies:
            output = rng.choice(outputs)
        seen.append(Operation(number, called, returned, asked, output))
    return seen


@pytest.mark.parametrize("seed", seeds(20))
@pytest.mark.parametrize(("model", "draw"), OBJECTS, ids=OBJECT_IDS)
def test_it_agrees_with_the_definition(model: Model, draw: Any, seed: int) -> None:
    rng = Random(seed)
    found = {Verdict.LINEARIZABLE: 0, Verdict.NOT_LINEARIZABLE: 0}
    for _ in range(SMALL_HISTORIES):
        small = lived(rng, model, draw, rng.randrange(1, 7), unknown=0.3, lies=0.4)
        finding = check(small, model)
        assert finding.verdict is not Verdict.UNDECIDED
        assert (finding.verdict is Verdict.LINEARIZABLE) == permuted(small, model), "\n".join(map(str, small))
        found[finding.verdict] += 1
        if finding.prefix:
            assert not permuted(finding.prefix, model)
    assert min(found.values()) >= SMALL_HISTORIES // 20, "the histories do not tell right from wrong"


@pytest.mark.parametrize("seed", seeds(20))
@pytest.mark.parametrize(("model", "draw"), OBJECTS, ids=OBJECT_IDS)
def test_what_an_object_did_is_accepted(model: Model, draw: Any, seed: int) -> None:
    whole = lived(Random(seed), model, draw, 60, unknown=0.05, lies=0)
    finding = check(whole, model)
    assert finding.verdict is Verdict.LINEARIZABLE, finding


GOOD = {
    "reads_during_a_write_see_either": history(
        (0, 1, Write(1), None), (2, 9, Write(2), None), (3, 4, Read(), 1), (5, 6, Read(), 2)
    ),
    "a_lost_reply_took_effect_late": history(
        (0, 1, Write(1), None), (2, inf, Write(2)), (3, 4, Read(), 1), (8, 9, Read(), 2)
    ),
    "a_lost_reply_never_took_effect": history((0, 1, Write(1), None), (2, inf, Write(2)), (8, 9, Read(), 1)),
    "one_of_two_compare_and_sets_wins": history(
        (0, 1, Write(0), None), (2, 5, CompareAndSet(0, 1), True), (2, 5, CompareAndSet(0, 2), False)
    ),
    "called_when_the_other_returns": history((0, 1, Write(1), None), (1, 2, Read(), None)),
}
BAD = {
    "a_stale_read": history((0, 1, Write(1), None), (2, 3, Write(2), None), (4, 5, Read(), 1)),
    "time_goes_back": history(
        (0, 1, Write(1), None), (2, 9, Write(2), None), (3, 4, Read(), 2), (5, 6, Read(), 1)
    ),
    "an_acknowledged_write_is_never_seen": history((0, 1, Write(1), None), (2, 3, Read(), None)),
    "what_nobody_wrote": history((0, 1, Write(1), None), (0, 1, Read(), 2)),
    "a_read_before_the_write": history((0, 1, Read(), 1), (2, 3, Write(1), None)),
    "a_lost_update": history(
        (0, 1, Write(0), None), (2, 5, CompareAndSet(0, 1), True), (2, 5, CompareAndSet(0, 2), True)
    ),
    "a_lost_reply_takes_effect_twice": history(
        (0, inf, Write(1)),
        (2, 3, Read(), 1),
        (4, 5, Write(2), None),
        (6, 7, Read(), 1),
    ),
}


@pytest.mark.parametrize("case", GOOD)
def test_good_histories_of_a_register(case: str) -> None:
    assert check(GOOD[case], Register()).verdict is Verdict.LINEARIZABLE


@pytest.mark.parametrize("case", BAD)
def test_bad_histories_of_a_register(case: str) -> None:
    assert check(BAD[case], Register()).verdict is Verdict.NOT_LINEARIZABLE


ONE, TWO, DROP = Create("q1", "n", "p1"), Create("q2", "n", "p2"), Delete("d1", "n", "p1")
GOOD_NAMES = {
    "asked_again": history((0, 1, ONE, CREATED), (2, 3, ONE, CREATED), (4, 5, Look("n"), "p1")),
    "asked_again_after_its_end": history(
        (0, 1, ONE, CREATED), (2, 3, DROP, DELETED), (4, 5, ONE, CREATED), (6, 7, Look("n"), None)
    ),
    "a_conflict_with_a_lost_reply": history((0, inf, ONE), (1, 2, TWO, CONFLICT), (3, 4, Look("n"), "p1")),
}
BAD_NAMES = {
    "one_request_takes_effect_twice": history(
        (0, 1, ONE, CREATED), (2, 3, DROP, DELETED), (4, 5, ONE, CREATED), (6, 7, Look("n"), "p1")
    ),
    "two_projects_of_one_name": history((0, 9, ONE, CREATED), (0, 9, TWO, CREATED)),
    "a_conflict_with_nobody": history((0, 1, TWO, CONFLICT), (2, 3, ONE, CREATED)),
    "told_one_thing_and_then_another": history((0, 1, ONE, CREATED), (2, 3, ONE, CONFLICT)),
    "an_acknowledged_create_is_lost": history((0, 1, ONE, CREATED), (2, 3, Look("n"), None)),
}


@pytest.mark.parametrize("case", GOOD_NAMES)
def test_good_histories_of_a_name(case: str) -> None:
    assert check(GOOD_NAMES[case], ProjectName(), key_of=name).verdict is Verdict.LINEARIZABLE


@pytest.mark.parametrize("case", BAD_NAMES)
def test_bad_histories_of_a_name(case: str) -> None:
    assert check(BAD_NAMES[case], ProjectName(), key_of=name).verdict is Verdict.NOT_LINEARIZABLE


def test_people_are_shown_the_shortest_prefix_of_the_key_that_fails() -> None:
    bad = BAD["a_stale_read"]
    later = history((10, 11, Write(7), None), (12, 13, Read(), 7), (0, 20, Read("other"), None))
    finding = check(bad + later, Register(), key_of=key)
    assert finding.key == ""
    assert list(finding.prefix) == bad
    assert str(finding).splitlines()[1:] == [
        "  [0, 1] c0: Write(value=1, key='') -> None",
        "  [2, 3] c1: Write(value=2, key='') -> None",
        "  [4, 5] c2: Read(key='') -> 1",
    ]


def hard_history(writes: int) -> list[Operation]:
    """Each order of the writes has to be tried before it is known that none gives the read's value."""
    return history(*((0, inf, Write(value)) for value in range(writes)), (1, 2, Read(), "none of them"))


def test_what_the_budget_does_not_decide_is_not_passed() -> None:
    assert check(hard_history(6), Register()).verdict is Verdict.NOT_LINEARIZABLE
    assert check(hard_history(20), Register(), states_max=1_000) == Finding(Verdict.UNDECIDED, 1_000)


def test_one_key_that_fails_outweighs_one_that_is_undecided() -> None:
    wrong = history((0, 1, Read("other"), 1))
    finding = check(hard_history(20) + wrong, Register(), key_of=key, states_max=1_000)
    assert (finding.verdict, finding.key) == (Verdict.NOT_LINEARIZABLE, "other")


def test_a_long_history_of_many_clients_takes_few_states() -> None:
    """Two thousand operations of 16 clients, one at a time each, on 50 keys: the n-th is done at n/16."""
    rng = Random(1)
    state: dict[str, Any] = {}
    free = [0.0] * 16
    register = Register()
    long: list[Operation] = []
    for number in range(2_000):
        client = number % 16
        called = max(free[client], number / 16 - rng.random())
        free[client] = returned = number / 16 + rng.random()
        on = f"k{rng.randrange(50)}"
        asked = rng.choice((Read(on), Write(number, on), CompareAndSet(state.get(on), number, on)))
        state[on], output = register.apply(state.get(on), asked)
        if rng.random() < 0.05:
            long.append(Operation(client, called, inf, asked))
        else:
            long.append(Operation(client, called, returned, asked, output))
    finding = check(long, register, key_of=key)
    assert finding.verdict is Verdict.LINEARIZABLE
    assert finding.states < 5 * len(long)
