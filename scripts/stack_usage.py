"""Bytes of stack that calls of the C library need at most, from what gcc knows of each function (-fstack-usage).

    python scripts/stack_usage.py docs/targets.md     # writes the table between its markers
    python scripts/stack_usage.py                     # prints it

gcc writes a graph of calls beside each object (-fcallgraph-info=su). A call through a pointer stands there without its
target: `POINTERS` says by the pointer's name which functions it can hold. These are found in the objects' relocations,
with the table and the member, or the file, where their address is taken; one that no pointer leads to is an error, and
so is a cycle. Not counted: libc's memcpy, memset and memmove and the compiler's arithmetic, and the caller's own
functions (rnnrt_parallel, rnnrt_probe).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import boards
from marked_table import rows_between, write_or_print

BEGIN, END = "<!-- stack:begin -->", "<!-- stack:end -->"
TARGETS = {
    "x86-64, -O2": (["gcc", "-std=c11", "-O2", "-fno-pie"], "readelf"),
    "Cortex-M4, -Os": ([*boards.BOARDS["cortex-m4"].compiler("-Os")], "arm-none-eabi-readelf"),
}
ENTRIES = ("rnnrt_step", "rnnrt_run", "rnnrt_run_streams", "rnnrt_model_init", "rnnrt_state_size", "rnnrt_state_init")

# (folder of the call, name of the pointer) -> where functions that it can hold have their address taken: a table's
# member or a file.
POINTERS = {
    **{("core", member): rf"rnnrt_op_\w+\.{member}" for member in ("check", "shape", "scratch")},
    ("core", "run"): r"rnnrt_op_\w+\.run|core/state\.c",  # of a task: an operator's, or what copies a view
    ("core", "crc32c"): r"kernels/crc32c\.c",
    ("core", "probe"): None,  # the caller's
    ("ops", "step"): r"kind\.step",
    ("ops", "fused"): r"kind\.fused",
    ("ops", "kernel"): r"rnnrt_kernels_\w+\.(?:gru|lstm)_(?:step|reset|renew)",
    ("ops", "parallel"): r"ops/team\.c",  # by the caller's function, perhaps on another thread
    ("ops", "run"): r"ops/(?!team\.c).*",
    ("kernels", "rows_w"): r"SOURCE",  # the file of the call
    ("kernels", "rows_r"): r"SOURCE",
}
KERNEL = re.compile(r"\b(?:k|kernels)->(\w+)$")
# Structures of tables: header, and the place of the first pointer that is never NULL.
STRUCTURES = {"rnnrt_op_": ("ops/op.h", "rnnrt_op"), "rnnrt_kernels_": ("kernels/kernels.h", "rnnrt_kernels")}
STRUCTURES["kind"] = ("ops/recurrent.h", "rnnrt_recurrent_kind")
ADDRESS = {"R_X86_64_64": 8, "R_X86_64_32": 8, "R_X86_64_32S": 8, "R_ARM_ABS32": 4}  # relocation -> bytes of a pointer


@dataclass
class Function:
    """``calls``: names of functions; ``pointers``: (folder, expression) of each call through one."""

    name: str
    source: str
    stack: int
    dynamic: bool
    calls: set[str] = field(default_factory=set)
    pointers: set[tuple[str, str]] = field(default_factory=set)


@dataclass
class Library:
    """``taken``: where the address of a function is taken -> its names. ``depths``: found so far by `deepest`."""

    functions: dict[str, Function] = field(default_factory=dict)
    taken: dict[str, set[str]] = field(default_factory=dict)
    depths: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)


def members(folder: Path, header: str, struct: str) -> list[str]:
    """Names of a structure's pointers in order."""
    text = re.sub(r"/\*.*?\*/", "", (folder / header).read_text(encoding="utf-8"), flags=re.DOTALL)
    body = text.split(f"typedef struct {struct} {{")[1].split(f"}} {struct};")[0]
    body = re.sub(r"(\(\*\w+\))\([^;]*\)", r"\1", body)  # parameters may be pointers, too
    return [a or b for a, b in re.findall(r"\(\*(\w+)\)|\*(\w+)[,;]", body)]


def called(folder: Path, at: str) -> tuple[str, str]:
    """(folder, expression) of the pointer called at file:line:column or, as an argument of that call, behind it."""
    path, line, column = at.split(":")
    layer = path.split("/")[0]
    text = (folder / path).read_text(encoding="utf-8").splitlines()[int(line) - 1][int(column) - 1 :]
    for expression in re.findall(r"((?:\w+(?:\[\w+\])?(?:->|\.))*\w+)\(", text):
        if re.search(r"->|\.", expression) or (layer, expression) in POINTERS:
            return layer, expression
    raise ValueError(f"{at}: a call through a pointer that has no known name: {text}")


def read_graph(library: Library, folder: Path, source: str, graph: str) -> None:
    """Add the functions of a .ci file; static ones are named file:function."""

    def name_of(title: str) -> str:
        return f"{source}:{title.rsplit(':', 1)[1]}" if ":" in title else title

    for title, size, kind in re.findall(
        r'^node: \{ title: "([^"]+)" label: "[^"]*\\n(\d+) bytes \(([^)]+)\)', graph, re.M
    ):
        library.functions[name_of(title)] = Function(name_of(title), source, int(size), kind == "dynamic")
    for caller, target, at in re.findall(
        r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"(?: label: "([^"]*)")?', graph, re.M
    ):
        function = library.functions[name_of(caller)]
        if target == "__indirect_call":
            function.pointers.add(called(folder, at))
        else:
            function.calls.add(name_of(target))


def read_relocations(library: Library, folder: Path, source: str, text: str) -> None:
    """Add the places where an object takes a function's address."""
    for section, body in re.findall(r"^Relocation section '\.rela?([^']+)'[^\n]*\n(.*?)(?:\n\n|\Z)", text, re.M | re.S):
        rows = [row.split() for row in body.splitlines()[1:]]
        addresses = [row for row in rows if row[2] in ADDRESS]
        for offset, _, kind, _, symbol, *addend in addresses:
            static = re.sub(r"^\.text\.(?:unlikely\.)?", "", symbol)
            if any(int(a, 16) for a in addend[1:]) or section == symbol:  # a table of jumps inside of a function
                continue
            name = next((n for n in (f"{source}:{static}", static) if n in library.functions), None)
            if name is None:
                continue
            table = section.rsplit(".", 1)[1] if not section.startswith(".text") else ""
            place = source
            for prefix, structure in STRUCTURES.items():
                if table.startswith(prefix):
                    first = min(int(row[0], 16) for row in addresses)
                    index = (int(offset, 16) - first) // ADDRESS[kind]
                    place = f"{table}.{members(folder, *structure)[index]}"
            library.taken.setdefault(place, set()).add(name)


def compile_library(compiler: Sequence[str], readelf: str, folder: Path, sources: Iterable[str]) -> Library:
    """Compile sources, named relative to ``folder``, and read what the compiler says of them."""
    library = Library()
    relocations = {}
    flags = ["-ffunction-sections", "-fdata-sections", "-fstack-usage", "-fcallgraph-info=su"]
    with tempfile.TemporaryDirectory() as name:
        for source in sources:
            target = Path(name) / (source.replace("/", "-")[: -len(".c")] + ".o")
            boards.run([*compiler, *flags, "-c", source, "-o", str(target)], folder)
            read_graph(library, folder, source, target.with_suffix(".ci").read_text(encoding="utf-8"))
            relocations[source] = boards.run([readelf, "-rW", str(target)])
    for source, text in relocations.items():
        read_relocations(library, folder, source, text)
    return library


def targets(library: Library, source: str, pointer: tuple[str, str]) -> set[str]:
    """Names of the functions that a pointer called in ``source`` can hold.

    Raises
    ------
    ValueError
        None is known.
    """
    folder, expression = pointer
    kernel = KERNEL.search(expression)
    name = re.split(r"->|\.", expression)[-1]
    pattern = rf"rnnrt_kernels_\w+\.{kernel[1]}" if kernel else POINTERS.get((folder, name), "")
    if pattern is None:
        return set()
    pattern = pattern.replace("SOURCE", re.escape(source))
    found = {name for place, names in library.taken.items() if re.fullmatch(pattern, place) for name in names}
    if not found:
        raise ValueError(f"{source}: {expression}() can call nothing that is known; see POINTERS")
    return found


def check(library: Library) -> None:
    """No stack grows as a function runs, no function calls itself, each whose address is taken is called by a pointer.

    Raises
    ------
    ValueError
        Names those that break it.
    """
    dynamic = sorted(f.name for f in library.functions.values() if f.dynamic)
    if dynamic:
        raise ValueError(f"stack without a bound (alloca or a variable-length array): {', '.join(dynamic)}")
    reached = {t for f in library.functions.values() for p in f.pointers for t in targets(library, f.source, p)}
    lost = sorted(set().union(*library.taken.values()) - reached)
    if lost:
        raise ValueError(f"no pointer is known to lead to {', '.join(lost)}; see POINTERS")
    for name in library.functions:
        deepest(library, name)


def deepest(library: Library, name: str, above: tuple[str, ...] = ()) -> tuple[int, tuple[str, ...]]:
    """Bytes of the deepest chain of calls from a function, and the chain.

    Raises
    ------
    ValueError
        A function can call itself.
    """
    if name in above:
        raise ValueError(f"recursion: {' > '.join((*above, name))}")
    function = library.functions.get(name)
    if function is None:  # not ours
        return 0, ()
    if name not in library.depths:
        called = set(function.calls).union(*(targets(library, function.source, p) for p in function.pointers))
        below = max((deepest(library, n, (*above, name)) for n in sorted(called)), default=(0, ()))
        library.depths[name] = (function.stack + below[0], (name, *below[1]))
    return library.depths[name]


def measure() -> dict[tuple[str, str], tuple[int, tuple[str, ...]]]:
    """(target, entry) -> bytes of the deepest chain and the chain."""
    folder = boards.ROOT / "src_c"
    sources = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*.c"))
    found: dict[tuple[str, str], tuple[int, tuple[str, ...]]] = {}
    for target, (compiler, readelf) in TARGETS.items():
        library = compile_library(compiler, readelf, folder, sources)
        check(library)
        found |= {(target, entry): deepest(library, entry) for entry in ENTRIES}
    return found


def table() -> str:
    """Markdown."""
    rows = ["| target | call | bytes | deepest chain |", "|---|---|--:|---|"]
    for (target, entry), (size, chain) in measure().items():
        names = " > ".join(chain[1:])
        rows.append(f"| {target} | `{entry}` | {size} | `{names}` |")
    return "\n".join(rows)


def documented(path: Path) -> dict[tuple[str, str], int]:
    """(target, entry) -> bytes, as the table in a document says."""
    rows = rows_between(path, BEGIN, END)
    return {(target, entry.strip("`")): int(size) for target, entry, size, _ in rows}


def main() -> None:
    """Print the table, or write it into the document given."""
    write_or_print(BEGIN, END, table())


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        raise SystemExit(str(error)) from error
