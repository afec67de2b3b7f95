"""Bugs around the replicated log's core: what is written when, folded when, copied and put in."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm

S, L = Harm.SAFETY, Harm.LIVENESS

PIPELINE = "tests/unit/core/raft/test_pipeline.py"
TABLES = "tests/unit/store/test_voter_tables.py"
ENGINE = "tests/unit/store/test_voter_engine.py"
PEERS = "tests/unit/runtime/test_voter_peers.py"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=f"fabric/{file}", old=old, new=new, tests=tests)


VOTER_BUGS = (
    bug(
        "a promise overtakes the write in front of it",
        S,
        "core/raft/pipeline.py",
        "        return [] if self._writing else self._pass_unwritten()\n",
        "        return self._pass_unwritten()\n",
        PIPELINE,
    ),
    bug(
        "entries are folded before they are durable",
        S,
        "core/raft/pipeline.py",
        "        self._waiting.append(ready)\n",
        "        self._waiting.append(ready)\n        self._folds.extend(ready.committed)\n",
        PIPELINE,
    ),
    bug(
        "entries in front of a snapshot are written behind it",
        S,
        "core/raft/pipeline.py",
        "            if self._writing and self._waiting[0].snapshot is not None:\n",
        "            if self._writing and self._writing[0].snapshot is not None:\n",
        PIPELINE,
    ),
    bug(
        "the first hard state of a group is written, not the last",
        S,
        "core/raft/pipeline.py",
        "        hard_states[-1] if hard_states else None,\n",
        "        hard_states[0] if hard_states else None,\n",
        PIPELINE,
    ),
    bug(
        "two writes are under way at once",
        S,
        "core/raft/pipeline.py",
        "        if self._writing or not self._waiting:\n",
        "        if not self._waiting:\n",
        PIPELINE,
    ),
    bug(
        "a snapshot is put in after the entries that follow it",
        S,
        "core/raft/pipeline.py",
        "                if entries:\n                    break\n",
        "",
        PIPELINE,
    ),
    bug(
        "rows and position are two transactions",
        S,
        "store/voter_tables.py",
        "            outcomes = apply_group(self._connection, commands) if commands else []\n"
        "            self._advance(mark, time_ms)\n",
        "            outcomes = apply_group(self._connection, commands) if commands else []\n"
        "        with self._connection.begin():\n"
        "            self._advance(mark, time_ms)\n",
        TABLES,
    ),
    bug(
        "the position forgets the term",
        S,
        "store/voter_tables.py",
        "            term=mark.term,\n",
        "            term=0,\n",
        TABLES,
    ),
    bug(
        "a change of the voters is not noted in the tables",
        S,
        "store/voter_tables.py",
        "                configuration = decode_configuration(entry.data)\n",
        "                decode_configuration(entry.data)\n",
        TABLES,
    ),
    bug(
        "time goes back with a new leader's clock",
        S,
        "store/command_entry.py",
        "                max(time_ms, not_before_ms),\n",
        "                time_ms,\n",
        TABLES,
    ),
    bug(
        "time goes back after a restart",
        S,
        "store/voter_tables.py",
        "        self._mark, self._time_ms = self._read_position()\n\n    @property\n",
        "        self._mark, _ = self._read_position()\n        self._time_ms = 0\n\n    @property\n",
        TABLES,
    ),
    bug(
        "another snapshot than was announced is put in",
        S,
        "store/voter_tables.py",
        "    if found != mark:\n",
        "    if found.index < mark.index:\n",
        TABLES,
    ),
    bug(
        "a damaged snapshot is put in",
        S,
        "store/voter_tables.py",
        '    if verdict != "ok":\n',
        '    if verdict == "":\n',
        TABLES,
    ),
    bug(
        "tables of another log are taken for its own",
        S,
        "store/voter_start.py",
        "    if term != applied.term:\n",
        "    if term < 0:\n",
        TABLES,
    ),
    bug(
        "a snapshot that a crash kept out of the tables is forgotten",
        S,
        "store/voter_start.py",
        "    if tables.mark.index < restored.mark.index:\n",
        "    if False:\n",
        TABLES,
    ),
    bug(
        "a command whose place another entry took counts as done",
        S,
        "store/voter_engine.py",
        "            if proposal is not None and (one is None or term != entry.term):\n",
        "            if proposal is not None and one is None:\n",
        ENGINE,
    ),
    bug(
        "a linearizable read asks nobody",
        S,
        "store/voter_engine.py",
        "        if consistency is Consistency.LINEARIZABLE:\n",
        "        if False:\n",
        ENGINE,
    ),
    bug(
        "a frame for the disk before this one is heard",
        S,
        "runtime/voter_peers.py",
        "        if address.to != self._me:\n",
        "        if node_of(address.to) != self._node_id:\n",
        PEERS,
    ),
    bug(
        "a node speaks for voters of others",
        S,
        "runtime/voter_peers.py",
        "        if node_of(address.sender) != node_id:\n",
        "        if address.sender == self._me:\n",
        PEERS,
    ),
    bug(
        "voters of before the disaster are heard",
        S,
        "runtime/voter_peers.py",
        "        if address.incarnation != self._incarnation:\n",
        "        if address.incarnation < self._incarnation:\n",
        PEERS,
    ),
    bug(
        "links to who was a member are held for ever",
        L,
        "runtime/voter_peers.py",
        "            self._route.switchboard.release(node_id)\n",
        "            pass\n",
        PEERS,
    ),
    bug(
        "a ticket opens a snapshot to any node",
        S,
        "runtime/snapshot_transfer.py",
        "        if offered is None or offered.node_id != node_id or offered.is_taken:\n",
        "        if offered is None or offered.is_taken:\n",
        PEERS,
    ),
    bug(
        "anybody may bring a snapshot",
        S,
        "runtime/snapshot_transfer.py",
        "        if (voter.engine.leader_id, voter.engine.term) != (offer.sender, offer.term):\n",
        "        if voter.engine.leader_id is None:\n",
        PEERS,
    ),
    bug(
        "a snapshot that came short is kept",
        S,
        "runtime/snapshot_transfer.py",
        "            if self._size != self._offer.size or self._hasher.digest() != self._offer.digest:\n",
        "            if self._size == self._offer.size and self._hasher.digest() != self._offer.digest:\n",
        PEERS,
    ),
    bug(
        "half a snapshot stays on the disk",
        L,
        "runtime/snapshot_transfer.py",
        "            self.path.unlink(missing_ok=True)\n",
        "            pass\n",
        PEERS,
    ),
)
