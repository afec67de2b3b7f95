"""What level 3 adds: moves of servers, and what servers have of hosts' cells and devices. Made
by `revisions/r0003_moves.py`.

Whoever reads these tables asks first whether the rows are at level 3 (`fabric/store/query/level.py`).
"""

from fabric.store.tables.level3.base import LEVEL, level3_metadata
from fabric.store.tables.level3.grants import counts, server_grants
from fabric.store.tables.level3.moves import moves

__all__ = ["LEVEL", "counts", "level3_metadata", "moves", "server_grants"]
