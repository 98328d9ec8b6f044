#!/usr/bin/env python3
"""Compares random graphs with TensorFlow: every operator of docs/operators.md, alone, behind and before others, and
chains of layers that the passes rewrite.

    cargo build -p tightfit --example answers
    python tests/golden/fuzz.py --bin target/debug/examples/answers --seeds 0:10000 [--only Cumsum,Pad]
    python tests/golden/fuzz.py --bin target/debug/examples/answers --replay 1234       # one graph, printed in full

A seed is a graph: one operator with random shapes, types, values and attributes (`fuzz_ops*.py`), its inputs constants,
placeholders of known and open shapes or results of other nodes (`fuzz_values.py`), one graph of five deliberately spoilt,
or a chain of layers (`fuzz_chains.py`). Each is either equal (the same numbers, or refused by both), wrong, refused by the
program alone, or accepted by it alone. `fuzz_exclusions.py` lists what TensorFlow leaves open.
"""

import argparse
import collections
import importlib
import json
import os
import pathlib
import re
import resource
import select
import signal
import sys
import tempfile
import time
import traceback

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # 1 for the operators of fuzz_ops_onednn.py, with --only

import numpy as np
import tensorflow as tf
from google.protobuf import text_format

import fuzz_answers
import fuzz_chains
import fuzz_exclusions
import fuzz_values
from fuzz_graph import Graph, prune
from fuzz_ops import MAKERS
from fuzz_ops_control import SAME_AS_OTHERS

# Each file registers its operators.
for file in sorted(pathlib.Path(__file__).parent.glob("fuzz_ops_*.py")):
    importlib.import_module(file.stem)

OPERATORS = pathlib.Path(__file__).resolve().parents[2] / "docs/operators.md"
MEMORY_BYTES = 10 << 30
# A graph that TensorFlow and the program have no answers to by then hangs one of them: the program is given less by itself.
HANGS_SECONDS = 120



def make(seed, options):
    """The graph of a seed."""
    if options.chains or (not options.only and seed % 20 == 19):
        graph = fuzz_chains.build(seed)
        prune(graph)
        return graph
    graph = Graph(seed)
    names = options.only.split(",") if options.only else sorted(MAKERS)
    for attempt in range(1, 21):
        graph.op = graph.pick(names)
        made = MAKERS[graph.op](graph, graph.op)
        if made:
            break
        graph = Graph(seed + attempt * 7919 * 1_000_003)
    graph.looser = 1.0
    graph.fetch(*made)
    for _ in range(graph.pick([0, 0, 0, 1, 1, 2])):
        more = fuzz_values.follow(graph, graph.pick(made))
        if more:
            made = more
            graph.looser *= 10.0
            graph.fetch(*more)
    if len(graph.fetches) > 1 and graph.chance(0.3):  # what is not fetched may be fused away
        graph.fetches = graph.fetches[-1:]
    prune(graph)
    return graph


def one(graph, program):
    """A graph with both answers: the verdict and what there is to say."""
    want = fuzz_answers.tensorflow(graph)
    got = program.ask(graph)
    kind, why = fuzz_answers.verdict(graph, want, got)
    if kind != "equal":
        excluded = fuzz_exclusions.find(graph, kind, want, got, why)
        if excluded:
            kind, why = "excluded", excluded
    return want, got, kind, " ".join(str(why).split())


def work(options, first, last, step, output):
    """Seeds `first, first + step ..` before `last`; each verdict is a line of `output`."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        program = fuzz_answers.Program(options.bin, folder)
        for seed in range(first, last, step):
            try:
                graph = make(seed, options)
                os.write(output, f"{json.dumps([seed, graph.op])}\n".encode())
                want, got, kind, why = one(graph, program)
                says = "; ".join(graph.log)
                line = [seed, kind, graph.op, why[:600], says[-500:], isinstance(want, str)]
            except Exception:
                line = [seed, "fuzzer", "", traceback.format_exc()[-600:], "", False]
            os.write(output, f"{json.dumps(line)}\n".encode())
        program.close()


def lines(pipe, child):
    """What a worker says, line by line; one that falls silent is ended."""
    rest = b""
    while True:
        if not select.select([pipe], [], [], HANGS_SECONDS)[0]:
            os.kill(child, signal.SIGKILL)
        more = pipe.read(1 << 16)
        if not more:
            return
        *whole, rest = (rest + more).split(b"\n")
        yield from map(json.loads, whole)


def supervise(options, first, last, step, seen):
    """A worker for its seeds, and another one after each graph that kills TensorFlow or keeps it busy for ever."""
    while first < last:
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(readable)
            code = 1
            try:
                work(options, first, last, step, writable)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(writable)
        begun, done = first - step, first - step
        with os.fdopen(readable, "rb", buffering=0) as pipe:
            for line in lines(pipe, child):
                begun, op = line[0], line[1]
                if len(line) > 2:
                    done = begun
                    seen(line)
        os.waitpid(child, 0)
        if begun != done:
            seen([begun, "tensorflow died", op, "", "", True])
        elif begun < first:
            raise SystemExit("the worker does not start")
        first = begun + step


def replay(options):
    with tempfile.TemporaryDirectory() as folder:
        program = fuzz_answers.Program(options.bin, folder, says=None)
        graph = make(options.replay, options)
        want, got, kind, why = one(graph, program)
        if options.keep:
            keep(graph, want, pathlib.Path(options.keep))
    text = text_format.MessageToString(graph.graph_def)
    print(re.sub(r'tensor_content: "(.{200}).*"', r'tensor_content: "\1..."', text))
    np.set_printoptions(threshold=60)
    for name, value in graph.feeds.items():
        print(f"feed {name} {value.dtype}{list(value.shape)}: {value.tolist() if value.size < 40 else value}")
    print(f"fetch {[f.name for f in graph.fetches]}\ngraph {'; '.join(graph.log)}")
    print(f"TensorFlow: {want}\nprogram: {got}\n{kind}: {why}")


def keep(graph, want, folder):
    """Writes the graph with its feeds, for the program itself."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.pb").write_bytes(graph.graph_def.SerializeToString())
    for name, value in graph.feeds.items():
        np.save(folder / f"{name}.npy", value)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--seeds", default="0:1000")
    parser.add_argument("--only", default="", help="operators, separated by commas")
    parser.add_argument("--chains", action="store_true", help="only chains of layers")
    parser.add_argument("--complex", action="store_true", help="complex numbers wherever an operator takes them")
    parser.add_argument("--replay", type=int, help="print one seed's graph with both answers")
    parser.add_argument("--keep", help="with --replay: the folder for model.pb and the .npy files")
    parser.add_argument("--log", help="a file for every verdict that is not equal, a JSON list a line")
    options = parser.parse_args()
    Graph.only_complex = options.complex
    listed = set(re.findall(r"`(\w+)`", " ".join(line.split("|")[2] for line in OPERATORS.read_text().splitlines()
                                                 if line.startswith("| ") and line.count("|") > 3)))
    missing = listed - set(MAKERS) - SAME_AS_OTHERS
    if missing:
        print(f"operators without a maker, which golden cases alone cover: {sorted(missing)}", file=sys.stderr)
    if options.replay is not None:
        return replay(options)
    first, last = map(int, options.seeds.split(":"))
    counts, operators, begin = collections.Counter(), collections.Counter(), time.time()
    log = open(options.log, "w", buffering=1) if options.log else None

    def seen(line):
        seed, kind, op, why, says, is_refused = line
        counts[kind] += 1
        counts["(refused by TensorFlow)"] += is_refused
        if kind not in ("equal", "excluded", "tensorflow died"):
            operators[op] += 1
            print(f"{kind.upper()} {seed} {op} {says}: {why}"[:900], flush=True)
        if log and kind != "equal":
            log.write(json.dumps(line) + "\n")

    supervise(options, first, last, 1, seen)
    total = last - first
    print(f"{total} graphs in {time.time() - begin:.0f} s: {dict(counts)}")
    print(f"by operator: {dict(operators.most_common())}")
    sys.exit(any(counts[k] for k in ("wrong", "refused", "accepted", "fuzzer")))


if __name__ == "__main__":
    main()
