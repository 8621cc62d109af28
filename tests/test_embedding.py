"""The C library as a product: installed by make and CMake and found again, and put into one file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rnnrt.converters import amalgamate, c_text

import rnnrt

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]
MAX_TEXT = 250_000  # bytes of code and constants of the x86-64 library with everything in it: five tables
Tool = Callable[[str], str]

CMAKE_CONSUMER = """cmake_minimum_required(VERSION 3.16)
project(consumer LANGUAGES C)
find_package(rnnrt {version} REQUIRED)
add_executable(step step.c)
target_link_libraries(step rnnrt::rnnrt)
"""


def output(*command: str | Path, **options: object) -> str:
    """What a program prints."""
    run = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    return str(run.stdout)


def public_functions() -> set[str]:
    header = re.sub(r"/\*.*?\*/", "", (ROOT / "src_c/include/rnnrt.h").read_text(), flags=re.DOTALL)
    return set(re.findall(r"\b(rnnrt_\w+)\(", header))


@pytest.fixture
def consumer(tmp_path: Path) -> Path:
    """The example program as a user's: it finds the header by its name alone."""
    source = tmp_path / "user" / "step.c"
    source.parent.mkdir()
    text = (ROOT / "examples/c/step.c").read_text()
    assert '"../../src_c/include/rnnrt.h"' in text
    source.write_text(text.replace('"../../src_c/include/rnnrt.h"', "<rnnrt.h>"))
    return source


def check_step(program: Path, env: dict[str, str] | None = None) -> None:
    """The program streams a model as Python does."""
    path = GOLDEN / "gru_s8.rnnrt"
    stream = rnnrt.load(path).stream()
    frames = np.random.default_rng(0).normal(size=(5, 33)).astype(np.float32)
    expected = b"".join(np.asarray(stream.step(frame)).tobytes() for frame in frames)
    run = subprocess.run([program, path], input=frames.tobytes(), capture_output=True, check=True, env=env)
    assert run.stdout == expected


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tool: Tool) -> Path:
    """`make install` into a staging folder, as a package builder does it who wants it small."""
    folder = tmp_path_factory.mktemp("made")
    build = f"BUILD={folder / 'build'}"
    output(
        tool("make"), "-C", ROOT / "src_c", build, "CFLAGS=-Os", "install", "PREFIX=/usr", f"DESTDIR={folder / 'stage'}"
    )
    return folder / "stage"


def test_make_install_and_pkg_config(made: Path, consumer: Path, tool: Tool) -> None:
    env = {**os.environ, "PKG_CONFIG_PATH": str(made / "usr/lib/pkgconfig"), "PKG_CONFIG_SYSROOT_DIR": str(made)}
    assert output(tool("pkg-config"), "--modversion", "rnnrt", env=env).strip() == amalgamate.version()
    flags = output(tool("pkg-config"), "--cflags", "--libs", "rnnrt", env=env).split()
    program = consumer.parent / "step"
    output("cc", consumer, "-o", program, *flags)
    check_step(program, {"LD_LIBRARY_PATH": str(made / "usr/lib")})
    output("cc", consumer, "-o", program, f"-I{made / 'usr/include'}", made / "usr/lib/librnnrt.a")
    check_step(program)


def test_shared_library_shows_only_the_public_functions(made: Path, tool: Tool) -> None:
    lines = output(tool("nm"), "-D", "--defined-only", made / "usr/lib/librnnrt.so").splitlines()
    assert {line.split()[-1] for line in lines} == public_functions()
    soname = output(tool("objdump"), "-p", made / "usr/lib/librnnrt.so")
    assert re.search(r"SONAME\s+librnnrt\.so\.1\n", soname), "the ABI's number is in the file's name"


def test_library_is_small(made: Path, tool: Tool) -> None:
    """Code and constants of all operators and instruction sets, -Os (with -O2 it is a quarter larger)."""
    lines = output(tool("size"), "-A", made / "usr/lib/librnnrt.so").splitlines()
    sections = {line.split()[0]: int(line.split()[1]) for line in lines if line.startswith(".")}
    assert sections[".text"] > 50_000
    assert sum(sections[name] for name in (".text", ".rodata", ".data.rel.ro")) <= MAX_TEXT, sections


def test_cmake_package(tmp_path: Path, consumer: Path, tool: Tool) -> None:
    cmake = tool("cmake")
    where = f"-DCMAKE_INSTALL_PREFIX={tmp_path / 'prefix'}"
    output(cmake, "-S", ROOT / "src_c", "-B", tmp_path / "b", "-DCMAKE_BUILD_TYPE=Debug", where)
    output(cmake, "--build", tmp_path / "b")
    output(cmake, "--install", tmp_path / "b")
    (consumer.parent / "CMakeLists.txt").write_text(CMAKE_CONSUMER.format(version=amalgamate.version()))
    output(cmake, "-S", consumer.parent, "-B", tmp_path / "c", f"-DCMAKE_PREFIX_PATH={tmp_path / 'prefix'}")
    output(cmake, "--build", tmp_path / "c")
    check_step(tmp_path / "c" / "step")


def test_cmake_subdirectory(tmp_path: Path, consumer: Path, tool: Tool) -> None:
    """Nothing is installed."""
    cmake = tool("cmake")
    shutil.copy(consumer, tmp_path)
    instead = f'add_subdirectory("{ROOT}/src_c" rnnrt)'
    (tmp_path / "CMakeLists.txt").write_text(CMAKE_CONSUMER.replace("find_package(rnnrt {version} REQUIRED)", instead))
    output(cmake, "-S", tmp_path, "-B", tmp_path / "b", "-DCMAKE_BUILD_TYPE=Debug")
    output(cmake, "--build", tmp_path / "b")
    check_step(tmp_path / "b" / "step")


# ---- one file ----


@pytest.fixture(scope="module")
def one_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("amalgamation")
    output(sys.executable, ROOT / "scripts" / "amalgamate.py", folder)
    return folder


@pytest.mark.parametrize("compiler", ["gcc", "clang", "aarch64-linux-gnu-gcc"])
def test_amalgamation_compiles_without_a_warning(compiler: str, one_file: Path, tmp_path: Path, tool: Tool) -> None:
    output(tool(compiler), "-std=c11", "-O1", *STRICT, "-c", one_file / "rnnrt.c", "-o", tmp_path / "rnnrt.o")
    nm = tool(compiler.replace("gcc", "nm").replace("clang", "nm") if "aarch64" in compiler else "nm")
    lines = output(nm, "--defined-only", "--extern-only", tmp_path / "rnnrt.o").splitlines()
    assert {line.split()[-1] for line in lines} == public_functions()


def test_amalgamation_gives_the_golden_bits(one_file: Path, tmp_path: Path) -> None:
    """On every instruction set of this CPU. The hash's own code is private there, so it is compiled once more."""
    crc = ROOT / "src_c" / "kernels" / "crc32c.c"
    program = tmp_path / "golden"
    output("cc", "-O2", one_file / "rnnrt.c", crc, ROOT / "tests" / "c" / "golden.c", "-o", program)
    for name, expected in json.loads((GOLDEN / "hashes.json").read_text()).items():
        lines = output(program, GOLDEN / f"{name}.rnnrt").splitlines()
        assert {line.split()[0] for line in lines} == set(rnnrt.isas())
        assert all(line.split()[1:] == expected for line in lines), (name, lines)


def test_amalgamation_of_some_operators(tmp_path: Path, tool: Tool) -> None:
    """What is not asked for is not in it, and a model that needs it is refused."""
    text, header = amalgamate.amalgamate(["Gemm", "LSTM"], ["scalar"])
    for absent in ("rnnrt_op_gru", "rnnrt_op_conv", "immintrin", "rnnrt_kernels_avx2"):
        assert absent not in text
    (tmp_path / "rnnrt.c").write_text(text)
    (tmp_path / "rnnrt.h").write_text(header)
    for compiler in ("gcc", "clang"):
        command = [tool(compiler), "-std=c11", "-Os", *STRICT, "-c", tmp_path / "rnnrt.c", "-o", tmp_path / "rnnrt.o"]
        output(*command)
    golden = [ROOT / "tests/c/golden.c", ROOT / "src_c/kernels/crc32c.c"]
    output("cc", tmp_path / "rnnrt.o", *golden, "-o", tmp_path / "golden")
    expected = json.loads((GOLDEN / "hashes.json").read_text())["lstm_s8"]
    assert output(tmp_path / "golden", GOLDEN / "lstm_s8.rnnrt").split() == ["scalar", *expected]
    refused = subprocess.run(
        [tmp_path / "golden", GOLDEN / "gru_s8.rnnrt"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "operator" in refused.stderr


def test_amalgamation_of_an_instruction_set_that_borrows(tmp_path: Path, tool: Tool) -> None:
    """AVX-VNNI's table takes functions of AVX2's: they come along, that table and its others do not."""
    text, header = amalgamate.amalgamate(isas_wanted=["avxvnni"])
    assert "rnnrt_unary_avx2(" in text
    for absent in ("rnnrt_kernels_avx2", "rnnrt_matmul_s8_avx2(", "rnnrt_gru_step_avx2("):
        assert absent not in text
    (tmp_path / "rnnrt.c").write_text(text)
    (tmp_path / "rnnrt.h").write_text(header)
    for compiler in ("gcc", "clang"):
        output(tool(compiler), "-std=c11", "-O2", *STRICT, "-c", tmp_path / "rnnrt.c", "-o", tmp_path / "rnnrt.o")


def test_amalgamation_of_one_weight_format(tmp_path: Path) -> None:
    """Kernels that nothing calls and products of other weights are gone; a model with those is refused at load."""
    text, header = amalgamate.amalgamate(["GRU"], ["scalar"], ["s8"])
    assert "matmul_s8_scalar(" in text
    for absent in ("matmul_f32_scalar", "lstm_cell_scalar", "sum_sq_diff_scalar"):
        assert absent not in text
    (tmp_path / "rnnrt.c").write_text(text)
    (tmp_path / "rnnrt.h").write_text(header)
    golden = [ROOT / "tests/c/golden.c", ROOT / "src_c/kernels/crc32c.c"]
    output("cc", *STRICT, "-std=c11", "-O1", tmp_path / "rnnrt.c", *golden, "-o", tmp_path / "golden")
    assert output(tmp_path / "golden", GOLDEN / "gru_s8.rnnrt").startswith("scalar ")
    refused = subprocess.run(
        [tmp_path / "golden", GOLDEN / "gru_f32.rnnrt"], capture_output=True, text=True, check=False
    )
    assert (refused.returncode, refused.stdout) == (2, "")


def test_amalgamation_refuses_what_is_not_there() -> None:
    with pytest.raises(ValueError, match="Einsum"):
        amalgamate.amalgamate(["Einsum"])
    with pytest.raises(ValueError, match="mmx"):
        amalgamate.amalgamate(isas_wanted=["mmx"])
    with pytest.raises(ValueError, match="s3"):
        amalgamate.amalgamate(weights=["s3"])


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("static int run(const call *c) { return c->x; }", {"run"}),
        ("int f(int a);", {"f"}),
        ("__attribute__((target(\"sse4.2\"))) static int g(int a) { return a; }", {"g"}),
        ("static const int t[] = {1, 2};", {"t"}),
        ("enum { A, B = 3 };", {"A", "B"}),
        ("typedef struct plan { int a, plan; } plan;", {"plan"}),
        ("typedef int (*fn)(int a);", {"fn"}),
        ("struct s { enum k { X } y; };", {"s", "k", "X"}),
    ],
)  # fmt: skip
def test_names_that_a_declaration_defines(code: str, names: set[str]) -> None:
    (item,) = c_text.items(code)
    assert item.names == names


def test_renaming_leaves_members_literals_and_attributes() -> None:
    code = 'struct s { int run; run *p; }; void g(s *x) { x->run = run("run"); } /* run */ __attribute__((run(1)))'
    expected = code.replace("run *p", "a_run *p").replace('= run("', '= a_run("')
    assert c_text.rename(code, {"run": "a_run"}) == expected
