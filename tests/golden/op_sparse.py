"""Golden cases of recurrent cells, quantised, sparse and ragged tensors."""

from op_cases import case
import numpy as np
import tensorflow as tf

raw = tf.raw_ops


def stored(tensor):
    """A quantised tensor as the integers that it is stored as."""
    kinds = {tf.quint8: tf.uint8, tf.qint8: tf.int8, tf.quint16: tf.uint16, tf.qint16: tf.int16, tf.qint32: tf.int32}
    return tf.bitcast(tensor, kinds[tensor.dtype]) if tensor.dtype in kinds else tensor


def put(g, name, tensors):
    """All outputs of an operator, under one name with a number."""
    g.out(**{f"{name}_{i}": stored(t) for i, t in enumerate(tensors)})


# ---- recurrent cells ---------------------------------------------------------------------------------------------


def lstm_inputs(g, inputs, hidden, batch):
    return dict(
        cs_prev=g.input("cs", (batch, hidden)), h_prev=g.input("h", (batch, hidden)), b=g.input("b", (4 * hidden,)),
        w=g.input("w", (inputs + hidden, 4 * hidden), low=-1.0, high=1.0),
        wci=g.input("wci", (hidden,)), wcf=g.input("wcf", (hidden,)), wco=g.input("wco", (hidden,)),
    )


@case(rtol=1e-5, atol=1e-5)
def lstm_cells(g):
    """Peepholes, clipping, and the order of the gates."""
    args, x = lstm_inputs(g, 5, 19, 3), g.input("x", (3, 5), open_dims=(0,))
    put(g, "plain", raw.LSTMBlockCell(x=x, forget_bias=0.5, cell_clip=0.0, **args))
    put(g, "peephole", raw.LSTMBlockCell(x=x, cell_clip=0.4, use_peephole=True, **args))


@case(rtol=1e-5, atol=1e-5)
def lstm_sequences(g):
    """Steps that do not count are zeros of the state and the output."""
    args, x = lstm_inputs(g, 4, 6, 2), g.input("x", (5, 2, 4))
    steps = g.feed("steps", 3, "int64")
    for name, op in (("first", raw.BlockLSTM), ("second", raw.BlockLSTMV2)):
        outputs = op(seq_len_max=steps, x=x, use_peephole=True, **args)
        g.out(**{f"{name}_cs": outputs.cs, f"{name}_h": outputs.h, f"{name}_gate": outputs.f[:3]})


@case(rtol=1e-5, atol=1e-5)
def gru_cell(g):
    x, h = g.input("x", (3, 4)), g.input("h", (3, 7))
    put(g, "gru", raw.GRUBlockCell(
        x=x, h_prev=h, w_ru=g.input("w_ru", (11, 14)), w_c=g.input("w_c", (11, 7)), b_ru=g.input("b_ru", (14,)), b_c=g.input("b_c", (7,))))


# ---- quantised tensors -------------------------------------------------------------------------------------------


@case()
def quantized_modes(g):
    """Every type and mode there and back, with a range for all and one for each column."""
    x = g.input("x", (4, 3), low=-3.0, high=3.0)
    low, high = g.feed("low", np.float32(-2.5)), g.feed("high", np.float32(2.0))
    lows, highs = g.feed("lows", np.float32([-1, -2, 0])), g.feed("highs", np.float32([1, 3, 2]))
    for kind in ("qint8", "quint8", "qint16", "quint16"):
        for mode in ("MIN_COMBINED", "MIN_FIRST", "SCALED"):
            made = raw.QuantizeV2(input=x, min_range=low, max_range=high, T=getattr(tf, kind), mode=mode)
            back = raw.Dequantize(input=made[0], min_range=made[1], max_range=made[2], mode=mode)
            put(g, f"{kind}_{mode}", [*made, back])
    narrow = dict(mode="SCALED", axis=1, narrow_range=True)
    made = raw.QuantizeV2(input=x, min_range=lows, max_range=highs, T=tf.qint8, round_mode="HALF_TO_EVEN", **narrow)
    put(g, "columns", [*made, raw.Dequantize(input=made[0], min_range=made[1], max_range=made[2], **narrow)])
    g.out(half=raw.Dequantize(input=made[0], min_range=low, max_range=high, dtype=tf.bfloat16))


@case()
def quantized_layers(g):
    """Convolutions with strides that leave pixels over, products, pools, and sums brought down to bytes."""
    image = tf.bitcast(g.feed("image", g.rng.integers(0, 255, (2, 7, 6, 3), endpoint=True), "uint8"), tf.quint8)
    weights = tf.bitcast(g.feed("weights", g.rng.integers(0, 255, (3, 2, 3, 18), endpoint=True), "uint8"), tf.quint8)
    low, high = g.feed("low", np.float32(-1.5)), g.feed("high", np.float32(2.0))
    ends = dict(min_input=low, max_input=high, min_filter=low, max_filter=high)
    for padding, stride in (("SAME", 1), ("SAME", 2), ("VALID", 3)):
        sums = raw.QuantizedConv2D(input=image, filter=weights, strides=[1, stride, stride, 1], padding=padding, **ends)
        used = raw.RequantizationRange(input=sums[0], input_min=sums[1], input_max=sums[2])
        put(g, f"conv_{padding}_{stride}", sums)
        put(g, f"down_{padding}_{stride}", raw.Requantize(
            input=sums[0], input_min=sums[1], input_max=sums[2], requested_output_min=used[0], requested_output_max=used[1], out_type=tf.quint8))
    a, b = (tf.bitcast(g.feed(n, g.rng.integers(0, 255, s), "uint8"), tf.quint8) for n, s in (("a", (5, 7)), ("b", (6, 7))))
    ends = dict(min_a=low, max_a=high, min_b=low, max_b=high)
    put(g, "matmul", raw.QuantizedMatMul(a=a, b=b, transpose_b=True, **ends))
    for name in ("MaxPool", "AvgPool"):
        pool = getattr(raw, f"Quantized{name}")
        put(g, name, pool(input=image, min_input=low, max_input=high, ksize=[1, 3, 2, 1], strides=[1, 2, 2, 1], padding="SAME"))
    put(g, "relu", raw.QuantizedRelu(features=image, min_features=low, max_features=high))
    put(g, "relu6", raw.QuantizedRelu6(features=image, min_features=low, max_features=high))
    put(g, "reshape", raw.QuantizedReshape(tensor=image, shape=[2, -1], input_min=low, input_max=high))


@case()
def quantized_sums(g):
    x = tf.bitcast(g.feed("x", g.rng.integers(0, 255, (3, 4), endpoint=True), "uint8"), tf.quint8)
    y = tf.bitcast(g.feed("y", g.rng.integers(0, 255, (4,), endpoint=True), "uint8"), tf.quint8)
    low, high = g.feed("low", np.float32(-1.5)), g.feed("high", np.float32(2.0))
    ends = dict(min_x=low, max_x=high, min_y=low / 2, max_y=high)
    put(g, "add", raw.QuantizedAdd(x=x, y=y, **ends))
    put(g, "mul", raw.QuantizedMul(x=y, y=x, **ends))
    ends = dict(min_input=low, max_input=high, min_bias=low / 2, max_bias=high)
    put(g, "bias", raw.QuantizedBiasAdd(input=x, bias=y, out_type=tf.qint32, **ends))


@case()
def quantized_and_back(g):
    x = g.input("x", (3, 4), low=-3.0, high=3.0)
    low, high = g.feed("low", np.float32(-2.0)), g.feed("high", np.float32(1.5))
    lows, highs = g.feed("lows", np.float32([-1, -2, 0])), g.feed("highs", np.float32([1, 3, 2]))
    g.out(
        given=raw.QuantizeAndDequantizeV2(input=x, input_min=low, input_max=high, range_given=True, num_bits=4, round_mode="HALF_UP"),
        own=raw.QuantizeAndDequantizeV2(input=x, input_min=low, input_max=high, signed_input=False, num_bits=6),
        rows=raw.QuantizeAndDequantizeV3(input=x, input_min=lows, input_max=highs, num_bits=7, narrow_range=True, axis=0),
        bits=raw.QuantizeAndDequantizeV3(input=x, input_min=low, input_max=high, num_bits=g.feed("bits", 3, "int32")),
        last=raw.QuantizeAndDequantizeV4(input=x, input_min=low, input_max=high, range_given=True, narrow_range=True),
    )


# ---- sparse tensors ----------------------------------------------------------------------------------------------


def sparse(g, name, dims, count, dtype="float32"):
    """Coordinates in order, values and shape of a random sparse tensor."""
    places = np.sort(g.rng.choice(int(np.prod(dims)), count, replace=False))
    rows = np.stack(np.unravel_index(places, dims), -1)
    return (g.feed(f"{name}_rows", rows, "int64", open_dims=(0,)), g.input(f"{name}_values", (count,), dtype, open_dims=(0,)),
            g.feed(f"{name}_shape", dims, "int64"))


@case()
def sparse_to_dense(g):
    rows, values, shape = sparse(g, "a", (3, 4), 5)
    dense = g.input("dense", (3, 4))
    right = g.input("right", (4, 2))
    row = g.input("row", (1, 4), low=0.5)
    g.out(
        dense_of=raw.SparseToDense(sparse_indices=rows, output_shape=shape, sparse_values=values, default_value=-1.0),
        one=raw.SparseToDense(sparse_indices=rows[:, 1][:1], output_shape=shape[1:], sparse_values=7, default_value=1),
        added=raw.SparseTensorDenseAdd(a_indices=rows, a_values=values, a_shape=shape, b=dense),
        product=raw.SparseTensorDenseMatMul(a_indices=rows, a_values=values, a_shape=shape, b=right),
        turned=raw.SparseTensorDenseMatMul(a_indices=rows, a_values=values, a_shape=shape, b=dense, adjoint_a=True),
        times=raw.SparseDenseCwiseMul(sp_indices=rows, sp_values=values, sp_shape=shape, dense=dense),
        over=raw.SparseDenseCwiseDiv(sp_indices=rows, sp_values=values, sp_shape=shape, dense=row),
        plain=raw.SparseMatMul(a=dense, b=right),
    )


@case()
def sparse_layout(g):
    rows, values, shape = sparse(g, "a", (3, 4), 5)
    other = sparse(g, "b", (3, 2), 3)
    order = g.feed("order", [3, 0, 4, 1, 2], "int32")
    put(g, "reshape", raw.SparseReshape(input_indices=rows, input_shape=shape, new_shape=[2, -1]))
    put(g, "reorder", raw.SparseReorder(input_indices=tf.gather(rows, order), input_values=tf.gather(values, order), input_shape=shape))
    put(g, "concat", raw.SparseConcat(indices=[rows, other[0]], values=[values, other[1]], shapes=[shape, other[2]], concat_dim=1))
    put(g, "slice", raw.SparseSlice(indices=rows, values=values, shape=shape, start=[0, 1], size=[2, 9]))
    parts = raw.SparseSplit(split_dim=1, indices=rows, values=values, shape=shape, num_split=3)
    for name, part in zip(("rows", "values", "shapes"), parts):
        put(g, f"split_{name}", part)
    rows = g.feed("gaps", [[4, 1], [1, 0], [4, 0]], "int64")
    put(g, "fill", raw.SparseFillEmptyRows(indices=rows, values=values[:3], dense_shape=[6, 2], default_value=-1.0))


@case()
def sparse_arithmetic(g):
    a, b = sparse(g, "a", (3, 4), 6), sparse(g, "b", (3, 4), 5)
    both = dict(a_indices=a[0], a_values=a[1], a_shape=a[2], b_indices=b[0], b_values=b[1], b_shape=b[2])
    put(g, "add", raw.SparseAdd(thresh=1.0, **both))
    put(g, "maximum", raw.SparseSparseMaximum(**both))
    put(g, "minimum", raw.SparseSparseMinimum(**both))
    g.out(softmax=raw.SparseSoftmax(sp_indices=a[0], sp_values=a[1], sp_shape=a[2]))
    one = dict(input_indices=a[0], input_values=a[1], input_shape=a[2])
    g.out(sums=raw.SparseReduceSum(reduction_axes=[1], **one), largest=raw.SparseReduceMax(reduction_axes=[0], keep_dims=True, **one))
    put(g, "sparse_sums", raw.SparseReduceSumSparse(reduction_axes=[-1], **one))
    put(g, "sparse_largest", raw.SparseReduceMaxSparse(reduction_axes=[0], keep_dims=True, **one))


@case()
def sparse_segments_and_counts(g):
    data = g.input("data", (5, 3))
    rows, ids = g.feed("rows", [4, 0, 0, 2], "int32"), g.feed("ids", [0, 0, 2, 2], "int32")
    for name in ("Sum", "Mean", "SqrtN"):
        op, counted = getattr(raw, f"SparseSegment{name}"), getattr(raw, f"SparseSegment{name}WithNumSegments")
        g.out(**{name: op(data=data, indices=rows, segment_ids=ids)})
        g.out(**{f"{name}_4": counted(data=data, indices=rows, segment_ids=ids, num_segments=g.feed(f"n_{name}", 4, "int32"))})
    values, splits = g.feed("values", [1, 1, 7, 0], "int32"), g.feed("splits", [0, 3, 3, 4], "int64")
    weights, none = g.input("weights", (4,)), g.feed("none", np.zeros(0), "float32")
    g.out(ragged=raw.RaggedBincount(splits=splits, values=values, size=3, weights=weights))
    put(g, "ragged_counts", raw.RaggedCountSparseOutput(splits=splits, values=values, weights=none, minlength=9, binary_output=False))
    put(g, "dense_counts", raw.DenseCountSparseOutput(values=values, weights=weights, maxlength=5, binary_output=False))


@case()
def ragged_tensors(g):
    splits, values = g.feed("splits", [0, 2, 2, 5], "int64", open_dims=(0,)), g.input("values", (5, 2), open_dims=(0,))
    inner = g.feed("inner", [0, 1, 1, 3, 4, 5], "int64")
    picked = g.feed("picked", [[2, 0], [0, 1]], "int32")
    put(g, "sparse", raw.RaggedTensorToSparse(rt_nested_splits=[splits], rt_dense_values=values))
    put(g, "filled", raw.RaggedFillEmptyRows(value_rowids=g.feed("ids", [1, 1], "int64"), values=[3.0, 4.0], nrows=g.feed("rows", 3, "int64"), default_value=0.0))
    kinds = dict(row_partition_types=["FIRST_DIM_SIZE", "VALUE_ROWIDS"])
    ids = g.feed("row_ids", [0, 0, 2, 2, 2], "int64")
    g.out(cut=raw.RaggedTensorToTensor(shape=[2, 2, 2], values=values, default_value=9.0, row_partition_tensors=[g.feed("first", 4, "int64"), ids], **kinds))
    g.out(two=raw.RaggedTensorToTensor(
        shape=[3, 4, 2, 2], values=values, default_value=9.0, row_partition_tensors=[splits, inner], row_partition_types=["ROW_SPLITS", "ROW_SPLITS"]))
    starts = np.int32([0, 5, 3])
    ranges = raw.RaggedRange(starts=starts, limits=np.int32([3, 5, 0]), deltas=np.int32([1, 1, -1]))
    put(g, "range", ranges)
    rows = raw.RaggedGather(params_nested_splits=[splits], params_dense_values=values, indices=picked, OUTPUT_RAGGED_RANK=2)
    put(g, "gather", [*rows.output_nested_splits, rows.output_dense_values])
    g.out(buckets=raw.Bucketize(input=g.feed("x", [-1.0, 0.0, 3.0, 10.0, 11.0], "float32"), boundaries=[0, 3, 10]))
