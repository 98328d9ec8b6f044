"""TensorFlow as the reference: freezes functions, runs frozen graphs, writes cases with expected numbers.

A case is a folder with `model.pb` and `ref_tf/manifest.json`. The manifest lists the tensors to feed (`in`) and the
tensors expected (`out`), each with name, dtype, shape and its `.npy` file (strings as `b64`, a flat list), and the
tolerance (`rtol`, `atol`).
Import this module before TensorFlow: it turns off oneDNN, whose fused kernels round differently, and uses one thread,
so that the same inputs give the same numbers every time.
"""

import base64
import json
import os
import pathlib

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

tf1 = tf.compat.v1


def freeze(function, specs):
    """Traces `function` over `specs` (named TensorSpecs) and turns its variables into constants.

    Returns the GraphDef with control flow lowered, and the names of its outputs in order.
    """
    concrete = tf.function(function, autograph=False).get_concrete_function(*specs)
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=True)
    return frozen.graph.as_graph_def(), [t.name.removesuffix(":0") for t in frozen.outputs]


def graph_of(build):
    """Runs `build()` in a fresh TF1-style graph; returns the GraphDef and what `build` returned."""
    with tf.Graph().as_default() as graph:
        result = build()
        return graph.as_graph_def(), result


def prune(graph_def, outputs):
    """Keeps the nodes that `outputs` need, and drops what names the machine or the TensorFlow build."""
    pruned = tf1.graph_util.extract_sub_graph(graph_def, outputs)
    for node in pruned.node:
        node.device = ""
    return pruned


def evaluate(graph_def, feeds, fetches):
    """The values of `fetches` when `feeds` (name -> array) go in, computed by TensorFlow on one thread."""
    config = tf1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    # The graph as it stands: no rewriting by TensorFlow's own optimizer.
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    port = lambda name: name if ":" in name else name + ":0"
    with tf.Graph().as_default() as graph, tf1.Session(graph=graph, config=config) as session:
        tf.graph_util.import_graph_def(graph_def, name="")
        return session.run([port(f) for f in fetches], {port(k): v for k, v in feeds.items()})


def write_case(folder, graph_def, feeds, fetches, rtol, atol):
    """Writes `model.pb`, the inputs, TensorFlow's outputs and the manifest that ties them together."""
    folder = pathlib.Path(folder)
    ref = folder / "ref_tf"
    ref.mkdir(parents=True, exist_ok=True)
    for stale in ref.glob("*.npy"):
        stale.unlink()
    (folder / "model.pb").write_bytes(graph_def.SerializeToString(deterministic=True))
    values = evaluate(graph_def, feeds, fetches)
    manifest = {
        "engine": f"tensorflow-cpu {tf.__version__} (TF_ENABLE_ONEDNN_OPTS={os.environ['TF_ENABLE_ONEDNN_OPTS']}, 1 thread)",
        "rtol": rtol,
        "atol": atol,
        "in": [_entry(ref, "in", name, value) for name, value in feeds.items()],
        "out": [_entry(ref, "out", name, value) for name, value in zip(fetches, values)],
    }
    (ref / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return dict(zip(fetches, values))


def _entry(ref, kind, name, value):
    value = np.asarray(value)
    if value.dtype.kind in "OSU":
        flat = [base64.b64encode(v if isinstance(v, bytes) else v.encode()).decode() for v in value.ravel()]
        return {"name": name, "dtype": "string", "shape": list(value.shape), "b64": flat}
    file = f"{kind}_{name.replace('/', '_').replace(':', '_')}.npy"
    np.save(ref / file, value)
    return {"name": name, "dtype": str(value.dtype), "shape": list(value.shape), "file": file}
