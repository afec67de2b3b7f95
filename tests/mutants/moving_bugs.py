"""Bugs of what makes a fabric's rows those of another engine, or of another life."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm

S = Harm.SAFETY

MOVED, RECOVER = "tests/unit/store/test_rows_moved.py", "tests/unit/store/test_recover.py"


def bug(name: str, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=S, file=f"fabric/store/{file}", old=old, new=new, tests=tests)


MOVING_BUGS = (
    bug(
        "rows that were brought are not compared with those in the file",
        "rows_import.py",
        "    if carried_digest(connection, level) != reader.sum.digest:\n",
        "    if False:\n",
        MOVED,
    ),
    bug(
        "rows may be missing from a file that is brought",
        "rows_file.py",
        "                    if (count, of_rows, of_file) != (rows, digest.digest(), before):\n",
        "                    if False:\n",
        MOVED,
    ),
    bug(
        "rows are brought over others that are there",
        "rows_import.py",
        "    if state.exists():\n",
        "    if False:\n",
        MOVED,
    ),
    bug(
        "a stopped voter's log is left out of what is exported of it",
        "recover.py",
        "        folded.fold_in_groups(restored.entries[folded.mark.index - restored.mark.index :])\n",
        "",
        MOVED,
        RECOVER,
    ),
    bug(
        "a new life begins with the fences of the one before",
        "new_life.py",
        "    connection.execute(update(t.role_grants).values(fence=index))\n",
        "",
        MOVED,
        RECOVER,
    ),
    bug(
        "a new life has the number of the one before",
        "new_life.py",
        "    return max(old_incarnation + 1, now_ms // 1_000), ",
        "    return max(old_incarnation, now_ms // 1_000), ",
        MOVED,
        RECOVER,
    ),
)
