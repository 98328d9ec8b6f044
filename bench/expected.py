#!/usr/bin/env python3
"""What `plan --speed` says before a run, beside how long the run takes; and how little memory narrow weights are run in.

    python bench/expected.py [--models NAME,...] [--rounds N] [--seconds S] [--threads N] [--bin PATH] [--out DIR]

Needs what `bench/models.py` wrote into DIR. The first table has each model with all of its weights in memory, and ResNet50 under
24 to 110 MiB, where weights that find no room are read in each run: the bytes that the plan says are read, the time that it
expects, and the median of `bench`. A round is one call of each; a figure is the median of the rounds. The second table has
four products of 2048 by 2048 whose weights the file holds as float32, float16, bfloat16 and uint8: the smallest size that each
works in, which for narrow weights is to be at most that of float32.
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

from peers import MODELS

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUDGETS = ("24MiB", "48MiB", "64MiB", "80MiB", "96MiB", "110MiB")
LAYERS, WIDTH = 4, 2048


def call(options, command, model, *flags):
    arguments = [options.bin, command, model, "--json", "--threads", str(options.threads), *flags]
    return json.loads(subprocess.run(list(map(str, arguments)), check=True, capture_output=True).stdout)


def speeds(options):
    print("| model | memory | read in a run, MiB | expected ms | measured ms | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    ratios = []
    for name, budget in [*((name, None) for name in options.models), *(("resnet50", budget) for budget in BUDGETS)]:
        model = options.out / name / "model.pb"
        if not model.exists():
            continue
        flags = ["--memory", budget] if budget else []
        plans = [call(options, "plan", model, "--speed", *flags) for _ in range(options.rounds)]
        runs = [call(options, "bench", model, "--seconds", str(options.seconds), *flags) for _ in range(options.rounds)]
        expected = statistics.median(plan["expected_ms"] for plan in plans)
        measured = statistics.median(run["ms_median"] for run in runs)
        ratios.append(expected / measured)
        read = plans[0]["streamed_bytes"] / 2**20 if plans[0]["streamed"] else 0
        print(f"| {name} | {budget or 'all'} | {read:.1f} | {expected:.1f} | {measured:.1f} | {ratios[-1]:.2f} |", flush=True)
    if ratios:
        print(f"\nExpected to measured, geometric mean: {math.exp(statistics.mean(map(math.log, ratios))):.2f}\n")


def chain(kind):
    """Products one after the other, of weights that the file holds as `kind`."""
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(1)
    graph = tf.Graph()
    with graph.as_default():
        last = tf.compat.v1.placeholder(tf.float32, [None, WIDTH], "x")
        for _ in range(LAYERS):
            if kind == "uint8":
                values = tf.bitcast(tf.constant(rng.integers(0, 256, [WIDTH, WIDTH]).astype(np.uint8)), tf.quint8)
                weight = tf.raw_ops.Dequantize(input=values, min_range=-0.05, max_range=0.05)
            else:
                weight = tf.constant(rng.normal(0, 0.02, [WIDTH, WIDTH]), kind)
                weight = weight if kind == "float32" else tf.cast(weight, tf.float32)
            last = tf.nn.relu(tf.matmul(last, weight))
        tf.identity(last, "y")
    return graph.as_graph_def().SerializeToString()


def widths(options):
    print("| weights | file MiB | smallest size, MiB | measured ms |")
    print("| --- | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("float32", "float16", "bfloat16", "uint8"):
            model = pathlib.Path(folder) / f"{kind}.pb"
            model.write_bytes(chain(kind))
            least = call(options, "plan", model)["minimum_bytes"]
            run = call(options, "bench", model, "--seconds", str(options.seconds), "--memory", str(least))
            print(f"| {kind} | {model.stat().st_size / 2**20:.1f} | {least / 2**20:.1f} | {run['ms_median']:.1f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bin", default=ROOT / "target/release/tightfit")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/out")
    options = parser.parse_args()
    speeds(options)
    widths(options)


if __name__ == "__main__":
    main()
