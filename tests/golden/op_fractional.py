"""Golden cases of pools whose windows are drawn."""

from op_cases import case
import tensorflow as tf

raw = tf.raw_ops


@case(rtol=1e-6, atol=1e-6)
def fractional_pools(g):
    """Windows that are drawn: at random and in steps from a start, with shared edges and without."""
    x = g.input("x", (2, 13, 11, 3))
    for name, pool in (("max", raw.FractionalMaxPool), ("mean", raw.FractionalAvgPool)):
        for steps in (False, True):
            made = pool(value=x, pooling_ratio=[1.0, 1.44, 1.73, 1.0], pseudo_random=steps, overlapping=not steps, deterministic=True, seed=5, seed2=7)
            g.out(**{f"{name}_{steps}_{i}": part for i, part in enumerate(made)})
    whole = raw.FractionalAvgPool(value=tf.cast(x * 9, tf.int64), pooling_ratio=[1.0, 2.0, 3.0, 1.0], deterministic=True, seed=1)
    g.out(**{f"whole_{i}": part for i, part in enumerate(whole)})
