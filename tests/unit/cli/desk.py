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
    done: dict[str, Any] = field(default_factory=dict)  # what it answers when it was told to do something

    def show(self, text: str) -> dict[str, Any]:
        return node_view.node(self.view, self.clock, text)

    async def drain(self, text: str, reason: str) -> dict[str, Any]:
        return {"id": "1", "name": text} | self.done

    async def undrain(self, text: str) -> dict[str, Any]:
        return {"id": "1", "name": text} | self.done

    async def rotate_key(self) -> dict[str, Any]:
        return {"id": "1"} | self.done
