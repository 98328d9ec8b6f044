#!/usr/bin/env python3
"""The models of keras.applications, frozen and run by TightFit, beside TensorFlow.

    python bench/keras_applications.py [--models NAME,...] [--bin PATH] [--out DIR] [--seconds N] [--table]

Each model is made with `weights=None` and random values from a seed, settled on its image as `bench/models.py` does it:
every layer's output keeps unit variance, and each statistic, gamma, beta and bias matters. It is exported with
`model.export`, frozen with `tightfit freeze`, and run with `tightfit run` on that image. TensorFlow loads the SavedModel in
a process of its own and computes the same image, and once more with every number of it moved by one unit in the last
place: what that changes is how much the model magnifies rounding. Peaks are ru_maxrss of whole processes; a difference is
the largest one, as a part of the largest output.
Models come in the order of their weights, and none is begun after `--seconds`. What is known of each goes to
DIR/keras_applications.json as soon as it is; `--table` prints that as markdown and measures nothing.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time

import numpy as np

from peers import succeed

MIB = 2**20
SEED = 11
TOLERANCE = 1e-4
# By the bytes of their weights.
MODELS = (
    "MobileNetV3Small MobileNet MobileNetV2 NASNetMobile EfficientNetB0 MobileNetV3Large EfficientNetV2B0 EfficientNetB1 "
    "EfficientNetV2B1 DenseNet121 EfficientNetB2 EfficientNetV2B2 EfficientNetB3 DenseNet169 EfficientNetV2B3 EfficientNetB4 "
    "DenseNet201 EfficientNetV2S Xception InceptionV3 ResNet50V2 ResNet50 ConvNeXtTiny EfficientNetB5 EfficientNetB6 "
    "ResNet101V2 ResNet101 ConvNeXtSmall EfficientNetV2M InceptionResNetV2 ResNet152V2 ResNet152 EfficientNetB7 ConvNeXtBase "
    "NASNetLarge EfficientNetV2L VGG16 VGG19 ConvNeXtLarge ConvNeXtXLarge"
).split()


def make(name, folder):
    """Writes the model as a SavedModel, and an image for it; in a process of its own."""
    import keras
    import models
    import tensorflow as tf

    keras.utils.set_random_seed(SEED)
    rng = np.random.default_rng(SEED)
    model = getattr(keras.applications, name)(weights=None, classifier_activation=None)
    for variable in model.variables:
        if "gamma" in variable.path:
            variable.assign(rng.uniform(0.8, 1.2, variable.shape))
        elif "beta" in variable.path:
            variable.assign(rng.uniform(-0.1, 0.1, variable.shape))
    size = model.input_shape[1] or 224
    # Who rescales takes the numbers of pixels; the others take what their preprocessing gives.
    rescales = any(isinstance(layer, (keras.layers.Rescaling, keras.layers.Normalization)) for layer in model.layers)
    low, high = (0.0, 255.0) if rescales else (-1.0, 1.0)
    image = models.images(rng, 1, size, low, high)
    models.settle(model, tf.constant(image), rng)
    np.save(folder / "image.npy", image)
    model.export(folder / "saved", verbose=False)


def answer(folder):
    """TensorFlow's answer from the SavedModel alone; in a process of its own."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(2)
    # Who drops the model drops its variables.
    loaded = tf.saved_model.load(str(folder / "saved"))
    serve = loaded.signatures["serving_default"]
    (key,) = serve.structured_input_signature[1]
    image = np.load(folder / "image.npy")
    for file, values in {"tensorflow.npy": image, "moved.npy": np.nextafter(image, np.float32(np.inf))}.items():
        (found,) = serve(**{key: tf.constant(values)}).values()
        np.save(folder / file, found.numpy())


def own(*arguments):
    """This script in another process."""
    return succeed(sys.executable, __file__, *arguments)


def measure(name, folder, options):
    own("--make", name, folder)
    frozen = folder / "frozen.pb"
    freezing = succeed(options.bin, "freeze", folder / "saved", "--output", frozen, "--quiet")
    inputs = json.loads(succeed(options.bin, "inspect", frozen, "--json").stdout)["inputs"]
    tensor = inputs[0]["name"].removesuffix(":0")
    fed = f"{tensor}={folder / 'image.npy'}"
    run = succeed(options.bin, "run", frozen, "--input", fed, "--output", folder / "out.npz", "--quiet")
    tensorflow_bytes = own("--answer", folder).peak_bytes
    (found,) = np.load(folder / "out.npz").values()
    expected = np.load(folder / "tensorflow.npy")
    if found.shape != expected.shape or not np.isfinite(expected).all():
        raise RuntimeError(f"{found.shape} beside {expected.shape}, or values that are not finite")
    difference = lambda other: float(np.abs(other - expected).max() / np.abs(expected).max())
    return {
        "file_bytes": frozen.stat().st_size,
        "difference": difference(found),
        "moved_difference": difference(np.load(folder / "moved.npy")),
        "is_same": difference(found) <= TOLERANCE,
        "freeze_bytes": freezing.peak_bytes,
        "run_bytes": run.peak_bytes,
        "tensorflow_bytes": tensorflow_bytes,
    }


def table(results):
    lines = [
        "| model | frozen MB | largest difference | one ulp in TensorFlow | `freeze` MiB | `run` MiB | TensorFlow MiB | part |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in (name for name in MODELS if name in results):
        r = results[name]
        if "failed" in r:
            lines.append(f"| {name} | failed: {r['failed'].replace('|', '/')} |||||||")
            continue
        mib = lambda key: f"{r[key] / MIB:.1f}"
        lines.append(
            f"| {name} | {r['file_bytes'] / 1e6:.1f} | {r['difference']:.1e} | {r['moved_difference']:.1e} | {mib('freeze_bytes')} | {mib('run_bytes')} | "
            f"{mib('tensorflow_bytes')} | {r['run_bytes'] / r['tensorflow_bytes']:.2f} |"
        )
    return "\n".join(lines)


def main():
    root = pathlib.Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--bin", type=pathlib.Path, default=root / "target/release/tightfit")
    parser.add_argument("--out", type=pathlib.Path, default=root / "bench/out")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "keras_applications.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    begin = time.monotonic()
    for name in [] if options.table else options.models.split(","):
        if time.monotonic() - begin > options.seconds:
            print(f"{name}: not begun")
            continue
        with tempfile.TemporaryDirectory(dir=options.out) as folder:
            try:
                results[name] = measure(name, pathlib.Path(folder), options)
            except RuntimeError as error:
                results[name] = {"failed": str(error)}
        kept.write_text(json.dumps(results, indent=1) + "\n")
        print(f"{name}: {results[name]}", flush=True)
    print(table(results))
    return any("failed" in r or not r["is_same"] for r in results.values())


if __name__ == "__main__":
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": ""}
    if sys.argv[1:2] == ["--make"]:
        make(sys.argv[2], pathlib.Path(sys.argv[3]))
    elif sys.argv[1:2] == ["--answer"]:
        answer(pathlib.Path(sys.argv[2]))
    else:
        sys.exit(main())
