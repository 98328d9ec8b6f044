#!/usr/bin/env python3
"""Freezing beside TensorFlow, and past the 2 GiB that TensorFlow reads.

    python bench/freeze.py [--bin PATH] [--out DIR] [--rounds N] [--only vgg16|gigabyte|large] [--large-gb N]

- vgg16: the 0.55 GB model, exported by Keras, frozen by `tightfit freeze` and by TensorFlow's convert_variables_to_constants_v2, each in a
  process of its own, in turns. Peaks are ru_maxrss of whole processes; the time is a ratio of turns, as a machine is never quiet.
- gigabyte: the same for four matrices of 0.27 GB. TensorFlow's process may have 16 GB of data in both.
- large: a SavedModel of `--large-gb` GB (5 if not said) whose shards are sparse: zeros but for one number each, so that it takes
  next to no disk. It is a row of layers, each a product with a matrix of its own. It is frozen under `--memory 256MiB`,
  and the frozen graph, which is not sparse, runs in the same memory; the answer is known.
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import sys
import tempfile

import numpy as np

from peers import last_line, succeed

MIB = 2**20
MEMORY = "256MiB"
TENSORFLOW_BYTES = 16 << 30
# Each matrix of the large model: 8192 x 8192 float32.
SIDE = 8192


def export(folder):
    """VGG16 as a SavedModel; in a process of its own."""
    import keras

    keras.utils.set_random_seed(1)
    keras.applications.VGG16(weights=None).export(folder / "saved", verbose=False)


def freeze(folder):
    """Freezes with TensorFlow; in a process of its own."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    resource.setrlimit(resource.RLIMIT_DATA, (TENSORFLOW_BYTES, TENSORFLOW_BYTES))
    # Who drops the model drops its variables.
    loaded = tf.saved_model.load(str(folder / "saved"))
    serve = loaded.signatures["serving_default"]
    frozen = convert_variables_to_constants_v2(serve)
    (folder / "tensorflow.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString())


def large(folder, layers):
    """A SavedModel of so many matrices, of which no process holds more than one; in a process of its own.

    Matrix `i` is zero but for `i + 1` at [0, i + 1], and each layer adds its product to what it is given.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    tf1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        y = x = tf1.placeholder(tf.float32, [1, SIDE], name="x")
        for i in range(layers):
            shape = dict(shape=[SIDE, SIDE], initializer=tf1.zeros_initializer(), use_resource=True)
            y = y + tf.matmul(y, tf1.get_variable(f"matrix_{i:02}", **shape))
        y = tf.identity(y, name="y")
        meta = tf1.train.export_meta_graph(saver_def=tf1.train.Saver().as_saver_def())
        describe = tf1.saved_model.build_tensor_info
        signature = tf1.saved_model.build_signature_def({"x": describe(x)}, {"y": describe(y)}, "predict")
    meta.meta_info_def.tags.append("serve")
    meta.signature_def["serving_default"].CopyFrom(signature)
    saved = folder / "saved"
    (saved / "variables").mkdir(parents=True)
    model = saved_model_pb2.SavedModel(saved_model_schema_version=1, meta_graphs=[meta])
    (saved / "saved_model.pb").write_bytes(model.SerializeToString())
    shards = []
    for i in range(layers):
        matrix = np.zeros((SIDE, SIDE), np.float32)
        matrix[0, i + 1] = i + 1
        shards.append(str(folder / f"shard_{i:02}"))
        tf.raw_ops.SaveV2(prefix=shards[-1], tensor_names=[f"matrix_{i:02}"], shape_and_slices=[""], tensors=[matrix])
        make_sparse(pathlib.Path(shards[-1] + ".data-00000-of-00001"))
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=shards, destination_prefix=str(saved / "variables/variables"), delete_old_dirs=False
    )


def make_sparse(path):
    """Writes a file again without the blocks that are zero."""
    sparse, block = path.with_suffix(".sparse"), 1 << 20
    with path.open("rb") as old, sparse.open("wb") as new:
        while piece := old.read(block):
            if piece.count(0) == len(piece):
                new.seek(len(piece), os.SEEK_CUR)
            else:
                new.write(piece)
        new.truncate()
    sparse.replace(path)


def own(*arguments):
    """This script in another process."""
    return succeed(sys.executable, __file__, *arguments)


def vgg16(options, work):
    own("--export", work)
    return {"model": "VGG16", **beside_tensorflow(options, work)}


def gigabyte(options, work):
    own("--large", work, 4)
    return {"model": "4 matrices", **beside_tensorflow(options, work)}


def beside_tensorflow(options, work):
    rounds = []
    for _ in range(options.rounds):
        ours = succeed(options.bin, "freeze", work / "saved", "--output", work / "frozen.pb", "--quiet")
        rounds.append((ours, own("--freeze", work)))
    return {
        "saved_bytes": size_of(work / "saved"),
        "freeze_bytes": max(ours.peak_bytes for ours, _ in rounds),
        "tensorflow_bytes": max(theirs.peak_bytes for _, theirs in rounds),
        "seconds": statistics.median(ours.seconds for ours, _ in rounds),
        "tensorflow_seconds": statistics.median(theirs.seconds for _, theirs in rounds),
        # TensorFlow's process starts, loads and freezes; so does ours.
        "time_ratio": statistics.median(ours.seconds / theirs.seconds for ours, theirs in rounds),
    }


def size_of(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def five_gb(options, work):
    layers = -(-int(options.large_gb * 1e9) // (SIDE * SIDE * 4))
    making = own("--large", work, layers)
    saved = work / "saved"
    disk_bytes = sum(file.stat().st_blocks * 512 for file in saved.rglob("*") if file.is_file())
    frozen = work / "frozen.pb"
    freezing = succeed(options.bin, "freeze", saved, "--output", frozen, "--memory", MEMORY)
    x = np.zeros((1, SIDE), np.float32)
    x[0, :3] = 2, 5, 7
    np.save(work / "x.npy", x)
    out = work / "y.npy"
    fed = f"x={work / 'x.npy'}"
    run = succeed(options.bin, "run", frozen, "--input", fed, "--output", out, "--memory", MEMORY, "--quiet")
    expected = x.copy()
    expected[0, 1 : layers + 1] += 2.0 * np.arange(1, layers + 1)
    if not np.array_equal(np.load(out), expected):
        raise RuntimeError("the large model's answer is wrong")
    return {
        "model": f"{layers} matrices",
        "saved_bytes": size_of(saved),
        "disk_bytes": disk_bytes,
        "frozen_bytes": frozen.stat().st_size,
        "making_bytes": making.peak_bytes,
        "freeze_bytes": freezing.peak_bytes,
        "run_bytes": run.peak_bytes,
        "told": last_line(freezing.stdout + freezing.stderr),
    }


def main():
    root = pathlib.Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=root / "target/release/tightfit")
    parser.add_argument("--out", type=pathlib.Path, default=root / "bench/out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["vgg16", "gigabyte", "large"])
    parser.add_argument("--large-gb", type=float, default=5)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, measure in {"vgg16": vgg16, "gigabyte": gigabyte, "large": five_gb}.items():
        if options.only in (None, name):
            work = pathlib.Path(tempfile.mkdtemp(dir=options.out))
            try:
                print(json.dumps(measure(options, work), indent=1), flush=True)
            finally:
                shutil.rmtree(work)


if __name__ == "__main__":
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "CUDA_VISIBLE_DEVICES": ""}
    if sys.argv[1:2] == ["--export"]:
        export(pathlib.Path(sys.argv[2]))
    elif sys.argv[1:2] == ["--freeze"]:
        freeze(pathlib.Path(sys.argv[2]))
    elif sys.argv[1:2] == ["--large"]:
        large(pathlib.Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
