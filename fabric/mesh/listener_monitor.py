"""Counts what libzmq itself throws out at our door, for metrics: it tells nobody else.

Bare connections that say nothing are not counted: they are how nodes look whether a process is there.
"""

from __future__ import annotations

from collections import Counter

import zmq
from zmq.utils.monitor import parse_monitor_message

from fabric.mesh.fd_reader import FdReader

_ENDPOINT = "inproc://listener-monitor"  # one listener a context
_REASONS: dict[int, str] = {
    zmq.PROTOCOL_ERROR_ZMTP_INVALID_SEQUENCE: "replayed",  # a message's nonce did not grow
    zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC: "forged",  # a message does not open under the connection's keys
}


class ListenerMonitor:
    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        listener: zmq.Socket[bytes],
        dropped: Counter[str],
    ) -> None:
        self._listener = listener
        self._dropped = dropped
        listener.monitor(_ENDPOINT, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
        self._socket = context.socket(zmq.PAIR)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(_ENDPOINT)
        self._reader = FdReader(self._socket, self._read_one)

    def close(self) -> None:
        """Before the listener is closed."""
        self._reader.close()
        self._listener.disable_monitor()
        self._socket.close()

    def _read_one(self) -> None:
        event = parse_monitor_message(self._socket.recv_multipart(zmq.NOBLOCK))
        self._dropped[_REASONS.get(int(event["value"]), "handshake_failed")] += 1
