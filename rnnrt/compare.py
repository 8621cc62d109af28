"""Two recurrent cells at equal hidden size: parameters, state, bytes and time per step.

A GRU has three gates where an LSTM has four, so that theory says 3/4 of the parameters and, where a step is bound
by its weights, 3/4 of the time. `compare` measures it. Who calls it says how a cell becomes a model (the command line:
in memory, seeded, through the same converter as files), since this package knows nothing of the converters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import rnnrt
from rnnrt.bench import Timing, host, interleave
from rnnrt.contenders import StreamContender, seeded_feeds

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
"""Cells that can be compared -> weight matrices per input and per state."""


BuildCell: TypeAlias = "Callable[[str, int, int, str | None, int], bytes]"
"""(cell, input size, hidden size, quantization or None, seed) -> a .rnnrt file's bytes with one such layer."""


@dataclass(frozen=True)
class CellResult:
    """One cell at one hidden size."""

    cell: str
    parameters: int  # the ONNX operator's W, R and B
    state_floats: int
    file_bytes: int
    timing: Timing


@dataclass(frozen=True)
class Row:
    """Both cells at one hidden size; ratios are the first over the second."""

    hidden: int
    input_size: int
    cells: tuple[CellResult, CellResult]

    @property
    def parameter_ratio(self) -> float:
        """Parameters of the first cell over those of the second."""
        return self.cells[0].parameters / self.cells[1].parameters

    @property
    def time_ratio(self) -> float:
        """Median time per step of the first cell over that of the second."""
        return self.cells[0].timing.p50_us / self.cells[1].timing.p50_us


@dataclass(frozen=True)
class Comparison:
    """What `compare` measured."""

    cells: tuple[str, str]
    quantize: str | None
    input_size: int | None  # None: equal to the hidden size
    rows: tuple[Row, ...]
    isa: str
    cpu: str
    load: float
    seed: int
    version: str = rnnrt.__version__

    @property
    def theory(self) -> float:
        """Ratio of the numbers of gates: 3/4 for GRU over LSTM."""
        return GATES[self.cells[0]] / GATES[self.cells[1]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rows = [
            asdict(row) | {"parameter_ratio": row.parameter_ratio, "time_ratio": row.time_ratio} for row in self.rows
        ]
        return asdict(self) | {"rows": rows, "theory": self.theory}


def compare(
    build: BuildCell,
    cells: tuple[str, str] = ("gru", "lstm"),
    hidden: Sequence[int] = (32, 64, 128, 256, 512),
    *,
    input_size: int | None = None,
    quantize: str | None = "int8",
    seconds: float = 1.0,
    seed: int = 0,
    isa: str | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Comparison:
    """Build both cells at each hidden size and time a step of each, in turns.

    Parameters
    ----------
    build : callable
        Makes a model's bytes, see `BuildCell`.
    cells : tuple of str
        Two different ones of `GATES`.
    hidden : sequence of int
        Hidden sizes, each >= 1.
    input_size : int, optional
        Features per time step; None: the hidden size.
    quantize : str, optional
        ``"f16"``, ``"int8"``, ``"int4"`` or None (f32 weights).
    seconds : float
        About how long to time each cell at each size, in seconds.
    seed : int
        Of weights and inputs.
    isa : str, optional
        Forces an instruction set, see `rnnrt.isas`.
    on_progress : callable, optional
        Told the done fraction, 0 to 1.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        An unknown cell, twice the same, no hidden size, or a size below 1.
    """
    _check(cells, hidden, input_size)
    rows, chosen = [], ""
    for number, size in enumerate(hidden):

        def report(done: float, number: int = number) -> None:
            if on_progress:
                on_progress((number + done) / len(hidden))

        width = size if input_size is None else input_size
        files = [build(cell, width, size, quantize, seed) for cell in cells]
        models = [rnnrt.load(content, isa) for content in files]
        contenders = [
            StreamContender(cell, model, seeded_feeds(model, seed=seed))
            for cell, model in zip(cells, models, strict=True)
        ]
        timings = interleave(contenders, seconds, on_round=report)
        first, second = (
            CellResult(cell, parameters(cell, width, size), state_floats(model), len(content), timing)
            for cell, model, content, timing in zip(cells, models, files, timings, strict=True)
        )
        rows.append(Row(size, width, (first, second)))
        chosen = models[0].isa
    machine = host()
    return Comparison(cells, quantize, input_size, tuple(rows), chosen, machine["cpu"], machine["load"], seed)


def parameters(cell: str, input_size: int, hidden: int) -> int:
    """Numbers in the ONNX operator's W [G*H, I], R [G*H, H] and B [2*G*H], G gates."""
    return GATES[cell] * hidden * (input_size + hidden + 2)


def _check(cells: tuple[str, str], hidden: Sequence[int], input_size: int | None) -> None:
    unknown = [cell for cell in cells if cell not in GATES]
    if unknown or len(cells) != 2 or cells[0] == cells[1]:
        raise ValueError(f"cells must be two different ones of {', '.join(GATES)}, got {' '.join(cells)}")
    if not hidden or min(hidden) < 1:
        raise ValueError(f"hidden sizes must be >= 1 and at least one, got {list(hidden)}")
    if input_size is not None and input_size < 1:
        raise ValueError(f"input_size must be >= 1, got {input_size}")


def state_floats(model: rnnrt.Model) -> int:
    """Floats that one stream carries from step to step."""
    return sum(math.prod(1 if isinstance(d, str) else d for d in state.shape) for state in model.states)
