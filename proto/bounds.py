"""What a frame of each kind may cost its reader, looked up before the frame is parsed. SPEC.md, section 2.

Most kinds are small for ever, so a peer that sends a large one is refused for the price of its first bytes.
Each bound is what the longest message of that kind needs (`tests/unit/proto/test_bounds.py` builds them all),
rounded up to leave room for the fields of newer nodes.
"""

from __future__ import annotations

from dataclasses import dataclass

from proto import membership, raft, rpc
from proto.codec import CONTAINERS_MAX, FRAME_BYTES_MAX, ITEMS_MAX

SMALL_BYTES_MAX = 4 * 1024  # nothing but numbers, ids and a root
ONE_STATE_BYTES_MAX = 32 * 1024
WELCOME_BYTES_MAX = 64 * 1024  # two states and a verdict
VERSIONS_BYTES_MAX = 128 * 1024
VOTES_BYTES_MAX = 128 * 1024
VERDICTS_BYTES_MAX = 288 * 1024
STATE_BYTES_MAX = 512 * 1024
CHUNK_FRAME_BYTES_MAX = rpc.CHUNK_BYTES_MAX + SMALL_BYTES_MAX
ERROR_BYTES_MAX = 16 * 1024
FEW_MAX = 64  # items and containers of a small message


@dataclass(frozen=True, slots=True)
class Bounds:
    frame_bytes: int
    items: int = FEW_MAX  # of one array or map
    containers: int = FEW_MAX  # arrays and maps in all


_SMALL = Bounds(SMALL_BYTES_MAX)
_ONE_STATE = Bounds(ONE_STATE_BYTES_MAX)
_VERSIONS = Bounds(VERSIONS_BYTES_MAX, items=membership.VERSIONS_MAX * membership.VERSION_NUMBERS)
_VOTES = Bounds(VOTES_BYTES_MAX, items=membership.VOTES_MAX, containers=membership.VOTES_MAX + FEW_MAX)
_ANY = Bounds(FRAME_BYTES_MAX, items=ITEMS_MAX, containers=CONTAINERS_MAX)

BOUNDS: dict[str, Bounds] = {
    membership.Hello.KIND: _ONE_STATE,
    membership.Welcome.KIND: Bounds(WELCOME_BYTES_MAX),
    membership.LinkReq.KIND: _SMALL,
    membership.LinkOk.KIND: _SMALL,
    membership.LinkNo.KIND: _SMALL,
    membership.LinkDrop.KIND: _SMALL,
    membership.Beat.KIND: _SMALL,
    membership.Ping.KIND: _SMALL,
    membership.Ack.KIND: _SMALL,
    membership.Nack.KIND: _SMALL,
    membership.PingReq.KIND: _SMALL,
    membership.State.KIND: Bounds(
        STATE_BYTES_MAX,
        items=membership.LOADS_MAX,
        containers=membership.STATES_MAX + membership.LOADS_MAX + membership.REMOVALS_MAX + FEW_MAX,
    ),
    membership.Have.KIND: _VERSIONS,
    membership.Want.KIND: _VERSIONS,
    membership.Prune.KIND: _SMALL,
    membership.Suspect.KIND: _VOTES,
    membership.Ballot.KIND: _VOTES,
    membership.Down.KIND: Bounds(
        VERDICTS_BYTES_MAX,
        items=membership.VERDICTS_MAX,
        containers=membership.VERDICTS_MAX * (membership.VERDICT_VOTES_MAX + 2) + FEW_MAX,
    ),
    membership.Leave.KIND: _ONE_STATE,
    membership.Digest.KIND: _VERSIONS,
    **{kind.KIND: _SMALL for kind in raft.RAFT_MESSAGES},
    raft.Append.KIND: Bounds(FRAME_BYTES_MAX, items=raft.ENTRIES_MAX),
    rpc.Request.KIND: _ANY,
    rpc.Reply.KIND: _ANY,
    rpc.ErrorReply.KIND: Bounds(ERROR_BYTES_MAX),
    rpc.StreamChunk.KIND: Bounds(CHUNK_FRAME_BYTES_MAX),
    rpc.StreamCredit.KIND: _SMALL,
    rpc.StreamEnd.KIND: _SMALL,
    rpc.Cancel.KIND: _SMALL,
}
