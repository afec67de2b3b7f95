"""A table of the local socket's rows, shown once or watched."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from fabric.cli import cut_off
from fabric.cli.output import print_json
from fabric.cli.screen import Redrawn, now_text, repeat
from fabric.runtime.local_socket import AgentNotRunningError, LocalClient

WATCH_TIMEOUT_S = 1.5  # a table that is older than two looks must not pass for the present

Row = dict[str, Any]
Choose = Callable[[list[Row], bool], list[Row]]  # the rows, and whether it is the first look


class Look:
    """One question, asked once or again and again."""

    def __init__(
        self,
        client: LocalClient,
        path: str,
        lines: Callable[[Sequence[Row]], list[str]],
        choose: Choose,
        as_json: bool,
    ) -> None:
        """`path` of the local socket gives rows; `choose` those that are wanted, and says at the first look
        what is doubtful about that; `lines` makes them a table."""
        self._client = client
        self._path = path
        self._choose = choose
        self._lines = lines
        self._as_json = as_json
        self._screen = Redrawn()
        self._is_first = True
        self._answered_s = time.monotonic()
        self._answered_at = ""
        self._last: list[str] = []

    def run(self, *, watch: bool, interval_s: float) -> None:
        """Once, or until interrupted."""
        if watch:
            self.once_more()  # a mistake ends it here, with its message
            repeat(self.once_more_or_wait, interval_s=interval_s)
        else:
            self.once()

    def once(self) -> None:
        rows, alone = self._ask(None)
        if alone:
            click.echo(alone, err=True)
        if self._as_json:
            print_json(rows)
        else:
            for line in self._lines(rows):
                click.echo(line)

    def once_more(self, timeout_s: float | None = None) -> None:
        rows, alone = self._ask(timeout_s)
        self._answered_s, self._answered_at = time.monotonic(), now_text()
        if self._as_json:
            kind = self._path.removeprefix("/")
            click.echo(json.dumps({"time": self._answered_at, "isolated": bool(alone), kind: rows}))
        else:
            self._last = [*([alone] if alone else []), *self._lines(rows)]
            self._screen.draw([self._answered_at, *self._last])

    def once_more_or_wait(self) -> None:
        """An agent that restarts or is stuck is worth waiting for: whoever watches, watches for such things.
        The last table stays, and says how old it is."""
        try:
            self.once_more(WATCH_TIMEOUT_S)
        except AgentNotRunningError as error:
            silent_s = time.monotonic() - self._answered_s
            if self._as_json:
                told = {"time": now_text(), "error": str(error), "silent_s": round(silent_s, 1)}
                click.echo(json.dumps(told))
                return
            clock = self._answered_at.partition("T")[2]
            mark = f"no answer for {silent_s:.0f} s; the table is from {clock}"
            advice = f"{error}; asking again until it answers, Ctrl-C ends this"
            self._screen.draw([now_text(), mark, advice, *self._last])

    def _ask(self, timeout_s: float | None) -> tuple[list[Row], str]:
        """The rows, and what must be said when they are only memory."""
        rows = self._client.get(self._path, timeout_s=timeout_s)
        alone = cut_off.notice(self._client, timeout_s=timeout_s)
        rows = self._choose(rows, self._is_first)
        self._is_first = False
        return rows, alone
