"""Golden cases of what operators are given that they are not meant for, and TensorFlow takes all the same."""

import numpy as np
import tensorflow as tf
from op_cases import case

raw = tf.raw_ops


@case()
def sparse_outside(g):
    """Coordinates outside of the shape, slices that begin before it, and axes named twice."""
    indices, values = g.feed("indices", np.int64([[0, 1], [0, 7], [2, -1]])), g.feed("values", np.float32([1, 2, 4]))
    shape = g.feed("shape", np.int64([3, 4]))
    part = raw.SparseSlice(indices=indices, values=values, shape=shape, start=g.feed("start", np.int64([-1, -2])),
                           size=g.feed("size", np.int64([3, 6])))
    g.out(slice_at=part[0], slice_values=part[1], slice_shape=part[2])
    moved = raw.SparseReshape(input_indices=indices, input_shape=shape, new_shape=g.feed("new", np.int64([2, -1])))
    g.out(moved=moved[0], moved_shape=moved[1])
    axes = g.feed("axes", np.int32([1, -1]))
    sparse = dict(input_indices=indices, input_values=values, input_shape=shape)
    g.out(sums=raw.SparseReduceSum(reduction_axes=axes, **sparse), largest=raw.SparseReduceMax(reduction_axes=axes, **sparse))
    sums = raw.SparseReduceSumSparse(reduction_axes=g.feed("rows", np.int32([0])), **sparse)
    g.out(sums_at=sums[0], sums_values=sums[1], sums_shape=sums[2])


@case()
def control_characters(g):
    """Control characters are replaced where errors are refused, too, and left out where errors are."""
    texts = g.feed("texts", np.array([b"a\tb\n", b"c"], dtype=object))
    for errors in ("strict", "replace", "ignore"):
        how = dict(input_encoding="UTF-8", errors=errors, replace_control_characters=True)
        made = raw.UnicodeDecodeWithOffsets(input=texts, **how)
        g.out(**{f"{errors}_splits": made[0], f"{errors}_codes": made[1], f"{errors}_at": made[2]})
        if errors != "strict":  # which is an error there
            g.out(**{errors: raw.UnicodeTranscode(input=texts, output_encoding="UTF-8", **how)})


@case(rtol=1e-5, atol=1e-5)
def sparse_products_of_bfloat16(g):
    """The product is float32 whatever its operands are."""
    a, b = g.input("a", (3, 5)), g.input("b", (5, 4))
    for name, x, y in (("both", tf.bfloat16, tf.bfloat16), ("left", tf.bfloat16, tf.float32), ("right", tf.float32, tf.bfloat16)):
        g.out(**{name: raw.SparseMatMul(a=tf.cast(a, x), b=tf.cast(b, y), a_is_sparse=True)})


@case()
def singular_triangles(g):
    """A zero beside the diagonal meets the infinities of a zero on it."""
    a = g.feed("a", np.float32([[2, 1, 2], [-1, 0, 2], [0, 0, 2]]))
    b = g.feed("b", np.float32([[2, -2, 3], [-1, 3, 1], [-3, 3, 2]]))
    for lower in (True, False):
        for adjoint in (True, False):
            solved = raw.MatrixTriangularSolve(matrix=a, rhs=b, lower=lower, adjoint=adjoint)
            g.out(**{f"{'lower' if lower else 'upper'}_{'adjoint' if adjoint else 'plain'}": solved})
