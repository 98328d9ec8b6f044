"""Golden cases of operators on values: arithmetic, reductions, shapes, moving values about."""

from op_cases import FLOATS, INTEGERS, bounds, case, case_per
import numpy as np
import tensorflow as tf

raw = tf.raw_ops
tf1 = tf.compat.v1


# ---- elementwise -------------------------------------------------------------------------------------------------


@case_per(FLOATS)
def arithmetic(g, dtype):
    """Broadcasting [2, 1, 3] with [4, 1], and scalars."""
    x = g.input("x", (2, 1, 3), dtype)
    y = g.input("y", (4, 1), dtype, 0.5, 2.0)
    s = g.input("s", (), dtype)
    g.out(
        add=raw.Add(x=x, y=y), add_v2=raw.AddV2(x=x, y=y), sub=x - y, sub_swapped=y - x, mul=x * y, mul_scalar=x * s,
        real_div=raw.RealDiv(x=x, y=y), floor_div=raw.FloorDiv(x=x, y=y), floor_mod=raw.FloorMod(x=x, y=y),
        maximum=tf.maximum(x, y), minimum=tf.minimum(x, y), squared_difference=tf.math.squared_difference(x, y),
        div_no_nan=raw.DivNoNan(x=x, y=tf.maximum(x, tf.zeros_like(x))), scalars=s * s,
    )


@case_per(INTEGERS)
def arithmetic_int(g, dtype):
    """Rounding of quotients below zero, and sums that wrap."""
    low, high = bounds(dtype)
    x = g.input("x", (2, 1, 3), dtype, low, high)
    y = g.feed("y", [[1], [2], [3], [7]] if dtype == "uint8" else [[-7], [-2], [3], [5]], dtype)
    big = g.feed("big", [np.iinfo(dtype).max, np.iinfo(dtype).min, 1], dtype)
    g.out(
        add=x + y, sub=x - y, mul=x * y, floor_div=raw.FloorDiv(x=x, y=y), floor_mod=raw.FloorMod(x=x, y=y),
        truncate_div=raw.TruncateDiv(x=x, y=y), maximum=tf.maximum(x, y), minimum=tf.minimum(x, y),
        wrapped_add=big + big, wrapped_mul=big * big,
    )


@case(rtol=1e-5)
def pow_and_powers(g):
    x = g.input("x", (3, 4), low=0.1, high=3.0)
    y = g.input("y", (4,), low=-2.0, high=3.0)
    i = g.feed("i", [[2, 3, -1], [-2, 0, 1]], "int32")
    negative = g.feed("negative", [-2.0, -1.5, 3.0], "float32")
    g.out(
        pow=tf.pow(x, y), cube=tf.pow(negative, 3.0), square_root=tf.pow(x, 0.5), pow_int=tf.pow(i, [[3], [2]]),
        square=tf.square(negative), square_int=tf.square(i), reciprocal=tf.math.reciprocal(x),
    )


@case(rtol=1e-5)
def broadcasting_shapes(g):
    """Empty dimensions, ones, and shapes known only when it runs."""
    a = g.input("a", (3, 1, 2), open_dims=(0, 1))
    b = g.input("b", (1, 4, 1), open_dims=(1,))
    empty = g.input("empty", (0, 3), open_dims=(0,))
    row = g.input("row", (1, 3))
    g.out(
        both=a + b, three=a * b - tf.reduce_sum(a), empty_row=empty * row, empty_reduced=tf.reduce_sum(empty, axis=0),
        into_five=tf.reshape(a, [1, 3, 1, 2, 1]) + tf.reshape(b, [4, 1, 1, 1, 1]), same=a - a,
    )


@case_per(("float32", "float64", "int32", "int64", "uint8", "int8", "float16"))
def comparisons(g, dtype):
    low, high = (0, 3) if dtype == "uint8" else (-2, 2)
    x = g.feed("x", g.rng.integers(low, high, (2, 1, 4), endpoint=True), dtype)
    y = g.feed("y", g.rng.integers(low, high, (3, 1), endpoint=True), dtype)
    g.out(
        equal=tf.equal(x, y), not_equal=tf.not_equal(x, y), less=tf.less(x, y), less_equal=tf.less_equal(x, y),
        greater=tf.greater(x, y), greater_equal=tf.greater_equal(x, y), select=tf.where(x > y, x, y),
    )


@case()
def logic_and_select(g):
    a, b = g.input("a", (2, 1, 3), "bool"), g.input("b", (4, 1), "bool")
    rows = g.feed("rows", [True, False])
    x, y = g.input("x", (2, 4, 3)), g.input("y", (2, 4, 3))
    once = g.feed("once", True)
    g.out(
        logical_and=tf.logical_and(a, b), logical_or=tf.logical_or(a, b), logical_not=tf.logical_not(a),
        select_v2=tf.where(b, x, 0.0), select_v2_condition_larger=tf.where(a, tf.constant(1.0), tf.constant(-1.0)),
        # Select, unlike SelectV2, takes a vector that chooses whole rows.
        select_rows=raw.Select(condition=rows, x=x, y=y), select_scalar=raw.Select(condition=once, x=x, y=y),
        select_int=tf.where(a, [[1], [2], [3], [4]], 7),
    )


@case()
def special_values(g):
    """NaN, infinities, signed zero."""
    x = g.feed("x", [np.nan, np.inf, -np.inf, -0.0, 0.0, 1.5], "float32")
    y = g.feed("y", [1.0, np.nan, 2.0, 0.0, -0.0, np.inf], "float32")
    g.out(
        equal=tf.equal(x, x), not_equal=tf.not_equal(x, x), less=x < y, greater_equal=x >= y, relu=tf.nn.relu(x),
        relu6=tf.nn.relu6(x), maximum=tf.maximum(x, y), minimum=tf.minimum(x, y), is_nan=tf.math.is_nan(x),
        is_inf=tf.math.is_inf(x), is_finite=tf.math.is_finite(x), sigmoid=tf.sigmoid(x), tanh=tf.tanh(x),
        one_over=1.0 / x, sign=tf.sign(x), divided=x / y, erf=tf.math.erf(x), exp=tf.exp(x), elu=tf.nn.elu(x),
    )


@case(rtol=2e-5)
def unary(g):
    x = g.feed("x", np.linspace(-6.0, 6.0, 41), "float32")
    p = g.feed("p", np.geomspace(1e-6, 1e6, 23), "float32")
    g.out(
        abs=tf.abs(x), neg=-x, sign=tf.sign(x), exp=tf.exp(x), expm1=tf.math.expm1(x), log=tf.math.log(p),
        log1p=tf.math.log1p(p), sqrt=tf.sqrt(p), rsqrt=tf.math.rsqrt(p), sin=tf.sin(x), cos=tf.cos(x),
        tanh=tf.tanh(x), sigmoid=tf.sigmoid(x), erf=tf.math.erf(x), erfc=tf.math.erfc(x * 0.5), softplus=tf.nn.softplus(x),
        softsign=tf.nn.softsign(x), elu=tf.nn.elu(x), selu=tf.nn.selu(x), leaky_relu=tf.nn.leaky_relu(x),
        relu=tf.nn.relu(x), relu6=tf.nn.relu6(x),
    )


@case_per(("float32", "float64", "float16", "bfloat16"))
def rounding(g, dtype):
    """Halves go to the even neighbour."""
    x = g.feed("x", [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.4999, -3.5001, 0.0, 7.75], dtype)
    g.out(floor=tf.floor(x), ceil=tf.math.ceil(x), round=tf.round(x), neg=-x, abs=tf.abs(x))
    if dtype in ("float32", "float64"):
        g.out(rint=tf.math.rint(x))


@case()
def unary_int(g):
    x = g.feed("x", [-(2**31), -7, -1, 0, 3, 2**31 - 1], "int32")
    y = g.feed("y", [-(2**63), -7, 0, 2**40], "int64")
    g.out(abs=tf.abs(x), neg=-x, sign=tf.sign(x), abs64=tf.abs(y), neg64=-y, sign64=tf.sign(y), square64=tf.square(y))


@case(rtol=1e-6)
def sums_and_clips(g):
    x, y, z = (g.input(n, (2, 5)) for n in "xyz")
    i = g.input("i", (7,), "int32", -20, 20)
    g.out(
        add_n=tf.add_n([x, y, z]), add_n_one=tf.add_n([x]), clip=raw.ClipByValue(t=x, clip_value_min=-0.5, clip_value_max=1.0),
        clip_int=tf.clip_by_value(i, -5, 6), bias2=tf.nn.bias_add(x, [1.0, 2.0, 3.0, 4.0, 5.0]),
        bias3=tf.nn.bias_add(tf.reshape(x, [1, 2, 5]), [0.5, 0.0, -1.0, 2.0, 3.0]),
        bias_nchw=raw.BiasAdd(value=tf.reshape(x, [1, 2, 5, 1]), bias=[10.0, 20.0], data_format="NCHW"),
    )


# ---- reductions --------------------------------------------------------------------------------------------------


@case(rtol=1e-5)
def reductions(g):
    x = g.input("x", (2, 3, 4, 5), open_dims=(0,))
    g.out(
        all_axes=tf.reduce_sum(x), sum_0=tf.reduce_sum(x, 0), sum_last=tf.reduce_sum(x, -1),
        sum_keep=tf.reduce_sum(x, [1, 2], keepdims=True), sum_ends=tf.reduce_sum(x, [0, -1]),
        sum_unordered=tf.reduce_sum(x, [3, 1]), sum_none=tf.reduce_sum(x, []), mean=tf.reduce_mean(x, [1, 2]),
        mean_keep=tf.reduce_mean(x, -1, keepdims=True), max=tf.reduce_max(x, [-2]), max_all=tf.reduce_max(x),
        min=tf.reduce_min(x, [0, 2], keepdims=True), prod=tf.reduce_prod(x, [1, 3]),
        norm=tf.norm(x, axis=-1), variance=tf.math.reduce_variance(x, axis=[1, 2]), logsumexp=tf.reduce_logsumexp(x, -1),
    )


@case_per(("int32", "int64", "uint8", "float64", "int8"))
def reductions_of(g, dtype):
    """The mean of integers is an integer, cut towards zero."""
    low, high = bounds(dtype)
    x = g.input("x", (3, 4, 5), dtype, low, high)
    small = g.input("small", (2, 3), dtype, 0, 3)
    g.out(
        sum=tf.reduce_sum(x, 1), mean=tf.reduce_mean(x, [0, 2]), max=tf.reduce_max(x, -1), min=tf.reduce_min(x),
        prod=tf.reduce_prod(small, -1), sum_keep=tf.reduce_sum(x, [0, 1, 2], keepdims=True),
    )


@case_per(("float16", "bfloat16"), looser=4.0)
def reductions_narrow(g, dtype):
    x = g.input("x", (4, 16), dtype, 0.0, 1.0)
    g.out(sum=tf.reduce_sum(x, 1), mean=tf.reduce_mean(x, 0), max=tf.reduce_max(x, -1), min=tf.reduce_min(x))


@case()
def reductions_bool_and_empty(g):
    b = g.input("b", (3, 4), "bool")
    empty = g.input("empty", (2, 0, 3))
    scalar = g.input("scalar", ())
    g.out(
        all=tf.reduce_all(b, -1), any=tf.reduce_any(b, 0), all_all=tf.reduce_all(b), any_keep=tf.reduce_any(b, 1, keepdims=True),
        empty_sum=tf.reduce_sum(empty, 1), empty_max=tf.reduce_max(empty, 1), empty_prod=tf.reduce_prod(empty, 1),
        empty_mean=tf.reduce_mean(empty, 1), of_scalar=tf.reduce_sum(scalar), scalar_mean=tf.reduce_mean(scalar, []),
    )


@case_per(("float32", "int32", "float64", "int64"))
def arg_and_top_k(g, dtype):
    """The first of equals wins, and equals keep their order."""
    x = g.feed("x", g.rng.integers(-4, 4, (2, 3, 7)), dtype)
    values, indices = tf.math.top_k(x, k=3)
    all_values, all_indices = tf.math.top_k(x, k=7)
    k = g.feed("k", 2, "int32") if dtype == "float32" else tf.constant(2)
    fed_values, fed_indices = tf.math.top_k(x, k=k)
    g.out(
        argmax=tf.argmax(x, -1), argmax_1=tf.argmax(x, 1, output_type=tf.int32), argmin=tf.argmin(x, 0),
        argmin_last=tf.argmin(x, 2, output_type=tf.int32), values=values, indices=indices, all_values=all_values,
        all_indices=all_indices, fed_values=fed_values, fed_indices=fed_indices,
    )


# ---- shapes ------------------------------------------------------------------------------------------------------


@case()
def shape_ops(g):
    x = g.input("x", (2, 3, 4), open_dims=(0, 1))
    one = g.input("one", (1, 3, 1, 4, 1))
    shape = tf.shape(x)
    g.out(
        shape=shape, shape64=tf.shape(x, out_type=tf.int64), rank=raw.Rank(input=x), size=raw.Size(input=x),
        size64=raw.Size(input=x, out_type=tf.int64), flat=tf.reshape(x, [-1]), rows=tf.reshape(x, [shape[0], -1]),
        swapped=tf.reshape(x, tf.stack([shape[1], shape[0], 4])), expand_front=tf.expand_dims(x, 0),
        expand_end=tf.expand_dims(x, -1), expand_middle=tf.expand_dims(x, -2), squeeze=tf.squeeze(one),
        squeeze_some=tf.squeeze(one, [0, -1]), zeros=tf.zeros_like(x), ones=tf.ones_like(x, tf.int32),
        fill=tf.fill(shape[:2], 2.5), broadcast=tf.broadcast_to(tf.squeeze(one, [0, 4]), [2, 3, 5, 4]),
        as_float=tf.cast(shape[0] * shape[1], tf.float32) * 0.5,
    )


@case(rtol=1e-6)
def ranges(g):
    n = g.feed("n", 5, "int32")
    stop = g.feed("stop", 1.0, "float32")
    g.out(
        up=tf.range(n), down=tf.range(n, -4, -3), empty=tf.range(n, 5), real=tf.range(0.0, stop, 0.1),
        long=tf.range(tf.cast(n, tf.int64), 20, 4), linspace=tf.linspace(0.0, stop, 7),
    )


@case()
def pack_and_unpack(g):
    x, y = g.input("x", (2, 3)), g.input("y", (2, 3))
    a, b = tf.unstack(x, axis=0)
    c, d, e = tf.unstack(x, axis=-1)
    g.out(
        pack0=tf.stack([x, y]), pack1=tf.stack([x, y], 1), pack_last=tf.stack([x, y], -1), pack_one=tf.stack([x]),
        scalars=tf.stack([x[0, 0], y[1, 2]]), unpack0=a - b, unpack1=c + d * e,
    )


@case()
def concat(g):
    x, y = g.input("x", (2, 3, 4), open_dims=(0,)), g.input("y", (2, 5, 4), open_dims=(0, 1))
    empty = g.input("empty", (2, 0, 4))
    i, b = g.input("i", (2, 2), "int64", -9, 9), g.input("b", (2, 1), "bool")
    g.out(
        axis1=tf.concat([x, y], 1), axis_minus=tf.concat([x, x], -1), axis0=tf.concat([x, x, x], 0),
        with_empty=tf.concat([x, empty, y], 1), one=tf.concat([x], 0), old=raw.Concat(concat_dim=1, values=[y, x]),
        ints=tf.concat([i, i], -1), bools=tf.concat([b, b], 0),
    )


@case()
def split(g):
    x = g.input("x", (4, 6), open_dims=(0,))
    i = g.input("i", (6, 2), "int32", -9, 9)
    a, b, c = tf.split(x, 3, axis=1)
    d, e = tf.split(x, 2, axis=-2)
    p, q, r = tf.split(x, [1, -1, 2], axis=-1)
    m, n = tf.split(i, [0, 6], axis=0)
    g.out(a=a, b=b, c=c, d=d, e=e, p=p, q=q, r=r, m=m, n=n, sum=a + c)


@case()
def slice(g):
    x = g.input("x", (4, 5, 6), open_dims=(0,))
    begin, size = g.feed("begin", [1, 0, 2], "int32"), g.feed("size", [2, -1, 3], "int32")
    u = g.input("u", (5,), "uint8", 0, 255)
    g.out(
        fixed=tf.slice(x, [1, 2, 0], [2, 3, 6]), to_end=tf.slice(x, [1, 2, 3], [-1, -1, 2]), fed=tf.slice(x, begin, size),
        none=tf.slice(x, [0, 0, 0], [0, 5, 6]), long=tf.slice(x, tf.constant([0, 4, 5], tf.int64), tf.constant([4, 1, 1], tf.int64)),
        bytes=tf.slice(u, [2], [3]),
    )


@case()
def strided_slice(g):
    """Every mask, steps below zero, and ends out of range."""
    x = g.input("x", (5, 6, 7), open_dims=(0,))
    n = g.feed("n", 2, "int32")
    i, b = g.input("i", (9,), "int32", -99, 99), g.input("b", (4, 3), "bool")
    g.out(
        plain=x[1:3, 2:5, 0:6:2], begin_mask=x[:2, 1:, :], end_mask=x[3:, :, 4:], backwards=x[::-1, 4:1:-2, ::-3],
        negative=x[-2:, -5:-1, -1:], out_of_range=x[2:99, -99:3, 7:], empty=x[3:1], shrink=x[1], shrink_last=x[..., -1],
        shrink_all=x[1, 2, 3], ellipsis=x[1:2, ..., 3], new_axis=x[:, tf.newaxis, 2, ..., tf.newaxis],
        new_and_ellipsis=x[tf.newaxis, ..., tf.newaxis, ::2], fed=x[n:, :n, n], fed_negative=x[-n], ints=i[7:2:-1],
        bools=b[1:, ::2], of_shape=tf.shape(x)[1:], one_of_shape=tf.shape(x)[-1],
        shrink_and_step=x[::2, 3, 1::3], ellipsis_nothing=x[0, ..., 1, 2],
    )


# ---- moving values -----------------------------------------------------------------------------------------------


@case()
def gather(g):
    x = g.input("x", (5, 4, 3), open_dims=(0,))
    i = g.feed("i", [[4, 0], [2, 2]], "int32")
    j = g.feed("j", [[3, 0], [1, 1], [2, 3], [0, 0], [3, 2]], "int64")
    one = g.feed("one", 3, "int32")
    table = g.input("table", (6,), "int64", -99, 99)
    g.out(
        old=raw.Gather(params=x, indices=i), axis0=tf.gather(x, i), axis1=tf.gather(x, [3, 1], axis=1),
        axis_last=tf.gather(x, [[2, 0]], axis=-1), scalar=tf.gather(x, one), scalar1=tf.gather(x, one, axis=1),
        batch=tf.gather(x, j, axis=1, batch_dims=1), batch_deeper=tf.gather(x, tf.zeros([5, 4, 2], tf.int32), axis=2, batch_dims=2),
        empty=tf.gather(x, tf.zeros([0], tf.int32)), ints=tf.gather(table, [5, 0, 5]),
        nd_elements=tf.gather_nd(x, [[0, 1, 2], [4, 3, 0]]), nd_rows=tf.gather_nd(x, [[[1]], [[3]]]),
    )


@case()
def transpose(g):
    x = g.input("x", (2, 3, 4, 5), open_dims=(0,))
    y = g.input("y", (2, 3, 1, 2, 4))
    i = g.input("i", (3, 4), "int32", -9, 9)
    b, d, u = g.input("b", (2, 3), "bool"), g.input("d", (2, 3), "float64"), g.input("u", (3, 2, 2), "uint8", 0, 255)
    perm = g.feed("perm", [1, 0], "int32")
    g.out(
        nchw=tf.transpose(x, [0, 3, 1, 2]), nhwc=tf.transpose(x, [0, 2, 3, 1]), heads=tf.transpose(x, [0, 2, 1, 3]),
        reverse=tf.transpose(x), same=tf.transpose(x, [0, 1, 2, 3]), five=tf.transpose(y, [4, 0, 2, 3, 1]),
        ints=tf.transpose(i), fed=tf.transpose(i, perm), bools=tf.transpose(b), doubles=tf.transpose(d),
        bytes=tf.transpose(u, tf.constant([2, 0, 1], tf.int64)),
    )


@case()
def pad(g):
    x = g.input("x", (2, 3, 4), open_dims=(0,))
    i = g.input("i", (3,), "int32", -9, 9)
    v = g.feed("v", -7.5, "float32")
    edges = [[0, 0], [1, 2], [2, 1]]
    g.out(
        zeros=tf.pad(x, edges), value=tf.pad(x, edges, constant_values=2.5), fed_value=raw.PadV2(input=x, paddings=edges, constant_values=v),
        reflect=tf.pad(x, edges, "REFLECT"), symmetric=tf.pad(x, [[1, 0], [3, 3], [0, 4]], "SYMMETRIC"),
        nothing=tf.pad(x, [[0, 0]] * 3), ints=tf.pad(i, [[2, 3]]), ints_reflect=tf.pad(i, [[2, 1]], "REFLECT"),
        long=tf.pad(x, tf.constant(edges, tf.int64)),
    )


@case()
def tile_and_one_hot(g):
    x = g.input("x", (2, 1, 3), open_dims=(0,))
    times = g.feed("times", [1, 3, 2], "int32")
    i = g.feed("i", [[0, 2], [-1, 5]], "int32")
    b = g.input("b", (2,), "bool")
    g.out(
        tile=tf.tile(x, [2, 1, 3]), once=tf.tile(x, [1, 1, 1]), none=tf.tile(x, [1, 0, 1]), fed=tf.tile(x, times),
        bools=tf.tile(b, [3]), one_hot=tf.one_hot(i, 3), one_hot_first=tf.one_hot(i, 3, axis=0),
        one_hot_values=tf.one_hot(i, 4, on_value=5, off_value=-1, axis=1), reverse=tf.reverse(x, [-1, 0]),
    )


@case()
def casts(g):
    """Fractions are cut towards zero, integers wrap, narrow floats round to even."""
    f = g.feed("f", [-2.9, -0.5, 0.0, 0.49, 1.5, 100.7], "float32")
    fine = g.feed("fine", [1.0 + 2**-11, 1.0 + 3 * 2**-11, 0.1, 65503.0, 1e-7, -3.14159], "float32")
    d = g.feed("d", [1e300, 0.1, -1e-300, 16777217.0], "float64")
    i = g.feed("i", [-129, -1, 0, 255, 256, 70000], "int32")
    j = g.feed("j", [-1, 2**32 + 5, 2**53 + 1], "int64")
    u = g.feed("u", [0, 127, 128, 255], "uint8")
    b = g.feed("b", [True, False])
    g.out(
        f_int32=tf.cast(f, tf.int32), f_int64=tf.cast(f, tf.int64), f_bool=tf.cast(f, tf.bool), f_double=tf.cast(f, tf.float64),
        f_half=tf.cast(fine, tf.float16), f_bfloat=tf.cast(fine, tf.bfloat16), d_float=tf.cast(d[1:], tf.float32),
        i_uint8=tf.cast(i, tf.uint8), i_int8=tf.cast(i, tf.int8), i_bool=tf.cast(i, tf.bool), i_float=tf.cast(i, tf.float32),
        j_int32=tf.cast(j, tf.int32), j_double=tf.cast(j, tf.float64), j_float=tf.cast(j, tf.float32),
        u_int8=tf.cast(u, tf.int8), u_float=tf.cast(u, tf.float32), u_int32=tf.cast(u, tf.int32), b_float=tf.cast(b, tf.float32),
        b_int=tf.cast(b, tf.int32), same=tf.cast(f, tf.float32),
    )


@case()
def strings(g):
    s = g.feed("s", np.array([[b"alpha", b"", b"\x00\xff"], [b"beta", b"alpha", b"z"]], dtype=object))
    c = g.feed("c", [[True, False, True]])
    g.out(
        gather=tf.gather(s, [1, 0, 1], axis=1), concat=tf.concat([s, s], 0), reshape=tf.reshape(s, [-1]), row=s[1, ::2],
        equal=tf.equal(s, "alpha"), transpose=tf.transpose(s), tile=tf.tile(s, [1, 2]), select=tf.where(c, s, "none"),
        pack=tf.stack([s, s], 1), shape=tf.shape(s),
    )


@case()
def plumbing(g):
    x = g.input("x", (2, 3))
    a, b = raw.IdentityN(input=[x, x * 2.0])
    with tf.control_dependencies([tf.no_op(), tf.identity(x, name="side")]):
        after = x + 1.0
    default = tf1.placeholder_with_default(tf.constant([1.0, 2.0, 3.0]), [None], name="default")
    g.out(
        a=a, b=b, stopped=tf.stop_gradient(x), after=after, snapshot=raw.Snapshot(input=x), not_fed=default * 2.0,
        constant=tf.constant([[1, 2], [3, 4]]), filled=tf.zeros([2, 2]) + 3.0, passed_on=tf.identity(x),
    )
