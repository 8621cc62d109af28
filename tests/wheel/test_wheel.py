"""What every wheel must do where it was made for: give the golden hashes. Needs numpy, pytest and rnnrt only.

`cibuildwheel` runs it for each platform, tests/test_distribution.py for a wheel built from the sdist.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import rnnrt

GOLDEN = Path(__file__).parents[1] / "golden"
HASHES: dict[str, list[str]] = json.loads((GOLDEN / "hashes.json").read_text())
MAX_TIME = 16


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC-32C (Castagnoli, reflected polynomial 0x82F63B78) of data, continuing crc."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def numbers(seed: int, n: int) -> tuple[npt.NDArray[np.uint32], int]:
    """The n next states of the generator of tests/c/golden.c, and the last one."""
    made = np.empty(n, np.uint32)
    for i in range(n):
        seed = (seed * 1664525 + 1013904223) % 2**32
        made[i] = seed
    return made, seed


def inputs_of(model: rnnrt.Model) -> dict[str, npt.NDArray[np.generic]]:
    """The inputs of tests/c/golden.c, MAX_TIME steps of batch 1."""
    made, seed = {}, 12345
    for port in model.inputs:
        shape = [{"T": MAX_TIME, "B": 1}.get(d, d) for d in port.shape]
        raw, seed = numbers(seed, int(np.prod(shape)))
        if port.dtype == np.int32:
            made[port.name] = (raw >> 30).astype(np.int32).reshape(shape)
        else:
            made[port.name] = (((raw >> 8).astype(np.int32) - (1 << 23)) / np.float32(1 << 22)).astype(np.float32)
            made[port.name] = made[port.name].reshape(shape)
    return made


@pytest.mark.parametrize("isa", rnnrt.isas())
@pytest.mark.parametrize("name", HASHES)
def test_golden(name: str, isa: str) -> None:
    model = rnnrt.load(GOLDEN / f"{name}.rnnrt", isa=isa)
    inputs = inputs_of(model)
    crc, time = 0, 1
    while time <= MAX_TIME:
        part = {}
        for port in model.inputs:  # a shorter call sees the first numbers of the same array, whatever the axis of time
            shape = [{"T": time, "B": 1}.get(d, d) for d in port.shape]
            part[port.name] = inputs[port.name].reshape(-1)[: int(np.prod(shape))].reshape(shape)
        made = model(part)
        outputs = made if isinstance(made, dict) else {model.outputs[0].name: made}
        for port in model.outputs:
            crc = crc32c(np.ascontiguousarray(outputs[port.name]).tobytes(), crc)
        time *= 2
    assert f"{crc:08x}" == HASHES[name][0]
