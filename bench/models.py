#!/usr/bin/env python3
"""Builds the benchmark models and TensorFlow's answers for them: six that most benchmarks take, and with --more eight others.

    python bench/models.py --out bench/out [--only NAME]... [--more] [--no-peers]

Writes per model
    OUT/NAME/model.pb                the frozen GraphDef, flexible batch
    OUT/NAME/ref_tf/                 8 random inputs and TensorFlow's outputs, in check.py's manifest format
    OUT/NAME/model.tflite, .onnx     the same weights for the peers, batch 1 (left out with --no-peers)

The weights are random with a fixed seed: no download, and every batch-norm statistic, gamma, beta and bias differs
from its default, so that an error in folding shows. Kernels are scaled layer by layer on a calibration batch, which
keeps activations near unit variance and the softmax away from both uniform and one-hot.
"""

import argparse
import pathlib
import time

import oracle  # before TensorFlow: it sets the environment
import keras
import numpy as np
import tensorflow as tf

SEED = 20240607
ROWS = 8
LOGIT_STDDEV = 1.0
LARGE_BYTES = 12 << 20

# What images lie between: as preprocessing gives them, or as files have them where the model rescales them itself.
UNIT, BYTES = (-1.0, 1.0), (0.0, 255.0)

# name: (constructor, height and width of the input, its range)
CONVNETS = {
    "mobilenet_v2": (keras.applications.MobileNetV2, 224, UNIT),
    "resnet50": (keras.applications.ResNet50, 224, UNIT),
    "inception_v3": (keras.applications.InceptionV3, 299, UNIT),
    "efficientnet_b0": (keras.applications.EfficientNetB0, 224, BYTES),
    "vgg16": (keras.applications.VGG16, 224, UNIT),
    "densenet121": (keras.applications.DenseNet121, 224, UNIT),
    "nasnet_mobile": (keras.applications.NASNetMobile, 224, UNIT),
    "mobilenet_v3_large": (keras.applications.MobileNetV3Large, 224, BYTES),
    "convnext_tiny": (keras.applications.ConvNeXtTiny, 224, BYTES),
    "efficientnet_v2_b0": (keras.applications.EfficientNetV2B0, 224, BYTES),
    "xception": (keras.applications.Xception, 299, UNIT),
}
NAMES = ["mobilenet_v2", "resnet50", "inception_v3", "efficientnet_b0", "vgg16", "bert_base"]
MORE = [*(name for name in CONVNETS if name not in NAMES), "unet", "vit_s16"]


# ---- convolutional nets ------------------------------------------------------------------------------------------


def images(rng, rows, size, low, high):
    """Images with coarse structure and fine noise: pure noise averages out and all rows would look alike."""
    coarse = rng.normal(size=(rows, 7, 7, 3)).astype(np.float32)
    smooth = tf.image.resize(coarse, (size, size), method="bicubic").numpy()
    fine = rng.normal(scale=0.3, size=(rows, size, size, 3)).astype(np.float32)
    unit = 0.5 + 0.25 * (smooth + fine)
    return (low + (high - low) * np.clip(unit, 0.0, 1.0)).astype(np.float32)


def settle(model, batch, rng):
    """Gives every layer weights under which `batch` keeps unit variance, in one walk through the model."""

    last = model.layers[-1]

    def moments(y):
        """Of each channel over all positions; where there is but one, nothing and the spread of the channels."""
        if y.shape.num_elements() == y.shape[-1]:
            return tf.zeros(y.shape[-1:]), tf.fill(y.shape[-1:], tf.math.reduce_variance(y))
        return tf.nn.moments(y, list(range(y.ndim - 1)))

    def weighted(layer, x):
        bias = getattr(layer, "bias", None)
        activation, layer.activation = layer.activation, keras.activations.linear
        y = layer(x)
        mean, variance = moments(y)
        scale = (LOGIT_STDDEV if layer is last else 1.0) / tf.sqrt(tf.reduce_mean(variance) + 1e-12)
        layer.kernel.assign(layer.kernel * scale)
        if bias is not None:
            # What all rows have in common would drown the classes' differences between them.
            bias.assign(rng.uniform(-0.3, 0.3, bias.shape) - (mean * scale if layer is last else 0.0))
        layer.activation = activation
        return layer(x)

    def normalized(layer, x):
        mean, variance = moments(x)
        channels = mean.shape
        layer.moving_mean.assign(mean + rng.uniform(-0.3, 0.3, channels))
        # A floor, or quiet channels would be amplified and rounding with them.
        floor = 0.5 * tf.reduce_mean(variance)
        layer.moving_variance.assign(tf.maximum(variance, floor) * rng.uniform(0.5, 1.5, channels))
        if layer.gamma is not None:
            layer.gamma.assign(rng.uniform(0.8, 1.2, channels))
        if layer.beta is not None:
            layer.beta.assign(rng.uniform(-0.3, 0.3, channels))
        return layer(x, training=False)

    def call(layer):
        if isinstance(layer, keras.layers.BatchNormalization):
            return lambda x, **_mask: normalized(layer, x)
        if hasattr(layer, "kernel"):
            return lambda x, **_mask: weighted(layer, x)
        return layer

    model._run_through_graph(batch, operation_fn=call)


def unet(size):
    """Five levels of two 3x3 convolutions each, as in arXiv:1505.04597 with batch norms and half the channels."""
    layers = keras.layers

    def twice(x, channels):
        for _ in range(2):
            x = layers.Conv2D(channels, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        return x

    x = entry = keras.Input((size, size, 3))
    skipped = []
    for channels in (32, 64, 128, 256):
        x = twice(x, channels)
        skipped.append(x)
        x = layers.MaxPooling2D()(x)
    x = twice(x, 512)
    for skip in reversed(skipped):
        x = layers.Conv2DTranspose(skip.shape[-1], 2, strides=2)(x)
        x = twice(layers.Concatenate()([skip, x]), skip.shape[-1])
    return keras.Model(entry, layers.Conv2D(2, 1, activation="softmax")(x))


class Tokens(keras.layers.Layer):
    """Patches in a row behind a token of the class, each with its position added."""

    def build(self, shape):
        _, rows, columns, width = shape
        add = lambda name, tokens: self.add_weight(name=name, shape=(1, tokens, width), initializer=normal(0.5))
        self.token, self.position = add("class_token", 1), add("position_embeddings", rows * columns + 1)

    def call(self, x):
        shape = tf.shape(x)
        patches = tf.reshape(x, [shape[0], -1, x.shape[-1]])
        return tf.concat([tf.repeat(self.token, shape[0], axis=0), patches], axis=1) + self.position


def vit(size):
    """ViT-S/16 (arXiv:2010.11929): 12 layers of 384 with six heads, over patches of 16 x 16."""
    layers, width = keras.layers, 384
    norm = lambda x: layers.LayerNormalization(epsilon=1e-6)(x)
    entry = keras.Input((size, size, 3))
    x = Tokens()(layers.Conv2D(width, 16, strides=16)(entry))
    for _ in range(12):
        y = norm(x)
        x = layers.Add()([x, layers.MultiHeadAttention(6, width // 6)(y, y)])
        y = layers.Dense(4 * width, activation="gelu")(norm(x))
        x = layers.Add()([x, layers.Dense(width)(y)])
    first = layers.Lambda(lambda tokens: tokens[:, 0])(norm(x))
    return keras.Model(entry, layers.Dense(1000, activation="softmax")(first))


def image_model(name):
    """The model, the height and width of its input, and what that lies between."""
    if name == "unet":
        return unet(256), 256, UNIT
    if name == "vit_s16":
        return vit(224), 224, UNIT
    constructor, size, limits = CONVNETS[name]
    return constructor(weights=None, input_shape=(size, size, 3)), size, limits


def convnet(name):
    keras.utils.set_random_seed(SEED)
    rng = np.random.default_rng(SEED)
    model, size, limits = image_model(name)
    rows = images(rng, ROWS, size, *limits)
    settle(model, tf.constant(rows), rng)
    function = lambda x: model(x, training=False)
    specs = [("input", [size, size, 3], tf.float32)]
    return function, specs, {"input": rows}


# ---- BERT base ---------------------------------------------------------------------------------------------------

LAYERS, HIDDEN, HEADS, FFN = 12, 768, 12, 3072
VOCABULARY, POSITIONS, SEGMENTS, LENGTH = 30522, 512, 2, 128


def normal(stddev):
    """A fresh initializer each time: one object would give equal shapes equal values."""
    return keras.initializers.TruncatedNormal(stddev=stddev)


class Embeddings(keras.layers.Layer):
    """Word, position and segment embeddings, summed."""

    def build(self, _shape):
        add = lambda name, rows: self.add_weight(name=name, shape=(rows, HIDDEN), initializer=normal(0.02))
        self.word = add("word_embeddings", VOCABULARY)
        self.position = add("position_embeddings", POSITIONS)
        self.segment = add("type_embeddings", SEGMENTS)

    def call(self, ids, segment_ids):
        words = tf.gather(self.word, ids)
        positions = self.position[: tf.shape(ids)[1], :]
        # A product with a one-hot matrix, as BERT does for its two segments.
        one_hot = tf.one_hot(tf.reshape(segment_ids, [-1]), depth=SEGMENTS, dtype=tf.float32)
        segments = tf.reshape(tf.matmul(one_hot, self.segment), tf.shape(words))
        return words + segments + positions


class Projection(keras.layers.Layer):
    """A product given by an einsum equation, plus bias: one Einsum node, as TensorFlow's own BERT exports it.

    Keras 3's EinsumDense would reshape and multiply matrices instead.
    """

    def __init__(self, equation, kernel_shape, bias_shape, stddev=0.02, **kwargs):
        super().__init__(**kwargs)
        self.equation, self.shapes, self.stddev = equation, (kernel_shape, bias_shape), stddev

    def build(self, _shape):
        kernel_shape, bias_shape = self.shapes
        self.kernel = self.add_weight(name="kernel", shape=kernel_shape, initializer=normal(self.stddev))
        self.bias = self.add_weight(name="bias", shape=bias_shape, initializer="zeros")

    def call(self, x):
        return tf.einsum(self.equation, x, self.kernel) + self.bias


class Attention(keras.layers.Layer):
    """Multi-head self-attention; `mask` is 1 where a token may be looked at."""

    def build(self, _shape):
        head = HIDDEN // HEADS
        project = lambda name, stddev: Projection(
            "abc,cde->abde", (HIDDEN, HEADS, head), (HEADS, head), stddev, name=name
        )
        # Wider than BERT's 0.02 so that the attention has a shape instead of being flat.
        self.query, self.key, self.value = project("query", 0.05), project("key", 0.05), project("value", 0.02)
        self.output_dense = Projection("abcd,cde->abe", (HEADS, head, HIDDEN), (HIDDEN,), name="attention_output")

    def call(self, x, mask):
        query = self.query(x) * (1.0 / np.sqrt(HIDDEN // HEADS))
        scores = tf.einsum("aecd,abcd->acbe", self.key(x), query)
        scores += (1.0 - tf.cast(mask, tf.float32))[:, tf.newaxis, tf.newaxis, :] * -1e9
        weights = tf.nn.softmax(scores)
        return self.output_dense(tf.einsum("acbe,aecd->abcd", weights, self.value(x)))


def bert_model():
    ids = keras.Input([LENGTH], dtype="int32", name="input_ids")
    mask = keras.Input([LENGTH], dtype="int32", name="input_mask")
    segment_ids = keras.Input([LENGTH], dtype="int32", name="segment_ids")
    norm = lambda name: keras.layers.LayerNormalization(axis=-1, epsilon=1e-12, name=name)
    dense = lambda name, rows, width: Projection("abc,cd->abd", (rows, width), (width,), name=name)
    gelu = keras.layers.Lambda(lambda x: 0.5 * x * (1.0 + tf.math.erf(x / tf.sqrt(2.0))), name="gelu")
    x = norm("embeddings_layer_norm")(Embeddings(name="embeddings")(ids, segment_ids))
    for i in range(LAYERS):
        attended = Attention(name=f"layer_{i}_attention")(x, mask)
        x = norm(f"layer_{i}_attention_norm")(keras.layers.Add()([x, attended]))
        inner = gelu(dense(f"layer_{i}_intermediate", HIDDEN, FFN)(x))
        outer = dense(f"layer_{i}_output", FFN, HIDDEN)(inner)
        x = norm(f"layer_{i}_output_norm")(keras.layers.Add()([x, outer]))
    first = keras.layers.Lambda(lambda t: tf.squeeze(t[:, 0:1, :], axis=1), name="first_token")(x)
    pooled = keras.layers.Dense(HIDDEN, activation="tanh", name="pooler")(first)
    return keras.Model([ids, mask, segment_ids], [x, pooled])


def bert(_name):
    keras.utils.set_random_seed(SEED)
    rng = np.random.default_rng(SEED)
    model = bert_model()
    for variable in model.weights:
        if variable.name == "gamma":
            variable.assign(rng.uniform(0.8, 1.2, variable.shape))
        elif variable.name in ("beta", "bias"):
            variable.assign(rng.uniform(-0.1, 0.1, variable.shape))
    lengths = rng.integers(LENGTH // 4, LENGTH + 1, size=ROWS)
    lengths[0] = LENGTH
    mask = np.arange(LENGTH)[None, :] < lengths[:, None]
    segments = mask & (np.arange(LENGTH)[None, :] >= lengths[:, None] // 2)
    feeds = {
        "input_ids": (rng.integers(1, VOCABULARY, size=(ROWS, LENGTH)) * mask).astype(np.int32),
        "input_mask": mask.astype(np.int32),
        "segment_ids": segments.astype(np.int32),
    }
    function = lambda ids, mask, segment_ids: model([ids, mask, segment_ids], training=False)
    return function, [(name, [LENGTH], tf.int32) for name in feeds], feeds


# ---- export ------------------------------------------------------------------------------------------------------


def specs_of(specs, batch):
    return [tf.TensorSpec([batch, *shape], dtype, name=name) for name, shape, dtype in specs]


def export_tflite(function, specs, path):
    """One fixed batch: XNNPACK plans its kernels only where every shape is known."""
    concrete = tf.function(function, autograph=False).get_concrete_function(*specs_of(specs, 1))
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert())


def export_onnx(function, specs, path):
    """tf2onnx copies constants until VGG16 takes more than 23 GB, so the largest ones go round it."""
    import onnx
    import tf2onnx

    graph_def, outputs = oracle.freeze(function, specs_of(specs, 1))
    large = {}
    for node in graph_def.node:
        if node.op == "Const" and len(node.attr["value"].tensor.tensor_content) >= LARGE_BYTES:
            large[f"{node.name}:0"] = value = tf.make_ndarray(node.attr["value"].tensor)
            node.op = "Placeholder"
            node.attr["shape"].shape.CopyFrom(tf.TensorShape(value.shape).as_proto())
            del node.attr["value"]
    model, _ = tf2onnx.convert.from_graph_def(
        graph_def,
        input_names=[f"{name}:0" for name, _, _ in specs] + list(large),
        output_names=[f"{name}:0" for name in outputs],
        opset=18,
    )
    inputs = [i for i in model.graph.input if i.name not in large]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in large.items())
    onnx.save(model, str(path))


def build(name, out, peers):
    start = time.time()
    function, specs, feeds = (bert if name == "bert_base" else convnet)(name)
    graph_def, outputs = oracle.freeze(function, specs_of(specs, None))
    folder = out / name
    values = oracle.write_case(folder, graph_def, feeds, outputs, rtol=1e-4, atol=1e-5)
    size = (folder / "model.pb").stat().st_size
    print(f"{name}: {len(graph_def.node)} nodes, {size} bytes, {time.time() - start:.0f} s", flush=True)
    for key, value in values.items():
        rows = value.reshape(ROWS, -1)
        print(f"  {key} {list(value.shape)}: max {rows.max():.3g}, std {rows.std():.3g}, "
              f"std between rows {rows.std(axis=0).mean():.3g}", flush=True)
    for export, path in ((export_tflite, "model.tflite"), (export_onnx, "model.onnx")) if peers else ():
        try:
            export(function, specs, folder / path)
        except Exception as error:  # a converter that cannot is no reason to stop: the peer is then missing
            print(f"  {path} not made: {type(error).__name__}: {str(error)[:300]}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("bench/out"))
    parser.add_argument("--only", action="append", choices=[*NAMES, *MORE], help="build this model only; may be repeated")
    parser.add_argument("--more", action="store_true", help="build the eight others too")
    parser.add_argument("--no-peers", action="store_true", help="leave out model.tflite and model.onnx")
    options = parser.parse_args()
    for name in options.only or (NAMES + MORE if options.more else NAMES):
        build(name, options.out, not options.no_peers)
        keras.backend.clear_session()


if __name__ == "__main__":
    main()
