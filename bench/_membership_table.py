"""The figures of `bench/membership.py` as one table for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench._membership_bars import misses
from bench._membership_plan import STARVED

Figures = dict[str, Any]  # of one system at one size: row -> plain values
Cell = Callable[[Figures], str]


def table(report: dict[str, Any]) -> str:
    """Rows are what was measured; columns are systems at their sizes; the last says what is to be reached."""
    columns = [
        (system, size, figures)
        for system, sizes in report["systems"].items()
        for size, figures in sorted(sizes.items(), key=lambda item: int(item[0]))
    ]
    lines = [["", *(f"{system} {size}" for system, size, _ in columns), "to reach"]]
    for title, cell, bar in LINES:
        cells = [_cell(cell, figures) for _, _, figures in columns]
        if any(text != NOTHING for text in cells):
            lines.append([title, *cells, bar])
    missed = [f"Missed: {line}." for line in misses(report["systems"])]
    return "\n".join([_head(report), "", *_aligned(lines), "", *missed, *NOTES])


NOTHING = "-"
NOTES = (
    "Times in seconds, until the last agent knew: median / worst. !n: in n runs somebody never learned it.",
    "An update is carried when 99 % of agents know it, or the same node's newer one, within 2 s; ours are"
    " said by the agents with their own budget off, Serf's ordered from outside.",
    "serf, mesh, agent: real processes; sim: the same core in virtual time, each event costing 1 ms, and"
    " 1 ms more for each member it makes known.",
)


def _head(report: dict[str, Any]) -> str:
    machine = report["machine"]
    kind = "a quick look, not a measurement" if report["quick"] else "full run"
    return (
        f"membership, {report['commit']}, {kind}, seed {report['seed']}: {machine['cpus']} processors, "
        f"load {machine['load'][0]:.1f} before the start, Python {machine['python']}, "
        f"Serf {report['serf_version'] or 'not installed'}\n{report['network']}"
    )


def _times(row: str) -> Cell:
    def cell(figures: Figures) -> str:
        times = figures[row]
        lost = f" !{times['stragglers']}" if times["stragglers"] else ""
        return f"{_seconds(times['median_s'])} / {_seconds(times['worst_s'])}{lost}"

    return cell


def _busy(row: str) -> Cell:
    """Empty where nobody looked."""

    def cell(figures: Figures) -> str:
        share = figures[row].get("busy")
        return NOTHING if share is None else f"{share:.0%}"

    return cell


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _false_downs(figures: Figures) -> str:
    return " / ".join(str(figures[name]["false_down"]) for name in STARVED)


def _starved_downs(figures: Figures) -> str:
    return " / ".join(str(figures[name]["starved_down"]) for name in STARVED)


def _idle(field: str, factor: float = 1.0) -> Cell:
    return lambda figures: f"{figures['idle'][field] * factor:.2f}"


def _came(figures: Figures) -> str:
    """At the highest rate that was carried."""
    tried = figures["updates"]["tried"]
    shares = [each["came_share"] for each in tried if each["rate_per_s"] == figures["updates"]["best_per_s"]]
    return f"{shares[0]:.0%}" if shares else NOTHING


LINES: tuple[tuple[str, Cell, str], ...] = (
    ("mass join -> all list all", _times("join"), "N=100: <= 3, no !"),
    ("  processors busy meanwhile", _busy("join"), "(100 %: the machine's limit)"),
    ("agent killed -> everyone knows", _times("kill"), "<= 1.5, flat in N"),
    ("host silent -> everyone knows", _times("silent"), "<= 4.5, flat in N"),
    ("half killed -> survivors agree", _times("half"), "<= 6"),
    ("  processors busy meanwhile", _busy("half"), ""),
    ("restart, same id -> all", _times("restart"), "<= 0.5"),
    ("record (300 B) -> all", _times("record"), "N=100: 0.05 / 0.15"),
    ("  processors busy meanwhile", _busy("record"), ""),
    ("false DOWN, starved 4x8s / 4x2s / 8x16s", _false_downs, "0 / 0 / 0"),
    ("starved ones called DOWN, the same", _starved_downs, "(told, not judged)"),
    ("DOWN after 8 s with the GIL held", lambda figures: str(figures["stall"]["false_down"]), "0"),
    ("updates/s of 500 B, whole fabric", lambda f: f"{f['updates']['best_per_s']:g}", ">= 500"),
    ("  of these, values not superseded", _came, "(told, not judged)"),
    ("idle: KB/s sent per node", _idle("sent_bytes_per_s", 1 / 1_000), "<= 3"),
    ("idle: packets/s sent per node", _idle("sent_packets_per_s"), ""),
    ("idle: CPU %", _idle("cpu_percent"), "<= 0.6"),
    ("idle: PSS MB", _idle("pss_mb"), "<= 40"),
)


def _cell(cell: Cell, figures: Figures) -> str:
    try:
        return cell(figures)
    except KeyError:  # not measured in this column
        return NOTHING


def _aligned(lines: list[list[str]]) -> list[str]:
    widths = [max(len(text) for text in column) for column in zip(*lines, strict=True)]
    rows = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return [rows[0], rule, *rows[1:]]
