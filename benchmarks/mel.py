"""Mel spectra as librosa makes them by default, which is what resemblyzer is fed with."""

from __future__ import annotations

import numpy as np
from layers import F32, F64


def _to_mel(hertz: F64) -> F64:
    """Slaney's scale: linear below 1 kHz, where 3 mel are 200 Hz; above it 27 mel are a factor of 6.4."""
    return np.where(hertz < 1000, hertz * 3 / 200, 15 + 27 * np.log(np.maximum(hertz, 1) / 1000) / np.log(6.4))


def _to_hertz(mel: F64) -> F64:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) / 27 * np.log(6.4)))


def filters(rate: int, fft: int, bands: int) -> F64:
    """Triangles of equal area, [bands, fft // 2 + 1]."""
    edges = _to_hertz(np.linspace(0, _to_mel(np.float64(rate / 2)), bands + 2))
    frequencies = np.arange(fft // 2 + 1) * rate / fft
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]


def power(samples: F32, rate: int, window: int, hop: int, bands: int) -> F32:
    """Power in each band, not its logarithm, of frames centred on every ``hop``-th sample: [frames, bands]."""
    padded = np.pad(samples.astype(np.float64), window // 2)
    cut = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    return np.asarray(np.abs(np.fft.rfft(cut * hann)) ** 2 @ filters(rate, window, bands).T, np.float32)
