#!/usr/bin/env python3
"""What a call from Python costs, beside LiteRT on the same model: python bench/python_calls.py MODEL.pb MODEL.tflite [RUNS].

Needs the package (`pip install ./crates/python`) and ai-edge-litert. Both compute on one thread, in interleaved rounds:
what is printed is the median of each over the rounds, in microseconds. LiteRT's `invoke` alone gets and sets no tensor;
TightFit's `run` takes an array and returns a new one. Then 10^5 runs (or RUNS), and how much the process has grown.
"""
import os, statistics, subprocess, sys, time

ROUNDS, CALLS = 15, 2000

def resident():
    return int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE')

def importing():
    """Milliseconds and bytes of importing the package's Model, NumPy apart."""
    code = ('import os, time, numpy\n'
            'size = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")\n'
            'before, begin = size(), time.perf_counter()\n'
            'import tightfit; tightfit.Model; tightfit.Interpreter\n'
            'print(1e3 * (time.perf_counter() - begin), size() - before)')
    runs = [subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.split()
            for _ in range(9)]
    return statistics.median(float(ms) for ms, _ in runs), statistics.median(int(b) for _, b in runs)

def main():
    ours, theirs = sys.argv[1:3]
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 100_000
    ms, grown = importing()
    print(f'import: {ms:.1f} ms and {grown / 2**20:.1f} MiB beyond NumPy')
    import numpy as np, tightfit
    from ai_edge_litert.interpreter import Interpreter
    model = tightfit.Model(ours, memory='64MiB', threads=1)
    name, spec = next(iter(model.inputs.items()))
    image = np.random.default_rng(1).random([1 if d is None else d for d in spec.shape]).astype(spec.dtype)
    lite = Interpreter(theirs, num_threads=1)
    lite.allocate_tensors()
    ends = lambda one: (one.get_input_details()[0]['index'], one.get_output_details()[0]['index'])
    fit = tightfit.Interpreter(ours, num_threads=1, memory='64MiB')
    fit.allocate_tensors()
    feeds = {name: image}

    def whole(interpreter, given, got):
        def call():
            interpreter.set_tensor(given, image)
            interpreter.invoke()
            return interpreter.get_tensor(got)
        return call

    calls = {
        'tightfit  Model.run': lambda: model.run(feeds),
        'tightfit  Interpreter set, invoke, get': whole(fit, *ends(fit)),
        'tightfit  Interpreter invoke': fit.invoke,
        'litert    invoke': lite.invoke,
        'litert    set, invoke, get': whole(lite, *ends(lite)),
    }
    np.testing.assert_allclose(next(iter(model.run(feeds).values())), calls['litert    set, invoke, get'](), 1e-4, 1e-6)
    times = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            begin = time.perf_counter()
            for _ in range(CALLS):
                call()
            times[name].append(1e6 * (time.perf_counter() - begin) / CALLS)
    for name, rounds in times.items():
        print(f'{name:40} {statistics.median(rounds):7.2f} us')
    before = resident()
    for _ in range(runs):
        model.run(feeds)
    print(f'{runs} runs: resident {(resident() - before) / 1024:+.0f} KiB')

if __name__ == "__main__":
    main()
