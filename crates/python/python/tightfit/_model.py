"""Models."""

import contextlib
import os

import numpy as np

from ._arrays import as_array, dtype_of
from ._core import _tightfit, joined
from ._data import files_of, is_path, largest, options_of, sources_of
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
        labels=None,
        top=None,
        resume=False,
        shard_rows=None,
        shapes=None,
        fixed=None,
        **reading,
    ):
        """Computes the outputs for every row of a data set, in batches.

        Parameters
        ----------
        data : str, os.PathLike, list of them, array_like, or dict of str to array_like
            Files, folders and globs: whatever ``tightfit run --input`` takes. Or arrays whose first dimension counts rows. A
            dict of files, one for each input, is one run as it is: ``{"image": "row.npy"}``. Floats, and pixels as ``tightfit
            run`` takes them, become the integers of a quantised input by its scale and zero point.
        batch : int or "auto"
            Rows at once; "auto" finds the batch that runs fastest inside the memory.
        output : str or os.PathLike, optional
            A file to write to in place of arrays: .npz, .npy, .jsonl, .csv or .tfrecord. For data in files.
        labels : str or os.PathLike, optional
            A file with the name of a class in each line. Results are the largest scores of each row, with these names.
        top : int, optional
            How many: the largest scores of each row of the first output; by default 5 with ``labels``, else all.
        resume : bool
            Write ``output`` in numbered shards, and continue after those that an earlier run has finished.
        shard_rows : int, optional
            Rows of each shard, rounded up to whole batches; by default 8192.
        shapes : dict of str to tuple of int, optional
            Shapes of inputs that the model leaves open.
        fixed : dict of str to (array_like, str or os.PathLike), optional
            Inputs that are the same for all rows: arrays, or files of one.
        **reading
            How data in files is read. ``resize``: height and width that images are resized to. ``preprocess``: "none", "unit",
            "tf", "torch" or "caffe", what is done to pixels. ``features``: a dict of the tf.Example feature for an input, where
            it has another name. ``label``: a feature of one integer that the largest output is compared with. ``skip_bad``:
            skip bad rows, in place of an error. ``decode_memory``, ``record_memory``, ``string_memory`` and
            ``pipeline_memory``: the most that decoding an image, a record, the strings of a row and the stages of a pipeline
            may take.

        Returns
        -------
        dict of str to numpy.ndarray, or dict
            The outputs of all rows, in the order of the data. With ``top`` or ``labels`` in their place ``index``, ``label``
            and ``score`` of the largest scores. With ``output`` what was done: ``rows``, ``resumed_rows``, ``skipped_rows``,
            ``right_rows``, ``batch``, ``seconds`` and ``planned_bytes``.
        """
        if batch != "auto" and (isinstance(batch, bool) or not isinstance(batch, int) or batch < 1):
            raise InvalidArgument(f"batch={batch!r}: give a number of rows, or 'auto'")
        if top is not None and (isinstance(top, bool) or not isinstance(top, int) or top < 1):
            raise InvalidArgument(f"top={top!r}: give a number of classes")
        sources = sources_of(data)
        if sources:
            found = self._predict_files(
                {
                    "data": options_of(sources, **reading),
                    "shapes": {name: tuple(shape) for name, shape in (shapes or {}).items()},
                    "batch": None if batch == "auto" else batch,
                    "output": None if output is None else os.fspath(output),
                    "labels": None if labels is None or output is None else os.fspath(labels),
                    "top": None if output is None else top,
                    "resume": resume,
                    "shard_rows": shard_rows,
                },
                fixed or {},
            )
            if output is not None:
                return found
        else:
            given = {"output": output, "resume": resume or None, "shard_rows": shard_rows, "shapes": shapes, **reading}
            for name in (name for name, value in given.items() if value is not None):
                raise InvalidArgument(f"{name}= is for data in files: arrays are taken as they are, and arrays come back")
            if isinstance(data, dict) and data and all(map(is_path, data.values())):
                found = self._run_files([(name, os.fspath(path)) for name, path in data.items()])
            else:
                found = self._predict_arrays(data, batch, fixed or {})
        return found if top is None and labels is None else largest(found, labels, top)

    def _predict_files(self, wishes, fixed):
        if wishes["resume"] and wishes["output"] is None:
            raise InvalidArgument("resume=True needs an output=")
        if wishes["shard_rows"] is not None and not wishes["resume"]:
            raise InvalidArgument("shard_rows= goes with resume=True")
        with contextlib.ExitStack() as stack:
            done = self._job({**wishes, "fixed": list(files_of(fixed, stack))})
        arrays = done.pop("arrays")
        if wishes["output"] is not None:
            return done
        return {name: _joined(chunks, self.outputs.get(name)) for name, chunks in arrays.items()}

    def _predict_arrays(self, data, batch, fixed):
        if any(map(is_path, fixed.values())):
            raise InvalidArgument("fixed: files go with data in files, and arrays with arrays")
        inputs = {name: spec for name, spec in self.inputs.items() if name not in fixed}
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
        batches = {spec.shape[0] for spec in inputs.values() if spec.shape and spec.shape[0] is not None}
        if len(batches) == 1:
            batch = batches.pop()
        elif batch == "auto":
            has_texts = any(spec.dtype == "string" for spec in inputs.values())
            shapes = {name: (1, *array.shape[1:]) for name, array in arrays.items()}
            is_plain = not has_texts and not fixed
            batch = self._fastest_batch(max(rows, 1), shapes) if is_plain else min(rows, 32) or 1
        chunks = {}
        for start in range(0, rows, batch):
            part = {name: array[start:start + batch] for name, array in arrays.items()}
            count = min(batch, rows - start)
            is_padded = count < batch and any(
                spec.shape and spec.shape[0] == batch for spec in inputs.values()
            )
            if is_padded:
                part = {name: _padded(array, batch) for name, array in part.items()}
            for name, array in self.run({**part, **fixed}).items():
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
