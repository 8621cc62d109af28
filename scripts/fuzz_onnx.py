"""Fuzz the ONNX importer: mutate models, convert them, accept a file that loads or an error that says why not.

    python scripts/fuzz_onnx.py --seconds 60            # seeded mutations of the structure, nothing else needed
    python scripts/fuzz_onnx.py --seconds 60 --atheris  # guided by coverage (pip install atheris)

What is found is written to the folder as crash-* (the model) with the traceback beside it; put a fixed one into
tests/fuzz/onnx, where tests/test_fuzz_onnx.py tries it on every run.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

import list_operators

ROOT = Path(__file__).resolve().parent.parent
TESTS_PER_OPERATOR = 2
MAX_LENGTH = 65536  # bytes of a model
SECONDS = 10.0  # that one conversion may take
MEMORY = 6 << 30  # bytes of address space, libraries included

NAMES = ("", "x", "\0", "a" * 300, "ü")
SIZES = (0, 1, -1, 2, 7, 2**31 - 1, 2**31, 2**62, -(2**63), 4096)
FLOATS = (0.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e38, 1e-45)
STRINGS = (b"", b"constant", b"reverse", b"nonsense", b"\xff\xfe", b"...ij,jk->ik", b"->", b"SAME_UPPER")


class Finding(Exception):
    """A model for which the importer neither makes a file nor says why not."""


def seeds() -> Iterator[tuple[str, bytes]]:
    """Small models of every claimed operator: onnx's node tests, with what must be constant as initializers.

    Yields
    ------
    name, content
    """
    taken: Counter[str] = Counter()
    for test in list_operators.node_tests():
        names = list_operators.operators_of(test)
        if list_operators.exclusion(test) or all(taken[n] >= TESTS_PER_OPERATOR for n in names):
            continue
        content = _with_constants(test)
        if len(content) <= MAX_LENGTH:
            taken.update(names)
            yield test.name, content
    yield from _recurrent()


def _with_constants(test: Any) -> bytes:
    from rnnrt.converters import backend, from_onnx

    model = onnx.ModelProto.FromString(test.model.SerializeToString())
    arrays = dict(zip([v.name for v in model.graph.input], test.data_sets[0][0], strict=True))
    constant = backend._parameters(from_onnx.load(model.SerializeToString()))
    kept = [v for v in model.graph.input if v.name not in constant]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(arrays[n]), n) for n in constant)
    return bytes(model.SerializeToString())


def _recurrent() -> Iterator[tuple[str, bytes]]:
    """Recurrent layers as exporters write them: between linear layers, one and both directions, with a state."""
    generator = np.random.default_rng(0)
    for op, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):
        for directions in (1, 2):
            shapes = {"W": (4, 4), "w": (directions, gates * 3, 4), "r": (directions, gates * 3, 3),
                      "b": (directions, gates * 6), "V": (3 * directions, 2), "c": (2,)}  # fmt: skip
            constants = [numpy_helper.from_array(generator.random(s, np.float32), n) for n, s in shapes.items()]
            constants.append(numpy_helper.from_array(np.array([0, 0, -1], np.int64), "s"))
            stated = directions == 1
            nodes = [
                helper.make_node("MatMul", ["x", "W"], ["m"]),
                helper.make_node(op, ["m", "w", "r", "b", *(["", "h"] if stated else [])], ["y", "y_h"], hidden_size=3,
                                 direction="forward" if stated else "bidirectional"),
                helper.make_node("Transpose", ["y"], ["t"], perm=[0, 2, 1, 3]),
                helper.make_node("Reshape", ["t", "s"], ["z"]),
                helper.make_node("MatMul", ["z", "V"], ["v"]),
                helper.make_node("Add", ["v", "c"], ["a"]),
                helper.make_node("Sigmoid", ["a"], ["out"]),
            ]  # fmt: skip
            inputs: list[tuple[str, list[int | str]]] = [("x", ["time", 1, 4])]
            if stated:
                inputs.append(("h", [1, 1, 3]))
            outputs = ["out", "y_h"] if stated else ["out"]
            graph = helper.make_graph(
                nodes, "seed", [helper.make_tensor_value_info(n, 1, s) for n, s in inputs],
                [helper.make_tensor_value_info(n, 1, None) for n in outputs], constants,
            )  # fmt: skip
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
            yield f"{op}_{directions}", bytes(model.SerializeToString())


def attempt(content: bytes) -> str:
    """Convert a model and load the result.

    Returns
    -------
    str
        ``"converted"`` or the name of the exception that refused it.

    Raises
    ------
    Finding
        Anything else than a file that loads, or an `RnnrtError` with a message; or it took longer than `SECONDS`.
    """
    from rnnrt.converters import convert

    import rnnrt

    start = time.monotonic()
    outcome = "converted"
    try:
        graph = convert.prepare(content)
        _, blob = convert.build(content, graph)
    except rnnrt.RnnrtError as error:
        outcome = type(error).__name__
        if not str(error).strip():
            raise Finding(f"{outcome} without a message") from error
    except Exception as error:
        raise Finding(f"{type(error).__name__}: {error}") from error
    else:
        try:
            rnnrt.load(blob)
        except Exception as error:
            raise Finding(f"the file that was made does not load: {error}") from error
    if time.monotonic() - start > SECONDS:
        raise Finding(f"took {time.monotonic() - start:.0f} s")
    return outcome


# ---- mutations: each changes a model in one place; IndexError where it has no such place ----


def _attribute(model: onnx.ModelProto, r: random.Random) -> AttributeProto:
    found: list[AttributeProto] = [a for n in model.graph.node for a in n.attribute]
    return r.choice(found)


def _drop_node(model: onnx.ModelProto, r: random.Random) -> None:
    del model.graph.node[r.randrange(len(model.graph.node))]


def _duplicate_node(model: onnx.ModelProto, r: random.Random) -> None:
    model.graph.node.add().CopyFrom(r.choice(model.graph.node))


def _swap_nodes(model: onnx.ModelProto, r: random.Random) -> None:
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in model.graph.node]
    r.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _rename_operator(model: onnx.ModelProto, r: random.Random) -> None:
    r.choice(model.graph.node).op_type = r.choice([*sorted(list_operators.CLAIMED), "If", "Loop", "Constant", "", "?"])


def _swap_inputs(model: onnx.ModelProto, r: random.Random) -> None:
    node = r.choice(model.graph.node)
    names = list(node.input)
    r.shuffle(names)
    node.input[:] = names


def _any_input(model: onnx.ModelProto, r: random.Random) -> None:
    node = r.choice(model.graph.node)
    known = [n for m in model.graph.node for n in (*m.input, *m.output)]  # its own output: a cycle
    node.input[r.randrange(len(node.input))] = r.choice(known + list(NAMES))


def _more_or_fewer_inputs(model: onnx.ModelProto, r: random.Random) -> None:
    node = r.choice(model.graph.node)
    if r.random() < 0.5:
        node.input.append(r.choice([*node.input, ""]))
    else:
        del node.input[r.randrange(len(node.input))]


def _outputs(model: onnx.ModelProto, r: random.Random) -> None:
    node = r.choice(model.graph.node)
    kind = r.randrange(3)
    if kind == 0:
        node.output.append(r.choice([*node.output, "more", ""]))
    elif kind == 1:
        del node.output[r.randrange(len(node.output))]
    else:
        node.output[r.randrange(len(node.output))] = r.choice(NAMES)


def _drop_attribute(model: onnx.ModelProto, r: random.Random) -> None:
    node = r.choice([n for n in model.graph.node if n.attribute])
    del node.attribute[r.randrange(len(node.attribute))]


def _attribute_value(model: onnx.ModelProto, r: random.Random) -> None:
    a = _attribute(model, r)
    if a.type == AttributeProto.INT:
        a.i = r.choice(SIZES)
    elif a.type == AttributeProto.FLOAT:
        a.f = r.choice(FLOATS)
    elif a.type == AttributeProto.STRING:
        a.s = r.choice(STRINGS)
    elif a.type == AttributeProto.INTS:
        _numbers(a.ints, r)
    elif a.type == AttributeProto.FLOATS:
        a.floats[:] = [r.choice(FLOATS) for _ in range(r.randrange(4))]
    elif a.type == AttributeProto.STRINGS:
        a.strings[:] = [r.choice(STRINGS) for _ in range(r.randrange(4))]
    elif a.type == AttributeProto.TENSOR:
        _tensor(a.t, r)


def _numbers(values: Any, r: random.Random) -> None:
    kind = r.randrange(4)
    if kind == 0:
        values.append(r.choice(SIZES))
    elif kind == 1:
        del values[r.randrange(len(values))]
    elif kind == 2:
        values[r.randrange(len(values))] = r.choice(SIZES)
    else:
        values[:] = [r.randrange(-3, 4) for _ in values]


def _attribute_type(model: onnx.ModelProto, r: random.Random) -> None:
    _attribute(model, r).type = r.choice(AttributeProto.AttributeType.values())


def _other_attribute(model: onnx.ModelProto, r: random.Random) -> None:
    """An attribute that the operator does have, set where it was not."""
    node = r.choice(model.graph.node)
    schema = onnx.defs.get_schema(node.op_type)
    attributes: dict[str, Any] = dict(schema.attributes)
    name = r.choice(sorted(attributes))
    values: dict[str, Any] = {"INT": r.choice(SIZES), "FLOAT": r.choice(FLOATS), "STRING": r.choice(STRINGS),
              "INTS": [r.choice(SIZES) for _ in range(1 + r.randrange(3))],
              "FLOATS": [r.choice(FLOATS)], "STRINGS": [r.choice(STRINGS)]}  # fmt: skip
    kind = AttributeProto.AttributeType.Name(int(attributes[name].type.value))
    if kind in values and all(a.name != name for a in node.attribute):
        node.attribute.append(helper.make_attribute(name, values[kind]))


def _tensor(tensor: TensorProto, r: random.Random) -> None:
    kind = r.randrange(7)
    if kind == 0:
        _numbers(tensor.dims, r)
    elif kind == 1:
        tensor.data_type = r.choice([*TensorProto.DataType.values(), 99])
    elif kind == 2:
        tensor.ClearField("raw_data")
    elif kind == 3:
        tensor.raw_data = tensor.raw_data[: r.randrange(1 + len(tensor.raw_data))]
    elif kind == 4:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=r.choice(["w.bin", "../w.bin", "/etc/passwd", ""]))
    elif kind == 5:  # other numbers, the rest in order: axes, shapes, indices
        values = numpy_helper.to_array(tensor).copy()
        with np.errstate(all="ignore"):
            values.flat[r.randrange(values.size)] = np.array(r.choice(SIZES), np.int64).astype(values.dtype)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    else:  # another shape of the same numbers
        values = numpy_helper.to_array(tensor)
        shape = r.choice([(values.size,), (values.size, 1), (1, values.size), (1, *values.shape), values.shape[::-1]])
        tensor.CopyFrom(numpy_helper.from_array(values.reshape(shape), tensor.name))


def _initializer(model: onnx.ModelProto, r: random.Random) -> None:
    _tensor(r.choice(model.graph.initializer), r)


def _drop_initializer(model: onnx.ModelProto, r: random.Random) -> None:
    del model.graph.initializer[r.randrange(len(model.graph.initializer))]


def _cast_initializer(model: onnx.ModelProto, r: random.Random) -> None:
    tensor = r.choice(model.graph.initializer)
    with np.errstate(all="ignore"):
        values: Any = numpy_helper.to_array(tensor).astype(
            r.choice([np.float32, np.int64, np.bool_, np.int32, np.uint8])
        )
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _initializer_to_input(model: onnx.ModelProto, r: random.Random) -> None:
    tensor = r.choice(model.graph.initializer)
    model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    model.graph.initializer.remove(tensor)


def _input_shape(model: onnx.ModelProto, r: random.Random) -> None:
    dims = r.choice(model.graph.input).type.tensor_type.shape.dim
    kind = r.randrange(4)
    if kind == 0:
        r.choice(dims).dim_value = r.choice(SIZES)
    elif kind == 1:
        r.choice(dims).dim_param = r.choice(["time", "batch", "N", ""])
    elif kind == 2:
        dims.add(dim_value=r.choice((1, 2, 3)))
    else:
        del dims[r.randrange(len(dims))]


def _input_type(model: onnx.ModelProto, r: random.Random) -> None:
    info = r.choice(model.graph.input).type
    kind = r.randrange(3)
    if kind == 0:
        info.tensor_type.elem_type = r.choice([*TensorProto.DataType.values(), 99])
    elif kind == 1:
        info.tensor_type.ClearField("shape")
    else:
        info.ClearField("tensor_type")


def _names(model: onnx.ModelProto, r: random.Random) -> None:
    graph = model.graph
    r.choice([*graph.node, *graph.initializer, *graph.input, *graph.output]).name = r.choice(
        [*NAMES, *(v.name for v in (*graph.input, *graph.output, *graph.initializer))]
    )


def _opset(model: onnx.ModelProto, r: random.Random) -> None:
    model.opset_import[0].version = r.choice([7, 8, 9, 10, 11, 12, 13, 14, 18, 21, 0, -1, 6, 10**6])


def _domain(model: onnx.ModelProto, r: random.Random) -> None:
    r.choice(model.graph.node).domain = r.choice(["ai.onnx", "com.microsoft", "?"])


def _outputs_of_graph(model: onnx.ModelProto, r: random.Random) -> None:
    names = [n for m in model.graph.node for n in (*m.input, *m.output)]
    model.graph.output.add().CopyFrom(helper.make_tensor_value_info(r.choice(names), 1, None))


def _branch(model: onnx.ModelProto, r: random.Random) -> None:
    """The whole graph as a branch of an If in itself."""
    graph = onnx.GraphProto.FromString(model.graph.SerializeToString())
    del graph.input[:]
    node = helper.make_node("If", [model.graph.input[0].name], ["branched"], then_branch=graph, else_branch=graph)
    model.graph.node.insert(r.randrange(len(model.graph.node)), node)


Mutation: TypeAlias = "Callable[[onnx.ModelProto, random.Random], None]"
MUTATIONS: tuple[Mutation, ...] = (
    _drop_node, _duplicate_node, _swap_nodes, _rename_operator, _swap_inputs, _any_input, _more_or_fewer_inputs,
    _outputs, _drop_attribute, _attribute_value, _attribute_value, _attribute_type, _other_attribute, _initializer,
    _initializer, _drop_initializer, _cast_initializer, _initializer_to_input, _input_shape, _input_shape, _input_type,
    _names, _opset, _domain, _outputs_of_graph, _branch,
)  # fmt: skip


def mutate(content: bytes, r: random.Random) -> bytes:
    """One to three mutations of a model's structure, or, one time in sixteen, of its bytes."""
    if r.random() < 1 / 16:
        changed = bytearray(content)
        for _ in range(1 + r.randrange(4)):
            changed[r.randrange(len(changed))] = r.randrange(256)
        return bytes(changed[: r.randrange(len(changed))] if r.random() < 0.25 else changed)
    model = onnx.ModelProto.FromString(content)
    made = 0
    for _ in range(32):  # some have no place in some models
        try:
            r.choice(MUTATIONS)(model, r)
        except Exception:  # no such place in this model: every type that protobuf, numpy and onnx have for it
            continue
        made += 1
        if made == 3 or r.random() < 0.5:
            break
    return bytes(model.SerializeToString())


# ---- the search ----


def keep(folder: Path, content: bytes, finding: Finding) -> Path:
    """Write a finding to the folder."""
    path = folder / f"crash-{hashlib.sha256(content).hexdigest()[:16]}"
    path.write_bytes(content)
    path.with_suffix(".txt").write_text("".join(traceback.format_exception(finding)))
    return path


def place(finding: Finding) -> str:
    """Where the exception behind a finding was raised: two with the same place are the same bug."""
    if finding.__cause__ is None or "load" in str(finding):
        return str(finding)
    frames = traceback.extract_tb(finding.__cause__.__traceback__)
    return f"{type(finding.__cause__).__name__} in {Path(frames[-1].filename).name}:{frames[-1].lineno}"


def search(seconds: float, folder: Path, seed: int = 0) -> tuple[Counter[str], dict[str, Path]]:
    """Mutate and convert for so long.

    Returns
    -------
    outcomes
        How often each came about.
    findings
        The first model of every place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    outcomes: Counter[str] = Counter()
    findings: dict[str, Path] = {}
    contents = [content for _, content in seeds()]
    r, end = random.Random(seed), time.monotonic() + seconds
    while time.monotonic() < end:
        content = mutate(r.choice(contents), r)
        try:
            outcomes[attempt(content)] += 1
        except Finding as finding:
            outcomes["Finding"] += 1
            if place(finding) not in findings:
                findings[place(finding)] = keep(folder, content, finding)
                print(place(finding), finding, findings[place(finding)], flush=True)
    return outcomes, findings


def search_guided(seconds: int, folder: Path) -> None:
    """Let atheris choose what to mutate; it never returns, the exit status says whether something was found."""
    import atheris

    for name in [n for n in sys.modules if n.startswith("rnnrt.converters")]:  # only what is imported below is guided
        del sys.modules[name]
    with atheris.instrument_imports(include=["rnnrt.converters"]):
        import rnnrt.converters.convert
        import rnnrt.converters.from_onnx  # noqa: F401
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for name, content in seeds():
        (corpus / name).write_bytes(content)

    def test(data: bytes) -> None:
        try:
            attempt(data)
        except Finding as finding:
            print(place(finding), keep(folder, data, finding), flush=True)
            raise

    def change(data: bytes, limit: int, seed: int) -> bytes:
        r = random.Random(seed)
        try:
            return mutate(data, r)[:limit]
        except Exception:  # not a model any more
            return bytes(atheris.Mutate(data, limit))

    limits = [f"-max_total_time={seconds}", f"-max_len={MAX_LENGTH}", f"-timeout={SECONDS:.0f}", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={folder}/", *limits], test, custom_mutator=change)
    atheris.Fuzz()


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", action="store_true")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "fuzz_onnx")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    if options.atheris:
        search_guided(options.seconds, options.folder)
    outcomes, findings = search(options.seconds, options.folder, options.seed)
    print(f"{outcomes.total()} executions: {dict(outcomes)}")
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
