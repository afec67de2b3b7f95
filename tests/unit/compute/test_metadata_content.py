"""What guests are told: whole documents, written out."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from typing import Any

import pycdlib
import pytest

from fabric.compute.metadata import ec2, openstack
from fabric.compute.metadata.config_drive import files, make_config_drive
from fabric.compute.metadata.facts import GuestFacts, random_seed
from fabric.compute.metadata.network_data import network_data
from fabric.compute.metadata.paths import find
from fabric.core.servers.model import AssignedServer
from tests.fixtures.compute_rows import assigned, flavor, image, network, placed, port, subnet, uuid_of

KEY = "ssh-ed25519 AAAAC3 me@home"
SERVER = placed(
    key_name="mykey",
    public_key=KEY + "\n",
    user_data=b"#!/bin/sh\n\x00\xff",
    metadata={"role": "web"},
    admin_pass="s3cret",
    config_drive=True,
)


def facts(row: AssignedServer | None = None) -> GuestFacts:
    row = row if row is not None else assigned(SERVER)
    return GuestFacts(assigned=row, security_group_names=("default", "web"), random_seed=bytes(512))


def plain() -> GuestFacts:
    return facts(assigned(placed()))


def get(path: str, about: GuestFacts | None = None) -> bytes | None:
    found = find(about or facts(), path)
    return found.body if found is not None else None


def text(path: str, about: GuestFacts | None = None) -> str:
    body = get(path, about)
    assert body is not None, path
    return body.decode()


def document(path: str, about: GuestFacts | None = None) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(text(path, about))
    return value


OPENSTACK_VERSIONS = [
    "2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30", "2016-10-06", "2017-02-22",
    "2018-08-27", "2020-10-14", "2025-04-04", "latest",
]  # fmt: skip
EC2_VERSIONS = [
    "1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01",
    "2008-09-01", "2009-04-04", "latest",
]  # fmt: skip


def test_version_lists() -> None:
    assert text("/openstack").split("\n") == OPENSTACK_VERSIONS
    assert text("/openstack/") == text("/openstack")
    assert text("/").split("\n") == EC2_VERSIONS


def test_meta_data_json_in_full() -> None:
    assert document("/openstack/latest/meta_data.json") == {
        "uuid": SERVER.server_id,
        "name": "web-1",
        "hostname": "web-1",
        "launch_index": 0,
        "availability_zone": "nova",
        "project_id": SERVER.project_id,
        "public_keys": {"mykey": KEY + "\n"},
        "keys": [{"name": "mykey", "type": "ssh", "data": KEY + "\n"}],
        "meta": {"role": "web"},
        "random_seed": base64.b64encode(bytes(512)).decode(),
        "devices": [],
        "dedicated_cpus": [],
    }


def test_old_versions_have_what_they_had() -> None:
    oldest = document("/openstack/2012-08-10/meta_data.json")
    assert set(oldest) == {
        "uuid", "name", "hostname", "launch_index", "availability_zone", "meta", "public_keys", "keys",
    }  # fmt: skip
    assert "random_seed" in document("/openstack/2013-04-04/meta_data.json")
    assert "project_id" not in document("/openstack/2013-10-17/meta_data.json")
    assert "dedicated_cpus" not in document("/openstack/2018-08-27/meta_data.json")


FILES = [
    ("2012-08-10", "meta_data.json user_data"),
    ("2013-10-17", "meta_data.json user_data vendor_data.json"),
    ("2015-10-15", "meta_data.json user_data vendor_data.json network_data.json"),
    ("latest", "meta_data.json user_data vendor_data.json network_data.json vendor_data2.json"),
]


@pytest.mark.parametrize(("version", "names"), FILES)
def test_files_of_a_version(version: str, names: str) -> None:
    assert text(f"/openstack/{version}/").split("\n") == names.split()
    for name in names.split():
        assert get(f"/openstack/{version}/{name}") is not None
    assert "user_data" not in text(f"/openstack/{version}", plain())


def test_user_data_is_byte_for_byte_or_absent() -> None:
    assert get("/openstack/latest/user_data") == SERVER.user_data
    assert get("/latest/user-data") == SERVER.user_data
    assert get("/openstack/latest/user_data", plain()) is None
    assert get("/latest/user-data", plain()) is None


def test_vendor_data_is_an_empty_object() -> None:
    assert document("/openstack/latest/vendor_data.json") == {}
    assert document("/openstack/2016-10-06/vendor_data2.json") == {}
    assert get("/openstack/2015-10-15/vendor_data2.json") is None


def test_no_admin_password_over_the_network() -> None:
    for version in OPENSTACK_VERSIONS:
        assert b"s3cret" not in (get(f"/openstack/{version}/meta_data.json") or b"")


def test_without_a_key_there_is_no_key() -> None:
    assert not {"keys", "public_keys", "meta"} & set(document("/openstack/latest/meta_data.json", plain()))
    assert "public-keys" not in text("/latest/meta-data/", plain())


@pytest.mark.parametrize(
    "path",
    [
        "/openstack/1999-01-01/", "/openstack/1999-01-01/meta_data.json", "/openstack/latest/nothing",
        "/openstack/latest/meta_data.json/more", "/openstack/content/0000", "/2021-03-23/meta-data/",
        "/latest/nothing", "/latest/meta-data/instance-id/more", "/latest/meta-data/public-keys/1",
        "/latest/meta-data/public-keys/0/_name", "/latest/api/token", "/latest/dynamic/", "/favicon.ico",
    ],
)  # fmt: skip
def test_what_does_not_exist(path: str) -> None:
    assert get(path) is None


def test_network_data_with_dhcp() -> None:
    tap = "tap" + port().port_id[:11]
    assert document("/openstack/latest/network_data.json") == {
        "links": [
            {
                "id": tap,
                "type": "bridge",
                "ethernet_mac_address": port().mac,
                "mtu": 1500,
                "vif_id": port().port_id,
            }
        ],
        "networks": [
            {
                "id": "network0",
                "link": tap,
                "type": "ipv4_dhcp",
                "network_id": uuid_of("net-a"),
                "ip_address": "10.0.0.5",
            }
        ],
        "services": [{"type": "dns", "address": "9.9.9.9"}],
    }


def test_network_data_without_dhcp_says_all_that_dhcp_would() -> None:
    fixed = subnet(enable_dhcp=False, host_routes=("192.168.0.0/16 via 10.0.0.9",))
    (entry,) = network_data(facts(assigned(SERVER, networks=(network("net-a", fixed),))))["networks"]  # type: ignore[misc]
    assert entry == {
        "id": "network0",
        "link": "tap" + port().port_id[:11],
        "type": "ipv4",
        "network_id": uuid_of("net-a"),
        "ip_address": "10.0.0.5",
        "netmask": "255.255.255.0",
        "routes": [
            {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"},
            {"network": "192.168.0.0", "netmask": "255.255.0.0", "gateway": "10.0.0.9"},
        ],
        "services": [{"type": "dns", "address": "9.9.9.9"}],
    }


def test_ec2_tree_in_full() -> None:
    row = assigned(
        replace(SERVER, flavor=flavor(ephemeral_gb=1, swap_mb=64)), kernel=image(), ramdisk=image()
    )
    about = facts(row)
    assert text("/latest/", about) == "meta-data/\nuser-data"
    listing = text("/latest/meta-data/", about).split("\n")
    assert listing == text("/latest/meta-data", about).split("\n")
    leaves = {name: text(f"/latest/meta-data/{name}", about) for name in listing if not name.endswith("/")}
    short = SERVER.server_id[:8]
    ami = SERVER.image_id[:8]
    assert leaves == {
        "ami-id": f"ami-{ami}",
        "ami-launch-index": "0",
        "ami-manifest-path": "(unknown)",
        "hostname": "web-1",
        "instance-action": "none",
        "instance-id": f"i-{short}",
        "instance-type": "m1.tiny",
        "kernel-id": f"aki-{ami}",
        "local-hostname": "web-1",
        "local-ipv4": "10.0.0.5",
        "public-hostname": "web-1",
        "public-ipv4": "",
        "ramdisk-id": f"ari-{ami}",
        "reservation-id": "r-abcdefgh",
        "security-groups": "default\nweb",
    }
    branches = [name for name in listing if name.endswith("/")]
    assert branches == ["block-device-mapping/", "placement/", "public-keys/"]
    assert text("/latest/meta-data/block-device-mapping/", about) == "ami\nephemeral0\nroot\nswap"
    assert text("/latest/meta-data/block-device-mapping/swap", about) == "/dev/vdc"
    assert text("/latest/meta-data/placement/availability-zone", about) == "nova"
    assert text("/latest/meta-data/public-keys/", about) == "0=mykey"
    assert text("/latest/meta-data/public-keys/0/", about) == "openssh-key"
    assert text("/latest/meta-data/public-keys/0/openssh-key", about) == KEY


@pytest.mark.parametrize("version", EC2_VERSIONS)
def test_every_ec2_listing_can_be_walked(version: str) -> None:
    """As cloud-init does: each line is a leaf, a branch with a slash, or "N=name"."""

    def walk(path: str) -> int:
        count = 0
        for line in text(path).split("\n"):
            child = line.split("=")[0] + "/" if "=" in line else line
            if child.endswith("/"):
                count += walk(path + child)
            else:
                assert get(path + child) is not None
                count += 1
        return count

    assert walk(f"/{version}/") >= 9
    assert ("instance-type" in text(f"/{version}/meta-data/")) is (version >= "2007-08-29")


def test_random_seed_is_stable_secret_and_distinct() -> None:
    seed = random_seed(b"k" * 32, "a")
    assert len(seed) == 512
    assert seed == random_seed(b"k" * 32, "a")
    assert seed != random_seed(b"k" * 32, "b")
    assert seed != random_seed(b"x" * 32, "a")


def read_back(image_bytes: bytes, kind: str) -> dict[str, bytes]:
    """Path -> content as the guest's file system would show it (Rock Ridge or Joliet names)."""
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(image_bytes))
    found = {}
    for folder, _, names in iso.walk(**{kind: "/"}):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            out = io.BytesIO()
            iso.get_file_from_iso_fp(out, **{kind: path})
            found[path.lstrip("/")] = out.getvalue()
    iso.close()
    return found


@pytest.mark.parametrize("kind", ["rr_path", "joliet_path"])
def test_config_drive_reads_back_whole(kind: str) -> None:
    drive = make_config_drive(facts())
    assert drive[32808 : 32808 + 32].rstrip() == b"config-2"  # the volume identifier, ECMA-119 8.4.7
    tree = read_back(drive, kind)
    assert tree == files(facts())
    meta = json.loads(tree["openstack/latest/meta_data.json"])
    assert meta["admin_pass"] == "s3cret"
    assert tree["openstack/2018-08-27/user_data"] == SERVER.user_data
    assert tree["ec2/latest/user-data"] == SERVER.user_data
    assert json.loads(tree["ec2/latest/meta-data.json"])["instance-id"] == f"i-{SERVER.server_id[:8]}"
    assert {path.split("/")[1] for path in tree if path.startswith("openstack")} == set(OPENSTACK_VERSIONS)


def test_config_drive_without_password_or_user_data() -> None:
    tree = files(plain())
    assert "admin_pass" not in json.loads(tree["openstack/latest/meta_data.json"])
    assert not [path for path in tree if "user" in path.rsplit("/", 1)[-1]]


def test_config_drive_is_deterministic_whatever_the_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    first = make_config_drive(facts())
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setattr("time.time", lambda: 4_000_000_000.0)
    assert make_config_drive(facts()) == first
    other = replace(SERVER, name="web-2")
    assert make_config_drive(facts(assigned(other))) != first


def test_a_large_user_data_fits() -> None:
    big = replace(SERVER, user_data=bytes(range(256)) * 256)
    tree = read_back(make_config_drive(facts(assigned(big))), "rr_path")
    assert tree["openstack/latest/user_data"] == big.user_data


def test_ec2_ids() -> None:
    assert ec2.ec2_id("i", "12345678-aaaa-bbbb-cccc-dddddddddddd") == "i-12345678"
    assert tuple(sorted(openstack.VERSIONS)) == openstack.VERSIONS
