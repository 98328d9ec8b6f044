#!/usr/bin/env python3
"""Times TightFit beside other engines on the benchmark models.

    python bench/peers.py [--models NAME,...] [--engines NAME,...] [--rounds N] [--seconds S] [--threads N]
                          [--batch N] [--bin PATH] [--out DIR] [--json FILE]

Needs what `bench/models.py` wrote into DIR. ONNX Runtime takes part at batch 1 only, for which its models are made, and
OpenVINO reads the frozen graph itself at other batches. `openvino-bf16`, which computes in bfloat16 and so answers
differently, takes part where it is named.

Every measurement is a process of its own, started fresh: one engine loads one model and runs it for S seconds. Rounds
are interleaved (A B C, then B C A, ...), so that a machine that gets slower hits all engines alike, and each figure is
the median over rounds. The answer of every peer is compared with TensorFlow's, so that a fast wrong conversion shows.

Prints a markdown table: milliseconds per run (median), peak resident memory of the whole process, milliseconds from
process start to the first answer, and TightFit's ratio to each (below 1: TightFit is faster, smaller, sooner). An
engine that is not installed or a model that is not converted is reported as missing.
"""

import argparse
import ctypes
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import typing

MODELS = ("mobilenet_v2", "resnet50", "inception_v3", "efficientnet_b0", "vgg16", "bert_base")
# What `bench/models.py --more` makes besides.
MORE = (
    "densenet121", "nasnet_mobile", "mobilenet_v3_large", "convnext_tiny", "efficientnet_v2_b0", "xception", "unet", "vit_s16",
)
WARM_UP_RUNS = 3
LEAST_RUNS = 5


class Missing(Exception):
    """The engine, or the model in its format, is not there."""


# ---- one measurement, in a process of its own --------------------------------------------------------------------


def reference(folder, batch):
    """The first `batch` rows of the reference inputs and TensorFlow's answers to them."""
    import numpy as np

    ref = folder / "ref_tf"
    manifest = json.loads((ref / "manifest.json").read_text())
    first = lambda entries: {e["name"]: np.load(ref / e["file"])[:batch] for e in entries}
    return first(manifest["in"]), first(manifest["out"])


def by_name(feeds, names):
    """Which feed goes where: converters keep the name and decorate it ('serving_default_input:0')."""
    return [next(value for key, value in feeds.items() if len(feeds) == 1 or key in name) for name in names]


def existing(path):
    if not path.exists():
        raise Missing(f"no {path}")
    return path


def load_tflite(folder, feeds, threads):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(existing(folder / "model.tflite")), num_threads=threads)
    details = interpreter.get_input_details()
    for detail, value in zip(details, by_name(feeds, [d["name"] for d in details])):
        interpreter.resize_tensor_input(detail["index"], value.shape)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()
    for detail, value in zip(details, by_name(feeds, [d["name"] for d in details])):
        interpreter.set_tensor(detail["index"], value)
    outputs = [d["index"] for d in interpreter.get_output_details()]

    def run():
        interpreter.invoke()
        return [interpreter.get_tensor(i) for i in outputs]

    return run


def load_onnxruntime(folder, feeds, threads):
    import onnxruntime

    if any(len(value) > 1 for value in feeds.values()):
        raise Missing("the model is made for batch 1")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    path = str(existing(folder / "model.onnx"))
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    values = dict(zip(names, by_name(feeds, names)))
    return lambda: session.run(None, values)


def load_openvino(folder, feeds, threads, precision="f32"):
    import openvino

    converted = [folder / "model.onnx", folder / "model.tflite"]
    config = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
    }
    is_single = all(len(value) == 1 for value in feeds.values())
    paths = [path for path in converted if is_single and path.exists()]
    core = openvino.Core()
    model = core.read_model(str(paths[0] if paths else existing(folder / "model.pb")))
    if not paths:
        values = by_name(feeds, [i.get_any_name() for i in model.inputs])
        model.reshape({i: list(value.shape) for i, value in zip(model.inputs, values)})
    model = core.compile_model(model, "CPU", config)
    request = model.create_infer_request()
    values = by_name(feeds, [i.get_any_name() for i in model.inputs])
    for port, value in zip(model.inputs, values):
        request.set_tensor(port, openvino.Tensor(value))

    def run():
        request.infer()
        return [request.get_tensor(o).data for o in model.outputs]

    return run


def load_tensorflow(folder, feeds, threads):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    import tensorflow as tf

    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString(existing(folder / "model.pb").read_bytes())
    fetches = [e["name"] + ":0" for e in json.loads((folder / "ref_tf/manifest.json").read_text())["out"]]
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(graph_def, name="")
    del graph_def
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1)
    session = tf.compat.v1.Session(graph=graph, config=config)
    # A callable checks names once, not at every run.
    callable_ = session.make_callable(fetches, [f"{name}:0" for name in feeds])
    return lambda: callable_(*feeds.values())


LOADERS = {
    "tflite": load_tflite,
    "onnxruntime": load_onnxruntime,
    "openvino": load_openvino,
    "openvino-bf16": lambda folder, feeds, threads: load_openvino(folder, feeds, threads, "bf16"),
    "tensorflow": load_tensorflow,
}
ENGINES = ("tightfit", *LOADERS)

# Those of one precision with TightFit.
DEFAULT_ENGINES = [engine for engine in ENGINES if engine != "openvino-bf16"]


def worst_error(outputs, expected):
    """The largest difference from TensorFlow's answer; outputs are matched by shape."""
    import numpy as np

    errors = []
    for want in expected.values():
        same = [np.asarray(o) for o in outputs if np.asarray(o).shape == want.shape]
        errors.append(min((float(np.abs(o - want).max()) for o in same), default=float("inf")))
    return max(errors)


def child(request):
    """Loads, runs, and prints one JSON object; called in a fresh process."""
    folder = pathlib.Path(request["folder"])
    try:
        feeds, expected = reference(folder, request["batch"])
        run = LOADERS[request["engine"]](folder, feeds, request["threads"])
    except (Missing, ImportError) as error:
        return {"missing": str(error)}
    outputs = run()
    first_ms = (time.time() - request["started"]) * 1e3
    error = worst_error(outputs, expected)
    for _ in range(WARM_UP_RUNS):
        run()
    times = []
    end = time.perf_counter() + request["seconds"]
    while len(times) < LEAST_RUNS or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return {
        "runs": len(times),
        "ms_median": statistics.median(times),
        "ms_min": min(times),
        "first_ms": first_ms,
        "worst_error": error,
    }


# ---- rounds ------------------------------------------------------------------------------------------------------


PR_SET_CHILD_SUBREAPER = 36


def spawn(command):
    """Runs a process; returns its exit status, stdout, stderr and peak resident bytes.

    Linux counts in ru_maxrss what the process that forked had resident, and a Python interpreter is larger than a
    small model. So a shell starts the process in its background and goes; as the subreaper, this process inherits
    the orphan and reads its own figure.
    """
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError("prctl(PR_SET_CHILD_SUBREAPER) failed")
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        subprocess.run(["/bin/sh", "-c", '"$@" &', "sh", *command], stdout=out, stderr=err, check=True)
        _, status, usage = os.wait4(-1, 0)
        out.seek(0)
        err.seek(0)
        peak_bytes = usage.ru_maxrss * 1024
        return os.waitstatus_to_exitcode(status), out.read().decode(), err.read().decode(errors="replace"), peak_bytes


class Ran(typing.NamedTuple):
    """A process that succeeded."""

    stdout: str
    stderr: str
    peak_bytes: int
    seconds: float


def succeed(*command):
    """Runs a process as `spawn` does; one that fails is an error."""
    begin = time.perf_counter()
    code, stdout, stderr, peak_bytes = spawn([str(part) for part in command])
    if code:
        raise RuntimeError(f"{' '.join(map(str, command[:3]))}: exit {code}: {last_line(stderr)}")
    return Ran(stdout, stderr, peak_bytes, time.perf_counter() - begin)


def last_line(text):
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else ""


def measure(engine, model, options):
    folder = options.out / model
    if engine == "tightfit":
        if not options.bin.exists():
            return {"missing": f"no {options.bin}"}
        if not (folder / "model.pb").exists():
            return {"missing": f"no {folder / 'model.pb'}"}
        command = [str(options.bin), "bench", str(folder / "model.pb"), "--batch", str(options.batch), "--json"]
        command += ["--threads", str(options.threads), "--seconds", str(options.seconds)]
        code, stdout, stderr, peak_bytes = spawn(command)
    else:
        request = {"engine": engine, "folder": str(folder), "threads": options.threads, "batch": options.batch,
                   "seconds": options.seconds, "started": time.time()}
        code, stdout, stderr, peak_bytes = spawn([sys.executable, __file__, "--child", json.dumps(request)])
    if code:
        return {"missing": f"exit {code}: {last_line(stderr)}"}
    result = json.loads(last_line(stdout) if engine != "tightfit" else stdout)
    return result if "missing" in result else {**result, "peak_resident_bytes": peak_bytes}


def all_rounds(options):
    """{model: {engine: [result of each round]}}; an engine once missing for a model is not tried again."""
    results = {m: {e: [] for e in options.engines} for m in options.models}
    for number in range(options.rounds):
        shift = number % len(options.engines)
        order = options.engines[shift:] + options.engines[:shift]
        for model in options.models:
            for engine in order:
                done = results[model][engine]
                if done and "missing" in done[-1]:
                    continue
                done.append(measure(engine, model, options))
                note = done[-1].get("missing") or f"{done[-1]['ms_median']:.2f} ms"
                print(f"round {number + 1}/{options.rounds} {model} {engine}: {note}", file=sys.stderr)
    return results


def summarize(results):
    """Medians over rounds, or the reason why there are none."""

    def middle(rounds):
        missing = [r["missing"] for r in rounds if "missing" in r]
        if missing:
            return {"missing": missing[0]}
        median = lambda key: statistics.median(r[key] for r in rounds)
        keys = ("ms_median", "first_ms", "peak_resident_bytes")
        summary = {key: median(key) for key in keys}
        if "worst_error" in rounds[0]:
            summary["worst_error"] = max(r["worst_error"] for r in rounds)
        return summary

    return {m: {e: middle(rounds) for e, rounds in engines.items()} for m, engines in results.items()}


def markdown(summary):
    lines = ["| model | engine | ms | TightFit/it | peak MiB | TightFit/it | first ms | TightFit/it | worst error |",
             "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for model, engines in summary.items():
        ours = engines.get("tightfit", {})
        for engine, figures in engines.items():
            if "missing" in figures:
                lines.append(f"| {model} | {engine} | missing: {figures['missing'].replace('|', '/')} |||||||")
                continue
            ratio = lambda key: f"{ours[key] / figures[key]:.2f}" if key in ours and engine != "tightfit" else ""
            error = f"{figures['worst_error']:.1e}" if "worst_error" in figures else ""
            lines.append(
                f"| {model} | {engine} | {figures['ms_median']:.2f} | {ratio('ms_median')} "
                f"| {figures['peak_resident_bytes'] / 2**20:.0f} | {ratio('peak_resident_bytes')} "
                f"| {figures['first_ms']:.0f} | {ratio('first_ms')} | {error} |"
            )
    return "\n".join(lines)


def processor():
    """The processor's name, and the widest vector instructions that engines look for."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = about.get("flags", "").split()
    kinds = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if flag in flags]
    return f"{about.get('model name', 'an unknown processor')} ({', '.join(kinds)}), {os.cpu_count()} cores"


def names(text, known):
    chosen = text.split(",")
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: known are {', '.join(known)}")
    return chosen


def main():
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(json.loads(sys.argv[2]))))
        return
    root = pathlib.Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=lambda t: names(t, MODELS + MORE), default=list(MODELS))
    parser.add_argument("--engines", type=lambda t: names(t, ENGINES), default=DEFAULT_ENGINES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1, help="rows at once, up to the 8 that there are answers for")
    parser.add_argument("--bin", type=pathlib.Path, default=root / "target/release/tightfit")
    parser.add_argument("--out", type=pathlib.Path, default=root / "bench/out")
    parser.add_argument("--json", type=pathlib.Path, help="write every round and the medians to this file")
    options = parser.parse_args()
    results = all_rounds(options)
    summary = summarize(results)
    print(f"{processor()}. Batch {options.batch}, {options.threads} threads, medians of {options.rounds} interleaved rounds of {options.seconds:g} s.\n")
    print(markdown(summary))
    if options.json:
        about = {"processor": processor(), "batch": options.batch, "threads": options.threads, "rounds_each": options.rounds}
        options.json.write_text(json.dumps({**about, "summary": summary, "rounds": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
