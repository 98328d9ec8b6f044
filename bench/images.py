#!/usr/bin/env python3
"""Decoding JPEGs and resizing them to 224 x 224 beside TensorFlow, one thread each: milliseconds per image.

    cargo build --release -p tightfit-data --example images
    python bench/images.py [--rounds N] [--work DIR] [--json FILE]

Cases: photographs of 500 x 375 (4:2:0 and 4:4:4), of 2000 x 1500 (4:2:0), and grey ones of 500 x 375, all of quality
90. They are made here: noise with the spectrum of photographs, gradients, and shapes with sharp edges.

TensorFlow is `tf.io.decode_jpeg` and `tf.image.resize` in one `tf.function`, with one thread within and between ops,
with its default `dct_method` and with `INTEGER_ACCURATE`. The encoded images are in memory on both sides. Each figure
is the median over passes of a process, then over interleaved rounds. Peak is the process's ru_maxrss, for TightFit
with the files. Exit status 1 when TightFit is slower than TensorFlow's faster one, or its peak above 24 MiB.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

from peers import last_line, spawn

ROOT = pathlib.Path(__file__).resolve().parent.parent
MIB = 2**20
PEAK_BYTES = 24 * MIB
SIDE, PASSES = 224, 9
# Width, height, chroma subsampling (None: grey), and how many.
CASES = {
    "small": (500, 375, "4:2:0", 24),
    "full": (500, 375, "4:4:4", 24),
    "grey": (500, 375, None, 24),
    "large": (2000, 1500, "4:2:0", 4),
}
METHODS = {"default": "", "accurate": "INTEGER_ACCURATE"}


def noise(generator, height, width, power):
    """Noise whose amplitude falls as 1 / frequency ** power, of variance 1."""
    import numpy as np

    down, across = np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width
    frequency = np.hypot(down, across)
    frequency[0, 0] = np.inf
    spectrum = generator.normal(size=(2, *frequency.shape))
    values = np.fft.irfft2((spectrum[0] + 1j * spectrum[1]) / frequency**power, s=(height, width))
    return values / values.std()


def photo(width, height, seed):
    import numpy as np
    from PIL import Image, ImageDraw

    generator = np.random.default_rng(seed)
    down, across = np.mgrid[0:height, 0:width]
    light = 120 + 40 * np.sin(across / width * 2 + seed) + 30 * down / height
    light = light + 38 * noise(generator, height, width, 1.15)
    planes = [light + 14 * noise(generator, height, width, 1.5) for _ in range(3)]
    image = Image.fromarray(np.stack(planes, -1).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        start = generator.integers(0, [width, height])
        end = start + generator.integers(10, [width // 3, height // 3])
        color = tuple(generator.integers(0, 256, 3).tolist())
        shape = (draw.ellipse, draw.rectangle, draw.line)[int(generator.integers(3))]
        shape([*start.tolist(), *end.tolist()], fill=color)
    return image


def write_files(folder, width, height, subsampling, count):
    folder.mkdir(parents=True)
    for seed in range(count):
        path = folder / f"{seed:02}.jpg"
        if subsampling:
            photo(width, height, seed).save(path, quality=90, subsampling=subsampling)
        else:
            photo(width, height, seed).convert("L").save(path, quality=90)


def tensorflow_main(method, channels, files):
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    @tf.function
    def image(encoded):
        return tf.image.resize(tf.io.decode_jpeg(encoded, channels=channels, dct_method=method), (SIDE, SIDE))

    encoded = [tf.constant(pathlib.Path(file).read_bytes()) for file in files]
    times = []
    for _ in range(PASSES):
        start = time.perf_counter()
        for one in encoded:
            image(one)
        times.append((time.perf_counter() - start) / len(encoded) * 1e3)
    print(json.dumps({"ms": statistics.median(times)}))


def commands(channels, files):
    ours = [str(ROOT / "target/release/examples/images"), str(SIDE), str(channels), str(PASSES), *files]
    peers = {
        f"tensorflow {name}": [sys.executable, __file__, "--tensorflow", method, str(channels), *files]
        for name, method in METHODS.items()
    }
    return {"tightfit": ours} | peers


def measure(channels, files, rounds):
    figures = {name: {"ms": [], "peak_bytes": []} for name in commands(channels, files)}
    for _ in range(rounds):
        for name, command in commands(channels, files).items():
            code, stdout, stderr, peak_bytes = spawn(command)
            if code:
                raise RuntimeError(f"{name}: exit {code}: {last_line(stderr)}")
            figures[name]["ms"].append(json.loads(last_line(stdout))["ms"])
            figures[name]["peak_bytes"].append(peak_bytes)
    return {
        name: {"ms": statistics.median(figure["ms"]), "peak_bytes": max(figure["peak_bytes"])}
        for name, figure in figures.items()
    }


def main():
    if sys.argv[1:2] == ["--tensorflow"]:
        os.environ.update(CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")
        return tensorflow_main(sys.argv[2], int(sys.argv[3]), sys.argv[4:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "tightfit-images")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    report, missed = {}, False
    for case, (width, height, subsampling, count) in CASES.items():
        folder = options.work / case
        if not folder.exists():
            write_files(folder, width, height, subsampling, count)
        files = sorted(str(path) for path in folder.iterdir())
        figures = measure(3 if subsampling else 1, files, options.rounds)
        ours = figures["tightfit"]
        for name, figure in figures.items():
            peak = f"{figure['peak_bytes'] / MIB:7.1f} MiB"
            print(f"{case:6} {name:20} {figure['ms']:7.2f} ms   peak {peak}   ratio {figure['ms'] / ours['ms']:.2f}")
        sys.stdout.flush()
        report[case] = figures
        missed |= ours["ms"] > min(figure["ms"] for figure in figures.values())
        missed |= ours["peak_bytes"] > PEAK_BYTES
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
