"""What the tests share: the repository's small models, with TensorFlow's answers."""

import base64
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(os.environ.get("TIGHTFIT_ROOT", Path(__file__).resolve().parents[3]))
GOLDEN = ROOT / "tests" / "golden"
DIGITS = ROOT / "examples" / "digits"


def _array(entry, folder):
    """A tensor of a manifest: strings are objects."""
    if "file" in entry:
        return np.load(folder / entry["file"])
    texts = np.empty(len(entry["b64"]), object)
    texts[:] = [base64.b64decode(text) for text in entry["b64"]]
    return texts.reshape(entry["shape"])


@pytest.fixture(autouse=True)
def interrupts():
    """Ctrl-C raises, where whoever started the tests has it ignored too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Golden:
    """A model, what it is fed, and what TensorFlow computes."""

    def __init__(self, folder):
        self.model = folder / "model.pb"
        answers = folder / "ref_tf"
        manifest = json.loads((answers / "manifest.json").read_text())
        self.rtol, self.atol = manifest["rtol"], manifest["atol"]
        self.inputs = {entry["name"]: _array(entry, answers) for entry in manifest["in"]}
        self.outputs = {entry["name"]: _array(entry, answers) for entry in manifest["out"]}

    def check(self, found):
        """Fails unless ``found`` is what TensorFlow computes."""
        assert set(found) == set(self.outputs)
        for name, expected in self.outputs.items():
            if expected.dtype == object:
                assert found[name].tolist() == expected.tolist()
            else:
                assert found[name].dtype == expected.dtype
                np.testing.assert_allclose(found[name], expected, self.rtol, self.atol)


class GoldenLite:
    """A .tflite, what its tensors are fed in runs one after the other, and what LiteRT computes."""

    def __init__(self, folder):
        self.model = folder / "model.tflite"
        manifest = json.loads((folder / "manifest.json").read_text())
        self.atol = manifest["atol"]
        arrays = lambda side: {entry["name"]: np.load(folder / entry["file"]) for entry in side}
        self.runs = [(arrays(run["in"]), arrays(run["out"])) for run in manifest["runs"]]


LITE = sorted(path.parent.name for path in GOLDEN.glob("tflite/*/manifest.json"))


@pytest.fixture(params=LITE)
def golden_lite(request):
    """Each golden .tflite."""
    return GoldenLite(GOLDEN / "tflite" / request.param)


@pytest.fixture
def golden():
    """Opens a golden model: of ``models`` by its name, of ``ops`` as "ops/NAME"."""
    return lambda name: Golden(GOLDEN / (name if "/" in name else f"models/{name}"))


@pytest.fixture
def saved_models():
    """The folder of SavedModels and checkpoints."""
    return GOLDEN / "saved_models"


@pytest.fixture
def digits():
    """The path of the digits model."""
    return DIGITS / "digits.pb"


@pytest.fixture
def images():
    """Twelve pictures of 8 x 8 pixels."""
    return np.random.default_rng(7).random((12, 8, 8, 1), np.float32)


def resident_bytes():
    """Bytes of this process that are resident."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
