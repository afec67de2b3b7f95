"""The revisions of the rows, one file each, by the level that each leads to.

The baseline is level 1: what `fabric.store.schema` makes, and what its steps make of tables older than
levels. There is no revision yet. How to add the one that leads to level N:

1. `rNNNN_what.py` here: `REVISION = Revision("NNNN_what", upgrade)`, with `upgrade(op)` in Alembic's
   operations. Enter it below, and raise `THIS_PROGRAM.highest` (`fabric/core/voters/levels.py`) to N.
2. *Expand only*: add tables, nullable columns or columns with a constant default, indices. Programs of level
   N-1 are running beside it. What is no longer used is removed by a revision one release later.
3. `fabric/store/tables/` tells the shape at the *lowest* level that this program can run at, and every log is
   folded from that shape on. Handlers and queries of level N declare the new tables and columns beside
   themselves, and use them only for commands of level N; they move into `tables/` in the release whose lowest
   level is N.
4. Rows that must be filled anew come in commands of at most 1,000 rows each, which whoever leads proposes
   one after the other: never in the revision, which holds up every write while it runs. No such command is
   there yet.
"""

from __future__ import annotations

from collections.abc import Mapping

from fabric.store.revision import Revision

REVISIONS: Mapping[int, Revision] = {}
