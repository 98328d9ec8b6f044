"""Random nodes of what gradients need, and of places in tensors, for `fuzz.py`."""

from fuzz_ops import broadcast_pair, maker


@maker("SigmoidGrad", "TanhGrad", "SqrtGrad", "RsqrtGrad", "ReciprocalGrad", "InvGrad")
@maker("SoftplusGrad", "SoftsignGrad", "ReluGrad", "Relu6Grad", "EluGrad", "SeluGrad")
def gradient(g, name):
    dtype, shape = g.dtype(name), g.shape(0, 5)
    low, high = g.pick([(-3, 3), (-1, 1), (0, 9)])
    return g.call(name, g.input(dtype, shape, low, high, special=0.3), g.input(dtype, shape, low, high, special=0.3))


@maker("BroadcastGradientArgs")
def broadcast_axes(g, name):
    dtype = g.pick(["int32", "int64"])
    one, two = broadcast_pair(g)
    if g.chance(0.2):
        two = one
    return g.call(name, g.ints(one, dtype), g.ints(two, dtype))


@maker("BiasAddGrad")
def bias_gradient(g, name):
    shape = g.shape(0 if g.wild else 2, 5)
    return g.call(name, g.input(g.dtype(name), shape, huge=False), data_format=g.pick(["NHWC", "NCHW"]))


@maker("UnravelIndex")
def places(g, name):
    dtype, dims = g.pick(["int32", "int64"]), g.shape(1, 4, 1)
    most = 1
    for dim in dims:
        most *= dim
    # TensorFlow gives negative places what it may.
    at = [g.int(0, most if g.wild else most - 1) for _ in range(g.int(0, 5))]
    return g.call(name, g.ints(at if g.chance(0.7) else (at + [0])[0], dtype), g.ints(dims, dtype))
