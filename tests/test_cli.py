"""The command line: what goes to stdout and stderr, exit codes, JSON, and that nothing is left behind on failure."""

from __future__ import annotations

import shlex
import subprocess
import sys
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import command_line
import models
import rnnrt
from command_line import Invoke, document, gru_onnx, in_process_of_its_own


@pytest.fixture
def invoke() -> Invoke:
    """Run one command in this process."""
    return command_line.invoke


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small ONNX model that converts."""
    return gru_onnx(tmp_path / "gru.onnx")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A small .rnnrt file: GRU, x [T, B, 5] -> y [T, 1, B, 7]."""
    path = tmp_path / "model.rnnrt"
    path.write_bytes(models.recurrent("GRU", "int8"))
    return path


# ---- the program as a whole ----


def test_every_command_is_there_and_explains_itself(invoke: Invoke) -> None:
    overview = invoke("--help")
    assert overview.exit_code == 0
    for name in ("convert", "inspect", "verify", "run", "bench", "doctor"):
        assert f"\n  {name} " in overview.stdout
        result = invoke(name, "--help")
        assert result.exit_code == 0
        assert "--json" in result.stdout
    assert "..." not in overview.stdout.split("Commands:")[1], "a first line is cut off"
    assert "into a verified file.\n" in in_process_of_its_own("--help", COLUMNS="80").stdout
    assert "Required" in invoke("convert", "--help").stdout.partition("--output")[2].partition("--list ")[0]


def test_version(invoke: Invoke) -> None:
    assert rnnrt.__version__ in invoke("--version").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["convert", "x.onnx"],
        ["run", "x.rnnrt"],
        ["bench"],
        ["bench", "x.rnnrt", "--compare", "gru", "lstm"],
        ["bench", "--compare", "gru", "transformer"],
        ["bench", "--compare", "gru", "gru"],
        ["bench", "--compare", "gru", "lstm", "--hidden", "many"],
        ["bench", "--compare", "gru", "lstm", "--hidden", "0"],
        ["bench", "--compare", "gru", "lstm", "--plot", "x.txt"],
        ["bench", "--compare", "gru", "lstm", "--against", "x.onnx"],
        ["bench", "--compare", "gru", "lstm", "--profile"],
        ["bench", "x.rnnrt", "--profile", "--against", "x.onnx"],
        ["bench", "x.rnnrt", "--profile", "--frames", "0"],
    ],
)
def test_usage_errors_end_with_2_and_say_so_on_stderr(invoke: Invoke, arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error" in result.stderr


@pytest.mark.parametrize("command", ["inspect", "verify", "run", "bench"])
@pytest.mark.parametrize("kind", ["missing", "empty", "text", "cut off", "one bit", "folder"])
def test_bad_files_end_with_4(
    invoke: Invoke, tmp_path: Path, source: Path, file: Path, command: str, kind: str
) -> None:
    bad, content = tmp_path / "bad.rnnrt", bytearray(file.read_bytes())
    if kind == "folder":
        bad.mkdir()
    elif kind != "missing":
        content[200] ^= 1
        bad.write_bytes({"empty": b"", "text": b"hello" * 99, "cut off": content[:-7], "one bit": content}[kind])
    np.save(tmp_path / "x.npy", np.zeros((2, 1, 5), np.float32))
    more = {
        "verify": ["--against", source],
        "run": ["--input", tmp_path / "x.npy", "-o", tmp_path / "y.npy"],
    }.get(command, [])
    result = invoke(command, bad, *more)
    assert result.exit_code == 4, result.output
    assert result.stdout == ""
    assert "bad.rnnrt" in result.stderr
    as_json = document(invoke(command, bad, *more, "--json"), command)
    assert as_json["ok"] is False
    assert as_json["exit_code"] == 4
    assert "bad.rnnrt" in as_json["error"]["message"]


def test_results_and_messages_keep_apart_and_nothing_moves_without_a_terminal(tmp_path: Path, source: Path) -> None:
    target = tmp_path / "out.rnnrt"
    done = in_process_of_its_own("convert", source, "-o", target)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert f"{target}: " in done.stdout.splitlines()[-1]
    missing = in_process_of_its_own("inspect", tmp_path / "none.rnnrt")
    assert missing.returncode == 4
    assert missing.stdout == ""
    assert "none.rnnrt" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_a_missing_package_is_named_with_how_to_get_it() -> None:
    program = (
        "import sys, importlib.util as u\n"
        "found = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'rich' else found(name, *a)\n"
        "import rnnrt.cli\nsys.exit(rnnrt.cli.main(['doctor']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "rnnrt: this needs rich, not installed here: pip install 'rnnrt[convert]'\n"


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "google", "matplotlib"])
def test_a_missing_optional_package_is_one_line(tmp_path: Path, source: Path, package: str) -> None:
    arguments = {
        "onnx": ["inspect", str(source)],
        "onnxruntime": ["convert", str(source), "-o", str(tmp_path / "x.rnnrt")],
        "google": ["convert", str(source), "-o", str(tmp_path / "x.rnnrt")],
        "matplotlib": ["bench", "--compare", "gru", "lstm", "--plot", str(tmp_path / "x.png")],
    }[package]
    program = (
        f"import sys\nsys.modules[{package!r}] = None\nimport rnnrt.cli\nsys.exit(rnnrt.cli.main({arguments!r}))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    what = "'rnnrt[convert]'" if package.startswith("onnx") else package
    assert done.stderr.splitlines() == [f"error: this needs {package}, not installed here: pip install {what}"]


# ---- convert, verify ----


def test_convert_with_a_precision_for_each_layer(invoke: Invoke, tmp_path: Path, source: Path) -> None:
    target = tmp_path / "model.rnnrt"
    arguments = ("convert", source, "-o", target, "--quantize", "int4", "--precision", "*=f16", "--json")
    found = document(invoke(*arguments), "convert")
    assert {layer["precision"] for layer in found["layers"]} == {"f16"}
    assert {layer["reason"] for layer in found["layers"]} == {"f16 asked for by '*'"}
    listed = invoke("inspect", target)
    assert "f16 asked for by '*'" in " ".join(listed.stdout.split())
    wrong = invoke("convert", source, "-o", target, "--precision", "*=int3")
    assert wrong.exit_code == 2
    assert "int3" in wrong.stderr


def test_strict_conversion_lists_compromises_and_writes_nothing(
    invoke: Invoke, tmp_path: Path, models_dir: Path
) -> None:
    target, source = tmp_path / "model.rnnrt", models_dir / "nsnet2-20ms-baseline.onnx"
    arguments = ("convert", source, "-o", target, "--quantize", "int8", "--keep-float", "MatMul_0", "--strict")
    result = invoke(*arguments)
    assert result.exit_code == 3
    assert not target.exists()
    first, *assumed, hint = result.stderr.splitlines()
    assert first == "error: strict refuses what was assumed or approximated: 2 problems"
    assert [line.partition(" is taken as ")[2] for line in assumed] == ["batch (by name)", "time (by name)"]
    assert hint == "  hint: where that is meant, say it: --shape input=B,T,161"
    said = invoke(*arguments, *hint.partition("say it: ")[2].split())
    assert said.exit_code == 0, said.stderr
    assert target.exists()


def test_strict_names_every_option_that_it_wants(invoke: Invoke, tmp_path: Path, models_dir: Path) -> None:
    target, source = tmp_path / "model.rnnrt", models_dir / "silero_vad_16k_sequence.onnx"
    arguments = ("convert", source, "-o", target, "--quantize", "int8", "--strict")
    hint = invoke(*arguments).stderr.splitlines()[-1].partition("say it: ")[2]
    assert "--shape input=T,576 --state h:hn --state c:cn --precision /stft/Conv.0=f32" in hint
    said = invoke(*arguments, *hint.split())
    assert said.exit_code == 0, said.stderr


@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_convert_writes_a_verified_file_and_reports_everything(
    invoke: Invoke, tmp_path: Path, source: Path, precision: str
) -> None:
    target = tmp_path / "out.rnnrt"
    more = ["--quantize", "int8"] if precision == "int8" else []
    found = document(invoke("convert", source, "-o", target, *more, "--json"), "convert")
    assert found["ok"] is True
    assert found["output"] == str(target)
    assert rnnrt.load(target).meta["quantize"] == found["quantize"] == precision
    (layer,) = found["layers"]
    assert (layer["node"], layer["op"]) == ("the_gru", "GRU")
    assert layer["precision"] == ("int8" if more else "f32")
    assert layer["reason"]
    assert found["verification"]["passed"] is True
    assert {c["against"] for c in found["verification"]["comparisons"]} >= {"onnxruntime", "float64"}
    (state,) = found["states"]
    assert (state["shape"], state["bytes"]) == ([1, "B", 6], 24)
    assert state["source"] == "zero initial_h of GRU 'the_gru'"
    assert (found["streamable"], found["not_streamable_because"]) == (True, "")
    text = invoke("convert", source, "-o", target, *more)
    assert text.exit_code == 0
    assert "zero initial_h of GRU 'the_gru'" in text.stdout
    assert "\nstreamable  yes\n" in text.stdout
    for word in ("the_gru", "onnxruntime", "float64", "chunked = whole", "SQNR dB", "verified"):
        assert word in text.stdout
    verified = invoke("verify", target, "--against", source)
    assert verified.exit_code == 0, verified.output
    assert "verified" in verified.stdout.splitlines()[-1]
    assert document(invoke("verify", target, "--against", source, "--json"), "verify")["ok"] is True


def test_keep_float_keeps_a_layer(invoke: Invoke, tmp_path: Path, source: Path) -> None:
    target = tmp_path / "out.rnnrt"
    arguments = ["convert", source, "-o", target, "--quantize", "int8", "--keep-float", "the_*", "--json"]
    (layer,) = document(invoke(*arguments), "convert")["layers"]
    assert layer["precision"] == "f32"
    assert "the_*" in layer["reason"]
    wrong = invoke("convert", source, "-o", target, "--quantize", "int8", "--keep-float", "nothing*")
    assert wrong.exit_code == 2
    assert "no layer matches 'nothing*'; the layers are the_gru" in wrong.stderr


def test_what_could_still_be_said_is_hinted_at(invoke: Invoke, models_dir: Path, tmp_path: Path) -> None:
    result = invoke("convert", models_dir / "silero_vad_16k_op15.onnx", "-o", tmp_path / "out.rnnrt")
    assert result.exit_code == 3
    assert "hint: 'sr' is one" in result.stderr
    assert "--set sr=" in result.stderr
    assert "--shape input=N,N, each N a number, T (time) or B (batch)" in result.stderr
    assert "--shape state" not in result.stderr
    assert "If '" not in result.stderr, "branches whose condition could not be computed are no reason"
    assert "LSTM '/model/decoder/rnn/LSTM': with 67 time steps and batch 2: X has shape (1, 1, 2" in result.stderr


def test_a_model_that_lacks_nothing_but_an_operator_has_no_command_to_copy(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("convert", gru_onnx(tmp_path / "odd.onnx", bad=["Sinh"]), "-o", tmp_path / "out.rnnrt")
    assert result.exit_code == 3
    assert "all of it at once" not in result.stderr


def test_an_unknown_input_is_all_that_is_told(invoke: Invoke, tmp_path: Path, source: Path) -> None:
    result = invoke("convert", source, "-o", tmp_path / "out.rnnrt", "--set", "sr=16000")
    assert result.exit_code == 2
    first, problem = result.stderr.splitlines()
    assert first == "error: these options do not fit the model: 1 problem"
    assert problem == "  input 'sr': the model has no such input; it has ['x']"


@pytest.mark.parametrize(
    ("name", "options", "cause"),
    [
        ("silero_vad.onnx", ["sr=44100", "input=1,576"], "LSTM: X has shape (1, 1, 1, 128, 2)"),
        ("silero_vad.onnx", ["sr=16000", "input=1,2000"], "LSTM: X has shape (1, 1, 1, 128, 4)"),
        ("silero_vad_op18_ifless.onnx", ["sr=16000", "input=1,64"], "Gather: data has shape (1, 128, 0): along axis 2"),
    ],
)
def test_sizes_that_do_not_fit_are_told_with_their_cause(
    invoke: Invoke, models_dir: Path, tmp_path: Path, name: str, options: Sequence[str], cause: str
) -> None:
    given = ["--set", options[0], "--shape", options[1]]
    result = invoke("convert", models_dir / name, "-o", tmp_path / "out.rnnrt", *given)
    assert result.exit_code == 3
    first, problem, hint = result.stderr.splitlines()
    assert first.endswith("1 problem")
    operator, _, reason = cause.partition(": ")
    assert problem.startswith(f"  {operator} '")
    assert reason in problem
    assert hint == f"  hint: the model can't compute with --shape {options[1]}: another size may fit"


def test_sizes_that_are_missing_are_asked_for(invoke: Invoke, models_dir: Path, tmp_path: Path) -> None:
    source = models_dir / "silero_vad_op18_ifless.onnx"
    result = invoke("convert", source, "-o", tmp_path / "out.rnnrt", "--set", "sr=16000")
    assert "with 67 time steps and batch 2: data has shape (2, 128, 0): along axis 2" in result.stderr
    assert result.stderr.splitlines()[-1].endswith("--set sr=16000 --shape input=1,N")


def test_an_input_that_decides_which_branch_is_taken_is_named(invoke: Invoke, models_dir: Path, tmp_path: Path) -> None:
    source, target = models_dir / "silero_vad.onnx", tmp_path / "out.rnnrt"
    result = invoke("convert", source, "-o", target)
    assert result.exit_code == 3
    first, problem, behind, *hints, command = result.stderr.splitlines()
    assert first == "error: this model can't be converted: 2 problems"
    assert problem.endswith("cond: which branch is taken depends on input 'sr'")
    assert "with 67 time steps" in behind
    assert "hint: 'sr' selects a variant: fix it with --set sr=16000, or what else it can be" in hints[0]
    assert "say so with --shape input=N,N" in hints[1]
    told, _, words = command.partition("): ")
    assert told == "  all of it at once (N: how many numbers one step takes"
    program, *arguments = shlex.split(words.replace("N", "576"))
    assert program == "rnnrt"
    assert arguments == ["convert", str(source), "-o", str(target), "--set", "sr=16000", "--shape", "input=1,576"]
    assert invoke(*arguments).exit_code == 0
    found = document(invoke("convert", source, "-o", tmp_path / "other.rnnrt", "--json"), "convert")["error"]
    assert found["command"].endswith("--set sr=16000 --shape input=1,N")
    assert len(found["problems"]) == len(found["hints"]) == 2
    # what was told is in the file
    verified = invoke("verify", target, "--against", source)
    assert verified.exit_code == 0, verified.output
    assert "as it was converted: --set sr=16000 --shape input=1,576" in verified.stderr
    assert invoke("bench", target, "--against", source, "--seconds", "0.01").exit_code == 0
    other = invoke("verify", target, "--against", source, "--set", "sr=8000", "--shape", "input=1,288")
    assert other.exit_code == 2
    assert "inputs of out.rnnrt are input [1, 576], the original's are input [1, 288]" in other.stderr


def test_unsupported_models_end_with_3_and_all_problems(invoke: Invoke, tmp_path: Path) -> None:
    source = gru_onnx(tmp_path / "odd.onnx", bad=["Sinh", "Acosh"])
    target = tmp_path / "out.rnnrt"
    result = invoke("convert", source, "-o", target)
    assert result.exit_code == 3, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert any("Sinh" in line and "bad_0" in line for line in lines[1:])
    assert any("Acosh" in line and "bad_1" in line for line in lines[1:])
    found = document(invoke("convert", source, "-o", target, "--json"), "convert")
    assert found["exit_code"] == 3
    problems = {(p["op"], p["node"]) for p in found["error"]["problems"]}
    assert {("Sinh", "bad_0"), ("Acosh", "bad_1")} <= problems
    assert all(p["reason"] for p in found["error"]["problems"])
    assert not target.exists()


def test_a_failed_verification_ends_with_1_and_leaves_nothing(
    invoke: Invoke, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rnnrt.converters import convert as converter

    honest = converter.build

    def wrong(source: Any, graph: Any, *rest: Any) -> Any:
        graph.constants["R"] = graph.constants["R"] * np.float32(1.05)
        made = honest(source, graph, *rest)
        graph.constants["R"] = graph.constants["R"] / np.float32(1.05)
        return made

    target = tmp_path / "sub" / "out.rnnrt"
    target.parent.mkdir()
    monkeypatch.setattr(converter, "build", wrong)
    result = invoke("convert", source, "-o", target)
    assert result.exit_code == 1, result.output
    assert "failed" in result.stdout
    assert "was not written" in result.stderr
    found = document(invoke("convert", source, "-o", target, "--json"), "convert")
    assert found["ok"] is False
    assert found["output"] is None
    assert found["verification"]["failed"]
    assert list(target.parent.iterdir()) == []


def test_verify_finds_a_file_of_other_weights(invoke: Invoke, tmp_path: Path, source: Path) -> None:
    target = tmp_path / "out.rnnrt"
    assert invoke("convert", source, "-o", target).exit_code == 0
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        if tensor.name == "R":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.05), "R"))
    onnx.save(model, source)
    result = invoke("verify", target, "--against", source)
    assert result.exit_code == 1, result.output
    assert "verification failed" in result.stderr
    assert document(invoke("verify", target, "--against", source, "--json"), "verify")["ok"] is False
    stranger = gru_onnx(tmp_path / "stranger.onnx", features=4)
    assert invoke("verify", target, "--against", stranger).exit_code == 2


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "folder"])
def test_convert_of_what_is_no_model_ends_with_4(invoke: Invoke, tmp_path: Path, kind: str) -> None:
    source, target = tmp_path / "bad.onnx", tmp_path / "out.rnnrt"
    if kind == "folder":
        source.mkdir()
    elif kind != "missing":
        source.write_bytes({"empty": b"", "text": b"this is no protobuf" * 9}[kind])
    result = invoke("convert", source, "-o", target)
    assert result.exit_code == 4, result.output
    assert not target.exists()


def test_convert_into_a_folder_that_is_not_there_ends_with_4(invoke: Invoke, tmp_path: Path, source: Path) -> None:
    result = invoke("convert", source, "-o", tmp_path / "none" / "out.rnnrt")
    assert result.exit_code == 4
    assert f"{tmp_path / 'none'}: there is no such folder to write to" in result.stderr
    result = invoke("convert", source, "-o", tmp_path)
    assert result.exit_code == 4
    assert result.stderr == f"error: {tmp_path}: is a folder, expected the name of a file\n"


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--shape", "nope=1,T,5", "the model has no such input; it has ['x']"),
        ("--shape", "x=1,T", "but it has 3 dimensions"),
        ("--shape", "x=T,1,6", "the model says"),
        ("--set", "nope=3", "the model has no such input; it has ['x']"),
        ("--state", "nope:y1", "no such input; there are ['x']"),
        ("--state", "x:nope", "no such output; there are"),
    ],
)
def test_options_that_do_not_fit_the_model_are_usage_errors(
    invoke: Invoke, tmp_path: Path, source: Path, option: str, value: str, reason: str
) -> None:
    result = invoke("convert", source, "-o", tmp_path / "out.rnnrt", option, value, "--json")
    assert result.exit_code == 2
    assert "these options do not fit the model: 1 problem" in result.stderr
    found = document(result, "convert")
    assert found["exit_code"] == 2
    assert reason in found["error"]["problems"][0]["reason"]
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--set", "sr"),
        ("--set", "sr=fast"),
        ("--shape", "x=1,Z,5"),
        ("--shape", "x=1,-2,5"),
        ("--state", "h"),
        ("--state", "a:b:c"),
        ("--batch", "0"),
        ("--quantize", "int3"),
    ],
)
def test_options_of_convert_that_make_no_sense(
    invoke: Invoke, tmp_path: Path, source: Path, option: str, value: str
) -> None:
    result = invoke("convert", source, "-o", tmp_path / "out.rnnrt", option, value)
    assert result.exit_code == 2, result.output
    assert value in result.stderr


def test_convert_verifies_with_the_data_given(invoke: Invoke, tmp_path: Path, source: Path) -> None:
    data, target = tmp_path / "x.npy", tmp_path / "out.rnnrt"
    np.save(data, models.signal((33, 1, 5)))
    found = document(invoke("convert", source, "-o", target, "--data", data, "--json"), "convert")
    assert found["verification"]["frames"] == 33
    assert found["verification"]["inputs"] == "given"
    data.write_bytes(b"no numbers")
    assert invoke("convert", source, "-o", target, "--data", data).exit_code == 4
    np.save(data, models.signal((33, 1, 4)))
    assert invoke("convert", source, "-o", target, "--data", data).exit_code == 2


def test_fixed_batch_and_shape(invoke: Invoke, tmp_path: Path, source: Path) -> None:
    target = tmp_path / "out.rnnrt"
    assert invoke("convert", source, "-o", target, "--batch", "3").exit_code == 0
    assert rnnrt.load(target).inputs[0].shape == ("T", 3, 5)
    assert invoke("convert", source, "-o", target, "--shape", "x=T,2,5").exit_code == 0
    assert rnnrt.load(target).inputs[0].shape == ("T", 2, 5)


# ---- inspect ----


def test_inspect_tells_what_is_in_a_file(invoke: Invoke, file: Path) -> None:
    found = document(invoke("inspect", file, "--json"), "inspect")
    model = rnnrt.load(file)
    assert found["inputs"] == [{"name": "x", "shape": ["T", "B", 5], "dtype": "float32"}]
    assert found["outputs"] == [{"name": "y", "shape": ["T", 1, "B", 7], "dtype": "float32"}]
    assert [s["shape"] for s in found["states"]] == [[1, "B", 7]]
    assert [s["bytes"] for s in found["states"]] == [7 * 4]
    assert found["operators"] == {"GRU": 1}
    (layer,) = found["layers"]
    assert (layer["op"], layer["precision"], layer["weights"]) == ("GRU", "int8", [[48, 5], [48, 7]])
    assert layer["bytes"] == 48 * (8 + 8) * 2  # 3 gates of 7 units padded to 16; columns padded to 8; scale, sum
    assert found["bytes"]["file"] == file.stat().st_size
    assert found["bytes"]["state"] == 7 * 4
    with model.stream() as stream:
        assert found["bytes"]["arena"] == stream.arena
    assert found["streamable"] is True
    assert (found["format_version"], found["checksum_ok"]) == (1, True)
    text = invoke("inspect", file).stdout
    for word in ("[T, B, 5]", "GRU", "int8", "streamable  yes", "format version 1"):
        assert word in text


def test_inspect_names_what_prevents_streaming(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "both.rnnrt"
    path.write_bytes(models.bidirectional())
    text = invoke("inspect", path).stdout
    assert "LSTM 'lstm_y' is bidirectional" in text
    found = document(invoke("inspect", path, "--json"), "inspect")
    assert found["streamable"] is False
    assert found["not_streamable_because"] == "LSTM 'lstm_y' is bidirectional"
    assert found["bytes"]["arena"] is None


def test_inspect_shows_what_would_become_of_an_onnx_model(invoke: Invoke, tmp_path: Path, source: Path) -> None:
    before = sorted(tmp_path.iterdir())
    found = document(invoke("inspect", source, "--json"), "inspect")
    assert (found["kind"], found["opset"]) == ("onnx", 17)
    assert found["inputs"][0]["shape"] == ["T", "B", 5]
    assert len(found["states"]) == 1
    assert found["states"][0]["source"].startswith("zero initial_h of GRU")
    assert "initial_h" in invoke("inspect", source).stdout
    assert sorted(tmp_path.iterdir()) == before
    assert invoke("inspect", gru_onnx(tmp_path / "odd.onnx", bad=["Sinh"])).exit_code == 3


# ---- run ----


@pytest.mark.parametrize("streaming", [False, True])
def test_run_computes_what_the_library_does(invoke: Invoke, tmp_path: Path, file: Path, streaming: bool) -> None:
    x = models.signal((20, 1, 5))
    np.save(tmp_path / "x.npy", x)
    arguments = ["run", file, "--input", tmp_path / "x.npy", "-o", tmp_path / "y.npy"]
    result = invoke(*arguments, *(["--stream"] if streaming else []))
    assert result.exit_code == 0, result.output
    assert "[20, 1, 1, 7]" in result.stdout
    assert np.load(tmp_path / "y.npy").tobytes() == np.asarray(rnnrt.load(file)(x)).tobytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.rnnrt", "x.npy", "y.npy"]


def test_run_with_several_inputs_and_outputs_uses_names(invoke: Invoke, tmp_path: Path) -> None:
    path, x, y = tmp_path / "two.rnnrt", tmp_path / "x.npz", tmp_path / "y.npz"
    path.write_bytes(models.two())
    feeds = {"a": models.signal((9, 1, 4), 1), "b": models.signal((9, 1, 4), 2)}
    np.savez(x, **feeds)
    found = document(invoke("run", path, "--input", x, "-o", y, "--json"), "run")
    assert found["outputs"] == {"sum": [9, 1, 4], "y": [9, 1, 1, 6]}
    expected = rnnrt.load(path)(feeds)
    assert isinstance(expected, dict)
    with np.load(y) as written:
        assert written["sum"].tobytes() == expected["sum"].tobytes()
        assert written["y"].tobytes() == expected["y"].tobytes()
    assert invoke("run", path, "--input", x, "-o", tmp_path / "y.npy").exit_code == 2
    np.save(tmp_path / "x.npy", feeds["a"])
    assert invoke("run", path, "--input", tmp_path / "x.npy", "-o", y).exit_code == 2


def test_run_cuts_a_wav_into_frames(invoke: Invoke, tmp_path: Path, file: Path) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 5 * 12 + 3).astype("<i2")
    with wave.open(str(tmp_path / "x.wav"), "wb") as sound:
        sound.setparams((1, 2, 16000, 0, "NONE", ""))
        sound.writeframes(samples.tobytes())
    result = invoke("run", file, "--input", tmp_path / "x.wav", "-o", tmp_path / "y.npy", "--stream")
    assert result.exit_code == 0, result.output
    assert "12 frames of 5 samples, 3 left over" in result.stderr
    x = samples[:60].astype(np.float32).reshape(12, 1, 5) / np.float32(32768)
    assert np.load(tmp_path / "y.npy").tobytes() == np.asarray(rnnrt.load(file)(x)).tobytes()


def test_run_says_which_shape_was_expected(invoke: Invoke, tmp_path: Path, file: Path) -> None:
    np.save(tmp_path / "x.npy", models.signal((20, 1, 6)))
    result = invoke("run", file, "--input", tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    assert result.exit_code == 2
    assert "[T, B, 5]" in result.stderr
    assert not (tmp_path / "y.npy").exists()
    np.save(tmp_path / "x.npy", np.array([object()]), allow_pickle=True)
    assert invoke("run", file, "--input", tmp_path / "x.npy", "-o", tmp_path / "y.npy").exit_code == 4


def test_run_refuses_to_stream_what_looks_ahead(invoke: Invoke, tmp_path: Path) -> None:
    path, x, y = tmp_path / "both.rnnrt", tmp_path / "x.npy", tmp_path / "y.npy"
    path.write_bytes(models.bidirectional())
    np.save(x, models.signal((8, 1, 5)))
    assert invoke("run", path, "--input", x, "-o", y).exit_code == 0
    result = invoke("run", path, "--input", x, "-o", y, "--stream")
    assert result.exit_code == 3
    assert "bidirectional" in result.stderr


# ---- bench, doctor ----


def test_bench_times_a_model_beside_onnxruntime(invoke: Invoke, tmp_path: Path, source: Path) -> None:
    target = tmp_path / "out.rnnrt"
    assert invoke("convert", source, "-o", target).exit_code == 0
    found = document(invoke("bench", target, "--against", source, "--seconds", "0.05", "--json"), "bench")
    names = [t["name"] for t in found["timings"]]
    assert names == ["rnnrt step", "onnxruntime run", "onnxruntime IO binding"]
    assert all(0 < t["min_us"] <= t["p50_us"] <= t["p99_us"] for t in found["timings"])
    assert found["timings"][0]["ratio"] == 1
    assert found["max_scaled_error"] <= 1e-5
    assert any("starts every timed step from zeros" in note for note in found["notes"])
    checkpoint = tmp_path / "model.pt"
    checkpoint.write_bytes(b"")
    refused = invoke("bench", target, "--against", checkpoint)
    assert refused.exit_code == 2
    assert "expected an .onnx model" in refused.stderr
    text = invoke("bench", target, "--seconds", "0.02")
    assert text.exit_code == 0
    assert "rnnrt step" in text.stdout
    assert "onnxruntime" not in text.stdout


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_bench_compares_cells_and_draws(invoke: Invoke, tmp_path: Path, suffix: str) -> None:
    picture = tmp_path / f"cells.{suffix}"
    arguments = ["bench", "--compare", "gru", "lstm", "--hidden", "16,24", "--seconds", "0.02", "--plot", picture]
    found = document(invoke(*arguments, "--json"), "bench")
    assert found["theory"] == 0.75
    assert [row["hidden"] for row in found["rows"]] == [16, 24]
    for row in found["rows"]:
        gru, lstm = row["cells"]
        assert row["parameter_ratio"] == 0.75
        assert gru["parameters"] == 3 * row["hidden"] * (2 * row["hidden"] + 2)
        assert (gru["state_floats"], lstm["state_floats"]) == (row["hidden"], 2 * row["hidden"])
        assert gru["file_bytes"] < lstm["file_bytes"]
        assert row["time_ratio"] > 0
    head = picture.read_bytes()[:200]
    assert head.startswith(b"\x89PNG") if suffix == "png" else b"<svg" in picture.read_bytes()[:2000]
    text = invoke(*arguments)
    assert "GRU/LSTM time" in text.stdout
    assert "3/4 = 0.75" in text.stdout


def test_doctor_finds_this_machine_well(invoke: Invoke) -> None:
    found = document(invoke("doctor", "--json"), "doctor")
    assert found["ok"] is True
    assert found["isas"] == rnnrt.isas()
    assert len(found["self_check"]) == 12  # three cells in four precisions
    assert all(check["equal"] for check in found["self_check"])
    assert {"GRU", "LSTM", "Gemm", "Conv"} <= set(found["operators"])
    assert "the same bits on every instruction set" in invoke("doctor").stdout


def test_doctor_sees_an_instruction_set_that_computes_something_else(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong:
        """A model whose last output is off by a bit or a few."""

        isa = "wrong"

        def __init__(self, model: rnnrt.Model) -> None:
            self.model = model

        def __call__(self, x: Any) -> Any:
            y = np.array(self.model(x))
            y.reshape(-1)[-1] += np.float32(1e-7)
            return y

    honest = rnnrt.load
    monkeypatch.setattr(rnnrt, "isas", lambda: ["wrong", "scalar"])
    monkeypatch.setattr(rnnrt, "load", lambda b, isa=None: Wrong(honest(b)) if isa == "wrong" else honest(b, isa))
    result = invoke("doctor", "--json")
    assert result.exit_code == 1
    found = document(result, "doctor")
    assert found["ok"] is False
    assert all(check["differing"] == ["wrong"] for check in found["self_check"])


def test_doctor_says_when_the_environment_asks_for_what_is_not_there() -> None:
    done = in_process_of_its_own("doctor", RNNRT_ISA="abacus")
    assert done.returncode == 1
    assert "abacus" in done.stdout
    forced = in_process_of_its_own("doctor", "--json", RNNRT_ISA="scalar")
    assert document(forced, "doctor")["isa_chosen"] == "scalar"
