"""The timing engine and what stands around it. No time is asserted, only what is counted, ordered and compared."""

from __future__ import annotations

import gc
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import models
import rnnrt
from rnnrt import bench, plot
from rnnrt.bench import Timing, bench_model, interleave
from rnnrt.cli.cells import build_cell
from rnnrt.compare import CellResult, Comparison, Row, compare, parameters
from rnnrt.contenders import OrtBound, OrtModel, OrtRun, StreamContender, largest_error, seeded_feeds


class Scripted:
    """A contender whose steps take what a list says; remembers when it was asked."""

    def __init__(self, name: str, nanoseconds: int, diary: list[str]) -> None:
        self.name, self.nanoseconds, self.diary = name, nanoseconds, diary

    def slice(self, steps: int) -> list[int]:
        """Nothing happens."""
        assert not gc.isenabled() or self.diary.count(self.name) < 3, "collected garbage while timing"
        self.diary.append(self.name)
        return [self.nanoseconds] * steps


def test_contenders_take_turns() -> None:
    diary: list[str] = []
    contenders = [Scripted(name, 10_000, diary) for name in "ABC"]
    done: list[float] = []
    timings = interleave(contenders, seconds=0.05, slice_seconds=0.01, on_round=done.append)
    assert "".join(diary[-15:]) == "ABC" * 5
    assert [t.name for t in timings] == ["A", "B", "C"]
    assert done == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert len({t.steps for t in timings}) == 1
    assert gc.isenabled()


def test_percentiles_are_those_of_all_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "clock_cost_ns", lambda: 100.0)

    class Ramp:
        name = "ramp"

        def slice(self, steps: int) -> list[int]:
            return [1100 + 1000 * (i % 100) for i in range(steps)]

    monkeypatch.setattr(bench, "_steps_for", lambda contender, seconds: 100)
    (timing,) = interleave([Ramp()], seconds=0.1, slice_seconds=0.01)
    assert timing == Timing("ramp", 50.5, *(pytest.approx(v) for v in (90.1, 99.01)), 1.0, 1000)


def test_the_garbage_collector_is_on_again_after_an_error() -> None:
    class Broken:
        name = "broken"

        def slice(self, steps: int) -> list[int]:
            if not gc.isenabled():
                raise RuntimeError("while timing")
            return [1000] * steps

    with pytest.raises(RuntimeError, match="while timing"):
        interleave([Broken()], seconds=0.01)
    assert gc.isenabled()


@pytest.mark.parametrize(("count", "seconds", "slice_seconds"), [(0, 1.0, 0.1), (1, 0.0, 0.1), (1, 1.0, -1.0)])
def test_nothing_to_time(count: int, seconds: float, slice_seconds: float) -> None:
    with pytest.raises(ValueError, match=r"empty|must be > 0"):
        interleave([Scripted("A", 1, [])] * count, seconds, slice_seconds)


@pytest.mark.parametrize("name", sorted(models.STREAMABLE))
def test_a_stream_contender_computes_what_a_stream_does(name: str) -> None:
    model = rnnrt.load(models.streamable(name))
    feeds = seeded_feeds(model, count=5, seed=2)
    contender = StreamContender("x", model, feeds)
    times = contender.slice(7)
    assert len(times) == 7
    assert min(times) > 0
    stream = model.stream()
    for feed, got in zip(feeds, contender.outputs(), strict=True):
        frames = {
            i.name: np.squeeze(feed[i.name], i.shape.index("T")) if "T" in i.shape else feed[i.name]
            for i in model.inputs
        }
        expected = stream.step(frames)
        named = expected if isinstance(expected, dict) else {model.outputs[0].name: expected}
        for output, array in named.items():
            assert got[output].tobytes() == array.tobytes()


@pytest.fixture(scope="module")
def silero(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[rnnrt.Model, OrtModel]:
    """Silero VAD, whose state is explicit, as f32 and in onnxruntime."""
    from rnnrt.converters.convert import convert

    source, path = models_dir / "silero_vad_16k_sequence.onnx", tmp_path_factory.mktemp("silero") / "x.rnnrt"
    convert(source, path, verify=False)
    model = rnnrt.load(path)
    return model, OrtModel.open(source, seeded_feeds(model, 1)[0], [("h", "hn"), ("c", "cn")])


def test_onnxruntime_is_given_the_states(silero: tuple[rnnrt.Model, OrtModel]) -> None:
    """Both onnxruntime contenders must do the real work: outputs of consecutive steps are those of the model."""
    model, other = silero
    feeds = seeded_feeds(model, count=9, seed=4)
    by_run = [y["speech_probs"].item() for y in OrtRun(other, feeds).outputs()]
    ours = [y["speech_probs"].item() for y in StreamContender("x", model, feeds).outputs()]
    np.testing.assert_allclose(ours, by_run, rtol=0, atol=1e-5)
    assert len(set(by_run)) == len(by_run)
    bound = OrtBound(other, feeds)
    assert len(bound.slice(len(feeds))) == len(feeds)
    assert bound.last_outputs()["speech_probs"].item() == pytest.approx(by_run[-1], abs=1e-6)
    assert (largest_error(model, other, feeds) or 1.0) <= 1e-5


def test_one_report_holds_it_all(silero: tuple[rnnrt.Model, OrtModel]) -> None:
    model, other = silero
    report = bench_model(model, other, seconds=0.1)
    plain = report.to_dict()
    assert [t["name"] for t in plain["timings"]] == ["rnnrt step", OrtRun.name, OrtBound.name]
    assert plain["isa"] == model.isa
    assert plain["max_scaled_error"] <= 1e-5
    assert not [note for note in plain["notes"] if "zeros" in note]
    assert set(plain["versions"]) == {"rnnrt", "numpy", "onnxruntime"}


def test_what_onnxruntime_needs_and_is_not_given_is_said(models_dir: Path) -> None:
    feed = {"input": np.zeros((1, 576), np.float32)}
    with pytest.raises(ValueError, match=r"'sr'.*'state'"):
        OrtModel.open(models_dir / "silero_vad_16k_op15.onnx", feed, [])


def test_a_model_that_looks_ahead_can_not_be_stepped() -> None:
    with pytest.raises(rnnrt.UnsupportedError, match="bidirectional"):
        bench_model(rnnrt.load(models.bidirectional()), seconds=0.01)


# ---- cells ----


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("quantize", [None, "int8"])
def test_cells_are_what_they_say(cell: str, quantize: str | None) -> None:
    content = build_cell(cell, 6, 20, quantize, 1)
    assert content == build_cell(cell, 6, 20, quantize, 1)
    assert content != build_cell(cell, 6, 20, quantize, 2)
    model = rnnrt.load(content)
    assert model.inputs[0].shape == ("T", "B", 6)
    assert model.outputs[0].shape == ("T", "B", 20)
    assert [s.name for s in model.states] == ["h", "c"][: 2 if cell == "lstm" else 1]
    x = models.signal((4, 1, 6))
    f32 = np.asarray(rnnrt.load(build_cell(cell, 6, 20, None, 1))(x))
    np.testing.assert_allclose(np.asarray(model(x)), f32, atol=0.0 if quantize is None else 0.03)
    assert np.ptp(f32) > 0.1


def test_parameters_are_torch_s() -> None:
    torch = pytest.importorskip("torch")
    for cell, module in (("rnn", torch.nn.RNN), ("gru", torch.nn.GRU), ("lstm", torch.nn.LSTM)):
        assert parameters(cell, 5, 8) == sum(p.numel() for p in module(5, 8).parameters())


@pytest.mark.parametrize(
    ("cells", "hidden", "input_size"),
    [
        (("gru", "gru"), [8], None),
        (("gru", "mgu"), [8], None),
        (("gru", "lstm"), [], None),
        (("gru", "lstm"), [8, 0], 3),
    ],
)
def test_what_can_not_be_compared(cells: tuple[str, str], hidden: list[int], input_size: int | None) -> None:
    with pytest.raises(ValueError, match=r"cells must|hidden sizes must"):
        compare(build_cell, cells, hidden, input_size=input_size)


def made_up(hidden: tuple[int, ...]) -> Comparison:
    """A comparison with invented times."""
    rows = []
    for size in hidden:
        cells = [
            CellResult(cell, parameters(cell, size, size), n * size, 1000, Timing(cell, us, us, 1.3 * us, us, 10))
            for cell, n, us in (("gru", 1, size * 0.03), ("lstm", 2, size * 0.04))
        ]
        rows.append(Row(size, size, (cells[0], cells[1])))
    return Comparison(("gru", "lstm"), "int8", None, tuple(rows), "scalar", "a <CPU> & more", 0.0, 0)


@pytest.mark.parametrize("hidden", [(64,), (32, 64, 512)])
def test_the_picture_shows_every_size_and_both_cells(tmp_path: Path, hidden: tuple[int, ...]) -> None:
    path = tmp_path / "cells.svg"
    plot.draw_comparison(made_up(hidden), path)
    again = tmp_path / "again.svg"
    plot.draw_comparison(made_up(hidden), again)
    assert path.read_bytes() == again.read_bytes()
    root = ElementTree.fromstring(path.read_bytes())
    text = path.read_text(encoding="utf-8")  # matplotlib keeps texts as comments beside their outlines
    assert root.tag.endswith("svg")
    for word in ("GRU", "LSTM", "parameters: 0.75", "a &lt;CPU&gt;", *map(str, hidden)):
        assert word in text, word
    plot.draw_comparison(made_up(hidden), tmp_path / "cells.png")
    assert (tmp_path / "cells.png").stat().st_size > 10_000


def test_a_picture_of_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.png, \.svg"):
        plot.draw_comparison(made_up((8,)), tmp_path / "cells.bmp")
