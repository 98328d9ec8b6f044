#!/usr/bin/env python3
"""Data pipelines beside tf.data: rows per second and peak resident memory.

    cargo build --release -p tightfit-data --example pipeline
    python bench/pipelines.py [--rounds N] [--cases NAME,...] [--work DIR] [--json FILE]

Each measurement is a process of its own that makes two passes and times the second, the file in the page cache; two
threads on either side unless said otherwise. Both get the same TFRecord files: 300,000 tf.Examples of 195 bytes (one
int64 and 40 floats), and 384 JPEG images of 500 x 375.

- parse: parsed into batches of 1024; parse-prefetch: the same after a prefetch;
- shuffle: 2 MB (tf.data: 10,000 records) of shuffle buffer before that;
- uniform: the whole file in uniformly random order before that (tf.data: a buffer of 300,000 records);
- cache: the same batches out of a cache in a folder, which the first pass has made;
- jpeg: decoded, resized to 224 x 224, batches of 32, prefetched; jpeg-u8: the same, the pixels rounded to bytes;
- slow-map: a map that sleeps 1 ms; two-maps: one that sleeps 0.5 ms and, behind it, one of 1.5 ms, with 4 threads;
  slow-source: 0.5 ms to get an element, and a map of 0.5 ms; slow-taker: whoever takes the elements sleeps 1 ms, and
  there is a map of 1 ms. `fixed` is TightFit with the best numbers of threads that were found by trying, instead of its
  autotuner.

tf.data runs as its guide recommends: batches before parsing, parallel calls and prefetching left to AUTOTUNE. Rounds
are interleaved; the ratio is that of the medians. Peak is the process's ru_maxrss. Exit status 1 when the ratio of parse
is below 3, or a peak of TightFit's above 24 MiB.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

from peers import last_line, spawn
from records import BATCH, FLOATS, MIB, PEAK_BYTES, ROOT, SMALL, example

RATIO = 3
IMAGES, SIDES = 384, (375, 500)
PARSE = {"parse": {"features": {"label": {"dtype": "int64", "shape": [1]}, "x": {"dtype": "float32", "shape": [FLOATS]}}}}
BATCHES = {"batch": BATCH}
PREFETCH = {"prefetch": None}
SLEEPS = ("slow-map", "two-maps", "slow-source", "slow-taker")
TAKER_US = {"slow-taker": 1000}
THREADS = {"two-maps": 4}


def write_files(work):
    import numpy as np
    import tensorflow as tf

    record = example()
    with tf.io.TFRecordWriter(str(work / "few.tfrecord")) as writer:
        for _ in range(1500):
            writer.write(record)
    with tf.io.TFRecordWriter(str(work / "small.tfrecord")) as writer:
        for _ in range(SMALL[0]):
            writer.write(record)
    generator = np.random.default_rng(1)
    with tf.io.TFRecordWriter(str(work / "jpeg.tfrecord")) as writer:
        for _ in range(IMAGES):
            # Smooth, with some noise, as photographs are.
            small = tf.constant(generator.uniform(0, 255, (12, 16, 3)), tf.float32)
            pixels = tf.image.resize(small, SIDES) + generator.normal(0, 8, SIDES + (3,))
            pixels = tf.cast(tf.clip_by_value(pixels, 0, 255), tf.uint8)
            writer.write(tf.io.encode_jpeg(pixels, quality=90).numpy())


def file_of(case):
    return "jpeg" if case.startswith("jpeg") else "few" if case in SLEEPS else "small"


def slow(us, **options):
    return {"slow": us, "sleep": True} | options


def spec(case, path, work, is_fixed):
    """The pipeline as TightFit's."""
    source = {"tfrecord": path}
    pixels = [{"decode_image": "record", "channels": 3}, {"image": "resize", "field": "record", "size": [224, 224]}]
    threads = lambda n: {"threads": n} if is_fixed else {}
    if case == "uniform":
        source = {"shuffled": path, "memory": "4MiB", "index": str(work)}
    stages = {
        "parse": [PARSE, BATCHES],
        "parse-prefetch": [PARSE, BATCHES, PREFETCH],
        "shuffle": [{"shuffle": "2MB"}, PARSE, BATCHES, PREFETCH],
        "uniform": [PARSE, BATCHES, PREFETCH],
        "cache": [PARSE, BATCHES, {"cache": str(work / "cache"), "memory": 0}, PREFETCH],
        "jpeg": [*pixels, {"batch": 32}, PREFETCH],
        "jpeg-u8": [
            *pixels,
            {"image": "cast", "field": "record", "dtype": "uint8"},
            {"batch": 32},
            PREFETCH,
        ],
        "slow-map": [slow(1000, **threads(2)), {"batch": 1}],
        "two-maps": [slow(500, **threads(1)), {"skip": 0}, slow(1500, **threads(3)), {"batch": 1}],
        "slow-source": [slow(500, threads=0), slow(500, **threads(2)), {"batch": 1}],
        "slow-taker": [slow(1000, **threads(1)), {"batch": 1}],
    }
    return json.dumps({"source": source, "stages": stages[case]})


def tensorflow_dataset(case, path, work):
    import tensorflow as tf

    features = {"label": tf.io.FixedLenFeature([1], tf.int64), "x": tf.io.FixedLenFeature([FLOATS], tf.float32)}
    auto = tf.data.AUTOTUNE
    parse = lambda batch: tf.io.parse_example(batch, features)
    records = tf.data.TFRecordDataset(path)
    if case.startswith("jpeg"):

        def decode(record):
            pixels = tf.image.resize(tf.io.decode_jpeg(record, channels=3), (224, 224))
            return tf.cast(pixels, tf.uint8) if case == "jpeg-u8" else pixels

        return records.map(decode, num_parallel_calls=auto).batch(32).prefetch(auto)
    if case in SLEEPS:

        def sleeping(us, parallel=auto):
            def sleep(record):
                time.sleep(us / 1e6)
                return record

            return dict(
                map_func=lambda record: tf.numpy_function(sleep, [record], tf.string), num_parallel_calls=parallel
            )

        maps = {
            "slow-map": [sleeping(1000)],
            "two-maps": [sleeping(500), sleeping(1500)],
            "slow-source": [sleeping(500, None), sleeping(500)],
            "slow-taker": [sleeping(1000)],
        }
        for options in maps[case]:
            records = records.map(**options)
        options = tf.data.Options()
        options.threading.private_threadpool_size = THREADS.get(case, 2)
        options.autotune.cpu_budget = THREADS.get(case, 2)
        return records.batch(1).prefetch(auto).with_options(options)
    if case in ("shuffle", "uniform"):
        records = records.shuffle(10_000 if case == "shuffle" else SMALL[0])
    records = records.batch(BATCH).map(parse, num_parallel_calls=auto)
    if case == "cache":
        records = records.cache(tempfile.mkdtemp(dir=work) + "/cache")
    return records if case == "parse" else records.prefetch(auto)


def tensorflow_main(case, path, work):
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(THREADS.get(case, 2))
    dataset = tensorflow_dataset(case, path, pathlib.Path(work))
    for _ in range(2):
        start, rows = time.perf_counter(), 0
        for batch in dataset:
            rows += (batch["label"] if isinstance(batch, dict) else batch).shape[0]
            if case in TAKER_US:
                time.sleep(TAKER_US[case] / 1e6)
        seconds = time.perf_counter() - start
    print(json.dumps({"rows": rows, "seconds": seconds}))


def commands(case, path, work):
    program = str(ROOT / "target/release/examples/pipeline")
    options = ["--epochs", "2", "--threads", str(THREADS.get(case, 2)), "--slow-us", str(TAKER_US.get(case, 0))]
    # What is asked for; what it takes is told.
    options += ["--memory", "128MiB" if case.startswith("jpeg") else "16MiB"]
    all_of_them = {"tightfit": [program, spec(case, path, work, False), *options]}
    if case in SLEEPS:
        all_of_them["fixed"] = [program, spec(case, path, work, True), *options]
    return all_of_them | {"tf.data": [sys.executable, __file__, "--tensorflow", case, path, str(work)]}


def measure(case, path, work, rounds):
    figures = {}
    for _ in range(rounds):
        for name, command in commands(case, path, work).items():
            code, stdout, stderr, peak_bytes = spawn(command)
            if code:
                raise RuntimeError(f"{case} {name}: exit {code}: {last_line(stderr)}")
            answer = json.loads(stdout)
            assert answer["rows"] == {"small": SMALL[0], "few": 1500, "jpeg": IMAGES}[file_of(case)], answer
            figure = figures.setdefault(name, {"rows_per_second": [], "peak_bytes": [], "budget_peak_bytes": []})
            figure["rows_per_second"].append(answer["rows"] / answer["seconds"])
            figure["peak_bytes"].append(peak_bytes)
            figure["budget_peak_bytes"].append(answer.get("budget_peak_bytes", 0))
    for figure in figures.values():
        figure["rows_per_second"] = statistics.median(figure["rows_per_second"])
        figure["peak_bytes"] = max(figure["peak_bytes"])
        figure["budget_peak_bytes"] = max(figure["budget_peak_bytes"])
    return figures


CASES = ("parse", "parse-prefetch", "shuffle", "uniform", "cache", "jpeg", "jpeg-u8", *SLEEPS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "tightfit-pipelines")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--tensorflow", nargs=3, metavar=("CASE", "FILE", "DIR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")
    if options.tensorflow:
        return tensorflow_main(*options.tensorflow)
    options.work.mkdir(parents=True, exist_ok=True)
    if not (options.work / "jpeg.tfrecord").exists():
        write_files(options.work)
    report, missed = {}, False
    for case in options.cases.split(","):
        figures = measure(case, str(options.work / f"{file_of(case)}.tfrecord"), options.work, options.rounds)
        rate = figures["tightfit"]["rows_per_second"]
        ratio = rate / figures["tf.data"]["rows_per_second"]
        report[case] = figures | {"ratio": ratio}
        for name, figure in figures.items():
            peak, held = figure["peak_bytes"] / MIB, figure["budget_peak_bytes"] / MIB
            held = f"   reserved {held:5.1f} MiB" if held else ""
            print(f"{case:14} {name:9} {figure['rows_per_second']:12,.0f} rows/s   peak {peak:7.1f} MiB{held}")
        print(f"{case:14} ratio {ratio:.2f}", flush=True)
        missed |= case.startswith("parse") and ratio < RATIO
        missed |= figures["tightfit"]["peak_bytes"] > PEAK_BYTES
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
