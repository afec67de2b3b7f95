"""The figures of `bench/schedule.py` as tables for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

TITLES = ("hosts", "p50 us", "p95 us", "p99 us", "least p50 us")


def table(report: dict[str, Any]) -> str:
    lines = [_head(report)]
    ones = [["one placement", *TITLES], *_ones(report)]
    if len(ones) > 1:
        lines += ["", *_aligned(ones)]
    lines += ["", *_rest(report)]
    return "\n".join(lines)


def _head(report: dict[str, Any]) -> str:
    machine = report["machine"]
    version = report.get("nova", {}).get("version", "not measured")
    return (
        f"schedule, {report['commit']}: {machine['cpus']} processors, load {machine['load'][0]:.1f} before "
        f"the start, Python {machine['python']}, Nova {version}; processor time, {report['repeats']} runs"
    )


def _ones(report: dict[str, Any]) -> Iterator[list[str]]:
    names = {
        "cpu_us": "",
        "with_alternates_cpu_us": ", next best beside",
        "few_candidates_cpu_us": ", of {} candidates",
    }
    for system in ("ours", "nova"):
        for hosts, figures in report.get(system, {}).get("one", {}).items():
            for key, name in names.items():
                if key in figures:
                    name = name.format(report[system].get("candidates_max"))
                    yield [f"{system}{name}", f"{int(hosts):,}", *_spread(figures[key])]


def _rest(report: dict[str, Any]) -> Iterator[str]:
    for system in ("ours", "nova"):
        figures = report.get(system, {})
        if "absent" in figures:
            yield f"{system}: {figures['absent']}"
        if "at_once" in figures:
            yield f"{system}, at once: {_at_once(figures['at_once'])}"
    if "ours" in report:
        cost, words = report["ours"]["table"], report["ours"]["words"]
        held = cost["bytes_a_host"]
        yield (
            f"table of {cost['hosts']:,}: {held['facts']} bytes a host of facts and {held['table']} of "
            f"columns, made in {cost['build_cpu_ms']['median']} ms, one host's news in "
            f"{cost['put_cpu_us']['p50']} us"
        )
        yield ", ".join(
            f"{key.removesuffix('_cpu_ms').replace('_', ' ')} {words[key]['median']} ms"
            for key in words
            if key != "hosts"
        )
    if "agreement" in report.get("nova", {}):
        both = report["nova"]["agreement"]
        yield (
            f"the same of {both['hosts']} hosts pass: {both['agree']} requests; "
            f"ours chooses one of Nova's heaviest: {both['same_choice']}"
        )
        for each in both["differences"]:
            yield f"  {each['request']}: only ours {each['only_ours']}, only Nova {each['only_nova']}"


def _at_once(figures: dict[str, Any]) -> str:
    ms = figures["cpu_ms"]
    took = ms["median"] if isinstance(ms, dict) else ms
    rate = figures["requests"] / took * 1_000
    return (
        f"{figures['requests']:,} requests among {figures['hosts']:,} hosts in {took:,.0f} ms "
        f"({rate:,.0f} a second), {figures['placed']:,} placed"
    )


def _spread(figures: dict[str, float]) -> list[str]:
    least = figures.get("p50_least")
    shown = [f"{figures[name]:,.0f}" for name in ("p50", "p95", "p99")]
    return [*shown, "" if least is None else f"{least:,.0f}"]


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return ["  ".join(text.ljust(widths[at]) for at, text in enumerate(row)).rstrip() for row in rows]
