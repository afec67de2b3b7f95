"""Guests where QEMU runs as a user of its own, as Debian's libvirt has it."""

from __future__ import annotations

import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabric.dev.hosts import SimulatedHosts
from tests.fixtures.dev_fabric import Running, eventually, running_fabric

pytestmark = [pytest.mark.slow, pytest.mark.libvirt, pytest.mark.root, pytest.mark.timeout(600)]
QEMU_USER = "libvirt-qemu"


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    try:
        pwd.getpwnam(QEMU_USER)
    except KeyError:
        pytest.skip(f"no user {QEMU_USER} on this machine")
    with running_fabric("libvirt", nodes=1) as running:
        settings = running.directory / "hosts" / "h1" / "etc-libvirt" / "qemu.conf"
        text = settings.read_text()
        for key in ("user", "group"):
            text = text.replace(f'{key} = "root"', f'{key} = "{QEMU_USER}"')
        settings.write_text(text.replace("dynamic_ownership = 0", "dynamic_ownership = 1"))
        hosts = SimulatedHosts(running.directory / "hosts")
        hosts.kill_libvirtd("h1")
        hosts.start_libvirtd("h1")
        running.directory.parent.chmod(0o711)  # the test's own folder, not the product's
        yield running


def test_a_guest_boots_stops_and_starts(fabric: Running) -> None:
    server_id = fabric.create("as-its-own-user", config_drive=True)
    fabric.wait_status(server_id, "ACTIVE")
    owner = fabric.on_host(
        "h1", ["sh", "-c", f"ps -o user:32= -p $(pgrep -f '^[^ ]*qemu-system.*guest=fabric-{server_id}')"]
    )
    assert owner.strip() == QEMU_USER
    eventually(lambda: "guest: booted" in fabric.console(server_id), timeout_s=120, what="its console")
    action = f"/compute/v2.1/servers/{server_id}/action"
    fabric.cloud().post(action, {"os-stop": None})
    fabric.wait_status(server_id, "SHUTOFF")
    fabric.cloud().post(action, {"os-start": None})
    fabric.wait_status(server_id, "ACTIVE")
    fabric.delete(server_id)


def test_what_is_secret_is_private(fabric: Running) -> None:
    """Other users may pass through the state directory; they can read nothing in it."""
    state = fabric.node("h1").dir

    def may_reach(path: Path) -> bool:
        return all(parent.stat().st_mode & 0o001 for parent in path.parents if parent.is_relative_to(state))

    open_to_others = [
        path.relative_to(state).as_posix()
        for path in state.rglob("*")
        if may_reach(path) and path.stat().st_mode & (0o006 if path.is_dir() else 0o004)
    ]
    assert open_to_others == []
