"""Bugs around levels: what is applied by whom, what is proposed when, and what a halted voter may do."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm
from tests.mutants.voter_bugs import bug

S, L = Harm.SAFETY, Harm.LIVENESS

PROGRAM = "tests/unit/store/test_program.py"
FOLDED = "tests/unit/store/test_levels_folded.py"
TABLES = "tests/unit/store/test_voter_tables.py"
ENGINE = "tests/unit/store/test_voter_levels.py"
DECIDED = "tests/unit/core/voters/test_levels.py"
WATCH = "tests/unit/runtime/test_level_watch.py"
BEHIND = (
    "tests/sim/test_raft_upgrade.py::test_who_is_left_behind_halts_leads_nobody_and_goes_on_after_its_upgrade"
)

LEVEL_BUGS: tuple[Bug, ...] = (
    bug(
        "a level that this program does not know is taken",
        S,
        "store/program.py",
        "        if command.to > self.levels.highest:\n",
        "        if command.to > self.levels.highest + 1:\n",
        PROGRAM,
        FOLDED,
    ),
    bug(
        "a revision is done though it is not the group's",
        S,
        "store/program.py",
        "        if command.digest != self.digest_of(command.to):\n",
        "        if not command.digest and self.digest_of(command.to):\n",
        PROGRAM,
        FOLDED,
    ),
    bug(
        "a command is proposed before its level",
        S,
        "store/program.py",
        "    if level < command.LEVEL:\n",
        "    if level + 1 < command.LEVEL:\n",
        PROGRAM,
        ENGINE,
    ),
    bug(
        "a raise skips levels, and their revisions",
        S,
        "store/apply/log.py",
        "        if command.to != level + 1:\n",
        "        if command.to <= level:\n",
        FOLDED,
    ),
    bug(
        "the level is raised and its revision is not done",
        S,
        "store/apply/log.py",
        "            revisions[command.to].run(context.connection)\n",
        "            pass\n",
        FOLDED,
    ),
    bug(
        "an entry that cannot be applied is skipped",
        S,
        "store/voter_tables.py",
        "                    if count == 1:\n                        self.halt = error\n",
        "                    if count == 1:\n                        return _Run(\n"
        "                            entries[:1],\n"
        "                            commands,\n"
        "                            SnapshotMark(entry.index, entry.term, configuration),\n"
        "                            time_ms,\n"
        "                        )\n",
        TABLES,
        FOLDED,
    ),
    bug(
        "a snapshot of a level beyond this program is put in",
        S,
        "store/voter_tables.py",
        '    if cannot:\n        raise HaltedError(f"the group\'s snapshot is at {cannot}")\n',
        "",
        FOLDED,
        ENGINE,
    ),
    bug(
        "rows of a level beyond this program are opened",
        S,
        "store/voter_tables.py",
        '        if cannot:\n            raise SchemaVersionError(f"the rows are at {cannot}")\n',
        "",
        FOLDED,
        ENGINE,
    ),
    bug(
        "voters compare only the tables they know",
        S,
        "store/row_digest.py",
        "    for shape in shapes(connection):\n",
        "    for shape in (each for each in shapes(connection) if each.table != 'paints'):\n",
        FOLDED,
    ),
    bug(
        "a revision that fails is taken for a rejection",
        S,
        "store/revision.py",
        '            raise RevisionFailedError(f"revision {self.revision_id}: {error}") from error\n',
        "            raise\n",
        PROGRAM,
    ),
    bug(
        "a halted voter may be elected",
        L,
        "core/raft/node.py",
        "        if self._is_halted:\n            return False\n",
        "",
        BEHIND,
        ENGINE,
    ),
    bug(
        "a leader that halted leads on",
        L,
        "core/raft/node.py",
        "                if self._role is not Role.FOLLOWER:\n"
        "                    self._follow(self.term, None)\n"
        "            case SnapshotEnded",
        "            case SnapshotEnded",
        ENGINE,
    ),
    bug(
        "a voter that halted is taken for one whose disk failed",
        S,
        "store/voter_engine.py",
        "            self._halt_for(self._tables.halt)\n            return\n",
        "            self._fail(self._tables.halt)\n            return\n",
        ENGINE,
    ),
    bug(
        "the level is raised before the standbys can follow",
        S,
        "core/voters/view.py",
        "levels for member in self.facts.configuration.members if member",
        "levels for member in self.facts.configuration.voters if member",
        DECIDED,
    ),
    bug(
        "two levels are raised at once",
        S,
        "core/voters/levels.py",
        "    to = active + 1\n",
        "    to = max(active + 1, own.highest)\n",
        DECIDED,
    ),
    bug(
        "who cannot apply the log is made a voter",
        S,
        "core/voters/view.py",
        "        return node.is_eligible and self.can_apply(node)\n",
        "        return node.is_eligible\n",
        DECIDED,
    ),
    bug(
        "the migrator does not wait for who is down",
        S,
        "runtime/level_watch.py",
        "GONE = (MemberState.LEFT, MemberState.FORGOTTEN)",
        "GONE = (MemberState.LEFT, MemberState.FORGOTTEN, MemberState.HOST_DOWN)",
        WATCH,
    ),
)
