"""What must hold in every world of voters, whatever happens: figure 3 of the Raft paper, and the promises.

Checked while it runs, at each step that could break it, by a bystander who sees everybody.
"""

from __future__ import annotations

from collections.abc import Mapping

from fabric.core.raft.configuration import Configuration
from fabric.core.raft.node import RaftNode, Role
from fabric.core.raft.ready import Send
from proto.ids import VoterId
from proto.raft import Append, AppendReply, Heartbeat, HeartbeatReply, LogEntry, PreVote, VoteReply
from tests.sim.raft_disk import DurableLog


class Bystander:
    def __init__(self) -> None:
        self.leaders: dict[int, VoterId] = {}  # term -> who led
        self.committed: dict[int, LogEntry] = {}  # index -> what anybody applied there
        self.committed_in: dict[int, int] = {}  # index -> the term of who applied it first, at that moment
        self.granted: dict[tuple[int, VoterId], VoterId] = {}  # (term, voter) -> candidate

    def on_role(self, node: RaftNode) -> None:
        """Election safety: at most one leader in a term. Leader completeness: it has all that was committed
        in earlier terms."""
        if node.role is not Role.LEADER:
            return
        known = self.leaders.get(node.term)
        if known is None:
            self.leaders[node.term] = node.me
            self._check_complete(node)
        assert known in (None, node.me), f"term {node.term} has two leaders: {known} and {node.me}"

    def _check_complete(self, node: RaftNode) -> None:
        for index, entry in self.committed.items():
            if self.committed_in[index] >= node.term:
                continue  # votes that were long under way may make a leader of the past
            if index >= node.log.first_index:
                assert node.log.term_at(index) == entry.term, (
                    f"{node.me} leads term {node.term} without entry {index} of term {entry.term}, "
                    "which is committed"
                )
            else:
                assert index <= node.log.mark.index

    def on_commit(self, who: VoterId, term: int, entry: LogEntry) -> None:
        """State machine safety: nobody applies another entry at an index."""
        self.committed_in.setdefault(entry.index, term)
        known = self.committed.setdefault(entry.index, entry)
        assert known == entry, f"{who} applies {entry} where {known} is committed"

    def on_early(self, send: Send, disk: DurableLog) -> None:
        """What leaves before a write promises nothing, but that a leader was elected on disk."""
        message = send.message
        assert isinstance(message, Append | Heartbeat | HeartbeatReply | PreVote), f"{message} left early"
        if isinstance(message, Append | Heartbeat):
            assert disk.hard.term >= message.term, "who leads has its own vote on disk"

    def on_leader_commit(
        self, node: RaftNode, counted: Configuration, disks: Mapping[VoterId, DurableLog]
    ) -> None:
        """What is committed is on the disks of a majority of each set that counted."""
        index = node.commit_index
        term = node.log.term_at(index)
        assert term == node.term, f"{node.me} commits {index} of term {term} by counting in term {node.term}"
        holders = {name for name, disk in disks.items() if disk.holds(index, term)}
        for voters in (counted.voters, counted.outgoing):
            assert not voters or 2 * len(voters & holders) > len(voters), f"{index}: {holders} of {voters}"

    def check_mark(self, node: RaftNode) -> None:
        mark = node.log.mark
        known = self.committed.get(mark.index)
        assert known is None or known.term == mark.term, f"{node.me} has a snapshot of another history"

    def on_send(self, who: VoterId, send: Send, disk: DurableLog) -> None:
        """What a message promises is on the sender's disk when it leaves."""
        message = send.message
        if isinstance(message, VoteReply) and message.granted:
            assert (disk.hard.term, disk.hard.vote) >= (message.term, ""), "a vote left before it was durable"
            if disk.hard.term == message.term:
                assert disk.hard.vote == send.to, f"{who} votes for {send.to}, its disk says {disk.hard.vote}"
            other = self.granted.setdefault((message.term, who), send.to)
            assert other == send.to, f"{who} votes twice in term {message.term}: {other} and {send.to}"
        if isinstance(message, AppendReply) and message.matched:
            assert disk.hard.term >= message.term
            # One write may hold what a later leader put over it: then it is as if it had been on its way.
            assert disk.hard.term > message.term or disk.last_index >= message.index, (
                f"{who} acknowledges {message.index} before it is durable"
            )

    def check_logs(self, nodes: list[RaftNode]) -> None:
        """Log matching: where two logs have the same term at an index, all before is the same."""
        for at, one in enumerate(nodes):
            for other in nodes[at + 1 :]:
                first = max(one.log.first_index, other.log.first_index)
                last = min(one.log.last_index, other.log.last_index)
                if last < first:
                    continue
                ours, theirs = one.log.slice(first, last + 1), other.log.slice(first, last + 1)
                same = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a.term == b.term]
                agreed = same[-1] + 1 if same else 0
                assert ours[:agreed] == theirs[:agreed], (
                    f"{one.me} and {other.me} differ where they agree later"
                )
