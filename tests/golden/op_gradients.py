"""Golden cases of what gradients need, and of places in tensors."""

from op_cases import case
import numpy as np
import tensorflow as tf

raw = tf.raw_ops


@case(rtol=1e-6)
def gradients(g):
    """Of activations and their gradients, special values among them; the axes that a broadcast adds up over."""
    y = g.feed("y", [[-2.0, -1.0, -0.0, 0.5], [1.0, 3.0, 6.0, 7.5]], "float32")
    dy = g.feed("dy", [[0.5, np.inf, np.nan, -4.0], [2.0, -np.inf, 1.5, 0.0]], "float32")
    for dtype in ("float32", "bfloat16", "float64"):
        a, b = tf.cast(y, dtype), tf.cast(dy, dtype)
        for name in ("SigmoidGrad", "TanhGrad", "SqrtGrad", "RsqrtGrad", "ReciprocalGrad", "InvGrad"):
            g.out(**{f"{name}_{dtype}": getattr(raw, name)(y=a, dy=b)})
        for name in ("ReluGrad", "Relu6Grad"):
            g.out(**{f"{name}_{dtype}": getattr(raw, name)(gradients=b, features=a)})
        if dtype == "bfloat16":  # the others round between their steps
            continue
        for name in ("SoftplusGrad", "SoftsignGrad"):
            g.out(**{f"{name}_{dtype}": getattr(raw, name)(gradients=b, features=a)})
        for name in ("EluGrad", "SeluGrad"):
            g.out(**{f"{name}_{dtype}": getattr(raw, name)(gradients=b, outputs=a)})
    whole = tf.cast(g.feed("whole", [-3, 0, 2, 9], "int32"), "int64")
    g.out(relu_int=raw.ReluGrad(gradients=whole, features=whole), relu6_int=raw.Relu6Grad(gradients=whole, features=whole))
    z = tf.complex(y, -y)
    for name in ("SigmoidGrad", "TanhGrad", "SqrtGrad", "RsqrtGrad", "InvGrad"):
        made = getattr(raw, name)(y=z, dy=tf.complex(y, y))
        g.out(**{f"{name}_real": tf.math.real(made), f"{name}_imag": tf.math.imag(made)})
    one, two = g.feed("one", [2, 1, 5], "int32"), g.feed("two", [3, 1], "int32")
    g.out(first=raw.BroadcastGradientArgs(s0=one, s1=two)[0], second=raw.BroadcastGradientArgs(s0=one, s1=two)[1])
    volume = tf.reshape(tf.range(24.0), [2, 3, 4])
    g.out(bias=raw.BiasAddGrad(out_backprop=volume * y[0, 3]), bias_second=raw.BiasAddGrad(out_backprop=volume * y[0, 3], data_format="NCHW"))
    g.out(place=raw.UnravelIndex(indices=one, dims=[2, 3, 1]), one_place=raw.UnravelIndex(indices=one[2], dims=[2, 3, 1]))
