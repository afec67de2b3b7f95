"""One voter or learner of a replicated log: terms, elections, following. `leader` holds what it does as one.

Raft as in Ongaro and Ousterhout (2014) and Ongaro's thesis (2014), with PreVote (9.6), CheckQuorum (6.2), the
vote lease (4.2.3), ReadIndex (6.4), learners (4.2.1), joint consensus (4.3) and leadership transfer (3.10).

`handle` takes an event and the time and gives a `Ready`: what must be written, sent and applied, in that
order. Events must be handled one after the other; their `Ready`s may be worked off by a pipeline that keeps
the order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from enum import Enum, auto
from random import Random

from fabric.core.raft.config import RaftConfig
from fabric.core.raft.configuration import Configuration, Tally, decode_configuration
from fabric.core.raft.errors import PromiseForgottenError
from fabric.core.raft.events import (
    AskRead,
    Campaign,
    Compacted,
    Halted,
    LeaderGone,
    Propose,
    ProposeConfiguration,
    RaftEvent,
    Received,
    SnapshotArrived,
    SnapshotEnded,
    Transfer,
    Woke,
)
from fabric.core.raft.leader import Leader
from fabric.core.raft.log import RaftLog, SnapshotMark
from fabric.core.raft.outbox import Outbox
from fabric.core.raft.ready import HardState, Ready
from proto.errors import WireError
from proto.ids import LogIndex, Term, VoterId
from proto.raft import (
    NO_TERM,
    TERM_JUMP_MAX,
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

GONE_SPREAD_PART = 5  # of an election timeout


class Role(Enum):
    FOLLOWER = auto()
    PRE_CANDIDATE = auto()
    CANDIDATE = auto()
    LEADER = auto()


class RaftNode:
    """`hard_state`, `mark` and `entries` are what its disk holds. `applied_index`: what its tables hold."""

    def __init__(
        self,
        me: VoterId,
        config: RaftConfig,
        rng: Random,
        *,
        mark: SnapshotMark,
        now_ms: int,
        hard_state: HardState | None = None,
        entries: Sequence[LogEntry] = (),
        applied_index: int = 0,
    ) -> None:
        self.me = me
        self._config = config
        self._rng = rng
        self._outbox = Outbox()
        self._log = RaftLog(mark, entries)
        self._now_ms = now_ms
        self._hard = self._written = hard_state or HardState()
        _check_restored(self._log, self._hard, applied_index)
        self._role = Role.FOLLOWER
        self._leader_id: VoterId | None = None
        self._heard_ms = now_ms  # of the leader
        self._hurry_until_ms = now_ms  # the leader is known to be gone
        self._votes: dict[VoterId, bool] = {}
        self._leader: Leader | None = None
        self._is_halted = False
        self._commit_index = self._handed_index = LogIndex(applied_index)
        self.counters: Counter[str] = Counter()
        self._election_due_ms = now_ms
        if self._log.configuration.all_voters != {me}:  # who is alone need not wait for anybody
            self._wait_for_leader()

    # ---- what others may know

    @property
    def role(self) -> Role:
        return self._role

    @property
    def term(self) -> Term:
        return self._hard.term

    @property
    def leader_id(self) -> VoterId | None:
        """Whom this node believes to lead; itself when it does."""
        return self._leader_id

    @property
    def commit_index(self) -> LogIndex:
        return self._commit_index

    @property
    def log(self) -> RaftLog:
        return self._log

    @property
    def configuration(self) -> Configuration:
        return self._log.configuration

    @property
    def leader(self) -> Leader | None:
        return self._leader

    @property
    def is_voter(self) -> bool:
        return self.me in self._log.configuration.all_voters

    @property
    def may_stand(self) -> bool:
        """A voter; and who would be one if the latest change came to nothing: its log may be the only one
        with all that is committed, so others may need it to lead and end that change (thesis, 4.2.2). Never
        who is halted."""
        log = self._log
        if self._is_halted:
            return False
        return self.is_voter or (
            log.configuration_index > self._commit_index and self.me in log.configuration_before.all_voters
        )

    @property
    def due_ms(self) -> int | None:
        """When to send `Woke`; None: never by itself."""
        if self._leader is not None:
            return self._leader.due_ms
        return self._election_due_ms if self.may_stand else None

    # ---- events in

    def handle(self, event: RaftEvent, now_ms: int) -> Ready:
        self._now_ms = max(self._now_ms, now_ms)
        match event:
            case Received(sender, message):
                self._on_message(sender, message)
            case Woke():
                self._on_woke()
            case Propose(commands):
                self._on_propose(commands)
            case ProposeConfiguration(key, voters, learners):
                if self._leader is None:
                    self._outbox.refuse(key, self._leader_id)
                else:
                    self._leader.propose_configuration(
                        key, voters, learners, self._commit_index, self._now_ms
                    )
            case AskRead(key):
                if self._leader is None:
                    self._outbox.refuse(key, self._leader_id)
                else:
                    self._leader.ask_read(key, self._commit_index)
            case Transfer(to):
                if self._leader is not None:
                    self._leader.transfer(to, self._now_ms)
            case LeaderGone(leader):
                self._on_leader_gone(leader)
            case Campaign():
                if self._leader is None and self.may_stand:
                    self._campaign(transfer=False)
            case Compacted(index):
                self._compact(index)
            case SnapshotArrived(sender, term, mark):
                self._on_snapshot(sender, Term(term), mark)
            case Halted():
                self._is_halted = True
                if self._role is not Role.FOLLOWER:
                    self._follow(self.term, None)
            case SnapshotEnded(to):
                if self._leader is not None and to in self._leader.progress:
                    self._leader.progress[to].snapshot_ended()
                    self._leader.send_to(to, self._commit_index, even_empty=True)
        return self._collect()

    def _compact(self, index: LogIndex) -> None:
        kept = self._leader.oldest_snapshot_under_way() if self._leader is not None else None
        self._log.compact(min(index, self._handed_index, self._handed_index if kept is None else kept))

    def _collect(self) -> Ready:
        committed = self._log.slice(self._handed_index + 1, self._commit_index + 1)
        self._handed_index = self._commit_index
        hard = self._hard if self._hard != self._written else None
        self._written = self._hard
        return self._outbox.collect(hard, committed)

    def _on_propose(self, commands: Sequence[tuple[Hashable, bytes]]) -> None:
        if self._leader is None:
            for key, _ in commands:
                self._outbox.refuse(key, self._leader_id)
        else:
            self._leader.propose(commands, self._commit_index)

    def _on_woke(self) -> None:
        leader = self._leader
        if leader is not None:
            if self._now_ms >= leader.quorum_due_ms and not leader.has_quorum(
                self._commit_index, self._now_ms
            ):
                self._follow(self.term, None)
                return
            leader.give_up_transfer(self._now_ms)
            if self._now_ms >= leader.heartbeat_due_ms:
                leader.beat(self._commit_index, self._now_ms)
            if leader.tell_due_ms is not None and self._now_ms >= leader.tell_due_ms:
                leader.tell(self._commit_index)
        elif self._now_ms >= self._election_due_ms and self.may_stand:
            self._ask_before_campaign()

    # ---- terms and elections

    def _follow(self, term: Term, leader_id: VoterId | None) -> None:
        if term > self.term:
            self._hard = HardState(term, None)
        if self._leader is not None:
            self._leader.stopped(leader_id)
            self._leader = None
        if self._role is not Role.FOLLOWER or leader_id != self._leader_id:
            self.counters["follows"] += 1
        self._role = Role.FOLLOWER
        self._leader_id = leader_id
        self._wait_for_leader()

    def _wait_for_leader(self) -> None:
        """Up to twice as long as necessary, so that seldom two of them stand at once (paper, 5.2)."""
        self._election_due_ms = (
            self._now_ms + self._config.election_ms + self._rng.randrange(self._config.election_ms)
        )

    def _on_leader_gone(self, leader: VoterId) -> None:
        """Nobody waits out its lease, nor a whole timeout when two stand at once."""
        if self._role is Role.FOLLOWER and leader == self._leader_id:
            self._leader_id = None
            self._hurry_until_ms = self._now_ms + self._config.election_ms
            self._wait_to_stand()

    def _wait_to_stand(self) -> None:
        """As for a leader, unless it is known to be gone: then a moment, so that one stands before the others
        do, and after they have heard of it, too."""
        if self._now_ms >= self._hurry_until_ms:
            self._wait_for_leader()
            return
        spread_ms = max(2, self._config.election_ms // GONE_SPREAD_PART)
        self._election_due_ms = self._now_ms + spread_ms // 2 + self._rng.randrange(spread_ms)

    def _is_leased(self) -> bool:
        """There is a leader that was heard a moment ago: nobody else is elected (thesis, 4.2.3)."""
        if self._role is Role.LEADER:
            return True
        is_fresh = self._now_ms - self._heard_ms < self._config.election_ms
        return self._leader_id is not None and is_fresh

    def _ask_before_campaign(self) -> None:
        self._role, self._leader_id = Role.PRE_CANDIDATE, None
        self._votes = {self.me: True}
        self.counters["pre_campaigns"] += 1
        self._wait_to_stand()
        question = PreVote(
            term=Term(self.term + 1), last_index=self._log.last_index, last_term=self._log.last_term
        )
        for voter in self._others():
            self._outbox.send_early(voter, question)
        self._count_pre_votes()

    def _campaign(self, *, transfer: bool) -> None:
        self._hard = HardState(Term(self.term + 1), self.me)
        self._role, self._leader_id = Role.CANDIDATE, None
        self._votes = {}
        self.counters["campaigns"] += 1
        self._wait_to_stand()
        request = Vote(
            term=self.term,
            last_index=self._log.last_index,
            last_term=self._log.last_term,
            transfer=transfer,
        )
        for voter in self._others():
            self._outbox.send(voter, request)
        # our own vote counts when it is on disk, as anybody's
        self._outbox.send(self.me, VoteReply(term=self.term, granted=True))

    def _others(self) -> list[VoterId]:
        return sorted(self._log.configuration.all_voters - {self.me})

    def _lead(self) -> None:
        self._role, self._leader_id = Role.LEADER, self.me
        self.counters["leads"] += 1
        self._leader = Leader(self.me, self.term, self._config, self._log, self._outbox, self._now_ms)
        self._leader.send_all(self._commit_index)

    # ---- messages in

    def _on_message(self, sender: VoterId, message: RaftMessage) -> None:
        if not 0 <= message.term <= self.term + TERM_JUMP_MAX:
            self.counters["refused.impossible_term"] += 1
            return
        if message.term > self.term and not self._on_higher_term(sender, message):
            return
        if message.term < self.term and not isinstance(message, PreVote | PreVoteReply):
            self._on_lower_term(sender, message)
            return
        match message:
            case PreVote():
                self._on_pre_vote(sender, message)
            case PreVoteReply():
                self._on_pre_vote_reply(sender, message)
            case Vote():
                self._on_vote(sender, message)
            case VoteReply():
                self._on_vote_reply(sender, message)
            case Append():
                self._on_append(sender, message)
            case AppendReply():
                if self._leader is not None:
                    self._leader.on_append_reply(sender, message, self._commit_index, self._now_ms)
                    self._advance_commit()
            case Heartbeat():
                if self._hear_leader(sender):
                    self._check_memory(message)
                    self._commit_to(message.commit_index)
                    if message.asks:
                        self._outbox.send_early(sender, HeartbeatReply(term=self.term, round=message.round))
            case HeartbeatReply():
                if self._leader is not None:
                    self._leader.on_heartbeat_reply(sender, message, self._commit_index, self._now_ms)
            case TimeoutNow():
                if self._leader is None and self.may_stand and self._leader_id in (None, sender):
                    self._campaign(transfer=True)

    def _on_higher_term(self, sender: VoterId, message: RaftMessage) -> bool:
        """Whether to go on with the message."""
        match message:
            case PreVote():
                return True  # only a question
            case PreVoteReply() if message.granted:
                return True  # of the term we asked about
            case Vote() if not message.transfer and self._is_leased():
                self.counters["refused.leased"] += 1
                return False
        is_from_leader = isinstance(message, Append | Heartbeat)
        self._follow(message.term, sender if is_from_leader else None)
        return True

    def _on_lower_term(self, sender: VoterId, message: RaftMessage) -> None:
        """Tells who leads or stands in the past that it is over."""
        match message:
            case Append() | Heartbeat():
                reply = AppendReply(term=self.term, matched=False, index=LogIndex(0))
                self._outbox.send(sender, reply)
            case Vote():
                self._outbox.send(sender, VoteReply(term=self.term, granted=False))

    def _on_pre_vote(self, sender: VoterId, message: PreVote) -> None:
        granted = (
            message.term > self.term
            and not self._is_leased()
            and self._log.is_up_to_date(message.last_index, message.last_term)
        )
        term = message.term if granted else self.term
        self._outbox.send(sender, PreVoteReply(term=term, granted=granted))

    def _on_pre_vote_reply(self, sender: VoterId, message: PreVoteReply) -> None:
        if self._role is not Role.PRE_CANDIDATE:
            return
        if message.granted and message.term != self.term + 1:
            return  # an answer of an earlier asking
        self._votes.setdefault(sender, message.granted)  # a refusal may be of an earlier asking
        self._count_pre_votes()

    def _count_pre_votes(self) -> None:
        match self._log.configuration.tally(self._votes):
            case Tally.WON:
                self._campaign(transfer=False)
            case Tally.LOST:
                self._follow(self.term, None)

    def _on_vote(self, sender: VoterId, message: Vote) -> None:
        is_free = self._hard.vote == sender or (self._hard.vote is None and self._leader_id is None)
        granted = is_free and self._log.is_up_to_date(message.last_index, message.last_term)
        if granted:
            self._hard = HardState(self.term, sender)
            self._wait_for_leader()
        self._outbox.send(sender, VoteReply(term=self.term, granted=granted))

    def _on_vote_reply(self, sender: VoterId, message: VoteReply) -> None:
        if self._role is not Role.CANDIDATE:
            return
        self._votes[sender] = message.granted
        match self._log.configuration.tally(self._votes):
            case Tally.WON:
                self._lead()
            case Tally.LOST:
                self._follow(self.term, None)

    # ---- following

    def _hear_leader(self, sender: VoterId) -> bool:
        """Of this term. False: a term has one leader, so `sender` is none."""
        if self._leader_id not in (None, sender):
            self.counters["refused.second_leader"] += 1
            return False
        self._heard_ms = self._now_ms
        if self._role is not Role.FOLLOWER or self._leader_id != sender:
            self._follow(self.term, sender)
        self._wait_for_leader()
        return True

    def _check_memory(self, message: Heartbeat) -> None:
        """A leader names nobody an entry that it did not acknowledge in this very term, and in one term
        nothing acknowledged is taken back. Who lacks that entry has not the disk it had, or an older copy of
        it. Raises PromiseForgottenError: it must neither vote nor count under its name any more."""
        index, here = message.commit_index, self._log.term_at(message.commit_index)
        if index <= self._commit_index:
            return
        is_other = here is not None and message.commit_term not in (NO_TERM, here)
        if index > self._log.last_index or is_other:
            raise PromiseForgottenError(
                f"this voter has acknowledged entry {index} in term {self.term}, and its log, which ends at "
                f"{self._log.last_index}, does not hold it: its disk was set back"
            )

    def _on_append(self, sender: VoterId, message: Append) -> None:
        if not _is_sound(message):
            self.counters["refused.unsound_append"] += 1
            return
        if not self._hear_leader(sender):
            return
        if message.previous_index < self._commit_index:  # late: all up to there agrees anyway
            self._outbox.send(sender, AppendReply(term=self.term, matched=True, index=self._commit_index))
            return
        if self._log.term_at(message.previous_index) != message.previous_term:
            index, term = self._log.find_conflict(message.previous_index, message.previous_term)
            self._outbox.send(
                sender,
                AppendReply(
                    term=self.term,
                    matched=False,
                    index=message.previous_index,
                    hint_index=index,
                    hint_term=term,
                ),
            )
            return
        self._take(message.entries)
        last = LogIndex(message.previous_index + len(message.entries))
        self._commit_to(LogIndex(min(message.commit_index, last)))
        self._outbox.send(sender, AppendReply(term=self.term, matched=True, index=last))

    def _take(self, entries: Sequence[LogEntry]) -> None:
        """Only what is not here yet; what is here and matches stays, with all behind it (paper, figure 2)."""
        for at, entry in enumerate(entries):
            here = self._log.term_at(entry.index)
            if here == entry.term:
                continue
            if here is not None:
                assert entry.index > self._commit_index, "a committed entry would be overwritten"
                self._log.truncate_from(entry.index)
            new = list(entries[at:])
            self._log.append(new)
            self._outbox.persist(new)
            return

    def _commit_to(self, index: LogIndex) -> None:
        self._commit_index = LogIndex(max(self._commit_index, min(index, self._log.last_index)))

    def _advance_commit(self) -> None:
        leader = self._leader
        assert leader is not None
        index = leader.committable()
        if index > self._commit_index:
            self._commit_index = index
            if not leader.committed(index, self._now_ms):
                self._follow(self.term, None)

    def _on_snapshot(self, sender: VoterId, term: Term, mark: SnapshotMark) -> None:
        """Of whatever term it is: what a snapshot holds is committed. Who led then need not lead now."""
        if self._leader is not None and term <= self.term:
            return
        if term > self.term:
            self._follow(term, sender)
        if term == self.term and not self._hear_leader(sender):
            return
        if mark.index > self._commit_index:
            if self._log.term_at(mark.index) == mark.term:
                self._commit_to(mark.index)  # the entries are here: apply them
            else:
                self._log.restart_at(mark)
                self._commit_index = self._handed_index = mark.index
                self._outbox.install(mark)
        self._outbox.send(sender, AppendReply(term=self.term, matched=True, index=self._commit_index))


def _check_restored(log: RaftLog, hard: HardState, applied_index: int) -> None:
    """Raises ValueError for what no honest disk holds: better no voter than one that forgot something."""
    if not log.mark.index <= applied_index <= log.last_index:
        raise ValueError(
            f"the tables hold entries up to {applied_index}, the log {log.mark.index} to {log.last_index}"
        )
    if hard.term < log.last_term:
        raise ValueError(f"the log holds an entry of term {log.last_term}, and the term is {hard.term}")


def _is_sound(message: Append) -> bool:
    """Whether an honest leader could have said it."""
    index, term = message.previous_index, message.previous_term
    for entry in message.entries:
        if entry.index != index + 1 or not term <= entry.term <= message.term:
            return False
        index, term = entry.index, entry.term
        if entry.kind is EntryKind.CONFIGURATION:
            try:
                decode_configuration(entry.data)
            except WireError:
                return False
    return True
