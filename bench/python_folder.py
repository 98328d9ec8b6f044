#!/usr/bin/env python3
"""A folder of JPEGs through MobileNetV2 from Python, beside `tf.data` and Keras' `model.predict`: images per second.

    pip install ./crates/python && python bench/python_folder.py [--rounds N] [--images N] [--memory SIZE] [--work DIR]

The pictures are photographs of 500 x 375 as `bench/images.py` makes them. TensorFlow reads them with
`keras.utils.image_dataset_from_directory` (decoded and resized in parallel, in batches of 32), scales them with
`mobilenet_v2.preprocess_input`, and prefetches. TightFit takes the model that Keras exports, and `predict`s the folder.

Each measurement is a process of its own, in interleaved rounds: the folder is gone through once to warm up, and then timed.
Figures are medians; peak is the process's VmHWM, Python and NumPy included. TensorFlow decodes with its faster and less
accurate DCT, which changes answers; for the first batch the model's answers to what the accurate one gives are compared.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

SIDE, BATCH = 224, 32
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def prepare(work, images):
    """Makes the pictures, and the model as Keras keeps it and as it exports it."""
    import models
    import keras
    import numpy as np
    import tensorflow as tf
    from images import photo

    folder = work / "photos"
    folder.mkdir(parents=True)
    for number in range(images):
        photo(500, 375, number).save(folder / f"{number:04}.jpg", quality=90)
    # As models.py makes it: weights under which answers differ from picture to picture.
    keras.utils.set_random_seed(models.SEED)
    rng = np.random.default_rng(models.SEED)
    model = keras.applications.MobileNetV2(weights=None)
    models.settle(model, tf.constant(models.images(rng, models.ROWS, SIDE, -1.0, 1.0)), rng)
    model.save(work / "model.keras")
    model.export(work / "saved_model", verbose=False)


def tensorflow(work, _):
    import keras

    model = keras.models.load_model(work / "model.keras")
    images = keras.utils.image_dataset_from_directory(
        work / "photos", labels=None, image_size=(SIDE, SIDE), batch_size=BATCH, shuffle=False, verbose=False
    )
    images = images.map(keras.applications.mobilenet_v2.preprocess_input).prefetch(2)
    return lambda: model.predict(images, verbose=0), lambda: model.predict(accurate(work), verbose=0)


def accurate(work):
    """The first batch, decoded as exactly as TightFit does."""
    import keras
    import tensorflow as tf

    paths = sorted((work / "photos").iterdir())[:BATCH]
    encoded = [tf.io.read_file(str(path)) for path in paths]
    decoded = [tf.io.decode_jpeg(image, dct_method="INTEGER_ACCURATE") for image in encoded]
    pixels = tf.stack([tf.image.resize(image, (SIDE, SIDE)) for image in decoded])
    return keras.applications.mobilenet_v2.preprocess_input(pixels)


def tightfit(work, memory):
    import tightfit

    model = tightfit.Model(work / "saved_model", memory=memory)

    def predict():
        (scores,) = model.predict(work / "photos", resize=(SIDE, SIDE), preprocess="tf").values()
        return scores

    return predict, lambda: predict()[:BATCH]


SIDES = {"tightfit": tightfit, "tensorflow": tensorflow}


def measure(side, work, memory):
    """Seconds of going through the folder, and the peak; the answers are written beside the pictures."""
    import numpy as np

    predict, first_batch = SIDES[side](work, memory)
    predict()
    begin = time.perf_counter()
    predict()
    seconds = time.perf_counter() - begin
    np.save(work / f"{side}.npy", first_batch())
    with open("/proc/self/status") as file:
        peak = next(line for line in file if line.startswith("VmHWM"))
    print(seconds, int(peak.split()[1]) * 1024)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--memory", default="64MiB")
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        return measure(options.side, options.work, options.memory)
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or pathlib.Path(folder)
        if not (work / "saved_model").is_dir():
            prepare(work, options.images)
        found = {side: [] for side in SIDES}
        for number in range(options.rounds):
            for side in list(SIDES) if number % 2 == 0 else reversed(SIDES):
                command = [sys.executable, __file__, "--side", side, "--work", work, "--memory", options.memory]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(done.stderr)
                found[side].append([float(word) for word in done.stdout.split()[-2:]])
        import numpy as np

        images = len(list((work / "photos").iterdir()))
        ours, theirs = (np.load(work / f"{side}.npy") for side in SIDES)
        print(f"largest difference {np.abs(ours - theirs).max():.1e} of {np.abs(theirs).max():.1e}, {images} images")
    rates, peaks = {}, {}
    for side, runs in found.items():
        rates[side] = images / statistics.median(seconds for seconds, _ in runs)
        peaks[side] = statistics.median(peak for _, peak in runs)
        print(f"{side:10} {rates[side]:7.1f} images/s, peak {peaks[side] / 2**20:7.1f} MiB")
    ratio, part = rates["tightfit"] / rates["tensorflow"], peaks["tightfit"] / peaks["tensorflow"]
    print(f"{ratio:.2f} x the rate, {part:.3f} of the peak")


if __name__ == "__main__":
    main()
