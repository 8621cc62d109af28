"""The processors that the C library is compiled for and run on under QEMU, and what each must offer there."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Target:
    """A compiler, the emulator of what it compiles for, and the instruction sets by CPU model, best first."""

    compiler: tuple[str, ...]
    emulator: str
    cpus: dict[str, list[str]]
    for_models: tuple[str, ...] = ()  # more options, where the emulator fails on an operator's code

    def command(self, cpu: str, program: Path) -> list[str]:
        """Return what runs a program on a CPU."""
        if self.emulator == "node":
            return ["node", "--no-warnings", str(ROOT / "tests" / "run_wasi.mjs"), str(program)]
        return [self.emulator, "-cpu", cpu, str(program)]


TARGETS = {
    # Conroe has SSSE3, Penryn SSE4.1, Haswell AVX2: QEMU refuses what a CPU lacks, so that nothing newer leaks.
    # gcc vectorizes loops with VMASKMOVPS, which QEMU 7.2 lets fault on lanes that are masked out; no real CPU does.
    "x86-64": Target(
        ("x86_64-linux-gnu-gcc", "-std=c11", "-O2", "-fno-tree-vectorize", "-static"),
        "qemu-x86_64",
        {"Conroe": ["scalar"], "Penryn": ["sse41", "scalar"], "Haswell": ["avx2", "sse41", "scalar"]},
    ),
    "aarch64": Target(
        ("aarch64-linux-gnu-gcc", "-std=gnu11", "-O2", "-static"),
        "qemu-aarch64",
        {
            "cortex-a53": ["neon", "scalar"],
            "cortex-a76": ["neondot", "neon", "scalar"],
            "max": ["neoni8mm", "neondot", "neon", "scalar"],
        },
    ),
    # Debian's baseline has no NEON, but SMLAD; these tables take the portable one's place.
    "armv7": Target(("arm-linux-gnueabihf-gcc", "-std=c11", "-O2", "-static"), "qemu-arm", {"cortex-a7": ["armdsp"]}),
    "armv7-neon": Target(
        ("arm-linux-gnueabihf-gcc", "-std=gnu11", "-O2", "-static", "-mfpu=neon"), "qemu-arm", {"cortex-a7": ["neon32"]}
    ),
    "riscv64": Target(("riscv64-linux-gnu-gcc", "-std=gnu11", "-O2", "-static"), "qemu-riscv64", {"rv64": ["scalar"]}),
    # gcc knows the vectors' intrinsics from 13 on, which Debian 12 does not have. The kernels' loops run as clang makes
    # vectors of them; QEMU 7.2 stops at VFCVT.RTZ in those of Cast (its issue 1441).
    "riscv64-v": Target(
        ("clang-16", "--target=riscv64-linux-gnu", "-march=rv64gcv", "-std=gnu11", "-O2", "-static"),
        "qemu-riscv64",
        {f"rv64,v=true,vlen={bits},vext_spec=v1.0": ["rvv"] for bits in (128, 256)},
        ("-fno-vectorize",),
    ),
    "wasm": Target(
        ("clang", "--target=wasm32-wasi", "-std=c11", "-O2", "-msimd128"), "node", {"simd128": ["wasm", "scalar"]}
    ),
}
RUNS = [(target, cpu) for target, t in TARGETS.items() for cpu in t.cpus]

# Instruction set -> the flags of /proc/cpuinfo that it needs, best first.
FLAGS = {
    "avx512vnni": {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni"},
    "avxvnni": {"avx2", "f16c", "avx_vnni"},
    "avx2": {"avx2", "f16c"},
    "sse41": {"ssse3", "sse4_1"},
    "neoni8mm": {"asimddp", "i8mm"},
    "neondot": {"asimddp"},
    "neon": {"asimd"},
}


def native_flags() -> set[str]:
    """Return the CPU flags of this machine by the names of /proc/cpuinfo."""
    text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    lines = re.findall(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    assert lines, "no CPU flags in /proc/cpuinfo"
    return set(lines[0].split())


def native_isas() -> list[str]:
    """Return what /proc/cpuinfo says this machine must offer, best first."""
    flags = native_flags()
    return [isa for isa, need in FLAGS.items() if need <= flags] + ["scalar"]


def with_avxvnni(sources: list[Path], directory: Path) -> list[Path]:
    """Return the sources with AVX-VNNI's table runnable by a CPU that has these in the AVX-512 encoding only.

    The table is compiled for AVX-VNNI; its VPDPBUSD and VPDPWSSD are assembled in their other encoding.
    """
    table = next(s for s in sources if s.name == "kernels_avxvnni.c")
    code = directory / "kernels_avxvnni.s"
    subprocess.run(["gcc", "-std=c11", "-O2", "-S", str(table), "-o", str(code)], check=True)
    text, count = re.subn(r"\{vex\}(\s+vpdp(?:busd|wssd))", r"{evex}\1", code.read_text(encoding="ascii"))
    assert count > 0, "the table has no dot product"
    code.write_text(text, encoding="ascii")
    pretended = {"kernels_avxvnni.c": code, "cpu.c": ROOT / "tests" / "c" / "cpu_avxvnni.c"}
    return [pretended.get(source.name, source) for source in sources]
