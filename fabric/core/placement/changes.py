"""What would have to be otherwise for a host to take a server: proposals of filters, to be tried before
anybody hears of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from fabric.core.placement.host_facts import AggregateFacts, HostFacts
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.request import PlacementRequest

Edit = Callable[[PlacementRequest], PlacementRequest]
Rebuild = Callable[[HostTable], None]


def _same(request: PlacementRequest) -> PlacementRequest:
    return request


def _nothing(table: HostTable) -> None:
    del table


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """`text` completes "it would fit, if ...". What names a host or what it has is for admins alone.
    `kind`, `subject` and `value` say the same for programs."""

    text: str
    kind: str  # "request", "host" or "aggregate": who could do it
    subject: str = ""  # a host's or an aggregate's name, or the field of the request
    value: Any = None
    edit: Edit = _same
    rebuild: Rebuild = _nothing  # on a copy
    is_more: bool = False  # of what a host has: that is not had by a command

    @property
    def is_admins(self) -> bool:
        return self.kind != "request"


def ask_otherwise(text: str, subject: str, value: Any, edit: Edit) -> Change:
    return Change(text=text, kind="request", subject=subject, value=value, edit=edit)


def together(*changes: Change) -> Change:
    """All of them as one, each of which the same people could make."""
    first = changes[0]
    if len(changes) == 1:
        return first
    same = all(isinstance(change.value, dict) for change in changes)

    def edit(request: PlacementRequest) -> PlacementRequest:
        for change in changes:
            request = change.edit(request)
        return request

    def rebuild(table: HostTable) -> None:
        for change in changes:
            change.rebuild(table)

    return Change(
        text=" and ".join(change.text for change in changes),
        kind=first.kind,
        subject=first.subject,
        value={key: each for change in changes for key, each in change.value.items()}
        if same
        else [change.value for change in changes],
        edit=edit,
        rebuild=rebuild,
        is_more=any(change.is_more for change in changes),
    )


def other_flavor(text: str, subject: str, value: Any, **fields: Any) -> Change:
    return ask_otherwise(
        text, subject, value, lambda request: replace(request, flavor=replace(request.flavor, **fields))
    )


def without_extra_specs(*names: str) -> Change:
    def edit(request: PlacementRequest) -> PlacementRequest:
        kept = {name: value for name, value in request.flavor.extra_specs.items() if name not in names}
        return replace(request, flavor=replace(request.flavor, extra_specs=kept))

    return ask_otherwise(f"the flavor had no {' and '.join(names)}", "flavor", list(names), edit)


def without_image_properties(*names: str) -> Change:
    def edit(request: PlacementRequest) -> PlacementRequest:
        kept = {name: value for name, value in request.image_properties.items() if name not in names}
        return replace(request, image_properties=kept)

    return ask_otherwise(f"the image had no {' and '.join(names)}", "image", list(names), edit)


def without_hints(*names: str) -> Change:
    def edit(request: PlacementRequest) -> PlacementRequest:
        return replace(
            request, hints={name: value for name, value in request.hints.items() if name not in names}
        )

    return ask_otherwise(
        f"it was asked for without the hint {' and '.join(names)}", "hints", list(names), edit
    )


def other_host(
    text: str,
    facts: HostFacts,
    value: Any,
    make: Callable[[HostFacts], HostFacts],
    *,
    is_more: bool = False,
) -> Change:
    """`make` is given the host as it is when the change is tried."""
    host_id = facts.host.host_id

    def rebuild(table: HostTable) -> None:
        table.put(make(table.hosts[table.place[host_id]]))

    return Change(
        text=text, kind="host", subject=facts.host.name, value=value, rebuild=rebuild, is_more=is_more
    )


def other_aggregate(text: str, aggregate: AggregateFacts, value: Any, **fields: Any) -> Change:
    def rebuild(table: HostTable) -> None:
        around = table.around
        others = tuple(
            replace(each, **fields) if each.aggregate_id == aggregate.aggregate_id else each
            for each in around.aggregates
        )
        table.surround(replace(around, aggregates=others))

    return Change(text=text, kind="aggregate", subject=aggregate.name, value=value, rebuild=rebuild)
