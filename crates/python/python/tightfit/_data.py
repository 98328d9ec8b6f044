"""Data sets, as functions that read one are told of them."""

import os


def sources_of(data):
    """The paths that data is read from; None where it is arrays."""
    if isinstance(data, (str, os.PathLike)):
        return [os.fspath(data)]
    if isinstance(data, (list, tuple)) and all(isinstance(item, (str, os.PathLike)) for item in data):
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
