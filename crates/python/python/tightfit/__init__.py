"""TensorFlow models in the memory you have: NumPy in, NumPy out, no TensorFlow needed.

>>> import tightfit
>>> model = tightfit.Model("model.pb", memory="64MiB")
>>> scores = model.run({"image": images})["probabilities"]

`Model` opens, plans and runs a model. `Interpreter` has the constructor and the methods of
``tf.lite.Interpreter``, and `tightfit.compat.v1.Session` runs fetches and a ``feed_dict``. `freeze`, `optimize`,
`partition`, `quantize`, `prune`, `compare` and `inspect` do what the commands of the same name do; ``python -m tightfit`` is
the command line itself.
"""

from importlib import import_module as _import_module

# Names and the modules that have them: NumPy and the compiled part are loaded with the first that needs them, so that the
# command line is small.
_PLACES = {
    "TightFitError": "_errors",
    "NotFit": "_errors",
    "InvalidArgument": "_errors",
    "ModelError": "_errors",
    "DataError": "_errors",
    "FileError": "_errors",
    "MissingFile": "_errors",
    "Model": "_model",
    "Plan": "_plan",
    "TensorSpec": "_specs",
    "Signature": "_specs",
    "freeze": "_files",
    "optimize": "_files",
    "partition": "_files",
    "inspect": "_files",
    "quantize": "_weights",
    "prune": "_weights",
    "compare": "_weights",
    "Interpreter": "interpreter",
    "__version__": "_core",
}

__all__ = [name for name in _PLACES if not name.startswith("_")] + ["compat", "interpreter"]


def __getattr__(name):
    if name in ("compat", "interpreter"):
        return _import_module(f"{__name__}.{name}")
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if place != "_errors":
        # Whatever needs the compiled part: it is told of once all of this is loaded.
        _import_module(f"{__name__}._model")
    value = getattr(_import_module(f"{__name__}.{place}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
