"""stdout is data, stderr is talk. Tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
Paint = Callable[[str], str]


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their widest cell; an empty table still shows its head."""
    for line in table_lines(head, rows):
        click.echo(line)


def table_lines(
    head: Sequence[str], rows: Sequence[Sequence[object]], paint: dict[int, Paint] | None = None
) -> list[str]:
    """`paint`: for some columns, what adds colour to a cell that has its width already."""
    text = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in text) for i in range(len(head))]
    lines = []
    for number, row in enumerate(text):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        cells[-1] = cells[-1].rstrip()
        if paint and number > 0:
            cells = [paint[i](cell) if i in paint else cell for i, cell in enumerate(cells)]
        lines.append("  ".join(cells).rstrip())
    return lines


def age(seconds: float) -> str:
    """As short as it stays exact enough: 0.4s, 12s, 3m05s, 2h10m, 5d03h."""
    whole = int(seconds)
    if whole < 10:
        return f"{seconds:.1f}s"
    if whole < 60:
        return f"{whole}s"
    if whole < 3_600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3_600}h{whole % 3_600 // 60:02}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3_600:02}h"


def millis(value: float | None) -> str:
    """A round trip; "-" when it was never measured."""
    if value is None:
        return "-"
    return f"{value:.2f}ms" if value < 10 else f"{value:.0f}ms"


def without_password(url: str) -> str:
    """A database URL may hold a password, which nobody needs on a screen."""
    head, at, tail = url.rpartition("@")
    scheme, _, user = head.partition("://")
    return f"{scheme}://{user.partition(':')[0]}:***@{tail}" if at and ":" in user else url


def stamp(wall_ms: int) -> str:
    """A wall clock's time, to the second, UTC."""
    return datetime.fromtimestamp(wall_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
