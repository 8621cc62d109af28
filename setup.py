"""Builds the one extension module: rnnrt/_rnnrt.pyx (and what it includes), every C file of src_c and of rnnrt."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup

ROOT = Path(__file__).parent


def files(*patterns: str) -> list[str]:
    """What matches, relative to here and in one order."""
    found = [p for pattern in patterns for p in ROOT.glob(pattern) if p.name != "_rnnrt.c"]  # Cython's, if any
    return sorted(p.relative_to(ROOT).as_posix() for p in found)


SOURCES = files("src_c/*/*.c", "rnnrt/*.c")
HEADERS = files("src_c/*/*.h", "rnnrt/*.h", "rnnrt/*.pxd", "rnnrt/*.pxi")
# The C library's text goes along: `rnnrt export --format c` writes programs from it.
C_FOLDERS = ["rnnrt.src_c", *sorted({f"rnnrt.src_c.{Path(p).parent.name}" for p in files("src_c/*/*.[ch]")})]


def version() -> str:
    """RNNRT_VERSION of rnnrt.h, the only place where it stands."""
    header = (ROOT / "src_c/include/rnnrt.h").read_text(encoding="utf-8")
    found = re.search(r'^#define RNNRT_VERSION "([^"]+)"$', header, re.MULTILINE)
    if found is None:
        raise SystemExit("src_c/include/rnnrt.h has no RNNRT_VERSION")
    return found[1]


# No flag is needed for speed or for the same bits: instruction sets are chosen per function, in the source.
# Python's own flags often bring -g; debug information would be most of the module (on x86-64 2.2 MB instead of 0.26).
c11 = ["/O2", "/std:c11", "/experimental:c11atomics"]
flags = c11 if sys.platform == "win32" else ["-O2", "-std=c11", "-g0"]

extension = Extension(
    "rnnrt._rnnrt",
    ["rnnrt/_rnnrt.pyx", *SOURCES],
    depends=HEADERS,
    include_dirs=["src_c/include", "rnnrt", numpy.get_include()],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"), ("NPY_TARGET_VERSION", "NPY_1_23_API_VERSION")],
    extra_compile_args=flags,
)

setup(
    version=version(),
    packages=[
        *find_packages(include=["rnnrt", "rnnrt.*"]),
        "rnnrt.converters",
        *(f"rnnrt.converters.{name}" for name in find_packages("converters")),
        *C_FOLDERS,
    ],
    package_dir={"rnnrt": "rnnrt", "rnnrt.converters": "converters", "rnnrt.src_c": "src_c"},
    package_data={"rnnrt": ["py.typed", "*.pyi"], **{folder: ["*.[ch]", "*.md"] for folder in C_FOLDERS}},
    include_package_data=False,
    ext_modules=cythonize([extension], build_dir="build/cython", compiler_directives={"language_level": 3}),
    zip_safe=False,
)
