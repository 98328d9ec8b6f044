"""Models: opened, planned, run."""

import ctypes
import gc
import threading

import numpy as np
import pytest
import tightfit
from conftest import resident_bytes

MODELS = [
    "keras_classifier",
    "keras_transformer",
    "keras_squeeze_excite",
    "region_while_dense",
    "region_tensor_lists",
    "ops/strings",
    "ops/arithmetic_float16",
    "ops/arithmetic_int_uint8",
    "ops/casts",
]


@pytest.mark.parametrize("name", MODELS)
def test_computes_what_tensorflow_does(golden, name):
    case = golden(name)
    model = tightfit.Model(case.model, memory="256MiB", threads=2)
    case.check(model.run(case.inputs))
    case.check(model.run(case.inputs))


def test_tells_what_a_model_takes_and_gives(digits):
    model = tightfit.Model(digits, memory="64MiB", threads=1)
    assert model.inputs == {"image": ("image", "float32", (None, 8, 8, 1))}
    assert model.outputs == {"probabilities": ("probabilities", "float32", (None, 10))}
    assert model.signatures == {None: (model.inputs, model.outputs)}
    assert model.signature is None and model.path == digits
    assert (model.memory_bytes, model.threads) == (64 << 20, 1)
    assert "image: float32[?, 8, 8, 1] -> probabilities: float32[?, 10]" in repr(model)


def test_signatures_of_a_saved_model(saved_models):
    model = tightfit.Model(saved_models / "functions", signature="look", memory="64MiB")
    assert set(model.signatures) == {"look", "multiply"}
    assert model.signatures["multiply"].inputs["v"].shape == (None, 5)
    found = model.run(ids=np.load(saved_models / "ids.npy"))
    np.testing.assert_allclose(found["rows"], np.load(saved_models / "ids_rows.npy"))
    np.testing.assert_allclose(found["product"], np.load(saved_models / "ids_product.npy"), 1e-5)


def test_a_checkpoint_and_fetches_by_name(saved_models):
    folder = saved_models / "checkpoint"
    model = tightfit.Model(folder / "graph.pb", checkpoint=folder / "model.ckpt", fetches=["out:0"], memory="64MiB")
    found = model.run({"a:0": np.load(saved_models / "a.npy")})
    np.testing.assert_allclose(found["out:0"], np.load(saved_models / "a_out.npy"), 1e-5)


def test_shapes_change_from_run_to_run(digits, images):
    model = tightfit.Model(digits, memory="64MiB")
    all_rows = model.run(images)["probabilities"]
    for rows in (1, 5, 12, 3):
        np.testing.assert_allclose(model.run(images[:rows])["probabilities"], all_rows[:rows], 1e-5)


def test_ways_to_feed(digits, images):
    model = tightfit.Model(digits, memory="64MiB")
    expected = model.run({"image": images})["probabilities"]
    wide = np.zeros((12, 8, 8, 3), np.float32)
    wide[..., :1] = images

    class Device:
        def __dlpack__(self, **options):
            return images.__dlpack__(**options)

        def __dlpack_device__(self):
            return images.__dlpack_device__()

    for fed in (images.tolist(), memoryview(images), wide[..., :1], np.asfortranarray(images), Device(),
                images.astype(">f4"), (ctypes.c_float * images.size).from_buffer(images.copy())):
        if isinstance(fed, ctypes.Array):
            fed = np.ctypeslib.as_array(fed).reshape(images.shape)
        np.testing.assert_array_equal(model.run(fed)["probabilities"], expected)
    np.testing.assert_array_equal(model.run(image=images)["probabilities"], expected)
    np.testing.assert_array_equal(model.run({"image:0": images})["probabilities"], expected)


def test_what_cannot_be_fed(digits, images):
    model = tightfit.Model(digits, memory="64MiB")
    for fed, words in [
        ({}, "not fed: image"),
        ({"imag": images}, "did you mean 'image'?"),
        ({"image": images.astype(np.float64)}, "is float32, not float64"),
        ({"image": images[..., 0]}, "image"),
        ({"image": images, "image:0": images}, "fed twice"),
        ({"image": "text"}, "is float32, not"),
    ]:
        with pytest.raises(tightfit.InvalidArgument, match=".*") as raised:
            model.run(fed)
        assert words in str(raised.value)
    assert model.run(images)["probabilities"].shape == (12, 10)


def test_integers_in_lists_are_not_cut(saved_models):
    model = tightfit.Model(saved_models / "functions", signature="look", memory="64MiB")
    expected = model.run(ids=np.array([3, 7], np.int32))["rows"]
    np.testing.assert_array_equal(model.run(ids=[3, 7])["rows"], expected)
    with pytest.raises(tightfit.InvalidArgument, match="has not all of the values"):
        model.run(ids=[3.5, 7.0])


def test_outputs_outlive_the_model(digits, images):
    model = tightfit.Model(digits, memory="64MiB")
    first = model.run(images)["probabilities"]
    kept = first.copy()
    model.run(images[::-1].copy())
    np.testing.assert_array_equal(first, kept)
    view = first[3:5]
    del model, first
    gc.collect()
    np.testing.assert_array_equal(view, kept[3:5])
    assert np.from_dlpack(view).shape == (2, 10)


def test_unload_and_reset(digits, images):
    model = tightfit.Model(digits, memory="64MiB")
    expected = model.run(images)["probabilities"]
    loaded = model.used_bytes
    model.unload()
    assert model.used_bytes < loaded
    model.reset()
    np.testing.assert_array_equal(model.run(images)["probabilities"], expected)


def test_threads_take_turns(digits, images):
    model = tightfit.Model(digits, memory="64MiB", threads=2)
    expected = [model.run(images[row:row + 1])["probabilities"] for row in range(8)]
    wrong = []

    def work(row):
        for _ in range(200):
            if not np.array_equal(model.run(images[row:row + 1])["probabilities"], expected[row]):
                wrong.append(row)

    threads = [threading.Thread(target=work, args=(row,)) for row in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not wrong


def test_many_runs_leave_nothing(digits, images):
    model = tightfit.Model(digits, memory="64MiB", threads=1)
    for _ in range(2000):
        model.run(images[:1])
    before = resident_bytes()
    for _ in range(20_000):
        model.run(images[:1])
    assert resident_bytes() - before < 512 << 10


def test_many_models_leave_nothing(digits, images):
    def once():
        tightfit.Model(digits, memory="64MiB", threads=2).run(images)
        with pytest.raises(tightfit.NotFit):
            tightfit.Model(digits, memory="64MiB").run(np.zeros((100_000, 8, 8, 1), np.float32))

    for _ in range(10):
        once()
    gc.collect()
    before = resident_bytes()
    for _ in range(40):
        once()
    gc.collect()
    assert resident_bytes() - before < 2 << 20
