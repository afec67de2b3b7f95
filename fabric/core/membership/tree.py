"""Which links carry payloads: one spanning tree for all news, pruned by the word of one member.

Plumtree (2007) prunes a link whenever it brings what was known. That is sound for one sayer: each node keeps
the link its first copy came by, so whoever was reached is reached again. When many say something at once it
is not: one word prunes this link because the other carries it, another word prunes that one because this
carries it, and the tree falls to pieces. So one member shapes it, the living one with the lowest id (as IEEE
802.1D elects its root bridge): every few seconds its load goes out by itself, hurries and is flagged, and
what brings it twice is pruned. Other payloads prune only before the first such word, when many join at once
and all links are new and eager, and leave each node four. Nothing that is merely late grafts: where
processors are short all is late, and all links would be grafted. Instead beats carry a mark of the shaping
word last heard: ends of a link whose marks stay different are on different pieces, and the link joins them
again. They carry its hops, too: what would be a shorter way becomes eager, and the next word prunes the
longer one.
"""

from __future__ import annotations

from zlib import crc32

from fabric.core.membership.context import Context
from fabric.core.membership.links import Link, Links
from fabric.core.membership.model import MemberState
from proto.ids import NodeId
from proto.membership import LoadState, Prune, Versions, Want

GROWING_MS = 10_000  # the fabric counts as growing for so long after its last newcomer
GROWING_SHAPE_MS = 2_000  # links of newcomers are eager: pruned this often meanwhile
SHORTER_HOPS = 3  # a lazy link that would save so many is tried: Plumtree's threshold, section 3.8
WORD_PAUSE_MS = GROWING_SHAPE_MS // 2  # what follows sooner is a load like others
WORDS_MISSED = 3  # then the next lowest shapes: the lowest may be of a version that does not, or cut off
HOPS, WORDS = 32, 2_048  # told apart in a mark


class BroadcastTree:
    """The eager flags of `Links` are set here only, but for a new link's, which is eager."""

    def __init__(self, context: Context, links: Links) -> None:
        self._context = context
        self._links = links
        self._word = 0  # what tells the shaping word last heard from others; 0: none yet
        self._current: tuple[NodeId, int, int] | None = None  # itself
        self._hops = 0  # over how many links it came
        self._source: NodeId | None = None  # by which of ours
        self._word_ms = -1_000_000  # when
        self._joined_ms = -1_000_000  # one link at a time: a whole piece of the tree is cut off at once
        self._shortened = 0  # the word after which a shorter way was taken: the next one shows whether it is

    # The shaping word.

    @property
    def is_shaper(self) -> bool:
        """Whether this node should shape: nobody below it lives, or all who do are silent. Two who both shape
        do no harm but to the number of copies."""
        below = self._living_below(self._context.my_id)
        return below == 0 or self._is_overdue(WORDS_MISSED + min(below, 10))

    def accepts(self, owner: NodeId) -> bool:
        """Whether a flagged load is taken for a word that shapes. Loads are not signed and a word hurries, so
        it has to be the lowest's, and not too soon: else any member could set the pace of all."""
        if self._context.now_ms - self._word_ms < WORD_PAUSE_MS:
            return False
        return self._is_overdue(WORDS_MISSED) or self._living_below(owner) == 0

    def is_current(self, load: LoadState) -> bool:
        return (load.node_id, *load.order) == self._current

    @property
    def is_growing(self) -> bool:
        """Links come and go, and with them pieces of the tree."""
        context = self._context
        return context.now_ms - max(context.grew_ms, context.started_ms) < GROWING_MS

    @property
    def is_shaped(self) -> bool:
        """Whether words that shape come."""
        return self._word != 0 and not self._is_overdue(WORDS_MISSED)

    def _is_overdue(self, intervals: int) -> bool:
        since_ms = max(self._word_ms, self._context.started_ms)
        return self._context.now_ms - since_ms >= intervals * self._context.config.shape_interval_ms

    def _living_below(self, node_id: NodeId) -> int:
        alive = sum(e.node_id < node_id for e in self._context.table if e.state is MemberState.ALIVE)
        return alive + (self._context.my_id < node_id)

    def shape_again_ms(self) -> int:
        interval_ms = self._context.config.shape_interval_ms
        return self._context.jittered(min(GROWING_SHAPE_MS, interval_ms) if self.is_growing else interval_ms)

    def on_word(self, load: LoadState, source: NodeId | None, hops: int) -> None:
        """A new shaping word and the link it came by; None and 0: our own."""
        self._source, self._word_ms = source, self._context.now_ms
        self._current = (load.node_id, *load.order)
        self._word = 1 + crc32(f"{load.node_id}/{load.epoch}/{load.version}".encode()) % (WORDS - 1)
        self._hops = min(hops, HOPS - 1)

    @property
    def mark(self) -> int:
        """16 bits for our beats, for each byte of them counts: the word last heard and its hops. The few
        words that look like another one are followed by one that does not."""
        return self._word * HOPS + self._hops

    def on_mark(self, link: Link, mark: int) -> None:
        """A beat's: what its sender heard last, and over how many links."""
        word, hops = divmod(mark, HOPS)
        context = self._context
        now_ms = context.now_ms
        if word == self._word:
            link.other_mark_since_ms = None
            is_shorter = not link.is_eager and hops + 1 + SHORTER_HOPS <= self._hops
            if is_shorter and self._shortened != word:
                self._shortened = word
                self._graft(link)
        elif link.is_eager:
            link.other_mark_since_ms = None  # if its other half is lazy, that end does what is needed
        elif link.other_mark_since_ms is None:
            link.other_mark_since_ms = now_ms
        elif min(now_ms - link.other_mark_since_ms, now_ms - self._joined_ms) >= self._patience_ms():
            link.other_mark_since_ms, self._joined_ms = None, now_ms
            self._graft(link)

    def _patience_ms(self) -> int:
        return self._context.config.mismatch_ms * self._context.awareness.factor

    def _graft(self, link: Link) -> None:
        self._context.counters["grafts"] += 1
        link.is_eager = True
        self._context.send(link.node_id, Want(versions=Versions.of(()), graft=True))

    # Payloads.

    def on_payload(self, sender: NodeId, *, was_new: bool, shapes: bool) -> None:
        """It came by an eager link."""
        counters, config = self._context.counters, self._context.config
        counters["payloads"] += 1
        link = self._links.get(sender)
        if was_new:
            if shapes and link is not None:
                link.is_eager = True
            return
        counters["payloads_duplicate"] += 1
        if shapes and sender == self._source:
            return  # the same copy once more says nothing of another way
        kept = config.eager_min if shapes else config.eager_unshaped
        may_prune = shapes or not self.is_shaped
        if may_prune and link is not None and link.is_eager and self._count_eager() > kept:
            link.is_eager = False
            self._context.send(sender, Prune())

    def on_prune(self, sender: NodeId) -> None:
        link = self._links.get(sender)
        if link is not None and self._count_eager() > 1:
            link.is_eager = False

    def on_graft(self, sender: NodeId) -> None:
        link = self._links.get(sender)
        if link is not None:
            link.is_eager = True

    def _count_eager(self) -> int:
        return sum(link.is_eager for link in self._links.linked.values())
