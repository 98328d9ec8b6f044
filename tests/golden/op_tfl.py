#!/usr/bin/env python3
"""Golden cases of TFLite's operators on integers, with the answers of LiteRT's reference kernels.

    python tests/golden/op_tfl.py [--only TEXT]                        writes `ops/tfl_*`
    python tests/golden/op_tfl.py --fuzz BIN --seeds 0:100 [--only TEXT]   holds random ones against `answers`

BIN is `crates/tightfit/examples/answers.rs`. Needs ai-edge-litert and flatbuffers beside TensorFlow. An integer may differ
by 1 where LiteRT's own kernels do; most are the same.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zlib

HERE = pathlib.Path(__file__).resolve().parent
# Nodes of a golden case, and of a random graph.
NODES, RANDOM_NODES = 3, 6
# What is not LiteRT's arithmetic to the last step: sums and products that it rounds as floats.
WITHIN_A_STEP = ("reduced_sum", "fully_connected", "l2_normalization")


def build(make, seed, nodes):
    """A graph of random operators of one maker. What LiteRT refuses is left out."""
    from tfl_model import Graph

    graph = Graph(seed)
    for number in range(nodes * 4):
        if len(graph.outputs) == nodes:
            break
        op, inputs, output, attributes = make(graph.rng)
        try:
            graph.node(f"n{number}", op, inputs, output, **attributes)
        except (RuntimeError, ValueError) as error:
            print("LiteRT refuses:", str(error).splitlines()[0][:150], file=sys.stderr)
    return graph


def write(name, graph):
    """A case in the format of `bench/oracle.py`."""
    sys.path.insert(0, str(HERE.parents[1] / "bench"))
    import ai_edge_litert
    import numpy as np
    import oracle

    folder = HERE / "ops" / name
    ref = folder / "ref_tf"
    ref.mkdir(parents=True, exist_ok=True)
    for stale in ref.glob("*.npy"):
        stale.unlink()
    (folder / "model.pb").write_bytes(graph.graph_def.SerializeToString(deterministic=True))
    is_float = any(v.dtype.kind == "f" for v in graph.outputs.values())
    manifest = {
        "engine": f"ai-edge-litert {ai_edge_litert.__version__}, reference kernels",
        "rtol": 1e-5 if is_float else 0,
        "atol": 1e-5 if is_float else int(any(part in name for part in WITHIN_A_STEP)),
        "in": [oracle._entry(ref, "in", key, np.asarray(value)) for key, value in graph.feeds.items()],
        "out": [oracle._entry(ref, "out", key, value) for key, value in graph.outputs.items()],
    }
    (ref / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    print(f"{name}: {len(graph.outputs)} outputs")


def ask(process, path, graph):
    """The outputs of `answers`, or its error."""
    import numpy as np

    feeds = [{"name": k, "dtype": str(v.dtype), "shape": list(v.shape)} for k, v in graph.feeds.items()]
    question = {"model": str(path), "feeds": feeds, "fetches": list(graph.outputs), "threads": 2}
    process.stdin.write(json.dumps(question).encode() + b"\n")
    for value in graph.feeds.values():
        process.stdin.write(np.ascontiguousarray(value).tobytes())
    process.stdin.flush()
    head = json.loads(process.stdout.readline())
    if "error" in head:
        return head["error"]
    values = []
    for entry in head["outputs"]:
        dtype = np.dtype(entry["dtype"])
        count = int(np.prod(entry["shape"], dtype=np.int64))
        data = process.stdout.read(count * dtype.itemsize)
        values.append(np.frombuffer(data, dtype).reshape(entry["shape"]))
    return values


def compare(name, seed, graph, answers, tally):
    import numpy as np

    if isinstance(answers, str):
        print(f"{name} {seed}: {answers}")
        tally["errors"] += 1
        return
    for (output, expected), value in zip(graph.outputs.items(), answers):
        if value.shape != expected.shape or value.dtype != expected.dtype:
            print(f"{name} {seed} {output}: {value.dtype}{value.shape}, not {expected.dtype}{expected.shape}")
            tally["shapes"] += 1
            continue
        far = np.abs(value.astype(np.float64) - expected.astype(np.float64))
        if expected.dtype.kind == "f":
            far = far / (1e-5 + 1e-5 * np.abs(expected))
        most = float(far.max(initial=0))
        tally["same" if most == 0 else "within a step" if most <= 1 else "far"] += 1
        tally["elements"] += far.size
        tally["elements that differ"] += int((far > 0).sum())
        if most > 1:
            print(f"{name} {seed} {output}: off by {most} at {int(far.argmax())} of {far.size}")


def fuzz(options, makers):
    first, last = map(int, options.seeds.split(":"))
    process = subprocess.Popen([options.fuzz], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.pb"
        for name, make in makers.items():
            tally = collections.Counter()
            for seed in range(first, last):
                graph = build(make, seed, RANDOM_NODES)
                path.write_bytes(graph.graph_def.SerializeToString())
                compare(name, seed, graph, ask(process, path, graph), tally)
            print(name, dict(tally), flush=True)
    process.stdin.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="makers whose name contains this text")
    parser.add_argument("--fuzz", help="the binary that answers")
    parser.add_argument("--seeds", default="0:20")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tfl_cases import MAKERS

    makers = {name: make for name, make in MAKERS.items() if options.only in name}
    if options.fuzz:
        return fuzz(options, makers)
    for name, make in makers.items():
        write(f"tfl_{name}", build(make, zlib.crc32(name.encode()), NODES))


if __name__ == "__main__":
    main()
