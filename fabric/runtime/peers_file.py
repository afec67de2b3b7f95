"""What a node remembers of its peers across restarts. A damaged file costs nothing but time."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TypeVar

from fabric.store.files import write_private
from proto.codec import Plain, pack, unpack_map
from proto.errors import WireError
from proto.membership import NodeState, Removal
from proto.records import from_wire, to_wire

log = logging.getLogger(__name__)

PEERS_FILE = "peers"
PEERS_BYTES_MAX = 64 << 20  # 10,000 nodes need about 10 MB

R = TypeVar("R", NodeState, Removal)


def save_peers(directory: Path, states: tuple[NodeState, ...], removals: tuple[Removal, ...] = ()) -> None:
    """What `load_peers` finds next time. Durable when it returns. Raises OSError, WireError
    `frame_too_long`."""
    value = {
        "states": [to_wire(state) for state in states],
        "removals": [to_wire(removal) for removal in removals],
    }
    write_private(directory / PEERS_FILE, pack(value, limit=PEERS_BYTES_MAX))


def load_peers(directory: Path) -> tuple[tuple[NodeState, ...], tuple[Removal, ...]]:
    """Peers of an earlier life. Where the file, or a part of it, is damaged, seeds and gossip tell again."""
    path = directory / PEERS_FILE
    try:
        if path.stat().st_size > PEERS_BYTES_MAX:
            raise WireError("frame_too_long")
        plain = unpack_map(path.read_bytes(), limit=PEERS_BYTES_MAX)
    except FileNotFoundError:
        return (), ()
    except (OSError, WireError) as error:
        log.warning("peers file not readable", extra={"reason": str(error)})
        return (), ()
    return _read(NodeState, plain.get("states")), _read(Removal, plain.get("removals"))


def _read(kind: type[R], plain: Plain) -> tuple[R, ...]:
    found = []
    for item in plain if isinstance(plain, list) else []:
        try:
            found.append(from_wire(kind, item))
        except WireError as error:
            log.warning("peer not readable", extra={"reason": error.reason})
    return tuple(found)
