"""Cutting one speaker's connections, by the descriptors its frames came from, and nobody else's."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from fabric.mesh.inbound import InboundConnections


class Door:
    """A listener with accepted connections, as libzmq has them."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.accepted: list[socket.socket] = []
        self.callers: list[socket.socket] = []

    def call(self) -> int:
        """A new connection; its descriptor on the door's side."""
        self.callers.append(socket.create_connection(("127.0.0.1", self.port), timeout=10))
        self.accepted.append(self.listener.accept()[0])
        return self.accepted[-1].fileno()

    def is_cut(self, number: int) -> bool:
        self.callers[number].settimeout(0.2)
        try:
            return self.callers[number].recv(1) == b""
        except TimeoutError:
            return False

    def close(self) -> None:
        for each in (self.listener, *self.accepted, *self.callers):
            each.close()


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.close()


def test_all_connections_of_a_speaker_are_cut_and_no_others(door: Door) -> None:
    inbound = InboundConnections()
    inbound.add(b"r1", door.call(), "thief")
    inbound.add(b"r2", door.call(), "honest")
    inbound.add(b"r3", door.call(), "thief")
    inbound.cut("thief", door.port)
    assert [door.is_cut(number) for number in range(3)] == [True, False, True]
    assert not inbound.is_known(b"r1")
    assert inbound.is_known(b"r2")


def test_a_descriptor_used_again_belongs_to_its_new_owner(door: Door) -> None:
    inbound = InboundConnections()
    descriptor = door.call()
    inbound.add(b"r1", descriptor, "gone")
    inbound.add(b"r2", descriptor, "honest")  # the kernel gave the number out again
    assert not inbound.is_known(b"r1")
    inbound.cut("gone", door.port)
    assert not door.is_cut(0)


def test_what_is_no_connection_of_our_listener_is_left_alone(door: Door) -> None:
    inbound = InboundConnections()
    inbound.add(b"r1", door.call(), "thief")
    inbound.cut("thief", door.port + 1)
    assert not door.is_cut(0)


def test_a_descriptor_that_is_closed_already_is_no_error(door: Door) -> None:
    inbound = InboundConnections()
    descriptor = door.call()
    inbound.add(b"r1", descriptor, "thief")
    door.accepted[0].close()
    inbound.cut("thief", door.port)
    inbound.cut("thief", door.port)
