"""tf.lite.Interpreter's calls."""

import numpy as np
import pytest
import tightfit
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
    assert set(given["quantization_parameters"]) == {"scales", "zero_points", "quantized_dimension"}
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
    with pytest.raises(ValueError, match="Tensor 2"):
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
