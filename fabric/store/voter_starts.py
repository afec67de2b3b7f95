"""How often voters of this node were started, counted in the voter's directory and beside it: a directory
that was put back from an older copy is behind, and has forgotten votes and entries that it promised.

Where all of a node's disk was put back both counts are as old; only the others know then (`RaftNode`'s
heartbeats, and the mesh by the node's epoch).
"""

from __future__ import annotations

from pathlib import Path

from fabric.store.disk_trust import is_set_back
from fabric.store.errors import LogCorruptError
from fabric.store.files import write_private

STARTS_FILE = "voter.starts"
NEVER_STARTED = "new"  # a voter that was just named, on a node that may have had others


def mark_new(directory: Path) -> None:
    """Before the voter in there has a name. Durable when this returns. Raises OSError."""
    write_private(directory / STARTS_FILE, NEVER_STARTED.encode())


def is_older_than_its_node(directory: Path, node_directory: Path) -> bool:
    """Raises LogCorruptError, OSError."""
    if _text(directory) == NEVER_STARTED:
        return False
    return is_set_back(_number(directory), _number(node_directory))


def count_start(directory: Path, node_directory: Path) -> None:
    """Durable in both places when this returns. Raises LogCorruptError, OSError."""
    inside = None if _text(directory) == NEVER_STARTED else _number(directory)
    number = str(max(inside or 0, _number(node_directory) or 0) + 1).encode()
    write_private(directory / STARTS_FILE, number)
    write_private(node_directory / STARTS_FILE, number)


def _number(directory: Path) -> int | None:
    text = _text(directory)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise LogCorruptError(f"{directory / STARTS_FILE} is damaged")
    return int(text)


def _text(directory: Path) -> str | None:
    try:
        return (directory / STARTS_FILE).read_text("ascii", errors="replace")
    except FileNotFoundError:
        return None
