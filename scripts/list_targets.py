"""One int8 model, one hash: on every target and instruction set that can run here, natively or under QEMU.

    python scripts/list_targets.py docs/targets.md     # writes the table between its markers
    python scripts/list_targets.py                     # prints it

A new target is one line of `TARGETS`. Instruction sets that this CPU lacks keep the rows that another machine wrote.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rnnrt.converters import amalgamate, read

import boards
import browser
import build_js
from marked_table import rows_between, write_between

MODEL = boards.ROOT / "tests" / "golden" / "denoiser_s8.rnnrt"
BEGIN, END = "<!-- targets:begin -->", "<!-- targets:end -->"
Rows = dict[tuple[str, str], str]


@dataclass(frozen=True)
class Target:
    """``compiler`` and ``emulator`` are command lines; a board has its own, a browser runs the JavaScript package."""

    name: str
    compiler: str
    emulator: str = ""
    board: boards.Board | None = None
    in_browser: bool = False


TARGETS = (
    Target("x86-64", "gcc -std=c11 -O2"),
    Target("x86-64, Conroe", "gcc -std=c11 -O2 -static", "qemu-x86_64 -cpu Conroe"),
    Target("x86-64, Penryn", "gcc -std=c11 -O2 -static", "qemu-x86_64 -cpu Penryn"),
    Target("x86-64, Haswell", "gcc -std=c11 -O2 -static", "qemu-x86_64 -cpu Haswell"),
    Target("AArch64, Cortex-A53", "aarch64-linux-gnu-gcc -std=c11 -O2 -static", "qemu-aarch64 -cpu cortex-a53"),
    Target("AArch64, Cortex-A76", "aarch64-linux-gnu-gcc -std=c11 -O2 -static", "qemu-aarch64 -cpu cortex-a76"),
    Target("AArch64, Armv8.6 and more", "aarch64-linux-gnu-gcc -std=c11 -O2 -static", "qemu-aarch64 -cpu max"),
    Target("armv7, Debian's armhf", "arm-linux-gnueabihf-gcc -std=c11 -O2 -static", "qemu-arm -cpu cortex-a7"),
    Target("armv7, NEON", "arm-linux-gnueabihf-gcc -std=c11 -O2 -static -mfpu=neon", "qemu-arm -cpu cortex-a7"),
    Target("riscv64", "riscv64-linux-gnu-gcc -std=c11 -O2 -static", "qemu-riscv64 -cpu rv64"),
    *(
        Target(
            f"riscv64, vectors of {bits} bits",
            "clang-16 --target=riscv64-linux-gnu -march=rv64gcv -std=c11 -O2 -static",
            f"qemu-riscv64 -cpu rv64,v=true,vlen={bits},vext_spec=v1.0",
        )
        for bits in (128, 256)
    ),
    Target("WebAssembly", "clang --target=wasm32-wasi -msimd128 -std=c11 -O2", "node --no-warnings tests/run_wasi.mjs"),
    Target("WebAssembly in Chromium", build_js.TARGET[0], " ".join(browser.COMMAND), in_browser=True),
    *(
        Target(f"bare metal, {name.title()}", " ".join(board.compiler()), f"qemu-system-arm -M {board.machine}", board)
        for name, board in boards.BOARDS.items()
    ),
)


def sources(folder: Path) -> list[Path]:
    """The hashing program: the runtime with the model's operators and every instruction set, in one file."""
    operators = {node.op for node in read.parse(MODEL.read_bytes()).nodes}
    for name, text in zip(("rnnrt.c", "rnnrt.h"), amalgamate.amalgamate(operators), strict=True):
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / "rnnrt.c", boards.ROOT / "src_c/kernels/crc32c.c", boards.ROOT / "tests/c/golden.c"]


def page(folder: Path) -> list[str]:
    """The hashing program's lines from the page tests/js/golden.html, with the JavaScript package."""
    build_js.build(folder)
    tests = boards.ROOT / "tests" / "js"
    for path in (tests / "golden.html", tests / "golden.mjs", MODEL):
        shutil.copy(path, folder)
    rows = browser.report(folder, f"golden.html?models={MODEL.stem}")
    return [" ".join(row[1:]) for row in rows]


def hashes(target: Target, files: list[Path], program: Path) -> Iterator[tuple[str, str]]:
    """(instruction set, hash of the outputs) for each that the target has; steps must agree with the whole.

    Raises
    ------
    subprocess.CalledProcessError
        It doesn't build or run.
    ValueError
        Single steps gave other bits.
    """
    if target.in_browser:
        lines = page(program.parent / "page")
    elif target.board:
        target.board.build(files, program, "-O2")
        done = target.board.emulate(program, str(MODEL))
        done.check_returncode()
        lines = done.stdout.splitlines()
    else:
        boards.run([*target.compiler.split(), *map(str, files), "-o", str(program)])
        lines = boards.run([*target.emulator.split(), str(program), str(MODEL)]).splitlines()
    for line in lines:
        isa, whole, steps = line.split()
        if whole != steps:
            raise ValueError(f"{target.name}, {isa}: whole {whole}, in steps {steps}")
        yield isa, whole


def find() -> Rows:
    """(target, instruction set) -> hash, for what can run here. Targets without their compiler are left out."""
    found: Rows = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = sources(folder)
        for target in TARGETS:
            tools = [target.compiler.split()[0], *target.emulator.split()[:1]]
            if all(map(shutil.which, tools)):
                found |= {(target.name, isa): crc for isa, crc in hashes(target, files, folder / "program")}
    return found


def documented(path: Path) -> Rows:
    """What the table in a document says."""
    rows = rows_between(path, BEGIN, END)
    return {(target, isa): crc for target, _, _, isa, crc in rows}


def table(rows: Rows) -> str:
    """Markdown."""
    lines = ["| target | compiler | run by | instruction set | hash |", "|---|---|---|---|---|"]
    for target in TARGETS:
        for (name, isa), crc in sorted(rows.items()):
            if name == target.name:
                compiler = target.compiler.split()[0]
                lines.append(f"| {name} | {compiler} | {target.emulator or 'itself'} | {isa} | {crc} |")
    missing = sorted(set(amalgamate.isas()) - {isa for _, isa in rows})
    lines += ["", f"Not run by any machine or emulator at hand: {', '.join(missing) or 'none'}."]
    if "avxvnni" in missing:
        lines += [
            "The tests of `avxvnni` run its code with VPDPBUSD and VPDPWSSD in their AVX-512 encoding; these two",
            "instructions as they ship, and the detection of such a CPU, have never run.",
        ]
    return "\n".join(lines)


def main() -> None:
    """Print the table, or write it into the document given."""
    rows = find()
    if len(sys.argv) > 1:
        path = Path(sys.argv[1])
        write_between(path, BEGIN, END, table({**documented(path), **rows}))
    else:
        print(table(rows))


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{error}\n{error.stderr}") from error
