#!/usr/bin/env python3
"""Times the convolutions and products of networks, by shape, beside oneDNN's in OpenVINO.

    python bench/layers.py [--models NAME,...] [--threads N] [--rounds N] [--bin PATH] [--out DIR]

Needs what `bench/models.py` wrote into DIR. Both engines run the whole network and time each layer; rounds are interleaved,
each in a process of its own, and a layer's time is the shortest. Layers of one output shape and as many operations are one
row. What one engine fuses and the other does not is in the sums alone. OpenVINO runs in float32.

Prints a markdown table for each model: microseconds of each engine, the ratio (above 1: TightFit is faster), and TightFit's
share of the processor's measured peak of multiply-adds.
"""

import argparse
import collections
import json
import math
import pathlib
import statistics
import subprocess
import sys

MODELS = ("mobilenet_v2", "resnet50", "vgg16", "bert_base")
KINDS = {"Convolution", "GroupConvolution", "FullyConnected", "MatMul"}
RUNS = 40


def openvino_layers(folder, threads):
    """(output elements in order of size, operations, microseconds) of each layer that multiplies; in a process of its own."""
    import numpy as np
    import openvino

    core = openvino.Core()
    config = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    model = core.compile_model(core.read_model(str(folder / "model.onnx")), "CPU", {**config, "PERF_COUNT": True})
    request = model.create_infer_request()
    manifest = json.loads((folder / "ref_tf/manifest.json").read_text())
    feeds = {entry["name"]: np.load(folder / "ref_tf" / entry["file"])[:1] for entry in manifest["in"]}
    for port in model.inputs:
        name = port.get_any_name()
        request.set_tensor(port, openvino.Tensor(next(v for k, v in feeds.items() if len(feeds) == 1 or k in name)))
    times = collections.defaultdict(lambda: math.inf)
    for _ in range(RUNS):
        request.infer()
        for layer in request.get_profiling_info():
            times[layer.node_name] = min(times[layer.node_name], layer.real_time.total_seconds() * 1e6)
    layers = []
    for node in model.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        kind = info["layerType"].astype(str) if "layerType" in info else ""
        if kind not in KINDS:
            continue
        output = [int(d) for d in node.get_output_shape(0)]
        weights = [int(d) for d in node.input(1).get_shape()]
        if kind == "Convolution":
            taps = math.prod(weights[1:])
        elif kind == "GroupConvolution":
            taps = math.prod(weights[2:])
        else:
            # Either way round: what the sums are over is no dimension of the output's own.
            taps = math.prod([int(d) for d in node.input(0).get_shape()]) * output[-1] // math.prod(output)
        layers.append((sorted(d for d in output if d > 1), 2 * math.prod(output) * taps, times[node.get_friendly_name()]))
    return {"layers": layers, "sum": sum(times.values())}


def tightfit_layers(binary, model, threads):
    """The same of TightFit."""
    plan = json.loads(subprocess.run([binary, "plan", model, "--threads", str(threads), "--json", "--verbose"],
                                     check=True, capture_output=True, text=True).stdout)
    shapes = {}
    for rectangle in plan["rectangles"]:
        if "[" in rectangle["what"]:
            shapes[rectangle["name"]] = json.loads(rectangle["what"][rectangle["what"].index("["):])
    bench = json.loads(subprocess.run(
        [binary, "bench", model, "--threads", str(threads), "--seconds", "0.5", "--steps", "1000", "--roofline", "--json"],
        check=True, capture_output=True, text=True).stdout)
    layers = []
    for step in bench["steps"]:
        if step["gflops"] and step["node"] in shapes:
            shape = sorted(d for d in shapes[step["node"]] if d > 1)
            layers.append((shape, round(step["gflops"] * step["us"] * 1e3), step["us"]))
    peak = bench["roofline"]["gflops"] if "roofline" in bench else math.nan
    return {"layers": layers, "sum": sum(step["us"] for step in bench["steps"]), "peak": peak}


def by_shape(layers):
    """{(shape, operations): microseconds of one such layer}, the median of its kind."""
    kinds = collections.defaultdict(list)
    for shape, operations, micros in layers:
        # A count that was worked out from a rate is exact to a part in a million.
        kinds[tuple(shape), round(operations, -3)].append(micros)
    return {kind: (statistics.median(times), len(times)) for kind, times in kinds.items()}


def shortest(rounds):
    """The shortest time of each layer over rounds, whose layers come in one order."""
    best = {}
    for found in map(by_shape, rounds):
        for kind, (micros, count) in found.items():
            best[kind] = (min(micros, best.get(kind, (math.inf,))[0]), count)
    return best


def report(name, threads, ours, theirs):
    peak = max(r["peak"] for r in ours)
    own, other = (shortest([r["layers"] for r in rounds]) for rounds in (ours, theirs))
    print(f"\n{name}, {threads} thread{'s' if threads > 1 else ''}, peak {peak:.0f} GFLOP/s:\n")
    print("| output | MFLOP | layers | TightFit, us | oneDNN, us | oneDNN/TightFit | of the peak |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    ratios = []
    for (shape, operations), (micros, count) in sorted(own.items(), key=lambda item: -item[1][0] * item[1][1]):
        if (shape, operations) not in other:
            continue
        theirs_micros = other[shape, operations][0]
        ratios += [theirs_micros / micros] * count
        print(f"| {'x'.join(map(str, shape))} | {operations / 1e6:.1f} | {count} | {micros:.0f} | {theirs_micros:.0f} | "
              f"{theirs_micros / micros:.2f} | {operations / micros / 1e3 / peak:.0%} |")
    if ratios:
        print(f"\n{len(ratios)} layers are alike: geometric mean {statistics.geometric_mean(ratios):.2f}, least {min(ratios):.2f}.")
    sums = [min(r["sum"] for r in rounds) for rounds in (ours, theirs)]
    print(f"All layers: TightFit {sums[0]:.0f} us, OpenVINO {sums[1]:.0f} us.")


def main():
    if len(sys.argv) > 1 and sys.argv[1] == "--child":
        print(json.dumps(openvino_layers(pathlib.Path(sys.argv[2]), int(sys.argv[3]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bin", default="target/release/tightfit")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("bench/out"))
    options = parser.parse_args()
    for name in options.models.split(","):
        folder = options.out / name
        ours, theirs = [], []
        for _ in range(options.rounds):
            ours.append(tightfit_layers(options.bin, str(folder / "model.pb"), options.threads))
            child = [sys.executable, __file__, "--child", str(folder), str(options.threads)]
            theirs.append(json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout))
        report(name, options.threads, ours, theirs)


if __name__ == "__main__":
    main()
