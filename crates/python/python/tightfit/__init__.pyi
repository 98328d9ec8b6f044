"""TensorFlow models in the memory you have: NumPy in, NumPy out, no TensorFlow needed."""

import os
from typing import Any, Dict, List, Literal, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import ArrayLike
from typing_extensions import Self, TypedDict, Unpack

from . import compat as compat
from . import interpreter as interpreter
from .interpreter import Interpreter as Interpreter

__version__: str
__all__ = [
    "TightFitError",
    "NotFit",
    "InvalidArgument",
    "ModelError",
    "DataError",
    "FileError",
    "MissingFile",
    "Model",
    "Plan",
    "TensorSpec",
    "Signature",
    "freeze",
    "optimize",
    "partition",
    "inspect",
    "quantize",
    "prune",
    "compare",
    "Interpreter",
    "compat",
    "interpreter",
]

_Path = Union[str, os.PathLike[str]]
_Size = Union[int, str, None]
_Array = np.ndarray[Any, Any]

_Preprocess = Literal["none", "unit", "tf", "torch", "caffe"]

class _Reading(TypedDict, total=False):
    decode_memory: _Size
    record_memory: _Size
    string_memory: _Size
    pipeline_memory: _Size
    resize: Optional[Tuple[int, int]]
    preprocess: _Preprocess
    features: Optional[Dict[str, str]]
    label: Optional[str]
    skip_bad: bool

class TightFitError(Exception): ...

class NotFit(TightFitError, MemoryError):
    minimum_bytes: Optional[int]
    memory_bytes: Optional[int]
    batch: Optional[int]
    def __init__(
        self,
        message: str,
        *,
        minimum_bytes: Optional[int] = None,
        memory_bytes: Optional[int] = None,
        batch: Optional[int] = None,
    ) -> None: ...

class InvalidArgument(TightFitError, ValueError): ...
class ModelError(TightFitError, ValueError): ...
class DataError(TightFitError, ValueError): ...
class FileError(TightFitError, OSError): ...
class MissingFile(FileError, FileNotFoundError): ...

class TensorSpec(NamedTuple):
    name: str
    dtype: str
    shape: Optional[Tuple[Optional[int], ...]]

class Signature(NamedTuple):
    inputs: Dict[str, TensorSpec]
    outputs: Dict[str, TensorSpec]

class Plan:
    def __init__(self, model: str, figures: Dict[str, Any]) -> None: ...
    model: str
    batch: int
    threads: int
    memory_bytes: int
    minimum_bytes: int
    planned_bytes: int
    lines: Dict[str, int]
    arena_bytes: int
    arena_lower_bound_bytes: int
    streamed_bytes: int
    growth_bytes: int
    growing: List[Tuple[str, str, str]]
    input_shapes: Dict[str, Tuple[int, ...]]
    output_shapes: Dict[str, Tuple[int, ...]]
    steps: List[Tuple[str, str]]
    peak: Optional[Tuple[int, str, str, int, List[Tuple[str, str, int]]]]
    rectangles: List[Tuple[str, str, int, int, int, int]]
    def to_dict(self) -> Dict[str, Any]: ...
    def _repr_html_(self) -> str: ...

class Model:
    def __new__(
        cls,
        path: _Path,
        memory: _Size = None,
        signature: Optional[str] = None,
        precision: Literal["f32"] = "f32",
        threads: Optional[int] = None,
        *,
        tags: Optional[List[str]] = None,
        checkpoint: Optional[_Path] = None,
        fetches: List[str] = ...,
        feeds: List[str] = ...,
        shapes: Dict[str, Sequence[int]] = ...,
    ) -> Self: ...
    @property
    def inputs(self) -> Dict[str, TensorSpec]: ...
    @property
    def outputs(self) -> Dict[str, TensorSpec]: ...
    @property
    def signatures(self) -> Dict[Optional[str], Signature]: ...
    @property
    def signature(self) -> Optional[str]: ...
    @property
    def path(self) -> os.PathLike[str]: ...
    @property
    def threads(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def used_bytes(self) -> int: ...
    @property
    def peak_bytes(self) -> int: ...
    def run(
        self, feeds: Union[ArrayLike, Dict[str, ArrayLike], None] = None, /, **named: ArrayLike
    ) -> Dict[str, _Array]: ...
    def plan(self, batch: int = 1, shapes: Optional[Dict[str, Sequence[int]]] = None) -> Plan: ...
    def predict(
        self,
        data: Union[_Path, Sequence[_Path], ArrayLike, Mapping[str, Union[_Path, ArrayLike]]],
        batch: Union[int, Literal["auto"]] = "auto",
        output: Optional[_Path] = None,
        *,
        labels: Optional[_Path] = None,
        top: Optional[int] = None,
        resume: bool = False,
        shard_rows: Optional[int] = None,
        shapes: Optional[Mapping[str, Sequence[int]]] = None,
        fixed: Optional[Mapping[str, Union[_Path, ArrayLike]]] = None,
        **reading: Unpack[_Reading],
    ) -> Dict[str, Any]: ...
    def reset(self) -> None: ...
    def unload(self) -> None: ...

def inspect(
    path: _Path,
    *,
    signature: Optional[str] = None,
    tags: Optional[Sequence[str]] = None,
    checkpoint: Optional[_Path] = None,
    memory: _Size = None,
) -> Dict[str, Any]: ...
def freeze(
    path: _Path,
    output: _Path,
    *,
    signature: Optional[str] = None,
    tags: Optional[Sequence[str]] = None,
    checkpoint: Optional[_Path] = None,
    fetches: Sequence[str] = (),
    memory: _Size = None,
) -> Dict[str, Any]: ...
def optimize(
    path: _Path,
    output: _Path,
    *,
    transforms: Union[str, Sequence[str], None] = None,
    inputs: Sequence[str] = (),
    signature: Optional[str] = None,
    tags: Optional[Sequence[str]] = None,
    checkpoint: Optional[_Path] = None,
    fetches: Sequence[str] = (),
    memory: _Size = None,
) -> Dict[str, Any]: ...
def partition(
    path: _Path,
    output: _Path,
    *,
    max_bytes: _Size = None,
    at: Sequence[str] = (),
    by: Optional[Literal["scope"]] = None,
    signature: Optional[str] = None,
    tags: Optional[Sequence[str]] = None,
    checkpoint: Optional[_Path] = None,
    fetches: Sequence[str] = (),
    memory: _Size = None,
) -> Dict[str, Any]: ...
def quantize(
    path: _Path,
    output: _Path,
    *,
    scheme: Literal["dynamic", "weight-only", "f16", "bf16", "int4", "int8", "int16"] = "dynamic",
    data: Union[_Path, Sequence[_Path]] = (),
    float_io: bool = False,
    calibration: Optional[Literal["mse", "min-max", "moving-average", "entropy"]] = None,
    correct_biases: bool = False,
    max_error: Optional[float] = None,
    report: Optional[_Path] = None,
    signature: Optional[str] = None,
    tags: Optional[Sequence[str]] = None,
    checkpoint: Optional[_Path] = None,
    fetches: Sequence[str] = (),
    batch: int = 1,
    threads: Optional[int] = None,
    memory: _Size = None,
    **reading: Unpack[_Reading],
) -> Dict[str, Any]: ...
def prune(
    path: _Path,
    output: _Path,
    *,
    sparsity: Optional[float] = None,
    pattern: Literal["unstructured", "1x4", "2:4"] = "unstructured",
    data: Union[_Path, Sequence[_Path]] = (),
    report: Optional[_Path] = None,
    signature: Optional[str] = None,
    tags: Optional[Sequence[str]] = None,
    checkpoint: Optional[_Path] = None,
    fetches: Sequence[str] = (),
    batch: int = 1,
    threads: Optional[int] = None,
    memory: _Size = None,
    **reading: Unpack[_Reading],
) -> Dict[str, Any]: ...
def compare(
    first: _Path,
    second: _Path,
    data: Union[_Path, Sequence[_Path], Mapping[str, Union[_Path, ArrayLike]]],
    *,
    shapes: Optional[Mapping[str, Sequence[int]]] = None,
    signature: Optional[str] = None,
    tags: Optional[Sequence[str]] = None,
    checkpoint: Optional[_Path] = None,
    fetches: Sequence[str] = (),
    batch: int = 1,
    threads: Optional[int] = None,
    memory: _Size = None,
    **reading: Unpack[_Reading],
) -> Dict[str, Any]: ...
