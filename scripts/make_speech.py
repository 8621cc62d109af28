"""Makes examples/speech_clean.wav and examples/speech.wav (the same with noise): 16 kHz, mono, 16 bits, seeded.

The speech is synthesized by Debian's espeak-ng; the noise is a low rumble, a mains hum and broadband hiss, all from one
seeded generator. Run it only to change the samples; the files are committed.

    python scripts/make_speech.py [FOLDER]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples"))

from audio import read_wav, resample, write_wav  # noqa: E402

RATE = 16000
SEED = 20
SNR_DB = 6.0
# (espeak-ng voice, words a minute, seconds of pause before it, sentence)
SENTENCES = (
    ("en-gb", 165, 0.55, "A small network can clean a voice, one frame at a time."),
    ("en-us+f3", 175, 0.50, "It keeps what it has heard in its state."),
    ("en-gb+m4", 160, 0.65, "Every processor gives the same bits."),
)
TAIL_SECONDS = 0.6


def sentence(voice: str, words_per_minute: int, text: str) -> npt.NDArray[np.float32]:
    """One spoken sentence at 16 kHz, trimmed of silence, peak 0.5."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.wav"
        command = ["espeak-ng", "-v", voice, "-s", str(words_per_minute), "-w", str(path), text]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        samples, rate = read_wav(path)
    samples = resample(samples, rate, RATE)
    loud = np.flatnonzero(np.abs(samples) > 1e-3)
    samples = samples[loud[0] : loud[-1] + 1]
    return np.asarray(samples * (0.5 / np.abs(samples).max()), np.float32)


def noise(n: int) -> npt.NDArray[np.float64]:
    """Noise [n] of power 1: spectrum falling with frequency, hum at 50, 100 and 150 Hz, slowly changing in level."""
    rng = np.random.default_rng(SEED)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    f = np.fft.rfftfreq(n, 1 / RATE)
    coloured = np.fft.irfft(spectrum * (1 / np.sqrt(1 + (f / 300) ** 2) + 0.15), n)
    coloured /= np.sqrt(np.mean(coloured**2))
    t = np.arange(n) / RATE
    hum = np.zeros(n)
    for hertz, level in ((50, 0.3), (100, 0.2), (150, 0.15)):
        hum += level * np.sin(2 * np.pi * hertz * t + rng.uniform(0, 2 * np.pi))
    swell = 1 + 0.3 * np.sin(2 * np.pi * 0.21 * t + rng.uniform(0, 2 * np.pi))
    both = (coloured + hum) * swell
    return np.asarray(both / np.sqrt(np.mean(both**2)), dtype=np.float64)


def main() -> None:
    """Write both files."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "examples"
    parts: list[npt.NDArray[np.float32]] = []
    for voice, speed, pause, text in SENTENCES:
        parts += [np.zeros(round(pause * RATE), np.float32), sentence(voice, speed, text)]
    clean = np.concatenate([*parts, np.zeros(round(TAIL_SECONDS * RATE), np.float32)]).astype(np.float64)
    power = np.mean(clean**2)
    noisy = clean + noise(clean.size) * np.sqrt(power / 10 ** (SNR_DB / 10))
    gain = min(1.0, 0.9 / np.abs(noisy).max())
    write_wav(folder / "speech_clean.wav", clean * gain, RATE)
    write_wav(folder / "speech.wav", noisy * gain, RATE)
    print(f"{folder}: {clean.size / RATE:.2f} s, SNR {SNR_DB:.1f} dB, seed {SEED}")


if __name__ == "__main__":
    main()
