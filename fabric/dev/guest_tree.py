"""The test guest's file trees, and a RAM disk made from one. Same inputs, same bytes."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import subprocess
from pathlib import Path

from fabric.dev.guest_scripts import FILES, INIT, MODULES, PASSWORD, PASSWORD_MARK, GuestFile
from fabric.errors import FabricError, Outcome

TOOL_TIMEOUT_S = 120.0
PROGRAMS = (Path("/usr/sbin/dropbear"), Path("/usr/sbin/qemu-ga"))
BUSYBOX = Path("/bin/busybox")
_DIRECTORIES = "bin sbin usr/bin usr/sbin proc sys dev run tmp mnt newroot root var boot etc/dropbear".split()
_SALT = "testbedguest"  # fixed: the image must not differ from build to build


class GuestImageError(FabricError):
    """The test guest's image cannot be built here."""

    code = "fabric.dev.guest_image"
    outcome = Outcome.NOT_DONE


def run_tool(*argv: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> bytes:
    """Its stdout. Raises GuestImageError with its last words."""
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, timeout=TOOL_TIMEOUT_S, env=env, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GuestImageError(f"{argv[0]}: {error}") from error
    if done.returncode != 0:
        raise GuestImageError(
            f"{argv[0]}: exit {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}"
        )
    return done.stdout


def module_files(modules: Path) -> list[str]:
    """The wanted modules' paths below `modules`, each after those it needs: an order insmod can take."""
    needs: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        module, _, rest = line.partition(":")
        needs[module] = rest.split()
    by_name = {os.path.basename(module).partition(".ko")[0].replace("-", "_"): module for module in needs}
    order: list[str] = []

    def add(module: str) -> None:
        for needed in reversed(needs[module]):
            add(needed)
        if module not in order:
            order.append(module)

    for name in MODULES:
        if name in by_name:
            add(by_name[name])
    return order


def program_files() -> list[Path]:
    """The programs the guest runs, busybox aside, and the libraries they need."""
    found = list(PROGRAMS)
    for program in PROGRAMS:
        words = run_tool("ldd", str(program)).decode().split()
        found += [Path(word) for word in words if word.startswith("/")]
    return list(dict.fromkeys(found))


def make_initrd_tree(root: Path, modules: Path) -> None:
    """Busybox, modules and `init`: enough to find the root disk."""
    _make_base(root)
    _put_all(root, {"init": INIT})
    order = module_files(modules)
    for module in order:
        _put(root, "lib/modules/" + os.path.basename(module), (modules / module).read_bytes(), 0o644)
    names = "".join(os.path.basename(module) + "\n" for module in order)
    _put(root, "etc/modules.order", names.encode(), 0o644)
    _open_directories(root)


def make_root_tree(root: Path) -> None:
    """What the guest runs from its disk."""
    _make_base(root)
    hashed = run_tool(str(BUSYBOX), "mkpasswd", "-m", "sha512", "-S", _SALT, PASSWORD).decode().strip()
    shadow = FILES["etc/shadow"]
    files = {**FILES, "etc/shadow": GuestFile(shadow.mode, shadow.text.replace(PASSWORD_MARK, hashed))}
    _put_all(root, files)
    for program in program_files():
        _put(root, str(program).lstrip("/"), program.read_bytes(), 0o755)
    _open_directories(root)


def cpio_archive(root: Path) -> bytes:
    """A "newc" archive of `root`: sorted, owned by root, dated 0."""
    out = bytearray()
    names = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
    for inode, name in enumerate(names, start=1):
        path = root / name
        mode = path.lstat().st_mode
        data = b""
        if stat.S_ISLNK(mode):
            data = os.readlink(path).encode()
        elif stat.S_ISREG(mode):
            data = path.read_bytes()
        out += _cpio_entry(name, mode, data, inode)
    out += _cpio_entry("TRAILER!!!", 0, b"", 0)
    return bytes(out)


def compress(archive: bytes) -> bytes:
    """By lz4, which an emulated processor unpacks fastest; by gzip where there is no lz4."""
    if shutil.which("lz4") is not None:
        return run_tool("lz4", "-l", "-9", "-c", stdin=archive)
    return gzip.compress(archive, 6, mtime=0)


def _cpio_entry(name: str, mode: int, data: bytes, inode: int) -> bytes:
    label = name.encode() + b"\0"
    # inode, mode, uid, gid, links, mtime, size, device and rdevice numbers, name's length, checksum
    fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(label), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + label
    head += b"\0" * (-len(head) % 4)
    return head + data + b"\0" * (-len(data) % 4)


def _make_base(root: Path) -> None:
    for directory in _DIRECTORIES:
        (root / directory).mkdir(parents=True, exist_ok=True)
    _put(root, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
    for applet in run_tool(str(BUSYBOX), "--list-full").decode().split():
        link = root / applet
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink() and not link.exists():
            link.symlink_to("/bin/busybox")


def _open_directories(root: Path) -> None:
    """The same modes whatever our caller's umask."""
    for path in (root, *root.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


def _put_all(root: Path, files: dict[str, GuestFile]) -> None:
    for name, file in files.items():
        _put(root, name, file.text.encode(), file.mode)


def _put(root: Path, name: str, data: bytes, mode: int) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()  # our own program instead of busybox's
    path.write_bytes(data)
    path.chmod(mode)
