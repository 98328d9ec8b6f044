#!/usr/bin/env python3
"""Times TightFit beside LiteRT on the same .tflite files: floats, dynamic range and full int8.

    python bench/lite.py [--models NAME,...] [--schemes NAME,...] [--threads N,...] [--rounds N] [--seconds S]
                         [--bin PATH] [--out DIR] [--json FILE]

Needs what `bench/models.py` wrote into DIR. The file of floats is that of TensorFlow's converter; `tightfit quantize` makes the
others, beside it, where they are not there yet. Both engines run one file at batch 1, LiteRT with XNNPACK, as ai-edge-litert has
it by default.

Every measurement is a process of its own that loads one model and runs it for S seconds; rounds are interleaved, and each figure is
the median over rounds. Prints a markdown table: milliseconds per run, peak resident memory of the whole process, and TightFit's
ratio to LiteRT (below 1: TightFit is faster, smaller), and the geometric means of the ratios.
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time

import peers

SCHEMES = ("float", "dynamic", "int8")


def made(folder, scheme, binary):
    """The model's file of a scheme."""
    if scheme == "float":
        return peers.existing(folder / "model.tflite")
    path = folder / f"{scheme}.tflite"
    if not path.exists():
        command = [binary, "quantize", peers.existing(folder / "model.pb"), "--scheme", scheme, "--output", path, "--quiet"]
        with tempfile.TemporaryDirectory() as place:
            if scheme == "int8":
                import numpy as np

                feeds, _ = peers.reference(folder, batch=8)
                data = pathlib.Path(place) / "rows.npz"
                np.savez(data, **feeds)
                command += ["--calibrate", data]
            peers.succeed(*command)
    return path


def quantized(value, detail):
    """What an input takes that stands for these numbers."""
    import numpy as np

    scale, zero_point = detail["quantization"]
    if not scale or value.dtype == detail["dtype"]:
        return value
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(value / scale) + zero_point, limits.min, limits.max).astype(detail["dtype"])


def child(request):
    """Loads the model into LiteRT, runs it, and prints one JSON object; called in a fresh process."""
    from ai_edge_litert.interpreter import Interpreter

    feeds, _ = peers.reference(pathlib.Path(request["folder"]), batch=1)
    interpreter = Interpreter(model_path=request["path"], num_threads=request["threads"])
    details = interpreter.get_input_details()
    values = peers.by_name(feeds, [detail["name"] for detail in details])
    for detail, value in zip(details, values):
        interpreter.resize_tensor_input(detail["index"], value.shape)
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), values):
        interpreter.set_tensor(detail["index"], quantized(value, detail))
    for _ in range(peers.WARM_UP_RUNS):
        interpreter.invoke()
    times = []
    end = time.perf_counter() + request["seconds"]
    while len(times) < peers.LEAST_RUNS or time.perf_counter() < end:
        start = time.perf_counter()
        interpreter.invoke()
        times.append((time.perf_counter() - start) * 1e3)
    return {"ms_median": statistics.median(times)}


def measure(engine, path, folder, threads, options):
    if engine == "tightfit":
        command = [options.bin, "bench", path, "--threads", threads, "--seconds", options.seconds, "--json"]
    else:
        request = {"path": str(path), "folder": str(folder), "threads": threads, "seconds": options.seconds}
        command = [sys.executable, __file__, "--child", json.dumps(request)]
    ran = peers.succeed(*command)
    return {"ms": json.loads(ran.stdout)["ms_median"], "peak_bytes": ran.peak_bytes}


def compare(path, folder, threads, options):
    """The medians of both engines, measured in turn."""
    rounds = {"tightfit": [], "lite": []}
    for number in range(options.rounds):
        for engine in list(rounds)[:: 1 if number % 2 else -1]:
            rounds[engine].append(measure(engine, path, folder, threads, options))
    middle = lambda engine, key: statistics.median(one[key] for one in rounds[engine])
    return {engine: {key: middle(engine, key) for key in ("ms", "peak_bytes")} for engine in rounds}


def ratio(row, key):
    return row["tightfit"][key] / row["lite"][key]


def line(row):
    ours, lite = row["tightfit"], row["lite"]
    return (
        f"| {row['model']} | {row['scheme']} | {row['threads']} | {ours['ms']:.2f} | {lite['ms']:.2f} | {ratio(row, 'ms'):.2f} "
        f"| {ours['peak_bytes'] / 2**20:.1f} | {lite['peak_bytes'] / 2**20:.1f} | {ratio(row, 'peak_bytes'):.2f} |"
    )


def main():
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(json.loads(sys.argv[2]))))
        return
    root = pathlib.Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=lambda t: peers.names(t, peers.MODELS + peers.MORE), default=list(peers.MODELS))
    parser.add_argument("--schemes", type=lambda t: peers.names(t, SCHEMES), default=list(SCHEMES))
    parser.add_argument("--threads", type=lambda t: [int(number) for number in t.split(",")], default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--bin", type=pathlib.Path, default=root / "target/release/tightfit")
    parser.add_argument("--out", type=pathlib.Path, default=root / "bench/out")
    parser.add_argument("--json", type=pathlib.Path, help="write the medians to this file")
    options = parser.parse_args()
    print(f"{peers.processor()}. Batch 1, medians of {options.rounds} interleaved rounds of {options.seconds:g} s.\n")
    print("| model | weights | threads | TightFit ms | LiteRT ms | ratio | TightFit MiB | LiteRT MiB | ratio |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    rows = []
    for model in options.models:
        folder = options.out / model
        for scheme in options.schemes:
            try:
                path = made(folder, scheme, options.bin)
                for threads in options.threads:
                    row = {"model": model, "scheme": scheme, "threads": threads, **compare(path, folder, threads, options)}
                    rows.append(row)
                    print(line(row), flush=True)
            except (peers.Missing, RuntimeError) as error:
                print(f"| {model} | {scheme} | missing: {str(error).replace('|', '/')} |||||||", flush=True)
    if rows:
        means = {key: statistics.geometric_mean(ratio(row, key) for row in rows) for key in ("ms", "peak_bytes")}
        print(f"\nGeometric means of the ratios: time {means['ms']:.2f}, memory {means['peak_bytes']:.2f}.")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
