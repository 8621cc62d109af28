"""What exported models need on Cortex-M boards under QEMU: bytes of code, RAM and stack, instructions per step.

    python scripts/measure_cortex_m.py docs/targets.md     # writes the table between its markers
    python scripts/measure_cortex_m.py                     # prints it

Instructions are counted by SysTick under ``-icount shift=0``, where virtual time is one nanosecond per instruction.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import boards
from marked_table import rows_between, write_or_print

GOLDEN = boards.ROOT / "tests" / "golden"
MODELS = ("denoiser_s8", "keyword_s8")
BEGIN, END = "<!-- cortex-m:begin -->", "<!-- cortex-m:end -->"


@dataclass(frozen=True)
class Need:
    """Bytes, and instructions with -O2: of the start (which checks every byte of the model) and of a step."""

    text: int
    flash: int
    ram: int
    stack: int
    start: int
    step: int


def measure(board: boards.Board, folder: Path, name: str, scratch: Path) -> Need:
    """Build and run an export.

    Parameters
    ----------
    board
        Where.
    folder, name
        What ``rnnrt export`` wrote, and the model's name in C.
    scratch
        A folder for what is built.
    """
    # Code and constants of rnnrt.c that the linker keeps for a program that starts and steps; no libc, no model.
    part = scratch / "part.o"
    sources = [str(folder / "rnnrt.c"), str(folder / f"{name}.c")]
    wanted = [f"-Wl,-u,{symbol}" for symbol in (f"{name}_start", "rnnrt_step")]
    link = ["-nostdlib", "-r", "-Wl,--gc-sections", *wanted, "-Wl,-e,rnnrt_step"]
    boards.run([*board.compiler("-Os"), *sources, *link, "-o", str(part)])
    text, data, bss, *_ = map(int, boards.run(["arm-none-eabi-size", str(part)]).splitlines()[1].split()[:3])
    blob = re.search(r"_BLOB_BYTES (\d+)", (folder / f"{name}.h").read_text(encoding="utf-8"))
    assert blob is not None
    program = scratch / "count.elf"
    macros = [f"-DMODEL={name}", f'-DHEADER="{name}.h"', f"-DTICK_PS={10**12 // board.clock}u", f"-I{folder}"]
    files = [boards.SUPPORT / "count.c", *(p for p in sorted(folder.glob("*.c")) if p.name != "main.c")]
    board.build(files, program, "-O2", *macros)
    done = board.emulate(program, options=["-icount", "shift=0"])
    found = re.fullmatch(r"start (\d+) step (\d+) stack (\d+)\n", done.stdout)
    if found is None:
        raise RuntimeError(f"{board.name}: exit {done.returncode}: {done.stdout}{done.stderr}")
    start, step, stack = map(int, found.groups())
    return Need(text, text + data + int(blob[1]), data + bss, stack, start, step)


def table() -> str:
    """All models on all boards, as Markdown."""
    rows = [
        "| model | board | text | flash with weights | RAM | stack | instructions to start | instructions per step |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        for model in MODELS:
            command = [
                sys.executable,
                "-m",
                "rnnrt.cli",
                "export",
                str(GOLDEN / f"{model}.rnnrt"),
                "-o",
                str(top / model),
            ]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            for board in boards.BOARDS.values():
                n = measure(board, top / model, model, top)
                rows.append(
                    f"| {model} | {board.name} | {n.text} | {n.flash} | {n.ram} | {n.stack} | {n.start} | {n.step} |"
                )
    return "\n".join(rows)


def documented(path: Path) -> dict[tuple[str, str], Need]:
    """(model, board) -> what the table in a document says."""
    rows = rows_between(path, BEGIN, END)
    return {(model, board): Need(*map(int, numbers)) for model, board, *numbers in rows}


def main() -> None:
    """Print the table, or write it into the document given."""
    write_or_print(BEGIN, END, table())


if __name__ == "__main__":
    main()
