"""Golden cases of values whose size has no bound before the model runs: memory for them is reserved in the run.

A size follows from elements that are fed, so nothing is known of it where only shapes are.
"""

import numpy as np
import tensorflow as tf

from op_cases import case


def count(g):
    """A number that depends on the data: the largest of a few."""
    return tf.reduce_max(g.feed("numbers", np.array([3, 41, 7, 12], np.int32)))


@case()
def growth_values(g):
    """Elementwise, in place and not, cut, turned, joined and chosen from."""
    steps = tf.range(0, count(g), 1)
    x = tf.tanh(tf.cast(steps, tf.float32) * 0.125 - 2.0)
    kept = tf.gather(x, tf.where(x > 0.5)[:, 0])
    rows = tf.reshape(tf.tile(x, [6]), [-1, 6])
    places = tf.unique(steps // 5)
    low, high = tf.split(rows, 2, axis=1)
    g.out(x=x, kept=kept, total=tf.reduce_sum(x), rows=rows, columns=tf.transpose(rows), low=low + high)
    g.out(joined=tf.concat([rows, rows[::3]], 0), values=places[0], idx=places[1], shape=tf.shape(kept))
    g.out(padded=tf.pad(kept, [[1, 2]]), last=rows[-1], best=tf.math.top_k(x, 4).values)


@case()
def growth_layers(g):
    """A batch as large as the data says, through layers with weights."""
    n = count(g)
    rows = g.input("row", (1, 5, 6, 3))
    images = tf.tile(rows, tf.stack([n, 1, 1, 1])) * tf.reshape(tf.cast(tf.range(n), tf.float32), [-1, 1, 1, 1]) / 40.0
    filters = tf.constant(g.rng.normal(size=(3, 3, 3, 8)).astype(np.float32))
    weights = tf.constant(g.rng.normal(size=(8, 4)).astype(np.float32))
    x = tf.nn.relu(tf.nn.conv2d(images, filters, 2, "SAME") + tf.constant(g.rng.normal(size=8).astype(np.float32)))
    x = tf.nn.max_pool2d(x, 2, 1, "VALID")
    g.out(features=x, answers=tf.nn.softmax(tf.matmul(tf.reduce_mean(x, [1, 2]), weights)))


@case()
def growth_images(g):
    """Height and width that depend on the data."""
    n = count(g)
    image = tf.reshape(tf.range(n * (n + 1) * 2) % 17, tf.stack([1, n, n + 1, 2]))
    image = tf.cast(image, tf.float32)
    resized = tf.image.resize(image, [8, 9])
    grown = tf.compat.v1.image.resize_nearest_neighbor(image, tf.stack([n + 2, n]))
    filters = tf.constant(g.rng.normal(size=(3, 3, 2, 2)).astype(np.float32))
    g.out(resized=resized, mean=tf.reduce_mean(grown, [1, 2]), edges=tf.nn.conv2d(image, filters, 1, "VALID"))


@case()
def growth_made(g):
    """Made of a size that is computed."""
    n = count(g)
    filled = tf.fill(tf.stack([n, 2]), 1.5)
    shape = tf.shape(filled)
    g.out(filled=filled, zeros=tf.zeros(shape, tf.int64), spread=tf.broadcast_to([1.0, 2.0], shape))
    g.out(steps=tf.linspace(0.0, 1.0, n), marks=tf.one_hot(tf.range(n) % 4, 4), eye=tf.eye(n))
    g.out(nothing=tf.range(0, n - n), sum=tf.reduce_sum(tf.range(0, n - n)))


@case()
def growth_strings(g):
    """Strings as many as the data says."""
    n = count(g)
    texts = g.feed("texts", np.array([b"a", b"", b"longer than the others", b"bc"]))
    many = tf.gather(texts, tf.range(n) % 4)
    both = many + tf.reverse(many, [0])
    g.out(many=many, both=both, short=tf.boolean_mask(many, tf.range(n) % 3 > 0))


@case()
def growth_lists(g):
    """Lists that get longer from turn to turn, are written past their end, and have elements of a size from the data."""
    n = count(g) // 4
    raw = tf.raw_ops
    pair = tf.constant([2])
    pushed = raw.EmptyTensorList(element_shape=pair, max_num_elements=-1, element_dtype=tf.float32)
    push = lambda i, a: (i + 1, raw.TensorListPushBack(input_handle=a, tensor=tf.cast(tf.stack([i, i * i]), tf.float32)))
    _, pushed = tf.while_loop(lambda i, a: i < n, push, [tf.constant(0), pushed])
    popped, last = raw.TensorListPopBack(input_handle=pushed, element_shape=pair, element_dtype=tf.float32)
    stack = lambda a: raw.TensorListStack(input_handle=a, element_shape=pair, element_dtype=tf.float32)
    g.out(pushed=stack(pushed), popped=stack(popped), last=last, length=raw.TensorListLength(input_handle=popped))

    grown = tf.TensorArray(tf.float32, size=0, dynamic_size=True)
    write = lambda i, a: (i + 1, a.write(2 * i, tf.cast([i, -i], tf.float32)))
    _, grown = tf.while_loop(lambda i, a: i < n, write, [tf.constant(0), grown])
    g.out(grown=grown.stack(), size=grown.size())

    rows = tf.cast(tf.range(n), tf.float32)
    fixed = tf.TensorArray(tf.float32, size=4)
    write = lambda i, a: (i + 1, a.write(i, rows * tf.cast(i, tf.float32)))
    _, fixed = tf.while_loop(lambda i, a: i < 4, write, [tf.constant(0), fixed])
    g.out(rows=fixed.stack(), some=fixed.gather([2, 0]), joined=fixed.concat(), third=fixed.read(3))
    sums = tf.scan(lambda a, x: a + x, rows)
    g.out(mapped=tf.map_fn(lambda x: x * 2 + tf.range(3), tf.range(n)), sums=sums)


@case()
def growth_bodies(g):
    """Values that grow from turn to turn, go into bodies and come back, and change places."""
    n = count(g) // 4
    grow = lambda i, a: (i + 1, tf.concat([a, tf.fill([i], tf.cast(i, tf.float32))], 0))
    open_vector = [tf.TensorShape([]), tf.TensorShape([None])]
    _, grown = tf.while_loop(lambda i, a: i < n, grow, [tf.constant(0), tf.zeros([0])], shape_invariants=open_vector)
    long, short = tf.range(n), tf.range(n // 2)
    swap = lambda i, a, b: (i + 1, b, a)
    shapes = open_vector + [tf.TensorShape([None])]
    _, a, b = tf.while_loop(lambda i, a, b: i < 3, swap, [tf.constant(0), long, short], shape_invariants=shapes)
    g.out(grown=grown, a=a, b=b)
    either = tf.cond(n > 3, lambda: long * 2, lambda: tf.zeros([2], tf.int32))
    same = tf.cond(n > 300, lambda: short, lambda: long)
    g.out(either=either, same=same, both=same + long)
    halve = lambda x: (tf.gather(x, tf.reshape(tf.where(tf.equal(x % 2, 0)), [-1])) // 2,)
    (halved,) = tf.while_loop(lambda x: tf.size(x) > 1, halve, [long], shape_invariants=[tf.TensorShape([None])])
    g.out(halved=halved)
