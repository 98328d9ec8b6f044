"""Data sets through a model."""

import json

import numpy as np
import pytest
import tightfit
from conftest import DIGITS


@pytest.fixture
def model(digits):
    return tightfit.Model(digits, memory="64MiB", threads=2)


@pytest.mark.parametrize("batch", ["auto", 1, 5, 100])
def test_arrays(model, images, batch):
    expected = model.run(images)["probabilities"]
    found = model.predict(images, batch=batch)
    np.testing.assert_allclose(found["probabilities"], expected, 1e-5)
    found = model.predict({"image": images[:0]}, batch=batch)
    assert found["probabilities"].shape == (0, 10) and found["probabilities"].dtype == np.float32


def test_files(model):
    paths = sorted(DIGITS.glob("digit_*.png"))
    found = model.predict(paths, batch=2, preprocess="unit")["probabilities"]
    assert [int(path.stem[-1]) for path in paths] == [0, 2, 3, 5, 8]
    # The network takes the five for a nine.
    assert found.argmax(1).tolist() == [0, 2, 3, 9, 8]
    one = model.predict(str(paths[0]), preprocess="unit")["probabilities"]
    np.testing.assert_allclose(one, found[:1], 1e-5)


def test_records_into_a_file(model, tmp_path):
    output = tmp_path / "scores.npy"
    done = model.predict(DIGITS / "test.tfrecord", output=output, label="label", batch=32)
    assert (done["rows"], done["right_rows"], done["batch"]) == (360, 356, 32)
    assert np.load(output).shape == (360, 10)
    lines = tmp_path / "scores.jsonl"
    model.predict(DIGITS / "test.tfrecord", output=lines)
    assert len([json.loads(line) for line in lines.read_text().splitlines()]) == 360


def test_what_is_wrong_with_data(model, images, tmp_path):
    with pytest.raises(tightfit.TightFitError, match="none.png"):
        model.predict(tmp_path / "none.png")
    with pytest.raises(tightfit.InvalidArgument, match="batch=0"):
        model.predict(images, batch=0)
    with pytest.raises(tightfit.InvalidArgument, match="preprocess"):
        model.predict(DIGITS / "digit_0.png", preprocess="sepia")
    with pytest.raises(tightfit.InvalidArgument, match="output="):
        model.predict(images, output=tmp_path / "x.npy")
    with pytest.raises(tightfit.InvalidArgument, match="scalar"):
        model.predict(np.float32(1))
    assert model.run(images)["probabilities"].shape == (12, 10)


def test_results_that_do_not_fit_are_refused(digits):
    small = tightfit.Model(digits, memory=tightfit.Model(digits, threads=1).plan(batch=1).minimum_bytes + (1 << 20),
                           threads=1)
    paths = [DIGITS / "test.tfrecord"] * 1
    assert small.predict(paths, batch=1)["probabilities"].shape == (360, 10)
