"""What users type as options, turned into values; anything wrong is a usage error that says what was expected."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
from numpy.typing import NDArray

from rnnrt import ModelFormatError

Parsed = TypeVar("Parsed")


@contextmanager
def usage_errors() -> Iterator[None]:
    """Inside, a ValueError or TypeError is the user's: shown as a usage error (exit code 2)."""
    try:
        yield
    except ModelFormatError:  # a ValueError too, but the file's fault
        raise
    except (ValueError, TypeError) as error:
        raise click.UsageError(str(error)) from error


def given_options(ctx: click.Context, parameters: Iterable[str]) -> list[str]:
    """Those of these parameters that the user wrote, as they are called on the command line."""
    written = click.core.ParameterSource.COMMANDLINE
    wanted = {name for name in parameters if ctx.get_parameter_source(name) is written}
    return [param.opts[-1] for param in ctx.command.params if param.name in wanted]


def refuse_options(ctx: click.Context, parameters: Iterable[str], reason: str) -> None:
    """End with a usage error where the user wrote options that would be ignored.

    Parameters
    ----------
    ctx
        Of the command.
    parameters
        Names of the command's parameters that mean nothing here.
    reason
        What follows behind the option's name.
    """
    if found := given_options(ctx, parameters):
        raise click.UsageError("; ".join(f"{option} {reason}" for option in found), ctx)


def refuse_inputs(option: str, target: str | os.PathLike[str], *inputs: str | os.PathLike[str] | None) -> None:
    """End with a usage error where an output file is one of the inputs, whatever they are called."""
    from rnnrt.converters.write import require_other_file

    for path in inputs:
        if path is not None:
            try:
                require_other_file(target, path)
            except ValueError as error:
                raise click.UsageError(f"{option}: {error}") from error


def refuse_file_as_folder(target: Path) -> None:
    """End with a usage error where a folder can't be made since it, or one that it is to be in, is a file."""
    there = next((path for path in (target, *target.parents) if path.exists()), None)
    if there is not None and not there.is_dir():
        raise click.UsageError(f"-o: '{there}' is a file, a folder is to be written")


def pairs(option: str, given: Sequence[str], parse: Callable[[str], Parsed]) -> dict[str, Parsed]:
    """``name=value`` options as a dict. The name ends at the last ``=`` (ONNX names may contain it, values don't)."""
    found: dict[str, Parsed] = {}
    for text in given:
        name, equals, value = text.rpartition("=")
        if not (name and equals and value):
            raise click.UsageError(f"{option} {text!r}: expected name=value")
        if name in found:
            raise click.UsageError(f"{option} {text!r}: {name!r} was given before")
        try:
            found[name] = parse(value)
        except ValueError as error:
            raise click.UsageError(f"{option} {text!r}: {error}") from error
    return found


def number_or_list(text: str) -> Any:
    """``16000``, ``0.5`` or ``1,2,3``: an int, a float or a list of them."""
    numbers = [_number(part) for part in text.split(",")]
    return numbers[0] if len(numbers) == 1 else numbers


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"expected a number, got {text!r}") from None


def dims(text: str) -> tuple[int | str, ...]:
    """``1,T,161``: numbers >= 1, ``T`` (time) and ``B`` (batch)."""
    found: list[int | str] = []
    for part in text.split(","):
        word = part.strip().upper()
        if word in ("T", "B"):
            found.append(word)
        elif word.isdecimal() and int(word) > 0:
            found.append(int(word))
        else:
            raise ValueError(f"expected numbers, T and B, got {part!r}")
    return tuple(found)


def state_pairs(given: Sequence[str]) -> list[tuple[str, str]]:
    """``input:output`` options. Names that contain a colon themselves can't be told apart here."""
    found = []
    for text in given:
        parts = text.split(":")
        if len(parts) != 2 or not all(parts):
            raise click.UsageError(f"--state {text!r}: expected input:output, the names of a state's input and output")
        found.append((parts[0], parts[1]))
    return found


def read_arrays(path: Path) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """A .npy array, the arrays of a .npz by name, or a PCM .wav as float32 [samples] in [-1, 1).

    Raises
    ------
    OSError
        Can't be read.
    ModelFormatError
        Is none of these.
    """
    if path.suffix.lower() == ".wav":
        return _read_wav(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded:
                return {name: loaded[name] for name in loaded.files}
    except (ValueError, EOFError, KeyError) as error:
        raise ModelFormatError(f"{path}: expected a .npy, .npz or .wav file of numbers: {error}") from error
    return np.asarray(loaded)


def _read_wav(path: Path) -> NDArray[np.float32]:
    import wave

    try:
        with wave.open(str(path), "rb") as file:
            width, channels = file.getsampwidth(), file.getnchannels()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ModelFormatError(f"{path}: not a PCM .wav file: {error}") from error
    if channels != 1 or width not in (2, 4):
        raise ModelFormatError(f"{path}: {channels} channels of {8 * width} bits, expected one of 16 or 32 bits")
    samples = np.frombuffer(data, f"<i{width}").astype(np.float32)
    samples *= np.float32(2.0 ** (1 - 8 * width))
    return samples
