"""What a difference between both answers comes of, for the conditions of `fuzz_exclusions.py`."""

import re

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import tensor_util

import fuzz_answers
from fuzz_graph import Tensor


def has(graph, *operators):
    return any(node.op in operators for node in graph.graph_def.node)


FILTER_GRADIENTS = ("Conv2DBackpropFilter", "Conv3DBackpropFilter", "Conv3DBackpropFilterV2", "DepthwiseConv2dNativeBackpropFilter")


def has_of(graph, types, *operators):
    """True where one of the operators is of one of these types."""
    enums = {tf.as_dtype(name).as_datatype_enum for name in types}
    return any(node.op in operators and node.attr["T"].type in enums for node in graph.graph_def.node)


def has_nan(graph):
    """A NaN among the constants and what is fed."""
    return any(v.dtype.kind in "fcV" and np.isnan(v.astype("complex128" if v.dtype.kind == "c" else "float64")).any()
               for v in graph.written)


def has_infinite(graph, large=1e30):
    """An infinity among the constants and what is fed, or a number that a few of make one."""
    return any(v.dtype.kind in "fcV" and not (np.abs(v.astype("complex128" if v.dtype.kind == "c" else "float64")) < large).all()
               for v in graph.written)


def has_denormal(graph):
    """A number among the constants and what is fed that float32 has no full digits for, or float64."""
    sizes = [np.abs(v.astype("float64")) for v in graph.written if v.dtype.kind in "fV"]
    return any(((v > 0) & ((v < 1.2e-38) | (v < 2.3e-308))).any() for v in sizes)


def ancestors(graph, name):
    """The nodes that a node's value comes from, itself among them."""
    nodes = {node.name: node for node in graph.graph_def.node}
    found, stack = {}, [name]
    while stack:
        name = stack.pop().lstrip("^").split(":")[0]
        if name not in found:
            found[name] = nodes[name]
            stack += nodes[name].input
    return list(found.values())


# Functions of which a small change of their input makes another value, or of zero something else than of nearly zero.
STEPS = {"Sign", "Floor", "Ceil", "Round", "Rint", "Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual", "Log",
         "Rsqrt", "Reciprocal", "Inv", "RealDiv", "Div", "DivNoNan", "Sqrt", "IsNan", "IsFinite", "LogicalNot", "Cast", "LogSoftmax",
         "Sin", "Cos", "Tan"}
# Functions whose result is rounded by how and in which order it is computed.
ROUNDED = {"Softmax", "LogSoftmax", "SoftmaxCrossEntropyWithLogits", "SparseSoftmaxCrossEntropyWithLogits", "LRN", "Conv2D",
           "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "Sum",
           "Mean", "Prod", "EuclideanNorm", "L2Loss", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "Cumsum", "Cumprod",
           "BatchNormWithGlobalNormalization", "AvgPool", "AddN", "ResizeBilinear", "ResizeBicubic", "ResizeArea", "CropAndResize",
           "Reciprocal", "Inv", "Rsqrt", "RealDiv", "Div", "Log", "SegmentSum", "SegmentMean", "SegmentProd", "UnsortedSegmentSum", "UnsortedSegmentProd", "FakeQuantWithMinMaxArgs",
           "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel", "Sigmoid", "Tanh", "Exp", "Erf", "Elu", "Selu", "Softplus", "Softsign",
           "Sin", "Cos", "Tan", "Log1p", "Expm1", "Pow", "Igamma", "Igammac", "RandomGammaGrad", "Zeta", "Polygamma", "Ndtri", "Erfinv",
           "MatrixDeterminant", "LogMatrixDeterminant", "MatrixInverse", "MatrixSolve", "MatrixTriangularSolve", "Cholesky", "Qr",
           "Svd", "SelfAdjointEigV2", "Lu", "BatchMatrixDeterminant", "BatchMatrixInverse", "BatchMatrixSolve", "BatchCholesky",
           "BatchMatrixTriangularSolve", "BatchSvd", "BatchSelfAdjointEigV2", "MatrixSolveLs", "BatchMatrixSolveLs", "Conv3D",
           "Conv3DBackpropInput", "Conv3DBackpropInputV2", "DepthwiseConv2dNativeBackpropInput", *FILTER_GRADIENTS, "BiasAddGrad",
           "AvgPoolGrad", "AvgPool3D", "AvgPool3DGrad", "ResizeBilinearGrad", "ResizeBicubicGrad", "Expint", "Spence", "Dawsn",
           "FresnelCos", "FresnelSin", "BesselI0", "BesselI0e", "BesselI1", "BesselI1e", "BesselJ0", "BesselJ1", "BesselK0", "BesselK0e",
           "BesselK1", "BesselK1e", "BesselY0", "BesselY1", "Lgamma", "Digamma", "LinSpace", "TensorScatterAdd", "TensorScatterSub",
           "ScatterNd", "Xlogy", "Xlog1py", "Xdivy", "Atan2", "Asinh", "Acosh", "Atanh", "Sinh", "Cosh", "Asin", "Acos", "Atan", "Betainc"}


SUMS = {"Sum", "Mean", "BiasAddGrad", "Cumsum", "AddN", "EuclideanNorm", "L2Loss"}


def value_of(graph, name):
    """What TensorFlow says that a tensor of the graph is, as float64 or complex128; None for one that it refuses."""
    asked, graph.fetches = graph.fetches, [Tensor(name, "float32")]
    found = fuzz_answers.tensorflow(graph)
    graph.fetches = asked
    if isinstance(found, str):
        return None
    value = np.asarray(found[0])
    return value.astype("complex128" if value.dtype.kind == "c" else "float64")


def differing(graph, why):
    """The node whose value is fetched and differs, both answers to it, and where they do by more than rounding."""
    name = why.split(": ")[0]
    if name not in getattr(graph, "answers", {}):
        return None
    want, got = map(np.asarray, graph.answers[name])
    if want.shape != got.shape or want.dtype.kind in "OSU":
        return None
    nodes = {node.name: node for node in graph.graph_def.node}
    node = nodes[name.split(":")[0]]
    while node.op in ("Identity", "Snapshot", "StopGradient", "PreventGradient"):
        node = nodes[node.input[0].split(":")[0]]
    near = {"bfloat16": 2e-2, "float16": 3e-3}.get(want.dtype.name, 1e-3)
    wide = "complex128" if want.dtype.kind == "c" else "float64"
    want, got = want.astype(wide), got.astype(wide)
    with np.errstate(all="ignore"):
        largest = np.max(np.abs(want[np.isfinite(want)]), initial=0)
        same = (want == got) | (np.isnan(want) & np.isnan(got)) | (np.abs(want - got) <= near * largest)
        return node, want, got, ~same


def is_above_a_missing_factor(graph, why):
    """All that differs is above the diagonal of matrices that have no factor: real ones are NaN below it, complex ones 0."""
    found = differing(graph, why)
    if found is None:
        return False
    _, want, _, differs = found
    # Behind it, what is computed element by element.
    name = next((n.name for n in ancestors(graph, found[0].name) if n.op in ("Cholesky", "BatchCholesky")), None)
    want = name and value_of(graph, name)
    if want is None or want.shape != differs.shape:
        return False
    below = np.tril(np.ones(want.shape[-2:], bool))
    is_missing = (np.isnan(want) | (want == 0) if want.dtype.kind == "c" else np.isnan(want)) | ~below
    return bool((differs <= ~below & is_missing.all((-2, -1), keepdims=True)).all())


def is_of_denormal_factors(graph, why):
    """All that differs is where the root is so large that its reciprocal is nearly denormal, or half its factor is denormal, or
    where half the reciprocal of a float16 overflows."""
    found = differing(graph, why)
    node = found and next((n for n in ancestors(graph, found[0].name) if n.op == "SqrtGrad"), None)
    if not node:
        return False
    y, dy = (value_of(graph, name) for name in node.input)
    is_double = tf.as_dtype(node.attr["T"].type) == tf.float64
    largest, least = (2.0 ** 1021, 2.0 ** -1022) if is_double else (2.0 ** 125, 2.0 ** -126)
    if y is None or dy is None:
        return False
    is_open = (np.abs(y) >= largest) & np.isfinite(y) | (np.abs(dy) < 2 * least)
    if node.attr["T"].type == tf.float16.as_datatype_enum:
        is_open |= np.abs(y) * 65504 < 0.5
    if node.name != found[0].name:
        return bool(is_open.any()) and follows_from(graph, why, node.name)
    return y.shape == found[1].shape and bool((found[3] <= is_open).all())


def is_half_a_step_off(graph, why):
    """All that differs does by one step, to one side, where the range begins midway between two integers."""
    found = differing(graph, why)
    node = next((node for node in graph.graph_def.node if node.op == "QuantizedInstanceNorm"), None)
    least, most = (value_of(graph, f"{node.name}:{n}") for n in (1, 2)) if node else (None, None)
    if found is None or least is None:
        return False
    steps = found[1] - found[2]
    begin = abs(float(least)) * 255 / float(most - least)
    return abs(begin % 1 - 0.5) < 1e-3 and bool((np.abs(steps) <= 1).all()) and len({*steps[steps != 0]}) == 1


def is_midway(graph, why):
    """All that differs is of a number midway between both answers, or what follows from those."""
    found = differing(graph, why)
    node = found and next((n for n in ancestors(graph, found[0].name) if n.op.startswith("FakeQuant")), None)
    if not node:
        return False
    if node.name != found[0].name:
        return follows_from(graph, why, node.name)
    x = value_of(graph, node.input[0])
    if x is None or x.shape != found[1].shape:
        return False
    step = np.abs(found[1] - found[2])
    return bool((found[3] <= (np.abs((found[1] + found[2]) / 2 - x) <= 1e-3 * step + 1e-6 * np.abs(x))).all())


def is_factor_denormal(graph, why):
    """All that differs is as of a sum of 0, of an exponent so small that what the sum is multiplied by is denormal."""
    found = differing(graph, why)
    if found is None or found[0].op not in ("Igamma", "Igammac"):
        return False
    a = value_of(graph, found[0].input[0])
    least = 2.0 ** (-1018 if tf.as_dtype(found[0].attr["T"].type) == tf.float64 else -122)
    of_none = 0 if found[0].op == "Igamma" else 1
    return a is not None and bool((found[3] <= ((found[1] == of_none) & (np.abs(a) < least))).all())


def is_within_float32(graph, why):
    """All that differs of a CTCLoss of float64 does by no more than float32 rounds, or follows from what does."""
    found = differing(graph, why)
    loss = found and next((n for n in ancestors(graph, found[0].name) if n.op == "CTCLoss"), None)
    if not loss or loss.attr["T"].type != tf.float64.as_datatype_enum:
        return False
    if loss.name == why.split(":")[0]:
        with np.errstate(invalid="ignore"):
            return bool(((found[1] == found[2]) | (np.abs(found[1] - found[2]) <= 2e-6 * (1 + np.abs(found[1])))).all())
    return follows_from(graph, why, loss.name, loss.name + ":1")


def are_no_ragged_rows(graph):
    """A RaggedFillEmptyRows of no rows."""
    rows = [value_of(graph, node.input[2]) for node in graph.graph_def.node if node.op == "RaggedFillEmptyRows"]
    return any(row is not None and (row == 0).all() for row in rows)


def reduction(graph, why, *operators):
    """Where one of these operators differs: what `differing` says of it, and the values and the axes that it takes."""
    found = differing(graph, why)
    if found is None or found[0].op not in operators:
        return None
    x, axes = (value_of(graph, name) for name in found[0].input[:2])
    if x is None or axes is None:
        return None
    return *found, x, tuple(int(axis) for axis in np.atleast_1d(axes))


def overflows_on_the_way(graph, why):
    """All that differs is NaN or infinite, of products whose factors above 1 are already past the largest number."""
    found = reduction(graph, why, "Prod", "Cumprod")
    if found is None:
        return False
    node, want, got, differs, x, axes = found
    with np.errstate(all="ignore"):
        size = np.maximum(np.log2(np.abs(x)), 0)
        of_all = np.sum(np.where(np.isnan(size), np.inf, size), axes, keepdims=True)
    of_all = np.broadcast_to(of_all, x.shape) if node.op == "Cumprod" else of_all.reshape(want.shape)
    top = np.log2(float(tf.as_dtype(node.attr["T"].type).max))
    return bool((differs <= ((of_all > top - 1) & ~(np.isfinite(want) & np.isfinite(got)))).all())


def overflows_both_ways(graph, why):
    """All that differs is NaN or infinite, of sums whose parts above 0, and below it, are past the largest number."""
    found = reduction(graph, why, "Sum", "Mean")
    if found is None or found[4].dtype.kind == "c":
        return False
    node, want, got, differs, x, axes = found
    top = float(tf.as_dtype(node.attr["T"].type).max)
    with np.errstate(all="ignore"):
        above, below = (np.sum(side, axes).reshape(want.shape) for side in (np.maximum(x, 0), np.maximum(-x, 0)))
    return bool((differs <= ((above > top) & (below > top) & ~(np.isfinite(want) & np.isfinite(got)))).all())


def is_of_one_way_of_two(graph, why):
    """All that differs is NaN in TensorFlow, of several volumes and factors with an infinity or a NaN."""
    found = differing(graph, why)
    if found is None or not (found[3] <= np.isnan(found[1])).all():
        return False
    for node in ancestors(graph, found[0].name):
        if node.op in ("Conv3DBackpropInput", "Conv3DBackpropInputV2"):
            factors = [value_of(graph, node.input[i]) for i in (1, 2)]
            if all(factor is not None for factor in factors):
                return factors[1].shape[0] > 1 and not all(np.isfinite(factor).all() for factor in factors)
    return False


def is_within_its_rounding(graph, why):
    """All that differs does by no more than the rounding of so many sums to halves makes."""
    found = differing(graph, why)
    if found is None or found[0].op not in (*FILTER_GRADIENTS, "ResizeBilinearGrad"):
        return False
    node, want, got, differs = found
    dtype = tf.as_dtype(node.attr["T"].type)
    if node.op == "ResizeBilinearGrad":
        grads, image = (value_of(graph, name) for name in node.input)
        attributes = {name: node.attr[name].b for name in ("align_corners", "half_pixel_centers")}
        made = lambda of: tf.raw_ops.ResizeBilinearGrad(
            grads=of.astype("float32"), original_image=image.astype("float32"), **attributes).numpy()
        factors = None if grads is None or image is None else [grads]
    else:
        attributes = {name: [*node.attr[name].list.i] for name in ("strides", "dilations") if node.attr[name].list.i}
        for name in ("padding", "data_format"):
            if node.attr[name].s:
                attributes[name] = node.attr[name].s.decode()
        op = node.op if node.op != "Conv3DBackpropFilter" else "Conv3DBackpropFilterV2"
        made = lambda x, dy: getattr(tf.raw_ops, op)(input=x, filter_sizes=want.shape, out_backprop=dy, **attributes).numpy()
        factors = [value_of(graph, node.input[0]), value_of(graph, node.input[2])]
    if factors is None or any(factor is None for factor in factors):
        return False
    with np.errstate(all="ignore"):
        of_sizes, of_one = made(*map(np.abs, factors)), made(*map(np.ones_like, factors))
        half_step = 2.0 ** (-9 if dtype == tf.bfloat16 else -12)
        bound = of_sizes * half_step * (of_one + 2) + 1e-6
        return bool((differs <= ((np.abs(got - want) <= bound) | (of_sizes > float(dtype.max)))).all())


def is_damaged(graph, by_protobuf=True):
    """A record among the constants and what is fed that protobuf does not read, or else one with fields that records do not have."""
    kind = tf.train.SequenceExample if "Sequence" in graph.op else tf.train.Example
    texts = [tf.make_ndarray(n.attr["value"].tensor) for n in graph.graph_def.node if n.op == "Const"]
    for text in (text for value in [*texts, *graph.feeds.values()] if value.dtype == object for text in value.ravel()):
        try:
            record = kind.FromString(text)
        except Exception:
            return True
        whole = record.ByteSize()
        record.DiscardUnknownFields()
        if not by_protobuf and record.ByteSize() != whole:
            return True
    return False


def follows_from(graph, why, *names):
    """What differs is what TensorFlow makes of the program's values of other tensors, as far as those are asked for."""
    answers = getattr(graph, "answers", {})
    got = {name: answers[name][1] for name in names if name in answers}
    if not got:
        return True
    feeds, fetches = graph.feeds, graph.fetches
    graph.feeds, graph.fetches = {**feeds, **got}, [fetch for fetch in fetches if fetch.name == why.split(": ")[0]]
    want = fuzz_answers.tensorflow(graph)
    graph.feeds, graph.fetches = feeds, fetches
    return not isinstance(want, str) and not fuzz_answers.differs(
        graph.answers[why.split(": ")[0]][1], want[0], fuzz_answers.roughest(graph), graph.largest, graph.looser)


def is_within_its_steps(graph, why):
    """All that differs does by no more than the rounding to bfloat16 of each partial sum of a product of two types, or
    follows from what does."""
    found = differing(graph, why)
    if found is not None and found[0].op != "BatchMatMulV3":
        products = [node for node in ancestors(graph, found[0].name) if node.op == "BatchMatMulV3"]
        return bool(products) and products[0].attr["Ta"].type != products[0].attr["Tb"].type and follows_from(
            graph, why, products[0].name)
    if found is None:
        return False
    node, want, got, differs = found
    a, b = value_of(graph, node.input[0]), value_of(graph, node.input[1])
    if a is None or b is None or node.attr["Ta"].type == node.attr["Tb"].type:
        return False
    a, b = (np.swapaxes(x, -1, -2) if node.attr[adj].b else x for x, adj in ((np.abs(a), "adj_x"), (np.abs(b), "adj_y")))
    return bool((differs <= (np.abs(got - want) <= np.matmul(a, b) * a.shape[-1] * 2.0 ** -9)).all())


def is_within_rounded_volumes(graph, why):
    """All that differs does by no more than the rounding to bfloat16 of the partial sums of a convolution of volumes."""
    found = differing(graph, why)
    if found is None or found[0].op != "Conv3D" or found[0].attr["T"].type != tf.bfloat16.as_datatype_enum:
        return False
    node, want, got, differs = found
    values = [value_of(graph, name) for name in node.input]
    if any(value is None for value in values):
        return False
    x, weights = (np.abs(value).astype(np.float32) for value in values)
    given = {name: list(node.attr[name].list.i) for name in ("strides", "dilations") if name in node.attr}
    sums = tf.raw_ops.Conv3D(input=x, filter=weights, padding=node.attr["padding"].s, **given,
                             data_format=node.attr["data_format"].s or "NDHWC").numpy()
    return bool((differs <= (np.abs(got - want) <= sums * 2.0 ** -8)).all())


def is_left_of_cell_states(graph, why):
    """All that differs is what is left of cell states of which the new and the old part nearly cancel out."""
    name = why.split(":")[0]
    cell = next((node for node in graph.graph_def.node if node.name == name), None)
    if cell is None or cell.op != "LSTMBlockCell" or cell.attr["T"].type != tf.float16.as_datatype_enum:
        return False
    given, old, forgotten, new = (value_of(graph, name) for name in (f"{cell.name}:0", cell.input[1], f"{cell.name}:2", f"{cell.name}:4"))
    found = differing(graph, why)
    if found is None or any(value is None for value in (given, old, forgotten, new)):
        return False
    # What TensorFlow adds up in float16 the gates and the new part are of, to a relative 2^-8.
    return bool((found[3] <= (np.abs(found[1] - found[2]) <= 2.0 ** -8 * (np.abs(given * new) + np.abs(forgotten * old)))).all())


def are_of_one_space(graph):
    """The vectors that differ are of values that are equal, or 0, and as orthogonal: any of their space will do."""
    for node in graph.graph_def.node:
        if node.op not in ("Svd", "BatchSvd"):
            continue
        found = [getattr(graph, "answers", {}).get(name) for name in (node.name + ":1", node.name + ":2")]
        found = [pair for pair in found if pair is not None]
        values = value_of(graph, node.name)
        if not found or values is None or any(a.shape != b.shape for a, b in found):
            return False
        near = 1e-3 if found[0][0].dtype in (np.float32, np.complex64) else 1e-9
        steps = np.abs(values[..., :, None] - values[..., None, :]) + np.where(np.eye(values.shape[-1]), np.inf, 0)
        of_any = np.minimum(values, steps.min(-1)) <= near * values.max(-1, keepdims=True)
        for want, got in found:
            more = want.shape[-1] - values.shape[-1]
            is_any = np.concatenate([of_any, np.ones((*of_any.shape[:-1], more), bool)], -1)[..., None, :]
            inner = np.matmul(np.conj(np.swapaxes(got, -1, -2)), got)
            if not np.allclose(inner, np.eye(got.shape[-1]), atol=near) or not np.allclose(
                    np.where(is_any, 0, want), np.where(is_any, 0, got), rtol=near, atol=near):
                return False
        return True
    return False


def refused_node(want):
    """The name of the node that TensorFlow refuses, as it says; None where it does not."""
    found = re.search(r"Detected at node '(.*?)'|^ValueError: .*? for '\{\{node (.*?)\}\}", want)
    return found and (found[1] or found[2])


def is_of_left_gates(graph, why):
    """The value is a gate of BlockLSTM, or comes of one: an output but for the states and the outputs of cells."""
    name = why.split(": ")[0]
    cells = {node.name for node in graph.graph_def.node if node.op in ("BlockLSTM", "BlockLSTMV2")}
    asked = {name, *(of for node in ancestors(graph, name) for of in node.input)}
    return any(of.split(":")[0] in cells and not of.endswith((":1", ":6")) for of in asked)


SETS = ("Assign", "AssignVariableOp")
CHANGES = ("AssignAdd", "AssignSub", "AssignAddVariableOp", "AssignSubVariableOp")
READS = ("ReadVariableOp", "Identity")


def is_assigned_again(graph, want):
    """TensorFlow refuses an assignment after which another one follows before the variable is read, or what only such ones need."""
    texts = ("requires shapes of both tensors to match", "Cannot update variable with shape", "Shapes must be equal rank", "Dimension")
    nodes = {node.name: node for node in graph.graph_def.node}
    node = nodes.get(refused_node(want))
    if node is None:
        return False
    fetched = [fetch.name.split(":")[0] for fetch in graph.fetches]

    def is_lost(node, variable):
        after = [other for other in nodes.values() if "^" + node.name in other.input or node.op in READS and node.name in other.input]
        return bool(after) and node.name not in fetched and all(
            other.op in SETS and other.input[0] == variable or other.op in (*CHANGES, *READS) and is_lost(other, variable)
            for other in after)

    def is_for_lost(node, on_the_way=()):
        readers = [other for other in graph.graph_def.node if node.name in [of.split(":")[0] for of in other.input]]
        way = (*on_the_way, node.name)
        return bool(readers) and node.name not in (*fetched, *on_the_way) and all(
            is_lost(other, other.input[0]) if other.op in (*SETS, *CHANGES) else is_for_lost(other, way) for other in readers)

    return any(text in want for text in texts) and len(node.input) > 0 and is_lost(node, node.input[0]) or is_for_lost(node)


def is_of_another_phase(graph):
    """Complex singular vectors of one factorisation in another phase: the same to all digits once that is taken away."""
    for node in graph.graph_def.node:
        if node.op not in ("Svd", "BatchSvd") or tf.as_dtype(node.attr["T"].type).name not in ("complex64", "complex128"):
            continue
        found = [getattr(graph, "answers", {}).get(name) for name in (node.name + ":1", node.name + ":2")]
        found = [pair for pair in found if pair is not None]
        if not found or any(a.shape != b.shape for a, b in found):
            return False
        count = min(a.shape[-1] for a, _ in found)
        near = 1e-9 if found[0][0].dtype == np.complex128 else 1e-3
        cut = [(a[..., :count], b[..., :count]) for a, b in found]
        phase = np.sum(np.conj(cut[0][0]) * cut[0][1], axis=-2, keepdims=True)
        # Of one side alone the last columns may be any that complete the others.
        known = np.isclose(np.abs(phase), 1, rtol=near)
        if len(found) == 2 and not known.all() or not known.any():
            return False
        return all(np.allclose(np.where(known, a * phase, 0), np.where(known, b, 0), rtol=near, atol=near) for a, b in cut)
    return False


def are_vectors_not_computed(graph, why):
    """The vectors are asked for of a decomposition that does not compute them."""
    off = {"Svd": "compute_uv", "BatchSvd": "compute_uv", "SelfAdjointEigV2": "compute_v", "BatchSelfAdjointEigV2": "compute_v", "Eig": "compute_v"}
    return bool(re.search(r": shape \((\d+, )*0\b.*\) != ", why)) and any(node.op in off and off[node.op] in node.attr and not node.attr[off[node.op]].b
                                                    for node in graph.graph_def.node)


def is_step_behind_rounding(graph, name):
    nodes = ancestors(graph, name)
    if nodes[0].op in SUMS and graph.largest > 1e5:  # what is left of numbers that nearly cancel out
        return True
    steps = [node.name for node in nodes if node.op in STEPS]
    return any(node.op in ROUNDED for step in steps for node in ancestors(graph, step)[1:])


def is_only_asked_for_its_shape(graph, kind, want, got, why):
    """Nothing comes of the node that TensorFlow refuses, as its values are, but shapes."""
    refused = refused_node(want)
    if kind != "accepted" or refused is None:
        return False
    fetched = {fetch.name.split(":")[0] for fetch in graph.fetches}

    def is_unread(name):
        readers = [n for n in graph.graph_def.node if any(i.lstrip("^").split(":")[0] == name for i in n.input)]
        shapes = ("Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike", "TensorArraySizeV3", "TensorListLength")
        return name not in fetched and all(n.op in shapes or is_unread(n.name) for n in readers)

    return is_unread(refused)


def is_of_nothing(graph):
    """A tensor without elements among the constants and what is fed."""
    consts = [tf.TensorShape(n.attr["value"].tensor.tensor_shape).num_elements() for n in graph.graph_def.node if n.op == "Const"]
    return 0 in consts or any(v.size == 0 for v in [*graph.written, *graph.feeds.values()])


def whole_scalars(graph):
    """The whole numbers without an axis among the constants and what is fed."""
    consts = [tensor_util.MakeNdarray(n.attr["value"].tensor) for n in graph.graph_def.node if n.op == "Const"]
    return [v for v in [*consts, *graph.feeds.values()] if v.ndim == 0 and v.dtype.name in ("int32", "int64")]


def has_lowest(graph):
    """The lowest int32 or int64 as a scalar."""
    return any(v == np.iinfo(v.dtype).min for v in whole_scalars(graph))


def has_more_segments_than_ids(graph):
    """A segment operator whose ids are of a type that does not count as many segments as a scalar says."""
    ids = [node.attr["Tindices"].type for node in graph.graph_def.node if node.op.startswith("UnsortedSegment")]
    return any(v > tf.as_dtype(kind).max for kind in ids for v in whole_scalars(graph))


def is_left_of_updates(graph, why):
    """A variable of halves of which updates took nearly all: within four roundings of what it was."""
    found = re.search(r"value (\S+) != (\S+) at \((.*?)\) of .* (bfloat16|float16)", why)
    if not found or not any("Apply" in node.op for node in graph.graph_def.node):
        return False
    place = tuple(int(at) for at in found[3].split(",") if at)
    step = 2.0 ** (-8 if found[4] == "bfloat16" else -11)
    were = [np.asarray(v, np.float64)[place] for v in graph.feeds.values() if v.dtype.name == found[4] and v.ndim == len(place)
            and all(at < size for at, size in zip(place, v.shape))]
    return bool(were) and abs(float(found[1]) - float(found[2])) <= 4 * step * max(map(abs, were))


def is_of_singular_matrices(graph, why):
    """A logarithm or root of matrices, which depends on how the least of their eigenvalues is rounded: it is none to all digits."""
    found = differing(graph, why)
    if found is None or found[0].op not in ("MatrixLogarithm", "MatrixSquareRoot"):
        return False
    node, _, _, differs = found
    matrices = value_of(graph, node.input[0])
    if matrices is None:
        return False
    values = np.linalg.svd(matrices, compute_uv=False)
    least = 1e-5 if node.attr["T"].type in (tf.float32, tf.complex64) else 1e-13
    return bool((values[..., -1] <= least * values[..., 0])[differs.any((-2, -1))].all())
