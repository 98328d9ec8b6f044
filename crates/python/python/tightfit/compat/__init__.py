"""Calls of other versions of TensorFlow."""

from . import v1

__all__ = ["v1"]
