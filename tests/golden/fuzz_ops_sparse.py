"""Random nodes of recurrent cells, quantised, sparse and ragged tensors, for `fuzz.py`."""

import numpy as np

from fuzz_ops import maker

NUMBERS = ["float32", "float64", "int8", "uint8", "int16", "int32", "int64"]


def sparse(g, dims=None, dtype="float32", least=1, sort=True):
    """Coordinates, values and shape of a sparse tensor, as arrays."""
    dims = [g.int(1, 5) for _ in range(g.int(least, 3))] if dims is None else dims
    size = int(np.prod(dims))
    places = g.rng.choice(size, g.int(0, min(size, 9)), replace=False) if size else np.zeros(0, int)
    places = np.sort(places) if sort else places
    rows = np.stack(np.unravel_index(places, dims), -1).astype("int64").reshape(len(places), len(dims))
    return rows, g.value(dtype, [len(places)], special=0.02, huge=False), np.array(dims, "int64")


def fed(g, parts):
    return [g.feed(part) for part in parts]


@maker("LSTMBlockCell", "BlockLSTM", "BlockLSTMV2")
def lstm(g, name):
    batch, inputs, hidden, steps = (g.int(1, 5) for _ in range(4))
    kind = g.pick(["float32", "float32", "float16"])
    value = lambda *shape: g.input(kind, shape, low=-1, high=1, special=0.0, huge=False)
    parts = [value(batch, hidden), value(batch, hidden), value(inputs + hidden, 4 * hidden), value(hidden), value(hidden), value(hidden), value(4 * hidden)]
    more = dict(cell_clip=g.pick([-1.0, 0.0, 0.3, 3.0]), use_peephole=g.chance(0.5))
    if name != "BlockLSTMV2":
        more["forget_bias"] = g.pick([0.0, 1.0, 0.5])
    if name == "LSTMBlockCell":
        return g.call(name, value(batch, inputs), *parts, **more)
    return g.call(name, g.feed(np.int64(steps)), value(steps, batch, inputs), *parts, **more)


@maker("GRUBlockCell")
def gru(g, name):
    batch, inputs, hidden = (g.int(1, 5) for _ in range(3))
    value = lambda *shape: g.input("float32", shape, low=-1, high=1, special=0.0, huge=False)
    return g.call(name, value(batch, inputs), value(batch, hidden), value(inputs + hidden, 2 * hidden), value(inputs + hidden, hidden), value(2 * hidden), value(hidden))


@maker("QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3", "QuantizeAndDequantizeV4")
def simulate(g, name):
    dtype, shape = g.pick(["float32", "float64"]), g.shape(1, 3, least=1)
    axis = g.pick([-1, -1, g.int(0, len(shape) - 1)])
    ends = np.sort(g.rng.uniform(-4, 4, ([] if axis < 0 else [shape[axis]]) + [2]), axis=-1).astype(dtype)
    given = [g.input(dtype, shape, special=0.0, huge=False), g.feed(ends[..., 0]), g.feed(ends[..., 1])]
    more = dict(signed_input=g.chance(0.6), range_given=g.chance(0.6), narrow_range=g.chance(0.4), axis=axis)
    bits = g.int(2, 12)
    if name == "QuantizeAndDequantizeV3":
        return g.call(name, *given, g.feed(np.int32(bits)), **more)
    return g.call(name, *given, num_bits=bits, round_mode=g.pick(["HALF_TO_EVEN", "HALF_UP"]), **more)


@maker("SparseToDense")
def to_dense(g, name):
    dtype, index = g.pick(NUMBERS + ["bool", "string"]), g.pick(["int32", "int64"])
    rows, values, shape = sparse(g, dtype=dtype)
    if len(shape) == 1 and g.chance(0.5):
        rows = rows[:, 0]
    values = g.input(dtype, []) if g.chance(0.3) else g.feed(values, dtype)
    return g.call(name, g.feed(rows.astype(index)), g.feed(shape.astype(index)), values, g.input(dtype, []), validate_indices=g.chance(0.6))


@maker("SparseTensorDenseAdd")
def dense_add(g, name):
    dtype, index = g.pick(NUMBERS), g.pick(["int32", "int64"])
    rows, values, shape = sparse(g, dtype=dtype)
    return g.call(name, g.feed(rows.astype(index)), g.feed(values), g.feed(shape.astype(index)), g.input(dtype, shape, huge=False))


@maker("SparseTensorDenseMatMul")
def dense_product(g, name):
    dtype, index, turned = g.pick(["float32", "float64", "int32"]), g.pick(["int32", "int64"]), (g.chance(0.4), g.chance(0.4))
    m, k, n = (g.int(1, 5) for _ in range(3))
    rows, values, shape = sparse(g, [k, m] if turned[0] else [m, k], dtype)
    dense = g.input(dtype, [n, k] if turned[1] else [k, n], special=0.0, huge=False)
    return g.call(name, g.feed(rows.astype(index)), g.feed(values), g.feed(shape), dense, adjoint_a=turned[0], adjoint_b=turned[1])


@maker("SparseDenseCwiseAdd", "SparseDenseCwiseMul", "SparseDenseCwiseDiv")
def dense_each(g, name):
    dtype = g.pick(NUMBERS)
    parts = sparse(g, dtype=dtype)
    shape = [int(d) if g.chance(0.6) else 1 for d in parts[2]][g.int(0, len(parts[2])) if g.chance(0.4) else 0:]
    return g.call(name, *fed(g, parts), g.input(dtype, shape, low=1, high=5, special=0.0, huge=False))


@maker("SparseReshape")
def sparse_reshape(g, name):
    rows, _, shape = sparse(g)
    size = int(np.prod(shape))
    return g.call(name, g.feed(rows), g.feed(shape), g.feed(np.array(g.pick([[size], [-1], [1, -1], [size, 1], list(shape[::-1]), [2, -1]]), "int64")))


@maker("SparseReorder")
def reorder(g, name):
    return g.call(name, *fed(g, sparse(g, dtype=g.pick(NUMBERS), sort=False)))


@maker("SparseConcat")
def sparse_concat(g, name):
    dtype, dims = g.pick(NUMBERS), [g.int(1, 4) for _ in range(g.int(1, 3))]
    axis, parts = g.int(-len(dims), len(dims) - 1), []
    for _ in range(g.int(2, 4)):
        dims[axis] = g.int(1, 4)
        parts.append(sparse(g, list(dims), dtype))
    return g.call(name, *([g.feed(part[i]) for part in parts] for i in range(3)), concat_dim=axis)


@maker("SparseSlice")
def sparse_slice(g, name):
    parts = sparse(g, dtype=g.pick(NUMBERS))
    start, size = (np.array([g.int(0, int(d) + 1) for d in parts[2]], "int64") for _ in range(2))
    return g.call(name, *fed(g, parts), g.feed(start), g.feed(size))


@maker("SparseSplit")
def sparse_split(g, name):
    parts = sparse(g, dtype=g.pick(NUMBERS))
    axis = g.int(0, len(parts[2]) - 1)
    return g.call(name, g.feed(np.int64(axis)), *fed(g, parts), num_split=g.int(1, int(parts[2][axis])))


@maker("SparseFillEmptyRows")
def fill_rows(g, name):
    dtype = g.pick(NUMBERS)
    return g.call(name, *fed(g, sparse(g, dtype=dtype, sort=g.chance(0.5))), g.input(dtype, []))


@maker("SparseSoftmax")
def sparse_softmax(g, name):
    return g.call(name, *fed(g, sparse(g, dtype=g.pick(["float32", "float64", "float16"]), least=2)))


@maker("SparseReduceSum", "SparseReduceMax", "SparseReduceSumSparse", "SparseReduceMaxSparse")
def sparse_reduce(g, name):
    parts = sparse(g, dtype=g.pick(NUMBERS))
    rank = len(parts[2])
    axes = g.rng.choice(rank, g.int(1, rank), replace=False) - (rank if g.chance(0.3) else 0)
    return g.call(name, *fed(g, parts), g.feed(axes.astype("int32")), keep_dims=g.chance(0.4))


@maker("SparseAdd", "SparseSparseMaximum", "SparseSparseMinimum")
def sparse_pair(g, name):
    dtype = g.pick(["float32", "float64", "int16", "int8", "int32", "int64"])
    a = sparse(g, dtype=dtype)
    b = sparse(g, [int(d) for d in a[2]], dtype)
    more = [g.feed(np.array(g.pick([0, 1, 3]), dtype))] if name == "SparseAdd" else []
    return g.call(name, *fed(g, a), *fed(g, b), *more)


SEGMENTS = [f"SparseSegment{op}{more}" for op in ("Sum", "Mean", "SqrtN") for more in ("", "WithNumSegments")]


@maker(*SEGMENTS)
def segments(g, name):
    dtype = g.pick(NUMBERS if "Sum" in name else ["float32", "float64"])
    rows, count = g.int(1, 5), g.int(0, 7)
    ids = np.sort(np.minimum(g.rng.integers(0, max(1, count), count), max(count - 1, 0))).astype(g.pick(["int32", "int64"]))
    data = g.input(dtype, [rows] + g.shape(0, 2), special=0.0, huge=False)
    more = [g.feed(np.array((int(ids[-1]) + 1 if count else 1) + g.int(0, 2), g.pick(["int32", "int64"])))] if "With" in name else []
    return g.call(name, data, g.feed(g.rng.integers(0, rows, count).astype(g.pick(["int32", "int64"]))), g.feed(ids), *more)


def row_splits(g):
    return np.concatenate([[0], np.cumsum(g.rng.integers(0, 4, g.int(1, 4)))]).astype("int64")


@maker("SparseBincount", "RaggedBincount", "SparseCountSparseOutput", "RaggedCountSparseOutput", "DenseCountSparseOutput")
def counts(g, name):
    index, dtype, binary = g.pick(["int32", "int64"]), g.pick(["float32", "float64", "int32", "int64"]), g.chance(0.3)
    before, behind, shape = [], [], [g.int(1, 4) for _ in range(g.int(1, 2))]
    if name.startswith("Sparse"):
        rows, _, dims = sparse(g, shape)
        before, behind, shape = [g.feed(rows)], [g.feed(dims)], [len(rows)]
    elif name.startswith("Ragged"):
        splits = row_splits(g)
        before, shape = [g.feed(splits)], [int(splits[-1])]
    values = g.feed(g.rng.integers(0, 8, shape).astype(index))
    weights = g.input(dtype, [0] if binary or g.chance(0.5) else shape, low=0, high=5, special=0.0, huge=False)
    if name.endswith("Bincount"):
        return g.call(name, *before, values, *behind, g.feed(np.array(g.int(0, 6), index)), weights, binary_output=binary)
    return g.call(name, *before, values, *behind, weights, minlength=g.pick([-1, 0, 3, 10]), maxlength=g.pick([-1, 0, 4, 12]), binary_output=binary)


@maker("RaggedTensorToSparse")
def to_sparse(g, name):
    outer = row_splits(g)
    inner = np.concatenate([[0], np.cumsum(g.rng.integers(0, 3, int(outer[-1])))]).astype("int64")
    splits = g.pick([[outer], [outer, inner]])
    kind = g.pick(["int32", "int64"])
    values = g.input(g.pick(NUMBERS), [int(splits[-1][-1])] + g.shape(0, 2), huge=False)
    return g.call(name, [g.feed(s.astype(kind)) for s in splits], values, RAGGED_RANK=len(splits))


@maker("Bucketize")
def bucketize(g, name):
    return g.call(name, g.input(g.pick(["int32", "int64", "float32", "float64"]), g.shape(0, 4), huge=False), boundaries=sorted(float(x) for x in g.rng.integers(-3, 4, g.int(0, 5))))


@maker("BoostedTreesBucketize")
def bucketize_features(g, name):
    rows = g.dim()
    features = [g.input("float32", [rows], special=0.1) for _ in range(g.int(1, 3))]
    bounds = [g.feed(np.sort(g.value("float32", [g.int(0, 5)], special=0))) for _ in features]
    return g.call(name, features, bounds)


@maker("RaggedRange")
def ragged_range(g, name):
    dtype, rows = g.pick(["int32", "int64", "float32", "float64"]), g.int(0, 4)
    value = lambda low, high: g.value(dtype, g.pick([[rows], [rows], []]), low, high, special=0)
    deltas = value(1, 3) * (1 if g.chance(0.7) else -1)
    if dtype[0] == "f":
        deltas = np.where(np.abs(deltas) < 0.2, np.array(0.5, dtype), deltas)
    return g.call(name, g.feed(value(-3, 3), dtype), g.feed(value(-3, 6), dtype), g.feed(deltas, dtype), Tsplits=g.pick(["int32", "int64"]))


@maker("RaggedFillEmptyRows")
def ragged_fill(g, name):
    rows, dtype = g.int(0, 5), g.pick(NUMBERS + ["string", "bool"])
    ids = np.sort(g.rng.integers(0, max(rows, 1), g.int(0, 5) if rows else 0)).astype("int64")
    return g.call(name, g.feed(ids), g.input(dtype, [len(ids)], huge=False), g.feed(np.int64(rows)), g.input(dtype, [], huge=False))


def nested(g, levels):
    """Row splits of so many levels, and the number of values after them."""
    all_splits, rows = [], g.int(0, 4)
    for _ in range(levels):
        splits = np.concatenate([[0], np.cumsum(g.rng.integers(0, 4, rows))]).astype("int64")
        all_splits.append(splits)
        rows = int(splits[-1])
    return all_splits, rows


@maker("RaggedGather")
def ragged_gather(g, name):
    splits, count = nested(g, g.int(1, 3))
    rows, kind = len(splits[0]) - 1, g.pick(["int32", "int64"])
    shape = g.shape(0, 3) if rows else [0]
    indices = g.rng.integers(0, max(rows, 1), shape).astype(g.pick(["int32", "int64"]))
    values = g.input(g.pick(NUMBERS + ["string"]), [count] + g.shape(0, 2), huge=False)
    return g.call(name, [g.feed(s.astype(kind)) for s in splits], values, g.feed(indices), OUTPUT_RAGGED_RANK=len(splits) + len(shape) - 1)


@maker("RaggedTensorToTensor")
def ragged_to_tensor(g, name):
    splits, count = nested(g, g.int(1, 3))
    index, inner = g.pick(["int32", "int64"]), g.shape(0, 2, 1)
    if g.chance(0.5):
        parts, kinds = [s for s in splits], ["ROW_SPLITS"] * len(splits)
    else:
        parts, kinds = [np.int64(len(splits[0]) - 1)], ["FIRST_DIM_SIZE"]
        for s in splits:
            parts.append(np.repeat(np.arange(len(s) - 1), np.diff(s)))
            kinds.append("VALUE_ROWIDS")
    shape = [g.pick([-1, -1, g.int(0, 4)]) for _ in range(len(splits) + 1)] + [d if g.chance(0.7) else -1 for d in inner]
    dtype = g.pick(NUMBERS + ["string", "bool"])
    default = g.input(dtype, g.pick([[], [], inner, inner[1:]]), huge=False)
    shape = -1 if g.chance(0.1) else shape
    return g.call(name, g.ints(shape), g.input(dtype, [count] + inner, huge=False), default, [g.feed(np.asarray(p, index)) for p in parts],
                  row_partition_types=kinds)
