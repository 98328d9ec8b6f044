"""Models that are written with other weights, and two models side by side."""

import contextlib
import os

from ._core import _tightfit
from ._data import files_of, options_of, sources_of
from ._errors import InvalidArgument
from ._files import _source


def _rewrite(path, output, data, source, batch, threads, report, options):
    sources = sources_of(data)
    if sources is None:
        raise InvalidArgument("data: files, folders and globs; np.save writes arrays")
    return {
        "path": os.fspath(path),
        "output": os.fspath(output),
        "source": source,
        "data": options_of(sources, **options),
        "batch": batch,
        "threads": threads,
        "report": None if report is None else os.fspath(report),
    }


def quantize(
    path,
    output,
    *,
    scheme="dynamic",
    data=(),
    float_io=False,
    calibration=None,
    correct_biases=False,
    max_error=None,
    report=None,
    signature=None,
    tags=None,
    checkpoint=None,
    fetches=(),
    batch=1,
    threads=None,
    memory=None,
    **reading,
):
    """Writes a model as a .tflite whose weights, and activations too, are integers.

    Parameters
    ----------
    path, output : str or os.PathLike
        The model, and the .tflite to write, whole or not at all.
    scheme : {"dynamic", "weight-only-int8", "weight-only-int4", "f16", "bf16", "int8", "int16x8"}
        What weights and activations become: "dynamic" stores weights in int8, and "int8" and "int16x8" compute in integers,
        whose ranges are found on ``data``.
    data : str, os.PathLike, or list of them
        Rows to find ranges with, and to compare outputs on: whatever ``tightfit quantize --input`` takes.
    float_io : bool
        Keep inputs and outputs in floats, with "int8" or "int16x8".
    calibration : {"mse", "min-max", "moving-average", "entropy"}, optional
        How ranges follow from what was seen; by default "mse".
    correct_biases : bool
        Correct biases for what rounding adds to the mean of each channel.
    max_error : float, optional
        Keep outputs within this relative error: layers that hurt most stay in floats.
    report : str or os.PathLike, optional
        A .json or .html to write that compares layers and outputs with the original model.
    signature, tags, checkpoint, fetches, memory : optional
        As of `freeze`.
    batch : int
        Rows of the data that are read at once.
    threads : int, optional
        Threads that compute; by default one of each processor.
    **reading
        How rows are read: ``resize``, ``preprocess``, ``features``, ``label``, ``skip_bad``, ``decode_memory``,
        ``record_memory``, ``string_memory`` and ``pipeline_memory``, as of `Model.predict`.

    Returns
    -------
    dict
        What ``tightfit quantize --json`` prints: ``bytes``, ``constant_bytes_before``, ``constant_bytes``, ``scheme``,
        ``calibration_rows``, ``operators_in_floats``, ``outputs`` and ``layers``.

    Raises
    ------
    NotFit
        When it cannot be done in the memory.
    InvalidArgument
        For options that do not go together, and for integers without data.
    KeyboardInterrupt
        When Ctrl-C is pressed. Nothing has been written then.
    """
    source = _source(signature, tags, checkpoint, fetches)
    rewrite = _rewrite(path, output, data, source, batch, threads, report, reading)
    return _tightfit.quantize(rewrite, scheme, float_io, calibration, correct_biases, max_error, memory)


def prune(
    path,
    output,
    *,
    sparsity=None,
    pattern="unstructured",
    data=(),
    report=None,
    signature=None,
    tags=None,
    checkpoint=None,
    fetches=(),
    batch=1,
    threads=None,
    memory=None,
    **reading,
):
    """Writes a model as a .tflite with a share of its weights set to zero, and stored without the zeros, or left out.

    Parameters
    ----------
    path, output : str or os.PathLike
        The model, and the .tflite to write, whole or not at all.
    sparsity : float, optional
        The share of each weight that becomes zero; by default 0.7, and 0.5 for the pattern "2:4". For "channels" the share of
        each layer's channels that are left out, by default 0.3.
    pattern : {"unstructured", "1x4", "2:4", "channels"}
        Which weights become zero together, or "channels" to leave out whole channels.
    data : str, os.PathLike, or list of them
        Rows with which other weights make up for those that become zero: whatever ``tightfit prune --input`` takes. Without
        any the smallest weights become zero.
    report, signature, tags, checkpoint, fetches, batch, threads, memory, **reading : optional
        As of `quantize`.

    Returns
    -------
    dict
        What ``tightfit prune --json`` prints: ``bytes``, ``constant_bytes_before``, ``constant_bytes``, ``pattern``,
        ``sparsity``, ``compensated_layers``, ``outputs`` and ``layers``; for "channels" also ``kept_layers``.

    Raises
    ------
    NotFit, InvalidArgument, KeyboardInterrupt
        As `quantize`.
    """
    source = _source(signature, tags, checkpoint, fetches)
    rewrite = _rewrite(path, output, data, source, batch, threads, report, reading)
    return _tightfit.prune(rewrite, sparsity, pattern, memory)


def compare(
    first,
    second,
    data,
    *,
    shapes=None,
    signature=None,
    tags=None,
    checkpoint=None,
    fetches=(),
    batch=1,
    threads=None,
    memory=None,
    **reading,
):
    """Runs two models on the same data and tells how their outputs differ.

    Parameters
    ----------
    first, second : str or os.PathLike
        The model that is right, and the one that is compared with it.
    data : str, os.PathLike, list of them, or dict of str to (str, os.PathLike or array_like)
        A data set: whatever ``tightfit compare --input`` takes. Or for one call an array, or a file of one, for each input.
        Floats become the integers of a quantised input by its scale and zero point.
    shapes : dict of str to tuple of int, optional
        Shapes of inputs that the models leave open.
    signature, tags, checkpoint : optional
        Of the first model, as of `Model`.
    fetches : list of str, optional
        Tensors to compare; by default the models' outputs.
    batch, threads, memory, **reading : optional
        As of `quantize`.

    Returns
    -------
    dict
        What ``tightfit compare --json`` prints: ``rows``; ``models``, with ``planned_bytes``, ``ms_per_run``, ``runs`` and
        ``right_rows`` of each; ``outputs``, with ``max_abs_error``, ``snr_db`` (None where nothing differs) and
        ``top1_agreement_percent`` of each.

    Raises
    ------
    NotFit, InvalidArgument, KeyboardInterrupt
        As `quantize`.
    """
    sources = [] if isinstance(data, dict) else sources_of(data)
    if not sources and not isinstance(data, dict):
        raise InvalidArgument("data: files, folders and globs, or a dict with an array or a file for each input")
    shapes = {name: tuple(shape) for name, shape in (shapes or {}).items()}
    if isinstance(data, dict) and not data:
        raise InvalidArgument("data: an array or a file for each input of the models")
    with contextlib.ExitStack() as stack:
        files = list(files_of(data, stack)) if isinstance(data, dict) else []
        return _tightfit.compare(
            [os.fspath(first), os.fspath(second)],
            _source(signature, tags, checkpoint, fetches),
            options_of(sources, **reading),
            files,
            shapes,
            batch,
            threads,
            memory,
        )
