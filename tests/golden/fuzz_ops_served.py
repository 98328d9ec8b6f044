"""Random nodes of sets, labels of sequences, serialized tensors, texts of tensors and compressed strings, for `fuzz.py`."""

import gzip
import zlib

import numpy as np

from fuzz_ops import maker
from fuzz_ops_sparse import fed, sparse
from fuzz_ops_strings import texts

MEMBERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "string"]
OPERATIONS = ["a-b", "b-a", "intersection", "union", "UNION", "A-B"]


def members(g, dtype, shape):
    if dtype == "string":
        return texts(g, shape)
    return g.input(dtype, shape, low=0 if dtype.startswith("u") else -3, high=3)


@maker("DenseToDenseSetOperation")
def dense_sets(g, name):
    dtype, before = g.pick(MEMBERS), g.shape(1, 3)
    sides = [members(g, dtype, before + [g.dim()]) for _ in range(2)]
    return g.call(name, *sides, set_operation=g.pick(OPERATIONS), validate_indices=g.chance(0.8))


def sparse_sets(g, dtype, dims):
    rows, values, shape = sparse(g, dims, "int64" if dtype == "string" else dtype)
    if dtype == "string":
        values = np.array([str(v % 5).encode() for v in values.tolist()], dtype=object)
    return [g.feed(rows), g.feed(values, dtype), g.feed(shape)]


@maker("DenseToSparseSetOperation", "SparseToSparseSetOperation", "SetSize")
def mixed_sets(g, name):
    dtype, before = g.pick(MEMBERS), [g.int(1, 4) for _ in range(g.int(1, 2))]
    second = sparse_sets(g, dtype, before + [g.int(1, 5)])
    if name == "SetSize":
        return g.call(name, *second, validate_indices=g.chance(0.8))
    dense = name.startswith("Dense")
    first = [members(g, dtype, before + [g.dim()])] if dense else sparse_sets(g, dtype, before + [g.int(1, 5)])
    return g.call(name, *first, *second, set_operation=g.pick(OPERATIONS), validate_indices=g.chance(0.8))


@maker("CTCLoss")
def loss_of_labels(g, name):
    dtype, steps, batch, classes = g.pick(["float32", "float64"]), g.int(1, 8), g.int(1, 3), g.int(2, 5)
    skips = g.chance(0.3)
    lengths = [g.int(1, steps) for _ in range(batch)]
    rows, labels = [], []
    for index, length in enumerate(lengths):
        count = g.int(1, length + (2 if skips else 0))
        # A label that is no class stands at the end alone, and never without one before it.
        own = [g.int(0, classes - 2) for _ in range(count)]
        own[1:] = [classes - 1 if g.chance(0.1) and at == count - 2 else label for at, label in enumerate(own[1:])]
        rows += [[index, at] for at in range(count)]
        labels += own
    # Logits so near that no likelihood is too small for float32.
    logits = g.input(dtype, [steps, batch, classes], -4, 4, special=0, huge=False)
    return g.call(name, logits, g.ints(rows, "int64"), g.ints(labels, "int32"), g.ints(lengths, "int32"),
                  preprocess_collapse_repeated=g.chance(0.3), ctc_merge_repeated=g.chance(0.7),
                  ignore_longer_outputs_than_inputs=skips)


@maker("CTCBeamSearchDecoder")
def ctc_beam(g, name):
    steps, batch, classes, width = g.int(1, 7), g.int(1, 3), g.int(2, 6), g.int(1, 9)
    logits = g.rng.normal(0, 2, [steps, batch, classes]).astype(g.pick(["float32", "float64"]))
    lengths = g.value("int32", [batch], g.pick([0, 2]), steps, special=0)
    return g.call(name, g.feed(logits), g.feed(lengths), beam_width=width, top_paths=g.int(1, g.pick([1, width])), merge_repeated=g.chance(0.5))


@maker("EditDistance")
def distance(g, name):
    dtype, before = g.pick(MEMBERS + ["float32", "bool"]), [g.int(1, 4) for _ in range(g.int(0, 2))]
    kind = "int64" if dtype == "bool" else dtype
    parts = [sparse_sets(g, kind, before + [g.int(1, 5)]) for _ in range(2)]
    if g.chance(0.3) and before:
        parts[1] = sparse_sets(g, kind, [d + g.int(0, 2) for d in before] + [g.int(1, 5)])
    return g.call(name, *parts[0], *parts[1], normalize=g.chance(0.5))


@maker("SerializeTensor")
def serialize(g, name):
    return g.call(name, g.input(g.dtype(name), g.shape(0, 4)))


@maker("ParseTensor")
def parse_tensor(g, name):
    import tensorflow as tf

    dtype = g.dtype(name, "out_type")
    value = g.value(dtype, g.shape(0, 4))
    if g.chance(0.3) and value.size:
        value = np.full_like(value, value.flat[0])
    proto = tf.make_tensor_proto(value, tf.as_dtype(dtype), value.shape)
    if g.chance(0.4) and dtype != "string":
        proto = tf.make_tensor_proto(value.ravel()[:1] if value.size else value, tf.as_dtype(dtype))
        proto.tensor_shape.CopyFrom(tf.TensorShape(value.shape).as_proto())
        if proto.tensor_content and value.size != 1:
            proto.tensor_content = value.tobytes()
    message = proto.SerializeToString()
    if g.chance(0.1):
        message = message[: g.int(0, len(message))]
    return g.call(name, g.feed(np.array(message, dtype=object), "string"), out_type=dtype if g.chance(0.95) else g.dtype(name, "out_type"))


@maker("SerializeSparse", "SerializeManySparse")
def serialize_sparse(g, name):
    dtype = g.pick(["float32", "float64", "int8", "int64", "bool", "complex64", "string"])
    rows, values, shape = sparse(g, dtype=dtype, least=2)
    return g.call(name, g.feed(rows), g.feed(values, dtype), g.feed(shape), out_type="string")


@maker("DeserializeSparse", "DeserializeManySparse")
def deserialize(g, name):
    dtype = g.pick(["float32", "int64", "bool", "string"])
    rows, values, shape = sparse(g, dtype=dtype, least=2)
    many = g.call("SerializeManySparse", g.feed(rows), g.feed(values, dtype), g.feed(shape), out_type="string")[0]
    if name == "DeserializeSparse" and g.chance(0.4):
        many = g.call("SerializeSparse", g.feed(rows), g.feed(values, dtype), g.feed(shape), out_type="string")[0]
    elif name == "DeserializeSparse" and g.chance(0.4):
        many = g.call("Pack", [many, many], axis=0)[0]
    return g.call(name, many, dtype=dtype)


@maker("StringFormat")
def string_format(g, name):
    count = g.int(0, 3)
    inputs = [g.input(g.pick(["float32", "float64", "float16", "bfloat16", "int8", "int64", "uint8", "bool", "string", "complex64"]), g.shape(0, 4), special=0.3)
              for _ in range(count)]
    by = g.pick(["%s", "{}", "x"])
    template = by.join(g.pick(["", "a", " = ", "é"]) for _ in range(count + 1 + (1 if g.chance(0.05) else 0)))
    return g.call(name, inputs, template=template, placeholder=by, summarize=g.pick([3, 3, -1, 0, 1, 2]))


@maker("DecodeCompressed")
def decompress(g, name):
    kind = g.pick(["", "ZLIB", "GZIP", "GZIP"])
    make = {"": lambda t: t, "ZLIB": zlib.compress, "GZIP": lambda t: gzip.compress(t, mtime=0)}[kind]
    shape = g.shape(0, 2)
    value = np.empty(int(np.prod(shape)), dtype=object)
    value[:] = [make(g.pick([b"", b"a", b"abc" * 100, bytes(g.rng.integers(0, 255, 300, dtype="uint8"))])) for _ in range(value.size)]
    return g.call(name, g.feed(value.reshape(shape), "string"), compression_type=kind)


def json_feature(g):
    """A feature in JSON, now and then of another form than most."""
    ints = ["1", '"-2"', "3.0", "1e2", "null", '"9223372036854775807"', "-9223372036854775808"] + (["1.5", "true", '" 1"'] if g.chance(0.05) else [])
    floats = ["1", "1.5", '"2.5"', '"NaN"', '"-Infinity"', "1e-50", "null", "-0.0"] + (["1e39", '"x"'] if g.chance(0.05) else [])
    texts = ['"aGVsbG8="', '"aGVsbG8"', '"-_8="', '"+/8="', '""', "null"] + (['"a"', "12"] if g.chance(0.05) else [])
    kind, values = g.pick([("int64", ints), ("float", floats), ("bytes", texts)])
    of = [g.pick(values) for _ in range(g.int(0, 4))]
    value = g.pick(["[" + ", ".join(of) + "]"] * 5 + [of[0] if of else "null"])
    return g.pick(['{"%s": {"value": %s}}' % (kind + g.pick(["List", "_list"]), value)] * 8 + ["{}", "null", '{"%sList": {}}' % kind])


@maker("DecodeJSONExample")
def json_example(g, name):
    shape = g.shape(0, 2)
    value = np.empty(int(np.prod(shape)), dtype=object)
    for at in range(value.size):
        features = ", ".join('"%s": %s' % (n, json_feature(g)) for n in ("a", "b", "\\u00e9")[: g.int(0, 3)])
        value[at] = g.pick(['{"features": {"feature": {%s}}}' % features] * 8 + ["{}", '{"features": null}']).encode()
    return g.call(name, g.feed(value.reshape(shape), "string"))


@maker("SparseCross", "SparseCrossV2", "SparseCrossHashed")
def cross(g, name):
    batch, kinds = g.int(1, 4), ["int64", "string"]
    internal = g.pick(["int64", "int64", "string"])
    columns = [sparse_sets(g, "string" if internal == "string" else g.pick(kinds), [batch, g.int(1, 4)]) for _ in range(g.int(0, 3))]
    dense = [g.pick(kinds) if internal == "int64" else "string" for _ in range(g.int(0 if columns else 1, 2))]
    given = [[c[i] for c in columns] for i in range(3)] + [[members(g, kind, [batch, g.int(0, 3)]) for kind in dense]]
    if name == "SparseCross":
        out = g.pick(kinds)
        return g.call(name, *given, hashed_output=out == "int64", num_buckets=g.pick([0, 1, 1000]), hash_key=g.pick([1, 956888297470]),
                      out_type=out, internal_type=internal)
    if name == "SparseCrossV2":
        return g.call(name, *given, g.feed(np.array(g.pick([b"_", b""]), dtype=object), "string"))
    # TensorFlow 2.21 ends with strong hashes of strings.
    return g.call(name, *given, g.feed(np.int64(g.pick([0, 1, 1000]))), g.feed(np.bool_(False)), g.feed(np.array([1, -2], "int64")))


@maker("UnicodeScript")
def script(g, name):
    return g.call(name, g.feed(g.value("int32", g.shape(0, 3), 0, g.pick([0x500, 0x11000, 0x120000]), special=0.2), "int32"))
