"""Which of the host's processor flags its guests are shown, by the names Placement knows them by.

With KVM a guest has the host's model (`domain_xml`), so what the kernel shows of the host it has too. With
emulation it has none of it.
"""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

_SAME = (  # HW_CPU_X86_ and the flag in capitals
    "abm", "avx", "avx2", "avx512bw", "avx512cd", "avx512dq", "avx512er", "avx512f", "avx512ifma",
    "avx512pf", "avx512vl", "bmi2", "f16c", "fma4", "mmx", "mpx", "pdpe1gb", "sgx", "sse", "sse2",
    "sse4a", "ssse3", "stibp", "svm", "tbm", "vmx", "xop",
)  # fmt: skip
_OTHER = {
    "3dnow": "3DNOW", "aes": "AESNI", "amx_bf16": "AMXBF16", "amx_int8": "AMXINT8", "amx_tile": "AMXTILE",
    "avx512_bitalg": "AVX512BITALG", "avx512_vbmi2": "AVX512VBMI2", "avx512_vnni": "AVX512VNNI",
    "avx512_vpopcntdq": "AVX512VPOPCNTDQ", "avx512vbmi": "AVX512VBMI", "bmi1": "BMI", "fma": "FMA3",
    "pclmulqdq": "CLMUL", "pni": "SSE3", "rtm": "TSX", "sha_ni": "SHA", "sse4_1": "SSE41",
    "sse4_2": "SSE42",
}  # fmt: skip
_TRAIT_OF = {name: f"HW_CPU_X86_{name.upper()}" for name in _SAME} | {
    flag: f"HW_CPU_X86_{name}" for flag, name in _OTHER.items()
}


def cpu_traits(cpuinfo: str) -> tuple[str, ...]:
    """Of the first processor, sorted; they are all alike."""
    for line in cpuinfo.splitlines():
        name, _, flags = line.partition(":")
        if name.strip() == "flags":
            return tuple(sorted({_TRAIT_OF[flag] for flag in flags.split() if flag in _TRAIT_OF}))
    return ()


def traits_of_this_machine() -> tuple[str, ...]:
    """None where the kernel does not say."""
    try:
        return cpu_traits(CPUINFO.read_text())
    except OSError:
        return ()
