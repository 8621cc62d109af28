"""Cleans speech with NSNet2, one 10 ms frame at a time, as it would run on a live signal.

    python examples/denoise.py nsnet2.rnnrt noisy.wav clean.wav

The network sees 161 log-power bins of each frame and answers with a gain for each bin. Around it stands a short-time
Fourier transform written so that 160 samples go in and 160 come out, 160 samples (10 ms) late.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

import audio
import rnnrt

RATE = 16000
WINDOW, HOP = 320, 160  # 20 ms and 10 ms
BINS = WINDOW // 2 + 1
DELAY = WINDOW - HOP  # samples that the output comes after the input
POWER_FLOOR = 1e-12
GAIN_FLOOR = 10 ** (-80 / 20)

Samples = npt.NDArray[np.float32]


def window() -> npt.NDArray[np.float64]:
    """Square root of a periodic Hann window [WINDOW]: its square and the same one hop later add up to exactly 1."""
    return np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW))


def log_power(spectrum: npt.NDArray[np.complex128]) -> Samples:
    """What NSNet2 is fed: log10 of the power [..., BINS] of a spectrum, with a floor."""
    power = spectrum.real**2 + spectrum.imag**2
    return np.log10(np.maximum(power, POWER_FLOOR)).astype(np.float32)


def spectra(samples: npt.ArrayLike) -> npt.NDArray[np.complex128]:
    """The spectrum [frames, BINS] of every frame of a whole signal, exactly as `Denoiser` sees them one by one."""
    x = np.asarray(samples, dtype=np.float64)
    frames = -(-x.size // HOP)
    x = np.concatenate([np.zeros(WINDOW - HOP), x, np.zeros(frames * HOP - x.size)])
    return np.fft.rfft(np.lib.stride_tricks.sliding_window_view(x, WINDOW)[::HOP] * window(), axis=-1)


def features(samples: npt.ArrayLike) -> Samples:
    """NSNet2's input [1, frames, BINS] for a whole signal."""
    return log_power(spectra(samples))[None]


class Denoiser:
    """One live signal: `push` takes the next HOP samples and returns HOP cleaned ones, DELAY samples late."""

    def __init__(self, model: rnnrt.Model) -> None:
        self._stream = model.stream()
        self._window = window()
        self._recent = np.zeros(WINDOW)  # the last WINDOW input samples
        self._tail = np.zeros(WINDOW - HOP)  # of earlier frames, still to be added
        self._gain = np.empty(BINS, np.float32)

    def push(self, samples: npt.ArrayLike) -> Samples:
        """Take [HOP] samples in [-1, 1), return [HOP] cleaned ones."""
        self._recent[:-HOP] = self._recent[HOP:]
        self._recent[-HOP:] = samples
        spectrum = np.fft.rfft(self._recent * self._window)
        self._stream.step(log_power(spectrum), out=self._gain)
        clean = np.fft.irfft(spectrum * np.clip(self._gain, GAIN_FLOOR, 1.0)) * self._window
        out = clean[:HOP] + self._tail
        self._tail = clean[HOP:]
        return out.astype(np.float32)

    def reset(self) -> None:
        """Forget everything heard so far."""
        self._stream.reset()
        self._recent[:] = 0
        self._tail[:] = 0


def frames(samples: Samples) -> Iterator[Samples]:
    """Cut a signal into frames of HOP samples, the last one filled up with zeros."""
    for start in range(0, samples.size, HOP):
        part = samples[start : start + HOP]
        yield np.pad(part, (0, HOP - part.size))


def denoise(model: rnnrt.Model, samples: Samples) -> Samples:
    """Clean a whole signal [n] frame by frame; returns [n], the delay taken out."""
    denoiser = Denoiser(model)
    flush = np.zeros(DELAY, np.float32)  # pushes out what is still inside
    cleaned = np.concatenate([denoiser.push(frame) for frame in frames(np.concatenate([samples, flush]))])
    return cleaned[DELAY : DELAY + samples.size]


def si_snr(clean: npt.ArrayLike, heard: npt.ArrayLike) -> float:
    """Scale-invariant signal-to-noise ratio in dB of a signal [n] against the clean one [n], both at the same time.

    The clean signal times the factor that fits best is the signal, the rest is noise; so turning everything down wins
    nothing.
    """
    target, x = np.asarray(clean, np.float64), np.asarray(heard, np.float64)
    target = target * (np.dot(x, target) / np.dot(target, target))
    return float(10 * np.log10(np.sum(target**2) / np.sum((x - target) ** 2)))


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("MODEL.rnnrt", "NOISY.wav", "CLEAN.wav"):
        parser.add_argument(name)
    model, noisy, clean = vars(parser.parse_args()).values()
    samples, rate = audio.read_wav(noisy)
    audio.write_wav(clean, denoise(rnnrt.load(model), audio.resample(samples, rate, RATE)), RATE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
