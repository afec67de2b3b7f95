"""Repeating a view until interrupted: redrawn in place on a terminal, appended where nobody looks.

Colour never says what the text does not: states are written out, NO_COLOR (no-color.org) switches it off.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import click

HOME = "\x1b[H"
CLEAR = "\x1b[2J"
CLEAR_LINE_END = "\x1b[K"
CLEAR_BELOW = "\x1b[J"
_GREEN, _YELLOW, _RED, _PLAIN = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[0m"
_COLOURS = {
    "alive": _GREEN,
    "suspect": _YELLOW,
    "stalled": _YELLOW,
    "leaving": _YELLOW,
    "agent_down": _RED,
    "host_down": _RED,
    "error": _RED,
    "warning": _YELLOW,
}


def is_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"


def has_colour() -> bool:
    return is_terminal() and not os.environ.get("NO_COLOR")


def coloured(cell: str) -> str:
    """A state or severity in its colour, where colours are wanted."""
    words = cell.split()
    colour = _COLOURS.get(words[0]) if words else None
    return f"{colour}{cell}{_PLAIN}" if colour and has_colour() else cell


def repeat(show: Callable[[], None], *, interval_s: float) -> None:
    """Calls `show` again and again; Ctrl-C ends it, which is how it is meant to end."""
    try:
        while True:
            began = time.monotonic()
            show()
            time.sleep(max(0.0, interval_s - (time.monotonic() - began)))
    except KeyboardInterrupt:
        if is_terminal():
            click.echo()


class Redrawn:
    """`draw` puts lines where the last ones were. Lines are cut to the window, so that none wraps and moves
    the others; colours end within their cell and do not count."""

    def __init__(self) -> None:
        self._is_first = True

    def draw(self, lines: Sequence[str]) -> None:
        if not is_terminal():
            for line in lines:
                click.echo(line)
            sys.stdout.flush()
            return
        width, height = shutil.get_terminal_size()
        shown = list(lines[: height - 1])
        if len(lines) > len(shown):
            shown[-1] = f"... and {len(lines) - len(shown) + 1} more"
        body = "".join(f"{_cut(line, width)}{CLEAR_LINE_END}\n" for line in shown)
        sys.stdout.write((CLEAR if self._is_first else "") + HOME + body + CLEAR_BELOW)
        sys.stdout.flush()
        self._is_first = False


def _cut(line: str, width: int) -> str:
    """At most `width` characters that show."""
    out, shown, i = [], 0, 0
    while i < len(line):
        if line[i] == "\x1b":
            end = line.index("m", i) + 1
            out.append(line[i:end])
            i = end
            continue
        if shown < width:
            out.append(line[i])
            shown += 1
        i += 1
    return "".join(out)


def now_text() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
