"""What level 3 adds: moves of servers, what servers have of hosts' cells and devices, and shelving. Made
by `revisions/r0003_moves.py`.

Whoever reads these tables asks first whether the rows are at level 3 (`fabric/store/query/level.py`).
"""

from fabric.store.tables.level3.base import LEVEL, level3_metadata
from fabric.store.tables.level3.grants import counts, server_grants
from fabric.store.tables.level3.moves import moves
from fabric.store.tables.level3.shelved import shelved_servers

__all__ = ["LEVEL", "counts", "level3_metadata", "moves", "server_grants", "shelved_servers"]
