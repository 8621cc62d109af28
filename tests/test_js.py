"""The JavaScript package: built, typed, packed, small; tests/js under Node; golden bits and the page in Chromium."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rnnrt.converters import amalgamate
from rnnrt.converters.convert import convert

import browser
import build_js
import build_js_demo
import rnnrt
from conftest import Signal

ROOT = Path(__file__).parents[1]
JS = ROOT / "tests" / "js"
GOLDEN = ROOT / "tests" / "golden"
HASHES: dict[str, list[str]] = json.loads((GOLDEN / "hashes.json").read_text(encoding="utf-8"))
FRAME, CONTEXT = 512, 64  # samples of Silero VAD at 16 kHz: new ones, and those of the frame before
MAX_GZIPPED = 150_000  # bytes of all that a page loads
API_TESTS = re.findall(r'^test\("(.+?)"', (JS / "api.test.mjs").read_text(encoding="utf-8"), re.MULTILINE)
TSC = ["--allowJs", "--checkJs", "--strict", "--noEmit", "--target", "es2022", "--module", "esnext"]
TSC += ["--moduleResolution", "node", "--lib", "es2022,dom"]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, tool: Callable[[str], str]) -> Path:
    """What ``make js`` makes."""
    for name in ("clang", "wasm-ld"):
        tool(name)
    folder = tmp_path_factory.mktemp("package") / "rnnrt"
    build_js.build(folder)
    return folder


def _graph(
    name: str, nodes: list[onnx.NodeProto], inputs: dict[str, tuple[int, list[int | str]]], y: list[int | str]
) -> onnx.ModelProto:
    table = numpy_helper.from_array(np.array([[1, 2], [10, 20]], np.float32), "table")
    infos = [helper.make_tensor_value_info(key, dtype, shape) for key, (dtype, shape) in inputs.items()]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, y)
    graph = helper.make_graph(nodes, name, infos, [out], [table])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models with two inputs and with an inner time axis, which no golden one has."""
    folder = tmp_path_factory.mktemp("models")
    gather = [helper.make_node("Gather", ["table", "i"], ["row"]), helper.make_node("Add", ["x", "row"], ["y"])]
    both = {"x": (TensorProto.FLOAT, ["T", 2]), "i": (TensorProto.INT32, ["T"])}
    double = [helper.make_node("Add", ["x", "x"], ["y"])]
    last = {"x": (TensorProto.FLOAT, [1, 3, "T"])}
    for model in (_graph("two_inputs", gather, both, ["T", 2]), _graph("time_last", double, last, [1, 3, "T"])):
        source = folder / f"{model.graph.name}.onnx"
        onnx.save(model, source)
        data = {"x": np.ones((5, 2), np.float32), "i": np.array([0, 1, 1, 0, 1], np.int32)}
        convert(source, source.with_suffix(".rnnrt"), data=data if model.graph.name == "two_inputs" else None)
    return folder


@pytest.fixture(scope="module")
def under_node(package: Path, models: Path, tool: Callable[[str], str]) -> dict[str, str]:
    """Name of a test -> "ok" or what Node's test runner says about it."""
    environment = {**os.environ, "RNNRT_JS": str(package), "MODELS": str(models)}
    command = [tool("node"), "--expose-gc", "--test", "--test-reporter=tap", str(JS / "api.test.mjs")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = {}
    for part in re.split(r"^\s*# Subtest: ", done.stdout, flags=re.MULTILINE)[1:]:
        name, _, rest = part.partition("\n")
        found[name] = "ok" if re.match(rf"\s*ok \d+ - {re.escape(name)}\n", rest) else rest
    return found


@pytest.mark.parametrize("name", API_TESTS)
def test_under_node(name: str, under_node: dict[str, str]) -> None:
    assert under_node[name] == "ok", under_node[name]


def test_is_small(package: Path) -> None:
    """With all operators: what npm's package has them from is the whole of src_c."""
    sizes = {name: len(gzip.compress((package / name).read_bytes(), 9)) for name in ("rnnrt.wasm", "rnnrt.js")}
    assert sum(sizes.values()) < MAX_GZIPPED, sizes


def test_types(package: Path, tmp_path: Path, tool: Callable[[str], str]) -> None:
    """rnnrt.js is of the types that it states; a program uses them, and tsc fails where an expected error is none."""
    shutil.copytree(package, tmp_path / "node_modules" / "rnnrt")
    shutil.copy(package / "rnnrt.js", tmp_path / "implementation.js")
    shutil.copy(package / "rnnrt.d.ts", tmp_path / "rnnrt.d.ts")
    (tmp_path / "conforms.ts").write_text(
        'import * as implementation from "./implementation.js";\n'
        'export const api: typeof import("./rnnrt.js") = implementation;\n'
    )
    shutil.copy(JS / "typed.ts", tmp_path)
    command = [tool("tsc"), *TSC, "conforms.ts", "typed.ts"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_package_is_complete(package: Path, tmp_path: Path, tool: Callable[[str], str]) -> None:
    """What npm would pack runs where it is installed; npm itself is asked where there is one (Debian's is large)."""
    manifest = json.loads((package / "package.json").read_text(encoding="utf-8"))
    assert manifest["version"] == amalgamate.version()
    packed = {*manifest["files"], "package.json", "README.md", "LICENSE"}
    assert packed == {path.name for path in package.iterdir()}
    if npm := shutil.which("npm"):
        command = [npm, "pack", "--json", "--offline", "--pack-destination", str(tmp_path)]
        done = subprocess.run(command, cwd=package, capture_output=True, text=True, check=True)
        (report,) = json.loads(done.stdout)
        assert {entry["path"] for entry in report["files"]} == packed
    installed = tmp_path / "node_modules" / "rnnrt"
    installed.mkdir(parents=True)
    for name in packed:
        shutil.copy(package / name, installed)
    (tmp_path / "program.mjs").write_text(
        'import { load } from "rnnrt";\n'
        'import { createRequire } from "node:module";\n'
        'createRequire(import.meta.url).resolve("rnnrt/rnnrt.wasm");\n'
        "const model = await load(process.argv[2]);\n"
        "console.log(model.stream().step(new Float32Array(64)).length, model.isa);\n"
    )
    command = [tool("node"), "program.mjs", str(GOLDEN / "denoiser_s8.rnnrt")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("64 wasm\n", 0), done.stderr


def test_golden_bits_in_chromium(package: Path, tmp_path: Path, tool: Callable[[str], str]) -> None:
    tool("chromium")
    for path in (*GOLDEN.glob("*.rnnrt"), JS / "golden.html", JS / "golden.mjs", *package.iterdir()):
        shutil.copy(path, tmp_path)
    found = browser.report(tmp_path, f"golden.html?models={','.join(HASHES)}")
    assert found == [[name, isa, *HASHES[name]] for name in HASHES for isa in ("wasm", "scalar")]


@pytest.fixture(scope="module")
def demo(
    package: Path, models_dir: Path, tmp_path_factory: pytest.TempPathFactory, tool: Callable[[str], str]
) -> tuple[dict[str, Any], Path]:
    """What the demo page has shown while tests/js/demo_driver.html used it, and its model."""
    tool("chromium")
    folder = tmp_path_factory.mktemp("demo")
    build_js_demo.build(folder, package)
    shutil.copy(JS / "demo_driver.html", folder)
    microphone = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    microphone.append(f"--use-file-for-fake-audio-capture={folder / 'speech.wav'}")
    found = browser.report(folder, "demo_driver.html", microphone)
    assert "error" not in found, found["error"]
    return found, folder / "silero.rnnrt"


def test_page_runs_a_recording(demo: tuple[dict[str, Any], Path], speech: Signal) -> None:
    found, _ = demo
    frames = -(-speech.size // FRAME)
    for shown in (found["recording"], found["sample"]):
        assert shown["status"] == "speech.wav: 9.9 s, done"
        assert shown["frames"] == frames
        assert 60 <= int(shown["speech"].removesuffix(" %")) <= 90  # four sentences with pauses between them
        assert float(shown["now"]) < 0.2  # it ends in silence
        assert shown["drawn"] > 20 * found["ready"]["drawn"] > 0
    assert found["broken"]["status"].startswith("EncodingError"), found["broken"]
    assert found["broken"]["frames"] == 0


def test_page_hears_the_microphone(demo: tuple[dict[str, Any], Path]) -> None:
    """Chromium plays the recording into it, and the model runs on the audio thread."""
    found, _ = demo
    assert found["listening"]["status"] == "Listening"
    assert found["stopped"]["status"] == "Stopped"
    assert found["stopped"]["frames"] >= found["listening"]["frames"] >= 60
    assert 20 <= int(found["listening"]["speech"].removesuffix(" %")) <= 95
    assert found["listening"]["drawn"] > 10 * found["ready"]["drawn"]


def test_audio_thread_page_and_python_give_the_same_bits(demo: tuple[dict[str, Any], Path], speech: Signal) -> None:
    found, path = demo
    stream = rnnrt.load(path).stream()
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), speech])
    expected = [
        np.asarray(stream.step(padded[at : at + CONTEXT + FRAME])).item()
        for at in range(0, speech.size // FRAME * FRAME, FRAME)
    ]
    assert found["here"] == expected
    assert found["there"] == expected
