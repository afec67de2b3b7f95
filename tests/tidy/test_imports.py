"""Who may import whom (STYLE section 0). Read as text: an import inside a function counts too."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("proto", "drivers", "netplug", "fabric")

# package prefix -> prefixes of ours it may import (its own package is always allowed)
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "proto": (),
    "drivers": ("proto.ids", "proto.errors"),
    "netplug": ("proto.ids", "proto.errors"),
    "fabric.core": ("proto",),
    "fabric.mesh": ("proto", "fabric.core", "fabric.errors"),
    "fabric.store": ("proto", "fabric.core", "fabric.errors"),
    "fabric.runtime": (
        "proto",
        "fabric.core",
        "fabric.mesh",
        "fabric.store",
        "fabric.errors",
        "fabric.config",
    ),
    "fabric.control": ("proto", "fabric.core", "fabric.runtime", "fabric.errors"),
    "fabric.compute": (
        "proto",
        "fabric.core",
        "fabric.runtime",
        "fabric.mesh.rpc_contract",
        "fabric.errors",
        "drivers.contract",
        "netplug.contract",
    ),
    "fabric.api": ("proto", "fabric.control", "fabric.core", "fabric.errors", "fabric.runtime"),
    "fabric.dev": ("proto", "fabric", "drivers", "netplug"),
    "fabric.cli": ("proto", "fabric", "drivers", "netplug"),
}

# third-party packages that only these places may import
ONLY_IN: dict[str, tuple[str, ...]] = {
    "msgpack": ("proto/codec.py",),
    "libvirt": ("drivers/libvirt/connection.py",),
    "pyroute2": ("netplug/linux.py",),
    "zmq": (
        "fabric/mesh/",
        "fabric/runtime/node_identity.py",
        "fabric/runtime/door_knock.py",
        "fabric/runtime/join_door.py",
    ),
    "sqlalchemy": ("fabric/store/",),
    "alembic": ("fabric/store/revision.py", "fabric/store/revisions/"),
    "aiohttp": ("fabric/api/", "fabric/compute/metadata/"),
    "numpy": ("fabric/core/placement/",),
    "yaml": ("fabric/compute/provider_config.py",),
    "click": ("fabric/cli/",),
}


def modules() -> list[Path]:
    return sorted(path for top in OURS for path in (ROOT / top).rglob("*.py"))


def imported(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def breaches(path: Path) -> list[str]:
    relative = path.relative_to(ROOT).as_posix()
    module = relative.removesuffix(".py").replace("/", ".")
    package = next((p for p in sorted(MAY_IMPORT, key=len, reverse=True) if within(module, p)), None)
    wrong = []
    for line, name in imported(path):
        top = name.split(".")[0]
        if top in OURS and package is not None:
            allowed = (package, *MAY_IMPORT[package])
            if not any(within(name, prefix) for prefix in allowed) and name != "fabric.__version__":
                wrong.append(f"{relative}:{line}: {package} may not import {name}")
        places = ONLY_IN.get(top)
        if places is not None and not relative.startswith(places):
            wrong.append(f"{relative}:{line}: {top} belongs in {', '.join(places)}")
    return wrong


def test_every_import_is_allowed() -> None:
    assert [line for path in modules() for line in breaches(path)] == []


def test_raft_and_membership_never_meet() -> None:
    for one, other in (("membership", "raft"), ("raft", "membership")):
        for path in (ROOT / "fabric/core" / one).rglob("*.py"):
            assert not [n for _, n in imported(path) if within(n, f"fabric.core.{other}")], path


def test_cores_have_no_io() -> None:
    """No clock, socket, file or randomness of their own (STYLE section 2)."""
    banned = {"time", "socket", "asyncio", "os", "secrets", "uuid", "subprocess", "threading", "logging"}
    for path in (ROOT / "fabric/core").rglob("*.py"):
        tops = {name.split(".")[0] for _, name in imported(path)}
        assert not tops & banned, f"{path}: {tops & banned}"
        assert "await " not in path.read_text(), path


@pytest.mark.parametrize("top", OURS)
def test_our_packages_are_the_ones_imported(top: str) -> None:
    """Other distributions also install a `fabric` and a `proto`."""
    found = __import__(top)
    assert found.__file__ is not None
    assert Path(found.__file__).resolve().parents[1] == ROOT


def test_the_checker_sees_a_breach(tmp_path: Path) -> None:
    bad = ROOT / "proto" / "codec.py"
    names = [name for _, name in imported(bad)]
    assert "msgpack" in names
    probe = tmp_path / "probe.py"
    probe.write_text("import libvirt\nfrom fabric.core import queries\n")
    assert [name for _, name in imported(probe)] == ["libvirt", "fabric.core.queries"]
