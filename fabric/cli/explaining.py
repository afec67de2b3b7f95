"""Explanations of placement as a few lines: where, why there, who refuses, and what would have to change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fabric.cli.output import table_lines

BEST_SHOWN = 3
FAULT_LINES = 5
_UNITS = {"VCPU": "vCPUs", "MEMORY_MB": "MB of memory", "DISK_GB": "GB of disk"}
_OWN = tuple(_UNITS)

Answer = dict[str, Any]


def server_line(found: Answer) -> str:
    """What it is, and where."""
    server = found["server"]
    place = "has no host" if server["host"] is None else f"is on {server['host']}"
    return f"{server['name']} ({server['id']}) is {server['status']} and {place}"


def asked_line(found: Answer) -> str:
    """Of what the answer is, and as of when."""
    request = found["request"]
    needs = request["resources"]
    parts = [f"{needs[name]} {unit}" for name, unit in _UNITS.items() if name in needs]
    parts += [f"{amount} {name}" for name, amount in needs.items() if name not in _OWN]
    parts += [f"{name} required" for name in request["required_traits"]]
    parts += [f"{name} forbidden" for name in request["forbidden_traits"]]
    for key, words in (("availability_zone", "in zone"), ("host", "on host")):
        if request[key] is not None:
            parts.append(f"{words} {request[key]}")
    if request["group"] is not None:
        parts.append(f"in group {request['group']['id']} ({request['group']['policy']})")
    parts += [f"{name}={','.join(values)}" for name, values in request["hints"].items()]
    return f"asked for: {', '.join(parts)}; by what is known at index {found['index']}, {found['time']}"


def unread_lines(found: Answer) -> list[str]:
    """Hints that nobody reads, and extra specs likewise."""
    specs = [
        f"extra spec {each} is not understood and counts for nothing"
        for each in found["extra_specs_not_understood"]
    ]
    return specs + [
        f"the hint {name} is not in force: no filter that reads it is on"
        for name in found["hints_not_in_force"]
    ]


def fault_lines(found: Answer) -> list[str]:
    fault = found["server"]["fault"]
    if fault is None:
        return []
    details = [f"    {line}" for line in (fault["details"] or "").splitlines()[:FAULT_LINES]]
    return [f"its fault, of {fault['created']}: {fault['message']}", *details]


def move_lines(found: Answer) -> list[str]:
    """Its newest move, if that went wrong."""
    move = found["failed_move"]
    if move is None:
        return []
    said, *more = move["message"].splitlines()
    to = f" to {move['to']}" if move["to"] else ""
    way = f"from {move['from']}{to}, of {move['created']}"
    head = f"its {move['kind']} {way}, ended as {move['status']}: {said}"
    return [head, *(f"    {line}" for line in more[:FAULT_LINES])]


def failure_lines(found: Answer) -> list[str]:
    """Builds of it that failed, and so where it is not tried again."""
    return [f"its build failed on {each['host']}: {each['message']}" for each in found["request"]["failures"]]


def best_lines(found: Answer, also: str | None = None) -> list[str]:
    """The hosts that fit, the best first, with what each weigher gave; and `also` this one."""
    fitting = [each for each in found["verdicts"] if each["fits"]]
    shown = fitting[:BEST_SHOWN] + [each for each in fitting[BEST_SHOWN:] if each["host"] == also]
    if not shown:
        return []
    rows = [(each["host"], f"{each['weight']:.3f}", weights(each)) for each in shown]
    lines = table_lines(("FITS", "WEIGHT", "OF IT"), rows)
    left = found["fitting"] - len(shown)
    return [*lines, f"and {left} more"] if left > 0 else lines


def weights(verdict: Answer) -> str:
    told = [
        f"{name.removesuffix('Weigher')} {weight:+.3f}"
        for name, weight in verdict["weights"].items()
        if weight
    ]
    return ", ".join(told) or "-"


def refused_lines(found: Answer) -> list[str]:
    """One line a filter and reason."""
    if not found["refused"]:
        return []
    rows = [
        (each["filter"], each["hosts"], each["reason"], "; ".join(map(_nearest, each["nearest"])))
        for each in found["refused"]
    ]
    return table_lines(("REFUSED BY", "HOSTS", "WHY", "NEAREST"), rows)


def _nearest(near: Answer) -> str:
    return f"{near['host']} {lack(near)}"


def lack(refusal: Answer) -> str:
    if refusal["needed"] is None or refusal["free"] is None:
        return str(refusal["remark"])
    unit = f" {refusal['unit']}" if refusal.get("unit") else ""
    return f"needs {refusal['needed']}{unit}, {max(0, refusal['free'])} free"


def change_lines(found: Answer) -> list[str]:
    """What would have to be otherwise: each was tried."""
    return [f"it {each['text']} (then on {each['host']})" for each in found["would_fit_if"]]


def sections(*parts: Sequence[str]) -> list[str]:
    """With an empty line between those that say something."""
    lines: list[str] = []
    for part in parts:
        if part:
            lines += ["", *part] if lines else part
    return lines
