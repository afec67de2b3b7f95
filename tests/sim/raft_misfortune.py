"""Disks that fail in a world of voters, and what its operator does about it.

A voter whose disk is not trusted any more is disowned, as the agent does it; its node comes back as another
voter, which learns everything from the others and takes its place by a joint change, as the autopilot does
it. Unless faults are correlated no disk fails that a majority could not spare.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fabric.core.raft.configuration import Configuration, decode_configuration
from proto.ids import VoterId
from proto.raft import EntryKind
from tests.sim.raft_faults import LOSING, DiskFault
from tests.sim.raft_voter import SimVoter

if TYPE_CHECKING:
    from tests.sim.raft_world import RaftWorld

LOOK_MS = 100
CAUGHT_UP = 16  # entries that a standby may lack
LIFE = "'"  # n1, n1', n1'': the voters of one node


class Misfortune:
    """One a world."""

    def __init__(self, world: RaftWorld) -> None:
        self._world = world
        self.struck: dict[DiskFault, int] = dict.fromkeys(DiskFault, 0)
        self.replaced = 0
        world.after(LOOK_MS, self._look_after)

    # ---- what befalls a disk

    def strike(self, voter: SimVoter) -> None:
        faults = self._world.faults
        if not faults.disk_faults:
            return
        fault = self._world.rng.choice(faults.disk_faults)
        if fault in LOSING and not faults.is_correlated and not self._may_strike(voter, fault):
            return
        if voter.suffer(fault):
            self.struck[fault] += 1

    def _may_strike(self, voter: SimVoter, fault: DiskFault) -> bool:
        """One that is alone for ever keeps its name, and must come to terms with what its disk did."""
        if len(self._world.voters) == 1:
            return fault not in (DiskFault.ROT, DiskFault.SET_BACK)
        return self.may_lose(voter)

    def may_lose(self, voter: SimVoter) -> bool:
        """Every set of voters that may still count keeps a majority with sound disks."""
        unwell = {name for name, each in self._world.voters.items() if not each.is_sound} | {voter.me}
        sets = [each for known in self._in_question() for each in (known.voters, known.outgoing)]
        return all(2 * len(voters - unwell) > len(voters) for voters in sets if voters)

    def _in_question(self) -> Iterator[Configuration]:
        """The latest that is committed, and any that a log holds behind it."""
        committed = self._world.bystander.committed
        changes = [entry for entry in committed.values() if entry.kind is EntryKind.CONFIGURATION]
        last = max(changes, key=lambda entry: entry.index, default=None)
        yield self._world.founders if last is None else decode_configuration(last.data)
        from_index = 0 if last is None else last.index
        for voter in self._world.voters.values():
            logs = [voter.durable.entries]
            if voter.node is not None:
                log = voter.node.log
                logs.append(log.slice(log.first_index, log.last_index + 1))
            for entry in (entry for entries in logs for entry in entries):
                if entry.index > from_index and entry.kind is EntryKind.CONFIGURATION:
                    yield decode_configuration(entry.data)

    # ---- what the fabric does about it

    def _look_after(self) -> None:
        self._world.after(LOOK_MS, self._look_after)
        leader = self._world.leader()
        if leader is None or leader.node is None or leader.is_paused:
            return
        node = leader.node
        now = node.configuration
        if now.is_joint or node.log.configuration_index > node.commit_index:
            return
        gone = next((name for name in sorted(now.members) if self._world.voters[name].is_disowned), None)
        if gone is not None:
            self._replace(leader, now, gone)

    def _replace(self, leader: SimVoter, now: Configuration, gone: VoterId) -> None:
        heir = self._heir_of(gone)
        assert leader.node is not None
        assert leader.node.leader is not None
        if gone in now.learners:
            self._world.change(leader.me, now.voters, now.learners - {gone})
        elif heir not in now.members:
            self._world.change(leader.me, now.voters, now.learners | {heir})
        elif heir in now.voters:
            self._world.change(leader.me, now.voters - {gone}, now.learners)
        elif leader.node.leader.progress[heir].match + CAUGHT_UP >= leader.node.log.last_index:
            self.replaced += 1
            self._world.change(leader.me, now.voters - {gone} | {heir}, now.learners - {heir})

    def _heir_of(self, gone: VoterId) -> VoterId:
        """The voter that its node is now."""
        heir = gone
        while heir in self._world.voters and self._world.voters[heir].is_disowned:
            heir = VoterId(heir + LIFE)
        if heir not in self._world.voters:
            self._world.add_voter(heir)
        return heir
