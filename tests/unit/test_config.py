"""The configuration file: every mistake is named with its fix; what `fabric init` writes loads again."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from fabric import config
from fabric.errors import ConfigError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "fabric.toml"
    path.write_text(text)
    return path


def test_defaults_file_environment_in_that_order(tmp_path: Path) -> None:
    path = write(tmp_path, '[node]\nname = "a"\nzone = "z1"\n[api]\nport = 9000\n')
    loaded = config.load(path, {"FABRIC_NODE_ZONE": "z2", "FABRIC_API_TOKEN_TTL_S": "600"})
    assert loaded.config.node.name == "a"
    assert loaded.config.node.zone == "z2"
    assert loaded.config.api.port == 9000
    assert loaded.config.api.token_ttl_s == 600
    assert loaded.origins["node.name"] == str(path)
    assert loaded.origins["node.zone"] == "FABRIC_NODE_ZONE"
    assert loaded.origins["mesh.port"] == "default"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[node]\nnam = 'x'", "unknown setting node.nam; did you mean name?"),
        ("[nodes]\nname = 'x'", "unknown section [nodes]; did you mean node?"),
        ("[api]\nport = 'x'", "api.port: expected a whole number, got 'x'"),
        ("[api]\nport = true", "api.port: expected a whole number, got True"),
        ("[api]\nport = 70000", "api.port: 70000 is not a TCP port"),
        ("[mesh]\naddress = 'host'", "mesh.address: 'host' is not an IP address"),
        ("[compute]\ndriver = 'xen'", "compute.driver: 'xen' is unknown; valid: libvirt, sim"),
        ("[compute]\nmonitors = ['gpu']", "compute.monitors: 'gpu' is unknown; valid: cpu.virt_driver"),
        ("[compute]\ncpu_ratio = 0", "compute.cpu_ratio"),
        ("[compute]\nmove_deadline_s = 0", "compute.move_deadline_s: 0 must be between 1 and 86400 seconds"),
        ('[compute]\ncpu_dedicated_set = "2-"', "compute.cpu_dedicated_set: '2-'"),
        ('[compute]\ncpu_shared_set = "1,^1"', "compute.cpu_shared_set: '1,^1' names no processor"),
        (
            '[compute]\ncpu_dedicated_set = "2-5"\ncpu_shared_set = "0-3"',
            "compute.cpu_shared_set: processor 2-3 is in cpu_dedicated_set",
        ),
        ("[network]\nuplinks = { phy0 = 1 }", "network.uplinks"),
        ("[state]\nurl = 'mysql://x'", "state.url"),
        ("[voters]\ntarget = 2", "voters.target: 2; valid: 0, 1, 3, 5"),
        ("[voters]\ntarget = 7", "voters.target: 7; valid: 0, 1, 3, 5"),
        ("[voters]\neligible = 1", "voters.eligible: expected"),
        ("[log]\nlevel = 'loud'", "log.level"),
        (
            "[api]\nvirtual_address = 'host/24'",
            "api.virtual_address: 'host/24' is not an address",
        ),
        ("[api]\nvirtual_address = '10.0.0.100'", "api.virtual_address: 10.0.0.100 needs its prefix length"),
        ("[api]\nvirtual_address = '127.0.0.5/8'", "api.virtual_address: 127.0.0.5/8 cannot move"),
        ("[api]\nvirtual_address = 'fe80::5/64'", "api.virtual_address: fe80::5/64 cannot move"),
        ("[api]\nvirtual_address = '10.0.0.255/24'", "take a free address in 10.0.0.0/24"),
        ("[api]\nvirtual_address = 'fd00::/64'", "take a free address in fd00::/64"),
        ("[api]\nvirtual_address = '10.0.0.9/24'\nlisten = '10.0.0.1'", "api.listen: 10.0.0.1 does not"),
        ("[api]\nvirtual_address = 'fd00::9/64'", "api.listen: 0.0.0.0 does not answer"),
        ("[api]\nvirtual_address = '10.0.0.9/24'\n[mesh]\naddress = '10.0.0.9'", "mesh.address: 10.0.0.9 is"),
        ("[api]\nvirtual_interface = 'eth0'", "api.virtual_interface: has no use without"),
        ("[api]\nvirtual_address = '10.0.0.9/24'\nvirtual_interface = 'a b'", "'a b' is no interface name"),
        (
            "[api]\nvirtual_address = '10.0.0.9/24'\nvirtual_interface = 'eth1'\n"
            "[network]\nuplinks = { phy0 = 'eth1' }",
            "api.virtual_interface: eth1 is in network.uplinks",
        ),
        ("nonsense", "not valid TOML"),
    ],
)
def test_mistakes_name_the_field(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path, text), {})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "virtual_address = '10.0.0.100/24'",
        "virtual_address = '10.0.0.100/32'\nvirtual_interface = 'eth0.12'",
        "virtual_address = 'fd00::100/64'\nlisten = '::'",
    ],
)
def test_virtual_addresses_that_work(tmp_path: Path, text: str) -> None:
    assert config.load(write(tmp_path, f"[api]\n{text}\n"), {}).config.api.virtual_address


def test_a_missing_file_names_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fabric init"):
        config.load(tmp_path / "none.toml", {})


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "fabric.toml"
    with path.open("wb") as out:
        out.truncate(config.CONFIG_BYTES_MAX + 1)
    with pytest.raises(ConfigError, match="larger"):
        config.load(path, {})


def test_what_init_writes_loads_to_the_same(tmp_path: Path) -> None:
    made = config.Config(
        node=config.NodeSection(name="n1", zone='quo"te\\1'),
        network=config.NetworkSection(uplinks={"phy0": "eth1"}),
        compute=config.ComputeSection(memory_ratio=2.5),
    )
    assert config.load(write(tmp_path, config.render(made)), {}).config == made


def test_every_setting_is_explained_and_in_the_file() -> None:
    text = config.render(config.Config())
    assert tomllib.loads(text) == {name: {} for name in config.sections()}  # defaults are comments
    for section in config.sections().values():
        for item in dataclasses.fields(section):
            assert item.metadata["doc"].endswith((".", "]", ")")), item.name
            assert f"# {item.name} = " in text


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('[mesh]\naddress = "0.0.0.0"', "mesh.address"),
        ('[mesh]\naddress = "::"', "mesh.address"),
        ('[mesh]\naddress = "224.0.0.1"', "mesh.address"),
        ("[mesh]\nport = 7401", "mesh.port"),
        ("[api]\nport = 7400", "api.port"),
        ("[metrics]\nport = -1", "metrics.port: -1 is not a TCP port"),
        ("[metrics]\nlisten = '0.0.0.0'\nport = 7401", "metrics.port: 7401 is taken"),
        ('[node]\nname = "a b"', "node.name"),
        (f'[node]\nname = "{"x" * 64}"', "node.name"),
        ('[node]\nname = "-a"', "node.name"),
        ("[compute]\nstop_grace_s = -1", "compute.stop_grace_s"),
        ("[compute]\nbuild_concurrency = -1", "compute.build_concurrency"),
        ("[compute]\nsim_vcpus = 0", "compute.sim_vcpus"),
        ("[api]\nimage_bytes_max = 0", "api.image_bytes_max"),
    ],
)
def test_what_would_fail_later_is_refused_at_once(tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "fabric.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=field.replace(".", r"\.")):
        config.load(path, {})


def test_any_text_survives_being_written_and_read(tmp_path: Path) -> None:
    odd = 'a"b\\c\nd\te\x7fü\U0001f600'
    made = config.Config(
        node=config.NodeSection(zone=odd),
        network=config.NetworkSection(uplinks={"phy.0 x": 'eth"1', "phy1": "eth2"}),
        mesh=config.MeshSection(port=0, door_port=0),  # as many free ones as it takes
    )
    path = tmp_path / "fabric.toml"
    path.write_text(config.render(made))
    assert config.load(path, {}).config == made


def test_the_file_promises_nothing_that_is_refused() -> None:
    """`fabric init` refuses port 0 of the mesh, and opens the state directory for QEMU."""
    text = config.render(config.Config())
    mesh = text[text.index("[mesh]") : text.index("[api]")]
    assert "any free port" not in mesh
    assert "0700" not in text
