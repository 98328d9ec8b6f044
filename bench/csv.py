#!/usr/bin/env python3
"""Rows of CSV a second beside tf.data's CsvDataset.

    cargo build --release -p tightfit-cli
    python bench/csv.py [--bin target/release/tightfit] [--rows N] [--rounds N]

The file has a line of names and ten columns: four int64, four float32 and two of text. Both read all of them, in batches of
1024 rows, one thread each; the rounds are interleaved, and the ratio is that of the medians. TightFit's time is what
`data bench` says, tf.data's that of the second pass of a loop over the data set.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

ROOT = Path(__file__).resolve().parents[1]
BATCH = 1024
NAMES = [*(f"i{k}" for k in range(4)), *(f"f{k}" for k in range(4)), "s0", "s1"]


def write(path, rows):
    with open(path, "w") as file:
        file.write(",".join(NAMES) + "\n")
        for row in range(rows):
            whole = [row, row * 7919 % 100_003, -row, row % 10]
            parts = [row / 7, row * 0.001, 1.5, -row / 3]
            file.write(",".join([*map(str, whole), *(f"{x:.5f}" for x in parts), f"name{row % 97}", "some text"]) + "\n")


def ours(binary, path):
    columns = {name: "int64" if name[0] == "i" else "float32" if name[0] == "f" else "string" for name in NAMES}
    spec = {"source": {"csv": [str(path)], "columns": columns}, "stages": [{"batch": BATCH}]}
    command = [binary, "data", "bench", json.dumps(spec), "--threads", "1", "--seconds", "600", "--json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    rows = next(stage["elements"] for stage in found["stages"] if not stage["inputs"])
    return rows / found["seconds"], found["peak_resident_bytes"]


def theirs(path):
    import tensorflow as tf

    types = [tf.int64 if name[0] == "i" else tf.float32 if name[0] == "f" else tf.string for name in NAMES]
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    data = tf.data.experimental.CsvDataset([str(path)], types, header=True).batch(BATCH).with_options(options)
    for _ in range(2):
        start, rows = time.monotonic(), 0
        for batch in data:
            rows += batch[0].shape[0]
        rate = rows / (time.monotonic() - start)
    return rate


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bin", default=str(ROOT / "target/release/tightfit"))
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        write(path, options.rows)
        bytes_of_row = path.stat().st_size / options.rows
        rates, others, peak = [], [], 0
        for _ in range(options.rounds):
            rate, peak_bytes = ours(options.bin, path)
            rates.append(rate)
            peak = max(peak, peak_bytes)
            others.append(theirs(path))
    rate, other = statistics.median(rates), statistics.median(others)
    print(f"{options.rows} rows of {bytes_of_row:.0f} bytes")
    print(f"TightFit  {rate:12.0f} rows/s, {rate * bytes_of_row / 1e6:.0f} MB/s, peak {peak / 2**20:.1f} MiB")
    print(f"tf.data   {other:12.0f} rows/s")
    print(f"ratio     {rate / other:12.2f}")


if __name__ == "__main__":
    main()
