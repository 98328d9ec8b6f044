#!/usr/bin/env python3
"""The twenty most used operators that compute, beside TensorFlow, at 10^3, 10^5 and 10^7 elements.

    cargo build --release
    python bench/operators.py [--rounds N] [--seconds S] [--threads N] [--only NAME,..] [--above RATIO]

The operators are those that most public models run, without the ones that only lead values along or hold them (Const,
Identity, Reshape, Shape, loops, variables and their like) or make them of nothing (Fill, Range, DecodeWav of a file). Both
sides run one GraphDef of one node, fed from memory, with the same number of threads. TensorFlow's time is that of a call of
the graph less that of a call of a graph that hands its input on; ours is the whole run. A round runs the empty call,
TensorFlow and `tightfit bench` one after the other; a figure is the median of a round's runs, a line the median of the
rounds. Ratios are ours to TensorFlow's: below 1 is faster. Where TensorFlow's node takes less than a microsecond beside its
call, a microsecond is what it is taken for.
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import tensorflow as tf

tf1, raw = tf.compat.v1, tf.raw_ops
BINARY = pathlib.Path(__file__).parent.parent / "target/release/tightfit"
SIZES = (10**3, 10**5, 10**7)
LEAST_MS = 1e-3


def rows(n, width):
    return [max(n // width, 1), width]


def square(n, channels):
    side = max(round(math.sqrt(n / channels)), 3)
    return [1, side, side, channels]


def constant(*shape):
    rng = np.random.default_rng(7)
    return tf.constant(rng.normal(size=shape).astype(np.float32))


# Each: the shapes that are fed for n elements, and the node that takes them.
OPERATORS = {
    "Add": (lambda n: [[n], [n]], lambda a, b: raw.Add(x=a, y=b)),
    "MatMul": (lambda n: [rows(n, 256)], lambda x: raw.MatMul(a=x, b=constant(256, 256))),
    "Mul": (lambda n: [[n], [n]], lambda a, b: raw.Mul(x=a, y=b)),
    "BiasAdd": (lambda n: [rows(n, 100), [100]], lambda x, b: raw.BiasAdd(value=x, bias=b)),
    "Sub": (lambda n: [[n], [n]], lambda a, b: raw.Sub(x=a, y=b)),
    "StridedSlice": (lambda n: [rows(n, 100)], lambda x: x[1:, 10:90]),
    "ConcatV2": (lambda n: [rows(n // 2, 50)] * 2, lambda a, b: raw.ConcatV2(values=[a, b], axis=1)),
    "Relu": (lambda n: [[n]], lambda x: raw.Relu(features=x)),
    "Softmax": (lambda n: [rows(n, 1000)], lambda x: raw.Softmax(logits=x)),
    "Sigmoid": (lambda n: [[n]], lambda x: raw.Sigmoid(x=x)),
    "Less": (lambda n: [[n], [n]], lambda a, b: raw.Less(x=a, y=b)),
    "Conv2D": (
        lambda n: [square(n, 16)],
        lambda x: raw.Conv2D(input=x, filter=constant(3, 3, 16, 16), strides=[1, 1, 1, 1], padding="SAME"),
    ),
    "Transpose": (lambda n: [rows(n, 100)], lambda x: raw.Transpose(x=x, perm=[1, 0])),
    "RealDiv": (lambda n: [[n], [n]], lambda a, b: raw.RealDiv(x=a, y=b)),
    "Pack": (lambda n: [[n // 4]] * 4, lambda *parts: raw.Pack(values=parts, axis=0)),
    "Tanh": (lambda n: [[n]], lambda x: raw.Tanh(x=x)),
    "AudioSpectrogram": (lambda n: [[n, 1]], lambda x: raw.AudioSpectrogram(input=x, window_size=640, stride=320)),
    "Mfcc": (
        lambda n: [[1, *rows(n, 257)]],
        lambda x: raw.Mfcc(spectrogram=tf.abs(x), sample_rate=tf.constant(16000)),
    ),
    "Tile": (lambda n: [rows(n // 4, 50)], lambda x: raw.Tile(input=x, multiples=[2, 2])),
    "Cast": (lambda n: [[n]], lambda x: raw.Cast(x=x, DstT=tf.int32)),
}


def graph(shapes, build):
    """A GraphDef of one node, the names of its inputs and of its output."""
    with tf.Graph().as_default() as made:
        inputs = [tf1.placeholder(tf.float32, shape, f"in{i}") for i, shape in enumerate(shapes)]
        output = build(*inputs)
        return made.as_graph_def(), [x.name for x in inputs], output.name


def function(definition, inputs, output):
    """The graph as a function of tensors."""
    wrapped = tf1.wrap_function(lambda: tf1.import_graph_def(definition, name=""), [])
    at = wrapped.graph.as_graph_element
    return wrapped.prune([at(name) for name in inputs], at(output))


def theirs(call, tensors, seconds):
    times, begin = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        call(*tensors)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def ours(options, path):
    command = [options.bin, "bench", path, "--threads", str(options.threads), "--seconds", str(options.seconds), "--json"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)["ms_median"]


def measure(options, name, n, empty, folder):
    """Milliseconds of ours, of TensorFlow's call and of its empty call."""
    shapes_of, build = OPERATORS[name]
    shapes = shapes_of(n)
    definition, inputs, output = graph(shapes, build)
    path = folder / f"{name}_{n}.pb"
    path.write_bytes(definition.SerializeToString())
    call = function(definition, inputs, output)
    tensors = [tf.random.normal(shape, seed=i) for i, shape in enumerate(shapes)]
    call(*tensors)
    rounds = [
        (
            ours(options, path),
            theirs(call, tensors, options.seconds),
            theirs(empty, tensors[:1], options.seconds / 3),
        )
        for _ in range(options.rounds)
    ]
    return [statistics.median(side) for side in zip(*rounds)]


def processor():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "?")


def mean(ratios):
    return math.exp(statistics.fmean(map(math.log, ratios)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=BINARY)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each side in a round")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", default="", help="operators, separated by commas")
    parser.add_argument("--above", type=float, default=1.5, help="ratios that are told of at the end")
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    empty = function(*graph([None], tf.identity))
    print(f"{processor()}, {options.threads} threads, TensorFlow {tf.__version__}, {options.rounds} rounds")
    print("| operator | elements | ours, ms | TensorFlow's, ms | ratio |\n| --- | ---: | ---: | ---: | ---: |")
    ratios, only = {}, [name for name in options.only.split(",") if name]
    with tempfile.TemporaryDirectory() as folder:
        for name in only or OPERATORS:
            for n in SIZES:
                mine, call, none = measure(options, name, n, empty, pathlib.Path(folder))
                other = max(call - none, LEAST_MS)
                ratios[name, n] = mine / other
                print(f"| {name} | {n:,} | {mine:.4f} | {other:.4f} | {mine / other:.2f} |", flush=True)
    for n in SIZES:
        print(f"geometric mean at {n:,} elements: {mean([r for (_, size), r in ratios.items() if size == n]):.2f}")
    print(f"geometric mean: {mean(ratios.values()):.2f}")
    above = [f"{name} at {n:,} ({r:.2f})" for (name, n), r in ratios.items() if r > options.above]
    print(f"above {options.above}: {', '.join(above) or 'none'}")


if __name__ == "__main__":
    main()
