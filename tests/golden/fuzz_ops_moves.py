"""Random nodes of operators that move elements, for `fuzz.py`."""

import numpy as np

from fuzz_graph import REAL
from fuzz_ops import axes_of, broadcast_pair, maker


@maker("Concat", "ConcatV2", "ConcatOffset")
def concat(g, name):
    shape = g.shape(1, 5)
    axis = g.int(-len(shape), len(shape) - 1)
    each = []
    for _ in range(g.int(2, 5)):
        s = list(shape)
        s[axis] = g.dim()
        each.append(s)
    if name == "ConcatOffset":
        kind = g.pick(["int32", "int64"])
        return g.call(name, g.ints(axis, "int32"), [g.ints(s, kind) for s in each])
    dtype = g.dtype(name)
    values = [g.input(dtype, s) for s in each]
    if name == "Concat":
        return g.call(name, g.ints(axis, "int32"), values)
    return g.call(name, values, g.ints(axis))


@maker("Pack", "ParallelConcat", "IdentityN", "ShapeN")
def joined(g, name):
    count, shape = g.int(1, 5), g.shape(0, 5)
    dtype = g.dtype(name)
    if name == "IdentityN":
        return g.call(name, [g.input(g.pick(REAL), g.shape(0, 4)) for _ in range(count)])
    if name == "ShapeN":
        return g.call(name, [g.input(dtype, g.shape(0, 4)) for _ in range(count)], out_type=g.pick(["int32", "int64"]))
    if name == "ParallelConcat":
        return g.call(name, [g.input(dtype, [1] + shape) for _ in range(count)], shape=[count] + shape)
    values = [g.input(dtype, shape) for _ in range(count)]
    if g.chance(0.2):
        values[-1] = values[0]
    return g.call(name, values, axis=g.int(-len(shape) - 1, len(shape)))


@maker("Unpack", "Split", "SplitV")
def apart(g, name):
    shape, dtype = g.shape(1, 5), g.dtype(name)
    axis = g.int(-len(shape), len(shape) - 1)
    if name == "Unpack":
        return g.call(name, g.input(dtype, shape), num=shape[axis], axis=axis)
    if name == "Split":
        n = g.int(1, 4)
        shape[axis] *= n
        return g.call(name, g.ints(axis, "int32"), g.input(dtype, shape), num_split=n)
    sizes = [g.int(0, 3) for _ in range(g.int(1, 4))]
    shape[axis] = sum(sizes)
    if g.chance(0.3):
        sizes[g.int(0, len(sizes) - 1)] = -1
    x = g.input(dtype, shape)
    return g.call(name, x, g.ints(sizes, g.pick(g.allowed(name, "Tlen"))), g.ints(axis, "int32"), num_split=len(sizes))


@maker("Slice")
def slice_(g, name):
    shape = g.shape(0, 6)
    begin = [g.int(0, d) for d in shape]
    size = [-1 if g.chance(0.3) else g.int(0, d - b) for d, b in zip(shape, begin)]
    kind = g.pick(["int32", "int64"])
    return g.call(name, g.input(g.dtype(name), shape), g.ints(begin, kind), g.ints(size, kind))


@maker("StridedSlice")
def strided_slice(g, name):
    shape = g.shape(0, 6)
    entries = g.int(0, len(shape) + 2)
    begin, end, strides = [], [], []
    for i in range(entries):
        d = shape[i] if i < len(shape) else 3
        begin.append(g.int(-d - 2, d + 2))
        end.append(g.int(-d - 2, d + 2))
        strides.append(g.pick([1, 1, 1, 1, 2, 3, -1, -1, -2, 2**31 - 1, -(2**31)]) if g.chance(0.95) else 0)
    mask = lambda p: sum(1 << i for i in range(entries) if g.chance(p)) | (1 << 20 if g.chance(0.02) else 0)
    kind = g.pick(["int32", "int64", "int16"] if max(map(abs, strides), default=0) < 1000 else ["int32", "int64"])
    const = g.chance(0.8)
    args = [g.ints(v, kind, const if g.chance(0.9) else None) for v in (begin, end, strides)]
    ellipsis = 1 << g.int(0, max(entries - 1, 0)) if g.chance(0.3) else 0
    return g.call(name, g.input(g.dtype(name), shape), *args, begin_mask=mask(0.3), end_mask=mask(0.3), ellipsis_mask=ellipsis,
                  new_axis_mask=mask(0.15), shrink_axis_mask=mask(0.15))


@maker("Pad", "PadV2", "MirrorPad")
def pad(g, name):
    shape, dtype = g.shape(0, 5), g.dtype(name)
    mode = g.pick(["REFLECT", "SYMMETRIC"])
    most = lambda d: 3 if name != "MirrorPad" else max(0, d - (mode == "REFLECT"))
    pads = np.array([[g.int(0, most(d)), g.int(0, most(d))] for d in shape]).reshape(len(shape), 2)
    x, pads = g.input(dtype, shape), g.ints(pads)
    if name == "PadV2":
        return g.call(name, x, pads, g.input(dtype, [], special=0.3))
    return g.call(name, x, pads, **({"mode": mode} if name == "MirrorPad" else {}))


@maker("Tile", "BroadcastTo", "BroadcastArgs", "Fill", "Empty", "Range", "LinSpace")
def repeat(g, name):
    if name == "Tile":
        shape = g.shape(0, 5)
        return g.call(name, g.input(g.dtype(name), shape), g.ints([g.pick([0, 1, 1, 2, 3]) for _ in shape]))
    if name == "BroadcastTo":
        full = g.shape(0, 6)
        one = [1 if g.chance(0.4) else d for d in full][g.int(0, len(full)):]
        return g.call(name, g.input(g.dtype(name), one), g.ints(full))
    if name == "BroadcastArgs":
        kind, (one, two) = g.pick(["int32", "int64"]), broadcast_pair(g)
        return g.call(name, g.ints(one, kind, g.chance(0.5)), g.ints(two, kind))
    if name == "Fill":
        return g.call(name, g.ints(g.shape(0, 5)), g.input(g.dtype(name), [], special=0.3))
    if name == "Empty":
        return g.call(name, g.ints(g.shape(0, 4), "int32"), dtype=g.pick(REAL), init=True)
    if name == "Range":
        dtype = g.dtype(name, "Tidx")
        start, limit = (int(v) for v in g.rng.integers(0 if dtype.startswith("u") else -10, 20, 2))
        delta = g.pick([1, 2, 3, 0.5, 0.7, 1e-3 if g.wild else 5]) * (1 if limit >= start else -1)
        if "float" not in dtype:
            delta = int(delta) or 1
            if dtype.startswith("u"):
                start, limit, delta = min(start, limit), max(start, limit), abs(delta)
        parts = [g.feed(np.array(v), dtype) for v in (start, limit, delta)]
        return g.call(name, *parts)
    dtype = g.dtype(name)
    ends = [g.input(dtype, [], special=0.1, huge=False) for _ in range(2)]
    return g.call(name, *ends, g.ints(g.pick([1, 2, 3, 5, 9, 100])))


@maker("Gather", "GatherV2", "GatherNd")
def gather(g, name):
    dtype, shape = g.dtype(name, "Tparams"), g.shape(1, 4, least=1)
    kind = g.pick(g.allowed(name, "Tindices"))
    params = g.input(dtype, shape)
    if name == "GatherNd":
        depth, batch = g.int(0, len(shape)), g.shape(0, 3)
        index = np.stack([g.rng.integers(0, d, batch) for d in shape[:depth]], -1) if depth else np.zeros(batch + [0])
        return g.call(name, params, g.feed(index.astype(kind)),
                      **({"bad_indices_policy": g.pick(["", "ERROR", "IGNORE", "DEFAULT"])} if g.chance(0.2) else {}))
    batch_dims = g.int(0, len(shape) - 1) if name == "GatherV2" and g.chance(0.4) else 0
    axis = g.int(batch_dims, len(shape) - 1) if name == "GatherV2" else 0
    index = g.rng.integers(0, shape[axis], shape[:batch_dims] + g.shape(0, 3)).astype(kind)
    if name == "Gather":
        return g.call(name, params, g.feed(index), validate_indices=g.chance(0.8))
    batch = batch_dims - index.ndim * (batch_dims > 0 and g.chance(0.3))
    return g.call(name, params, g.feed(index), g.ints(axis - len(shape) * g.chance(0.4)), batch_dims=batch)


@maker("Reshape", "ExpandDims", "Squeeze", "EnsureShape", "Transpose", "ConjugateTranspose", "InvertPermutation",
       "PlaceholderWithDefault")
def reshape(g, name):
    if name == "InvertPermutation":
        return g.call(name, g.ints(g.rng.permutation(g.int(0, 7)), const=g.chance(0.4)))
    dtype, shape = g.dtype(name), g.shape(0, 6)
    if name == "PlaceholderWithDefault":
        x = g.input(dtype, shape, const=g.chance(0.8))
        return g.call(name, x, shape=g.pick([shape, None, [None] * len(shape)]))
    x = g.input(dtype, shape)
    if name == "EnsureShape":
        return g.call(name, x, shape=None if g.chance(0.1) else [None if g.chance(0.5) else d for d in shape])
    if name == "ExpandDims":
        return g.call(name, x, g.feed(np.array(g.int(-len(shape) - 1, len(shape)), g.pick(["int32", "int64"])).reshape(g.pick([[], [], [1]])),
                                      const=g.chance(0.8)))
    if name == "Squeeze":
        axes = [i - len(shape) * g.chance(0.3) for i, d in enumerate(shape) if d == 1 and g.chance(0.6)]
        return g.call(name, x, squeeze_dims=axes)
    if name in ("Transpose", "ConjugateTranspose"):
        perm = [int(p) - (len(shape) if g.chance(0.05) else 0) for p in g.rng.permutation(len(shape))]
        return g.call(name, x, g.ints(perm))
    to = list(shape)
    g.rng.shuffle(to)
    while len(to) > 1 and g.chance(0.5):
        to = to[:-2] + [to[-2] * to[-1]]
    if g.chance(0.3):
        to.insert(g.int(0, len(to)), 1)
    if to and g.chance(0.5):
        to[g.int(0, len(to) - 1)] = -1
    return g.call(name, x, g.ints([int(t) for t in to]))


@maker("Reverse", "ReverseV2", "ReverseSequence", "Roll")
def reverse(g, name):
    dtype, shape = g.dtype(name), g.shape(2 if name == "ReverseSequence" else 0 if name.startswith("Reverse") else 1, 6)
    x, rank = g.input(dtype, shape), len(shape)
    if name == "Reverse":
        return g.call(name, x, g.feed(g.rng.random(rank) < 0.5, const=g.chance(0.8)))
    if name == "ReverseV2":
        return g.call(name, x, g.ints(axes_of(g, rank)))
    if name == "Roll":
        count = g.int(1, 3)
        axes, shift = [g.int(-rank, rank - 1) for _ in range(count)], [g.pick([0, 1, -1, 9, -9, 1000]) for _ in range(count)]
        if count == 1 and g.chance(0.5):
            axes, shift = axes[0], shift[0]
        return g.call(name, x, g.ints(shift), g.ints(axes))
    batch, seq = [int(a) for a in g.rng.permutation(rank)[:2]]
    lengths = g.rng.integers(0, shape[seq], shape[batch], endpoint=True)
    return g.call(name, x, g.ints(lengths, const=g.chance(0.5)), seq_dim=seq, batch_dim=batch)


@maker("OneHot")
def one_hot(g, name):
    shape, dtype, kind = g.shape(0, 4), g.dtype(name), g.pick(["uint8", "int8", "int32", "int64"])
    return g.call(name, g.input(kind, shape, -2, 8, 0.1), g.ints(g.dim(), "int32"), g.input(dtype, []), g.input(dtype, []),
                  axis=g.int(-1, len(shape)))


@maker("SpaceToBatch", "SpaceToBatchND", "BatchToSpace", "BatchToSpaceND", "SpaceToDepth", "DepthToSpace")
def space(g, name):
    dtype, block = g.dtype(name), g.int(2, 3)
    n, h, w, c = g.int(0, 3), g.int(0, 4), g.int(1, 4), g.int(1, 4)
    if name in ("SpaceToDepth", "DepthToSpace"):
        layout = g.pick(["NHWC", "NHWC", "NHWC", "NCHW"])
        shape = [n, h * block, w * block, c] if name == "SpaceToDepth" else [n, h, w, c * block * block]
        if layout == "NCHW":
            shape = [shape[0], shape[3], shape[1], shape[2]]
        return g.call(name, g.input(dtype, shape), block_size=block, data_format=layout)
    is_nd = name.endswith("ND")
    blocks = [g.int(1, 3) for _ in range(g.int(0, 4))] if is_nd else [block, block]
    tail = g.shape(0, 2) if is_nd else [c]
    if name.startswith("Space"):
        pads = [[g.int(0, 3), 0] for _ in blocks]
        dims = [g.int(1, 5) for _ in blocks]
        for p, d, b in zip(pads, dims, blocks):
            p[1] = -(d + p[0]) % b
        pads = g.ints(np.array(pads).reshape(-1, 2))
        x = g.input(dtype, [n, *dims] + tail)
        return g.call(name, x, g.ints(blocks), pads) if is_nd else g.call(name, x, pads, block_size=block)
    dims = [g.int(1, 4) for _ in blocks]
    crops = [[g.int(0, d * b // 2), g.int(0, (d * b - 1) // 2)] for d, b in zip(dims, blocks)]
    crops = g.ints(np.array(crops).reshape(-1, 2))
    x = g.input(dtype, [n * int(np.prod(blocks)), *dims] + tail)
    return g.call(name, x, g.ints(blocks), crops) if is_nd else g.call(name, x, crops, block_size=block)


@maker("MatrixDiag", "MatrixDiagPart", "MatrixSetDiag", "MatrixBandPart", "Diag", "DiagPart")
def diagonal(g, name):
    dtype = g.dtype(name)
    if name == "MatrixDiag":
        return g.call(name, g.input(dtype, g.shape(1, 4)))
    if name == "Diag":
        return g.call(name, g.input(dtype, g.shape(1, 3)))
    if name == "DiagPart":
        return g.call(name, g.input(dtype, g.shape(1, 3) * 2))
    shape = g.shape(2, 4)
    x = g.input(dtype, shape)
    if name == "MatrixDiagPart":
        return g.call(name, x)
    if name == "MatrixSetDiag":
        return g.call(name, x, g.input(dtype, shape[:-2] + [min(shape[-2:])]))
    kind = g.pick(["int32", "int64"])
    return g.call(name, x, g.ints(g.int(-1, shape[-2]), kind), g.ints(g.int(-1, shape[-1]), kind))


@maker("MatrixDiagV2", "MatrixDiagV3", "MatrixDiagPartV2", "MatrixDiagPartV3", "MatrixSetDiagV2", "MatrixSetDiagV3")
def diagonals(g, name):
    dtype, rows, columns = g.dtype(name), g.int(1, 5), g.int(1, 5)
    k = sorted([g.int(-rows + 1, columns - 1), g.int(-rows + 1, columns - 1)])
    if g.chance(0.4):
        k = [k[0], k[0]]
    longest = min(rows + min(k[1], 0), columns - max(k[0], 0))
    batch = g.shape(0, 2)
    band = batch + ([k[1] - k[0] + 1] if k[0] != k[1] else []) + [longest]
    index = g.ints(k if k[0] != k[1] or g.chance(0.3) else g.pick([k[0], k[:1]]), "int32")
    more = {"align": g.pick(["LEFT_RIGHT", "RIGHT_LEFT", "LEFT_LEFT", "RIGHT_RIGHT"])} if name.endswith("V3") else {}
    matrix = lambda: g.input(dtype, batch + [rows, columns])
    if name.startswith("MatrixDiagPart"):
        return g.call(name, matrix(), index, g.input(dtype, []), **more)
    if name.startswith("MatrixSetDiag"):
        return g.call(name, matrix(), g.input(dtype, band), index, **more)
    size = lambda d: g.ints(d if g.chance(0.7) else -1, "int32")
    return g.call(name, g.input(dtype, band), index, size(rows), size(columns), g.input(dtype, []), **more)


@maker("DynamicPartition", "DynamicStitch", "ParallelDynamicStitch")
def partition(g, name):
    dtype = g.dtype(name)
    if name == "DynamicPartition":
        shape, count = g.shape(0, 4), g.int(1, 4)
        which = g.rng.integers(0, count, shape[: g.int(0, len(shape))]).astype("int32")
        return g.call(name, g.input(dtype, shape), g.feed(which), num_partitions=count)
    inner, count = g.shape(0, 2), g.int(1, 3)
    each = [g.shape(0, 2) for _ in range(count)]
    total = sum(int(np.prod(s)) for s in each)
    order = g.rng.permutation(total).astype("int32")
    indices, at = [], 0
    for s in each:
        n = int(np.prod(s))
        indices.append(g.feed(order[at:at + n].reshape(s)))
        at += n
    return g.call(name, indices, [g.input(dtype, s + inner) for s in each])


@maker("ScatterNd", "TensorScatterUpdate", "TensorScatterAdd", "TensorScatterSub", "TensorScatterMax",
       "TensorScatterMin")
def scatter(g, name):
    dtype, shape, kind = g.dtype(name), g.shape(1, 4, least=1), g.pick(g.allowed(name, "Tindices"))
    depth, batch = g.int(1, len(shape)), g.shape(0, 2)
    index = np.stack([g.rng.integers(0, d, batch) for d in shape[:depth]], -1).astype(kind)
    if name == "TensorScatterUpdate" and kind != "uint16":  # which of two rows for one place is left is open
        index = np.unique(index.reshape(-1, depth), axis=0)
        batch = list(index.shape[:1])
    updates = g.input(dtype, batch + shape[depth:], huge=False)
    more = {"bad_indices_policy": g.pick(["", "ERROR", "IGNORE", "DEFAULT"])} if g.chance(0.2) else {}
    if name == "ScatterNd":
        return g.call(name, g.feed(index), updates, g.ints(shape, kind), **more)
    return g.call(name, g.input(dtype, shape, huge=False), g.feed(index), updates, **more)
