"""docs/interpreter.md says what the package does."""

import re
from itertools import zip_longest

import interpreter_table
import pytest
import tightfit.interpreter
from interpreter_rows import ROWS, Side

SIDE = Side(tightfit.interpreter, interpreter_table.MODELS)


def cells():
    """The cells of each row of the page."""
    rows = [line for line in interpreter_table.PAGE.read_text().splitlines() if line.startswith("| `")]
    return [re.split(r"(?<!\\) \| ", row.removeprefix("| ").removesuffix(" |")) for row in rows]


TOLD = cells()


def is_alike(text, other):
    """True for texts whose numbers are the same but for rounding."""
    for word, expected in zip_longest(re.split(r"[ ,]+", text), re.split(r"[ ,]+", other), fillvalue=""):
        try:
            if float(word) != pytest.approx(float(expected), 2e-2, 1e-3):
                return False
        except ValueError:
            if word != expected:
                return False
    return True


@pytest.mark.parametrize("number", range(len(ROWS)))
def test_row(number):
    method, what, call, why = ROWS[number]
    told = TOLD[number]
    assert told[:2] == [f"`{method}`", what] and len(told) == 5
    found = interpreter_table.shown(interpreter_table.outcome(call, SIDE))
    assert is_alike(found, told[3]), f"{found}, not {told[3]}"
    assert told[4] == (f"no: {why}" if why else "yes")


def test_the_page_has_no_other_rows():
    assert len(TOLD) == len(ROWS)
