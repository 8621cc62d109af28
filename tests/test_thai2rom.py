"""thai2rom of pythainlp on Thai words: an encoder that sorts its rows by length, and a decoder with attention."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime
import pytest
from rnnrt.converters.convert import convert

import rnnrt

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Call: TypeAlias = Callable[[dict[str, Array]], list[Array]]

WORDS = ("กรุงเทพ", "ภาษา", "สวัสดี", "เชียงใหม่", "แมว", "ประเทศไทย", "ขอบคุณ", "มหาวิทยาลัย", "นก", "ข้าวผัด")
LONGEST = 40


def romanized(word: str, encoder: Call, decoder: Call, table: dict[str, Any]) -> tuple[str, Array]:
    """Greedy decoding, as pythainlp does it: the Latin text, and the logits [letters, 40]."""
    indices = [table["char_to_ix"].get(c, table["char_to_ix"]["<UNK>"]) for c in (*word, "<end>")]
    ids = np.array([indices], np.int64)
    encoded, h, _ = encoder({"input_tensor": ids, "input_lengths": np.array([ids.size], np.int32)})
    hidden = np.concatenate([h[0], h[1]], axis=1)[None]
    token, logits, text = table["target_char_to_ix"]["<start>"], [], ""
    for _ in range(LONGEST):
        feeds = {"decoder_input": np.array([[token]], np.int32), "decoder_hidden_1": hidden, "encoder_outputs": encoded}
        scores, hidden, _ = decoder(feeds | {"mask": np.ones(ids.shape, np.float32)})
        logits.append(scores[0])
        token = int(scores.argmax())
        if token == table["target_char_to_ix"]["<end>"]:
            break
        text += table["ix_to_target_char"][str(token)]
    return text, np.array(logits)


def by_onnxruntime(path: Path, outputs: int) -> Call:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()][:outputs]
    return lambda feeds: list(session.run(names, feeds))


def by_rnnrt(model: rnnrt.Model) -> Call:
    outputs = [o.name for o in model.outputs]

    def call(feeds: dict[str, Array]) -> list[Array]:
        answer = model({i.name: feeds[i.name].astype(i.dtype) for i in model.inputs})  # int64 is int32 in rnnrt
        assert isinstance(answer, dict)
        return [answer[name] for name in outputs]

    return call


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_words(quantize: str | None, models_dir: Path, tmp_path: Path) -> None:
    table = json.loads((models_dir / "thai2rom_loader_onnx.json").read_text())
    ours, theirs = [], []
    for part, shapes in (("encoder", {}), ("decoder", {"encoder_outputs": (1, "T", 256)})):
        path = models_dir / f"thai2rom_{part}.onnx"
        convert(path, tmp_path / part, quantize=quantize, shapes=shapes)
        ours.append(by_rnnrt(rnnrt.load(tmp_path / part)))
        theirs.append(by_onnxruntime(path, 3))
    for word in WORDS:
        text, logits = romanized(word, ours[0], ours[1], table)
        want, expected = romanized(word, theirs[0], theirs[1], table)
        assert text == want
        assert text.isascii()
        assert len(text) >= 2
        error = np.abs(logits - expected).max() / np.abs(expected).max()
        assert error < (1e-5 if quantize is None else 0.1)
