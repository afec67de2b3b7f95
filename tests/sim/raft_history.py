"""What the users of a world of voters asked and were told, as a history for the checker."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from math import inf

from fabric.store.apply import Outcome
from proto.commands import Command
from proto.commands.identity import ProjectCreate, ProjectDelete
from proto.ids import RequestId
from tests.sim.linearizability import Finding, Operation, check
from tests.sim.linearizability_models import CREATED, DELETED, Create, Delete, Look, ProjectName, name

NAMES_LOOKED_AT = 10
STATES_MAX = 200_000  # of one name


class RaftHistory:
    """Each asking is an operation of its own, also of a request asked before: it has to be told the same.
    A look at the rows is one operation for each of the names that were asked for last."""

    def __init__(self) -> None:
        self._ended: list[Operation] = []
        self._open: dict[Hashable, Operation] = {}
        self._looks: dict[Hashable, int] = {}  # key -> when it was asked
        self._names: deque[str] = deque(maxlen=NAMES_LOOKED_AT)
        self._creates: dict[str, Create] = {}  # by project

    def asked(self, key: Hashable, request_id: RequestId, command: Command, now_ms: int) -> None:
        match command:
            case ProjectCreate():
                create = Create(request_id, command.name, command.project_id)
                self._names.append(command.name)
                self._creates[command.project_id] = create
                self._open[key] = Operation(key, now_ms, inf, create)
            case ProjectDelete():
                of = self._creates[command.project_id]
                self._names.append(of.name)
                self._open[key] = Operation(key, now_ms, inf, Delete(request_id, of.name, of.project_id))

    def told(self, key: Hashable, outcome: Outcome, now_ms: int) -> None:
        operation = self._open.pop(key, None)
        if operation is None:
            return  # no concern of the model
        done = CREATED if isinstance(operation.input, Create) else DELETED
        told = done if outcome.rejection is None else outcome.rejection[0]
        self._ended.append(Operation(key, operation.called, now_ms, operation.input, told))

    def refused(self, key: Hashable) -> None:
        """It was not done and never will be."""
        self._open.pop(key, None)
        self._looks.pop(key, None)

    def asks_to_look(self, key: Hashable, now_ms: int) -> None:
        self._looks[key] = now_ms

    def looked(self, key: Hashable, projects: Mapping[str, str], now_ms: int) -> None:
        """`projects`: name -> id of all there are."""
        called_ms = self._looks.pop(key)
        self._ended += [
            Operation(key, called_ms, now_ms, Look(each), projects.get(each))
            for each in sorted({*self._names})
        ]

    def __len__(self) -> int:
        return len(self._ended) + len(self._open)

    def check(self) -> Finding:
        """Reads without an answer tell nothing; commands without one may have been done or not."""
        history = [*self._ended, *self._open.values()]
        return check(history, ProjectName(), key_of=name, states_max=STATES_MAX)
