"""Bugs around disks that fail, rot, or are put back: what a voter may still say under its name."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm

S, L = Harm.SAFETY, Harm.LIVENESS

LOG = "tests/unit/store/test_voter_log.py"
STARTS = "tests/unit/store/test_voter_starts.py"
TRUST = "tests/unit/store/test_disk_trust.py"
SET_BACK = "tests/unit/core/raft/test_set_back.py"
REPLICATION = "tests/unit/core/raft/test_replication.py"
AGENT = "tests/unit/test_agent_voter.py"
ENGINE = "tests/unit/test_agent_engine.py"
DISKS = "tests/sim/test_raft_disks.py"
ANOTHER = f"{DISKS}::test_a_disk_that_may_have_lost_something_comes_back_as_another_voter"
ALONE = f"{DISKS}::test_one_that_is_alone_writes_again_what_its_disk_may_have_dropped"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=f"fabric/{file}", old=old, new=new, tests=tests)


DISK_BUGS = (
    bug(
        "a voter goes on after a failed fsync",
        S,
        "store/voter_log.py",
        '            raise LogFailedError(f"writing the log failed: {error}") from error\n',
        "            self._failed = None\n",
        f"{LOG}::test_a_failed_sync_stops_the_log_for_good",
        ANOTHER,
    ),
    bug(
        "a voter keeps its name after EIO",
        S,
        "store/disk_trust.py",
        "    return isinstance(cause, OSError) and cause.errno in LOSING\n",
        "    return False\n",
        TRUST,
        ANOTHER,
    ),
    bug(
        "a voter is disowned for a full disk",
        L,
        "store/disk_trust.py",
        "LOSING = (errno.EIO, ",
        "LOSING = (errno.ENOSPC, errno.EIO, ",
        TRUST,
    ),
    bug(
        "a record with a bad checksum in the middle is skipped",
        S,
        "store/voter_log.py",
        "            offset += record.size\n        self._offset = offset\n",
        "            offset += record.size\n"
        "            at = data.find(MAGIC, offset + 1)\n"
        "            later = None if at < 0 or decode_record(data, offset) else decode_record(data, at)\n"
        "            if later is not None:\n"
        "                offset, self._sequence, self._hash = at, later.sequence - 1, later.previous\n"
        "        self._offset = offset\n",
        f"{LOG}::test_a_damaged_vote_between_sound_entries_is_refused",
        ANOTHER,
    ),
    bug(
        "what a failed sync dropped is not written again",
        S,
        "store/voter_log.py",
        "        self._file.write_at(data, self._unproven_offset)\n",
        "",
        f"{LOG}::test_what_a_failed_sync_dropped_is_written_again_by_the_next_life",
        ALONE,
    ),
    bug(
        "only the last record is written again",
        S,
        "store/voter_log.py",
        "            while unproven and unproven[0][0] <= record.durable:\n",
        "            while len(unproven) > 1:\n",
        f"{LOG}::test_what_a_failed_sync_dropped_is_written_again_by_the_next_life",
    ),
    bug(
        "a segment's name that was not synced is believed at the next start",
        S,
        "store/voter_log.py",
        "        self._file.sync()\n        self._files.sync_names()\n",
        "        self._file.sync()\n",
        f"{LOG}::test_a_segment_whose_name_was_not_synced_is_kept_by_the_next_life",
    ),
    bug(
        "a directory that was put back is taken for the one it was",
        S,
        "store/disk_trust.py",
        "    return outside is not None and (inside is None or inside < outside)\n",
        "    return False\n",
        STARTS,
        ANOTHER,
    ),
    bug(
        "a directory without a count is taken for a new one",
        S,
        "store/disk_trust.py",
        "(inside is None or inside < outside)\n",
        "(inside is not None and inside < outside)\n",
        STARTS,
    ),
    bug(
        "a start is counted beside the directory first",
        L,
        "store/voter_starts.py",
        "    write_private(directory / STARTS_FILE, number)\n"
        "    write_private(node_directory / STARTS_FILE, number)\n",
        "    write_private(node_directory / STARTS_FILE, number)\n"
        "    write_private(directory / STARTS_FILE, number)\n",
        STARTS,
    ),
    bug(
        "a new voter on a node that had another is taken for an older one",
        L,
        "store/voter_id.py",
        "    mark_new(directory)\n",
        "",
        STARTS,
    ),
    bug(
        "a voter whose disk was set back is not told",
        S,
        "core/raft/node.py",
        "                    self._check_memory(message)\n",
        "",
        SET_BACK,
        f"{DISKS}::test_what_only_the_others_know_the_leader_tells",
    ),
    bug(
        "whose entry it was that a voter acknowledged is not compared",
        S,
        "core/raft/node.py",
        "        is_other = here is not None and message.commit_term not in (NO_TERM, here)\n",
        "        is_other = False\n",
        SET_BACK,
    ),
    bug(
        "who is alone throws its older rows away",
        L,
        "agent_voter.py",
        "    if others_vote:\n        disown_voter(directory)\n",
        "    if True:\n        disown_voter(directory)\n",
        AGENT,
    ),
    bug(
        "a damaged log keeps its voter's name",
        S,
        "runtime/voter_fate.py",
        "    if others_vote:\n        _disown(directory, error)\n",
        "    pass\n",
        "tests/unit/runtime/test_voter_fate.py",
        ENGINE,
    ),
    bug(
        "while a snapshot streams every fold tries to cut the log",
        L,
        "store/voter_compaction.py",
        " or not is_due or is_pausing:\n",
        " or not is_due:\n",
        "tests/unit/store/test_voter_compaction.py",
    ),
    bug(
        "who answers heartbeats counts as one whose disk works",
        L,
        "core/raft/leader.py",
        "        if not is_lagging or progress.pace is Pace.SNAPSHOT:\n    "
        "        progress.wrote_ms = now_ms\n",
        "        progress.wrote_ms = now_ms\n",
        f"{REPLICATION}::test_a_follower_whose_disk_hangs_is_heard_and_yet_seen_to_hang",
    ),
)
