"""What a converter was told about a source: kept in the file's metadata, and as the words of the command line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ModelFormatError


@dataclass(frozen=True)
class Told:
    """The keyword arguments of `convert.convert` that say something about the source; see `convert.prepare`."""

    set_values: Mapping[str, npt.ArrayLike] | None = None
    shapes: Mapping[str, tuple[int | str, ...]] | None = None
    batch: int | None = None
    states: Sequence[tuple[str, str]] | None = None
    linear_before_reset: int | None = None
    prefix: str = ""
    cell: str | None = None
    architecture: Any = None

    def said(self) -> dict[str, Any]:
        """Those that say something."""
        return {name: value for name, value in vars(self).items() if not _is_nothing(value)}


def remember(told: Told) -> dict[str, Any]:
    """What was said, JSON-ready; an architecture must be the description itself, not its file."""
    said = told.said()
    if "set_values" in said:
        said["set_values"] = {name: np.asarray(value).tolist() for name, value in said["set_values"].items()}
    plain: dict[str, Any] = json.loads(json.dumps(said, default=lambda number: number.item()))
    return plain


def recall(meta: Mapping[str, Any]) -> Told:
    """What `remember` left in the metadata of a file.

    Raises
    ------
    ModelFormatError
        It is no such thing.
    """
    source = meta.get("source")
    found = source.get("options") if isinstance(source, Mapping) else None
    if found is None:
        return Told()
    try:
        readers: dict[str, Callable[[Any], Any]] = {
            "set_values": lambda v: {str(name): np.asarray(value) for name, value in v.items()},
            "shapes": lambda v: {str(name): tuple(_dim(d) for d in dims) for name, dims in v.items()},
            "states": lambda v: [(str(before), str(after)) for before, after in v],
            "batch": int,
            "linear_before_reset": int,
            "prefix": str,
            "cell": str,
            "architecture": _description,
        }
        return Told(**{name: reader(found[name]) for name, reader in readers.items() if name in found})
    except (TypeError, ValueError, AttributeError) as error:
        raise ModelFormatError(f"the options in its metadata are none: {error}") from error


def merged(meta: Mapping[str, Any], given: Told, checkpoint: bool) -> Told:
    """What a file was converted with, but for what is given now.

    What was told about a checkpoint says nothing about another source, and the other way round: it is left out.
    """
    foreign = ("linear_before_reset",) if checkpoint else ("prefix", "cell", "architecture")
    stored = {name: value for name, value in recall(meta).said().items() if name not in foreign}
    return Told(**{**stored, **given.said()})


def as_words(told: Told) -> str:
    """As it is written on the command line; an architecture without what is in it."""
    words: list[str] = []
    options = told.said()
    for name, value in options.get("set_values", {}).items():
        words += ["--set", f"{name}={','.join(map(str, np.asarray(value).reshape(-1).tolist()))}"]
    for name, dims in options.get("shapes", {}).items():
        words += ["--shape", shape_word(name, dims)]
    for before, after in options.get("states", ()):
        words += ["--state", f"{before}:{after}"]
    for name in ("batch", "linear_before_reset", "prefix", "cell"):
        if name in options:
            words += [f"--{name.replace('_', '-')}", str(options[name])]
    if "architecture" in options:
        words += ["--architecture", "FILE.toml"]
    return shlex.join(words)


def shape_word(name: str, dims: Any) -> str:
    """``x=B,T,161``, as behind ``--shape``."""
    return f"{name}={','.join(map(str, dims))}"


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, (str, Mapping, list, tuple)) and not value)


def _description(value: Any) -> Any:
    """Never the path of a file: a model does not say what is read."""
    if not isinstance(value, (dict, list)):
        raise TypeError(f"an architecture is no {type(value).__name__}")
    return value


def _dim(value: Any) -> int | str:
    return value if isinstance(value, str) else int(value)
