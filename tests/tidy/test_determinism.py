"""Handlers are folds: replaying the log must give the same rows. This reads their syntax and says where not.

Refused in `fabric/store/apply`: clocks, randomness, environment and files (imports and calls), floats and
true division, iteration over sets, and reads without an order. A `select` has an order when `.order_by` is
in its chain; it needs none when it is an argument of `single(...)` (at most one row), a scalar
subquery, or `exists`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

APPLY = Path(__file__).parents[2] / "fabric" / "store" / "apply"
FILES = sorted(APPLY.glob("**/*.py"))

FORBIDDEN_MODULES = frozenset(
    {"time", "random", "uuid", "secrets", "os", "socket", "datetime", "asyncio", "threading", "subprocess"}
    | {"tempfile", "pathlib", "numpy", "platform", "requests", "urllib"}
)
FORBIDDEN_CALLS = frozenset(
    {"now", "utcnow", "today", "time", "monotonic", "urandom", "uuid4", "random", "randint", "open"}
    | {"new_uuid", "new_hex_id", "new_request_id", "id", "hash", "input", "float", "current_timestamp"}
)
UNORDERED_FINE = frozenset({"single", "exists", "scalar_subquery"})
ORDERLESS_USES = frozenset({"sorted", "len", "min", "max", "sum", "any", "all", "set", "frozenset"})


def findings(source: str) -> list[str]:
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    found = []
    for node in ast.walk(tree):
        found += [f"{getattr(node, 'lineno', 0)}: {what}" for what in _faults(node, parents)]
    return found


def _faults(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            for name in names:
                if name.name.split(".")[0] in FORBIDDEN_MODULES:
                    yield f"imports {name.name}"
        case ast.ImportFrom(module=str(module), names=names):
            if module.split(".")[0] in FORBIDDEN_MODULES:
                yield f"imports from {module}"
            yield from (f"imports {n.name}" for n in names if n.name in ("new_uuid", "new_hex_id"))
            yield from (f"imports {n.name}" for n in names if n.name in ("new_request_id", "text"))
        case ast.Constant(value=float()):
            yield "a float"
        case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
            yield "true division gives a float"
        case ast.Call():
            yield from _call_faults(node, parents)
        case ast.For(iter=iterated) | ast.comprehension(iter=iterated):
            if _is_set(iterated) and not _order_is_lost_anyway(node, parents):
                yield "iterates over a set"


def _call_faults(node: ast.Call, parents: dict[ast.AST, ast.AST]) -> Iterator[str]:
    name = _name(node.func)
    if name in FORBIDDEN_CALLS:
        yield f"calls {name}()"
    if name in ("list", "tuple", "enumerate", "iter", "join") and any(_is_set(arg) for arg in node.args):
        yield f"{name}() of a set"
    if isinstance(node.func, ast.Name) and name == "select" and not _has_order(node, parents):
        yield "a select without order_by or single()"


def _has_order(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Walks out of the method chain and the calls around it."""
    at: ast.AST = node
    while True:
        above = parents.get(at)
        match above:
            case ast.Attribute(attr=attr):
                if attr == "order_by" or attr in UNORDERED_FINE:
                    return True
            case ast.Call(func=func):
                if at is not func and _name(func) in UNORDERED_FINE:
                    return True
            case ast.Assign(targets=[ast.Name(id=variable)]):
                return _every_use_is_ordered(variable, above, parents)
            case ast.stmt() | None:
                return False
        assert above is not None
        at = above


def _every_use_is_ordered(variable: str, assigned: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """A select kept in a local name: each read of it must be ordered or single where it stands."""
    scope = assigned
    while not isinstance(scope, ast.FunctionDef | ast.Module):
        scope = parents[scope]
    if isinstance(scope, ast.Module):
        return False  # module constants say it at once
    uses = [
        use
        for use in ast.walk(scope)
        if isinstance(use, ast.Name) and use.id == variable and isinstance(use.ctx, ast.Load)
    ]
    return bool(uses) and all(_has_order(use, parents) for use in uses)


def _is_set(node: ast.AST) -> bool:
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=func):
            return _name(func) in ("set", "frozenset", "intersection", "union", "difference")
        case ast.BinOp(op=ast.BitOr() | ast.BitAnd() | ast.Sub(), left=left, right=right):
            return _is_set(left) or _is_set(right)
    return False


def _order_is_lost_anyway(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    if not isinstance(node, ast.comprehension):
        return False
    maker = parents[node]
    above = parents.get(maker)
    return isinstance(maker, ast.SetComp) or (
        isinstance(above, ast.Call) and _name(above.func) in ORDERLESS_USES
    )


def _name(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_handlers_are_deterministic(path: Path) -> None:
    assert findings(path.read_text()) == []


def test_there_is_something_to_check() -> None:
    assert len(FILES) > 12


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from datetime import datetime",
        "import os.path",
        "from proto.ids import new_uuid",
        "x = datetime.now()",
        "x = random.random()",
        "x = uuid4()",
        "x = 0.5",
        "x = a / b",
        "x /= 2",
        "x = float(y)",
        "for x in {1, 2}: pass",
        "for x in set(y): pass",
        "x = [y for y in set(z)]",
        "x = list(set(y))",
        "x = [y for y in set(a) | b]",
        "X = select(t)",
        "X = select(t).where(a)",
        "def f():\n    q = select(t)\n    run(q)",
        "def f():\n    q = select(t)\n    single(q)\n    run(q)",
        "rows(select(t).where(select(u).exists()))",
    ],
)
def test_the_lint_sees(source: str) -> None:
    assert findings(source)


@pytest.mark.parametrize(
    "source",
    [
        "x = a // b",
        "for x in sorted(set(y)): pass",
        "x = any(y for y in {1, 2})",
        "X = select(t).where(a).order_by(b)",
        "X = single(select(t).where(a))",
        "x = single(select(select(func.count()).where(a).scalar_subquery()))",
        "def f():\n    q = select(t).where(a)\n    single(q.limit(1))",
        "def f():\n    q = select(t)\n    rows(q.order_by(a))",
    ],
)
def test_the_lint_lets_pass(source: str) -> None:
    assert findings(source) == []
