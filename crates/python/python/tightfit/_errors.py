"""What goes wrong."""


class TightFitError(Exception):
    """Whatever goes wrong in TightFit."""

    __module__ = "tightfit"


class NotFit(TightFitError, MemoryError):
    """A model, or a run of it, does not fit the memory. Nothing has been computed.

    Parameters
    ----------
    message : str
        What is said.
    minimum_bytes, memory_bytes, batch : int, optional
        The attributes.

    Attributes
    ----------
    minimum_bytes : int or None
        The smallest ``memory`` that works, where it is known: it is not while the file is still being read.
    memory_bytes : int or None
        The memory that was given.
    batch : int or None
        Rows at once.
    """

    __module__ = "tightfit"

    def __init__(self, message, *, minimum_bytes=None, memory_bytes=None, batch=None):
        super().__init__(message)
        self.minimum_bytes = minimum_bytes
        self.memory_bytes = memory_bytes
        self.batch = batch

    def __reduce__(self):
        return _not_fit, (str(self), self.minimum_bytes, self.memory_bytes, self.batch)


def _not_fit(message, minimum_bytes, memory_bytes, batch):
    return NotFit(message, minimum_bytes=minimum_bytes, memory_bytes=memory_bytes, batch=batch)


class InvalidArgument(TightFitError, ValueError):
    """What was asked for makes no sense: a name, a type or a shape that the model does not have."""

    __module__ = "tightfit"


class ModelError(TightFitError, ValueError):
    """A file that is no model, or a model that cannot be run: the message names node, operator and file."""

    __module__ = "tightfit"


class DataError(TightFitError, ValueError):
    """Data that is not what it should be: the message names file and record."""

    __module__ = "tightfit"


class FileError(TightFitError, OSError):
    """A file that cannot be read or written."""

    __module__ = "tightfit"


class MissingFile(FileError, FileNotFoundError):
    """A file that is not there."""

    __module__ = "tightfit"
