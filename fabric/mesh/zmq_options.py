"""Every libzmq setting whose default bites, set on purpose. Source: design/gossip.md 4.8."""

from __future__ import annotations

import zmq

from fabric.mesh.curve import CurveKeyPair
from proto.codec import FRAME_BYTES_MAX

SOCKETS_MAX = 8_192  # three for each link (DEALER, both ends of its monitor); the default is 1,023
SEND_QUEUE_FRAMES_MAX = 64  # for each peer; above it `send` says no, and the caller's queue keeps only news
RECEIVE_QUEUE_FRAMES_MAX = 1_000  # for each inbound connection; then TCP holds the sender back
BACKLOG_CONNECTIONS_MAX = 1_024  # a whole fabric may dial at once; the default is 100
HANDSHAKE_TIMEOUT_MS = 3_000  # a connection that says nothing is dropped; the default is 30 s
# beats tell a silent neighbour sooner; this finds half-open connections, and costs bytes
HEARTBEAT_INTERVAL_MS = 5_000
HEARTBEAT_TIMEOUT_MS = 7_500
CONNECT_TIMEOUT_MS = 2_000
# Above a frame's own bound, so that one which is too long by a little is dropped and counted like any other
# bad frame. libzmq cuts the connection of one that is longer still, before it takes any memory and without
# telling the listener; it also measures the encrypted message, 33 bytes more than ours.
MESSAGE_BYTES_MAX = FRAME_BYTES_MAX + 64 * 1024
ZAP_DOMAIN = b"fabric"


def new_context() -> zmq.Context[zmq.Socket[bytes]]:
    """One for each transport: a ZAP handler serves a whole context."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, SOCKETS_MAX)
    return context


def set_for_all(socket: zmq.Socket[bytes]) -> None:
    socket.setsockopt(zmq.LINGER, 0)  # close drops what is queued, so shutdown never hangs
    socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)  # unbounded by default
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_TIMEOUT_MS)


def set_for_listener(socket: zmq.Socket[bytes], keys: CurveKeyPair, bind: str) -> None:
    """A bound ROUTER, which sends no heartbeats of its own (see `set_for_dialler`). Routing ids are left to
    libzmq and never chosen by the peer's side, so no stale one can block a restarted peer; HANDOVER stays
    off, else any member could take another's link."""
    set_for_all(socket)
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
    socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without a handler nobody gets in, instead of everybody
    socket.setsockopt(zmq.BACKLOG, BACKLOG_CONNECTIONS_MAX)
    socket.setsockopt(zmq.RCVHWM, RECEIVE_QUEUE_FRAMES_MAX)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # an answer to who has gone is an error, not silence
    socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
    socket.setsockopt(zmq.IPV6, "[" in bind)  # with it on, IPv4 addresses come back as [::ffff:a.b.c.d]


def set_for_dialler(socket: zmq.Socket[bytes], keys: CurveKeyPair, server_public: bytes) -> None:
    """A DEALER to one peer whose key we know beforehand."""
    set_for_all(socket)
    socket.setsockopt(zmq.CURVE_SERVERKEY, server_public)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
    socket.setsockopt(zmq.SNDHWM, SEND_QUEUE_FRAMES_MAX)
    socket.setsockopt(zmq.RCVHWM, 16)  # nothing is expected back on a mesh link
    socket.setsockopt(zmq.IMMEDIATE, 1)  # no frame waits for a link that may never come
    socket.setsockopt(zmq.RECONNECT_IVL, -1)  # we redial with our own back-off, see peer_link.py
    socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS)
    # Only who dialled asks; its pings tell the listener when to give the connection up. Both asking would be
    # twice the traffic for nothing: the listener learns of a dead peer by the link it dialled itself.
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_INTERVAL_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.IPV6, 1)
