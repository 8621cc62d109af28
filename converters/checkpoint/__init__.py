"""Reads checkpoints without torch: zip and older files of torch.save, TorchScript archives, safetensors, .npz.

    checkpoint = read("model.pt")
    checkpoint.tensors              # dotted name -> Tensor: type and shape; numbers are read on demand
    checkpoint.arrays("encoder.")   # name -> ndarray
    checkpoint.stacks()             # the recurrent layers found

A checkpoint is a pickle, and a pickle is a program. This reader has its own interpreter, which can build tensors,
containers, numbers and strings, and refuses everything else: `pickle_machine` runs it, `names` is the allow-list,
`tensor` and `archive` check every size against the file before anything is allocated.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import ModelFormatError
from . import array_files, torch_files
from .archive import SIGNATURE, records
from .source import Source
from .stacks import Stack, find_stacks
from .tensor import Array, Tensor, Tensors
from .walk import named_tensors

__all__ = ["SUFFIXES", "Checkpoint", "Stack", "Tensor", "find_stacks", "read"]

SUFFIXES = (".pt", ".pth", ".ckpt", ".tar", ".bin", ".jit", ".ts", ".safetensors", ".npz")
_PICKLE = b"\x80"


@dataclass
class Checkpoint:
    """What a file holds.

    Attributes
    ----------
    path
        The file; its tensors' numbers are read from it when they are asked for.
    format
        ``"torch zip"``, ``"torch stream"`` (before 1.6), ``"TorchScript"``, ``"safetensors"`` or ``"npz"``.
    tensors
        Dotted name -> tensor, in the file's order.
    skipped
        The same of optimizers' states.
    """

    path: Path
    format: str
    tensors: dict[str, Tensor]
    skipped: dict[str, Tensor] = field(default_factory=dict)

    def arrays(self, prefix: str = "") -> dict[str, Array]:
        """The numbers of all tensors whose names start with a prefix, under their full names.

        Raises
        ------
        ModelFormatError
            The file is damaged, or has changed since it was opened.
        """
        return {name: self.array(name) for name in self.tensors if name.startswith(prefix)}

    def array(self, name: str) -> Array:
        """The numbers of one tensor, a model's or an optimizer's: read-only, see `Tensor.array`.

        Raises
        ------
        ModelFormatError
            As `arrays`.
        KeyError
            There is none of this name.
        """
        tensor = self.tensors[name] if name in self.tensors else self.skipped[name]
        try:
            return tensor.array()
        except ModelFormatError as error:
            raise ModelFormatError(f"'{self.path}': {error}") from None

    def stacks(self, prefix: str = "") -> list[Stack]:
        """The recurrent layers among the tensors whose names start with a prefix."""
        return find_stacks({n: t.shape for n, t in self.tensors.items() if n.startswith(prefix)})


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint of any of the formats; its bytes say which, not its name.

    Parameters
    ----------
    path
        The file. Only its tensors' types, shapes and places are read now.

    Raises
    ------
    ModelFormatError
        It is none, is damaged, or holds anything but tensors, containers, numbers and strings. Nothing is executed.
    OSError
        It can't be read.
    """
    try:
        return _read(Source(path))
    except ModelFormatError as error:
        raise ModelFormatError(f"'{os.fspath(path)}': {error}") from None


def _read(source: Source) -> Checkpoint:
    head = source.read(0, min(source.size, 9))
    tensors = Tensors(source.size)
    if head.startswith(SIGNATURE):
        return _read_zip(source, tensors)
    if head.startswith(_PICKLE):
        made, skipped = named_tensors(torch_files.read_legacy(source, tensors)[""])
        return _found(source, "torch stream", made, skipped)
    if array_files.is_safetensors(head, source.size):
        return _found(source, "safetensors", array_files.read_safetensors(source, tensors), {})
    raise ModelFormatError("no checkpoint that is known: neither of torch.save, nor safetensors, nor .npz")


def _read_zip(source: Source, tensors: Tensors) -> Checkpoint:
    found = records(source)
    root = torch_files.root_of(found)
    if root is None:
        if any(name.endswith(".npy") for name in found):
            return _found(source, "npz", array_files.read_npz(found, tensors), {})
        raise ModelFormatError("a zip file with neither a data.pkl, as torch.save writes it, nor arrays of numpy")
    objects = torch_files.read_zip(source, found, root, tensors)
    made, skipped = named_tensors({"constants": objects["constants"]} if "constants" in objects else {})
    main, main_skipped = named_tensors(objects[""])
    kind = "TorchScript" if torch_files.is_script(found, root) else "torch zip"
    return _found(source, kind, main | made, main_skipped | skipped)


def _found(source: Source, kind: str, tensors: dict[str, Tensor], skipped: dict[str, Tensor]) -> Checkpoint:
    if not tensors:
        raise ModelFormatError(
            "holds no state_dict: there is no tensor in it" + (" but an optimizer's" if skipped else "")
        )
    return Checkpoint(source.path, kind, tensors, skipped)
