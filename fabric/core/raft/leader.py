"""What a node does while it leads: replicate, commit, confirm reads, change the configuration, hand over.

One of these is made at each election won and thrown away with the leadership.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from fabric.core.raft.config import RaftConfig
from fabric.core.raft.configuration import Configuration, Tally, encode_configuration
from fabric.core.raft.log import RaftLog
from fabric.core.raft.outbox import Outbox
from fabric.core.raft.progress import Pace, Progress
from fabric.core.raft.reads import Reads
from proto.ids import LogIndex, Term, VoterId
from proto.raft import (
    ENTRY_BYTES_MAX,
    NO_TERM,
    VOTERS_MAX,
    Append,
    AppendReply,
    EntryKind,
    Heartbeat,
    HeartbeatReply,
    LogEntry,
    TimeoutNow,
)

TELL_AFTER_MS = 1  # when a follower learns what is committed, unless entries bring the word before


class Leader:
    def __init__(
        self, me: VoterId, term: Term, config: RaftConfig, log: RaftLog, outbox: Outbox, now_ms: int
    ) -> None:
        self._me = me
        self._term = term
        self._config = config
        self._log = log
        self._outbox = outbox
        self._reads = Reads()
        self.progress: dict[VoterId, Progress] = {}  # of the members, and of who left until that is committed
        self.heartbeat_due_ms = now_ms + config.heartbeat_ms  # the first entry says who leads
        self.quorum_due_ms = now_ms + config.election_ms
        self.tell_due_ms: int | None = None  # somebody is to be told what is committed
        self.transfer_to: VoterId | None = None
        self._transfer_until_ms = 0
        self._first_index = LogIndex(log.last_index + 1)  # of this term
        self._follow_configuration(-1)
        self.append([(EntryKind.NOTHING, b"")])

    @property
    def due_ms(self) -> int | None:
        """None while it leads nobody else: there is nobody to beat for, and nobody to lose."""
        if self.progress.keys() == {self._me}:
            return None
        due_ms = min(self.heartbeat_due_ms, self.quorum_due_ms)
        return due_ms if self.tell_due_ms is None else min(due_ms, self.tell_due_ms)

    # ---- the log

    def append(self, entries: Sequence[tuple[EntryKind, bytes]]) -> LogIndex:
        """The first one's index. They leave for the others at once, and count here when they are on disk."""
        first = self._log.last_index + 1
        made = [
            LogEntry(index=LogIndex(index), term=self._term, kind=kind, data=data)
            for index, (kind, data) in enumerate(entries, first)
        ]
        self._log.append(made)
        self._outbox.persist(made)
        done = AppendReply(term=self._term, matched=True, index=self._log.last_index)
        self._outbox.send(self._me, done)
        return LogIndex(first)

    def propose(self, commands: Sequence[tuple[Hashable, bytes]], commit_index: LogIndex) -> None:
        """Raises ValueError for a command that no message could carry."""
        if any(len(data) > ENTRY_BYTES_MAX for _, data in commands):
            raise ValueError(f"a command has at most {ENTRY_BYTES_MAX} bytes")
        if self.transfer_to is not None:
            for key, _ in commands:
                self._outbox.refuse(key, self._me)
            return
        first = self.append([(EntryKind.COMMAND, data) for _, data in commands])
        for index, (key, _) in enumerate(commands, first):
            self._outbox.appended(key, LogIndex(index), self._term)
        self.send_all(commit_index)

    def propose_configuration(
        self,
        key: Hashable,
        voters: frozenset[VoterId],
        learners: frozenset[VoterId],
        commit_index: LogIndex,
        now_ms: int,
    ) -> None:
        """Refused while another change, or this term's first entry, is not committed. Raises ValueError for
        no voters, or too many."""
        if not voters or max(len(voters), len(learners)) > VOTERS_MAX:
            raise ValueError(f"1 to {VOTERS_MAX} voters, and at most as many learners")
        configuration = self._log.configuration
        is_busy = configuration.is_joint or self._log.configuration_index > commit_index
        if is_busy or commit_index < self._first_index or self.transfer_to is not None:
            self._outbox.refuse(key, self._me)
            return
        if voters == configuration.voters:
            wanted = Configuration(voters, learners=learners - voters)
        else:
            wanted = configuration.towards(voters, learners - voters)
        index = self._append_configuration(wanted)
        self._follow_configuration(now_ms)
        self._outbox.appended(key, index, self._term)
        self.send_all(commit_index)

    def _append_configuration(self, configuration: Configuration) -> LogIndex:
        return self.append([(EntryKind.CONFIGURATION, encode_configuration(configuration))])

    def _follow_configuration(self, answered_ms: int) -> None:
        """A member that is new counts as one that just answered: it needs time to do so."""
        for member in sorted(self._log.configuration.members):
            if member not in self.progress:
                self.progress[member] = Progress(self._log.last_index + 1, answered_ms)

    def committable(self) -> LogIndex:
        """What a majority holds on disk, if this term wrote it: an older term's entry is committed by a newer
        one behind it, never by counting (paper, 5.4.2 and figure 8)."""
        index = self._log.configuration.committed(self._match)
        return index if index >= self._first_index else LogIndex(0)

    def _match(self, voter: VoterId) -> LogIndex:
        progress = self.progress.get(voter)
        return progress.match if progress is not None else LogIndex(0)

    def committed(self, commit_index: LogIndex, now_ms: int) -> bool:
        """The commit index moved. False: with it this node stopped being a voter, and must not lead on."""
        configuration, index = self._log.configuration, self._log.configuration_index
        if index <= commit_index:
            if configuration.is_joint:
                self._append_configuration(configuration.settled())
            else:
                gone = [member for member in self.progress if member not in configuration.members]
                self._send_heartbeats(gone, commit_index, asks=False)  # so that they know it, too
                for member in gone:
                    del self.progress[member]
                if self._me not in configuration.voters:
                    self._hand_to_the_best()
                    return False
        self.send_all(commit_index)
        self._arrange_telling(commit_index, now_ms)
        self._begin_reads(commit_index)
        self._end_reads(commit_index)  # who was still to answer may have left
        return True

    def _arrange_telling(self, commit_index: LogIndex, now_ms: int) -> None:
        """Who waits for entries learns what is committed from those. Others are told soon, not at once: while
        one command follows another, the next one's Append is there before."""
        if self.tell_due_ms is None and self.tells_somebody(commit_index):
            self.tell_due_ms = now_ms + TELL_AFTER_MS

    def tells_somebody(self, commit_index: LogIndex) -> bool:
        return bool(self._untold(commit_index))

    def _untold(self, commit_index: LogIndex) -> list[VoterId]:
        return [
            member
            for member, progress in self.progress.items()
            if member != self._me
            and not progress.inflight
            and progress.told < min(progress.match, commit_index)
        ]

    def tell(self, commit_index: LogIndex) -> None:
        """Nobody owes an answer: with one command in flight that would double the messages."""
        self.tell_due_ms = None
        self._send_heartbeats(self._untold(commit_index), commit_index, asks=False)

    # ---- replication

    def send_all(self, commit_index: LogIndex) -> None:
        for member in self.progress:
            self.send_to(member, commit_index)

    def send_to(self, member: VoterId, commit_index: LogIndex, *, even_empty: bool = False) -> None:
        if member == self._me:
            return
        progress = self.progress[member]
        while progress.may_send(self._config.inflight_max):
            previous = LogIndex(progress.next - 1)
            previous_term = self._log.term_at(previous)
            if previous_term is None:
                progress.needs_snapshot(self._log.mark.index)
                self._outbox.want_snapshot(member)
                return
            entries = self._log.some_from(
                progress.next,
                entries_max=self._config.entries_max,
                bytes_max=self._config.append_bytes_max,
            )
            is_probe = progress.pace is Pace.PROBE
            if not entries and not even_empty and not is_probe:
                return
            message = Append(
                term=self._term,
                previous_index=previous,
                previous_term=previous_term,
                commit_index=commit_index,
                entries=tuple(entries),
            )
            self._outbox.send_early(member, message)
            last = LogIndex(previous + len(entries))
            progress.sent(last)
            progress.told = LogIndex(max(progress.told, min(commit_index, last)))
            even_empty = False
            if is_probe or not entries:
                return

    def on_append_reply(
        self, sender: VoterId, reply: AppendReply, commit_index: LogIndex, now_ms: int
    ) -> None:
        progress = self.progress.get(sender)
        if progress is None:
            return
        progress.answered_ms = progress.wrote_ms = now_ms  # such an answer leaves behind its writes
        if not reply.matched:
            hint, _ = self._log.find_conflict(reply.hint_index, reply.hint_term)
            if progress.refused(reply.index, hint):
                self.send_to(sender, commit_index, even_empty=True)
            return
        if reply.index > self._log.last_index:
            return  # no follower of ours holds what we never sent
        progress.matched(reply.index)
        self.send_to(sender, commit_index)
        self._arrange_telling(commit_index, now_ms)  # others may have committed it while this one still wrote
        if sender == self.transfer_to:
            self._hand_over()

    # ---- heartbeats, the quorum and reads

    def beat(self, commit_index: LogIndex, now_ms: int) -> None:
        self.heartbeat_due_ms = now_ms + self._config.heartbeat_ms
        self._send_heartbeats(self.progress, commit_index)

    def _send_heartbeats(
        self, members: Iterable[VoterId], commit_index: LogIndex, *, asks: bool = True
    ) -> None:
        for member in members:
            if member != self._me:
                known = LogIndex(min(self._match(member), commit_index))
                self.progress[member].told = LogIndex(max(self.progress[member].told, known))
                message = Heartbeat(
                    term=self._term,
                    commit_index=known,
                    commit_term=self._log.term_at(known) or NO_TERM,
                    round=self._reads.round,
                    asks=asks,
                )
                self._outbox.send_early(member, message)

    def on_heartbeat_reply(
        self, sender: VoterId, reply: HeartbeatReply, commit_index: LogIndex, now_ms: int
    ) -> None:
        """A follower that lacks something and yet hears us may have lost an Append: ask it where it is."""
        progress = self.progress.get(sender)
        if progress is None:
            return
        progress.answered_ms = now_ms
        progress.round = max(progress.round, min(reply.round, self._reads.round))
        is_lagging = progress.match < self._log.last_index
        if not is_lagging or progress.pace is Pace.SNAPSHOT:
            progress.wrote_ms = now_ms
        if is_lagging and now_ms - progress.nudged_ms >= self._config.heartbeat_ms:
            progress.nudged_ms = now_ms  # reads send heartbeats, too: they must not open the window
            progress.is_paused = False
            if len(progress.inflight) >= self._config.inflight_max:
                progress.inflight.popleft()
            self.send_to(sender, commit_index, even_empty=True)
        if sender == self.transfer_to:
            self._hand_over()  # the first word may be lost
        self._end_reads(commit_index)

    def has_quorum(self, commit_index: LogIndex, now_ms: int) -> bool:
        """Whether a majority answered within the last election timeout (CheckQuorum; thesis, 6.2), and our
        own disk, without which nothing that is committed is applied here and nobody is answered."""
        since_ms = now_ms - self._config.election_ms
        self.quorum_due_ms = now_ms + self._config.election_ms
        answered = {
            member: member == self._me or (progress.answered_ms >= since_ms and progress.answered_ms >= 0)
            for member, progress in self.progress.items()
        }
        own = self.progress.get(self._me)
        if own is not None and own.match < commit_index and own.answered_ms < since_ms:
            return False
        return self._log.configuration.tally(answered) is Tally.WON

    def ask_read(self, key: Hashable, commit_index: LogIndex) -> None:
        self._reads.ask(key)
        self._begin_reads(commit_index)

    def _begin_reads(self, commit_index: LogIndex) -> None:
        """Not before this term committed something: until then nobody here knows what is committed."""
        if commit_index >= self._first_index and self._reads.begin(commit_index):
            self._send_heartbeats(self.progress, commit_index)
            self._end_reads(commit_index)

    def _end_reads(self, commit_index: LogIndex) -> None:
        while self._reads.is_running:
            answered = {
                member: member == self._me or progress.round >= self._reads.round
                for member, progress in self.progress.items()
            }
            if self._log.configuration.tally(answered) is not Tally.WON:
                return
            keys, index = self._reads.end()
            for key in keys:
                self._outbox.read(key, index)
            self._begin_reads(commit_index)

    # ---- handing over

    def transfer(self, to: VoterId, now_ms: int) -> None:
        """Does nothing when that is no other voter."""
        if to == self._me or to not in self._log.configuration.voters:
            return
        self.transfer_to, self._transfer_until_ms = to, now_ms + self._config.election_ms
        self._hand_over()

    def give_up_transfer(self, now_ms: int) -> None:
        """The target did not make it in time: commands are taken again."""
        if self.transfer_to is not None and now_ms >= self._transfer_until_ms:
            self.transfer_to = None

    def _hand_over(self) -> None:
        to = self.transfer_to
        if to is not None and self._match(to) == self._log.last_index:
            self._outbox.send(to, TimeoutNow(term=self._term))

    def best_other(self) -> VoterId | None:
        """The voter that lacks least. None where there is no other."""
        others = (self._log.configuration.voters - {self._me}) & self.progress.keys()
        return max(sorted(others), key=self._match, default=None)

    def _hand_to_the_best(self) -> None:
        to = self.best_other()
        if to is not None:
            self._outbox.send(to, TimeoutNow(term=self._term))

    def oldest_snapshot_under_way(self) -> LogIndex | None:
        """The log behind it is still needed by who gets it."""
        return min(
            (p.pending_snapshot for p in self.progress.values() if p.pace is Pace.SNAPSHOT), default=None
        )

    def stopped(self, leader: VoterId | None) -> None:
        """Reads that wait are not answered any more."""
        for key in self._reads.all_keys():
            self._outbox.refuse(key, leader)
