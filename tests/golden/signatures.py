#!/usr/bin/env python3
"""Writes `crates/graph/src/signature/table.rs`: what TensorFlow's registries say of the operators of docs/operators.md, of
types only those that it has a kernel for on a CPU.

    python tests/golden/signatures.py
"""

import os
import pathlib
import re

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf  # noqa: F401  fills the registry
from tensorflow.python.framework import kernels, op_def_registry

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEAD = '''//! Written by tests/golden/signatures.py from TensorFlow's registries of operators and of kernels.

use super::Row;

/// The operators in the order of their names.
#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
'''


# Operators that TensorFlow has no more, three of them of its contrib folder: inputs, outputs and attributes.
FORMER = {name: ("", "out:#9", "") for name in ("BytesInUse", "BytesLimit", "MaxBytesInUse")}
FORMER["CompareAndBitpack"] = ("T T", "output:#4", "T:type{10,19,1,2,6,5,3,9}")


def names():
    rows = (ROOT / "docs/operators.md").read_text().splitlines()
    cells = [row.split("|")[2] for row in rows if row.startswith("| ") and row.count("|") > 3]
    return sorted(set(re.findall(r"`(\w+)`", " ".join(cells))))


def argument(arg):
    """`T` for a tensor of that attribute's type, `#3` for one of type number 3, `T*N` for N of them, `T*` for a list of
    types."""
    if arg.type_list_attr:
        return f"{arg.type_list_attr}*"
    kind = arg.type_attr or f"#{arg.type}"
    return f"{kind}*{arg.number_attr}" if arg.number_attr else kind


# Types of which there is a kernel, which refuses to run.
REFUSED = {("Where", "T"): {"19"}}


def computed(op, attr):
    """The values of an attribute that a kernel for a CPU takes; `None` where every one takes them all."""
    found = []
    for kernel in kernels.get_registered_kernels_for_op(op).kernel:
        if kernel.device_type not in ("CPU", "DEFAULT") or kernel.label:
            continue
        lists = [c.allowed_values.list for c in kernel.constraint if c.name == attr]
        found.append({*map(str, lists[0].type), *(s.decode() for s in lists[0].s)} if lists else None)
    if not found or None in found:
        return None
    return set().union(*found) - REFUSED.get((op, attr), set())


def attribute(op, attr):
    """`name:kind`, then `{allowed}` and `=default` where there are any."""
    text = f"{attr.name}:{attr.type}"
    values = attr.allowed_values.list
    allowed = [str(t) for t in values.type] + [s.decode() for s in values.s]
    if (of_kernels := computed(op, attr.name)) is not None:
        allowed = [v for v in allowed or sorted(of_kernels, key=int) if v in of_kernels]
    if allowed:
        text += "{" + ",".join(allowed) + "}"
    if attr.type == "type" and attr.HasField("default_value"):
        text += f"={attr.default_value.type}"
    if attr.type == "int" and attr.has_minimum and attr.HasField("default_value"):  # so many inputs or outputs
        text += f"={attr.default_value.i}"
    if attr.has_minimum:
        text += f">{attr.minimum}"
    return text


def main():
    lines = []
    for name in names():
        op = op_def_registry.get(name)
        if op is None:  # TensorFlow.js has it alone, or TensorFlow had
            if name in FORMER:
                lines.append("    (" + ", ".join(f'"{part}"' for part in (name, *FORMER[name])) + "),\n")
            continue
        inputs = " ".join(argument(a) for a in op.input_arg)
        kept = [a for a in op.attr if a.type in ("type", "string", "int", "list(int)")]
        attrs = " ".join(attribute(name, a) for a in kept if a.type == "type" or a.HasField("allowed_values") or a.has_minimum)
        outputs = " ".join(f"{a.name}:{argument(a)}" for a in op.output_arg)
        lines.append(f'    ("{name}", "{inputs}", "{outputs}", "{attrs}"),\n')
    (ROOT / "crates/graph/src/signature/table.rs").write_text(HEAD + "".join(lines) + "];\n")


if __name__ == "__main__":
    main()
