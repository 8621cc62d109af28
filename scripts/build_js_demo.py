"""The page js/demo as a folder to be served: with the JavaScript package, the model it runs and a sample.

python scripts/build_js_demo.py build/js-demo
python -m http.server --directory build/js-demo
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from rnnrt.converters.convert import convert

import build_js
import fetch_models

ROOT = build_js.ROOT
MODEL = "silero_vad_16k_op15.onnx"


def build(folder: Path, package: Path | None = None) -> None:
    """Write the folder.

    Parameters
    ----------
    folder : Path
        Where to.
    package : Path, optional
        The JavaScript package where it has been built already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if package is None:
        package = folder
        build_js.compile_wasm(folder / "rnnrt.wasm")
        shutil.copy(ROOT / "js" / "rnnrt.js", folder)
    else:
        for name in ("rnnrt.js", "rnnrt.wasm"):
            shutil.copy(package / name, folder)
    for path in (ROOT / "js" / "demo").iterdir():
        shutil.copy(path, folder)
    shutil.copy(ROOT / "examples" / "speech.wav", folder)
    models = ROOT / "models"
    fetch_models.fetch(models, only="silero-vad")
    convert(
        models / MODEL,
        folder / "silero.rnnrt",
        quantize="int8",
        set_values={"sr": 16000},
        shapes={"input": (1, 576)},
        batch=1,
    )


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]))
    except (FileNotFoundError, subprocess.CalledProcessError, fetch_models.FetchError) as error:
        raise SystemExit(f"build_js_demo: {error}") from error
