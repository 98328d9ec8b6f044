"""Random nodes of every registered operator, for `fuzz.py`."""

import numpy as np
import tensorflow as tf

raw = tf.raw_ops
MAKERS = {}
FLOATS = ["float32", "float32", "float64", "float16", "bfloat16"]


def maker(*names):
    def register(build):
        for name in names:
            MAKERS[name] = build
        return build

    return register


def build(g, nodes, only=None):
    """Adds about `nodes` random operators to the graph that is open."""
    names = [n for n in MAKERS if not only or n in only]
    for _ in range(nodes):
        name = g.pick(names)
        try:
            made = MAKERS[name](g, name)
        except Exception:  # TensorFlow refuses it
            continue
        tensors, what, looser = (*made, 1.0)[:3] if isinstance(made, tuple) else (made, "", 1.0)
        many = tensors if isinstance(tensors, (list, tuple)) else [tensors]
        for i, tensor in enumerate(many):
            g.out(tensor, f"{name}({tensor.dtype.base_dtype.name} {what}):{i}", looser)


def call(name, **inputs):
    return getattr(raw, name)(**inputs)


def shapes(*tensors):
    return " ".join(str(t.shape) for t in tensors)


def broadcast_pair(g, most=5):
    """Two shapes that broadcast, seldom otherwise."""
    full = g.shape(0, most)
    one = [1 if g.chance(0.25) else d for d in full]
    two = [1 if g.chance(0.25) else d for d in full]
    if g.chance(0.5):
        two = two[g.int(0, len(two)):]
    elif g.chance(0.3):
        one = one[g.int(0, len(one)):]
    return one, two


UNARY = """Abs Neg Sign Square Sqrt Rsqrt Reciprocal Exp Expm1 Log Log1p Sin Cos Tan Asin Acos Atan Sinh Cosh Tanh Asinh
Acosh Atanh Erf Erfc Lgamma Digamma Sigmoid Softplus Softsign Relu Relu6 Elu Selu Floor Ceil Round LogicalNot Invert
Inv Rint LeakyRelu IsNan IsInf IsFinite L2Loss ZerosLike OnesLike Shape Size Rank Softmax LogSoftmax Identity Snapshot
StopGradient PreventGradient DeepCopy""".split()


@maker(*UNARY)
def unary(g, name):
    # TensorFlow's own Round makes 0 of every integer.
    among = {"LogicalNot": ["bool"], "Round": FLOATS}.get(name)
    dtype = g.dtype(name, among=among)
    low, high = g.pick([(-3, 3), (-1, 1), (0, 5), (-50, 50)])
    x = g.input(dtype, g.shape(0, 6), low, high, special=0.25)
    key = {"Relu": "features", "Relu6": "features", "Elu": "features", "Selu": "features", "Softplus": "features",
           "Softsign": "features", "LeakyRelu": "features", "L2Loss": "t", "Shape": "input", "Size": "input",
           "Rank": "input", "Softmax": "logits", "LogSoftmax": "logits", "Identity": "input", "Snapshot": "input",
           "StopGradient": "input", "PreventGradient": "input"}.get(name, "x")
    more = {}
    if name == "LeakyRelu":
        more["alpha"] = float(g.pick([0.2, 0.0, 1.0, 1.5, -0.5]))
    if name in ("Shape", "Size"):
        more["out_type"] = g.pick([tf.int32, tf.int64])
    looser = 50.0 if name in ("Lgamma", "Digamma", "Tan", "Erfc") else 4.0
    return call(name, **{key: x}, **more), f"{x.shape} {low}..{high} {more}", looser


BINARY = """Add AddV2 Sub Mul Div RealDiv TruncateDiv FloorDiv DivNoNan MulNoNan Xdivy Xlogy Xlog1py FloorMod Mod
TruncateMod Pow Maximum Minimum SquaredDifference Atan2 LogicalAnd LogicalOr BitwiseAnd BitwiseOr BitwiseXor LeftShift
RightShift Equal NotEqual Less LessEqual Greater GreaterEqual""".split()


@maker(*BINARY)
def binary(g, name):
    dtype = g.dtype(name, among=["bool"] if name.startswith("Logical") else None)
    one, two = broadcast_pair(g)
    if name in ("LeftShift", "RightShift"):
        low, high = 0, 7
    elif name == "Pow" and "int" in dtype:
        low, high = 0, 4
    else:
        low, high = g.pick([(-3, 3), (-9, 9), (1, 9)])
    integer_divisor = "int" in dtype and any(t in name for t in ("Div", "Mod"))
    a = g.input(dtype, one, low, high, special=0.2)
    b = g.input(dtype, two, 1 if integer_divisor else low, high, special=0.0 if integer_divisor or
                name in ("LeftShift", "RightShift") else 0.2)
    if integer_divisor and g.chance(0.5) and not dtype.startswith("u"):
        b = g.input(dtype, two, -9, -1, special=0)
    same = g.chance(0.05) and one == two
    return call(name, x=a, y=a if same else b), f"{shapes(a, b)} {low}..{high}", 4.0


@maker("Sum", "Mean", "Prod", "Max", "Min", "EuclideanNorm", "All", "Any")
def reduce(g, name):
    shape = g.shape(0, 6)
    count = g.int(0, len(shape))
    axes = g.rng.permutation(len(shape))[:count]
    axes = [int(a) - (len(shape) if g.chance(0.4) else 0) for a in axes]
    if count == 1 and g.chance(0.5):
        axes = axes[0]
    if name in ("All", "Any"):
        x = g.input("bool", shape)
    else:
        x = g.input(g.dtype(name), shape, *((0.5, 1.6) if name == "Prod" else (-3, 3)), special=0.15)
    keep = g.chance(0.5)
    return call(name, input=x, axis=g.ints(axes), keep_dims=keep), f"{x.shape} {axes} {keep}", 4.0


@maker("ArgMax", "ArgMin")
def arg(g, name):
    shape = g.shape(1, 5)
    axis = g.int(-len(shape), len(shape) - 1)
    x = g.input(g.dtype(name), shape, special=0.3)
    kinds = [tf.int32, tf.int64] + ([tf.int16, tf.uint16] if name == "ArgMax" else [])
    return call(name, input=x, dimension=g.ints(axis), output_type=g.pick(kinds)), f"{x.dtype.name} {x.shape} {axis}"


@maker("Cumsum", "Cumprod")
def scan(g, name):
    shape = g.shape(1, 5)
    axis, e, r = g.int(-len(shape), len(shape) - 1), g.chance(0.5), g.chance(0.5)
    x = g.input(g.dtype(name), shape, *((0.5, 1.6) if name == "Cumprod" else (-3, 3)))
    return call(name, x=x, axis=g.ints(axis), exclusive=e, reverse=r), f"{x.shape} {axis} {e} {r}", 4.0


@maker("Cast")
def cast(g, name):
    source, to = g.pick(DTYPES_CAST), g.pick(DTYPES_CAST)
    low, high = (0, 100) if to.startswith("u") else (-100, 100)
    special = 0.2 if not ("int" in to and "float" in source) else 0.0
    x = g.input(source, g.shape(0, 4), low, high, special=special)
    truncate = g.chance(0.1)
    return raw.Cast(x=x, DstT=tf.as_dtype(to), Truncate=truncate), f"from {source} {x.shape} truncate {truncate}"


DTYPES_CAST = ["float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16",
               "uint32", "uint64", "bool"]


@maker("Bitcast")
def bitcast(g, name):
    source, to = g.pick(DTYPES_CAST[:-1]), g.pick(DTYPES_CAST[:-1])
    a, b = tf.as_dtype(source).size, tf.as_dtype(to).size
    shape = g.shape(0, 3) + ([b // a] if b > a else [])
    return raw.Bitcast(input=g.input(source, shape), type=tf.as_dtype(to)), f"from {source} {shape}"


@maker("Concat", "ConcatV2", "Pack", "ParallelConcat", "ConcatOffset", "AddN", "AccumulateNV2", "IdentityN", "ShapeN")
def joined(g, name):
    count = g.int(1, 5)
    shape = g.shape(1, 5)
    dtype = g.dtype(name) if name not in ("IdentityN",) else g.pick(["float32", "int32"])
    if name in ("Concat", "ConcatV2", "ConcatOffset"):
        axis = g.int(-len(shape), len(shape) - 1)
        each = []
        for _ in range(count + 1):
            s = list(shape)
            s[axis] = g.dim()
            each.append(s)
        if name == "ConcatOffset":
            kind = g.pick(["int32", "int64"])
            return (raw.ConcatOffset(concat_dim=g.ints(axis, "int32"), shape=[g.ints(s, kind) for s in each]),
                    f"{each} {axis}")
        values = [g.input(dtype, s) for s in each]
        if name == "Concat":
            return raw.Concat(concat_dim=g.ints(axis % len(shape), "int32"), values=values), f"{each} {axis}"
        return raw.ConcatV2(values=values, axis=g.ints(axis)), f"{each} {axis}"
    values = [g.input(dtype, shape) for _ in range(count)]
    if g.chance(0.2):
        values[-1] = values[0]
    if name == "Pack":
        axis = g.int(-len(shape) - 1, len(shape))
        return raw.Pack(values=values, axis=axis), f"{shape} x{count} {axis}"
    if name == "ParallelConcat":
        values = [g.input(dtype, [1] + shape) for _ in range(count)]
        return raw.ParallelConcat(values=values, shape=[count] + shape), f"{shape} x{count}"
    if name == "AccumulateNV2":
        return raw.AccumulateNV2(inputs=values, shape=shape), f"{shape} x{count}", 4.0
    key = {"AddN": "inputs"}.get(name, "input")
    more = {"out_type": g.pick([tf.int32, tf.int64])} if name == "ShapeN" else {}
    return call(name, **{key: values}, **more), f"{shape} x{count}", 4.0


@maker("Unpack", "Split", "SplitV")
def apart(g, name):
    shape = g.shape(1, 5)
    axis = g.int(-len(shape), len(shape) - 1)
    dtype = g.dtype(name)
    if name == "Unpack":
        return raw.Unpack(value=g.input(dtype, shape), num=shape[axis], axis=axis), f"{shape} {axis}"
    if name == "Split":
        n = g.int(1, 4)
        shape[axis] *= n
        return raw.Split(axis=g.ints(axis, "int32"), value=g.input(dtype, shape), num_split=n), f"{shape} {axis} {n}"
    sizes = [g.int(0, 3) for _ in range(g.int(1, 4))]
    shape[axis] = sum(sizes)
    if g.chance(0.3):
        sizes[g.int(0, len(sizes) - 1)] = -1
    return (raw.SplitV(value=g.input(dtype, shape), size_splits=g.ints(sizes), axis=g.ints(axis, "int32"),
                       num_split=len(sizes)), f"{shape} {sizes} {axis}")


@maker("Slice")
def slice_(g, name):
    shape = g.shape(0, 6)
    begin = [g.int(0, d) for d in shape]
    size = [-1 if g.chance(0.3) else g.int(0, d - b) for d, b in zip(shape, begin)]
    kind = g.pick(["int32", "int64"])
    return raw.Slice(input=g.input(g.dtype(name), shape), begin=g.ints(begin, kind), size=g.ints(size, kind)), \
        f"{shape} {begin} {size}"


@maker("StridedSlice")
def strided_slice(g, name):
    shape = g.shape(0, 5)
    entries = g.int(0, len(shape) + 2)
    begin, end, strides = [], [], []
    for i in range(entries):
        d = shape[i] if i < len(shape) else 3
        begin.append(g.int(-d - 2, d + 2))
        end.append(g.int(-d - 2, d + 2))
        strides.append(g.pick([1, 1, 1, 2, 3, -1, -1, -2]))
    mask = lambda p: sum(1 << i for i in range(entries) if g.chance(p))
    ellipsis = 1 << g.int(0, max(entries - 1, 0)) if g.chance(0.3) else 0
    kind = g.pick(["int32", "int64"])
    masks = dict(begin_mask=mask(0.3), end_mask=mask(0.3), ellipsis_mask=ellipsis, new_axis_mask=mask(0.15),
                 shrink_axis_mask=mask(0.2))
    return (raw.StridedSlice(input=g.input(g.dtype(name), shape), begin=g.ints(begin, kind), end=g.ints(end, kind),
                             strides=g.ints(strides, kind), **masks), f"{shape} {begin} {end} {strides} {masks}")


@maker("Pad", "PadV2", "MirrorPad")
def pad(g, name):
    shape = g.shape(0, 5)
    mode = g.pick(["REFLECT", "SYMMETRIC"])
    most = lambda d: 3 if name != "MirrorPad" else max(0, d - (mode == "REFLECT"))
    pads = np.array([[g.int(0, most(d)), g.int(0, most(d))] for d in shape]).reshape(len(shape), 2)
    dtype = g.dtype(name)
    inputs = dict(input=g.input(dtype, shape), paddings=g.ints(pads))
    if name == "PadV2":
        inputs["constant_values"] = g.input(dtype, [], special=0.3)
    if name == "MirrorPad":
        inputs["mode"] = mode
    return call(name, **inputs), f"{shape} {pads.tolist()} {mode}"


@maker("Tile", "BroadcastTo", "BroadcastArgs", "Fill", "Empty", "Range", "LinSpace")
def repeat(g, name):
    dtype = g.dtype(name) if name not in ("Range", "LinSpace", "BroadcastArgs", "Empty") else ""
    if name == "Tile":
        shape = g.shape(0, 5)
        multiples = [g.int(0, 3) for _ in shape]
        return raw.Tile(input=g.input(dtype, shape), multiples=g.ints(multiples)), f"{shape} {multiples}"
    if name == "BroadcastTo":
        full = g.shape(0, 6)
        one = [1 if g.chance(0.4) else d for d in full][g.int(0, len(full)):]
        return raw.BroadcastTo(input=g.input(dtype, one), shape=g.ints(full)), f"{one} {full}"
    if name == "BroadcastArgs":
        kind = g.pick(["int32", "int64"])
        one, two = broadcast_pair(g)
        return raw.BroadcastArgs(s0=g.ints(one, kind, g.chance(0.5)), s1=g.ints(two, kind)), f"{one} {two}"
    if name == "Fill":
        shape = g.shape(0, 5)
        return raw.Fill(dims=g.ints(shape), value=g.input(dtype, [])), f"{shape}"
    if name == "Empty":
        shape = g.shape(0, 4)
        return raw.Empty(shape=g.ints(shape, "int32"), dtype=tf.float32, init=True), f"{shape}"
    if name == "Range":
        dtype = g.dtype(name, "Tidx")
        start, limit = g.rng.integers(-10, 10, 2)
        delta = g.pick([1, 2, 3, 0.7]) * (1 if limit >= start else -1)
        if "float" not in dtype:
            delta = int(delta) or 1
        parts = [g.feed(np.array(v, "float32" if dtype == "bfloat16" else dtype), dtype) for v in (start, limit, delta)]
        return raw.Range(start=parts[0], limit=parts[1], delta=parts[2]), f"{start} {limit} {delta}"
    dtype = g.pick(["float32", "float64", "bfloat16"])
    return (raw.LinSpace(start=g.input(dtype, []), stop=g.input(dtype, []), num=g.ints(g.int(1, 9))), "", 4.0)


@maker("Gather", "GatherV2", "GatherNd")
def gather(g, name):
    dtype, shape = g.dtype(name, "Tparams"), g.shape(1, 4, least=1)
    kind = g.pick(["int32", "int64"])
    params = g.input(dtype, shape)
    if name == "GatherNd":
        depth = g.int(0, len(shape))
        batch = g.shape(0, 3)
        index = np.stack([g.rng.integers(0, d, batch) for d in shape[:depth]], -1) if depth else np.zeros(batch + [0])
        return (raw.GatherNd(params=params, indices=g.feed(index.astype(kind))), f"{shape} {index.shape}")
    axis, batch_dims = 0, 0
    if name == "GatherV2":
        batch_dims = g.int(0, len(shape) - 1) if g.chance(0.4) else 0
        axis = g.int(batch_dims, len(shape) - 1)
    index = g.rng.integers(0, shape[axis], shape[:batch_dims] + g.shape(0, 3)).astype(kind)
    if name == "Gather":
        return raw.Gather(params=params, indices=g.feed(index)), f"{shape} {index.shape}"
    negative = g.chance(0.4)
    return (raw.GatherV2(params=params, indices=g.feed(index), axis=g.ints(axis - len(shape) * negative),
                         batch_dims=batch_dims - index.ndim * (batch_dims > 0 and g.chance(0.3))),
            f"{shape} {index.shape} {axis} {batch_dims}")


@maker("Reshape", "ExpandDims", "Squeeze", "EnsureShape", "Transpose", "ConjugateTranspose", "InvertPermutation",
       "PlaceholderWithDefault")
def reshape(g, name):
    if name == "InvertPermutation":
        return raw.InvertPermutation(x=g.ints(g.rng.permutation(g.int(0, 7)), const=False)), ""
    dtype, shape = g.dtype(name), g.shape(0, 6)
    x = g.input(dtype, shape)
    if name == "PlaceholderWithDefault":
        return raw.PlaceholderWithDefault(input=g.input(dtype, shape, const=True), shape=shape), ""
    if name == "EnsureShape":
        return raw.EnsureShape(input=x, shape=[None if g.chance(0.5) else d for d in shape]), f"{shape}"
    if name == "ExpandDims":
        axis = g.int(-len(shape) - 1, len(shape))
        return raw.ExpandDims(input=x, axis=g.ints(axis)), f"{shape} {axis}"
    if name == "Squeeze":
        axes = [i - len(shape) * g.chance(0.3) for i, d in enumerate(shape) if d == 1 and g.chance(0.6)]
        return raw.Squeeze(input=x, axis=axes), f"{shape} {axes}"
    if name in ("Transpose", "ConjugateTranspose"):
        perm = [int(p) - (len(shape) if g.chance(0.1) else 0) for p in g.rng.permutation(len(shape))]
        return call(name, x=x, perm=g.ints(perm)), f"{shape} {perm}"
    to = list(shape)
    g.rng.shuffle(to)
    while len(to) > 1 and g.chance(0.5):
        to = to[:-2] + [to[-2] * to[-1]]
    if g.chance(0.3):
        to.insert(g.int(0, len(to)), 1)
    if to and g.chance(0.5) and 0 not in to:
        to[g.int(0, len(to) - 1)] = -1
    to = [int(t) for t in to]
    return raw.Reshape(tensor=x, shape=g.ints(to)), f"{shape} {to}"


@maker("Reverse", "ReverseV2", "ReverseSequence", "Roll")
def reverse(g, name):
    dtype, shape = g.dtype(name), g.shape(1, 6)
    x, rank = g.input(dtype, shape), len(shape)
    if name == "Reverse":
        flags = g.rng.random(rank) < 0.5
        return raw.Reverse(tensor=x, dims=g.feed(flags, const=g.chance(0.8))), f"{shape} {flags}"
    if name == "ReverseV2":
        axes = [int(a) - (rank if g.chance(0.3) else 0) for a in g.rng.permutation(rank)[:g.int(0, rank)]]
        return raw.ReverseV2(tensor=x, axis=g.ints(axes)), f"{shape} {axes}"
    if name == "Roll":
        count = g.int(1, 3)
        axes, shift = [g.int(-rank, rank - 1) for _ in range(count)], [g.int(-9, 9) for _ in range(count)]
        if count == 1 and g.chance(0.5):
            axes, shift = axes[0], shift[0]
        return raw.Roll(input=x, shift=g.ints(shift), axis=g.ints(axes)), f"{shape} {shift} {axes}"
    batch, seq = [int(a) for a in g.rng.permutation(rank)[:2]]
    lengths = g.rng.integers(0, shape[seq], shape[batch], endpoint=True)
    return (raw.ReverseSequence(input=x, seq_lengths=g.ints(lengths, const=g.chance(0.5)), seq_dim=seq,
                                batch_dim=batch), f"{shape} {lengths} {seq} {batch}")


@maker("Select", "SelectV2", "ClipByValue")
def select(g, name):
    dtype = g.dtype(name)
    one, two = broadcast_pair(g)
    if name == "SelectV2":
        three = [1 if g.chance(0.4) else d for d in np.broadcast_shapes(one, two)]
        return (raw.SelectV2(condition=g.input("bool", three), t=g.input(dtype, one), e=g.input(dtype, two)),
                f"{three} {one} {two}")
    shape = g.shape(0, 5)
    if name == "Select":
        kinds = [shape, [], shape[:1]]
        c = g.pick(kinds)
        return (raw.Select(condition=g.input("bool", c), x=g.input(dtype, shape), y=g.input(dtype, shape)),
                f"{c} {shape}")
    limits = g.pick([[], shape])
    return (raw.ClipByValue(t=g.input(dtype, shape), clip_value_min=g.input(dtype, limits, -2, 0, 0),
                            clip_value_max=g.input(dtype, g.pick([[], shape]), 0, 2, 0)), f"{shape} {limits}")


@maker("OneHot")
def one_hot(g, name):
    shape, depth = g.shape(0, 4), g.dim()
    dtype, kind = g.dtype(name), g.pick(["uint8", "int8", "int32", "int64"])
    axis = g.int(-1, len(shape))
    return (raw.OneHot(indices=g.input(kind, shape, -2, 8, 0), depth=g.ints(depth, "int32"),
                       on_value=g.input(dtype, []), off_value=g.input(dtype, []), axis=axis),
            f"{kind} {shape} {depth} {axis}")


@maker("TopK", "TopKV2", "NthElement", "InTopK", "InTopKV2")
def top_k(g, name):
    shape = g.shape(1, 4)
    k = g.int(0, shape[-1])
    if name in ("InTopK", "InTopKV2"):
        shape = [g.dim(), g.dim(1)]
        kind = g.pick(["int32", "int64"])
        targets = g.rng.integers(-1, shape[1] + 1, shape[0]).astype(kind)
        inputs = dict(predictions=g.input("float32", shape, special=0.3), targets=g.feed(targets))
        k = g.int(0, shape[1] + 1)
        inputs["k"] = k if name == "InTopK" else g.feed(np.array(k, kind))
        return call(name, **inputs), f"{shape} {k}"
    # TensorFlow leaves open where NaN comes in NthElement.
    x = g.input(g.dtype(name), shape, special=0.0 if name == "NthElement" else 0.15)
    if name == "NthElement":
        r = g.chance(0.5)
        return raw.NthElement(input=x, n=g.ints(min(k, max(shape[-1] - 1, 0)), "int32"), reverse=r), f"{shape} {k} {r}"
    if name == "TopK":
        return raw.TopK(input=x, k=k, sorted=g.chance(0.9)), f"{shape} {k}"
    kind = g.pick(["int16", "int32", "int64"])
    return (raw.TopKV2(input=x, k=g.ints(k, kind if kind != "int16" else "int32"), sorted=True,
                       index_type=g.pick([tf.int32, tf.int64, tf.int16])), f"{shape} {k}")


@maker("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def matmul(g, name):
    m, k, n = g.dim(), g.dim(), g.dim()
    if g.chance(0.2):
        m, k, n = g.int(1, 70), g.int(1, 300), g.int(1, 70)
    ta, tb = g.chance(0.4), g.chance(0.4)
    one, two = broadcast_pair(g, 3) if name not in ("MatMul", "BatchMatMul") else ([], [])
    if name == "BatchMatMul":
        one = two = g.shape(0, 3)
    kinds = ["float32", "float32", "float64", "float16", "bfloat16", "int32", "int64", "uint8", "int8", "int16"]
    dtype = g.dtype(name, "T" if name != "BatchMatMulV3" else "Ta", kinds)
    a = g.input(dtype, one + ([k, m] if ta else [m, k]), special=0.05)
    b = g.input(dtype, two + ([n, k] if tb else [k, n]), special=0.05)
    if name == "MatMul":
        return raw.MatMul(a=a, b=b, transpose_a=ta, transpose_b=tb), f"{m},{k},{n} {ta} {tb}", 10.0
    more = {"Tout": a.dtype} if name.endswith("V3") else {}
    return call(name, x=a, y=b, adj_x=ta, adj_y=tb, **more), f"{shapes(a, b)} {ta} {tb}", 10.0


@maker("Einsum")
def einsum(g, name):
    sizes = {c: g.int(1, 5) for c in "abcdef"}
    letters = lambda low, high: "".join(g.rng.permutation(list("abcdef"))[: g.int(low, high)])
    terms = [letters(0, 5) for _ in range(g.pick([1, 2, 2, 2]))]
    if g.chance(0.15) and terms[0]:
        terms[0] += terms[0][0]
    every = sorted(set("".join(terms)))
    out = "".join(g.rng.permutation(every)[: g.int(0, len(every))]) if every else ""
    shape = [[sizes[c] for c in t] for t in terms]
    if g.chance(0.3):
        batch = broadcast_pair(g, 2)
        for i in range(len(terms)):
            if i == 0 or g.chance(0.7):
                at = g.int(0, len(terms[i]))
                shape[i][at:at] = batch[i]
                terms[i] = terms[i][:at] + "..." + terms[i][at:]
        at = g.int(0, len(out))
        out = out[:at] + "..." + out[at:]
    equation = ",".join(terms) + "->" + out
    dtype = g.pick(["float32", "float32", "float64", "float16", "bfloat16", "int32", "int64"])
    return (raw.Einsum(inputs=[g.input(dtype, s, special=0) for s in shape], equation=equation),
            f"{equation} {shape}", 10.0)


@maker("BiasAdd", "BiasAddV1")
def bias_add(g, name):
    shape = g.shape(2, 5)
    dtype = g.dtype(name)
    if name == "BiasAddV1":
        return raw.BiasAddV1(value=g.input(dtype, shape), bias=g.input(dtype, shape[-1:])), f"{shape}"
    layout = g.pick(["NHWC", "NCHW"])
    bias = g.input(dtype, [shape[-1 if layout == "NHWC" else 1]])
    return raw.BiasAdd(value=g.input(dtype, shape), bias=bias, data_format=layout), f"{shape} {layout}"


def image(g, least=1):
    return [g.pick([1, 1, 2, 3, 0]) if g.chance(0.3) else g.int(1, 2), g.int(least, 12), g.int(least, 12), g.int(1, 7)]


def window_attributes(g, explicit=True):
    padding = g.pick(["SAME", "VALID", "EXPLICIT"] if explicit else ["SAME", "VALID"])
    attributes = dict(padding=padding, strides=[1, g.int(1, 3), g.int(1, 3), 1])
    if padding == "EXPLICIT":
        attributes["explicit_paddings"] = [0, 0, *[g.int(0, 3) for _ in range(4)], 0, 0]
    return attributes


@maker("Conv2D", "DepthwiseConv2dNative")
def conv(g, name):
    shape = image(g)
    dtype = g.dtype(name, among=FLOATS + (["int32"] if name == "Conv2D" else []))
    attributes = window_attributes(g)
    attributes["dilations"] = [1, g.pick([1, 1, 2, 3]), g.pick([1, 1, 2]), 1]
    kernel = [g.int(1, 4), g.int(1, 4)]
    layout = "NCHW" if g.chance(0.05) else "NHWC"
    attributes["data_format"] = layout
    if name == "Conv2D":
        if g.chance(0.25) and dtype == "float32":
            groups = g.int(2, 3)
            filter_ = kernel + [shape[3], groups * g.int(1, 4)]
            shape[3] *= groups
        else:
            filter_ = kernel + [shape[3], g.pick([1, 2, 5, 8, 17, 33])]
    else:
        filter_ = kernel + [shape[3], g.int(1, 3)]
        attributes["strides"] = [1, attributes["strides"][1], attributes["strides"][1], 1]
    x, f = g.input(dtype, shape, special=0.03), g.input(dtype, filter_, special=0, const=g.chance(0.7))
    return call(name, input=x, filter=f, **attributes), f"{shape} {filter_} {attributes}", 10.0


@maker("MaxPool", "AvgPool", "MaxPoolV2", "MaxPoolWithArgmax", "ExtractImagePatches")
def pool(g, name):
    shape = image(g)
    attributes = window_attributes(g, name == "MaxPool")
    ksize = [1, g.int(1, 4), g.int(1, 4), 1]
    x = g.input(g.dtype(name), shape, special=0.1)
    if name == "ExtractImagePatches":
        attributes["rates"] = [1, g.int(1, 3), g.int(1, 3), 1]
        return raw.ExtractImagePatches(images=x, ksizes=ksize, **attributes), f"{shape} {ksize} {attributes}"
    if name == "MaxPoolV2":
        return (raw.MaxPoolV2(input=x, ksize=tf.constant(ksize), strides=tf.constant(attributes["strides"]),
                              padding=attributes["padding"]), f"{shape} {ksize} {attributes}")
    if name == "MaxPoolWithArgmax":
        attributes |= dict(Targmax=g.pick([tf.int32, tf.int64]), include_batch_in_index=g.chance(0.5))
    key = "value" if name == "AvgPool" else "input"
    if name in ("MaxPool", "AvgPool") and g.chance(0.1):
        ksize, attributes = [1, 1, 1, g.int(1, 3)], dict(strides=[1, 1, 1, g.int(1, 3)], padding="VALID")
    return call(name, **{key: x}, ksize=ksize, **attributes), f"{shape} {ksize} {attributes}", 4.0


@maker("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "BatchNormWithGlobalNormalization")
def batch_norm(g, name):
    shape = image(g)
    dtype = g.dtype(name, among=["float32", "float32", "float16", "bfloat16"])
    vector = lambda low, high: g.input("float32", shape[3:], low, high, special=0)
    if name == "BatchNormWithGlobalNormalization":
        return (call(name, t=g.input("float32", shape), m=vector(-1, 1), v=vector(0.1, 2), beta=vector(-1, 1),
                     gamma=vector(-2, 2), variance_epsilon=0.01, scale_after_normalization=g.chance(0.5)),
                f"{shape}", 10.0)
    training = g.chance(0.3)
    factor = g.pick([1.0, 0.3])
    made = call(name, x=g.input(dtype, shape, special=0), scale=vector(-2, 2), offset=vector(-1, 1),
                mean=vector(-1, 1), variance=vector(0.1, 2), epsilon=g.pick([1e-3, 1e-5, 0.1]), is_training=training,
                exponential_avg_factor=factor)
    return list(made)[: 3 if training else 1], f"{dtype} {shape} training {training} {factor}", 20.0


@maker("LRN")
def lrn(g, name):
    shape = image(g)
    dtype = g.dtype(name)
    a = dict(depth_radius=g.int(0, 6), bias=g.pick([1.0, 2.0, 0.5]), alpha=g.pick([1.0, 0.1, 1e-4]),
             beta=g.pick([0.5, 0.75, 1.0, 0.3]))
    return raw.LRN(input=g.input(dtype, shape, special=0), **a), f"{shape} {a}", 10.0


@maker("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea", "CropAndResize")
def resize(g, name):
    shape, size = image(g), [g.int(1, 13), g.int(1, 13)]
    x = g.input(g.dtype(name, among=DTYPES_CAST), shape, 0, 100, special=0)
    if name == "CropAndResize":
        boxes = g.int(0, 4)
        corners = g.rng.uniform(-0.3, 1.3, (boxes, 4)).astype("float32")
        method = g.pick(["bilinear", "nearest"])
        box_ind = g.rng.integers(0, max(shape[0], 1), boxes).astype("int32")
        return (raw.CropAndResize(image=x, boxes=g.feed(corners), box_ind=g.feed(box_ind), crop_size=g.ints(size, "int32"),
                                  method=method, extrapolation_value=g.pick([0.0, -7.0])), f"{shape} {size} {method}", 4.0)
    corners = g.chance(0.3) and (name != "ResizeArea" or min(shape[1:3]) > 1)
    half = g.chance(0.5) and not corners
    more = {} if name == "ResizeArea" else {"half_pixel_centers": half}
    return (call(name, images=x, size=g.ints(size, "int32"), align_corners=corners, **more),
            f"{x.dtype.name} {shape} {size} {corners} {more}", 10.0)


@maker("SpaceToBatch", "SpaceToBatchND", "BatchToSpace", "BatchToSpaceND", "SpaceToDepth", "DepthToSpace")
def space(g, name):
    dtype = g.dtype(name)
    block = g.int(2, 3)
    n, h, w, c = g.int(0, 3), g.int(1, 4), g.int(1, 4), g.int(1, 4)
    if name in ("SpaceToDepth", "DepthToSpace"):
        layout = g.pick(["NHWC", "NHWC", "NCHW"])
        shape = [n, h * block, w * block, c] if name == "SpaceToDepth" else [n, h, w, c * block * block]
        if layout == "NCHW":
            shape = [shape[0], shape[3], shape[1], shape[2]]
        return call(name, input=g.input(dtype, shape), block_size=block, data_format=layout), f"{shape} {block} {layout}"
    blocks = [block, block] if not name.endswith("ND") else [g.int(1, 3) for _ in range(g.int(1, 3))]
    if name.startswith("Space"):
        pads = [[g.int(0, 3), 0] for _ in blocks]
        dims = [g.int(1, 7) for _ in blocks]
        for p, d, b in zip(pads, dims, blocks):
            p[1] = -(d + p[0]) % b
        shape = [n, *dims] + ([c] if not name.endswith("ND") else g.shape(0, 2))
        x = g.input(dtype, shape)
        if name == "SpaceToBatch":
            return raw.SpaceToBatch(input=x, paddings=g.ints(pads), block_size=block), f"{shape} {pads} {block}"
        return (raw.SpaceToBatchND(input=x, block_shape=g.ints(blocks), paddings=g.ints(pads)),
                f"{shape} {blocks} {pads}")
    dims = [g.int(1, 5) for _ in blocks]
    crops = [[g.int(0, d * b // 2), g.int(0, (d * b - 1) // 2)] for d, b in zip(dims, blocks)]
    shape = [n * int(np.prod(blocks)), *dims] + ([c] if not name.endswith("ND") else g.shape(0, 2))
    x = g.input(dtype, shape)
    if name == "BatchToSpace":
        return raw.BatchToSpace(input=x, crops=g.ints(crops), block_size=block), f"{shape} {crops} {block}"
    return raw.BatchToSpaceND(input=x, block_shape=g.ints(blocks), crops=g.ints(crops)), f"{shape} {blocks} {crops}"


@maker("MatrixDiag", "MatrixDiagPart", "MatrixSetDiag", "MatrixBandPart", "Diag", "DiagPart")
def diagonal(g, name):
    dtype = g.dtype(name)
    if name == "MatrixDiag":
        return raw.MatrixDiag(diagonal=g.input(dtype, g.shape(1, 4))), ""
    if name == "Diag":
        return raw.Diag(diagonal=g.input(dtype, g.shape(1, 3))), ""
    if name == "DiagPart":
        return raw.DiagPart(input=g.input(dtype, g.shape(1, 3) * 2)), ""
    shape = g.shape(2, 4)
    x = g.input(dtype, shape)
    if name == "MatrixDiagPart":
        return raw.MatrixDiagPart(input=x), f"{shape}"
    if name == "MatrixSetDiag":
        return raw.MatrixSetDiag(input=x, diagonal=g.input(dtype, shape[:-2] + [min(shape[-2:])])), f"{shape}"
    kind = g.pick(["int32", "int64"])
    low, high = g.int(-1, shape[-2]), g.int(-1, shape[-1])
    return raw.MatrixBandPart(input=x, num_lower=g.ints(low, kind), num_upper=g.ints(high, kind)), f"{shape} {low} {high}"


@maker("MatrixDiagV2", "MatrixDiagV3", "MatrixDiagPartV2", "MatrixDiagPartV3", "MatrixSetDiagV2", "MatrixSetDiagV3")
def diagonals(g, name):
    dtype = g.dtype(name)
    rows, columns = g.int(1, 5), g.int(1, 5)
    k = sorted([g.int(-rows + 1, columns - 1), g.int(-rows + 1, columns - 1)])
    if g.chance(0.4):
        k = [k[0], k[0]]
    longest = min(rows + min(k[1], 0), columns - max(k[0], 0))
    batch = g.shape(0, 2)
    band = batch + ([k[1] - k[0] + 1] if k[0] != k[1] else []) + [longest]
    index = g.ints(k if k[0] != k[1] or g.chance(0.3) else k[0], "int32")
    align = {"align": g.pick(["LEFT_RIGHT", "RIGHT_LEFT", "LEFT_LEFT", "RIGHT_RIGHT"])} if name.endswith("V3") else {}
    what = f"{batch} {rows}x{columns} {k} {align}"
    matrix = lambda: g.input(dtype, batch + [rows, columns])
    if name.startswith("MatrixDiagPart"):
        return call(name, input=matrix(), k=index, padding_value=g.input(dtype, []), **align), what
    if name.startswith("MatrixSetDiag"):
        return call(name, input=matrix(), diagonal=g.input(dtype, band), k=index, **align), what
    size = lambda d: g.ints(d if g.chance(0.7) else -1, "int32")
    return (call(name, diagonal=g.input(dtype, band), k=index, num_rows=size(rows), num_cols=size(columns),
                 padding_value=g.input(dtype, []), **align), what)


@maker("Where", "Unique", "UniqueWithCounts", "ListDiff")
def distinct(g, name):
    dtype = g.dtype(name)
    if name == "Where":
        return raw.Where(condition=g.input(dtype, g.shape(0, 5), special=0.2)), ""
    x = g.input(dtype, g.shape(1, 1), special=0.1)
    kind = g.pick([tf.int32, tf.int64])
    if name == "ListDiff":
        return list(raw.ListDiff(x=x, y=g.input(dtype, g.shape(1, 1), special=0.1), out_idx=kind)), ""
    return list(call(name, x=x, out_idx=kind)), ""


@maker("DynamicPartition", "DynamicStitch", "ParallelDynamicStitch")
def partition(g, name):
    dtype = g.dtype(name)
    if name == "DynamicPartition":
        shape, count = g.shape(0, 4), g.int(1, 4)
        which = g.rng.integers(0, count, shape[: g.int(0, len(shape))]).astype("int32")
        return (raw.DynamicPartition(data=g.input(dtype, shape), partitions=g.feed(which), num_partitions=count),
                f"{shape} {which.shape} {count}")
    inner, count = g.shape(0, 2), g.int(1, 3)
    each = [g.shape(0, 2) for _ in range(count)]
    total = sum(int(np.prod(s)) for s in each)
    order = g.rng.permutation(total).astype("int32")
    indices, at = [], 0
    for s in each:
        n = int(np.prod(s))
        indices.append(g.feed(order[at:at + n].reshape(s)))
        at += n
    return call(name, indices=indices, data=[g.input(dtype, s + inner) for s in each]), f"{each} {inner}"


@maker("ScatterNd", "TensorScatterUpdate", "TensorScatterAdd", "TensorScatterSub", "TensorScatterMax",
       "TensorScatterMin")
def scatter(g, name):
    dtype, shape, kind = g.dtype(name), g.shape(1, 4, least=1), g.pick(["int32", "int64"])
    depth, batch = g.int(1, len(shape)), g.shape(0, 2)
    index = np.stack([g.rng.integers(0, d, batch) for d in shape[:depth]], -1).astype(kind)
    updates = g.input(dtype, batch + shape[depth:])
    if name == "ScatterNd":
        return raw.ScatterNd(indices=g.feed(index), updates=updates, shape=g.ints(shape, kind)), f"{shape} {batch}", 4.0
    return call(name, tensor=g.input(dtype, shape), indices=g.feed(index), updates=updates), f"{shape} {batch} {depth}", 4.0


@maker("SegmentSum", "SegmentMean", "SegmentMax", "SegmentMin", "SegmentProd", "UnsortedSegmentSum",
       "UnsortedSegmentMax", "UnsortedSegmentMin", "UnsortedSegmentProd")
def segment(g, name):
    dtype, shape, kind = g.dtype(name), g.shape(1, 4), g.pick(["int32", "int64"])
    data = g.input(dtype, shape, special=0.1)
    if name.startswith("Unsorted"):
        count = g.int(0, 6)
        ids = g.rng.integers(-1, max(count, 1), shape[: g.int(1, len(shape))]).astype(kind)
        return (call(name, data=data, segment_ids=g.feed(ids), num_segments=g.ints(count)), f"{shape} {ids.tolist()} {count}",
                4.0)
    ids = np.sort(g.rng.integers(0, max(shape[0], 1), shape[0])).astype(kind)
    return call(name, data=data, segment_ids=g.feed(ids)), f"{shape} {ids}", 4.0


@maker("Bincount", "DenseBincount", "HistogramFixedWidth")
def bincount(g, name):
    dtype, size = g.dtype(name), g.int(0, 7)
    if name == "Bincount":
        shape = g.shape(0, 3)
        return (raw.Bincount(arr=g.input("int32", shape, 0, 8, 0), size=g.ints(size, "int32"),
                             weights=g.input(dtype, g.pick([shape, [0]]), special=0)), f"{shape} {size}")
    if name == "DenseBincount":
        kind, shape, b = g.pick(["int32", "int64"]), g.shape(1, 2), g.chance(0.4)
        return (raw.DenseBincount(input=g.input(kind, shape, 0, 8, 0), size=g.feed(np.array(size, kind)),
                                  weights=g.input(dtype, g.pick([shape, [0]]), special=0), binary_output=b),
                f"{shape} {size} {b}")
    low = g.int(-3, 0)
    kind = g.pick(["float32", "float64", "int32", "int64"])
    return (raw.HistogramFixedWidth(values=g.input(kind, g.shape(0, 3), special=0),
                                    value_range=g.feed(np.array([low, low + g.int(1, 5)], kind)), nbins=g.ints(size + 1, "int32"),
                                    dtype=g.pick([tf.int32, tf.int64])), f"{kind} {size}")


@maker("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel")
def fake_quant(g, name):
    shape = g.shape(1, 4)
    x = g.input("float32", shape, -8, 8, special=0.1)
    a = dict(num_bits=g.int(2, 16), narrow_range=g.chance(0.5))
    low, high = g.rng.uniform(-6, 0.5), g.rng.uniform(0.6, 6)
    if name == "FakeQuantWithMinMaxArgs":
        return raw.FakeQuantWithMinMaxArgs(inputs=x, min=low, max=high, **a), f"{shape} {low} {high} {a}"
    if name == "FakeQuantWithMinMaxVars":
        return (raw.FakeQuantWithMinMaxVars(inputs=x, min=g.feed(np.float32(low)), max=g.feed(np.float32(high)), **a),
                f"{shape} {low} {high} {a}")
    return (call(name, inputs=x, min=g.input("float32", shape[-1:], -6, 0.2, 0), max=g.input("float32", shape[-1:], 0.3, 6, 0),
                 **a), f"{shape} {a}")


@maker("SoftmaxCrossEntropyWithLogits", "SparseSoftmaxCrossEntropyWithLogits")
def cross_entropy(g, name):
    rows, classes = g.dim(), g.dim(1)
    dtype = g.dtype(name)
    features = g.input(dtype, [rows, classes], special=0.1)
    if name.startswith("Sparse"):
        labels = g.feed(g.rng.integers(0, classes, rows).astype(g.pick(["int32", "int64"])))
        return list(call(name, features=features, labels=labels)), f"{rows},{classes}", 10.0
    labels = g.input(dtype, [rows if g.chance(0.7) else 1, classes if g.chance(0.7) else 1], 0, 1, special=0)
    return list(call(name, features=features, labels=labels)), f"{rows},{classes} {labels.shape}", 10.0


@maker("CheckNumerics", "CheckNumericsV2")
def check_numerics(g, name):
    return call(name, tensor=g.input(g.dtype(name), g.shape(0, 4), special=0), message="m"), ""
