"""The golden models give the same hashes on every instruction set, compiler and flag, and under QEMU on AArch64."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rnnrt.converters.convert import convert

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
HASHES: dict[str, list[str]] = json.loads((GOLDEN / "hashes.json").read_text())

# The flags that embedders bring: none at all, size, everything with contraction allowed (gnu modes fuse a * b + c).
NATIVE = {
    "gcc": ["gcc", "-std=c11"],
    "gcc-O2": ["gcc", "-std=gnu11", "-O2"],
    "gcc-Os": ["gcc", "-std=gnu17", "-Os"],
    "gcc-O3-native": ["gcc", "-std=gnu11", "-O3", "-march=native", "-ffp-contract=fast"],
    "clang-O2": ["clang", "-std=c11", "-O2"],
}
AARCH64 = ["aarch64-linux-gnu-gcc", "-std=gnu11", "-O2", "-static"]
AARCH64_CLANG = ["clang", "--target=aarch64-linux-gnu", "-std=c11", "-O2", "-static"]
CPUS = {"cortex-a53": {"scalar", "neon"}, "cortex-a76": {"scalar", "neon", "neondot"}}


# Instruction set -> the flags of /proc/cpuinfo that it needs.
X86 = {"avx2": {"avx2", "f16c"}, "avx512vnni": {"avx512f", "avx512bw", "avx512vl", "avx512_vnni"}}
ARM = {"neon": {"asimd"}, "neondot": {"asimddp"}}


def _native_isas() -> set[str]:
    text = Path("/proc/cpuinfo").read_text()
    flags = next(set(line.split()) for line in text.splitlines() if line.lower().startswith(("flags", "features")))
    table = X86 if platform.machine() == "x86_64" else ARM
    return {"scalar"} | {isa for isa, need in table.items() if need <= flags}


def _build(command: list[str], target: Path, tool: Callable[[str], str]) -> Path:
    tool(command[0])
    sources = sorted(map(str, (ROOT / "src_c").glob("*/*.c")))
    subprocess.run([*command, *sources, str(ROOT / "tests" / "c" / "golden.c"), "-o", str(target)], check=True)
    return target


def _hashes(command: list[str], model: str) -> dict[str, list[str]]:
    run = subprocess.run([*command, str(GOLDEN / f"{model}.rnnrt")], check=True, capture_output=True, text=True)
    return {isa: hashes for isa, *hashes in (line.split() for line in run.stdout.splitlines())}


def _check(command: list[str], isas: set[str]) -> None:
    for model, expected in HASHES.items():
        found = _hashes(command, model)
        assert set(found) == isas, model
        assert found == dict.fromkeys(found, expected), model
        assert expected[1] in ("-", expected[0]), f"{model}: steps differ from the whole"


@pytest.mark.parametrize("build", NATIVE)
def test_native(build: str, tmp_path: Path, tool: Callable[[str], str]) -> None:
    program = _build(NATIVE[build], tmp_path / "golden", tool)
    _check([str(program)], _native_isas())


@pytest.mark.parametrize("command", [AARCH64, AARCH64_CLANG], ids=["gcc", "clang"])
def test_aarch64(command: list[str], tmp_path: Path, tool: Callable[[str], str]) -> None:
    program = _build(command, tmp_path / "golden", tool)
    for cpu, isas in CPUS.items():
        _check([tool("qemu-aarch64"), "-cpu", cpu, str(program)], isas)


def test_real_models_on_aarch64(models_dir: Path, tmp_path: Path, tool: Callable[[str], str]) -> None:
    """NSNet2 and Silero give the bits on ARM that they give here, whole and in steps."""
    native = _build(NATIVE["gcc-O2"], tmp_path / "native", tool)
    foreign = _build(AARCH64, tmp_path / "foreign", tool)
    command = [tool("qemu-aarch64"), "-cpu", "cortex-a76", str(foreign)]
    for source in ("nsnet2-20ms-baseline", "silero_vad_16k_sequence"):
        for mode in (None, "f16", "int8", "int4"):
            path = tmp_path / f"{source}-{mode}.rnnrt"
            convert(models_dir / f"{source}.onnx", path, quantize=mode, verify=False)
            found: dict[str, list[str]] = {}
            for program in ([str(native)], command):
                output = subprocess.run([*program, str(path), "8"], check=True, capture_output=True, text=True).stdout
                found |= {isa: hashes for isa, *hashes in (line.split() for line in output.splitlines())}
            assert {"scalar", "neon", "neondot"} < set(found)
            assert len({text for hashes in found.values() for text in hashes}) == 1, (path.name, found)


def test_files_are_what_the_generator_makes() -> None:
    """The converter still writes these very bytes, so a change of the format can't go unnoticed."""
    sys.path.insert(0, str(GOLDEN))
    try:
        import make_golden
    finally:
        sys.path.remove(str(GOLDEN))
    made = make_golden.models()
    assert set(made) == set(HASHES)
    for name, (graph, mode) in made.items():
        assert make_golden.to_bytes(graph, mode) == (GOLDEN / f"{name}.rnnrt").read_bytes(), name
