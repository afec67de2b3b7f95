"""Votes: made, signed and checked. Nobody is believed about anybody without a signature."""

from __future__ import annotations

import heapq

from fabric.core.membership.case import DOWN_FINDINGS, Case
from fabric.core.membership.context import Context
from fabric.core.membership.model import MemberState
from proto.ids import NodeId
from proto.membership import Finding, Verdict, Vote, vote_body


def deputies(context: Context, target: NodeId) -> list[NodeId]:
    """The members nearest to the target by XOR of ids, as Kademlia measures distance: all who know the same
    members agree, and it costs one operation a member where rendezvous hashing costs a hash."""
    number = int(target, 16)
    living = [
        (entry.number ^ number, entry.node_id)
        for entry in context.table
        if entry.state is MemberState.ALIVE and entry.node_id != target
    ]
    living.append((int(context.my_id, 16) ^ number, context.my_id))
    return [node_id for _, node_id in heapq.nsmallest(context.config.deputies, living)]


def votes_wanted(context: Context, target: NodeId) -> int:
    """As many votes as asked for, or as there are members left to vote, this node included."""
    able = 1
    for entry in context.table:
        if entry.state in (MemberState.ALIVE, MemberState.STALLED) and entry.node_id != target:
            able += 1
            if able >= context.config.votes_wanted:
                break
    return min(context.config.votes_wanted, able)


def own_vote(context: Context, case: Case, finding: Finding) -> Vote:
    """What this node found, signed. A later look of the same case has a higher attempt."""
    mine = case.votes.get(context.my_id)
    attempt = case.attempt if mine is None else max(case.attempt, mine.attempt + 1)
    body = vote_body(
        target=case.target,
        epoch=case.epoch,
        incarnation=case.incarnation,
        attempt=attempt,
        voter=context.my_id,
        finding=finding,
    )
    return Vote(
        target=case.target,
        epoch=case.epoch,
        incarnation=case.incarnation,
        attempt=attempt,
        voter=context.my_id,
        finding=finding,
        signature=context.trust.sign(body),
    )


def is_genuine(context: Context, vote: Vote) -> bool:
    """Whether the voter named is a member we know and signed exactly this."""
    if vote.voter == context.my_id:
        owner = context.table.me.state
    else:
        voter = context.table.get(vote.voter)
        if voter is None:
            return False
        owner = voter.signed.state
    body = vote_body(
        target=vote.target,
        epoch=vote.epoch,
        incarnation=vote.incarnation,
        attempt=vote.attempt,
        voter=vote.voter,
        finding=vote.finding,
    )
    return context.trust.is_spoken_by(owner, body, vote.signature)


def genuine_votes(context: Context, verdict: Verdict) -> list[Vote]:
    """Those of a verdict's votes that speak for it."""
    return [vote for vote in verdict.votes if _speaks_for(vote, verdict) and is_genuine(context, vote)]


def _speaks_for(vote: Vote, verdict: Verdict) -> bool:
    same = (vote.target, vote.epoch, vote.incarnation) == (
        verdict.target,
        verdict.epoch,
        verdict.incarnation,
    )
    return same and vote.finding in DOWN_FINDINGS and vote.voter != verdict.target
