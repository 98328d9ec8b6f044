"""Golden cases of lists and arrays whose elements have different shapes, or none that is known before the model runs."""

import numpy as np
import tensorflow as tf

from op_cases import case

raw = tf.raw_ops
LENGTHS = np.array([3, 1, 0, 2], np.int32)


def rows(lengths, i):
    """A matrix of two columns, as long as the data says."""
    return tf.cast(tf.tile(tf.reshape(tf.range(i, i + 2), [1, 2]), tf.stack([lengths[i], 1])), tf.float32) + 0.5


@case()
def lists_of_lengths(g):
    """An array that a loop fills with elements of different lengths."""
    lengths = g.feed("lengths", LENGTHS)
    array = tf.TensorArray(tf.float32, size=4, infer_shape=False)
    write = lambda i, a: (i + 1, a.write(i, rows(lengths, i)))
    _, array = tf.while_loop(lambda i, a: i < 4, write, [tf.constant(0), array])
    g.out(joined=array.concat(), first=array.read(0), third=array.read(3), nothing=array.read(2))
    g.out(size=array.size(), same=array.gather([1, 1, 1]), last=array.gather([3]))


@case()
def lists_backwards(g):
    """Filled from the end, some of it twice: once with more and once with less."""
    lengths = g.feed("lengths", LENGTHS)
    array = tf.TensorArray(tf.float32, size=4, infer_shape=False, clear_after_read=False)
    write = lambda i, a: (i - 1, a.write(i, rows(lengths, i)))
    _, array = tf.while_loop(lambda i, a: i >= 0, write, [tf.constant(3), array])
    handle = raw.TensorListReserve(element_shape=-1, num_elements=4, element_dtype=tf.float32)
    put = lambda handle, i, item: raw.TensorListSetItem(input_handle=handle, index=i, item=item)
    for i in [3, 1, 0, 2]:
        handle = put(handle, i, rows(lengths, i))
    longer = put(handle, 1, rows(lengths, 0))
    shorter = put(put(longer, 0, rows(lengths, 1)), 3, rows(lengths, 2))
    for name, each in {"own": handle, "longer": longer, "shorter": shorter}.items():
        joined = raw.TensorListConcatV2(
            input_handle=each, element_shape=[-1, 2], leading_dims=np.array([], np.int64), element_dtype=tf.float32
        )
        g.out(**{name: joined.tensor, f"{name}_lengths": joined.lengths})
    g.out(array=array.concat())


@case()
def lists_split(g):
    """Pieces of different lengths, as arrays and lists, of numbers and of texts."""
    value = g.feed("value", g.rng.normal(size=(6, 2)).astype(np.float32))
    lengths = g.feed("lengths", LENGTHS)
    array = tf.TensorArray(tf.float32, size=4, infer_shape=False).split(value, lengths)
    g.out(first=array.read(0), second=array.read(1), third=array.read(2), all=array.concat())
    pieces = raw.TensorListSplit(tensor=value, element_shape=[-1, 2], lengths=tf.cast(lengths, tf.int64))
    swap = lambda i, a, b: (i + 1, b, a)
    _, a, b = tf.while_loop(lambda i, a, b: i < 3, swap, [tf.constant(0), pieces, pieces])
    item = raw.TensorListGetItem(input_handle=a, index=3, element_shape=[-1, 2], element_dtype=tf.float32)
    known = raw.TensorListSplit(tensor=value, element_shape=[-1, 2], lengths=np.array([4, 2], np.int64))
    get = lambda i: raw.TensorListGetItem(input_handle=known, index=i, element_shape=[-1, 2], element_dtype=tf.float32)
    g.out(item=item, length=raw.TensorListLength(input_handle=b), long=get(0), short=get(1))
    texts = tf.reshape(tf.strings.as_string(value, precision=2), [12])
    words = tf.TensorArray(tf.string, size=4, infer_shape=False, clear_after_read=False).split(texts, lengths * 2)
    write = lambda i, a: (i + 1, a.write(i, tf.strings.join([a.read(i), a.read(i)])))
    _, words = tf.while_loop(lambda i, a: i < 4, write, [tf.constant(0), words])
    g.out(words=words.concat(), word=words.read(3))


@case()
def lists_pushed(g):
    """A stack of tensors of any shapes and ranks, which is popped again."""
    x = g.feed("x", g.rng.normal(size=(3, 2)).astype(np.float32))
    n = g.feed("n", np.array(5, np.int32))
    stack = raw.EmptyTensorList(element_shape=-1, max_num_elements=-1, element_dtype=tf.float32)
    push = lambda stack, item: raw.TensorListPushBack(input_handle=stack, tensor=item)
    stack = push(push(push(stack, x), x[0]), x[0, 0])
    pop = lambda stack: raw.TensorListPopBack(input_handle=stack, element_shape=-1, element_dtype=tf.float32)
    one, scalar = pop(stack)
    two, vector = pop(one)
    three, matrix = pop(two)
    g.out(scalar=scalar, vector=vector, matrix=matrix, left=raw.TensorListLength(input_handle=three))
    grown = raw.EmptyTensorList(element_shape=-1, max_num_elements=-1, element_dtype=tf.int32)
    grow = lambda i, a: (i + 1, raw.TensorListPushBack(input_handle=a, tensor=tf.range(i)))
    _, grown = tf.while_loop(lambda i, a: i < n, grow, [tf.constant(0), grown])
    take = lambda i, a, s: (
        i + 1,
        *(lambda popped: (popped.output_handle, s * 10 + tf.size(popped.tensor)))(
            raw.TensorListPopBack(input_handle=a, element_shape=[-1], element_dtype=tf.int32)
        ),
    )
    _, rest, sizes = tf.while_loop(lambda i, a, s: i < 3, take, [tf.constant(0), grown, tf.constant(0)])
    joined = raw.TensorListConcat(input_handle=rest, element_dtype=tf.int32, element_shape=[None])
    g.out(sizes=sizes, rest=joined.tensor, lengths=joined.lengths)


@case()
def lists_by_branch(g):
    """A list that one branch fills with long elements and another one with short ones."""
    flag, lengths = g.feed("flag", np.array(True)), g.feed("lengths", LENGTHS)
    reserve = lambda: raw.TensorListReserve(element_shape=-1, num_elements=2, element_dtype=tf.float32)
    put = lambda handle, i, item: raw.TensorListSetItem(input_handle=handle, index=i, item=item)
    long = lambda: put(put(reserve(), 0, tf.ones([4])), 1, tf.ones([2]))
    short = lambda: put(put(reserve(), 0, tf.zeros([1])), 1, tf.ones([3, 2]))
    chosen = tf.cond(flag, long, short)
    get = lambda i: raw.TensorListGetItem(input_handle=chosen, index=i, element_shape=-1, element_dtype=tf.float32)
    same = tf.map_fn(lambda i: tf.cast(tf.range(lengths[0]), tf.float32) * i, tf.constant([1.0, 2.0, 3.0]))
    g.out(zero=get(0), one=get(1), stacked=same)


@case()
def lists_of_other_sizes(g):
    """Made longer and shorter, of rows at places, and one after the other; what a loop grew before TensorListSetItem could."""
    value, many = g.feed("value", g.rng.normal(size=(3, 2)).astype(np.float32)), g.feed("many", np.array(5, np.int32))
    lengths, element = g.feed("lengths", LENGTHS), np.array([2], np.int32)
    stack = lambda handle: raw.TensorListStack(input_handle=handle, element_shape=[2], element_dtype=tf.float32)
    dense = raw.TensorListFromTensor(tensor=value, element_shape=element)
    resize = lambda handle, size: raw.TensorListResize(input_handle=handle, size=size)
    g.out(longer=stack(resize(dense, many)), shorter=stack(resize(dense, 2)), none=stack(resize(dense, many - 5)))
    places = g.feed("places", np.array([2, 0, 1], np.int32))
    scatter = lambda count: raw.TensorListScatterV2(tensor=value, indices=places, element_shape=element, num_elements=count)
    first = raw.TensorListScatter(tensor=value, indices=[4, 0, 1], element_shape=element)
    both = raw.TensorListConcatLists(input_a=first, input_b=dense, element_dtype=tf.float32)
    g.out(to_the_last=stack(scatter(-1)), to_many=stack(scatter(many)), by_itself=stack(first), both=stack(both))
    put = lambda handle, i, item: raw.TensorListSetItem(input_handle=handle, index=i, item=item)
    length = lambda handle: raw.TensorListLength(input_handle=handle)
    for name, shape, item in (("rows", [2], lambda i: tf.gather(value, i % 3)), ("open", [-1, 2], lambda i: rows(lengths, i % 4))):
        grow = lambda i, handle: (
            i + 1, put(tf.cond(i >= length(handle), lambda: resize(handle, i + 1), lambda: tf.identity(handle)), i, item(i)))
        start = raw.TensorListReserve(element_shape=np.array(shape, np.int32), num_elements=1, element_dtype=tf.float32)
        _, grown = tf.while_loop(lambda i, handle: i < many, grow, [tf.constant(0), start])
        joined = raw.TensorListConcatV2(
            input_handle=resize(grown, 4) if shape[0] < 0 else raw.TensorListFromTensor(tensor=[stack(grown)], element_shape=[-1, 2]),
            element_shape=[-1, 2], leading_dims=np.array([], np.int64), element_dtype=tf.float32)
        g.out(**{name: joined.tensor, f"{name}_length": length(grown)})
    more = raw.TensorListConcatLists(input_a=grown, input_b=resize(grown, 2), element_dtype=tf.float32)
    joined = raw.TensorListConcatV2(input_handle=more, element_shape=[-1, 2], leading_dims=np.array([], np.int64), element_dtype=tf.float32)
    g.out(more=joined.tensor, more_lengths=joined.lengths)


@case()
def stands_in(g):
    """What a branch has for what only the other one makes, and what is true."""
    whole = raw.FakeParam(dtype=tf.float32, shape=[2, 3])
    open_size = raw.FakeParam(dtype=tf.int64, shape=tf.TensorShape([None, 3]))
    g.out(whole=tf.shape(whole), open=tf.shape(open_size), unknown=tf.shape(raw.FakeParam(dtype=tf.int32, shape=tf.TensorShape(None))))
    true = lambda name, value, **options: g.out(**{name: raw.ToBool(input=g.feed(f"{name}_in", value, **options))})
    true("number", np.array(0.5, np.float32))
    true("zero", np.array(-0.0, np.float32))
    true("one_zero", np.zeros([1], np.float32))
    true("nothing", np.zeros([0], np.int32))
    true("text", np.array("", object))
