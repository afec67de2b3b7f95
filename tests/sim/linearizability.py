"""Did clients see one object, or something else? Whether a history is linearizable (Herlihy and Wing, 1990).

The search is Wing and Gong's ("Testing and Verifying Concurrent Objects", 1993): linearize any operation
that nothing unlinearized returned before, go on, and go back where an output does not fit. Lowe's cache
("Testing for linearizability", 2017) remembers which operations were linearized to reach which state, so that
no such pair is searched twice. An object of many keys is checked key by key: linearizability is local, a
history is linearizable when each key's part of it is (Herlihy and Wing, theorem 1).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf
from typing import Any, Final, Protocol

STATES_MAX = 1_000_000


class Unknown:
    """The output of an operation that nobody heard the end of."""

    def __repr__(self) -> str:
        return "?"


UNKNOWN: Final = Unknown()


@dataclass(frozen=True, slots=True)
class Operation:
    """`returned` is infinite while nobody knows what came of it: then it may take effect at any time after
    its call, or never. Intervals are closed: what is called when another returns overlaps it."""

    process: Hashable
    called: float
    returned: float
    input: Any
    output: Any = UNKNOWN

    def __post_init__(self) -> None:
        assert self.called <= self.returned
        assert (self.output is UNKNOWN) == (self.returned == inf)

    def __str__(self) -> str:
        end = "" if self.returned == inf else f"{self.returned:g}"
        return f"[{self.called:g}, {end}] {self.process}: {self.input} -> {self.output}"


class Model(Protocol):
    """The object as a program with one client: states are hashable, and equal when they behave alike."""

    @property
    def initial(self) -> Hashable: ...

    def apply(self, state: Any, asked: Any) -> tuple[Hashable, Any]:
        """The state after, and the output."""


class Verdict(StrEnum):
    LINEARIZABLE = "linearizable"
    NOT_LINEARIZABLE = "not linearizable"
    UNDECIDED = "undecided"  # more states than the budget holds: proves nothing


@dataclass(frozen=True, slots=True)
class Finding:
    verdict: Verdict
    states: int = 0  # visited
    key: Hashable = None  # whose part of the history it is about
    prefix: Sequence[Operation] = field(default=())  # the shortest that is not linearizable

    def __str__(self) -> str:
        lines = [f"{self.verdict} ({self.key}, {self.states} states)", *map(str, self.prefix)]
        return "\n  ".join(lines)


def check(
    history: Iterable[Operation],
    model: Model,
    *,
    key_of: Callable[[Any], Hashable] = lambda asked: None,
    states_max: int = STATES_MAX,
) -> Finding:
    """The worst finding of any key; the budget is each key's own. `key_of`: which object an input is about;
    `model` is one of them."""
    parts: dict[Hashable, list[Operation]] = defaultdict(list)
    for operation in history:
        parts[key_of(operation.input)].append(operation)
    undecided: Finding | None = None
    visited = 0
    for key, part in parts.items():
        verdict, states = _search(part, model, states_max)
        visited += states
        if verdict is Verdict.NOT_LINEARIZABLE:
            return Finding(verdict, visited, key, _shortest_prefix(part, model, states_max))
        if verdict is Verdict.UNDECIDED:
            undecided = Finding(verdict, visited, key)
    return undecided or Finding(Verdict.LINEARIZABLE, visited)


def cut(history: Iterable[Operation], at: float) -> list[Operation]:
    """What was known at that time."""
    return [
        operation if operation.returned <= at else replace(operation, returned=inf, output=UNKNOWN)
        for operation in history
        if operation.called <= at
    ]


def _shortest_prefix(history: Sequence[Operation], model: Model, states_max: int) -> list[Operation]:
    """Where a prefix fails each longer one does, too."""
    ends = sorted({operation.returned for operation in history if operation.returned != inf})
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if _search(cut(history, ends[middle]), model, states_max)[0] is Verdict.NOT_LINEARIZABLE:
            high = middle
        else:
            low = middle + 1
    return sorted(cut(history, ends[high]), key=lambda operation: operation.called)


class _Event:
    """A call or a return in the list of those not linearized yet. `returns` None: a return itself, or a call
    whose end is unknown."""

    __slots__ = ("after", "before", "bit", "operation", "returns")

    def __init__(self, operation: Operation | None, bit: int) -> None:
        self.operation = operation  # None: a return
        self.bit = bit
        self.returns: _Event | None = None
        self.before: _Event | None = None
        self.after: _Event | None = None

    def lift(self) -> None:
        for event in (self, self.returns):
            if event is not None:
                assert event.before is not None
                event.before.after = event.after
                if event.after is not None:
                    event.after.before = event.before

    def unlift(self) -> None:
        for event in (self.returns, self):
            if event is not None:
                assert event.before is not None
                event.before.after = event
                if event.after is not None:
                    event.after.before = event


def _linked(history: Sequence[Operation]) -> _Event:
    """The head, which is no event, of all events in their order; calls before returns of the same time."""
    events: list[tuple[float, int, _Event]] = []
    for number, operation in enumerate(history):
        call = _Event(operation, 1 << number)
        events.append((operation.called, 0, call))
        if operation.returned != inf:
            call.returns = _Event(None, 0)
            events.append((operation.returned, 1, call.returns))
    head = last = _Event(None, 0)
    for _, _, event in sorted(events, key=lambda each: each[:2]):
        last.after, event.before = event, last
        last = event
    return head


def _search(history: Sequence[Operation], model: Model, states_max: int) -> tuple[Verdict, int]:
    head = _linked(history)
    to_return = sum(operation.returned != inf for operation in history)
    state: Hashable = model.initial
    linearized = 0
    seen: set[tuple[int, Hashable]] = {(0, state)}
    done: list[tuple[_Event, Hashable]] = []  # with the state before
    event = head.after
    while to_return:
        assert event is not None, "a return stands in the list until its call is linearized"
        operation = event.operation
        if operation is None:  # what returned here has to be linearized by now
            if not done:
                return Verdict.NOT_LINEARIZABLE, len(seen)
            event, state = done.pop()
            event.unlift()
            linearized ^= event.bit
            to_return += event.returns is not None
            event = event.after
            continue
        after, output = model.apply(state, operation.input)
        if event.returns is None:
            fits = after != state  # without an effect that it took one proves nothing
        else:
            fits = output == operation.output
        if fits and (reached := (linearized | event.bit, after)) not in seen:
            if len(seen) >= states_max:
                return Verdict.UNDECIDED, len(seen)
            seen.add(reached)
            done.append((event, state))
            linearized, state = reached
            to_return -= event.returns is not None
            event.lift()
            event = head.after
        else:
            event = event.after
    return Verdict.LINEARIZABLE, len(seen)
