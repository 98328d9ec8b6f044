"""What scripts share that make TensorFlow Lite models for `tightfit prune`."""

import contextlib
import subprocess
import tempfile
from pathlib import Path

import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter


def convert(function, path):
    """Writes a function with an input signature as a model."""
    module = tf.Module()
    module.model = function
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], module)
    path.write_bytes(converter.convert())


@contextlib.contextmanager
def pruned(binary, path, *flags):
    """LiteRT's runner of the model that `tightfit prune` makes of one."""
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "pruned.tflite"
        subprocess.run([binary, "prune", path, *flags, "--output", output, "--quiet"], check=True)
        interpreter = Interpreter(str(output))
        yield interpreter.get_signature_runner()
