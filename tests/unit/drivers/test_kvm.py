"""The probe must see through device nodes that look like KVM and are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.libvirt import kvm
from drivers.libvirt.kvm import probe_kvm


async def test_no_device_is_no_kvm(tmp_path: Path) -> None:
    verdict = await probe_kvm(str(tmp_path / "kvm"))
    assert not verdict.works
    assert verdict.why.startswith("no ")


async def test_a_device_that_is_not_kvm_is_no_kvm() -> None:
    verdict = await probe_kvm("/dev/null")
    assert not verdict.works
    assert "/dev/null exists but cannot run guests" in verdict.why


async def test_a_probe_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual processor may never return from its first instruction."""
    script = tmp_path / "hangs.py"
    pid_file = tmp_path / "pid"
    script.write_text(
        "import os, signal\n"
        f"open({str(pid_file)!r}, 'w').write(str(os.getpid()))\n"
        "while True: signal.pause()\n"
    )
    monkeypatch.setattr(kvm, "_PROBE", script)
    verdict = await probe_kvm("/dev/null", timeout_s=1.0)
    assert not verdict.works
    assert "did not end" in verdict.why
    assert not Path(f"/proc/{pid_file.read_text()}").exists()


async def test_a_probe_that_crashes_is_no_kvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "crashes.py"
    script.write_text("import os\nos.abort()\n")
    monkeypatch.setattr(kvm, "_PROBE", script)
    verdict = await probe_kvm("/dev/null")
    assert not verdict.works
    assert "the probe crashed" in verdict.why


@pytest.mark.root
async def test_the_verdict_is_the_probes() -> None:
    """Whatever this machine is: what the process said is what people are told."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no /dev/kvm")
    verdict = await probe_kvm()
    done = subprocess.run(
        [sys.executable, "-I", str(kvm._PROBE), "/dev/kvm"], capture_output=True, text=True, timeout=30
    )
    assert verdict.works == (done.returncode == 0)
    assert verdict.works or done.stdout.strip() in verdict.why
