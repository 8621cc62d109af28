"""The C library as one ``rnnrt.c`` beside ``rnnrt.h``: all of it, or only what a model needs.

Files are inlined in the order of their layers. Names that were private to a file get its stem as a prefix, headers that
are templates (``simd_*.h``, ``words_*.h``: included by each ``kernels_<isa>.c`` under other macros) are expanded for
each of them, everything that ``rnnrt.h`` does not declare becomes static, and what nothing reaches from the public
functions is left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from . import c_text

SOURCES = Path(__file__).parents[1] / "src_c"
"""The C library: beside converters/ in a working tree, rnnrt/src_c where the package is installed."""

_TEMPLATE = re.compile(r"(?:simd|words)_\w+\.h")
_KERNEL = re.compile(r"\b(KERNEL|SHARED)\((?!name\))(\w+)\)")
_NAMES = re.compile(r"#\s*define (KERNEL|SHARED)\(name\) (?:(\w+)##)?name##(\w+)")
_INCLUDE = re.compile(r'\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)')
_EVERYWHERE = ("float.h", "stddef.h", "stdint.h", "string.h")  # never under a condition: included once
_PROLOGUE = "/* rnnrt {version}: the C library in one file, made by `{made_by}` from its sources. MIT licence. */"


@dataclass
class _Unit:
    """What one .c file, or all shared headers before it, contribute."""

    path: Path
    items: list[c_text.Item] = field(default_factory=list)


def version(sources: Path = SOURCES) -> str:
    """RNNRT_VERSION of rnnrt.h."""
    found = re.search(r'RNNRT_VERSION "([^"]+)"', (sources / "include/rnnrt.h").read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


def isas(sources: Path = SOURCES) -> list[str]:
    """The instruction sets that the library has kernels for, whatever this CPU can run."""
    return sorted(path.stem.removeprefix("kernels_") for path in sources.glob("kernels/kernels_*.c"))


def _lenders(isas_wanted: Collection[str], sources: Path) -> set[str]:
    """Those whose functions are in the tables of these, by the header that a kernels_<isa>.c takes them from."""
    texts = [(sources / f"kernels/kernels_{isa}.c").read_text(encoding="utf-8") for isa in isas_wanted]
    return {isa for text in texts for isa in re.findall(r'#include "shared_(\w+)\.h"', text)}


def amalgamate(
    operators: Collection[str] | None = None,
    isas_wanted: Collection[str] | None = None,
    weights: Collection[str] | None = None,
    *,
    made_by: str = "scripts/amalgamate.py",
    sources: Path = SOURCES,
) -> tuple[str, str]:
    """Put the library into one file.

    Parameters
    ----------
    operators : collection of str, optional
        ONNX names of the operators that are needed; default: all.
    isas_wanted : collection of str, optional
        Instruction sets to keep beside "scalar"; default: all.
    weights : collection of str, optional
        Formats of packed weights to keep, as in the kernels' names: "f32", "s8", ...; default: all. Models with others
        are refused.
    made_by : str
        What the first line says.
    sources : Path
        The folder ``src_c``.

    Returns
    -------
    tuple of str
        The contents of ``rnnrt.c`` and of ``rnnrt.h``.

    Raises
    ------
    ValueError
        An operator, instruction set or weight format that the library does not have.
    """
    header = (sources / "include/rnnrt.h").read_text(encoding="utf-8")
    known = isas(sources)
    kept_isas = {"scalar", *(known if isas_wanted is None else isas_wanted)}
    if unknown := sorted(kept_isas - set(known)):
        raise ValueError(f"unknown instruction sets {unknown}, expected some of {known}")
    units = _read_units(sources, kept_isas | _lenders(kept_isas, sources))
    tables = _operator_tables(units)
    if operators is not None:
        if unknown := sorted(set(operators) - set(tables.values())):
            raise ValueError(f"operators {unknown} are not in the library")
        unwanted = {symbol for symbol, name in tables.items() if name not in operators}
        _drop_rows(units, "registry", r"&({})\b,?", unwanted)
    gone = {f"rnnrt_kernels_{isa}" for isa in known if isa not in kept_isas}
    _drop_rows(units, "dispatch", r"\{{&({})\b[^}}]*\}},?", gone)
    public = set().union(*(item.names for item in c_text.items(_public_part(header))))
    _make_static(units, public)
    _keep_reachable(units, public)
    _drop_kernels(units, weights)
    _keep_reachable(units, public)
    prologue = _PROLOGUE.format(version=version(sources), made_by=made_by)
    return _write(units, prologue), header


def _public_part(header: str) -> str:
    """rnnrt.h without the brace of extern "C", in which everything would be one item."""
    return re.sub(r'extern "C" \{|^\}$', "", header, flags=re.MULTILINE)


# ---- reading ----


def _order(path: Path) -> tuple[int, int, str]:
    """Layer by layer; tables that name everything else of their layer last, the reference kernels first."""
    layer = {"kernels": 0, "ops": 1, "core": 2}[path.parent.name]
    place = 2 if path.stem in ("dispatch", "registry") else 0 if path.stem == "kernels_scalar" else 1
    return layer, place, path.stem


def _read_units(sources: Path, kept_isas: Collection[str]) -> list[_Unit]:
    paths = sorted(sources.glob("*/*.c"), key=_order)
    stems = [path.stem for path in paths]
    assert len(set(stems)) == len(stems), "two files of src_c have the same name: their prefixes would collide"
    shared: set[Path] = {(sources / "include/rnnrt.h").resolve()}
    # Before everything else, because it forbids the compiler to fuse and must precede every intrinsics header.
    exact = (sources / "kernels/float_exact.h").resolve()
    units = [_Unit(exact, c_text.items(_expand(exact, shared, set())))]
    for path in paths:
        if path.stem.startswith("kernels_") and path.stem.removeprefix("kernels_") not in kept_isas:
            continue
        headers, text = _split(_expand(path, shared, set()))
        if path.stem.startswith("kernels_"):
            text = _with_kernel_names(text)
        units.append(_Unit(path.with_suffix(".h"), c_text.items(headers)))
        units.append(_Unit(path, _own(c_text.items(text), path.stem)))
    return units


def _with_kernel_names(text: str) -> str:
    """KERNEL(x), SHARED(x) and LINKAGE as the file defines them; SHARED is KERNEL unless it takes others' functions."""
    names = {macro: (before, after) for macro, before, after in _NAMES.findall(text)}
    names.setdefault("SHARED", names["KERNEL"])
    text = _KERNEL.sub(lambda m: f"{names[m[1]][0]}{m[2]}{names[m[1]][1]}", text)
    return re.sub(r"^LINKAGE\b", "static", text, flags=re.MULTILINE)


_BEGIN_SHARED, _END_SHARED = "/*<shared*/", "/*shared>*/"


def _expand(path: Path, shared: set[Path], templates: set[Path]) -> str:
    """The file's text with our own headers inlined; a shared header only the first time, between marks."""
    path = path.resolve()
    template = _TEMPLATE.fullmatch(path.name) is not None
    if path.suffix == ".h":
        seen = templates if template else shared
        if path in seen:
            return ""
        seen.add(path)
    lines = []
    text = path.read_text(encoding="utf-8")
    for line in (_without_guard(text) if path.suffix == ".h" else text).splitlines():
        include = _INCLUDE.match(line)
        lines.append(_expand(path.parent / include[1], shared, templates) if include and include[1] else line)
    made = "\n".join(lines) + "\n"
    return f"{_BEGIN_SHARED}\n{made}{_END_SHARED}\n" if path.suffix == ".h" and not template else made


def _without_guard(text: str) -> str:
    guard = re.search(r"^#ifndef (RNNRT_\w+_H)\n#define \1\n", text, re.MULTILINE)
    if guard is None:
        return text
    rest = text[guard.end() :].rstrip()
    assert rest.endswith("#endif")
    return text[: guard.start()] + rest.removesuffix("#endif")


def _split(text: str) -> tuple[str, str]:
    """(the shared headers, the rest) of an expanded file."""
    headers: list[str] = []
    own: list[str] = []
    depth = 0
    for line in text.splitlines():
        if line == _BEGIN_SHARED:
            depth += 1
        elif line == _END_SHARED:
            depth -= 1
        else:
            (headers if depth else own).append(line)
    return "\n".join(headers) + "\n", "\n".join(own) + "\n"


def _own(items: list[c_text.Item], stem: str) -> list[c_text.Item]:
    """A file's items with its private names prefixed; macros keep theirs and are undefined at the file's end."""
    private = {name for item in items if not item.directive for name in item.names}
    isa = f"_{stem.removeprefix('kernels_')}" if stem.startswith("kernels_") else None
    names = {
        name: f"{stem}_{name}"
        for name in private
        if not name.lower().startswith("rnnrt_") and not (isa and name.endswith(isa))  # a kernel's name tells already
    }
    made = []
    for item in items:
        text = c_text.rename(item.text, names)
        made.append(c_text.Item(text, frozenset(names.get(name, name) for name in item.names), item.directive))
    return made


# ---- choosing ----


def _operator_tables(units: Iterable[_Unit]) -> dict[str, str]:
    """rnnrt_op_<x> -> its ONNX name: the first literal of the table that isn't an attribute's."""
    found = {}
    for unit in units:
        for item in unit.items:
            symbol = re.search(r"\brnnrt_op (rnnrt_op_\w+) = \{", item.text)
            if symbol and not item.directive:
                name = re.search(r'"(\w+)"', item.text[symbol.end() :])
                assert name is not None, item.text
                found[symbol[1]] = name[1]
    return found


def _drop_rows(units: Iterable[_Unit], stem: str, row: str, symbols: Collection[str]) -> None:
    """Remove the rows that name one of these symbols from the tables of a file."""
    if not symbols:
        return
    pattern = re.compile(row.format("|".join(sorted(symbols, key=len, reverse=True))))
    for unit in units:
        if unit.path.name == f"{stem}.c":
            for item in unit.items:
                item.text = re.sub(r"\n(?:[ \t]*\n)+", "\n", pattern.sub("", item.text))


def _make_static(units: Iterable[_Unit], public: Collection[str]) -> None:
    """Everything but the public functions gets internal linkage; extern declarations of tables go."""
    for unit in units:
        kept = []
        for item in unit.items:
            code = c_text.without_comments(item.text).strip()
            if code.startswith("extern "):
                continue
            if item.names and not item.directive and not item.is_type and not item.names & set(public):
                head = re.split(r"[({=;]", re.sub(r"__attribute__\s*\(\(.*?\)\)\s", "", code), maxsplit=1)[0].split()
                if "static" not in head and "RNNRT_INLINE" not in head:
                    item.text = _insert_before_code(item.text, "static ")
            kept.append(item)
        unit.items = kept


def _insert_before_code(text: str, word: str) -> str:
    made, done = [], False
    for token in c_text.tokens(text):
        if not done and token.kind not in ("comment", "space"):
            made.append(word)
            done = True
        made.append(token.text)
    return "".join(made)


def _by_name(items: Iterable[c_text.Item]) -> dict[str, list[c_text.Item]]:
    found: dict[str, list[c_text.Item]] = {}
    for item in items:
        for name in item.names:
            found.setdefault(name, []).append(item)
    return found


def _keep_reachable(units: list[_Unit], public: Collection[str]) -> None:
    """Leave out items that no public function reaches, by name. Conditionals, pragmas and includes stay."""
    everywhere = _by_name(item for unit in units for item in unit.items)
    own: dict[int, dict[str, list[c_text.Item]]] = {}  # of a .c file its own macro is meant, whatever others define
    for unit in units:
        names = _by_name(unit.items) if unit.path.suffix == ".c" else {}
        own.update({id(item): names for item in unit.items})
    reached: dict[int, bool] = {}  # by code, or only by conditionals, which use no more than macros
    todo = [
        (item, not item.directive)
        for unit in units
        for item in unit.items
        if not item.names or item.names & set(public)
    ]
    while todo:
        item, by_code = todo.pop()
        if reached.get(id(item), False) or (id(item) in reached and not by_code):
            continue
        reached[id(item)] = by_code
        for name in item.uses:
            found = own[id(item)].get(name) or everywhere.get(name, [])
            todo += [(used, by_code) for used in found if by_code or used.directive]
    for unit in units:
        unit.items = [item for item in unit.items if id(item) in reached]


def _drop_kernels(units: Iterable[_Unit], weights: Collection[str] | None) -> None:
    """Take kernels that nothing calls, or products of other weights, out of the tables: their members are null."""
    items = [item for unit in units for item in unit.items]
    (kernels,) = (item for item in items if "rnnrt_kernels" in item.names and item.is_type)
    members = re.findall(r"\(\*(\w+)\)\(", kernels.text)
    called = set(re.findall(r"->\s*(\w+)", "\n".join(item.text for item in items)))
    unused = [member for member in members if member not in called]
    if weights is not None:
        formats = {member.removeprefix("matmul_") for member in members if member.startswith("matmul_")}
        if unknown := sorted(set(weights) - formats):
            raise ValueError(f"unknown weight formats {unknown}, expected some of {sorted(formats)}")
        unused += [f"matmul_{name}" for name in formats - set(weights)]
        (mask,) = (item for item in items if "RNNRT_WEIGHTS" in item.names)
        bits = " | ".join(f"1u << RNNRT_{name.upper()}" for name in sorted(weights)) or "0u"
        mask.text = re.sub(r"0xFFFFFFFFu", f"({bits})", mask.text)
    if unused:
        entry = re.compile(rf"\.(?:{'|'.join(unused)}) = \w+,?")
        aliases = {member.upper() for member in unused}  # simd_table.h's MATMUL_S8
        for item in items:
            if item.directive == "define" and item.names & aliases:
                item.text = ""
            if "RNNRT_TABLE" in item.names or re.search(r"\brnnrt_kernels_\w+ = ", item.text):
                item.text = entry.sub("", item.text)


# ---- writing ----


def _write(units: Iterable[_Unit], prologue: str) -> str:
    made = [prologue, '#include "rnnrt.h"']
    included: set[str] = set()
    for unit in units:
        items = _without_empty_conditionals(unit.items)
        own = unit.path.suffix == ".c"
        if not any(item.text.strip() and not item.directive for item in items) and own:
            continue
        for item in items:
            include = _INCLUDE.match(c_text.without_comments(item.text).strip()) if item.directive else None
            if include and include[2] in _EVERYWHERE:
                if include[2] in included:
                    continue
                included.add(include[2])
            made.append(item.text)
        if own:
            macros = {name: None for item in items if item.directive == "define" for name in item.names}
            made += [f"#undef {name}" for name in macros]
    return "\n".join(text.rstrip() for text in made) + "\n"


def _without_empty_conditionals(items: list[c_text.Item]) -> list[c_text.Item]:
    """Drop #if ... #endif with nothing between but conditionals."""
    kept: list[c_text.Item] = []
    starts: list[int] = []
    for item in items:
        kept.append(item)
        if item.directive in ("if", "ifdef", "ifndef"):
            starts.append(len(kept) - 1)
        elif item.directive == "endif" and starts:
            start = starts.pop()
            if all(inner.directive in ("if", "ifdef", "ifndef", "elif", "else", "endif") for inner in kept[start:]):
                del kept[start:]
    return kept
