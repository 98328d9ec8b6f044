"""What TensorFlow and the program answer to a graph, and whether both are the same, for `fuzz.py`."""

import json
import pathlib
import select
import subprocess

import numpy as np
import tensorflow as tf

from fuzz_graph import NUMPY

tf1 = tf.compat.v1
# How far a value may lie from TensorFlow's, relative to it, and relative to the largest beside it or that was fed.
TOLERANCES = {"float16": (8e-3, 4e-3), "bfloat16": (4e-2, 3e-2), "float32": (1e-4, 2e-5), "float64": (1e-9, 1e-10),
              "complex64": (1e-4, 2e-5), "complex128": (1e-9, 1e-10)}
# How long an answer may take.
SECONDS = 30


def tensorflow(graph):
    """TensorFlow's values of the fetched tensors, or why it refuses the graph."""
    config = tf1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1, use_per_session_threads=False)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    config.graph_options.optimizer_options.opt_level = -1
    fetches = [f.name if ":" in f.name else f.name + ":0" for f in graph.fetches]
    try:
        with tf.Graph().as_default() as tf_graph:
            tf.graph_util.import_graph_def(graph.graph_def, name="")
            with tf1.Session(graph=tf_graph, config=config) as session:
                return session.run(fetches, {k if ":" in k else k + ":0": v for k, v in graph.feeds.items()})
    except Exception as error:  # every kind of refusal
        return f"{type(error).__name__}: {error}"


class Program:
    """The program under test, which answers one graph after the other. One that ends or hangs is started again."""

    def __init__(self, path, folder, says=subprocess.DEVNULL):
        self.path, self.model, self.process, self.says = path, pathlib.Path(folder) / "model.pb", None, says

    def ask(self, graph, threads=1):
        """The values, or the line that the program fails with."""
        if self.process is None:
            self.process = subprocess.Popen([self.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.says)
        self.model.write_bytes(graph.graph_def.SerializeToString())
        feeds, data = [], b""
        for name, value in graph.feeds.items():
            value = np.asarray(value)
            feed = {"name": name, "shape": value.shape, "dtype": "string" if value.dtype == object else value.dtype.name}
            if value.dtype == object:
                feed["texts"] = [text.hex() for text in value.ravel()]
            else:
                data += np.ascontiguousarray(value).tobytes()
            feeds.append(feed)
        question = {"model": str(self.model), "feeds": feeds, "fetches": [f.name for f in graph.fetches], "threads": threads}
        try:
            self.process.stdin.write(json.dumps(question).encode() + b"\n" + data)
            self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], SECONDS)[0]:
                raise TimeoutError(f"no answer in {SECONDS} s")
            head = json.loads(self.process.stdout.readline())
        except (OSError, ValueError, TimeoutError) as error:
            self.process.kill()
            code, self.process = self.process.wait(), None
            return f"CRASH {code}: {error!r}"
        if "error" in head:
            return head["error"]
        return [self.output(output) for output in head["outputs"]]

    def output(self, output):
        if output["dtype"] == "string":
            flat = np.empty(len(output["texts"]), dtype=object)
            flat[:] = [bytes.fromhex(text) for text in output["texts"]]
            return flat.reshape(output["shape"])
        dtype = np.dtype(NUMPY[output["dtype"]])
        data = self.process.stdout.read(int(np.prod(output["shape"])) * dtype.itemsize)
        return np.frombuffer(data, dtype).reshape(output["shape"])

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()


def roughest(graph):
    """The float type of the least digits that the graph computes in; a Cast does not add any."""
    enums = {tf.as_dtype(name).as_datatype_enum: name for name in TOLERANCES}
    found = {enums[attr.type] for node in graph.graph_def.node for attr in node.attr.values() if attr.type in enums}
    return max(found, key=lambda name: TOLERANCES[name], default="float64")


def differs(got, want, roughest_type="float64", largest=0.0, looser=1.0):
    """Says how `got` differs from `want`, or None. Shapes, types, NaN and infinities must be the same; a number may lie
    beside by rounding, which in sums is that of the largest term."""
    # As bytes of a fixed length a string would lose the zeros at its end.
    want = np.asarray(want, dtype=object) if isinstance(want, bytes) else np.asarray(want)
    if want.dtype.kind in "OS":
        want = want.astype(object)
        same = got.dtype == object and got.shape == want.shape and list(got.ravel()) == list(want.ravel())
        return None if same else f"strings {got.ravel()[:3]} != {want.ravel()[:3]} of {want.shape}"
    if got.dtype != want.dtype:
        return f"dtype {got.dtype} != {want.dtype}"
    if got.shape != want.shape:
        return f"shape {got.shape} != {want.shape}"
    name = want.dtype.name
    if name not in TOLERANCES:
        bad = got != want
    else:
        relative, beside = max(TOLERANCES[name], TOLERANCES[roughest_type])
        got, want = got.astype("c16" if "complex" in name else "f8"), want.astype("c16" if "complex" in name else "f8")
        top = float(tf.as_dtype(name if "complex" not in name else {"complex64": "float32", "complex128": "float64"}[name]).max)
        with np.errstate(all="ignore"):
            finite = np.isfinite(want)
            scale = np.max(np.abs(want[finite]), initial=0.0)
            scale = max(min(scale, 1e3), min(largest, 1e3))
            near = np.abs(got - want) <= looser * (relative * np.abs(want) + beside * scale * 0.2) + 1e-30
            overflow = (np.abs(np.where(finite, want, got)) > 0.99 * top) & (finite != np.isfinite(got))
            bad = ~np.where(finite, near | overflow, (got == want) | (np.isnan(got) & np.isnan(want)) | overflow)
    if not bad.any():
        return None
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    return f"value {got[at]} != {want[at]} at {at} of {want.shape} {name}, {int(bad.sum())} differ"


def verdict(graph, want, got):
    """`equal`, `wrong`, `refused` (by the program alone) or `accepted` (by it alone), and what there is to say."""
    if isinstance(want, str) and isinstance(got, str):
        kind = "equal" if not got.startswith(("PANIC", "CRASH")) else "wrong"
        return kind, got
    if isinstance(want, str):
        return "accepted", want
    if isinstance(got, str):
        return ("wrong" if got.startswith(("PANIC", "CRASH")) else "refused"), got
    for fetch, g, w in zip(graph.fetches, got, want):
        why = differs(g, w, roughest(graph), graph.largest, graph.looser)
        if why:
            return "wrong", f"{fetch.name}: {why}"
    return "equal", ""
