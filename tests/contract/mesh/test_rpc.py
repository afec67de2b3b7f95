"""What Rpc promises, over every transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest

from fabric.errors import (
    CommandRejectedError,
    DeadlineExceededError,
    NoQuorumError,
    Outcome,
    PeerUnreachableError,
    RemoteError,
)
from fabric.mesh.errors import PeerLostError
from proto.codec import FRAME_BYTES_MAX, Plain
from proto.errors import WireError
from proto.ids import NodeId
from proto.rpc import Reply
from tests.contract.mesh.conftest import IDLE_S
from tests.fixtures.mesh_nodes import MakeTransport, RpcEnd, rpc_ends, until

Body = Mapping[str, Plain]


async def echo(sender: NodeId, body: Body) -> Plain:
    return {"sender": sender, "body": dict(body)}


async def collect(stream: AsyncIterator[bytes], into: list[bytes]) -> None:
    async for chunk in stream:
        into.append(chunk)


async def test_call_and_answer(ends: list[RpcEnd]) -> None:
    a, b, _ = ends
    b.rpc.serve("t.echo", echo)
    answer = await a.rpc.call(b.node_id, "t.echo", {"n": [1, None, b"x"]}, timeout_ms=5_000)
    assert answer == {"sender": a.node_id, "body": {"n": [1, None, b"x"]}}


async def test_call_to_oneself_skips_the_wire_and_is_the_same(ends: list[RpcEnd]) -> None:
    a = ends[0]
    a.rpc.serve("t.echo", echo)
    answer = await a.rpc.call(a.node_id, "t.echo", {"n": 1}, timeout_ms=1_000)
    assert answer == {"sender": a.node_id, "body": {"n": 1}}
    with pytest.raises(RemoteError) as caught:
        await a.rpc.call(a.node_id, "t.none", {}, timeout_ms=1_000)
    assert caught.value.remote_code == "fabric.mesh.no_method"


async def test_many_calls_at_once_find_their_own_answers(ends: list[RpcEnd]) -> None:
    a, b, c = ends

    async def double(_: NodeId, body: Body) -> Plain:
        number = body["n"]
        assert isinstance(number, int)
        await asyncio.sleep((number % 7) / 1_000)
        return number * 2

    for end in (b, c):
        end.rpc.serve("t.double", double)
    calls = [a.rpc.call((b, c)[n % 2].node_id, "t.double", {"n": n}, timeout_ms=10_000) for n in range(200)]
    assert await asyncio.gather(*calls) == [n * 2 for n in range(200)]


@pytest.mark.parametrize("to_self", [False, True])
@pytest.mark.parametrize(
    ("error", "code", "outcome"),
    [
        (CommandRejectedError("quota", "too many"), "fabric.rejected:quota", Outcome.NOT_DONE),
        (NoQuorumError("nobody"), "fabric.raft.no_quorum", Outcome.NOT_DONE),
        (RemoteError("x.y", "third", Outcome.NOT_DONE), "x.y", Outcome.NOT_DONE),
        (DeadlineExceededError("late"), "fabric.mesh.deadline", Outcome.UNKNOWN),
        (RuntimeError("secret in here"), "fabric.internal", Outcome.UNKNOWN),
    ],
)
async def test_errors_cross_with_code_and_outcome(
    ends: list[RpcEnd], error: Exception, code: str, outcome: Outcome, to_self: bool
) -> None:
    a, b, _ = ends

    async def fail(_: NodeId, body: Body) -> Plain:
        raise error

    b.rpc.serve("t.fail", fail)
    caller = b if to_self else a
    with pytest.raises(RemoteError) as caught:
        await caller.rpc.call(b.node_id, "t.fail", {}, timeout_ms=5_000)
    assert (caught.value.remote_code, caught.value.outcome) == (code, outcome)
    assert "secret" not in caught.value.message


async def test_no_link_is_certainly_not_done(ends: list[RpcEnd]) -> None:
    a = ends[0]
    with pytest.raises(PeerUnreachableError) as caught:
        await a.rpc.call(NodeId("f" * 32), "t.echo", {}, timeout_ms=50)
    assert caught.value.outcome is Outcome.NOT_DONE


async def test_deadline_is_unknown_and_stops_the_handler(ends: list[RpcEnd]) -> None:
    a, b, _ = ends
    stopped = asyncio.Event()

    async def hang(_: NodeId, body: Body) -> Plain:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return None

    b.rpc.serve("t.hang", hang)
    with pytest.raises(DeadlineExceededError) as caught:
        await a.rpc.call(b.node_id, "t.hang", {}, timeout_ms=300)
    assert caught.value.outcome is Outcome.UNKNOWN
    await asyncio.wait_for(stopped.wait(), 5)
    with pytest.raises(DeadlineExceededError):
        await b.rpc.call(b.node_id, "t.hang", {}, timeout_ms=50)


async def test_cancelled_caller_stops_the_handler(ends: list[RpcEnd]) -> None:
    a, b, _ = ends
    started, stopped = asyncio.Event(), asyncio.Event()

    async def hang(_: NodeId, body: Body) -> Plain:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return None

    b.rpc.serve("t.hang", hang)
    call = asyncio.create_task(a.rpc.call(b.node_id, "t.hang", {}, timeout_ms=60_000))
    await asyncio.wait_for(started.wait(), 5)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(stopped.wait(), 5)


async def test_peer_that_goes_away_fails_the_call_long_before_its_deadline(ends: list[RpcEnd]) -> None:
    a, b, _ = ends
    started = asyncio.Event()

    async def hang(_: NodeId, body: Body) -> Plain:
        started.set()
        await asyncio.Event().wait()
        return None

    b.rpc.serve("t.hang", hang)
    call = asyncio.create_task(a.rpc.call(b.node_id, "t.hang", {}, timeout_ms=600_000))
    await asyncio.wait_for(started.wait(), 5)
    await b.board.close()  # as a kill: no answer, no goodbye
    with pytest.raises(PeerLostError) as caught:
        await asyncio.wait_for(call, 10)
    assert caught.value.outcome is Outcome.UNKNOWN


async def test_body_or_answer_that_does_not_fit_is_refused(ends: list[RpcEnd]) -> None:
    a, b, _ = ends

    async def too_much(_: NodeId, body: Body) -> Plain:
        return bytes(FRAME_BYTES_MAX)

    b.rpc.serve("t.much", too_much)
    with pytest.raises(WireError, match="frame_too_long"):
        await a.rpc.call(b.node_id, "t.much", {"x": bytes(FRAME_BYTES_MAX)}, timeout_ms=1_000)
    with pytest.raises(RemoteError) as caught:
        await a.rpc.call(b.node_id, "t.much", {}, timeout_ms=5_000)
    assert (caught.value.remote_code, caught.value.outcome) == ("fabric.wire", Outcome.UNKNOWN)


async def test_one_peer_cannot_take_every_place(ends: list[RpcEnd]) -> None:
    a, b, c = ends
    gate = asyncio.Event()

    async def wait(_: NodeId, body: Body) -> Plain:
        await gate.wait()
        return "done"

    b.rpc.serve("t.wait", wait)
    b.rpc.serve("t.echo", echo)
    calls = [asyncio.create_task(a.rpc.call(b.node_id, "t.wait", {}, timeout_ms=20_000)) for _ in range(160)]
    await until(lambda: sum(call.done() for call in calls) == 32)  # SERVED_OF_PEER_MAX is 128
    assert await c.rpc.call(b.node_id, "t.echo", {}, timeout_ms=5_000)
    gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    busy = [r for r in results if isinstance(r, RemoteError)]
    assert {(r.remote_code, r.outcome) for r in busy} == {("fabric.mesh.busy", Outcome.NOT_DONE)}
    assert results.count("done") == 128


async def test_only_who_was_asked_may_answer(ends: list[RpcEnd]) -> None:
    """A peer that guesses the number of a call is not heard."""
    a, b, c = ends
    asked, gate = asyncio.Event(), asyncio.Event()

    async def wait(_: NodeId, body: Body) -> Plain:
        asked.set()
        await gate.wait()
        return "true"

    b.rpc.serve("t.wait", wait)
    call = asyncio.create_task(a.rpc.call(b.node_id, "t.wait", {}, timeout_ms=20_000))
    await asyncio.wait_for(asked.wait(), 10)
    (call_id,) = a.rpc._calls
    await until(lambda: c.board.send(a.node_id, Reply(call_id=call_id, body="forged")))
    await until(lambda: a.board.dropped().get("unknown_call") == 1 or call.done())
    gate.set()
    assert await call == "true"


@pytest.mark.parametrize("to_self", [False, True])
async def test_stream_arrives_whole_and_in_order(ends: list[RpcEnd], to_self: bool) -> None:
    a, b, _ = ends
    pieces = [bytes([n]) * (n * 20_000) for n in range(60)]

    async def read(_: NodeId, body: Body) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
        yield bytes(2 << 20)  # more than a frame: split on the way

    b.rpc.serve_stream("t.read", read)
    got = bytearray()
    caller = b if to_self else a
    async for chunk in caller.rpc.stream(b.node_id, "t.read", {}, timeout_ms=10_000):
        got += chunk
    assert bytes(got) == b"".join(pieces) + bytes(2 << 20)


async def test_slow_reader_holds_the_writer_back(ends: list[RpcEnd]) -> None:
    a, b, _ = ends
    made = 0

    async def read(_: NodeId, body: Body) -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(200):
            made += 1
            yield bytes(1_000)

    b.rpc.serve_stream("t.read", read)
    stream = a.rpc.stream(b.node_id, "t.read", {}, timeout_ms=10_000)
    await anext(stream)
    await until(lambda: made >= 9)
    for _ in range(20):
        await asyncio.sleep(0.005)
    assert made <= 10  # 8 on the way, one taken, one waiting for credit
    count = 1
    async for _ in stream:
        count += 1
    assert count == 200


async def test_closing_a_stream_early_stops_the_writer(ends: list[RpcEnd]) -> None:
    a, b, _ = ends
    stopped = asyncio.Event()

    async def endless(_: NodeId, body: Body) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            stopped.set()

    b.rpc.serve_stream("t.endless", endless)
    stream = a.rpc.stream(b.node_id, "t.endless", {}, timeout_ms=10_000)
    assert await anext(stream) == b"x"
    await stream.aclose()  # type: ignore[attr-defined]
    await asyncio.wait_for(stopped.wait(), 5)


async def test_stream_errors_come_after_what_was_sent(ends: list[RpcEnd]) -> None:
    a, b, _ = ends

    async def half(_: NodeId, body: Body) -> AsyncIterator[bytes]:
        yield b"one"
        raise CommandRejectedError("not_found", "no more")

    b.rpc.serve_stream("t.half", half)
    got: list[bytes] = []
    with pytest.raises(RemoteError) as caught:
        await collect(a.rpc.stream(b.node_id, "t.half", {}, timeout_ms=5_000), got)
    assert got == [b"one"]
    assert caught.value.remote_code == "fabric.rejected:not_found"
    with pytest.raises(RemoteError) as caught:
        await collect(a.rpc.stream(b.node_id, "t.none", {}, timeout_ms=5_000), got)
    assert caught.value.remote_code == "fabric.mesh.no_method"


async def test_stream_that_stalls_ends_at_its_deadline(ends: list[RpcEnd]) -> None:
    a, b, _ = ends

    async def stall(_: NodeId, body: Body) -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.Event().wait()

    b.rpc.serve_stream("t.stall", stall)
    got: list[bytes] = []
    with pytest.raises((DeadlineExceededError, RemoteError)):
        await collect(a.rpc.stream(b.node_id, "t.stall", {}, timeout_ms=300), got)
    assert got == [b"one"]


# Links dialled on demand, which are closed when idle (conftest.IDLE_S), while a conversation is under way.


async def impatient_pair(make: MakeTransport) -> tuple[RpcEnd, RpcEnd]:
    a, b = await rpc_ends(make, 2, are_linked=False)
    return a, b


async def test_a_long_call_keeps_its_idle_links(make_impatient: MakeTransport) -> None:
    a, b = await impatient_pair(make_impatient)
    release = asyncio.Event()

    async def slow(_: NodeId, __: Body) -> Plain:
        await release.wait()
        return "done"

    b.rpc.serve("t.slow", slow)
    try:
        call = asyncio.create_task(a.rpc.call(b.node_id, "t.slow", {}, timeout_ms=20_000))
        await until(lambda: a.board.link_count == b.board.link_count == 1)
        await asyncio.sleep(IDLE_S * 3)
        assert (a.board.link_count, b.board.link_count) == (1, 1)
        release.set()
        assert await call == "done"
        await until(lambda: a.board.link_count == b.board.link_count == 0)
    finally:
        await a.close()
        await b.close()


async def test_a_stream_whose_reader_pauses_keeps_its_idle_links(make_impatient: MakeTransport) -> None:
    a, b = await impatient_pair(make_impatient)

    async def numbers(_: NodeId, __: Body) -> AsyncIterator[bytes]:
        for number in range(40):
            yield b"%d" % number

    b.rpc.serve_stream("t.numbers", numbers)
    got: list[bytes] = []
    try:
        async for chunk in a.rpc.stream(b.node_id, "t.numbers", {}, timeout_ms=20_000):
            if not got:
                await asyncio.sleep(IDLE_S * 3)  # all credit is used up meanwhile: nothing is sent
                assert (a.board.link_count, b.board.link_count) == (1, 1)
            got.append(chunk)
        assert got == [b"%d" % number for number in range(40)]
        await until(lambda: a.board.link_count == b.board.link_count == 0)
    finally:
        await a.close()
        await b.close()


async def test_a_death_is_noticed_during_a_long_call_on_demand(make_impatient: MakeTransport) -> None:
    a, b = await impatient_pair(make_impatient)
    began = asyncio.Event()

    async def hang(_: NodeId, __: Body) -> Plain:
        began.set()
        await asyncio.Event().wait()
        return None

    b.rpc.serve("t.hang", hang)
    try:
        call = asyncio.create_task(a.rpc.call(b.node_id, "t.hang", {}, timeout_ms=60_000))
        await asyncio.wait_for(began.wait(), 20)
        await asyncio.sleep(IDLE_S * 3)
        await b.close()
        with pytest.raises(PeerLostError):
            await asyncio.wait_for(call, 20)
    finally:
        await a.close()
        await b.close()


async def test_what_is_served_no_more_is_refused_and_may_be_served_anew(ends: list[RpcEnd]) -> None:
    """What is under way meanwhile is answered."""
    a, b, _ = ends
    asked, goes_on = asyncio.Event(), asyncio.Event()

    async def slow(sender: NodeId, body: Body) -> Plain:
        asked.set()
        await goes_on.wait()
        return "old"

    b.rpc.serve("t.some", slow)
    under_way = asyncio.create_task(a.rpc.call(b.node_id, "t.some", {}, timeout_ms=20_000))
    await asked.wait()
    b.rpc.unserve("t.some")
    for asker in (a, b):
        with pytest.raises(RemoteError) as caught:
            await asker.rpc.call(b.node_id, "t.some", {}, timeout_ms=20_000)
        assert (caught.value.remote_code, caught.value.outcome) == ("fabric.mesh.no_method", Outcome.NOT_DONE)
    goes_on.set()
    assert await under_way == "old"
    b.rpc.serve("t.some", echo)
    answer = await a.rpc.call(b.node_id, "t.some", {}, timeout_ms=20_000)
    assert answer == {"sender": a.node_id, "body": {}}
