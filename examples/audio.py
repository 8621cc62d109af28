"""WAV files and resampling with nothing but numpy and the standard library; for the examples, scripts and tests."""

from __future__ import annotations

import math
import os
import wave

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]


def read_wav(path: str | os.PathLike[str]) -> tuple[Samples, int]:
    """Read a 16-bit PCM WAV file.

    Returns
    -------
    samples : float32 [n], in [-1, 1); the mean over the channels
    rate : samples per second

    Raises
    ------
    ValueError
        The file is no 16-bit PCM WAV file.
    """
    try:
        with wave.open(os.fspath(path), "rb") as f:
            width, channels, rate = f.getsampwidth(), f.getnchannels(), f.getframerate()
            raw = f.readframes(f.getnframes())
    except (wave.Error, EOFError) as e:
        raise ValueError(f"{path}: not a PCM WAV file ({e})") from None
    if width != 2:
        raise ValueError(f"{path}: {8 * width} bits a sample, expected 16")
    pcm = np.frombuffer(raw, dtype="<i2").reshape(-1, channels)
    return (pcm.astype(np.float32) / np.float32(32768)).mean(axis=1, dtype=np.float32), rate


def write_wav(path: str | os.PathLike[str], samples: npt.ArrayLike, rate: int) -> None:
    """Write samples [n] in [-1, 1) as 16-bit mono PCM; what lies outside is clipped."""
    pcm = np.clip(np.rint(np.asarray(samples, dtype=np.float64) * 32768), -32768, 32767).astype("<i2")
    with wave.open(os.fspath(path), "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(rate)
        f.writeframes(pcm.tobytes())


def resample(samples: npt.ArrayLike, rate: int, to: int) -> Samples:
    """Resample [n] to [ceil(n * to / rate)] with a Hann-windowed sinc low-pass filter, linear phase, no delay.

    The stop band starts at the lower of both Nyquist frequencies. Each output sample is one dot product with the phase
    of the filter that it falls on (polyphase).
    """
    x = np.asarray(samples, dtype=np.float64)
    g = math.gcd(rate, to)
    up, down = to // g, rate // g
    if up == down:
        return x.astype(np.float32)
    half = 32 * max(up, down)  # 32 zero crossings a side at the lower rate
    t = np.arange(-half, half + 1) / max(up, down)
    cutoff = 0.94  # the window's transition band ends before the lower Nyquist frequency
    taps = cutoff * np.sinc(cutoff * t) * (0.5 + 0.5 * np.cos(np.pi * t / 32)) * (up / max(up, down))
    n = -(-x.size * up // down)
    reach = half // up + 1  # input samples a side that one output sample can see
    padded = np.concatenate([np.zeros(reach), x, np.zeros(reach + 1)])
    at = np.arange(n) * down  # position of output sample k on the grid of rate * up
    near = at // up
    offsets = np.arange(-reach, reach + 1)
    tap = at[:, None] - (near[:, None] + offsets) * up + half
    weights = np.where((tap >= 0) & (tap < taps.size), taps[np.clip(tap, 0, taps.size - 1)], 0.0)
    seen = padded[near[:, None] + offsets + reach]
    return np.asarray(np.sum(weights * seen, axis=1), np.float32)
