"""Makes quantized_graph/: TensorFlow's numbers for the graphs that `tightfit quantize --output X.pb` writes.

    python tests/golden/quantized_graph.py target/release/tightfit

Each scheme's file is what TensorFlow computes with the digits net whose weights were made narrow, on x.npy.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent
MODEL = HERE.parent.parent / "examples" / "digits" / "digits.pb"
SCHEMES = ["dynamic", "weight-only-int8", "f16", "bf16"]


def compute(path, x):
    """What the only output of the graph is for `x`."""
    graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    inputs = [node.name for node in graph.node if node.op == "Placeholder"]
    taken = {name.split(":")[0].lstrip("^") for node in graph.node for name in node.input}
    outputs = [node.name for node in graph.node if node.name not in taken]
    (one,), (other,) = inputs, outputs
    with tf.Graph().as_default():
        tf.graph_util.import_graph_def(graph, name="")
        with tf.compat.v1.Session() as session:
            return session.run(f"{other}:0", {f"{one}:0": x})


def main():
    folder = HERE / "quantized_graph"
    folder.mkdir(exist_ok=True)
    x = np.random.default_rng(7).random((6, 8, 8, 1), np.float32)
    np.save(folder / "x.npy", x)
    for scheme in SCHEMES:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "model.pb"
            subprocess.run(
                [sys.argv[1], "quantize", MODEL, "--scheme", scheme, "--output", path, "--quiet"], check=True
            )
            np.save(folder / f"{scheme}.npy", compute(path, x))


if __name__ == "__main__":
    main()
