"""Lines fit their window; colours take no room."""

from __future__ import annotations

import os

import pytest

from fabric.cli import screen
from fabric.cli.output import age, millis, table_lines
from fabric.cli.screen import Redrawn


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "is_terminal", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda fallback=(80, 24): os.terminal_size((10, 4)))
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.usefixtures("terminal")
def test_what_is_too_much_is_cut_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    drawn = Redrawn()
    drawn.draw(["0123456789abc", "b", "c", "d", "e"])
    assert capsys.readouterr().out == ("\x1b[2J\x1b[H0123456789\x1b[K\nb\x1b[K\n... and 3 \x1b[K\n\x1b[J")
    drawn.draw(["x"])
    assert capsys.readouterr().out == "\x1b[Hx\x1b[K\n\x1b[J"


@pytest.mark.usefixtures("terminal")
def test_colours_take_no_room_and_always_end(capsys: pytest.CaptureFixture[str]) -> None:
    Redrawn().draw([screen.coloured("host_down 0123456789")])
    assert "\x1b[31mhost_down \x1b[0m\x1b[K" in capsys.readouterr().out


@pytest.mark.usefixtures("terminal")
def test_colour_is_for_states_and_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert screen.coloured("alive  ") == "\x1b[32malive  \x1b[0m"
    assert screen.coloured("h1") == "h1"
    assert screen.coloured("") == ""
    monkeypatch.setenv("NO_COLOR", "1")
    assert screen.coloured("alive") == "alive"


def test_a_painted_table_stays_aligned() -> None:
    lines = table_lines(("A", "B"), [("x", "y"), ("long", "z")], {0: lambda cell: f"<{cell}>"})
    assert lines == ["A     B", "<x   >  y", "<long>  z"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"),
        (9.94, "9.9s"),
        (10, "10s"),
        (59.9, "59s"),
        (185, "3m05s"),
        (7_800, "2h10m"),
        (442_800, "5d03h"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.421, "0.42ms"), (9.994, "9.99ms"), (150.2, "150ms")]
)
def test_round_trips(value: float | None, text: str) -> None:
    assert millis(value) == text
