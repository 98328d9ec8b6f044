"""Makes tests/golden/tflite: small TensorFlow Lite models of TensorFlow's converter, and what its interpreter computes.

    python tests/golden/tflite.py [--only NAME ...] [--tensors]

A folder holds model.tflite and manifest.json: for each run the arrays that are fed and that come out, by the names of their
tensors, as .npy files. Runs follow each other in one interpreter, so variables go on from one to the next. `atol` is the
largest difference, of 8 and 16 bit integers in steps. tensors.npz holds all tensors of the first graph after the first run, by
their numbers, as the interpreter keeps them; `--tensors` makes it alone. A model of strings has nothing but the model.
"""
import argparse
import json
import os
import pathlib
import shutil

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0", CUDA_VISIBLE_DEVICES="")
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

ROOT = pathlib.Path(__file__).parent / "tflite"
CASES = {}
SEED = 7


def case(make):
    CASES[make.__name__] = make
    return make


def constant(*shape, scale=0.5):
    return tf.constant(rng.uniform(-scale, scale, shape).astype(np.float32))


def spec(*shape, dtype=tf.float32):
    return tf.TensorSpec(shape, dtype)


def convert(function, *specs, quantize=None, **signatures):
    """The model of a function, or of several by the keys of their signatures."""
    module = tf.Module()
    module.functions = {key: tf.function(f, input_signature=s) for key, (f, s) in signatures.items()}
    if function is not None:
        module.functions["serving_default"] = tf.function(function, input_signature=list(specs))
    folder = "/tmp/tightfit-golden-tflite"
    shutil.rmtree(folder, ignore_errors=True)
    tf.saved_model.save(module, folder, signatures={k: f.get_concrete_function() for k, f in module.functions.items()})
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(module.functions))
    if quantize:
        quantize(converter)
    return converter.convert()


def half(converter):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


@case
def conv_net():
    """Convolutions with every padding, stride and activation, a bias, groups, and a dense layer."""
    first, depth = constant(3, 3, 3, 8), constant(3, 3, 8, 2)
    grouped, dense = constant(3, 3, 8, 16), constant(144, 5)

    def net(x):
        x = tf.nn.relu6(tf.nn.bias_add(tf.nn.conv2d(x, first, 2, "SAME"), constant(8)))
        x = tf.nn.relu(tf.nn.depthwise_conv2d(x, depth, [1, 1, 1, 1], "SAME", dilations=[2, 2]))
        x = tf.nn.bias_add(tf.nn.conv2d(x, grouped, 1, "VALID"), constant(16))
        x = tf.nn.leaky_relu(x, 0.1)
        x = tf.nn.avg_pool2d(x, 2, 1, "SAME")
        return tf.nn.softmax(tf.matmul(tf.reshape(x[:, :3, :3], [-1, 144]), dense) + constant(5))

    return convert(net, spec(None, 12, 10, 3)), [1, 2]


@case
def conv_net_half():
    """The same idea with weights of float16."""
    first, dense = constant(3, 3, 2, 48), constant(48, 40)

    def net(x):
        x = tf.nn.relu(tf.nn.conv2d(x, first, 1, "SAME"))
        return tf.matmul(tf.reduce_mean(x, [1, 2]), dense)

    return convert(net, spec(1, 9, 9, 2), quantize=half), [1]


def dynamic_range(converter):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


@case
def integer_weights():
    """Weights of int8 beside floats, with a scale for each channel and with one for all."""
    first, dense = constant(3, 3, 4, 40), constant(40, 48)

    def net(x):
        x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, first, 1, "SAME"), constant(40)))
        return tf.matmul(tf.reduce_mean(x, [1, 2]), dense) + constant(48)

    return convert(net, spec(1, 6, 5, 4), quantize=dynamic_range), [1]


@case
def resized():
    """A model for one row that is given three."""
    first, dense = constant(3, 3, 2, 4), constant(4, 3)

    def net(x):
        x = tf.nn.relu(tf.nn.conv2d(x, first, 2, "SAME"))
        return tf.matmul(tf.reduce_mean(x, [1, 2]), dense)

    return convert(net, spec(1, 7, 6, 2)), [1, 3]


@case
def layers():
    """A transposed convolution, both resizes, padding, pools and a gate."""
    back, narrow = constant(2, 2, 4, 3), constant(1, 1, 4, 4)

    def net(x):
        up = tf.nn.conv2d_transpose(x, back, [1, 12, 10, 4], 2, "VALID")
        up = tf.nn.conv2d(tf.pad(up, [[0, 0], [1, 0], [0, 1], [0, 0]]), narrow, 1, "VALID")
        small = tf.compat.v1.image.resize_bilinear(up, [5, 6], half_pixel_centers=True)
        near = tf.compat.v1.image.resize_nearest_neighbor(up, [5, 6])
        gate = small * tf.nn.relu6(near + 3.0) * (1 / 6)
        return tf.nn.max_pool2d(tf.concat([gate, near], 3), 2, 2, "SAME")

    return convert(net, spec(1, 6, 5, 3)), [1]


@case
def moves():
    """What moves elements: slices, splits, gathers, packs, transpositions, tiles, reversals."""
    table = constant(7, 3)

    def net(x, index):
        a, b = tf.split(x, [2, 4], axis=1)
        rows = tf.gather(table, index)
        x = tf.concat([tf.tile(a, [1, 2]), tf.reverse(b, [1])], 1)
        return {
            "sliced": x[:, ::-2, tf.newaxis],
            "packed": tf.transpose(tf.stack([rows, rows + 1], 1), [2, 0, 1]),
            "picked": tf.gather_nd(x, [[0, 1], [2, 3]]),
            "best": tf.math.top_k(x, 2).indices,
            "mirror": tf.pad(x, [[1, 1], [2, 0]], "REFLECT"),
            "where": tf.where(x > 0, x, tf.zeros_like(x)),
        }

    return convert(net, spec(3, 6), spec(2, dtype=tf.int32)), [1]


@case
def elementwise():
    """Functions of one element and of two."""

    def net(x, y):
        positive = tf.abs(x) + 0.1
        functions = [tf.sin, tf.cos, tf.exp, tf.floor, tf.math.ceil, tf.round, tf.sigmoid, tf.tanh, tf.nn.elu, tf.sign]
        outputs = {f"f{i:02}": f(x) for i, f in enumerate(functions)}
        return outputs | {
            "log": tf.math.log(positive), "root": tf.sqrt(positive), "inverse": tf.math.rsqrt(positive),
            "power": tf.pow(positive, y), "quotient": x / y, "floored": tf.math.floordiv(x, y),
            "modulo": tf.math.floormod(x, y), "difference": tf.math.squared_difference(x, y),
            "about": tf.nn.gelu(x, approximate=True), "angle": tf.atan2(x, x + 1),
            "norm": tf.math.l2_normalize(x, -1), "sum": tf.reduce_sum(x, 0), "most": tf.reduce_max(x, 1, keepdims=True),
            "place": tf.argmax(x, 1), "run": tf.cumsum(x, 1, exclusive=True, reverse=True),
            "either": tf.math.logical_or(x > y, tf.equal(x, y)), "log_softmax": tf.nn.log_softmax(x),
        }

    return convert(net, spec(4, 5), spec(5)), [1]


@case
def lstm():
    """A layer that the converter makes a loop of."""
    tf.keras.utils.set_random_seed(SEED)
    layers = [tf.keras.layers.LSTM(5, return_sequences=True), tf.keras.layers.Dense(3)]
    model = tf.keras.Sequential([tf.keras.Input((6, 4), batch_size=1), *layers])
    concrete = tf.function(lambda x: model(x)).get_concrete_function(spec(1, 6, 4))
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    return tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert(), [1, 1]


@case
def svdf():
    """Two filters for each of three units, which remember four steps. The converter makes none: it is written by hand."""
    from tfl_model import Tensor, tflite

    def floats(*shape, role="input"):
        return Tensor(rng.uniform(-1, 1, shape).astype(np.float32), is_constant=True, role=role)

    x, memory = Tensor(np.zeros((2, 5), np.float32)), floats(2, 24, role="state")
    inputs = [x, floats(6, 5), floats(6, 4), floats(3), memory]
    attributes = dict(slots=[0, 1, 2, 3, 4], rank=2, fused_activation_function="RELU")
    return tflite("tfl.svdf", inputs, Tensor(np.zeros((2, 3), np.float32)), attributes), [1, 1, 1]


@case
def svdf_integers():
    """The same in integers."""
    from tfl_model import Tensor, tflite

    def integers(dtype, limit, scale, *shape, zero=0, role="input"):
        value = rng.integers(-limit, limit, shape, endpoint=True).astype(dtype)
        return Tensor(value, np.float32(scale), zero, role != "fed", role)

    x = integers(np.int8, 0, 0.5, 2, 5, zero=1, role="fed")
    inputs = [
        x, integers(np.int8, 127, 0.01, 6, 5), integers(np.int16, 900, 0.001, 6, 4),
        integers(np.int32, 900, 1e-6, 3), integers(np.int16, 0, 0.001, 2, 24, role="state"),
    ]
    attributes = dict(slots=[0, 1, 2, 3, 4], rank=2, fused_activation_function="RELU")
    output = Tensor(np.zeros((2, 3), np.int8), np.float32(0.01), -100)
    return tflite("tfl.svdf", inputs, output, attributes), [1, 1, 1]


@case
def counter():
    """A variable that runs add to, and that begins with a number of its own."""

    class Counter(tf.Module):
        def __init__(self):
            self.total = tf.Variable(tf.constant([1.0, 2.0, 3.0]))

        @tf.function(input_signature=[spec(3)])
        def add(self, x):
            self.total.assign_add(x)
            return self.total * 2

    module = Counter()
    concrete = module.add.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    converter.experimental_enable_resource_variables = True
    return converter.convert(), [1, 1, 1]


@case
def branches():
    """A branch, and a loop whose variables keep their shapes."""

    def net(x, flag):
        y = tf.cond(flag[0], lambda: x * 2, lambda: x - 1)
        steps = tf.while_loop(lambda i, v: i < 4, lambda i, v: (i + 1, v * 1.5 + 1), (tf.constant(0), y))
        return steps[1]

    return convert(net, spec(2, 3), spec(1, dtype=tf.bool)), [1, 1]


@case
def detection():
    """Boxes out of the codes of a detector, by TensorFlow Lite's custom operator."""
    anchors = tf.constant(rng.uniform(0.2, 0.8, (40, 4)).astype(np.float32))
    numbers = {"y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0, "nms_score_threshold": 0.3,
               "nms_iou_threshold": 0.5}
    counts = {"max_detections": 6, "max_classes_per_detection": 1, "num_classes": 3}
    options = [f'attr {{ key: "{k}" value {{ f: {v} }} }}' for k, v in numbers.items()]
    options += [f'attr {{ key: "{k}" value {{ i: {v} }} }}' for k, v in counts.items()]
    options.append('attr { key: "use_regular_nms" value { b: false } }')
    implements = f'name: "TFLite_Detection_PostProcess" {" ".join(options)}'

    @tf.function(experimental_implements=implements)
    def post_process(boxes, scores, anchors):
        return tf.zeros((1, 6, 4)), tf.zeros((1, 6)), tf.zeros((1, 6)), tf.zeros((1,))

    def net(codes, scores):
        return dict(zip("abcd", post_process(codes, tf.sigmoid(scores), anchors)))

    def allow(converter):
        converter.allow_custom_ops = True

    return convert(net, spec(1, 40, 4), spec(1, 40, 4), quantize=allow), [1]


@case
def signatures():
    """Two ways to run a model."""
    weight = constant(4, 2)
    both = {
        "encode": (lambda x: {"code": tf.matmul(x, weight)}, [spec(1, 4)]),
        "decode": (lambda code: {"x": tf.matmul(code, weight, transpose_b=True)}, [spec(1, 2)]),
    }
    return convert(None, **both), [1]


@case
def strings():
    """Words that are picked by their places."""
    pick = lambda words, indices: {"picked": tf.gather(words, indices)}
    return convert(pick, spec(5, dtype=tf.string), spec(3, dtype=tf.int64)), []


def sample(detail, batch):
    # More rows than the one that a model is made for resize its input.
    is_batch = lambda axis, dim: dim < 0 or (axis == 0 and batch > 1)
    shape = [batch if is_batch(axis, dim) else dim for axis, dim in enumerate(detail["shape_signature"])]
    if detail["dtype"] == np.bool_:
        return rng.integers(0, 2, shape).astype(bool)
    if detail["dtype"] == np.float32:
        return rng.uniform(-2, 2, shape).astype(np.float32)
    return rng.integers(0, 5, shape).astype(detail["dtype"])


def write(name, model, batches):
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "model.tflite").write_bytes(model)
    resolver = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = tf.lite.Interpreter(model_content=model, experimental_op_resolver_type=resolver)
    runs = []
    for number, batch in enumerate(batches):
        fed, given = [], []
        for detail in interpreter.get_input_details():
            value = sample(detail, batch)
            interpreter.resize_tensor_input(detail["index"], value.shape)
            fed.append((detail, value))
        if number == 0 or batch != batches[number - 1]:
            interpreter.allocate_tensors()
        for detail, value in fed:
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        given = [(detail, interpreter.get_tensor(detail["index"])) for detail in interpreter.get_output_details()]
        run = {}
        for kind, tensors in (("in", fed), ("out", given)):
            run[kind] = []
            for place, (detail, value) in enumerate(tensors):
                file = f"{number}_{kind}_{place}.npy"
                np.save(folder / file, value)
                run[kind].append({"name": detail["name"], "file": file})
        runs.append(run)
    if runs:
        (folder / "manifest.json").write_text(json.dumps({"atol": 1e-5, "runs": runs}, indent=1) + "\n")
        write_tensors(folder)


def write_tensors(folder):
    """All tensors after the first run, but for those that have no values of numbers."""
    resolver = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = tf.lite.Interpreter(
        str(folder / "model.tflite"), experimental_op_resolver_type=resolver, experimental_preserve_all_tensors=True
    )
    count = len(interpreter.get_tensor_details())
    fed = json.loads((folder / "manifest.json").read_text())["runs"][0]["in"]
    given = {detail["name"]: detail["index"] for detail in interpreter.get_input_details()}
    values = {given[one["name"]]: np.load(folder / one["file"]) for one in fed}
    for index, value in values.items():
        interpreter.resize_tensor_input(index, value.shape)
    interpreter.allocate_tensors()
    for index, value in values.items():
        interpreter.set_tensor(index, value)
    interpreter.invoke()
    found = {}
    for index in range(count):
        try:
            found[str(index)] = np.asarray(interpreter.get_tensor(index))
        except ValueError:
            pass
    np.savez_compressed(folder / "tensors.npz", **{n: value for n, value in found.items() if value.dtype != object})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--tensors", action="store_true")
    options = parser.parse_args()
    for folder in sorted(path.parent for path in ROOT.glob("*/manifest.json")) if options.tensors else ():
        if not options.only or folder.name in options.only:
            write_tensors(folder)
    for name in () if options.tensors else options.only or CASES:
        rng = np.random.default_rng(SEED)
        write(name, *CASES[name]())
        print(name, (ROOT / name / "model.tflite").stat().st_size)
