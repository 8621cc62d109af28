"""The allow-list: every name that may stand in a checkpoint's pickle, and what it builds here.

Tensors, dictionaries, numbers, names of types. No class or function that a pickle names is ever imported or called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from ...errors import ModelFormatError
from .pickle_machine import Global, checked_pairs
from .tensor import DTYPES, Storage, Tensor, Tensors

Arguments: TypeAlias = "tuple[Any, ...]"
Call: TypeAlias = "Callable[[Names, Arguments], Any]"
# Key, torch's type (uint8 for an untyped one), number of elements, whatever else the tuple held.
FindStorage: TypeAlias = "Callable[[str, str, int, Arguments], Storage]"

_STORAGES: dict[str, str] = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
_UNTYPED = ("UntypedStorage", "_UntypedStorage")


@dataclass
class ScriptObject:
    """An object of a TorchScript archive: its class's name and its attributes."""

    kind: str
    attributes: Any = field(default_factory=dict)


@dataclass(frozen=True)
class TypedStorage:
    """A storage and the type that its name gave it."""

    dtype: str
    storage: Storage


@dataclass
class NumpyType:
    """A numpy type of numbers, as a pickle describes it."""

    code: str
    order: str = "<"


class Names:
    """The allow-list of one file.

    Parameters
    ----------
    tensors
        Makes and counts its tensors.
    find_storage
        Finds the storage that a persistent identifier names.
    script
        The file is a TorchScript archive: it holds objects of its own classes, below ``__torch__``.
    """

    def __init__(self, tensors: Tensors, find_storage: FindStorage, script: bool = False) -> None:
        self._tensors = tensors
        self._find_storage = find_storage
        self._script = script

    def find(self, module: str, name: str) -> Any:
        """Return a `Global` of the allow-list, or a type's name as a string."""
        found = Global(module, name)
        if module == "torch" and (name in DTYPES or name in _LAYOUTS):
            return name
        is_storage = (module == "torch" and name in _STORAGES) or (module == "torch.storage" and name in _UNTYPED)
        if is_storage or (module, name) in _CALLS or self._is_script(found):
            return found
        raise ModelFormatError(
            f"its pickle names {found}, which is no part of a checkpoint of tensors (nothing was executed); "
            "save the state_dict alone: torch.save(model.state_dict(), path)"
        )

    def call(self, function: Any, arguments: Arguments) -> Any:
        """Build what a call of an allowed name stands for."""
        if type(function) is not Global:
            raise ModelFormatError(f"its pickle calls a {type(function).__name__}")
        if self._is_script(function):
            return ScriptObject(str(function), arguments)
        call = _CALLS.get((function.module, function.name))
        if call is None:
            raise ModelFormatError(f"its pickle calls {function}")
        return call(self, arguments)

    def new(self, kind: Any, arguments: Arguments) -> Any:
        """Build an object of a TorchScript class, or an empty OrderedDict."""
        if type(kind) is Global and self._is_script(kind) and not arguments:
            return ScriptObject(str(kind))
        if type(kind) is Global and str(kind) == "collections.OrderedDict":
            return _ordered_dict(self, arguments)
        raise ModelFormatError(f"its pickle makes an object of {kind if type(kind) is Global else type(kind).__name__}")

    def build(self, made: Any, state: Any) -> Any:
        """Set attributes: of TorchScript objects. A state_dict's ``_metadata`` is of no use and is left out."""
        if type(made) is ScriptObject:
            made.attributes = state
            return made
        if type(made) is dict and type(state) is dict:
            return made
        if type(made) is NumpyType and type(state) is tuple and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            return NumpyType(made.code, state[1])
        raise ModelFormatError(f"its pickle sets the state of a {type(made).__name__}")

    def persistent(self, identifier: Any) -> TypedStorage:
        """Find a storage: ``("storage", type, key, location, elements, ...)``."""
        if type(identifier) is not tuple or len(identifier) < 5 or identifier[0] != "storage":
            raise ModelFormatError("its pickle refers to something outside that is no storage")
        kind, key, count = identifier[1], identifier[2], identifier[4]
        if type(kind) is not Global or (kind.name not in _STORAGES and kind.name not in _UNTYPED):
            raise ModelFormatError("its pickle refers to a storage of no known type")
        if type(key) is not str or not 0 < len(key) <= 64 or type(count) is not int or not 0 <= count < 2**60:
            raise ModelFormatError("its pickle refers to a storage by something that is no name, or gives it no size")
        dtype = _STORAGES.get(kind.name, "uint8")
        return TypedStorage(dtype, self._find_storage(key, dtype, count, identifier[5:]))

    def _is_script(self, found: Global) -> bool:
        return self._script and (found.module == "__torch__" or found.module.startswith("__torch__."))

    def tensor(self, arguments: Arguments, dtype: str | None = None, metadata: Any = None) -> Tensor:
        """Make a tensor: arguments begin with storage, offset, shape, strides."""
        if len(arguments) < 4 or type(arguments[0]) is not TypedStorage:
            raise ModelFormatError("a tensor without a storage")
        if metadata and (type(metadata) is not dict or any(metadata.get(k) for k in ("conj", "neg"))):
            raise ModelFormatError("a conjugated or negated view, which is not supported")
        typed, offset, shape, strides = arguments[:4]
        return self._tensors.make(typed.storage, dtype or typed.dtype, offset, shape, strides)


_LAYOUTS = {"strided", "contiguous_format", "preserve_format", "channels_last"}


def _get(arguments: Arguments, index: int, kind: type | tuple[type, ...]) -> Any:
    if index >= len(arguments) or not isinstance(arguments[index], kind):
        raise ModelFormatError("a call in its pickle has the wrong arguments")
    return arguments[index]


def _rebuild_tensor(names: Names, a: Arguments) -> Tensor:
    return names.tensor(a)


def _rebuild_tensor_v2(names: Names, a: Arguments) -> Tensor:  # ..., requires_grad, hooks, metadata
    return names.tensor(a, None, a[6] if len(a) > 6 else None)


def _rebuild_tensor_v3(names: Names, a: Arguments) -> Tensor:  # ..., requires_grad, hooks, dtype, metadata
    return names.tensor(a, _get(a, 6, str), a[7] if len(a) > 7 else None)


def _rebuild_parameter(_: Names, a: Arguments) -> Tensor:
    found: Tensor = _get(a, 0, Tensor)
    return found


def _rebuild_from_type(names: Names, a: Arguments) -> Any:
    """``_rebuild_from_type_v2(function, type, arguments, state)`` of plain tensors and parameters."""
    function, kind, arguments = _get(a, 0, Global), _get(a, 1, Global), _get(a, 2, tuple)
    if str(kind) not in ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"):
        raise ModelFormatError(f"its pickle holds a tensor of class {kind}")
    if function.name not in ("_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter"):
        raise ModelFormatError(f"its pickle calls {function}")
    return names.call(function, arguments)


def _ordered_dict(_: Names, a: Arguments) -> dict[Any, Any]:
    return checked_pairs(_get(a, 0, (list, tuple))) if a else {}


def _default_dict(_: Names, a: Arguments) -> dict[Any, Any]:
    return {}


def _sequence(_: Names, a: Arguments) -> list[Any]:
    return list(_get(a, 0, (list, tuple))) if a else []


def _shape(_: Names, a: Arguments) -> Arguments:
    return tuple(_get(a, 0, (list, tuple))) if a else ()


def _first(_: Names, a: Arguments) -> Any:
    return _get(a, 0, object)


def _encode(_: Names, a: Arguments) -> bytes:
    """How protocol 2 writes bytes: ``_codecs.encode(text, "latin1")``."""
    text: str = _get(a, 0, str)
    try:
        return text.encode("latin1")
    except UnicodeEncodeError:
        raise ModelFormatError("bytes in its pickle that are none") from None


def _numpy_type(_: Names, a: Arguments) -> NumpyType:
    code = _get(a, 0, str)
    if code not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"):
        raise ModelFormatError(f"its pickle holds a numpy type '{code[:20]}'")
    return NumpyType(code)


def _numpy_scalar(_: Names, a: Arguments) -> Any:
    kind, data = _get(a, 0, NumpyType), _get(a, 1, bytes)
    dtype = np.dtype(kind.code).newbyteorder(">" if kind.order == ">" else "<")
    if len(data) != dtype.itemsize:
        raise ModelFormatError("a number of numpy in its pickle has the wrong size")
    return np.frombuffer(data, dtype)[0].item()


def _refuse(_: Names, a: Arguments) -> Any:
    raise ModelFormatError("its pickle calls a class of tensors")


_CALLS: dict[tuple[str, str], Call] = {
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
    ("torch", "Tensor"): _refuse,
    ("torch.nn.parameter", "Parameter"): _refuse,
    ("torch.nn.parameter", "Buffer"): _refuse,
    ("torch", "Size"): _shape,
    ("torch", "device"): _first,
    ("torch.serialization", "_get_layout"): _first,
    ("torch.jit._pickle", "build_intlist"): _sequence,
    ("torch.jit._pickle", "build_tensorlist"): _sequence,
    ("torch.jit._pickle", "build_doublelist"): _sequence,
    ("torch.jit._pickle", "build_boollist"): _sequence,
    ("torch.jit._pickle", "restore_type_tag"): _first,
    ("collections", "OrderedDict"): _ordered_dict,
    ("collections", "defaultdict"): _default_dict,
    ("__builtin__", "set"): _sequence,
    ("builtins", "set"): _sequence,
    ("__builtin__", "frozenset"): _sequence,
    ("builtins", "frozenset"): _sequence,
    ("__builtin__", "dict"): _default_dict,  # the factory of a defaultdict
    ("builtins", "dict"): _default_dict,
    ("__builtin__", "list"): _sequence,
    ("builtins", "list"): _sequence,
    ("__builtin__", "int"): _first,
    ("builtins", "int"): _first,
    ("__builtin__", "long"): _first,  # int, in protocol 2
    ("__builtin__", "float"): _first,
    ("builtins", "float"): _first,
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _numpy_type,
    ("numpy.core.multiarray", "scalar"): _numpy_scalar,
    ("numpy._core.multiarray", "scalar"): _numpy_scalar,
}
