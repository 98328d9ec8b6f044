"""Makes sparse_weights/: a TensorFlow Lite model of a convolution of single pixels and a dense layer, and what LiteRT computes with it
once `tightfit prune` has made 70 % of their weights zero.

    python tests/golden/sparse_weights.py target/release/tightfit
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from lite_models import convert, pruned

HERE = Path(__file__).parent
RNG = np.random.default_rng(5)


def normal(*shape):
    return tf.constant(RNG.normal(0, 0.2, shape).astype(np.float32))


W, B, V, C = normal(1, 1, 36, 33), normal(33), normal(33, 40), normal(40)


@tf.function(input_signature=[tf.TensorSpec([None, 5, 5, 36], tf.float32, name="x")])
def model(x):
    pixels = tf.nn.relu6(tf.nn.conv2d(x, W, 1, "SAME") + B)
    return {"y": tf.nn.tanh(tf.matmul(tf.reduce_mean(pixels, [1, 2]), V) + C)}


def main():
    folder = HERE / "sparse_weights"
    folder.mkdir(exist_ok=True)
    path = folder / "model.tflite"
    convert(model, path)
    x = RNG.normal(0, 1, (6, 5, 5, 36)).astype(np.float32)
    np.save(folder / "x.npy", x)
    with pruned(sys.argv[1], path, "--sparsity", "0.7") as run:
        np.save(folder / "y.npy", run(x=x)["y"])


if __name__ == "__main__":
    main()
