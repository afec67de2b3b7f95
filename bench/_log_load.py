"""Commands for a log, so many in flight, for so long: who proposes them waits in the same process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from bench._server_creates import Proposer, Tenant, create
from proto.commands import Command
from proto.commands.identity import ProjectCreate
from proto.ids import DomainId, ProjectId, new_hex_id, new_request_id

PUT_BYTES = 512
DOMAIN = DomainId("default")


def project() -> ProjectCreate:
    """A tiny command with `PUT_BYTES` of content: one row, no other row looked at but its domain's."""
    project_id = new_hex_id()
    return ProjectCreate(
        project_id=ProjectId(project_id), domain_id=DOMAIN, name=project_id, description="x" * PUT_BYTES
    )


async def put(state: Proposer) -> None:
    await state.propose(project(), request_id=new_request_id())


async def load(
    state: Proposer,
    *,
    kind: str,
    in_flight: int,
    seconds: float | None = None,
    count: int | None = None,
    tenant: dict[str, Any] | None = None,
    first: int = 0,
) -> dict[str, Any]:
    """`kind`: "put" or "create"; a create is of the server `first` and those after it. Ends after `seconds`,
    or when `count` were proposed; what is in flight then is waited for and counts."""
    made = first
    until = None if seconds is None else time.perf_counter() + seconds

    def creating() -> Command:
        assert tenant is not None
        return create(Tenant(**tenant), made, time.time_ns() // 1_000_000)

    make: Callable[[], Command] = creating if kind == "create" else project
    waits: list[float] = []

    async def proposer() -> None:
        nonlocal made
        while (until is None or time.perf_counter() < until) and (count is None or made - first < count):
            command = make()
            made += 1
            began = time.perf_counter()
            await state.propose(command, request_id=new_request_id())
            waits.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(proposer())
    return {"took_s": time.perf_counter() - began, "next": made, "waits": [round(one, 6) for one in waits]}
