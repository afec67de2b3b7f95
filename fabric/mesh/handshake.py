"""Whether a node's ZAP handler would let a key in, tried by one CURVE handshake."""

from __future__ import annotations

import asyncio

import zmq
from zmq.utils.monitor import parse_monitor_message

from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.fd_reader import FdReader
from fabric.mesh.zmq_options import new_context, set_for_dialler

TIMEOUT_S = 3.0
_MONITOR_ENDPOINT = "inproc://handshake"  # in a context of its own
HANDSHAKE_ENDS = (  # a monitor tells one of these when the key was taken, or will not be
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
)


async def is_admitted(
    endpoint: str, keys: CurveKeyPair, server_public: bytes, *, timeout_s: float = TIMEOUT_S
) -> bool:
    """False too when nobody answers there, or not with that server key."""
    return await handshake(endpoint, keys, server_public, timeout_s=timeout_s) is True


async def handshake(
    endpoint: str, keys: CurveKeyPair, server_public: bytes, *, timeout_s: float = TIMEOUT_S
) -> bool | None:
    """Whether it succeeds. None: nobody said anything in time, as a process that is stopped does not."""
    context = new_context()
    socket, monitor = context.socket(zmq.DEALER), context.socket(zmq.PAIR)
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def read_event() -> None:
        event = parse_monitor_message(monitor.recv_multipart(zmq.NOBLOCK))["event"]
        if not done.done():
            done.set_result(event == zmq.EVENT_HANDSHAKE_SUCCEEDED)

    set_for_dialler(socket, keys, server_public)
    monitor.setsockopt(zmq.LINGER, 0)
    socket.monitor(_MONITOR_ENDPOINT, HANDSHAKE_ENDS)
    monitor.connect(_MONITOR_ENDPOINT)
    reader = FdReader(monitor, read_event)
    try:
        socket.connect(endpoint)
        async with asyncio.timeout(timeout_s):
            return await done
    except (TimeoutError, zmq.ZMQError):
        return None
    finally:
        reader.close()
        socket.disable_monitor()
        socket.close()
        monitor.close()
        await asyncio.to_thread(context.term)
