"""Spell words as phonemes with the network of g2p-en, run by rnnrt: a GRU reads letters, another one says phonemes.

The decoder feeds back what it said: every step takes the index of the last phoneme. A stream is made for that, its
state is the other network's. The weights are a numpy file, and how they are connected is written down below.

    python examples/g2p.py denoiser quantization rnnrt
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rnnrt.converters.convert import convert

import rnnrt

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import fetch_models  # noqa: E402

WEIGHTS = ROOT / "models" / "checkpoint20.npz"
ENCODER: list[Mapping[str, Any]] = [
    {"type": "Embedding", "weight": "enc_emb"},
    {"type": "GRUCell", "weights": "enc"},
]
DECODER: list[Mapping[str, Any]] = [
    {"type": "Embedding", "weight": "dec_emb"},
    {"type": "GRUCell", "weights": "dec"},
    {"type": "Linear", "weights": "fc"},
]
# Order of the rows of the two embeddings.
LETTERS = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]
PHONEMES = [
    "<pad>", "<unk>", "<s>", "</s>", "AA0", "AA1", "AA2", "AE0", "AE1", "AE2", "AH0", "AH1", "AH2", "AO0", "AO1",
    "AO2", "AW0", "AW1", "AW2", "AY0", "AY1", "AY2", "B", "CH", "D", "DH", "EH0", "EH1", "EH2", "ER0", "ER1", "ER2",
    "EY0", "EY1", "EY2", "F", "G", "HH", "IH0", "IH1", "IH2", "IY0", "IY1", "IY2", "JH", "K", "L", "M", "N", "NG",
    "OW0", "OW1", "OW2", "OY0", "OY1", "OY2", "P", "R", "S", "SH", "T", "TH", "UH0", "UH1", "UH2", "UW", "UW0", "UW1",
    "UW2", "V", "W", "Y", "Z", "ZH",
]  # fmt: skip
MAX_PHONEMES = 20
_LETTER = {letter: index for index, letter in enumerate(LETTERS)}


class Speller:
    """Letters to phonemes.

    Parameters
    ----------
    encoder, decoder
        Made by `convert_models`: letter -> 256 units; last phoneme -> score of every phoneme.
    """

    def __init__(self, encoder: rnnrt.Model, decoder: rnnrt.Model) -> None:
        self._encoder, self._decoder = encoder.stream(), decoder.stream()
        (self._encoded,) = (info.name for info in encoder.states)
        (self._decoded,) = (info.name for info in decoder.states)

    def __call__(self, word: str) -> list[str]:
        """Phonemes of one word, at most `MAX_PHONEMES`; letters other than a to z count as unknown."""
        self._encoder.reset()
        for letter in [*word.lower(), "</s>"]:
            self._encoder.step(_index(_LETTER.get(letter, _LETTER["<unk>"])))
        self._decoder.state = {self._decoded: self._encoder.state[self._encoded]}
        said: list[str] = []
        phoneme = PHONEMES.index("<s>")
        while len(said) < MAX_PHONEMES:
            scores = self._decoder.step(_index(phoneme))
            phoneme = int(np.argmax(scores))
            if PHONEMES[phoneme] == "</s>":
                break
            said.append(PHONEMES[phoneme])
        return said


def _index(number: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    """One frame of a network that takes indices: batch 1, time 1."""
    return np.array([[number]], np.int32)


def convert_models(weights: Path, folder: Path, quantize: str | None = None) -> tuple[Path, Path]:
    """Write encoder.rnnrt and decoder.rnnrt, both verified, into a folder; return their paths."""
    paths = folder / "encoder.rnnrt", folder / "decoder.rnnrt"
    for path, layers in zip(paths, (ENCODER, DECODER)):
        convert(weights, path, quantize=quantize, architecture=layers)
    return paths


def main() -> int:
    """Spell the words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD", default=["recurrent", "networks", "spell", "phonemes"])
    words: list[str] = parser.parse_args().words
    try:
        fetch_models.fetch(WEIGHTS.parent)
    except fetch_models.FetchError as error:
        print(f"g2p: {error}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        encoder, decoder = (rnnrt.load(path) for path in convert_models(WEIGHTS, Path(folder)))
        spell = Speller(encoder, decoder)
        for word in words:
            print(f"{word}: {' '.join(spell(re.sub('[^a-z]', '', word.lower())))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
