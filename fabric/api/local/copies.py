"""Routes of the local socket that give copies of the rows. These hold secrets; whoever may open the socket,
by its file's mode, could read the rows' own file as well."""

from __future__ import annotations

import asyncio
import json
import os
from typing import IO, Protocol

from aiohttp import web

CHUNK_BYTES = 1 << 20


class CopyDesk(Protocol):
    """Each gives an open file without a name, at its beginning, which its caller closes. Each raises a
    FabricError where it cannot be done, which says why and where to ask."""

    async def export(self) -> IO[bytes]: ...

    async def back_up(self, *, with_root_key: bool) -> IO[bytes]: ...


def copy_routes(desk: CopyDesk) -> list[web.RouteDef]:
    async def export(request: web.Request) -> web.StreamResponse:
        return await _send(request, await desk.export())

    async def back_up(request: web.Request) -> web.StreamResponse:
        with_root_key = await _flag(request, "with_root_key")
        return await _send(request, await desk.back_up(with_root_key=with_root_key))

    return [web.post("/rows/export", export), web.post("/rows/backup", back_up)]


async def _send(request: web.Request, file: IO[bytes]) -> web.StreamResponse:
    """Its length goes ahead, so that one who reads less knows it."""
    with file:
        answer = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        answer.content_length = os.fstat(file.fileno()).st_size
        await answer.prepare(request)
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            await answer.write(chunk)
        await answer.write_eof()
    return answer


async def _flag(request: web.Request, name: str) -> bool:
    try:
        body = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, LookupError) as error:
        raise web.HTTPBadRequest(text=f"not JSON: {error}") from error
    return isinstance(body, dict) and body.get(name) is True
