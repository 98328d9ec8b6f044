"""The rows of docs/interpreter.md about values: what is set, computed and read."""

import gc
import threading

import numpy as np

from interpreter_rows import ROWS_OF_IMAGE, add, answer, image, row

HELD = "an array of an input is the input, and one of an output a copy: neither is in the way of a run"

SET = "set_tensor"


def set_and_get(what, value, model="conv_net", why=""):
    def call(side):
        interpreter, given, _ = side.ready(model)
        interpreter.set_tensor(given, value)
        return interpreter.get_tensor(given)
    add(SET, what, call, why)


set_and_get("an array", ROWS_OF_IMAGE)
set_and_get("an array that is not dense", image(3, 10, 12, 1).T)
set_and_get("an array of int8", np.arange(10, dtype=np.int8).reshape(2, 5), "svdf_integers")
set_and_get("uint8 for int8", np.zeros((2, 5), np.uint8), "svdf_integers")
set_and_get("float64 for float32", ROWS_OF_IMAGE.astype(np.float64))
set_and_get("float32 of the other byte order", ROWS_OF_IMAGE.astype(">f4"),
            why="LiteRT takes the bytes as they lie, and so other numbers")
set_and_get("a list of floats", ROWS_OF_IMAGE.tolist())
set_and_get("another shape", image(2, 12, 10, 3))
set_and_get("fewer dimensions", image(12, 10, 3))
set_and_get("a number", 1.0)
set_and_get("`None`", None)


@row(SET, "what it returns")
def _(side):
    interpreter, given, _ = side.ready()
    return interpreter.set_tensor(given, ROWS_OF_IMAGE)


@row(SET, "copies: what is written to the array later is not seen")
def _(side):
    interpreter, given, _ = side.ready()
    value = ROWS_OF_IMAGE.copy()
    interpreter.set_tensor(given, value)
    value[:] = 7
    return interpreter.get_tensor(given)


add(SET, "before `allocate_tensors`", lambda side: side.open().set_tensor(0, ROWS_OF_IMAGE))


@row(SET, "after `resize_tensor_input`, before `allocate_tensors`")
def _(side):
    interpreter, given, _ = side.ready()
    interpreter.resize_tensor_input(given, [2, 12, 10, 3])
    interpreter.set_tensor(given, image(2, 12, 10, 3))


for index in (-1, 999):
    add(SET, f"`tensor_index={index}`", lambda side, n=index: side.ready()[0].set_tensor(n, ROWS_OF_IMAGE))


@row(SET, "an output", "an output is what the model computes: nothing would read it")
def _(side):
    interpreter, _, got = side.ready()
    return interpreter.set_tensor(got, np.zeros((1, 5), np.float32))


@row(SET, "a weight", "weights are the file's; LiteRT's process ends")
def _(side):
    interpreter, _, _ = side.ready("resized")
    interpreter.set_tensor(1, np.zeros(interpreter.get_tensor_details()[1]["shape"], np.float32))


@row(SET, "`tensor_index` of NumPy's integers")
def _(side):
    interpreter, given, _ = side.ready()
    interpreter.set_tensor(np.int32(given), ROWS_OF_IMAGE)
    return interpreter.get_tensor(np.int64(given))


WORDS = np.array(["a", "bb", "ccc", "d", ""])


def picked(side, words):
    """What the model of strings picks of five words."""
    interpreter = side.open("strings")
    interpreter.allocate_tensors()
    given = {told["dtype"]: told["index"] for told in interpreter.get_input_details()}
    interpreter.set_tensor(given[np.int64], np.array([1, 4, 0]))
    interpreter.set_tensor(given[np.bytes_], words)
    interpreter.invoke()
    both = given[np.bytes_], interpreter.get_output_details()[0]["index"]
    return [interpreter.get_tensor(index).tolist() for index in both]


add(SET, "strings of str", lambda side: picked(side, WORDS))
add(SET, "strings of bytes with zeros", lambda side: picked(side, np.array([b"a", b"b\0\0", b"c", b"", b"e"], object)))
add(SET, "strings of another shape", lambda side: picked(side, WORDS[:3]))
add(SET, "a list of strings", lambda side: picked(side, WORDS.tolist()), "a list becomes an array")

GET = "get_tensor"
add(GET, "an output", lambda side: answer(side.open()))


@row(GET, "copies: what is written to it is not seen")
def _(side):
    interpreter, given, _ = side.ready()
    interpreter.set_tensor(given, ROWS_OF_IMAGE)
    interpreter.get_tensor(given)[:] = 7
    return interpreter.get_tensor(given)


@row(GET, "an output of a run after the next has begun")
def _(side):
    interpreter = side.open()
    first = answer(interpreter)
    kept = first.copy()
    answer(interpreter, -ROWS_OF_IMAGE)
    return np.array_equal(first, kept)


add(GET, "an input before `allocate_tensors`", lambda side: side.open().get_tensor(0))


@row(GET, "an output before `invoke`: its type and shape", "it has no value yet; LiteRT returns what the memory holds")
def _(side):
    interpreter, _, got = side.ready()
    array = interpreter.get_tensor(got)
    return array.dtype.name, array.shape


@row(GET, "an input of which nothing was set: its shape")
def _(side):
    interpreter, given, _ = side.ready()
    return interpreter.get_tensor(given).shape


for index in (-1, 999):
    add(GET, f"`tensor_index={index}`", lambda side, n=index: side.ready()[0].get_tensor(n))
for index in (1, 2, 3):
    add(GET, f"weight {index} of resized", lambda side, n=index: side.ready("resized")[0].get_tensor(n))
add(GET, "a weight of int8 and its scale's shape", lambda side: side.ready("integer_weights")[0].get_tensor(4))
add(GET, "a weight before `allocate_tensors`", lambda side: side.open("resized").get_tensor(1))


@row(GET, "a value inside the model: its shape")
def _(side):
    interpreter = side.open("resized")
    answer(interpreter, image(1, 7, 6, 2))
    return interpreter.get_tensor(5).shape


@row(GET, "`subgraph_index=1`, a weight of a branch's body")
def _(side):
    interpreter, _, _ = side.ready("branches")
    weight = next(told["index"] for told in interpreter.get_tensor_details(1) if told["name"].endswith("mul/y"))
    return interpreter.get_tensor(weight, 1)


add(GET, "`subgraph_index=9`", lambda side: side.ready()[0].get_tensor(0, 9))

KEEP = "experimental_preserve_all_tensors"


def kept(side, model, value):
    """Every computed tensor of the file, once `value` has been fed."""
    kind = side.lite.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    count = len(side.open(model).get_tensor_details())
    interpreter = side.open(model, experimental_preserve_all_tensors=True, experimental_op_resolver_type=kind)
    answer(interpreter, value)
    return [interpreter.get_tensor(index) for index in range(count)]


add(KEEP, "all tensors of resized", lambda side: kept(side, "resized", image(1, 7, 6, 2)))
add(KEEP, "all tensors of layers", lambda side: kept(side, "layers", image(1, 6, 5, 3)))
add(KEEP, "all tensors of conv_net", lambda side: kept(side, "conv_net", ROWS_OF_IMAGE))


@row(KEEP, "a variable of svdf after `invoke`: its shape",
     "a variable is no value of a run: `reset_all_variables` is what there is for it")
def _(side):
    interpreter, given, _ = side.ready("svdf", experimental_preserve_all_tensors=True)
    interpreter.set_tensor(given, image(2, 5))
    interpreter.invoke()
    return interpreter.get_tensor(4).shape


@row(KEEP, "a value inside the model before `invoke`: its shape", "it has no value yet; LiteRT returns what the memory holds")
def _(side):
    return side.ready("resized", experimental_preserve_all_tensors=True)[0].get_tensor(5).shape


@row(KEEP, "shapes of all tensors once they are allocated for three rows")
def _(side):
    kind = side.lite.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    options = {"experimental_preserve_all_tensors": True, "experimental_op_resolver_type": kind}
    interpreter = side.open("conv_net", **options)
    count = len(interpreter.get_tensor_details())
    interpreter.resize_tensor_input(0, [3, 12, 10, 3])
    interpreter.allocate_tensors()
    return [told["shape"].tolist() for told in interpreter.get_tensor_details()[:count]]


add(KEEP, "the output of conv_net", lambda side: answer(side.open(experimental_preserve_all_tensors=True)))

VIEW = "tensor"
add(VIEW, "what it returns", lambda side: callable(side.ready()[0].tensor(0)))


@row(VIEW, "what is written to an input's array is what is fed")
def _(side):
    interpreter, given, got = side.ready()
    interpreter.tensor(given)()[:] = ROWS_OF_IMAGE
    interpreter.invoke()
    return interpreter.tensor(got)().copy()


@row(VIEW, "an input's array shows what `set_tensor` sets")
def _(side):
    interpreter, given, _ = side.ready()
    view = interpreter.tensor(given)()
    interpreter.set_tensor(given, ROWS_OF_IMAGE)
    return view.copy()


@row(VIEW, "the function after `invoke`: an output's array is that of the last run")
def _(side):
    interpreter, given, got = side.ready()
    function = interpreter.tensor(got)
    first = answer(interpreter)
    answer(interpreter, -ROWS_OF_IMAGE)
    return np.array_equal(function(), first)


for method in ("invoke", "allocate_tensors"):
    @row(VIEW, f"`{method}` while an array is held", HELD)
    def _(side, method=method):
        interpreter, given, _ = side.ready()
        view = interpreter.tensor(given)()
        getattr(interpreter, method)()
        return view.shape


@row(VIEW, "`resize_tensor_input` while an array is held", HELD)
def _(side):
    interpreter, given, _ = side.ready()
    view = interpreter.tensor(given)()
    interpreter.resize_tensor_input(given, [2, 12, 10, 3])
    return view.shape


@row(VIEW, "an array outlives the interpreter")
def _(side):
    interpreter, given, _ = side.ready()
    interpreter.set_tensor(given, ROWS_OF_IMAGE)
    view = interpreter.tensor(given)()
    del interpreter
    gc.collect()
    return view


@row(VIEW, "the function outlives the interpreter")
def _(side):
    interpreter, given, _ = side.ready()
    interpreter.set_tensor(given, ROWS_OF_IMAGE)
    function = interpreter.tensor(given)
    del interpreter
    gc.collect()
    return function()


add(VIEW, "a weight", lambda side: side.ready("resized")[0].tensor(1)().copy())
add(VIEW, "`tensor_index=999`: the function is made", lambda side: callable(side.ready()[0].tensor(999)))
add(VIEW, "`tensor_index=999`: the function is called", lambda side: side.ready()[0].tensor(999)())
add(VIEW, "before `allocate_tensors`", lambda side: side.open().tensor(0)())

RESIZE = "resize_tensor_input"


def resized(what, shape, model="conv_net", strict=False, index=None, allocates=True, why=""):
    def call(side):
        interpreter = side.open(model)
        given = interpreter.get_input_details()[0]["index"] if index is None else index
        interpreter.resize_tensor_input(given, shape, strict=strict)
        if not allocates:
            return interpreter.get_input_details()[0]["shape"].tolist()
        interpreter.allocate_tensors()
        shape_now = interpreter.get_input_details()[0]["shape"]
        return answer(interpreter, image(*shape_now))
    add(RESIZE, what, call, why)


resized("another batch", [3, 12, 10, 3])
resized("a tuple", (2, 12, 10, 3))
resized("an array", np.array([2, 12, 10, 3]))
resized("a fixed dimension", [1, 14, 12, 2], "resized")
resized("`strict=True`, an open dimension", [2, 12, 10, 3], strict=True)
resized("`strict=True`, a fixed dimension", [1, 14, 12, 2], "resized", strict=True)
resized("a dimension that the model cannot have", [1, 7, 6, 3], "resized")
resized("another number of dimensions", [12, 10, 3])
resized("a dimension of 0", [0, 12, 10, 3], allocates=False)
resized("a dimension below 0", [-1, 12, 10, 3], allocates=False)
resized("floats", [2.0, 12.0, 10.0, 3.0])
resized("`input_index=-1`", [1, 12, 10, 3], index=-1)
resized("`input_index=999`", [1, 12, 10, 3], index=999)
resized("an output", [2, 5], index=27, allocates=False, why="an output has the shape that the model computes")


@row(RESIZE, "what it returns")
def _(side):
    return side.open().resize_tensor_input(0, [2, 12, 10, 3])


@row(RESIZE, "the shape that it has: `invoke` needs no `allocate_tensors`")
def _(side):
    interpreter, given, got = side.ready()
    interpreter.set_tensor(given, ROWS_OF_IMAGE)
    interpreter.resize_tensor_input(given, [1, 12, 10, 3])
    interpreter.invoke()
    return interpreter.get_tensor(got)


@row(RESIZE, "there and back, then run")
def _(side):
    interpreter = side.open()
    found = []
    for rows in (1, 4, 1):
        interpreter.resize_tensor_input(0, [rows, 12, 10, 3])
        found.append(answer(interpreter, np.repeat(ROWS_OF_IMAGE, rows, 0))[0])
    return bool(np.allclose(found[0], found[1], 1e-4, 1e-6) and np.array_equal(found[0], found[2]))


INVOKE = "invoke"
add(INVOKE, "before `allocate_tensors`", lambda side: side.open().invoke())
add(INVOKE, "what it returns", lambda side: side.ready()[0].invoke())


@row(INVOKE, "after `resize_tensor_input`, before `allocate_tensors`")
def _(side):
    interpreter, given, _ = side.ready()
    interpreter.resize_tensor_input(given, [2, 12, 10, 3])
    interpreter.invoke()


@row(INVOKE, "from threads, one interpreter each")
def _(side):
    found = []
    threads = [threading.Thread(target=lambda: found.append(answer(side.open()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(found) == 4 and all(np.array_equal(found[0], other) for other in found)


LIST, RUNNER = "get_signature_list", "get_signature_runner"
for model in ("conv_net", "signatures", "svdf"):
    add(LIST, f"of {model}", lambda side, m=model: side.open(m).get_signature_list())


@row(LIST, "is a copy")
def _(side):
    interpreter = side.open()
    interpreter.get_signature_list().clear()
    return list(interpreter.get_signature_list())


add(RUNNER, "no key, one signature", lambda side: sorted(side.open().get_signature_runner().get_input_details()))
add(RUNNER, "no key, two signatures", lambda side: side.open("signatures").get_signature_runner())
add(RUNNER, "no key, no signature", lambda side: side.open("svdf").get_signature_runner())
add(RUNNER, "a key that is not there", lambda side: side.open().get_signature_runner("none"))
add(RUNNER, "an empty key", lambda side: side.open().get_signature_runner(""))
add(RUNNER, "`get_input_details()`", lambda side: side.open().get_signature_runner().get_input_details())
add(RUNNER, "`get_output_details()`", lambda side: side.open().get_signature_runner().get_output_details())
for key in ("decode", "encode"):
    add(RUNNER, f"details of {key}, one of two", lambda side, k=key: {
        **side.open("signatures").get_signature_runner(k).get_input_details(),
        **side.open("signatures").get_signature_runner(k).get_output_details()})

CALL = "a signature runner"
add(CALL, "called by keyword, without `allocate_tensors`", lambda side: side.open().get_signature_runner()(x=ROWS_OF_IMAGE))
add(CALL, "another batch", lambda side: side.open().get_signature_runner()(x=image(3, 12, 10, 3)))
add(CALL, "one signature's result for the other", lambda side: side.open("signatures").get_signature_runner("decode")(
    **side.open("signatures").get_signature_runner("encode")(x=image(1, 4))))
add(CALL, "two inputs", lambda side: side.open("branches").get_signature_runner()(
    x=image(2, 3), flag=np.array([True])))
add(CALL, "no inputs", lambda side: side.open().get_signature_runner()())
add(CALL, "one input too many", lambda side: side.open().get_signature_runner()(x=ROWS_OF_IMAGE, y=ROWS_OF_IMAGE))
add(CALL, "an input of another name", lambda side: side.open().get_signature_runner()(z=ROWS_OF_IMAGE))
add(CALL, "by place", lambda side: side.open().get_signature_runner()(ROWS_OF_IMAGE))
add(CALL, "float64", lambda side: side.open().get_signature_runner()(x=ROWS_OF_IMAGE.astype(np.float64)))
add(CALL, "a list", lambda side: side.open().get_signature_runner()(x=ROWS_OF_IMAGE.tolist()),
    "LiteRT asks the list for its shape; here it becomes an array")
add(CALL, "a shape in place of a fixed one",
    lambda side: side.open("resized").get_signature_runner()(x=image(1, 14, 12, 2)))
add(CALL, "a shape that the model cannot have", lambda side: side.open("resized").get_signature_runner()(x=image(1, 7, 6, 3)))


@row(CALL, "outlives the interpreter")
def _(side):
    runner = side.open().get_signature_runner()
    gc.collect()
    return runner(x=ROWS_OF_IMAGE)


@row(CALL, "results stay as they are in the next call")
def _(side):
    runner = side.open().get_signature_runner()
    first = runner(x=ROWS_OF_IMAGE)["output_0"]
    before = first.copy()
    runner(x=-ROWS_OF_IMAGE)
    return np.array_equal(first, before)


@row(CALL, "variables go on from call to call")
def _(side):
    runner = side.open("counter").get_signature_runner()
    return [runner(x=np.ones(3, np.float32))["output_0"].tolist() for _ in range(3)]


@row(CALL, "variables are the interpreter's")
def _(side):
    interpreter = side.open("counter")
    runner = interpreter.get_signature_runner()
    first = runner(x=np.ones(3, np.float32))["output_0"].tolist()
    # LiteRT takes it for a view of the memory.
    del runner
    return first, answer(interpreter, np.ones(3, np.float32)).tolist()


add("SignatureRunner", "without an interpreter", lambda side: side.lite.SignatureRunner(None, "serving_default"))
add("SignatureRunner", "without a key", lambda side: side.lite.SignatureRunner(side.open(), None))
add("SignatureRunner", "of an interpreter and a key",
    lambda side: side.lite.SignatureRunner(side.open(), "serving_default")(x=ROWS_OF_IMAGE))
