"""Models."""

import os

import numpy as np

from ._arrays import as_array, dtype_of
from ._core import _tightfit, joined
from ._data import options_of, sources_of
from ._errors import InvalidArgument
from ._files import inspect
from ._plan import Plan
from ._specs import Signature, by_name


class Model(_tightfit.Session):
    """A model that runs in a number of bytes.

    Opening reads the structure of the model. Its weights are read by the first run, once into memory or, where
    ``memory`` is small, from the file in each run.

    Parameters
    ----------
    path : str or os.PathLike
        A frozen GraphDef (.pb, .pbtxt), the folder of a SavedModel, a checkpoint with its .meta, or whatever else
        ``tightfit run`` takes.
    memory : int or str, optional
        Bytes, or a text as ``"64MiB"``. Bounds what the process takes from ``import tightfit`` on, NumPy apart: code,
        structure, weights, values, and the results of one run. Arrays that you keep are yours. By default 80 % of what
        is free.
    signature : str, optional
        The signature to run; by default ``serving_default``, or the only one.
    precision : {"f32"}
        Values are computed in the types that the model says.
    threads : int, optional
        Threads that compute; by default one of each processor.
    tags : list of str, optional
        The tags of the graph, where a SavedModel has several.
    checkpoint : str or os.PathLike, optional
        The checkpoint with the values of variables, where the model does not say.
    fetches : list of str, optional
        Tensors to compute in place of the model's own outputs.
    feeds : list of str, optional
        Tensors that are fed besides the model's own inputs.
    shapes : dict of str to tuple of int, optional
        Shapes of inputs of a .tflite in place of those that the file has.

    Raises
    ------
    NotFit
        When the memory is smaller than TightFit itself, or than the structure of the model.
    ModelError
        For a file that is no model, and for a model that cannot be run.

    Examples
    --------
    >>> model = tightfit.Model("digits.pb", memory="32MiB")
    >>> model.inputs
    {'image': TensorSpec(name='image', dtype='float32', shape=(None, 8, 8, 1))}
    >>> model.run({"image": np.zeros((2, 8, 8, 1), np.float32)})["probabilities"].shape
    (2, 10)
    """

    __module__ = "tightfit"

    @property
    def inputs(self):
        """dict of str to TensorSpec: what the model takes, by name."""
        return by_name(self._inputs())

    @property
    def outputs(self):
        """dict of str to TensorSpec: what the model gives, by name."""
        return by_name(self._outputs())

    @property
    def signatures(self):
        """dict of str to Signature: the model's signatures. A graph without any has one, named None."""
        found = inspect(self.path)["signatures"]
        return found or {None: Signature(self.inputs, self.outputs)}

    @property
    def used_bytes(self):
        """int: bytes of ``memory`` in use now."""
        return self._usage()[0]

    @property
    def peak_bytes(self):
        """int: the most bytes of ``memory`` that were in use at once."""
        return self._usage()[1]

    def plan(self, batch=1, shapes=None):
        """How the model lies in memory. Nothing is computed.

        Parameters
        ----------
        batch : int
            Rows at once.
        shapes : dict of str to tuple of int, optional
            Shapes of inputs of which the model leaves more open than the batch.

        Returns
        -------
        Plan
            Each line of the budget, the smallest memory that works, the step at the peak and, in a notebook, a picture of
            the arena.

        Raises
        ------
        NotFit
            When it does not fit: ``minimum_bytes`` would.
        """
        shapes = {name: tuple(shape) for name, shape in (shapes or {}).items()}
        return Plan(os.fspath(self.path), self._plan(batch, shapes))

    def predict(
        self,
        data,
        batch="auto",
        output=None,
        *,
        resize=None,
        preprocess="none",
        features=None,
        label=None,
        skip_bad=False,
        **limits,
    ):
        """Computes the outputs for every row of a data set, in batches.

        Parameters
        ----------
        data : str, os.PathLike, list of them, array_like, or dict of str to array_like
            Files, folders and globs: whatever ``tightfit run --input`` takes. Or arrays whose first dimension counts rows.
        batch : int or "auto"
            Rows at once; "auto" finds the batch that runs fastest inside the memory.
        output : str or os.PathLike, optional
            A file to write to in place of arrays: .npz, .npy, .jsonl, .csv or .tfrecord. For data in files.
        resize : tuple of int, optional
            Height and width that images are resized to.
        preprocess : {"none", "unit", "tf", "torch", "caffe"}
            What is done to pixels.
        features : dict of str to str, optional
            The tf.Example feature for an input, where it has another name.
        label : str, optional
            A feature of one integer that the largest output is compared with.
        skip_bad : bool
            Skip bad rows, in place of an error.
        **limits : int or str
            ``decode_memory``, ``record_memory``, ``string_memory`` and ``pipeline_memory``: the most that decoding an image,
            a record, the strings of a row and the stages of a pipeline may take.

        Returns
        -------
        dict of str to numpy.ndarray, or dict
            The outputs of all rows, in the order of the data. With ``output`` what was done: ``rows``, ``skipped_rows``,
            ``right_rows``, ``batch``, ``seconds`` and ``planned_bytes``.
        """
        if batch != "auto" and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
            raise InvalidArgument(f"batch={batch!r}: give a number of rows, or 'auto'")
        sources = sources_of(data)
        if not sources:
            if output is not None:
                raise InvalidArgument("output= is for data in files: the results of arrays are arrays")
            return self._predict_arrays(data, batch)
        job = options_of(
            sources,
            resize=resize,
            preprocess=preprocess,
            features=features,
            label=label,
            skip_bad=skip_bad,
            **limits,
        )
        done = self._job(job, None if batch == "auto" else batch, None if output is None else os.fspath(output))
        arrays = done.pop("arrays")
        if output is not None:
            return done
        return {name: _joined(chunks, self.outputs.get(name)) for name, chunks in arrays.items()}

    def _predict_arrays(self, data, batch):
        inputs = self.inputs
        if not isinstance(data, dict):
            if len(inputs) != 1:
                raise InvalidArgument(f"the model has {len(inputs)} inputs: give a dict of arrays by name")
            data = {next(iter(inputs)): data}
        arrays = {name: as_array(array) for name, array in data.items()}
        if any(array.ndim == 0 for array in arrays.values()):
            raise InvalidArgument("a scalar has no rows: run() takes single tensors")
        counts = {len(array) for array in arrays.values()}
        if len(counts) != 1:
            raise InvalidArgument("the arrays have different numbers of rows: "
                                  + ", ".join(f"{name} {len(array)}" for name, array in arrays.items()))
        rows = counts.pop()
        fixed = {spec.shape[0] for spec in inputs.values() if spec.shape and spec.shape[0] is not None}
        if len(fixed) == 1:
            batch = fixed.pop()
        elif batch == "auto":
            has_texts = any(spec.dtype == "string" for spec in inputs.values())
            shapes = {name: (1, *array.shape[1:]) for name, array in arrays.items()}
            batch = min(rows, 32) or 1 if has_texts else self._fastest_batch(max(rows, 1), shapes)
            fixed = set()
        chunks = {}
        for start in range(0, rows, batch):
            part = {name: array[start:start + batch] for name, array in arrays.items()}
            count = min(batch, rows - start)
            is_padded = count < batch and any(
                spec.shape and spec.shape[0] == batch for spec in inputs.values()
            )
            if is_padded:
                part = {name: _padded(array, batch) for name, array in part.items()}
            for name, array in self.run(part).items():
                if array.ndim == 0 or len(array) != (batch if is_padded else count):
                    raise InvalidArgument(f"output '{name}' has no row for each input row: call run()")
                chunks.setdefault(name, []).append(array[:count] if is_padded else array)
        return {name: _joined(chunks.get(name, []), spec) for name, spec in self.outputs.items()}

    def __repr__(self):
        inputs = ", ".join(map(str, self.inputs.values()))
        outputs = ", ".join(map(str, self.outputs.values()))
        return f"<tightfit.Model {os.fspath(self.path)!r}: {inputs} -> {outputs}; {self.memory_bytes} bytes>"


def _padded(array, rows):
    padded = np.zeros((rows, *array.shape[1:]), array.dtype)
    padded[:len(array)] = array
    return padded


def _joined(chunks, spec):
    if len(chunks) == 1:
        return chunks[0]
    if chunks:
        return np.concatenate(chunks)
    shape = [0 if dim is None else dim for dim in (spec.shape or (None,))[1:]] if spec else []
    return np.zeros((0, *shape), dtype_of(spec.dtype) if spec else np.float32)


joined()
