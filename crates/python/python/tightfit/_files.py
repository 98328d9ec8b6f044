"""What is told of model files, and what is written of models."""

import os

from ._core import _tightfit
from ._errors import InvalidArgument
from ._specs import Signature, by_name


def _source(signature, tags, checkpoint, fetches=()):
    return {
        "signature": signature,
        "tags": None if tags is None else list(tags),
        "checkpoint": None if checkpoint is None else os.fspath(checkpoint),
        "fetches": list(fetches),
    }


def inspect(path, *, signature=None, tags=None, checkpoint=None, memory=None):
    """What a model file is, without running it.

    Parameters
    ----------
    path : str or os.PathLike
        The model.
    signature, tags, checkpoint : optional
        As of `Model`.
    memory : int or str, optional
        The memory to read it in.

    Returns
    -------
    dict
        ``format``, ``file_bytes``, ``inputs`` and ``signatures`` by name, ``outputs``, ``nodes``, ``operators`` and
        ``unsupported`` ones with how many nodes have them, ``weight_bytes`` and ``weight_bytes_by_scope``.
    """
    found = _tightfit.inspect(os.fspath(path), _source(signature, tags, checkpoint), memory)
    found["inputs"] = by_name(found["inputs"])
    for key in ("operators", "unsupported", "weight_bytes_by_scope"):
        found[key] = dict(found[key])
    found["signatures"] = {
        key: Signature(by_name(inputs), by_name(outputs)) for key, inputs, outputs in found["signatures"]
    }
    return found


def freeze(path, output, *, signature=None, tags=None, checkpoint=None, fetches=(), memory=None):
    """Writes a model as one GraphDef that TensorFlow loads: variables are constants, and nothing in it trains.

    Parameters
    ----------
    path : str or os.PathLike
        The model.
    output : str or os.PathLike
        The file to write, whole or not at all.
    signature, tags, checkpoint, fetches : optional
        As of `Model`.
    memory : int or str, optional
        The memory to do it in.

    Returns
    -------
    dict
        ``bytes``, ``nodes``, ``constants``, ``constant_bytes``; ``inputs`` and ``outputs`` with their tensors;
        ``init_ops`` that TensorFlow has to run first; ``tensorflow_can_read``.
    """
    source = _source(signature, tags, checkpoint, fetches)
    return _tightfit.freeze(os.fspath(path), os.fspath(output), source, memory)


def optimize(
    path, output, *, transforms=None, inputs=(), signature=None, tags=None, checkpoint=None, fetches=(), memory=None
):
    """Writes a GraphDef that computes the same with fewer nodes.

    Parameters
    ----------
    path, output : str or os.PathLike
        The model, and the file to write.
    transforms : str or list of str, optional
        Passes by the names of TensorFlow's transform_graph, in this order; by default all.
    inputs : list of str, optional
        Nodes that are fed besides the placeholders.
    signature, tags, checkpoint, fetches, memory : optional
        As of `freeze`.

    Returns
    -------
    dict
        As of `freeze`, with ``nodes_before``, ``constant_bytes_before`` and ``passes``.
    """
    source = _source(signature, tags, checkpoint, fetches)
    names = transforms if transforms is None or isinstance(transforms, str) else " ".join(transforms)
    return _tightfit.optimize(os.fspath(path), os.fspath(output), source, names, list(inputs), memory)


def partition(
    path,
    output,
    *,
    max_bytes=None,
    at=(),
    by=None,
    signature=None,
    tags=None,
    checkpoint=None,
    fetches=(),
    memory=None,
):
    """Writes a model as SavedModels that run one after the other.

    Parameters
    ----------
    path, output : str or os.PathLike
        The model, and the folder to write, where nothing is yet.
    max_bytes : int or str, optional
        The most bytes of weights of a part.
    at : list of str, optional
        Nodes that end a part.
    by : {"scope"}, optional
        Cut where the first scope of the nodes' names changes. One of these three is given.
    signature, tags, checkpoint, fetches, memory : optional
        As of `freeze`.

    Returns
    -------
    dict
        ``model``, ``inputs``, ``outputs`` and ``parts``.
    """
    source = _source(signature, tags, checkpoint, fetches)
    if by not in (None, "scope"):
        raise InvalidArgument(f"by={by!r}: give 'scope'")
    by_scope = by is not None
    return _tightfit.partition(os.fspath(path), os.fspath(output), source, max_bytes, list(at), by_scope, memory)
