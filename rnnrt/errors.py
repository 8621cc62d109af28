"""The exceptions of rnnrt. Wrong arguments (shape, dtype, names) are plain ``ValueError`` and ``TypeError``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["ModelFormatError", "RnnrtError", "UnsupportedError", "VerificationError"]


class RnnrtError(Exception):
    """Base of every exception that rnnrt defines."""


class ModelFormatError(RnnrtError, ValueError):
    """The bytes are not a usable .rnnrt file: damaged, cut off, written for another version, or not one at all."""


class UnsupportedError(RnnrtError, NotImplementedError):
    """rnnrt cannot do what was asked with this model or on this machine.

    Parameters
    ----------
    message : str
        What cannot be done.
    problems : iterable, optional
        Every single reason, not only the first (the converter's are ``rnnrt.converters.ir.Problem``).
    hints : iterable of str, optional
        What the caller could still say.

    Attributes
    ----------
    problems, hints : list
        As given; empty where the message says it all.
    """

    def __init__(self, message: str, problems: Iterable[Any] = (), hints: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.problems: list[Any] = list(problems)
        self.hints: list[str] = list(hints)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.problems, self.hints)


class VerificationError(RnnrtError):
    """A converted model does not compute what the original does.

    Parameters
    ----------
    message : str
        The first thing that failed.
    report : object, optional
        The whole verification report.

    Attributes
    ----------
    report : object or None
        As given.
    """

    def __init__(self, message: str, report: Any = None) -> None:
        super().__init__(message)
        self.report = report

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.report)
