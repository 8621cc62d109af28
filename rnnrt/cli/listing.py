"""What is in a checkpoint: its tensors, and the recurrent layers among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rnnrt.cli import output


def list_checkpoint(path: Path, prefix: str, as_json: bool) -> None:
    """Print the tensors whose names start with a prefix, and the recurrent layers among them.

    Parameters
    ----------
    path
        A checkpoint; only its structure is read.
    prefix
        Empty for all.
    as_json
        One JSON document instead of tables.
    """
    from rnnrt.converters import checkpoint as reader

    checkpoint = reader.read(path)
    found = {name: tensor for name, tensor in checkpoint.tensors.items() if name.startswith(prefix)}
    stacks = checkpoint.stacks(prefix)
    if as_json:
        tensors = [{"name": n, "dtype": t.dtype, "shape": list(t.shape)} for n, t in found.items()]
        content = {"format": checkpoint.format, "tensors": tensors, "stacks": [vars(stack) for stack in stacks]}
        about = {"ok": True, "source": str(path)}
        output.print_json("list", {**about, **content, "skipped": len(checkpoint.skipped)})
        return
    console = output.stdout()
    rows: list[tuple[Any, ...]] = [(n, t.dtype, output.shape(t.shape), output.size(t.nbytes)) for n, t in found.items()]
    console.print(
        output.table(f"{path.name}: {checkpoint.format}", ("tensor", "type", "shape", "bytes"), rows, ("bytes",))
    )
    columns = ("recurrent layer", "kind", "layers", "directions", "input", "hidden", "projection", "bias", "faults")
    rows = [
        (
            stack.name or "(no name)",
            (stack.op or "?") + ("Cell" if stack.cell else ""),
            stack.layers,
            stack.directions,
            stack.input_size,
            stack.hidden_size,
            stack.proj_size or None,
            stack.bias,
            "; ".join(stack.problems) or None,
        )
        for stack in stacks
    ]
    if rows:
        console.print(output.table("", columns, rows, columns[2:7]))
    else:
        console.print("no recurrent layer found", markup=False)
    if checkpoint.skipped:
        console.print(f"{len(checkpoint.skipped)} tensors of an optimizer were left out", markup=False)
