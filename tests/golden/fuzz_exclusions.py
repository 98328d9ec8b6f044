"""What is open in TensorFlow itself, so that no answer is right or wrong: each line is a narrow condition and why."""

import re

import numpy as np
import tensorflow as tf

from fuzz_differences import (
    has, FILTER_GRADIENTS, has_of, has_nan, has_infinite, has_denormal, is_above_a_missing_factor,
    is_of_denormal_factors, is_half_a_step_off, is_midway, is_factor_denormal, is_within_float32, are_no_ragged_rows,
    overflows_on_the_way, overflows_both_ways, is_of_one_way_of_two,
    is_within_its_rounding, is_damaged, is_within_its_steps, is_within_rounded_volumes, is_left_of_cell_states, are_of_one_space,
    is_assigned_again, is_of_another_phase, are_vectors_not_computed, is_step_behind_rounding,
    is_only_asked_for_its_shape, is_of_nothing, is_of_left_gates, has_lowest, has_more_segments_than_ids, is_left_of_updates, is_of_singular_matrices,
)


def find(graph, kind, want, got, why):
    """The reason for which a difference counts for nothing, or None."""
    if isinstance(got, str) and got.startswith(("PANIC", "CRASH")):
        return None
    if isinstance(want, list) and isinstance(got, list):
        graph.answers = {fetch.name: pair for fetch, pair in zip(graph.fetches, zip(want, got))}
    for reason, holds in EXCLUSIONS:
        if holds(graph, kind, str(want) if isinstance(want, str) else "", str(got) if isinstance(got, str) else "", why):
            return reason
    return None


def refused(*texts):
    """TensorFlow refuses what the program computes, with one of these texts."""
    return lambda g, kind, want, got, why: kind == "accepted" and any(text in want for text in texts)


EXCLUSIONS = [
    ("Products of bfloat16 and another type TensorFlow adds up in bfloat16, in the order of its blocks",
     lambda g, kind, want, got, why: kind == "wrong" and is_within_its_steps(g, why)),
    ("Convolutions of bfloat16 volumes TensorFlow adds up in blocks, of which it rounds the sums to bfloat16",
     lambda g, kind, want, got, why: kind == "wrong" and is_within_rounded_volumes(g, why)),
    ("What is left of a cell's old and new part, each rounded to float16, where they nearly cancel out",
     lambda g, kind, want, got, why: kind == "wrong" and is_left_of_cell_states(g, why)),
    ("The vectors of singular values that are equal or 0 are any of their space",
     lambda g, kind, want, got, why: kind == "wrong" and are_of_one_space(g)),
    ("Of a singular matrix the logarithm and the root go by how an eigenvalue of 0 is rounded",
     lambda g, kind, want, got, why: kind == "wrong" and is_of_singular_matrices(g, why)),
    ("A variance with less than nothing added to it has no root, and what bytes are made of NaN C++ leaves open",
     lambda g, kind, want, got, why: kind == "wrong" and any(n.op == "QuantizedInstanceNorm" and n.attr["variance_epsilon"].f < 0
                                                             for n in g.graph_def.node)),
    ("TensorFlow accumulates halves in the order in which they are there",
     lambda g, kind, want, got, why: kind == "wrong" and has_of(g, ("float16", "bfloat16"), "AccumulateNV2")),
    ("TensorFlow cuts the number of segments to the type of their ids",
     lambda g, kind, want, got, why: kind == "accepted" and "is out of range [0, " in want and has_more_segments_than_ids(g)),
    ("An assignment that another one follows is not run here, nor what only it needs", lambda g, kind, want, got, why: kind == "accepted"
     and is_assigned_again(g, want)),
    ("TensorFlow's QuantizedMul and QuantizedAdd of two tensors each of which is repeated write a part of what comes out",
     lambda g, kind, want, got, why: kind == "refused" and "along more than the first axes" in got),
    ("Without validate_indices TensorFlow passes over rows that the shape does not have, or that come before one already taken",
     lambda g, kind, want, got, why: kind == "refused" and ("set operation: indices[" in got or "does not come row by row" in got)
     and any("validate_indices" in n.attr and not n.attr["validate_indices"].b for n in g.graph_def.node)),
    ("TensorFlow puts elements of any shape into a list that says which it has",
     lambda g, kind, want, got, why: kind == "refused" and has(g, "TensorListScatterIntoExistingList") and "of elements of shape" in got),
    ("TensorFlow infers no shape for the range of a quantised depthwise convolution, which IdentityN asks for",
     lambda g, kind, want, got, why: has(g, "IdentityN") and any(node.op.startswith("QuantizedDepthwise") for node in g.graph_def.node)
     and refused("Cannot infer output shape")(g, kind, want, got, why)),
    ("Of a matrix that is not positive definite TensorFlow's Cholesky leaves what is above the diagonal as memory was",
     lambda g, kind, want, got, why: kind == "wrong" and is_above_a_missing_factor(g, why)),
    ("The phase of a pair of complex singular vectors is any, and only as exact as where TensorFlow's iteration stops",
     lambda g, kind, want, got, why: kind == "wrong" and is_of_another_phase(g)),
    ("TensorFlow gives a scalar of what was in memory for vectors that it does not compute, where its own inference says that none come",
     lambda g, kind, want, got, why: kind == "wrong" and are_vectors_not_computed(g, why)),
    ("TensorFlow does not look at the sizes of these peepholes, and reads after them",
     lambda g, kind, want, got, why: kind == "refused" and has(g, "LSTMBlockCell") and "is needed" in got
     and any(f"input {i} is of shape" in got for i in (4, 5, 6))),
    ("Row ids that fall TensorFlow does not refuse, and puts values into other rows than they name",
     lambda g, kind, want, got, why: kind == "refused" and has(g, "RaggedTensorToTensor") and "splits and row ids never fall" in got),
    ("What TensorFlow's SqrtGrad makes of numbers whose reciprocal, or half, is nearly denormal or overflows goes by where in a vector they stand",
     lambda g, kind, want, got, why: kind == "wrong" and is_of_denormal_factors(g, why)),
    ("A frequency that is no number TensorFlow compares and casts, which C++ leaves open",
     lambda g, kind, want, got, why: kind == "refused" and any(n.op == "Mfcc" and np.isnan(n.attr["upper_frequency_limit"].f) for n in g.graph_def.node)),
    ("Tensors have at most 20 axes here: shapes are copied wherever tensors go, and TensorFlow's 254 would take 2 KiB each",
     lambda g, kind, want, got, why: kind == "refused" and "at most 20 are supported" in got),
    ("TensorFlow's own registration of TopK needs an attribute that TopK does not have",
     refused("OpKernel 'TopK' has constraint on attr 'index_type' not in NodeDef")),
    ("TensorFlow has no kernel for a CPU", refused("Registered kernels:\n  device='GPU'\n", "<no registered kernels>")),
    ("Models that keep channels first run here by a change of layout, and on TensorFlow's CPU do not",
     refused("only supports NHWC on device type CPU", "only supports the NHWC tensor format on the CPU",
             "only supports NHWC or NCHW_VECT_C", "only supported for NHWC format")),
    ("TensorFlow's own kernel of MutableDenseHashTable asks for an input that the operator does not have",
     refused("Unknown input name: deleted_key")),
    ("TensorFlow's QuantizedConv2D of a signed filter gives nothing, and says that this is an error of its own",
     refused("-th output from {{node QuantizedConv2D")),
    ("TensorFlow's gradients of activations take at most 8 axes, as its library has it: here there is no such bound",
     refused("We only handle up to Tensor::dims() up to 8")),
    ("Of a NaN in pools of volumes TensorFlow drops what comes before it, or the NaN, by whether its channel is in a whole vector or in "
     "the tail", lambda g, kind, want, got, why: kind == "wrong" and has(g, "MaxPool3D", "AvgPool3D") and has_nan(g)),
    ("What several updates, each rounded to halves, leave of a variable where they nearly cancel out",
     lambda g, kind, want, got, why: kind == "wrong" and is_left_of_updates(g, why)),
    ("TensorFlow's MatrixBandPart counts on from the lowest of all integers, and comes out at the other end",
     lambda g, kind, want, got, why: kind == "wrong" and has(g, "MatrixBandPart", "BatchMatrixBandPart") and has_lowest(g)),
    ("Of images without pixels TensorFlow pools what is padded around them",
     lambda g, kind, want, got, why: kind == "refused" and "a pooling window lies outside the image" in got and is_of_nothing(g)),
    ("Of a group of a sparse tensor with a NaN in it the largest is what comes after the NaN, by how TensorFlow cuts the group to vectors",
     lambda g, kind, want, got, why: kind == "wrong" and has(g, "SparseReduceMax", "SparseReduceMaxSparse") and has_nan(g)),
    ("BlockLSTM leaves the gates of steps behind the longest sequence as memory was before",
     lambda g, kind, want, got, why: kind == "wrong" and is_of_left_gates(g, why)),
    ("A variable keeps the shape that it is declared with: TensorFlow does not look at what a run assigns",
     lambda g, kind, want, got, why: kind == "refused" and "(EnsureShape)" in got and has(g, "AssignVariableOp", "Assign")),
    ("TensorFlow's sigmoid multiplies in one order in vectors and in another after the last whole one: only one may overflow",
     lambda g, kind, want, got, why: kind == "wrong" and has(g, "SigmoidGrad") and ("inf" in why or "nan" in why)
     and (has_infinite(g, 1e18) or has_of(g, ["float16"], "SigmoidGrad"))),
    ("A dense table exports its buckets, those without an entry too, in the order of their hashes",
     lambda g, kind, want, got, why: kind != "accepted" and has(g, "LookupTableExport", "LookupTableExportV2")
     and has(g, "MutableDenseHashTableV2", "AnonymousMutableDenseHashTable")),
    ("What a product of nothing and a fingerprint of no texts are TensorFlow leaves as memory was before",
     lambda g, kind, want, got, why: kind == "wrong" and g.op in ("Fingerprint", "QuantizedMatMul", "QuantizedConv2D")
     and is_of_nothing(g)),
    ("A float outside of an integer's range is undefined in C++",
     lambda g, kind, want, got, why: kind == "wrong" and has(g, "QuantizeV2", "QuantizedBiasAdd", "Requantize") and has_infinite(g)),
    ("Of no rows TensorFlow's RaggedFillEmptyRows gives ids of two axes, and one axis of some",
     lambda g, kind, want, got, why: "shape (" in why and are_no_ragged_rows(g)),
    ("Equations without unknowns or rows TensorFlow leaves as memory was before",
     lambda g, kind, want, got, why: kind == "wrong" and g.op in ("MatrixSolveLs", "BatchMatrixSolveLs")
     and any(v.size == 0 for v in [*g.written, *g.feeds.values()])),
    ("Without a seed numbers are drawn by chance",
     lambda g, kind, want, got, why: kind == "wrong" and any("seed" in n.attr and not n.attr["seed"].i and not n.attr["seed2"].i
                                                              for n in g.graph_def.node)),
    ("BesselY1 of 0 and of what is taken for 0 is NaN in TensorFlow's vectors of float32 and minus infinity after the last whole one",
     lambda g, kind, want, got, why: kind == "wrong" and has(g, "BesselY1") and "nan" in why and "inf" in why),
    ("Of channels one of which is NaN the largest follows from how vectors compare",
     lambda g, kind, want, got, why: kind == "wrong" and g.op == "RGBToHSV" and has_nan(g)),
    ("A place in an image that is no number, or past all integers, is undefined in C++",
     lambda g, kind, want, got, why: kind == "wrong" and g.op.startswith("ImageProjectiveTransform")
     and (has_nan(g) or has_infinite(g) or "-2147483648" in why)),
    ("TensorFlow's CumulativeLogsumexp drops a NaN or keeps it by the order in which it compares",
     lambda g, kind, want, got, why: kind == "wrong" and g.op == "CumulativeLogsumexp" and has_nan(g)),
    ("An infinity in a Fourier transform becomes NaN where it is multiplied by 0, in which order is open",
     lambda g, kind, want, got, why: kind == "wrong" and "FFT" in g.op and has_infinite(g)),
    ("A product of complex numbers that overflows is infinite or NaN by the order in which they are multiplied",
     lambda g, kind, want, got, why: kind == "wrong" and g.op in ("Prod", "Cumprod") and has_of(g, ("complex64",), g.op)
     and ("inf" in why or "nan" in why)),
    ("What comes of half a transform without elements TensorFlow leaves as memory was before",
     lambda g, kind, want, got, why: kind == "wrong" and g.op.startswith(("IRFFT", "RFFT")) and any(v.size == 0 for v in g.written)),
    ("TensorFlow runs out of memory", lambda g, kind, want, got, why: "ResourceExhausted" in want),
    ("The program is given less memory than TensorFlow takes",
     lambda g, kind, want, got, why: kind == "refused" and "the smallest memory that works" in got),
    ("NaN in segments counts in TensorFlow by whether it stands in the vectorised part of a row or in its tail",
     lambda g, kind, want, got, why: kind == "wrong" and has(g, "SegmentMin", "SegmentMax") and has_nan(g)),
    ("TensorFlow takes channels first only where there is nothing to compute, and five axes of the older FusedBatchNorm only "
     "where it does not know the shape as it reads a graph",
     lambda g, kind, want, got, why: kind == "refused" and ("data_format is NCHW" in got or "rank 4 is needed" in got
                                                            and has(g, "FusedBatchNorm", "FusedBatchNormV2"))),
    ("An Empty that is not to be initialised holds what was there before",
     lambda g, kind, want, got, why: kind == "wrong" and any(n.op == "Empty" and not n.attr["init"].b for n in g.graph_def.node)),
    ("TensorFlow computes these strides and dilations on other devices only",
     refused("Current implementation only supports equal length strides", "Current CPU implementations do not yet support dilation",
             "Current kernel implementation does not support dilations")),
    ("Only the shape of what TensorFlow refuses is asked for, which the program knows without it", is_only_asked_for_its_shape),
    ("A step in a function after a result that is rounded otherwise",
     lambda g, kind, want, got, why: kind == "wrong" and is_step_behind_rounding(g, why.split(":")[0])),
    ("Of denormals, logarithms, powers and angles differ in TensorFlow between the vectorised part of a tensor and its tail",
     lambda g, kind, want, got, why: kind == "wrong" and has_denormal(g) and (has(g, "Log", "Log1p", "Xlogy", "Xlog1py", "Lgamma")
                                                                               or has_of(g, ("float32", "float64"), "Pow", "Atan2"))),
    ("A float outside of an integer's range is undefined in C++",
     lambda g, kind, want, got, why: kind == "wrong" and g.wild
     and any(n.op == "Cast" and tf.as_dtype(n.attr["SrcT"].type).is_floating and tf.as_dtype(n.attr["DstT"].type).is_integer
             for n in g.graph_def.node)),
    ("TensorFlow adds up where a slice of nothing ends past the largest number",
     lambda g, kind, want, got, why: kind == "refused" and "ask for 9223372036854775807 elements from" in got),
    ("The order of the largest elements is open where they are not to be sorted",
     lambda g, kind, want, got, why: kind == "wrong" and any(n.op in ("TopK", "TopKV2") and "sorted" in n.attr
                                                              and not n.attr["sorted"].b for n in g.graph_def.node)),
    ("TensorFlow's library for products refuses a filter without rows that its other types take", refused("Failed to call dnnl_sgemm")),
    ("TensorFlow counts segments in the type of their indices, where its own inference counts them in that of the count",
     lambda g, kind, want, got, why: kind == "wrong" and "shape (" in why
     and any(n.op.startswith("UnsortedSegment") and n.attr["Tindices"].type == 5 for n in g.graph_def.node)),
    ("As it reads a file TensorFlow takes a size that is open for -1 where it infers matrices of diagonals, and refuses them or "
     "what follows", lambda g, kind, want, got, why: kind == "accepted" and want.startswith("ValueError") and "MatrixDiagV" in want
     or kind == "accepted" and want.startswith("ValueError") and "MatrixSetDiagV" in want and "?" in want),
    ("A shape of one number that is not known is that of all elements, which the program knows without it",
     refused("but the requested shape has", "Size 0 must be non-negative, not")),
    ("The order of NaN in TopK follows from a comparison that sorting forbids",
     lambda g, kind, want, got, why: kind == "wrong" and has(g, "TopK", "TopKV2", "NthElement") and has_nan(g)),
    ("TensorFlow reads an axis of int16 from more bytes than it has",
     lambda g, kind, want, got, why: any(n.op == "ArgMax" and n.attr["Tidx"].type == 5 for n in g.graph_def.node)),
    ("TensorFlow does not look at the sizes of these vectors, and reads after them",
     lambda g, kind, want, got, why: kind == "refused" and has(g, "BatchNormWithGlobalNormalization") and "elements for" in got),
    ("A value midway between two steps of FakeQuant goes to either, by how the compiler contracts",
     lambda g, kind, want, got, why: kind == "wrong" and is_midway(g, why)),
    ("Of an exponent that is nearly denormal TensorFlow's Igamma and Igammac multiply their sum by what is flushed to 0",
     lambda g, kind, want, got, why: kind == "wrong" and is_factor_denormal(g, why)),
    ("The sign of a zero that comes from several is that of any",
     lambda g, kind, want, got, why: kind == "wrong" and "inf != " in why and has(g, "Rsqrt", "Reciprocal", "Inv", "RealDiv", "Div")
     # Of two zeros the larger is the second in whole vectors, and the first behind them.
     and (has(g, "Minimum", "Maximum") or g.op in (
         "Relu", "Relu6", "Min", "Max", "Einsum", "SegmentMin", "SegmentMax", "MaxPool", "MaxPool3D", "NthElement", "RsqrtGrad",
         "SparseSparseMaximum", "SparseSparseMinimum"))),
    ("TensorFlow does not compare the gradient of averages with the pool that it is of",
     lambda g, kind, want, got, why: kind == "refused" and "for a pool of" in got and "AvgPool" in got),
    ("TensorFlow adds up the gradients of filters and of resized images in float16 and bfloat16, some of them in parts",
     lambda g, kind, want, got, why: kind == "wrong" and is_within_its_rounding(g, why)
     and has_of(g, ["float16", "bfloat16"], "ResizeBilinearGrad", *FILTER_GRADIENTS)),
    ("A record's feature of any number of values of no elements each TensorFlow divides by those elements where it is there",
     lambda g, kind, want, got, why: kind == "refused" and "dense_shapes has a shape without elements" in got),
    ("As it reads a file TensorFlow takes a last axis that is open, or an open rank, for -1 where it infers ApproxTopK",
     refused("input must have last dimension >= k", "Invalid reduction dimension: -1. Must be within the range of [1, -2]")),
    ("Noise around a glimpse is drawn by chance", lambda g, kind, want, got, why: kind == "wrong" and any(
        n.op.startswith("ExtractGlimpse") and n.attr["noise"].s != b"zero" for n in g.graph_def.node)),
    ("TensorFlow's RaggedGather looks at the last splits alone for what they point past, and reads after the others",
     lambda g, kind, want, got, why: kind == "refused" and has(g, "RaggedGather") and "splits do not point past the values" in got),
    ("TensorFlow's AddSign looks at alpha twice in place of the decay of signs, which may be a vector of one",
     lambda g, kind, want, got, why: kind == "refused" and "(AddSign): input 4 is of shape [1]; rank 0 is needed" in got),
    ("TensorFlow adds up likelihoods of CTCLoss in float32, those of float64 too",
     lambda g, kind, want, got, why: kind == "wrong" and is_within_float32(g, why)),
    ("Of no matrices TensorFlow's BatchMatrixSolveLs does not look at the regularizer",
     lambda g, kind, want, got, why: kind == "refused" and has(g, "BatchMatrixSolveLs") and is_of_nothing(g)
     and "input 2 is of shape" in got),
    ("TensorFlow does not look at windows and tensors without elements, or at what a gradient is of",
     lambda g, kind, want, got, why: kind == "refused" and g.wild and g.op in ("MaxPoolGrad", "AvgPoolGrad", "AvgPool3DGrad", "MaxPool3DGrad", "ResizeBicubicGrad",
                                                               "InplaceUpdate", "InplaceAdd", "InplaceSub",
                                                               "MaxPoolGradWithArgmax")),
    ("Of a product of complex numbers that is too large TensorFlow may say infinity or NaN",
     lambda g, kind, want, got, why: kind == "wrong" and g.op.endswith("ScatterMul") and "nan" in why and "j)" in why),
    ("TensorFlow does not compare the slices that variables are changed by with those of the variable, and reads after them",
     lambda g, kind, want, got, why: kind == "refused" and g.wild and g.op.startswith("ResourceScatter") and "slices" in got),
    ("Of several volumes TensorFlow takes one of two ways by the size of the processor's cache, one of which multiplies zeros between "
     "them by the filter's infinities", lambda g, kind, want, got, why: kind == "wrong" and is_of_one_way_of_two(g, why)),
    ("An axis of a tensor of unknown rank TensorFlow's inference of Dequantize refuses, and computes where it knows the rank",
     refused("Axis must be less than input dimension(-1)")),
    ("Of weights that may have elements TensorFlow's inference asks for the rank of the values, and of none does not",
     lambda g, kind, want, got, why: g.op == "DenseCountSparseOutput" and is_of_nothing(g)
     and ("Shapes must be equal rank" in want or "rank 2 is needed" in got)),
    ("The ranks of BatchMatrixTriangularSolve's inputs TensorFlow compares as it reads a file, and broadcasts where they are open",
     lambda g, kind, want, got, why: kind == "accepted" and has(g, "BatchMatrixTriangularSolve") and want.startswith("ValueError")
     and "BatchMatrixTriangularSolve" in want),
    ("TensorFlow's QuantizedResizeBilinear of no images gives no range, and says that this is an error of its own",
     lambda g, kind, want, got, why: kind == "accepted" and has(g, "QuantizedResizeBilinear") and want.startswith("InternalError")),
    ("Of a range that is infinite the least and the largest number are what a vectorised comparison leaves of NaN",
     lambda g, kind, want, got, why: kind == "wrong" and has(g, "QuantizedInstanceNorm") and (
         has_infinite(g) or any(np.isnan(n.attr["variance_epsilon"].f) for n in g.graph_def.node))),
    ("Halves of a step go to either by the order in which TensorFlow adds up the mean and the variance",
     lambda g, kind, want, got, why: kind == "wrong" and has(g, "QuantizedInstanceNorm") and "uint8" in why
     and (why.endswith(" 1 differ") or is_half_a_step_off(g, why))),
    ("TensorFlow casts a range that is no number, or infinite, which C++ leaves open",
     lambda g, kind, want, got, why: kind == "refused" and has(g, "QuantizeV2") and "the range is of finite numbers" in got),
    ("TensorFlow reads weights after their end where there is one for several values",
     lambda g, kind, want, got, why: kind == "refused" and has(g, "RaggedBincount", "SparseBincount") and "for values" in got),
    ("TensorFlow reads values or row ids after their end where there are more of the others",
     lambda g, kind, want, got, why: kind == "refused" and has(g, "RaggedTensorToTensor")
     and ("there is a row id for each value" in got or "the last split is the number of values" in got)),
    ("Which numbers of a range with a NaN are the least and the largest goes in TensorFlow by where in a vector they stand",
     lambda g, kind, want, got, why: kind == "wrong" and g.op == "QuantizeAndDequantize" and has_nan(g)),
    ("TensorFlow compares the slices of a sparse gradient with the variable's by the axes of the variable alone",
     lambda g, kind, want, got, why: kind == "refused" and "SparseApply" in g.op and "; the variable is of" in got),
    ("Of a batch that is open and one of 1 TensorFlow's inference takes the 1, and broadcasts as it runs",
     lambda g, kind, want, got, why: kind == "accepted" and has(g, "SoftmaxCrossEntropyWithLogits")
     and want.startswith("ValueError: Can't concatenate scalars")),
    ("TensorFlow's inference refuses to broadcast a matrix and logits of a rank that is open, which its kernel does",
     lambda g, kind, want, got, why: has(g, "SoftmaxCrossEntropyWithLogits")
     and refused("Shape must be broadcasted with rank 2, but is rank is unknown")(g, kind, want, got, why)),
    ("TensorFlow's SparseBincount counts a value below 0 in memory before the counts",
     lambda g, kind, want, got, why: kind == "refused" and "(SparseBincount): Bincount: indices[" in got and "is below 0" in got),
    ("The gradient of a pool whose window is below 0 in an input, which attributes may not be, is 0 in TensorFlow",
     lambda g, kind, want, got, why: kind == "refused" and bool(re.search(r"PoolGradV2 \(input 3 attribute ksize is \[1, .*-\d", got))),
    ("A quantised type is here the integer that holds it, which a Bitcast changes without a change of bits",
     lambda g, kind, want, got, why: kind == "accepted" and has(g, "Bitcast") and "incompatible with expected" in want
     and any(f"was passed {q}" in want for q in ("quint8", "qint8", "qint16", "quint16", "qint32"))),
    ("Elements of an array may differ in shape here although it is said that they do not",
     refused("which is incompatible with the TensorArray's inferred element shape")),
    ("To a range that is infinite TensorFlow scales numbers by casts of infinities, which C++ leaves open",
     lambda g, kind, want, got, why: kind == "wrong" and has(g, "QuantizedAdd", "QuantizedMul") and has_infinite(g)),
    ("TensorFlow has a kernel of IsotonicRegression for one type of output each",
     lambda g, kind, want, got, why: kind == "accepted" and has(g, "IsotonicRegression") and "No OpKernel was registered" in want),
    ("An alpha or a beta that is no half is infinite in TensorFlow's LRN of halves",
     lambda g, kind, want, got, why: kind == "wrong" and has_of(g, ("float16",), "LRN")
     and any(n.op == "LRN" and max(n.attr["alpha"].f, abs(n.attr["beta"].f)) > 65504 for n in g.graph_def.node)),
    ("The one size of a reshape that is fed TensorFlow infers from the elements, which the program leaves open until it is fed",
     lambda g, kind, want, got, why: kind == "refused" and has(g, "Reshape") and (
         has(g, "SpaceToBatchND", "BatchToSpaceND") and "input 1 must be of a size that is known here" in got
         or has(g, "ParallelConcat") and "is of shape [?], which must be known here" in got)),
    ("Of a gather along an axis that is open TensorFlow's inference takes batch_dims below 0 for what it is",
     lambda g, kind, want, got, why: kind == "accepted" and want.startswith("ValueError: Shape must be rank")
     and any(n.op == "GatherV2" and n.attr["batch_dims"].i < 0 for n in g.graph_def.node)),
    ("TensorFlow's dense tables read the first dimension of a key that has none where they remove it",
     lambda g, kind, want, got, why: kind == "accepted" and has(g, "LookupTableRemoveV2") and "Expected key shape" in want
     and has(g, "MutableDenseHashTableV2", "AnonymousMutableDenseHashTable")),
    ("What was never put into an array whose elements have no shape is zeros here, and an error in TensorFlow",
     refused("Could not read from TensorArray index")),
    ("Of a damaged record TensorFlow's fast reader takes what stands before the end of a list that is said to be longer",
     lambda g, kind, want, got, why: g.op.startswith("Parse") and kind == "refused" and "not a tf.train." in got and is_damaged(g)),
    ("TensorFlow's fast reader refuses what protobuf reads, as fields of other numbers",
     lambda g, kind, want, got, why: g.op.startswith("Parse") and kind == "accepted" and is_damaged(g, by_protobuf=False)),
    ("What TensorFlow says of a damaged record is no text", lambda g, kind, want, got, why: g.op.startswith("Parse")
     and kind == "accepted" and want.startswith("UnicodeDecodeError") and is_damaged(g)),
    ("A list has its elements however often they are read, where TensorFlow's arrays forget them to save memory, and are written once",
     refused("because it was cleared after a previous read", "because it has already been written to", "because it has already been read")),
    ("A sum that is past the largest number both ways is infinite, or NaN, by the order in which it is added up",
     lambda g, kind, want, got, why: kind == "wrong" and overflows_both_ways(g, why)),
    ("What TensorFlow's inference refuses its kernels take where it does not know the shape: channels first of two axes, axes of "
     "a reduction and splits of n-grams in a matrix", lambda g, kind, want, got, why: kind == "refused" and bool(re.search(
         r"NCHW needs at least 3 axes|input 1 is of shape \[.*\]; a scalar or a vector is needed"
         r"|\(StringNGrams\): input 1 is of shape \[.*\]; rank 1 is needed", got))),
    ("TensorFlow's RaggedGather cuts an index to the type of the splits",
     lambda g, kind, want, got, why: kind == "refused" and bool(re.search(r"\(RaggedGather\): input \d has -?\d{10,} at", got))),
    ("TensorFlow's Cast to complex numbers with Truncate keeps no digit but the first",
     lambda g, kind, want, got, why: kind == "wrong" and any(
         n.op == "Cast" and n.attr["Truncate"].b and tf.as_dtype(n.attr["DstT"].type).is_complex for n in g.graph_def.node)),
    ("TensorFlow's QuantizeAndDequantizeV3 refuses a scalar",
     refused("Axis requested is larger than input dimensions. Axis: -1 Input Dimensions: 0")),
    ("TensorFlow's inference of fractional pools has a sequence of as many numbers as there are pools, and its kernel one more",
     lambda g, kind, want, got, why: kind == "accepted" and want.startswith("ValueError: Can't concatenate scalars")
     and has(g, "FractionalMaxPool", "FractionalAvgPool")),
    ("Taps that all stand on one pixel, before the one that they belong to, or nowhere are no window here",
     lambda g, kind, want, got, why: kind == "refused" and has(g, "Dilation2D") and (
         re.search(r"\(attribute rates is \[1, (\d+, )?(-\d+|0), ", got) or is_of_nothing(g) and "a window's size, stride and dilation must" in got)),
    ("A vector of indices TensorFlow infers to be one place, and its kernels take it for many, or the first of it alone",
     lambda g, kind, want, got, why: kind == "refused" and "a row for each place is needed" in got
     and any("ScatterNd" in n.op for n in g.graph_def.node)),
    ("Of splits that are a scalar TensorFlow's RaggedTensorToSparse reads what is in memory before them",
     lambda g, kind, want, got, why: kind == "refused" and "(RaggedTensorToSparse): input 0 is of shape []; rank 1 is needed" in got),
    ("A product of floats that overflows on the way is infinite, or NaN where a zero follows, by the order of its factors",
     lambda g, kind, want, got, why: kind == "wrong" and overflows_on_the_way(g, why)),
    ("A single record's row splits of ragged features are a scalar that TensorFlow leaves as memory was",
     lambda g, kind, want, got, why: kind == "wrong" and g.op == "ParseSequenceExampleV2" and "of () int" in why),
    ("TensorFlow's RequantizePerChannel reads ranges after their end where there are fewer than channels",
     lambda g, kind, want, got, why: kind == "refused" and has(g, "RequantizePerChannel") and "for sums of shape" in got),
    ("Of no splits TensorFlow's StringNGrams reads how many n-grams there are before the first",
     lambda g, kind, want, got, why: kind == "wrong" and has(g, "StringNGrams") and is_of_nothing(g)),
    ("What a size that is open and one of 0 are broadcast to TensorFlow leaves open as it reads a file",
     lambda g, kind, want, got, why: refused("block_shape must have known size")(g, kind, want, got, why) and is_of_nothing(g)),
]
