"""Golden cases at the edges of operators, where random graphs found other answers than TensorFlow's."""

from op_cases import case, case_per
import numpy as np
import tensorflow as tf

raw = tf.raw_ops


@case()
def edges_of_batches(g):
    """Inputs that leave their first dimension open are fed batches of their own: what is added to a product is repeated."""
    x, y, z = (g.input(name, (rows, 3), open_dims=(0,)) for name, rows in (("x", 5), ("y", 1), ("z", 1)))
    w = tf.constant(np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4))
    b = tf.constant([0.5, -0.5, 1.0, 0.0])
    rows = g.input("rows", (5, 4), open_dims=(0,))
    row = g.input("row", (1, 4), open_dims=(0,))
    g.out(
        repeated=tf.nn.relu(tf.matmul(x, w) + row), product_repeated=tf.nn.sigmoid(tf.matmul(y, w) + rows),
        two_products=tf.nn.leaky_relu(tf.nn.bias_add(tf.matmul(x, w), b) + tf.matmul(z, w), 0.3),
        plain=tf.matmul(z, w) + rows,
    )


@case_per(("float32", "float64"), looser=10)
def edges_of_special_functions(g, dtype):
    """Zeros, the least and the greatest numbers, and what comes between two of float32."""
    tiny, huge = float(np.finfo(dtype).tiny), float(np.finfo(dtype).max)
    x = g.feed("x", [0.0, -0.0, tiny, tiny * 1.5, tiny * 3, 1e-30, huge, huge / 2, np.inf, -np.inf, np.nan, 1.0, 2.0, 88.0, 700.0], dtype)
    share = g.feed("share", [1e-7, -1e-7, 1e-5, 0.25, 0.999999, -0.999999, 1.0, -1.0, 0.0], dtype)
    for name in "BesselK0 BesselK0e BesselK1 BesselK1e BesselY0 BesselY1 Expint Spence".split():
        g.out(**{name: getattr(raw, name)(x=x)})
    g.out(erfinv=raw.Erfinv(x=share))


@case()
def edges_of_colours(g):
    """Pixels of which a channel is NaN or infinite."""
    odd = [[0.2, np.nan, 0.5], [np.nan, 0.1, 0.3], [0.5, 0.2, np.nan], [np.inf, 0.2, 0.1], [-np.inf, 0.0, 1.0], [0.3, 0.3, 0.3], [-1.0, 2.0, 0.5]]
    x = g.feed("x", np.array(odd, "float32").reshape(1, 7, 3))
    for name, by in (("less", -0.4), ("more", 0.3)):
        g.out(**{f"hue_{name}": raw.AdjustHue(images=x, delta=by), f"saturation_{name}": raw.AdjustSaturation(images=x, scale=by + 1.0)})


@case()
def edges_of_windows(g):
    """Volumes that windows do not reach all of, and the transpose of a depthwise convolution that says it is dilated."""
    x = g.input("x", (1, 2, 5, 6, 2))
    image, filters = g.input("image", (1, 3, 3, 4)), g.input("filters", (2, 2, 2, 2))
    g.out(
        patches=raw.ExtractVolumePatches(input=x, ksizes=[1, 1, 2, 1, 1], strides=[1, 3, 4, 3, 1], padding="SAME"),
        largest=raw.MaxPool3D(input=x, ksize=[1, 1, 1, 2, 1], strides=[1, 1, 3, 4, 1], padding="SAME"),
        mean=raw.AvgPool3D(input=x, ksize=[1, 2, 1, 1, 1], strides=[1, 2, 4, 3, 1], padding="SAME"),
        sums=raw.Conv3D(input=x, filter=tf.reshape(tf.range(8.0), [1, 2, 1, 2, 2]), strides=[1, 2, 4, 3, 1], padding="SAME"),
        transposed=raw.DepthwiseConv2dNativeBackpropInput(
            input_sizes=[1, 4, 4, 2], filter=filters, out_backprop=image, strides=[1, 1, 1, 1], padding="VALID", dilations=[1, 2, 2, 1]),
    )


@case(rtol=1e-9, atol=0)
def edges_of_equations(g):
    """Triangles with a zero on their diagonal, and three diagonals that cannot be solved."""
    a = g.feed("a", [[3, 2, 2], [1, 0, 5], [-2, -3, -2]], "float64")
    b = g.feed("b", [[1.0, 2.0], [1.0, 0.5], [1.0, -1.0]], "float64")
    diagonals = g.feed("diagonals", [[0, 0, 0], [1, 0, 2], [0, 0, 0]], "float64")
    g.out(**{f"{'lower' if lower else 'upper'}_{'turned' if turned else 'plain'}": raw.MatrixTriangularSolve(matrix=a, rhs=b, lower=lower, adjoint=turned)
             for lower in (True, False) for turned in (True, False)})
    g.out(none=raw.TridiagonalSolve(diagonals=diagonals, rhs=b), sums=raw.CumulativeLogsumexp(x=b, axis=0, exclusive=True))


@case()
def edges_of_quantized_layers(g):
    """A scalar added to a tensor, and padding where the range does not hold 0."""

    def bytes_of(name, shape):
        return tf.bitcast(g.feed(name, g.rng.integers(0, 255, shape, endpoint=True), "uint8"), tf.quint8)

    x, one, image, weights = bytes_of("x", (3, 4)), bytes_of("one", ()), bytes_of("image", (1, 4, 5, 2)), bytes_of("weights", (3, 3, 2, 5))
    low, high = g.feed("low", np.float32(-1.5)), g.feed("high", np.float32(2.0))
    ends = dict(min_x=low, max_x=high, min_y=low / 3, max_y=high)
    for name, made in (("after", raw.QuantizedAdd(x=x, y=one, **ends)), ("before", raw.QuantizedAdd(x=one, y=x, **ends))):
        g.out(**{name: tf.bitcast(made[0], tf.int32)})
    for name, ends in (("above", (high, high * 2)), ("below", (low * 2, low))):
        made = raw.QuantizedConv2D(input=image, filter=weights, min_input=ends[0], max_input=ends[1], min_filter=low, max_filter=high,
                                   strides=[1, 1, 1, 1], padding="SAME")
        g.out(**{f"padded_{name}": tf.bitcast(made[0], tf.int32)})



@case()
def edges_of_open_sizes(g):
    """A filter of an open height is compared with no image."""
    image, filters = g.input("image", (1, 8, 0, 8)), g.input("filters", (3, 1, 8, 4), open_dims=(0,))
    g.out(
        empty=raw.Conv2D(
            input=tf.transpose(image, [0, 2, 3, 1]), filter=filters, strides=[1, 3, 1, 1], padding="EXPLICIT",
            explicit_paddings=[0] * 8),
    )


@case()
def edges_of_rows(g):
    """Splits that do not name all values, elements without elements, and a sample of a picture without pixels."""
    splits = g.feed("splits", np.array([1, 3], "int64"))
    values = g.input("values", (4,))
    parts = raw.RaggedGather(params_nested_splits=[splits], params_dense_values=values, indices=[0], OUTPUT_RAGGED_RANK=1)
    array = raw.TensorArrayV3(size=3, dtype=tf.float32, dynamic_size=False, clear_after_read=False, tensor_array_name="array")
    flow = array.flow
    for at, size in enumerate((0, 2, 2)):
        flow = raw.TensorArrayWriteV3(handle=array.handle, index=at, value=g.input(f"part{at}", (size,), open_dims=(0,)), flow_in=flow)
    gathered = raw.TensorArrayGatherV3(handle=array.handle, indices=[0, 1, 2], flow_in=flow, dtype=tf.float32)
    begin, size, box = raw.SampleDistortedBoundingBox(
        image_size=g.feed("image_size", np.array([0, 60, 3], "int32")), bounding_boxes=tf.zeros([1, 1, 4]), seed=3, seed2=4)
    boxes = g.input("boxes", (0, 3), open_dims=(0, 1))
    cut = raw.CropAndResize(
        image=tf.ones([1, 2, 2, 1]), boxes=boxes, box_ind=g.input("places", (0,), "int32", open_dims=(0,)), crop_size=[2, 2])
    g.out(cut=cut, splits_out=parts.output_nested_splits[0], values_out=parts.output_dense_values, gathered=gathered, begin=begin, size=size, box=box)


@case()
def edges_of_written_numbers(g):
    """Denormals are zeros in texts too, and a rate without end makes no integer."""
    x = g.feed("x", [1e-310, -1e-310, 1.5], "float64")
    y = g.feed("y", [1e-40, -1e-40, 1.5])
    rate = g.feed("rate", [np.inf, 2.5])
    g.out(
        said=raw.StringFormat(inputs=[x, y], template="%s and %s", placeholder="%s"), written=raw.AsString(input=x, scientific=True),
        shortest=raw.AsString(input=y, shortest=True),
        counts=raw.RandomPoissonV2(shape=[3], rate=rate, seed=5, seed2=6, dtype=tf.int64),
        slopes=raw.RandomGammaGrad(alpha=g.feed("alpha", [40.0, 40.0, 2.0]), sample=g.feed("sample", [1.654, 3.0, 1.5])),
    )


@case()
def edges_of_ranges(g):
    """An image the range of whose norm is as far below 0 as above: the least number is halfway between two integers."""
    pixels = [[[[204, 142, 103, 220, 41]], [[199, 136, 43, 115, 10]]], [[[129, 135, 44, 75, 217]], [[118, 162, 196, 242, 29]]]]
    x = tf.bitcast(g.feed("x", np.array(pixels, "uint8")), tf.quint8)
    y, low, high = raw.QuantizedInstanceNorm(x=x, x_min=-0.41077533, x_max=5.6123753, variance_epsilon=1e-5, min_separation=1e-3)
    g.out(y=tf.bitcast(y, tf.uint8), low=low, high=high)


@case()
def edges_of_sequences(g):
    """Names of records are counted, whatever their shape."""
    record = tf.train.SequenceExample()
    record.feature_lists.feature_list["a"].feature.add().float_list.value.extend([1.0, 2.0])
    found = raw.ParseSequenceExampleV2(
        serialized=g.feed("record", np.array(record.SerializeToString(), object)), debug_name=tf.constant(["name"]),
        context_sparse_keys=tf.zeros([0], tf.string), context_dense_keys=tf.zeros([0], tf.string),
        context_ragged_keys=tf.zeros([0], tf.string), feature_list_sparse_keys=tf.zeros([0], tf.string),
        feature_list_dense_keys=tf.constant(["a"]), feature_list_ragged_keys=tf.zeros([0], tf.string),
        feature_list_dense_missing_assumed_empty=[True], context_dense_defaults=[], Ncontext_sparse=0, context_sparse_types=[],
        context_ragged_value_types=[], context_ragged_split_types=[], context_dense_shapes=[], Nfeature_list_sparse=0,
        Nfeature_list_dense=1, feature_list_dense_types=[tf.float32], feature_list_sparse_types=[], feature_list_ragged_value_types=[],
        feature_list_ragged_split_types=[], feature_list_dense_shapes=[[2]])
    g.out(values=found.feature_list_dense_values[0], lengths=found.feature_list_dense_lengths[0])


@case()
def edges_of_tables(g):
    """A dense table takes the first of the values that are given for keys it does not have; rows alone are counted."""
    keys = g.feed("keys", np.array([[3], [4], [7]], np.int64))
    table = raw.MutableDenseHashTableV2(
        empty_key=tf.constant(-1, tf.int64), deleted_key=tf.constant(-2, tf.int64), value_dtype=tf.float32, value_shape=[],
        initial_num_buckets=16, shared_name="dense")
    other = raw.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.float32, shared_name="other")
    given = g.feed("given", np.array([[1.0], [2.0], [3.0]], np.float32))
    filled = raw.SparseFillEmptyRows(
        indices=tf.constant([[0, 0]], tf.int64), values=g.feed("values", np.array([1.5])), dense_shape=g.feed("dims", np.array([2, -1], np.int64)),
        default_value=tf.constant(7.0, tf.float64))
    g.out(
        dense=raw.LookupTableFindV2(table_handle=table, keys=keys, default_value=given),
        each=raw.LookupTableFindV2(table_handle=other, keys=keys, default_value=given),
        rows=filled.output_indices, numbers=filled.output_values,
    )


@case()
def order_of_denormals(g):
    """Of halves a half of which are taken for 0: they are like 0, and the first is found first."""
    rows = np.array([[712.0, 0.5, -0.0, 1e-7, 9e-41], [9e-41, -1.0, 0.0, 1.0, -9e-41], [-9e-41, -1e-30, 9e-41, 0.0, -2.0]])
    x = g.feed("x", rows.astype(tf.bfloat16.as_numpy_dtype))
    for name, k in (("all", 5), ("some", 3)):
        found = raw.TopKV2(input=x, k=k)
        g.out(**{name: tf.cast(found.values, tf.float32), f"{name}_places": found.indices})
