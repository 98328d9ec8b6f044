"""Golden cases of operators on strings and records: hashes, cases, parts, patterns, numbers as texts, characters, examples."""

from op_cases import case
import numpy as np
import tensorflow as tf

raw = tf.raw_ops
tf1 = tf.compat.v1

TEXTS = ["hello", "", "a b  c", "  x\ty\v ", "é😀Ÿß", "ΑΣ ΣΑΣ", "abc,def;ghi"]


def texts(g, name="s", value=TEXTS):
    return g.feed(name, np.array([t if isinstance(t, bytes) else t.encode() for t in value], dtype=object))


@case()
def string_hashes(g):
    """All hashes, of texts of every length that FarmHash tells apart."""
    long = [bytes(range(n)) for n in (1, 4, 8, 17, 33, 65, 129)]
    s = texts(g, value=TEXTS + long)
    g.out(
        fast=raw.StringToHashBucketFast(input=s, num_buckets=1000),
        strong=raw.StringToHashBucketStrong(input=s, num_buckets=2**62, key=[1, -5]),
        legacy=raw.StringToHashBucket(string_tensor=s, num_buckets=2**62),
        print=raw.Fingerprint(data=s, method="farmhash64"),
        print_rows=raw.Fingerprint(data=tf.reshape(s, [7, 2]), method="farmhash64"),
        print_numbers=raw.Fingerprint(data=g.input("x", (3, 4)), method="farmhash64"),
    )


@case()
def string_case_and_parts(g):
    """Lower, upper, strip, lengths, Base64 and Substr, in bytes and in characters; bytes that are no UTF-8."""
    s = texts(g)
    bad = texts(g, "bad", [b"a\xffB", b"\xe2\x82x", b"\xf0\x9f\x98"])
    g.out(
        lower=raw.StringLower(input=s), lower_all=raw.StringLower(input=s, encoding="utf-8"),
        upper=raw.StringUpper(input=s), upper_all=raw.StringUpper(input=s, encoding="utf-8"),
        lower_bad=raw.StringLower(input=bad, encoding="utf-8"), strip=raw.StringStrip(input=s),
        length=raw.StringLength(input=s), characters=raw.StringLength(input=bad, unit="UTF8_CHAR"),
        encoded=raw.EncodeBase64(input=s), padded=raw.EncodeBase64(input=s, pad=True),
        decoded=raw.DecodeBase64(input=raw.EncodeBase64(input=s, pad=True)),
        part=raw.Substr(input=s[4:], pos=1, len=3), end=raw.Substr(input=s[4:], pos=-2, len=5, unit="UTF8_CHAR"),
        each=raw.Substr(input=s[4:], pos=[0, -1, 2], len=[1, 1, 100], unit="UTF8_CHAR"),
        broadcast=raw.Substr(input="hello", pos=[[0, 1], [2, -3]], len=[[1, 2], [3, 9]]),
    )


@case()
def string_joins(g):
    """StringJoin, ReduceJoin along axes in any order, UnsortedSegmentJoin."""
    s = texts(g)
    cube = tf.reshape(tf.concat([s, s[:5]], 0), [2, 3, 2])
    g.out(
        join=raw.StringJoin(inputs=[s, tf.constant("-"), s], separator="/"),
        two=raw.ReduceJoin(inputs=cube, reduction_indices=[2, 0], separator="|"),
        kept=raw.ReduceJoin(inputs=cube, reduction_indices=[-1], keep_dims=True),
        all=raw.ReduceJoin(inputs=cube, reduction_indices=[0, 2, 1], separator=","),
        none=raw.ReduceJoin(inputs=cube, reduction_indices=[], separator=","),
        segments=raw.UnsortedSegmentJoin(inputs=s, segment_ids=[2, 0, 1, 2, 2, 0, 0], num_segments=4, separator=":"),
        rows=raw.UnsortedSegmentJoin(inputs=tf.reshape(s[:6], [3, 2]), segment_ids=[1, 1, 0], num_segments=2),
    )


@case()
def string_patterns(g):
    """RE2's classes, empty matches and rewrites."""
    s = texts(g)
    marks = r'[!"#$%&()\*\+,-\./:;<=>?@\[\\\]^_`{|}~\']'
    g.out(
        swapped=raw.StaticRegexReplace(input=s, pattern=r"(\w)(\w)", rewrite=r"\2\1\\<\0>"),
        empty=raw.StaticRegexReplace(input=s, pattern="", rewrite="-"),
        star=raw.RegexReplace(input=s, pattern=tf.constant("[^a-c]*"), rewrite=tf.constant("X")),
        first=raw.RegexReplace(input=s, pattern=tf.constant("[[:space:]]"), rewrite=tf.constant("_"), replace_global=False),
        marks=raw.StaticRegexReplace(input=s, pattern=marks, rewrite=""),
        match=raw.StaticRegexFullMatch(input=s, pattern=r".*\s.*"),
        match_input=raw.RegexFullMatch(input=s, pattern=tf.constant("h.*o")),
    )


@case()
def as_string(g):
    """Numbers as texts, in every form."""
    x = g.feed("x", np.array([1.5, -2.25, 1e10, 1e-5, 0.0, -0.0, np.inf, -np.inf, np.nan, 123456.7], np.float32))
    n = g.feed("n", np.array([-7, 0, 2**31 - 1], np.int32))
    g.out(
        plain=raw.AsString(input=x), digits=raw.AsString(input=x, precision=2, width=8, fill="0"),
        scientific=raw.AsString(input=x, scientific=True, precision=1), shortest=raw.AsString(input=x, shortest=True),
        left=raw.AsString(input=x, shortest=True, width=12, fill="-"), point=raw.AsString(input=x, fill="#", precision=0),
        whole=raw.AsString(input=n), whole_zeros=raw.AsString(input=n, width=6, fill="0"),
        whole_plus=raw.AsString(input=n, width=6, fill="+"), bools=raw.AsString(input=n > 0),
        complex=raw.AsString(input=tf.complex(x[:2], x[:2]), precision=1, width=6),
        texts=raw.AsString(input=tf.constant(["a", "bc"]), width=3),
    )


@case()
def string_to_number(g):
    """Texts as numbers."""
    f = texts(g, "f", ["1", " -2.5e3 ", "inf", "-inf", "nan", "1e-50", ".5", "1.", "+3", "0x10", "16777217", "0.1"])
    n = texts(g, "n", ["-5", " 7 ", "+8"])
    g.out(
        floats=raw.StringToNumber(string_tensor=f), doubles=raw.StringToNumber(string_tensor=f, out_type=tf.float64),
        ints=raw.StringToNumber(string_tensor=n, out_type=tf.int32),
        longs=raw.StringToNumber(string_tensor=n, out_type=tf.int64),
    )


@case()
def unicode_transcode(g):
    """Encodings, and what is no character."""
    s = texts(g, value=TEXTS + [b"a\xffb", b"\xe2\x82x\x01", b"\xf0\x9f\x98"])
    codes = g.feed("codes", np.array([65, 0x1F600, 0x7F, 0xD800, 0x110000, -5, 233], np.int32))
    g.out(
        wide=raw.UnicodeTranscode(input=s, input_encoding="UTF-8", output_encoding="UTF-16-BE"),
        wider=raw.UnicodeTranscode(input=s, input_encoding="UTF-8", output_encoding="UTF-32-BE", replace_control_characters=True),
        left_out=raw.UnicodeTranscode(input=s, input_encoding="UTF-8", output_encoding="UTF-8", errors="ignore"),
        encoded=raw.UnicodeEncode(input_values=codes, input_splits=[0, 2, 2, 7], output_encoding="UTF-8"),
        encoded_wide=raw.UnicodeEncode(input_values=codes, input_splits=[0, 2, 2, 7], output_encoding="UTF-16-BE", errors="ignore"),
    )


@case()
def decode_csv(g):
    """Quotation marks, defaults and columns that are chosen."""
    s = g.feed("s", np.array([[b'1,"a""b, c",NA,5'], [b", x ,,-3"]], dtype=object))
    defaults = [tf.constant([1.5]), tf.constant(["d"]), tf.constant([7], tf.int64), tf.constant([], tf.int32)]
    columns = raw.DecodeCSV(records=s, record_defaults=defaults, na_value="NA")
    chosen = raw.DecodeCSV(records=s, record_defaults=[tf.constant(["d"]), tf.constant([], tf.int32)], select_cols=[1, 3])
    g.out(**{f"column{i}": c for i, c in enumerate(columns)}, **{f"chosen{i}": c for i, c in enumerate(chosen)})


@case()
def decode_padded_raw(g):
    """Strings cut and filled up, of both orders of bytes."""
    s = g.feed("s", np.array([[b"abcdefghij", b"x"], [b"", b"12345678"]], dtype=object))
    g.out(
        ints=raw.DecodePaddedRaw(input_bytes=s, fixed_length=8, out_type=tf.int16),
        turned=raw.DecodePaddedRaw(input_bytes=s, fixed_length=4, out_type=tf.int32, little_endian=False),
    )


def example(**features):
    kinds = {bytes: ("bytes_list", tf.train.BytesList), float: ("float_list", tf.train.FloatList), int: ("int64_list", tf.train.Int64List)}
    made = {}
    for name, values in features.items():
        if values:
            field, kind = kinds[type(values[0])]
            made[name] = tf.train.Feature(**{field: kind(value=values)})
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString(deterministic=True)


@case()
def parse_example_dense(g):
    """Dense features with defaults, of all types, by all three operators."""
    records = [example(f=[1.5, -2.0], i=[7], s=[b"text"], more=[3]), example(f=[0.5, 4.0], s=[b"other"])]
    s = texts(g, "records", records)
    dense = dict(dense_keys=["f", "i", "s"], dense_shapes=[[2], [], [1]])
    defaults = [tf.constant([], tf.float32), tf.constant(-1, tf.int64), tf.constant([b"none"])]
    second = raw.ParseExampleV2(serialized=s, names=[], sparse_keys=[], ragged_keys=[], dense_defaults=defaults, num_sparse=0,
                                sparse_types=[], ragged_value_types=[], ragged_split_types=[], **dense)
    first = raw.ParseExample(serialized=s, names=[], sparse_keys=[], dense_defaults=defaults, sparse_types=[], **dense)
    single = raw.ParseSingleExample(serialized=s[1], dense_defaults=defaults, num_sparse=0, sparse_keys=[], sparse_types=[], **dense)
    for name, made in (("second", second), ("first", first), ("single", single)):
        g.out(**{f"{name}{i}": value for i, value in enumerate(made.dense_values)})
