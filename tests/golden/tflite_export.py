"""Freezes models to TensorFlow Lite, runs the files in LiteRT and compares the outputs with those that TightFit computes of the
models themselves.

    python tests/golden/tflite_export.py --bin target/debug/tightfit MODEL.. [--rows 2]
"""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
from ai_edge_litert.interpreter import Interpreter


def inputs_of(runner, rows, seed=0):
    random = np.random.default_rng(seed)
    feeds = {}
    for name, detail in runner.get_input_details().items():
        shape = [rows if dim == -1 else dim for dim in detail["shape_signature"]]
        if np.issubdtype(detail["dtype"], np.integer):
            feeds[name] = random.integers(0, 2 if "mask" in name or "segment" in name else 100, shape).astype(detail["dtype"])
        else:
            feeds[name] = random.random(shape, np.float32)
    return feeds


def check(binary, model, rows, folder):
    lite = folder / "model.tflite"
    subprocess.run([binary, "freeze", model, "--output", lite, "--quiet"], check=True)
    interpreter = Interpreter(str(lite), num_threads=2)
    runner = interpreter.get_signature_runner()
    feeds = inputs_of(runner, rows)
    found = runner(**feeds)
    args = []
    for name, value in feeds.items():
        np.save(folder / f"{len(args)}.npy", value)
        args.append(f"{name}={folder}/{len(args)}.npy")
    out = folder / "out.npz"
    worst = {}
    for source in (model, lite):
        subprocess.run([binary, "run", source, "--quiet", "--output", out, *(a for f in args for a in ("--input", f))], check=True)
        expected = np.load(out)
        assert sorted(expected.files) == sorted(found), (expected.files, sorted(found))
        worst[str(source)] = max(float(np.abs(expected[name] - found[name]).max()) for name in found)
    return {"model": str(model), "bytes": lite.stat().st_size, "operators": len(interpreter._get_ops_details()),
            "to_the_model": worst[str(model)], "to_the_file": worst[str(lite)]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="+")
    parser.add_argument("--bin", default="target/debug/tightfit")
    parser.add_argument("--rows", type=int, default=2)
    args = parser.parse_args()
    for model in args.models:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(check(args.bin, model, args.rows, pathlib.Path(folder))), flush=True)


if __name__ == "__main__":
    main()
