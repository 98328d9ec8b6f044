"""The Interpreter of TensorFlow Lite over `tightfit.Model`, so that changing one import runs existing code.

>>> from tightfit.interpreter import Interpreter
>>> interpreter = Interpreter(model_path="model.tflite")
>>> interpreter.allocate_tensors()
"""

import contextlib
import enum
import itertools
import os

import numpy as np

from ._arrays import as_array, dtype_of
from ._core import _tightfit
from ._errors import FileError, InvalidArgument, TightFitError
from ._model import Model

__all__ = ["Interpreter", "SignatureRunner", "OpResolverType", "load_delegate"]


class OpResolverType(enum.Enum):
    """What kernels TensorFlow Lite would choose. TightFit has one set, whatever is asked for."""

    AUTO = 0
    BUILTIN = 1
    BUILTIN_REF = 2
    BUILTIN_WITHOUT_DEFAULT_DELEGATES = 3


def load_delegate(library, options=None):
    """Delegates run parts of a model elsewhere, which TightFit does not do.

    Raises
    ------
    InvalidArgument
        Always.
    """
    raise InvalidArgument(f"{library}: delegates are not supported; TightFit runs all of the model itself")


class _NotOpen(InvalidArgument, RuntimeError):
    """A dimension that is not open was to be changed."""


class _Tensor:
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

    def is_open_for(self):
        """True where the model leaves the dimensions open that are not those of the file."""
        dims = self.dims
        return dims is None or len(dims) == len(self.shape) and all(d in (-1, n) for d, n in zip(dims, self.shape))

    def details(self):
        scales, zero_points, axis = self.scales or ([], [], None)
        return {
            "name": self.name,
            "index": self.index,
            "shape": np.array(self.shape, np.int32),
            "shape_signature": np.array(self.shape if self.dims is None else self.dims, np.int32),
            "dtype": np.bytes_ if self.is_text else self.dtype.type,
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

    def __init__(self, model, memory):
        specs = model._inputs(), model._outputs()
        self.keys = tuple([spec[0] for spec in side] for side in specs)
        lite = _tightfit.lite_tensors(model.path, model.signature, False, memory)
        tensors = None if lite is None else self._of_lite(*lite)
        if tensors is None:
            numbers = itertools.count()
            tensors = [[_Tensor(next(numbers), s[0], s[1], None, s[2], s[3]) for s in side] for side in specs]
            orders = tensors
        else:
            tensors, orders = tensors
        self.inputs, self.outputs = tensors
        self.all = [*orders[0], *(tensor for tensor in orders[1] if tensor not in orders[0])]
        self.listed_inputs, self.listed_outputs = orders

    def _of_lite(self, tensors, numbers, named):
        """Tensors in the model's order and in that of the file; None where they are not the same ones."""
        by_number = {told[0]: _Tensor(*told) for told in tensors}
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


class Interpreter(_tightfit.Calls):
    """Runs a model as ``tf.lite.Interpreter`` does. Takes SavedModels and frozen graphs as well as .tflite files.

    Parameters
    ----------
    model_path : str or os.PathLike, optional
        The model.
    model_content : bytes, optional
        The content of a model file, in place of its path.
    experimental_delegates : list, optional
        Delegates are not supported: anything but an empty list is an error.
    num_threads : int, optional
        Threads that compute; by default one of each processor.
    experimental_op_resolver_type : OpResolverType
        Without effect.
    experimental_preserve_all_tensors : bool
        Not supported: values of steps share their memory.
    memory : int or str, optional
        The memory, as of `Model`.
    signature_key : str, optional
        The signature that inputs and outputs are of; by default as of `Model`.
    **experimental
        Other options of ``tf.lite.Interpreter`` whose names begin with ``experimental_``, without effect.

    Raises
    ------
    ValueError
        For a file that is no model, and for arguments that make no sense.

    Notes
    -----
    Tensors of a .tflite have the numbers and names that they have in the file. Those of other models are the inputs, numbered
    from 0, and the outputs after them. Arrays that `get_tensor` returns are copies, and those of `tensor` stay valid:
    nothing keeps the interpreter from running while you hold one.
    """

    __module__ = "tightfit"

    def __init__(
        self,
        model_path=None,
        model_content=None,
        experimental_delegates=None,
        num_threads=None,
        experimental_op_resolver_type=OpResolverType.AUTO,
        experimental_preserve_all_tensors=False,
        *,
        memory=None,
        signature_key=None,
        **experimental,
    ):
        unknown = [name for name in experimental if not name.startswith("experimental_")]
        if unknown:
            raise TypeError(f"Interpreter() got an unexpected keyword argument {unknown[0]!r}")
        if experimental_delegates:
            raise InvalidArgument("delegates are not supported; TightFit runs all of the model itself")
        if experimental_preserve_all_tensors:
            raise InvalidArgument(
                "experimental_preserve_all_tensors is not supported: name tensors with tightfit.Model(fetches=)"
            )
        if num_threads is not None:
            if not isinstance(num_threads, int):
                raise InvalidArgument("type of num_threads should be int")
            if num_threads < 1:
                raise InvalidArgument("num_threads should >= 1")
        if not model_path and not model_content:
            raise InvalidArgument("`model_path` or `model_content` must be specified.")
        if model_path and model_content:
            raise InvalidArgument("Can't both provide `model_path` and `model_content`")
        self._options = {"memory": memory, "threads": num_threads}
        self._file = None
        if model_content:
            self._file, model_path = _file_of(model_content)
        self._path = os.fspath(model_path)
        try:
            self._model = Model(self._path, signature=signature_key, **self._options)
        except FileError as error:
            raise InvalidArgument(f"Could not open '{self._path}': {error}") from error
        self._models = {self._model.signature: self._model}
        self._ports = _Ports(self._model, memory)
        self._resized = {}
        self._connect_ports()
        self._signatures = None

    def allocate_tensors(self):
        """Lays the model out for the shapes of its inputs.

        Raises
        ------
        NotFit
            When it does not fit the memory.
        """
        if self._is_ready:
            return
        ports = self._ports
        self._reopen({key: tensor.shape for key, tensor in zip(ports.keys[0], ports.inputs) if not tensor.is_open_for()})
        shapes = {key: tensor.shape for key, tensor in zip(ports.keys[0], ports.inputs)}
        plan = self._model._plan(self._rows(), shapes)
        arrays = [self._input(tensor.index) for tensor in ports.inputs]
        for at, tensor in enumerate(ports.inputs):
            if arrays[at] is None or arrays[at].shape != tensor.shape:
                arrays[at] = np.full(tensor.shape, b"" if tensor.is_text else 0, tensor.dtype)
        for key, tensor in zip(ports.keys[1], ports.outputs):
            tensor.shape = plan["output_shapes"].get(key, tensor.shape)
        self._lay_out(arrays)

    def _reopen(self, resized):
        """Opens the model anew where its inputs are to have dimensions other than those that the file fixes."""
        if resized == self._resized:
            return
        key = self._model.signature
        # Both at once would be twice the memory.
        arrays = [self._input(tensor.index) for tensor in self._ports.inputs]
        self._disconnect()
        self._models.pop(key)
        self._model = None
        try:
            self._model = Model(self._path, signature=key, shapes=resized, **self._options)
            self._resized = resized
        except Exception:
            self._model = Model(self._path, signature=key, shapes=self._resized, **self._options)
            raise
        finally:
            self._models[key] = self._model
            self._connect_ports(arrays)

    def _connect_ports(self, arrays=()):
        numbers = [[tensor.index for tensor in side] for side in (self._ports.inputs, self._ports.outputs)]
        self._connect(self._model, *numbers)
        if arrays and all(array is not None for array in arrays):
            self._lay_out(arrays)
            self._change()

    def _rows(self):
        open_batch = (t.shape[0] for t in self._ports.inputs if t.dims is not None and t.dims[:1] == (-1,))
        return next(open_batch, 1)

    def get_input_details(self):
        """What the inputs are.

        Returns
        -------
        list of dict
            Of each ``name``, ``index``, ``shape``, ``shape_signature`` (-1 for an open dimension), ``dtype``,
            ``quantization``, ``quantization_parameters`` and ``sparsity_parameters``.
        """
        return [tensor.details() for tensor in self._ports.listed_inputs]

    def get_output_details(self):
        """What the outputs are, as of `get_input_details`."""
        for tensor in self._ports.outputs:
            shape = self._output_shape(tensor.index)
            tensor.shape = tensor.shape if shape is None else tuple(shape)
        return [tensor.details() for tensor in self._ports.listed_outputs]

    def get_tensor_details(self, subgraph_index=0):
        """What the tensors are: of a .tflite all that are in the file, of other models the inputs and outputs."""
        self._check_subgraph(subgraph_index)
        ports = {tensor.index: tensor for tensor in self._ports.all}
        lite = _tightfit.lite_tensors(self._path, self._model.signature, True, self._options["memory"])
        if lite is None:
            return [tensor.details() for tensor in ports.values()]
        return [ports.get(told[0], _Tensor(*told)).details() for told in lite[0]]

    def num_subgraphs(self):
        """int: 1. Bodies of loops and branches are part of the steps that run them."""
        return 1

    def _set_tensor(self, tensor_index, value):
        """What `set_tensor` does with all but arrays that need no more than to be copied."""
        tensor = self._tensor(tensor_index)
        array = value if tensor.is_text else as_array(value)
        if tensor.is_text:
            array = np.asarray(value, dtype=None if hasattr(value, "dtype") else object)
        if not tensor.is_text and array.dtype != tensor.dtype:
            raise InvalidArgument(
                f"Cannot set tensor: Got value of type {array.dtype.name.upper()} but expected type "
                f"{tensor.dtype.name.upper()} for input {tensor.index}, name: {tensor.name} "
            )
        if array.ndim != len(tensor.shape):
            raise InvalidArgument(
                f"Cannot set tensor: Dimension mismatch. Got {array.ndim} but expected {len(tensor.shape)} for "
                f"input {tensor.index}."
            )
        for axis, (got, expected) in enumerate(zip(array.shape, tensor.shape)):
            if got != expected:
                raise InvalidArgument(
                    f"Cannot set tensor: Dimension mismatch. Got {got} but expected {expected} for dimension {axis} "
                    f"of input {tensor.index}."
                )
        if tensor not in self._ports.inputs:
            raise InvalidArgument(f"Cannot set tensor: {tensor.name} is an output")
        own = self._input(tensor_index)
        if own is None or own.shape != tensor.shape:
            raise InvalidArgument("Cannot set tensor: Tensor is unallocated. Try calling allocate_tensors() first")
        np.copyto(own, array)

    def resize_tensor_input(self, input_index, tensor_size, strict=False):
        """Gives an input another shape; `allocate_tensors` has to be called again.

        Parameters
        ----------
        input_index : int
            The input's index.
        tensor_size : sequence of int
            Its shape.
        strict : bool
            Refuse to change dimensions that the model does not leave open.

        Raises
        ------
        ValueError
            For an input that is not there, and with ``strict`` for a dimension that is not open.
        """
        tensor = self._tensor(input_index)
        if tensor not in self._ports.inputs:
            raise InvalidArgument(f"Cannot resize tensor: {tensor.name} is no input")
        shape = tuple(int(dim) for dim in np.asarray(tensor_size).ravel())
        dims = tensor.dims
        if strict and dims is not None:
            fits = len(dims) == len(shape) and all(d in (-1, n) for d, n in zip(dims, shape))
            if not fits:
                raise _NotOpen(
                    f"ResizeInputTensorStrict only allows mutating unknown dimensions identified by -1: "
                    f"{tensor.name} is {list(dims)}, not {list(shape)}"
                )
        if shape != tensor.shape:
            tensor.shape = shape
            self._change()

    def _no_tensor(self, tensor_index, subgraph_index):
        """Says why `get_tensor` has nothing to copy."""
        self._check_subgraph(subgraph_index)
        tensor = self._tensor(tensor_index)
        raise InvalidArgument(f"Tensor data is null: {tensor.name} has no value before invoke()")

    def tensor(self, tensor_index):
        """A function that returns the array that a tensor is now.

        Parameters
        ----------
        tensor_index : int
            Its index.

        Returns
        -------
        callable
            Returns a numpy.ndarray. That of an input may be written to in place of `set_tensor`.
        """
        self._tensor(tensor_index)

        def array():
            own = self._input(tensor_index)
            return self.get_tensor(tensor_index) if own is None else own

        return array

    def reset_all_variables(self):
        """Makes every variable what it is before the first run."""
        for model in self._models.values():
            model.reset()

    def get_signature_list(self):
        """The signatures.

        Returns
        -------
        dict of str to dict
            For each key ``inputs`` and ``outputs``, lists of names.
        """
        if self._signatures is None:
            found = self._model.signatures
            self._signatures = {
                key: {"inputs": list(signature.inputs), "outputs": list(signature.outputs)}
                for key, signature in found.items()
                if key is not None
            }
        return {key: {side: list(names) for side, names in s.items()} for key, s in self._signatures.items()}

    def get_signature_runner(self, signature_key=None):
        """A function of a signature.

        Parameters
        ----------
        signature_key : str, optional
            Its key; may be left out where there is only one.

        Returns
        -------
        SignatureRunner
            Takes inputs by keyword, and returns a dict of outputs.

        Raises
        ------
        ValueError
            For a signature that is not there.
        """
        keys = list(self.get_signature_list())
        if signature_key is None:
            if len(keys) != 1:
                raise InvalidArgument(
                    f"SignatureDef signature_key is None and model has {len(keys)} Signatures. "
                    "None is only allowed when the model has 1 SignatureDef"
                )
            signature_key = keys[0]
        if signature_key not in keys:
            raise InvalidArgument(f'Invalid signature_key provided: "{signature_key}".')
        return SignatureRunner(self, signature_key)

    def _model_of(self, signature_key):
        """The model of a signature. One that is not the interpreter's own has as much memory once more."""
        if signature_key not in self._models:
            self._models[signature_key] = Model(self._path, signature=signature_key, **self._options)
        return self._models[signature_key]

    def _tensor(self, index):
        index = int(index)
        tensor = next((tensor for tensor in self._ports.all if tensor.index == index), None)
        if tensor is None:
            raise InvalidArgument(
                f"Tensor {index} is neither an input nor an output: other values share their memory; name them with "
                "tightfit.Model(fetches=)"
            )
        return tensor

    @staticmethod
    def _check_subgraph(index):
        if index != 0:
            raise InvalidArgument(f"subgraph_index is {index}, and the model has 1")

    def __del__(self):
        # The model goes before the file that it is read from.
        self._disconnect()
        self.__dict__.pop("_model", None)
        self.__dict__.pop("_models", None)


class SignatureRunner:
    """A signature as a function, made by `Interpreter.get_signature_runner`."""

    __module__ = "tightfit"

    def __init__(self, interpreter, signature_key):
        self._model = interpreter._model_of(signature_key)
        self._ports = _Ports(self._model, interpreter._options["memory"])

    def __call__(self, **inputs):
        """Runs it.

        Parameters
        ----------
        **inputs : array_like
            One value per input.

        Returns
        -------
        dict of str to numpy.ndarray
            The outputs by name.
        """
        names = self._ports.keys[0]
        if len(inputs) != len(names):
            raise InvalidArgument(
                "Invalid number of inputs provided for running a SignatureDef, expected "
                f"{len(names)} vs provided {len(inputs)}"
            )
        for name in inputs:
            if name not in names:
                raise InvalidArgument(f"Invalid Input name ({name}) for SignatureDef")
        return self._model.run(inputs)

    def get_input_details(self):
        """What the inputs are, by name: as of `Interpreter.get_input_details`."""
        return self._ports.details(0)

    def get_output_details(self):
        """What the outputs are, by name."""
        return self._ports.details(1)


def _file_of(content):
    """A file with this content, and its path. It goes with the file."""
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise InvalidArgument("model_content is not bytes")
    # Loads much that nothing else here needs.
    import tempfile

    place = "/proc/self/fd"
    if os.path.isdir(place):
        file = tempfile.TemporaryFile()
        path = f"{place}/{file.fileno()}"
    else:
        file = tempfile.NamedTemporaryFile()
        path = file.name
    try:
        file.write(content)
        file.flush()
    except OSError as error:
        with contextlib.suppress(OSError):
            file.close()
        raise TightFitError(f"model_content cannot be written to a temporary file: {error}") from error
    return file, path
