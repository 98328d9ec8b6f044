"""Golden cases of sets, labels of sequences, serialized tensors, texts of tensors and compressed strings."""

import gzip
import zlib

from op_cases import case
import numpy as np
import tensorflow as tf

raw = tf.raw_ops


@case()
def set_operations(g):
    """All four operations, of integers and strings, dense and sparse; SetSize."""
    a = g.feed("a", np.array([[[5, 1, 5], [2, 2, 2]], [[0, -7, 3], [9, 9, 1]]], np.int64))
    b = g.feed("b", np.array([[[1, 8], [3, 4]], [[3, 0], [1, 9]]], np.int64))
    s = g.feed("s", np.array([["b", "a", "b"], ["", "z", "é"]], dtype=object))
    rows = g.feed("rows", np.array([[0, 0], [0, 2], [1, 0]], np.int64), open_dims=(0,))
    values = g.feed("values", np.array([b"a", b"c", b"z"], dtype=object), open_dims=(0,))
    shape = g.feed("shape", np.array([2, 5], np.int64))
    for name, operation in (("less", "a-b"), ("more", "b-a"), ("both", "intersection"), ("any", "Union")):
        dense = raw.DenseToDenseSetOperation(set1=a, set2=b, set_operation=operation)
        mixed = raw.DenseToSparseSetOperation(set1=s, set2_indices=rows, set2_values=values, set2_shape=shape, set_operation=operation)
        sparse = raw.SparseToSparseSetOperation(
            set1_indices=rows, set1_values=values, set1_shape=shape, set2_indices=rows[:2], set2_values=values[1:], set2_shape=shape,
            set_operation=operation)
        for kind, made in (("dense", dense), ("mixed", mixed), ("sparse", sparse)):
            g.out(**{f"{kind}_{name}_{i}": part for i, part in enumerate(made)})
    g.out(size=raw.SetSize(set_indices=rows, set_values=values, set_shape=shape))


@case(rtol=1e-5, atol=1e-5)
def ctc_decoders(g):
    """Both decoders, of float32 and float64, with labels merged and not."""
    logits = g.input("logits", (7, 3, 5), low=-3, high=3)
    lengths = g.feed("lengths", np.array([7, 0, 4], np.int32))
    for dtype in (tf.float32, tf.float64):
        x = tf.cast(logits, dtype)
        for merges in (False, True):
            made = raw.CTCGreedyDecoder(inputs=x, sequence_length=lengths, merge_repeated=merges, blank_index=1 if merges else -1)
            beam = raw.CTCBeamSearchDecoder(inputs=x[:, ::2], sequence_length=lengths[::2], beam_width=6, top_paths=3, merge_repeated=merges)
            name = f"{dtype.name}_{merges}"
            g.out(**{f"greedy_{name}_{i}": part for i, part in enumerate(made)})
            parts = [*beam.decoded_indices, *beam.decoded_values, *beam.decoded_shape, beam.log_probability]
            g.out(**{f"beam_{name}_{i}": part for i, part in enumerate(parts)})


@case(rtol=1e-5, atol=1e-5)
def ctc_losses(g):
    """Losses and gradients with labels merged and not, of sequences that are long enough and of one that is not."""
    logits = g.input("logits", (7, 3, 5), low=-3, high=3, open_dims=(0, 1))
    rows = g.feed("rows", np.array([[0, 0], [0, 1], [0, 2], [1, 0], [2, 0], [2, 1], [2, 2]], np.int64), open_dims=(0,))
    labels = g.feed("labels", np.array([1, 1, 3, 0, 2, 2, 0], np.int32), open_dims=(0,))
    lengths = g.feed("lengths", np.array([7, 4, 2], np.int32))
    for dtype in (tf.float32, tf.float64):
        for merges in (False, True):
            loss, gradient = raw.CTCLoss(
                inputs=tf.cast(logits, dtype), labels_indices=rows, labels_values=labels, sequence_length=lengths,
                preprocess_collapse_repeated=not merges, ctc_merge_repeated=merges, ignore_longer_outputs_than_inputs=True)
            g.out(**{f"loss_{dtype.name}_{merges}": loss, f"gradient_{dtype.name}_{merges}": gradient})


@case()
def edit_distances(g):
    """Distances with and without the length of the truth, of sequences that only one side has."""
    rows = g.feed("rows", np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 0, 1]], np.int64), open_dims=(0,))
    values = g.feed("values", np.array([b"a", b"b", b"c", b"d", b"e"], dtype=object), open_dims=(0,))
    true_rows = g.feed("true_rows", np.array([[0, 0, 0], [1, 0, 0], [1, 0, 1], [1, 0, 2], [1, 1, 0]], np.int64), open_dims=(0,))
    true_values = g.feed("true_values", np.array([b"a", b"e", b"d", b"e", b"x"], dtype=object), open_dims=(0,))
    for name, normal in (("plain", False), ("normal", True)):
        g.out(**{name: raw.EditDistance(
            hypothesis_indices=rows, hypothesis_values=values, hypothesis_shape=[2, 2, 3],
            truth_indices=true_rows, truth_values=true_values, truth_shape=[2, 3, 3], normalize=normal)})


@case()
def serialized_tensors(g):
    """Tensors and sparse tensors as messages and back."""
    x = g.input("x", (2, 3))
    s = g.feed("s", np.array([[b"one", b""], [b"\xff\x00", b"x" * 200]], dtype=object))
    empty = g.feed("empty", np.zeros((0, 3), np.int16))
    half = tf.cast(x, tf.float16)
    for name, tensor in (("floats", x), ("texts", s), ("empty", empty), ("halves", half), ("bools", x < 9), ("complex", tf.complex(x, x))):
        message = raw.SerializeTensor(tensor=tensor)
        g.out(**{name: message, name + "_back": raw.ParseTensor(serialized=message, out_type=tensor.dtype)})
    proto = tf.make_tensor_proto(2.5, tf.float64, [2, 2]).SerializeToString()
    listed = g.feed("listed", np.array(proto, dtype=object))
    g.out(listed_back=raw.ParseTensor(serialized=listed, out_type=tf.float64))
    rows = g.feed("rows", np.array([[0, 1], [0, 4], [2, 0]], np.int64), open_dims=(0,))
    texts = s[:, 0][:, None] + ["a", "b"]
    for name, values in (("numbers", tf.constant([1.5, -2.0, 3.0])), ("strings", tf.reshape(texts, [-1])[:3])):
        one = raw.SerializeSparse(sparse_indices=rows, sparse_values=values, sparse_shape=[3, 6])
        many = raw.SerializeManySparse(sparse_indices=rows, sparse_values=values, sparse_shape=[3, 6])
        again = raw.DeserializeSparse(serialized_sparse=one, dtype=values.dtype)
        rest = raw.DeserializeManySparse(serialized_sparse=many, dtype=values.dtype)
        deep = raw.DeserializeSparse(serialized_sparse=tf.stack([many, many]), dtype=values.dtype)
        g.out(**{f"one_{name}": one, f"many_{name}": many})
        for kind, made in (("again", again), ("rest", rest), ("deep", deep)):
            g.out(**{f"{kind}_{name}_{i}": part for i, part in enumerate(made)})


@case()
def string_format(g):
    """Numbers, strings and bools in brackets, with dots and without."""
    x = g.feed("x", np.array([[1 / 3, 1e10, -0.0, np.inf], [np.nan, 1e-5, 123456.7, 16777217]], np.float32))
    n = g.feed("n", np.arange(60, dtype=np.int64).reshape(3, 4, 5))
    s = g.feed("s", np.array([b'a"b\n', b"\xff\x01\x7f", "é'\\".encode()], dtype=object))
    one = g.feed("one", np.float64(0.1))
    empty = g.feed("empty", np.zeros((2, 0), np.int8))
    g.out(
        some=raw.StringFormat(inputs=[x, n, s], template="x=%s, n=%s; %s!", summarize=1),
        all=raw.StringFormat(inputs=[n, tf.cast(x, tf.float64)], template="{}{}", placeholder="{}", summarize=-1),
        none=raw.StringFormat(inputs=[n, one, empty, x > 0], template="%s %s %s %s", summarize=0),
        usual=raw.StringFormat(inputs=[tf.cast(x, tf.bfloat16), one, empty, x > 0], template="%s %s %s %s"),
        alone=raw.StringFormat(inputs=[], template="nothing"),
    )


@case()
def decode_compressed(g):
    """Strings in the forms of zlib and gzip."""
    texts = [b"", b"short", b"long " * 5000]
    z = g.feed("z", np.array([zlib.compress(t) for t in texts], dtype=object))
    packed = g.feed("packed", np.array([[gzip.compress(t, mtime=0)] for t in texts], dtype=object))
    g.out(
        zlib=raw.DecodeCompressed(bytes=z, compression_type="ZLIB"),
        gzip=raw.DecodeCompressed(bytes=packed, compression_type="GZIP"),
        plain=raw.DecodeCompressed(bytes=z),
    )


@case()
def decode_json_examples(g):
    """Examples in JSON, as messages and parsed."""
    entry = '{"features": {"feature": {"n": {"int64List": {"value": %s}}, "x": {"float_list": {"value": %s}}, "b": {"bytesList": {"value": %s}}}}}'
    texts = [entry % ('["1", -2, 3.0]', '[1, "2.5", "-Infinity"]', '["aGk", "-_8="]'), "{}",
             entry % ("7", "[]", '""'), entry % ("[null]", "null", "[]")]
    examples = raw.DecodeJSONExample(json_examples=g.feed("texts", np.array([t.encode() for t in texts], dtype=object)))
    features = {"n": tf.io.VarLenFeature(tf.int64), "x": tf.io.VarLenFeature(tf.float32), "b": tf.io.VarLenFeature(tf.string)}
    parsed = tf.io.parse_example(examples, features)
    g.out(
        messages=examples,
        numbers=tf.sparse.to_dense(parsed["n"]),
        floats=tf.sparse.to_dense(parsed["x"]),
        bytes=tf.sparse.to_dense(parsed["b"]),
    )


@case()
def sparse_crosses(g):
    """Features of sparse and dense columns as texts and as hashes; a row without a feature."""
    rows = g.feed("rows", np.array([[0, 0], [0, 1], [2, 0]], np.int64), open_dims=(0,))
    texts = g.feed("texts", np.array([b"a", b"b", b"c"], dtype=object), open_dims=(0,))
    numbers = g.feed("numbers", np.array([5, -6, 2**62], np.int64), open_dims=(0,))
    shape = g.feed("shape", np.array([3, 2], np.int64))
    dense = g.feed("dense", np.array([[1, 2], [3, 4], [5, 6]], np.int64))
    words = g.feed("words", np.array([[b"x"], [b""], [b"z"]], dtype=object))
    columns = dict(indices=[rows, rows], values=[texts, numbers], shapes=[shape, shape], dense_inputs=[dense, words])
    usual = dict(hash_key=956888297470, internal_type=tf.int64)
    made = {
        "texts": raw.SparseCross(hashed_output=False, num_buckets=0, out_type=tf.string, **usual, **columns),
        "hashes": raw.SparseCross(hashed_output=True, num_buckets=0, out_type=tf.int64, **usual, **columns),
        "buckets": raw.SparseCross(hashed_output=True, num_buckets=1000, out_type=tf.int64, **usual, **columns),
        "second": raw.SparseCrossV2(sep="-", **columns),
        "hashed": raw.SparseCrossHashed(num_buckets=tf.constant(7, tf.int64), strong_hash=False, salt=tf.constant([1, 2], tf.int64), **columns),
        "dense": raw.SparseCrossV2(indices=[], values=[], shapes=[], dense_inputs=[dense, dense], sep=","),
    }
    for name, parts in made.items():
        g.out(**{f"{name}_{i}": part for i, part in enumerate(parts)})


@case()
def unicode_script(g):
    """Characters of many scripts, and what is none."""
    codes = np.concatenate([np.arange(0, 0x3100, 7), np.arange(0x3100, 0x110100, 997), [-1, 2**31 - 1]]).astype(np.int32)
    g.out(script=raw.UnicodeScript(input=g.feed("codes", codes)))
