"""When the rules are written: a record of what was asked for and what the kernel showed. No kernel here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from netplug import nft
from netplug.nft import RuleTables
from proto.errors import NetPlugError


class FakeKernel:
    """Stands for the nft tool: keeps one text, shown alike for each family."""

    def __init__(self) -> None:
        self.text: str | None = None
        self.refuses = False

    def __call__(self, argv: list[str], *, text_in: str = "") -> subprocess.CompletedProcess[str]:
        if argv[1:] == ["-f", "-"]:
            if not self.refuses:
                self.text = None if text_in.startswith("delete") else text_in
            return subprocess.CompletedProcess(argv, int(self.refuses), "", "no such thing")
        if argv[1:] == ["list", "tables"]:
            families = ("bridge", "ip", "ip6") if self.text is not None else ()
            return subprocess.CompletedProcess(argv, 0, "".join(f"table {f} fabric\n" for f in families), "")
        return subprocess.CompletedProcess(argv, int(self.text is None), self.text or "", "")


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    kernel = FakeKernel()
    monkeypatch.setattr(nft, "run_tool", kernel)
    return kernel


def test_written_once_and_again_when_the_kernel_shows_something_else(
    kernel: FakeKernel, tmp_path: Path
) -> None:
    tables = RuleTables(tmp_path / "record.json")
    for _ in range(3):
        tables.apply("rules A")
    assert tables.writes == 1
    kernel.text = "rules A, and one more"
    tables.apply("rules A")
    assert (tables.writes, kernel.text) == (2, "rules A")
    tables.apply("rules B")
    assert (tables.writes, kernel.text) == (3, "rules B")


def test_record_outlives_the_object(kernel: FakeKernel, tmp_path: Path) -> None:
    RuleTables(tmp_path / "record.json").apply("rules A")
    later = RuleTables(tmp_path / "record.json")
    later.apply("rules A")
    assert later.writes == 0
    (tmp_path / "record.json").unlink()
    later.apply("rules A")
    assert later.writes == 1


def test_refusal_is_an_error_and_tried_again(kernel: FakeKernel, tmp_path: Path) -> None:
    tables = RuleTables(tmp_path / "record.json")
    tables.apply("rules A")
    kernel.refuses = True
    with pytest.raises(NetPlugError, match="nftables refused the rules: no such thing"):
        tables.apply("rules B")
    kernel.refuses = False
    tables.apply("rules B")
    assert kernel.text == "rules B"


def test_no_rules_means_no_tables_and_no_record(kernel: FakeKernel, tmp_path: Path) -> None:
    tables = RuleTables(tmp_path / "record.json")
    tables.apply("rules A")
    tables.apply("")
    assert kernel.text is None
    assert not (tmp_path / "record.json").exists()
    writes = tables.writes
    tables.apply("")
    assert tables.writes == writes
