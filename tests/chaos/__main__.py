"""The chaos suite as a command: a line a round, then the outcomes as JSON; exit status 1 when one of them
is bad."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.bed import worries
from tests.chaos.beds import DEV, MACHINES_OWN, made_bed, why_no_machines
from tests.chaos.enclosure import enclose
from tests.chaos.nemeses import CLOCK, RECOVER, possible
from tests.chaos.run import Plan, run, shared_beds
from tests.chaos.verdict import Outcome
from tests.fixtures import postgres_cluster

ENGINES = ("embedded", "postgresql")


def main() -> int:
    options = _options()
    if options.bed == MACHINES_OWN:
        enclose(sys.argv[1:])
    outcomes = [
        _run(engine, options, nemeses, rounds)
        for engine in options.engine.split(",")
        for nemeses, rounds in _parts(engine, options)
    ]
    print(json.dumps([outcome.as_json() for outcome in outcomes], indent=2))
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


def _parts(engine: str, options: argparse.Namespace) -> list[tuple[list[str], int]]:
    able = possible(has_machines=options.bed == MACHINES_OWN, has_voters=engine == "embedded")
    asked = options.nemesis.split(",") if options.nemesis else able
    nemeses = [name for name in asked if name in able]
    if not nemeses:
        sys.exit(f"none of {', '.join(asked)} is possible with {engine} here; possible: {', '.join(able)}")
    return shared_beds(nemeses, options.rounds)


def _run(engine: str, options: argparse.Namespace, nemeses: Sequence[str], rounds: int) -> Outcome:
    plan = Plan(
        nemeses=nemeses,
        rounds=rounds,
        every_s=options.every_s,
        hold_s=options.hold_s,
        rate=options.rate,
        seed=options.seed,
        engine=engine,
    )
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:7.1f} s] {text}", file=sys.stderr, flush=True)

    keep = None
    if options.directory is not None:
        keep = options.directory / f"{engine}-{nemeses[0]}"
        keep.mkdir(parents=True)
    say(f"{engine}: {', '.join((*plan.acts, *((RECOVER,) if RECOVER in nemeses else ())))}")
    with made_bed(
        options.bed,
        engine,
        say,
        keep=keep,
        has_own_clocks=CLOCK in nemeses,
        in_process=options.in_process,
    ) as bed:
        outcome = run(bed, plan, say)
        if not outcome.is_good:
            for name in bed.names:
                say("\n".join(worries(bed, name)))
    say(f"{engine}: {'good' if outcome.is_good else 'BAD'}")
    return outcome


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--bed", choices=(MACHINES_OWN, DEV), default=MACHINES_OWN if os.geteuid() == 0 else DEV
    )
    parser.add_argument("--engine", default=",".join(ENGINES), help="one, or several with commas")
    parser.add_argument(
        "--nemesis", default="", help="names with commas; all that are possible if none is given"
    )
    parser.add_argument("--rounds", type=int, help="in all; each nemesis once if not given")
    parser.add_argument(
        "--every-s", type=float, default=20.0, help="between the beginnings of two rounds, at least"
    )
    parser.add_argument("--hold-s", type=float, default=8.0, help="how long harm lasts")
    parser.add_argument("--rate", type=float, default=50.0, help="calls a second, of all clients")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--in-process", action="store_true", help="voters in their agents")
    parser.add_argument("--directory", type=Path, help="an empty one for the agents' files, which stay")
    options = parser.parse_args()
    known = possible(has_machines=True, has_voters=True)
    for name in filter(None, options.nemesis.split(",")):
        if name not in known:
            parser.error(f"no nemesis {name}; there are: {', '.join(known)}")
    for engine in options.engine.split(","):
        if engine not in ENGINES:
            parser.error(f"no engine {engine}; there are: {', '.join(ENGINES)}")
    reason = why_no_machines() if options.bed == MACHINES_OWN else ""
    if not reason and "postgresql" in options.engine.split(","):
        reason = postgres_cluster.why_not() or ""
    if reason:
        parser.error(f"{reason} (make setup, as root)")
    return options


if __name__ == "__main__":
    sys.exit(main())
