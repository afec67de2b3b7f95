"""proto/SPEC.md names every message, field, command and limit there is, and no command that is not."""

from __future__ import annotations

import dataclasses
import re
from enum import StrEnum
from pathlib import Path

import pytest

from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.model import Inventory, Load, NodeRecord, RoleClaim
from fabric.mesh import zmq_options
from fabric.runtime import snapshot_transfer
from fabric.store.command_entry import REQUEST_ID_BYTES_MAX
from proto import bounds, codec, join, membership, raft, raft_frames, rpc
from proto.bounds import BOUNDS
from proto.certificate import NodeCertificate
from proto.commands import all_commands
from proto.envelope import KIND_CHARS_MAX, TAG_BYTES, WIRE_VERSION

SPEC = (Path(__file__).resolve().parents[2] / "proto" / "SPEC.md").read_text()
ROWS = [line for line in SPEC.splitlines() if line.startswith("|")]

KINDS: dict[str, type] = {
    **rpc.KINDS,
    **membership.KINDS,
    **raft_frames.KINDS,
    **{
        kind.KIND: kind
        for kind in (
            join.JoinRequest,
            join.JoinReply,
            join.StandingRequest,
            join.StandingReply,
            join.JoinRefusal,
        )
    },
}
LIMITS = [
    codec.FRAME_BYTES_MAX,
    codec.ITEMS_MAX,
    codec.CONTAINERS_MAX,
    codec.DEPTH_MAX,
    KIND_CHARS_MAX,
    membership.CERTIFICATE_BYTES_MAX,
    membership.BODY_BYTES_MAX,
    membership.LOAD_BYTES_MAX,
    membership.REMOVAL_BYTES_MAX,
    membership.STATES_MAX,
    membership.LOADS_MAX,
    membership.REMOVALS_MAX,
    membership.VERSIONS_MAX,
    membership.VOTES_MAX,
    membership.VERDICTS_MAX,
    membership.VERDICT_NUMBER_MAX,
    membership.VERDICT_VOTES_MAX,
    membership.CANDIDATES_MAX,
    membership.BUCKETS,
    rpc.TIMEOUT_MS_MAX,
    rpc.CHUNK_BYTES_MAX,
    rpc.CREDIT_MAX,
    rpc.MESSAGE_CHARS_MAX,
    raft.ENTRIES_MAX,
    raft.ENTRY_BYTES_MAX,
    raft.VOTERS_MAX,
    REQUEST_ID_BYTES_MAX,
    snapshot_transfer.SNAPSHOT_BYTES_MAX,
    join.REQUEST_BYTES_MAX,
    join.REPLY_STATES_BYTES_MAX,
    join.TOKEN_CHARS_MAX,
]


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z_0-9.]+", text))


def fields(kind: type) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_message_has_a_row_with_all_its_fields(kind: str) -> None:
    rows = [row for row in ROWS if row.startswith(f"| `{kind}` |")]
    assert len(rows) == 1
    assert fields(KINDS[kind]) <= words(rows[0])


@pytest.mark.parametrize(
    "record",
    [
        NodeCertificate,
        membership.NodeState,
        membership.LoadState,
        membership.Removal,
        membership.Version,
        membership.Versions,
        membership.Vote,
        membership.Verdict,
        join.JoinTokenText,
        NodeRecord,
        RoleClaim,
        Inventory,
        Load,
        raft.LogEntry,
        raft.ConfigurationChange,
        raft_frames.RaftAddress,
    ],
)
def test_each_record_is_told_field_by_field(record: type) -> None:
    assert fields(record) <= words(SPEC)


def test_the_offer_of_a_snapshot_is_told_field_by_field() -> None:
    (row,) = [row for row in ROWS if row.startswith(f"| `{snapshot_transfer.LOG_SNAPSHOT}` |")]
    assert fields(raft_frames.SnapshotOffer) <= words(row)
    section = SPEC.split("### Snapshots")[1]
    assert fields(raft_frames.SnapshotOffer) <= words(section)
    assert f"{snapshot_transfer.CALL_TIMEOUT_MS // 1_000} s at most" in section
    assert f"{snapshot_transfer.STALL_S:.0f} s without a chunk" in section


def test_the_words_and_reasons_of_the_log_are_told() -> None:
    assert {kind.value for kind in raft.EntryKind} <= words(SPEC.split("## 8. ")[1])
    reasons = SPEC.split("Reasons: ")[1].split("\n\n")[0]
    assert {"no_voter", "wrong_sender", "wrong_voter", "wrong_incarnation"} <= words(reasons)


def test_the_commands_told_are_the_commands_there_are() -> None:
    section = SPEC.split("## 7. Commands")[1].split("## 8. ")[0]
    told = {
        kind for row in section.splitlines() if row.startswith("| `") for kind in row.split("|")[2].split()
    }
    assert {kind.strip("`") for kind in told} == set(all_commands())


@pytest.mark.parametrize(
    "words_of",
    [
        membership.Presence,
        membership.Finding,
        membership.Doom,
        membership.DropReason,
        membership.DigestMode,
    ],
)
def test_each_word_of_an_enumeration_is_told(words_of: type[StrEnum]) -> None:
    assert {word.value for word in words_of} <= words(SPEC.split("## 4. ")[1].split("## 5. ")[0])


def test_the_bounds_of_frames_are_told_for_each_kind() -> None:
    """Rows name kinds as `member.beat` `ping`, ...: the conversation once, the verbs after it."""
    told: dict[str, tuple[int, ...]] = {}
    for row in (row for row in ROWS if row.startswith("| frames of `")):
        _, kinds, *numbers, _ = row.split("|")
        conversation = ""
        for name in re.findall(r"`([a-z_.]+)`", kinds):
            conversation = name.partition(".")[0] if "." in name else conversation
            kind = name if "." in name else f"{conversation}.{name}"
            assert kind not in told
            told[kind] = tuple(int(re.findall(r"[\d,]+", number)[0].replace(",", "")) for number in numbers)
    assert told == {kind: (b.frame_bytes, b.items, b.containers) for kind, b in BOUNDS.items()}


@pytest.mark.parametrize("name", [name for name in vars(bounds) if name.endswith("_BYTES_MAX")])
def test_each_bound_is_told_by_name(name: str) -> None:
    assert f"`{name}`" in SPEC


@pytest.mark.parametrize("limit", LIMITS)
def test_each_limit_is_told(limit: int) -> None:
    assert re.search(rf"(?<![\d,]){limit:,}(?![\d,]*\d)", SPEC), f"{limit:,}"


@pytest.mark.parametrize(
    ("row", "ms"),
    [
        ("| `member.beat` |", MembershipConfig().beat_interval_ms),
        ("| `member.link_drop` |", MembershipConfig().link_retry_max_ms),
        ("| `member.link_drop` |", MembershipConfig().link_shunned_ms),
        ("ZMTP heartbeat each", zmq_options.HEARTBEAT_INTERVAL_MS),
        ("ZMTP heartbeat each", zmq_options.HEARTBEAT_TIMEOUT_MS),
    ],
)
def test_times_that_peers_must_know_are_told(row: str, ms: int) -> None:
    (line,) = [line for line in SPEC.splitlines() if line.startswith(row)]
    assert f"{ms:,} ms" in line


def test_the_version_and_tag_are_told() -> None:
    assert f"version  = {WIRE_VERSION} " in SPEC
    assert f"bin({TAG_BYTES})" in SPEC
