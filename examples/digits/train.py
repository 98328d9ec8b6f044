#!/usr/bin/env python3
"""Trains the digits example and writes its files beside this script.

    python examples/digits/train.py

The data are scikit-learn's handwritten digits: 1,797 scans of 8 x 8 pixels with 17 grey levels, from the UCI
"Optical Recognition of Handwritten Digits" set. A fifth of them is held out, chosen by a fixed seed, and is never
trained on. Needs the packages in bench/requirements.txt; takes about half a minute.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "bench"))

import oracle  # before TensorFlow: it sets the environment
import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = 7
GREY_LEVELS = 16.0
EPOCHS = 60
SAMPLES = (0, 2, 3, 5, 8)


def network():
    layers = keras.layers
    return keras.Sequential([
        keras.Input((8, 8, 1), name="image"),
        layers.RandomTranslation(0.1, 0.1, fill_mode="constant", seed=SEED),
        layers.RandomRotation(0.03, fill_mode="constant", seed=SEED),
        layers.Conv2D(16, 3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(32, 3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.MaxPooling2D(),
        layers.Conv2D(48, 3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.2, seed=SEED),
        layers.Dense(10, activation="softmax"),
    ])


def train(images, labels):
    keras.utils.set_random_seed(SEED)
    model = network()
    steps = EPOCHS * -(-len(images) // 32)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy")
    model.fit(images, labels, batch_size=32, epochs=EPOCHS, verbose=0)
    return model


def export(model, path):
    """Freezes the model with `image` as its input and `probabilities` as its output."""
    function = lambda image: tf.identity(model(image, training=False), name="probabilities")
    spec = tf.TensorSpec([None, 8, 8, 1], tf.float32, name="image")
    graph_def, _ = oracle.freeze(function, [spec])
    graph_def = oracle.prune(graph_def, ["probabilities"])
    path.write_bytes(graph_def.SerializeToString(deterministic=True))
    return graph_def


def write_records(path, images, labels):
    """tf.Examples of `image`, 64 floats in 0..1 row by row, and `label`, one int64."""
    feature = tf.train.Feature
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image, label in zip(images, labels):
            example = tf.train.Example(features=tf.train.Features(feature={
                "image": feature(float_list=tf.train.FloatList(value=image.ravel())),
                "label": feature(int64_list=tf.train.Int64List(value=[int(label)])),
            }))
            writer.write(example.SerializeToString(deterministic=True))


def write_pictures(images, labels):
    """The first held-out scan of some digits, as 8 x 8 grey PNGs: 0..1 becomes 0..255."""
    for digit in SAMPLES:
        image = images[labels == digit][0, :, :, 0]
        grey = np.round(image * 255.0).astype(np.uint8)
        Image.fromarray(grey).save(HERE / f"digit_{digit}.png", optimize=True)


def main():
    data = load_digits()
    images = (data.images[..., np.newaxis] / GREY_LEVELS).astype(np.float32)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, data.target, test_size=0.2, random_state=SEED, stratify=data.target
    )
    graph_def = export(train(train_images, train_labels), HERE / "digits.pb")
    write_records(HERE / "test.tfrecord", test_images, test_labels)
    write_pictures(test_images, test_labels)
    (HERE / "labels.txt").write_text("".join(f"{name}\n" for name in (
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"
    )))
    # The figure comes from the exported file, not from the model in memory.
    (probabilities,) = oracle.evaluate(graph_def, {"image": test_images}, ["probabilities"])
    right = int((probabilities.argmax(axis=1) == test_labels).sum())
    print(f"{right} of {len(test_labels)} held-out digits right: {100 * right / len(test_labels):.2f} %")


if __name__ == "__main__":
    main()
