"""Bugs of what an agent lays over its voter: writes passed on, roles and leases, who becomes a voter."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm

S, L = Harm.SAFETY, Harm.LIVENESS

STATE = "tests/unit/runtime/test_voter_state.py"
SERVICE = "tests/unit/runtime/test_log_service.py"
LEAD = "tests/unit/runtime/test_lead_loop.py"
ROLES = "tests/unit/runtime/test_roles.py"
INVITATION = "tests/unit/runtime/test_invitation.py"
AUTOPILOT = "tests/unit/runtime/test_autopilot_loop.py"
FIRST_ROWS = "tests/unit/runtime/test_first_rows.py"
VOTER_ID = "tests/unit/store/test_voter_id.py"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=f"fabric/{file}", old=old, new=new, tests=tests)


RUNTIME_BUGS = (
    bug(
        "a write passed on is asked again under another request id",
        S,
        "runtime/voter_state.py",
        "            return applied_from_plain(await self._call(leader, PROPOSE, body))\n",
        '            body["request_id"] = f"{body[\'request_id\']}/"\n'
        "            return applied_from_plain(await self._call(leader, PROPOSE, body))\n",
        f"{STATE}::test_a_lost_answer_is_asked_for_under_the_same_id",
    ),
    bug(
        "a linearizable read at a follower asks nobody",
        S,
        "runtime/voter_state.py",
        '        await self._until_applied(index, "this node\'s rows are too far behind")\n',
        "",
        f"{STATE}::test_a_linearizable_read_at_a_follower_sees_what_was_just_answered",
    ),
    bug(
        "a write is answered before it can be read where it was asked",
        S,
        "runtime/voter_state.py",
        "        await self._until_applied(applied.index, ",
        "        _ = applied or await self._until_applied(applied.index, ",
        f"{STATE}::test_who_writes_at_a_follower_reads_it_there_at_once",
    ),
    bug(
        "what may have been done is told as not done when time is over",
        S,
        "runtime/voter_state.py",
        "                last, is_unknown = error, True\n",
        "                last = error\n",
        f"{STATE}::test_an_answer_that_never_comes_is_unknown",
    ),
    bug(
        "what may have been done is told as not done when the next try is refused",
        S,
        "runtime/voter_state.py",
        "                if is_unknown:  # this try was not done; the one before may have been\n",
        "                if False:\n",
        f"{STATE}::test_what_a_failed_disk_held_stays_unknown",
    ),
    bug(
        "a change of the leader is an error to whoever waits",
        L,
        "runtime/voter_state.py",
        "raise error_of(error, NotLeaderError) from error",
        "raise error_of(error, NoQuorumError) from error",
        f"{STATE}::test_writes_outlive_the_death_of_who_leads_and_are_done_once",
    ),
    bug(
        "any node of the fabric may write any command",
        S,
        "runtime/log_service.py",
        "        self._need_member(peer)\n        command =",
        "        command =",
        f"{SERVICE}::test_who_is_not_of_the_group_is_told_nothing_and_writes_nothing",
    ),
    bug(
        "the duties go on after the lead is lost",
        S,
        "runtime/lead_loop.py",
        "            done, _ = await asyncio.wait((*tasks, lost), return_when=asyncio.FIRST_COMPLETED)\n",
        "            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)\n",
        f"{LEAD}::test_the_work_goes_where_the_lead_goes_under_a_newer_fence",
    ),
    bug(
        "a duty that fails is missed by nobody",
        L,
        "runtime/lead_loop.py",
        "            raise_end(task)\n",
        "            return\n",
        f"{LEAD}::test_a_duty_that_fails_ends_the_loop_and_its_other_duties",
    ),
    bug(
        "a role's work goes on after its lease",
        S,
        "runtime/role_holder.py",
        "        while self._clock.monotonic_ms() < until_ms:\n",
        "        while True:\n",
        f"{ROLES}::test_without_an_answer_for_a_whole_lease_the_work_ends",
    ),
    bug(
        "a role's lease is counted from its answer",
        S,
        "runtime/role_holder.py",
        "                until_ms = asked_ms + TTL_MS\n",
        "                until_ms = self._clock.monotonic_ms() + TTL_MS\n",
        f"{ROLES}::test_an_answer_counts_from_when_it_was_asked_for",
    ),
    bug(
        "a refused renewal does not end the work",
        S,
        "runtime/role_holder.py",
        "                if not await self._renew(fence):\n                    return\n",
        "                await self._renew(fence)\n",
        f"{ROLES}::test_a_refused_renewal_ends_the_work_until_it_is_granted_anew",
    ),
    bug(
        "what the log gave to another is worked at until somebody asks",
        S,
        "runtime/role_holder.py",
        "                if await self._granted() != fence:\n                    return\n",
        "                await self._granted()\n",
        f"{ROLES}::test_what_the_log_gave_to_another_ends_though_nobody_can_be_asked",
    ),
    bug(
        "a dead holder keeps its role until its lease is over",
        L,
        "runtime/role_keeper.py",
        "        if row is None or row.node_id in late or not self._is_alive(row.node_id):\n",
        "        if row is None or row.node_id in late:\n",
        f"{ROLES}::test_a_dead_holder_is_not_waited_for",
    ),
    bug(
        "who let a role go gets it anew while others are there",
        L,
        "runtime/role_keeper.py",
        "self._candidates() - late or self._candidates()",
        "frozenset(late) or self._candidates()",
        f"{ROLES}::test_who_does_not_renew_loses_it_to_another",
    ),
    bug(
        "a host may be invited by anybody",
        S,
        "runtime/invitation.py",
        "        self._need_conductor(peer)\n        signed, root_key",
        "        signed, root_key",
        f"{INVITATION}::test_only_the_conductor_chooses_and_dismisses",
    ),
    bug(
        "a voter may be dismissed by anybody",
        S,
        "runtime/invitation.py",
        "        self._need_conductor(peer)\n        voter =",
        "        voter =",
        f"{INVITATION}::test_only_the_conductor_chooses_and_dismisses",
    ),
    bug(
        "a certificate over another node's keys is taken",
        S,
        "runtime/invitation.py",
        "    if (certificate.node_id, certificate.curve_public, certificate.sign_public) != mine:\n",
        "    if False:\n",
        f"{INVITATION}::test_a_certificate_for_others_is_refused",
    ),
    bug(
        "an older certificate replaces a newer one",
        S,
        "runtime/invitation.py",
        "    if certificate.generation < read_own(member.certificate).generation:\n",
        "    if False:\n",
        f"{INVITATION}::test_a_certificate_older_than_its_own_is_refused",
    ),
    bug(
        "any key is taken for the root's",
        S,
        "runtime/invitation.py",
        "    if not hmac.compare_digest(authority.root_public, member.root_public):\n",
        "    if False:\n",
        f"{INVITATION}::test_another_root_key_is_refused",
    ),
    bug(
        "a node may answer with another node's voter",
        S,
        "runtime/invitation.py",
        "        if not isinstance(voter, str) or node_of(VoterId(voter)) != node_id:\n",
        "        if not isinstance(voter, str):\n",
        f"{INVITATION}::test_an_answer_with_another_nodes_voter_is_not_taken",
    ),
    bug(
        "who is let go may conduct for as long as its certificate lasts",
        S,
        "runtime/autopilot_loop.py",
        "                await self._invitations.demote(node_id)\n",
        "                pass\n",
        AUTOPILOT,
    ),
    bug(
        "a node whose new voter is invited may not conduct",
        L,
        "runtime/autopilot_loop.py",
        "            if not self._is_of_the_group(node_id):\n",
        "            if True:\n",
        AUTOPILOT,
    ),
    bug(
        "who is let go is never told",
        L,
        "runtime/autopilot_loop.py",
        "                await self._invitations.dismiss(voter)\n",
        "                pass\n",
        AUTOPILOT,
    ),
    bug(
        "who may never vote is invited",
        S,
        "runtime/autopilot_loop.py",
        "            is_eligible=record.labels.get(VOTES_LABEL) != NEVER,\n",
        "            is_eligible=True,\n",
        f"{AUTOPILOT}::test_who_may_never_vote_or_is_not_wanted_is_not_invited",
    ),
    bug(
        "a database of another fabric is taken for its own",
        S,
        "runtime/first_rows.py",
        "        if rows is not None and rows.fabric_id != member.fabric_id:\n",
        "        if False:\n",
        f"{FIRST_ROWS}::test_rows_of_another_fabric_are_refused",
    ),
    bug(
        "a disk with a damaged name votes under a new one",
        S,
        "store/voter_id.py",
        "    if not (node_id and separator and number):\n",
        "    if not text:\n        return None\n    if not (node_id and separator and number):\n",
        VOTER_ID,
    ),
)
