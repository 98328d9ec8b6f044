#!/usr/bin/env python3
"""Examples and SequenceExamples in TFRecord files, TensorFlow on one side and TightFit on the other.

    python tests/golden/examples.py
        writes crates/format/tests/examples: small files of records as TensorFlow and other writers may have them, and
        beside each, as `expected`, the same messages as TensorFlow's deterministic serialization has them

    python tests/golden/examples.py --check [--bin target/release/tightfit] [--count 10000] [--seed S]
        COUNT random records of each message, both ways. What TensorFlow writes, and every other encoding that protobuf
        allows, is read here and written again, and the file has to be TensorFlow's byte for byte; what is written here
        is read by TensorFlow and has to hold what was put in. Uncompressed, gzip and zlib. Needs
        `cargo build --release` and `cargo build --release -p tightfit-format --example roundtrip`.

Encodings that protobuf allows and that are tried: features in any order and in several messages, a name several times
(the last one counts), the list of a feature in several pieces (they are joined), several kinds of lists in one feature
(the last one counts), packed, unpacked and mixed values, lengths and numbers that are longer than they have to be, keys
after values, entries without a key or a value, and unknown fields of every kind, groups too, on every level but in map
entries: those protobuf's own implementations treat differently.
"""

import argparse
import gzip
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import zlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "crates/format/tests/cases"))
from expected import Digest  # noqa: E402

CLASSES = {"example": tf.train.Example, "sequence": tf.train.SequenceExample}
SUFFIXES = {"": "", ".gz": "GZIP", ".zlib": "ZLIB"}
GOLDEN_RECORDS = 45


# What is random.

NAMES = ["", "a", "b", "a\0b", "ü/ß", "名前", "\U0010ffff", "image/encoded", "\n\t\"'", "x" * 127, "y" * 128]
FLOAT_BITS = [0x7FC00000, 0xFFC00001, 0x7F800001, 0x7F800000, 0xFF800000, 0x80000000, 0, 1, 0x7F7FFFFF, 0x3F800000]
INTS = [0, 1, -1, 127, 128, 2**31, -(2**31), 2**63 - 1, -(2**63), 2**62, 300]


class Random(random.Random):
    def name(self):
        return self.choice(NAMES) if self.random() < 0.5 else f"feature/{self.randrange(50)}"

    def values(self):
        """A kind and the values: bytes, the bits of floats, or integers."""
        count = self.choice([0, 0, 1, 1, 1, 2, 3, 9, 130])
        kind = self.choice([1, 2, 3])
        if kind == 1:
            count = min(count, 9)
            return 1, [self.randbytes(self.choice([0, 0, 1, 3, 20, 127, 128])) for _ in range(count)]
        if kind == 2:
            bits = lambda: self.choice(FLOAT_BITS) if self.random() < 0.5 else self.getrandbits(32)
            return 2, [bits() for _ in range(count)]
        whole = lambda: self.choice(INTS) if self.random() < 0.5 else self.getrandbits(64) - 2**63 >> self.randrange(64)
        return 3, [whole() for _ in range(count)]


# What TensorFlow writes. Floats are put in by their bits: Python's own would lose those of some NaNs.

def plain_feature(rand):
    feature = tf.train.Feature()
    if rand.random() < 0.1:
        return feature
    kind, values = rand.values()
    if kind == 1:
        feature.bytes_list.value.extend(values)
        feature.bytes_list.SetInParent()
    elif kind == 2:
        feature.MergeFromString(field(2, field(1, struct.pack(f"<{len(values)}I", *values)) if values else b""))
    else:
        feature.int64_list.value.extend(values)
        feature.int64_list.SetInParent()
    return feature


def fill_features(rand, features):
    for _ in range(rand.choice([0, 1, 1, 2, 4])):
        features.feature[rand.name()].CopyFrom(plain_feature(rand))


def plain(rand, kind):
    message = CLASSES[kind]()
    if kind == "example":
        fill_features(rand, message.features)
    else:
        fill_features(rand, message.context)
        for _ in range(rand.choice([0, 1, 1, 3])):
            steps = message.feature_lists.feature_list[rand.name()].feature
            steps.extend(plain_feature(rand) for _ in range(rand.choice([0, 1, 2, 12])))
    return message.SerializeToString(deterministic=rand.random() < 0.5)


# What others may write.

def varint(number, pad=0):
    """`pad` bytes longer than it has to be."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    if pad:
        out[-1] |= 0x80
        out += b"\x80" * (pad - 1) + b"\0"
    return bytes(out)


def field(number, data, pad=0):
    return varint(number << 3 | 2) + varint(len(data), pad) + data


def padding(rand, most):
    return rand.randrange(1, most) if rand.random() < 0.05 else 0


def wild_field(rand, number, data):
    return field(number, data, padding(rand, 3))


def unknown(rand, depth=0):
    """A field of a number that no message has."""
    number = rand.choice([5, 15, 16, 2047, 2**29 - 1]) << 3
    kind = rand.choice([0, 1, 2, 5, 3] if depth < 5 else [0, 1, 2, 5])
    if kind == 0:
        return varint(number) + varint(rand.getrandbits(64))
    if kind == 2:
        return varint(number | 2) + field(0, rand.randbytes(rand.randrange(9)))[1:]
    if kind == 3:
        inner = b"".join(unknown(rand, depth + 1) for _ in range(rand.randrange(3)))
        return varint(number | 3) + inner + varint(number | 4)
    return varint(number | kind) + rand.randbytes(8 if kind == 1 else 4)


def with_unknown(rand, fields):
    """The fields one after the other, here and there an unknown one between."""
    out = []
    for one in fields:
        out.append(unknown(rand) if rand.random() < 0.1 else b"")
        out.append(one)
    out.append(unknown(rand) if rand.random() < 0.1 else b"")
    return b"".join(out)


def wild_list(rand, kind, values):
    if kind == 1:
        return with_unknown(rand, [wild_field(rand, 1, value) for value in values])
    number = (lambda v: struct.pack("<I", v)) if kind == 2 else (lambda v: varint(v % 2**64, wild_pad(rand, v)))
    style = rand.choice(["packed", "unpacked", "mixed"])
    tag, fields = varint(1 << 3 | (5 if kind == 2 else 0)), []
    while values:
        count = len(values) if style == "packed" else 1 if style == "unpacked" else rand.randrange(1, 5)
        part, values = values[:count], values[count:]
        if style == "unpacked" or style == "mixed" and rand.random() < 0.5:
            fields += [tag + number(value) for value in part]
        else:
            fields.append(wild_field(rand, 1, b"".join(map(number, part))))
    return with_unknown(rand, fields)


def wild_pad(rand, value):
    return padding(rand, 3) if 0 <= value < 2**40 else 0


def wild_feature(rand):
    fields = []
    for _ in range(rand.choice([0, 1, 1, 1, 2, 3])):
        kind, values = rand.values()
        while rand.random() < 0.3:
            cut = rand.randrange(len(values) + 1)
            fields.append(wild_field(rand, kind, wild_list(rand, kind, values[:cut])))
            values = values[cut:]
        fields.append(wild_field(rand, kind, wild_list(rand, kind, values)))
    return with_unknown(rand, fields)


def wild_entry(rand, name, value):
    key, value = wild_field(rand, 1, name.encode()), wild_field(rand, 2, value)
    parts = rand.choice([[key, value]] * 8 + [[value, key], [key, key, value], [key], [value]])
    return wild_field(rand, 1, b"".join(parts))


def wild_maps(rand, number, value):
    """A message with a map in field 1, itself field `number`, in one piece or several."""
    pieces = []
    for _ in range(rand.choice([0, 1, 1, 1, 2, 3])):
        entries = [wild_entry(rand, rand.name(), value(rand)) for _ in range(rand.choice([0, 1, 2, 4]))]
        pieces.append(wild_field(rand, number, with_unknown(rand, entries)))
    return pieces


def wild(rand, kind):
    pieces = wild_maps(rand, 1, wild_feature)
    if kind == "sequence":
        steps = lambda r: with_unknown(r, [wild_field(r, 1, wild_feature(r)) for _ in range(r.choice([0, 1, 5]))])
        pieces += wild_maps(rand, 2, steps)
        rand.shuffle(pieces)
    return with_unknown(rand, pieces)


def canonical(kind, record):
    """The message as TensorFlow serializes it, entry by entry, names in the order of their bytes: Python's protobuf sorts
    a name after those that it begins. Empty maps are left out, but for the features of an Example."""
    message = CLASSES[kind].FromString(record)
    message.DiscardUnknownFields()
    if kind == "example":
        return field(1, in_order(tf.train.Features, "feature", message.features.feature))
    context = in_order(tf.train.Features, "feature", message.context.feature)
    lists = in_order(tf.train.FeatureLists, "feature_list", message.feature_lists.feature_list)
    return (field(1, context) if context else b"") + (field(2, lists) if lists else b"")


def in_order(message, name, entries):
    ones = ({key: entries[key]} for key in sorted(entries, key=str.encode))
    return b"".join(message(**{name: one}).SerializeToString() for one in ones)


# Files.

def write(path, records, compression=""):
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for record in records:
            writer.write(record)


def read(path, compression=""):
    return list(tf.data.TFRecordDataset(str(path), compression).as_numpy_iterator())


def inflated(path):
    data = pathlib.Path(path).read_bytes()
    name = str(path)
    return gzip.decompress(data) if name.endswith(".gz") else zlib.decompress(data) if name.endswith(".zlib") else data


def write_golden():
    folder = ROOT / "crates/format/tests/examples"
    folder.mkdir(exist_ok=True)
    rand = Random(3)
    for kind in CLASSES:
        for make, suffix in [(plain, ""), (plain, ".gz"), (plain, ".zlib"), (wild, "")]:
            records = [make(rand, kind) for _ in range(GOLDEN_RECORDS if make is wild else GOLDEN_RECORDS // 3)] + [b""]
            stem = f"{make.__name__}_{kind}.tfrecord{suffix}"
            write(folder / stem, records, SUFFIXES[suffix])
            write(folder / f"{stem}.expected", [canonical(kind, record) for record in records])
    print(sum(f.stat().st_size for f in folder.iterdir()), "bytes")


# The check.

def check(binary, count, seed):
    example = pathlib.Path(binary).parent / "examples/roundtrip"
    run = lambda *args: subprocess.run([str(a) for a in args], check=True, stdout=subprocess.PIPE).stdout.decode()
    rand = Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for kind in CLASSES:
            check_reading(kind, count, rand, folder, example, binary, run)
            check_writing(kind, count, rand, folder, example, run)


def check_reading(kind, count, rand, folder, example, binary, run):
    records = [(plain if i % 2 else wild)(rand, kind) for i in range(count)]
    expected = folder / "expected.tfrecord"
    write(expected, [canonical(kind, record) for record in records])
    digests = []
    for record in records:
        digest = Digest()
        digest.message(kind, requiet(kind, record), None)
        digests.append(f"{digest.value:016x}")
    for suffix, compression in SUFFIXES.items():
        source, out = folder / f"in.tfrecord{suffix}", folder / f"out.tfrecord{suffix}"
        write(source, records, compression)
        run(example, "rewrite", source, kind, out)
        assert inflated(out) == expected.read_bytes(), f"{kind}{suffix}: {first_difference(expected, out, compression)}"
        assert read(out, compression) == read(expected), f"{kind}{suffix}: TensorFlow reads something else"
        # Copied as they are, by the program.
        copy = folder / f"copy.tfrecord{suffix}"
        run(binary, "records", "convert", source, "--output", copy, "--quiet")
        assert read(copy, compression) == records, f"{kind}{suffix}: convert"
        assert json.loads(run(binary, "records", "verify", copy, "--json"))["records"] == count
    requieted = folder / "in.tfrecord"
    write(requieted, [requiet(kind, record) for record in records])
    found = run(example, "read", requieted, kind).split()
    assert found == digests, f"{kind}: digest of record {[a == b for a, b in zip(found, digests)].index(False)}"
    as_a_whole = sum(
        CLASSES[kind].FromString(record).SerializeToString(deterministic=True) == record for record in read(expected)
    )
    print(
        f"{count} {kind}s of {sum(map(len, records))} bytes: read, and written as TensorFlow writes them, {as_a_whole} of "
        "them also in Python's order of names"
    )


def requiet(kind, record):
    """The message without NaNs that signal: Python makes others of them, so they are no part of a digest."""
    message = CLASSES[kind].FromString(record)
    features = message.features if kind == "example" else message.context
    all_features = list(features.feature.values())
    if kind == "sequence":
        all_features += [step for steps in message.feature_lists.feature_list.values() for step in steps.feature]
    for feature in all_features:
        if feature.WhichOneof("kind") == "float_list":
            values = [value if value == value else float("nan") for value in feature.float_list.value]
            del feature.float_list.value[:]
            feature.float_list.value.extend(values)
    return message.SerializeToString()


def first_difference(expected, out, compression):
    for index, (a, b) in enumerate(zip(read(expected), read(out, compression))):
        if a != b:
            return f"record {index}: {a!r} is {b!r}"
    return "the framing"


def check_writing(kind, count, rand, folder, example, run):
    for suffix, compression in SUFFIXES.items():
        out = folder / f"written.tfrecord{suffix}"
        expected = run(example, "write", out, kind, count, rand.getrandbits(63)).split()
        records = read(out, compression)
        assert len(records) == len(expected) == count
        for index, record in enumerate(records):
            digest = Digest()
            digest.message(kind, record, None)
            assert f"{digest.value:016x}" == expected[index], f"{kind}{suffix}, record {index}: {record!r}"
        again = folder / "again.tfrecord"
        write(again, records)
        assert again.read_bytes() == inflated(out), f"{kind}{suffix}: the framing"
    print(f"{count} {kind}s of {sum(map(len, records))} bytes: written, three times, and read by TensorFlow")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--bin", default=ROOT / "target/release/tightfit")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.check:
        check(args.bin, args.count, args.seed)
    else:
        write_golden()


if __name__ == "__main__":
    main()
