"""The golden models give the same hashes on every instruction set, compiler and flag, and under QEMU on other CPUs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rnnrt.converters.convert import convert

from targets import TARGETS, native_flags, native_isas, with_avxvnni

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
AARCH64_CLANG = ["clang", "--target=aarch64-linux-gnu", "-std=c11", "-O2", "-static"]


def _build(command: list[str], target: Path, tool: Callable[[str], str]) -> Path:
    tool(command[0])
    sources = sorted(map(str, (ROOT / "src_c").glob("*/*.c")))
    subprocess.run([*command, *sources, str(ROOT / "tests" / "c" / "golden.c"), "-o", str(target)], check=True)
    return target


def _hashes(command: list[str], model: str) -> dict[str, list[str]]:
    run = subprocess.run([*command, str(GOLDEN / f"{model}.rnnrt")], check=True, capture_output=True, text=True)
    return {isa: hashes for isa, *hashes in (line.split() for line in run.stdout.splitlines())}


def _check(command: list[str], isas: list[str]) -> None:
    for model, expected in HASHES.items():
        found = _hashes(command, model)
        assert list(found) == isas, model
        assert found == dict.fromkeys(found, expected), model
        assert expected[1] in ("-", expected[0]), f"{model}: steps differ from the whole"


@pytest.mark.parametrize("build", NATIVE)
def test_native(build: str, tmp_path: Path, tool: Callable[[str], str]) -> None:
    program = _build(NATIVE[build], tmp_path / "golden", tool)
    _check([str(program)], native_isas())


@pytest.mark.parametrize("target", TARGETS)
def test_emulated(target: str, tmp_path: Path, tool: Callable[[str], str]) -> None:
    program = _build([*TARGETS[target].compiler, *TARGETS[target].for_models], tmp_path / "golden", tool)
    tool(TARGETS[target].emulator)
    for cpu, isas in TARGETS[target].cpus.items():
        _check(TARGETS[target].command(cpu, program), isas)


def test_aarch64_by_clang(tmp_path: Path, tool: Callable[[str], str]) -> None:
    program = _build(AARCH64_CLANG, tmp_path / "golden", tool)
    tool("qemu-aarch64")
    for cpu, isas in TARGETS["aarch64"].cpus.items():
        _check(TARGETS["aarch64"].command(cpu, program), isas)


@pytest.mark.skipif("avx512_vnni" not in native_flags(), reason="needs VPDPBUSD in one encoding")
def test_avxvnni(tmp_path: Path) -> None:
    sources = with_avxvnni(sorted((ROOT / "src_c").glob("*/*.c")), tmp_path)
    program = tmp_path / "golden"
    subprocess.run(["gcc", "-O2", *sources, ROOT / "tests" / "c" / "golden.c", "-o", program], check=True)
    _check([str(program)], ["avxvnni", "avx2", "sse41", "scalar"])


def test_real_models_on_aarch64(models_dir: Path, tmp_path: Path, tool: Callable[[str], str]) -> None:
    """NSNet2 and Silero give the bits on ARM that they give here, whole and in steps."""
    native = _build(NATIVE["gcc-O2"], tmp_path / "native", tool)
    foreign = _build(list(TARGETS["aarch64"].compiler), tmp_path / "foreign", tool)
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
