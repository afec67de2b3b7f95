"""Repair: two nodes whose knowledge differs compare it by buckets and exchange what is newer.

Sources: the Merkle trees of anti-entropy protocols (Demers et al., 1987), flattened to 256 buckets;
design/gossip.md 4.3.
"""

from __future__ import annotations

from collections.abc import Iterable

from fabric.core.membership.broadcast import LOADS_SENT, Broadcaster, batches
from fabric.core.membership.context import Context
from fabric.core.membership.links import Link, Links
from fabric.core.membership.model import MemberState
from fabric.core.membership.table import Entry
from proto.ids import NodeId
from proto.membership import (
    BUCKETS,
    REMOVALS_MAX,
    VERDICTS_MAX,
    VERSIONS_MAX,
    Digest,
    DigestMode,
    Down,
    Have,
    LoadState,
    NodeState,
    Presence,
    Removal,
    State,
    Verdict,
    Version,
    Versions,
    Want,
)

UNVOUCHED_ASKED = 2  # neighbours asked at a time
SNAPSHOT_PAUSE_MS = 1_000
DIGEST_PAUSE_MS = 250  # between two comparisons with one peer


class AntiEntropy:
    def __init__(self, context: Context, links: Links, broadcaster: Broadcaster) -> None:
        self._context = context
        self._links = links
        self._broadcaster = broadcaster
        self._compared: dict[NodeId, int] = {}
        self._snapshots: dict[NodeId, int] = {}
        self.removals: dict[NodeId, Removal] = {}
        self._snapshots_wanted = 2  # neighbours asked for all they know after a start

    # What starts a comparison.

    def on_root(self, link: Link, root: bytes) -> None:
        """A beat told what its sender's table hashes to."""
        if root == self._context.table.root:
            link.mismatch_since_ms = None
            return
        now_ms, config = self._context.now_ms, self._context.config
        is_flowing = now_ms - self._context.loaded_ms < config.mismatch_ms
        patience_ms = config.mismatch_flow_ms if is_flowing else config.mismatch_ms
        if link.mismatch_since_ms is None:
            link.mismatch_since_ms = now_ms
        elif now_ms - link.mismatch_since_ms >= patience_ms:
            link.mismatch_since_ms = now_ms
            self.compare(link.node_id)

    def on_met(self, node_id: NodeId, root: bytes) -> None:
        """A peer said hello. After a start we ask the first ones for everything."""
        if self._snapshots_wanted > 0:
            self._snapshots_wanted -= 1
            self._ask_snapshot(node_id)
        elif root != self._context.table.root:
            self.compare(node_id)

    def compare(self, node_id: NodeId, *, at_once: bool = False) -> None:
        """Sends our 256 hashes; the peer answers with versions where they differ."""
        now_ms = self._context.now_ms
        if not at_once and now_ms - self._compared.get(node_id, -DIGEST_PAUSE_MS) < DIGEST_PAUSE_MS:
            return
        if len(self._compared) > self._context.config.members_max:
            self._compared.clear()
        self._compared[node_id] = now_ms
        self._context.counters["digests"] += 1
        self._context.send(node_id, Digest(mode=DigestMode.ROOTS, roots=self._context.table.digest.roots()))

    def ask_about_unvouched(self) -> None:
        """Who is known from disk or from the door only may be known better by neighbours. Its news may have
        passed them before we were linked, and a hash does not tell who vouches."""
        context = self._context
        unvouched = sorted(context.table.unvouched)[:VERSIONS_MAX]
        asked = [link.node_id for link in self._links.linked.values() if link.is_up]
        if not unvouched or not asked:
            return
        versions = [entry.version for n in unvouched if (entry := context.table.get(n)) is not None]
        message = Digest(mode=DigestMode.VERSIONS, versions=Versions.of(versions))
        context.send_all(context.rng.sample(asked, min(UNVOUCHED_ASKED, len(asked))), message)

    def vouch(self, entry: Entry) -> None:
        """We heard it ourselves, and others may not know that it lives: its record goes round once more."""
        self._context.table.vouch(entry)
        self._context.rejudge(entry)
        self._broadcaster.push_state(entry.node_id, None)

    # What comes in.

    def on_digest(self, sender: NodeId, digest: Digest) -> None:
        match digest.mode:
            case DigestMode.ROOTS:
                differing = self._context.table.digest.differing(digest.roots)
                if differing:
                    self._send_versions(sender, differing)
            case DigestMode.VERSIONS:
                self._reconcile(sender, digest)
            case DigestMode.SNAPSHOT:
                self._answer_snapshot(sender, digest)

    def on_want(self, sender: NodeId, versions: Versions) -> None:
        table = self._context.table
        parcel = _Parcel()
        wanted = {version.node_id: version for version in versions}  # one answer each, however often asked
        for theirs in wanted.values():
            if theirs.node_id == self._context.my_id:
                self._pick_mine(theirs, parcel)
                continue
            removal = self.removals.get(theirs.node_id)
            if removal is not None:
                parcel.removals.append(removal)
                continue
            entry = table.get(theirs.node_id)
            if entry is not None:
                self._pick(entry, theirs, parcel)
        self._send(sender, parcel)

    # Inner.

    def _send_versions(self, to: NodeId, buckets: list[int]) -> None:
        """In messages of whole buckets: what is missing in a bucket that was told is unknown to us."""
        part: list[Version] = []
        told: list[int] = []
        for bucket, versions in self._grouped(buckets):
            if told and len(part) + len(versions) > VERSIONS_MAX:
                self._send_part(to, told, part)
                part, told = [], []
            told.append(bucket)
            part += versions[:VERSIONS_MAX]
        if told:
            self._send_part(to, told, part)

    def _grouped(self, buckets: list[int]) -> list[tuple[int, list[Version]]]:
        grouped: dict[int, list[Version]] = {bucket: [] for bucket in buckets}
        for version in self._context.table.versions_in(buckets):
            grouped[int(version.node_id[:2], 16)].append(version)
        return list(grouped.items())

    def _send_part(self, to: NodeId, buckets: list[int], versions: list[Version]) -> None:
        self._context.send(
            to, Digest(mode=DigestMode.VERSIONS, buckets=bytes(buckets), versions=Versions.of(versions))
        )

    def _reconcile(self, sender: NodeId, digest: Digest) -> None:
        """Sends what is newer here, asks for what is newer there."""
        table, my_id = self._context.table, self._context.my_id
        theirs = {version.node_id: version for version in digest.versions}
        parcel = _Parcel()
        wanted: list[Version] = []
        for mine in table.versions_in(digest.buckets):
            other = theirs.pop(mine.node_id, None) or _nothing(mine.node_id)
            if mine.node_id == my_id:
                self._pick_mine(other, parcel)
            else:
                entry = table.get(mine.node_id)
                assert entry is not None
                self._pick(entry, other, parcel)
            if _is_newer(other, mine):
                wanted.append(mine)
        vouched: list[Version] = []
        for node_id, other in theirs.items():  # told beside the buckets, or forgotten here
            entry = table.get(node_id)
            order = (other.epoch, other.incarnation, other.version)
            if node_id in self.removals:
                parcel.removals.append(self.removals[node_id])
            elif entry is None:
                if node_id != my_id:
                    wanted.append(_nothing(node_id))
            elif order > entry.signed.order:
                wanted.append(entry.version)
            else:
                self._pick(entry, other, parcel)
                if order == entry.signed.order and entry.is_vouched and entry.verdict is None:
                    vouched.append(entry.version)
        for at in range(0, len(vouched), VERSIONS_MAX):
            self._context.send(sender, Have(versions=Versions.of(vouched[at : at + VERSIONS_MAX])))
        for at in range(0, len(wanted), VERSIONS_MAX):
            part = Versions.of(wanted[at : at + VERSIONS_MAX])
            self._context.send(sender, Want(versions=part, graft=False))
        self._send(sender, parcel)

    def _ask_snapshot(self, node_id: NodeId) -> None:
        versions = self._context.table.versions_in(range(BUCKETS))
        for at in range(0, len(versions), VERSIONS_MAX):
            part = versions[at : at + VERSIONS_MAX]
            mode = DigestMode.SNAPSHOT if at + VERSIONS_MAX >= len(versions) else DigestMode.VERSIONS
            buckets = b"" if mode is DigestMode.SNAPSHOT else bytes({int(v.node_id[:2], 16) for v in part})
            self._context.send(node_id, Digest(mode=mode, buckets=buckets, versions=Versions.of(part)))

    def _answer_snapshot(self, sender: NodeId, digest: Digest) -> None:
        """All that is newer here, and for which of the rest we vouch. Costly, so not often to the same
        peer."""
        now_ms = self._context.now_ms
        if now_ms - self._snapshots.get(sender, -SNAPSHOT_PAUSE_MS) < SNAPSHOT_PAUSE_MS:
            self._context.refuse(sender, "snapshot_too_soon")
            return
        self._snapshots[sender] = now_ms
        theirs = {version.node_id: version for version in digest.versions}
        parcel = _Parcel()
        vouched: list[Version] = []
        wanted: list[Version] = []
        self._pick_mine(theirs.get(self._context.my_id) or _nothing(self._context.my_id), parcel)
        for entry in self._context.table:
            if not entry.hashed or entry.node_id == sender:
                continue
            mine = entry.version
            other = theirs.get(entry.node_id) or _nothing(entry.node_id)
            self._pick(entry, other, parcel)
            same = (other.epoch, other.incarnation, other.version) == entry.signed.order
            if same and entry.is_vouched and entry.verdict is None:
                vouched.append(mine)
            if _is_newer(other, mine):
                wanted.append(mine)
        unknown = [
            _nothing(node_id)
            for node_id in theirs
            if node_id not in self._context.table
            and node_id != self._context.my_id
            and node_id not in self.removals
        ]
        for at in range(0, len(vouched), VERSIONS_MAX):
            self._context.send(sender, Have(versions=Versions.of(vouched[at : at + VERSIONS_MAX])))
        parcel.removals += [self.removals[n] for n in theirs if n in self.removals]
        self._send(sender, parcel)
        wanted += unknown
        for at in range(0, len(wanted), VERSIONS_MAX):
            part = Versions.of(wanted[at : at + VERSIONS_MAX])
            self._context.send(sender, Want(versions=part, graft=False))

    def _pick_mine(self, theirs: Version, parcel: _Parcel) -> None:
        table = self._context.table
        if table.me.order > (theirs.epoch, theirs.incarnation, theirs.version):
            parcel.add(table.me.state, 0)
        load = table.my_load
        if load is not None and load.order > (theirs.epoch, theirs.load):
            parcel.loads.append(load)

    def _pick(self, entry: Entry, theirs: Version, parcel: _Parcel) -> None:
        """What of `entry` is newer than `theirs`. A record nobody living has spoken for is not passed on: it
        would look like life. A node that was admitted and never started has epoch 0 and is no such case."""
        record = entry.signed.record
        if entry.state is MemberState.FORGOTTEN:
            return
        may_tell = entry.is_vouched or record.epoch == 0 or entry.signed.presence is not Presence.HERE
        their_order = (theirs.epoch, theirs.incarnation, theirs.version)
        # All zeros is also what a node says that knows nothing of it: then even a first record is news.
        if may_tell and (entry.signed.order > their_order or not any(their_order)):
            age_ms = 0
            if entry.signed.presence is not Presence.HERE:
                age_ms = max(0, self._context.now_ms - entry.said_ms)
            parcel.add(entry.signed.state, age_ms)
        if may_tell and entry.load is not None and entry.load.order > (theirs.epoch, theirs.load):
            parcel.loads.append(entry.load)
        mine = entry.version
        if mine.verdict and (mine.epoch, mine.incarnation, mine.verdict) > (
            theirs.epoch,
            theirs.incarnation,
            theirs.verdict,
        ):
            parcel.verdicts.append(with_age(entry, self._context.now_ms))

    def _send(self, to: NodeId, parcel: _Parcel) -> None:
        """Records before verdicts, whose votes need the voters' keys; loads last."""
        removals, verdicts, loads = parcel.removals, parcel.verdicts, parcel.loads
        for at in range(0, len(removals), REMOVALS_MAX):
            self._context.send(to, State(removals=tuple(removals[at : at + REMOVALS_MAX])))
        ages = iter(parcel.ages_ms)
        for batch in batches(parcel.states, self._context.config.states_bytes_max):
            batch_ages = tuple(next(ages) for _ in batch)
            self._context.send(to, State(states=batch, ages_ms=batch_ages if any(batch_ages) else ()))
        for at in range(0, len(verdicts), VERDICTS_MAX):
            self._context.send(to, Down(verdicts=tuple(verdicts[at : at + VERDICTS_MAX])))
        for at in range(0, len(loads), LOADS_SENT):
            self._context.send(to, State(loads=tuple(loads[at : at + LOADS_SENT])))


class _Parcel:
    """What one peer lacks. Beside the states, the ages of farewells."""

    def __init__(self) -> None:
        self.states: list[NodeState] = []
        self.ages_ms: list[int] = []
        self.loads: list[LoadState] = []
        self.verdicts: list[Verdict] = []
        self.removals: list[Removal] = []

    def add(self, state: NodeState, age_ms: int) -> None:
        self.states.append(state)
        self.ages_ms.append(age_ms)


def with_age(entry: Entry, now_ms: int) -> Verdict:
    """The verdict about it as it is passed on: with how long ago it was reached."""
    verdict = entry.verdict
    assert verdict is not None
    return Verdict(
        target=verdict.target,
        epoch=verdict.epoch,
        incarnation=verdict.incarnation,
        number=verdict.number,
        doom=verdict.doom,
        votes=verdict.votes,
        age_ms=max(0, now_ms - entry.verdict_ms),
    )


def lacking(versions: Iterable[Version], context: Context) -> list[Version]:
    """Which of `versions` are newer than ours, verdicts aside."""
    found = []
    for theirs in versions:
        if theirs.node_id == context.my_id:
            continue
        entry = context.table.get(theirs.node_id)
        if entry is None:
            found.append(theirs)
            continue
        order = (theirs.epoch, theirs.incarnation, theirs.version)
        mine_load = 0 if entry.load is None else entry.load.version
        is_same = order == entry.signed.order
        if order > entry.signed.order or (is_same and theirs.load > mine_load):
            found.append(theirs)
    return found


def _is_newer(theirs: Version, mine: Version) -> bool:
    if (theirs.epoch, theirs.incarnation) == (mine.epoch, mine.incarnation):
        return theirs.version > mine.version or theirs.load > mine.load or theirs.verdict > mine.verdict
    if (theirs.epoch, theirs.incarnation) > (mine.epoch, mine.incarnation):
        return True
    return theirs.epoch == mine.epoch and theirs.load > mine.load


def _nothing(node_id: NodeId) -> Version:
    """Stands for knowing nothing. Version -1 cannot travel, so a record of all zeros is asked for by want's
    rule: whoever has anything of the node sends it."""
    return Version(node_id=node_id, epoch=0, incarnation=0, version=0)
