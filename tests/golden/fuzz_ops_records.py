"""Random nodes that take records apart, for `fuzz.py`: Examples, SequenceExamples, CSV, raw bytes."""

import numpy as np
import tensorflow as tf

from fuzz_ops import maker
from fuzz_ops_strings import texts

KINDS = {"float32": ("float_list", tf.train.FloatList), "int64": ("int64_list", tf.train.Int64List), "string": ("bytes_list", tf.train.BytesList)}
TYPES = list(KINDS)


def strings(values, shape=None):
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out if shape is None else out.reshape(shape)


def keys_of(g, names, const=True):
    return g.feed(strings([name.encode() for name in names]), "string", const, derive=False)


def feature(g, dtype, count):
    if g.chance(0.03):
        dtype = g.pick(TYPES)
    if g.chance(0.02):
        return tf.train.Feature()
    if dtype == "float32":
        values = [float(v) for v in g.value("float32", [count], -9, 9)]
    elif dtype == "int64":
        values = [int(v) for v in g.value("int64", [count], -9, 9)]
    else:
        values = [g.pick([b"", b"a", b"\xff", b"text"]) for _ in range(count)]
    field, kind = KINDS[dtype]
    return tf.train.Feature(**{field: kind(value=values)})


def damaged(g, data):
    if data and g.wild and g.chance(0.15):
        data = bytearray(data)
        data[g.int(0, len(data) - 1)] ^= 1 << g.int(0, 7)
        data = bytes(data[:g.int(0, len(data))] if g.chance(0.3) else data)
    return data


class Feature:
    """What a record is to hold: `count` says how many values, a number or a function."""

    def __init__(self, key, dtype, count):
        self.key, self.dtype, self.count = key, dtype, count


def example(g, features, present=0.85):
    made = {"unread": feature(g, g.pick(TYPES), g.int(0, 2))} if g.chance(0.3) else {}
    for one in features:
        if g.chance(present):
            made[one.key] = feature(g, one.dtype, one.count())
    return damaged(g, tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString(deterministic=True))


def dense_of(g, prefix, single=False):
    """Dense features: what is in a record of each, its shape and its default."""
    features, shapes, defaults = [], [], []
    for number in range(g.int(0, 3)):
        dtype = g.pick(TYPES)
        shape = g.pick([[], [1], [2], [2, 2], [0], [3]])
        is_open = not single and g.chance(0.2)
        size = int(np.prod(shape))
        count = (lambda size=size: size * g.int(0, 3)) if is_open else (lambda size=size: size + (g.chance(0.03) and 1))
        kind = g.int(0, 3)
        if is_open:
            default = g.value(dtype, [1] if g.chance(0.8) else [0], special=0)
        elif kind == 0 or g.chance(0.3):
            default = g.value(dtype, shape, special=0)
        else:
            default = g.value(dtype, [0], special=0) if kind < 3 or size == 1 else g.value(dtype, shape, special=0)
        features.append(Feature(f"{prefix}{number}", dtype, count))
        shapes.append([None, *shape] if is_open else shape)
        defaults.append(g.feed(default, dtype, const=g.chance(0.7), derive=False))
    return features, shapes, defaults


def some(g, prefix, most=2):
    """Features of any number of values."""
    return [Feature(f"{prefix}{number}", g.pick(TYPES), lambda: g.int(0, 3)) for number in range(g.int(0, most))]


def kinds_of(features):
    return [one.dtype for one in features]


def names_of(features):
    return [one.key for one in features]


@maker("ParseExample", "ParseExampleV2", "ParseSingleExample")
def parse_example(g, name):
    is_single = name == "ParseSingleExample"
    dense, shapes, defaults = dense_of(g, "d", is_single)
    sparse = some(g, "s")
    ragged = some(g, "r") if name == "ParseExampleV2" else []
    if not dense and not sparse and not ragged:
        return None
    everything = dense + sparse + ragged
    if is_single:
        record = g.feed(np.array(example(g, everything, 0.95), dtype=object), "string", derive=False)
        return g.call(name, record, defaults, num_sparse=len(sparse), sparse_keys=names_of(sparse), dense_keys=names_of(dense),
                      sparse_types=kinds_of(sparse), dense_shapes=shapes, Tdense=kinds_of(dense))
    count = g.int(0, 4)
    shape = [count]
    if name == "ParseExampleV2" and g.chance(0.2):
        count, shape = 1, []
    records = g.feed(strings([example(g, everything, 0.95) for _ in range(count)], shape), "string")
    names = g.feed(strings([b"record"] * count if g.chance(0.2) and shape else []), "string", derive=False)
    if name == "ParseExample":
        each = lambda features: [g.feed(np.array(one.key.encode(), dtype=object), "string", const=True, derive=False) for one in features]
        return g.call(name, records, names, each(sparse), each(dense), defaults, sparse_types=kinds_of(sparse), dense_shapes=shapes,
                      Tdense=kinds_of(dense))
    keys = [keys_of(g, names_of(features)) for features in (sparse, dense, ragged)]
    return g.call(name, records, names, *keys, defaults, num_sparse=len(sparse), sparse_types=kinds_of(sparse), dense_shapes=shapes,
                  Tdense=kinds_of(dense), ragged_value_types=kinds_of(ragged), ragged_split_types=[g.pick(["int32", "int64"]) for _ in ragged])


def sequence(g, context, lists):
    made = tf.train.SequenceExample()
    for one in context:
        if g.chance(0.95):
            made.context.feature[one.key].CopyFrom(feature(g, one.dtype, one.count()))
    for one in lists:
        if g.chance(0.9):
            made.feature_lists.feature_list[one.key].SetInParent()
            for _ in range(g.int(0, 3)):
                made.feature_lists.feature_list[one.key].feature.add().CopyFrom(feature(g, one.dtype, one.count()))
    return damaged(g, made.SerializeToString(deterministic=True))


@maker("ParseSequenceExample", "ParseSequenceExampleV2", "ParseSingleSequenceExample")
def parse_sequence(g, name):
    is_single, is_second = name == "ParseSingleSequenceExample", name == "ParseSequenceExampleV2"
    context, context_shapes, defaults = dense_of(g, "cd", True)
    context_sparse, lists_sparse = some(g, "cs", 1), some(g, "ls")
    context_ragged, lists_ragged = (some(g, "cr", 1), some(g, "lr")) if is_second else ([], [])
    lists, shapes = [], []
    for number in range(g.int(0, 2)):
        shape = g.pick([[], [1], [2], [2, 2]])
        lists.append(Feature(f"ld{number}", g.pick(TYPES), lambda size=int(np.prod(shape)): size))
        shapes.append(shape)
    if not (context or context_sparse or lists_sparse or lists or context_ragged or lists_ragged):
        return None
    count = 1 if is_single else g.int(0, 3)
    shape = [] if is_single or is_second and count == 1 and g.chance(0.3) else [count]
    records = [sequence(g, context + context_sparse + context_ragged, lists + lists_sparse + lists_ragged) for _ in range(count)]
    records = g.feed(strings(records, shape), "string", derive=False)
    may_miss = [one.key for one in lists if g.chance(0.7)]
    more = dict(context_sparse_types=kinds_of(context_sparse), Tcontext_dense=kinds_of(context), feature_list_dense_types=kinds_of(lists),
                context_dense_shapes=context_shapes, feature_list_sparse_types=kinds_of(lists_sparse), feature_list_dense_shapes=shapes)
    counts = dict(Ncontext_sparse=len(context_sparse), Nfeature_list_sparse=len(lists_sparse), Nfeature_list_dense=len(lists))
    debug = g.feed(strings([] if is_single is False and g.chance(0.7) else [b"x"] * count, None if not is_single else []), "string", derive=False)
    if is_second:
        keys = [keys_of(g, names_of(features)) for features in (context_sparse, context, context_ragged, lists_sparse, lists, lists_ragged)]
        flags = g.feed(np.array([one.key in may_miss for one in lists], bool), "bool", const=True, derive=False)
        splits = lambda features: [g.pick(["int32", "int64"]) for _ in features]
        return g.call(name, records, debug, *keys, flags, defaults, **more, **counts, context_ragged_value_types=kinds_of(context_ragged),
                      context_ragged_split_types=splits(context_ragged), feature_list_ragged_value_types=kinds_of(lists_ragged),
                      feature_list_ragged_split_types=splits(lists_ragged))
    if is_single:
        each = lambda features: [g.feed(np.array(one.key.encode(), dtype=object), "string", const=True, derive=False) for one in features]
        return g.call(name, records, keys_of(g, may_miss), each(context_sparse), each(context), each(lists_sparse), each(lists), defaults,
                      debug, **more)
    return g.call(name, records, debug, defaults, **more, **counts, Ncontext_dense=len(context),
                  feature_list_dense_missing_assumed_empty=may_miss, context_sparse_keys=names_of(context_sparse),
                  context_dense_keys=names_of(context), feature_list_sparse_keys=names_of(lists_sparse), feature_list_dense_keys=names_of(lists))


@maker("DecodeCSV")
def decode_csv(g, name):
    delimiter = g.pick([",", ",", ",", ";", "\t", " "])
    types = [g.pick(["float32", "float64", "int32", "int64", "string"]) for _ in range(g.int(1, 4))]
    chosen, total = [], len(types)
    if g.chance(0.25):
        total = len(types) + g.int(0, 2)
        chosen = sorted(int(c) for c in g.rng.choice(total, len(types), replace=False))
    na = g.pick(["", "", "NA", "-"])
    cells = {"string": ["a", "", '"q"', '"a""b"', f'"x{delimiter}y"', " s ", "é", '"two\nlines"'], "float32": ["1.5", "-2e3", "", "inf", " 7", "0x1"],
             "float64": ["1.5", "-2e300", "", "nan"], "int32": ["5", "-7", "", " 3", "+2"], "int64": ["9", "-9999999999", "", "007"]}

    def cell(column):
        kind = types[chosen.index(column)] if column in chosen else types[column] if not chosen and column < len(types) else "string"
        if g.chance(0.05):
            return g.pick(["x", "1.5", '"', 'a"b', "99999999999999999999", '"a"b'])
        return na if g.chance(0.15) else g.pick(cells[kind])

    def line():
        return delimiter.join(cell(c) for c in range(total + (1 if g.chance(0.02) else 0))).encode()

    shape = g.shape(0, 2)
    records = g.feed(strings([line() for _ in range(int(np.prod(shape)))], shape), "string")
    defaults = [g.feed(g.value(kind, g.pick([[], [1], [1], [0]]), special=0), kind, const=g.chance(0.8), derive=False) for kind in types]
    return g.call(name, records, defaults, field_delim=delimiter, use_quote_delim=g.chance(0.8), na_value=na, select_cols=chosen)


@maker("DecodeRaw")
def decode_raw(g, name):
    shape, size = g.shape(0, 3), g.pick([0, 8, 16, 16, 3])
    rows = [bytes(g.rng.integers(0, 255, size, dtype="uint8")) for _ in range(int(np.prod(shape)))]
    out = g.pick([kind for kind in g.allowed(name, "out_type") if "float" not in kind and "complex" not in kind] + ["float32"])
    if out == "float32":  # of which any bits may be a NaN that is signalling
        size = size // 4 * 4
        rows = [g.rng.integers(-9, 9, size // 4).astype("float32").tobytes() for _ in rows]
    if out == "bool":
        rows = [bytes(g.rng.integers(0, 1, size, dtype="uint8", endpoint=True)) for _ in rows]
    return g.call(name, g.feed(strings(rows, shape), "string"), out_type=out, little_endian=g.chance(0.7) or out == "float32")


@maker("Fingerprint")
def fingerprint(g, name):
    dtype, shape = g.pick(["string", "float32", "int32", "uint8", "bool", "int64", "float16"]), g.shape(1, 4)
    x = texts(g, shape) if dtype == "string" else g.input(dtype, shape)
    return g.call(name, x, g.feed(np.array(b"farmhash64", dtype=object), "string", const=True, derive=False))


@maker("UnicodeEncode")
def encode_unicode(g, name):
    count = g.int(0, 7)
    codes = g.rng.choice([65, 0x1F600, 0x7F, 233, 0x4E00, 10, 0] + ([0xD800, 0x110000, -5] if g.chance(0.3) else []), count).astype("int32")
    splits = sorted([0, count] + [g.int(0, count) for _ in range(g.int(0, 3))])
    return g.call(name, g.feed(codes), g.ints(splits, g.pick(["int32", "int64"]), const=False), output_encoding=g.pick(["UTF-8", "UTF-16-BE", "UTF-32-BE"]),
                  errors=g.pick(["replace", "ignore", "strict"]), replacement_char=g.pick([65533, 63]))
