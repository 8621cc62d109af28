"""The rules of the design page that no reader can watch over: layering, sizes, names, what is committed."""

from __future__ import annotations

import ast
import ctypes
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rnnrt.converters import reference

ROOT = Path(__file__).resolve().parent.parent
FORBIDDEN_STEMS = {"utils", "util", "common", "misc", "helpers", "helper"}
C_LAYERS = {"include": 0, "kernels": 1, "ops": 2, "core": 3}
# kernels know nothing above them but the header's constants; ops may read format.h's layouts (op.h includes it).
C_HEADERS_BELOW = {
    "include": {"include"},
    "kernels": {"kernels", "include"},
    "ops": {"ops", "kernels", "include"},
    "core": {"core", "ops", "kernels", "include"},
}
C_EXCEPTIONS = {("ops/op.h", "core/format.h")}  # the contract names the file's layouts
LIBC_ALLOWED = {"memcpy", "memset", "memmove", "memcmp", "strcmp", "strlen"}
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]
FMA_X86, FMA_AARCH64 = r"\bvf(?:n?m(?:add|sub))\w*", r"\b(?:fn?m(?:add|sub)|fml[as])\b"
MAX_C_FUNCTION, MAX_C_FILE, MAX_PYX = 60, 400, 300


def committed() -> list[Path]:
    """Files that git tracks or would track, relative to the top folder; without git, everything not ignored by name."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, capture_output=True, check=True)
    names = {name for name in done.stdout.decode().split("\0") if name}
    return sorted(Path(name) for name in names if (ROOT / name).is_file())


def c_files() -> list[Path]:
    """Every .c and .h of the product."""
    return sorted(p for p in (ROOT / "src_c").rglob("*") if p.suffix in {".c", ".h"})


def c_sources() -> list[Path]:
    return [p for p in c_files() if p.suffix == ".c"]


def python_files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def without_comments(text: str) -> str:
    """C source with comments and the insides of literals blanked, line numbers kept."""

    def blank(match: re.Match[str]) -> str:
        word = match.group(0)
        if word.startswith(('"', "'")):
            return word[0] + " " * (len(word) - 2) + word[0]
        return re.sub(r"[^\n]", " ", word)

    return re.sub(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", blank, text, flags=re.DOTALL)


def c_functions(path: Path) -> Iterator[tuple[str, int, int]]:
    """(name, first line, lines) of every function body at the top level of a C file."""
    text = re.sub(
        r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*",
        lambda m: re.sub(r"[^\n]", " ", m.group(0)),
        without_comments(path.read_text(encoding="utf-8")),
        flags=re.MULTILINE,
    )
    depth, start, header_from = 0, 0, 0
    for at, char in enumerate(text):
        if char == "{":
            if depth == 0:
                start = at
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                header = text[header_from:start].strip()
                name = re.search(r"(\w+)\s*\([^{;]*\)\s*$", header, flags=re.DOTALL)
                if name and "=" not in header:
                    first = header_from + len(text[header_from:start]) - len(text[header_from:start].lstrip())
                    yield name.group(1), text.count("\n", 0, first) + 1, text.count("\n", first, at) + 1
                header_from = at + 1
        elif char == ";" and depth == 0:
            header_from = at + 1


def imported_modules(path: Path, package: str) -> set[str]:
    """Absolute names of all modules that a Python file imports, wherever in it; `package` is the file's own."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
                module = f"{base}.{node.module}" if node.module else base
            else:
                module = node.module or ""
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def is_or_below(module: str, name: str) -> bool:
    return module == name or module.startswith(name + ".")


# ---- the checks themselves are checked: a rule that can't fail guards nothing ----


def test_c_function_finder_sees_functions_and_their_lengths(tmp_path: Path) -> None:
    source = tmp_path / "f.c"
    source.write_text(
        '#include "x.h"\n#define M(a) \\\n  { a }\nstatic const int t[] = {1, 2};\n'
        "/* int no(void) { } */\nstruct s { int a; };\nint one(int a) { return a; }\n"
        'static void two(\n    const char *p)\n{\n    p = "}{";\n    (void)p;\n}\n'
    )
    assert list(c_functions(source)) == [("one", 7, 1), ("two", 8, 6)]


def test_import_finder_sees_every_form(tmp_path: Path) -> None:
    source = tmp_path / "m.py"
    source.write_text("import a.b\ndef f():\n    from . import c\n    from ..d import e\n    import g as h\n")
    found = imported_modules(source, "p.q")
    assert {"a.b", "p.q.c", "p.d.e", "p.d", "g"} <= found


# ---- layering ----


@pytest.mark.parametrize("path", c_files(), ids=lambda p: str(p.relative_to(ROOT / "src_c")))
def test_c_includes_point_down(path: Path) -> None:
    own = path.relative_to(ROOT / "src_c")
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"', text, flags=re.MULTILINE):
        target = (path.parent / name).resolve()
        assert not name.endswith(".c"), f"{own} includes {name}: nothing includes a .c"
        assert target.is_file(), f"{own} includes {name}, which is not there"
        below = target.relative_to(ROOT / "src_c")
        allowed = below.parts[0] in C_HEADERS_BELOW[own.parts[0]] or (str(own), str(below)) in C_EXCEPTIONS
        assert allowed, f"{own} includes {below}: arrows point down only"


def test_rnnrt_knows_no_converter_onnx_or_torch_when_it_is_imported() -> None:
    """Importing rnnrt pulls in none of them; only cli may reach the converters, when a command needs them."""
    for path in python_files("rnnrt"):
        package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
        for module in imported_modules(path, package):
            for heavy in ("onnx", "torch"):
                assert not is_or_below(module, heavy), f"{path.relative_to(ROOT)} imports {module}"
            if is_or_below(module, "rnnrt.converters"):
                assert "cli" in path.relative_to(ROOT / "rnnrt").parts or path.stem in {"cli", "__main__"}, (
                    f"{path.relative_to(ROOT)} imports {module}: arrows point down only"
                )


def test_only_from_onnx_imports_onnx_and_only_from_torch_imports_torch() -> None:
    """And backend, which is an `onnx.backend.base.Backend` and nothing else imports."""
    for path in python_files("converters"):
        for module in imported_modules(path, "rnnrt.converters"):
            for owner, heavy in (("from_onnx", "onnx"), ("from_torch", "torch")):
                if is_or_below(module, heavy):
                    assert path.stem == owner or (path.stem, heavy) == ("backend", "onnx"), (
                        f"converters/{path.name} imports {module}: only {owner} may"
                    )


def test_converters_reach_the_runtime_only_to_verify() -> None:
    """Converters produce files; only verify loads them, and backend, by which onnx's tests run them."""
    below = {"_rnnrt", "errors", "meta"}
    for path in python_files("converters"):
        if path.stem in ("verify", "backend"):
            continue
        for module in imported_modules(path, "rnnrt.converters"):
            if not is_or_below(module, "rnnrt") or is_or_below(module, "rnnrt.converters"):
                continue
            name = module.removeprefix("rnnrt").removeprefix(".").split(".")[0]
            exception = name == "" or name in below or name.endswith("Error")
            assert exception, f"converters/{path.name} imports {module}"


# ---- names and sizes ----


def test_no_catch_all_file_names() -> None:
    for path in committed():
        assert path.stem.lower() not in FORBIDDEN_STEMS, f"{path}: name the file after what it holds"


def test_c_files_and_functions_are_short() -> None:
    beside = [p for folder in ("rnnrt", "tests/c", "examples") for p in sorted((ROOT / folder).rglob("*.[ch]"))]
    files = [*c_files(), *(p for p in beside if p.name != "_rnnrt.c")]
    found = 0
    for path in files:
        lines = path.read_text(encoding="utf-8").count("\n")
        assert lines <= MAX_C_FILE, f"{path.relative_to(ROOT)}: {lines} lines, at most {MAX_C_FILE}"
        for name, line, length in c_functions(path):
            found += 1
            where = f"{path.relative_to(ROOT)}:{line}: {name}"
            assert length <= MAX_C_FUNCTION, f"{where} has {length} lines, at most {MAX_C_FUNCTION}"
    assert found > 100, f"only {found} functions found: the finder is broken"


def test_pyx_is_short() -> None:
    for path in (ROOT / "rnnrt").rglob("*.p[yx][xi]"):
        lines = path.read_text(encoding="utf-8").count("\n")
        assert lines <= MAX_PYX, f"{path.relative_to(ROOT)}: {lines} lines, at most {MAX_PYX}"


def test_every_c_file_says_what_it_is() -> None:
    for path in c_files():
        assert path.read_text(encoding="utf-8").startswith("/*"), f"{path.relative_to(ROOT)}: no comment at its top"


# ---- what is committed ----


def test_nothing_generated_is_committed() -> None:
    generated = re.compile(r"\.(?:o|a|so|pyc|pyd|rnnrt|whl|onnx|egg-info|part)$|(?:^|/)(?:build|dist|models|\.venv)/")
    for path in committed():
        name = path.as_posix()
        if name.startswith("tests/golden/"):
            continue
        assert not generated.search(name), f"{name} is generated"
        assert path.stem != "_rnnrt" or path.suffix != ".c", f"{name} is generated by Cython"
        head = (ROOT / path).read_bytes()[:200]
        assert b"Generated by Cython" not in head, f"{name} is generated by Cython"


def test_committed_files_are_small() -> None:
    for path in committed():
        size = (ROOT / path).stat().st_size
        assert size <= 400_000, f"{path}: {size} bytes"


def test_no_absolute_paths_in_text() -> None:
    """A path of the machine it was written on makes a file work only there; system files are no such paths."""
    mine = re.compile(r"(?<![\w.$~}/-])/(?:home|root|tmp|work|Users|mnt|opt)/\w")
    for path in committed():
        data = (ROOT / path).read_bytes()
        if b"\0" in data or path.name == "test_structure.py":
            continue
        for number, line in enumerate(data.decode("utf-8").splitlines(), 1):
            assert not mine.search(line), f"{path}:{number}: {line.strip()[:100]}"


# ---- the built C code ----


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory, tool: Callable[[str], str]) -> list[Path]:
    """Every source of src_c compiled by gcc -O2, as an embedder would."""
    folder = tmp_path_factory.mktemp("objects")
    made = []
    for source in c_sources():
        target = folder / f"{source.parent.name}_{source.stem}.o"
        subprocess.run([tool("gcc"), "-std=c11", "-O2", "-fPIC", "-c", str(source), "-o", str(target)], check=True)
        made.append(target)
    return made


# ---- operators ----


@pytest.fixture(scope="module")
def registry(objects: list[Path], tool: Callable[[str], str]) -> list[str]:
    """The ONNX names of the C library's operators, asked from the library itself."""
    library = objects[0].parent / "librnnrt.so"
    subprocess.run([tool("gcc"), "-shared", "-o", str(library), *map(str, objects)], check=True)
    operator = ctypes.CDLL(str(library)).rnnrt_operator
    operator.restype = ctypes.c_char_p
    operator.argtypes = [ctypes.c_uint32, *[ctypes.c_void_p] * 3]
    code, ints, floats = ctypes.c_uint32(), ctypes.c_char_p(), ctypes.c_char_p()
    names: list[str] = []
    while name := operator(len(names), ctypes.byref(code), ctypes.byref(ints), ctypes.byref(floats)):
        names.append(name.decode())
    return names


def test_every_operator_has_a_float64_reference(registry: list[str]) -> None:
    names = sorted(set(registry))
    assert len(names) >= 40, names
    missing = [name for name in names if name not in reference.OPERATORS]
    assert not missing, f"operators without a row in converters/reference.py: {missing}"


# ---- symbols, arithmetic, warnings ----


def output(*command: str) -> str:
    """What a program prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def symbols(objects: list[Path], nm: str, *flags: str) -> dict[str, set[str]]:
    """Symbol -> kinds, over all objects."""
    found: dict[str, set[str]] = {}
    for line in output(nm, *flags, *map(str, objects)).splitlines():
        parts = line.split()
        if len(parts) >= 2 and len(parts[-2]) == 1:
            found.setdefault(parts[-1], set()).add(parts[-2])
    return found


def test_every_external_symbol_starts_with_rnnrt(objects: list[Path], tool: Callable[[str], str]) -> None:
    defined = symbols(objects, tool("nm"), "--defined-only", "--extern-only")
    assert len(defined) > 30, defined
    assert not [name for name in defined if not name.startswith("rnnrt_")]


def test_needs_nothing_of_libc_but_memory_and_strings(objects: list[Path], tool: Callable[[str], str]) -> None:
    defined = symbols(objects, tool("nm"), "--defined-only", "--extern-only")
    wanted = symbols(objects, tool("nm"), "--undefined-only")
    foreign = set(wanted) - set(defined) - LIBC_ALLOWED - {"_GLOBAL_OFFSET_TABLE_"}
    assert not foreign, f"the C code needs {sorted(foreign)}"


def test_needs_one_thing_more_on_aarch64_linux(tmp_path: Path, tool: Callable[[str], str]) -> None:
    """There the CPU can't be asked without the system: getauxval."""
    made = []
    for source in c_sources():
        made.append(tmp_path / f"{source.parent.name}_{source.stem}.o")
        command = [tool("aarch64-linux-gnu-gcc"), "-std=c11", "-O2", "-c", str(source), "-o", str(made[-1])]
        subprocess.run(command, check=True)
    nm = tool("aarch64-linux-gnu-nm")
    foreign = set(symbols(made, nm, "--undefined-only")) - set(symbols(made, nm, "--defined-only"))
    assert foreign - LIBC_ALLOWED == {"getauxval"}


def test_has_no_mutable_global_state(objects: list[Path], tool: Callable[[str], str]) -> None:
    """No writable data; const tables of pointers are relocated once and read-only (.data.rel.ro)."""
    for path in objects:
        for line in output(tool("objdump"), "-h", str(path)).splitlines():
            parts = line.split()
            if len(parts) >= 3 and (re.fullmatch(r"\.(?:data|bss|tdata|tbss)(?:\..*)?", parts[1])):
                relro = parts[1].startswith(".data.rel.ro")
                assert relro or int(parts[2], 16) == 0, f"{path.name}: section {parts[1]} of 0x{parts[2]} bytes"


def test_fused_multiply_add_is_seen_where_there_is_one(tmp_path: Path, tool: Callable[[str], str]) -> None:
    """The two tests below look for what these compilers really do without the sources' precautions."""
    source = tmp_path / "f.c"
    source.write_text("float f(float a, float b, float c) { return a * b + c; }\n")
    for compiler, objdump, pattern, flags in (
        (tool("gcc"), tool("objdump"), FMA_X86, ["-std=gnu11", "-O3", "-mfma"]),
        (tool("aarch64-linux-gnu-gcc"), tool("aarch64-linux-gnu-objdump"), FMA_AARCH64, ["-std=gnu11", "-O3"]),
    ):
        subprocess.run([compiler, *flags, "-c", str(source), "-o", str(tmp_path / "f.o")], check=True)
        assert re.findall(pattern, output(objdump, "-d", str(tmp_path / "f.o")))


def test_no_fused_multiply_add_even_when_the_compiler_would_like_to(tmp_path: Path, tool: Callable[[str], str]) -> None:
    """Plain gcc -std=gnu11 fuses by default; the sources must forbid it themselves."""
    for compiler in ("gcc", "clang"):
        for source in c_sources():
            target = tmp_path / "fma.o"
            flags = ["-std=gnu11", "-O3", "-mavx2", "-mfma", "-c"]
            subprocess.run([tool(compiler), *flags, str(source), "-o", str(target)], check=True)
            text = output(tool("objdump"), "-d", str(target))
            fused = re.findall(FMA_X86, text)
            assert not fused, f"{source.relative_to(ROOT)} by {compiler}: {sorted(set(fused))}"


def test_no_fused_multiply_add_on_aarch64(tmp_path: Path, tool: Callable[[str], str]) -> None:
    """On AArch64 every compiler fuses by default."""
    gcc, objdump = tool("aarch64-linux-gnu-gcc"), tool("aarch64-linux-gnu-objdump")
    for source in c_sources():
        target = tmp_path / "fma.o"
        subprocess.run([gcc, "-std=gnu11", "-O3", "-c", str(source), "-o", str(target)], check=True)
        text = output(objdump, "-d", str(target))
        fused = re.findall(FMA_AARCH64, text)
        assert not fused, f"{source.relative_to(ROOT)}: {sorted(set(fused))}"


@pytest.mark.parametrize("compiler", ["gcc", "clang", "aarch64-linux-gnu-gcc"])
def test_compiles_as_c11_without_a_warning(compiler: str, tmp_path: Path, tool: Callable[[str], str]) -> None:
    for source in c_sources():
        command = [tool(compiler), "-std=c11", "-O2", *STRICT, "-c", str(source), "-o", str(tmp_path / "x.o")]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_header_compiles_as_cpp11(compiler: str, tmp_path: Path, tool: Callable[[str], str]) -> None:
    source = tmp_path / "user.cpp"
    source.write_text('#include "rnnrt.h"\nint main() { return rnnrt_abi_version() == RNNRT_ABI_VERSION ? 0 : 1; }\n')
    include = str(ROOT / "src_c" / "include")
    command = [tool(compiler), "-std=c++11", *STRICT, "-I", include, "-c", str(source), "-o", str(tmp_path / "x.o")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
