"""Believing: what a state, load or removal from somewhere does to the table.

Of believed records of one node the highest (epoch, incarnation, version) wins, whoever brought it. The last
word of an epoch is the last; only its owner can undo a verdict or a farewell, with a higher epoch or
incarnation.
"""

from __future__ import annotations

from fabric.core.membership.anti_entropy import AntiEntropy
from fabric.core.membership.broadcast import Broadcaster
from fabric.core.membership.context import UNHEARD_MS, Context
from fabric.core.membership.court import Court
from fabric.core.membership.events import AdmitPeer, ExpelPeer, Notify, Quarantine
from fabric.core.membership.introductions import Introductions
from fabric.core.membership.links import Links
from fabric.core.membership.model import GONE_STATES, MemberState, NodeRecord
from fabric.core.membership.own_load import OwnLoad
from fabric.core.membership.own_record import OwnRecord
from fabric.core.membership.record import SignedRecord, read_state
from fabric.core.membership.table import Entry
from fabric.core.membership.tombstones import Tombstones
from fabric.core.membership.tree import GROWING_SHAPE_MS, BroadcastTree
from proto.errors import WireError
from proto.ids import NodeId
from proto.membership import LoadState, NodeState, Presence, Removal, State, Versions, Welcome

RIVAL_PAUSE_MS = 5_000
RIVAL_MS = 2_000  # time for another owner of an id to answer with a newer word


class Learner:
    def __init__(
        self,
        context: Context,
        links: Links,
        tree: BroadcastTree,
        broadcaster: Broadcaster,
        court: Court,
        own: OwnRecord,
        own_load: OwnLoad,
        anti_entropy: AntiEntropy,
        tombstones: Tombstones,
        introductions: Introductions,
    ) -> None:
        self._context = context
        self._links = links
        self._tree = tree
        self._broadcaster = broadcaster
        self._court = court
        self._own = own
        self._own_load = own_load
        self._anti_entropy = anti_entropy
        self._tombstones = tombstones
        self._introductions = introductions
        self._current: dict[
            bytes, NodeId
        ] = {}  # signature of each current state: duplicates cost one look-up

    # From where.

    def remember(self, state: NodeState) -> None:
        """From disk or from the join door: nobody living has spoken for it yet."""
        self._take(state, self._context.my_id, 0, vouches=False)

    def admit(self, state: NodeState) -> None:
        """The authority let it in: everybody should know its key. Told at once, before the newcomer gets its
        answer: this node may die next, and a newcomer nobody knows is refused by all."""
        signed = self._take(state, self._context.my_id, 0, vouches=False)
        if signed is None:
            return
        node_id = signed.record.node_id
        self._broadcaster.push_state(node_id, None)
        self._broadcaster.flush()
        self._introductions.add(node_id)

    def take(self, state: NodeState, sender: NodeId, age_ms: int = 0) -> bool:
        """A state by itself, from its owner or relayed. Whether it was news; news goes on."""
        signed = self._take(state, sender, age_ms, vouches=True)
        if signed is None:
            return False
        self._broadcaster.push_state(signed.record.node_id, sender)
        return True

    def take_all(self, message: State, sender: NodeId) -> None:
        """Removals first: what they forbid must not be let in by the same message."""
        was_new, is_judged, shapes = False, True, False
        for removal in message.removals:
            self.remove(removal, sender)
        ages = message.ages_ms or (0,) * len(message.states)
        for state, age_ms in zip(message.states, ages, strict=True):
            was_new |= self.take(state, sender, age_ms)
        for load in message.loads:
            taken = self._take_load(load, sender)
            word = self._shape(load, sender, message.hops) if message.hops and taken is not None else None
            if word is not None:
                taken, shapes = word, True
            elif taken:
                self._broadcaster.push_load(load.node_id, sender)
                self._context.loaded_ms = self._context.now_ms
            was_new |= taken is True
            is_judged &= taken is not None
        if message.eager and (message.states or message.loads) and (was_new or is_judged):
            self._tree.on_payload(sender, was_new=was_new, shapes=shapes)

    def take_other_self(self, state: NodeState, age_ms: int) -> None:
        """A peer shows us a word of our own id: newer than ours, or of another process."""
        signed = self._read(state, self._context.my_id)
        if signed is None or signed.record.node_id != self._context.my_id:
            return
        if (
            signed.order >= self._context.table.me.order
            and signed.state.body != self._context.table.me.state.body
        ):
            self._own.on_other_self(signed, age_ms)

    def turn_to_rival(self, entry: Entry) -> None:
        """Another process with this id goes on speaking. Dial that one for a moment and show it the newer
        word: it has to outbid it, and whoever is the younger of the two then learns of the other by a word
        said just now. What an older word claims about itself is never held against anybody: it may be a
        replay."""
        now_ms = self._context.now_ms
        if entry.rival is None or now_ms - entry.turned_ms < RIVAL_PAUSE_MS:
            return
        entry.turned_ms = now_ms
        signed = self._read(entry.rival, entry.node_id, is_rival=True)
        if signed is None:
            return
        context, table = self._context, self._context.table
        entry.rival_ms, entry.rival_endpoint = now_ms, signed.record.endpoint
        self._contest(entry, signed.record, entry.signed.record)
        context.emit(Notify(entry.member(), entry.state))
        self._tell_transport(signed.record)
        welcome = Welcome(
            state=table.me.state,
            root=table.root,
            members=len(table),
            you=(entry.signed.state,),
            you_age_ms=now_ms - entry.said_ms,
        )
        context.send(entry.node_id, welcome)
        context.wake_in(("rival", entry.node_id), RIVAL_MS)

    def is_rivals(self, entry: Entry, state: NodeState) -> bool:
        """A hello that is an older word of another process: whoever dials us now lives now."""
        return entry.rival is not None and entry.rival.body == state.body

    def turn_back(self, node_id: NodeId) -> None:
        """To whomever the newest word names."""
        entry = self._context.table.get(node_id)
        if entry is not None:
            self._tell_transport(entry.signed.record)

    def vouch(self, versions: Versions) -> None:
        """A living peer has this as news: those we know only from disk are spoken for."""
        for version in versions:
            entry = self._context.table.get(version.node_id)
            if entry is None or entry.is_vouched or version.epoch == 0:
                continue
            if (version.epoch, version.incarnation, version.version) >= entry.signed.order:
                self._mark_vouched(entry)

    def remove(self, removal: Removal, sender: NodeId | None) -> None:
        """The root took a member out. Everybody refuses its key from now on."""
        context = self._context
        node_id = context.trust.removed(removal)
        if node_id is None:
            context.refuse(sender or context.my_id, "bad_removal")
            return
        if node_id in self._anti_entropy.removals:
            return
        self._anti_entropy.removals[node_id] = removal
        context.counters["removed"] += 1
        self._broadcaster.flood_removal(removal, sender)
        if node_id == context.my_id:
            self._own.is_quarantined = True
            context.emit(Quarantine("this node was removed from the fabric", ""))
            self._keep()
            return
        self._court.on_gone(node_id)
        self._links.forget(node_id)
        entry = context.table.remove(node_id)
        context.emit(ExpelPeer(node_id))
        if entry is not None:
            context.table.gone_count -= entry.state in GONE_STATES
            self._current.pop(entry.signed.state.signature, None)
            before, entry.state, entry.changed_ms = entry.state, MemberState.FORGOTTEN, context.now_ms
            context.emit(Notify(entry.member(), before))
        self._keep()

    # Records.

    def _take(self, state: NodeState, source: NodeId, age_ms: int, *, vouches: bool) -> SignedRecord | None:
        """Believes a state if it is newer than what we have. None: nothing changed."""
        known_as = self._current.get(state.signature)
        if known_as is not None:
            entry = self._context.table.get(known_as)
            if entry is not None and entry.signed.state == state:
                return self._take_again(entry, vouches)
        signed = self._read(state, source)
        if signed is None:
            return None
        node_id = signed.record.node_id
        if node_id in self._anti_entropy.removals:
            self._context.refuse(source, "removed")
            return None
        if node_id == self._context.my_id:
            self._take_own(signed, age_ms)
            return None
        entry = self._context.table.get(node_id)
        if entry is None:
            return signed if self._insert(signed, source, age_ms, vouches) else None
        if not self._may_replace(entry, signed, source):
            return None
        self._replace(entry, signed, age_ms, vouches)
        return signed

    def _take_again(self, entry: Entry, vouches: bool) -> SignedRecord | None:
        """The very state we have. News only where nobody living had spoken for it."""
        if vouches and self._tombstones.revive_ghost(entry):
            self._links.review()
            return entry.signed
        if vouches and not entry.is_vouched and entry.signed.record.epoch > 0:
            self._mark_vouched(entry)
            return entry.signed
        return None

    def _read(self, state: NodeState, source: NodeId, *, is_rival: bool = False) -> SignedRecord | None:
        """Shape, then bounds, then proof: in the order of what they cost."""
        context = self._context
        try:
            signed = read_state(state)
        except WireError as error:
            context.refuse(source, error.reason)
            return None
        entry = context.table.get(signed.record.node_id)
        if (
            not is_rival
            and entry is not None
            and signed.order < entry.signed.order
            and not _ends_ghost(entry, signed)
            and entry.signed.record.boot_id == signed.record.boot_id
        ):
            context.counters["states_stale"] += 1
            return None  # old news needs no proof to be ignored
        reason = context.trust.doubt(state, signed.record)
        if reason is not None:
            context.refuse(source, reason)
            return None
        return signed

    def _may_replace(self, entry: Entry, signed: SignedRecord, source: NodeId) -> bool:
        old = entry.signed
        if signed.order < old.order and _ends_ghost(entry, signed):
            return True
        if signed.order <= old.order:
            self._context.counters["states_stale"] += 1
            if signed.record.boot_id != old.record.boot_id and source == entry.node_id:
                entry.rival = signed.state  # another living process says so itself, with the same keys
                self._contest(entry, old.record, signed.record)
            return False
        is_same_epoch = signed.record.epoch == old.record.epoch
        if old.presence is Presence.LEFT and is_same_epoch:
            self._context.refuse(source, "spoke_after_leaving")
            return False
        if old.presence is Presence.LEAVING and is_same_epoch and signed.presence is Presence.HERE:
            self._context.refuse(source, "spoke_after_leaving")
            return False
        if signed.record.certificate != old.record.certificate and self._context.trust.is_newer(
            old.record.certificate, signed.record.certificate
        ):
            self._context.refuse(source, "certificate_spent")
            return False
        return True

    def _insert(self, signed: SignedRecord, source: NodeId, age_ms: int, vouches: bool) -> bool:
        context = self._context
        if len(context.table) >= context.config.members_max:
            context.refuse(source, "table_full")
            return False
        now_ms = context.now_ms
        entry = Entry(
            signed=signed,
            state=MemberState.SUSPECT,
            changed_ms=now_ms,
            heard_ms=now_ms,
            is_vouched=vouches and signed.record.epoch > 0,
            said_ms=now_ms - age_ms,
            changed_epoch_ms=now_ms,
        )
        entry.state = entry.judged(now_ms, context.config)
        context.table.insert(entry)
        context.grew_ms = now_ms
        context.timers.set_earlier("shape", now_ms + GROWING_SHAPE_MS)
        context.table.gone_count += entry.state in GONE_STATES
        self._current[signed.state.signature] = entry.node_id
        self._tell_transport(signed.record)
        if not entry.is_vouched:
            context.timers.set_earlier("unheard", now_ms + UNHEARD_MS)
        if entry.state is MemberState.LEAVING:
            context.timers.set(("grace", entry.node_id), entry.said_ms + context.config.restart_grace_ms)
        context.emit(Notify(entry.member(), None))
        self._links.review()
        self._keep()
        return True

    def _replace(self, entry: Entry, signed: SignedRecord, age_ms: int, vouches: bool) -> None:
        context = self._context
        old, new = entry.signed.record, signed.record
        before = entry.state
        self._current.pop(entry.signed.state.signature, None)
        self._current[signed.state.signature] = entry.node_id
        is_reborn = (new.epoch, new.incarnation) > (old.epoch, old.incarnation)
        if new.epoch < old.epoch:
            entry.load = None
        self._contest(entry, old, new)
        if new.epoch > old.epoch:
            entry.rival = entry.signed.state if new.boot_id != old.boot_id else None
            self._note_owners(entry, old, new)
            entry.stale_beats = 0
            entry.changed_epoch_ms = context.now_ms
            entry.load = None
        entry.signed = signed
        entry.heard_ms = context.now_ms
        entry.said_ms = context.now_ms - age_ms
        if vouches:
            context.table.vouch(entry)
        if entry.state is MemberState.FORGOTTEN:
            entry.state, entry.is_ghost = MemberState.SUSPECT, False
            context.table.gone_count -= 1
        if is_reborn:
            entry.outbid = 0
            self._court.on_reborn(entry, is_refutation=new.epoch == old.epoch)
            if entry.verdict is not None and (entry.verdict.epoch, entry.verdict.incarnation) < (
                new.epoch,
                new.incarnation,
            ):
                entry.verdict = None
        if signed.presence is not Presence.HERE:
            self._court.on_gone(entry.node_id)
            entry.verdict = None  # a farewell says more than whoever missed it
        context.rejudge(entry)
        context.table.rehash(entry)
        if new.endpoint != old.endpoint or new.curve_public != old.curve_public:
            self._tell_transport(new)
        if signed.presence is not Presence.HERE:
            self._links.forget(entry.node_id)
        elif before in GONE_STATES:
            self._links.review()
        if entry.state is before and _matters(old, new):
            context.emit(Notify(entry.member(), before))
        self._keep()

    def _note_owners(self, entry: Entry, old: NodeRecord, new: NodeRecord) -> None:
        """A restart ends a process for ever. One that outbids its own successor has lived beside it."""
        if new.boot_id == old.boot_id:
            return
        if new.boot_id == entry.outgrown_boot:
            entry.rival_ms, entry.rival_endpoint = self._context.now_ms, old.endpoint
        entry.outgrown_boot = old.boot_id

    def _contest(self, entry: Entry, one: NodeRecord, other: NodeRecord) -> None:
        """A process that starts again where it was, or that said goodbye or was found dead before the other
        spoke, leaves its id to nobody's doubt. Epoch 0 is an invitation, and no process."""
        is_other = one.boot_id != other.boot_id and one.endpoint != other.endpoint
        if is_other and one.epoch > 0 and other.epoch > 0 and entry.state not in GONE_STATES:
            entry.contested_ms = self._context.now_ms

    def _take_own(self, signed: SignedRecord, age_ms: int) -> None:
        me = self._context.table.me
        if signed.state != me.state and signed.order >= me.order:
            self._own.on_other_self(signed, age_ms)

    # Loads.

    def _shape(self, load: LoadState, sender: NodeId, hops: int) -> bool | None:
        """Whether this word that shapes the tree is new. It goes on whether or not the load in it came
        before, by a comparison or in a batch: else the rest of the tree would not be shaped. None: it is a
        load like others."""
        if self._tree.is_current(load):
            return False
        entry = self._context.table.get(load.node_id)
        if entry is None or load.order <= entry.shaped or not self._tree.accepts(load.node_id):
            return None
        entry.shaped = load.order
        self._broadcaster.push_shaping(load, sender, hops)
        return True

    def _take_load(self, load: LoadState, sender: NodeId) -> bool | None:
        """Whether it was news, to be told on. None: there is no telling."""
        context = self._context
        if load.node_id == context.my_id:
            mine = context.table.my_load
            if mine is None or load.order >= mine.order:
                self._own_load.on_other_word(load)
            return False
        entry = context.table.get(load.node_id)
        if entry is None or load.epoch != entry.signed.record.epoch:
            return None  # its record has not come yet, or is newer: anti-entropy brings what fits
        if entry.load is not None and load.version <= entry.load.version:
            return False
        entry.load = load
        entry.heard_ms = context.now_ms
        context.table.rehash(entry)
        return True

    # Inner.

    def _mark_vouched(self, entry: Entry) -> None:
        self._context.table.vouch(entry)
        entry.heard_ms = self._context.now_ms
        self._context.rejudge(entry)
        self._links.review()

    def _tell_transport(self, record: NodeRecord) -> None:
        self._context.emit(AdmitPeer(record.node_id, record.endpoint, record.curve_public))

    def _keep(self) -> None:
        """What changed should survive a restart: soon, and not too often."""
        config = self._context.config
        self._context.timers.set_earlier("persist", self._context.now_ms + config.persist_interval_ms)


def _ends_ghost(entry: Entry, signed: SignedRecord) -> bool:
    """An older farewell of a member we forgot, because nobody else knew its last word: what all others know.
    It claims no life, and the root would differ for as long as they keep it."""
    return entry.is_ghost and entry.state is MemberState.FORGOTTEN and signed.presence is not Presence.HERE


def _matters(old: NodeRecord, new: NodeRecord) -> bool:
    """Whether a change is worth waking listeners for: all but what only orders records."""
    fields = (
        "endpoint",
        "curve_public",
        "certificate",
        "epoch",
        "zone",
        "rack",
        "software",
        "roles",
        "api_urls",
    )
    return any(
        getattr(old, name) != getattr(new, name) for name in (*fields, "inventory", "labels", "incarnation")
    )
