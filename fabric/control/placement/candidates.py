"""Which providers could serve a request."""

from __future__ import annotations

import logging

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.placement.forest import read_forest
from fabric.control.placement.providers import need_known
from fabric.core.providers.candidates import find_candidates
from fabric.core.providers.request import CandidateRequest, Candidates, Traits
from fabric.core.providers.tree import Forest

log = logging.getLogger(__name__)


async def list_candidates(
    cloud: Cloud, caller: Caller, request: CandidateRequest
) -> tuple[Candidates, Forest]:
    """With the providers they are of. Raises ForbiddenError, InvalidError (a name nobody knows)."""
    policy.require(caller, "placement:candidates:list")
    classes = {name: amount for group in request.groups for name, amount in group.resources.items()}
    named = request.root.named().union(*(group.traits.named() for group in request.groups))
    await need_known(cloud, classes, Traits(any_of=tuple(frozenset({name}) for name in sorted(named))))
    forest = await read_forest(cloud, with_used=True)
    found = find_candidates(forest, request)
    if not found.is_whole:
        log.info("allocation candidates cut", extra={"count": len(found.requests)})
    return found, forest
