"""libzmq's defaults that bite (design/gossip.md, 4.8), as the sockets really have them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from fabric.mesh import zmq_options
from fabric.mesh.curve import new_curve_key_pair


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context = zmq_options.new_context()
    yield context
    context.destroy(linger=0)


def test_a_listener(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    router = context.socket(zmq.ROUTER)
    zmq_options.set_for_listener(router, new_curve_key_pair(), "tcp://127.0.0.1:*")
    assert router.get(zmq.LINGER) == 0
    assert router.get(zmq.MAXMSGSIZE) == zmq_options.MESSAGE_BYTES_MAX
    assert router.get(zmq.HANDSHAKE_IVL) == zmq_options.HANDSHAKE_TIMEOUT_MS
    assert router.get(zmq.BACKLOG) == zmq_options.BACKLOG_CONNECTIONS_MAX
    assert router.get(zmq.RCVHWM) == zmq_options.RECEIVE_QUEUE_FRAMES_MAX
    assert router.get(zmq.CURVE_SERVER) == 1
    assert router.get(zmq.ZAP_DOMAIN) == zmq_options.ZAP_DOMAIN


def test_a_dialler(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    dealer = context.socket(zmq.DEALER)
    keys, peer = new_curve_key_pair(), new_curve_key_pair()
    zmq_options.set_for_dialler(dealer, keys, peer.public)
    assert dealer.get(zmq.LINGER) == 0
    assert dealer.get(zmq.MAXMSGSIZE) == zmq_options.MESSAGE_BYTES_MAX
    assert dealer.get(zmq.SNDHWM) == zmq_options.SEND_QUEUE_FRAMES_MAX
    assert dealer.get(zmq.IMMEDIATE) == 1
    assert dealer.get(zmq.RECONNECT_IVL) == -1
    assert dealer.get(zmq.HEARTBEAT_IVL) == zmq_options.HEARTBEAT_INTERVAL_MS
    assert dealer.get(zmq.HEARTBEAT_TIMEOUT) == zmq_options.HEARTBEAT_TIMEOUT_MS


def test_a_context_holds_the_links_of_a_large_fabric(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    assert context.get(zmq.MAX_SOCKETS) == zmq_options.SOCKETS_MAX
