"""tf.lite.Interpreter's calls."""

import gc

import numpy as np
import pytest
import tightfit
from conftest import GOLDEN
from tightfit.interpreter import Interpreter, OpResolverType, load_delegate


@pytest.fixture
def interpreter(digits):
    interpreter = Interpreter(model_path=str(digits), num_threads=1, memory="64MiB")
    interpreter.allocate_tensors()
    return interpreter


def test_label_image(interpreter, digits, images):
    (given,), (got,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert given["name"] == "image" and given["index"] == 0 and got["index"] == 1
    assert given["shape"].tolist() == [1, 8, 8, 1] and given["shape_signature"].tolist() == [-1, 8, 8, 1]
    assert given["dtype"] is np.float32 and given["quantization"] == (0.0, 0)
    assert got["shape"].tolist() == [1, 10]
    assert set(given["quantization_parameters"]) == {"scales", "zero_points", "quantized_dimension", "block_size"}
    interpreter.set_tensor(given["index"], images[:1])
    interpreter.invoke()
    expected = tightfit.Model(digits, memory="64MiB").run(images[:1])["probabilities"]
    np.testing.assert_allclose(interpreter.get_tensor(got["index"]), expected, 1e-5)
    assert len(interpreter.get_tensor_details()) == 2 and interpreter.num_subgraphs() == 1


def test_resize(interpreter, digits, images):
    interpreter.resize_tensor_input(0, [12, 8, 8, 1])
    with pytest.raises(RuntimeError, match="allocate_tensors"):
        interpreter.invoke()
    interpreter.allocate_tensors()
    assert interpreter.get_output_details()[0]["shape"].tolist() == [12, 10]
    interpreter.set_tensor(0, images)
    interpreter.invoke()
    expected = tightfit.Model(digits, memory="64MiB").run(images)["probabilities"]
    np.testing.assert_allclose(interpreter.get_tensor(1), expected, 1e-5)
    interpreter.resize_tensor_input(0, [3, 8, 8, 1], strict=True)
    with pytest.raises(ValueError, match="Strict"):
        interpreter.resize_tensor_input(0, [3, 9, 8, 1], strict=True)


def test_tensor_is_the_array_itself(interpreter, images):
    given, got = interpreter.tensor(0), interpreter.tensor(1)
    given()[:] = images[:1]
    interpreter.invoke()
    first = got()
    kept = first.copy()
    given()[:] = images[1:2]
    interpreter.invoke()
    np.testing.assert_array_equal(first, kept)
    assert not np.array_equal(got(), kept)


def test_model_content(digits, images):
    interpreter = Interpreter(model_content=digits.read_bytes(), memory="64MiB")
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, images[:1])
    interpreter.invoke()
    assert interpreter.get_tensor(1).shape == (1, 10)


def test_signature_runners(saved_models):
    interpreter = Interpreter(str(saved_models / "functions"), signature_key="look", memory="64MiB")
    assert interpreter.get_signature_list()["multiply"] == {"inputs": ["v"], "outputs": ["product"]}
    look = interpreter.get_signature_runner("look")
    assert look.get_input_details()["ids"]["dtype"] is np.int32
    found = look(ids=np.load(saved_models / "ids.npy"))
    np.testing.assert_allclose(found["rows"], np.load(saved_models / "ids_rows.npy"))
    product = interpreter.get_signature_runner("multiply")(v=found["rows"])["product"]
    np.testing.assert_allclose(product, found["product"], 1e-5)
    for wrong, words in [({}, "expected 1 vs provided 0"), ({"x": 1}, "Invalid Input name")]:
        with pytest.raises(ValueError, match=words):
            look(**wrong)
    with pytest.raises(ValueError, match="2 Signatures"):
        interpreter.get_signature_runner()
    with pytest.raises(ValueError, match="Invalid signature_key"):
        interpreter.get_signature_runner("none")


def test_what_is_refused(digits, images):
    for arguments, words in [
        ({}, "must be specified"),
        ({"model_path": str(digits), "model_content": b"x"}, "both"),
        ({"model_path": str(digits), "num_threads": 0}, ">= 1"),
        ({"model_path": str(digits), "num_threads": "2"}, "should be int"),
        ({"model_path": str(digits), "experimental_delegates": [object()]}, "delegates"),
        ({"model_path": str(digits), "experimental_op_resolver_type": "test"}, "op resolver type: test"),
    ]:
        with pytest.raises(ValueError, match=words):
            Interpreter(**arguments)
    with pytest.raises(TypeError, match="thread_count"):
        Interpreter(str(digits), thread_count=2)
    with pytest.raises(ValueError):
        load_delegate("libedgetpu.so.1")
    interpreter = Interpreter(
        str(digits), experimental_op_resolver_type=OpResolverType.BUILTIN_REF, memory="64MiB"
    )
    with pytest.raises(ValueError, match="allocate_tensors"):
        interpreter.set_tensor(0, images[:1])
    interpreter.allocate_tensors()
    with pytest.raises(ValueError, match="no value before invoke"):
        interpreter.get_tensor(1)
    with pytest.raises(ValueError, match="type FLOAT64 but expected type FLOAT32 for input 0, name: image"):
        interpreter.set_tensor(0, images[:1].astype(np.float64))
    with pytest.raises(ValueError, match="Got 12 but expected 1 for dimension 0 of input 0"):
        interpreter.set_tensor(0, images)
    with pytest.raises(ValueError, match="Got 3 but expected 4"):
        interpreter.set_tensor(0, images[0])
    with pytest.raises(ValueError, match="no tensor 2"):
        interpreter.get_tensor(2)


def test_what_does_not_fit_is_refused_by_allocate_tensors(digits):
    interpreter = Interpreter(str(digits), memory="64MiB")
    interpreter.resize_tensor_input(0, [1_000_000, 8, 8, 1])
    with pytest.raises(tightfit.NotFit):
        interpreter.allocate_tensors()


def test_variables(golden):
    case = golden("keras_classifier")
    interpreter = Interpreter(str(case.model), memory="64MiB")
    interpreter.resize_tensor_input(0, case.inputs["input"].shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, case.inputs["input"])
    interpreter.reset_all_variables()
    interpreter.invoke()
    case.check({interpreter.get_output_details()[0]["name"]: interpreter.get_tensor(1)})


@pytest.fixture
def lite(digits, tmp_path):
    """The digits network as a .tflite of integers."""
    path = tmp_path / "digits.tflite"
    tightfit.quantize(digits, path, scheme="int8", data=digits.parent / "test.tfrecord", batch=60)
    return path


def test_tensors_of_a_tflite_have_its_numbers(lite, images):
    interpreter = Interpreter(str(lite), memory="64MiB", num_threads=1)
    interpreter.allocate_tensors()
    (given,), (got,) = interpreter.get_input_details(), interpreter.get_output_details()
    tensors = interpreter.get_tensor_details()
    assert [told["index"] for told in tensors] == list(range(len(tensors))) and len(tensors) > 10
    assert tensors[given["index"]]["name"] == given["name"] and tensors[got["index"]]["name"] == got["name"]
    assert any(len(told["quantization_parameters"]["scales"]) > 1 for told in tensors)
    (scale, zero_point), (out_scale, out_zero_point) = given["quantization"], got["quantization"]
    assert given["dtype"] is np.int8 and scale > 0
    interpreter.set_tensor(given["index"], np.round(images[:1] / scale + zero_point).clip(-128, 127).astype(np.int8))
    interpreter.invoke()
    scores = (interpreter.get_tensor(got["index"]).astype(np.float32) - out_zero_point) * out_scale
    assert abs(scores.sum() - 1) < 0.1
    for index in (-1, len(tensors)):
        with pytest.raises(ValueError, match=f"no tensor {index}"):
            interpreter.get_tensor(index)
    with pytest.raises(ValueError, match="experimental_preserve_all_tensors"):
        for told in tensors:
            array = interpreter.get_tensor(told["index"])
            assert array.dtype == told["dtype"] and array.shape == tuple(told["shape"])


def test_dimensions_that_a_tflite_fixes_can_be_resized(golden, tmp_path):
    case = golden("keras_squeeze_excite")
    tightfit.freeze(case.model, tmp_path / "x.tflite")
    interpreter = Interpreter(str(tmp_path / "x.tflite"), memory="64MiB")
    given, got = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert given["shape_signature"][1] > 0
    wider = [1, given["shape"][1] * 2, *given["shape"][2:]]
    with pytest.raises(RuntimeError, match="Strict"):
        interpreter.resize_tensor_input(given["index"], wider, strict=True)
    for shape in (wider, list(given["shape"]), wider):
        interpreter.resize_tensor_input(given["index"], shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], np.ones(shape, np.float32))
        interpreter.invoke()
        assert interpreter.get_input_details()[0]["shape"].tolist() == shape
        assert np.isfinite(interpreter.get_tensor(got["index"])).all()
    interpreter.resize_tensor_input(given["index"], [1, 10**7, *given["shape"][2:]])
    with pytest.raises(tightfit.NotFit):
        interpreter.allocate_tensors()


def test_what_changes_an_array_under_way(interpreter, images):
    given = interpreter.tensor(0)()
    interpreter.set_tensor(0, given)
    interpreter.set_tensor(0, images[:1, ::-1, ::-1])
    np.testing.assert_array_equal(given, images[:1, ::-1, ::-1])
    interpreter.set_tensor(0, np.asfortranarray(images[:1]))
    np.testing.assert_array_equal(interpreter.get_tensor(0), images[:1])
    copy = interpreter.get_tensor(0)
    copy[:] = 7
    assert not np.array_equal(interpreter.get_tensor(0), copy)


def test_interpreters_go_in_any_order(digits, images):
    content = digits.read_bytes()
    for _ in range(20):
        interpreter = Interpreter(model_content=content, memory="64MiB")
        interpreter.allocate_tensors()
        array, get = interpreter.tensor(0), interpreter.tensor(1)
        array()[:] = images[:1]
        interpreter.invoke()
        del interpreter
        kept = get()
        del array, get
        gc.collect()
        assert kept.shape == (1, 10)


def test_computes_what_litert_does(golden_lite):
    interpreter = Interpreter(model_path=str(golden_lite.model), num_threads=1, memory="64MiB")
    for inputs, outputs in golden_lite.runs:
        given = {details["name"]: details["index"] for details in interpreter.get_input_details()}
        for name, array in inputs.items():
            interpreter.resize_tensor_input(given[name], array.shape)
        interpreter.allocate_tensors()
        for name, array in inputs.items():
            interpreter.set_tensor(given[name], array)
        interpreter.invoke()
        got = {details["name"]: details for details in interpreter.get_output_details()}
        for name, expected in outputs.items():
            found = interpreter.get_tensor(got[name]["index"])
            assert found.dtype == expected.dtype == got[name]["dtype"]
            assert found.shape == expected.shape == tuple(got[name]["shape"])
            np.testing.assert_allclose(found.astype(float), expected.astype(float), 1e-4, golden_lite.atol)


# Variables are no values of a run.
VARIABLES = {"svdf": {"4"}, "svdf_integers": {"4"}}


def test_all_tensors_are_kept(golden_lite):
    model = golden_lite.model
    interpreter = Interpreter(str(model), num_threads=1, memory="64MiB", experimental_preserve_all_tensors=True)
    given = {details["name"]: details["index"] for details in interpreter.get_input_details()}
    inputs, _ = golden_lite.runs[0]
    for name, array in inputs.items():
        interpreter.resize_tensor_input(given[name], array.shape)
    interpreter.allocate_tensors()
    for name, array in inputs.items():
        interpreter.set_tensor(given[name], array)
    interpreter.invoke()
    wanted = dict(np.load(model.parent / "tensors.npz"))
    for number in VARIABLES.get(model.parent.name, ()):
        del wanted[number]
        with pytest.raises(ValueError, match="Tensor data is null"):
            interpreter.get_tensor(int(number))
    details = {told["index"]: told for told in interpreter.get_tensor_details()}
    for number, expected in wanted.items():
        found = np.asarray(interpreter.get_tensor(int(number)))
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert tuple(details[int(number)]["shape"]) == found.shape
        np.testing.assert_allclose(found.astype(float), expected.astype(float), 1e-4, golden_lite.atol, err_msg=number)


def test_tensors_that_are_kept_take_memory():
    path = str(GOLDEN / "tflite" / "conv_net" / "model.tflite")
    least = tightfit.Model(path, memory="1GiB", threads=1).plan(batch=2000).minimum_bytes

    def opened(**options):
        interpreter = Interpreter(path, num_threads=1, **options)
        interpreter.resize_tensor_input(0, [2000, 12, 10, 3])
        interpreter.allocate_tensors()
        return interpreter

    opened(memory=least + (1 << 20))
    with pytest.raises(tightfit.NotFit) as raised:
        opened(memory=least + (1 << 20), experimental_preserve_all_tensors=True)
    assert raised.value.minimum_bytes > least + (1 << 20)
    interpreter = opened(memory=raised.value.minimum_bytes, experimental_preserve_all_tensors=True)
    interpreter.invoke()
    values = [interpreter.get_tensor(told["index"]) for told in interpreter.get_tensor_details()]
    assert len(values) > 20 and sum(value.nbytes for value in values) < raised.value.minimum_bytes


def test_a_signature_runs_shapes_that_the_file_fixes_otherwise():
    interpreter = Interpreter(str(GOLDEN / "tflite" / "resized" / "model.tflite"), memory="64MiB")
    runner = interpreter.get_signature_runner()
    for shape in ((1, 7, 6, 2), (1, 14, 12, 2), (1, 7, 6, 2)):
        assert runner(x=np.ones(shape, np.float32))["output_0"].shape == (1, 3)
    with pytest.raises(RuntimeError):
        runner(x=np.ones((1, 7, 6, 3), np.float32))
