"""A model as a folder of C that builds anywhere: runtime in one file, data, a program that checks itself.

Nothing here runs the model: what the program compares with (`Golden`) is given by the caller.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from . import amalgamate, quantize, read, write

_WORDS_PER_LINE = 6
_MAX_LIVE = 256  # RNNRT_MAX_LIVE of core/model.h
_LIVE_STEP = 8  # so many sizes fill the 64 bytes to which parts of a state are rounded
_TAKEN = frozenset({"main", "golden", "rnnrt", "check", "test", "all", "install", "clean"})  # files and build targets
_HEADERS = frozenset({"string", "stdio", "stdint", "stddef", "float"})  # <string.h> must stay what it is
_OF_SCALAR = frozenset({"armdsp", "helium", "neon32", "rvv"})  # by words_dot.h
_DATA_HEAD = "/* The model: the bytes of a .rnnrt file"
_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)


@dataclass(frozen=True)
class Port:
    """An input or output over all calls of the check.

    Attributes
    ----------
    name, described
        As in the model; shape and type for people.
    elements
        In one call, of ``size`` bytes each.
    size
        Bytes of an element.
    calls
        The bytes of each call.
    """

    name: str
    described: str
    elements: int
    size: int
    calls: list[bytes]


@dataclass(frozen=True)
class Golden:
    """What the program must reproduce: ``calls`` calls of rnnrt_run with ``time`` steps each, batch 1."""

    time: int
    calls: int
    inputs: list[Port]
    outputs: list[Port]
    model_bytes: int
    state_bytes: int


@dataclass(frozen=True)
class Export:
    """The files by name, and what is in them."""

    files: dict[str, str]
    operators: list[str]
    isas: list[str]
    blob_bytes: int


def identifier(text: str) -> str:
    """A C identifier made of a file's name.

    Raises
    ------
    ValueError
        Nothing of it can be used.
    """
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower()
    name = re.sub(r"^(\d)", r"model_\1", name)
    if not name:
        raise ValueError(f"{text!r} can't name the model in C; choose another name")
    return name if is_free(name) else f"{name}_model"


def is_free(name: str) -> bool:
    """Is it a C identifier that may name the model's files and be the beginning of its names in C?"""
    lower = name.lower()  # main.c is Main.c on some file systems
    return bool(_NAME.fullmatch(name)) and lower not in _TAKEN | _HEADERS and not lower.startswith("rnnrt")


def stale_files(folder: Path, name: str) -> list[Path]:
    """What an earlier export left in a folder under another name: files that still begin as `export` writes them."""
    found = []
    for data in sorted(folder.glob("*_data.c")):
        earlier = data.name.removesuffix("_data.c")
        if earlier == name or not _begins(data, _DATA_HEAD):
            continue
        heads = {f"{earlier}.h": f"/* {earlier}: a model exported by rnnrt", f"{earlier}.c": f"/* {earlier}'s memory:"}
        found += [data, *(path for file, head in heads.items() if _begins(path := folder / file, head))]
    return found


def _begins(path: Path, head: str) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(len(head.encode())) == head.encode()
    return False


def export(blob: bytes, golden: Golden, name: str, isas: Collection[str] | None = None) -> Export:
    """Make the folder's files.

    Parameters
    ----------
    blob : bytes
        A valid .rnnrt file.
    golden : Golden
        Inputs and outputs to check with, and the sizes of model and state where they were measured.
    name : str
        A C identifier that `is_free`; prefix of everything.
    isas : collection of str, optional
        Instruction sets beside "scalar", which is armdsp, helium or neon32 on a 32-bit ARM, rvv on RISC-V; default:
        all, each compiled where the target has it.

    Returns
    -------
    Export

    Raises
    ------
    ValueError
        An unknown instruction set.
    """
    parsed = read.parse(blob)
    operators = sorted({node.op for node in parsed.nodes})
    weights = sorted({value.dtype for value in parsed.values if value.kind == "const" and value.layout != "plain"})
    if of_scalar := sorted(set(isas or ()) & _OF_SCALAR):
        raise ValueError(
            f"{', '.join(of_scalar)}: what scalar becomes where the compiler's target has it; ask for scalar"
        )
    chosen = sorted({"scalar", *(amalgamate.isas() if isas is None else isas)})
    runtime, header = amalgamate.amalgamate(operators, chosen, weights, made_by="rnnrt export")
    live = -(-sum(value.kind != "const" for value in parsed.values) // _LIVE_STEP) * _LIVE_STEP
    state_bytes = golden.state_bytes
    if live < _MAX_LIVE:  # the library's tables would be far too large: on the stack, and one in the state
        runtime = runtime.replace('#include "rnnrt.h"\n', f'#define RNNRT_MAX_LIVE {live}u\n#include "rnnrt.h"\n', 1)
        state_bytes -= (_MAX_LIVE - live) * struct.calcsize("P")
    content = write.without_meta(blob)
    fields = {
        "name": name,
        "NAME": name.upper(),
        "version": amalgamate.version(),
        "blob_bytes": str(len(content)),
        "model_bytes": str(golden.model_bytes),
        "state_bytes": str(state_bytes),
        "pointer_bytes": str(struct.calcsize("P")),
        "max_time": str(golden.time),
        "calls": str(golden.calls),
        "ports": _port_macros(name.upper(), golden),
        "operators": ", ".join(operators),
        "isas": ", ".join(chosen),
        "weights": ", ".join(quantize.WORDS[each] for each in weights) or "none",
        **_check_parts(name, golden),
    }
    files = {
        "rnnrt.c": runtime,
        "rnnrt.h": header,
        f"{name}.h": _HEADER.substitute(fields),
        f"{name}.c": _SOURCE.substitute(fields),
        f"{name}_data.c": _data(name, content, fields),
        "golden.h": _golden(golden),
        "main.c": _MAIN.substitute(fields),
        "Makefile": _MAKEFILE.substitute(fields),
        "CMakeLists.txt": _CMAKE.substitute(fields),
    }
    return Export(files, operators, chosen, len(content))


def _words(content: bytes) -> str:
    """Little-endian 64-bit words, the fewest tokens for a compiler to read; the end filled with zeros."""
    words = struct.unpack(f"<{-(-len(content) // 8)}Q", content + bytes(-len(content) % 8))
    texts = [f"0x{word:x}" for word in words]
    lines = [", ".join(texts[i : i + _WORDS_PER_LINE]) for i in range(0, len(texts), _WORDS_PER_LINE)]
    return ",\n    ".join(lines)


def _data(name: str, content: bytes, fields: dict[str, str]) -> str:
    head = Template(
        f"{_DATA_HEAD} (without the converter's report), used where they lie: in flash.\n"
        " * The words are little-endian, as every target of rnnrt is. */\n"
        '#include "$name.h"\n\n'
        "_Alignas(64) const uint64_t ${name}_blob[${NAME}_BLOB_BYTES / 8 + (${NAME}_BLOB_BYTES % 8 != 0)] = {\n    "
    ).substitute(fields)
    return f"{head}{_words(content)}\n}};\n"


def _port_macros(prefix: str, golden: Golden) -> str:
    lines = [f"#define {prefix}_INPUTS {len(golden.inputs)}", f"#define {prefix}_OUTPUTS {len(golden.outputs)}"]
    for kind, ports in (("INPUT", golden.inputs), ("OUTPUT", golden.outputs)):
        for i, port in enumerate(ports):
            text = port.described.replace("*/", "* /")
            lines.append(f"#define {prefix}_{kind}_{i}_ELEMENTS {port.elements} /* {text} */")
    return "\n".join(lines)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def _golden(golden: Golden) -> str:
    """Calls one behind the other, each at a multiple of 8 bytes."""
    parts = ["/* What main.c gives the model, and the bits that it must answer with: made by running it. */"]
    for kind, ports in (("input", golden.inputs), ("expected", golden.outputs)):
        for i, port in enumerate(ports):
            words = _words(b"".join(map(_padded, port.calls)) or bytes(8))
            parts.append(f"static const uint64_t {kind}_{i}[] = {{\n    {words}\n}};")
    return "\n".join(parts) + "\n"


def _check_parts(name: str, golden: Golden) -> dict[str, str]:
    """What main.c repeats for each port."""

    def each(ports: Sequence[Port], line: str) -> str:
        sizes = [(port.elements * port.size, len(_padded(bytes(port.elements * port.size)))) for port in ports]
        lines = (Template(line).substitute(i=i, bytes=max(b, 1), stride=s) for i, (b, s) in enumerate(sizes))
        return "\n".join(lines)

    return {
        "buffers": each(golden.inputs, "static _Alignas(8) uint8_t in_$i[$bytes];")
        + "\n"
        + each(golden.outputs, "static _Alignas(8) uint8_t out_$i[$bytes];"),
        "in_list": ", ".join(f"in_{i}" for i in range(len(golden.inputs))),
        "out_list": ", ".join(f"out_{i}" for i in range(len(golden.outputs))),
        "load": each(
            golden.inputs,
            "        memcpy(in_$i, (const uint8_t *)input_$i + call * $stride, sizeof in_$i);",
        ),
        "compare": each(
            golden.outputs,
            "        wrong += memcmp(out_$i, (const uint8_t *)expected_$i + call * $stride, sizeof out_$i) != 0;",
        ),
    }


_HEADER = Template("""\
/* $name: a model exported by rnnrt $version as C, for one stream in static memory.
 *
 *     rnnrt_state *state;
 *     if (${name}_start(&state) != RNNRT_OK) ...     once: checks every byte of the model
 *     rnnrt_step(state, in, out);                    for every frame; rnnrt_run for ${NAME}_MAX_TIME steps at once
 *
 * Operators in this rnnrt.c: $operators. Formats of weights: $weights.
 * Instruction sets, where the target has them: $isas.
 * For more streams use ${name}_blob with the functions of rnnrt.h and memory of your own.
 */
#ifndef ${NAME}_H
#define ${NAME}_H

#include "rnnrt.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Elements in one call (batch 1, ${NAME}_MAX_TIME time steps). */
$ports
#define ${NAME}_MAX_TIME $max_time

/* Bytes. Model and state: exactly what is needed with pointers of $pointer_bytes bytes, enough with smaller ones. */
#define ${NAME}_BLOB_BYTES $blob_bytes
#define ${NAME}_MODEL_BYTES $model_bytes
#define ${NAME}_STATE_BYTES $state_bytes

extern const uint64_t ${name}_blob[];

/* Builds model and state in static memory; again: from the initial state. RNNRT_ERR_MEMORY: not the sizes above. */
rnnrt_status ${name}_start(rnnrt_state **state);

#ifdef __cplusplus
}
#endif
#endif
""")

_SOURCE = Template("""\
/* $name's memory: all that this program needs beside the stack. */
#include "$name.h"

_Static_assert(sizeof(void *) <= $pointer_bytes, "the sizes in $name.h are for smaller pointers");

static _Alignas(64) uint8_t model_memory[${NAME}_MODEL_BYTES];
static _Alignas(64) uint8_t state_memory[${NAME}_STATE_BYTES];

rnnrt_status ${name}_start(rnnrt_state **state) {
    rnnrt_model *model;
    rnnrt_status status;
    status = rnnrt_model_init(model_memory, sizeof model_memory, ${name}_blob, ${NAME}_BLOB_BYTES, &model);
    if (status != RNNRT_OK) return status;
    return rnnrt_state_init(state_memory, sizeof state_memory, model, ${NAME}_MAX_TIME, 1, state);
}
""")

_MAIN = Template("""\
/* Runs $name over stored input and compares every bit of the output: prints PASS or FAIL and ends with 0 or 1. */
#include <stdio.h>
#include <string.h>

#include "$name.h"
#include "golden.h"

#define CALLS $calls

$buffers

int main(void) {
    const void *const in[] = {$in_list};
    void *const out[] = {$out_list};
    rnnrt_state *state;
    int wrong = 0;
    rnnrt_status status = ${name}_start(&state);
    if (status != RNNRT_OK) {
        printf("FAIL $name: %s\\n", rnnrt_strerror(status));
        fflush(stdout);
        return 1;
    }
    for (size_t call = 0; call < CALLS; call++) {
$load
        if (rnnrt_run(state, in, out, ${NAME}_MAX_TIME) != RNNRT_OK) wrong++;
$compare
    }
    printf("%s $name: %d of %d outputs differ\\n", wrong ? "FAIL" : "PASS", wrong, CALLS * ${NAME}_OUTPUTS);
    fflush(stdout);
    return wrong != 0;
}
""")

_MAKEFILE = Template("""\
# $name and its check.  make check  builds it and runs it; for another machine for example
#
#   make CC=arm-none-eabi-gcc CFLAGS="-Os -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16" \\
#        LDFLAGS="--specs=rdimon.specs -Wl,--gc-sections -T board.ld" BOARD=startup.c
#   make CC=emcc CFLAGS=-O2 PROGRAM=check.js

CC ?= cc
CFLAGS ?= -O2
PROGRAM ?= check_$name
SOURCES = main.c $name.c ${name}_data.c rnnrt.c

$$(PROGRAM): $$(SOURCES) $$(BOARD) $name.h rnnrt.h golden.h
	$$(CC) -std=c11 -ffunction-sections -fdata-sections $$(CFLAGS) $$(SOURCES) $$(BOARD) $$(LDFLAGS) -o $$@

.PHONY: check clean
check: $$(PROGRAM)
	./$$(PROGRAM)

clean:
	rm -f $$(PROGRAM)
""")

_CMAKE = Template("""\
cmake_minimum_required(VERSION 3.16)
project($name LANGUAGES C)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug, Release, ..." FORCE)
endif()

add_library($name STATIC $name.c ${name}_data.c rnnrt.c)
target_include_directories($name PUBLIC $${CMAKE_CURRENT_SOURCE_DIR})
set_target_properties($name PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON)

add_executable(check_$name main.c)
set_target_properties(check_$name PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON)
target_link_libraries(check_$name PRIVATE $name)

enable_testing()
add_test(NAME check_$name COMMAND check_$name)
""")
