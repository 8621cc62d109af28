"""The C library's stack: bounded, and not deeper than docs/targets.md says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import boards
import stack_usage

DOCUMENT = boards.ROOT / "docs" / "targets.md"
COMPILERS_DIFFER = 1.1
DEEP = """
    __attribute__((noinline)) static int deep(char *text) { char a[5000]; fill(a); return a[text[0]]; }
    """
FILL = "void fill(char *text);\n"


@pytest.fixture
def library(tmp_path: Path, tool: Callable[[str], str]) -> Callable[..., stack_usage.Library]:
    """Compiles files given as folder__name = text."""
    tool("gcc")

    def compiled(**files: str) -> stack_usage.Library:
        names = []
        for name, text in files.items():
            path = tmp_path / (name.replace("__", "/") + ".c")
            path.parent.mkdir(exist_ok=True)
            path.write_text(FILL + text, encoding="utf-8")
            names.append(path.relative_to(tmp_path).as_posix())
        compiler, readelf = stack_usage.TARGETS["x86-64, -O2"]
        return stack_usage.compile_library(compiler, readelf, tmp_path, names)

    return compiled


def test_calls_need_what_the_page_says(tool: Callable[[str], str]) -> None:
    """A growth is written down (scripts/stack_usage.py docs/targets.md); no stack is dynamic, no function recursive."""
    for compiler, readelf in stack_usage.TARGETS.values():
        tool(compiler[0])
        tool(readelf)
    found, stated = stack_usage.measure(), stack_usage.documented(DOCUMENT)
    assert set(found) == set(stated)
    for call, (size, chain) in found.items():
        assert size <= stated[call] * COMPILERS_DIFFER, (call, chain)
        assert stated[call] <= size * COMPILERS_DIFFER**2, f"{call}: a page that says too much lets it grow unseen"


@pytest.mark.parametrize("array", ["char a[n];", "char *a = __builtin_alloca(n);"])
def test_a_stack_without_a_bound_is_reported(array: str, library: Callable[..., stack_usage.Library]) -> None:
    found = library(ops__a=f"int grow(int n) {{ {array} fill(a); return a[0]; }}")
    with pytest.raises(ValueError, match=r"without a bound.*grow"):
        stack_usage.check(found)


def test_a_chain_adds_up(library: Callable[..., stack_usage.Library]) -> None:
    """The deeper of two branches, over static functions of one name in two files; each array lies on the stack once."""
    top = """
        __attribute__((noinline)) static int shallow(char *text) { char a[3000]; fill(a); return a[text[0]]; }
        int below(char *text);
        int top(void) { char a[1000]; fill(a); return shallow(a) + below(a); }
        """
    found = library(ops__a=top, ops__b=DEEP + "int below(char *text) { return deep(text) + 1; }")
    size, chain = stack_usage.deepest(found, "top")
    assert chain == ("top", "below", "ops/b.c:deep")
    assert size == sum(found.functions[name].stack for name in chain)
    assert 6000 < size < 6200


def test_a_pointer_leads_to_what_it_can_hold(library: Callable[..., stack_usage.Library]) -> None:
    split = "int split(int (*run)(char *), char *job) { return run(job) + 1; }"
    top = "int split(int (*run)(char *), char *job); int top(char *job) { return split(deep, job) + 1; }"
    found = library(ops__a=DEEP + top, ops__team=split)
    stack_usage.check(found)
    size, chain = stack_usage.deepest(found, "top")
    assert chain == ("top", "split", "ops/a.c:deep")
    assert 5000 < size < 5200


def test_a_function_that_no_pointer_leads_to_is_reported(library: Callable[..., stack_usage.Library]) -> None:
    found = library(core__a=DEEP + "int (*pointer(void))(char *) { return deep; }")
    with pytest.raises(ValueError, match=r"no pointer is known to lead to core/a\.c:deep"):
        stack_usage.check(found)


def test_a_pointer_that_nobody_knows_is_reported(library: Callable[..., stack_usage.Library]) -> None:
    found = "struct s { int (*other)(char *); }; int f(struct s *p, char *text) { return p->other(text) + 1; }"
    with pytest.raises(ValueError, match="other"):
        stack_usage.check(library(ops__a=found))


def test_recursion_is_reported(library: Callable[..., stack_usage.Library]) -> None:
    found = library(ops__a="int f(char *text) { char a[9]; fill(a); return text[0] ? f(a) + a[1] : 0; }")
    with pytest.raises(ValueError, match="recursion: f > f"):
        stack_usage.check(found)
