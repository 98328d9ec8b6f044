"""Arrays of whatever is fed."""

import numpy as np

from ._errors import InvalidArgument


def _bfloat16():
    try:
        import ml_dtypes
    except ImportError:
        raise InvalidArgument("bfloat16 tensors need the package ml_dtypes: pip install ml_dtypes") from None
    return np.dtype(ml_dtypes.bfloat16)


def bfloat16_number():
    """NumPy's number of the type bfloat16."""
    return _bfloat16().num


def dtype_of(name):
    """NumPy's type for a type of TensorFlow's name; strings are objects."""
    if name == "string":
        return np.dtype(object)
    return _bfloat16() if name == "bfloat16" else np.dtype(name)


def as_array(value):
    """An array of anything that is one: an array itself, DLPack, the buffer protocol, or nested lists."""
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "__dlpack__") and not isinstance(value, np.generic):
        try:
            return np.from_dlpack(value)
        except (BufferError, RuntimeError, TypeError):
            # On another device, or read-only for a NumPy that takes none such.
            pass
    return np.asarray(value)


def prepare(name, dtype, value):
    """What an input is fed, as the compiled part reads it where it lies.

    Parameters
    ----------
    name : str
        The input's name.
    dtype : str
        Its type.
    value : array_like
        What it is to be.

    Returns
    -------
    numpy.ndarray or (list of int, list of bytes)
        A dense array of the type; of strings the shape, and the texts in row-major order.
    """
    if dtype == "string":
        return _strings(name, value)
    wanted = dtype_of(dtype)
    is_typed = hasattr(value, "dtype") or hasattr(value, "__dlpack__")
    array = as_array(value)
    if array.dtype != wanted:
        # What has a type of its own is taken at its word; numbers and lists of them have none.
        if (is_typed or not _is_number(array)) and array.dtype.newbyteorder("=") != wanted:
            raise InvalidArgument(
                f"input '{name}' is {dtype}, not {array.dtype}: convert it with .astype({dtype!r})"
            )
        with np.errstate(over="ignore"):
            converted = array.astype(wanted)
        if wanted.kind in "iub" and not is_typed and not np.array_equal(converted, array):
            raise InvalidArgument(f"input '{name}' is {dtype}, which has not all of the values {value!r}")
        array = converted
    array = np.require(array, requirements=["C", "A"])
    if wanted == np.dtype(bool):
        # Bytes that are neither 0 nor 1 are true.
        array = array.view(np.uint8) != 0
    return array


def _is_number(array):
    return array.dtype.kind in "biufc" or array.size == 0


def _strings(name, value):
    array = value if isinstance(value, np.ndarray) else np.asarray(value, dtype=_kind_of(value))
    texts = []
    for text in array.ravel().tolist():
        if isinstance(text, str):
            text = text.encode()
        if not isinstance(text, bytes):
            raise InvalidArgument(f"input '{name}' is string, and {text!r} is neither bytes nor str")
        texts.append(text)
    return list(array.shape), texts


def _kind_of(value):
    # NumPy's own strings lose zeros at their end.
    return None if hasattr(value, "dtype") else object
