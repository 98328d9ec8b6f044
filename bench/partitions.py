#!/usr/bin/env python3
"""Models in parts: each part in TensorFlow alone, the chain beside the whole model, and its peak beside the largest part's.

    python bench/partitions.py [--models NAME,...] [--max-bytes SIZE] [--bin PATH] [--out DIR]

Needs what `bench/models.py` wrote into DIR. Each model is cut with `tightfit partition --max-bytes`. TensorFlow loads the
parts one by one, each in a process of its own that has nothing else, and gives what it computes to the next; the last one's
outputs are compared with those of the whole model in TensorFlow. `tightfit run` runs the chain and the whole model on the
same rows: as a call on tensors and as a data set in batches of two. Peaks are ru_maxrss of whole processes. Exit status 1 when
numbers differ by more than 1e-4 of the largest one, when the chain and the whole differ at all, or when the chain's peak passes what the
largest part is planned with.
"""

import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile

import numpy as np

from peers import succeed

MIB = 2**20
TOLERANCE = 1e-4
# How much more a build for development has resident than one that is optimised has: its code alone.
SLACK_BYTES = 4 * MIB
ROWS = 3


def compute(part, taken, given):
    """Runs one part on the arrays in `taken`; in a process of its own, and writes `given`."""
    import tensorflow as tf

    # Who drops the model drops its variables.
    loaded = tf.saved_model.load(part)
    serve = loaded.signatures["serving_default"]
    feeds = {key: tf.constant(value) for key, value in np.load(taken).items()}
    # TensorFlow makes identifiers of the names of arguments, and keeps their order.
    names = serve.structured_input_signature[1]
    assert set(names) == set(feeds), (sorted(names), sorted(feeds))
    np.savez(given, **{key: value.numpy() for key, value in serve(**feeds).items()})


def own(*arguments):
    """This script in another process."""
    return succeed(sys.executable, __file__, *arguments)


def differs(found, expected):
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))


def through_tensorflow(parts, manifest, feeds, work):
    """The outputs of the parts, run by TensorFlow one after the other, and the largest peak."""
    held, peaks = dict(feeds), []
    for part in manifest["parts"]:
        taken, given = work / "taken.npz", work / "given.npz"
        np.savez(taken, **{port["key"]: held[port["tensor"]] for port in part["inputs"]})
        peaks.append(own("--compute", parts / part["folder"], taken, given).peak_bytes)
        arrays = np.load(given)
        held |= {port["tensor"]: arrays[port["key"]] for port in part["outputs"]}
    return {name: held[name] for name in manifest["outputs"]}, max(peaks)


def measure(name, options, work):
    folder, parts = options.out / name, work / "parts"
    model = folder / "model.pb"
    reference = json.loads((folder / "ref_tf/manifest.json").read_text())
    feeds = {entry["name"]: np.load(folder / "ref_tf" / entry["file"])[:ROWS] for entry in reference["in"]}
    expected = {entry["name"]: np.load(folder / "ref_tf" / entry["file"])[:ROWS] for entry in reference["out"]}
    most = options.max_bytes or str(model.stat().st_size // 3)
    succeed(options.bin, "partition", model, "--max-bytes", most, "--output", parts, "--quiet")
    manifest = json.loads((parts / "manifest.json").read_text())
    planned = json.loads(succeed(options.bin, "plan", parts, "--json").stdout)
    largest = max(part["planned_bytes"] for part in planned["parts"])
    found, tensorflow_bytes = through_tensorflow(parts, manifest, feeds, work)
    result = {
        "parts": len(manifest["parts"]),
        "weight_bytes": [part["weight_bytes"] for part in manifest["parts"]],
        "tensorflow_difference": max(differs(found[key], expected[key]) for key in found),
        "tensorflow_peak_bytes": tensorflow_bytes,
        "largest_part_planned_bytes": largest,
    }
    np.savez(work / "rows.npz", **feeds)
    flags = []
    for key, rows in feeds.items():
        np.save(work / f"{key}.npy", rows[:1])
        flags += ["--input", f"{key}={work / key}.npy"]
    ways = {"call": flags, "data": ["--input", work / "rows.npz", "--batch", "2"]}
    for way, given in ways.items():
        outputs, peaks = [], []
        for source in (parts, model):
            out = work / "out.npz"
            peaks.append(succeed(options.bin, "run", source, *given, "--output", out, "--quiet").peak_bytes)
            outputs.append(dict(np.load(out)))
        chain, whole = outputs
        rows = len(next(iter(chain.values())))
        result[way] = {
            "peak_bytes": peaks[0],
            "whole_peak_bytes": peaks[1],
            "is_whole": all(np.array_equal(chain[key], whole[key]) for key in whole),
            "difference": max(differs(chain[key], expected[key][:rows]) for key in chain),
        }
    return result


def is_right(result):
    ways = [result["call"], result["data"]]
    near = [result["tensorflow_difference"], *(way["difference"] for way in ways)]
    fits = result["call"]["peak_bytes"] <= result["largest_part_planned_bytes"] + SLACK_BYTES
    return fits and max(near) <= TOLERANCE and all(way["is_whole"] for way in ways)


def table(results):
    lines = [
        "| model | parts | largest part's weights MiB | its plan MiB | chain MiB | whole MiB | chain in batches of 2 MiB | parts in "
        "TensorFlow, difference | chain is the whole, to the bit |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    mib = lambda value: f"{value / MIB:.1f}"
    for name, r in results.items():
        same = "yes" if r["call"]["is_whole"] and r["data"]["is_whole"] else "no"
        lines.append(
            f"| {name} | {r['parts']} | {mib(max(r['weight_bytes']))} | {mib(r['largest_part_planned_bytes'])} | "
            f"{mib(r['call']['peak_bytes'])} | {mib(r['call']['whole_peak_bytes'])} | {mib(r['data']['peak_bytes'])} | "
            f"{r['tensorflow_difference']:.1e} | {same} |"
        )
    return "\n".join(lines)


def main():
    root = pathlib.Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="resnet50,bert_base")
    parser.add_argument("--max-bytes", help="for every model; else a third of its weights")
    parser.add_argument("--bin", type=pathlib.Path, default=root / "target/release/tightfit")
    parser.add_argument("--out", type=pathlib.Path, default=root / "bench/out")
    options = parser.parse_args()
    results = {}
    for name in options.models.split(","):
        work = pathlib.Path(tempfile.mkdtemp())
        try:
            results[name] = measure(name, options, work)
        finally:
            shutil.rmtree(work)
        print(f"{name}: {json.dumps(results[name])}", flush=True)
    print(table(results))
    return not all(is_right(result) for result in results.values())


if __name__ == "__main__":
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": ""}
    if sys.argv[1:2] == ["--compute"]:
        compute(*sys.argv[2:5])
    else:
        sys.exit(main())
