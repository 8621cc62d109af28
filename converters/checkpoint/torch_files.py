"""torch's files: the zip format, TorchScript archives (their tensors, never their code), and the stream before 1.6."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

from ...errors import ModelFormatError
from .archive import Record
from .names import Arguments, Names
from .pickle_machine import Machine
from .source import Source
from .tensor import DTYPES, Storage, Tensors

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
_MAX_STORAGES = 200_000


# ---- zip ----


def root_of(found: dict[str, Record]) -> str | None:
    """The folder, with its slash, in which ``data.pkl`` lies; None: no checkpoint of torch.

    Raises
    ------
    ModelFormatError
        There are several, or the records lie in several folders.
    """
    roots = sorted(name.removesuffix("data.pkl") for name in found if name.rpartition("/")[2] == "data.pkl")
    roots = [root for root in roots if root.count("/") <= 1]
    if not roots:
        return None
    stray = sorted(name for name in found if not name.startswith(roots[0]))
    if len(roots) > 1 or stray:
        raise ModelFormatError(f"the archive's records lie in several folders: {', '.join([*roots, *stray][:3])}")
    return roots[0]


def is_script(found: dict[str, Record], root: str) -> bool:
    """Is it a TorchScript archive?"""
    return f"{root}constants.pkl" in found


def read_zip(source: Source, found: dict[str, Record], root: str, tensors: Tensors) -> dict[str, Any]:
    """The objects of a zip checkpoint; of a TorchScript archive its module and, under ``constants``, its constants.

    Raises
    ------
    ModelFormatError
        Whatever is wrong with it.
    """
    script = is_script(found, root)
    big = _big_endian(found.get(f"{root}byteorder"))
    made = {"": _read_pickle(source, found, root, "data", tensors, script, big)}
    if script:
        made["constants"] = _read_pickle(source, found, root, "constants", tensors, script, big)
    return made


def _big_endian(record: Record | None) -> bool:
    if record is None:
        return False
    order = record.all(16)
    if order not in (b"little", b"big"):
        raise ModelFormatError(f"its byte order is {order!r}")
    return order == b"big"


def _read_pickle(
    source: Source, found: dict[str, Record], root: str, name: str, tensors: Tensors, script: bool, big: bool
) -> Any:
    """Run ``<root><name>.pkl``; its storages are the records ``<root><name>/<key>``."""
    storages: dict[str, Storage] = {}

    def find_storage(key: str, dtype: str, count: int, rest: Arguments) -> Storage:
        nbytes = count * DTYPES[dtype].itemsize
        if key not in storages:
            record = found.get(f"{root}{name}/{key}")
            if record is None:
                raise ModelFormatError(f"its storage {key!r} is not in the archive")
            storages[key] = Storage(record, 0, record.size, big)
        if nbytes > storages[key].nbytes:
            raise ModelFormatError(f"its storage {key!r} has {storages[key].nbytes} bytes, its pickle says {nbytes}")
        return storages[key]

    data = found[f"{root}{name}.pkl"].all(source.size)
    return Machine(io.BytesIO(data), len(data), Names(tensors, find_storage, script)).run()


# ---- the stream before 1.6 ----


class _Later(Names):
    """Names of the small pickles around the main one: no storages."""

    def __init__(self) -> None:
        def none(key: str, dtype: str, count: int, rest: Arguments) -> Storage:
            raise ModelFormatError("a storage where none belongs")

        super().__init__(Tensors(0), none)


def read_legacy(source: Source, tensors: Tensors) -> dict[str, Any]:
    """The objects of a stream: magic number, version, system, objects, keys of the storages, storages.

    Raises
    ------
    ModelFormatError
        Whatever is wrong with it.
    """
    with source.open() as file:

        def run(names: Names) -> Any:
            return Machine(file, source.size - file.tell(), names).run()

        if run(_Later()) != MAGIC:
            raise ModelFormatError("a pickle, but not one of torch.save; save the state_dict with it")
        version = run(_Later())
        if version != PROTOCOL:
            raise ModelFormatError("it was written by a version of torch.save that is not supported")
        system = run(_Later())
        if type(system) is not dict or system.get("little_endian") is not True:
            raise ModelFormatError("it was written on a big endian machine, which the old format does not support")
        legacy = _LegacyStorages()
        made = run(Names(tensors, legacy.find))
        legacy.locate(source, file, run(_Later()))
    return {"": made}


class _LegacyStorages:
    """The storages of a stream: known by key before it is known where they lie."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, Storage]] = {}
        self._views: list[tuple[Storage, Storage]] = []

    def find(self, key: str, dtype: str, count: int, rest: Arguments) -> Storage:
        """A storage, or a view of one where the identifier ends with ``(key, offset, elements)``."""
        item = DTYPES[dtype].itemsize
        kind, storage = self._found.setdefault(key, (dtype, Storage(None, 0, count * item)))
        if kind != dtype or storage.nbytes != count * item:
            raise ModelFormatError(f"its storage {key!r} has two types or sizes")
        if len(self._found) > _MAX_STORAGES:
            raise ModelFormatError("it has too many storages")
        if not rest or rest[0] is None:
            return storage
        view = rest[0]
        if type(view) is not tuple or len(view) != 3 or type(view[1]) is not int or type(view[2]) is not int:
            raise ModelFormatError(f"its storage {key!r} is a view of what is none")
        start, length = view[1] * item, view[2] * item
        if start < 0 or length < 0 or start + length > storage.nbytes:
            raise ModelFormatError(f"its storage {key!r} is a view that reaches outside")
        made = Storage(None, start, length)
        self._views.append((made, storage))
        return made

    def locate(self, source: Source, file: BinaryIO, keys: Any) -> None:
        """Find where the storages lie: in the order of their keys, each behind its number of elements."""
        if type(keys) is not list or any(type(k) is not str for k in keys) or set(keys) != set(self._found):
            raise ModelFormatError("the list of its storages is not that of its tensors")
        if len(set(keys)) != len(keys):
            raise ModelFormatError("a storage of it is listed twice")
        at = file.tell()
        for key in keys:
            dtype, storage = self._found[key]
            count = int.from_bytes(source.read(at, 8), "little", signed=True)
            if count * DTYPES[dtype].itemsize != storage.nbytes:
                raise ModelFormatError(f"its storage {key!r} has {count} elements, its pickle says otherwise")
            at += 8
            if at + storage.nbytes > source.size:
                raise ModelFormatError(f"its storage {key!r} is cut off")
            storage.data, storage.start = source, at
            at += storage.nbytes
        for view, storage in self._views:
            view.data, view.start = storage.data, storage.start + view.start
