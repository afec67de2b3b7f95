"""provider.yaml: what is read of it, and each way it is refused, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.compute.provider_config import read_provider_config
from fabric.compute.supplement import ProviderConfig, Supplement
from fabric.core.placement.inventory import Inventory
from fabric.errors import ConfigError
from proto.ids import NodeId

NODE = NodeId("0123456789abcdef" * 2)
UUID = "01234567-89ab-cdef-0123-456789abcdef"
HEAD = "meta:\n  schema_version: '1.0'\nproviders:\n"
GOOD = (
    HEAD
    + """\
  - identification: {uuid: $COMPUTE_NODE}
    inventories:
      additional:
        - CUSTOM_FPGA: {total: 8, reserved: 1, min_unit: 2, max_unit: 4, step_size: 2, allocation_ratio: 1.5}
        - VGPU: {total: 3}
    traits:
      additional: [CUSTOM_SSD, HW_NIC_SRIOV, CUSTOM_SSD]
"""
)


def read(tmp_path: Path, *texts: str) -> ProviderConfig:
    for number, text in enumerate(texts, 1):
        (tmp_path / f"{number}.yaml").write_text(text)
    return read_provider_config(tmp_path)


def one(key: str, trait: str) -> str:
    return f"  - identification: {{{key}}}\n    traits:\n      additional: [{trait}]\n"


def test_a_file_adds_classes_and_traits(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD).of(NODE, "h1")
    fpga = Inventory(total=8, reserved=1, min_unit=2, max_unit=4, step_size=2, ratio_milli=1_500)
    assert found.inventories == {"CUSTOM_FPGA": fpga, "VGPU": Inventory(total=3, max_unit=3)}
    assert found.traits == ("CUSTOM_SSD", "HW_NIC_SRIOV")


def test_nothing_there_adds_nothing(tmp_path: Path) -> None:
    assert read_provider_config(tmp_path / "none").of(NODE, "h1") == Supplement()
    (tmp_path / "notes.txt").write_text("not for us")
    assert read(tmp_path, "meta: {schema_version: '1.0'}\n").of(NODE, "h1") == Supplement()


def test_one_set_of_files_serves_many_hosts(tmp_path: Path) -> None:
    text = HEAD + one("uuid: $COMPUTE_NODE", "CUSTOM_ANY") + one("name: h2", "CUSTOM_SECOND")
    config = read(tmp_path, text, HEAD + one(f"uuid: {UUID}", "CUSTOM_BY_ID"))
    other = NodeId("f" * 32)
    assert config.of(NODE, "h1").traits == ("CUSTOM_BY_ID",)
    assert config.of(other, "h2").traits == ("CUSTOM_SECOND",)
    assert config.of(other, "h3").traits == ("CUSTOM_ANY",)
    with pytest.raises(ConfigError, match=r"2\.yaml:4: .*1\.yaml:7 is about provider h2, too"):
        config.of(NODE, "h2")


INVENTORY = HEAD + "  - identification: {name: h1}\n    inventories:\n      additional:\n        - "
BAD = [
    ("", 1, "empty"),
    ("meta: [", 1, "not YAML"),
    ("a: b\n  c: d\n", 2, "not YAML"),
    ("- 1\n", 1, "must be a mapping"),
    ("providers: []\n", 1, "meta is missing; add it"),
    ("meta:\n  schema_version: '2.0'\n", 2, "schema_version '2.0'; it must be '1.0'"),
    ("meta:\n  schema_version: 1.0\n", 2, "1.0 is no text; put it in quotes"),
    (HEAD + "  identification: {name: h1}\n", 4, "providers must be a list"),
    (HEAD + "  - traits: {}\n", 4, "identification is missing"),
    (HEAD + "  - identification: {}\n", 4, "either uuid or name"),
    (HEAD + "  - identification: {uuid: 7-7}\n", 4, "uuid '7-7'; it must be $COMPUTE_NODE"),
    (HEAD + "  - identification: {name: $COMPUTE_NODE}\n", 4, "write uuid: $COMPUTE_NODE"),
    (HEAD + "  - identification: {name: h1}\n    trait: {}\n", 5, "has no 'trait'; it may have"),
    (HEAD + "  - identification: {name: h1}\n    traits: {additional: [SSD]}\n", 5, "begin with CUSTOM_"),
    (HEAD + "  - identification: {name: h1}\n    traits: {additional: [7]}\n", 5, "7 is no text"),
    (INVENTORY + "VCPU: {total: 8}\n", 7, "VCPU is the host's own; set its ratio in [compute]"),
    (INVENTORY + "PCPU: {total: 8}\n", 7, "PCPU is the host's own; set [compute] cpu_dedicated_set"),
    (INVENTORY + "GOLD: {total: 8}\n", 7, "'GOLD' is not standard"),
    (INVENTORY + "CUSTOM_A: {total: 8, totl: 1}\n", 7, "CUSTOM_A has no 'totl'"),
    (INVENTORY + "CUSTOM_A: {reserved: 8}\n", 7, "total is missing"),
    (INVENTORY + "CUSTOM_A:\n            total: 0\n", 8, "CUSTOM_A.total must be a whole number from 1"),
    (INVENTORY + "CUSTOM_A: {total: '8'}\n", 7, "must be a whole number"),
    (INVENTORY + "CUSTOM_A: {total: 8.5}\n", 7, "must be a whole number"),
    (INVENTORY + "CUSTOM_A: {total: 1, allocation_ratio: nan}\n", 7, "allocation_ratio must be a number"),
    (INVENTORY + "CUSTOM_A: {total: 1, allocation_ratio: 0}\n", 7, "allocation_ratio must be a number"),
    (INVENTORY + "CUSTOM_A: {total: 1, reserved: 2}\n", 7, "reserved is above its total 1"),
    (INVENTORY + "CUSTOM_A: {total: 1, min_unit: 2}\n", 7, "min_unit is above max_unit 1"),
    (INVENTORY + "CUSTOM_A: {total: 1, total: 2}\n", 7, "'total' is given twice"),
    (INVENTORY + "CUSTOM_A: {total: 1}\n        - CUSTOM_A: {total: 2}\n", 8, "CUSTOM_A is given twice"),
]


@pytest.mark.parametrize(("text", "line", "words"), BAD)
def test_a_file_that_is_wrong_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/1.yaml:{line}: ")
    assert words in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"meta:\n  \xff\n")
    with pytest.raises(ConfigError, match=r"a\.yaml:2: not UTF-8"):
        read_provider_config(tmp_path)
    (tmp_path / "a.yaml").write_bytes(b" " * (1 << 21))
    with pytest.raises(ConfigError, match="larger than"):
        read_provider_config(tmp_path)
