"""Checkpoints that are broken or meant to do harm, as bytes by name. All of them must be refused.

Every payload that would run code creates a file called ``evil`` in the working directory.
"""

from __future__ import annotations

import gzip
import io
import pickle
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

STORAGE = np.arange(64, dtype="<f4").tobytes()
MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
VERSION = b"\x80\x02M\xe9\x03."
TOUCH = "touch evil"


# ---- pickles, instruction by instruction ----


def name(module: str, function: str) -> bytes:
    return b"c" + module.encode() + b"\n" + function.encode() + b"\n"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(key: str = "0", kind: bytes = name("torch", "FloatStorage"), count: int = 64, more: bytes = b"") -> bytes:
    return b"(" + text("storage") + kind + text(key) + text("cpu") + number(count) + more + b"tQ"


def tensor(where: bytes | None = None, offset: bytes = number(0), shape: bytes = numbers(64),
           stride: bytes = numbers(1), function: str = "_rebuild_tensor_v2", more: bytes = b"") -> bytes:  # fmt: skip
    where = storage() if where is None else where
    arguments = where + offset + shape + stride + b"\x89}" + more
    return name("torch._utils", function) + b"(" + arguments + b"tR"


def entries(**values: bytes) -> bytes:
    return b"\x80\x02}(" + b"".join(text(key) + value for key, value in values.items()) + b"u."


def call(module: str, function: str, *arguments: str) -> bytes:
    return name(module, function) + b"(" + b"".join(map(text, arguments)) + b"tR"


# ---- zip files ----


def packed(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for member, data in members.items():
            archive.writestr(zipfile.ZipInfo(member), data, method)
    return made.getvalue()


def checkpoint(data: bytes, **more: bytes) -> bytes:
    return packed({"m/data.pkl": data, "m/data/0": STORAGE, "m/version": b"3\n", **more})


def patched(data: bytes, *changes: tuple[bytes, int, bytes]) -> bytes:
    """Overwrite bytes at a distance from the last place where a mark stands."""
    made = bytearray(data)
    for mark, distance, new in changes:
        at = data.rindex(mark) + distance
        made[at : at + len(new)] = new
    return bytes(made)


GOOD_PICKLE = entries(weight=tensor())
GOOD = checkpoint(GOOD_PICKLE)
CENTRAL, END, LOCAL = b"PK\x01\x02", b"PK\x05\x06", b"PK\x03\x04"


class _Evil:
    def __reduce__(self) -> Any:
        import os

        return os.system, (TOUCH,)


def _calls() -> Iterator[tuple[str, bytes]]:
    for module, function, argument in (
        ("os", "system", TOUCH),
        ("posix", "system", TOUCH),
        ("nt", "system", TOUCH),
        ("subprocess", "call", TOUCH),
        ("subprocess", "Popen", TOUCH),
        ("builtins", "eval", "open('evil', 'w')"),
        ("builtins", "exec", "open('evil', 'w')"),
        ("__builtin__", "eval", "open('evil', 'w')"),
        ("builtins", "open", "evil"),
        ("builtins", "__import__", "os"),
        ("builtins", "getattr", "system"),
        ("runpy", "run_path", "evil.py"),
        ("operator", "attrgetter", "system"),
        ("functools", "partial", "system"),
        ("importlib", "import_module", "evil"),
        ("pty", "spawn", "sh"),
        ("torch", "load", "evil.pt"),
        ("torch.hub", "load", "evil"),
        ("torch.jit", "load", "evil.pt"),
        ("torch.storage", "_load_from_bytes", "evil"),
        ("torch._utils", "_rebuild_device_tensor_from_numpy", "evil"),
        ("torch", "os.system", TOUCH),
        ("torch", "Tensor", "evil"),
        ("numpy", "load", "evil.npy"),
        ("numpy", "dtype", "O8"),
        ("numpy.core.multiarray", "_reconstruct", "evil"),
        ("__torch__.evil", "Module", "evil"),
        ("collections", "OrderedDict", "evil"),
        ("torch._utils", "_rebuild_tensor_v2", "evil"),
        ("torch._utils", "_rebuild_qtensor", "evil"),
    ):
        yield f"calls {module}.{function}", checkpoint(entries(a=tensor(), b=call(module, function, argument)))
    system = name("os", "system")
    yield "a call in the state of a tensor", checkpoint(entries(a=tensor() + b"}" + text("__class__") + system + b"sb"))
    yield "STACK_GLOBAL", checkpoint(b"\x80\x04" + text("os") + text("system") + b"\x93" + text(TOUCH) + b"\x85R.")
    yield "INST", checkpoint(b"\x80\x02(" + text(TOUCH) + b"ios\nsystem\n.")
    yield "OBJ", checkpoint(b"\x80\x02(" + system + text(TOUCH) + b"o.")
    yield "NEWOBJ", checkpoint(b"\x80\x02" + name("subprocess", "Popen") + text(TOUCH) + b"\x85\x81.")
    yield "NEWOBJ_EX", checkpoint(b"\x80\x04" + name("torch", "Size") + b")}\x92.")
    yield "EXT1", checkpoint(b"\x80\x02\x82\x01.")
    yield "PERSID", checkpoint(b"\x80\x02Pstorage\n.")
    yield "NEXT_BUFFER", checkpoint(b"\x80\x05\x97.")
    yield "calls a string", checkpoint(b"\x80\x02" + text("os.system") + text(TOUCH) + b"\x85R.")
    yield "calls with no tuple", checkpoint(b"\x80\x02" + name("torch", "Size") + text("1") + b"R.")
    yield "state of a list", checkpoint(entries(a=tensor(), b=b"]}b"))
    yield (
        "a script object with arguments",
        packed(
            {
                "m/data.pkl": b"\x80\x02" + name("__torch__.M", "M") + text(TOUCH) + b"\x85\x81.",
                "m/constants.pkl": b"\x80\x02).",
            }
        ),
    )
    yield (
        "a call in the constants of a script",
        packed(
            {"m/data.pkl": GOOD_PICKLE, "m/data/0": STORAGE, "m/constants.pkl": entries(a=call("os", "system", TOUCH))}
        ),
    )
    yield (
        "a call in a stream",
        MAGIC + VERSION + entries(little_endian=b"\x88") + entries(a=call("os", "system", TOUCH)),
    )
    yield "a call in place of the magic number", b"\x80\x02" + call("os", "system", TOUCH) + b"."
    yield "a pickle of Python", pickle.dumps(_Evil(), protocol=2)


def _objects() -> Iterator[tuple[str, bytes]]:
    pickles: dict[str, bytes] = {
        "tuples 100,000 deep": b"\x80\x02" + tensor() + b"\x85" * 100_000 + b".",
        "dictionaries 1,000 deep": b"\x80\x02" + (b"}" + text("a")) * 1000 + tensor() + b"s" * 1000 + b".",
        "a list that holds itself": entries(a=tensor(), b=b"]q\x01h\x01a"),
        "a dictionary that holds itself": b"\x80\x02}q\x01" + text("a") + b"h\x01s.",
        "lists that double": entries(
            a=b"(]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(40)) + b"t", b=tensor()
        ),
        "ten million lists": b"\x80\x02(" + b"]" * 10_000_000 + b"t.",
        "ten million dictionaries": b"\x80\x02(" + b"}" * 10_000_000 + b"t.",
        "ten million marks": b"\x80\x02" + b"(" * 10_000_000 + b".",
        "three million memo entries": b"\x80\x02]"
        + b"".join(b"r" + struct.pack("<I", i) for i in range(3_000_000)) + b".",
        "a string of 4 GB": b"\x80\x02X\xff\xff\xff\xff" + b"a" * 100 + b".",
        "a string of 5 MB": entries(a=tensor(), b=text("a" * (5 << 20))),
        "bytes of 2^63": b"\x80\x04\x8e" + struct.pack("<Q", 2**63) + b".",
        "an integer of 1 MB": b"\x80\x02\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20) + b".",
        "an integer of negative length": b"\x80\x02\x8b\xff\xff\xff\xff.",
        "a name that does not end": b"\x80\x02c" + b"a" * 100_000 + b".",
        "no STOP": GOOD_PICKLE[:-1],
        "half a pickle": GOOD_PICKLE[: len(GOOD_PICKLE) // 2],
        "an empty pickle": b"",
        "nothing on the stack": b"\x80\x02.",
        "too much on the stack": b"\x80\x02NN.",
        "no mark": b"\x80\x02t.",
        "stack underflow": b"\x80\x02}s.",
        "an object that was not made": b"\x80\x02h\x07.",
        "items of a list": b"\x80\x02](" + text("a") + tensor() + b"u.",
        "a key without a value": b"\x80\x02}(" + text("a") + b"u.",
        "a key that is a list": b"\x80\x02}]" + tensor() + b"s.",
        "keys whose hashes collide": b"\x80\x02}("
        + b"".join(number((2**61 - 1) * i) + b"N" for i in range(1, 20_000)) + b"u.",
        "protocol 0": pickle.dumps({"a": [1.5]}, protocol=0),
        "protocol 200": b"\x80\xc8.",
        "an unknown instruction": b"\x80\x02\xfe.",
        "a string that is not UTF-8": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
        "no tensor": entries(a=text("b")),
        "nothing but an optimizer": entries(optimizer=b"}" + text("a") + tensor() + b"s"),
        "a long name": entries(**{"a" * 2000: tensor()}),
        "two tensors of one name": entries(**{"a.b": tensor(), "a": b"}" + text("b") + tensor() + b"s"}),
    }  # fmt: skip
    for what, data in pickles.items():
        yield what, checkpoint(data)


def _tensors() -> Iterator[tuple[str, bytes]]:
    tensors: dict[str, bytes] = {
        "an offset below zero": tensor(offset=number(-1)),
        "an offset beyond the storage": tensor(offset=number(65), shape=numbers(1)),
        "an end beyond the storage": tensor(offset=number(1)),
        "10^12 times the same element": tensor(shape=numbers(10**12), stride=numbers(0)),
        "2^40 times 2^40 elements": tensor(shape=numbers(2**40, 2**40), stride=numbers(0, 0)),
        "a stride below zero": tensor(stride=numbers(-1)),
        "a stride of 2^62": tensor(shape=numbers(5), stride=numbers(2**62)),
        "a stride of 2^200": tensor(shape=numbers(2), stride=numbers(2**200)),
        "1000 dimensions": tensor(shape=numbers(*[1] * 1000), stride=numbers(*[1] * 1000)),
        "a shape of strings": tensor(shape=b"(" + text("64") + b"t"),
        "a shape of booleans": tensor(shape=b"(\x88t"),
        "a shape of floats": tensor(shape=b"(G" + struct.pack(">d", 64.0) + b"t"),
        "a size below zero": tensor(shape=numbers(-64)),
        "less strides than sizes": tensor(shape=numbers(8, 8), stride=numbers(8)),
        "no storage": tensor(where=b"N"),
        "a storage larger than its record": tensor(where=storage(count=65)),
        "a storage of 2^100 elements": tensor(where=storage(count=2**100)),
        "a storage that is not there": tensor(where=storage("7")),
        "a storage outside of the archive": tensor(where=storage("../../../etc/passwd")),
        "a storage with a long key": tensor(where=storage("0" * 100_000)),
        "a storage of an unknown type": tensor(where=storage(kind=text("FloatStorage"))),
        "a storage of quantized numbers": tensor(where=storage(kind=name("torch", "QInt8Storage"))),
        "a persistent identifier that is none": tensor(where=text("storage") + b"Q"),
        "a conjugated view": tensor(more=b"}" + text("conj") + b"\x88s"),
        "a dtype that is none": tensor(function="_rebuild_tensor_v3", more=text("float8_e4m3fn")),
    }
    for what, data in tensors.items():
        yield what, checkpoint(entries(a=data))
    many = {f"t{i}": tensor(where=b"h\x00") for i in range(20_000)}
    big = {"m/data/0": bytes(1 << 20)}
    first = b"\x80\x02}(" + text("s") + storage(count=1 << 18) + b"q\x00"
    whole = tensor(where=b"h\x00", shape=numbers(1 << 18))
    views = first + b"".join(text(key) + whole for key in many) + b"u."
    yield "20,000 views of one storage", packed({"m/data.pkl": views, **big})


def _zips() -> Iterator[tuple[str, bytes]]:
    two_roots = packed({"a/data.pkl": GOOD_PICKLE, "b/data.pkl": GOOD_PICKLE, "a/data/0": STORAGE})
    bomb = packed({"m/data.pkl": GOOD_PICKLE, "m/data/0": bytes(100 << 20)}, zipfile.ZIP_DEFLATED)
    deflated = packed({"m/data.pkl": GOOD_PICKLE, "m/data/0": STORAGE}, zipfile.ZIP_DEFLATED)
    yield "a bomb of 100 MB", bomb
    yield "a bomb that says it is small", patched(bomb, (CENTRAL, 24, struct.pack("<I", len(STORAGE))))
    yield "a size that says 4 GB", patched(deflated, (CENTRAL, 24, struct.pack("<I", 0xFFFFFFF0)))
    yield "damaged compressed data", patched(deflated, (LOCAL, 30 + len("m/data/0"), b"\xff" * 8))
    flipped = bytearray(GOOD)
    flipped[GOOD.index(STORAGE) + 17] ^= 1
    yield "a flipped bit in a storage", bytes(flipped)
    yield "a flipped bit in the pickle", GOOD.replace(b"weight", b"weighs", 1)
    yield "two records of one name", checkpoint(GOOD_PICKLE, **{"m/data/1": STORAGE}).replace(b"m/data/1", b"m/data/0")
    yield "records that overlap", patched(GOOD, (CENTRAL, 42, struct.pack("<I", 0)))
    yield "a header outside of the file", patched(GOOD, (CENTRAL, 42, struct.pack("<I", 0x7FFFFFFF)))
    yield "a record that is longer than the file", patched(GOOD, (CENTRAL, 20, struct.pack("<II", 1 << 30, 1 << 30)))
    yield "an encrypted record", patched(GOOD, (CENTRAL, 8, b"\x01"))
    yield "an unknown method", patched(GOOD, (CENTRAL, 10, b"\x63"))
    yield "bzip2", packed({"m/data.pkl": GOOD_PICKLE, "m/data/0": STORAGE}, zipfile.ZIP_BZIP2)
    yield "another name in the record", GOOD.replace(b"m/data.pkl", b"m/data.pkL", 1)
    yield "a number of records that is too small", patched(GOOD, (END, 8, struct.pack("<HH", 1, 1)))
    yield "a number of records that is too large", patched(GOOD, (END, 8, struct.pack("<HH", 9, 9)))
    yield "a directory elsewhere", patched(GOOD, (END, 16, struct.pack("<I", 5)))
    yield "several disks", patched(GOOD, (END, 4, b"\x01"))
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, 2**63, 1)
    yield "a zip64 record outside of the file", GOOD[: GOOD.rindex(END)] + locator + GOOD[GOOD.rindex(END) :]
    yield "no end", GOOD[: GOOD.rindex(END)]
    yield "half a zip", GOOD[: len(GOOD) // 2]
    yield "bytes behind the end", GOOD + b"evil"
    yield "60,000 records", packed({"m/data.pkl": GOOD_PICKLE, **{f"m/{i}": b"" for i in range(60_000)}})
    for what, member in (
        ("above", "../evil"),
        ("absolute", "/evil"),
        ("with backslashes", "m\\..\\evil"),
        ("of a drive", "C:/evil"),
        ("inside", "m/../../evil"),
        ("with a line feed", "m/e\nvil"),
    ):
        yield f"a record's name {what}", packed({"m/data.pkl": GOOD_PICKLE, "m/data/0": STORAGE, member: b"evil"})
    yield "two folders", two_roots
    yield "a byte order that is none", checkpoint(GOOD_PICKLE, **{"m/byteorder": b"middle"})
    yield "a zip of something else", packed({"word/document.xml": b"<xml/>"})
    yield "an empty zip", packed({})


def _streams() -> Iterator[tuple[str, bytes]]:
    system = entries(little_endian=b"\x88")
    keys = b"\x80\x02](" + text("0") + b"e."
    head = MAGIC + VERSION + system + GOOD_PICKLE
    good = head + keys + struct.pack("<q", 64) + STORAGE
    view = entries(weight=tensor(where=storage(more=b"(" + text("v") + number(60) + number(64) + b"t")))
    yield "a stream that is cut off", good[:-1]
    yield "a stream without storages", head + keys
    yield "a stream without keys", head
    yield "a stream with other keys", head + keys.replace(b"0", b"1") + struct.pack("<q", 64) + STORAGE
    yield "a stream with a key twice", head + b"\x80\x02](" + text("0") * 2 + b"e." + struct.pack("<q", 64) + STORAGE
    yield "a storage that is longer than it was said", head + keys + struct.pack("<q", 65) + STORAGE
    yield "a storage of negative length", head + keys + struct.pack("<q", -64) + STORAGE
    yield "a view that reaches outside of its storage", MAGIC + VERSION + system + view + keys + good[-264:]
    yield "another magic number", b"\x80\x02" + number(42) + b"." + good[len(MAGIC) :]
    yield "another version", MAGIC + b"\x80\x02K\x09." + good[len(MAGIC + VERSION) :]
    yield (
        "a big endian stream",
        MAGIC + VERSION + entries(little_endian=b"\x89") + good[len(MAGIC + VERSION + system) :],
    )
    yield "a pickle of plain Python", pickle.dumps({"weight": [1.0, 2.0]}, protocol=4)


def _arrays() -> Iterator[tuple[str, bytes]]:
    def tensors(header: bytes, data: bytes = STORAGE, length: int | None = None) -> bytes:
        return struct.pack("<Q", len(header) if length is None else length) + header + data

    good = b'{"a":{"dtype":"F32","shape":[64],"data_offsets":[0,256]}'
    yield "safetensors: offsets beyond the file", tensors(good.replace(b"256", b"999") + b"}")
    yield "safetensors: offsets that overlap", tensors(good + b"," + good[1:].replace(b'"a"', b'"b"') + b"}")
    yield "safetensors: another shape", tensors(good.replace(b"[64]", b"[65]") + b"}")
    yield "safetensors: a huge shape", tensors(good.replace(b"[64]", b"[4611686018427387904,16]") + b"}")
    yield "safetensors: no JSON", tensors(b'{"a": evil}')
    yield "safetensors: deep JSON", tensors(b'{"a":' * 50_000 + b"1" + b"}" * 50_000)
    yield "safetensors: an unknown type", tensors(good.replace(b"F32", b"F31") + b"}")
    yield "safetensors: a header of 2^60", tensors(good + b"}", length=2**60)
    yield "safetensors: a header of 90 MB", tensors(good + b"}" + b" " * (90 << 20))
    yield "safetensors: cut off", tensors(good + b"}", STORAGE[:-1])
    yield "safetensors: no tensor", tensors(b"{}", b"")

    def array(header: bytes, data: bytes = STORAGE) -> bytes:
        line = header + b" " * (64 - (10 + len(header) + 1) % 64) + b"\n"
        return packed({"a.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line + data})

    objects = io.BytesIO()
    np.savez(objects, a=np.array([_Evil()], object))
    head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (64,), }"
    yield "npz: an array of objects", objects.getvalue()
    yield "npz: 10^12 elements", array(head.replace(b"64", b"1000000000000"))
    yield "npz: fewer numbers than its shape", array(head.replace(b"64", b"65"))
    yield "npz: more numbers than its shape", array(head.replace(b"64", b"63"))
    yield "npz: a size below zero", array(head.replace(b"64", b"-64"))
    yield "npz: a header that is a call", array(b"__import__('os').system('touch evil')")
    yield "npz: a deep header", array(b"(" * 4000 + b")" * 4000)
    yield "npz: a long header", array(head.replace(b" }", b" " * 40_000 + b"}"))
    yield "npz: a structure", array(head.replace(b"'<f4'", b"[('a', '<f4')]"))
    yield "npz: strings", array(head.replace(b"<f4", b"<U4"))
    yield "npz: another magic", packed({"a.npy": b"\x94NUMPY\x01\x00" + STORAGE})
    yield "npz: something between the arrays", packed({"a.npy": array(head), "evil.py": b"import os"})
    yield "npz: a bomb", packed({"a.npy": array(head)[:80] + bytes(200 << 20)}, zipfile.ZIP_DEFLATED)


def _others() -> Iterator[tuple[str, bytes]]:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        info = tarfile.TarInfo("storages")
        info.size = len(STORAGE)
        archive.addfile(info, io.BytesIO(STORAGE))
    yield "an empty file", b""
    yield "one byte", b"\x80"
    yield "text", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n"
    yield "a tar", tar.getvalue()
    yield "a gzip", gzip.compress(GOOD, mtime=0)
    yield "zlib", zlib.compress(GOOD)
    yield "HDF5", b"\x89HDF\r\n\x1a\n" + bytes(1000)
    yield "noise", random.Random(1).randbytes(10_000)
    yield "zeros", bytes(1 << 20)


def hostile_files() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file, one after the other: some are large."""
    for group in (_calls, _objects, _tensors, _zips, _streams, _arrays, _others):
        yield from group()
