"""What processors do, in Nova's terms: read from the kernel, and told no more often than it matters."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.compute.cpu_monitor import CpuMonitor, CpuTimes, percents, read_times

NOMINAL = "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"


class Root:
    """A machine's /proc and /sys. Ticks add up."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ticks = [0] * 10
        (path / "proc").mkdir()
        (path / "proc/cpuinfo").write_text("processor\t: 0\ncpu MHz\t\t: 1999.997\nflags\t: fpu\n")

    def pass_time(self, **ticks: int) -> None:
        names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
        for name, more in ticks.items():
            self.ticks[names.index(name)] += more
        text = " ".join(map(str, self.ticks))
        (self.path / "proc/stat").write_text(f"cpu  {text}\ncpu0 {text}\nintr 1\n")

    def say(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def test_ticks_are_divided_as_libvirt_does() -> None:
    assert read_times("cpu  10 1 20 300 5 2 3 7 0 0\n") == CpuTimes(user=11, kernel=25, idle=300, iowait=5)


@pytest.mark.parametrize("line", ["", "cpu0 1 2 3 4 5 6 7", "cpu  1 2 3", "cpu  a b c d e f g"])
def test_another_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"processors|invalid literal"):
        read_times(line)


def test_percents_are_of_the_time_between() -> None:
    before = CpuTimes(user=100, kernel=100, idle=100, iowait=100)
    now = CpuTimes(user=150, kernel=125, idle=213, iowait=112)
    assert percents(before, now) == {
        "cpu.percent": 43,
        "cpu.user.percent": 25,
        "cpu.kernel.percent": 12,
        "cpu.idle.percent": 56,
        "cpu.iowait.percent": 6,
    }
    assert percents(now, now) == {}


async def test_the_first_sample_is_since_the_boot_and_a_wobble_is_not_told(root: Root) -> None:
    monitor = CpuMonitor(root.path)
    root.pass_time(user=20, system=10, idle=70)
    await monitor.sample()
    assert (monitor.metrics["cpu.percent"], monitor.metrics["cpu.idle.percent"]) == (30, 70)
    assert monitor.metrics["cpu.frequency"] == 1_999
    told = monitor.metrics
    root.pass_time(user=24, system=10, idle=66)
    await monitor.sample()
    assert monitor.metrics is told
    root.pass_time(user=24, system=11, idle=65)
    await monitor.sample()
    assert (monitor.metrics["cpu.percent"], monitor.metrics["cpu.idle.percent"]) == (35, 65)


async def test_the_clock_rate_is_the_nominal_one_or_what_there_is_or_not_said(root: Root) -> None:
    root.pass_time(idle=1)
    root.say(NOMINAL, "3600000\n")
    monitor = CpuMonitor(root.path)
    await monitor.sample()
    assert monitor.metrics["cpu.frequency"] == 3_600
    root.say(NOMINAL, "?")
    root.say("proc/cpuinfo", "processor : 0\n")
    monitor = CpuMonitor(root.path)
    await monitor.sample()
    assert "cpu.frequency" not in monitor.metrics
    assert monitor.metrics["cpu.idle.percent"] == 100


async def test_what_cannot_be_read_is_not_said(root: Root, caplog: pytest.LogCaptureFixture) -> None:
    monitor = CpuMonitor(root.path)
    root.pass_time(idle=1)
    await monitor.sample()
    assert monitor.metrics
    root.say("proc/stat", "intr 1\n")
    await monitor.sample()
    assert monitor.metrics == {}
    assert "processors not measured" in caplog.text


async def test_this_machine_is_measured() -> None:
    monitor = CpuMonitor()
    await monitor.sample()
    assert 0 <= monitor.metrics["cpu.percent"] <= 100
    assert 99 <= monitor.metrics["cpu.percent"] + monitor.metrics["cpu.idle.percent"] <= 100
