"""The compiled part, loaded after NumPy: what comes from here on is what memory limits bound. `joined` is called once all that
models need is loaded."""

import os

import numpy  # noqa: F401  (its memory is not ours)


def _resident_bytes():
    """Bytes of this process that are resident, and that were at most; 0 where the system does not say."""
    sizes = {}
    try:
        with open("/proc/self/status", "rb", buffering=0) as file:
            for line in file.read(4096).splitlines():
                name, _, size = line.partition(b":")
                if name in (b"VmRSS", b"VmHWM"):
                    sizes[name] = int(size.split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        pass
    return sizes.get(b"VmRSS", 0), sizes.get(b"VmHWM", 0)


_host_bytes = _resident_bytes()

from . import _tightfit  # noqa: E402

__version__ = _tightfit.__version__
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tightfit.forked)


def joined():
    """Takes what the package has grown by until now for what it takes without any model."""
    _tightfit.join(*_host_bytes)
