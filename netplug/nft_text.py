"""Putting nftables text together: sets, maps, chains, tables. Pure; knows no rule of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

INDENT = "  "


def quoted(device: str) -> str:
    assert '"' not in device
    return f'"{device}"'


def named_set(name: str, kind: str, elements: Iterable[str]) -> list[str]:
    return _named("set", name, kind, sorted(set(elements)))


def named_map(name: str, kind: str, elements: Mapping[str, str]) -> list[str]:
    return _named("map", name, kind, [f"{key} : {value}" for key, value in sorted(elements.items())])


def chain(name: str, rules: Iterable[str], hook: str | None = None) -> list[str]:
    """A base chain when `hook` is given. It accepts what no rule drops, so that the moment between its
    registration and its rules' (both in one transaction) cuts nobody off."""
    head = [] if hook is None else [f"type {hook}; policy accept;"]
    return [f"chain {name} {{", *(INDENT + line for line in [*head, *rules]), "}"]


def table(family: str, name: str, parts: Sequence[Sequence[str]]) -> str:
    """Replaces the table as a whole: the first line makes the second safe when there was none."""
    body = [INDENT + line for part in parts for line in part]
    start = [f"table {family} {name} {{}}", f"delete table {family} {name}", f"table {family} {name} {{"]
    return "\n".join([*start, *body, "}"]) + "\n"


def _named(what: str, name: str, kind: str, elements: Sequence[str]) -> list[str]:
    lines = [f"{what} {name} {{", f"{INDENT}type {kind}"]
    if elements:
        lines.append(f"{INDENT}elements = {{")
        lines += [f"{INDENT * 2}{element}," for element in elements]
        lines.append(f"{INDENT}}}")
    return [*lines, "}"]
