#!/usr/bin/env python3
"""Recurrent networks of Keras beside TensorFlow, TFLite and OpenVINO.

    python bench/recurrent.py [--models lstm,gru] [--threads 1,2] [--rounds N] [--seconds S] [--bin PATH] [--out DIR]

Two layers of LSTM, or GRU, of 256 units over 128 steps of 64 numbers, one sequence at a time, with random weights. The
model is exported with `model.export`; TightFit and OpenVINO read that SavedModel or what it freezes to, TensorFlow
calls its signature, and TFLite reads what its converter makes of the same model.

Each measurement is a process of its own that loads the model and runs it for S seconds; rounds are interleaved, and a figure
is the median of its rounds' medians. Every engine's answer is compared with TensorFlow's.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np

STEPS, WIDTH, UNITS = 128, 64, 256
ENGINES = ("tightfit", "tensorflow", "tflite", "openvino")
TOLERANCE = 1e-4


def make(kind, folder):
    """The model in each engine's format, its input and TensorFlow's answer; in a process of its own."""
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    keras.utils.set_random_seed(5)
    rng = np.random.default_rng(5)
    layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[kind]
    model = keras.Sequential([keras.Input((STEPS, WIDTH)), layer(UNITS, return_sequences=True), layer(UNITS)])
    for variable in model.variables:
        if variable.path.endswith("bias"):
            variable.assign(rng.uniform(-0.5, 0.5, variable.shape))
    folder.mkdir(parents=True, exist_ok=True)
    x = rng.normal(size=(1, STEPS, WIDTH)).astype(np.float32)
    np.save(folder / "x.npy", x)
    model.export(folder / "saved", verbose=False)
    np.save(folder / "y.npy", model(x).numpy())
    spec = tf.TensorSpec([1, STEPS, WIDTH], tf.float32)
    concrete = tf.function(lambda x: model(x, training=False)).get_concrete_function(spec)
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    (folder / "model.tflite").write_bytes(converter.convert())


def load_tensorflow(folder, x, threads):
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    # Who drops the model drops its variables.
    loaded = tf.saved_model.load(str(folder / "saved"))
    serve = loaded.signatures["serving_default"]
    (key,) = serve.structured_input_signature[1]
    fed = {key: tf.constant(x)}

    def run():
        (found,) = serve(**fed).values()
        return found.numpy()

    run.kept = loaded
    return run


def load_tflite(folder, x, threads):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(folder / "model.tflite"), num_threads=threads)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    output = interpreter.get_output_details()[0]["index"]

    def run():
        interpreter.invoke()
        return interpreter.get_tensor(output)

    return run


def load_openvino(folder, x, threads):
    import openvino

    core = openvino.Core()
    model = core.read_model(str(folder / "saved"))
    model.reshape({model.inputs[0]: list(x.shape)})
    config = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", config).create_infer_request()
    request.set_input_tensor(openvino.Tensor(x))

    def run():
        request.infer()
        return request.get_output_tensor(0).data

    return run


LOADERS = {"tensorflow": load_tensorflow, "tflite": load_tflite, "openvino": load_openvino}


def child(engine, folder, threads, seconds):
    """Loads and runs one engine; in a process of its own."""
    x, expected = np.load(folder / "x.npy"), np.load(folder / "y.npy")
    run = LOADERS[engine](folder, x, threads)
    difference = float(np.abs(run() - expected).max() / np.abs(expected).max())
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        times.append((time.perf_counter() - begin) * 1e3)
    return {"ms": statistics.median(times), "difference": difference}


def measure(engine, folder, threads, options):
    if engine != "tightfit":
        command = [sys.executable, __file__, "--child", engine, folder, threads, options.seconds]
        return json.loads(text(*command).splitlines()[-1])
    command = [options.bin, "bench", folder / "saved", "--batch", 1, "--threads", threads, "--seconds", options.seconds]
    out = folder / "out.npy"
    ran = ("--input", folder / "x.npy", "--output", out, "--threads", threads, "--quiet")
    text(options.bin, "run", folder / "saved", *ran)
    expected = np.load(folder / "y.npy")
    difference = float(np.abs(np.load(out) - expected).max() / np.abs(expected).max())
    return {"ms": json.loads(text(*command, "--json"))["ms_median"], "difference": difference}


def text(*command):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


def main():
    root = pathlib.Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="lstm,gru")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--bin", type=pathlib.Path, default=root / "target/release/tightfit")
    parser.add_argument("--out", type=pathlib.Path, default=root / "bench/out")
    parser.add_argument("--make", action="store_true", help="make the models that are missing, and measure nothing")
    options = parser.parse_args()
    print("| model | threads | " + " | ".join(f"{engine} ms" for engine in ENGINES) + " | ratio to the best | difference |")
    print("| --- | ---: | " + "---: | " * (len(ENGINES) + 2))
    is_same = True
    for kind in options.models.split(","):
        folder = options.out / f"recurrent_{kind}"
        if not (folder / "model.tflite").exists():
            text(sys.executable, __file__, "--make-one", kind, folder)
        for threads in [] if options.make else map(int, options.threads.split(",")):
            rounds = {engine: [] for engine in ENGINES}
            for number in range(options.rounds):
                shift = number % len(ENGINES)
                for engine in ENGINES[shift:] + ENGINES[:shift]:
                    rounds[engine].append(measure(engine, folder, threads, options))
            ms = {engine: statistics.median(r["ms"] for r in found) for engine, found in rounds.items()}
            worst = max(r["difference"] for found in rounds.values() for r in found)
            is_same &= worst <= TOLERANCE
            best = min(value for engine, value in ms.items() if engine != "tightfit")
            figures = " | ".join(f"{ms[engine]:.2f}" for engine in ENGINES)
            print(f"| {kind} | {threads} | {figures} | {ms['tightfit'] / best:.2f} | {worst:.1e} |", flush=True)
    return not is_same


if __name__ == "__main__":
    if sys.argv[1:2] == ["--make-one"]:
        make(sys.argv[2], pathlib.Path(sys.argv[3]))
    elif sys.argv[1:2] == ["--child"]:
        engine, folder, threads, seconds = sys.argv[2:6]
        print(json.dumps(child(engine, pathlib.Path(folder), int(threads), float(seconds))))
    else:
        sys.exit(main())
