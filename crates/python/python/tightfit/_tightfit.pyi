"""The compiled part: `tightfit.Model` and the functions of `tightfit` are what to use."""

import os
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
from typing_extensions import Self

__version__: str

def join(host_bytes: int, host_peak_bytes: int) -> None: ...
def forked() -> None: ...
def floor_bytes() -> int: ...
def command_line(args: List[str]) -> int: ...
def inspect(path: str, source: Dict[str, Any], memory: Union[int, str, None]) -> Dict[str, Any]: ...
def freeze(path: str, output: str, source: Dict[str, Any], memory: Union[int, str, None]) -> Dict[str, Any]: ...
def optimize(
    path: str,
    output: str,
    source: Dict[str, Any],
    transforms: Optional[str],
    inputs: List[str],
    memory: Union[int, str, None],
) -> Dict[str, Any]: ...
def partition(
    path: str,
    output: str,
    source: Dict[str, Any],
    max_bytes: Union[int, str, None],
    at: List[str],
    by_scope: bool,
    memory: Union[int, str, None],
) -> Dict[str, Any]: ...

def quantize(
    rewrite: Dict[str, Any],
    scheme: str,
    has_integer_ports: bool,
    calibration: Optional[str],
    corrects_biases: bool,
    max_error: Optional[float],
    memory: Union[int, str, None],
) -> Dict[str, Any]: ...
def prune(
    rewrite: Dict[str, Any], sparsity: Optional[float], pattern: str, memory: Union[int, str, None]
) -> Dict[str, Any]: ...
def compare(
    paths: List[str],
    source: Dict[str, Any],
    data: Dict[str, Any],
    files: List[Tuple[str, str]],
    shapes: Dict[str, Tuple[int, ...]],
    batch: int,
    threads: Optional[int],
    memory: Union[int, str, None],
) -> Dict[str, Any]: ...
def lite_graphs(
    graph: Dict[str, Any], memory: Union[int, str, None]
) -> Optional[Tuple[int, List[Tuple[str, int]]]]: ...
def lite_tensors(
    graph: Dict[str, Any], of_all: bool, memory: Union[int, str, None]
) -> Optional[Tuple[List[Tuple[Any, ...]], List[List[int]], List[List[Tuple[str, int]]]]]: ...
def lite_operators(
    graph: Dict[str, Any], memory: Union[int, str, None]
) -> Optional[List[Tuple[str, List[int], List[int]]]]: ...
def lite_fetches(graph: Dict[str, Any], memory: Union[int, str, None]) -> Optional[List[Tuple[int, str]]]: ...
def lite_constant(
    graph: Dict[str, Any], number: int, memory: Union[int, str, None]
) -> Optional[np.ndarray[Any, Any]]: ...

class Calls:
    def __new__(cls, *_args: Any, **_named: Any) -> Self: ...
    def set_tensor(self, tensor_index: int, value: Any) -> None: ...
    def get_tensor(self, tensor_index: int, subgraph_index: int = 0) -> np.ndarray[Any, Any]: ...
    def invoke(self) -> None: ...

class Session:
    def __new__(
        cls,
        path: Union[str, os.PathLike[str]],
        memory: Union[int, str, None] = None,
        signature: Optional[str] = None,
        precision: str = "f32",
        threads: Optional[int] = None,
        *,
        tags: Optional[List[str]] = None,
        checkpoint: Union[str, os.PathLike[str], None] = None,
        fetches: List[str] = ...,
        feeds: List[str] = ...,
        shapes: Dict[str, Sequence[int]] = ...,
    ) -> Self: ...
    def run(self, feeds: Any = None, /, **named: Any) -> Dict[str, np.ndarray[Any, Any]]: ...
    def reset(self) -> None: ...
    def unload(self) -> None: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def path(self) -> os.PathLike[str]: ...
    @property
    def signature(self) -> Optional[str]: ...
