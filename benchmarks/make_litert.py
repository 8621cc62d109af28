"""Writes a layer's step as LiteRT models: f32, int8 and int4 weights. Runs in an environment that has TensorFlow.

python make_litert.py FOLDER    FOLDER/weights.npz: cell, w, r, bias, recurrent_bias (torch's order of gates)
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf


def lstm(w: Any, bias: Any) -> Any:
    """One product for all gates: w [I + H, 4 H] holds both matrices."""

    def step(x: Any, h: Any, c: Any) -> dict[str, Any]:
        i, f, g, o = tf.split(tf.matmul(tf.concat([x, h], 1), w) + bias, 4, axis=1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        return {"h_out": tf.sigmoid(o) * tf.tanh(c), "c_out": c}

    return step


def gru(w: Any, r: Any, bias: Any, recurrent_bias: Any) -> Any:
    """Torch's: the reset gate works behind the recurrent product."""

    def step(x: Any, h: Any) -> dict[str, Any]:
        ar, az, an = tf.split(tf.matmul(x, w) + bias, 3, axis=1)
        br, bz, bn = tf.split(tf.matmul(h, r) + recurrent_bias, 3, axis=1)
        n = tf.tanh(an + tf.sigmoid(ar + br) * bn)
        return {"h_out": n + tf.sigmoid(az + bz) * (h - n)}

    return step


def main() -> None:
    """Write f32.tflite and int8.tflite, and int4.tflite where ai-edge-quantizer is installed."""
    folder = Path(sys.argv[1])
    arrays = np.load(folder / "weights.npz")
    w, r, bias, recurrent_bias = (arrays[name] for name in ("w", "r", "bias", "recurrent_bias"))
    names = ["x", "h"]
    if str(arrays["cell"]) == "lstm":
        names.append("c")
        step = lstm(tf.constant(np.concatenate([w, r], 1).T.copy()), tf.constant(bias + recurrent_bias))
    else:
        step = gru(*(tf.constant(a) for a in (w.T.copy(), r.T.copy(), bias, recurrent_bias)))
    widths = {"x": w.shape[1]}
    signature = [tf.TensorSpec([1, widths.get(name, r.shape[1])], tf.float32, name=name) for name in names]
    module = tf.Module()
    module.step = tf.function(step, input_signature=signature)
    tf.saved_model.save(module, str(folder / "saved"), signatures=module.step)
    for name, optimizations in (("f32", []), ("int8", [tf.lite.Optimize.DEFAULT])):
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
        converter.optimizations = optimizations
        (folder / f"{name}.tflite").write_bytes(converter.convert())
    try:
        from ai_edge_quantizer import quantizer, recipe
    except ImportError:
        return
    work = quantizer.Quantizer(str(folder / "f32.tflite"))
    work.load_quantization_recipe(recipe.dynamic_wi4_afp32())
    work.quantize().export_model(str(folder / "int4.tflite"), overwrite=True)


if __name__ == "__main__":
    main()
