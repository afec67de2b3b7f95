"""The config drive: the metadata tree on an ISO 9660 image, label `config-2`. The only pycdlib import.

Deterministic: the same facts give the same bytes, so a drive made again is the drive that was there.
pycdlib takes no time as an argument; while it works its modules are given a clock that stands still.
"""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pycdlib
import pycdlib.dates
import pycdlib.headervd
import pycdlib.pycdlib

from fabric.compute.metadata import ec2, openstack
from fabric.compute.metadata.facts import GuestFacts

LABEL = "config-2"
_PATCHED = (pycdlib.dates, pycdlib.headervd, pycdlib.pycdlib)
_lock = threading.Lock()


def files(facts: GuestFacts) -> dict[str, bytes]:
    """Path from the root of the drive -> content. Every version, so that each guest finds the one it
    knows; the admin password while there is one."""
    tree: dict[str, bytes] = {}
    for version in (*openstack.VERSIONS, openstack.LATEST):
        for name in openstack.file_names(facts, version):
            content = openstack.file_content(facts, version, name, with_admin_pass=True)
            assert content is not None
            tree[f"openstack/{version}/{name}"] = content
    document = json.dumps(ec2.meta_data(facts, ec2.LATEST), sort_keys=True).encode()
    for version in (ec2.VERSIONS[-1], ec2.LATEST):
        tree[f"ec2/{version}/meta-data.json"] = document
        if facts.assigned.server.user_data is not None:
            tree[f"ec2/{version}/user-data"] = facts.assigned.server.user_data
    return tree


def make_config_drive(facts: GuestFacts) -> bytes:
    """Takes some 20 ms of processor time: run it in a thread."""
    with _lock, _standing_clock(facts.assigned.server.created_ms / 1000):
        return _iso(files(facts))


def _iso(tree: dict[str, bytes]) -> bytes:
    """Rock Ridge for Linux, Joliet for Windows; the plain ISO names are only numbers."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    plain: dict[str, str] = {"": ""}
    for path in sorted(tree):
        folders = path.split("/")[:-1]
        for depth in range(1, len(folders) + 1):
            folder = "/".join(folders[:depth])
            if folder not in plain:
                parent = "/".join(folders[: depth - 1])
                plain[folder] = f"{plain[parent]}/D{len(plain):07d}"
                iso.add_directory(plain[folder], rr_name=folders[depth - 1], joliet_path=f"/{folder}")
        name = f"{plain['/'.join(folders)]}/F{len(plain):07d}.;1"
        plain[path] = name
        iso.add_fp(
            io.BytesIO(tree[path]),
            len(tree[path]),
            name,
            rr_name=path.rsplit("/", 1)[-1],
            joliet_path=f"/{path}",
        )
    out = io.BytesIO()
    iso.write_fp(out)
    iso.close()
    return out.getvalue()


class _StandingClock:
    """The `time` module as far as pycdlib uses it, at one instant, in UTC."""

    def __init__(self, at_s: float) -> None:
        self._at_s = at_s

    strptime = staticmethod(time.strptime)
    strftime = staticmethod(time.strftime)
    struct_time = time.struct_time
    gmtime = staticmethod(time.gmtime)
    localtime = staticmethod(time.gmtime)

    def time(self) -> float:
        return self._at_s


@contextmanager
def _standing_clock(at_s: float) -> Iterator[None]:
    clock = _StandingClock(at_s)
    for module in _PATCHED:
        module.time = clock  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in _PATCHED:
            module.time = time  # type: ignore[attr-defined]
