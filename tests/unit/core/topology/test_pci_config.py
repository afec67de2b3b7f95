"""Which devices an operator means, under which names; and what is refused, with what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fabric.config import Config, load, render
from fabric.core.topology.model import Affinity
from fabric.core.topology.pci_config import Device, read_pci_config
from fabric.errors import ConfigError

GPU = Device(address="0000:81:00.0", vendor_id="10de", product_id="1db4", kind="type-PCI")
PART = Device(
    address="0000:82:10.1", vendor_id="8086", product_id="1528", kind="type-VF", parent="0000:82:00.0"
)
NAMES = [
    {"name": "gpu", "vendor_id": "10DE", "product_id": "1db4"},
    {"name": "any", "vendor_id": "10de"},
    {"name": "any", "vendor_id": "1002"},
    {"name": "part", "product_id": "1528", "device_type": "type-VF", "numa_policy": "preferred"},
]


@pytest.mark.parametrize(
    ("spec", "gpu", "part"),
    [
        ({"vendor_id": "10de"}, True, False),
        ({"vendor_id": "10de", "product_id": "1db5"}, False, False),
        ({"vendor_id": "*", "product_id": "1528"}, False, True),
        ({"address": "0000:81:00.0"}, True, False),
        ({"address": "0:81:0.0"}, True, False),
        ({"address": "*:81:*.*"}, True, False),
        ({"address": "0000:82:00.*"}, False, True),  # the card that it is a part of
        ({"address": "0000:82:10.2"}, False, False),
        ({"address": "*:*:*.*", "vendor_id": "8086"}, False, True),
        ({"address": "*:*:*.*", "physical_network": "phy0"}, False, False),
    ],
)
def test_what_is_meant(spec: dict[str, str], gpu: bool, part: bool) -> None:
    config = read_pci_config([spec], NAMES)
    assert config.names_of(GPU) == ({"any": Affinity.LEGACY, "gpu": Affinity.LEGACY} if gpu else {})
    assert config.names_of(PART) == ({"part": Affinity.PREFERRED} if part else {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("device_spec = [{ vendor = '10de' }]", "pci.device_spec[0]: there is no 'vendor'; it may have"),
        ("device_spec = [{ physical_network = 'phy0' }]", "pci.device_spec[0]: says no device; give"),
        ("device_spec = [{ vendor_id = '0x10de' }]", "pci.device_spec[0].vendor_id: '0x10de' must be four"),
        ("device_spec = [{ address = '81:00.0' }]", "pci.device_spec[0].address: '81:00.0' must be domain"),
        ("device_spec = [{ address = '0000:81:00.0', physical_network = '' }]", "physical_network: is empty"),
        ("device_spec = { vendor_id = '10de' }", "pci.device_spec: expected a list of tables of text"),
        ("device_spec = [{ vendor_id = 10 }]", "pci.device_spec: expected a list of tables of text"),
        ("alias = [{ name = 'a:b', vendor_id = '10de' }]", "pci.alias[0].name: 'a:b' must be 1 to 255"),
        ("alias = [{ vendor_id = '10de' }]", "pci.alias[0].name: '' must be"),
        ("alias = [{ name = 'gpu' }]", "pci.alias[0]: alias gpu names no device; give vendor_id"),
        ("alias = [{ name = 'g', vendor_id = '10de', device_type = 'PF' }]", "'PF' is unknown; valid: type-"),
        ("alias = [{ name = 'g', vendor_id = '10de', numa_policy = 'near' }]", "'near' is unknown; valid: "),
        (
            "alias = [{ name = 'g', vendor_id = '10de' }, "
            "{ name = 'g', vendor_id = '8086', device_type = 'type-VF' }]",
            "pci.alias[1]: alias g has another device_type or numa_policy than before",
        ),
        ("aliases = []", "unknown setting pci.aliases; did you mean alias?"),
    ],
)  # fmt: skip
def test_bad_ones_are_refused_at_the_start(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "fabric.toml"
    path.write_text(f"[pci]\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert words in str(caught.value)


def test_good_ones_come_from_file_and_environment_and_are_written_again(tmp_path: Path) -> None:
    path = tmp_path / "fabric.toml"
    path.write_text('[pci]\n[[pci.device_spec]]\nvendor_id = "10de"\n')
    alias = '[{ name = "gpu", vendor_id = "10de", numa_policy = "required" }]'
    config = load(path, {"FABRIC_PCI_ALIAS": alias}).config
    assert config.pci.read().names_of(GPU) == {"gpu": Affinity.REQUIRED}
    path.write_text(render(config))
    assert load(path, {}).config.pci == config.pci
    assert Config().pci.read().names_of(GPU) == {}


def test_there_are_bounds() -> None:
    many: list[Any] = [{"vendor_id": "10de"}] * 1_001
    with pytest.raises(ValueError, match=r"pci\.device_spec: 1001 entries; at most 1000"):
        read_pci_config(many, [])
    with pytest.raises(ValueError, match=r"pci\.alias: 65 names; at most 64"):
        read_pci_config([], [{"name": f"a{number}", "vendor_id": "10de"} for number in range(65)])
