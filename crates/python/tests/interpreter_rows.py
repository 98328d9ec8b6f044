"""What is asked of an Interpreter, call by call: the rows of docs/interpreter.md, which interpreter_table.py writes.

A row is a method, what is done with it, and a function of a side (LiteRT's or ours) that returns what is shown; what it raises
is shown too. `why` explains a difference that stays.
"""

import copy
import pickle
import shutil
import tempfile
from pathlib import Path

import numpy as np

ROWS = []


def add(method, what, call, why=""):
    ROWS.append((method, what, call, why))


def row(method, what, why=""):
    """The same for a function of several lines."""
    return lambda call: add(method, what, call, why)


class Side:
    """An Interpreter's module, and the models."""

    def __init__(self, lite, models):
        self.lite = lite
        self.models = models

    def path(self, model="conv_net"):
        return str(self.models / model / "model.tflite")

    def open(self, model="conv_net", **options):
        """An interpreter of a model."""
        return self.lite.Interpreter(model_path=self.path(model), **{"num_threads": 1, **options})

    def ready(self, model="conv_net", **options):
        """The same with its tensors allocated, and the numbers of its first input and output."""
        interpreter = self.open(model, **options)
        interpreter.allocate_tensors()
        return interpreter, interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]


def image(*shape):
    """Values that are the same each time."""
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


ROWS_OF_IMAGE = image(1, 12, 10, 3)


def answer(interpreter, value=ROWS_OF_IMAGE):
    """What conv_net computes."""
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], value)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def is_refused(call):
    try:
        call()
    except Exception:
        return "refused"
    return "accepted"


NEW = "Interpreter"
add(NEW, "neither path nor content", lambda side: side.lite.Interpreter())
add(NEW, "both", lambda side: side.lite.Interpreter(side.path(), Path(side.path()).read_bytes()))
add(NEW, "`model_path` that is not there", lambda side: side.lite.Interpreter(model_path="none.tflite"))
add(NEW, "`model_path` of a file that is no model", lambda side: side.lite.Interpreter(model_path=__file__))
add(NEW, "`model_path=pathlib.Path(..)`", lambda side: answer(side.lite.Interpreter(Path(side.path()))))


@row(NEW, "a file that is removed once it is open")
def _(side):
    with tempfile.TemporaryDirectory() as folder:
        interpreter = side.lite.Interpreter(shutil.copy(side.path(), folder))
    return answer(interpreter)


def content(side):
    return Path(side.path()).read_bytes()


add(NEW, "`model_content` of bytes", lambda side: answer(side.lite.Interpreter(model_content=content(side))))
add(NEW, "`model_content` of a bytearray", lambda side: answer(side.lite.Interpreter(model_content=bytearray(content(side)))),
    "whatever has bytes is taken")
add(NEW, "`model_content` that is no model", lambda side: side.lite.Interpreter(model_content=b"garbage"))
add(NEW, "`model_content` that is empty", lambda side: side.lite.Interpreter(model_content=b""))
add(NEW, "`model_content=12`", lambda side: side.lite.Interpreter(model_content=12))
for threads in (0, -1, "2", 4.2):
    add(NEW, f"`num_threads={threads!r}`", lambda side, n=threads: side.open(num_threads=n))
for threads in (None, 1, 2, True):
    add(NEW, f"`num_threads={threads!r}`", lambda side, n=threads: answer(side.open(num_threads=n)))
for kind in ("AUTO", "BUILTIN", "BUILTIN_REF", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"):
    add(NEW, f"`experimental_op_resolver_type=OpResolverType.{kind}`",
        lambda side, k=kind: answer(side.open(experimental_op_resolver_type=side.lite.OpResolverType[k])))
add(NEW, "`experimental_op_resolver_type='test'`", lambda side: side.open(experimental_op_resolver_type="test"))
add(NEW, "`experimental_delegates=[]`", lambda side: answer(side.open(experimental_delegates=[])))
add(NEW, "`experimental_delegates` that are none", lambda side: side.open(experimental_delegates=[object()]),
    "there are no delegates here, so any is refused, as a ValueError")
for name in (
    "disable_delegate_clustering",
    "default_delegate_latest_features",
    "compress_quantization_zero_points",
    "disable_delegate_node_fusion",
    "force_delegate_node_profiling",
):
    add(NEW, f"`experimental_{name}=True`", lambda side, n=name: answer(side.open(**{f"experimental_{n}": True})))
add(NEW, "all arguments by their places",
    lambda side: answer(side.lite.Interpreter(side.path(), None, None, 1, side.lite.OpResolverType.BUILTIN, *[False] * 6)))
add(NEW, "an argument that there is not", lambda side: side.open(experimental_none=True))
add(NEW, "two of one file at once", lambda side: np.array_equal(answer(side.open()), answer(side.open())))
add(NEW, "pickled", lambda side: is_refused(lambda: pickle.dumps(side.open())))
add(NEW, "`copy.deepcopy`", lambda side: is_refused(lambda: copy.deepcopy(side.open())))
add(NEW, "`experimental_compress_quantization_zero_points` as an attribute",
    lambda side: side.open(experimental_compress_quantization_zero_points=True)
    .experimental_compress_quantization_zero_points)
add("InterpreterWithCustomOps", "is there", lambda side: hasattr(side.lite, "InterpreterWithCustomOps"),
    "operators of one's own are written in Rust (docs/own-operators.md); TensorFlow does not export the class either")
add("load_delegate", "a library that is not there", lambda side: side.lite.load_delegate("libnone.so"),
    "there are no delegates here, so any is refused, as a ValueError")
add("OpResolverType", "its members", lambda side: [(kind.name, kind.value) for kind in side.lite.OpResolverType])

ALLOCATE = "allocate_tensors"
add(ALLOCATE, "what it returns", lambda side: side.open().allocate_tensors())


@row(ALLOCATE, "once more: what was set stays")
def _(side):
    interpreter, given, _ = side.ready()
    interpreter.set_tensor(given, ROWS_OF_IMAGE)
    interpreter.allocate_tensors()
    return interpreter.get_tensor(given)


@row(ALLOCATE, "once more after `invoke`: outputs stay")
def _(side):
    interpreter = side.open()
    before = answer(interpreter)
    interpreter.allocate_tensors()
    return np.array_equal(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), before)


MODELS = ("conv_net", "signatures", "counter", "svdf_integers", "moves", "branches")
for side_name in ("input", "output"):
    for model in MODELS:
        add(f"get_{side_name}_details", f"of {model}",
            lambda side, s=side_name, m=model: getattr(side.open(m), f"get_{s}_details")())
add("get_input_details", "the types of what it tells",
    lambda side: {key: type(value).__name__ for key, value in side.open().get_input_details()[0].items()})


def shapes_after_resize(method, allocates):
    def call(side):
        interpreter, given, _ = side.ready()
        interpreter.resize_tensor_input(given, [3, 12, 10, 3])
        if allocates:
            interpreter.allocate_tensors()
        return [told["shape"].tolist() for told in getattr(interpreter, method)()]
    add(method, f"shapes after `resize_tensor_input`{' and `allocate_tensors`' if allocates else ''}", call)


for method in ("get_input_details", "get_output_details"):
    shapes_after_resize(method, False)
    shapes_after_resize(method, True)

ALL = "get_tensor_details"


def names_and_types(details):
    return [(told["name"], told["index"], told["shape_signature"].tolist(), told["dtype"]) for told in details]


for model in ("resized", "svdf_integers", "integer_weights", "counter", "branches", "signatures"):
    add(ALL, f"of {model}", lambda side, m=model: names_and_types(side.open(m).get_tensor_details()))


@row(ALL, "scales of each channel")
def _(side):
    told = [one["quantization_parameters"] for one in side.open("integer_weights").get_tensor_details()]
    return [(len(one["scales"]), len(one["zero_points"]), int(one["quantized_dimension"])) for one in told]


@row(ALL, "shapes of all tensors once they are allocated for three rows",
     "values inside the model have shapes while it runs; `experimental_preserve_all_tensors` keeps them")
def _(side):
    interpreter = side.open("conv_net")
    count = len(interpreter.get_tensor_details())
    interpreter.resize_tensor_input(0, [3, 12, 10, 3])
    interpreter.allocate_tensors()
    return [told["shape"].tolist() for told in interpreter.get_tensor_details()[:count]]


add(ALL, "of a subgraph that a branch runs", lambda side: names_and_types(side.open("branches").get_tensor_details(1)))
add(ALL, "how many more once they are allocated",
    lambda side: len(side.ready("moves")[0].get_tensor_details()) - len(side.open("moves").get_tensor_details()))
for index in (-1, 1):
    add(ALL, f"`subgraph_index={index}` of a model of one", lambda side, n=index: side.open().get_tensor_details(n))
add("num_subgraphs", "of four models",
    lambda side: [side.open(model).num_subgraphs() for model in ("conv_net", "branches", "counter", "lstm")])


@row("_get_ops_details", "before `allocate_tensors`")
def _(side):
    told = side.open("counter")._get_ops_details()
    return [(one["index"], one["op_name"], one["inputs"].tolist(), one["outputs"].tolist()) for one in told]


add("_get_ops_details", "types of what an operator takes and gives",
    lambda side: [(one["operand_types"], one["result_types"]) for one in side.open("moves")._get_ops_details()][:6])
add("_get_op_details", "of an operator that is not there", lambda side: side.open()._get_op_details(99))
add("_get_tensor_details", "of a tensor that is not there", lambda side: side.open()._get_tensor_details(999, 0))

RESET = "reset_all_variables"
add(RESET, "of a model without", lambda side: side.ready()[0].reset_all_variables())


def counted(side, model, runs, between=lambda interpreter: None):
    interpreter, given, got = side.ready(model)
    value = np.ones(interpreter.get_input_details()[0]["shape"], interpreter.get_input_details()[0]["dtype"])
    found = []
    for _ in range(runs):
        interpreter.set_tensor(given, value)
        interpreter.invoke()
        found.append(interpreter.get_tensor(got).ravel()[0].item())
        between(interpreter)
    return [round(value, 4) for value in found]


for model in ("svdf", "counter"):
    add("invoke", f"three times: the variables of {model} go on", lambda side, m=model: counted(side, m, 3))
add(RESET, "after each run of svdf", lambda side: counted(side, "svdf", 3, lambda own: own.reset_all_variables()))
add(RESET, "after each run of counter", lambda side: counted(side, "counter", 3, lambda own: own.reset_all_variables()),
    "LiteRT leaves variables that operators read by handles; here all are reset")
