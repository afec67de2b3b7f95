"""Runs a short 64-bit program in a virtual processor: the only proof that /dev/kvm can run guests.

A device node proves nothing, and neither do KVM_CREATE_VM and KVM_CREATE_VCPU: on a machine that is itself a
guest all three may succeed. Some of those (kvm-pvm) even run real-mode code, by software inside the kernel,
and only hang once an ordinary 64-bit kernel starts. So the program turns on long mode, counts down from a
200,000 and uses a vector register. Hardware needs well under a millisecond; what emulates is found by its
slowness or fails at the vector instruction (measured on kvm-pvm: 0.25 s, then an internal error).
`kvm.py` starts this file as a process of its own, with a deadline, because KVM_RUN may never return.

Stand-alone on purpose: standard library only, run by path. Prints "ok" and exits 0, or prints why not and
exits 1. Numbers and structures: Linux, Documentation/virt/kvm/api.rst, x86-64.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import platform
import struct
import sys
import time

_KVM_GET_API_VERSION = 0xAE00
_KVM_CREATE_VM = 0xAE01
_KVM_GET_VCPU_MMAP_SIZE = 0xAE04
_KVM_CREATE_VCPU = 0xAE41
_KVM_SET_USER_MEMORY_REGION = 0x4020AE46
_KVM_SET_TSS_ADDR = 0xAE47
_KVM_RUN = 0xAE80
_KVM_SET_REGS = 0x4090AE82
_KVM_GET_SREGS = 0x8138AE83
_KVM_SET_SREGS = 0x4138AE84
_API_VERSION = 12  # the only stable one, since Linux 2.6.22
_SREGS_BYTES = 312
_EXIT_REASON_OFFSET = 8  # in struct kvm_run
_EXIT_HLT = 5
_CPU_S_MAX = 0.1  # a hundred times what hardware needs

_MEMORY_BYTES = 0x10000
_TSS_ADDRESS = 0x100000  # three pages the program does not use; Intel's real mode wants them
_PML4, _PDPT, _PD, _CODE = 0x1000, 0x2000, 0x3000, 0x4000
_PAGE_PRESENT_WRITABLE = 0x3
_PAGE_HUGE = 0x80
_CR0_PE_MP_NE_WP_PG = 0x80010023
_CR4_PAE_OSFXSR = 0x220
_EFER_LME_LMA = 0x500
# struct kvm_segment: base, limit, selector, type, present, dpl, db, s, l, g, avl, unusable, padding
_SEGMENT = struct.Struct("<QIH10B")
_CODE_SEGMENT = _SEGMENT.pack(0, 0xFFFFFFFF, 8, 11, 1, 0, 0, 1, 1, 1, 0, 0, 0)
_DATA_SEGMENT = _SEGMENT.pack(0, 0xFFFFFFFF, 16, 3, 1, 0, 1, 1, 0, 1, 0, 0, 0)
_CR_OFFSET = 8 * _SEGMENT.size + 2 * 16  # after eight segments and two descriptor tables
_PROGRAM = (
    b"\x48\xc7\xc1" + struct.pack("<i", 200_000)  # mov rcx, 200000
    + b"\x48\xff\xc9"  # dec rcx
    + b"\x75\xfb"  # jnz back
    + b"\x66\x0f\xef\xc0"  # pxor xmm0, xmm0
    + b"\xf4"  # hlt
)  # fmt: skip


def _fill(memory: mmap.mmap) -> None:
    """Page tables that map the first 2 MiB onto themselves, and the program."""
    struct.pack_into("<Q", memory, _PML4, _PDPT | _PAGE_PRESENT_WRITABLE)
    struct.pack_into("<Q", memory, _PDPT, _PD | _PAGE_PRESENT_WRITABLE)
    struct.pack_into("<Q", memory, _PD, _PAGE_PRESENT_WRITABLE | _PAGE_HUGE)
    memory[_CODE : _CODE + len(_PROGRAM)] = _PROGRAM


def _enter_long_mode(vcpu: int) -> None:
    special = bytearray(_SREGS_BYTES)
    fcntl.ioctl(vcpu, _KVM_GET_SREGS, special)
    special[: _SEGMENT.size] = _CODE_SEGMENT
    for number in range(1, 6):  # ds, es, fs, gs, ss
        special[number * _SEGMENT.size : (number + 1) * _SEGMENT.size] = _DATA_SEGMENT
    struct.pack_into("<4Q", special, _CR_OFFSET, _CR0_PE_MP_NE_WP_PG, 0, _PML4, _CR4_PAE_OSFXSR)
    struct.pack_into("<Q", special, _CR_OFFSET + 5 * 8, _EFER_LME_LMA)
    fcntl.ioctl(vcpu, _KVM_SET_SREGS, bytes(special))
    # rax..r15, rip, rflags (with its one bit that is always set)
    fcntl.ioctl(vcpu, _KVM_SET_REGS, struct.pack("<18Q", *([0] * 16), _CODE, 2))


def run_program(device: str) -> str:
    """Empty when the processor did as told, else what went wrong. Raises OSError. May never return."""
    if platform.machine() != "x86_64":
        return f"no probe for {platform.machine()}"
    kvm = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    version = fcntl.ioctl(kvm, _KVM_GET_API_VERSION, 0)
    if version != _API_VERSION:
        return f"KVM_GET_API_VERSION says {version}, not {_API_VERSION}"
    vm = fcntl.ioctl(kvm, _KVM_CREATE_VM, 0)
    fcntl.ioctl(vm, _KVM_SET_TSS_ADDR, _TSS_ADDRESS)
    memory = mmap.mmap(-1, _MEMORY_BYTES, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
    _fill(memory)
    host_address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    region = struct.pack("<IIQQQ", 0, 0, 0, _MEMORY_BYTES, host_address)
    fcntl.ioctl(vm, _KVM_SET_USER_MEMORY_REGION, region)
    vcpu = fcntl.ioctl(vm, _KVM_CREATE_VCPU, 0)
    shared = mmap.mmap(vcpu, fcntl.ioctl(kvm, _KVM_GET_VCPU_MMAP_SIZE, 0), mmap.MAP_SHARED)
    _enter_long_mode(vcpu)
    began = time.thread_time()
    fcntl.ioctl(vcpu, _KVM_RUN, 0)
    spent_s = time.thread_time() - began
    (reason,) = struct.unpack_from("<I", shared, _EXIT_REASON_OFFSET)
    if reason != _EXIT_HLT:
        return f"a 64-bit test program ended with exit reason {reason}, not {_EXIT_HLT}"
    if spent_s > _CPU_S_MAX:
        return f"a test program took {spent_s:.2f} s of processor time: instructions are emulated"
    return ""


def main() -> int:
    device = sys.argv[1] if len(sys.argv) > 1 else "/dev/kvm"
    try:
        why_not = run_program(device)
    except OSError as error:
        why_not = error.strerror or str(error)
    sys.stdout.write((why_not or "ok") + "\n")
    return 1 if why_not else 0


if __name__ == "__main__":
    sys.exit(main())
