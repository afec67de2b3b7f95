"""POST /servers: what is accepted, what it makes, what is refused and how."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from fabric.control import server_proposals
from fabric.core.networks.queries import GetPort, ListPorts, UsedAddresses
from fabric.core.servers.queries import GetServer, ListServers
from proto.commands.catalog import FlavorCreate, ImageCreate
from proto.commands.networks import FixedIpChoice, NetworkCreate, PortCreate, PortSpec
from proto.commands.quotas import QuotaSet
from proto.ids import FlavorId, ImageId, NetworkId, PortId, ServerId, new_uuid
from tests.api.compute.world import FLAVOR, IMAGE, NETWORK, SSH_KEY, SUBNET, World


def body(**fields: Any) -> dict[str, Any]:
    base = {"name": "web-1", "imageRef": IMAGE, "flavorRef": FLAVOR}
    return {"server": {key: value for key, value in (base | fields).items() if value is not ...}}


async def count(world: World) -> int:
    return len(await world.cloud.state.read(ListServers()))


async def test_create_answers_as_nova_does(world: World) -> None:
    answer = await world.alice.post("/servers", body())
    assert answer.status == 202
    made = answer.json["server"]
    assert set(made) == {"id", "links", "OS-DCF:diskConfig", "security_groups", "adminPass"}
    assert made["security_groups"] == [{"name": "default"}]
    assert made["OS-DCF:diskConfig"] == "MANUAL"
    assert len(made["adminPass"]) == 12
    assert answer.headers["location"] == made["links"][0]["href"]
    assert made["links"][0]["href"] == f"{world.alice.url}/compute/v2.1/servers/{made['id']}"
    assert made["links"][1] == {
        "rel": "bookmark",
        "href": f"{world.alice.url}/compute/servers/{made['id']}",
    }
    view = await world.cloud.state.read(GetServer(server_id=ServerId(made["id"])))
    assert view is not None
    assert view.server.project_id == world.alice.project_id
    assert view.server.admin_pass == made["adminPass"]
    (port,) = view.ports  # the only network there is
    assert port.network_id == NETWORK
    assert port.mac.startswith("fa:16:3e:")
    assert port.fixed_ips[0].subnet_id == SUBNET
    assert view.security_groups == ("default",)


async def test_a_mac_that_is_taken_is_drawn_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """24 random bits clash once in a while; the user asked for a server, not for that MAC."""
    drawn = iter(["fa:16:3e:00:00:01", "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"])
    monkeypatch.setattr("fabric.control.server_networks.new_mac", lambda: next(drawn))
    for _ in range(2):
        assert (await world.alice.post("/servers", body())).status == 202
    ports = await world.cloud.state.read(ListPorts())
    assert sorted(port.mac for port in ports) == ["fa:16:3e:00:00:01", "fa:16:3e:00:00:02"]


async def test_everything_a_user_can_say_is_kept(world: World) -> None:
    assert (
        await world.alice.post("/os-keypairs", {"keypair": {"name": "k", "public_key": SSH_KEY}})
    ).status == 200
    user_data = b"#!/bin/sh\necho hello\n"
    answer = await world.alice.at("2.94").post(
        "/servers",
        body(
            networks=[{"uuid": NETWORK, "fixed_ip": "10.1.0.77"}],
            key_name="k",
            metadata={"a": "1"},
            tags=["red", "blue"],
            description="my first",
            hostname="front.example.org",
            user_data=base64.b64encode(user_data).decode(),
            config_drive=True,
            adminPass="s3cret",
            availability_zone="rack2",
        ),
    )
    assert answer.status == 202
    view = await world.cloud.state.read(GetServer(server_id=ServerId(answer.json["server"]["id"])))
    assert view is not None
    server = view.server
    assert server.key_name == "k"
    assert server.public_key == SSH_KEY
    assert server.user_data == user_data
    assert (server.metadata, sorted(server.tags)) == ({"a": "1"}, ["blue", "red"])
    assert (server.description, server.hostname) == ("my first", "front.example.org")
    assert server.config_drive is True
    assert server.admin_pass == "s3cret"
    assert server.zone_wanted == "rack2"
    assert view.ports[0].fixed_ips[0].address == "10.1.0.77"


async def test_networks_none_makes_no_port(world: World) -> None:
    answer = await world.alice.at("2.37").post("/servers", body(networks="none"))
    view = await world.cloud.state.read(GetServer(server_id=ServerId(answer.json["server"]["id"])))
    assert view is not None
    assert view.ports == ()


async def test_networks_must_be_said_from_2_37(world: World) -> None:
    assert (await world.alice.at("2.36").post("/servers", body())).status == 202
    answer = await world.alice.at("2.37").post("/servers", body())
    assert answer.status == 400
    assert "'networks' is a required property" in answer.fault[1]


@pytest.mark.parametrize(("version", "networks"), [("2.1", ...), ("2.37", "auto")])
async def test_two_networks_to_choose_from_are_409_before_the_key_is_looked_at(
    world: World, version: str, networks: Any
) -> None:
    await world.add_network(world.alice.project_id, "mine", "10.2.0.0/24")
    answer = await world.alice.at(version).post("/servers", body(networks=networks, key_name="none such"))
    assert answer.status == 409
    assert answer.fault == (
        "conflictingRequest",
        "Multiple possible networks found, use a Network ID to be more specific.",
    )
    # Bob still has one.
    assert (await world.bob.at(version).post("/servers", body(networks=networks))).status == 202


async def test_auto_without_any_network_is_400_and_unsaid_is_a_server_without_nic(world: World) -> None:
    from proto.commands.networks import NetworkDelete

    await world.do(NetworkDelete(network_id=NETWORK))
    answer = await world.alice.at("2.37").post("/servers", body(networks="auto"))
    assert answer.status == 400
    assert "automatically allocate" in answer.fault[1]
    answer = await world.alice.post("/servers", body())
    assert answer.status == 202
    assert await world.cloud.state.read(ListPorts()) == ()


async def make_port(world: World, **fields: Any) -> PortId:
    port_id = PortId(new_uuid())
    spec: dict[str, Any] = {
        "port_id": port_id,
        "network_id": NETWORK,
        "project_id": world.alice.project_id,
        "mac": "fa:16:3e:00:00:01",
        "fixed_ips": (FixedIpChoice(SUBNET, "10.1.0.9"),),
    }
    await world.do(PortCreate(port=PortSpec(**spec | fields)))
    return port_id


async def test_an_existing_port_is_bound_and_keeps_its_place(world: World) -> None:
    port_id = await make_port(world)
    answer = await world.alice.post("/servers", body(networks=[{"uuid": NETWORK}, {"port": port_id}]))
    assert answer.status == 202
    view = await world.cloud.state.read(GetServer(server_id=ServerId(answer.json["server"]["id"])))
    assert view is not None
    assert [port.port_id == port_id for port in view.ports] == [False, True]
    answer = await world.alice.post("/servers", body(networks=[{"port": port_id}]))
    assert answer.status == 409
    assert answer.fault[1] == f"Port {port_id} is still in use."


async def test_a_port_of_another_project_does_not_exist(world: World) -> None:
    port_id = await make_port(world)
    answer = await world.bob.post("/servers", body(networks=[{"port": port_id}]))
    assert answer.status == 400
    assert answer.fault[1] == f"Port id {port_id} could not be found."


@pytest.mark.parametrize(
    ("networks", "says"),
    [
        ([{"port": "PORT", "fixed_ip": "10.1.0.5"}], "cannot be specified together"),
        ([{"port": "PORT"}, {"port": "PORT"}], "more than once"),
        ([{"uuid": "44444444-4444-4444-8444-444444444444"}], "could not be found"),
        ([{"uuid": NETWORK, "fixed_ip": "10.9.0.5"}], "10.9.0.5"),
        ([{"uuid": NETWORK, "fixed_ip": "10.1.0.1"}], "gateway"),
        ([{"uuid": NETWORK, "fixed_ip": "not an address"}], "fixed_ip"),
        ([{"fixed_ip": "10.1.0.5"}], "uuid"),
        ([{"uuid": "lan"}], "uuid"),
        ([{"uuid": NETWORK, "nic": 1}], "Additional properties are not allowed"),
        ([{"uuid": NETWORK}] * 65, "at most 64"),
        ("auto", "auto"),
        ("everything", "everything"),
    ],
)
async def test_networks_that_cannot_be(world: World, networks: Any, says: str) -> None:
    port_id = await make_port(world)
    if isinstance(networks, list):
        networks = [
            {key: port_id if value == "PORT" else value for key, value in each.items()} for each in networks
        ]
    answer = await world.alice.at("2.1").post("/servers", body(networks=networks))
    assert answer.status == 400, answer.data
    assert says in answer.fault[1]
    assert await count(world) == 0


async def test_a_network_without_a_subnet_cannot_be_used(world: World) -> None:
    bare = NetworkId(new_uuid())
    await world.do(NetworkCreate(network_id=bare, project_id=world.alice.project_id, name="bare"))
    answer = await world.alice.post("/servers", body(networks=[{"uuid": bare}]))
    assert answer.status == 400
    assert "requires a subnet" in answer.fault[1]


async def test_an_external_network_is_for_admins(world: World) -> None:
    outside = await world.add_network(world.admin.project_id, "outside", "10.5.0.0/24", external=True)
    answer = await world.alice.post("/servers", body(networks=[{"uuid": outside}]))
    assert answer.status == 403
    assert (await world.admin.post("/servers", body(networks=[{"uuid": outside}]))).status == 202


async def test_an_address_in_use_is_refused_and_a_full_network_is_409(world: World) -> None:
    wanted = [{"uuid": NETWORK, "fixed_ip": "10.1.0.8"}]
    assert (await world.alice.post("/servers", body(networks=wanted))).status == 202
    answer = await world.alice.post("/servers", body(networks=wanted))
    assert answer.status == 400
    assert "already in use" in answer.fault[1]
    from proto.commands.networks import AllocationPool, SubnetCreate
    from proto.ids import SubnetId

    tiny = NetworkId(new_uuid())
    await world.do(NetworkCreate(network_id=tiny, project_id=world.alice.project_id, name="tiny"))
    await world.do(
        SubnetCreate(
            subnet_id=SubnetId(new_uuid()),
            network_id=tiny,
            project_id=world.alice.project_id,
            name="t",
            cidr="10.7.0.0/29",
            gateway_ip="10.7.0.1",
            pools=(AllocationPool("10.7.0.2", "10.7.0.3"),),
        )
    )
    for expected in (202, 202, 409):
        answer = await world.alice.post("/servers", body(networks=[{"uuid": tiny}]))
        assert answer.status == expected, answer.data
    assert "No more IP addresses" in answer.fault[1]


async def test_a_lost_race_for_an_address_is_drawn_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`apply` refuses an address that somebody took between the draw and the proposal."""
    from fabric.control import server_networks

    await world.alice.post("/servers", body(networks=[{"uuid": NETWORK, "fixed_ip": "10.1.0.50"}]))
    real, draws = server_networks.choose_fixed_ips, []

    async def stale(*arguments: Any) -> tuple[FixedIpChoice, ...]:
        draws.append(1)
        if len(draws) < 3:
            return (FixedIpChoice(SUBNET, "10.1.0.50"),)
        return await real(*arguments)

    monkeypatch.setattr(server_networks, "choose_fixed_ips", stale)
    assert (await world.alice.post("/servers", body())).status == 202
    assert len(draws) == 3
    used = await world.cloud.state.read(UsedAddresses(subnet_id=SUBNET))
    assert len(set(used)) == 2

    draws.clear()
    monkeypatch.setattr(server_networks, "choose_fixed_ips", _always_taken)
    answer = await world.alice.post("/servers", body())
    assert answer.status == 409
    assert "10 attempts" in answer.fault[1]
    assert await count(world) == 2


async def _always_taken(*arguments: Any) -> tuple[FixedIpChoice, ...]:
    return (FixedIpChoice(SUBNET, "10.1.0.50"),)


async def test_many_at_once(world: World) -> None:
    answer = await world.alice.post("/servers", body(min_count=2, max_count="3", return_reservation_id=True))
    assert answer.status == 202
    reservation = answer.json["reservation_id"]
    assert set(answer.json) == {"reservation_id"}
    listed = (await world.alice.get(f"/servers/detail?reservation_id={reservation}")).json["servers"]
    assert sorted(each["name"] for each in listed) == ["web-1-1", "web-1-2", "web-1-3"]
    addresses = {each["addresses"]["public"][0]["addr"] for each in listed}
    assert len(addresses) == 3


async def test_the_quota_decides_between_min_and_max_and_below_min_nothing_is_left(world: World) -> None:
    await world.do(QuotaSet(project_id=world.alice.project_id, limits={"instances": 3}))
    assert (await world.alice.post("/servers", body(min_count=1, max_count=2))).status == 202
    assert await count(world) == 2
    answer = await world.alice.post("/servers", body(min_count=2))
    assert answer.status == 403
    assert answer.fault == (
        "forbidden",
        "Quota exceeded for instances: Requested 2, but already used 2 of 3 instances",
    )
    assert await count(world) == 2
    assert (await world.alice.post("/servers", body(min_count=1, max_count=9))).status == 202
    assert await count(world) == 3
    answer = await world.alice.post("/servers", body())
    assert answer.status == 403
    assert answer.fault[1].startswith("Quota exceeded for instances")


async def test_of_two_that_want_the_same_room_one_gets_it(world: World) -> None:
    """Neither takes a part of it from the other and is then refused, too."""
    await world.do(QuotaSet(project_id=world.alice.project_id, limits={"instances": 8}))
    for _ in range(5):
        answers = await asyncio.gather(
            *(world.alice.post("/servers", body(min_count=5, return_reservation_id=True)) for _ in range(2))
        )
        assert sorted(answer.status for answer in answers) == [202, 403]
        (refused,) = (answer for answer in answers if answer.status == 403)
        assert refused.fault[1].startswith("Quota exceeded for instances: Requested 5, but already used 5 of")
        assert await count(world) == 5
        for server in (await world.alice.get("/servers")).json["servers"]:
            assert (await world.alice.delete(f"/servers/{server['id']}")).status == 204


async def test_who_can_do_with_fewer_takes_what_others_leave(world: World) -> None:
    await world.do(QuotaSet(project_id=world.alice.project_id, limits={"instances": 8}))
    answers = await asyncio.gather(
        *(world.alice.post("/servers", body(min_count=1, max_count=5)) for _ in range(3))
    )
    assert await count(world) == 8
    assert sorted(answer.status for answer in answers) in ([202, 202, 202], [202, 202, 403])


async def test_more_than_one_command_holds_are_all_made_or_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What refuses the second command is a limit that no guess beforehand knows of."""
    monkeypatch.setattr(server_proposals, "SERVERS_MAX", 2)
    await world.do(QuotaSet(project_id=world.alice.project_id, limits={"server_group_members": 3}))
    made = await world.alice.post(
        "/os-server-groups", {"server_group": {"name": "g", "policies": ["affinity"]}}
    )
    hints = {"os:scheduler_hints": {"group": made.json["server_group"]["id"]}}
    answer = await world.alice.post("/servers", {**body(min_count=4), **hints})
    assert answer.status == 403
    assert "too many servers in group" in answer.fault[1]
    assert await count(world) == 0
    assert await world.cloud.state.read(UsedAddresses(subnet_id=SUBNET)) == ()
    assert (await world.alice.post("/servers", {**body(min_count=1, max_count=4), **hints})).status == 202
    names = sorted(each["name"] for each in (await world.alice.get("/servers")).json["servers"])
    assert names == ["web-1-1", "web-1-2"]


async def test_many_fill_a_subnet_to_its_last_address(world: World) -> None:
    """None of them draws what another of the same request has drawn."""
    await world.do(QuotaSet(project_id=world.alice.project_id, limits={"instances": 20}))
    network = await world.add_network(world.alice.project_id, "small", "10.77.0.0/28")
    wanted = body(min_count=13, networks=[{"uuid": network}])  # 16, less the ends and the gateway
    assert (await world.alice.post("/servers", wanted)).status == 202
    answer = await world.alice.post("/servers", body(networks=[{"uuid": network}]))
    assert (answer.status, "No more IP addresses" in answer.fault[1]) == (409, True)


async def test_one_address_cannot_serve_many(world: World) -> None:
    answer = await world.alice.post(
        "/servers", body(max_count=2, networks=[{"uuid": NETWORK, "fixed_ip": "10.1.0.8"}])
    )
    assert answer.status == 400
    assert "single configured port ID or fixed IP" in answer.fault[1]


async def test_the_image_must_be_there_ready_and_small_enough(world: World) -> None:
    missing, queued, hidden, large = (ImageId(new_uuid()) for _ in range(4))
    await world.do(ImageCreate(image_id=queued, project_id=world.alice.project_id, visibility="private"))
    await world.do(ImageCreate(image_id=hidden, project_id=world.bob.project_id, visibility="private"))
    from proto.commands.catalog import ImageActivate
    from tests.api.compute.world import HOSTS

    for image_id, fields in ((large, {"min_ram_mb": 1_024}),):
        await world.do(ImageCreate(image_id=image_id, project_id=world.alice.project_id, **fields))
        await world.do(
            ImageActivate(
                image_id=image_id,
                size_bytes=5,
                virtual_bytes=3 << 30,
                md5="0" * 32,
                sha512="0" * 128,
                sha256="1" * 64,
                node_id=HOSTS[0],
            )
        )
    await world.do(FlavorCreate(flavor_id=FlavorId("2"), name="m1.ram", vcpus=1, memory_mb=2_048, root_gb=1))
    for image_id, flavor, says in (
        (missing, FLAVOR, "could not be found"),
        (hidden, FLAVOR, "could not be found"),
        (queued, FLAVOR, "is not active"),
        (large, FLAVOR, "memory is too small"),
        (large, "2", "disk is too small"),
    ):
        answer = await world.alice.post("/servers", body(imageRef=image_id, flavorRef=flavor))
        assert answer.status == 400, answer.data
        assert says in answer.fault[1]
    await world.do(FlavorCreate(flavor_id=FlavorId("0"), name="m0", vcpus=1, memory_mb=2_048, root_gb=0))
    assert (await world.alice.post("/servers", body(imageRef=large, flavorRef="0"))).status == 202


async def test_a_disk_that_is_the_image_may_be_spelt_out(world: World) -> None:
    disk = {
        "boot_index": 0,
        "uuid": IMAGE,
        "source_type": "image",
        "destination_type": "local",
        "delete_on_termination": True,
    }
    for fields in ({}, {"imageRef": ""}, {"imageRef": ...}):
        answer = await world.alice.post("/servers", body(block_device_mapping_v2=[disk], **fields))
        assert answer.status == 202, answer.data
    for change in (
        {"destination_type": "volume", "volume_size": 10},
        {"source_type": "volume"},
        {"boot_index": -1},
        {"boot_index": 1},
        {"device_name": "/dev/vdb"},
        {"uuid": new_uuid()},
    ):
        answer = await world.alice.post("/servers", body(block_device_mapping_v2=[disk | change]))
        assert answer.status == 400
        assert "block_device_mapping_v2" in answer.fault[1]
    answer = await world.alice.post("/servers", body(imageRef=""))
    assert answer.status == 400
    assert "imageRef" in answer.fault[1]


async def test_what_is_not_built_is_refused_and_never_forgotten(world: World) -> None:
    for fields, says in (
        ({"personality": [{"path": "/etc/x", "contents": "eA=="}]}, "personality"),
        ({"block_device_mapping": [{"volume_id": new_uuid()}]}, "block_device_mapping"),
        ({"accessIPv4": "1.2.3.4"}, "accessIPv4"),
    ):
        answer = await world.alice.post("/servers", body(**fields))
        assert answer.status == 400
        assert says in answer.fault[1]
    answer = await world.alice.at("2.63").post(
        "/servers", body(networks="none", trusted_image_certificates=["a"])
    )
    assert answer.status == 400


async def test_a_host_is_for_admins_to_choose(world: World) -> None:
    for version, fields in (
        ("2.1", {"availability_zone": "nova:h2"}),
        ("2.1", {"availability_zone": ":h2"}),
        ("2.1", {"availability_zone": "nova::h2"}),
        ("2.1", {"availability_zone": "nova:h2:h2"}),
        ("2.74", {"host": "h2", "networks": "auto"}),
        ("2.74", {"hypervisor_hostname": "h2", "networks": "auto"}),
    ):
        assert (await world.alice.at(version).post("/servers", body(**fields))).status == 403
        answer = await world.admin.at(version).post("/servers", body(**fields))
        assert answer.status == 202, answer.data
        server = await world.server(answer.json["server"]["id"])
        assert server.host_wanted == "h2"
    unknown, mixed = "Compute host h9 could not be found.", "are mutually exclusive."
    for version, fields, words in (
        ("2.1", {"availability_zone": "nova:h9"}, unknown),
        ("2.1", {"availability_zone": "nova:h1:h2"}, "Compute host h1 has no hypervisor h2."),
        ("2.1", {"availability_zone": "nova:h1:h1:h1"}, "Unable to parse availability_zone"),
        ("2.1", {"availability_zone": "moon"}, "The requested availability zone is not available"),
        ("2.74", {"host": "h9", "networks": "auto"}, unknown),
        ("2.74", {"hypervisor_hostname": "h9", "networks": "auto"}, unknown),
        ("2.74", {"host": "h1", "hypervisor_hostname": "h2", "networks": "auto"}, "no hypervisor h2"),
        ("2.74", {"host": "h1", "availability_zone": "nova:h1", "networks": "auto"}, mixed),
        ("2.73", {"host": "h1", "networks": "auto"}, "host"),
    ):
        answer = await world.admin.at(version).post("/servers", body(**fields))
        assert answer.status == 400
        assert words in answer.fault[1]


async def test_beside_a_forced_host_its_own_zone_counts(world: World) -> None:
    answer = await world.admin.post("/servers", body(availability_zone="nova:h3"))
    server = await world.server(answer.json["server"]["id"])
    assert (server.host_wanted, server.zone_wanted) == ("h3", "rack2")
    answer = await world.admin.post("/servers", body(availability_zone=":h3"))
    server = await world.server(answer.json["server"]["id"])
    assert (server.host_wanted, server.zone_wanted) == ("h3", None)
    wanted = body(host="h3", availability_zone="rack2", networks="auto")
    answer = await world.admin.at("2.74").post("/servers", wanted)
    server = await world.server(answer.json["server"]["id"])
    assert (server.host_wanted, server.zone_wanted) == ("h3", "rack2")


async def test_security_groups_by_name_and_id(world: World) -> None:
    from proto.commands.networks import SecurityGroupCreate
    from proto.ids import SecurityGroupId

    web = SecurityGroupId(new_uuid())
    await world.do(SecurityGroupCreate(security_group_id=web, project_id=world.alice.project_id, name="web"))
    for name in ("web", web):
        answer = await world.alice.post("/servers", body(security_groups=[{"name": name}]))
        assert answer.status == 202
        assert answer.json["server"]["security_groups"] == [{"name": name}]
        view = await world.cloud.state.read(GetServer(server_id=ServerId(answer.json["server"]["id"])))
        assert view is not None
        assert view.security_groups == ("web",)
    answer = await world.bob.post("/servers", body(security_groups=[{"name": "web"}]))
    assert answer.status == 400
    assert "Security group web not found" in answer.fault[1]
    answer = await world.alice.post("/servers", body(security_groups=[{"name": "web"}, {"name": "default"}]))
    assert answer.status == 202


async def test_a_port_of_its_own_keeps_its_groups(world: World) -> None:
    port_id = await make_port(world)
    await world.alice.post("/servers", body(networks=[{"port": port_id}]))
    port = await world.cloud.state.read(GetPort(port_id=port_id))
    assert port is not None
    assert port.security_group_ids == ()


async def test_a_reader_may_not(world: World) -> None:
    answer = await world.reader.post("/servers", body())
    assert answer.status == 403
    assert await count(world) == 0
