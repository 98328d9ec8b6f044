"""Writes docs/interpreter.md: LiteRT's Interpreter and ours, call by call.

    pip install ./crates/python ai-edge-litert && python crates/python/tests/interpreter_table.py

Each row of interpreter_rows.py and interpreter_values.py is done with both, on the same model of tests/golden/tflite. What is
shown is what comes back or what is raised. Fails where a difference is not explained, or an explained one is none.
"""

import os
import pickle
import re
import signal
import sys
from pathlib import Path

import interpreter_rows
import interpreter_values  # noqa: F401  (its rows follow)
import numpy as np

ROOT = Path(__file__).resolve().parents[3]
MODELS = ROOT / "tests" / "golden" / "tflite"
PAGE = ROOT / "docs" / "interpreter.md"

HEAD = """\
# The Interpreter, call by call

`tightfit.Interpreter` beside `ai_edge_litert.interpreter.Interpreter` {version}, each on the same model of
[tests/golden/tflite](../tests/golden/tflite): {same} of {all} rows are the same, the others say why. Values are the same
within 1e-4; of an error its class counts. `crates/python/tests/interpreter_table.py` writes this page, and the tests of the
package compare it with what the package does.

| method | what is done | LiteRT | TightFit | same |
| --- | --- | --- | --- | --- |
"""

MOST = 110


def text_of(value):
    """What is shown of a value."""
    if isinstance(value, np.ndarray):
        few = " ".join(element(item) for item in value.ravel()[:3].tolist())
        dots = " …" if value.size > 3 else ""
        return f"{value.dtype.name}{list(value.shape)} {few}{dots}".strip()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {text_of(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(text_of(item) for item in value) + "]"
    if isinstance(value, type):
        return value.__name__
    return element(value)


def element(value):
    return f"{value:.3g}" if isinstance(value, (float, np.floating)) else repr(value)


class Raised:
    """An error, by the class that callers catch."""

    KINDS = (MemoryError, ValueError, RuntimeError, TypeError, AttributeError, IndexError, OSError)

    def __init__(self, error, models):
        self.kinds = [kind for kind in self.KINDS if isinstance(error, kind)] or [type(error)]
        words = str(error).strip().splitlines()[:1]
        words = " ".join(words)
        for folder, name in ((models, "tflite"), (ROOT, "")):
            words = words.replace(str(folder), name)
        self.words = re.sub(r"0x[0-9a-f]+|/\S*/fd/\d+", "…", words)


def outcome(call, side):
    """What a call returns or raises."""
    try:
        return call(side)
    except Exception as error:
        return Raised(error, side.models)


def apart(call, side):
    """The same in a process of its own, which LiteRT may end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(outcome(call, side), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return pickle.loads(told) if code == 0 else Raised(SystemExit(f"the process ends, by {signal.Signals(-code).name}"), side.models)


def shown(found):
    if isinstance(found, Raised):
        ends = found.kinds == [SystemExit]
        text = found.words if ends else f"{found.kinds[0].__name__}: {found.words}"
    else:
        text = text_of(found)
    text = text.replace("|", "\\|").replace("\n", " ")
    return text if len(text) <= MOST else text[: MOST - 1] + "…"


def is_same(one, other):
    """True where two outcomes are the same to who calls."""
    if isinstance(one, Raised) or isinstance(other, Raised):
        both = isinstance(one, Raised) and isinstance(other, Raised)
        return both and bool(set(one.kinds) & set(other.kinds))
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(is_same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, np.ndarray):
        if not isinstance(other, np.ndarray) or one.dtype != other.dtype or one.shape != other.shape:
            return False
        return np.array_equal(one, other) or one.dtype.kind == "f" and np.allclose(one, other, 1e-4, 1e-5)
    return type(one) is type(other) and one == other


def lines(theirs, ours):
    """The rows of the table, whether each is the same, and what is wrong with them."""
    wrong = []
    for method, what, call, why in interpreter_rows.ROWS:
        there, here = apart(call, theirs), outcome(call, ours)
        same = is_same(there, here)
        if same == bool(why):
            wrong.append(f"{method}, {what}: {'is the same' if same else 'differs'}: {shown(there)} | {shown(here)}")
        yield same, f"| `{method}` | {what} | {shown(there)} | {shown(here)} | {'yes' if same else f'no: {why}'} |\n"
    if wrong:
        sys.exit("\n".join(wrong))


def main():
    from importlib.metadata import version

    import ai_edge_litert.interpreter as litert
    import tightfit.interpreter as tightfit

    told = list(lines(interpreter_rows.Side(litert, MODELS), interpreter_rows.Side(tightfit, MODELS)))
    same = sum(is_same for is_same, _ in told)
    head = HEAD.format(version=version("ai-edge-litert"), same=same, all=len(told))
    PAGE.write_text(head + "".join(line for _, line in told))
    print(f"{same} of {len(told)} rows are the same")


if __name__ == "__main__":
    main()
