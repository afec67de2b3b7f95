"""What an operator asks about single nodes, answered from what one node believes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fabric.control import node_view
from tests.fixtures.local_agent import DeskDouble
from tests.fixtures.mesh_view_double import MeshDouble, TwoClocks


@dataclass
class Desk(DeskDouble):
    """Shows from what this node believes."""

    view: MeshDouble
    clock: TwoClocks = field(default_factory=TwoClocks)

    def show(self, text: str) -> dict[str, Any]:
        return node_view.node(self.view, self.clock, text)
