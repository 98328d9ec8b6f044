#!/usr/bin/env python3
"""How far TightFit and TensorFlow are from a frozen graph of one input in float64.

    cargo build --release
    python bench/float64.py MODEL.pb INPUT.npy FETCH

TensorFlow runs the graph as it is, and with every type and constant of float32 made float64. Differences are the largest one as a
part of the largest output.
"""

import argparse
import pathlib
import subprocess
import tempfile

import oracle  # before TensorFlow: it sets the environment
import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

BINARY = pathlib.Path(__file__).parent.parent / "target/release/tightfit"
FLOAT, DOUBLE = tf.float32.as_datatype_enum, tf.float64.as_datatype_enum


def widen(graph_def):
    """The same graph in float64."""
    wide = tf.compat.v1.GraphDef()
    wide.CopyFrom(graph_def)
    for node in wide.node:
        for attr in op_def_registry.get(node.op).attr:  # what is float32 where nothing else is said
            if attr.default_value.type == FLOAT and attr.name not in node.attr:
                node.attr[attr.name].type = FLOAT
        for value in node.attr.values():
            if value.type == FLOAT:
                value.type = DOUBLE
            for i, dtype in enumerate(value.list.type):
                if dtype == FLOAT:
                    value.list.type[i] = DOUBLE
        if node.op == "Const" and node.attr["value"].tensor.dtype == FLOAT:
            numbers = tf.make_ndarray(node.attr["value"].tensor).astype(np.float64)
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(numbers))
    return wide


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("input", type=pathlib.Path)
    parser.add_argument("fetch", help="a tensor, as output:0")
    parser.add_argument("--bin", type=pathlib.Path, default=BINARY)
    options = parser.parse_args()
    graph_def = tf.compat.v1.GraphDef.FromString(options.model.read_bytes())
    x = np.load(options.input)
    feed = next(node.name for node in graph_def.node if node.op == "Placeholder")
    (exact,) = oracle.evaluate(widen(graph_def), {feed: x.astype(np.float64)}, [options.fetch])
    (theirs,) = oracle.evaluate(graph_def, {feed: x}, [options.fetch])
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder) / "output.npy"
        fetch = ["--fetch", options.fetch, "--input", options.input, "--output", output, "--quiet"]
        subprocess.run([options.bin, "run", options.model, *fetch], check=True)
        ours = np.load(output)
    differs = lambda a, b: np.abs(a - b).max() / np.abs(b).max()
    print(f"TightFit and float64 {differs(ours, exact):.1e}, TensorFlow and float64 {differs(theirs, exact):.1e}, "
          f"both {differs(ours, theirs):.1e}")


if __name__ == "__main__":
    main()
