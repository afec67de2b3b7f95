"""What Raft claims, or asks of who builds it, and the tests that show it here.

Numbers are the chapters of Ongaro's thesis (2014); "paper" is Ongaro and Ousterhout, "In Search of an
Understandable Consensus Algorithm" (2014). `tests/tidy/test_claims.py` keeps the names true.
"""

from __future__ import annotations

from dataclasses import dataclass

CORE, STORE, SIM = "tests/unit/core/raft/", "tests/unit/store/", "tests/sim/"
ELECTIONS, REPLICATION, CHANGES = (
    f"{CORE}test_{name}.py" for name in ("elections", "replication", "changes")
)
PIPELINE, TABLES, ENGINE = (
    f"{CORE}test_pipeline.py",
    f"{STORE}test_voter_tables.py",
    f"{STORE}test_voter_engine.py",
)
PROMISES = f"{CORE}test_promises.py"
MAJORITIES = "tests/property/test_raft_configuration.py"
EXPLORER, LIFE = f"{SIM}test_raft_explorer.py", f"{SIM}test_raft_life.py"


@dataclass(frozen=True, slots=True)
class Claim:
    where: str
    claim: str
    tests: tuple[str, ...]  # file::name


def claim(where: str, text: str, *tests: str) -> Claim:
    return Claim(where, text, tests)


EVERY_ORDER = f"{EXPLORER}::test_in_every_order_of_a_small_scope_nothing_is_violated"
DEEPER = f"{EXPLORER}::test_within_so_many_steps_nothing_is_violated"
UNDER_FAULTS = f"{LIFE}::test_voters_are_safe_and_then_recover"

CLAIMS = (
    # figure 3 of the paper; checked after each step of the explorer and of the simulator
    claim(
        "3.2, election safety",
        "At most one leader is elected in a term.",
        f"{ELECTIONS}::test_one_vote_a_term_and_the_first_comer_has_it",
        f"{ELECTIONS}::test_a_vote_outlives_a_restart",
        f"{ELECTIONS}::test_a_second_leader_of_a_term_is_not_listened_to",
        EVERY_ORDER,
        DEEPER,
        UNDER_FAULTS,
    ),
    claim(
        "3.2, leader append-only",
        "A leader never overwrites or deletes entries of its own log.",
        f"{PROMISES}::test_a_leader_takes_back_nothing_of_its_own_log",
        EVERY_ORDER,
        DEEPER,
    ),
    claim(
        "3.5, log matching",
        "Logs with an entry of the same index and term are the same up to there.",
        f"{REPLICATION}::test_what_follows_another_entry_than_ours_is_refused",
        f"{REPLICATION}::test_what_conflicts_is_replaced_with_all_behind_it",
        f"{REPLICATION}::test_a_late_append_does_not_cut_what_matches",
        EVERY_ORDER,
        UNDER_FAULTS,
    ),
    claim(
        "3.6, leader completeness",
        "What is committed in a term is in the logs of the leaders of all later terms.",
        f"{PROMISES}::test_what_is_committed_is_in_every_later_leaders_log",
        EVERY_ORDER,
        DEEPER,
        UNDER_FAULTS,
    ),
    claim(
        "3.6.3, state machine safety",
        "Nobody applies another entry at an index than anybody else.",
        f"{REPLICATION}::test_what_is_proposed_is_applied_everywhere_in_order",
        EVERY_ORDER,
        UNDER_FAULTS,
    ),
    # elections
    claim(
        "3.4, split votes",
        "Random timeouts end a split vote.",
        f"{ELECTIONS}::test_a_split_vote_is_decided_in_the_next_round",
    ),
    claim(
        "3.6.1, election restriction",
        "Nobody votes for a log that is less up to date than its own: last term first, then length.",
        f"{ELECTIONS}::test_only_a_log_with_all_that_may_be_committed_is_elected",
        f"{EXPLORER}::test_a_planted_bug_is_found_with_a_way_to_it",
    ),
    claim(
        "3.8, persistence",
        "Term, vote and entries are durable before anybody is told of them.",
        f"{ELECTIONS}::test_a_vote_leaves_when_it_is_on_disk",
        f"{ELECTIONS}::test_a_candidates_own_vote_counts_when_it_is_on_disk",
        f"{REPLICATION}::test_an_acknowledgement_leaves_when_it_is_on_disk",
        f"{PIPELINE}::test_a_promise_waits_for_its_write",
        f"{EXPLORER}::test_a_planted_bug_is_found_with_a_way_to_it",
    ),
    claim(
        "9.6, PreVote",
        "Who was cut off does not raise its term, and disturbs nobody when it is back.",
        f"{ELECTIONS}::test_who_hears_no_leader_asks_before_it_stands",
        f"{ELECTIONS}::test_who_is_cut_off_does_not_raise_its_term",
        f"{PROMISES}::test_who_comes_back_from_the_cold_disturbs_nobody",
    ),
    claim(
        "4.2.3, the vote lease",
        "Who heard of a leader within an election timeout elects nobody else.",
        f"{ELECTIONS}::test_who_heard_the_leader_a_moment_ago_elects_nobody_else",
        f"{ELECTIONS}::test_a_leader_elects_nobody_else_while_it_has_its_quorum",
        f"{PROMISES}::test_the_lease_is_over_after_an_election_timeout",
        f"{CHANGES}::test_who_left_does_not_disturb_those_who_stay",
    ),
    claim(
        "6.2, CheckQuorum",
        "A leader that hears no majority for an election timeout steps down.",
        f"{ELECTIONS}::test_a_leader_that_hears_no_majority_steps_down",
        f"{ENGINE}::test_a_leader_that_is_cut_off_answers_nobody",
    ),
    # replication
    claim(
        "3.5, commit",
        "An entry of the leader's term is committed when a majority has it on disk, and not before.",
        f"{REPLICATION}::test_a_majority_on_disk_commits_and_no_less",
        f"{REPLICATION}::test_the_leader_counts_itself_when_its_own_disk_has_it",
    ),
    claim(
        "3.6.2, entries of earlier terms",
        "An entry of the current term behind them commits them, never counting (paper, figure 8).",
        f"{REPLICATION}::test_an_earlier_terms_entry_is_not_committed_by_counting",
        f"{PROMISES}::test_figure_8",
        f"{EXPLORER}::test_a_planted_bug_is_found_with_a_way_to_it",
        DEEPER,
    ),
    claim(
        "3.5, backtracking",
        "Logs that differ agree after one question for each term, not for each entry.",
        f"{REPLICATION}::test_logs_that_differ_agree_after_one_question_for_each_term",
    ),
    claim(
        "10.2.1, writing in parallel",
        "A leader sends entries while its own disk works; two followers may commit without it.",
        f"{REPLICATION}::test_the_others_get_entries_while_the_leaders_disk_works",
        f"{REPLICATION}::test_a_leader_whose_own_disk_hangs_steps_down",
    ),
    claim(
        "5.1, snapshots",
        "Who lacks what was compacted gets a snapshot, and goes on behind it.",
        f"{REPLICATION}::test_who_is_behind_the_log_gets_a_snapshot_and_goes_on_from_there",
        f"{REPLICATION}::test_a_snapshot_of_what_is_in_the_log_commits_it",
        f"{ENGINE}::test_a_newcomer_behind_the_cut_log_gets_the_tables",
    ),
    # voters come and go
    claim(
        "4.3, joint consensus",
        "While two sets count a majority of each is needed; no two majorities miss each other.",
        f"{CHANGES}::test_while_two_sets_count_a_majority_of_each_is_needed",
        f"{CHANGES}::test_the_old_majority_alone_commits_nothing_in_between",
        f"{MAJORITIES}::test_on_the_way_no_two_majorities_miss_each_other",
    ),
    claim(
        "4.1, the latest configuration counts",
        "From its append on, committed or not, and no longer than its entry is there.",
        f"{CHANGES}::test_a_configuration_counts_from_its_append_and_no_longer_than_its_entry",
    ),
    claim(
        "4.1, one change at a time",
        "And none before the term committed an entry (Ongaro, raft-dev, 10 July 2015).",
        f"{CHANGES}::test_one_change_at_a_time",
        f"{CHANGES}::test_no_change_before_the_term_committed_something",
    ),
    claim(
        "4.2.1, learners",
        "They get everything and are not counted.",
        f"{CHANGES}::test_a_learner_gets_everything_and_is_not_counted",
        f"{PROMISES}::test_a_learner_neither_stands_nor_is_asked",
    ),
    claim(
        "4.2.2, a leader that is voted out",
        "It leads until that is committed, does not count itself, and steps down.",
        f"{CHANGES}::test_a_leader_that_is_voted_out_leads_until_then_and_hands_over",
        f"{CHANGES}::test_who_is_voted_out_by_a_change_that_is_not_committed_may_still_lead",
    ),
    claim(
        "3.10, leadership transfer",
        "The target catches up and stands at once; commands are refused meanwhile, not for ever.",
        f"{CHANGES}::test_a_hand_over_takes_no_timeout_and_loses_nothing",
        f"{CHANGES}::test_who_is_behind_gets_everything_before_it_is_handed_the_lead",
        f"{CHANGES}::test_meanwhile_commands_are_refused_and_taken_again_when_nothing_came_of_it",
    ),
    # clients
    claim(
        "6.3, linearizable semantics",
        "A request asked again takes effect once and is answered the same.",
        f"{TABLES}::test_a_request_asked_twice_happens_once",
        "tests/contract/store/test_engine.py::test_replay_gives_the_stored_result_and_changes_nothing",
        UNDER_FAULTS,
    ),
    claim(
        "6.4, ReadIndex: the term's first commit",
        "A leader answers no read before its term committed an entry.",
        f"{CHANGES}::test_a_read_before_this_terms_first_commit_waits_for_it",
    ),
    claim(
        "6.4, ReadIndex: still the leader",
        "A read waits for a majority that answers a heartbeat sent after it was asked.",
        f"{CHANGES}::test_a_read_waits_for_a_majority_that_follows_after_it_was_asked",
        f"{CHANGES}::test_a_read_while_two_sets_count_asks_both",
        f"{PROMISES}::test_a_leader_of_the_past_answers_no_read",
        UNDER_FAULTS,
    ),
    claim(
        "6.4, ReadIndex: applied",
        "Rows are read when the tables have applied that index.",
        f"{ENGINE}::test_a_linearizable_read_sees_what_was_answered_before",
        UNDER_FAULTS,
    ),
    claim(
        "6.4, many reads",
        "One round of heartbeats serves all reads that waited for it.",
        f"{CHANGES}::test_one_round_serves_all_that_waited_for_it",
    ),
)
