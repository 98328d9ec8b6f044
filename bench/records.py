#!/usr/bin/env python3
"""Reading TFRecord files beside tf.data: records per second and peak resident memory.

    cargo build --release -p tightfit-cli && cargo build --release -p tightfit-data --example records
    python bench/records.py [--rounds N] [--work DIR] [--json FILE]

Cases, each a process of its own that reads the file twice and times the second pass, the file in the page cache:

- small: 300,000 records of 195 bytes, every CRC checked (both sides always do);
- large: 1,500 records of 600 KB, the same;
- parse: the small file, which holds tf.Examples of one int64 and 40 floats, into batches of 1024;
- gzip: 120,000 tf.Examples of text, floats and an integer, compressed by TensorFlow to 0.47 of their size.

`verify` is `tightfit records verify` on the same files, on all processors, with its start included.

tf.data runs as its guide recommends: batches before parsing, parallel calls and prefetching left to AUTOTUNE. Rounds of
the two sides are interleaved; the ratio is that of the medians. Peak is the process's ru_maxrss. Exit status 1 when a
ratio is below 3 (for large: when less than half of what reading the file into a page-aligned buffer of 1 MiB gives; for
gzip: when below 0.9 of what the fastest library gives that inflates the same file as a stream, without looking at the
records), or a peak of TightFit's above 24 MiB.
"""

import argparse
import importlib
import json
import mmap
import os
import pathlib
import statistics
import sys
import tempfile
import time

from peers import last_line, spawn

ROOT = pathlib.Path(__file__).resolve().parent.parent
MIB = 2**20
RATIO, PEAK_BYTES = 3, 24 * MIB
SMALL, LARGE = (300_000, 195), (1_500, 600_000)
GZIP = 120_000
BATCH = 1024
FLOATS = 40
# Modules with zlib's interface; those that are not installed are left out.
INFLATERS = {"zlib": "zlib", "zlib-ng": "zlib_ng.zlib_ng", "ISA-L": "isal.isal_zlib"}


def example():
    """A tf.Example whose record has SMALL's size."""
    import numpy as np
    import tensorflow as tf

    feature = {
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[300])),
        "x": tf.train.Feature(float_list=tf.train.FloatList(value=np.linspace(0, 1, FLOATS, dtype=np.float32))),
    }
    record = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    assert len(record) == SMALL[1], len(record)
    return record


def write_files(work):
    import numpy as np
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(work / "small.tfrecord")) as writer:
        record = example()
        for _ in range(SMALL[0]):
            writer.write(record)
    generator = np.random.default_rng(1)
    with tf.io.TFRecordWriter(str(work / "large.tfrecord")) as writer:
        for _ in range(LARGE[0]):
            writer.write(generator.bytes(LARGE[1]))


def write_gzip(path):
    import numpy as np
    import tensorflow as tf

    generator = np.random.default_rng(2)
    words = generator.integers(97, 123, size=(5000, 8)).astype(np.uint8)

    def record():
        text = b" ".join(bytes(words[i]) for i in np.minimum(generator.zipf(1.3, size=30), len(words) - 1))
        feature = {
            "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[int(generator.integers(1000))])),
            "text": tf.train.Feature(bytes_list=tf.train.BytesList(value=[text])),
            "x": tf.train.Feature(float_list=tf.train.FloatList(value=generator.normal(size=FLOATS))),
        }
        return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()

    # The distance between repetitions is far above gzip's window.
    records = [record() for _ in range(GZIP // 3)]
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for _ in range(3):
            for data in records:
                writer.write(data)


def tensorflow_pass(case, path):
    """One pass of tf.data; records and seconds."""
    import tensorflow as tf

    records = tf.data.TFRecordDataset(path, compression_type="GZIP" if case == "gzip" else "")
    if case in ("small", "gzip"):
        # A Python loop over single records would be what is measured.
        records = records.batch(BATCH).prefetch(tf.data.AUTOTUNE)
    elif case == "parse":
        spec = {"label": tf.io.FixedLenFeature([1], tf.int64), "x": tf.io.FixedLenFeature([FLOATS], tf.float32)}
        parse = lambda batch: tf.io.parse_example(batch, spec)
        records = records.batch(BATCH).map(parse, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    start = time.perf_counter()
    count = 0
    for batch in records:
        batch = batch["label"] if case == "parse" else batch
        count += batch.shape[0] if batch.shape.rank else 1
    return count, time.perf_counter() - start


def tensorflow_main(case, path):
    tensorflow_pass(case, path)
    records, seconds = tensorflow_pass(case, path)
    print(json.dumps({"records": records, "seconds": seconds}))


def cat_seconds(path):
    """Seconds to read the file out of the page cache through a buffer of 1 MiB, one that the system copies fast to."""
    buffer = mmap.mmap(-1, MIB)
    start = time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return time.perf_counter() - start


def inflate_seconds(module, path):
    """Seconds in which a module with zlib's interface inflates the file, 64 KiB at a time."""
    inflater = importlib.import_module(module).decompressobj(31)
    start = time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(64 << 10):
            inflater.decompress(block)
    return time.perf_counter() - start


def fastest_inflater(path):
    """Name and seconds of the fastest one."""
    seconds = {}
    for name, module in INFLATERS.items():
        try:
            seconds[name] = statistics.median(inflate_seconds(module, path) for _ in range(5))
        except ImportError:
            print(f"gzip   {name} is not installed")
    return min(seconds.items(), key=lambda item: item[1])


def commands(case, path):
    example = str(ROOT / "target/release/examples/records")
    ours = [example, "read", path]
    if case == "parse":
        ours = [example, "parse", path, str(BATCH), "label:int64:1", f"x:float32:{FLOATS}"]
    return {
        "tightfit": ours,
        "verify": [str(ROOT / "target/release/tightfit"), "records", "verify", path, "--json"],
        "tf.data": [sys.executable, __file__, "--tensorflow", case, path],
    }


def measure(case, path, rounds):
    figures = {name: {"records_per_second": [], "peak_bytes": []} for name in commands(case, path)}
    for _ in range(rounds):
        for name, command in commands(case, path).items():
            code, stdout, stderr, peak_bytes = spawn(command)
            if code:
                raise RuntimeError(f"{name}: exit {code}: {last_line(stderr)}")
            answer = json.loads(stdout)
            assert answer["records"] == {"large": LARGE[0], "gzip": GZIP}.get(case, SMALL[0]), answer
            figures[name]["records_per_second"].append(answer["records"] / answer["seconds"])
            figures[name]["peak_bytes"].append(peak_bytes)
    return {
        name: {
            "records_per_second": statistics.median(figure["records_per_second"]),
            "peak_bytes": max(figure["peak_bytes"]),
        }
        for name, figure in figures.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "tightfit-records")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--tensorflow", nargs=2, metavar=("CASE", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")
    if options.tensorflow:
        return tensorflow_main(*options.tensorflow)
    options.work.mkdir(parents=True, exist_ok=True)
    if not (options.work / "large.tfrecord").exists():
        write_files(options.work)
    if not (options.work / "gzip.tfrecord").exists():
        write_gzip(options.work / "gzip.tfrecord")
    report, missed = {}, False
    for case, file in {"small": "small", "large": "large", "parse": "small", "gzip": "gzip"}.items():
        path = str(options.work / f"{file}.tfrecord")
        figures = measure(case, path, options.rounds)
        rate = figures["tightfit"]["records_per_second"]
        ratio = rate / figures["tf.data"]["records_per_second"]
        report[case] = figures | {"ratio": ratio}
        for name in ("tightfit", "tf.data", "verify"):
            figure = figures[name]
            peak = f"{figure['peak_bytes'] / MIB:7.1f} MiB"
            print(f"{case:6} {name:9} {figure['records_per_second']:12,.0f} records/s   peak {peak}")
        line = f"{case:6} ratio {ratio:.1f}"
        if case == "large":
            cached = os.path.getsize(path) / statistics.median(cat_seconds(path) for _ in range(5))
            share = rate * LARGE[1] / cached
            report[case]["share_of_page_cache_rate"] = share
            line += f", {share:.2f} of the page cache's {cached / 1e9:.1f} GB/s"
            missed |= share < 0.5
        elif case == "gzip":
            name, seconds = fastest_inflater(path)
            share = rate * seconds / GZIP
            report[case]["share_of_fastest_inflater"] = share
            line += f", {share:.2f} of {name} alone"
            missed |= share < 0.9
        else:
            missed |= ratio < RATIO
        missed |= figures["tightfit"]["peak_bytes"] > PEAK_BYTES
        print(line, flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
