"""The whole run in process and mount namespaces of its own: however it ends, nothing of it is left.

The kernel kills every process of the namespace when its first one dies, mounts go with the last that sees
them, and loop devices with their mounts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

INSIDE = "FABRIC_CHAOS_ENCLOSED"
UNSHARE = (
    "unshare", "--mount", "--propagation", "private", "--pid", "--mount-proc", "--fork", "--kill-child",
)  # fmt: skip


def enclose(argv: Sequence[str]) -> None:
    """Begins this program anew inside, unless it is there. Needs root."""
    if os.environ.get(INSIDE) != "1":
        command = [*UNSHARE, sys.executable, "-m", "tests.chaos", *argv]
        os.execvpe(command[0], command, os.environ | {INSIDE: "1"})  # no shell is the point
