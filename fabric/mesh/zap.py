"""Who may connect: a minimal ZAP handler (zeromq/rfc 27) on the loop, without a thread of its own.

libzmq asks it once for each CURVE handshake. The answer's User-Id travels with every frame of that
connection, so the sender of a frame is known from its key and never from its content.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import zmq

from fabric.mesh.fd_reader import FdReader

log = logging.getLogger(__name__)

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
_VERSION = b"1.0"
_REQUEST_FRAMES = 9  # id, empty, version, request id, domain, address, identity, mechanism, key

Decide = Callable[[bytes, str], str | None]  # (CURVE public key, address) -> User-Id, None to refuse


class ZapHandler:
    """Must be opened before any listener of the same context is bound."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], decide: Decide) -> None:
        self._decide = decide
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(ZAP_ENDPOINT)
        self._reader = FdReader(self._socket, self._answer_one)

    def close(self) -> None:
        self._reader.close()
        self._socket.close()

    def _answer_one(self) -> None:
        frames = self._socket.recv_multipart(zmq.NOBLOCK)
        if len(frames) < 4:
            return  # nothing to answer to
        user_id = self._user_id(frames)
        code, text = (b"200", b"OK") if user_id is not None else (b"400", b"not a member")
        answer = [frames[0], b"", _VERSION, frames[3], code, text, (user_id or "").encode(), b""]
        self._socket.send_multipart(answer, zmq.NOBLOCK)

    def _user_id(self, frames: list[bytes]) -> str | None:
        if len(frames) != _REQUEST_FRAMES or frames[2] != _VERSION or frames[7] != b"CURVE":
            return None
        address = frames[5].decode("ascii", "replace")
        user_id = self._decide(frames[8], address)
        if user_id is None:
            # DEBUG: a removed node redials for ever; the transport counts refusals
            log.debug("connection refused, key not admitted", extra={"address": address})
        return user_id
