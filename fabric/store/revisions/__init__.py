"""The revisions of the rows, one file each, by the level that each leads to.

The baseline is level 1: what `fabric.store.schema` makes, and what its steps make of tables older than
levels. How to add the one that leads to level N:

1. `rNNNN_what.py` here: `REVISION = Revision("NNNN_what", upgrade)`, with `upgrade(op)` in Alembic's
   operations. Enter it below, and raise `THIS_PROGRAM.highest` (`fabric/core/voters/levels.py`) to N.
2. *Expand only*: add tables, nullable columns or columns with a constant default, indices. Programs of level
   N-1 are running beside it. What is no longer used is removed by a revision one release later.
3. `fabric/store/tables/` tells the shape at the *lowest* level that this program can run at, and every log is
   folded from that shape on. What level N adds is in `tables/levelN/`, with a metadata of its own, and is
   used only for commands of level N, and by queries that have asked for the level; it moves into `tables/` in
   the release whose lowest level is N.
4. Rows that must be filled anew come in commands of at most 1,000 rows each, which whoever leads proposes
   one after the other: never in the revision, which holds up every write while it runs. No such command is
   there yet.
"""

from __future__ import annotations

from collections.abc import Mapping

from fabric.store.revision import Revision
from fabric.store.revisions import r0002_placement, r0003_moves

REVISIONS: Mapping[int, Revision] = {2: r0002_placement.REVISION, 3: r0003_moves.REVISION}
