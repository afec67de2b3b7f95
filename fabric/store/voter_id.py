"""Under which name this disk votes. A disk that was lost, or is not to be trusted any more, never votes again
under its old one: its next life is another voter (no vote amnesia)."""

from __future__ import annotations

import secrets
from pathlib import Path

from fabric.store.errors import LogCorruptError
from fabric.store.files import fsync_directory, write_private
from fabric.store.voter_starts import mark_new
from proto.ids import VOTER_SEPARATOR, NodeId, VoterId, node_of, voter_of

VOTER_ID_FILE = "voter.id"
FAILED, FORMER = "failed", "former"  # why a disk votes no more: it is not trusted, or not asked
NUMBER_BYTES = 4


def known_voter_id(directory: Path) -> VoterId | None:
    """The name of the voter in that directory; None where there never was one. Raises LogCorruptError."""
    try:
        text = (directory / VOTER_ID_FILE).read_text("ascii")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise LogCorruptError(f"{directory / VOTER_ID_FILE} is damaged") from error
    node_id, separator, number = text.partition(VOTER_SEPARATOR)
    if not (node_id and separator and number):
        raise LogCorruptError(f"{directory / VOTER_ID_FILE} is damaged")
    return VoterId(text)


def voter_here(directory: Path, node_id: NodeId) -> VoterId:
    """The voter of that node in that directory, named now where there was none. Raises LogCorruptError: the
    directory is a copy of another node's, or was left by a former identity of this one; OSError."""
    known = known_voter_id(directory)
    if known is None:
        return name_voter(directory, node_id)
    if node_of(known) != node_id:
        raise LogCorruptError(
            f"{directory} is of node {node_of(known)}, and this is node {node_id}: a copy would vote in its "
            "place. Move the directory away, and this node starts without rows"
        )
    return known


def name_voter(directory: Path, node_id: NodeId) -> VoterId:
    """A name nobody had before, durable when this returns. Raises OSError."""
    voter = voter_of(node_id, secrets.token_hex(NUMBER_BYTES))
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark_new(directory)
    write_private(directory / VOTER_ID_FILE, voter.encode())
    return voter


def disown_voter(directory: Path, why: str = FAILED) -> None:
    """It never votes again under its name. Its files stay in place until the next start: they are open.
    Raises OSError."""
    (directory / VOTER_ID_FILE).rename(directory / f"{VOTER_ID_FILE}.{why}")
    fsync_directory(directory)


def set_aside(directory: Path) -> Path | None:
    """Moves the files of a disowned voter out of the way, for whoever wants to look at them; gives where they
    are now, None where there are none. Raises OSError."""
    for why in (FAILED, FORMER):
        disowned = directory / f"{VOTER_ID_FILE}.{why}"
        if disowned.exists():
            name = disowned.read_text("ascii", errors="replace").rpartition(".")[2]
            aside = directory.with_name(f"{directory.name}.{why}-{name}")
            directory.rename(aside)
            fsync_directory(directory.parent)
            return aside
    return None


def failed_states(node_directory: Path) -> list[Path]:
    """The directories of voters whose disks were not trusted any more, as `set_aside` left them."""
    return sorted(node_directory.glob(f"*.{FAILED}-*"))
