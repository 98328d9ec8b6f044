#!/usr/bin/env python3
"""Writes the golden models: small graphs with TensorFlow's answers, run as tests where there is no TensorFlow.

    python tests/golden/make.py [--only TEXT]

Each covers one way a pass could go wrong: batch norm in every form Keras and TF1 write it, next to every kind of
layer, and where it must not fold; padding, residual adds, activations; and blocks of well-known nets. A case is
`models/NAME/model.pb` with `ref_tf/` beside it, in the manifest format of `bench/oracle.py`.
"""

import argparse
import pathlib
import sys
import zlib

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "bench"))

import oracle  # before TensorFlow: it sets the environment
import keras
import numpy as np
import tensorflow as tf

tf1 = tf.compat.v1
BATCH, HEIGHT, WIDTH, DEPTH = 2, 7, 9, 4
CASES = {}


def case(build):
    """Registers a builder. It takes the input and a `Weights`, and returns the outputs; its doc says what it is for."""
    CASES[build.__name__] = build
    return build


class Weights:
    """Seeded random constants."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def normal(self, *shape):
        """Kernels: unit variance in gives about unit variance out."""
        return tf.constant(self.rng.normal(scale=np.prod(shape[:-1]) ** -0.5, size=shape), tf.float32)

    def uniform(self, low, high, *shape):
        return tf.constant(self.rng.uniform(low, high, size=shape), tf.float32)

    def statistics(self, channels):
        """Batch norm's mean, variance, offset (beta) and scale (gamma)."""
        return (
            self.uniform(-0.3, 0.3, channels),
            self.uniform(0.5, 1.5, channels),
            self.uniform(-0.3, 0.3, channels),
            self.uniform(0.8, 1.2, channels),
        )


def conv(x, w, depth, size=3, strides=1, padding="SAME"):
    return tf.nn.conv2d(x, w.normal(size, size, x.shape[-1], depth), strides, padding)


def depthwise(x, w, multiplier=1, size=3, strides=1, padding="SAME"):
    kernel = w.normal(size, size, x.shape[-1], multiplier) * tf.sqrt(float(x.shape[-1]))
    return tf.nn.depthwise_conv2d(x, kernel, [1, strides, strides, 1], padding)


def norm(x, w, scale=True, offset=True):
    """The chain of Mul, Rsqrt, Sub and AddV2 that both TF1 layers and Keras write."""
    mean, variance, beta, gamma = w.statistics(x.shape[-1])
    with tf.name_scope("batchnorm_1"):
        return tf.nn.batch_normalization(
            x, mean, variance, beta if offset else None, gamma if scale else None, 1e-3
        )


def fused(x, w, version=3):
    mean, variance, beta, gamma = w.statistics(x.shape[-1])
    op = {1: tf.raw_ops.FusedBatchNorm, 2: tf.raw_ops.FusedBatchNormV2, 3: tf.raw_ops.FusedBatchNormV3}[version]
    return op(x=x, scale=gamma, offset=beta, mean=mean, variance=variance, epsilon=1e-3, is_training=False)[0]


# ---- batch norm --------------------------------------------------------------------------------------------------


@case
def bn_chain_after_conv(x, w):
    """Conv, then the unfused chain."""
    return tf.nn.relu(norm(conv(x, w, 8), w))


@case
def bn_chain_tf1_add(x, w):
    """The chain as TF1 wrote it, with Add in place of AddV2 and Identity around the statistics."""
    mean, variance, beta, gamma = (tf.identity(s) for s in w.statistics(8))
    add = lambda a, b: tf.raw_ops.Add(x=a, y=b)
    scale = tf.math.rsqrt(add(variance, tf.constant(1e-3))) * gamma
    return add(conv(x, w, 8) * scale, beta - mean * scale)


@case
def bn_chain_swapped_operands(x, w):
    """The constant on the left of the Mul and of the AddV2."""
    scale, shift = w.uniform(0.5, 1.5, 8), w.uniform(-0.3, 0.3, 8)
    return tf.raw_ops.AddV2(x=shift, y=tf.raw_ops.Mul(x=scale, y=conv(x, w, 8)))


@case
def bn_chain_divided(x, w):
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta: the textbook form."""
    mean, variance, beta, gamma = w.statistics(8)
    return (conv(x, w, 8) - mean) / tf.sqrt(variance + 1e-3) * gamma + beta


@case
def bn_no_scale(x, w):
    """scale=False, as InceptionV3 has it: Rsqrt is used directly."""
    return tf.nn.relu(norm(conv(x, w, 8), w, scale=False))


@case
def bn_no_center(x, w):
    """center=False: Neg instead of Sub."""
    return norm(conv(x, w, 8), w, offset=False)


@case
def bn_no_scale_no_center(x, w):
    return norm(conv(x, w, 8), w, scale=False, offset=False)


@case
def bn_after_conv_bias(x, w):
    """The bias goes through the scale."""
    return norm(tf.nn.bias_add(conv(x, w, 8), w.uniform(-0.5, 0.5, 8)), w)


@case
def bn_after_conv_add_bias(x, w):
    """The bias as AddV2 over [1, 1, 1, channels]."""
    return norm(conv(x, w, 8) + w.uniform(-0.5, 0.5, 1, 1, 1, 8), w)


@case
def bn_before_conv(x, w):
    """Padding comes after the norm: folding forward through SAME would be wrong at the border."""
    return conv(norm(x, w), w, 8)


@case
def bn_before_conv_valid(x, w):
    return conv(norm(x, w), w, 8, padding="VALID")


@case
def bn_between_relu_and_conv(x, w):
    """Pre-activation order, as ResNetV2 has it."""
    y = conv(tf.nn.relu(norm(x, w)), w, 8)
    return conv(tf.nn.relu(norm(y, w)), w, 8)


@case
def bn_after_dense(x, w):
    y = tf.reshape(x, [-1, HEIGHT * WIDTH * DEPTH]) @ w.normal(HEIGHT * WIDTH * DEPTH, 10)
    return norm(y, w)


@case
def bn_after_dense_bias(x, w):
    y = tf.reshape(x, [-1, HEIGHT * WIDTH * DEPTH]) @ w.normal(HEIGHT * WIDTH * DEPTH, 10)
    return tf.nn.sigmoid(norm(tf.nn.bias_add(y, w.uniform(-0.5, 0.5, 10)), w))


@case
def bn_after_dense_transposed(x, w):
    """MatMul with transpose_b: the channels are the rows of the weights."""
    y = tf.reshape(x, [-1, HEIGHT * WIDTH * DEPTH])
    return norm(tf.matmul(y, tf.transpose(w.normal(HEIGHT * WIDTH * DEPTH, 10)), transpose_b=True), w)


@case
def bn_after_depthwise(x, w):
    return tf.nn.relu6(norm(depthwise(x, w), w))


@case
def bn_after_depthwise_multiplier(x, w):
    """Channel c * multiplier + m of the output comes from channel c."""
    return norm(depthwise(x, w, multiplier=3, strides=2), w)


@case
def bn_fused_v1(x, w):
    return fused(conv(x, w, 8), w, version=1)


@case
def bn_fused_v2(x, w):
    return fused(conv(x, w, 8), w, version=2)


@case
def bn_fused_v3(x, w):
    return tf.nn.relu(fused(conv(x, w, 8), w, version=3))


@case
def bn_fused_alone(x, w):
    """No convolution to fold into."""
    return fused(x, w)


@case
def bn_fused_after_depthwise(x, w):
    return fused(depthwise(x, w), w)


@case
def bn_twice(x, w):
    return norm(fused(conv(x, w, 8), w), w)


@case
def bn_conv_used_twice(x, w):
    """The convolution's own output is used too: it must not become the folded one."""
    y = conv(x, w, 8)
    return norm(y, w) + tf.nn.sigmoid(y)


@case
def bn_conv_is_output(x, w):
    """The convolution's own output is fetched."""
    y = conv(x, w, 8)
    return tf.nn.relu(norm(y, w)), y


@case
def bn_two_norms_of_one_conv(x, w):
    y = conv(x, w, 8)
    return norm(y, w) * norm(y, w)


@case
def bn_filter_shared(x, w):
    """Two convolutions with one filter and different norms."""
    kernel = w.normal(3, 3, DEPTH, 8)
    y = tf.nn.conv2d(x, kernel, 1, "SAME")
    z = tf.nn.conv2d(x, kernel, 2, "SAME")
    return norm(y, w), norm(z, w)


@case
def bn_scale_of_width(x, w):
    """A Mul and an AddV2 that look like a norm, but run along the width, not the channels."""
    y = conv(x, w, WIDTH)
    return y * w.uniform(0.5, 1.5, WIDTH, 1) + w.uniform(-0.3, 0.3, WIDTH, 1)


@case
def bn_scalar_scale(x, w):
    """One number for all channels."""
    return conv(x, w, 8) * tf.constant(0.37) + tf.constant(0.11)


@case
def bn_grouped_conv(x, w):
    """Two groups: the filter has half the input's channels."""
    return tf.nn.relu(norm(tf.nn.conv2d(x, w.normal(3, 3, DEPTH // 2, 8), 1, "SAME"), w))


# ---- padding -----------------------------------------------------------------------------------------------------


@case
def pad_conv(x, w):
    """ZeroPadding2D, then VALID with stride 2: ResNet's first layer."""
    return conv(tf.pad(x, [[0, 0], [3, 3], [3, 3], [0, 0]]), w, 8, size=7, strides=2, padding="VALID")


@case
def pad_conv_uneven(x, w):
    """Only at the bottom and right: MobileNet's and EfficientNet's stride 2."""
    return conv(tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]]), w, 8, strides=2, padding="VALID")


@case
def pad_conv_same(x, w):
    """Pad before SAME: the window is counted from the padded size."""
    return conv(tf.pad(x, [[0, 0], [1, 2], [0, 1], [0, 0]]), w, 8, strides=2, padding="SAME")


@case
def pad_depthwise(x, w):
    return norm(depthwise(tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]]), w, strides=2, padding="VALID"), w)


@case
def pad_value_conv(x, w):
    """PadV2 with another value than zero: not what a convolution pads with."""
    y = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=0.7)
    return conv(y, w, 8, padding="VALID")


@case
def pad_channels_conv(x, w):
    """Channels are padded too."""
    return conv(tf.pad(x, [[0, 0], [1, 1], [1, 1], [1, 2]]), w, 8, padding="VALID")


@case
def pad_used_twice(x, w):
    y = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return conv(y, w, 8, padding="VALID"), tf.reduce_max(y, axis=[1, 2])


@case
def pad_max_pool(x, w):
    """Zeros take part in the maximum, and the values may be below zero."""
    return tf.nn.max_pool2d(tf.pad(x - 1.0, [[0, 0], [1, 1], [1, 1], [0, 0]]), 3, 2, "VALID")


@case
def pad_average_pool(x, w):
    """Padded zeros count in the mean; SAME's own do not."""
    y = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return tf.nn.avg_pool2d(y, 3, 2, "VALID"), tf.nn.avg_pool2d(x, 3, 2, "SAME")


# ---- residual adds -----------------------------------------------------------------------------------------------


@case
def residual(x, w):
    y = norm(conv(tf.nn.relu(norm(conv(x, w, 8), w)), w, DEPTH), w)
    return tf.nn.relu(x + y)


@case
def residual_before_norm(x, w):
    """The add comes before the norm, so the norm scales both sides."""
    return norm(conv(x, w, DEPTH) + x, w)


@case
def residual_two_convs(x, w):
    """Both sides are convolutions: ResNet's projection shortcut."""
    return tf.nn.relu(norm(conv(x, w, 8), w) + norm(conv(x, w, 8, size=1), w))


@case
def residual_after_activation(x, w):
    """The activation stands between the convolution and the add."""
    return tf.nn.relu(conv(x, w, DEPTH)) + x


@case
def residual_twice(x, w):
    """x + conv(x) where the sum and its addend live on."""
    y = x + conv(x, w, DEPTH)
    z = y + conv(y, w, DEPTH)
    return y - z


@case
def residual_itself(x, w):
    y = conv(x, w, 8)
    return y + y


@case
def residual_broadcast(x, w):
    """The other side is smaller and repeats over rows and columns: no plain residual."""
    return conv(x, w, DEPTH) + tf.reduce_mean(x, axis=[1, 2], keepdims=True)


@case
def residual_dense(x, w):
    y = tf.reduce_mean(x, axis=[1, 2])
    return tf.nn.relu(y + tf.nn.bias_add(y @ w.normal(DEPTH, DEPTH), w.uniform(-0.3, 0.3, DEPTH)))


# ---- open height and width ---------------------------------------------------------------------------------------


@case
def open_convolutional(x, w):
    """A fully convolutional net: the sizes are known only when it runs."""
    y = tf.nn.relu(norm(conv(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), w, 8, strides=2, padding="VALID"), w))
    y = tf.nn.max_pool2d(tf.nn.relu6(norm(depthwise(y, w), w)), 2, 2, "SAME")
    return tf.nn.softmax(tf.reduce_mean(y, axis=[1, 2]) @ w.normal(8, 5))


@case
def open_resize_back(x, w):
    """Resized to the input's own size, which is computed in the graph."""
    y = tf.nn.avg_pool2d(conv(x, w, 6), 2, 2, "SAME")
    return tf.concat([x, tf.image.resize(y, tf.shape(x)[1:3])], axis=-1)


# ---- activations -------------------------------------------------------------------------------------------------


def erf_gelu(x):
    return 0.5 * x * (1.0 + tf.math.erf(x / tf.sqrt(2.0)))


def tanh_gelu(x):
    return 0.5 * x * (1.0 + tf.tanh(tf.sqrt(2.0 / np.pi) * (x + 0.044715 * tf.pow(x, 3))))


ACTIVATIONS = {
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "sigmoid": tf.nn.sigmoid,
    "swish": lambda x: x * tf.nn.sigmoid(x),
    "gelu_erf": erf_gelu,
    "gelu_erf_tf": lambda x: tf.nn.gelu(x, approximate=False),
    "gelu_tanh": tanh_gelu,
    "gelu_tanh_tf": lambda x: tf.nn.gelu(x, approximate=True),
    "hard_sigmoid": lambda x: tf.nn.relu6(x + 3.0) * (1.0 / 6.0),
    "hard_swish": lambda x: x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0),
    "hard_swish_divided": lambda x: x * (tf.nn.relu6(x + 3.0) / 6.0),
    "leaky_relu": lambda x: tf.nn.leaky_relu(x, alpha=0.3),
    "tanh": tf.tanh,
    "elu": tf.nn.elu,
    "selu": tf.nn.selu,
    "softplus": tf.nn.softplus,
    "softsign": tf.nn.softsign,
    "prelu": lambda x: tf.nn.relu(x) - 0.25 * tf.nn.relu(-x),
    "clip": lambda x: tf.clip_by_value(x, -0.5, 0.75),
}


def activation_case(name, function):
    def build(x, w):
        y = tf.nn.bias_add(conv(x * 2.0, w, 6), w.uniform(-1.0, 1.0, 6))
        z = tf.reduce_mean(x, axis=[1, 2]) @ w.normal(DEPTH, 5)
        # After a convolution, after a dense layer, and with nothing before it.
        return function(y), function(z), function(tf.identity(x) * 4.0)

    CASES[f"act_{name}"] = build


for _name, _function in ACTIVATIONS.items():
    activation_case(_name, _function)


@case
def act_between_bias_and_norm(x, w):
    """An activation stops the norm from folding."""
    return norm(tf.nn.relu(tf.nn.bias_add(conv(x, w, 8), w.uniform(-0.3, 0.3, 8))), w)


@case
def act_of_shared_conv(x, w):
    """Two activations of one convolution."""
    y = conv(x, w, 8)
    return tf.nn.relu(y) + tf.tanh(y)


# ---- Keras blocks ------------------------------------------------------------------------------------------------


def keras_case(build, shape=(HEIGHT, WIDTH, DEPTH)):
    """Registers a Keras model, exported as users do it."""
    build.shape = shape
    build.is_keras = True
    return case(build)


def keras_norm(x, **options):
    return keras.layers.BatchNormalization(**options)(x)


@keras_case
def keras_inverted_residual(x):
    """MobileNetV2's block."""
    layers = keras.layers
    y = layers.ReLU(6.0)(keras_norm(layers.Conv2D(12, 1, use_bias=False)(x)))
    y = layers.ReLU(6.0)(keras_norm(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)))
    return layers.Add()([x, keras_norm(layers.Conv2D(DEPTH, 1, use_bias=False)(y))])


@keras_case
def keras_bottleneck(x):
    """ResNet50's block with a projection."""
    layers = keras.layers
    shortcut = keras_norm(layers.Conv2D(16, 1, strides=2)(x), epsilon=1.001e-5)
    y = layers.Activation("relu")(keras_norm(layers.Conv2D(4, 1, strides=2)(x), epsilon=1.001e-5))
    y = layers.Activation("relu")(keras_norm(layers.Conv2D(4, 3, padding="same")(y), epsilon=1.001e-5))
    y = keras_norm(layers.Conv2D(16, 1)(y), epsilon=1.001e-5)
    return layers.Activation("relu")(layers.Add()([shortcut, y]))


@keras_case
def keras_squeeze_excite(x):
    """EfficientNet's block with its gate."""
    layers = keras.layers
    y = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    y = layers.DepthwiseConv2D(3, strides=2, padding="valid", use_bias=False)(y)
    y = layers.Activation("swish")(keras_norm(y))
    gate = layers.Reshape((1, 1, DEPTH))(layers.GlobalAveragePooling2D()(y))
    gate = layers.Conv2D(2, 1, activation="swish")(gate)
    gate = layers.Conv2D(DEPTH, 1, activation="sigmoid")(gate)
    return keras_norm(layers.Conv2D(8, 1, use_bias=False)(layers.multiply([y, gate])))


@keras_case
def keras_inception(x):
    """Branches that end in one concatenation."""
    layers = keras.layers
    unit = lambda t, depth, size: layers.Activation("relu")(
        keras_norm(layers.Conv2D(depth, size, padding="same", use_bias=False)(t), scale=False)
    )
    pooled = unit(layers.AveragePooling2D(3, strides=1, padding="same")(x), 3, 1)
    return layers.concatenate([unit(x, 5, 1), unit(unit(x, 4, 1), 6, (1, 7)), pooled, x])


@keras_case
def keras_classifier(x):
    """Convolutions, pooling, Flatten, dense layers, softmax."""
    layers = keras.layers
    y = layers.MaxPooling2D()(layers.Conv2D(6, 3, activation="relu")(x))
    y = layers.Dense(10, activation="relu")(layers.Dropout(0.5)(layers.Flatten()(y)))
    return layers.Dense(5, activation="softmax")(y)


@keras_case
def keras_separable(x):
    layers = keras.layers
    y = layers.SeparableConv2D(6, 3, padding="same", activation="hard_swish")(x)
    return layers.LeakyReLU(0.2)(keras_norm(layers.SeparableConv2D(5, 3, strides=2, depth_multiplier=2)(y)))


@keras_case
def keras_upsampling(x):
    """A small encoder and decoder with a skip."""
    layers = keras.layers
    y = layers.Conv2D(6, 3, padding="same", activation="elu")(layers.ZeroPadding2D(((0, 1), (0, 1)))(x))
    down = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(y)
    up = layers.UpSampling2D(2, interpolation="bilinear")(down)
    return layers.Conv2D(2, 1, activation="sigmoid")(layers.concatenate([y, up]))


def attention_block(x):
    """A transformer block out of Keras' own layers."""
    layers = keras.layers
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    y = layers.Add()([x, layers.MultiHeadAttention(num_heads=2, key_dim=8)(y, y)])
    z = layers.LayerNormalization(epsilon=1e-6)(y)
    z = layers.Dense(16)(layers.Dense(32, activation="gelu")(z))
    return layers.Add()([y, z])


attention_block.__name__ = "keras_transformer"
keras_case(attention_block, shape=(6, 16))


def einsum_dense(x):
    """EinsumDense as Keras lowers it, in the three shapes a transformer uses."""
    layers = keras.layers
    heads = layers.EinsumDense("abc,cde->abde", output_shape=(None, 2, 8), bias_axes="de")(x)
    merged = layers.EinsumDense("abcd,cde->abe", output_shape=(None, 16), bias_axes="e")(heads)
    return layers.EinsumDense("abc,cd->abd", output_shape=(None, 12), bias_axes="d", activation="tanh")(merged)


einsum_dense.__name__ = "keras_einsum_dense"
keras_case(einsum_dense, shape=(6, 16))


# ---- weights stored narrow ----------------------------------------------------------------------------------------


@case
def weights_compressed(x, w):
    """Halves that are converted, and bytes with a zero point and a scale for each column; both large enough to be streamed."""
    flat = tf.reshape(x, [-1, HEIGHT * WIDTH * DEPTH])
    half = (w.rng.normal(size=(HEIGHT * WIDTH * DEPTH, 132)) / 16).astype(np.float16)
    y = tf.tanh(tf.matmul(flat, tf.cast(tf.constant(half), tf.float32)))
    levels = w.rng.integers(0, 256, (132, 500)).astype(np.uint8)
    zero = w.rng.integers(100, 150, (1, 500)).astype(np.float32)
    scale = w.uniform(0.0005, 0.002, 500)
    return tf.matmul(y, (tf.cast(tf.constant(levels), tf.float32) - zero) * scale)


# ---- writing -----------------------------------------------------------------------------------------------------


def seed_of(name):
    return zlib.crc32(name.encode())


def graph_case(name, build):
    """A TF1-style graph; the batch is left open, and height and width too where the builder says so."""
    size = (None, None) if name.startswith("open_") else (HEIGHT, WIDTH)

    def trace():
        x = tf1.placeholder(tf.float32, [None, *size, DEPTH], name="input")
        outputs = build(x, Weights(seed_of(name)))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return [tf.identity(y, name=f"output_{i}").op.name for i, y in enumerate(outputs)]

    graph_def, outputs = oracle.graph_of(trace)
    return oracle.prune(graph_def, outputs), outputs, (HEIGHT, WIDTH, DEPTH)


def keras_model_case(name, build):
    keras.utils.set_random_seed(seed_of(name))
    rng = np.random.default_rng(seed_of(name))
    inputs = keras.Input(build.shape)
    model = keras.Model(inputs, build(inputs))
    spread = {"moving_mean": (-0.3, 0.3), "moving_variance": (0.5, 1.5), "gamma": (0.8, 1.2)}
    for variable in model.weights:
        if variable.name in (*spread, "beta", "bias"):
            variable.assign(rng.uniform(*spread.get(variable.name, (-0.3, 0.3)), variable.shape))
    spec = tf.TensorSpec([None, *build.shape], tf.float32, name="input")
    graph_def, outputs = oracle.freeze(lambda x: model(x, training=False), [spec])
    return oracle.prune(graph_def, outputs), outputs, build.shape


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name contains this text")
    options = parser.parse_args()
    for name, build in CASES.items():
        if options.only not in name:
            continue
        make = keras_model_case if hasattr(build, "is_keras") else graph_case
        graph_def, outputs, shape = make(name, build)
        rows = np.random.default_rng(seed_of(name) + 1).normal(size=(BATCH, *shape)).astype(np.float32)
        values = oracle.write_case(
            HERE / "models" / name, graph_def, {"input": rows}, outputs, rtol=1e-4, atol=1e-5
        )
        for key, value in values.items():
            assert np.isfinite(value).all() and value.std() > 1e-3, f"{name}: {key} says nothing"
        print(f"{name}: {len(graph_def.node)} nodes, {', '.join(str(list(v.shape)) for v in values.values())}")


if __name__ == "__main__":
    main()
