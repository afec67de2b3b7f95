"""How many virtual seconds of a simulated fabric pass in one second of one core?

Back of an envelope: a node beats once a second to 8 neighbours, so 500 nodes deliver 4,000 beats a virtual
second; at 20 us for each, with its event and the core's answer, and 60 us to make one of the 500 beats, that
is 0.11 s: about 9 virtual seconds a second. The bar of issue 3: an hour of 500 nodes in under 10 minutes, so
at least 6.

    python bench/simulator.py [--nodes 100 500] [--virtual-seconds 60] [--profile]

Prints one JSON object; `hour_s` is what a virtual hour would take. Settling the fabric is measured apart.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import platform
import pstats
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._spread import commit
from tests.sim.membership_scenes import SETTLE_MS, names
from tests.sim.membership_world import World

SEED = 1
BAR_HOUR_S = 600


def measured(count: int, virtual_s: int) -> dict[str, object]:
    """Times are of this process's processor, so that a busy machine changes little."""
    world = World(SEED)
    began = time.process_time()
    world.settle(names(count))
    world.run_until(world.is_at_rest, within_ms=SETTLE_MS, step_ms=250)
    world.run(3_000)
    gc.collect()
    gc.freeze()  # a million objects that stay: the collector would look at them again and again
    settled = time.process_time()
    frames = sum(world.network.sent.values())
    world.run(virtual_s * 1_000)
    took_s = time.process_time() - settled
    frames = sum(world.network.sent.values()) - frames
    return {
        "nodes": count,
        "settle_cpu_s": round(settled - began, 1),
        "virtual_s": virtual_s,
        "cpu_s": round(took_s, 2),
        "virtual_s_per_cpu_s": round(virtual_s / took_s, 2),
        "us_per_frame": round(took_s / frames * 1e6, 1),
        "hour_s": round(3_600 * took_s / virtual_s),
        "is_within_bar": 3_600 * took_s / virtual_s < BAR_HOUR_S,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--virtual-seconds", type=int, default=60)
    parser.add_argument("--profile", action="store_true", help="the 30 dearest functions on standard error")
    options = parser.parse_args()
    profile = cProfile.Profile()
    if options.profile:
        profile.enable()
    runs = [measured(count, options.virtual_seconds) for count in options.nodes]
    if options.profile:
        profile.disable()
        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(30)
    print(
        json.dumps(
            {
                "question": "virtual seconds of a simulated fabric per second of one core",
                "commit": commit(),
                "machine": platform.machine(),
                "python": platform.python_version(),
                "seed": SEED,
                "bar": f"an hour of 500 nodes in under {BAR_HOUR_S} s",
                "runs": runs,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
