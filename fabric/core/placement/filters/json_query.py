"""JsonFilter: the hint `query` is an expression over what hosts have, as a list: `["and", [">=",
"$free_ram_mb", 1024], ["<", "$vcpus_used", 8]]`. Source: Nova's filter; its `$` names are those of
`compute_capabilities`."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fabric.core.placement.changes import Change, without_hints
from fabric.core.placement.filters.compute_capabilities import KNOWN
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest

DEPTH_MAX = 32
CHARS_MAX = 4_096

_COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


class JsonFilter:
    name = "JsonFilter"

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return bool(request.hints.get("query"))

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        query = parse(request.hints["query"][0])
        return np.fromiter((holds(query, facts) for facts in table.hosts), np.bool_, len(table))

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        return Refusal(
            filter_name=self.name, reason="the query does not hold", remark="does not satisfy the query"
        )

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        yield without_hints("query")


def parse(text: str) -> Any:
    """None, which nothing satisfies: it is no such expression. Raises nothing."""
    if len(text) > CHARS_MAX:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def holds(query: Any, facts: HostFacts, depth: int = 0) -> bool:
    if not isinstance(query, list) or not query or depth > DEPTH_MAX:
        return False
    verb, parts = query[0], query[1:]
    if verb == "not":
        return len(parts) == 1 and not holds(parts[0], facts, depth + 1)
    if verb in ("and", "or"):
        found = [holds(part, facts, depth + 1) for part in parts]
        return bool(found) and (all(found) if verb == "and" else any(found))
    values = [_value(part, facts) for part in parts]
    if len(values) < 2:
        return False
    if verb == "in":
        return values[0] in values[1:]
    compare = _COMPARED.get(verb) if isinstance(verb, str) else None
    return compare is not None and all(_compared(compare, values[0], other) for other in values[1:])


def _value(part: Any, facts: HostFacts) -> Any:
    if isinstance(part, str) and part.startswith("$"):
        known = KNOWN.get(part[1:])
        return None if known is None else known(facts)
    return part


def _compared(compare: Callable[[Any, Any], bool], one: Any, other: Any) -> bool:
    try:
        return bool(compare(one, other))
    except TypeError:
        return False
