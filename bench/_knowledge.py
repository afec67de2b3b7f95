"""What each agent of a cluster knows, as it says itself, and when it came to know it.

Agents are heard and never asked: a line in a log or a pipe for each fact, so measuring costs the measured
nothing that it would not do anyway. One thread reads all pipes; `wait` returns when an expectation is met.
"""

from __future__ import annotations

import os
import selectors
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

READ_BYTES = 1 << 16
LINES_KEPT = 30


class Kind(StrEnum):
    UP = "up"  # the agent runs: its process is up and waits for work
    ALIVE = "alive"  # subject: a machine's number
    STALLED = "stalled"
    SUSPECT = "suspect"
    DOWN = "down"
    GONE = "gone"  # left on purpose
    RECORD = "record"  # subject: the token in it
    REPORT = "report"  # subject: JSON the agent was asked for after the measurement


@dataclass(frozen=True, slots=True)
class Fact:
    observer: int  # machine number
    kind: Kind
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    fact: Fact
    at_ns: int  # CLOCK_MONOTONIC, of the agent where it stamps its own lines, else of the line's arrival
    detail: str = ""  # the state in the agent's own word, where it has more words than there are kinds


Parse = Callable[[int, bytes, int], Heard | None]  # observer, line, arrival


@dataclass(frozen=True, slots=True)
class Learned:
    """How long it took until the last observer knew all that was expected of it."""

    after_s: float  # infinite when somebody never learned it
    missing: int  # facts never heard
    busy: float | None = None  # the share of this machine's processors that the agents had meanwhile


@dataclass
class Expectation:
    outstanding: set[Fact]
    heard_ns: dict[Fact, int] = field(default_factory=dict)

    def take(self, heard: Heard) -> None:
        if heard.fact in self.outstanding:
            self.outstanding.discard(heard.fact)
            self.heard_ns[heard.fact] = heard.at_ns

    def learned(self, since_ns: int) -> Learned:
        last_ns = max(self.heard_ns.values(), default=since_ns)
        after_s = float("inf") if self.outstanding else (last_ns - since_ns) / 1e9
        return Learned(after_s, len(self.outstanding))


class Knowledge:
    """Also remembers each observer's latest word on each subject, and counts all words."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._rest: dict[int, bytes] = {}
        self._expectations: list[Expectation] = []
        self.state: dict[tuple[int, str], Kind] = {}  # (observer, machine)
        self.detail: dict[tuple[int, str], str] = {}
        self.words: Counter[Fact] = Counter()
        self.reports: dict[int, str] = {}
        self.last_lines: dict[int, deque[str]] = {}  # of each agent, for whoever looks for what went wrong

    def follow(self, descriptor: int, observer: int, parse: Parse) -> None:
        """Reads that pipe from now on, until its end. A new agent on the same machine forgets what the old
        one knew."""
        os.set_blocking(descriptor, False)
        self._rest[descriptor] = b""
        self.last_lines.setdefault(observer, deque(maxlen=LINES_KEPT))
        self._selector.register(descriptor, selectors.EVENT_READ, (observer, parse))
        for key in [key for key in self.state if key[0] == observer]:
            del self.state[key], self.detail[key]

    def unfollow(self, descriptor: int) -> None:
        if self._rest.pop(descriptor, None) is not None:
            self._selector.unregister(descriptor)

    def expect(self, facts: Iterable[Fact], *, also_known: bool = False) -> Expectation:
        """From now on; `also_known`: what is an observer's latest word already counts, as of now."""
        expectation = Expectation(set(facts))
        if also_known:
            now_ns = time.monotonic_ns()
            for fact in tuple(expectation.outstanding):
                if self.state.get((fact.observer, fact.subject)) is fact.kind:
                    expectation.take(Heard(fact, now_ns))
        self._expectations.append(expectation)
        return expectation

    def wait(self, expectation: Expectation, timeout_s: float) -> Expectation:
        """Until it is met or time is up; the caller looks which."""
        deadline = time.monotonic() + timeout_s
        while expectation.outstanding and (left := deadline - time.monotonic()) > 0:
            self._read(left)
        self._expectations.remove(expectation)
        return expectation

    def listen(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._read(left)

    def settle(self, facts: Iterable[Fact], timeout_s: float) -> bool:
        """Until all of that is what they last said, all at once. False: not within the time."""
        facts = tuple(facts)
        deadline = time.monotonic() + timeout_s
        while not all(self.state.get((fact.observer, fact.subject)) is fact.kind for fact in facts):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.wait(self.expect(facts, also_known=True), left)
        return True

    def close(self) -> None:
        self._selector.close()

    def _read(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            observer, parse = key.data
            descriptor = int(key.fd)
            try:
                data = os.read(descriptor, READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:  # a socket pair whose other end was killed
                data = b""
            arrived_ns = time.monotonic_ns()
            if not data:
                self.unfollow(descriptor)
                continue
            *lines, self._rest[descriptor] = (self._rest[descriptor] + data).split(b"\n")
            self.last_lines[observer].extend(line.decode(errors="replace") for line in lines[-LINES_KEPT:])
            for line in lines:
                heard = parse(observer, line, arrived_ns)
                if heard is not None:
                    self._take(heard)

    def _take(self, heard: Heard) -> None:
        fact = heard.fact
        self.words[fact] += 1
        if fact.kind is Kind.REPORT:
            self.reports[fact.observer] = fact.subject
        elif fact.kind not in (Kind.UP, Kind.RECORD):
            self.state[fact.observer, fact.subject] = fact.kind
            self.detail[fact.observer, fact.subject] = heard.detail
        for expectation in self._expectations:
            expectation.take(heard)


def everyone(observers: Iterable[int], kind: Kind, subjects: Iterable[int]) -> list[Fact]:
    """Each observer about each subject but itself."""
    subjects = tuple(subjects)
    return [Fact(one, kind, str(other)) for one in observers for other in subjects if one != other]
