"""What becomes of a voter that stopped itself or could not be opened: whether its disk votes again under its
name. The same wherever it lives."""

from __future__ import annotations

import logging
from pathlib import Path

from fabric.core.raft.configuration import Configuration
from fabric.runtime.digest_watch import RowsDifferError
from fabric.store.disk_trust import can_learn_anew, may_have_lost
from fabric.store.errors import LogCorruptError
from fabric.store.voter_id import disown_voter
from proto.ids import VoterId

log = logging.getLogger(__name__)


def disown_if_lost(directory: Path, error: BaseException, me: VoterId, configuration: Configuration) -> None:
    """A disk that failed may have lost what it promised: it comes back as another voter, which learns all
    from the others. One that is alone has nobody to learn from, and goes on from what is there. To be called
    where the engine is, before anybody hears of the failure: whoever would hear may end meanwhile."""
    is_lost = may_have_lost(error) or isinstance(error, RowsDifferError)
    if is_lost and can_learn_anew(me, configuration):
        _disown(directory, error)


def disown_if_damaged(directory: Path, error: LogCorruptError, *, others_vote: bool) -> None:
    """What was damaged on the disk is found when it is opened. Where others have it all, it is theirs to
    give: the next start is another voter's, and the files are set aside for whoever wants to look at them."""
    if others_vote:
        _disown(directory, error)


def _disown(directory: Path, why: BaseException) -> None:
    log.critical("voter disowned: its disk is not trusted any more", extra={"reason": str(why)[:500]})
    try:
        disown_voter(directory)
    except OSError as worse:
        log.critical("failed disk not disowned", extra={"error": str(worse)})
