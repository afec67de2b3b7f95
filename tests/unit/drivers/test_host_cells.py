"""NUMA cells out of libvirt's capabilities, with memory as the kernel counts it; and PCI devices of sysfs."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.contract import NumaCell, PciDevice, PciKind
from drivers.libvirt.host_cells import memory_kb, numa_cells
from drivers.libvirt.pci_devices import pci_devices
from proto.errors import DriverError


def cell(number: int, cpus: str, memory_kb: int = 4 << 20, pages: str = "") -> str:
    return (
        f"<cell id='{number}'><memory unit='KiB'>{memory_kb}</memory>"
        f"<pages unit='KiB' size='4'>1</pages>{pages}<distances>"
        f"<sibling id='0' value='{10 + 11 * number}'/><sibling id='1' value='{21 - 11 * number}'/>"
        "</distances>"
        f"<cpus num='4'>{cpus}</cpus></cell>"
    )


def cpu(number: int, siblings: str, socket: int = 0) -> str:
    return f"<cpu id='{number}' socket_id='{socket}' die_id='0' core_id='0' siblings='{siblings}'/>"


def capabilities(*cells: str) -> str:
    inner = f"<topology><cells num='{len(cells)}'>{''.join(cells)}</cells></topology>"
    return f"<capabilities><host><cpu/>{inner}</host><guest/></capabilities>"


ODD = cell(1, cpu(1, "1,3", 1) + cpu(3, "1,3", 1), pages="<pages unit='KiB' size='2048'>512</pages>")
EVEN = cell(0, cpu(2, "0,2") + cpu(0, "0,2"))
BARE = cell(2, "<cpu id='4'/>")  # offline


def tell(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_two_cells_have_what_each_says(tmp_path: Path) -> None:
    tell(tmp_path / "node0" / "meminfo", "\nNode 0 MemTotal:        6291456 kB\nNode 0 MemFree: 1 kB\n")
    found = numa_cells(capabilities(ODD, EVEN, BARE), meminfo=tmp_path / "none", nodes=tmp_path)
    assert found == (
        NumaCell(
            cell_id=0, memory_mb=6_144, cpus=(0, 2), cores=((0, 2),), socket=0, distances={0: 10, 1: 21},
        ),
        NumaCell(
            cell_id=1, memory_mb=3_072, cpus=(1, 3), cores=((1, 3),), pages={2_048: 512}, socket=1,
            distances={0: 21, 1: 10},
        ),
    )  # fmt: skip


def test_a_cell_alone_has_all_of_the_machines_memory(tmp_path: Path) -> None:
    """Libvirt, and the node's own file, leave out what was plugged in later."""
    whole = tell(tmp_path / "meminfo", "MemTotal:       8388608 kB\nMemFree:        1 kB\n")
    tell(tmp_path / "node0" / "meminfo", "Node 0 MemTotal:  4194304 kB\n")
    (found,) = numa_cells(capabilities(EVEN), meminfo=whole, nodes=tmp_path)
    assert found.memory_mb == 8_192
    (found,) = numa_cells(capabilities(EVEN), meminfo=tmp_path / "none", nodes=tmp_path)
    assert found.memory_mb == 4_096


@pytest.mark.parametrize(
    "xml",
    ["", "<capabilities", capabilities("<cell><cpus/></cell>"), capabilities(cell(0, cpu(0, "a"))),
     capabilities(*[BARE] * 1_025)],
)  # fmt: skip
def test_what_libvirt_does_not_say_is_an_error(xml: str) -> None:
    with pytest.raises(DriverError, match="libvirt's capabilities cannot be read"):
        numa_cells(xml)


def test_there_may_be_none() -> None:
    assert numa_cells("<capabilities><host/></capabilities>") == ()
    assert memory_kb(Path("/nonexistent")) is None


def machine(root: Path, address: str, **files: str) -> Path:
    for name, text in files.items():
        tell(root / address / name, f"{text}\n")
    return root / address


def test_devices_are_what_the_kernel_shows(tmp_path: Path) -> None:
    machine(tmp_path, "0000:81:00.0", vendor="0x10de", device="0x1db4", numa_node="1")
    machine(tmp_path, "0000:82:00.0", vendor="0x8086", device="0x1520", numa_node="-1", sriov_totalvfs="7")
    part = machine(tmp_path, "0000:82:10.0", vendor="0x8086", device="0x1528", numa_node="-1")
    (part / "physfn").symlink_to("../0000:82:00.0")
    machine(tmp_path, "0000:83:00.0", vendor="0x8086", device="0x1521", sriov_totalvfs="0")
    machine(tmp_path, "0000:84:00.0", vendor="0x8086")  # it goes while we look
    machine(tmp_path, "slot", vendor="0x8086", device="0x1521")
    assert pci_devices(tmp_path) == (
        PciDevice(address="0000:81:00.0", vendor_id="10de", product_id="1db4", cell_id=1),
        PciDevice(address="0000:82:00.0", vendor_id="8086", product_id="1520", kind=PciKind.PF),
        PciDevice(
            address="0000:82:10.0",
            vendor_id="8086",
            product_id="1528",
            kind=PciKind.VF,
            parent="0000:82:00.0",
        ),
        PciDevice(address="0000:83:00.0", vendor_id="8086", product_id="1521"),
    )
    assert pci_devices(tmp_path / "none") == ()
