#!/usr/bin/env python3
"""Compares random graphs with TensorFlow: every registered operator, and chains that the passes rewrite.

    python tests/golden/fuzz.py --bin target/release/tightfit [--seeds 0:100] [--nodes 12] [--only Cumsum,Pad]
                                [--chains] [--keep DIR] [--check]

A graph holds several operators with random shapes, types and attributes (`fuzz_ops.py`), or with `--chains` one chain
of layers (`fuzz_chains.py`). What TensorFlow refuses is dropped. The rest is run by the program, first as a whole; when
that fails, output by output, and each failing output is kept as a case of its own in `--keep`, in the manifest form of
`bench/oracle.py`. With `--check` every graph is also run with one and three threads and at its own smallest budget.
"""

import argparse
import collections
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from op_cases import HERE  # noqa: F401  sets the path
import oracle
import numpy as np
import tensorflow as tf
from fuzz_graph import Graph
import fuzz_chains
import fuzz_ops

tf1 = tf.compat.v1
# How far a value may lie from TensorFlow's, relative to it and to the largest beside it.
TOLERANCES = {"float16": 2e-3, "bfloat16": 1.6e-2, "float32": 2e-5, "float64": 1e-10}


def differs(got, want, tolerance):
    """Says how `got` differs from `want`, or None. Shapes, types, NaN and infinities must be the same."""
    if want.dtype == object:
        flat = [g if isinstance(g, bytes) else str(g).encode() for g in np.asarray(got).ravel()]
        same = [g.rstrip(b"\0") for g in flat] == [w.rstrip(b"\0") for w in want.ravel()]
        return None if same and got.shape == want.shape else f"strings {flat[:3]} != {want.ravel()[:3]}"
    if got.shape != want.shape:
        return f"shape {got.shape} != {want.shape}"
    if got.dtype != want.dtype:
        return f"dtype {got.dtype} != {want.dtype}"
    if want.dtype.kind not in "fc":
        bad = got != want
    else:
        kind = "c16" if want.dtype.kind == "c" else "f8"
        got, want = got.astype(kind), want.astype(kind)
        finite = np.isfinite(want)
        scale = np.max(np.abs(want[finite]), initial=0.0)
        with np.errstate(all="ignore"):
            near = np.abs(got - want) <= tolerance * (np.abs(want) + 0.2 * min(scale, 1e3)) + 1e-30
            bad = ~np.where(finite, near, (got == want) | (np.isnan(got) & np.isnan(want)))
    if not bad.any():
        return None
    at = tuple(int(i) for i in np.argwhere(bad)[0])
    return f"value {got[at]} != {want[at]} at {at} of {want.shape}, {int(bad.sum())} differ"


def read(output, names):
    with np.load(output, allow_pickle=False) as file:
        return [file[n] if n in file else None for n in names]


class Program:
    """The program under test."""

    def __init__(self, path):
        self.path = path

    def run(self, model, feeds, fetches, *flags):
        """The values of `fetches`, or the line the program fails with."""
        with tempfile.TemporaryDirectory() as folder:
            command = [self.path, "run", str(model), "--quiet"]
            for i, (name, value) in enumerate(feeds.items()):
                file = f"{folder}/{i}.npy"
                if value.dtype.kind in "OSU":
                    file = f"{folder}/{i}.json"
                    pathlib.Path(file).write_text(json.dumps(nested(value)))
                else:
                    np.save(file, value)
                command += ["--input", f"{name}={file}"]
            for name in fetches:
                command += ["--fetch", name]
            command += ["--output", f"{folder}/out.npz", *flags]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            except subprocess.TimeoutExpired:
                return "timeout"
            if done.returncode:
                text = done.stderr.strip()
                return f"exit {done.returncode}: " + ("PANIC " if "panicked" in text else "") + text[:400]
            return read(f"{folder}/out.npz", fetches)


def nested(value):
    """A tensor of strings as the program's .json has it."""
    import base64

    if value.ndim == 0:
        return {"b64": base64.b64encode(value.item()).decode()}
    return [nested(np.asarray(v, dtype=object)) for v in value]


def evaluated(graph_def, feeds, fetches):
    """TensorFlow's values; outputs that it refuses are left out."""
    config = tf1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    values = {}
    with tf.Graph().as_default() as graph, tf1.Session(graph=graph, config=config) as session:
        tf.graph_util.import_graph_def(graph_def, name="")
        fed = {k + ":0": v for k, v in feeds.items()}
        try:
            return dict(zip(fetches, session.run([f + ":0" for f in fetches], fed)))
        except Exception:
            pass
        for name in fetches:
            try:
                values[name] = session.run(name + ":0", fed)
            except Exception:
                pass
    return values


def compare(program, model, feeds, wants, tolerances, flags=()):
    got = program.run(model, feeds, list(wants), *flags)
    if isinstance(got, str):
        return {name: got for name in wants}
    bad = {}
    for value, (name, want) in zip(got, wants.items()):
        why = "not in the output" if value is None else differs(value, np.asarray(want), tolerances[name])
        if why:
            bad[name] = why
    return bad


def needed(graph_def, feeds):
    names = {n.name for n in graph_def.node}
    return {k: v for k, v in feeds.items() if k in names}


def check_conditions(program, model, feeds, wants, tolerances):
    """The same graph on one and three threads, and with the least memory."""
    bad = {}
    for threads in ("1", "3"):
        bad |= compare(program, model, feeds, wants, tolerances, ("--threads", threads))
    small = program.run(model, feeds, list(wants), "--memory", "100000", "--threads", "2")
    found = re.search(r"works is (\d+)", small) if isinstance(small, str) else None
    if found is None:
        return bad | {next(iter(wants)): f"no smallest size in: {small}"}
    return bad | compare(
        program, model, feeds, wants, tolerances, ("--memory", found.group(1), "--threads", "2")
    )


def one_graph(program, options, seed, keep, report):
    graph = Graph(seed)
    with tf.Graph().as_default() as tf_graph:
        if options.chains:
            fuzz_chains.build(graph)
        else:
            fuzz_ops.build(graph, options.nodes, options.only.split(",") if options.only else None)
        graph_def = tf_graph.as_graph_def()
    wants = evaluated(graph_def, graph.feeds, list(graph.outputs))
    if not wants:
        return 0
    tolerances = {n: TOLERANCES.get(graph.outputs[n][1], 0.0) * graph.outputs[n][2] for n in wants}
    model = pathlib.Path(keep) / f"all_{seed}.pb"
    pruned = oracle.prune(graph_def, list(wants))
    model.write_bytes(pruned.SerializeToString())
    feeds = needed(pruned, graph.feeds)
    bad = compare(program, model, feeds, wants, tolerances)
    if options.check and not bad:
        bad = check_conditions(program, model, feeds, wants, tolerances)
        for name, why in bad.items():
            report(seed, "conditions", graph.outputs[name][0], why)
        bad = {} if not bad else bad
    apart = 0
    for name in bad:
        alone = oracle.prune(graph_def, [name])
        folder = pathlib.Path(keep) / f"{seed}_{name}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.pb").write_bytes(alone.SerializeToString())
        fed = needed(alone, graph.feeds)
        why = compare(program, folder / "model.pb", fed, {name: wants[name]}, tolerances)
        if not why:
            shutil.rmtree(folder)
            continue
        apart += 1
        try:
            oracle.write_case(folder, alone, fed, [name], tolerances[name], tolerances[name])
        except Exception as error:
            print(f"case not written: {error}")
        report(seed, name, graph.outputs[name][0], why[name])
    if bad and not apart:
        report(seed, "whole", "only together: " + next(iter(bad)), next(iter(bad.values())))
    else:
        model.unlink()
    return len(wants)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--seeds", default="0:50")
    parser.add_argument("--nodes", type=int, default=12)
    parser.add_argument("--only", default="")
    parser.add_argument("--chains", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--keep", help="where failing cases go (default: a temporary folder, not kept)")
    options = parser.parse_args()
    first, last = map(int, options.seeds.split(":"))
    failures = collections.Counter()

    def report(seed, name, what, why):
        failures[what.split("(")[0]] += 1
        print(f"FAIL {seed} {name} {what[:300]}: {' '.join(why.split())[:300]}", flush=True)

    temporary = tempfile.TemporaryDirectory()
    keep = options.keep or temporary.name
    pathlib.Path(keep).mkdir(parents=True, exist_ok=True)
    compared = 0
    for seed in range(first, last):
        compared += one_graph(Program(options.bin), options, seed, keep, report)
    print(f"{last - first} graphs, {compared} outputs compared, {sum(failures.values())} failed: {dict(failures)}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
