"""Random nodes of operators on strings, for `fuzz.py`."""

import numpy as np

from fuzz_ops import broadcast_pair, maker

TEXTS = ["", "a", "Hello World", "a,b;c", "  two  words ", "é😀Ÿ", "ΑΣ", "x" * 40, "123", "-4.5e3", "NA", 'q"uote', "tab\tend\n"]
BYTES = [b"\xff", b"\xe2\x82", b"a\xf0\x9f\x98b", b"\x00\x01"]


def texts(g, shape, bad=0.2):
    choices = [t.encode() for t in TEXTS] + (BYTES if g.chance(bad) else [])
    out = np.empty(int(np.prod(shape)), dtype=object)
    out[:] = [g.pick(choices) for _ in range(out.size)]
    return g.feed(out.reshape([int(d) for d in shape]), "string")


def scalar(g, text):
    return g.feed(np.array(text.encode(), dtype=object), "string", const=g.chance(0.7))


@maker("StringLower", "StringUpper", "StringStrip", "StringLength", "EncodeBase64")
def each(g, name):
    more = {}
    if name in ("StringLower", "StringUpper"):
        more["encoding"] = g.pick(["", "utf-8"])
    if name == "StringLength":
        more["unit"] = g.pick(["BYTE", "UTF8_CHAR"])
    if name == "EncodeBase64":
        more["pad"] = g.chance(0.5)
    return g.call(name, texts(g, g.shape(0, 4)), **more)


@maker("DecodeBase64")
def decode(g, name):
    choices = [b"", b"YQ", b"YQ==", b"YWI=", b"YWJj", b"-_-_", b"YQ=", b"Y", b"YW+/"]
    shape = g.shape(0, 3)
    valid = choices if g.chance(0.2) else choices[:6]
    out = np.empty(int(np.prod(shape)), dtype=object)
    out[:] = [g.pick(valid) for _ in range(out.size)]
    return g.call(name, g.feed(out.reshape(shape), "string"))


@maker("StringToHashBucket", "StringToHashBucketFast", "StringToHashBucketStrong")
def bucket(g, name):
    more = {"num_buckets": g.pick([1, 2, 10, 1000, 2**31, 2**62])}
    if name.endswith("Strong"):
        more["key"] = [g.int(-(2**62), 2**62), g.int(-5, 5)]
    return g.call(name, texts(g, g.shape(0, 4)), **more)


@maker("Substr")
def substr(g, name):
    one, two = broadcast_pair(g, 2)
    kind = g.pick(["int32", "int64"])
    if g.chance(0.5):
        two = []
    at = g.value(kind, two, -2, 2, special=0)
    return g.call(name, texts(g, one, 0.1), g.feed(at, kind), g.feed(g.value(kind, two, 0, 5, special=0), kind),
                  unit=g.pick(["BYTE", "UTF8_CHAR"]))


@maker("StringJoin")
def join(g, name):
    shape = g.shape(0, 4)
    return g.call(name, [texts(g, shape if g.chance(0.7) else []) for _ in range(g.int(1, 4))], separator=g.pick(["", ",", "ab"]))


@maker("ReduceJoin")
def reduce_join(g, name):
    shape = g.shape(0, 5)
    axes = [int(a) for a in g.rng.permutation(len(shape))[: g.int(0, len(shape))]]
    axes = [a - len(shape) if g.chance(0.3) else a for a in axes]
    return g.call(name, texts(g, shape), g.ints(axes, "int32"), keep_dims=g.chance(0.5), separator=g.pick(["", ",", "ab"]))


@maker("UnsortedSegmentJoin")
def segment_join(g, name):
    shape = g.shape(1, 4)
    rank, count = g.int(1, len(shape)), g.int(1, 5)
    ids = g.value(kind := g.pick(["int32", "int64"]), shape[:rank], 0, count - 1, special=0)
    return g.call(name, texts(g, shape), g.feed(ids, kind), g.ints(count), separator=g.pick(["", ","]))


PATTERNS = ["", "a", "[a-c]", r"\w+", r"\s", "l*", "(.)(.)", "[^ ]+", r"\d", "^", "$", "(a|b)?c", r"[\[\]&~-]", "(?i)H", r"\pL", r"\b"]


@maker("StaticRegexReplace", "RegexReplace")
def replace(g, name):
    pattern = g.pick(PATTERNS)
    rewrite = g.pick(["", "-", r"<\0>", r"\\", r"\1"] + ([r"\2\1"] if pattern.startswith("(.") else []))
    if rewrite == r"\1" and not pattern.startswith(("(.", "(a")):
        rewrite = "x"
    x = texts(g, g.shape(0, 3), 0)
    if name == "RegexReplace":
        return g.call(name, x, scalar(g, pattern), scalar(g, rewrite), replace_global=g.chance(0.7))
    return g.call(name, x, pattern=pattern, rewrite=rewrite, replace_global=g.chance(0.7))


@maker("StaticRegexFullMatch", "RegexFullMatch")
def match(g, name):
    x = texts(g, g.shape(0, 3), 0)
    if name == "RegexFullMatch":
        return g.call(name, x, scalar(g, g.pick(PATTERNS)))
    return g.call(name, x, pattern=g.pick(PATTERNS))


@maker("AsString")
def as_string(g, name):
    dtype = g.dtype(name)
    more = {"width": g.pick([-1, -1, 0, 3, 12]), "fill": g.pick(["", "", "0", "-", "+", " ", "#"])}
    if "float" in dtype or "complex" in dtype:
        more |= {"precision": g.pick([-1, -1, 0, 1, 7, 20]), "scientific": g.chance(0.3), "shortest": g.chance(0.3)}
    return g.call(name, g.input(dtype, g.shape(0, 3), special=0.4), **more)


@maker("StringToNumber")
def to_number(g, name):
    out = g.pick(["float32", "float64", "int32", "int64"])
    choices = [b"1", b" 2 ", b"-3", b"+4", b"007"] + ([b"1.5", b"-2e3", b".5", b"inf", b"nan", b"1e-50"] if "float" in out else [])
    if g.chance(0.1):
        choices += [b"", b"x", b"99999999999999999999", b"1.0"]
    shape = g.shape(0, 3)
    value = np.empty(int(np.prod(shape)), dtype=object)
    value[:] = [g.pick(choices) for _ in range(value.size)]
    return g.call(name, g.feed(value.reshape(shape), "string"), out_type=out)


@maker("UnicodeTranscode")
def transcode(g, name):
    return g.call(name, texts(g, g.shape(0, 3), 0.5), input_encoding="UTF-8", output_encoding=g.pick(["UTF-8", "UTF-16-BE", "UTF-32-BE"]),
                  errors=g.pick(["replace", "ignore", "strict"]), replacement_char=g.pick([65533, 63]),
                  replace_control_characters=g.chance(0.3))


@maker("UnicodeDecode", "UnicodeDecodeWithOffsets")
def decode_unicode(g, name):
    return g.call(name, texts(g, g.shape(0, 2), 0.5), input_encoding="UTF-8", errors=g.pick(["replace", "ignore", "strict"]),
                  replacement_char=65533, replace_control_characters=g.chance(0.3), Tsplits=g.pick(["int32", "int64"]))


@maker("StringSplit", "StringSplitV2")
def split(g, name):
    at = scalar(g, g.pick(["", " ", ",", ",;", "l", "wo"]))
    x = texts(g, [g.dim()], 0)
    if name == "StringSplit":
        return g.call(name, x, at, skip_empty=g.chance(0.5))
    return g.call(name, x, at, maxsplit=g.pick([-1, -1, 0, 1, 2]))


@maker("StringNGrams")
def ngrams(g, name):
    count = g.int(0, 7)
    splits = sorted([0, count] + [g.int(0, count) for _ in range(g.int(0, 3))])
    kind = g.pick(["int32", "int64"])
    return g.call(name, texts(g, [count]), g.feed(np.array(splits, kind), kind), separator=g.pick(["", "|"]),
                  ngram_widths=[g.int(1, 4) for _ in range(g.int(1, 2))], left_pad=g.pick(["", "L"]), right_pad=g.pick(["", "R"]),
                  pad_width=g.pick([-1, 0, 1, 2]), preserve_short_sequences=g.chance(0.5))


@maker("DecodePaddedRaw")
def padded_raw(g, name):
    out = g.pick(["int8", "uint8", "int16", "int32", "int64", "float32"])
    return g.call(name, texts(g, g.shape(0, 3)), g.ints(g.pick([8, 16, 24]), "int32"), out_type=out, little_endian=g.chance(0.7))
