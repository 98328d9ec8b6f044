"""Golden cases of operators whose inputs are only known at most as they are planned: the most that there can be of each need
not go together."""

from op_cases import case
import tensorflow as tf

raw = tf.raw_ops


def part(g, name, shape, most):
    """The first elements of a tensor, as many as are fed."""
    return tf.slice(g.input(name, most), [0] * len(shape), g.feed(f"{name}_size", shape, "int32"))


@case(rtol=1e-4, atol=1e-4)
def shapes_known_at_most(g):
    plane = dict(strides=[1, 1, 1, 1], padding="SAME")
    image = part(g, "image", (2, 9, 9, 5), (2, 9, 9, 7))
    g.out(
        image=raw.Conv2D(input=image, filter=part(g, "filter", (3, 3, 5, 8), (3, 3, 9, 8)), **plane),
        volume=raw.Conv3D(input=part(g, "volume", (1, 4, 4, 4, 6), (1, 4, 4, 4, 7)), strides=[1] * 5, padding="SAME",
                          filter=part(g, "cube", (3, 3, 3, 6, 8), (3, 3, 3, 9, 8))),
        product=raw.BatchMatMulV2(x=part(g, "x", (2, 20, 50), (3, 30, 70)), y=part(g, "y", (2, 50, 33), (5, 60, 40))),
    )  # fmt: skip
