"""Models that are written with other weights, and two models side by side."""

import json
import os
import signal
import threading
import time

import numpy as np
import pytest
import tightfit
from conftest import DIGITS

RECORDS = DIGITS / "test.tfrecord"


@pytest.mark.parametrize("scheme", ["dynamic", "weight-only-int8", "weight-only-int4", "f16", "bf16", "int8", "int16x8"])
def test_a_quantized_model_computes_nearly_the_same(digits, tmp_path, scheme):
    output = tmp_path / "small.tflite"
    has_ranges = scheme in ("int8", "int16x8")
    told = tightfit.quantize(digits, output, scheme=scheme, data=RECORDS if has_ranges else (), float_io=True, memory="64MiB")
    assert told["scheme"] == scheme and told["bytes"] == output.stat().st_size
    assert told["constant_bytes"] < told["constant_bytes_before"] and told["layers"]
    assert told["calibration_rows"] == (360 if has_ranges else 0)
    side_by_side = tightfit.compare(digits, output, RECORDS, label="label", batch=32, threads=1, memory="64MiB")
    assert side_by_side["rows"] == 360 and side_by_side["outputs"][0]["top1_agreement_percent"] > 95
    assert min(side["right_rows"] for side in side_by_side["models"]) > 340


def test_options_of_integers(digits, tmp_path):
    output, report = tmp_path / "int8.tflite", tmp_path / "report.json"
    told = tightfit.quantize(
        digits, output, scheme="int8", data=[RECORDS], calibration="min-max", correct_biases=True,
        max_error=0.5, report=report, batch=16, threads=1, skip_bad=True, record_memory="1MiB",
    )
    assert json.loads(report.read_text()) == told
    assert tightfit.Model(output).inputs["image"].dtype == "int8"
    tightfit.quantize(digits, output, report=tmp_path / "report.html")
    assert "<html" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    "pattern, share, less",
    [("unstructured", 0.8, 0.8), ("1x4", 0.6, 0.6), ("2:4", None, 0.5), ("channels", 0.3, 0.5)],
)
def test_a_pruned_model_has_fewer_weights(digits, tmp_path, pattern, share, less):
    output = tmp_path / "few.tflite"
    told = tightfit.prune(digits, output, pattern=pattern, sparsity=share, data=RECORDS, batch=8, memory="64MiB")
    assert told["pattern"] == pattern and told["compensated_layers"] > 0
    assert abs(told["sparsity"] - less) < 0.05
    side_by_side = tightfit.compare(digits, output, RECORDS, batch=64)
    assert side_by_side["outputs"][0]["top1_agreement_percent"] > 80


def test_comparing_one_call(digits, images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    for fed in (images, tmp_path / "images.npy"):
        told = tightfit.compare(digits, digits, {"image": fed}, memory="64MiB")
        (output,) = told["outputs"]
        assert output["elements"] == 120 and output["max_abs_error"] == 0 and output["snr_db"] is None
    told = tightfit.compare(digits, digits, {"image": images}, fetches=["image:0"])
    assert told["outputs"][0]["elements"] == images.size


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
def test_comparing_models_of_integers(digits, images, tmp_path, scheme):
    output = tmp_path / "integers.tflite"
    tightfit.quantize(digits, output, scheme=scheme, data=RECORDS)
    for pair in ((output, digits), (digits, output), (output, output)):
        for told in (tightfit.compare(*pair, RECORDS), tightfit.compare(*pair, {"image": images[:1]})):
            (difference,) = told["outputs"]
            assert difference["top1_agreement_percent"] > 95
            assert (difference["max_abs_error"] == 0) == (pair[0] == pair[1])


def test_what_is_refused(digits, images, tmp_path):
    output = tmp_path / "x.tflite"
    for call, words in [
        (lambda: tightfit.quantize(digits, tmp_path / "x.pb"), "ends in .tflite"),
        (lambda: tightfit.quantize(digits, output, scheme="int9"), "scheme='int9': give one of dynamic"),
        (lambda: tightfit.quantize(digits, output, scheme="int8"), "data: int8 needs data"),
        (lambda: tightfit.quantize(digits, output, calibration="mse"), "go with scheme"),
        (lambda: tightfit.quantize(digits, output, scheme="int8", data=RECORDS, calibration="x"), "calibration='x'"),
        (lambda: tightfit.quantize(digits, output, scheme="int8", data=RECORDS, max_error=0), "max_error"),
        (lambda: tightfit.quantize(digits, output, data=RECORDS, batch=0), "batch=0"),
        (lambda: tightfit.quantize(digits, output, data=RECORDS, string_memory="9 sheep"), "string_memory '9 sheep'"),
        (lambda: tightfit.quantize(digits, output, data=images), "data: files"),
        (lambda: tightfit.prune(digits, output, sparsity=1), "sparsity"),
        (lambda: tightfit.prune(digits, output, pattern="2:4", sparsity=0.7), "it is 0.5"),
        (lambda: tightfit.compare(digits, digits, []), "data: files"),
        (lambda: tightfit.compare(digits, digits, {}), "data: an array"),
        (lambda: tightfit.compare(digits, digits, {"imag": images}), "imag"),
    ]:
        with pytest.raises(tightfit.InvalidArgument, match=words):
            call()
    with pytest.raises(TypeError, match="resise"):
        tightfit.quantize(digits, output, data=RECORDS, resise=(8, 8))
    with pytest.raises(FileNotFoundError):
        tightfit.compare(digits, tmp_path / "none.pb", RECORDS)
    for call in (
        lambda: tightfit.quantize(digits, output, memory="2MiB"),
        lambda: tightfit.compare(digits, digits, RECORDS, memory="2MiB"),
        lambda: tightfit.compare(digits, digits, RECORDS, batch=100_000, memory="64MiB"),
    ):
        with pytest.raises(tightfit.NotFit) as raised:
            call()
        assert raised.value.minimum_bytes > 2 << 20
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("work", ["quantize", "prune", "compare"])
def test_an_interrupt_ends_it_while_others_run(digits, tmp_path, work):
    many = [RECORDS] * 3000
    output = tmp_path / "x.tflite"
    turns = []

    def ring():
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            turns.append(time.sleep(0.001))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=ring)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        if work == "compare":
            tightfit.compare(digits, digits, many)
        elif work == "prune":
            tightfit.prune(digits, output, data=many)
        else:
            tightfit.quantize(digits, output, scheme="int8", data=many)
    thread.join()
    assert len(turns) > 30 and not list(tmp_path.iterdir())
