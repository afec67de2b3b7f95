"""The membership table: the newest believed record of every node, and a hash over all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fabric.core.membership.liveness import Evidence
from fabric.core.membership.model import Member, MemberState
from fabric.core.membership.record import SignedRecord
from proto.ids import NodeId
from proto.membership import ROOT_BYTES, Known


@dataclass(slots=True)
class Entry:
    """One peer: what it said last, and what we believe."""

    signed: SignedRecord
    evidence: Evidence
    state: MemberState
    changed_ms: int
    mismatches: int = field(default=0)  # beats in a row whose root differed from ours

    def member(self) -> Member:
        return Member(
            record=self.signed.record,
            state=self.state,
            heard_ms=self.evidence.heard_ms,
            changed_ms=self.changed_ms,
        )


class Table:
    """Peers by id, own node excepted. `root` covers both, so equal roots mean equal knowledge.

    The root is the XOR of one hash per node: a change costs two hashes whatever the size.
    """

    def __init__(self, me: SignedRecord) -> None:
        self._me = me
        self._entries: dict[NodeId, Entry] = {}
        self._root = _hash_of(me)

    def __len__(self) -> int:
        return len(self._entries) + 1

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    @property
    def me(self) -> SignedRecord:
        return self._me

    @property
    def root(self) -> bytes:
        return self._root.to_bytes(ROOT_BYTES, "big")

    def get(self, node_id: NodeId) -> Entry | None:
        return self._entries.get(node_id)

    def set_me(self, signed: SignedRecord) -> None:
        assert signed.order > self._me.order
        self._root ^= _hash_of(self._me) ^ _hash_of(signed)
        self._me = signed

    def insert(self, entry: Entry) -> None:
        node_id = entry.signed.record.node_id
        assert node_id not in self._entries
        assert node_id != self._me.record.node_id
        self._entries[node_id] = entry
        self._root ^= _hash_of(entry.signed)

    def replace(self, entry: Entry, signed: SignedRecord) -> None:
        assert signed.order > entry.signed.order
        self._root ^= _hash_of(entry.signed) ^ _hash_of(signed)
        entry.signed = signed

    def remove(self, node_id: NodeId) -> Entry | None:
        entry = self._entries.pop(node_id, None)
        if entry is not None:
            self._root ^= _hash_of(entry.signed)
        return entry

    def oldest_left(self) -> NodeId | None:
        """Whose tombstone makes room when the table is full."""
        left = [entry for entry in self if entry.state is MemberState.LEFT]
        if not left:
            return None
        return min(left, key=lambda entry: entry.changed_ms).signed.record.node_id

    def signed(self) -> list[SignedRecord]:
        return [self._me, *(entry.signed for entry in self)]

    def known(self) -> tuple[Known, ...]:
        return tuple(signed.known for signed in self.signed())

    def newer_than(self, theirs: Iterable[Known], *, only_named: bool) -> list[SignedRecord]:
        """What we know better than `theirs`; with `only_named`, of the nodes it names."""
        order = {known.node_id: (known.incarnation, known.version) for known in theirs}
        return [
            signed
            for signed in self.signed()
            if signed.order > order.get(signed.record.node_id, (-1, -1))
            and (not only_named or signed.record.node_id in order)
        ]

    def lacks(self, theirs: Iterable[Known]) -> bool:
        """Whether `theirs` is newer than ours somewhere."""
        order = {signed.record.node_id: signed.order for signed in self.signed()}
        return any((k.incarnation, k.version) > order.get(k.node_id, (-1, -1)) for k in theirs)


def _hash_of(signed: SignedRecord) -> int:
    known = signed.known
    text = f"{known.node_id}/{known.incarnation}/{known.version}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=ROOT_BYTES).digest(), "big")
