"""`rnnrt export --format c`: the folder builds with any compiler, and its program compares bits that Python made."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from rnnrt.converters import export_c, read, write

import models
import rnnrt
from rnnrt.cli.app import app
from targets import TARGETS

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]
Tool = Callable[[str], str]


def export(blob: bytes | Path, folder: Path, *options: str) -> Path:
    """The folder that the command line makes of a model."""
    path = blob
    if isinstance(blob, bytes):
        path = folder.parent / f"{folder.name}.rnnrt"
        path.write_bytes(blob)
    result = CliRunner().invoke(app, ["export", str(path), "--format", "c", "-o", str(folder), *options])
    assert result.exit_code == 0, result.output
    return folder


def make(folder: Path, *variables: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "-C", str(folder), "check", *variables]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["denoiser_s8", "keyword_s8", "lstm_f32", "layers_s8", "rnn_bidirectional_s8"])
def test_program_passes(name: str, tmp_path: Path) -> None:
    """Streaming models in steps, the bidirectional one as a whole; without a warning."""
    folder = export(GOLDEN / f"{name}.rnnrt", tmp_path / "c")
    made = make(folder, f"CFLAGS=-O1 {' '.join(STRICT)}")
    assert made.returncode == 0, made.stdout + made.stderr
    assert f"PASS {name}: 0 of " in made.stdout


@pytest.mark.parametrize("name", ["two", "timeless", "last_hidden", "conv"])
def test_other_shapes_of_models(name: str, tmp_path: Path) -> None:
    """Several inputs and outputs, no time axis, an output without one."""
    made = make(export(models.streamable(name), tmp_path / name, "--isa", "scalar"), "CFLAGS=-O1")
    assert made.returncode == 0, made.stdout + made.stderr
    assert "PASS" in made.stdout


def test_program_fails_where_a_bit_differs(tmp_path: Path) -> None:
    folder = export(models.streamable("gru"), tmp_path / "c", "--isa", "scalar")
    path = folder / "golden.h"
    text = path.read_text()
    digits = re.search(r"expected_0\[\] = \{\s*0x(\w+)", text)
    assert digits is not None
    wrong = f"{int(digits[1], 16) ^ 1:x}"
    path.write_text(text[: digits.start(1)] + wrong + text[digits.end(1) :])
    made = make(folder, "CFLAGS=-O1")
    assert made.returncode != 0
    assert "FAIL c: 1 of 8 outputs differ" in made.stdout


def test_program_says_why_it_cannot_start(tmp_path: Path) -> None:
    """A damaged model, and sizes that are too small."""
    folder = export(models.streamable("gru"), tmp_path / "c", "--isa", "scalar")
    header, data = folder / "c.h", folder / "c_data.c"
    good = header.read_text()
    header.write_text(re.sub(r"(C_STATE_BYTES )(\d+)", lambda m: f"{m[1]}{int(m[2]) - 1}", good))
    assert "memory given is too small" in make(folder, "CFLAGS=-O0").stdout  # so the constant is exact
    header.write_text(re.sub(r"(C_MODEL_BYTES )(\d+)", lambda m: f"{m[1]}{int(m[2]) - 1}", good))
    assert "memory given is too small" in make(folder, "CFLAGS=-O0").stdout
    header.write_text(good)
    text = data.read_text()
    last = max(i for i, line in enumerate(text.splitlines()) if "0x" in line)
    lines = text.splitlines()
    lines[last] = lines[last].replace(re.findall(r"0x\w+", lines[last])[0], "0x123")
    data.write_text("\n".join(lines) + "\n")
    assert "checksum" in make(folder, "CFLAGS=-O0").stdout


# Cross compiler -> options and what runs its programs.
CROSS = {
    "aarch64-linux-gnu-gcc": (("-static",), ("qemu-aarch64", "-cpu", "cortex-a76")),
    "clang-16": (TARGETS["riscv64-v"].compiler[1:], ("qemu-riscv64", "-cpu", min(TARGETS["riscv64-v"].cpus))),
}


@pytest.mark.parametrize("compiler", ["clang", *CROSS, "g++"])
def test_other_compilers(compiler: str, tmp_path: Path, tool: Tool) -> None:
    """clang and a cross compiler build everything without a warning; C++ can use the header."""
    folder = export(GOLDEN / "gru_lbr0_s8.rnnrt", tmp_path / "c")
    if compiler == "g++":
        (tmp_path / "user.cpp").write_text(
            '#include "gru_lbr0_s8.h"\nint main() { rnnrt_state *s; return gru_lbr0_s8_start(&s); }\n'
        )
        command = [tool(compiler), "-std=c++11", *STRICT, "-I", str(folder), "-c", str(tmp_path / "user.cpp")]
        subprocess.run([*command, "-o", str(tmp_path / "user.o")], check=True)
        return
    options, emulator = CROSS.get(compiler, ((), ()))
    flags = f"CFLAGS={' '.join((*options, '-O1', *STRICT))}"
    made = subprocess.run(["make", "-C", str(folder), f"CC={tool(compiler)}", flags], capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    for program in emulator[:1]:
        tool(program)
    run = subprocess.run([*emulator, str(folder / "check_gru_lbr0_s8")], capture_output=True, text=True, check=True)
    assert "PASS" in run.stdout


def test_cmake(tmp_path: Path, tool: Tool) -> None:
    folder = export(GOLDEN / "gru_lbr0_s8.rnnrt", tmp_path / "c", "--isa", "scalar")
    for command in (["-S", str(folder), "-B", str(tmp_path / "b")], ["--build", str(tmp_path / "b")]):
        subprocess.run([tool("cmake"), *command], check=True, capture_output=True)
    subprocess.run([tool("ctest"), "--test-dir", str(tmp_path / "b")], check=True, capture_output=True)


def test_only_what_the_model_needs_is_there(tmp_path: Path) -> None:
    folder = export(GOLDEN / "denoiser_s8.rnnrt", tmp_path / "c", "--isa", "scalar", "--name", "Noise_2")
    made = {"Noise_2.c", "Noise_2.h", "Noise_2_data.c", "golden.h", "main.c", "Makefile", "CMakeLists.txt"}
    assert {p.name for p in folder.iterdir()} == {"rnnrt.c", "rnnrt.h", *made}
    text = (folder / "rnnrt.c").read_text()
    assert set(re.findall(r"rnnrt_op rnnrt_op_(\w+) =", text)) == {"gemm", "gru", "squeeze"}
    assert set(re.findall(r"rnnrt_kernels rnnrt_kernels_(\w+) =", text)) == {"scalar"}
    header = (folder / "Noise_2.h").read_text()
    assert "#define NOISE_2_INPUT_0_ELEMENTS 64 /* x float32 [T, B, 64] */" in header
    assert "malloc" not in text + (folder / "Noise_2.c").read_text()


def test_json_tells_what_was_written(tmp_path: Path) -> None:
    arguments = ["export", str(GOLDEN / "gru_f32.rnnrt"), "-o", str(tmp_path / "c"), "--isa", "avx2", "--json"]
    found = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert found["operators"] == ["GRU"]
    assert found["isas"] == ["avx2", "scalar"]
    assert found["files"] == {p.name: p.stat().st_size for p in (tmp_path / "c").iterdir()}


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--isa", "mmx"], "mmx"), (["--name", "!"], "choose another name"), (["--format", "rust"], "rust")],
)
def test_usage_errors(options: list[str], message: str, tmp_path: Path) -> None:
    arguments = ["export", str(GOLDEN / "gru_f32.rnnrt"), "-o", str(tmp_path / "c"), *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("inside", ["", "deeper/c"])
def test_a_file_where_the_folder_is_to_be_is_refused_before_any_work(inside: str, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    result = CliRunner().invoke(app, ["export", str(tmp_path / "not-even-read.rnnrt"), "-o", str(taken / inside)])
    assert result.exit_code == 2
    assert "taken' is a file, a folder is to be written" in " ".join(result.output.split())
    assert taken.read_text() == "mine"


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.rnnrt").write_bytes((GOLDEN / "gru_f32.rnnrt").read_bytes()[:-1])
    command = [sys.executable, "-m", "rnnrt.cli", "export", str(tmp_path / "x.rnnrt"), "-o", str(tmp_path / "c")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 4, run.stderr
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("text", "name"),
    [("NSNet2 20ms", "nsnet2_20ms"), ("16k", "model_16k"), ("main", "main_model"), ("rnnrt", "rnnrt_model")],
)
def test_identifier(text: str, name: str) -> None:
    assert export_c.identifier(text) == name


def test_report_is_left_out_of_flash() -> None:
    """And nothing else changes."""
    blob = models.streamable("two")
    slim = write.without_meta(blob)
    before, after = read.parse(blob), read.parse(slim)
    assert before.meta
    assert not after.meta
    assert (before.values, before.nodes, bytes(before.data)) == (after.values, after.nodes, bytes(after.data))
    x = {"a": models.signal((3, 1, 4)), "b": models.signal((3, 1, 4), 1)}
    first, second = rnnrt.load(blob)(x), rnnrt.load(slim)(x)
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert all(first[k].tobytes() == second[k].tobytes() for k in first)
