"""The API told as request and response files, played in order (STYLE section 15).

    ## title of the step
    POST /identity/v3/projects
    X-Auth-Token: ${admin}
    {"project": {"name": "one"}}
    => 201
    x-openstack-request-id: *
    {"project": {"id": "$project", "name": "one", "...": "..."}}

`${name}` in a request puts in what was caught before. In an answer `*` is anything, `$name` catches (or, once
caught, must be equal), `~text` must contain the text; objects are compared whole unless
they hold "...", lists whole and in order.
Only the headers listed are compared. A step without an expected body expects an empty one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession
from yarl import URL

_REFERENCE = re.compile(r"\$\{(\w+)\}")
_METHOD = re.compile(r"(GET|HEAD|POST|PUT|PATCH|DELETE) (\S+)")
_HEADER = re.compile(r"([A-Za-z-]+): (.*)")


@dataclass
class Step:
    title: str
    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    status: int = 0
    wanted_headers: dict[str, str] = field(default_factory=dict)
    wanted_body: str = ""


def parse(text: str) -> list[Step]:
    steps = []
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        lines = [line for line in part.splitlines() if line and not line.startswith("# ")]
        match = _METHOD.fullmatch(lines[1])
        assert match, f"{lines[0]}: no request line"
        step = Step(lines[0], match[1], match[2])
        at = next(index for index, line in enumerate(lines) if line.startswith("=> "))
        step.status = int(lines[at][3:])
        step.headers, step.body = _split(lines[2:at])
        step.wanted_headers, step.wanted_body = _split(lines[at + 1 :])
        steps.append(step)
    assert steps
    return steps


def _split(lines: list[str]) -> tuple[dict[str, str], str]:
    headers = {}
    for index, line in enumerate(lines):
        match = _HEADER.fullmatch(line)
        if match is None:
            return headers, "\n".join(lines[index:])
        headers[match[1]] = match[2]
    return headers, ""


async def play(path: Path, session: ClientSession, url: str, caught: dict[str, str]) -> None:
    """Fails on the first step that answers otherwise. `caught` goes in and out."""
    caught.setdefault("url", url)
    for step in parse(path.read_text()):
        where = f"{path.name}: {step.title}"
        headers = {name: _filled(value, caught) for name, value in step.headers.items()}
        if step.body:
            headers.setdefault("Content-Type", "application/json")
        target = URL(url + _filled(step.path, caught), encoded=True)
        data = _filled(step.body, caught).encode()
        async with session.request(
            step.method, target, headers=headers, data=data or None, allow_redirects=False
        ) as answer:
            text = await answer.text()
            assert answer.status == step.status, f"{where}: {answer.status} {text[:500]}"
            for name, wanted in step.wanted_headers.items():
                _match(wanted, answer.headers.get(name), caught, f"{where}: header {name}")
            if step.wanted_body:
                _match(json.loads(step.wanted_body), json.loads(text), caught, f"{where}: body")
            else:
                assert text == "", f"{where}: body {text[:500]}"


def _filled(text: str, caught: dict[str, str]) -> str:
    return _REFERENCE.sub(lambda match: caught[match[1]], text)


def _match(wanted: Any, got: Any, caught: dict[str, str], where: str) -> None:
    match wanted:
        case "*":
            assert got is not None, f"{where}: nothing there"
        case str() if re.fullmatch(r"\$\w+", wanted):
            assert isinstance(got, str), f"{where}: {got!r} is not text"
            assert got == caught.setdefault(wanted[1:], got), f"{where}: {got!r} is not {wanted}"
        case str() if wanted.startswith("~"):
            assert isinstance(got, str), f"{where}: {got!r} is not text"
            assert _filled(wanted[1:], caught) in got, f"{where}: {got!r}"
        case str():
            assert got == _filled(wanted, caught), f"{where}: {got!r}"
        case dict():
            _match_object(wanted, got, caught, where)
        case list():
            assert isinstance(got, list), f"{where}: {got!r} is not a list"
            assert len(got) == len(wanted), f"{where}: {len(got)} items: {got!r}"
            for index, item in enumerate(wanted):
                _match(item, got[index], caught, f"{where}[{index}]")
        case _:
            assert got == wanted, f"{where}: {got!r} is not {wanted!r}"
            assert type(got) is type(wanted), f"{where}: {got!r}"


def _match_object(wanted: dict[str, Any], got: Any, caught: dict[str, str], where: str) -> None:
    assert isinstance(got, dict), f"{where}: {got!r} is not an object"
    is_open = "..." in wanted
    keys = set(wanted) - {"..."}
    assert keys <= set(got), f"{where}: missing {keys - set(got)} in {got!r}"
    assert is_open or keys == set(got), f"{where}: unexpected {set(got) - keys}"
    for key in sorted(keys):
        _match(wanted[key], got[key], caught, f"{where}.{key}")
