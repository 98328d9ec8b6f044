#!/usr/bin/env python3
"""`tightfit records shuffle` on data sets much larger than its memory.

    cargo build --release -p tightfit-cli
    python bench/shuffle.py [--work DIR] [--bytes N] [--record BYTES,...] [--memory SIZE] [--blocks SIZE,...]
                            [--again N] [--threads N] [--cold] [--tensorflow] [--json FILE]

For each record size a file of N bytes is written whose records end in their number, shuffled uniformly and in blocks, and
the result read back: every record must be there once, and two chi-squared tests say whether the order is uniform, 64 by
64 cells of position by number, and the distance from each record to the one after it in 1024 cells. Their results are
given in standard deviations from what a random order gives (after Wilson and Hilferty); within 3.1 is what 998 of 1000
random orders give. A shuffle in blocks keeps neighbours together and fails both by design, unless a block is one
record.

`index` is the first run, which makes the index; the runs after it find it there. `--cold` drops the file from the page
cache before each run. `--tensorflow` runs tf.data's shuffle over the same file too, with a buffer of as many records as
our window holds, and with one for all records when they are 1 GB or less. Peak is the process's ru_maxrss.

Exit status 1 when a peak is above the memory given, a record is lost, or a uniform order is not.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

from peers import last_line, spawn

ROOT = pathlib.Path(__file__).resolve().parent.parent
MIB = 2**20
CELLS, DISTANCES = 64, 1024
FRAMING = 16
LIMIT = 3.1


def crc_table():
    import numpy as np

    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ np.where(table & 1, np.uint32(0x82F63B78), np.uint32(0))
    return table


def crc_of(data, table):
    """The CRC-32C register, not yet inverted, behind `data`."""
    state, table = 0xFFFFFFFF, table.tolist()
    for byte in data:
        state = table[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state


def masked(state):
    import numpy as np

    crc = np.bitwise_not(state).astype(np.uint32)
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)


def write_file(path, record_bytes, count):
    """Records of the same bytes but for the last eight, which are the record's number."""
    import numpy as np

    table = crc_table()
    length = np.array([record_bytes], "<u8").tobytes()
    head = length + masked(np.array([crc_of(length, table)], np.uint32)).astype("<u4").tobytes()
    filler = np.random.default_rng(1).bytes(record_bytes - 8)
    before = crc_of(filler, table)
    whole = record_bytes + FRAMING
    rows = max(1, 64 * MIB // whole)
    block = np.empty((rows, whole), np.uint8)
    block[:, : whole - 12] = np.frombuffer(head + filler, np.uint8)
    with open(path, "wb", buffering=0) as file:
        for start in range(0, count, rows):
            numbers = np.arange(start, min(start + rows, count), dtype="<u8")
            digits = numbers.view(np.uint8).reshape(-1, 8)
            state = np.full(len(numbers), before, np.uint32)
            for at in range(8):
                state = table[(state ^ digits[:, at]) & 0xFF] ^ (state >> np.uint32(8))
            part = block[: len(numbers)]
            part[:, whole - 12 : whole - 4] = digits
            part[:, whole - 4 :] = masked(state).astype("<u4").view(np.uint8).reshape(-1, 4)
            file.write(part)


def deviations(counts):
    import numpy as np

    expected, freedom = counts.mean(), counts.size - 1
    if counts.ndim == 2:
        freedom = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    chi = ((counts - expected) ** 2 / expected).sum()
    spread = 2 / (9 * freedom)
    return float((np.cbrt(chi / freedom) - (1 - spread)) / np.sqrt(spread))


def order_of(numbers):
    """Whether every number is there once, and how far from uniform their order is."""
    import numpy as np

    count = len(numbers)
    seen = np.zeros(count, bool)
    seen[numbers[numbers < count]] = True
    # Cells of equal size, so a rest at the end is left out; with few records, fewer cells.
    cells = int(min(CELLS, max(2, np.sqrt(count / 10))))
    used = count // cells * cells
    positions = np.arange(count)
    keep = (numbers < used) & (positions < used)
    cell = positions[keep] * cells // used * cells + numbers[keep] * cells // used
    table = np.bincount(cell, minlength=cells * cells).reshape(cells, cells)
    distance = (numbers[1:].astype(np.int64) - numbers[:-1]) % count
    spans = int(min(DISTANCES, max(2, count // 50)))
    spread = np.bincount(distance * spans // count, minlength=spans)
    return {
        "complete": bool(seen.all()),
        "place_deviations": deviations(table.astype(float)),
        "neighbour_deviations": deviations(spread.astype(float)),
    }


def numbers_of(path, record_bytes):
    import numpy as np

    whole = record_bytes + FRAMING
    data = np.memmap(path, np.uint8, "r")
    assert len(data) % whole == 0, path
    rows, parts = data.reshape(-1, whole), []
    for start in range(0, len(rows), 1 << 18):
        parts.append(np.ascontiguousarray(rows[start : start + (1 << 18), -12:-4]).view("<u8").ravel())
    return np.concatenate(parts).astype(np.int64)


def drop(path):
    os.sync()
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def shuffle(binary, path, output, memory, options, extra):
    if options.cold:
        drop(path)
    command = [str(binary), "records", "shuffle", str(path), "--output", str(output), "--memory", memory, "--json"]
    command += ["--seed", "1", "--quiet", *extra]
    if options.threads:
        command += ["--threads", str(options.threads)]
    code, stdout, stderr, peak_bytes = spawn(command)
    if code:
        raise RuntimeError(f"exit {code}: {last_line(stderr)}")
    return json.loads(stdout) | {"peak_bytes": peak_bytes}


def tensorflow_main(path, output, buffer_records):
    """tf.data's shuffle: the numbers of the records in its order, and the seconds it took."""
    import numpy as np
    import tensorflow as tf

    def number(records):
        return tf.io.decode_raw(tf.strings.substr(records, -8, 8), tf.int64)[:, 0]

    start = time.perf_counter()
    data = tf.data.TFRecordDataset(path).shuffle(int(buffer_records), seed=1)
    numbers = [batch.numpy() for batch in data.batch(65536).map(number)]
    seconds = time.perf_counter() - start
    np.save(output, np.concatenate(numbers))
    print(json.dumps({"seconds": seconds}))


def tensorflow(path, output, buffer_records):
    import numpy as np

    output = output.with_suffix(".npy")
    command = [sys.executable, __file__, "--run-tensorflow", str(path), str(output), str(buffer_records)]
    code, stdout, stderr, peak_bytes = spawn(command)
    if code:
        raise RuntimeError(f"tf.data: exit {code}: {last_line(stderr)}")
    figures = json.loads(stdout) | {"peak_bytes": peak_bytes} | order_of(np.load(output))
    output.unlink()
    return figures


def show(name, figures):
    order = f"place {figures['place_deviations']:+.1f}, neighbours {figures['neighbour_deviations']:+.1f} deviations"
    index = f" (index {figures['index_seconds']:.1f} s)" if "index_seconds" in figures else ""
    lost = "" if figures["complete"] else "  RECORDS LOST"
    print(f"  {name:28} {figures['seconds']:8.1f} s{index}  peak {figures['peak_bytes'] / MIB:8.1f} MiB  {order}{lost}", flush=True)


def measure(options, record_bytes):
    count = options.bytes // (record_bytes + FRAMING)
    path, output = options.work / f"{record_bytes}.tfrecord", options.work / "shuffled.tfrecord"
    begin = time.perf_counter()
    write_file(path, record_bytes, count)
    print(f"{count:,} records of {record_bytes:,} bytes, written in {time.perf_counter() - begin:.0f} s", flush=True)
    report, missed = {}, False
    limit_bytes = None
    cases = [("uniform, index made", [])] + [("uniform", [])] * options.again
    cases += [(f"blocks of {size}", ["--blocks", size]) for size in options.blocks]
    for name, extra in cases:
        figures = shuffle(options.bin, path, output, options.memory, options, extra)
        figures |= order_of(numbers_of(output, record_bytes))
        output.unlink()
        report[name] = figures
        show(name, figures)
        limit_bytes = parse_size(options.memory)
        missed |= figures["peak_bytes"] > limit_bytes or not figures["complete"]
        is_uniform = max(abs(figures["place_deviations"]), abs(figures["neighbour_deviations"])) <= LIMIT
        missed |= not extra and not is_uniform
    if options.tensorflow:
        window_records = limit_bytes // (record_bytes + FRAMING + 32)
        buffers = [window_records] + ([count] if options.bytes <= 10**9 else [])
        for buffer_records in buffers:
            name = f"tf.data, buffer {buffer_records:,}"
            report[name] = tensorflow(path, output, buffer_records)
            show(name, report[name])
    path.unlink()
    for index in options.work.glob(".*.tfindex"):
        index.unlink()
    return report, missed


def parse_size(text):
    units = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
    return next((int(text[:-3]) * scale for unit, scale in units.items() if text.endswith(unit)), None) or int(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "tightfit-shuffle")
    parser.add_argument("--bytes", type=int, default=10**10)
    parser.add_argument("--record", default="195,600000", help="bytes of a record; several with commas")
    parser.add_argument("--memory", default="128MiB")
    parser.add_argument("--blocks", default="1MiB")
    parser.add_argument("--again", type=int, default=1, help="uniform shuffles that find the index made")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--tensorflow", action="store_true")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "target/release/tightfit")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--run-tensorflow", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")
    if options.run_tensorflow:
        return tensorflow_main(*options.run_tensorflow)
    options.blocks = [size for size in options.blocks.split(",") if size]
    options.work.mkdir(parents=True, exist_ok=True)
    report, missed = {}, False
    for record_bytes in map(int, options.record.split(",")):
        report[record_bytes], is_missed = measure(options, record_bytes)
        missed |= is_missed
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
