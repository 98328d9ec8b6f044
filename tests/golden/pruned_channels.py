"""Makes pruned_channels/: a TensorFlow Lite model a quarter of whose channels multiply and are multiplied by 0 alone, and what
TensorFlow computes with it. Without those channels it is the same.

    python tests/golden/pruned_channels.py target/release/tightfit

Channels go together over a residual, a depthwise product, a squeeze and excitation, a concatenation and a flattening; those of
a product before a depth to space stay. What `tightfit prune --pattern channels` writes is run by LiteRT as well.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from lite_models import convert, pruned

HERE = Path(__file__).parent
RNG = np.random.default_rng(11)


def dead(count):
    """A quarter of the channels."""
    return np.arange(count) % 4 == 2


def weight(height, width, inputs, outputs, fed=False, answers=False):
    own = RNG.normal(0, 1 / np.sqrt(height * width * inputs), (height, width, inputs, outputs)).astype(np.float32)
    if not fed:
        own[:, :, dead(inputs)] = 0
    if not answers:
        own[..., dead(outputs)] = 0
    return tf.constant(own)


def bias(count, answers=False):
    own = RNG.normal(0, 0.3, count).astype(np.float32)
    return tf.constant(own if answers else np.where(dead(count), 0, own).astype(np.float32))


def conv(x, own, padding="SAME"):
    return tf.nn.conv2d(x, own, 1, padding)


W = {
    "a": weight(3, 3, 3, 8, fed=True),
    "b": tf.constant(RNG.normal(0, 0.3, (3, 3, 8, 2)).astype(np.float32)),
    "c": weight(1, 1, 16, 8),
    "squeeze": weight(1, 1, 8, 4),
    "excite": weight(1, 1, 4, 8),
    "d": weight(3, 3, 8, 8),
    "g": weight(1, 1, 16, 8),
    "h": weight(1, 1, 8, 4, answers=True),
    "dense": weight(1, 1, 128, 8)[0, 0],
    "answers": weight(1, 1, 8, 5, answers=True)[0, 0],
}
# Of 16 channels that are two for each of 8, and of two lists of 8.
W["c"] = tf.where(np.repeat(dead(8), 2)[:, None], 0.0, tf.constant(RNG.normal(0, 0.3, (1, 1, 16, 8)).astype(np.float32)))
W["c"] = tf.where(dead(8), 0.0, W["c"])
B = {name: bias(count) for name, count in {"a": 8, "c": 8, "d": 8, "g": 8, "dense": 8, "squeeze": 4}.items()}
B["answers"] = bias(5, answers=True)
SCALE = tf.constant(RNG.uniform(0.5, 1.5, 8).astype(np.float32))


@tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3], tf.float32, name="x")])
def model(x):
    a = tf.nn.relu6(conv(x, W["a"]) + B["a"])
    b = tf.nn.relu(tf.nn.depthwise_conv2d(a, W["b"], [1, 1, 1, 1], "SAME"))
    c = a + conv(b, W["c"]) + B["c"]
    squeezed = tf.nn.relu(conv(tf.reduce_mean(c, [1, 2], keepdims=True), W["squeeze"]) + B["squeeze"])
    c = c * tf.sigmoid(conv(squeezed, W["excite"]))
    d = tf.nn.leaky_relu(conv(tf.pad(c, [[0, 0], [1, 1], [1, 1], [0, 0]]), W["d"], "VALID") + B["d"], 0.1)
    d = tf.nn.max_pool2d(d * SCALE, 2, 2, "VALID")
    both = tf.concat([d, tf.nn.avg_pool2d(c, 2, 2, "VALID")], -1)
    g = tf.nn.tanh(conv(both, W["g"]) + B["g"])
    row = tf.reshape(g, tf.stack([tf.shape(g)[0], 128]))
    more = tf.reduce_mean(tf.nn.depth_to_space(conv(c, W["h"]), 2), [1, 2])
    dense = tf.nn.relu(tf.matmul(row, W["dense"]) + B["dense"])
    return {"answers": tf.nn.softmax(tf.matmul(dense, W["answers"]) + B["answers"] + more)}


def main():
    folder = HERE / "pruned_channels"
    folder.mkdir(exist_ok=True)
    path = folder / "model.tflite"
    convert(model, path)
    x = RNG.random((6, 8, 8, 3), np.float32)
    y = model(x)["answers"].numpy()
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    with pruned(sys.argv[1], path, "--pattern", "channels", "--sparsity", "0.25") as run:
        found = run(x=x)["answers"]
        print("LiteRT differs by", np.abs(found - y).max())
        assert np.allclose(found, y, atol=1e-5)


if __name__ == "__main__":
    main()
