"""What models take and give."""

from typing import NamedTuple, Optional, Tuple


class TensorSpec(NamedTuple):
    """Name, type and shape of a tensor.

    Attributes
    ----------
    name : str
        Its name.
    dtype : str
        TensorFlow's name of its type, as ``"float32"``.
    shape : tuple of (int or None), or None
        Its shape, None for an open dimension; None where not even the number of dimensions is known.
    """

    name: str
    dtype: str
    shape: Optional[Tuple[Optional[int], ...]]

    def __str__(self):
        if self.shape is None:
            return f"{self.name}: {self.dtype} of any shape"
        dims = ", ".join("?" if dim is None else str(dim) for dim in self.shape)
        return f"{self.name}: {self.dtype}[{dims}]"


class Signature(NamedTuple):
    """What a signature of a model takes and gives.

    Attributes
    ----------
    inputs : dict of str to TensorSpec
        Its inputs by name.
    outputs : dict of str to TensorSpec
        Its outputs by name.
    """

    inputs: dict
    outputs: dict


def by_name(specs):
    """A dict of what the compiled part tells of tensors."""
    found = {}
    for name, dtype, dims, *_ in specs:
        shape = None if dims is None else tuple(None if dim is None or dim < 0 else dim for dim in dims)
        found[name] = TensorSpec(name, dtype, shape)
    return found
