"""The compiled part, loaded after NumPy: what comes from here on is what memory limits bound. `joined` is called once all that
models need is loaded."""

import os

import numpy  # noqa: F401  (its memory is not ours)


def _resident_bytes():
    """Bytes of this process that are resident; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            pages = int(file.read(128).split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


_host_bytes = _resident_bytes()

from . import _tightfit  # noqa: E402

__version__ = _tightfit.__version__
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tightfit.forked)


def joined():
    """Takes what the package has grown by until now for what it takes without any model."""
    _tightfit.join(_host_bytes)
