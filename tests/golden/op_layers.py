"""Golden cases of operators that make up layers: images, convolution, matrices, and patterns of several."""

from op_cases import case, case_per
import numpy as np
import tensorflow as tf

raw = tf.raw_ops


# ---- images ------------------------------------------------------------------------------------------------------


def resize_case(name, align_corners, half_pixel_centers):
    @case(f"resize_{name}", rtol=1e-5)
    def resize(g):
        modes = {"align_corners": align_corners, "half_pixel_centers": half_pixel_centers}
        x = g.input("x", (2, 5, 7, 2), open_dims=(0,))
        u = g.input("u", (1, 4, 3, 1), "uint8", 0, 255)
        size = g.feed("size", [3, 11], "int32")
        bilinear = lambda image, to: raw.ResizeBilinear(images=image, size=to, **modes)
        nearest = lambda image, to: raw.ResizeNearestNeighbor(images=image, size=to, **modes)
        g.out(
            bilinear_up=bilinear(x, [9, 12]), bilinear_down=bilinear(x, [3, 4]), bilinear_same=bilinear(x, [5, 7]),
            bilinear_one=bilinear(x, [1, 1]), bilinear_fed=bilinear(x, size), bilinear_bytes=bilinear(u, [7, 5]),
            nearest_up=nearest(x, [9, 12]), nearest_down=nearest(x, [3, 4]), nearest_fed=nearest(x, size),
            nearest_bytes=nearest(u, [7, 5]),
        )


resize_case("legacy", False, False)
resize_case("align_corners", True, False)
resize_case("half_pixel_centers", False, True)


@case(rtol=1e-5)
def pooling(g):
    x = g.input("x", (2, 7, 8, 3), open_dims=(0,))
    max_pool = lambda k, s, p: tf.nn.max_pool2d(x - 3.0, k, s, p)
    average = lambda k, s, p: tf.nn.avg_pool2d(x, k, s, p)
    g.out(
        max_valid=max_pool(2, 2, "VALID"), max_same=max_pool(3, 2, "SAME"), max_uneven=max_pool((3, 2), (2, 3), "SAME"),
        max_dense=max_pool(3, 1, "SAME"), max_sparse=max_pool(1, 3, "VALID"), max_whole=max_pool((7, 8), 1, "VALID"),
        max_explicit=max_pool(3, 2, [[0, 0], [1, 0], [1, 1], [0, 0]]), average_valid=average(2, 2, "VALID"),
        average_same=average(3, 2, "SAME"), average_uneven=average((2, 3), (3, 2), "SAME"), average_dense=average(3, 1, "SAME"),
        average_whole=average((7, 8), 1, "VALID"), average_larger=average(9, 4, "SAME"),
        max_v2=raw.MaxPoolV2(input=x, ksize=[1, 3, 3, 1], strides=[1, 2, 2, 1], padding="VALID"),
    )


@case_per(("float64", "float16", "bfloat16"), looser=4.0)
def pooling_of(g, dtype):
    x = g.input("x", (1, 5, 6, 2), dtype, 0.0, 1.0)
    g.out(max=tf.nn.max_pool2d(x, 3, 2, "SAME"), average=tf.nn.avg_pool2d(x, 2, 2, "VALID"))


# ---- convolution -------------------------------------------------------------------------------------------------


@case(rtol=1e-4, atol=1e-5)
def conv2d(g):
    x = g.input("x", (2, 7, 9, 3), open_dims=(0,))
    kernel = lambda h, w, i=3, o=4: tf.constant(g.rng.normal(scale=0.4, size=(h, w, i, o)), tf.float32)
    conv = tf.nn.conv2d
    g.out(
        same=conv(x, kernel(3, 3), 1, "SAME"), valid=conv(x, kernel(3, 3), 1, "VALID"), same_2=conv(x, kernel(3, 3), 2, "SAME"),
        valid_2=conv(x, kernel(3, 3), 2, "VALID"), even=conv(x, kernel(2, 4), 1, "SAME"), even_3=conv(x, kernel(4, 2), 3, "SAME"),
        uneven=conv(x, kernel(3, 5), (2, 3), "SAME"), pointwise=conv(x, kernel(1, 1), 1, "VALID"),
        pointwise_2=conv(x, kernel(1, 1), 2, "SAME"), row=conv(x, kernel(1, 7), 1, "SAME"), column=conv(x, kernel(7, 1), 1, "VALID"),
        explicit=conv(x, kernel(3, 3), 2, [[0, 0], [2, 1], [0, 3], [0, 0]]), larger=conv(x, kernel(9, 11, o=2), 1, "SAME"),
        dilated=conv(x, kernel(3, 3), 1, "SAME", dilations=2), dilated_valid=conv(x, kernel(3, 2), 1, "VALID", dilations=(2, 3)),
        dilated_explicit=conv(x, kernel(2, 2), 1, [[0, 0], [1, 2], [3, 0], [0, 0]], dilations=(3, 2)),
        groups=conv(x, kernel(3, 3, 1, 6), 1, "SAME"), one_channel=conv(x, kernel(3, 3, 3, 1), 2, "VALID"),
        wide=conv(x, kernel(3, 3, 3, 37), 2, "VALID"),
    )


@case(rtol=1e-4, atol=1e-5)
def conv2d_fed_filter(g):
    """The filter is not a constant."""
    x = g.input("x", (1, 5, 5, 2))
    kernel = g.input("kernel", (3, 3, 2, 3))
    g.out(conv=tf.nn.conv2d(x, kernel, 1, "SAME"), depthwise=tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME"))


@case_per(("float64", "float16", "bfloat16"), looser=10.0)
def conv2d_of(g, dtype):
    x = g.input("x", (1, 5, 6, 3), dtype, 0.0, 1.0)
    kernel = tf.cast(tf.constant(g.rng.uniform(0.0, 1.0, (3, 3, 3, 4))), x.dtype)
    g.out(same=tf.nn.conv2d(x, kernel, 1, "SAME"), valid=tf.nn.conv2d(x, kernel, 2, "VALID"))


@case(rtol=1e-4, atol=1e-5)
def depthwise_conv2d(g):
    x = g.input("x", (2, 7, 9, 5), open_dims=(0,))
    kernel = lambda h, w, m=1: tf.constant(g.rng.normal(scale=0.5, size=(h, w, 5, m)), tf.float32)
    conv = lambda k, s, p: raw.DepthwiseConv2dNative(input=x, filter=k, strides=[1, s, s, 1], padding=p)
    g.out(
        same=conv(kernel(3, 3), 1, "SAME"), valid=conv(kernel(3, 3), 1, "VALID"), same_2=conv(kernel(3, 3), 2, "SAME"),
        valid_2=conv(kernel(5, 5), 2, "VALID"), even=conv(kernel(2, 4), 1, "SAME"), multiplier=conv(kernel(3, 3, 3), 2, "SAME"),
        pointwise=conv(kernel(1, 1, 2), 1, "SAME"), larger=conv(kernel(9, 9), 3, "SAME"),
        explicit=raw.DepthwiseConv2dNative(
            input=x, filter=kernel(3, 3), strides=[1, 2, 2, 1], padding="EXPLICIT", explicit_paddings=[0, 0, 0, 1, 2, 0, 0, 0]
        ),
        separable=tf.nn.separable_conv2d(x, kernel(3, 3, 2), tf.constant(g.rng.normal(size=(1, 1, 10, 4)), tf.float32), [1, 1, 1, 1], "SAME"),
    )


# ---- matrices ----------------------------------------------------------------------------------------------------


@case(rtol=1e-4, atol=1e-5)
def matmul(g):
    a, b = g.input("a", (5, 7), open_dims=(0,)), g.input("b", (7, 4))
    at, bt = g.input("at", (7, 5)), g.input("bt", (4, 7))
    none = g.input("none", (3, 0))
    w = tf.constant(g.rng.normal(size=(7, 33)), tf.float32)
    i, j = g.input("i", (2, 3), "int32", -9, 9), g.input("j", (3, 2), "int32", -9, 9)
    d = g.input("d", (3, 3), "float64")
    g.out(
        plain=a @ b, a_transposed=tf.matmul(at, b, transpose_a=True), b_transposed=tf.matmul(a, bt, transpose_b=True),
        both=tf.matmul(at, bt, transpose_a=True, transpose_b=True), row=a[:1] @ b, column=a @ b[:, :1], weights=a @ w,
        weights_transposed=tf.matmul(a, tf.constant(g.rng.normal(size=(17, 7)), tf.float32), transpose_b=True),
        nothing_inside=tf.matmul(none, none, transpose_b=True), no_rows=a[:0] @ b, ints=i @ j, doubles=d @ d,
    )


@case_per(("float16", "bfloat16"), looser=10.0)
def matmul_narrow(g, dtype):
    a, b = g.input("a", (5, 7), dtype, 0.0, 1.0), g.input("b", (7, 4), dtype, 0.0, 1.0)
    g.out(plain=tf.matmul(a, b), softmax=tf.nn.softmax(a), batch=tf.matmul(tf.reshape(a, [5, 1, 7]), b))


@case(rtol=1e-4, atol=1e-5)
def batch_matmul(g):
    a, b = g.input("a", (2, 3, 4, 5), open_dims=(0,)), g.input("b", (2, 3, 5, 6), open_dims=(0,))
    one, few = g.input("one", (5, 6)), g.input("few", (3, 1, 5, 2))
    w = tf.constant(g.rng.normal(size=(1, 3, 5, 4)), tf.float32)
    v2 = raw.BatchMatMulV2
    g.out(
        plain=a @ b, old=raw.BatchMatMul(x=a, y=b), adj_x=v2(x=tf.transpose(a, [0, 1, 3, 2]), y=b, adj_x=True),
        adj_y=v2(x=a, y=tf.transpose(b, [0, 1, 3, 2]), adj_y=True), 
        adj_both=v2(x=tf.transpose(a, [0, 1, 3, 2]), y=tf.transpose(b, [0, 1, 3, 2]), adj_x=True, adj_y=True),
        right_broadcast=v2(x=a, y=one), left_broadcast=v2(x=tf.transpose(one), y=tf.transpose(a, [0, 1, 3, 2])),
        both_broadcast=v2(x=a[:, :1], y=few[:, 0]), outer_broadcast=v2(x=a[:1, :1], y=few), weights=v2(x=a, y=w),
        vector=tf.squeeze(v2(x=a, y=one[:, :1]), -1), cut=a[..., :2] @ b[..., :2, :],
    )


EINSUMS = {
    "matmul": ("ij,jk->ik", (3, 4), (4, 5)),
    "transposed": ("ij,kj->ki", (3, 4), (5, 4)),
    "batch": ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    "project_heads": ("abc,cde->abde", (2, 3, 8), (8, 2, 4)),
    "merge_heads": ("abcd,cde->abe", (2, 3, 2, 4), (2, 4, 8)),
    "dense": ("abc,cd->abd", (2, 3, 8), (8, 5)),
    "scores": ("aecd,abcd->acbe", (2, 5, 3, 4), (2, 6, 3, 4)),
    "mix": ("acbe,aecd->abcd", (2, 3, 6, 5), (2, 5, 3, 4)),
    "scores_bert": ("BTNH,BFNH->BNFT", (2, 5, 3, 4), (2, 6, 3, 4)),
    "mix_bert": ("BNFT,BTNH->BFNH", (2, 3, 6, 5), (2, 5, 3, 4)),
    "heads_first": ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    "ellipsis": ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)),
    "ellipsis_moved": ("i...,ij->...j", (4, 2, 3), (4, 5)),
    "outer": ("i,j->ij", (3,), (4,)),
    "inner": ("ij,ij->", (3, 4), (3, 4)),
    "elementwise": ("ij,ij->ji", (3, 4), (3, 4)),
    "summed_away": ("ijk,kl->il", (3, 4, 5), (5, 2)),
    "broadcast_scale": ("ijk,j->ikj", (3, 4, 5), (4,)),
    "two_inside": ("abcd,bcde->ae", (2, 3, 2, 4), (3, 2, 4, 5)),
    "transpose": ("ijk->kij", (2, 3, 4)),
    "sum": ("ijk->j", (2, 3, 4)),
    "sum_all": ("ij->", (2, 3)),
    "diagonal": ("ii->i", (4, 4)),
    "trace": ("bii->b", (2, 4, 4)),
}


@case(rtol=1e-4, atol=1e-5)
def einsum(g):
    for name, (equation, *shapes) in EINSUMS.items():
        operands = [g.input(f"{name}_{'xy'[i]}", shape) for i, shape in enumerate(shapes)]
        g.out(**{name: raw.Einsum(inputs=operands, equation=equation)})


@case(rtol=1e-5, atol=1e-7)
def softmax(g):
    x = g.input("x", (2, 3, 5), low=-6.0, high=6.0, open_dims=(0,))
    large = g.feed("large", [[1e4, 1e4 - 1.0, 0.0], [-1e4, -1e4, -1e4], [88.0, -88.0, 0.0]], "float32")
    masked = g.feed("masked", [[0.5, -1e9, -1e9], [-np.inf, 1.0, 2.0]], "float32")
    d = g.input("d", (2, 4), "float64")
    g.out(
        softmax=tf.nn.softmax(x), rows=tf.nn.softmax(large), masked_rows=tf.nn.softmax(masked), middle=tf.nn.softmax(x, axis=1),
        vector=tf.nn.softmax(x[0, 0]), one=tf.nn.softmax(x[..., :1]), log=tf.nn.log_softmax(x), log_large=tf.nn.log_softmax(large),
        doubles=tf.nn.softmax(d),
    )


# ---- patterns ----------------------------------------------------------------------------------------------------


def layer_norm_weights(g, width=16):
    weights = lambda low, high: tf.constant(g.rng.uniform(low, high, width), tf.float32)
    return weights(0.5, 1.5), weights(-0.5, 0.5)


@case(rtol=1e-4, atol=1e-5)
def layer_norm(g):
    """As Keras 3, TF1 and hand-written code spell it; the last ones only look like it."""
    x = g.input("x", (2, 6, 16), open_dims=(0,))
    gamma, beta = layer_norm_weights(g)

    def keras_3():
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        inverse = tf.math.rsqrt(variance + 1e-6) * tf.reshape(gamma, [1, 1, 16])
        return x * inverse + (-mean * inverse + tf.reshape(beta, [1, 1, 16]))

    def tf1_layers():
        mean, variance = tf.nn.moments(x, [2], keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-12)

    def by_hand():
        centred = x - tf.reduce_mean(x, -1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), -1, keepdims=True)
        return centred / tf.sqrt(variance + 1e-5) * gamma + beta

    def multiplied():
        centred = x - tf.reduce_mean(x, -1, keepdims=True)
        return gamma * (centred * tf.math.rsqrt(tf.reduce_mean(centred * centred, -1, keepdims=True) + 1e-5)) + beta

    def other_axis():
        mean, variance = tf.nn.moments(x, [1], keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-6)

    def root_mean_square():
        return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), -1, keepdims=True) + 1e-6) * gamma

    def two_tensors():
        mean, _ = tf.nn.moments(x * 2.0, [-1], keepdims=True)
        _, variance = tf.nn.moments(x, [-1], keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-6)

    g.out(
        keras_3=keras_3(), tf1_layers=tf1_layers(), by_hand=by_hand(), multiplied=multiplied(), other_axis=other_axis(),
        root_mean_square=root_mean_square(), two_tensors=two_tensors(),
        no_weights=tf.nn.batch_normalization(x, *tf.nn.moments(x, [-1], keepdims=True), None, None, 1e-3),
    )


@case(rtol=1e-4, atol=1e-5)
def layer_norm_keras_2(g):
    """Keras 2 computes it as a batch norm in training mode, over [1, rows, width, 1] in NCHW."""
    x = g.input("x", (2, 6, 16), open_dims=(0,))
    gamma, beta = layer_norm_weights(g)
    rows = tf.shape(x)[0] * tf.shape(x)[1]
    ones, zeros = tf.fill([rows], 1.0), tf.fill([rows], 0.0)
    y = raw.FusedBatchNormV3(
        x=tf.reshape(x, [1, rows, 16, 1]), scale=ones, offset=zeros, mean=[], variance=[], epsilon=1e-3,
        data_format="NCHW", is_training=True,
    )[0]
    g.out(y=tf.reshape(y, tf.shape(x)) * gamma + beta)


@case(rtol=1e-4, atol=1e-6)
def gelu(g):
    """By erf and by tanh, in the spellings found in models; the last two only look like it."""
    x = g.feed("x", np.linspace(-5.0, 5.0, 33), "float32", open_dims=(0,))
    root = float(np.sqrt(2.0 / np.pi))
    g.out(
        keras=tf.nn.gelu(x, approximate=False), keras_tanh=tf.nn.gelu(x, approximate=True),
        halved_last=x * (0.5 * (1.0 + tf.math.erf(x / tf.sqrt(2.0)))), multiplied=0.5 * x * (1.0 + tf.math.erf(x * float(np.sqrt(0.5)))),
        bert=x * (0.5 * (1.0 + tf.tanh(root * (x + 0.044715 * tf.pow(x, 3))))),
        cubed_by_hand=0.5 * x * (1.0 + tf.tanh(root * (x + 0.044715 * x * x * x))),
        by_erfc=0.5 * x * tf.math.erfc(-x * float(np.sqrt(0.5))), by_sigmoid=x * tf.sigmoid(1.702 * x),
        other_constant=0.5 * x * (1.0 + tf.tanh(root * (x + 0.05 * tf.pow(x, 3)))), not_halved=x * (1.0 + tf.math.erf(x / tf.sqrt(2.0))),
    )


@case(rtol=1e-4, atol=1e-5)
def batch_of_none(g):
    """No rows in: no rows out, with the right shapes."""
    x = g.input("x", (0, 6, 6, 3), open_dims=(0,))
    y = tf.nn.relu(tf.nn.conv2d(x, tf.constant(g.rng.normal(size=(3, 3, 3, 4)), tf.float32), 1, "SAME"))
    pooled = tf.reduce_mean(tf.nn.max_pool2d(y, 2, 2, "VALID"), [1, 2])
    g.out(conv=y, softmax=tf.nn.softmax(pooled @ tf.constant(g.rng.normal(size=(4, 5)), tf.float32)), rows=tf.shape(x)[0])


@case(rtol=1e-4, atol=1e-5)
def behind_a_product(g):
    """What looks like a bias or factor per channel and is none: of another axis as long, or without a finite inverse."""
    x = g.input("x", (2, 3, 4, 5), open_dims=(0,))
    normal = lambda *shape: tf.constant(g.rng.normal(size=shape), tf.float32)
    conv = lambda: raw.Conv2D(input=x, filter=normal(1, 1, 5, 3), strides=[1, 1, 1, 1], padding="SAME")
    zeros = tf.constant([0.0, 2.0, -1.0], tf.float32)
    g.out(
        channels_second=raw.BiasAdd(value=conv(), bias=normal(3), data_format="NCHW"),
        channels_last=raw.BiasAdd(value=conv(), bias=normal(3)),
        by_zero=conv() / zeros,
        zero_by_zero=raw.Conv2D(input=x, filter=tf.zeros((1, 1, 5, 3)), strides=[1, 1, 1, 1], padding="SAME") / zeros,
    )
