"""A whole fabric whose rows live in PostgreSQL: the second engine under the same agents, all equal."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from fabric.dev.cloud_client import CloudClient
from fabric.dev.up import PASSWORD_FILE
from tests.fixtures.dev_fabric import Running, eventually, running_fabric
from tests.fixtures.postgres_cluster import postgres_cluster, why_not

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(420)]

NAMES = ("h1", "h2", "h3")
WAIT_S = 120.0


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with postgres_cluster() as url, running_fabric("sim", nodes=3, state_url=url, voters=0) as running:
        eventually(lambda: roles(running)["api"] == set(NAMES), timeout_s=WAIT_S, what="three API nodes")
        yield running


def roles(fabric: Running, seen_by: str = "h1") -> dict[str, set[str]]:
    found: dict[str, set[str]] = {"api": set(), "conductor": set(), "scheduler": set()}
    for row in fabric.local(seen_by).get("/leaders"):
        found[row["role"]].add(row["node"])
    return found


def conductor(fabric: Running, *, other_than: str = "", seen_by: str = "h1") -> str:
    def find() -> str:
        return next(iter(roles(fabric, seen_by)["conductor"] - {other_than}), "")

    return str(eventually(find, timeout_s=WAIT_S, what="a conductor"))


def cloud_of(fabric: Running, name: str) -> CloudClient:
    client = CloudClient(fabric.layout.api_urls[NAMES.index(name)])
    client.login("admin", (fabric.directory / PASSWORD_FILE).read_text(), "admin")
    return client


def flavor(name: str) -> dict[str, object]:
    return {"flavor": {"name": name, "id": name, "ram": 64, "vcpus": 1, "disk": 1}}


def flavors(cloud: CloudClient) -> set[str]:
    return {row["name"] for row in cloud.get("/compute/v2.1/flavors")["flavors"]}


def test_what_is_written_at_one_is_read_at_another_at_once(fabric: Running) -> None:
    clouds = {name: cloud_of(fabric, name) for name in NAMES}
    for name, cloud in clouds.items():
        cloud.post("/compute/v2.1/flavors", flavor(f"at-{name}"))
        assert all(f"at-{name}" in flavors(other) for other in clouds.values())
    shown = fabric.cli("voters", "list")
    assert "no voters" in shown.stdout
    for name in NAMES:
        assert not (fabric.node(name).dir / "state" / "log").exists()  # no embedded log beside it


def test_a_stopped_conductor_that_goes_on_finds_itself_replaced(fabric: Running) -> None:
    """For a moment two believe that they conduct: what the former one still grants is refused."""
    stopped = conductor(fabric)
    other = next(name for name in NAMES if name != stopped)
    pid = fabric.node(stopped).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        heir = conductor(fabric, other_than=stopped, seen_by=other)
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(
        lambda: all(roles(fabric, name)["conductor"] == {heir} for name in NAMES),
        timeout_s=WAIT_S,
        what="one conductor in everybody's eyes",
    )
    server_id = fabric.create("after-the-pause")
    fabric.wait_status(server_id, "ACTIVE")
    fabric.delete(server_id)


def test_any_two_may_go_the_conductor_each_time(fabric: Running) -> None:
    """One by a planned stop, which hands over, one by a kill, which keeps nobody from writing."""
    leaving = conductor(fabric)
    watcher = next(name for name in NAMES if name != leaving)
    fabric.cli("dev", "kill", leaving, "--signal", "TERM")
    dead = conductor(fabric, other_than=leaving, seen_by=watcher)
    assert '"reason": "stood back"' in fabric.node(leaving).log.read_text(errors="replace")
    last = next(name for name in NAMES if name not in (leaving, dead))
    cloud = cloud_of(fabric, last)
    os.kill(fabric.node(dead).pid, signal.SIGKILL)
    cloud.post("/compute/v2.1/flavors", flavor("while-nobody-conducts"))
    assert conductor(fabric, other_than=dead, seen_by=last) == last
    eventually(
        lambda: roles(fabric, last)["scheduler"] == {last}, timeout_s=WAIT_S, what="the scheduler with it"
    )
    fabric.cli("dev", "start", dead)
    eventually(lambda: dead in roles(fabric, last)["api"], timeout_s=WAIT_S, what="the API of who is back")
    assert "while-nobody-conducts" in flavors(cloud_of(fabric, dead))
