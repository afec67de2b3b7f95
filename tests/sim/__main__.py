"""Tells the story of one seed: python -m tests.sim [control] SEED, or python -m tests.sim membership SEED"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.sim.control_life import lived
from tests.sim.membership_life import Life


def main(arguments: list[str]) -> None:
    *kind, seed = arguments
    if kind == ["membership"]:
        world = Life(int(seed), traced=True, told=True).live()
        assert world.trace is not None
        print(f"trace {world.trace.digest} over {world.trace.length} frames and effects")
    elif kind in ([], ["control"]):
        with tempfile.TemporaryDirectory(prefix="fabric-sim-") as folder:
            lived(int(seed), Path(folder))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
