"""The JavaScript package, ready for npm: js/ beside the C library compiled to WebAssembly.

    python scripts/build_js.py build/js

clang, wasm-ld and wasi-libc (for memcpy and malloc) are all it takes. The module imports nothing, so it needs neither
WASI nor Emscripten's JavaScript where it runs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rnnrt.converters import amalgamate

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ("rnnrt.js", "rnnrt.d.ts", "README.md")
TARGET = ("clang", "--target=wasm32-wasi", "-flto")
COMPILE = ("-std=c11", "-O2", "-msimd128", "-mbulk-memory", "-fvisibility=hidden")
LINK = (
    *("-nostartfiles", "-Wl,--no-entry", "-Wl,--lto-O2", "-Wl,--strip-all"),
    # What rnnrt.h declares is all that is visible; beside it JavaScript needs memory to put things into.
    *("-Wl,--export-dynamic", "-Wl,--export=aligned_alloc", "-Wl,--export=free"),
    # Loop strength reduction rewrites addresses so that no load has a constant offset, and the engine adds each one up.
    "-Wl,-mllvm,-disable-lsr",
    # The stack lies below all data: running over its end traps.
    *("-Wl,--stack-first", "-Wl,-z,stack-size=262144"),
)


def compile_wasm(target: Path) -> None:
    """Write the library as a WebAssembly module.

    Compiling and linking are two commands: where one does both, -O also runs the wasm-opt that it finds, and Debian's
    refuses SIMD.

    Raises
    ------
    FileNotFoundError
        There is no clang.
    subprocess.CalledProcessError
        It doesn't compile; clang has said why.
    """
    sources = sorted(map(str, (ROOT / "src_c").glob("*/*.c")))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*TARGET, *COMPILE, "-c", *sources], cwd=folder, check=True)
        objects = sorted(map(str, Path(folder).glob("*.o")))
        subprocess.run([*TARGET, *LINK, *objects, "-o", str(target)], check=True)


def build(folder: Path) -> None:
    """Write the package into a folder; see `compile_wasm` for what may be raised."""
    folder.mkdir(parents=True, exist_ok=True)
    compile_wasm(folder / "rnnrt.wasm")
    for name in PACKAGE:
        shutil.copy(ROOT / "js" / name, folder)
    shutil.copy(ROOT / "LICENSE", folder)
    manifest = json.loads((ROOT / "js" / "package.json").read_text(encoding="utf-8"))
    first = {"name": manifest["name"], "version": amalgamate.version()}
    (folder / "package.json").write_text(json.dumps({**first, **manifest}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]))
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"build_js: {error}; on Debian: apt-get install clang lld wasi-libc") from error
