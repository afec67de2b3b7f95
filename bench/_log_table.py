"""The figures of `bench/log.py` as tables for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def table(report: dict[str, Any]) -> str:
    lines = [_head(report)]
    for question in ("commits", "creates"):
        if question in report:
            lines += ["", *_aligned([["", *TITLES], *_rates(question, report[question])])]
    if "failover" in report:
        lines += ["", f"no answers for, ms (p50, worst of {report['failover']['kills']})"]
        lines += _aligned([*_gone(report["failover"])])
    if "starts" in report:
        lines += ["", f"starts with {report['starts']['servers']:,} servers in the tables"]
        lines += _aligned([*_starts(report["starts"])])
    return "\n".join([*lines, "", *NOTES])


TITLES = ("in flight", "a second", "least - most", "p50 ms", "p99 ms", "leader's or client's CPU, RSS MB")
NOTES = (
    "log only: voters whose state machine does nothing. one row: the same command, folded and answered.",
    "etcd's client speaks JSON in a Python process of its own; who proposes to voters is in the leader's.",
)


def _head(report: dict[str, Any]) -> str:
    machine = report["machine"]
    return (
        f"log, {report['commit']}: {machine['cpus']} processors, load {machine['load'][0]:.1f} before the "
        f"start, Python {machine['python']}, etcd {report['etcd_version'] or 'not installed'}; median of "
        f"{report['repeats']} runs of {report['seconds']} s each"
    )


def _rates(question: str, systems: dict[str, Any]) -> list[list[str]]:
    rows: list[list[str]] = []
    for name, figures in systems.items():
        if "absent" in figures:
            rows.append([f"{question}, {name}", figures["absent"]])
            continue
        for in_flight, one in figures.items():
            rate, wait = one["per_s"], one["wait_ms"]
            rows.append(
                [
                    f"{question}, {name}",
                    in_flight,
                    f"{rate['median']:,.0f}",
                    f"{rate['min']:,.0f} - {rate['max']:,.0f}",
                    f"{wait['p50']}",
                    f"{wait['p99']}",
                    _beside(one),
                ]
            )
    return rows


def _gone(figures: dict[str, Any]) -> Iterator[list[str]]:
    for name in ("voters", "etcd"):
        for way, times in figures[name].items():
            yield [f"{name}, {way}", *([times] if way == "absent" else _middle_and_worst(times))]


def _starts(figures: dict[str, Any]) -> Iterator[list[str]]:
    for what in ("cold_start", "restart"):
        for since, times in figures[what].items():
            yield [f"{what}, {since}, ms", *_middle_and_worst(times)]
    for name, value in figures["newcomer"].items():
        yield [f"newcomer, {name}", f"{value:,}", ""]


def _middle_and_worst(times: dict[str, float]) -> list[str]:
    return [f"{times['p50']:,}", f"{times['max']:,}"]


def _beside(one: dict[str, Any]) -> str:
    if "client_cpu" in one:
        return f"{one['client_cpu']:.2f}"
    if "voters" not in one:
        return ""
    busiest = max(one["voters"], key=lambda voter: float(voter["cpu_s"]))
    return f"{busiest['cpu_s']} s, {busiest['rss_mb']}"


def _aligned(rows: list[list[str]]) -> list[str]:
    width = max(len(row) for row in rows)
    whole = [row for row in rows if len(row) == width]
    widths = [max(len(row[at]) for row in whole) for at in range(width)]
    return ["  ".join(text.ljust(widths[at]) for at, text in enumerate(row)).rstrip() for row in rows]
