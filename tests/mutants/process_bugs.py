"""Bugs of a voter in a process of its own, and of what its agent believes of it."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm

S, L = Harm.SAFETY, Harm.LIVENESS

CHANNEL = "tests/unit/runtime/test_voter_channel.py"
PROCESS = "tests/unit/runtime/test_voter_process.py"
CHILD = "tests/unit/runtime/test_voter_child.py"
LINKS = "tests/unit/runtime/test_voter_links.py"
ENGINE = "tests/unit/test_agent_engine.py"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=f"fabric/{file}", old=old, new=new, tests=tests)


PROCESS_BUGS = (
    bug(
        "what a dead voter's process held counts as not done",
        S,
        "runtime/voter_proxy.py",
        "            raise StoreFailedError(",
        "            raise StoreStoppedError(",
        f"{PROCESS}::test_when_the_process_dies_what_it_held_is_unknown_and_the_agent_is_told",
    ),
    bug(
        "rows count as newer than what the voter's process said of them",
        S,
        "runtime/voter_proxy.py",
        "        if self._applied < index:\n",
        "        if False:\n",
        f"{PROCESS}::test_when_the_process_dies_what_it_held_is_unknown_and_the_agent_is_told",
    ),
    bug(
        "a change of the voters that was just asked for is not under way",
        S,
        "runtime/voter_proxy.py",
        "        return status.is_changing or status.changes != self._changes",
        "        return status.is_changing",
        f"{PROCESS}::test_voters_in_processes_are_one_group",
    ),
    bug(
        "a frame that comes by the agent is for any voter that ever lived there",
        S,
        "agent_voter_process.py",
        "        check_address(address, node_id, self.engine.me, self._incarnation)\n",
        "",
        f"{PROCESS}::test_what_comes_by_the_agent_is_for_this_voter_alone",
    ),
    bug(
        "a voter whose rows differ keeps its name in its own process",
        S,
        "runtime/voter_process.py",
        "        disown_if_lost(directory, error, engine.me, engine.last_configuration)\n",
        "",
        f"{PROCESS}::test_one_whose_rows_differ_is_disowned_and_fails",
    ),
    bug(
        "who may vote no more is heard by voters' processes for ever",
        S,
        "runtime/voter_links.py",
        "            return None if before is None else VoterPeer(",
        "            return None if True else VoterPeer(",
        f"{LINKS}::test_one_that_may_vote_no_more_is_cut_off_and_told_once",
    ),
    bug(
        "a voter's process is the first that any stranger starts",
        S,
        "runtime/voter_process.py",
        "    if os.getppid() != start.agent_pid:",
        "    if False:",
        f"{CHILD}::test_nobody_but_its_parent_can_be_its_agent",
    ),
    bug(
        "who waits for an index that is no command's waits for ever",
        L,
        "runtime/voter_process.py",
        '            self._channel.tell(words.APPLIED, {"index": told})\n',
        "",
        f"{PROCESS}::test_rows_reach_the_index_of_entries_that_are_not_told",
    ),
    bug(
        "who leads beside an agent that hangs leads on for ever",
        L,
        "runtime/voter_process.py",
        "            engine.transfer(heir)\n",
        "            pass\n",
        f"{PROCESS}::test_who_leads_beside_a_silent_agent_hands_the_lead_over",
    ),
    bug(
        "an agent that hangs for a moment costs the lead",
        L,
        "runtime/voter_process.py",
        "AGENT_SILENT_TICKS = 20 ",
        "AGENT_SILENT_TICKS = 2 ",
        f"{CHILD}::test_a_hold_of_the_interpreter_costs_no_lead",
    ),
    bug(
        "a voter's process that idles counts as dead",
        L,
        "runtime/voter_process.py",
        "tick % BEAT_TICKS == 0",
        "False",
        f"{PROCESS}::test_where_nothing_happens_both_hear_of_each_other",
    ),
    bug(
        "work goes on for who asked and does not wait any more",
        L,
        "runtime/voter_channel.py",
        '            self._send(_CANCEL, number, "", {})\n',
        "            pass\n",
        f"{CHANNEL}::test_who_does_not_wait_any_more_is_not_worked_for",
    ),
    bug(
        "a disk that was damaged when its voter's process opened it votes on",
        S,
        "agent_voter_process.py",
        "            disown_if_damaged(self._directory, error, others_vote=self._others_vote)\n",
        "",
        ENGINE,
    ),
    bug(
        "starts of a voter in a process of its own are not counted",
        S,
        "agent_voter_process.py",
        "        count_start(directory, config.state_dir)\n",
        "",
        ENGINE,
    ),
    bug(
        "damage that a voter's process found is any error to its agent",
        S,
        "runtime/voter_proxy.py",
        "        LogCorruptError,\n        LogFailedError,\n        PromiseForgottenError,",
        "        LogFailedError,\n        PromiseForgottenError,",
        ENGINE,
    ),
    bug(
        "who hears of an entry that raised the level does not know the level yet",
        S,
        "runtime/voter_process.py",
        "told is not None and (told.level, told.passed_over) == (engine.level, engine.passed_over)",
        "True",
        f"{PROCESS}::test_the_level_is_raised_through_the_channel",
    ),
    bug(
        "a snapshot is taken in for a voter that has halted in its own process",
        S,
        "runtime/voter_proxy.py",
        "        if self._halt is not None:\n            raise SnapshotRefusedError",
        "        if False:\n            raise SnapshotRefusedError",
        f"{PROCESS}::test_a_voter_that_has_halted_says_why_and_can_be_read",
    ),
    bug(
        "nobody hears that a voter in a process of its own has halted",
        L,
        "runtime/voter_process.py",
        'halt="" if engine.halt is None else str(engine.halt)',
        'halt=""',
        f"{PROCESS}::test_a_voter_that_has_halted_says_why_and_can_be_read",
    ),
    bug(
        "who waits for rows of a voter that has halted waits for ever",
        L,
        "runtime/voter_proxy.py",
        "            self._waiting.halt(self._halt)\n",
        "",
        f"{PROCESS}::test_a_voter_that_has_halted_says_why_and_can_be_read",
    ),
    bug(
        "a voter's process outlives whoever started it, if nobody closes its channel",
        S,
        "runtime/voter_process.py",
        "    end_with_parent()\n",
        "",
        f"{CHILD}::test_the_kernel_ends_it_with_whoever_started_it",
    ),
)
