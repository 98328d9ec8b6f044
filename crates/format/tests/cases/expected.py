#!/usr/bin/env python3
"""Writes expected.txt: what TensorFlow reads in TFRecord files of other projects.

    python expected.py FOLDER

FOLDER holds the files at the paths given here; those under 100 KB stand beside this script. A line is: path, message, records,
digest of the records, digest of what they hold. Digests are 64-bit FNV-1a:

- of the records: of each, its length (u64, little endian) and its bytes;
- of what they hold, of the messages as protobuf parses them: of each feature in the order of names the name's bytes, a
  byte for the kind (0 none, 1 bytes, 2 float, 3 int64), the count (u64), and the values: u64 length and bytes, float32,
  int64. Of a SequenceExample the context, then of each list in the order of names the name's bytes, the number of steps
  (u64) and the steps' features without a name. Of an ExampleListWithContext the context, then the examples.
"""

import pathlib
import struct
import sys

import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FILES = {
    "ranking_elwc/eval_elwc.tfrecord": "list",
    "ranking_elwc/test_numerical_elwc.tfrecord": "list",
    "ranking_elwc/tfrbert_elwc_test.tfrecord": "list",
    "ranking_elwc/tfrbert_elwc_train.tfrecord": "list",
    "ranking_elwc/train_elwc.tfrecord": "list",
    "ranking_elwc/train_numerical_elwc.tfrecord": "list",
    "ranking_elwc/vali_numerical_elwc.tfrecord": "list",
    "rust_expected/expected.tfrecord": "other",
    "tfx_mnist/mnist.tfrecord": "example",
    "tfx_penguin_gz/data/Split-eval/data_tfrecord-00000-of-00001.gz": "example",
    "tfx_penguin_gz/data/Split-train/data_tfrecord-00000-of-00001.gz": "example",
    "tfx_sequence_gz/Split-eval/data_tfrecord_eval.gz": "sequence",
    "tfx_sequence_gz/Split-train/data_tfrecord_train.gz": "sequence",
}


def list_with_context():
    """The class of tensorflow_serving/apis/input.proto, which TensorFlow does not bring along."""
    file = descriptor_pb2.FileDescriptorProto(name="list.proto", package="cases", syntax="proto3")
    file.dependency.append("tensorflow/core/example/example.proto")
    message = file.message_type.add(name="ExampleListWithContext")
    field = descriptor_pb2.FieldDescriptorProto
    example = {"type": field.TYPE_MESSAGE, "type_name": ".tensorflow.Example"}
    message.field.add(name="examples", number=1, label=field.LABEL_REPEATED, **example)
    message.field.add(name="context", number=2, label=field.LABEL_OPTIONAL, **example)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("cases.ExampleListWithContext"))


class Digest:
    def __init__(self):
        self.value = 0xCBF29CE484222325

    def add(self, data):
        value = self.value
        for byte in data:
            value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
        self.value = value

    def count(self, number):
        self.add(struct.pack("<Q", number))

    def feature(self, feature):
        kind = feature.WhichOneof("kind")
        values = getattr(feature, kind).value if kind else []
        # An empty list is on the wire as a list, and counts as one.
        self.add(bytes([{None: 0, "bytes_list": 1, "float_list": 2, "int64_list": 3}[kind]]))
        self.count(len(values))
        if kind == "bytes_list":
            for value in values:
                self.count(len(value))
                self.add(value)
        elif kind:
            self.add(struct.pack(f"<{len(values)}{'f' if kind == 'float_list' else 'q'}", *values))

    def features(self, features):
        for name in sorted(features.feature, key=str.encode):
            self.add(name.encode())
            self.feature(features.feature[name])

    def message(self, kind, record, list_class):
        if kind == "example":
            self.features(tf.train.Example.FromString(record).features)
        elif kind == "sequence":
            sequence = tf.train.SequenceExample.FromString(record)
            self.features(sequence.context)
            lists = sequence.feature_lists.feature_list
            for name in sorted(lists, key=str.encode):
                self.add(name.encode())
                self.count(len(lists[name].feature))
                for step in lists[name].feature:
                    self.feature(step)
        elif kind == "list":
            message = list_class.FromString(record)
            self.features(message.context.features)
            for example in message.examples:
                self.features(example.features)


def main():
    folder = pathlib.Path(sys.argv[1])
    list_class = list_with_context()
    lines = []
    for path, kind in FILES.items():
        raw, held, records = Digest(), Digest(), 0
        compression = "GZIP" if path.endswith(".gz") else ""
        for record in tf.data.TFRecordDataset(str(folder / path), compression).as_numpy_iterator():
            raw.count(len(record))
            raw.add(record)
            held.message(kind, record, list_class)
            records += 1
        lines.append(f"{path} {kind} {records} {raw.value:016x} {held.value:016x}\n")
    (pathlib.Path(__file__).parent / "expected.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
