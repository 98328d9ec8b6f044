"""Random values, tensors and nodes for `fuzz.py`: a graph is written node by node, so that TensorFlow's own checks do not
keep invalid ones from being made."""

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.python.framework import op_def_registry

NUMPY = {name: getattr(tf, name).as_numpy_dtype for name in
         ["float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
          "uint64", "bool", "string", "complex64", "complex128"]}
NUMBERS = [n for n in NUMPY if n not in ("bool", "string", "complex64", "complex128")]
REAL = [n for n in NUMPY if not n.startswith("complex")]
FLOATS = ["float32", "float32", "float64", "float16", "bfloat16"]
INTS = [n for n in NUMBERS if "int" in n]
USUAL = ["float32", "float32", "float32", "float64", "float16", "bfloat16", "int8", "int32", "int64", "uint8"]
STRINGS = [b"", b"", b"a", b"bc", b"\xff\x00x", b"abcdefghijklmnop", b"A", b"a\n"]


def is_float(dtype):
    return "float" in dtype


def is_int(dtype):
    return "int" in dtype


class Tensor:
    """An output of a node: its name, its type, and its value where it is known as the graph is written."""

    def __init__(self, name, dtype, shape=None):
        self.name, self.dtype, self.shape = name, dtype, shape

    def __repr__(self):
        return f"{self.dtype}{self.shape if self.shape is not None else ''}"


class Graph:
    """The graph that is written, the values of its placeholders and the tensors that are fetched."""

    only_complex = False  # of every operator that there are complex numbers for

    def __init__(self, seed, wild=None):
        self.rng = np.random.default_rng(seed)
        self.graph_def = graph_pb2.GraphDef()
        self.graph_def.versions.producer = 1882
        self.feeds, self.fetches, self.log = {}, [], []
        self.written = []  # the values of all constants and placeholders
        # How likely each input and attribute is spoilt: most graphs are meant to be valid.
        self.wild = (0.12 if self.chance(0.2) else 0.0) if wild is None else wild
        self.count = 0
        self.largest = 0.0  # of all finite numbers that are written: sums are only as exact as their largest term
        self.denormals = self.chance(0.3)
        self.deep = 0

    # Choices.
    def chance(self, p):
        return self.rng.random() < p

    def pick(self, values):
        return values[int(self.rng.integers(len(values)))]

    def int(self, low, high):
        """A whole number from low to high, both included."""
        return int(self.rng.integers(low, max(low, high) + 1))

    def dim(self, least=0):
        return max(least, self.pick([0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 17]) if self.chance(0.5) else self.int(1, 5))

    def shape(self, low=0, high=5, least=0):
        rank = self.int(low, high)
        if rank == high and high >= 5 and self.chance(0.3):
            rank = self.int(high, self.pick([9, 9, 9, 12]))
        shape = [self.dim(least) for _ in range(rank)]
        while np.prod(shape, dtype=np.float64) > 4000:
            shape[int(np.argmax(shape))] = self.int(1, 2)
        return shape

    def dtype(self, op, attribute="T", among=None):
        """A type that the operator's definition allows."""
        names = self.allowed(op, attribute)
        if self.only_complex and any(name.startswith("complex") for name in names):
            return self.pick([name for name in names if name.startswith("complex")])
        chosen = [d for d in (among or (USUAL if self.chance(0.5) else REAL)) if d in names]
        return self.pick(chosen or names)

    def allowed(self, op, attribute="T"):
        for attr in op_def_registry.get(op).attr:
            if attr.name == attribute and attr.HasField("allowed_values"):
                names = {tf.as_dtype(t).name for t in attr.allowed_values.list.type}
                return [n for n in NUMPY if n in names]
        return list(NUMPY)

    # Values.
    def value(self, dtype, shape, low=-3, high=3, special=0.1, huge=True):
        """Random elements. Some are special with the chance `special`; `huge` ones spoil what sums them up."""
        rng, shape = self.rng, tuple(int(d) for d in shape)
        count = int(np.prod(shape))
        if dtype == "string":
            out = np.empty(count, dtype=object)
            out[:] = [self.pick(STRINGS) for _ in range(count)]
            return out.reshape(shape)
        if dtype == "bool":
            return rng.random(shape) < self.pick([0.5, 0.5, 0.1, 0.9])
        if dtype.startswith("complex"):
            return (rng.uniform(low, high, shape) + 1j * rng.uniform(low, high, shape)).astype(dtype)
        if is_int(dtype):
            return self.integers(dtype, shape, low, high, special if huge else 0)
        value = rng.uniform(low, high, shape)
        if self.chance(0.3):
            value = np.round(value)
        if self.chance(special):
            info = tf.as_dtype(dtype)
            odd = [np.nan, np.inf, -np.inf, 0.0, -0.0, 0.5, 1.5, 2.5, -2.5, 1.0, -1.0, 1e-30, 1e-7]
            if huge:
                odd += [1e30, -1e30, 88.8, -104.0, 710.0, float(info.max), float(info.min), 65504.0, 3e9, 2e19]
            if self.denormals:
                odd += [1e-40, -1e-42, 6e-8, 1e-310, 2e-45, 1.1754944e-38]
            value = np.where(rng.random(shape) < self.pick([0.1, 0.4, 1.0]), rng.choice(np.array(odd), shape), value)
        with np.errstate(all="ignore"):
            return value.astype(NUMPY[dtype])

    def integers(self, dtype, shape, low, high, special):
        info = np.iinfo(dtype)
        kind = self.rng.random()
        if kind < special * 0.5:
            return self.rng.integers(info.min, info.max, size=shape, dtype=dtype, endpoint=True)
        low, high = max(int(low), info.min), min(int(high), info.max)
        value = self.rng.integers(min(low, high), high, size=shape, endpoint=True)
        if kind < special:
            odd = np.array([info.min, info.max, info.min + 1, 0, 1, info.max // 2], dtype=dtype)
            return np.where(self.rng.random(shape) < 0.3, self.rng.choice(odd, shape), value.astype(dtype))
        return value.astype(dtype)

    # Nodes.
    def name(self, prefix):
        self.count += 1
        return f"{prefix}{self.count}"

    def source(self, op, prefix, dtype, dims, /, **attributes):
        """A node without inputs."""
        node = self.graph_def.node.add(name=self.name(prefix), op=op)
        for key, content in {"dtype": attr_type(dtype), **attributes}.items():
            node.attr[key].CopyFrom(content)
        return Tensor(node.name, dtype, list(dims))

    def feed(self, value, dtype=None, const=None, derive=True):
        """A tensor with this value: a constant, a placeholder that may leave dimensions open, or what a node makes of
        another tensor."""
        value = np.array(value, dtype=object) if isinstance(value, bytes) else np.asarray(value)
        dtype = dtype or ("string" if value.dtype == object else value.dtype.name)
        value = value if dtype == "string" else value.astype(NUMPY[dtype])
        if self.wild and self.chance(self.wild):
            value = self.spoil(value, dtype)
            if dtype == "string" and not isinstance(value, np.ndarray):
                value = np.array(value, dtype=object)
        if derive and self.deep < 2 and self.chance(0.12):
            self.deep += 1
            made = self.derived(value, dtype, const)
            self.deep -= 1
            if made is not None:
                return made
        if dtype != "string":
            self.written.append(value)
            self.note(value)
        if self.chance(0.25) if const is None else const:
            return self.constant(value, dtype)
        return self.placeholder(value, dtype)

    def constant(self, value, dtype):
        value = np.asarray(value)
        is_one = value.size > 1 and dtype != "string" and (value == value.flat[0]).all() and (not is_float(dtype) or not np.signbit(value.flat[0]))
        # One element that stands for all, or each of them.
        tensor = tf.make_tensor_proto(value.flat[0] if is_one and self.chance(0.8) else value, tf.as_dtype(dtype), value.shape)
        return self.source("Const", "c", dtype, value.shape, value=attr(tensor=tensor))

    def placeholder(self, value, dtype):
        shape, kind = list(value.shape), self.rng.random()
        if 0.4 < kind < 0.6:
            shape[:1] = [-1] * len(shape[:1])
        elif 0.6 < kind < 0.75:
            shape = [-1] * len(shape)
        elif 0.75 < kind < 0.85:
            shape = [-1 if self.chance(0.5) else d for d in shape]
        proto = tf.TensorShape(None if kind > 0.92 else [None if d < 0 else d for d in shape]).as_proto()
        attributes = {"shape": attr(shape=proto)} if kind < 0.99 else {}
        made = self.source("Placeholder", "in", dtype, value.shape, **attributes)
        self.feeds[made.name] = value
        return made

    def note(self, value):
        """Sums of this value are only as exact as its largest number."""
        with np.errstate(all="ignore"):
            finite = np.abs(value.astype("complex128" if value.dtype.kind == "c" else "float64"))
        self.largest = max(self.largest, float(np.max(finite[np.isfinite(finite)], initial=0)))

    def spoil(self, value, dtype):
        """The value with another shape or with elements out of range."""
        kind = self.int(0, 6)
        if kind == 0 and value.ndim:
            axis = self.int(0, value.ndim - 1)
            return np.take(value, [i for i in range(value.shape[axis] - 1)], axis)
        if kind == 1 and value.ndim:
            axis = self.int(0, value.ndim - 1)
            return np.concatenate([value, np.take(value, [0], axis)], axis) if value.shape[axis] else value
        if kind == 2:
            return np.expand_dims(value, self.int(0, value.ndim))
        if kind == 3 and value.ndim:
            axis = self.int(0, value.ndim - 1)
            return np.take(value, 0, axis) if value.shape[axis] else value
        if kind == 4 and value.ndim:
            return np.take(value, [], self.int(0, value.ndim - 1))
        if is_int(dtype) and value.size:
            value = value.copy()
            info = np.iinfo(dtype)
            odd = [-1, -2, 0, 1, 7, 100, info.max, info.min, 1 << 20]
            value.flat[self.int(0, value.size - 1)] = max(info.min, min(info.max, self.pick(odd)))
        return value

    def derived(self, value, dtype, const):
        import fuzz_values

        return fuzz_values.derive(self, value, dtype, const)

    def input(self, dtype, shape, low=-3, high=3, special=0.1, const=None, huge=True):
        return self.feed(self.value(dtype, shape, low, high, special, huge), dtype, const)

    def ints(self, values, dtype=None, const=None):
        """Whole numbers that say what is to be done: mostly a constant."""
        dtype = dtype or self.pick(["int32", "int64"])
        info = np.iinfo(dtype)
        values = np.clip(np.array(values, "int64"), info.min, info.max)
        return self.feed(values.astype(dtype), dtype, self.chance(0.8) if const is None else const)

    def call(self, op, *inputs, **attributes):
        """A node of an operator: inputs in the order of its definition, lists where it takes several. Types and counts
        follow from the inputs. The outputs."""
        definition = op_def_registry.get(op)
        node = node_def_pb2.NodeDef(name=self.name(op), op=op)
        types, counts = {}, {}
        for arg, given in zip(definition.input_arg, inputs):
            many = given if isinstance(given, (list, tuple)) else [given]
            node.input.extend(t.name for t in many)
            if arg.number_attr:
                counts[arg.number_attr] = len(many)
            if arg.type_attr and many:
                types.setdefault(arg.type_attr, many[0].dtype)
            if arg.type_list_attr:
                types[arg.type_list_attr] = [t.dtype for t in many]
        values = {**types, **counts, **attributes}
        for definition_attr in definition.attr:
            name, kind = definition_attr.name, definition_attr.type
            if name not in values:
                continue
            is_default = definition_attr.HasField("default_value")
            if self.wild and self.chance(self.wild) and name not in counts:
                if is_default and self.chance(0.3):
                    continue
                if name not in types or self.chance(0.2):
                    values[name] = self.spoil_attribute(definition_attr, values[name])
            node.attr[name].CopyFrom(as_attr(kind, values[name]))
            # What is the default may be left out, as in files of older producers.
            if is_default and self.chance(0.2) and node.attr[name] == definition_attr.default_value:
                del node.attr[name]
        self.graph_def.node.append(node)
        if definition.HasField("deprecation"):  # the last version of graphs that may have it
            self.graph_def.versions.producer = min(self.graph_def.versions.producer, definition.deprecation.version - 1)
        self.log.append(f"{op}({', '.join(map(str, inputs))}, {attributes})")
        return self.outputs_of(node, definition, values)

    def outputs_of(self, node, definition, values):
        dtypes = []
        for arg in definition.output_arg:
            default = next((a.default_value.type for a in definition.attr if a.name == arg.type_attr), 0)
            if arg.type_list_attr:
                dtypes += values[arg.type_list_attr]
                continue
            dtype = values.get(arg.type_attr) or tf.as_dtype(arg.type or default).name
            count = values.get(arg.number_attr, 1) if arg.number_attr else 1
            dtypes += [dtype] * max(0, min(int(count), 100))
        return [Tensor(f"{node.name}:{i}" if i else node.name, d) for i, d in enumerate(dtypes)]

    def spoil_attribute(self, definition, value):
        kind = definition.type
        if kind == "int":
            return self.pick([value + 1, value - 1, -value, 0, 1, 2, 7, -3])
        if kind == "bool":
            return not value
        if kind == "float":
            return self.pick([0.0, -1.0, 1e-12, 2.5, 1e30, float("inf"), float("nan"), -value])
        if kind == "type":
            return self.pick(list(NUMPY))
        if kind == "string" and definition.HasField("allowed_values"):
            return self.pick([s.decode() for s in definition.allowed_values.list.s] + ["WRONG"])
        if kind == "list(int)":
            value = list(value)
            what = self.int(0, 3)
            if what == 0 or not value:
                value.insert(self.int(0, len(value)), self.pick([0, 1, 2, -1]))
            elif what == 1:
                value.pop(self.int(0, len(value) - 1))
            else:
                value[self.int(0, len(value) - 1)] = self.pick([0, 1, 2, 3, -1, -2, 9])
            return value
        return value

    def fetch(self, *tensors):
        self.fetches += [t for t in tensors if t.name not in [f.name for f in self.fetches]]


def prune(g):
    """Drops the nodes that no fetched tensor needs, as the program does: TensorFlow would look at them too."""
    nodes = {node.name: node for node in g.graph_def.node}
    needed, stack = set(), [fetch.name for fetch in g.fetches]
    while stack:
        name = stack.pop().lstrip("^").split(":")[0]
        if name not in needed:
            needed.add(name)
            stack += nodes[name].input
    kept = [node for node in g.graph_def.node if node.name in needed]
    del g.graph_def.node[:]
    g.graph_def.node.extend(kept)
    g.feeds = {name: value for name, value in g.feeds.items() if name in needed}


def attr(**field):
    from tensorflow.core.framework import attr_value_pb2

    value = attr_value_pb2.AttrValue()
    for key, content in field.items():
        if hasattr(content, "CopyFrom"):
            getattr(value, key).CopyFrom(content)
        else:
            setattr(value, key, content)
    return value


def attr_type(dtype):
    return attr(type=tf.as_dtype(dtype).as_datatype_enum)


def as_attr(kind, value):
    """An attribute of the kind that an operator's definition says."""
    if kind == "type":
        return attr_type(value)
    if kind == "int":
        return attr(i=int(value))
    if kind == "float":
        return attr(f=float(value))
    if kind == "bool":
        return attr(b=bool(value))
    if kind == "string":
        return attr(s=value if isinstance(value, bytes) else value.encode())
    if kind == "shape":
        return attr(shape=tf.TensorShape(value).as_proto())
    made = attr()
    made.list.SetInParent()
    if kind == "list(int)":
        made.list.i.extend(int(v) for v in value)
    elif kind == "list(type)":
        made.list.type.extend(tf.as_dtype(v).as_datatype_enum for v in value)
    elif kind == "list(float)":
        made.list.f.extend(float(v) for v in value)
    elif kind == "list(string)":
        made.list.s.extend(v.encode() for v in value)
    elif kind == "list(shape)":
        made.list.shape.extend(tf.TensorShape(v).as_proto() for v in value)
    else:
        raise ValueError(kind)
    return made
