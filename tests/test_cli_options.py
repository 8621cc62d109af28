"""The command line takes no option that it would ignore and replaces no input; every option is documented."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from rnnrt.converters import told
from rnnrt.converters.convert import convert

import models
import rnnrt
from command_line import document, gru_onnx, invoke
from rnnrt.cli.app import app

FILE, ONNX, NPZ = "model.rnnrt", "gru.onnx", "net.npz"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a model, an ONNX file, a checkpoint of one GRU, input and frames."""
    monkeypatch.chdir(tmp_path)
    Path(FILE).write_bytes(models.recurrent("GRU", "int8"))
    gru_onnx(Path(ONNX))
    rng = np.random.default_rng(1)
    shapes = {"weight_ih_l0": (18, 5), "weight_hh_l0": (18, 6), "bias_ih_l0": (18,), "bias_hh_l0": (18,)}
    np.savez(NPZ, **{f"gru.{name}": rng.uniform(-0.4, 0.4, s).astype(np.float32) for name, s in shapes.items()})
    np.save("x.npy", models.signal((20, 1, 5)))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", FILE, "--set", "sr=1"], "--set is for what is to be converted: model.rnnrt is not"),
        (["inspect", FILE, "--batch", "1", "--cell", "gru"], "--batch is for what is to be converted"),
        (["inspect", ONNX, "--cell", "gru"], "--cell is for checkpoints: gru.onnx is none"),
        (["convert", ONNX, "-o", "y.rnnrt", "--prefix", "net."], "--prefix is for checkpoints"),
        (["convert", NPZ, "-o", "y.rnnrt", "--linear-before-reset", "1"], "--linear-before-reset is for .onnx files"),
        (["verify", FILE, "--against", ONNX, "--architecture", "x.toml"], "--architecture is for checkpoints"),
        (["convert", NPZ, "--list", "-o", "y.rnnrt"], "--output is not for --list"),
        (["convert", NPZ, "--list", "--quantize", "int8"], "--quantize is not for --list"),
        (["convert", ONNX, "-o", "y.rnnrt", "--keep-float", "the_*"], "--keep-float is for --quantize, --precision"),
        (["convert", ONNX, "--list"], "--list is for checkpoints; `rnnrt inspect gru.onnx` shows"),
        (["bench", FILE, "--plot", "x.svg"], "--plot is for --compare"),
        (["bench", FILE, "--hidden", "64"], "--hidden is for --compare"),
        (["bench", FILE, "--quantize", "int8"], "--quantize is for --compare"),
        (["bench", FILE, "--frames", "100"], "--frames is for --profile"),
        (["bench", FILE, "--set", "sr=1"], "--set is for --against"),
        (["bench", FILE, "--data", "x.npy", "--seed", "0"], "--seed is not for --data"),
        (["bench", FILE, "--profile", "--against", ONNX], "--against is not for --profile"),
        (["bench", "--compare", "gru", "lstm", "--data", "x.npy"], "--data is for a FILE, not for --compare"),
        (["bench", "--compare", "gru", "lstm", "--profile"], "--profile is for a FILE, not for --compare"),
        (["bench", "--compare", "gru", "lstm", "--frames", "5"], "--frames is for --profile"),
    ],
)
def test_options_that_would_be_ignored_are_refused(arguments: Sequence[str], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert message in " ".join(result.stderr.split())
    found = document(invoke(*arguments, "--json"), arguments[0])
    assert (found["ok"], found["exit_code"]) == (False, 2)
    assert message in found["error"]["message"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--shape", "x=T,2,5", "--batch", "3"], "the batch is to be 3, the shapes given say 2"),
        (["--shape", "x=T,B,5", "--set", "x=0"], "one of them is too much"),
        (["--shape", "x=T,B,6"], "shape [T, B, 6] given, the model says [time, batch, 5]"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: Sequence[str], reason: str) -> None:
    result = invoke("convert", ONNX, "-o", "y.rnnrt", *options)
    assert result.exit_code == 2, result.output
    assert reason in result.stderr
    assert not Path("y.rnnrt").exists()


def test_values_that_an_input_cannot_have_are_refused() -> None:
    """And a batch where there is none."""
    graph = helper.make_graph(
        [helper.make_node("Cast", ["n"], ["f"], to=TensorProto.FLOAT), helper.make_node("Mul", ["x", "f"], ["y"])],
        "scaled",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 5]),
            helper.make_tensor_value_info("n", TensorProto.INT64, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 5])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "scaled.onnx")
    assert invoke("inspect", "scaled.onnx", "--set", "n=2").exit_code == 0
    for options, reason in (
        (["--set", "n=2.5"], "it is int64, which 2.5 is not"),
        (["--set", "n=2", "--batch", "3"], "no input has a dimension that is a batch"),
    ):
        result = invoke("inspect", "scaled.onnx", *options)
        assert result.exit_code == 2, result.output
        assert reason in result.stderr


def test_errors_name_options_as_they_are_written() -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "plain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["time", "batch", 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "plain.onnx")
    np.savez("other.npz", z=np.zeros((9, 1, 5), np.float32))
    to_file = ["convert", ONNX, "-o", "y.rnnrt"]
    for arguments, message in (
        (["inspect", "plain.onnx", "--linear-before-reset", "1"], "--linear-before-reset is given, but the model has"),
        ([*to_file, "--data", "other.npz"], "--data: nothing for the input x"),
        (["inspect", NPZ, "--cell", "gru", "--architecture", "x.toml"], "either --cell or --architecture, not both"),
        ([*to_file, "--precision", "fc_*=int8"], "no layer matches 'fc_*'; the layers are the_gru"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 2, result.output
        assert message in " ".join(result.stderr.split())


def test_every_option_of_every_command_is_documented(root: Path) -> None:
    sections = (root / "docs" / "cli.md").read_text(encoding="utf-8").split("\n## ")
    for name, command in app.commands.items():
        text = "\n".join(part for part in sections if name in part.partition("\n")[0].split(", "))
        options = {o for param in command.params for o in param.opts if o.startswith("--")} - {"--json"}
        missing = sorted(option for option in options if not re.search(rf"{option}(?![\w-])", text))
        assert not missing, f"rnnrt {name}"


def test_what_a_file_was_told_is_checked() -> None:
    given: dict[str, Any] = {"set_values": {"sr": 16000}, "shapes": {"x": (1, "T", 5)}, "states": [("h", "hn")]}
    given["batch"] = 2
    said = told.Told(**given)
    kept = {"source": {"options": told.remember(said)}}
    assert set(kept["source"]["options"]) == set(given)
    assert told.recall(json.loads(json.dumps(kept))) == said
    assert told.as_words(said) == "--set sr=16000 --shape x=1,T,5 --state h:hn --batch 2"
    now = told.Told(batch=3, states=[])
    assert told.merged(kept, now, checkpoint=False) == dataclasses.replace(said, batch=3)
    other = {"source": {"options": {"cell": "gru", "batch": 2, "linear_before_reset": 0}}}
    assert told.merged(other, told.Told(), checkpoint=True) == told.Told(cell="gru", batch=2)
    assert told.merged(other, told.Told(), checkpoint=False) == told.Told(batch=2, linear_before_reset=0)
    wrong: list[Any] = [{"batch": "two"}, {"shapes": [1]}, {"shapes": {"x": 1}}, {"states": [["h"]]}, {"set_values": 3}]
    for bad in (*wrong, {"architecture": "x.toml"}, 7):
        with pytest.raises(rnnrt.ModelFormatError, match="the options in its metadata"):
            told.recall({"source": {"options": bad}})


def test_no_command_replaces_what_it_reads(folder: Path) -> None:
    Path("link.npy").symlink_to("x.npy")
    Path("twin.npy").hardlink_to("x.npy")
    Path("model.npy").hardlink_to(FILE)
    Path("link.rnnrt").hardlink_to(ONNX)
    Path("Makefile").hardlink_to(FILE)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    commands: list[list[str]] = [
        *(["run", FILE, "--input", "x.npy", "-o", target] for target in ("x.npy", "link.npy", "twin.npy", "model.npy")),
        *(["convert", ONNX, "-o", target] for target in (ONNX, "link.rnnrt")),
        ["convert", ONNX, "-o", "x.npy", "--data", "twin.npy"],
        ["export", FILE, "-o", "."],
    ]
    for command in commands:
        result = invoke(*command)
        assert result.exit_code == 2, command
        assert "is an input, too: writing there would replace it" in result.stderr, command
    with pytest.raises(ValueError, match="is an input, too"):
        convert(Path(ONNX), "link.rnnrt")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("command", ["run", "bench", "export", "verify"])
@pytest.mark.parametrize("source", [ONNX, NPZ])
def test_what_is_not_converted_yet_is_told_apart(command: str, source: str) -> None:
    more = {"run": ["--input", "x.npy", "-o", "y.npy"], "export": ["-o", "c"], "verify": ["--against", ONNX]}
    result = invoke(command, source, *more.get(command, []))
    assert result.exit_code == 4, result.output
    name = source.partition(".")[0]
    advice = f"{source}: not a .rnnrt file; convert it first: rnnrt convert {source} -o {name}.rnnrt"
    assert advice in " ".join(result.stderr.split())


def test_checkpoints_are_inspected_as_they_are_converted() -> None:
    found = document(invoke("inspect", NPZ, "--cell", "gru", "--json"), "inspect")
    assert (found["kind"], found["operators"]["GRU"], found["producer"]) == ("checkpoint", 1, "checkpoint (npz)")
    assert found["inputs"][0]["shape"] == ["B", "T", 5]
    assert [state["shape"] for state in found["states"]] == [["B", 1, 6]]
    assert "checkpoint (npz)" in invoke("inspect", NPZ).stdout
    assert invoke("convert", NPZ, "-o", "gru.rnnrt", "--cell", "gru").exit_code == 0
    assert invoke("verify", "gru.rnnrt", "--against", NPZ, "--cell", "gru").exit_code == 0
    again = invoke("verify", "gru.rnnrt", "--against", NPZ)
    assert again.exit_code == 0
    assert again.stderr == "as it was converted: --cell gru\n"
    exported = invoke("verify", "gru.rnnrt", "--against", ONNX)  # another layout, but no complaint about --cell
    assert "inputs of gru.rnnrt are x [B, T, 5], the original's are x [T, B, 5]" in exported.stderr
    assert invoke("inspect", NPZ, "--cell", "lstm").exit_code == 2
    refused = invoke("bench", "gru.rnnrt", "--against", NPZ)
    assert refused.exit_code == 2
    assert "--against net.npz: expected an .onnx model" in refused.stderr


def test_convert_says_what_prevents_streaming() -> None:
    rng = np.random.default_rng(3)
    shapes = {"W": (2, 18, 5), "R": (2, 18, 6)}
    graph = helper.make_graph(
        [helper.make_node("GRU", ["x", "W", "R"], ["y"], "both", hidden_size=6, direction="bidirectional")],
        "both",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["time", "batch", 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(rng.uniform(-0.4, 0.4, s).astype(np.float32), n) for n, s in shapes.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "both.onnx")
    text = invoke("convert", "both.onnx", "-o", "both.rnnrt").stdout
    reason = rnnrt.load("both.rnnrt").meta["not_streamable_because"]
    assert "'both'" in reason
    assert f"streamable  no: {reason}\n" in text
    found = document(invoke("convert", "both.onnx", "-o", "both.rnnrt", "--json"), "convert")
    assert (found["streamable"], found["not_streamable_because"], found["states"]) == (False, reason, [])


def test_export_leaves_nothing_of_an_earlier_model() -> None:
    Path("second.rnnrt").write_bytes(models.recurrent("LSTM", "int8"))
    Path("c").mkdir()
    Path("c/board.c").write_text("int board;\n")
    Path("c/own_data.c").write_text("int own;\n")
    assert invoke("export", FILE, "-o", "c", "--isa", "scalar").exit_code == 0
    again = invoke("export", "second.rnnrt", "-o", "c", "--isa", "scalar")
    assert again.exit_code == 0
    assert "removed, of an earlier export: model_data.c, model.h, model.c" in again.stderr
    kept = {"board.c", "own_data.c"}
    fixed = {"rnnrt.c", "rnnrt.h", "golden.h", "main.c", "Makefile", "CMakeLists.txt"}
    named = {"second.c", "second.h", "second_data.c"}
    assert {path.name for path in Path("c").iterdir()} == kept | fixed | named
    found = json.loads(invoke("export", FILE, "-o", "c", "--isa", "scalar", "--json").stdout)
    assert found["removed"] == ["second_data.c", "second.h", "second.c"]


def test_export_says_what_it_calls_the_model() -> None:
    Path("my model.rnnrt").write_bytes(Path(FILE).read_bytes())
    made = invoke("export", "my model.rnnrt", "-o", "c", "--isa", "scalar")
    assert "in C the model is called my_model; --name says otherwise" in made.stderr
    for name, better in (
        ("my model", "my_model"),
        ("string", "string_model"),
        ("9", "model_9"),
        ("Main", "main_model"),
    ):
        result = invoke("export", FILE, "-o", "d", "--name", name)
        assert result.exit_code == 2
        assert f"--name '{name}' can't name a model in C; '{better}' could" in result.stderr
    for isa in ("helium", "armdsp", "neon32", "rvv"):
        result = invoke("export", FILE, "-o", "d", "--isa", isa)
        assert result.exit_code == 2
        assert f"{isa}: what scalar becomes where the compiler's target has it" in result.stderr
    assert not Path("d").exists()
