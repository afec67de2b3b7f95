"""POST /servers/{id}/action: one key says which."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from fabric.api.compute.handlers import moves, shelving
from fabric.api.compute.handlers.servers import server_id
from fabric.api.compute.schemas import server_actions as schemas
from fabric.api.compute.schemas.parameters import as_integer
from fabric.api.compute.versions import v
from fabric.api.faults import ApiError
from fabric.api.request import body, caller, cloud, microversion
from fabric.api.responses import empty_response, json_response
from fabric.api.validation import check_body
from fabric.control import server_actions, servers
from fabric.core.servers.states import Verb

Action = Callable[[web.Request, dict[str, Any]], Awaitable[web.Response]]
_CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")  # terminals and old clients choke on them
NOT_BUILT = frozenset(  # Nova's other actions: known here, so that clients hear why
    """addFixedIp addFloatingIp addSecurityGroup changePassword createBackup createImage
    injectNetworkInfo os-getRDPConsole os-getSPICEConsole os-getSerialConsole
    os-getVNCConsole os-resetNetwork os-resetState pause rebuild removeFixedIp
    removeFloatingIp removeSecurityGroup rescue resetNetwork resize restore resume
    suspend trigger_crash_dump unpause unrescue""".split()
)


async def act(request: web.Request) -> web.Response:
    document = body(request)
    if len(document) != 1:
        raise ApiError(400, "Malformed request body: it must hold exactly one action.")
    (name,) = document
    action = ACTIONS.get(name)
    if action is not None:
        return await action(request, document)
    if name in NOT_BUILT:
        await servers.show(cloud(request), caller(request), server_id(request))
        raise ApiError(501, f"The action {name} is not implemented yet.")
    raise ApiError(400, f"There is no such action: {name[:64]}")


async def _start(request: web.Request, document: dict[str, Any]) -> web.Response:
    check_body(document, schemas.START)
    return await _power(request, Verb.START)


async def _stop(request: web.Request, document: dict[str, Any]) -> web.Response:
    check_body(document, schemas.STOP)
    return await _power(request, Verb.STOP)


async def _reboot(request: web.Request, document: dict[str, Any]) -> web.Response:
    check_body(document, schemas.REBOOT)
    hard = document["reboot"]["type"].upper() == "HARD"
    return await _power(request, Verb.REBOOT_HARD if hard else Verb.REBOOT_SOFT)


async def _force_delete(request: web.Request, document: dict[str, Any]) -> web.Response:
    check_body(document, schemas.FORCE_DELETE)
    return await _power(request, Verb.DELETE)


async def _power(request: web.Request, verb: Verb) -> web.Response:
    await server_actions.act(cloud(request), caller(request), server_id(request), verb)
    return empty_response(202)


async def _lock(request: web.Request, document: dict[str, Any]) -> web.Response:
    reason = None
    if microversion(request) >= v(73):
        check_body(document, schemas.LOCK_73)
        reason = (document["lock"] or {}).get("locked_reason")
    else:
        check_body(document, schemas.LOCK)
    await server_actions.lock(cloud(request), caller(request), server_id(request), reason)
    return empty_response(202)


async def _unlock(request: web.Request, document: dict[str, Any]) -> web.Response:
    check_body(document, schemas.UNLOCK)
    await server_actions.unlock(cloud(request), caller(request), server_id(request))
    return empty_response(202)


async def _console_output(request: web.Request, document: dict[str, Any]) -> web.Response:
    check_body(document, schemas.CONSOLE_OUTPUT)
    length = document["os-getConsoleOutput"].get("length")
    lines = None
    if length is not None:
        lines = as_integer(length, -1)
        if lines is None:
            raise ApiError(400, "Invalid input for field/attribute length: it must be -1 or more.")
    text = await server_actions.console_log(
        cloud(request), caller(request), server_id(request), None if lines == -1 else lines
    )
    return json_response({"output": _CONTROL_CHARACTERS.sub("", text)})


ACTIONS: Mapping[str, Action] = {
    **moves.ACTIONS,
    **shelving.ACTIONS,
    "os-start": _start,
    "os-stop": _stop,
    "reboot": _reboot,
    "forceDelete": _force_delete,
    "lock": _lock,
    "unlock": _unlock,
    "os-getConsoleOutput": _console_output,
}
