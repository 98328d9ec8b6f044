#!/usr/bin/env python3
"""Writes golden models with bodies: If, Case and While over functions, as TensorFlow 2 saves them, and the same as
TensorFlow 1 has them, of Switch, Merge and Enter.

    python tests/golden/regions.py [--only TEXT]

A case is `models/region_NAME/model.pb`, of TensorFlow 1 `models/region_NAME_tf1/model.pb`, with `ref_tf/` beside it, as
`make.py` writes them.
"""

import argparse
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "bench"))

import oracle  # before TensorFlow: it sets the environment
import numpy as np
import tensorflow as tf

ROWS = np.random.default_rng(1).normal(size=(3, 12)).astype(np.float32)
CASES = {}


def spec(*dims, dtype=tf.float32):
    return tf.TensorSpec(dims, dtype)


X, FLAG, NUMBER = spec(None, 12), spec(dtype=tf.bool), spec(dtype=tf.int32)


def case(specs, **feeds):
    """Registers a function of these specs, one after the other the arguments `feeds`."""

    def register(build):
        CASES[build.__name__] = (build, specs, feeds)
        return build

    return register


def weight(seed, *shape):
    return tf.constant(np.random.default_rng(seed).normal(scale=shape[0] ** -0.5, size=shape), tf.float32)


def up_to(n, body, *values):
    """The values after `n` turns of `body(i, *values)`."""
    turn = lambda i, *v: (i + 1, *body(i, *v))
    return tf.while_loop(lambda i, *v: i < n, turn, [tf.constant(0), *values])[1:]


@case([FLAG, X], p=np.array(True), x=ROWS)
def if_true(p, x):
    """The first branch; both read the input, and one returns it as it is."""
    return tf.cond(p, lambda: (x * 2, x), lambda: (x - 1, tf.nn.relu(x)))


@case([FLAG, X], p=np.array(False), x=ROWS)
def if_shapes(p, x):
    """Branches that return different numbers of rows."""
    y = tf.cond(p, lambda: x[:1], lambda: x - 1)
    return tf.nn.tanh(y), tf.shape(y)


@case([NUMBER, X], k=np.array(7, np.int32), x=ROWS)
def case_last(k, x):
    """A number that no branch has takes the last."""
    return tf.switch_case(k, [lambda: x * 2, lambda: x - 1, lambda: tf.nn.relu(x)])


@case([NUMBER, X], n=np.array(5, np.int32), x=ROWS)
def while_dense(n, x):
    """A product with a weight that the loop is given: constant in all turns."""
    w = weight(2, 12, 12)
    return up_to(n, lambda i, x: (tf.nn.tanh(tf.matmul(x, w)) + x,), x)


@case([NUMBER, X, X], n=np.array(5, np.int32), a=ROWS, b=ROWS + 1)
def while_swap(n, a, b):
    """Variables that become each other."""
    return up_to(n, lambda i, a, b: (b, a + b * 0.5), a, b)


@case([NUMBER, X], n=np.array(0, np.int32), x=ROWS)
def while_never(n, x):
    """No turn at all, of a variable that is fed."""
    return up_to(n, lambda i, x: (x * 2,), x)


@case([NUMBER, X], n=np.array(4, np.int32), x=ROWS)
def while_in_place(n, x):
    """Steps that write over a variable, one of which another variable still is read for."""

    def body(i, a, b):
        c = tf.nn.relu(a) + b
        return tf.exp(-tf.abs(b)), c * 0.5

    return up_to(n, body, x, -x)


@case([NUMBER, X], n=np.array(5, np.int32), x=ROWS)
def nested(n, x):
    """A loop and a branch in a loop."""

    def body(i, x):
        (y,) = up_to(i, lambda j, y: (y * 0.5 + 1,), x)
        return (tf.cond(i > 2, lambda: y - 1, lambda: y + x),)

    return up_to(n, body, x)


@case([NUMBER], n=np.array(27, np.int32))
def collatz(n):
    """Integers, and a loop that ends by its values."""
    step = lambda n, c: (tf.cond(n % 2 > 0, lambda: n * 3 + 1, lambda: n // 2), c + 1)
    return tf.while_loop(lambda n, c: n > 1, step, [n, tf.constant(0)])


@case([NUMBER, X], k=np.array(1, np.int32), x=ROWS)
def branch_weights(k, x):
    """Weights in branches, large enough to be streamed, between layers outside of them."""
    w = [weight(seed, 12, 1400) for seed in range(3)]
    v = weight(5, 1400, 12)
    x = tf.nn.tanh(x @ weight(6, 12, 12))
    y = tf.switch_case(k, [lambda w=w: tf.nn.relu(x @ w) for w in w])
    return y @ v


@case([FLAG, X], p=np.array(True), x=ROWS)
def in_call(p, x):
    """A branch in a function that is called twice."""
    f = tf.function(lambda p, x: tf.cond(p, lambda: x + 1, lambda: x - 1))
    return f(p, x) * f(tf.logical_not(p), x * 2)


@case([spec(None, 7, 6)], x=np.random.default_rng(2).normal(size=(3, 7, 6)).astype(np.float32))
def tensor_lists(x):
    """Two recurrent layers as Keras writes them: loops over lists of tensors, one of them backwards."""
    w, u, b = weight(1, 6, 8), weight(2, 8, 8), weight(3, 1, 8)
    steps = tf.TensorArray(tf.float32, 7, clear_after_read=False).unstack(tf.transpose(x, [1, 0, 2]))

    def layer(steps, w, places):
        out = tf.TensorArray(tf.float32, 7, element_shape=[None, 8], clear_after_read=False)
        turn = lambda i, h, out: (
            i + 1, *(lambda h: (h, out.write(i, h)))(tf.tanh(steps.read(places(i)) @ w + h @ u + b))
        )
        h = tf.zeros([tf.shape(x)[0], 8])
        return tf.while_loop(lambda i, *_: i < 7, turn, [tf.constant(0), h, out])[1:]

    h, out = layer(steps, w, lambda i: i)
    last, back = layer(out, u, lambda i: 6 - i)
    return h, last, tf.transpose(back.stack(), [1, 0, 2]), back.gather([1, 5, 1]), out.size()


@case([NUMBER, spec(None), X], zero=np.array(0, np.int32), none=np.zeros(0, np.float32), x=ROWS)
def if_number(zero, none, x):
    """Conditions that are no bools: a number but 0, and elements of what is no scalar, are true."""
    branches = [tf.function(f).get_concrete_function(spec(None, 12)) for f in (lambda x: x * 2, lambda x: x - 1)]

    def choose(condition, x):
        return tf.raw_ops.If(cond=condition, input=[x], Tout=[tf.float32], then_branch=branches[0], else_branch=branches[1])[0]

    conditions = [zero, zero - 1, tf.cast(zero, tf.float32) * -1.0, tf.zeros([1], tf.bool), none]
    return [choose(condition, x) for condition in conditions]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name contains this text")
    options = parser.parse_args()
    for name, (build, specs, feeds) in CASES.items():
        if options.only not in name:
            continue
        function = tf.function(build).get_concrete_function(*specs)
        inputs, outputs = [tensor.op.name for tensor in function.inputs], function.outputs
        write(name, function.graph.as_graph_def(), inputs, feeds, outputs)
        if name not in FUNCTIONS_ONLY:
            write(f"{name}_tf1", *as_tensorflow_1(build, specs, feeds))


# Of functions, and of weights that one case of is enough.
FUNCTIONS_ONLY = {"in_call", "branch_weights", "if_number"}


def as_tensorflow_1(build, specs, feeds):
    with tf.Graph().as_default() as graph:
        inputs = [tf.compat.v1.placeholder(s.dtype, s.shape, name=name) for s, name in zip(specs, feeds)]
        tf.compat.v1.disable_control_flow_v2()
        outputs = [tf.identity(y) for y in tf.nest.flatten(build(*inputs))]
        tf.compat.v1.enable_control_flow_v2()
    return graph.as_graph_def(), [tensor.op.name for tensor in inputs], feeds, outputs


def write(name, graph_def, inputs, feeds, outputs):
    for node in graph_def.node:
        node.device = ""
    for body in graph_def.library.function:
        for node in body.node_def:
            node.device = ""
    outputs = [tensor.name.removesuffix(":0") for tensor in outputs]
    graph_def = graph_def if graph_def.library.function else oracle.prune(graph_def, [o.split(":")[0] for o in outputs])
    folder = HERE / "models" / f"region_{name}"
    values = oracle.write_case(folder, graph_def, dict(zip(inputs, feeds.values())), outputs, rtol=1e-4, atol=1e-5)
    print(f"{name}: {len(graph_def.node)} nodes, {', '.join(str(list(v.shape)) for v in values.values())}")


if __name__ == "__main__":
    main()
