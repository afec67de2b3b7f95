"""/os-keypairs."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives import serialization

from proto.commands.quotas import QuotaSet
from tests.api.compute.world import SSH_KEY, World


async def test_import_and_show_by_version(world: World) -> None:
    answer = await world.alice.post("/os-keypairs", {"keypair": {"name": "k1", "public_key": SSH_KEY}})
    assert answer.status == 200
    made = answer.json["keypair"]
    assert set(made) == {"name", "public_key", "fingerprint", "user_id"}
    assert made["public_key"] == SSH_KEY
    assert len(made["fingerprint"].split(":")) == 16
    answer = await world.alice.at("2.2").post(
        "/os-keypairs", {"keypair": {"name": "k2", "public_key": SSH_KEY, "type": "ssh"}}
    )
    assert answer.status == 201
    assert set(answer.json["keypair"]) == {"name", "public_key", "fingerprint", "user_id", "type"}
    for minor, extra in ((1, set()), (2, {"type"}), (96, {"type"})):
        person = world.alice.at(f"2.{minor}")
        listed = (await person.get("/os-keypairs")).json
        assert set(listed) == {"keypairs"}
        assert set(listed["keypairs"][0]["keypair"]) == {"name", "public_key", "fingerprint"} | extra
        shown = (await person.get("/os-keypairs/k1")).json["keypair"]
        assert set(shown) == {
            "name",
            "public_key",
            "fingerprint",
            "user_id",
            "id",
            "deleted",
            "created_at",
            "updated_at",
            "deleted_at",
        } | (extra)
    assert isinstance(shown["id"], int)


async def test_generated_pairs_fit_together(world: World) -> None:
    answer = await world.alice.at("2.2").post("/os-keypairs", {"keypair": {"name": "g"}})
    made = answer.json["keypair"]
    private = serialization.load_ssh_private_key(made["private_key"].encode(), None)
    public = private.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    assert made["public_key"].startswith(public.decode())
    assert "private_key" not in (await world.alice.get("/os-keypairs/g")).json["keypair"]
    answer = await world.alice.at("2.2").post("/os-keypairs", {"keypair": {"name": "x", "type": "x509"}})
    assert answer.status == 201
    made = answer.json["keypair"]
    assert made["public_key"].startswith("-----BEGIN CERTIFICATE-----")
    assert len(made["fingerprint"].split(":")) == 20
    again = {"keypair": {"name": "y", "type": "x509", "public_key": made["public_key"]}}
    answer = await world.alice.at("2.2").post("/os-keypairs", again)
    assert answer.json["keypair"]["fingerprint"] == made["fingerprint"]


async def test_from_2_92_keys_are_only_imported(world: World) -> None:
    person = world.alice.at("2.92")
    answer = await person.post("/os-keypairs", {"keypair": {"name": "g"}})
    assert answer.status == 400
    assert "public_key" in answer.fault[1]
    body = {"keypair": {"name": "me@home.org", "public_key": SSH_KEY}}
    assert (await world.alice.at("2.91").post("/os-keypairs", body)).status == 400
    assert (await person.post("/os-keypairs", body)).status == 201
    assert (await person.get("/os-keypairs/me@home.org")).status == 200


BAD_KEYS: list[dict[str, Any]] = [
    {"public_key": "ssh-ed25519"},
    {"public_key": "ssh-ed25519 not/base64!"},
    {"public_key": "ssh-ed25519 AAAA"},
    {"public_key": "ssh-dss AAAAB3NzaC1kc3MAAACBAP"},
    {"public_key": SSH_KEY.replace("ssh-ed25519", "ssh-rsa")},
    {"public_key": f"{SSH_KEY}\n{SSH_KEY}"},
    {"public_key": "a" * 20_000},
    {"public_key": ""},
    {"public_key": 7},
    {"name": ""},
    {"name": "a/b"},
    {"name": "n" * 256},
    {"name": "n" * 10_000},
    {"type": "pgp"},
    {"user_id": "too early"},
    {"extra": 1},
]


async def test_key_pairs_that_cannot_be(world: World) -> None:
    for change in BAD_KEYS:
        body = {"keypair": {"name": "k", "public_key": SSH_KEY} | change}
        answer = await world.alice.at("2.2").post("/os-keypairs", body)
        assert answer.status == 400, answer.data
        assert (await world.alice.get("/os-keypairs")).json == {"keypairs": []}


async def test_delete_conflict_quota(world: World) -> None:
    body = {"keypair": {"name": "k", "public_key": SSH_KEY}}
    await world.alice.post("/os-keypairs", body)
    answer = await world.alice.post("/os-keypairs", body)
    assert answer.status == 409
    assert answer.fault[1] == "Key pair 'k' already exists."
    assert (await world.bob.post("/os-keypairs", body)).status == 200
    assert (await world.alice.delete("/os-keypairs/k")).status == 202
    await world.alice.post("/os-keypairs", body)
    assert (await world.alice.at("2.2").delete("/os-keypairs/k")).status == 204
    assert (await world.alice.delete("/os-keypairs/k")).status == 404
    await world.do(QuotaSet(project_id=world.alice.project_id, limits={"key_pairs": 0}))
    answer = await world.alice.post("/os-keypairs", body)
    assert (answer.status, answer.fault[0]) == (403, "forbidden")


async def test_another_users_keys_are_for_admins_from_2_10(world: World) -> None:
    body = {"keypair": {"name": "k", "public_key": SSH_KEY, "user_id": world.bob.user_id}}
    assert (await world.alice.at("2.10").post("/os-keypairs", body)).status == 403
    assert (await world.admin.at("2.10").post("/os-keypairs", body)).status == 201
    assert len((await world.bob.get("/os-keypairs")).json["keypairs"]) == 1
    query = f"?user_id={world.bob.user_id}"
    assert len((await world.admin.at("2.10").get(f"/os-keypairs{query}")).json["keypairs"]) == 1
    assert len((await world.admin.at("2.9").get(f"/os-keypairs{query}")).json["keypairs"]) == 0
    assert (await world.alice.at("2.10").get(f"/os-keypairs/k{query}")).status == 403
    assert (await world.alice.at("2.10").delete(f"/os-keypairs/k{query}")).status == 403
    assert (await world.admin.at("2.10").delete(f"/os-keypairs/k{query}")).status == 204


async def test_pages_from_2_35(world: World) -> None:
    for name in ("a", "b", "c"):
        await world.alice.post("/os-keypairs", {"keypair": {"name": name, "public_key": SSH_KEY}})

    async def page(version: str, query: str) -> tuple[list[str], bool]:
        found = (await world.alice.at(version).get(f"/os-keypairs{query}")).json
        return [each["keypair"]["name"] for each in found["keypairs"]], "keypairs_links" in found

    assert await page("2.35", "?limit=2") == (["a", "b"], True)
    assert await page("2.35", "?limit=2&marker=b") == (["c"], False)
    assert await page("2.34", "?limit=2&marker=b") == (["a", "b", "c"], False)
    assert (await world.alice.at("2.35").get("/os-keypairs?marker=zz")).status == 400
    assert (await world.alice.at("2.75").get("/os-keypairs?unknown=1")).status == 400
