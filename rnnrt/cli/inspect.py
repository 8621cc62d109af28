"""``rnnrt inspect``: what is in a .rnnrt file, or what would become of an .onnx file or a checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

import rnnrt
from rnnrt.cli import output
from rnnrt.cli.arguments import refuse_options, usage_errors
from rnnrt.cli.exits import json_option
from rnnrt.cli.report import print_states, state_bytes
from rnnrt.cli.sources import SOURCE_OPTIONS, kind_of, refuse_others_options, source_options, told_by


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@source_options
@json_option
@click.pass_context
def inspect(ctx: click.Context, /, file: Path, as_json: bool, **options: Any) -> None:
    """Show what is in a model.

    FILE is a .rnnrt model, or what could become one, an .onnx model or a checkpoint: then what the converter makes of
    it in f32 is shown and nothing is written. All options but --json are for these, and as in `convert`.
    """
    kind = kind_of(file)
    if kind == "rnnrt":
        refuse_options(ctx, SOURCE_OPTIONS, f"is for what is to be converted: {file} is not")
        content = _inspect(rnnrt.load(file), file.read_bytes(), kind)
    else:
        refuse_others_options(ctx, file)
        content = _inspect_source(file, kind, options)
    if as_json:
        output.print_json("inspect", {"ok": True, "file": str(file), **content})
    else:
        _print(file, content)


def _inspect_source(path: Path, kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    from rnnrt.converters.convert import build, prepare_as

    with usage_errors():
        graph = prepare_as(path, told_by(options))
    _, blob = build(path, graph)
    return {**_inspect(rnnrt.load(blob), blob, kind), "opset": graph.opset or None, "producer": graph.producer}


def _inspect(model: rnnrt.Model, blob: bytes, kind: str) -> dict[str, Any]:
    """The model has validated every checksum and record; read.parse does so again, written independently."""
    from rnnrt.converters import read

    parsed = read.parse(blob)
    meta = model.meta
    states = _states(model)
    return {
        "kind": kind,
        "format_version": parsed.version,
        "checksum_ok": True,
        "inputs": [_info(info) for info in model.inputs],
        "outputs": [_info(info) for info in model.outputs],
        "states": states,
        "operators": dict(Counter(node.op for node in parsed.nodes)),
        "layers": _layers(parsed),
        "bytes": {
            "file": parsed.size,
            "weights": parsed.section_sizes["data"],
            "state": sum(state["bytes"] for state in states),
            "arena": _arena(model),
        },
        "streamable": model.streamable,
        "not_streamable_because": meta.get("not_streamable_because") or None,
        "isa": model.isa,
        "notes": list(meta.get("notes") or []),
        "source": meta.get("source"),
    }


def _layers(parsed: Any) -> list[dict[str, Any]]:
    """Every node with packed weights; precisions and bytes are the file's own, not what its metadata claims."""
    from rnnrt.converters.quantize import WORDS

    found = []
    told = {layer.get("node"): layer for layer in parsed.meta.get("layers") or [] if isinstance(layer, dict)}
    for node in parsed.nodes:
        constants = [parsed.values[i] for i in node.inputs if i is not None and parsed.values[i].kind == "const"]
        packed = [value for value in constants if value.layout != "plain"]
        if packed:
            about = told.get(node.name, {})
            found.append(
                {
                    "node": node.name,
                    "op": node.op,
                    "precision": "+".join(dict.fromkeys(WORDS[value.dtype] for value in packed)),
                    "reason": about.get("reason"),
                    "weights": [[int(d) for d in value.dims] for value in packed],
                    "bytes": sum(value.size for value in packed),
                    "weight_sqnr_db": about.get("weight_sqnr_db"),
                }
            )
    return found


def _info(info: rnnrt.TensorInfo) -> dict[str, Any]:
    return {"name": info.name, "shape": list(info.shape), "dtype": str(info.dtype)}


def _states(model: rnnrt.Model) -> list[dict[str, Any]]:
    """The state variables with the bytes of one stream, and what the converter says that they came from."""
    told = [about for about in model.meta.get("states") or [] if isinstance(about, dict)]
    sources = {about.get("name"): about.get("source") for about in told}
    return [
        {
            **_info(info),
            "bytes": state_bytes(info.shape),
            "source": sources.get(info.name) or None,
        }
        for info in model.states
    ]


def _arena(model: rnnrt.Model) -> int | None:
    """Working memory of a batch-1 stream that is stepped; None where there is none."""
    if not model.streamable:
        return None
    with model.stream() as stream:
        return stream.arena


def _print(path: Path, content: dict[str, Any]) -> None:
    console, sizes = output.stdout(), content["bytes"]
    if content["kind"] == "rnnrt":
        form = f"format version {content['format_version']}, checksums ok, {output.size(sizes['file'])}"
    else:
        opset, producer = content["opset"], content["producer"] or "unknown"
        origin = f"ONNX opset {opset} by {producer}" if content["kind"] == "onnx" else producer
        form = f"{origin}, {output.size(sizes['file'])} as .rnnrt"
    console.print(f"[bold]{escape(str(path))}[/]  {escape(form)}")
    rows = [
        (what[:-1], value["name"], output.shape(value["shape"]), value["dtype"])
        for what in ("inputs", "outputs")
        for value in content[what]
    ]
    console.print(output.table("", ("", "name", "shape", "type"), rows))
    _print_layers(console, content["layers"])
    operators = ", ".join(f"{count} {name}" for name, count in sorted(content["operators"].items()))
    console.print(f"operators   {escape(operators)}", soft_wrap=True)
    named = [f"{output.size(sizes[key])} {key}" for key in ("weights", "state", "arena") if sizes.get(key) is not None]
    console.print(f"bytes       {', '.join(named)} (state and arena: of one stream, one step at a time)")
    print_states(console, content)
    for note in content["notes"]:
        console.print(f"note        {escape(str(note))}", soft_wrap=True)


def _print_layers(console: Any, layers: list[dict[str, Any]]) -> None:
    rows = [
        (
            layer["node"],
            layer["op"],
            layer["precision"],
            layer["reason"],
            " ".join(f"{rows}x{cols}" for rows, cols in layer["weights"]),
            output.size(layer["bytes"]),
            layer["weight_sqnr_db"],
        )
        for layer in layers
    ]
    if rows:
        columns = ("layer", "operator", "precision", "reason", "weights", "bytes", "SQNR dB")
        console.print(output.table("", columns, rows, right=("bytes", "SQNR dB")))
