"""Measurements as Prometheus reads them: the text exposition format, version 0.0.4.

Written by hand, for it is a page of rules: a library would bring a global registry and threads' locks for
values that one event loop already holds. Source: Prometheus documentation, "Exposition formats".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NAME = re.compile(r"[a-z_][a-z0-9_]*")  # narrower than allowed: lower case is the convention


class Kind(StrEnum):
    COUNTER = "counter"  # only grows, until the process restarts; its name ends in _total
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True)
class Sample:
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with all its series. `help` is for people, in one line."""

    name: str
    kind: Kind
    help: str
    samples: tuple[Sample, ...]

    def __post_init__(self) -> None:
        assert _NAME.fullmatch(self.name), self.name
        assert self.name.endswith("_total") == (self.kind is Kind.COUNTER), self.name
        assert all(_NAME.fullmatch(label) for sample in self.samples for label in sample.labels), self.name


def counter(name: str, help: str, value: float) -> Family:
    return Family(name, Kind.COUNTER, help, (Sample(value),))


def gauge(name: str, help: str, value: float) -> Family:
    return Family(name, Kind.GAUGE, help, (Sample(value),))


def by_label(kind: Kind, name: str, help: str, label: str, values: Mapping[str, float]) -> Family:
    """One series for each key of `values`, in order of the keys."""
    samples = tuple(Sample(values[key], {label: key}) for key in sorted(values))
    return Family(name, kind, help, samples)


def render(families: Iterable[Family]) -> str:
    """A family without samples is told by its head alone: a scrape that finds no series finds no error."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {_escaped(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines.extend(_line(family.name, sample) for sample in family.samples)
    return "\n".join(lines) + "\n"


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{key}="{_escaped(text, quote=True)}"' for key, text in sample.labels.items())
    return f"{name}{{{labels}}} {_number(sample.value)}" if labels else f"{name} {_number(sample.value)}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))


def _escaped(text: str, *, quote: bool = False) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if quote else escaped
