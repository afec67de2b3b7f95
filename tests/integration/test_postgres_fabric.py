"""A whole fabric whose rows live in PostgreSQL: the second engine under the same agents."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fixtures.dev_fabric import Running, running_fabric
from tests.fixtures.postgres_cluster import postgres_cluster, why_not

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with postgres_cluster() as url, running_fabric("sim", nodes=2, state_url=url) as running:
        yield running


def test_boots_and_keeps_its_promise_over_a_killed_conductor(fabric: Running) -> None:
    server_id = fabric.create("in-postgres")
    fabric.wait_status(server_id, "ACTIVE")
    second = fabric.create("promised")
    fabric.cli("dev", "kill", "h1")
    fabric.cli("dev", "start", "h1")
    fabric.wait_status(second, "ACTIVE")
    assert fabric.show(server_id)["status"] == "ACTIVE"
    assert not (fabric.node("h1").dir / "state" / "log").exists()  # no embedded log beside it
    for each in (server_id, second):
        fabric.delete(each)
