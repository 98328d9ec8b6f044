"""Makes golden/examples.* with TensorFlow: random tf.train.Examples as protobuf serializes them and in its deterministic
serialization, and what tf.io.parse_example makes of them. Run from this folder with tensorflow 2.x; the results are
committed, so nothing in the suite needs it."""

import numpy as np
import tensorflow as tf

OUT = "golden/examples"
COUNT = 300


def text(generator, most):
    return bytes(generator.integers(97, 123, generator.integers(1, most)).astype(np.uint8))


def example(generator):
    ints = lambda n: generator.integers(-(2**63), 2**63 - 1, n) >> generator.integers(0, 64, n)
    lists = {
        "a": tf.train.Feature(int64_list=tf.train.Int64List(value=ints(2))),
        "b": tf.train.Feature(float_list=tf.train.FloatList(value=generator.normal(size=3).astype(np.float32))),
        "c": tf.train.Feature(bytes_list=tf.train.BytesList(value=[text(generator, 200)])),
        "d": tf.train.Feature(int64_list=tf.train.Int64List(value=ints(generator.integers(0, 5)))),
        "e": tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[text(generator, 9) for _ in range(generator.integers(0, 4))])
        ),
    }
    return tf.train.Example(features=tf.train.Features(feature=lists))


def main():
    generator = np.random.default_rng(7)
    examples = [example(generator) for _ in range(COUNT)]
    records = [e.SerializeToString() for e in examples]
    with tf.io.TFRecordWriter(OUT + ".tfrecord") as writer:
        for record in records:
            writer.write(record)
    with tf.io.TFRecordWriter(OUT + ".deterministic.tfrecord") as writer:
        for e in examples:
            writer.write(e.SerializeToString(deterministic=True))
    spec = {
        "a": tf.io.FixedLenFeature([2], tf.int64),
        "b": tf.io.FixedLenFeature([3], tf.float32),
        "c": tf.io.FixedLenFeature([], tf.string),
        "d": tf.io.RaggedFeature(tf.int64),
        "e": tf.io.RaggedFeature(tf.string),
        "missing": tf.io.FixedLenFeature([], tf.float32, default_value=0.5),
    }
    for name, value in tf.io.parse_example(records, spec).items():
        if isinstance(value, tf.RaggedTensor):
            np.save(f"{OUT}.{name}.lengths.npy", value.row_lengths().numpy())
            value = value.flat_values
        value = value.numpy()
        np.save(f"{OUT}.{name}.npy", value.astype(np.bytes_) if value.dtype == object else value)


main()
