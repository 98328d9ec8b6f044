"""Random nodes that choose, repeat and remember, for `fuzz.py`: branches and loops as functions and as TensorFlow 1 writes
them, lists of tensors, variables."""

import numpy as np
import tensorflow as tf

from fuzz_graph import Tensor, attr, attr_type
from fuzz_ops import maker

# TensorFlow 1 makes these of its reference variables alone, which import reads as the others.
SAME_AS_OTHERS = {"RefEnter", "RefExit", "RefMerge", "RefNextIteration", "RefSwitch", "Variable", "Copy", "CopyHost",
                  "DebugGradientIdentity", "DebugIdentity", "DebugIdentityV2", "DebugIdentityV3"}

DTYPES = ["float32", "float32", "float64", "int32", "int64", "float16"]


def function(g, build, specs):
    """Puts what `build` computes into the graph's library; the attribute that names it."""
    made = tf.function(build, autograph=False).get_concrete_function(*specs)
    definition = made.function_def
    g.count += 1
    name = f"body{g.count}"
    definition.signature.name = name
    g.graph_def.library.function.append(definition)
    value = attr()
    value.func.name = name
    return value


def node(g, op, inputs, dtypes, **attributes):
    """A node whose outputs' types are told."""
    made = g.graph_def.node.add(name=g.name(op), op=op)
    made.input.extend(inputs)
    for key, value in attributes.items():
        made.attr[key].CopyFrom(value)
    g.log.append(f"{op}({', '.join(inputs)})")
    return [Tensor(f"{made.name}:{i}" if i else made.name, dtype) for i, dtype in enumerate(dtypes)]


def types(dtypes):
    value = attr()
    value.list.SetInParent()
    value.list.type.extend(tf.as_dtype(d).as_datatype_enum for d in dtypes)
    return value


def shapes(count):
    """Output shapes that say nothing."""
    value = attr()
    value.list.SetInParent()
    for _ in range(count):
        value.list.shape.add(unknown_rank=True)
    return value


def step(g, dtype):
    """A random function of tensors of one shape, which keeps the shape; its small numbers stay small."""
    kinds = [g.int(0, 6) for _ in range(g.int(1, 3))]

    def apply(x, y):
        for kind in kinds:
            if kind == 0:
                x = x + y
            elif kind == 1:
                x = x * tf.constant(0.5 if x.dtype.is_floating else 1, x.dtype)
            elif kind == 2:
                x = tf.maximum(x, y)
            elif kind == 3:
                x = -x
            elif kind == 4:
                x = tf.where(x > y, x, y - x)
            elif kind == 5:
                x = x - tf.reduce_max(x) if x.shape.num_elements() else x
            else:
                x = tf.reshape(tf.reshape(x, [-1]), tf.shape(x))
        return x

    return apply


@maker("If", "StatelessIf", "Case", "StatelessCase")
def branch(g, name):
    g.wild = 0  # what is wrong in a body that is not taken only the program refuses
    dtype, shape = g.pick(DTYPES), g.shape(0, 3)
    x, y = (g.input(dtype, shape, special=0) for _ in range(2))
    specs = [tf.TensorSpec(shape, dtype), tf.TensorSpec(shape, dtype)]
    is_case = "Case" in name
    count = g.int(1, 4) if is_case else 2
    steps = [step(g, dtype) for _ in range(count)]
    # A branch may return fewer rows than another.
    cuts = shape and g.chance(0.3)

    def body(number):
        def build(a, b):
            made = steps[number](a, b)
            return [made[: number % 2 + 1] if cuts else made, a if number else b]

        return build

    functions = [function(g, body(i), specs) for i in range(count)]
    which = g.pick(["int32"]) if is_case else g.pick(["bool", "bool", "int32", "float32"])
    value = g.int(-1, count) if is_case else g.int(0, 1)
    chosen = g.feed(np.array(value).astype(which if which != "bool" else bool), which, const=g.chance(0.2), derive=False)
    more = {"branches": many(functions)} if is_case else {"then_branch": functions[0], "else_branch": functions[1]}
    head = {} if is_case else {"Tcond": attr_type(which)}
    return node(g, name, [chosen.name, x.name, y.name], [dtype, dtype], Tin=types([dtype] * 2), Tout=types([dtype] * 2),
                output_shapes=shapes(2), **head, **more)


def many(functions):
    value = attr()
    value.list.SetInParent()
    for one in functions:
        value.list.func.append(one.func)
    return value


@maker("While", "StatelessWhile")
def loop(g, name):
    g.wild = 0
    dtype, shape = g.pick(DTYPES), g.shape(0, 3)
    x, y = (g.input(dtype, shape, special=0) for _ in range(2))
    turns = g.int(0, 5)
    limit = g.feed(np.array(turns, "int32"), "int32", derive=False)
    start = g.feed(np.array(0, "int32"), "int32", const=True, derive=False)
    specs = [tf.TensorSpec([], "int32"), tf.TensorSpec([], "int32"), tf.TensorSpec(shape, dtype), tf.TensorSpec(shape, dtype)]
    apply, swaps = step(g, dtype), g.chance(0.3)

    def body(i, n, a, b):
        made = apply(a, b)
        return (i + 1, n, b, made) if swaps else (i + 1, n, made, b)

    condition = function(g, lambda i, n, a, b: i < n, specs)
    kinds = ["int32", "int32", dtype, dtype]
    return node(g, name, [start.name, limit.name, x.name, y.name], kinds, T=types(kinds), cond=condition,
                body=function(g, body, specs), output_shapes=shapes(4))


@maker("Enter", "Exit", "NextIteration", "LoopCond")
def old_loop(g, _):
    """A loop as TensorFlow 1 writes it: a counter and a tensor."""
    g.wild = 0
    dtype, shape = g.pick(DTYPES), g.shape(0, 3)
    frame = {"frame_name": attr(s=g.name("frame").encode())}
    turns = g.feed(np.array(g.int(0, 4), "int32"), "int32", derive=False)
    begin = [(g.feed(np.array(0, "int32"), "int32", const=True, derive=False), "int32"), (g.input(dtype, shape, special=0), dtype)]
    held = [(turns, "int32"), (g.feed(np.array(1, "int32"), "int32", const=True, derive=False), "int32"),
            (g.input(dtype, shape, special=0), dtype)]
    inside = [node(g, "Enter", [t.name], [d], T=attr_type(d), is_constant=attr(b=True), **frame)[0] for t, d in held]
    merges = []
    for tensor, kind in begin:
        entered = node(g, "Enter", [tensor.name], [kind], T=attr_type(kind), **frame)[0]
        merges.append(node(g, "Merge", [entered.name, entered.name], [kind, "int32"], T=attr_type(kind), N=attr(i=2))[0])
    less = node(g, "Less", [merges[0].name, inside[0].name], ["bool"], T=attr_type("int32"))[0]
    goes_on = node(g, "LoopCond", [less.name], ["bool"])[0]
    switches = [node(g, "Switch", [m.name, goes_on.name], [m.dtype] * 2, T=attr_type(m.dtype)) for m in merges]
    op = g.pick(["AddV2", "Sub", "Maximum"])
    made = [node(g, "AddV2", [switches[0][1].name, inside[1].name], ["int32"], T=attr_type("int32"))[0],
            node(g, op, [switches[1][1].name, inside[2].name], [dtype], T=attr_type(dtype))[0]]
    nodes = {n.name: n for n in g.graph_def.node}
    for merge, value in zip(merges, made):
        following = node(g, "NextIteration", [value.name], [value.dtype], T=attr_type(value.dtype))[0]
        nodes[merge.name].input[1] = following.name
    return [node(g, "Exit", [s[0].name], [s[0].dtype], T=attr_type(s[0].dtype))[0] for s in switches]


@maker("Switch", "Merge")
def old_branch(g, _):
    g.wild = 0
    dtype, shape = g.pick(DTYPES), g.shape(0, 3)
    x = g.input(dtype, shape, special=0)
    chosen = g.feed(np.array(g.chance(0.5)), "bool", derive=False)
    sides = g.call("Switch", x, chosen)
    ops = [g.pick(["Neg", "Square", "Identity"]) for _ in sides]
    ends = [g.call(op, side)[0] for op, side in zip(ops, sides)]
    return g.call("Merge", ends)[:1] if g.chance(0.7) else g.call("Merge", ends)


@maker("EmptyTensorList", "TensorListPushBack", "TensorListPopBack", "TensorListLength", "TensorListElementShape",
       "TensorListStack")
def pushed(g, _):
    dtype, shape = g.pick(DTYPES), g.shape(0, 2)
    known = g.chance(0.7)
    most = g.feed(np.array(-1, "int32"), "int32", const=True, derive=False)
    element = g.feed(np.array(shape if known else -1, "int32"), "int32", const=True, derive=False)
    handle = g.call("EmptyTensorList", element, most, element_dtype=dtype)[0]
    for _ in range(g.int(1, 4)):
        handle = g.call("TensorListPushBack", handle, g.input(dtype, shape), element_dtype=dtype)[0]
    made = []
    if g.chance(0.4):
        handle, last = g.call("TensorListPopBack", handle, element, element_dtype=dtype)
        made.append(last)
    made += g.call("TensorListLength", handle)
    return made + g.call("TensorListStack", handle, element, element_dtype=dtype)


@maker("TensorListReserve", "TensorListSetItem", "TensorListGetItem", "TensorListFromTensor", "TensorListGather",
       "TensorListScatterIntoExistingList", "TensorListConcatV2", "TensorListResize", "TensorListScatter", "TensorListScatterV2",
       "TensorListConcatLists")
def placed(g, name):
    dtype, shape = g.pick(DTYPES), g.shape(0, 2)
    length = g.int(1, 4)
    element = g.feed(np.array(shape, "int32"), "int32", const=True, derive=False)
    if g.chance(0.5) or name == "TensorListFromTensor":
        handle = g.call("TensorListFromTensor", g.input(dtype, [length, *shape]), element, element_dtype=dtype)[0]
    else:
        count = g.feed(np.array(length, "int32"), "int32", const=True, derive=False)
        handle = g.call("TensorListReserve", element, count, element_dtype=dtype)[0]
    for _ in range(g.int(0, 3)):
        index = g.ints(g.int(0, length - 1), "int32")
        handle = g.call("TensorListSetItem", handle, index, g.input(dtype, shape), element_dtype=dtype)[0]
    if name == "TensorListScatterIntoExistingList":
        rows = [g.int(0, length - 1) for _ in range(g.int(1, 3))]
        rows = list(dict.fromkeys(rows))
        handle = g.call(name, handle, g.input(dtype, [len(rows), *shape]), g.ints(rows, "int32"), element_dtype=dtype)[0]
    if name == "TensorListResize":
        length = g.int(0, 6)
        handle = g.call(name, handle, g.ints(length, "int32"))[0]
    if name in ("TensorListScatter", "TensorListScatterV2"):
        rows = list(dict.fromkeys(g.int(0, 5) for _ in range(g.int(1, 3))))
        length, inputs = max(rows) + 1, [g.input(dtype, [len(rows), *shape]), g.ints(rows, "int32"), element]
        if name == "TensorListScatterV2":
            length = g.pick([-1, length, length + 2])
            inputs.append(g.ints(length, "int32"))
        handle = g.call(name, *inputs, element_dtype=dtype)[0]
        length = length if length >= 0 else max(rows) + 1
    if name == "TensorListConcatLists":
        more = g.call("TensorListFromTensor", g.input(dtype, [g.int(0, 3), *shape]), element, element_dtype=dtype)[0]
        handle = g.call(name, handle, more, element_dtype=dtype)[0]
    if not length:
        return g.call("TensorListStack", handle, element, element_dtype=dtype)
    if name == "TensorListGather":
        return g.call(name, handle, g.ints([g.int(0, length - 1) for _ in range(g.int(1, 4))], "int32"), element, element_dtype=dtype)
    if name == "TensorListConcatV2" and shape:
        sizes = g.feed(np.array([], "int64"), "int64", const=True, derive=False)
        return g.call(name, handle, element, sizes, element_dtype=dtype)
    if g.chance(0.5):
        return g.call("TensorListGetItem", handle, g.ints(g.int(0, length - 1), "int32"), element, element_dtype=dtype)
    return g.call("TensorListStack", handle, element, element_dtype=dtype)


@maker("TensorArrayV3", "TensorArrayWriteV3", "TensorArrayReadV3", "TensorArrayGatherV3", "TensorArrayScatterV3",
       "TensorArraySizeV3", "TensorArrayConcatV3", "TensorArraySplitV3", "TensorArrayCloseV3")
def array(g, name):
    dtype, shape = g.pick(DTYPES), g.shape(0, 2, least=1)
    length = g.int(1, 4)
    size = g.feed(np.array(length, "int32"), "int32", const=True, derive=False)
    handle, flow = g.call("TensorArrayV3", size, dtype=dtype, element_shape=shape if g.chance(0.7) else None,
                          clear_after_read=False, dynamic_size=g.chance(0.2), identical_element_shapes=g.chance(0.5))
    if name == "TensorArrayScatterV3" or g.chance(0.3):
        everything = g.ints(list(range(length)), "int32", const=True)
        flow = g.call("TensorArrayScatterV3", handle, everything, g.input(dtype, [length, *shape]), flow)[0]
    else:
        for index in range(length):
            at = g.ints(index, "int32")
            flow = g.call("TensorArrayWriteV3", handle, at, g.input(dtype, shape), flow)[0]
    made = g.call("TensorArraySizeV3", handle, flow) if g.chance(0.3) else []
    if name == "TensorArrayConcatV3" and shape:
        return made + g.call(name, handle, flow, dtype=dtype)
    if name == "TensorArrayReadV3":
        return made + g.call(name, handle, g.ints(g.int(0, length - 1), "int32"), flow, dtype=dtype)
    rows = [g.int(0, length - 1) for _ in range(g.int(1, 4))] if g.chance(0.5) else range(length)
    return made + g.call("TensorArrayGatherV3", handle, g.ints(list(rows), "int32"), flow, dtype=dtype)


@maker("VarHandleOp", "AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp", "ReadVariableOp")
def variable(g, _):
    """A variable that is assigned, changed and read, each after the one before."""
    dtype, shape = g.pick(DTYPES), g.shape(0, 3)
    held = {"dtype": attr_type(dtype), "shape": attr(shape=tf.TensorShape(shape).as_proto())}
    handle = node(g, "VarHandleOp", [], ["resource"], shared_name=attr(s=g.name("v").encode()), **held)[0]
    last, made = [], []
    for number in range(g.int(1, 4)):
        op = "AssignVariableOp" if number == 0 else g.pick(["AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"])
        value = g.input(dtype, shape, special=0)
        node(g, op, [handle.name, value.name, *last], [], dtype=attr_type(dtype))
        last = ["^" + g.graph_def.node[-1].name]
        if g.chance(0.5):
            read = node(g, "ReadVariableOp", [handle.name, *last], [dtype], dtype=attr_type(dtype))[0]
            made.append(g.call("Identity", read)[0])
            last = ["^" + made[-1].name]
    return made + node(g, "ReadVariableOp", [handle.name, *last], [dtype], dtype=attr_type(dtype))


@maker("VariableV2", "Assign", "AssignAdd", "AssignSub")
def old_variable(g, _):
    dtype, shape = g.pick(DTYPES), g.shape(0, 3)
    held = node(g, "VariableV2", [], [dtype], dtype=attr_type(dtype), shape=attr(shape=tf.TensorShape(shape).as_proto()),
                shared_name=attr(s=g.name("v").encode()))[0]
    last = []
    for number in range(g.int(1, 3)):
        op = "Assign" if number == 0 else g.pick(["Assign", "AssignAdd", "AssignSub"])
        value = g.input(dtype, shape, special=0)
        changed = node(g, op, [held.name, value.name, *last], [dtype], T=attr_type(dtype))[0]
        last = ["^" + changed.name]
    return node(g, "Identity", [held.name, *last], [dtype], T=attr_type(dtype))


@maker("FakeParam")
def fake_param(g, name):
    # Its elements TensorFlow leaves as memory was.
    return g.call("Shape", *g.call(name, dtype=g.pick(DTYPES), shape=g.pick([g.shape(0, 4), None])), out_type="int32")


@maker("ToBool")
def to_bool(g, name):
    dtype = g.pick(["float32", "float64", "int8", "int32", "int64", "uint8", "bool", "string"])
    return g.call(name, g.input(dtype, g.pick([[], [], [1], [0], g.shape(0, 3)])))
