"""Cortex-M boards that QEMU emulates: how a program for them is compiled and run, for tests and scripts."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUPPORT = ROOT / "tests" / "qemu_cortex_m"


@dataclass(frozen=True)
class Board:
    """``clock``: Hz of SysTick when it counts the processor's clock. ``ram``: where it has 4 MiB."""

    name: str
    machine: str
    flags: tuple[str, ...]
    clock: int = 25_000_000
    ram: int = 0x20000000

    def compiler(self, *options: str) -> list[str]:
        """The compiler with the flags of the CPU."""
        return ["arm-none-eabi-gcc", "-std=c11", *self.flags, "-ffunction-sections", "-fdata-sections", *options]

    def link(self) -> list[str]:
        """Options for the linker, after the sources."""
        script = [f"-Wl,--defsym=RAM_AT={self.ram:#x}", "-T", str(SUPPORT / "board.ld")]
        return ["-lm", "--specs=rdimon.specs", "-nostartfiles", "-Wl,--gc-sections", *script]

    def build(self, sources: Sequence[Path], target: Path, *options: str) -> Path:
        """Compile and link a program that starts at main.

        Raises
        ------
        subprocess.CalledProcessError
            The compiler's or linker's complaint is in its ``stderr``.
        """
        paths = [*map(str, sources), str(SUPPORT / "startup.c")]
        run([*self.compiler(*options), *paths, *self.link(), "-o", str(target)])
        return target

    def emulate(self, program: Path, *arguments: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run it; the exit code is main's."""
        semihosting = ",".join(["enable=on", "target=native", *(f"arg={a}" for a in (program.name, *arguments))])
        command = ["qemu-system-arm", "-M", self.machine, "-kernel", str(program), "-semihosting-config", semihosting]
        command += ["-nographic", "-monitor", "none", "-serial", "none", *options]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL
        )


def run(command: Sequence[str], folder: Path = ROOT) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout


_HARD = ("-mthumb", "-mfloat-abi=hard")
BOARDS = {
    board.name: board
    for board in (
        Board("cortex-m3", "mps2-an385", ("-mcpu=cortex-m3", "-mthumb", "-mfloat-abi=soft")),
        Board("cortex-m4", "mps2-an386", ("-mcpu=cortex-m4", *_HARD, "-mfpu=fpv4-sp-d16")),
        Board("cortex-m7", "mps2-an500", ("-mcpu=cortex-m7", *_HARD, "-mfpu=fpv5-sp-d16")),
        Board("cortex-m55", "mps3-an547", ("-mcpu=cortex-m55", *_HARD), 32_000_000, 0x21000000),
    )
}
