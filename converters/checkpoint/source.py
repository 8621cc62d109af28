"""A checkpoint's file: bytes by position, never more than are there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ...errors import ModelFormatError

CHUNK = 1 << 20


class Source:
    """A file of a size that was found once; it is opened anew for every read, so nothing needs to be closed.

    Parameters
    ----------
    path
        A regular file.

    Raises
    ------
    OSError
        It can't be read.
    ModelFormatError
        It is a device, a pipe or the like.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        status = self.path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(21, os.strerror(21), os.fspath(path))
        if not stat.S_ISREG(status.st_mode):
            raise ModelFormatError("not a regular file")
        self.size = status.st_size

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the file for reading from its beginning."""
        with self.path.open("rb") as file:
            yield file

    def read(self, start: int, count: int) -> bytes:
        """Bytes [start, start + count).

        Raises
        ------
        ModelFormatError
            The file does not have them.
        """
        if start < 0 or count < 0 or start + count > self.size:
            raise ModelFormatError(f"bytes {start} to {start + count} lie outside of the file, which has {self.size}")
        with self.open() as file:
            file.seek(start)
            found = file.read(count)
        if len(found) != count:
            raise ModelFormatError("the file became shorter while it was read")
        return found

    def chunks(self, start: int, count: int) -> Iterator[bytes]:
        """The same bytes in pieces of at most `CHUNK`."""
        for at in range(start, start + count, CHUNK):
            yield self.read(at, min(CHUNK, start + count - at))
