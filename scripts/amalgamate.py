"""Write the C library as two files, rnnrt.c and rnnrt.h, for those who would rather copy two than a folder.

    python scripts/amalgamate.py build/amalgamation

They are made, never committed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rnnrt.converters.amalgamate import amalgamate


def main() -> None:
    """Write the two files into the folder given."""
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: {sys.argv[0]} FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip(("rnnrt.c", "rnnrt.h"), amalgamate(), strict=True):
        (folder / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
