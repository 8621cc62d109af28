"""The command line: ``rnnrt convert | inspect | verify | run | bench | export | doctor``.

One file per command; `app` holds the group and what exit codes mean, `output` what goes where. click and rich are
imported only below this package, so that the library itself needs numpy alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

_NEEDED = ("click", "rich")
_EXTRA = "convert"
_IN_EXTRA = (*_NEEDED, "onnx", "onnxruntime", "safetensors", "tomli")


def how_to_install(package: str) -> str:
    """The command that brings a package that is missing, and with it all others of the same extra of ours."""
    return f"pip install 'rnnrt[{_EXTRA}]'" if package in _IN_EXTRA else f"pip install {package}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (see `rnnrt.cli.app.Exit`).

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; `sys.argv` when None.

    Returns
    -------
    int
        0 ok, 1 verification failed, 2 usage (also: click or rich is not installed), 3 unsupported model, 4 bad file.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        names = " and ".join(missing)
        print(f"rnnrt: this needs {names}, not installed here: {how_to_install(missing[0])}", file=sys.stderr)
        return 2
    from rnnrt.cli.app import run_app

    return run_app(None if argv is None else list(argv))
