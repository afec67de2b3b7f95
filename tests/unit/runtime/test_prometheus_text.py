"""The exposition format, read back by a strict parser."""

from __future__ import annotations

import math

import pytest

from fabric.runtime.prometheus_text import Family, Kind, Sample, by_label, counter, gauge, render
from tests.fixtures.prometheus_parser import parse_strictly


def test_what_is_written_is_what_is_read() -> None:
    text = render(
        [
            counter("fabric_things_total", "Things, counted.", 3),
            gauge("fabric_level", "A level.", 0.25),
            by_label(Kind.GAUGE, "fabric_states", "States.", "state", {"b": 2, "a": 1}),
        ]
    )
    assert text.splitlines()[-2:] == ['fabric_states{state="a"} 1', 'fabric_states{state="b"} 2']
    read = parse_strictly(text)
    assert read["fabric_things_total"].value() == 3
    assert read["fabric_things_total"].kind == "counter"
    assert read["fabric_level"].value() == 0.25
    assert read["fabric_states"].value(state="b") == 2


@pytest.mark.parametrize("word", ['a"b', "a\\b", "a\nb", "\\n", "ü", '",x="', ""])
def test_any_label_survives(word: str) -> None:
    read = parse_strictly(render([by_label(Kind.GAUGE, "x", "Help\nwith \\ all.", "name", {word: 1})]))
    assert read["x"].value(name=word) == 1


def test_several_labels_and_odd_numbers() -> None:
    samples = (Sample(math.inf, {"a": "1", "b": "2"}), Sample(1e-9, {"a": "2", "b": "2"}))
    read = parse_strictly(render([Family("x", Kind.GAUGE, "Help.", samples)]))
    assert read["x"].value(a="1", b="2") == math.inf
    assert read["x"].value(a="2", b="2") == 1e-9


def test_a_family_without_series_is_no_error() -> None:
    assert (
        parse_strictly(render([by_label(Kind.COUNTER, "x_total", "Help.", "a", {})]))["x_total"].series == {}
    )


@pytest.mark.parametrize(("name", "kind"), [("x", Kind.COUNTER), ("x_total", Kind.GAUGE), ("X", Kind.GAUGE)])
def test_names_keep_the_conventions(name: str, kind: Kind) -> None:
    with pytest.raises(AssertionError):
        Family(name, kind, "Help.", ())


@pytest.mark.parametrize(
    "text",
    [
        "x 1\n",
        "# HELP x a\n# TYPE x gauge\nx 1",
        "# HELP x a\n# TYPE x gauge\nx 1\nx 1\n",
        "# HELP x a\n# TYPE x counter\nx 1\n",
        "# HELP x_total a\n# TYPE x_total counter\nx_total -1\n",
        '# HELP x a\n# TYPE x gauge\nx{a="1""} 1\n',
        '# HELP x a\n# TYPE x gauge\nx{a="1",a="2"} 1\n',
        "# HELP x a\n# TYPE x gauge\n\n",
        "# HELP x a\n# TYPE x gauge\n# HELP y a\n# TYPE y gauge\nx 1\n",
    ],
)
def test_the_parser_is_strict(text: str) -> None:
    with pytest.raises(AssertionError):
        parse_strictly(text)
