"""What an agent and its voter's process may rely on between them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from fabric.errors import CommandRejectedError, NotLeaderError, Outcome, RemoteError
from fabric.runtime import voter_channel
from fabric.runtime.voter_channel import Body, ChannelBusyError, ChannelClosedError, VoterChannel
from proto.codec import Plain
from proto.errors import WireError
from tests.fixtures.mesh_nodes import until

Serve = Callable[[str, Body], Awaitable[Plain]]


async def echo(kind: str, body: Body) -> Plain:
    return [kind, dict(body)]


class Pair:
    """Both ends, and what was told at the second."""

    def __init__(self, one: VoterChannel, runs: list[asyncio.Task[None]]) -> None:
        self.one = one
        self.other: VoterChannel
        self.heard: list[tuple[str, Body]] = []
        self.runs = runs


@asynccontextmanager
async def pair(serve: Serve = echo, *, reads: bool = True) -> AsyncIterator[Pair]:
    ours, theirs = socket.socketpair()
    made = Pair(VoterChannel(*await asyncio.open_connection(sock=ours), serve=echo, hear=_nothing), [])
    made.other = VoterChannel(
        *await asyncio.open_connection(sock=theirs),
        serve=serve,
        hear=lambda kind, body: made.heard.append((kind, body)),
    )
    made.runs.append(asyncio.create_task(made.one.run()))
    if reads:
        made.runs.append(asyncio.create_task(made.other.run()))
    try:
        yield made
    finally:
        await made.one.close()
        await made.other.close()
        await asyncio.wait(made.runs)
        for run in made.runs:
            run.exception()


def _nothing(kind: str, body: Body) -> None:
    pass


async def test_what_is_asked_is_answered_both_ways() -> None:
    async with pair() as both:
        assert await both.one.ask("a", {"x": b"\x00"}) == ["a", {"x": b"\x00"}]
        assert await both.other.ask("b", {}) == ["b", {}]


async def test_what_is_told_arrives_in_order_and_before_an_answer_that_follows_it() -> None:
    order: list[str] = []

    async def serve(kind: str, body: Body) -> Plain:
        both.other.tell("first", {})
        return None

    async with pair(serve) as both:
        both.one._hear = lambda kind, body: order.append(kind)
        await both.one.ask("x", {})
        order.append("answer")
        assert order == ["first", "answer"]
        for number in range(100):
            both.one.tell("n", {"n": number})
        await until(lambda: len(both.heard) == 100)
        assert [body["n"] for _, body in both.heard] == list(range(100))


@pytest.mark.parametrize(
    ("error", "code", "outcome"),
    [
        (NotLeaderError("no"), "fabric.raft.not_leader", Outcome.NOT_DONE),
        (CommandRejectedError("conflict", "no"), "fabric.rejected:conflict", Outcome.NOT_DONE),
        (ZeroDivisionError(), "fabric.internal", Outcome.UNKNOWN),
    ],
)
async def test_an_error_keeps_its_code_and_outcome(error: Exception, code: str, outcome: Outcome) -> None:
    async def serve(kind: str, body: Body) -> Plain:
        raise error

    async with pair(serve) as both:
        with pytest.raises(RemoteError) as told:
            await both.one.ask("x", {})
        assert (told.value.remote_code, told.value.outcome) == (code, outcome)


async def test_who_does_not_wait_any_more_is_not_worked_for() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def serve(kind: str, body: Body) -> Plain:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return None

    async with pair(serve) as both:
        asking = asyncio.create_task(both.one.ask("x", {}))
        await begun.wait()
        asking.cancel()
        await ended.wait()


async def test_what_was_asked_of_an_end_that_goes_may_have_been_done() -> None:
    async def serve(kind: str, body: Body) -> Plain:
        await both.other.close()
        return None

    async with pair(serve) as both:
        with pytest.raises(ChannelClosedError) as gone:
            await both.one.ask("x", {})
        assert gone.value.outcome is Outcome.UNKNOWN
        with pytest.raises(ChannelClosedError):
            await both.one.ask("x", {})
        both.one.tell("x", {})  # to nobody


async def test_an_end_that_takes_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voter_channel, "BACKLOG_BYTES_MAX", 1 << 20)
    async with pair(reads=False) as both:
        for _ in range(64):
            both.one.tell("x", {"data": bytes(1 << 17)})
        assert both.one.is_closed
        await both.runs[0]


async def test_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(kind: str, body: Body) -> Plain:
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(voter_channel, "ASKED_MAX", 1)
    async with pair(serve) as both:
        asking = asyncio.create_task(both.one.ask("x", {}))
        await until(lambda: both.other.heard == 1)
        with pytest.raises(ChannelBusyError):
            await both.one.ask("x", {})
        asking.cancel()


@pytest.mark.parametrize(
    "message",
    [b"\xc1", b"\x90", b"\x94\x00\x00\xa1x\x90", b"\x94\x09\x00\xa1x\x80", b"\x94\xa1x\x00\xa1x\x80"],
)
async def test_what_cannot_be_understood_ends_the_channel(message: bytes) -> None:
    async with pair() as both:
        both.one._writer.write(len(message).to_bytes(4, "big") + message)
        with pytest.raises(WireError):
            await both.runs[1]
        assert both.other.is_closed


async def test_a_length_that_nobody_sends_is_not_believed() -> None:
    async with pair() as both:
        both.one._writer.write(b"\xff\xff\xff\xff")
        with pytest.raises(WireError):
            await both.runs[1]
