"""Log lines are one JSON object each, fields beside the phrase."""

from __future__ import annotations

import json
import logging

from fabric.runtime.logs import FIELD_CHARS_MAX, JsonFormatter, TextFormatter


def record(**fields: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "x", "levelname": "INFO", "msg": "peer suspected", "created": 0.0})
    made.__dict__.update(fields)
    return made


def test_json_line() -> None:
    line = json.loads(JsonFormatter().format(record(node="h1", age_ms=5, long="y" * 5_000)))
    assert line["message"] == "peer suspected"
    assert line["time"] == "1970-01-01T00:00:00.000Z"
    assert (line["node"], line["age_ms"]) == ("h1", 5)
    assert len(line["long"]) == FIELD_CHARS_MAX


def test_a_newline_cannot_forge_a_line() -> None:
    for formatter in (JsonFormatter(), TextFormatter()):
        line = formatter.format(record(name_given="a\nERROR forged \x1b[2J"))
        assert "\n" not in line
        assert "\x1b" not in line


def test_text_line() -> None:
    assert TextFormatter().format(record(node="h1")).endswith("x: peer suspected node=h1")
