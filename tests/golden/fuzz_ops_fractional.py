"""Random nodes of pools whose windows are drawn, for `fuzz.py`."""

from fuzz_ops import maker


@maker("FractionalMaxPool", "FractionalAvgPool")
def fractional(g, name):
    shape = [g.int(1, 3), g.int(3, 12), g.int(3, 12), g.int(1, 4)]
    ratios = [1.0, *(float(g.pick([1.0, 1.25, 1.44, 1.73, 2.0, 2.6])) for _ in range(2)), 1.0]
    x = g.input(g.dtype(name), shape, special=0.0, huge=False)
    return g.call(name, x, pooling_ratio=ratios, pseudo_random=g.chance(0.5), overlapping=g.chance(0.5), deterministic=True,
                  seed=g.int(1, 1000), seed2=g.int(0, 1000))
