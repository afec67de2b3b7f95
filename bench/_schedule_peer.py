"""Nova's scheduler beside ours: asked in its own Python, and whether both decide alike."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import _schedule_fleet as fleets
from bench import _schedule_ours as ours

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv-nova"
SCRIPT = Path(__file__).with_name("_schedule_nova.py")
DEADLINE_S = 3_600
TOLD_MAX = 10  # requests that both decide otherwise


def python_of(venv: Path) -> Path | None:
    """None: Nova is not installed there."""
    found = venv / "bin" / "python"
    return found if found.exists() else None


def asked(python: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """What Nova's scheduler answers (`_schedule_nova.py`). Raises RuntimeError with what it printed."""
    done = subprocess.run(
        [python, SCRIPT, json.dumps(wanted)], capture_output=True, text=True, timeout=DEADLINE_S
    )
    if done.returncode:
        raise RuntimeError(f"{SCRIPT.name} ended with {done.returncode}:\n{done.stderr}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def agreement(
    seed: int, hosts: int, count: int, theirs: Sequence[tuple[list[str], list[str]]]
) -> dict[str, Any]:
    """Of all requests: for how many the same hosts pass; and for how many ours chooses a host than which none
    is heavier for Nova."""
    fleet = fleets.fleet_of(seed, hosts)
    requests = fleets.requests_of(seed, count, fleet)
    same_hosts, same_choice, differences = 0, 0, []
    for request, (names, choice), (their_names, heaviest) in zip(
        requests, ours.decisions(seed, hosts, count), theirs, strict=True
    ):
        same_hosts += names == their_names
        same_choice += (choice in heaviest) if choice is not None else not heaviest
        if names != their_names:
            differences.append(
                {
                    "request": repr(request),
                    "only_ours": sorted(set(names) - set(their_names))[:TOLD_MAX],
                    "only_nova": sorted(set(their_names) - set(names))[:TOLD_MAX],
                }
            )
    return {
        "hosts": hosts,
        "agree": f"{same_hosts} of {count}",
        "same_choice": f"{same_choice} of {count}",
        "differences": differences[:TOLD_MAX],
    }
