#!/usr/bin/env python3
"""Holds TightFit to its memory: many random budgets for many commands, and the system's own count of each.

    python bench/sweep.py [--count N] [--seed N] [--models DIR] [--bin PATH] [--only WORD]

Each case is a command that takes `--memory`. It runs once without, which gives its natural peak, and then N times with a
random budget from the program's floor (the most that `--help` ever took) to a mebibyte above that peak, or to the first
size that is not refused, where a plan holds more than a run comes to use. The peak resident memory of every run has to be
at most its budget, whatever the exit code. Cases are the benchmark models that are there, the examples, and inputs made
here that are large where a program may not expect it. Prints a table; exit status 1 when a budget was passed.
"""

import argparse
import json
import os
import pathlib
import random
import sys
import tempfile

import numpy as np

from peers import MODELS, spawn

ROOT = pathlib.Path(__file__).resolve().parents[1]
MIB = 2**20
REFUSED = 3
ENDINGS = {0: "done", 1: "failed", 2: "usage", REFUSED: "refused"}


def pbtxt(nodes):
    """A text graph: a Fill and a chain of Neg."""
    const = """node {{ name: '{0}' op: 'Const' attr {{ key: 'dtype' value {{ type: {1} }} }}
      attr {{ key: 'value' value {{ tensor {{ dtype: {1} tensor_shape {{ {2} }} {3} }} }} }} }}"""
    text = [const.format("d", "DT_INT32", "dim { size: 1 }", "int_val: 64"),
            const.format("v", "DT_FLOAT", "", "float_val: 1.0"),
            "node { name: 'n0' op: 'Fill' input: 'd' input: 'v' attr { key: 'T' value { type: DT_FLOAT } } }"]
    for i in range(1, nodes):
        text.append(f"node {{ name: 'n{i}' op: 'Neg' input: 'n{i - 1}' attr {{ key: 'T' value {{ type: DT_FLOAT }} }} }}")
    return "\n".join(text)


STRINGS = """node { name: 'x' op: 'Placeholder' attr { key: 'dtype' value { type: DT_STRING } }
  attr { key: 'shape' value { shape { unknown_rank: true } } } }
node { name: 'y' op: 'Identity' input: 'x' attr { key: 'T' value { type: DT_STRING } } }"""
FLOATS = STRINGS.replace("DT_STRING", "DT_FLOAT").replace("Identity", "Neg")


def model_cases(folder, work):
    for name in MODELS:
        model = folder / name / "model.pb"
        if not model.exists():
            continue
        manifest = json.loads((folder / name / "ref_tf/manifest.json").read_text())
        flags = []
        for entry in manifest["in"]:
            row = work / f"{name}-{entry['file']}".replace("/", "-")
            np.save(row, np.load(folder / name / "ref_tf" / entry["file"])[:1])
            flags += ["--input", f"{entry['name']}={row}"]
        yield f"run {name}", ["run", model, *flags, "--output", work / "out.npz", "--quiet"]
        yield f"plan {name}", ["plan", model, "--json"]
        yield f"inspect {name}", ["inspect", model, "--json"]


def example_cases(work):
    digits = ROOT / "examples/digits"
    model, records, pipeline = digits / "digits.pb", digits / "test.tfrecord", digits / "pipeline.json"
    for output in ["jsonl", "npz", "csv", "tfrecord"]:
        yield f"run digits to .{output}", ["run", model, "--input", records, "--output", work / f"d.{output}", "--quiet"]
    scored = ["run", model, "--input", records, "--label", "label", "--output", work / "d.jsonl", "--quiet"]
    yield "run digits, a page", [*scored, "--report", work / "report.html"]
    yield "run digits, shown", [*scored, "--show", "8"]
    yield "run digits, a table", ["run", model, "--input", records, "--batch", "32"]
    yield "plan digits, a page", ["plan", model, "--html", work / "plan.html"]
    yield "freeze digits", ["freeze", model, "--output", work / "frozen.tflite"]
    yield "optimize digits", ["optimize", model, "--output", work / "small.pb"]
    yield "quantize digits", ["quantize", model, "--scheme", "int8", "--input", records, "--output", work / "q.tflite"]
    yield "compare digits", ["compare", model, model, "--input", records, "--label", "label"]
    yield "bench digits", ["bench", model, "--seconds", "0.1"]
    images = sorted(digits.glob("digit_*.png"))
    yield "run images", ["run", model, "--input", *images, "--preprocess", "unit", "--output", work / "i.csv", "--quiet"]
    yield "plan digits", ["plan", model, "--input", records, "--json"]
    yield "data head", ["data", "head", pipeline, "-n", "1"]
    yield "records preprocess", ["records", "preprocess", pipeline, "--output", work / "p.tfrecord", "--quiet"]
    for command in ["verify", "inspect", "head"]:
        yield f"records {command}", ["records", command, records, "--json"]
    yield "records convert", ["records", "convert", records, "--output", work / "c.npz", "--quiet"]
    yield "records shuffle", ["records", "shuffle", records, "--output", work / "s.tfrecord", "--index", work, "--quiet"]


def fault_cases(work):
    digits = ROOT / "examples/digits"

    def write(name, content):
        path = work / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    strings, floats = write("strings.pbtxt", STRINGS), write("floats.pbtxt", FLOATS)
    large = work / "large.npy"
    np.save(large, np.zeros((24, 2**20), np.float32))
    labels = write("labels.txt", "a\n" * 5_000_000)
    fed = lambda model, path: ["run", model, "--input", f"x={path}", "--output", work / "f.npz", "--quiet"]
    yield "96 MB .npy", fed(floats, large)
    yield "32 MB of one string", fed(strings, write("one.json", '"' + "a" * 32_000_000 + '"'))
    yield "4 M strings", fed(strings, write("many.json", "[" + '"a",' * 4_000_000 + '"a"]'))
    yield "32 MB of bytes", fed(strings, write("raw.bin", b"a" * 32_000_000))
    yield "5 M labels", ["run", digits / "digits.pb", "--input", digits / "digit_0.png", "--labels", labels, "--quiet"]
    chain = write("chain.pbtxt", pbtxt(20_000))
    yield "20,000 Neg", ["run", chain, "--output", work / "n.npz", "--quiet"]
    yield "plan of 20,000 Neg", ["plan", chain, "--json"]
    yield "no model", ["run", large, "--input", f"x={large}"]
    yield "wide .csv", ["data", "head", write("wide.csv", ",".join(f"c{i}" for i in range(50_000)) + "\n" + "1," * 49_999 + "1\n")]
    deep = '{"source": {"npy": [' + '"a",' * 200_000 + '"a"]}}'
    yield "long description", ["data", "head", write("deep.json", deep)]


def pipeline_cases(work):
    """Every way in which a pipeline holds elements: batches, buffers, windows, caches, threads, images, text."""
    digits = ROOT / "examples/digits"
    records, images = str(digits / "test.tfrecord"), str(digits / "digit_*.png")
    table = work / "table.csv"
    table.write_text("a,b,c\n" + "".join(f"{i},{i / 7},{'x' * (i % 90)}\n" for i in range(30_000)))
    np.save(work / "rows.npy", np.arange(4 << 20, dtype=np.float32).reshape(-1, 256))
    parse, decode = {"parse": None}, {"decode_image": "image", "channels": 1}
    resize = {"image": "resize", "field": "image", "size": [64, 64]}
    specs = {
        "batches": ({"tfrecord": records}, [{"repeat": 20}, parse, {"batch": 64}, {"prefetch": None}]),
        "shuffle": ({"tfrecord": records}, [{"repeat": 20}, {"shuffle": "1MiB"}, parse, {"batch": 32}]),
        "shuffled": ({"shuffled": records, "memory": "1MiB", "index": str(work)}, [{"repeat": 20}, parse]),
        "window": ({"tfrecord": records}, [{"repeat": 5}, parse, {"window": 50, "shift": 10}]),
        "cache": ({"tfrecord": records}, [parse, {"cache": None}, {"repeat": 20}, {"batch": 16}]),
        "images": ({"images": images}, [{"repeat": 200}, decode, resize, {"batch": 16}, {"prefetch": 2}]),
        "lengths": ({"csv": str(table)}, [{"select": ["c"]}, {"padded_batch": 100}]),
        "table": ({"csv": str(table)}, [{"batch": 500, "drop_remainder": True}, {"unbatch": None}]),
        "arrays": ({"npy": str(work / "rows.npy")}, [{"normalise": "array", "mean": [5], "std": [3]}, {"batch": 100}]),
        "zip": ({"zip": [{"source": {"range": 9000}}, {"source": {"csv": str(table)}}]}, [{"ragged_batch": 10, "fields": []}]),
    }
    for name, (source, stages) in specs.items():
        spec = json.dumps({"source": source, "stages": stages})
        yield f"pipeline {name}", ["records", "preprocess", spec, "--output", work / "q.tfrecord", "--quiet"]


def call(binary, arguments, memory_bytes=None):
    command = [str(binary), *map(str, arguments)]
    command += ["--memory", str(memory_bytes)] if memory_bytes else []
    return spawn(command)


def highest(options, arguments, natural_bytes):
    """The largest budget to try: a mebibyte above the natural peak, and more while that is refused, to four times it."""
    memory_bytes = natural_bytes + MIB
    while memory_bytes < 4 * natural_bytes and call(options.bin, arguments, memory_bytes)[0] == REFUSED:
        memory_bytes += memory_bytes // 8
    return memory_bytes


def sweep(options, arguments, floor_bytes, numbers):
    """The natural peak, how runs ended, and each (budget, peak, exit code, message) that is past its budget."""
    natural_bytes = max(call(options.bin, arguments)[3], floor_bytes)
    highest_bytes = highest(options, arguments, natural_bytes)
    endings, past = {}, []
    for _ in range(options.count):
        memory_bytes = numbers.randint(floor_bytes, highest_bytes)
        code, _, stderr, peak_bytes = call(options.bin, arguments, memory_bytes)
        endings[code] = endings.get(code, 0) + 1
        if peak_bytes > memory_bytes:
            past.append((memory_bytes, peak_bytes, code, stderr.strip()[-160:]))
    return natural_bytes, endings, past


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--models", type=pathlib.Path, default=ROOT / "bench/out")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "target/release/tightfit")
    parser.add_argument("--only", default="", help="only cases with this word in their names")
    options = parser.parse_args()
    options.bin, options.models = options.bin.resolve(), options.models.resolve()
    # The example pipeline names its files from there.
    os.chdir(ROOT)
    if not options.bin.exists():
        parser.error(f"no {options.bin}: build it with `cargo build --release` or give --bin")
    numbers = random.Random(options.seed)
    # Where the system loads the program decides by some 100 KiB what loading it takes.
    floor_bytes = max(call(options.bin, ["--help"])[3] for _ in range(300))
    print(f"Floor {floor_bytes / MIB:.2f} MiB, {options.count} budgets each.\n")
    print("| case | natural peak MiB | ended | past the budget | by at most MiB |\n| --- | ---: | --- | ---: | ---: |")
    total = 0
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        cases = [*example_cases(work), *pipeline_cases(work), *fault_cases(work), *model_cases(options.models, work)]
        for name, arguments in cases:
            if options.only not in name:
                continue
            natural_bytes, endings, past = sweep(options, arguments, floor_bytes, numbers)
            ended = ", ".join(f"{count} {ENDINGS.get(code, code)}" for code, count in sorted(endings.items()))
            worst = max((peak - budget for budget, peak, _, _ in past), default=0)
            print(f"| {name} | {natural_bytes / MIB:.1f} | {ended} | {len(past)} | {worst / MIB:.2f} |", flush=True)
            for budget, peak, code, message in past[:3]:
                print(f"{budget} was passed with {peak}, exit {code}: {message}", file=sys.stderr)
            total += len(past)
    sys.exit(1 if total else 0)


if __name__ == "__main__":
    main()
