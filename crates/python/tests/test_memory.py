"""`memory` bounds all that the process grows by since before `import tightfit`, NumPy apart, in whatever profile it is built."""

import subprocess
import sys
import textwrap

import pytest
from conftest import DIGITS, GOLDEN

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

BEGIN = """
    import os, sys, tempfile
    import numpy as np
    def peak():
        return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) * 1024
    before = peak()
    import tightfit
"""
RUN = """
    path = sys.argv[1]
    minimum = tightfit.Model(path, memory="256MiB", threads=2).plan(batch=2).minimum_bytes
    model = tightfit.Model(path, memory=minimum, threads=2)
    spec = model.inputs
    shapes = model.plan(batch=2).input_shapes
    feeds = {name: np.zeros(shape, spec[name].dtype) for name, shape in shapes.items()}
    for _ in range(20):
        model.run(feeds)
    print(peak() - before, minimum)
"""
# The smallest memory that works is found from below: what was refused must not have taken more either.
CALL = """
    digits, records = sys.argv[1:3]
    output = os.path.join(tempfile.mkdtemp(), "x.tflite")
    memory = 1 << 20
    while True:
        try:
            CALL
            break
        except tightfit.NotFit as error:
            assert memory < 64 << 20, error
            least = error.minimum_bytes or 0
            memory = least if least > memory else memory + (256 << 10)
    print(peak() - before, memory)
"""
CALLS = {
    "inspect": "tightfit.inspect(digits, memory=memory)",
    "freeze": "tightfit.freeze(digits, output, memory=memory)",
    "optimize": "tightfit.optimize(digits, output + '.pb', memory=memory)",
    "quantize": "tightfit.quantize(digits, output, memory=memory)",
    "int8": "tightfit.quantize(digits, output, scheme='int8', data=records, batch=8, threads=2, memory=memory)",
    "prune": "tightfit.prune(digits, output, data=records, batch=8, threads=2, memory=memory)",
    "compare": "tightfit.compare(digits, digits, records, batch=8, threads=2, memory=memory)",
    "predict": "tightfit.Model(digits, memory=memory, threads=2).predict(records, batch=8)",
}


def grown_and_memory(code, *args):
    command = [sys.executable, "-c", textwrap.dedent(BEGIN) + textwrap.dedent(code), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return map(int, done.stdout.split())


@pytest.mark.parametrize("name", ["keras_transformer", "keras_inception", "keras_squeeze_excite", "region_while_dense"])
def test_runs_in_the_smallest_memory(name):
    grown, memory = grown_and_memory(RUN, GOLDEN / "models" / name / "model.pb")
    assert grown <= memory


@pytest.mark.parametrize("name", CALLS)
def test_calls_in_the_smallest_memory(name):
    grown, memory = grown_and_memory(CALL.replace("CALL", CALLS[name]), DIGITS / "digits.pb", DIGITS / "test.tfrecord")
    assert grown <= memory < 64 << 20
