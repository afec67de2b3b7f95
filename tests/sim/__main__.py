"""Tells the story of one seed of the control path: python -m tests.sim SEED"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.sim.control_life import lived

if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="fabric-sim-") as folder:
        lived(int(sys.argv[1]), Path(folder))
