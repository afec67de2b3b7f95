from __future__ import annotations

from pathlib import Path

from drivers.libvirt import console


def test_tail_reaches_into_the_rolled_over_file(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.with_name("console.log.0").write_bytes(b"older")
    log.write_bytes(b"newer")
    assert console.tail(log, 7) == b"ernewer"[-7:]
    assert console.tail(log, 100) == b"oldernewer"
    assert console.tail(log, 3) == b"wer"
    assert console.tail(log, -1) == b""


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"small")
    console.roll_over(log)
    assert log.read_bytes() == b"small"
    assert not log.with_name("console.log.0").exists()


def test_a_guest_that_writes_without_end_cannot_fill_the_disk(tmp_path: Path) -> None:
    """The writer keeps its descriptor and appends, as QEMU does."""
    log = tmp_path / "console.log"
    with log.open("ab", buffering=0) as writer:
        for _ in range(5):
            writer.write(b"x" * console.ROLL_OVER_BYTES)
            writer.write(b"the end")
            console.roll_over(log)
            assert console.tail(log, 7) == b"the end"
            assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= console.ROLL_OVER_BYTES * 2
        writer.write(b" and after")
    assert console.tail(log, 17) == b"the end and after"
    assert log.read_bytes() == b" and after"


def test_no_log_is_an_empty_log(tmp_path: Path) -> None:
    console.roll_over(tmp_path / "none")
    assert console.tail(tmp_path / "none", 10) == b""
