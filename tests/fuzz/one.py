"""Fuzzes one target in this process: `python -m tests.fuzz.one TARGET DIRECTORY CPU_SECONDS [RSS_MB]`.

DIRECTORY gets the corpus, the crashers (`crash-*`) and `stats.json`. Exit 0 when the processor time is spent
without a crash; libFuzzer's own exit codes otherwise (77 a crash, 71 memory, 70 time).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["proto", "fabric"]):
    from proto import records
    from tests.fuzz.mutate import mutant
    from tests.fuzz.targets import TARGETS, Target

RUN_CPU_SECONDS_MAX = 5.0  # of one input; a bounded one takes milliseconds
WALL_SECONDS_MAX = 3_600  # only for what hangs without using the processor
CHECK_EACH = 64  # runs between two looks at the clock
STRUCTURED_SHARE = 0.6  # of mutants; the rest are libFuzzer's


def fuzz(name: str, directory: Path, cpu_seconds: float, rss_mb: int) -> None:
    target = TARGETS[name]
    corpus = directory / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(target.seeds()):
        (corpus / f"seed-{i}").write_bytes(seed)
        target.run(seed)
    instrument_made_code()
    signal.signal(signal.SIGVTALRM, too_slow)
    started = time.process_time()
    runs = 0

    def run(data: bytes) -> None:
        nonlocal runs
        runs += 1
        signal.setitimer(signal.ITIMER_VIRTUAL, RUN_CPU_SECONDS_MAX)
        target.run(data)
        if runs % CHECK_EACH == 0 and time.process_time() - started >= cpu_seconds:
            tell(directory, runs, time.process_time() - started)
            sys.stdout.flush()
            os._exit(0)  # libFuzzer's own ways out are counted in wall time or in runs

    arguments = [
        sys.argv[0],
        str(corpus),
        f"-max_len={target.bytes_max}",
        f"-rss_limit_mb={rss_mb}",
        f"-timeout={WALL_SECONDS_MAX}",
        f"-report_slow_units={WALL_SECONDS_MAX}",
        f"-artifact_prefix={directory}/",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    if target.is_plain:
        atheris.Setup(arguments, run, custom_mutator=structured(target, name))
    else:
        atheris.Setup(arguments, run)
    atheris.Fuzz()


def structured(target: Target, name: str):  # type: ignore[no-untyped-def]
    head = 1 if name.endswith("_messages") else 0

    def mutate(data: bytes, size_max: int, seed: int) -> bytes:
        rng = Random(seed)
        if rng.random() >= STRUCTURED_SHARE:
            return atheris.Mutate(data, size_max)
        changed = mutant(data, rng, head=head)
        return changed if len(changed) <= size_max else data[:size_max]

    return mutate


def instrument_made_code() -> None:
    """The readers and writers of records are made at run time, after the import hook has passed."""
    for function in (*records._readers.values(), *records._writers.values()):
        if function.__code__.co_filename.startswith("<record "):
            atheris.instrument_func(function)


def too_slow(signum: int, frame: object) -> None:
    raise AssertionError(f"one input took more than {RUN_CPU_SECONDS_MAX} s of processor time")


def tell(directory: Path, runs: int, cpu_seconds: float) -> None:
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    stats = {
        "runs": runs,
        "cpu_seconds": round(cpu_seconds, 1),
        "peak_rss_mb": peak_mb,
        "corpus": len(list((directory / "corpus").iterdir())),
    }
    (directory / "stats.json").write_text(json.dumps(stats))


if __name__ == "__main__":
    fuzz(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 512)
