"""Functions take the options of the commands of their names."""

import inspect
import re
import subprocess
import sys

import pytest
import tightfit
from tightfit import _data

# Results are returned, and nothing is printed.
TOLD = {"json", "quiet", "help"}

# Whatever is a list or a dict is named so.
RENAMED = {"feature": "features", "shape": "shapes", "fetch": "fetches"}

# The functions of a command, what it calls in other words, and options without a meaning here.
COMMANDS = {
    # A terminal is drawn on, and what the run took is returned.
    "run": ((tightfit.Model, tightfit.Model.predict), {"input": "data"}, {"show", "report"}),
    # Nothing is computed.
    "freeze": ((tightfit.freeze,), {}, {"threads"}),
    "partition": ((tightfit.partition,), {}, {"threads"}),
    "optimize": ((tightfit.optimize,), {"input": "inputs"}, {"threads"}),
    "quantize": ((tightfit.quantize,), {"calibrate": "data", "input": "data"}, set()),
    "prune": ((tightfit.prune,), {"calibrate": "data", "input": "data", "block": "pattern"}, set()),
    "compare": ((tightfit.compare,), {"input": "data"}, set()),
    # All of it is in the dict.
    "inspect": ((tightfit.inspect,), {}, {"by", "depth"}),
}


def parameters(function):
    """The names that a function takes, those of a data set's options among them."""
    found = inspect.signature(function).parameters.values()
    names = {one.name for one in found if one.kind is not one.VAR_KEYWORD}
    if any(one.kind is one.VAR_KEYWORD for one in found):
        names |= set(inspect.signature(_data.options_of).parameters)
    return names


@pytest.mark.parametrize("command", COMMANDS)
def test_options(command):
    functions, renamed, left_out = COMMANDS[command]
    text = subprocess.run([sys.executable, "-m", "tightfit", command, "--help"], capture_output=True, text=True).stdout
    flags = set(re.findall(r"^ +(?:-\w, )?--([a-z-]+)", text, re.MULTILINE))
    assert len(flags) > 5
    taken = set().union(*map(parameters, functions))
    wanted = {{**RENAMED, **renamed}.get(flag, flag.replace("-", "_")) for flag in flags - TOLD - left_out}
    assert wanted <= taken
    assert left_out <= flags
