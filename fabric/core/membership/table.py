"""The membership table: of every node the newest believed word, and what this node thinks of it."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.digest import BucketDigest, bucket_of, hash_of
from fabric.core.membership.model import Member, MemberState
from fabric.core.membership.record import SignedRecord, read_load
from proto.ids import NodeId
from proto.membership import BUCKETS, Doom, LoadState, NodeState, Presence, Verdict, Version

DOOM_RANK = {Doom.STALLED: 1, Doom.AGENT_DOWN: 2, Doom.HOST_DOWN: 3}
_STATE_OF = {
    Doom.STALLED: MemberState.STALLED,
    Doom.AGENT_DOWN: MemberState.AGENT_DOWN,
    Doom.HOST_DOWN: MemberState.HOST_DOWN,
}


def rank_of(verdict: Verdict) -> int:
    """Number first, then doom: of two verdicts of one number the graver is kept, so all keep the same."""
    return verdict.number * 4 + DOOM_RANK[verdict.doom]


_NO_VERSION = Version(node_id=NodeId(""), epoch=0, incarnation=0, version=0)


@dataclass(slots=True, eq=False)
class Entry:
    """One peer. Times are monotonic, of this node.

    Invariants: `load` is of the record's epoch; `verdict` is about an (epoch, incarnation) that is not below
    the record's; `hashed` is what the digest holds for this entry, 0 when forgotten.
    """

    signed: SignedRecord
    state: MemberState
    changed_ms: int
    heard_ms: int  # last evidence of life, first-hand or by news only its owner can have made
    is_vouched: bool = False  # False: known from disk or from the door only, nobody living has spoken for it
    spoke_ms: int | None = None  # last first-hand word
    load: LoadState | None = None
    shaped: tuple[int, int] = (0, 0)  # (epoch, version) of its last load that shaped the broadcast tree
    verdict: Verdict | None = None
    outbid: int = 0  # number of a verdict that had too few votes for us: ours has to be higher to settle it
    verdict_ms: int = 0  # when it was reached, as far as known
    said_ms: int = 0  # when the record was said, as far as known
    is_ghost: bool = False  # forgotten because nobody else seemed to know it
    is_suspected: bool = False  # a case is open in the court
    rtt_us: int | None = None
    root: bytes = b""  # of its table, as its last ack told
    flaps: list[int] = field(default_factory=list)  # when suspicions about it were refuted
    hashed: int = 0
    number: int = 0  # the id as a number, for the XOR metric
    rival: NodeState | None = None  # the newest word of another living owner of this id
    turned_ms: int = -1_000_000  # when that other owner was last dialled
    outgrown_boot: bytes = b""  # the process that spoke before the one that the record is of
    rival_ms: int | None = None  # when two living owners of this id were last seen
    rival_endpoint: str = ""  # where the one lives that the record does not name
    # when its id was last seen to change from one living process to another, elsewhere
    contested_ms: int | None = None
    stale_beats: int = 0  # of an older epoch, since the present one came
    refuted_ms: int = -1_000_000_000  # when it last refuted an accusation of ours
    changed_epoch_ms: int = 0

    version: Version = _NO_VERSION  # as the digest has it; kept by `Table.rehash`

    @property
    def node_id(self) -> NodeId:
        return self.signed.record.node_id

    def current_version(self) -> Version:
        record, verdict = self.signed.record, self.verdict
        applies = verdict is not None and (verdict.epoch, verdict.incarnation) == (
            record.epoch,
            record.incarnation,
        )
        return Version(
            node_id=record.node_id,
            epoch=record.epoch,
            incarnation=record.incarnation,
            version=record.version,
            load=0 if self.load is None else self.load.version,
            verdict=rank_of(verdict) if applies and verdict is not None else 0,
        )

    def judged(self, now_ms: int, config: MembershipConfig) -> MemberState:
        """What all that is known of it adds up to."""
        if self.state is MemberState.FORGOTTEN:
            return MemberState.FORGOTTEN
        if self.signed.presence is Presence.LEFT:
            return MemberState.LEFT
        if self.signed.presence is Presence.LEAVING:
            is_over = now_ms - self.said_ms >= config.restart_grace_ms
            return MemberState.LEFT if is_over else MemberState.LEAVING
        if self.verdict is not None:
            return _STATE_OF[self.verdict.doom]
        if self.is_suspected or not self.is_vouched:
            return MemberState.SUSPECT
        return MemberState.ALIVE

    def member(self, *, is_linked: bool = False) -> Member:
        return Member(
            record=self.signed.record,
            state=self.state,
            heard_ms=self.heard_ms,
            changed_ms=self.changed_ms,
            load=read_load(self.load),
            rtt_us=self.rtt_us,
            is_linked=is_linked,
            spoke_ms=self.spoke_ms,
            rival_ms=self.rival_ms,
            rival_endpoint=self.rival_endpoint,
            contested_ms=self.contested_ms,
        )


class Table:
    """Peers by id, own node excepted. `root` covers both, so equal roots mean equal knowledge."""

    def __init__(self, me: SignedRecord) -> None:
        self._me = me
        self._my_load: LoadState | None = None
        self._entries: dict[NodeId, Entry] = {}
        self._sorted: list[NodeId] = []  # the ring
        self._in_bucket: list[dict[NodeId, Entry]] = [{} for _ in range(BUCKETS)]
        self._digest = BucketDigest()
        self._my_hash = 0
        self._rehash_me()
        self.unvouched: set[NodeId] = set()
        self.gone_count = 0  # entries that are down, leaving, left or forgotten

    def __len__(self) -> int:
        return len(self._entries) + 1

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __contains__(self, node_id: NodeId) -> bool:
        return node_id in self._entries

    @property
    def me(self) -> SignedRecord:
        return self._me

    @property
    def my_load(self) -> LoadState | None:
        return self._my_load

    @property
    def my_version(self) -> Version:
        record = self._me.record
        load = 0 if self._my_load is None else self._my_load.version
        return Version(
            node_id=record.node_id,
            epoch=record.epoch,
            incarnation=record.incarnation,
            version=record.version,
            load=load,
        )

    @property
    def root(self) -> bytes:
        return self._digest.root

    @property
    def digest(self) -> BucketDigest:
        return self._digest

    def get(self, node_id: NodeId) -> Entry | None:
        return self._entries.get(node_id)

    def set_me(self, signed: SignedRecord) -> None:
        assert signed.order > self._me.order
        if signed.record.epoch != self._me.record.epoch:
            self._my_load = None
        self._me = signed
        self._rehash_me()

    def set_my_load(self, load: LoadState) -> None:
        assert load.epoch == self._me.record.epoch
        self._my_load = load
        self._rehash_me()

    def insert(self, entry: Entry) -> None:
        node_id = entry.node_id
        assert node_id not in self._entries
        assert node_id != self._me.record.node_id
        entry.number = int(node_id, 16)
        self._entries[node_id] = entry
        self._in_bucket[bucket_of(node_id)][node_id] = entry
        insort(self._sorted, node_id)
        if not entry.is_vouched:
            self.unvouched.add(node_id)
        self.rehash(entry)

    def remove(self, node_id: NodeId) -> Entry | None:
        entry = self._entries.pop(node_id, None)
        if entry is not None:
            self._digest.toggle(node_id, entry.hashed)
            del self._sorted[bisect_left(self._sorted, node_id)]
            del self._in_bucket[bucket_of(node_id)][node_id]
            self.unvouched.discard(node_id)
        return entry

    def vouch(self, entry: Entry) -> None:
        """Somebody living has spoken for it, or itself."""
        entry.is_vouched = True
        self.unvouched.discard(entry.node_id)
        self.rehash(entry)

    def rehash(self, entry: Entry) -> None:
        """Must follow every change of record, load or verdict."""
        entry.version = entry.current_version()
        new = hash_of(entry.version) if self._counts(entry) else 0
        if new != entry.hashed:
            self._digest.toggle(entry.node_id, entry.hashed ^ new)
            entry.hashed = new

    def _counts(self, entry: Entry) -> bool:
        """What nobody living has spoken for is not knowledge: it would differ for ever. A node that was
        admitted and never started has epoch 0, and everybody must learn its key."""
        if entry.state is MemberState.FORGOTTEN:
            return False
        is_new = entry.signed.record.epoch == 0
        return entry.is_vouched or is_new or entry.signed.presence is not Presence.HERE

    def ring(self, node_id: NodeId) -> Iterator[Entry]:
        """Entries after `node_id` on the ring of ids, all the way round."""
        at = bisect_left(self._sorted, node_id)
        for i in range(len(self._sorted)):
            other = self._sorted[(at + i) % len(self._sorted)]
            if other != node_id:
                yield self._entries[other]

    def ring_backwards(self, node_id: NodeId) -> Iterator[Entry]:
        at = bisect_left(self._sorted, node_id)
        for i in range(1, len(self._sorted) + 1):
            other = self._sorted[(at - i) % len(self._sorted)]
            if other != node_id:
                yield self._entries[other]

    def versions_in(self, buckets: Iterable[int]) -> list[Version]:
        """Of this node and of all that are not forgotten."""
        found = []
        mine = self.my_version
        for bucket in buckets:
            found += [entry.version for entry in self._in_bucket[bucket].values() if entry.hashed]
            if bucket_of(mine.node_id) == bucket:
                found.append(mine)
        return found

    def _rehash_me(self) -> None:
        new = hash_of(self.my_version)
        self._digest.toggle(self._me.record.node_id, self._my_hash ^ new)
        self._my_hash = new
