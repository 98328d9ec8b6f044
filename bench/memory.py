#!/usr/bin/env python3
"""Measures TightFit's memory and its time to the first answer on the benchmark models, against their targets.

    python bench/memory.py [--models NAME,...] [--threads N] [--rounds N] [--bin PATH] [--out DIR] [--json FILE]

Needs what `bench/models.py` wrote into DIR. Each figure is the peak resident memory of one whole process (ru_maxrss,
what `/usr/bin/time -v` prints) running `tightfit run` at batch 1, the largest of N rounds:

- resident: no limit given, the weights in memory;
- streamed: `--memory` at the smallest size that `tightfit plan --json` names (`minimum_bytes`), which must hold.

The first answer is the wall time of that process from start to exit, the smallest of N rounds (so that the file is in
the page cache), against 0.1 s + file size / 2 GB/s. Exit status 1 when a target is missed.
"""

import argparse
import json
import pathlib
import sys
import tempfile
import time

import numpy as np

from peers import MODELS, last_line, names, spawn

MIB = 2**20
# Peak resident bytes at batch 1 and 2 threads: (resident, streamed); None where there is no target.
TARGETS = {
    "mobilenet_v2": (32 * MIB, None),
    "resnet50": (128 * MIB, None),
    "inception_v3": (120 * MIB, None),
    "efficientnet_b0": (44 * MIB, None),
    "vgg16": (600 * MIB, 96 * MIB),
    "bert_base": (450 * MIB, 64 * MIB),
}
START_SECONDS = 0.1
LOAD_BYTES_PER_SECOND = 2e9


def inputs(folder, work):
    """`--input` flags that feed the first of the reference rows."""
    manifest = json.loads((folder / "ref_tf/manifest.json").read_text())
    flags = []
    for entry in manifest["in"]:
        row = work / entry["file"]
        np.save(row, np.load(folder / "ref_tf" / entry["file"])[:1])
        flags += ["--input", f"{entry['name']}={row}"]
    return flags


def run(options, model, flags, work, memory_bytes=None):
    """The peak over rounds and the quickest round of one way to run the model."""
    command = [str(options.bin), "run", str(options.out / model / "model.pb"), *flags]
    command += ["--output", str(work / "out.npz"), "--threads", str(options.threads), "--quiet"]
    command += ["--memory", str(memory_bytes)] if memory_bytes else []
    peaks, seconds = [], []
    for _ in range(options.rounds):
        start = time.perf_counter()
        code, _, stderr, peak_bytes = spawn(command)
        seconds.append(time.perf_counter() - start)
        if code:
            return {"failed": f"exit {code}: {last_line(stderr)}"}
        peaks.append(peak_bytes)
    return {"peak_resident_bytes": max(peaks), "seconds": min(seconds)}


def minimum_bytes(options, model):
    command = [str(options.bin), "plan", str(options.out / model / "model.pb"), "--batch", "1", "--json"]
    code, stdout, stderr, _ = spawn(command + ["--threads", str(options.threads)])
    if code:
        raise RuntimeError(f"plan: exit {code}: {last_line(stderr)}")
    return json.loads(stdout)["minimum_bytes"]


def measure(options, model):
    folder = options.out / model
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        flags = inputs(folder, work)
        resident = run(options, model, flags, work)
        try:
            least = minimum_bytes(options, model)
            streamed = {"budget_bytes": least, **run(options, model, flags, work, least)}
        except (RuntimeError, ValueError, KeyError) as error:
            streamed = {"failed": str(error)}
    return {"file_bytes": (folder / "model.pb").stat().st_size, "resident": resident, "streamed": streamed}


def rows_of(model, result):
    """Table rows (way, peak, target, seconds, target, kept?) of one model."""
    limit_seconds = START_SECONDS + result["file_bytes"] / LOAD_BYTES_PER_SECOND
    for way, target_bytes in zip(("resident", "streamed"), TARGETS[model]):
        figures = result[way]
        if "failed" in figures:
            yield way, figures["failed"], None, None, None, False
            continue
        kept = target_bytes is None or figures["peak_resident_bytes"] <= target_bytes
        # The contract, whatever the target: a budget is never passed.
        kept &= figures["peak_resident_bytes"] <= figures.get("budget_bytes", figures["peak_resident_bytes"])
        if way == "resident":
            kept &= figures["seconds"] <= limit_seconds
        yield (way, figures["peak_resident_bytes"], figures.get("budget_bytes"), target_bytes,
               (figures["seconds"], limit_seconds if way == "resident" else None), kept)


def table(results):
    """The markdown table, and whether everything was kept."""
    lines = ["| model | weights | peak MiB | budget MiB | target MiB | first answer s | target s | |",
             "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"]
    mib = lambda value: f"{value / MIB:.1f}" if value else ""
    good = True
    for model, result in results.items():
        for way, peak, budget, target, seconds, kept in rows_of(model, result):
            good &= kept
            if seconds is None:
                lines.append(f"| {model} | {way} | {peak.replace('|', '/')} |||||| failed |")
                continue
            taken, limit = seconds
            limit = f"{limit:.2f}" if limit else ""
            word = "" if kept else "missed"
            lines.append(f"| {model} | {way} | {mib(peak)} | {mib(budget)} | {mib(target)} | {taken:.2f} | {limit} | {word} |")
    return "\n".join(lines), good


def main():
    root = pathlib.Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=lambda t: names(t, MODELS), default=list(MODELS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bin", type=pathlib.Path, default=root / "target/release/tightfit")
    parser.add_argument("--out", type=pathlib.Path, default=root / "bench/out")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures to this file")
    options = parser.parse_args()
    if not options.bin.exists():
        parser.error(f"no {options.bin}: build it with `cargo build --release` or give --bin")
    missing = [m for m in options.models if not (options.out / m / "model.pb").exists()]
    if missing:
        parser.error(f"no {options.out}/{missing[0]}/model.pb: make it with bench/models.py --out {options.out}")
    results = {model: measure(options, model) for model in options.models}
    text, good = table(results)
    print(f"Batch 1, {options.threads} threads, {options.rounds} rounds.\n\n{text}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
