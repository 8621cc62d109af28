"""The runtime's operators: code, attribute names in file order, codes of activation functions.

The same table as ``src_c/ops/registry.c``; a test compares the two through ``rnnrt_operator``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Operator:
    """One row of the registry. A last name ending in ``...`` stands for all attributes that remain."""

    name: str
    code: int
    ints: tuple[str, ...] = ()
    floats: tuple[str, ...] = ()


_RECURRENT = ("hidden_size", "direction", "layout", "linear_before_reset", "input_forget", "clip_set", "activations...")
_WINDOW = (
    "kernel_h", "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w",
    "pad_top", "pad_left", "pad_bottom", "pad_right",
)  # fmt: skip
_OUTPUT_PADDING = ("output_padding_h", "output_padding_w")

OPERATORS: dict[str, Operator] = {
    row.name: row
    for row in (
        Operator("RNN", 1, _RECURRENT, ("clip", "alpha_beta...")),
        Operator("GRU", 2, _RECURRENT, ("clip", "alpha_beta...")),
        Operator("LSTM", 3, _RECURRENT, ("clip", "alpha_beta...")),
        Operator("Gemm", 10, ("activation",), ("alpha", "beta")),
        Operator("MatMul", 11),
        Operator("Conv", 12, (*_WINDOW, "group", "symmetry", "activation"), ("alpha", "beta")),
        Operator("ConvTranspose", 13, (*_WINDOW, *_OUTPUT_PADDING, "group", "activation"), ("alpha", "beta")),
        Operator("Add", 20),
        Operator("Sub", 21),
        Operator("Mul", 22),
        Operator("Div", 23),
        Operator("Pow", 24),
        Operator("Min", 25),
        Operator("Max", 26),
        Operator("Relu", 30, (), ("a", "b")),
        Operator("LeakyRelu", 31, (), ("alpha", "b")),
        Operator("Sigmoid", 32, (), ("a", "b")),
        Operator("Tanh", 33, (), ("a", "b")),
        Operator("Clip", 34, (), ("min", "max")),
        Operator("Exp", 35, (), ("a", "b")),
        Operator("Log", 36, (), ("a", "b")),
        Operator("Sqrt", 37, (), ("a", "b")),
        Operator("Abs", 38, (), ("a", "b")),
        Operator("Neg", 39, (), ("a", "b")),
        Operator("HardSigmoid", 40, (), ("alpha", "beta")),
        Operator("Elu", 41, (), ("alpha", "b")),
        Operator("Softsign", 42, (), ("a", "b")),
        Operator("Softplus", 43, (), ("a", "b")),
        Operator("ThresholdedRelu", 44, (), ("alpha", "b")),
        Operator("Floor", 45, (), ("a", "b")),
        Operator("Ceil", 46, (), ("a", "b")),
        Operator("Round", 47, (), ("a", "b")),
        Operator("Sign", 48, (), ("a", "b")),
        Operator("Erf", 49, (), ("a", "b")),
        Operator("Softmax", 50, ("axis",)),
        Operator("LayerNormalization", 51, ("axis",), ("epsilon",)),
        Operator("ReduceMean", 52, ("keepdims", "axes...")),
        Operator("ReduceMax", 53, ("keepdims", "axes...")),
        Operator("ReduceSum", 54, ("keepdims", "axes...")),
        Operator("MaxPool", 55, (*_WINDOW, "ceil_mode")),
        Operator("AveragePool", 56, (*_WINDOW, "ceil_mode", "count_include_pad")),
        Operator("Reshape", 60, ("shape...",)),
        Operator("Squeeze", 61, ("axes...",)),
        Operator("Unsqueeze", 62, ("axes...",)),
        Operator("Transpose", 64, ("perm...",)),
        Operator("Slice", 65, ("axis_start_end_step...",)),
        Operator("Concat", 66, ("axis",)),
        Operator("Gather", 67, ("axis",)),
        Operator("Pad", 68, ("mode", "pads..."), ("value",)),
        Operator("Expand", 69, ("shape...",)),
        Operator("Where", 70),
        Operator("Cast", 71, ("to",)),
        Operator("ArgMax", 72, ("axis", "keepdims", "select_last_index")),
        Operator("Equal", 73),
        Operator("Less", 74),
        Operator("LessOrEqual", 75),
        Operator("Sin", 76),
        Operator("Cos", 77),
        Operator("Atan", 78),
    )
}
BY_CODE: dict[int, Operator] = {row.code: row for row in OPERATORS.values()}

# enum rnnrt_unary of kernels.h, by ONNX name.
UNARY: dict[str, int] = {
    name: code
    for code, name in enumerate(
        (
            "Relu", "Sigmoid", "Tanh", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu",
            "Softsign", "Softplus", "Clip", "Exp", "Log", "Sqrt", "Abs", "Neg",
            "Floor", "Ceil", "Round", "Sign", "Erf",
        )
    )
}  # fmt: skip
NO_ACTIVATION = -1

# Parameters (a, b) of a unary function where the node does not give them: ONNX's defaults; unused ones are 0.
_DEFAULTS: dict[str, tuple[float, float]] = {
    "Affine": (1.0, 0.0),
    "LeakyRelu": (0.01, 0.0),
    "ThresholdedRelu": (1.0, 0.0),
    "ScaledTanh": (1.0, 1.0),
    "HardSigmoid": (0.2, 0.5),
    "Elu": (1.0, 0.0),
    "Clip": (float("-inf"), float("inf")),
}
_USES: dict[str, tuple[str, ...]] = {
    "Affine": ("alpha", "beta"),
    "LeakyRelu": ("alpha",),
    "ThresholdedRelu": ("alpha",),
    "ScaledTanh": ("alpha", "beta"),
    "HardSigmoid": ("alpha", "beta"),
    "Elu": ("alpha",),
    "Clip": ("min", "max"),
}


def unary_parameters(name: str, attrs: Mapping[str, Any], prefix: str = "") -> tuple[float, float]:
    """(a, b) of a unary function from a node's attributes.

    Parameters
    ----------
    name
        ONNX name of the function.
    attrs
        The attributes: alpha and beta, for Clip min and max.
    prefix
        ``"activation_"`` for a function fused into another operator: then the attributes are ``activation_alpha`` and
        ``activation_beta``, also for Clip.

    Returns
    -------
    tuple of float
        ONNX's defaults where an attribute is missing; 0 for a parameter that the function does not have.
    """
    a, b = _DEFAULTS.get(name, (0.0, 0.0))
    uses = _USES.get(name, ())
    if prefix:
        uses = ("alpha", "beta")[: len(uses)]
    found = [attrs.get(prefix + parameter) for parameter in uses]
    if found and found[0] is not None:
        a = float(found[0])
    if len(found) > 1 and found[1] is not None:
        b = float(found[1])
    return a, b
