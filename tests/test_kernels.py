"""The kernel checker of tests/c, built and run for every instruction set that this machine has or can emulate.

Bit-equality of the tables, accuracy and memory extents are checked by the C program; here it is built by different
compilers with different options, its output hash is compared between them and between CPUs, and the machine code is
searched for fused multiply-adds, which would change bits.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import boards
from targets import RUNS, TARGETS, native_flags, native_isas, with_avxvnni

ROOT = Path(__file__).resolve().parents[1]
KERNELS = [ROOT / "src_c/kernels" / name for name in ("cpu.c", "dispatch.c", "crc32c.c")]
KERNELS += sorted((ROOT / "src_c/kernels").glob("kernels_*.c"))
CHECKER = sorted((ROOT / "tests/c").glob("check*.c"))
CROSS = "aarch64-linux-gnu-gcc"
FUSED = re.compile(r"\s(vfn?m(add|sub)\w*|fn?m(add|sub)(\.s)?|fml[as]|vfn?m(add|sub|acc|sac)\.v[fv])\s")
RISCV = ("--target=riscv64-linux-gnu", "-march=rv64gcv", "-O3", "-ffp-contract=fast")
OBJDUMP = {CROSS: "aarch64-linux-gnu-objdump", "clang-16": "riscv64-linux-gnu-objdump"}
X86 = platform.machine() in ("x86_64", "AMD64")

needs_x86 = pytest.mark.skipif(not X86, reason="tests options and instruction sets of x86-64")


def tool(*names: str) -> str:
    """Return the first of these programs that is installed; a missing one fails in CI and skips elsewhere."""
    for name in names:
        if shutil.which(name):
            return name
    if os.environ.get("CI"):
        pytest.fail(f"none of {names} is installed")
    pytest.skip(f"none of {names} is installed")


def run(*command: str | Path) -> str:
    """Run a command that must succeed and return its output."""
    done = subprocess.run(
        [str(part) for part in command], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, f"{command[0]} returned {done.returncode}:\n{done.stdout[-4000:]}"
    return done.stdout


def build(directory: Path, *compiler: str) -> Path:
    """Build the checker with a compiler and its options into a directory."""
    program = directory / "check_kernels"
    run(*compiler, *CHECKER, *KERNELS, "-lm", "-o", program)
    return program


def digest(output: str) -> str:
    """Return the hash that the checker printed, after making sure that it compared something."""
    counts = re.search(r"^(\d+) comparisons, (\d+) references, 0 failures$", output, re.MULTILINE)
    found = re.search(r"^hash ([0-9a-f]{16})$", output, re.MULTILINE)
    assert counts, output
    assert found, output
    assert int(counts[2]) > 500_000, output
    return found[1]


def comparisons(output: str) -> int:
    """Return the number of outputs that the checker compared between tables."""
    found = re.search(r"^(\d+) comparisons", output, re.MULTILINE)
    assert found, output
    return int(found[1])


def tables(output: str) -> list[str]:
    """Return the instruction sets that the checker saw, best first."""
    return re.findall(r"^table (\w+)$", output, re.MULTILINE)


@pytest.fixture(scope="module")
def native_hash(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the hash of an ordinary gcc build on this machine."""
    return digest(run(build(tmp_path_factory.mktemp("native"), tool("gcc"), "-std=c11", "-O2")))


WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror")
BUILDS = {
    "gcc-O2": (("gcc",), ("-std=c11", "-O2", *WARNINGS)),
    "gcc-O0": (("gcc",), ("-std=c11", "-O0")),
    "gcc-native-O3": (("gcc",), ("-std=gnu11", "-O3", "-march=native")),
    "gcc-size-lto": (("gcc",), ("-std=gnu17", "-Os", "-flto=1")),
    "clang-O2": (("clang", "clang-14"), ("-std=c11", "-O2", *WARNINGS)),
    "clang-O0": (("clang", "clang-14"), ("-O0",)),
    "clang-native-fast": (("clang", "clang-14"), ("-O3", "-march=native", "-ffp-contract=fast")),
}


@pytest.mark.parametrize("name", BUILDS)
def test_tables_agree(name: str, tmp_path: Path, native_hash: str) -> None:
    compilers, options = BUILDS[name]
    output = run(build(tmp_path, tool(*compilers), *options), *native_isas())
    assert tables(output) == native_isas()
    assert len(tables(output)) == 1 or comparisons(output) > 10_000
    assert digest(output) == native_hash


def test_sanitizers(tmp_path: Path, native_hash: str) -> None:
    options = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    assert digest(run(build(tmp_path, tool("gcc"), *options))) == native_hash


def test_unknown_isa_fails(tmp_path: Path) -> None:
    program = build(tmp_path, tool("gcc"), "-O2")
    done = subprocess.run([program, "quantum"], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "quantum: NOT AVAILABLE" in done.stdout


@pytest.fixture(scope="module")
def checkers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the checker built for a target of targets.py, once."""

    @functools.cache
    def checker(target: str) -> Path:
        compiler, *options = TARGETS[target].compiler
        return build(tmp_path_factory.mktemp(target), tool(compiler), *options, *WARNINGS)

    return checker


@pytest.mark.parametrize(("target", "cpu"), RUNS)
def test_emulated_cpu_agrees(target: str, cpu: str, checkers: Callable[[str], Path], native_hash: str) -> None:
    isas = TARGETS[target].cpus[cpu]
    tool(TARGETS[target].emulator)
    output = run(*TARGETS[target].command(cpu, checkers(target)), *isas)
    assert tables(output) == isas
    assert len(isas) == 1 or comparisons(output) > 10_000
    assert digest(output) == native_hash


@pytest.mark.parametrize(("name", "isa"), [("cortex-m4", "armdsp"), ("cortex-m55", "helium")])
def test_bare_metal_agrees(name: str, isa: str, tmp_path: Path, native_hash: str) -> None:
    """The one table of such a build, over every size, fill and alignment: the bits of the tables here."""
    board = boards.BOARDS[name]
    for command in (*board.compiler()[:1], "qemu-system-arm"):
        tool(command)
    done = board.emulate(board.build([*CHECKER, *KERNELS], tmp_path / "checker.elf", "-O2", *WARNINGS), "bits", isa)
    assert done.returncode == 0, done.stdout
    assert tables(done.stdout) == [isa]
    assert digest(done.stdout) == native_hash


@pytest.mark.parametrize("level", ["-Os", "-O3"])
def test_helium_has_no_floats(level: str, tmp_path: Path) -> None:
    """They flush denormals, and the compiler makes vectors of loops where nothing stops it; every file must build."""
    board, integers = boards.BOARDS["cortex-m55"], 0
    tool(board.compiler()[0])
    for source in sorted((ROOT / "src_c").glob("*/*.c")):
        code = tmp_path / f"{source.stem}.s"
        run(*board.compiler(level), "-S", source, "-o", code)
        run(*board.compiler(), "-c", code, "-o", tmp_path / "x.o")
        vectors = re.findall(r"^\tv\w+\.f(?:16|32)\tq\d.*$", code.read_text(encoding="ascii"), re.MULTILINE)
        assert not vectors, f"{source.name}: {vectors[:5]}"
        integers += code.read_text(encoding="ascii").count("vmladava.s8")
    assert integers >= 4


@pytest.mark.parametrize(
    ("instruction", "cpu"),
    [
        ("pmaxsd %xmm0, %xmm0", "Conroe"),
        ("vaddps %xmm0, %xmm0, %xmm0", "Penryn"),
        ("vaddps %zmm0, %zmm0, %zmm0", "Haswell"),
    ],
)
def test_a_newer_instruction_would_stop_the_emulator(instruction: str, cpu: str, tmp_path: Path) -> None:
    source, program = tmp_path / "newer.c", tmp_path / "newer"
    source.write_text(f'int main(void) {{ __asm__ volatile("{instruction}"); return 0; }}\n', encoding="ascii")
    run(tool(TARGETS["x86-64"].compiler[0]), "-static", source, "-o", program)
    done = subprocess.run([tool("qemu-x86_64"), "-cpu", cpu, program], check=False, capture_output=True)
    assert done.returncode == -signal.SIGILL


@pytest.mark.skipif("avx512_vnni" not in native_flags(), reason="needs VPDPBUSD in one encoding")
def test_avxvnni_agrees(tmp_path: Path, native_hash: str) -> None:
    sources = with_avxvnni(KERNELS, tmp_path)
    program = tmp_path / "check_kernels"
    run(tool("gcc"), "-std=c11", "-O2", *CHECKER, *sources, "-lm", "-o", program)
    output = run(program, "avxvnni")
    assert tables(output) == ["avxvnni", "avx2", "sse41", "scalar"]
    assert comparisons(output) > 10_000
    assert digest(output) == native_hash


@pytest.mark.parametrize(
    ("compilers", "options"),
    [
        pytest.param(("gcc",), ("-O2", "-march=native"), id="gcc-O2-native"),
        pytest.param(("gcc",), ("-O3", "-mfma"), id="gcc-O3-fma", marks=needs_x86),
        pytest.param(("gcc",), ("-O3", "-std=gnu11", "-march=native"), id="gcc-O3-native"),
        pytest.param(("clang", "clang-14"), ("-O2", "-march=native"), id="clang-O2-native"),
        pytest.param(("clang", "clang-14"), ("-O3", "-march=native", "-ffp-contract=fast"), id="clang-O3-fast"),
        pytest.param((CROSS,), ("-O3",), id="aarch64-O3"),
        pytest.param((CROSS,), ("-O3", "-mcpu=neoverse-n1", "-ffp-contract=fast"), id="aarch64-O3-n1"),
        pytest.param(("clang-16",), RISCV, id="riscv64-v-O3-fast"),
    ],
)
def test_nothing_is_fused(compilers: tuple[str, ...], options: tuple[str, ...], tmp_path: Path) -> None:
    compiler = tool(*compilers)
    objdump = tool(OBJDUMP.get(compiler, "objdump"))
    products = 0
    for source in KERNELS:
        target = tmp_path / f"{source.stem}.o"
        run(compiler, *options, "-c", source, "-o", target)
        code = run(objdump, "-d", "--no-show-raw-insn", target)
        fused = [line for line in code.splitlines() if FUSED.search(line)]
        assert not fused, f"{source.name}: {fused[:5]}"
        products += len(re.findall(r"\s(?:v?mul[ps]s|fmul(?:\.s)?)\s", code))
    assert products > 100  # else objdump did not see the code


@pytest.mark.parametrize(("compiler", "options"), [("gcc", ("-O2", *(("-mfma",) if X86 else ()))), ("clang-16", RISCV)])
@pytest.mark.parametrize("body", ["*y = *a * *b + *y", "for (int i = 0; i < 64; i++) y[i] += a[i] * b[i]"])
def test_a_fused_instruction_would_be_found(compiler: str, options: tuple[str, ...], body: str, tmp_path: Path) -> None:
    source, target = tmp_path / "fused.c", tmp_path / "fused.o"
    source.write_text(f"void f(float *y, const float *a, const float *b) {{ {body}; }}\n", encoding="ascii")
    run(tool(compiler), *options, "-c", source, "-o", target)
    assert FUSED.search(run(tool(OBJDUMP.get(compiler, "objdump")), "-d", "--no-show-raw-insn", target))


@pytest.mark.parametrize("option", ["-ffast-math", "-ffinite-math-only"])
def test_inexact_options_are_refused(option: str, tmp_path: Path) -> None:
    command = [tool("gcc"), option, "-c", str(KERNELS[-1]), "-o", str(tmp_path / "x.o")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "compile it without -ffast-math" in done.stderr
