"""Ports of a development fabric on loopback."""

from __future__ import annotations

import random
import socket

import pytest

from fabric.dev.places import free_port


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What chance will give, in this order."""
    numbers: list[int] = []
    monkeypatch.setattr(random, "randrange", lambda *bounds: numbers.pop(0))
    return numbers


def unused() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_port_is_given_once(drawn: list[int]) -> None:
    """Seven of one fabric are drawn before the first is listened on: two were the same, once in 600 times."""
    one, other = unused(), unused()
    drawn += [one, one, other]
    assert [free_port(), free_port()] == [one, other]


def test_a_port_somebody_listens_on_is_not_given(drawn: list[int]) -> None:
    other = unused()
    with socket.create_server(("127.0.0.1", 0)) as server:
        drawn += [server.getsockname()[1], other]
        assert free_port() == other
