"""Data sets through a model."""

import json

import numpy as np
import pytest
import tightfit
from conftest import DIGITS
from tightfit.interpreter import Interpreter


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


def test_the_largest_scores(model, tmp_path):
    paths = sorted(DIGITS.glob("digit_*.png"))
    names = tmp_path / "names.txt"
    names.write_text("zero\none\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n\n")
    scores = model.predict(paths, preprocess="unit")["probabilities"]
    found = model.predict(paths, preprocess="unit", top=2)
    assert list(found) == ["index", "score"] and found["index"][:, 0].tolist() == [0, 2, 3, 9, 8]
    np.testing.assert_allclose(found["score"], np.sort(scores, 1)[:, :-3:-1], 1e-5)
    named = model.predict(paths, preprocess="unit", labels=names)
    assert named["label"][:, 0].tolist() == ["zero", "two", "three", "nine", "eight"] and named["score"].shape == (5, 5)
    output = tmp_path / "named.jsonl"
    model.predict(paths, preprocess="unit", labels=names, top=2, output=output)
    lines = [json.loads(line)["top"] for line in output.read_text().splitlines()]
    assert [[one["index"] for one in line] for line in lines] == found["index"].tolist()
    assert [line[0]["label"] for line in lines] == named["label"][:, 0].tolist()
    names.write_text("one\ntwo\n")
    for options in ({}, {"output": output}):
        with pytest.raises(tightfit.InvalidArgument, match="there are 2 names, but a row has 10 classes"):
            model.predict(paths, preprocess="unit", labels=names, **options)
    with pytest.raises(tightfit.InvalidArgument, match="neither .jsonl nor .csv"):
        model.predict(paths, preprocess="unit", top=2, output=tmp_path / "x.npz")
    with pytest.raises(tightfit.InvalidArgument, match="top=0"):
        model.predict(paths, top=0)


def test_shards_are_gone_on_with(model, tmp_path):
    records, output = DIGITS / "test.tfrecord", tmp_path / "scores.npy"
    options = {"output": output, "batch": 32, "resume": True, "shard_rows": 100}
    first = model.predict(records, **options)
    shards = sorted(tmp_path.glob("scores-*.npy"))
    assert (first["rows"], first["resumed_rows"], [len(np.load(shard)) for shard in shards]) == (360, 0, [128, 128, 104])
    assert model.predict(records, **options)["resumed_rows"] == 360
    np.testing.assert_allclose(
        np.concatenate([np.load(shard) for shard in shards]), model.predict(records, batch=32)["probabilities"], 1e-6
    )
    with pytest.raises(tightfit.InvalidArgument, match="needs an output="):
        model.predict(records, resume=True)
    with pytest.raises(tightfit.InvalidArgument, match="goes with resume=True"):
        model.predict(records, output=output, shard_rows=3)


def test_files_of_single_tensors(model, images, tmp_path):
    np.save(tmp_path / "rows.npy", images)
    found = model.predict({"image": tmp_path / "rows.npy"})
    np.testing.assert_allclose(found["probabilities"], model.run(images)["probabilities"], 1e-5)
    assert model.predict({"image": tmp_path / "rows.npy"}, top=1)["index"].shape == (12, 1)
    with pytest.raises(tightfit.TightFitError, match="none.npy"):
        model.predict({"image": tmp_path / "none.npy"})


def test_inputs_that_are_the_same_for_all_rows(golden, tmp_path):
    case = golden("region_case_last")
    model = tightfit.Model(case.model, memory="64MiB", threads=1)
    k, rows = case.inputs["k"], np.concatenate([case.inputs["x"]] * 3)
    np.save(tmp_path / "x.npy", rows)
    np.save(tmp_path / "k.npy", k)
    expected = np.concatenate([case.outputs["Identity"]] * 3)
    for data, fixed in [
        ({"x": rows}, {"k": k}),
        (rows, {"k": k}),
        (tmp_path / "x.npy", {"k": k}),
        (tmp_path / "x.npy", {"k": tmp_path / "k.npy"}),
    ]:
        found = model.predict(data, fixed=fixed, batch=3)["Identity"]
        np.testing.assert_allclose(found, expected, case.rtol, case.atol)
    with pytest.raises(tightfit.InvalidArgument, match="fixed: files go with data in files"):
        model.predict(rows, fixed={"k": tmp_path / "k.npy"})


def test_what_is_wrong_with_data(model, images, tmp_path):
    with pytest.raises(tightfit.TightFitError, match="none.png"):
        model.predict(tmp_path / "none.png")
    with pytest.raises(tightfit.InvalidArgument, match="batch=0"):
        model.predict(images, batch=0)
    with pytest.raises(tightfit.InvalidArgument, match="preprocess"):
        model.predict(DIGITS / "digit_0.png", preprocess="sepia")
    with pytest.raises(tightfit.InvalidArgument, match="output="):
        model.predict(images, output=tmp_path / "x.npy")
    for name, value in {"resize": (8, 8), "shapes": {"image": (1, 8, 8, 1)}, "resume": True, "skip_bad": True}.items():
        with pytest.raises(tightfit.InvalidArgument, match=f"{name}= is for data in files"):
            model.predict(images, **{name: value})
    with pytest.raises(TypeError, match="resise"):
        model.predict(DIGITS / "digit_0.png", resise=(8, 8))
    with pytest.raises(tightfit.InvalidArgument, match="scalar"):
        model.predict(np.float32(1))
    assert model.run(images)["probabilities"].shape == (12, 10)


def test_results_that_do_not_fit_are_refused(digits):
    small = tightfit.Model(digits, memory=tightfit.Model(digits, threads=1).plan(batch=1).minimum_bytes + (1 << 20),
                           threads=1)
    paths = [DIGITS / "test.tfrecord"] * 1
    assert small.predict(paths, batch=1)["probabilities"].shape == (360, 10)


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
def test_floats_for_integers(digits, images, tmp_path, scheme):
    path = tmp_path / "integers.tflite"
    tightfit.quantize(digits, path, scheme=scheme, data=DIGITS / "test.tfrecord", memory="64MiB")
    model = tightfit.Model(path, memory="64MiB", threads=1)
    given = model.inputs["image"]
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    scale, zero_point = interpreter.get_input_details()[0]["quantization"]
    limits = np.iinfo(given.dtype)
    steps = images / np.float32(scale)
    integers = np.trunc(steps + np.copysign(np.float32(0.5), steps)) + zero_point
    integers = np.clip(integers, limits.min, limits.max).astype(given.dtype)
    expected = model.predict(integers, batch=1)["probabilities"]
    assert expected.dtype == given.dtype and len(np.unique(expected)) > 2
    for fed in (images, {"image": images}):
        np.testing.assert_array_equal(model.predict(fed, batch=1)["probabilities"], expected)
    for one in (images[:1], images[:1].tolist(), integers[:1], integers[:1].tolist()):
        np.testing.assert_array_equal(model.run(image=one)["probabilities"], expected[:1])
    assert model.inputs["image"] == given
    np.save(tmp_path / "one.npy", images[:1])
    np.save(tmp_path / "integers.npy", integers[:1])
    for name in ("one.npy", "integers.npy"):
        found = model.predict({"image": tmp_path / name})["probabilities"]
        np.testing.assert_array_equal(found, expected[:1])
    for fed, all_rows in ((images, "rows.npy"), (integers, "integer_rows.npy")):
        np.save(tmp_path / all_rows, fed)
        np.testing.assert_array_equal(model.predict(tmp_path / all_rows)["probabilities"], expected)
    paths = sorted(DIGITS.glob("digit_*.png"))
    assert model.predict(paths, preprocess="unit")["probabilities"].argmax(1).tolist() == [0, 2, 3, 9, 8]
    with pytest.raises(tightfit.InvalidArgument, match="float32, not float64"):
        model.run(image=images[:1].astype(np.float64))
