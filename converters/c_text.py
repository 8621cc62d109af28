"""C source as text: its tokens, and its top level cut into items that know which names they define and use.

Enough of C to put the sources of ``src_c`` into one file: no types, no macro expansion.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

_ATTRIBUTE_TEXT = r"__attribute__\s*\(\((?:[^()\"]|\"[^\"]*\"|\([^()]*\))*\)\)"
_ATTRIBUTE = re.compile(_ATTRIBUTE_TEXT)
_TOKEN = re.compile(
    r"""(?P<comment>/\*.*?\*/|//[^\n]*)
      | (?P<literal>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<directive>(?m:^)[ \t]*\#(?:[^\n\\]|\\.)*)
      | (?P<attribute>"""
    + _ATTRIBUTE_TEXT
    + r""")
      | (?P<name>[A-Za-z_]\w*)
      | (?P<number>\.?\d(?:[eEpP][+-]|[\w.])*)
      | (?P<arrow>->)
      | (?P<space>\s+)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_DEFINE = re.compile(r"\s*#\s*define\s+(\w+)")


@dataclass(frozen=True)
class Token:
    """A piece of source; ``kind`` is a group of the scanner: comment, literal, directive, name, number, ..."""

    kind: str
    text: str


@dataclass
class Item:
    """A top-level piece of a file: a declaration or definition, or a preprocessor line.

    ``text`` ends without a newline; comments before it belong to it. ``names`` are what it defines.
    """

    text: str
    names: frozenset[str] = frozenset()
    directive: str = ""

    @property
    def uses(self) -> set[str]:
        """Every name in it but members (behind ``.`` or ``->``) and what stands in comments and literals."""
        return set(used_names(self.text))

    @property
    def is_type(self) -> bool:
        """A typedef, or the definition of a struct, union or enum and nothing else."""
        code = _without_braces(without_comments(self.text)).strip()
        return re.match(r"typedef\b|(?:struct|union|enum)\s*\w*\s*;", code) is not None


def tokens(text: str) -> Iterator[Token]:
    """All of the text, token by token."""
    for match in _TOKEN.finditer(text):
        assert match.lastgroup is not None
        yield Token(match.lastgroup, match.group())


def without_comments(text: str) -> str:
    """The text with each comment replaced by a space."""
    return "".join(" " if token.kind == "comment" else token.text for token in tokens(text))


def used_names(text: str) -> Iterator[str]:
    """Names that a text mentions, members and pointers to functions left out. Directives are searched too."""
    code = [token for token in tokens(text) if token.kind not in ("space", "comment")]
    words = ["", "", *(token.text for token in code), ""]
    for token, (second, first, after) in zip(code, zip(words, words[1:], words[3:])):
        if token.kind == "directive":
            yield from used_names(token.text.partition("#")[2])
        elif token.kind == "attribute":
            yield from re.findall(r"[A-Za-z_]\w*", token.text)
        elif token.kind == "name" and first not in (".", "->") and (second, first, after) != ("(", "*", ")"):
            yield token.text


def rename(text: str, names: dict[str, str]) -> str:
    """Replace names, but not members, literals, attributes and comments."""
    made: list[str] = []
    found = list(tokens(text))
    code = [i for i, token in enumerate(found) if token.kind not in ("space", "comment")]
    after = {i: found[j].text for i, j in itertools.pairwise(code)}
    before = body = ""  # body: of a struct or union, as the nesting of its braces
    for i, token in enumerate(found):
        piece = token.text
        if token.kind == "directive":
            hash_mark, mark, line = piece.partition("#")
            word = re.match(r"\s*\w+", line)
            keep = word.group() if word else ""
            if keep.strip() not in ("include", "error", "pragma"):
                piece = hash_mark + mark + keep + rename(line[len(keep) :], names)
        elif token.kind == "name":
            declares = body and (after.get(i, "") in (",", ";", "[", ":") or (before == "*" and after.get(i) == ")"))
            if before not in (".", "->") and not declares:
                piece = names.get(piece, piece)
            if token.text in ("struct", "union") and not body:
                body = "?" if after.get(i) == "{" else "??"
        elif piece == "{" and body:
            body = "{" if body in ("?", "??") else body + "{"
        elif piece == "}" and body:
            body = body[:-1]
        elif body in ("?", "??") and token.kind not in ("space", "comment"):
            body = ""  # only mentioned: struct x *p
        if token.kind not in ("space", "comment"):
            before = token.text
        made.append(piece)
    return "".join(made)


def items(text: str) -> list[Item]:
    """The top level of a file in order."""
    found: list[Item] = []
    piece: list[str] = []
    depth, code, body = 0, "", False  # code: the piece without comments; body: it is a function's
    for token in tokens(text):
        if token.kind == "directive" and depth == 0 and not code.strip():
            directive = token.text.partition("#")[2].split(maxsplit=1)[0]
            define = _DEFINE.match(token.text)
            names = frozenset({define[1]}) if define else frozenset()
            found.append(Item("".join([*piece, token.text]).strip("\n"), names, directive))
            piece = []
            continue
        piece.append(token.text)
        if token.kind == "comment":
            continue
        if token.text in "([{" and token.kind == "other":
            body = body or (token.text == "{" and depth == 0 and code.rstrip().endswith(")"))
            depth += 1
        code += token.text
        if token.text in ")]}" and token.kind == "other":
            depth -= 1
        ends = token.text == ";" or (token.text == "}" and body)
        if depth == 0 and ends and token.kind == "other":
            found.append(Item("".join(piece).strip("\n"), frozenset(defined_names(code))))
            piece, code, body = [], "", False
    if "".join(piece).strip():
        found.append(Item("".join(piece).strip("\n")))
    return found


def defined_names(code: str) -> set[str]:
    """What a declaration (without comments) defines: a function, variable, type name, tags, enumerators."""
    code = _ATTRIBUTE.sub(" ", re.sub(r"(?m)^[ \t]*#.*$", "", code)).strip()
    names = set(re.findall(r"\b(?:struct|union|enum)\s+(\w+)\s*\{", code))
    for enumerators in re.findall(r"\benum\b\s*\w*\s*\{([^}]*)\}", code):
        names |= set(re.findall(r"(?:^|,)\s*([A-Za-z_]\w*)", enumerators))
    head = _without_braces(code).partition("=")[0]
    if code.startswith("typedef"):
        pointer = re.search(r"\(\s*\*\s*(\w+)\s*\)", head)
        name = pointer or re.search(r"(\w+)\s*(?:\[[^]]*\]\s*)?;?\s*$", head)
    elif "(" in head:
        name = re.search(r"(\w+)\s*\(", head)
    else:
        name = re.search(r"(\w+)\s*(?:\[[^]]*\]\s*)*;?\s*$", head)
    if name and not re.fullmatch(r"(?:struct|union|enum)(?:\s+\w+)?\s*;?", head.strip()):
        names.add(name[1])
    return names


def _without_braces(code: str) -> str:
    """The code outside of braces."""
    kept, depth = [], 0
    for char in code:
        depth += char == "{"
        if depth == 0:
            kept.append(char)
        depth -= char == "}"
    return "".join(kept)
