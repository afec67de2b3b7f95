"""No message that may be sent is longer than its kind's bound, and no longer frame is parsed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fabric.core.raft.config import RaftConfig
from proto import membership, raft, raft_frames, rpc
from proto.bounds import BOUNDS, FEW_MAX, STATE_BYTES_MAX
from proto.codec import CONTAINERS_MAX, ITEMS_MAX, pack
from proto.envelope import Message, decode, encode, encode_body, fabric_tag, parse
from proto.errors import Outcome, WireError
from proto.ids import FabricId, LogIndex, NodeId, Term, VoterId

TAG = fabric_tag(FabricId("bounds"))
ID = NodeId("f" * 32)
MOST = membership.NUMBER_MAX
ROOT = bytes(membership.ROOT_BYTES)
STATE = membership.NodeState(
    certificate=bytes(membership.CERTIFICATE_BYTES_MAX),
    body=bytes(membership.BODY_BYTES_MAX),
    signature=bytes(64),
)
VOTE = membership.Vote(
    target=ID,
    epoch=MOST,
    incarnation=MOST,
    attempt=MOST,
    voter=ID,
    finding=membership.Finding.REACHABLE,
    signature=bytes(64),
)
VERDICT = membership.Verdict(
    target=ID,
    epoch=MOST,
    incarnation=MOST,
    number=membership.VERDICT_NUMBER_MAX,
    doom=membership.Doom.AGENT_DOWN,
    votes=(VOTE,) * membership.VERDICT_VOTES_MAX,
    age_ms=MOST,
)
VERSIONS = membership.Versions(
    ids=bytes(membership.VERSIONS_MAX * membership.NODE_ID_BYTES),
    numbers=(MOST,) * (membership.VERSIONS_MAX * membership.VERSION_NUMBERS),
)
REMOVAL = membership.Removal(body=bytes(membership.REMOVAL_BYTES_MAX), signature=bytes(64))
LONGEST: list[Message] = [
    membership.Hello(state=STATE, root=ROOT, members=MOST),
    membership.Welcome(
        state=STATE, root=ROOT, members=MOST, you=(STATE,), you_age_ms=MOST, verdict=(VERDICT,)
    ),
    membership.LinkReq(priority=True, degree=MOST),
    membership.LinkOk(degree=MOST),
    membership.LinkNo(candidates=(ID,) * membership.CANDIDATES_MAX),
    membership.LinkDrop(reason=membership.DropReason.OPTIMISE),
    membership.Beat(
        seq=MOST,
        epoch=MOST,
        incarnation=MOST,
        version=MOST,
        lag_ms=MOST,
        root=ROOT,
        members=MOST,
        degree=MOST,
    ),
    membership.Ping(nonce=MOST),
    membership.Ack(nonce=MOST, lag_ms=MOST, root=ROOT, members=MOST),
    membership.Nack(nonce=MOST, finding=membership.Finding.REACHABLE),
    membership.PingReq(nonce=MOST, target=ID),
    membership.State(removals=(REMOVAL,) * membership.REMOVALS_MAX, eager=True),
    membership.Have(versions=VERSIONS),
    membership.Want(versions=VERSIONS, graft=True),
    membership.Prune(),
    membership.Suspect(votes=(VOTE,) * membership.VOTES_MAX),
    membership.Ballot(votes=(VOTE,) * membership.VOTES_MAX),
    membership.Down(verdicts=(VERDICT,) * membership.VERDICTS_MAX),
    membership.Leave(state=STATE),
    membership.Digest(mode=membership.DigestMode.VERSIONS, buckets=bytes(256), versions=VERSIONS),
    rpc.ErrorReply(
        call_id=rpc.CALL_ID_MAX,
        code="\U0001f600" * rpc.CODE_CHARS_MAX,
        message="\U0001f600" * rpc.MESSAGE_CHARS_MAX,
        outcome=Outcome.NOT_DONE,
    ),
    rpc.StreamChunk(call_id=rpc.CALL_ID_MAX, sequence=rpc.SEQUENCE_MAX, data=bytes(rpc.CHUNK_BYTES_MAX)),
    rpc.StreamCredit(call_id=rpc.CALL_ID_MAX, chunks=rpc.CREDIT_MAX),
    rpc.StreamEnd(call_id=rpc.CALL_ID_MAX, chunks=rpc.SEQUENCE_MAX),
    rpc.Cancel(call_id=rpc.CALL_ID_MAX),
]
HIGH = raft_frames.NUMBER_MAX
INDEX, TERM = LogIndex(HIGH - raft.ENTRIES_MAX), Term(HIGH)
ADDRESS = raft_frames.RaftAddress(
    sender=VoterId(f"{ID}.ffffffff"), to=VoterId(f"{ID}.ffffffff"), incarnation=HIGH
)


def append(count: int, data: bytes) -> raft.Append:
    entries = (
        raft.LogEntry(index=LogIndex(INDEX + 1 + i), term=TERM, kind=raft.EntryKind.CONFIGURATION, data=data)
        for i in range(count)
    )
    return raft.Append(
        term=TERM, previous_index=INDEX, previous_term=TERM, commit_index=INDEX, entries=tuple(entries)
    )


LONGEST_RAFT: list[raft.RaftMessage] = [
    raft.PreVote(term=TERM, last_index=INDEX, last_term=TERM),
    raft.PreVoteReply(term=TERM, granted=False),
    raft.Vote(term=TERM, last_index=INDEX, last_term=TERM, transfer=True),
    raft.VoteReply(term=TERM, granted=False),
    append(1, bytes(raft.ENTRY_BYTES_MAX)),
    raft.AppendReply(term=TERM, matched=False, index=INDEX, hint_index=INDEX, hint_term=TERM),
    raft.Heartbeat(term=TERM, commit_index=INDEX, round=HIGH),
    raft.HeartbeatReply(term=TERM, round=HIGH),
    raft.TimeoutNow(term=TERM),
]
KINDS = {**membership.KINDS, **rpc.KINDS}
ALL_KINDS = {**KINDS, **raft_frames.KINDS}


def raft_frame(message: raft.RaftMessage) -> bytes:
    return encode_body(message.KIND, raft_frames.raft_body(ADDRESS, message), TAG)


def test_each_kind_has_bounds() -> None:
    assert set(BOUNDS) == set(ALL_KINDS)
    assert {message.KIND for message in LONGEST_RAFT} == set(raft_frames.KINDS)
    assert {message.KIND for message in LONGEST} >= set(KINDS) - {"rpc.request", "rpc.reply"}


@pytest.mark.parametrize("message", LONGEST, ids=lambda message: message.KIND)
def test_the_longest_message_of_each_kind_passes(message: Message) -> None:
    frame = encode(message, TAG)
    assert parse(decode(frame, TAG), KINDS) == message
    bounds = BOUNDS[message.KIND]
    assert len(frame) <= bounds.frame_bytes <= max(4_096, 4 * len(frame))  # and the bound is no idle one


@pytest.mark.parametrize("message", LONGEST_RAFT, ids=lambda message: message.KIND)
def test_the_longest_message_between_voters_passes(message: raft.RaftMessage) -> None:
    frame = raft_frame(message)
    assert raft_frames.read_raft(decode(frame, TAG)) == (ADDRESS, message)
    bounds = BOUNDS[message.KIND]
    assert len(frame) <= bounds.frame_bytes <= max(4_096, 4 * len(frame))


def test_all_that_a_leader_may_put_into_one_append_passes() -> None:
    """`RaftConfig` allows any number of bytes and entries that fit together by its own reckoning."""
    overhead = len(raft_frame(append(raft.ENTRIES_MAX, b""))) / raft.ENTRIES_MAX
    assert overhead < raft.ENTRY_OVERHEAD_BYTES
    for count in (1, RaftConfig().entries_max, raft.ENTRIES_MAX):
        room = raft.ENTRY_BYTES_MAX - count * raft.ENTRY_OVERHEAD_BYTES
        RaftConfig(entries_max=count, append_bytes_max=room)
        message = append(count, bytes(room // count))
        assert raft_frames.read_raft(decode(raft_frame(message), TAG)) == (ADDRESS, message)


def test_as_many_small_states_loads_and_removals_as_are_allowed_pass_together() -> None:
    state = membership.NodeState(certificate=bytes(300), body=bytes(600), signature=bytes(64))
    load = membership.LoadState(node_id=ID, epoch=MOST, version=MOST, body=bytes(200))
    message = membership.State(
        states=(state,) * membership.STATES_MAX,
        ages_ms=(MOST,) * membership.STATES_MAX,
        loads=(load,) * membership.LOADS_MAX,
        removals=(membership.Removal(body=bytes(120), signature=bytes(64)),) * membership.REMOVALS_MAX,
    )
    assert parse(decode(encode(message, TAG), TAG), KINDS) == message


def test_states_too_long_together_are_our_own_mistake() -> None:
    with pytest.raises(WireError, match="frame_too_long"):
        encode(membership.State(states=(STATE,) * membership.STATES_MAX), TAG)
    encode(membership.State(states=(STATE,) * (STATE_BYTES_MAX // STATE.size_bytes - 1)), TAG)


def head(kind: str) -> bytes:
    return b"\x94\x01" + pack(TAG) + pack(kind)


@pytest.mark.parametrize("kind", sorted(ALL_KINDS))
@pytest.mark.parametrize(
    ("reason", "body"),
    [
        ("frame_too_long", lambda bounds: b"\x81\xa1x" + b"\xc6" + (1 << 20).to_bytes(4, "big")),
        ("malformed", lambda bounds: b"\x81\xa1x" + b"\xdd" + (bounds.items + 1).to_bytes(4, "big")),
        ("too_many", lambda bounds: bomb(bounds.items, bounds.containers)),
    ],
)
def test_one_more_is_refused(kind: str, reason: str, body: Callable[[object], bytes]) -> None:
    bounds = BOUNDS[kind]
    frame = head(kind) + body(bounds)
    if reason == "frame_too_long":
        frame += bytes(bounds.frame_bytes + 1 - len(frame))
    elif reason == "malformed":  # the array is whole, and one longer than it may be
        frame += b"\x00" * (bounds.items + 1)
    with pytest.raises(WireError) as caught:
        decode(frame, TAG)
    assert caught.value.reason == reason


def bomb(items: int, containers: int) -> bytes:
    """A map that holds one empty list more than a frame may hold, in lists no longer than they may be."""
    lists, left = [], containers
    while left > 0:
        count = min(items, left)
        lists.append(b"\xdd" + count.to_bytes(4, "big") + b"\x90" * count)
        left -= count
    return b"\x81\xa1x" + b"\xdd" + len(lists).to_bytes(4, "big") + b"".join(lists)


def test_small_means_small() -> None:
    small = [kind for kind, bounds in BOUNDS.items() if bounds.frame_bytes <= 4_096]
    assert len(small) == 21
    assert all(BOUNDS[kind].items == BOUNDS[kind].containers == FEW_MAX for kind in small)
    assert max(bounds.items for bounds in BOUNDS.values()) == ITEMS_MAX
    assert max(bounds.containers for bounds in BOUNDS.values()) == CONTAINERS_MAX
