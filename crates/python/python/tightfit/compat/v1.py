"""TensorFlow 1: graphs, fetches and a feed_dict.

>>> import tightfit.compat.v1 as tf
>>> graph_def = tf.GraphDef()
>>> graph_def.ParseFromString(open("frozen.pb", "rb").read())
>>> with tf.Graph().as_default() as graph:
...     tf.import_graph_def(graph_def, name="")
>>> with tf.Session(graph=graph, config=tf.ConfigProto(memory="64MiB")) as sess:
...     sess.run("probabilities:0", {"image:0": images})

A session reads what its run needs, when it needs it: nothing is loaded by importing a graph.
"""

import builtins
import contextlib
import os

import numpy as np

from .._arrays import as_array, dtype_of
from .._errors import InvalidArgument
from .._model import Model
from ..interpreter import _file_of

__all__ = [
    "ConfigProto",
    "Graph",
    "GraphDef",
    "MaxBytesInUse",
    "Session",
    "Tensor",
    "get_default_graph",
    "gfile",
    "import_graph_def",
    "saved_model",
    "train",
]


class GraphDef:
    """A graph in a file, or the content of one."""

    def __init__(self, path=None):
        self.path = None if path is None else os.fspath(path)
        self._file = None

    def ParseFromString(self, content):  # noqa: N802 (protobuf's name)
        """Takes the content of a .pb file."""
        self._file, self.path = _file_of(content)
        return len(content)

    @classmethod
    def FromString(cls, content):  # noqa: N802 (protobuf's name)
        """A graph of the content of a .pb file."""
        graph_def = cls()
        graph_def.ParseFromString(content)
        return graph_def


class Tensor:
    """A tensor of a graph, by name."""

    def __init__(self, name):
        self.name = name if ":" in name else f"{name}:0"

    def __repr__(self):
        return f"<tightfit.compat.v1.Tensor {self.name!r}>"

    def __eq__(self, other):
        return isinstance(other, Tensor) and self.name == other.name

    def __hash__(self):
        return hash(self.name)


class MaxBytesInUse:
    """A fetch: the most bytes of the session's memory that were in use at once."""


class Graph:
    """What a session runs: a model's path, what its names begin with, its checkpoint and its tags."""

    _default: list = []

    def __init__(self):
        self._graph_def = None
        self._prefix = ""
        self._options = {}

    @contextlib.contextmanager
    def as_default(self):
        """Makes it the graph that is meant where none is named."""
        Graph._default.append(self)
        try:
            yield self
        finally:
            Graph._default.remove(self)

    def get_tensor_by_name(self, name):
        """The tensor of a name, as ``"node:0"``."""
        return Tensor(name)

    def _set(self, graph_def, prefix="", **options):
        if self._graph_def is not None:
            raise InvalidArgument("the graph has a model already: make another Graph()")
        self._graph_def, self._prefix, self._options = graph_def, prefix, options

    def _path(self):
        if self._graph_def is None or self._graph_def.path is None:
            raise InvalidArgument("the graph is empty: import_graph_def() gives it a model, or Session(graph=path)")
        return self._graph_def.path

    def _name(self, tensor):
        """The name in the file."""
        if not self._prefix:
            return tensor
        if not tensor.startswith(self._prefix):
            raise InvalidArgument(f"'{tensor}' is not in the graph: its names begin with '{self._prefix}'")
        return tensor[len(self._prefix):]


_FALLBACK = Graph()


def get_default_graph():
    """The graph that is meant where none is named.

    Returns
    -------
    Graph
        That of the innermost `Graph.as_default`, or one for the process.
    """
    return Graph._default[-1] if Graph._default else _FALLBACK


def import_graph_def(graph_def, input_map=None, return_elements=None, name=None):
    """Gives the default graph a model.

    Parameters
    ----------
    graph_def : GraphDef, str or os.PathLike
        The model.
    input_map : None
        Not supported.
    return_elements : list of str, optional
        Names of tensors to return.
    name : str, optional
        What the names begin with: ``"import"`` unless it is the empty string.

    Returns
    -------
    list of Tensor or None
        Those of ``return_elements``.
    """
    if input_map:
        raise InvalidArgument("input_map is not supported: feed the tensors")
    if isinstance(graph_def, (str, os.PathLike)):
        graph_def = GraphDef(graph_def)
    prefix = "import/" if name is None else f"{name}/" if name else ""
    get_default_graph()._set(graph_def, prefix)
    return None if return_elements is None else [Tensor(prefix + element) for element in return_elements]


class _GpuOptions:
    """Without effect."""

    def __init__(self, **options):
        self.__dict__.update(options)


class ConfigProto:
    """What a session may take.

    Parameters
    ----------
    memory : int or str, optional
        The memory, as of `tightfit.Model`.
    intra_op_parallelism_threads : int
        Threads that compute; 0 for one of each processor.
    **options
        Other options, without effect.
    """

    def __init__(self, memory=None, intra_op_parallelism_threads=0, **options):
        self.memory = memory
        self.intra_op_parallelism_threads = intra_op_parallelism_threads
        self.gpu_options = _GpuOptions()
        self.__dict__.update(options)


class Session:
    """Runs fetches and a feed_dict over a graph.

    Parameters
    ----------
    target : str
        Must be empty: there are no other machines.
    graph : Graph, str or os.PathLike, optional
        The graph, or a model's path; by default the default graph.
    config : ConfigProto, optional
        Memory and threads.
    memory, threads : optional
        The same, as of `tightfit.Model`.
    checkpoint : str or os.PathLike, optional
        The checkpoint with the values of variables.

    Notes
    -----
    One model is in memory at a time. Fetches or feeds of other names open it anew, inside the same memory; a model whose runs
    change variables would lose them, so that is an error.
    """

    def __init__(self, target="", graph=None, config=None, *, memory=None, threads=None, checkpoint=None):
        if target:
            raise InvalidArgument(f"target={target!r}: a session runs in this process")
        if graph is None:
            graph = get_default_graph()
        elif not isinstance(graph, Graph):
            path, graph = graph, Graph()
            graph._set(GraphDef(path))
        config = config or ConfigProto()
        self.graph = graph
        self._memory = config.memory if memory is None else memory
        self._threads = threads or config.intra_op_parallelism_threads or None
        self._checkpoint = None if checkpoint is None else os.fspath(checkpoint)
        self._model = None
        self._key = None
        self._peak_bytes = 0
        self._is_closed = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Lets go of the model."""
        self._let_go()
        self._is_closed = True

    def _let_go(self):
        if self._model is not None:
            self._peak_bytes = max(self._peak_bytes, self._model.peak_bytes)
        self._model = self._key = None

    @property
    def max_bytes_in_use(self):
        """int: the most bytes of the memory that were in use at once."""
        current = 0 if self._model is None else self._model.peak_bytes
        return max(self._peak_bytes, current)

    def run(self, fetches, feed_dict=None, options=None, run_metadata=None):
        """Computes the fetches.

        Parameters
        ----------
        fetches : str, Tensor, MaxBytesInUse, or lists, tuples and dicts of them
            What to compute.
        feed_dict : dict, optional
            Values of tensors, by name or `Tensor`.
        options, run_metadata : None
            Without effect.

        Returns
        -------
        numpy.ndarray, bytes, or lists, tuples and dicts of them
            As ``fetches`` are; a scalar is a NumPy scalar.
        """
        if self._is_closed:
            raise RuntimeError("Attempted to use a closed Session.")
        names = []
        _flatten(fetches, names)
        feeds = {_name_of(key): value for key, value in (feed_dict or {}).items()}
        found = {}
        if names:
            wanted = tuple(dict.fromkeys(self.graph._name(name) for name in names))
            fed = {self.graph._name(name): value for name, value in feeds.items()}
            found = self._compute(wanted, fed)
        return _like(fetches, lambda name: found[self.graph._name(name)], self)

    def _compute(self, names, feeds):
        key = names, frozenset(feeds)
        if key != self._key:
            if self._model is not None and self._model._has_states():
                raise InvalidArgument(
                    "other fetches or feeds would open the model anew, and lose its variables: fetch all in one run, "
                    "or use another Session"
                )
            self._let_go()
            options = dict(self.graph._options)
            if self._checkpoint is not None:
                options["checkpoint"] = self._checkpoint
            self._model = Model(
                self.graph._path(),
                self._memory,
                threads=self._threads,
                fetches=list(names),
                feeds=list(feeds),
                **options,
            )
            self._key = key
        types = {spec.name: spec.dtype for spec in self._model.inputs.values()}
        outputs = self._model.run({name: _fed(types, name, value) for name, value in feeds.items()})
        return dict(zip(names, outputs.values()))


def _fed(types, name, value):
    """The value in the type of what is fed, as TensorFlow's feeds are."""
    dtype = types.get(name) or types.get(name.removesuffix(":0"))
    if dtype is None or dtype == "string":
        return value
    array = as_array(value)
    return array if array.dtype == dtype_of(dtype) else array.astype(dtype_of(dtype))


def _name_of(fetch):
    name = getattr(fetch, "name", fetch)
    if not isinstance(name, str):
        raise TypeError(f"{fetch!r} is no tensor, and no name of one")
    return name if ":" in name else f"{name}:0"


def _flatten(fetches, names):
    if isinstance(fetches, (list, tuple)):
        for fetch in fetches:
            _flatten(fetch, names)
    elif isinstance(fetches, dict):
        for fetch in fetches.values():
            _flatten(fetch, names)
    elif not _is_max_bytes(fetches):
        names.append(_name_of(fetches))


def _is_max_bytes(fetch):
    return isinstance(fetch, MaxBytesInUse) or fetch is MaxBytesInUse


def _like(fetches, value, session):
    if isinstance(fetches, (list, tuple)):
        items = [_like(fetch, value, session) for fetch in fetches]
        if hasattr(fetches, "_fields"):
            return type(fetches)(*items)
        return type(fetches)(items)
    if isinstance(fetches, dict):
        return {key: _like(fetch, value, session) for key, fetch in fetches.items()}
    if _is_max_bytes(fetches):
        return np.int64(session.max_bytes_in_use)
    array = value(_name_of(fetches))
    return array[()] if array.ndim == 0 else array


class saved_model:  # noqa: N801 (a module of TensorFlow's)
    """``tf.compat.v1.saved_model``."""

    @staticmethod
    def load(sess, tags, export_dir):
        """Gives a session a SavedModel.

        Returns
        -------
        dict of str to Signature
            Its signatures.
        """
        from .._files import inspect

        sess._let_go()
        sess.graph._set(GraphDef(export_dir), tags=list(tags))
        return inspect(export_dir, tags=list(tags))["signatures"]


class _Saver:
    """What restores variables."""

    def __init__(self, graph):
        self._graph = graph

    def restore(self, sess, save_path):
        """Gives a session the values of a checkpoint."""
        sess._let_go()
        sess._checkpoint = os.fspath(save_path)


class train:  # noqa: N801 (a module of TensorFlow's)
    """``tf.compat.v1.train``."""

    @staticmethod
    def import_meta_graph(meta_graph, clear_devices=False, import_scope=None):
        """Gives the default graph a .meta file; the result restores variables."""
        graph = get_default_graph()
        graph._set(GraphDef(meta_graph), f"{import_scope}/" if import_scope else "")
        return _Saver(graph)


class gfile:  # noqa: N801 (a module of TensorFlow's)
    """``tf.compat.v1.gfile``."""

    @staticmethod
    def GFile(name, mode="r"):  # noqa: N802 (TensorFlow's name)
        """A file."""
        return builtins.open(name, mode)
