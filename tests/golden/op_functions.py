"""Golden cases of functions of matrices, parts of images, and quantised channels."""

import numpy as np
import tensorflow as tf
from op_cases import case

raw = tf.raw_ops


@case(rtol=1e-9, atol=1e-10)
def matrix_functions(g):
    rng = np.random.default_rng(3)
    a = g.feed("a", rng.uniform(-1, 1, [2, 4, 4]) + 5 * np.eye(4))
    turned = tf.complex(a, tf.linalg.matrix_transpose(a) * 0.3)
    g.out(root=raw.MatrixSquareRoot(input=a), complex_root=raw.MatrixSquareRoot(input=turned), logarithm=raw.MatrixLogarithm(input=turned))


@case()
def sampled_parts(g):
    """What covers enough of a box, of another ratio, and none that does."""
    size, boxes = g.feed("size", [37, 51, 3], "int32"), g.feed("boxes", [[[0.1, 0.2, 0.7, 0.9], [0.5, 0.5, 0.6, 0.6]]], "float32")
    seeds = {"seed": 7, "seed2": 9}
    found = {
        "plain": raw.SampleDistortedBoundingBox(image_size=size, bounding_boxes=boxes, min_object_covered=0.3, **seeds),
        "tall": raw.SampleDistortedBoundingBoxV2(image_size=size, bounding_boxes=boxes, min_object_covered=0.9, aspect_ratio_range=[0.2, 0.4], **seeds),
        "whole": raw.SampleDistortedBoundingBoxV2(image_size=size, bounding_boxes=boxes[:, :1], min_object_covered=1.0, area_range=[0.01, 0.02], max_attempts=3, **seeds),
        "stateless": raw.StatelessSampleDistortedBoundingBox(image_size=size, bounding_boxes=boxes, min_object_covered=0.5, seed=[1, 2]),
    }
    for name, (begin, extent, box) in found.items():
        g.out(**{f"{name}_begin": begin, f"{name}_size": extent, f"{name}_box": box})


@case()
def quantized_channels(g):
    rng = np.random.default_rng(5)
    sums = tf.bitcast(g.feed("sums", rng.integers(-(2**30), 2**30, [2, 3, 2, 3]), "int32"), tf.qint32)
    low, high = g.feed("low", [-4, -2, -9], "float32"), g.feed("high", [3, 2.5, 1], "float32")
    least, most = raw.RequantizationRangePerChannel(input=sums, input_min=low, input_max=high, clip_value_max=6.0)
    g.out(least=least, most=most)
    for kind, stored in (("qint8", "int8"), ("quint8", "uint8")):
        made, *_ = raw.RequantizePerChannel(input=sums, input_min=low, input_max=high, requested_output_min=least, requested_output_max=most, out_type=kind)
        g.out(**{kind: tf.bitcast(made, stored)})


@case(rtol=1e-4)
def quantized_images(g):
    rng = np.random.default_rng(6)
    images = tf.bitcast(g.feed("images", rng.integers(0, 256, [2, 5, 4, 3]), "uint8"), tf.quint8)
    for name, more in (("used", {}), ("given", {"output_range_given": True, "given_y_min": -3.0, "given_y_max": 2.0})):
        made, low, high = raw.QuantizedInstanceNorm(x=images, x_min=-1.0, x_max=3.0, **more)
        g.out(**{f"norm_{name}": tf.bitcast(made, "uint8"), f"low_{name}": low, f"high_{name}": high})
    for name, more in (("corners", {}), ("aligned", {"align_corners": True}), ("centres", {"half_pixel_centers": True})):
        made, _, _ = raw.QuantizedResizeBilinear(images=images, size=[7, 9], min=-1.0, max=3.0, **more)
        g.out(**{f"bytes_{name}": tf.bitcast(made, "uint8")})
