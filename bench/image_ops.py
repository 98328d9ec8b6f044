#!/usr/bin/env python3
"""Image operations beside TensorFlow's, each on one thread: how many times as long TensorFlow takes.

    cargo build --release -p tightfit-data --example image_ops
    python bench/image_ops.py [--rounds N] [--seconds S]

Pictures are of 480 x 640 pixels, uint8 unless it says otherwise. A round runs both, one after the other; a figure is
the median of a round's runs, a line the median of the rounds. TensorFlow's function is compiled (tf.function) with
one thread, and its result is not fetched.
"""

import argparse
import os
import statistics
import subprocess
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

BINARY = Path(__file__).parent.parent / "target/release/examples/image_ops"
SIZE = (480, 640)


def cases():
    image = tf.image
    for method in ("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic"):
        for antialias in (False, True):
            if antialias and method in ("nearest", "area"):
                continue
            words = ["resize", "size=224,224", f"method={method}", f"antialias={str(antialias).lower()}"]
            yield "uint8", words, lambda x: image.resize(x, (224, 224), method, antialias=antialias)
    yield "float32", ["resize", "size=224,224"], lambda x: image.resize(x, (224, 224))
    yield "uint8", ["resize", "size=960,1280", "method=bicubic"], lambda x: image.resize(x, (960, 1280), "bicubic")
    yield "uint8", ["resize_with_pad", "size=224,224", "method=area"], lambda x: image.resize_with_pad(x, 224, 224, "area")
    yield "uint8", ["central_crop", "fraction=0.875"], lambda x: image.central_crop(x, 0.875)
    for name in ("flip_left_right", "flip_up_down", "transpose", "rot90", "per_image_standardization", "rgb_to_grayscale"):
        yield "uint8", [name], getattr(image, name)
    yield "uint8", ["convert_image_dtype", "dtype=float32"], lambda x: image.convert_image_dtype(x, tf.float32)
    yield "float32", ["convert_image_dtype", "dtype=uint8", "saturate=true"], lambda x: image.convert_image_dtype(x, tf.uint8, True)
    for dtype in ("uint8", "float32"):
        yield dtype, ["adjust_brightness", "delta=0.1"], lambda x: image.adjust_brightness(x, 0.1)
        yield dtype, ["adjust_contrast", "factor=1.5"], lambda x: image.adjust_contrast(x, 1.5)
        yield dtype, ["adjust_saturation", "factor=1.5"], lambda x: image.adjust_saturation(x, 1.5)
        yield dtype, ["adjust_hue", "delta=0.1"], lambda x: image.adjust_hue(x, 0.1)
    yield "float32", ["adjust_gamma", "gamma=2.2"], lambda x: image.adjust_gamma(x, 2.2)
    yield "float32", ["rgb_to_hsv"], image.rgb_to_hsv
    yield "float32", ["hsv_to_rgb"], image.hsv_to_rgb


def theirs(function, picture, seconds):
    times, begin = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        function(picture)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def ours(dtype, words, seconds):
    command = [BINARY, *map(str, SIZE), "3", dtype, str(seconds), *words]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each side in a round")
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    pixels = tf.random.uniform((*SIZE, 3), 0, 256, tf.int32, seed=1)
    pictures = {"uint8": tf.cast(pixels, tf.uint8), "float32": tf.cast(pixels, tf.float32) / 255}
    print(f"{'operation':64} {'ours ms':>9} {'TF ms':>9} {'ratio':>7}")
    for dtype, words, function in cases():
        compiled = tf.function(function)
        compiled(pictures[dtype])
        rounds = [
            (ours(dtype, words, options.seconds), theirs(compiled, pictures[dtype], options.seconds))
            for _ in range(options.rounds)
        ]
        mine, other = (statistics.median(side) for side in zip(*rounds))
        print(f"{dtype + ' ' + ' '.join(words):64} {mine:9.3f} {other:9.3f} {other / mine:7.2f}", flush=True)


if __name__ == "__main__":
    main()
