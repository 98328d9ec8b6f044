"""Data sets, as functions that read one are told of them."""

import os

import numpy as np

from ._arrays import as_array
from ._errors import InvalidArgument


def sources_of(data):
    """The paths that data is read from; None where it is arrays."""
    if is_path(data):
        return [os.fspath(data)]
    if isinstance(data, (list, tuple)) and all(map(is_path, data)):
        return [os.fspath(path) for path in data]
    return None


def options_of(
    sources,
    *,
    resize=None,
    preprocess="none",
    features=None,
    label=None,
    skip_bad=False,
    decode_memory=None,
    record_memory=None,
    string_memory=None,
    pipeline_memory=None,
):
    """What the compiled part is told of a data set.

    Parameters
    ----------
    sources : list of str
        Files, folders and globs.
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
    decode_memory, record_memory, string_memory, pipeline_memory : int or str, optional
        The most that decoding an image, a record, the strings of a row and the stages of a pipeline may take.
    """
    return {
        "sources": sources,
        "resize": None if resize is None else list(resize),
        "preprocess": preprocess,
        "features": list((features or {}).items()),
        "label": label,
        "skip_bad": skip_bad,
        "decode_memory": decode_memory,
        "record_memory": record_memory,
        "string_memory": string_memory,
        "pipeline_memory": pipeline_memory,
    }


def files_of(data, stack):
    """A file for each input: arrays are written to a folder that goes with the call."""
    # Loads much that nothing else here needs.
    import tempfile

    folder = None
    for number, (name, value) in enumerate(data.items()):
        if is_path(value):
            yield name, os.fspath(value)
            continue
        if folder is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tightfit-"))
        path = os.path.join(folder, f"{number}.npy")
        np.save(path, as_array(value))
        yield name, path


def is_path(value):
    """True for the path of a file."""
    return isinstance(value, (str, os.PathLike))


def largest(outputs, labels, top):
    """The largest scores of each row of the first output, as ``tightfit run --top`` writes them."""
    scores = next(iter(outputs.values()))
    if scores.dtype.kind not in "biuf":
        raise InvalidArgument(f"top: the top of an output of {scores.dtype} cannot be taken")
    rows = scores.reshape(len(scores), int(np.prod(scores.shape[1:])))
    names = None if labels is None else _names_of(labels)
    if names is not None and len(names) != rows.shape[1]:
        raise InvalidArgument(f"labels: there are {len(names)} names, but a row has {rows.shape[1]} classes")
    # The first of equals is first, and what is no number is last.
    order = np.argsort(-rows.astype(np.float64), axis=1, kind="stable")[:, : 5 if top is None else top]
    found = {"index": order}
    if names is not None:
        found["label"] = np.array(names, dtype=object)[order]
    found["score"] = np.take_along_axis(rows, order, axis=1)
    return found


def _names_of(path):
    with open(path, encoding="utf-8") as file:
        text = file.read().rstrip()
    return [line.strip() for line in text.split("\n")] if text else []
