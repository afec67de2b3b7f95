"""Placement as a client sees it: one person, one version, and whole conversations in few lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.api.compute.world import Answer, Person

LATEST = "1.39"
CARD = "0c0c0c0c-0c0c-4c0c-8c0c-0c0c0c0c0c0c"
CARD_2 = "0d0d0d0d-0d0d-4d0d-8d0d-0d0d0d0d0d0d"
CONSUMER = "0e0e0e0e-0e0e-4e0e-8e0e-0e0e0e0e0e0e"
HOST_IDS = tuple(f"00000000-0000-0000-0000-{number:012x}" for number in (0xA1, 0xB2, 0xC3))


@dataclass(frozen=True)
class Placement:
    person: Person
    version: str | None = LATEST

    def at(self, version: str | None) -> Placement:
        return Placement(self.person, version)

    async def ask(self, method: str, path: str, body: Any = None) -> Answer:
        headers = {} if self.version is None else {"OpenStack-API-Version": f"placement {self.version}"}
        return await self.person.ask(method, path, body, headers=headers, root="/placement")

    async def get(self, path: str, status: int = 200) -> Any:
        """The body of an answer that must have that status."""
        return await self.must("GET", path, None, status)

    async def put(self, path: str, body: Any = None, status: int = 200) -> Any:
        return await self.must("PUT", path, body, status)

    async def post(self, path: str, body: Any, status: int = 200) -> Any:
        return await self.must("POST", path, body, status)

    async def delete(self, path: str, status: int = 204) -> Any:
        return await self.must("DELETE", path, None, status)

    async def must(self, method: str, path: str, body: Any, status: int) -> Any:
        answer = await self.ask(method, path, body)
        assert answer.status == status, (method, path, answer.status, answer.data)
        return answer.json if answer.data else None

    async def refused(self, method: str, path: str, body: Any = None, *, status: int) -> tuple[str, str]:
        """Its code and detail."""
        (error,) = (await self.must(method, path, body, status))["errors"]
        assert error["status"] == status
        assert error["request_id"].startswith("req-")
        return error["code"], error["detail"]

    async def card(
        self, provider_id: str = CARD, *, parent: str | None = None, total: int = 4, **numbers: Any
    ) -> None:
        """A provider of VGPUs that is no host."""
        made = {"name": f"card-{provider_id[:4]}", "uuid": provider_id, "parent_provider_uuid": parent}
        await self.post("/resource_providers", made)
        stock = {"inventories": {"VGPU": {"total": total, **numbers}}, "resource_provider_generation": 0}
        await self.put(f"/resource_providers/{provider_id}/inventories", stock)

    async def hold(self, consumer_id: str = CONSUMER, status: int = 204, **amounts: int) -> Any:
        """So many VGPUs of each card, by the first two letters of its id."""
        cards = {each[:2]: each for each in (CARD, CARD_2)}
        held = {cards[name.removeprefix("of_")]: {"resources": {"VGPU": n}} for name, n in amounts.items()}
        now = await self.get(f"/allocations/{consumer_id}")
        body = {
            "allocations": held,
            "project_id": "p",
            "user_id": "u",
            "consumer_generation": now.get("consumer_generation"),
            "consumer_type": "MACHINE",
        }
        return await self.put(f"/allocations/{consumer_id}", body, status)
