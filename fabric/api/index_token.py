"""`X-Fabric-Index`: read-your-writes for a client that hops between API nodes.

Every answer says up to which log entry the node's rows were. A client that sends that number back, to any API
node, is answered from rows that hold at least as much.
"""

from __future__ import annotations

from aiohttp import web

from fabric.api.faults import ApiError
from fabric.api.request import cloud
from proto.ids import LogIndex

HEADER = "X-Fabric-Index"
WAIT_MS = 5_000
DIGITS_MAX = 16  # of 2^53; a longer number is not even read


async def wait_for_index(request: web.Request) -> None:
    """Until the rows hold what the request asks for. Raises ApiError 400, and DeadlineExceededError when
    this node is too far behind: another may not be."""
    text = request.headers.get(HEADER)
    wait = cloud(request).wait_applied
    if text is None:
        return
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX):
        raise ApiError(400, f"{HEADER} must be a whole number that an answer had in that header.")
    if wait is not None:
        await wait(LogIndex(int(text)), timeout_ms=WAIT_MS)


async def catch_up_to_act(request: web.Request, *, is_public: bool) -> None:
    """What changes something looks first, and must not refuse because of what this node has not heard yet.
    Logging in changes nothing: it works without a quorum. Raises NoQuorumError, DeadlineExceededError."""
    catch_up = cloud(request).catch_up
    if catch_up is not None and not is_public and request.method not in ("GET", "HEAD"):
        await catch_up()


def stamp_index(request: web.Request, response: web.StreamResponse) -> None:
    response.headers[HEADER] = str(cloud(request).state.applied_index)
