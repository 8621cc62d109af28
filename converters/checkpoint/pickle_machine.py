"""An interpreter of pickles that can build containers, numbers and strings, and asks an allow-list for all else.

It shares no code with the pickle module. A name in a pickle is never looked up: it stays a `Global`, two strings, and
only `Names` says what calling it means. What the objects take is counted against a budget, so a small file can't fill
the memory. Protocols 2 to 5, as far as torch and its users write them.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

from ...errors import ModelFormatError

MAX_STRING = 4 << 20  # bytes of one string
MAX_INTEGER = 32  # bytes of one integer
MAX_LINE = 512  # bytes of a module's or a function's name
SPARE = 24 << 20  # bytes of objects that a small file may make

# What objects take in CPython, in bytes, rounded up: a bound matters, not the exact figure.
_STEP, _NUMBER, _LIST, _DICT, _ENTRY, _ITEM, _MEMO, _TENSOR = 16, 32, 120, 312, 100, 16, 100, 900
# Hashes of larger integers can be made to collide, which makes a dictionary as slow as a list.
_KEY_LIMIT = 2**61 - 1


@dataclass(frozen=True)
class Global:
    """A name in a pickle, a module's and what it is to hold: two strings and nothing more."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Names(Protocol):
    """The allow-list. Every method raises ModelFormatError for what is not on it."""

    def find(self, module: str, name: str) -> Any:
        """What a name stands for."""

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        """What a call makes."""

    def new(self, kind: Any, arguments: tuple[Any, ...]) -> Any:
        """A new object."""

    def build(self, made: Any, state: Any) -> Any:
        """The object with its state set."""

    def persistent(self, identifier: Any) -> Any:
        """What lies outside of the pickle."""


class Machine:
    """Runs one pickle.

    Parameters
    ----------
    file
        Stands at the pickle's first byte; afterwards behind its last.
    size
        Bytes that may be read: the file's or record's rest.
    names
        The allow-list.
    """

    def __init__(self, file: BinaryIO, size: int, names: Names) -> None:
        self._file = file
        self._rest = size
        self._names = names
        self._budget = SPARE + size
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Execute up to STOP and return the object.

        Raises
        ------
        ModelFormatError
            Anything that is not on the allow-list, not well formed, or too large.
        """
        while True:
            code = self._take(1)
            if code == b".":
                break
            step = _STEPS.get(code)
            if step is None:
                name = _REFUSED.get(code, "unknown")
                raise ModelFormatError(f"pickle instruction 0x{code.hex()} ({name}) has no place in a checkpoint")
            self._spend(_STEP)
            step(self)
        if self._marked or len(self._stack) != 1:
            raise ModelFormatError("the pickle ends with objects left over or none")
        return self._stack.pop()

    # ---- reading ----

    def _take(self, count: int) -> bytes:
        if count > self._rest:
            raise ModelFormatError("the pickle ends too early")
        self._rest -= count
        found = self._file.read(count)
        if len(found) != count:
            raise ModelFormatError("the pickle ends too early")
        return found

    def _number(self, layout: str) -> Any:
        return struct.unpack(layout, self._take(struct.calcsize(layout)))[0]

    def _line(self) -> str:
        found = self._file.readline(min(MAX_LINE, self._rest))
        self._rest -= len(found)
        if not found.endswith(b"\n"):
            raise ModelFormatError("a name in the pickle does not end")
        return _text(found[:-1])

    def _string(self, layout: str) -> bytes:
        count: int = self._number(layout)
        if count > MAX_STRING:
            raise ModelFormatError(f"a string of {count} bytes in the pickle, at most {MAX_STRING} are read")
        return self._take(count)

    # ---- stack ----

    def _spend(self, count: int) -> None:
        self._budget -= count
        if self._budget < 0:
            raise ModelFormatError("the pickle makes far more objects than a checkpoint of this size has")

    def _push(self, value: Any, cost: int = 0) -> None:
        self._spend(cost)
        self._stack.append(value)

    def _pop(self) -> Any:
        if not self._stack:
            raise ModelFormatError("a pickle instruction finds no object to work on")
        return self._stack.pop()

    def _top(self, kind: type | None = None) -> Any:
        if not self._stack:
            raise ModelFormatError("a pickle instruction finds no object to work on")
        if kind is not None and type(self._stack[-1]) is not kind:
            wanted, found = kind.__name__, type(self._stack[-1]).__name__
            raise ModelFormatError(f"a pickle instruction finds a {found} where it needs a {wanted}")
        return self._stack[-1]

    def _mark(self) -> None:
        self._spend(_LIST)
        self._marked.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        if not self._marked:
            raise ModelFormatError("a pickle instruction finds no mark")
        items = self._stack
        self._stack = self._marked.pop()
        return items

    # ---- instructions ----

    def _proto(self) -> None:
        version = self._number("<B")
        if not 2 <= version <= 5:
            raise ModelFormatError(f"pickle protocol {version} is not supported (2 to 5 are)")

    def _integer(self, layout: str) -> None:
        count = self._number(layout)
        if not 0 <= count <= MAX_INTEGER:
            raise ModelFormatError(f"an integer of {count} bytes in the pickle")
        self._push(int.from_bytes(self._take(count), "little", signed=True), 2 * _NUMBER)

    def _unicode(self, layout: str) -> None:
        text = _text(self._string(layout))
        self._push(text, sys.getsizeof(text))

    def _bytes(self, layout: str) -> None:
        found = self._string(layout)
        self._push(found, sys.getsizeof(found))

    def _tuple(self, count: int | None) -> None:
        items = self._since_mark() if count is None else [self._pop() for _ in range(count)][::-1]
        self._push(tuple(items), _LIST + _ITEM * len(items))

    def _append(self) -> None:
        item = self._pop()
        self._spend(2 * _ITEM)
        self._top(list).append(item)

    def _appends(self) -> None:
        items = self._since_mark()
        self._spend(64 + _ITEM * len(items))
        self._top(list).extend(items)

    def _set_items(self, pairs: list[Any]) -> None:
        target = self._top(dict)
        if len(pairs) % 2:
            raise ModelFormatError("a key without a value in the pickle")
        self._spend(_ENTRY * (len(pairs) // 2))
        target.update(checked_pairs(zip(pairs[::2], pairs[1::2], strict=True)))

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _frozen_set(self) -> None:
        items = self._since_mark()
        self._push(items, _LIST + _ITEM * len(items))  # kept as a list: nothing here needs their hashes

    def _get(self, layout: str) -> None:
        index = self._number(layout)
        if index not in self._memo:
            raise ModelFormatError(f"the pickle refers to object {index}, which was not made before")
        self._push(self._memo[index])

    def _put(self, index: int) -> None:
        self._spend(_MEMO)
        self._memo[index] = self._top()

    def _global(self) -> None:
        module, name = self._line(), self._line()
        self._push(self._names.find(module, name), _LIST)

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str or max(len(name), len(module)) > MAX_LINE:
            raise ModelFormatError("a name in the pickle is no string")
        self._push(self._names.find(module, name), _LIST)

    def _arguments(self) -> tuple[Any, Any]:
        arguments, function = self._pop(), self._pop()
        if type(arguments) is not tuple:
            raise ModelFormatError("a call in the pickle without a tuple of arguments")
        return function, arguments

    def _reduce(self) -> None:
        self._push(self._names.call(*self._arguments()), _TENSOR)

    def _new(self) -> None:
        self._push(self._names.new(*self._arguments()), _DICT)

    def _build(self) -> None:
        state = self._pop()
        self._stack[-1] = self._names.build(self._top(), state)

    def _persistent(self) -> None:
        self._push(self._names.persistent(self._pop()), _TENSOR)


def checked_pairs(pairs: Any) -> dict[Any, Any]:
    """A dictionary whose keys are strings, bytes, small integers, booleans or None.

    Raises
    ------
    ModelFormatError
        Another key, or no pairs.
    """
    made = {}
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ModelFormatError("a dictionary in the pickle is no list of pairs")
        key, value = pair
        plain = type(key) in (str, bytes, bool) or key is None or (type(key) is int and abs(key) < _KEY_LIMIT)
        if not plain:
            raise ModelFormatError(f"a dictionary in the pickle has a key that is no string or small integer "
                                   f"but {type(key).__name__}")  # fmt: skip
        made[key] = value
    return made


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ModelFormatError("a string in the pickle is not UTF-8") from None


_STEPS: dict[bytes, Callable[[Machine], None]] = {
    b"\x80": Machine._proto,
    b"\x95": lambda m: _drop(m._number("<Q")),  # FRAME: how much follows, of no use here
    b"(": Machine._mark,
    b"0": lambda m: _drop(m._pop()),
    b"2": lambda m: m._push(m._top()),
    b"1": lambda m: _drop(m._since_mark()),
    b"N": lambda m: m._push(None),
    b"\x88": lambda m: m._push(True),
    b"\x89": lambda m: m._push(False),
    b"J": lambda m: m._push(m._number("<i"), _NUMBER),
    b"K": lambda m: m._push(m._number("<B"), _NUMBER),
    b"M": lambda m: m._push(m._number("<H"), _NUMBER),
    b"\x8a": lambda m: m._integer("<B"),
    b"\x8b": lambda m: m._integer("<i"),
    b"G": lambda m: m._push(m._number(">d"), _NUMBER),
    b"X": lambda m: m._unicode("<I"),
    b"\x8c": lambda m: m._unicode("<B"),
    b"\x8d": lambda m: m._unicode("<Q"),
    b"T": lambda m: m._unicode("<I"),  # strings of Python 2
    b"U": lambda m: m._unicode("<B"),
    b"B": lambda m: m._bytes("<I"),
    b"C": lambda m: m._bytes("<B"),
    b"\x8e": lambda m: m._bytes("<Q"),
    b"]": lambda m: m._push([], _LIST),
    b"}": lambda m: m._push({}, _DICT),
    b"\x8f": lambda m: m._push([], _LIST),  # EMPTY_SET: as a list
    b")": lambda m: m._push(()),
    b"t": lambda m: m._tuple(None),
    b"\x85": lambda m: m._tuple(1),
    b"\x86": lambda m: m._tuple(2),
    b"\x87": lambda m: m._tuple(3),
    b"a": Machine._append,
    b"e": Machine._appends,
    b"\x90": Machine._appends,  # ADDITEMS
    b"\x91": Machine._frozen_set,
    b"s": Machine._set_item,
    b"u": lambda m: m._set_items(m._since_mark()),
    b"h": lambda m: m._get("<B"),
    b"j": lambda m: m._get("<I"),
    b"q": lambda m: m._put(m._number("<B")),
    b"r": lambda m: m._put(m._number("<I")),
    b"\x94": lambda m: m._put(len(m._memo)),
    b"c": Machine._global,
    b"\x93": Machine._stack_global,
    b"R": Machine._reduce,
    b"\x81": Machine._new,
    b"b": Machine._build,
    b"Q": Machine._persistent,
}

_REFUSED: dict[bytes, str] = {
    b"i": "INST",
    b"o": "OBJ",
    b"P": "PERSID",
    b"\x92": "NEWOBJ_EX",
    b"\x82": "EXT1",
    b"\x83": "EXT2",
    b"\x84": "EXT4",
    b"\x96": "BYTEARRAY8",
    b"\x97": "NEXT_BUFFER",
    b"\x98": "READONLY_BUFFER",
    b"I": "INT",
    b"L": "LONG",
    b"F": "FLOAT",
    b"S": "STRING",
    b"V": "UNICODE",
    b"p": "PUT",
    b"g": "GET",
    b"d": "DICT",
    b"l": "LIST",
}


def _drop(_: Any) -> None:
    """Leave a value out."""
