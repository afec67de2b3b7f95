"""What level 3 adds: moves of servers from host to host. Made by `revisions/r0003_moves.py`.

Whoever reads these tables asks first whether the rows are at level 3 (`fabric/store/query/level.py`).
"""

from fabric.store.tables.level3.base import LEVEL, level3_metadata
from fabric.store.tables.level3.moves import moves

__all__ = ["LEVEL", "level3_metadata", "moves"]
