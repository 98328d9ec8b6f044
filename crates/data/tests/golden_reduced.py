"""Makes the JPEGs in golden/reduced with what TensorFlow decodes them to at each `ratio`. Run from this folder with
tensorflow 2.x."""

import pathlib
import sys

import numpy as np
import tensorflow as tf

sys.path.insert(0, "../../../tests/golden")
import jpegs

OUT = pathlib.Path("golden/reduced")
PICTURES = {
    "grey": [(2, 2)], "same": [(1, 1)] * 3, "across": [(2, 1), (1, 1), (1, 1)], "both": [(2, 2), (1, 1), (1, 1)],
    "four": [(4, 2), (1, 1), (2, 1)],
}  # fmt: skip


def main():
    OUT.mkdir(exist_ok=True)
    rng = np.random.default_rng(5)
    for name, factors in PICTURES.items():
        file = jpegs.Jpeg(rng, 37, 29, factors, 0.2, 40.0, name == "same").file()
        (OUT / f"{name}.jpg").write_bytes(file)
        for ratio in (2, 4, 8):
            for fancy, method in ((True, "INTEGER_FAST"), (False, "INTEGER_ACCURATE")):
                made = tf.io.decode_jpeg(file, ratio=ratio, fancy_upscaling=fancy, dct_method=method)
                np.save(OUT / f"{name}.{ratio}.{'fast' if fancy else 'accurate'}.npy", made.numpy())


if __name__ == "__main__":
    main()
