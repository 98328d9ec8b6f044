#!/usr/bin/env python3
"""The twenty most used operators that compute, beside TensorFlow, at 10^3, 10^5 and 10^7 elements.

    cargo build --release
    python bench/operators.py [--rounds N] [--seconds S] [--threads N] [--only NAME,..] [--above RATIO]

The operators are those that most public models run, without the ones that only lead values along or hold them (Const,
Identity, Reshape, Shape, loops, variables and their like) or make them of nothing (Fill, Range, DecodeWav of a file). Both
sides compute one node, from memory and with the same number of threads. TensorFlow's time is that of the node called
eagerly, which runs it on the calling thread, less that of a node that hands its input on, called in turn; ours is the whole
run of a graph. A round is `tightfit bench` and then TensorFlow; a figure is the median of a round's runs, a line the median of
the rounds. Ratios are ours to TensorFlow's: below 1 is faster. A difference of less than a microsecond counts as one.
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


def normal(*shape):
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


# Each: the shapes that are fed for n elements, the constants, and the node that takes both.
PAIR = lambda n: [[n], [n]]
ONE = lambda n: [[n]]
OPERATORS = {
    "Add": (PAIR, [], lambda a, b: raw.Add(x=a, y=b)),
    "MatMul": (lambda n: [rows(n, 256)], [normal(256, 256)], lambda x, w: raw.MatMul(a=x, b=w)),
    "Mul": (PAIR, [], lambda a, b: raw.Mul(x=a, y=b)),
    "BiasAdd": (lambda n: [rows(n, 100), [100]], [], lambda x, b: raw.BiasAdd(value=x, bias=b)),
    "Sub": (PAIR, [], lambda a, b: raw.Sub(x=a, y=b)),
    "StridedSlice": (
        lambda n: [rows(n, 100)],
        [np.int32([1, 10]), np.int32([0, 90]), np.int32([1, 1])],
        lambda x, begin, end, strides: raw.StridedSlice(input=x, begin=begin, end=end, strides=strides, end_mask=1),
    ),
    "ConcatV2": (
        lambda n: [rows(n // 2, 50)] * 2,
        [np.int32(1)],
        lambda a, b, axis: raw.ConcatV2(values=[a, b], axis=axis),
    ),
    "Relu": (ONE, [], lambda x: raw.Relu(features=x)),
    "Softmax": (lambda n: [rows(n, 1000)], [], lambda x: raw.Softmax(logits=x)),
    "Sigmoid": (ONE, [], lambda x: raw.Sigmoid(x=x)),
    "Less": (PAIR, [], lambda a, b: raw.Less(x=a, y=b)),
    "Conv2D": (
        lambda n: [square(n, 16)],
        [normal(3, 3, 16, 16)],
        lambda x, w: raw.Conv2D(input=x, filter=w, strides=[1, 1, 1, 1], padding="SAME"),
    ),
    "Transpose": (lambda n: [rows(n, 100)], [np.int32([1, 0])], lambda x, perm: raw.Transpose(x=x, perm=perm)),
    "RealDiv": (PAIR, [], lambda a, b: raw.RealDiv(x=a, y=b)),
    "Pack": (lambda n: [[n // 4]] * 4, [], lambda *parts: raw.Pack(values=parts, axis=0)),
    "Tanh": (ONE, [], lambda x: raw.Tanh(x=x)),
    "AudioSpectrogram": (
        lambda n: [[n, 1]],
        [],
        lambda x: raw.AudioSpectrogram(input=x, window_size=640, stride=320),
    ),
    "Mfcc": (
        lambda n: [[1, *rows(n, 257)]],
        [np.int32(16000)],
        lambda x, rate: raw.Mfcc(spectrogram=x, sample_rate=rate),
    ),
    "Tile": (lambda n: [rows(n // 4, 50)], [np.int32([2, 2])], lambda x, times: raw.Tile(input=x, multiples=times)),
    "Cast": (ONE, [], lambda x: raw.Cast(x=x, DstT=tf.int32)),
}


def graph(shapes, constants, build):
    """A GraphDef of one node and its constants."""
    with tf.Graph().as_default() as made:
        inputs = [tf1.placeholder(tf.float32, shape, f"in{i}") for i, shape in enumerate(shapes)]
        build(*inputs, *map(tf.constant, constants))
        return made.as_graph_def()


def theirs(build, tensors, seconds):
    """TensorFlow's time for a node less that for one that hands its input on, run in turn on the calling thread."""
    times, nothing, begin = [], [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        raw.Identity(input=tensors[0])
        between = time.perf_counter()
        build(*tensors)
        times.append(time.perf_counter() - between)
        nothing.append(between - start)
    return (statistics.median(times) - statistics.median(nothing)) * 1e3


def ours(options, path):
    command = [options.bin, "bench", path, "--threads", str(options.threads), "--seconds", str(options.seconds), "--json"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)["ms_median"]


def measure(options, name, n, folder):
    """Milliseconds of ours and of TensorFlow's."""
    shapes_of, constants, build = OPERATORS[name]
    shapes = shapes_of(n)
    path = folder / f"{name}_{n}.pb"
    path.write_bytes(graph(shapes, constants, build).SerializeToString())
    tensors = [tf.random.normal(shape, seed=i) for i, shape in enumerate(shapes)]
    tensors += map(tf.constant, constants)
    build(*tensors)
    rounds = [(ours(options, path), theirs(build, tensors, options.seconds)) for _ in range(options.rounds)]
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
    print(f"{processor()}, {options.threads} threads, TensorFlow {tf.__version__}, {options.rounds} rounds")
    print("| operator | elements | ours, ms | TensorFlow's, ms | ratio |\n| --- | ---: | ---: | ---: | ---: |")
    ratios, only = {}, [name for name in options.only.split(",") if name]
    with tempfile.TemporaryDirectory() as folder:
        for name in only or OPERATORS:
            for n in SIZES:
                mine, other = measure(options, name, n, pathlib.Path(folder))
                other = max(other, LEAST_MS)
                ratios[name, n] = mine / other
                print(f"| {name} | {n:,} | {mine:.4f} | {other:.4f} | {mine / other:.2f} |", flush=True)
    for n in SIZES:
        print(f"geometric mean at {n:,} elements: {mean([r for (_, size), r in ratios.items() if size == n]):.2f}")
    print(f"geometric mean: {mean(ratios.values()):.2f}")
    above = [f"{name} at {n:,} ({r:.2f})" for (name, n), r in ratios.items() if r > options.above]
    print(f"above {options.above}: {', '.join(above) or 'none'}")


if __name__ == "__main__":
    main()
