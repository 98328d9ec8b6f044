"""The Interpreter of TensorFlow Lite over `tightfit.Model`, so that changing one import runs existing code.

>>> from tightfit.interpreter import Interpreter
>>> interpreter = Interpreter(model_path="model.tflite")
>>> interpreter.allocate_tensors()
"""

import contextlib
import enum
import os

import numpy as np

from ._arrays import as_array
from ._core import _tightfit
from ._errors import FileError, InvalidArgument, ModelError, TightFitError
from ._lite import LiteGraph, OpenModel, Tensor, first_signature

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


class _NotReady(InvalidArgument, RuntimeError):
    """A shape, or an index, for which TensorFlow Lite raises a RuntimeError."""


class _NotRun(ModelError, RuntimeError):
    """A model that cannot be run with the shapes of its inputs."""


class _NoBytes(InvalidArgument, TypeError):
    """Content of another type."""


@contextlib.contextmanager
def _as_runtime_errors():
    try:
        yield
    except InvalidArgument as error:
        raise _NotReady(str(error)) from error
    except ModelError as error:
        raise _NotRun(str(error)) from error


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
        Keep what every operator of a .tflite computes, so that `get_tensor` reads it after `invoke`. It takes the memory of
        all those values at once.
    experimental_disable_delegate_clustering, experimental_default_delegate_latest_features : bool
        Without effect.
    experimental_compress_quantization_zero_points : bool
        Without effect.
    experimental_disable_delegate_node_fusion, experimental_force_delegate_node_profiling : bool
        Without effect.
    memory : int or str, optional
        The memory, as of `Model`.
    signature_key : str, optional
        The signature that inputs and outputs are of; by default that of the first graph of a .tflite, and as of `Model`.

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
        experimental_disable_delegate_clustering=False,
        experimental_default_delegate_latest_features=False,
        experimental_compress_quantization_zero_points=False,
        experimental_disable_delegate_node_fusion=False,
        experimental_force_delegate_node_profiling=False,
        *,
        memory=None,
        signature_key=None,
    ):
        if experimental_delegates:
            raise InvalidArgument("delegates are not supported; TightFit runs all of the model itself")
        # The members of LiteRT's own enumeration are meant as well.
        if getattr(experimental_op_resolver_type, "name", None) not in OpResolverType.__members__:
            raise InvalidArgument(f"Unrecognized passed in op resolver type: {experimental_op_resolver_type}")
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
        self._compresses = experimental_compress_quantization_zero_points
        self._file = None
        if model_content:
            self._file, model_path = _file_of(model_content)
        self._path = os.fspath(model_path)
        try:
            self._graphs = LiteGraph(self._path, memory=memory).graphs()
            key = first_signature(self._graphs) if signature_key is None else signature_key
            self._own = OpenModel(self._path, key, self._options, experimental_preserve_all_tensors)
        except FileError as error:
            raise InvalidArgument(f"Could not open '{self._path}': {error}") from error
        self._opened = {self._own.key: self._own}
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
        own = self._own
        ports = own.ports
        shapes = {key: tensor.shape for key, tensor in zip(ports.keys[0], ports.inputs)}
        with _as_runtime_errors():
            self._reopen(own.fixed(shapes))
            plan = own.model._plan(self._rows(), shapes)
        arrays = [self._input(tensor.index) for tensor in ports.inputs]
        for at, tensor in enumerate(ports.inputs):
            if arrays[at] is None or arrays[at].shape != tensor.shape:
                arrays[at] = np.full(tensor.shape, b"" if tensor.is_text else 0, tensor.dtype)
        for name, numbers in own.outputs.items():
            for tensor in (self._tensors[number] for number in numbers):
                tensor.shape = plan["output_shapes"].get(name, tensor.shape)
        self._lay_out(arrays)

    def _reopen(self, resized):
        """Opens the model anew where its inputs are to have dimensions other than those that the file fixes."""
        if resized == self._own.resized:
            return
        arrays = [self._input(tensor.index) for tensor in self._own.ports.inputs]
        self._disconnect()
        try:
            self._own.open(resized)
        finally:
            self._connect_ports(arrays)

    def _connect_ports(self, arrays=()):
        ports = self._own.ports
        self._tensors = {tensor.index: tensor for tensor in ports.all} | self._own.inner
        self._connect(self._own.model, [tensor.index for tensor in ports.inputs], list(self._own.outputs.values()))
        if arrays and all(array is not None for array in arrays):
            self._lay_out(arrays)
            self._change()

    def _rows(self):
        open_batch = (t.shape[0] for t in self._own.ports.inputs if t.dims is not None and t.dims[:1] == (-1,))
        return next(open_batch, 1)

    def get_input_details(self):
        """What the inputs are.

        Returns
        -------
        list of dict
            Of each ``name``, ``index``, ``shape``, ``shape_signature`` (-1 for an open dimension), ``dtype``,
            ``quantization``, ``quantization_parameters`` and ``sparsity_parameters``.
        """
        return [tensor.details() for tensor in self._own.ports.listed_inputs]

    def get_output_details(self):
        """What the outputs are.

        Returns
        -------
        list of dict
            As of `get_input_details`.
        """
        self._measure(self._own.ports.outputs)
        return [tensor.details() for tensor in self._own.ports.listed_outputs]

    def _measure(self, tensors):
        """Gives tensors the shapes that they had in the last run."""
        for tensor in tensors:
            shape = self._output_shape(tensor.index)
            tensor.shape = tensor.shape if shape is None else tuple(shape)

    def get_tensor_details(self, subgraph_index=0):
        """What the tensors are: of a .tflite all that are in the file, of other models the inputs and outputs.

        Parameters
        ----------
        subgraph_index : int
            Which graph of a .tflite, as one that a branch runs.

        Returns
        -------
        list of dict
            As of `get_input_details`.
        """
        self._check_subgraph(subgraph_index)
        return [tensor.details() for tensor in self._all_tensors(subgraph_index)]

    def _all_tensors(self, subgraph_index):
        lite = self._own.lite.of(subgraph_index).tensors(True)
        own = self._tensors if subgraph_index == 0 else {}
        self._measure(own.values())
        return list(own.values()) if lite is None else [own.get(told[0]) or Tensor(*told) for told in lite[0]]

    def num_subgraphs(self):
        """How many graphs the model has.

        Returns
        -------
        int
            Those of a .tflite, with what branches and loops run; 1 for other models.
        """
        return 1 if self._graphs is None else self._graphs[0]

    def _get_tensor_details(self, tensor_index, subgraph_index):
        self._check_subgraph(subgraph_index)
        found = next((t for t in self._all_tensors(subgraph_index) if t.index == int(tensor_index)), None)
        if found is None:
            raise InvalidArgument(f"Tensor with no shape found: there is no tensor {tensor_index}")
        return found.details()

    def _get_op_details(self, op_index):
        details = self._get_ops_details()
        if not 0 <= op_index < len(details):
            raise InvalidArgument(f"Invalid node index {op_index}: there are {len(details)}")
        return details[op_index]

    def _get_ops_details(self):
        operators = self._own.lite.operators()
        if operators is None:
            raise InvalidArgument("only a .tflite has operators by their numbers")
        kinds = {tensor.index: tensor.kind for tensor in self._all_tensors(0)}
        return [
            {
                "index": index,
                "op_name": name,
                "inputs": np.array(inputs, np.int32),
                "outputs": np.array(outputs, np.int32),
                "operand_types": [kinds[number] for number in inputs if number != -1],
                "result_types": [kinds[number] for number in outputs if number != -1],
            }
            for index, (name, inputs, outputs) in enumerate(operators)
        ]

    def _set_tensor(self, tensor_index, value):
        """What `set_tensor` does with all but arrays that need no more than to be copied."""
        tensor = self._tensor(tensor_index)
        array = _texts(value) if tensor.is_text else as_array(value)
        # Another byte order is converted.
        if not tensor.is_text and array.dtype.newbyteorder("=") != tensor.dtype:
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
        if tensor not in self._own.ports.inputs:
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
        tensor = self._tensors.get(int(input_index))
        if tensor not in self._own.ports.inputs:
            raise _NotReady(f"Cannot resize tensor {input_index}: it is no input")
        shape = tuple(int(dim) for dim in np.asarray(tensor_size).ravel())
        if any(dim < 0 for dim in shape):
            raise _NotReady(f"Cannot resize tensor: {list(shape)} has a dimension below 0")
        if strict and not tensor.is_open_for(shape):
            raise _NotReady(
                f"ResizeInputTensorStrict only allows mutating unknown dimensions identified by -1: "
                f"{tensor.name} is {list(tensor.dims)}, not {list(shape)}"
            )
        if shape != tensor.shape:
            tensor.shape = shape
            self._change()

    def _no_tensor(self, tensor_index, subgraph_index):
        """A tensor that is no input or output: its values in the file, or why there are none."""
        self._check_subgraph(subgraph_index)
        number = int(tensor_index)
        values = self._own.lite.of(subgraph_index).constant(number) if number >= 0 else None
        if values is not None:
            return _given(values)
        own = self._tensors.get(number) if subgraph_index == 0 else None
        if own in self._own.ports.inputs:
            raise InvalidArgument("Tensor data is null. Run allocate_tensors() first")
        if own is not None:
            raise InvalidArgument(f"Tensor data is null: {own.name} has no value before invoke()")
        self._get_tensor_details(number, subgraph_index)
        raise InvalidArgument(
            f"Tensor data is null: {number} is inside the model, where values share their memory; "
            "Interpreter(experimental_preserve_all_tensors=True) keeps what operators compute"
        )

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

        def array():
            own = self._input(tensor_index)
            return np.asarray(self.get_tensor(tensor_index)) if own is None else own

        return array

    def reset_all_variables(self):
        """Makes every variable what it is before the first run."""
        for opened in self._opened.values():
            opened.model.reset()

    def get_signature_list(self):
        """The signatures.

        Returns
        -------
        dict of str to dict
            For each key ``inputs`` and ``outputs``, lists of names.
        """
        if self._signatures is None:
            found = self._own.model.signatures
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
        return SignatureRunner(self, signature_key)

    def _opened_of(self, signature_key):
        """The model of a signature. One that is not the interpreter's own has as much memory once more."""
        if signature_key not in self._opened:
            self._opened[signature_key] = OpenModel(self._path, signature_key, self._options)
        return self._opened[signature_key]

    def _run_signature(self, signature_key, inputs):
        """Runs a signature on inputs by name; these are resized."""
        opened = self._opened_of(signature_key)
        fixed = opened.fixed({name: np.shape(value) for name, value in inputs.items()})
        with _as_runtime_errors():
            if opened is self._own:
                self._reopen(fixed)
            elif fixed != opened.resized:
                opened.open(fixed)
            found = opened.model.run(inputs)
        return {key: _given(found[key]) for key in opened.ports.keys[1]}

    def _tensor(self, index):
        tensor = self._tensors.get(int(index))
        if tensor is None:
            raise InvalidArgument(f"Tensor {index} is neither an input nor an output")
        return tensor

    def _check_subgraph(self, index):
        if not 0 <= index < self.num_subgraphs():
            raise InvalidArgument(
                f"subgraph_index is out of range: {index} for the model, which has {self.num_subgraphs()} subgraphs."
            )

    @property
    def experimental_compress_quantization_zero_points(self):
        """bool: what the constructor was given."""
        return self._compresses

    def __del__(self):
        # The models go before the file that they are read from.
        self._disconnect()
        self.__dict__.pop("_own", None)
        self.__dict__.pop("_opened", None)


class SignatureRunner:
    """A signature as a function, made by `Interpreter.get_signature_runner`."""

    __module__ = "tightfit"

    def __init__(self, interpreter=None, signature_key=None):
        if not interpreter:
            raise InvalidArgument("None interpreter provided.")
        if not signature_key:
            raise InvalidArgument("None signature_key provided.")
        if signature_key not in interpreter.get_signature_list():
            raise InvalidArgument(f'Invalid signature_key provided: "{signature_key}".')
        self._interpreter = interpreter
        self._key = signature_key

    @property
    def _ports(self):
        return self._interpreter._opened_of(self._key).ports

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
        return self._interpreter._run_signature(self._key, inputs)

    def get_input_details(self):
        """What the inputs are, by name: as of `Interpreter.get_input_details`."""
        return self._ports.details(0)

    def get_output_details(self):
        """What the outputs are, by name."""
        return self._ports.details(1)


def _texts(value):
    """Strings as an array of bytes."""
    array = np.asarray(value, dtype=None if hasattr(value, "dtype") else object)
    texts = np.empty(array.shape, object)
    for place, text in np.ndenumerate(array):
        texts[place] = text.encode() if isinstance(text, str) else text
    return texts


def _given(array):
    """An array as TensorFlow Lite returns it: a number where it has no dimensions."""
    return array[()] if array.ndim == 0 and array.dtype != object else array


def _file_of(content):
    """A file with this content, and its path. It goes with the file."""
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise _NoBytes("model_content is not bytes")
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
