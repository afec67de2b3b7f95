"""The voters' messages survive the wire; what no honest voter sends is refused by the name of its field."""

from __future__ import annotations

from typing import Any

import pytest

from proto.codec import Plain
from proto.envelope import Envelope, decode, encode_body, fabric_tag
from proto.errors import WireError
from proto.ids import FabricId, LogIndex, Term, VoterId, is_voter_id
from proto.raft import (
    ENTRIES_MAX,
    RAFT_MESSAGES,
    Append,
    AppendReply,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    LogEntry,
    PreVote,
    PreVoteReply,
    RaftMessage,
    TimeoutNow,
    Vote,
    VoteReply,
)
from proto.raft_frames import NUMBER_MAX, RaftAddress, SnapshotOffer, raft_body, read_raft
from proto.records import from_wire, to_wire

TAG = fabric_tag(FabricId("voters"))
A, B = VoterId("a" * 32 + ".0000000a"), VoterId("b" * 32 + ".0000000b")
ADDRESS = RaftAddress(sender=A, to=B, incarnation=1)
NINE, SEVEN = LogIndex(9), Term(7)


def entry(index: int, term: int, kind: EntryKind, data: bytes) -> LogEntry:
    return LogEntry(index=LogIndex(index), term=Term(term), kind=kind, data=data)


APPEND = Append(
    term=SEVEN,
    previous_index=NINE,
    previous_term=Term(5),
    commit_index=LogIndex(8),
    entries=(
        entry(10, 5, EntryKind.NOTHING, b""),
        entry(11, 6, EntryKind.CONFIGURATION, b"c"),
        entry(12, 7, EntryKind.COMMAND, b"\x00" * 300),
    ),
)
MESSAGES: list[RaftMessage] = [
    PreVote(term=SEVEN, last_index=NINE, last_term=Term(6)),
    PreVoteReply(term=SEVEN, granted=True),
    Vote(term=SEVEN, last_index=NINE, last_term=Term(6), transfer=True),
    VoteReply(term=SEVEN, granted=False),
    APPEND,
    AppendReply(term=SEVEN, matched=False, index=NINE, hint_index=LogIndex(4), hint_term=Term(3)),
    Heartbeat(term=SEVEN, commit_index=NINE, round=3),
    HeartbeatReply(term=SEVEN, round=3),
    TimeoutNow(term=SEVEN),
]


def body(message: RaftMessage, **changes: Any) -> dict[str, Plain]:
    return {**raft_body(ADDRESS, message), **changes}


def refused(message: RaftMessage, body: dict[str, Plain]) -> str:
    with pytest.raises(WireError) as caught:
        read_raft(decode(encode_body(message.KIND, body, TAG), TAG))
    assert caught.value.reason == "bad_field"
    return caught.value.detail


def test_every_message_is_among_them() -> None:
    assert [type(message) for message in MESSAGES] == list(RAFT_MESSAGES)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.KIND)
def test_a_message_survives_the_wire_with_its_address(message: RaftMessage) -> None:
    assert read_raft(decode(encode_body(message.KIND, body(message), TAG), TAG)) == (ADDRESS, message)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.KIND)
def test_an_unknown_field_is_ignored(message: RaftMessage) -> None:
    assert read_raft(Envelope(message.KIND, body(message, later=[1]))) == (ADDRESS, message)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.KIND)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sender", "a" * 32),
        ("sender", "A" * 32 + ".0000000a"),
        ("sender", A + "0"),
        ("sender", A.encode()),
        ("to", ""),
        ("to", "b" * 32 + "-0000000b"),
        ("to", "b" * 31 + "/.0000000b"),
        ("incarnation", 0),
        ("incarnation", True),
        ("incarnation", NUMBER_MAX + 1),
    ],
)
def test_no_address_is_refused(message: RaftMessage, field: str, value: Plain) -> None:
    refused(message, body(message, **{field: value}))


@pytest.mark.parametrize("field", ["sender", "to", "incarnation"])
def test_a_missing_address_is_refused(field: str) -> None:
    told = {name: value for name, value in body(TimeoutNow(term=SEVEN)).items() if name != field}
    assert field in refused(TimeoutNow(term=SEVEN), told)


@pytest.mark.parametrize(
    ("message", "field", "value"),
    [
        *((message, "term", value) for message in MESSAGES for value in (-1, NUMBER_MAX + 1, "7", None)),
        (MESSAGES[0], "last_index", -1),
        (MESSAGES[0], "last_term", NUMBER_MAX + 1),
        (MESSAGES[1], "granted", 1),
        (MESSAGES[2], "transfer", None),
        (MESSAGES[3], "granted", "yes"),
        (MESSAGES[5], "matched", 0),
        (MESSAGES[5], "index", -1),
        (MESSAGES[5], "hint_index", NUMBER_MAX + 1),
        (MESSAGES[5], "hint_term", -1),
        (MESSAGES[6], "commit_index", -1),
        (MESSAGES[6], "round", NUMBER_MAX + 1),
        (MESSAGES[7], "round", 1.5),
        (APPEND, "previous_index", -1),
        (APPEND, "previous_index", NUMBER_MAX - 2),  # the last entry's index would be too large
        (APPEND, "previous_term", -1),
        (APPEND, "commit_index", NUMBER_MAX + 1),
        (APPEND, "terms", [5, 6]),
        (APPEND, "terms", [5, 6, -1]),
        (APPEND, "terms", [5, 6, True]),
        (APPEND, "terms", 5),
        (APPEND, "kinds", ["command", "command"]),
        (APPEND, "kinds", ["command", "command", "later"]),
        (APPEND, "kinds", ["command", "command", 3]),
        (APPEND, "data", [b"", b""]),
        (APPEND, "data", [b"", b"", "text"]),
    ],
)
def test_a_bad_field_is_refused(message: RaftMessage, field: str, value: Plain) -> None:
    refused(message, body(message, **{field: value}))


def test_too_many_entries_are_refused() -> None:
    count = ENTRIES_MAX + 1
    columns = {"terms": [7] * count, "kinds": ["nothing"] * count, "data": [b""] * count}
    with pytest.raises(WireError, match="too many"):
        read_raft(Envelope(APPEND.KIND, body(APPEND, **columns)))


def test_another_conversations_kind_is_none_of_theirs() -> None:
    with pytest.raises(WireError, match="unknown_kind"):
        read_raft(Envelope("rpc.cancel", {"call_id": 1}))


OFFER = SnapshotOffer(
    sender=A,
    to=B,
    incarnation=1,
    term=SEVEN,
    index=NINE,
    mark_term=Term(6),
    configuration=b"",
    size=1,
    digest=bytes(32),
    ticket=bytes(16),
)


def test_an_offer_survives_the_wire() -> None:
    assert from_wire(SnapshotOffer, to_wire(OFFER)) == OFFER


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sender", "a"),
        ("to", "../../etc"),
        ("incarnation", 0),
        ("term", -1),
        ("index", NUMBER_MAX + 1),
        ("mark_term", -1),
        ("size", -1),
        ("digest", bytes(31)),
        ("ticket", bytes(17)),
        ("ticket", "text"),
    ],
)
def test_an_offer_with_a_bad_field_is_refused(field: str, value: Plain) -> None:
    with pytest.raises(WireError, match="bad_field"):
        from_wire(SnapshotOffer, {**to_wire(OFFER), field: value})


@pytest.mark.parametrize(
    ("text", "is_one"),
    [(A, True), ("", False), ("a" * 32, False), (A.upper(), False), (A + "\n", False), ("a." + A, False)],
)
def test_a_voters_name_has_one_shape(text: str, is_one: bool) -> None:
    assert is_voter_id(text) is is_one
