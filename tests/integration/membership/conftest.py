"""Skips where there are no namespaces. A small mesh for each test; a fabric of whole agents for each file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench._agent_cluster import AgentCluster
from bench._mesh_cluster import MeshCluster
from bench._star import why_no_star
from tests.fixtures.netns_fabric import agents_of, mesh_of

MESH_NODES = 6
AGENTS = 4


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    why = why_no_star() if here else ""
    for item in here:
        item.add_marker(pytest.mark.netns)
        if why:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[MeshCluster]:
    with mesh_of(MESH_NODES, tmp_path, machines=MESH_NODES + 1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def agents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentCluster]:
    with agents_of(AGENTS, tmp_path_factory.mktemp("fabric"), machines=AGENTS + 1) as cluster:
        yield cluster
