"""The chaos suite as a command: a line a round, then the outcome as JSON; exit status 1 when it is bad."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--every-s", type=float, default=20.0, help="between one kill and the next")
    parser.add_argument("--rate", type=float, default=50.0, help="calls a second, of all clients")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--directory", type=Path, help="kept afterwards; else a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fabric-chaos-") as made:
        directory = options.directory or Path(made) / "fabric"
        outcome = run(
            directory,
            nodes=options.nodes,
            rounds=options.rounds,
            every_s=options.every_s,
            rate=options.rate,
            seed=options.seed,
            say=lambda text: print(text, file=sys.stderr, flush=True),
            keep=options.directory is not None,
        )
    print(json.dumps(outcome.as_json(), indent=2))
    return 0 if outcome.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
