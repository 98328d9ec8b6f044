"""Tensors by the numbers and names that TensorFlow Lite's interpreter has for them."""

import itertools

import numpy as np

from ._arrays import dtype_of
from ._core import _tightfit
from ._model import Model


class LiteGraph:
    """A graph of a file: that of a signature, or by its number. All is None for a model that is no .tflite."""

    def __init__(self, path, key=None, subgraph=0, memory=None):
        self._place = {"path": path, "key": key, "subgraph": subgraph}
        self._memory = memory

    def of(self, subgraph):
        """The graph of a number, 0 for this one."""
        return self if subgraph == 0 else LiteGraph(self._place["path"], None, subgraph, self._memory)

    def graphs(self):
        """How many graphs the file has, and keys of signatures with the numbers of theirs."""
        return _tightfit.lite_graphs(self._place, self._memory)

    def tensors(self, of_all):
        """Tensors, the numbers of inputs and outputs, and their names: of all tensors, or of inputs and outputs."""
        return _tightfit.lite_tensors(self._place, of_all, self._memory)

    def operators(self):
        """Name, inputs and outputs of each operator."""
        return _tightfit.lite_operators(self._place, self._memory)

    def fetches(self):
        """Numbers of tensors that are computed, and what to fetch for them."""
        return _tightfit.lite_fetches(self._place, self._memory)

    def constant(self, number):
        """The values that the file has for a tensor."""
        return _tightfit.lite_constant(self._place, number, self._memory)


def first_signature(graphs):
    """The key of a signature that runs the first graph of a .tflite, as its interpreter does."""
    keys = [] if graphs is None else [key for key, number in graphs[1] if number == 0]
    return "serving_default" if "serving_default" in keys else next(iter(keys), None)


class Tensor:
    """What is told of a tensor."""

    def __init__(self, index, name, dtype, shape, dims, scales, block_size=0):
        self.index = index
        self.name = name
        self.dtype = np.dtype(object) if dtype in ("resource", "void") else dtype_of(dtype)
        self.is_text = dtype == "string"
        self.dims = None if dims is None else tuple(-1 if dim is None else dim for dim in dims)
        if shape is None:
            shape = (max(dim, 1) if dim < 0 else dim for dim in self.dims or ())
        self.shape = tuple(shape)
        self.scales = scales
        self.block_size = block_size

    def is_open_for(self, shape):
        """True where the model leaves the dimensions open that are not those of the file."""
        dims = self.dims
        return dims is None or len(dims) == len(shape) and all(d in (-1, n) for d, n in zip(dims, shape))

    @property
    def kind(self):
        """The type that details tell."""
        return np.bytes_ if self.is_text else self.dtype.type

    def details(self):
        """What the interpreter tells."""
        scales, zero_points, axis = self.scales or ([], [], None)
        return {
            "name": self.name,
            "index": self.index,
            "shape": np.array(self.shape, np.int32),
            "shape_signature": np.array(self.shape if self.dims is None else self.dims, np.int32),
            "dtype": self.kind,
            "quantization": (scales[0], zero_points[0]) if len(scales) == 1 else (0.0, 0),
            "quantization_parameters": {
                "scales": np.array(scales, np.float32),
                "zero_points": np.array(zero_points, np.int32),
                "quantized_dimension": axis or 0,
                "block_size": self.block_size,
            },
            "sparsity_parameters": {},
        }


class _Ports:
    """The inputs and outputs of a model: in the model's order, as it runs them, and in the order and with the numbers and
    names that TensorFlow Lite has for those of a .tflite."""

    def __init__(self, model, lite):
        specs = model._inputs(), model._outputs()
        self.keys = tuple([spec[0] for spec in side] for side in specs)
        told = lite.tensors(False)
        tensors = None if told is None else self._of_lite(*told)
        if tensors is None:
            numbers = itertools.count()
            tensors = [[Tensor(next(numbers), s[0], s[1], None, s[2], s[3]) for s in side] for side in specs]
            orders = tensors
        else:
            tensors, orders = tensors
        self.inputs, self.outputs = tensors
        self.all = [*orders[0], *(tensor for tensor in orders[1] if tensor not in orders[0])]
        self.listed_inputs, self.listed_outputs = orders

    def _of_lite(self, tensors, numbers, named):
        """Tensors in the model's order and in that of the file; None where they are not the same ones."""
        by_number = {told[0]: Tensor(*told) for told in tensors}
        found = []
        for keys, order, names in zip(self.keys, numbers, named):
            names = dict(names)
            if set(keys) == set(names) and len(keys) == len(order):
                found.append([by_number[names[key]] for key in keys])
            elif len(keys) == len(order):
                found.append([by_number[number] for number in order])
            else:
                return None
        orders = [[by_number[number] for number in order] for order in numbers]
        return found, orders

    def details(self, side):
        """What the inputs (0) or the outputs (1) are, by what the signature calls them."""
        return {key: tensor.details() for key, tensor in zip(self.keys[side], (self.inputs, self.outputs)[side])}


class OpenModel:
    """The model of a signature, opened for the shapes that its inputs have, and what is told of its tensors."""

    def __init__(self, path, key, options, keeps_all=False):
        self._path = path
        self._options = options
        self.model = Model(path, signature=key, **options)
        self.key = self.model.signature
        self.lite = LiteGraph(path, self.key, 0, options["memory"])
        self.ports = _Ports(self.model, self.lite)
        self.resized = {}
        # For each output of the model the numbers of the tensors that it is.
        self.outputs = {key: [tensor.index] for key, tensor in zip(self.ports.keys[1], self.ports.outputs)}
        self.inner = {}
        if keeps_all:
            self._keep()

    def _keep(self):
        """Makes outputs of all that operators compute."""
        ports = {tensor.index for tensor in self.ports.all}
        fetches = [(number, name) for number, name in self.lite.fetches() or () if number not in ports]
        if not fetches:
            return
        told = {one[0]: one for one in self.lite.tensors(True)[0]}
        for number, name in fetches:
            self.outputs.setdefault(name, []).append(number)
        self._options = {**self._options, "fetches": list(self.outputs)}
        self.open({})
        types = {spec[0]: dtype_of(spec[1]) for spec in self.model._outputs()}
        for name, numbers in self.outputs.items():
            for number in [number for number in numbers if number not in ports]:
                tensor = Tensor(*told[number])
                if tensor.dtype == types[name]:
                    self.inner[number] = tensor
                else:
                    # A type that it is computed in anyhow, as floats that stay halves.
                    numbers.remove(number)

    def open(self, shapes):
        """Opens it anew where inputs are to have dimensions other than those that the file fixes."""
        before = self.resized
        # Both at once would be twice the memory.
        self.model = None
        try:
            self.model = Model(self._path, signature=self.key, shapes=shapes, **self._options)
            self.resized = shapes
        except Exception:
            self.model = Model(self._path, signature=self.key, shapes=before, **self._options)
            raise

    def fixed(self, shapes):
        """Those of these shapes of inputs, by name, that the file fixes otherwise."""
        named = zip(self.ports.keys[0], self.ports.inputs)
        return {key: shapes[key] for key, tensor in named if key in shapes and not tensor.is_open_for(shapes[key])}
