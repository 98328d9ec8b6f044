"""Writes crates/format/src/tflite/schema.rs: the operators and options of TensorFlow Lite's flatbuffer, out of the Python
module that TensorFlow carries of schema.fbs.

    python tests/golden/tflite_schema.py
"""
import pathlib
import re

from tensorflow.lite.python import schema_py_generated as schema

HEAD = """//! The operators of TensorFlow Lite and the fields of their options, with their public numbers (schema.fbs, version 3).
//! Written by tests/golden/tflite_schema.py.

use super::options::Kind::{Bool, Bytes, Float, Floats, Int8, Int32, Int32s, Int64, Int64s, Text, Uint32, Uint32s};
use super::options::{Field, Kind};

const fn field(name: &'static str, slot: u16, kind: Kind) -> Field {
    Field { name, slot, kind }
}
"""

KINDS = {
    "Bool": "Bool({})", "Int8": "Int8({})", "Int32": "Int32({})", "Uint32": "Uint32({})",
    "Int64": "Int64({})", "Float32": "Float({})", "Str": "Text", "Vec Int32": "Int32s",
    "Vec Int64": "Int64s", "Vec Uint32": "Uint32s", "Vec Float32": "Floats",
    "Vec Bool": "Bytes", "Vec Uint8": "Bytes",
}
GETTER = re.compile(r"    def (\w+)\(self(?:, j)?\):\n        o = [^\n]*Offset\((\d+)\)\)\n(.*?)\n\n", re.S)


def fields(text, name):
    """The fields of a table: name, slot, kind and default."""
    body = re.search(rf"^class {name}\(object\):\n(.*?)^def ", text, re.S | re.M).group(1)
    found = {}
    for getter, offset, code in GETTER.findall(body + "\n"):
        base = re.sub("(AsNumpy|Length|IsNone)$", "", getter)
        if base != getter and base in found:
            continue
        is_list = "Vector(o)" in code
        number = re.search(r"number_types\.(\w+)Flags, ", code)
        kind = "Str" if "String(" in code else number.group(1)
        slot = int(offset) // 2 - 2
        default = re.search(r"\n        return ([^\n]*)$", code).group(1)
        default = default.lower() if kind == "Bool" else default
        found[getter] = (slot, KINDS[("Vec " if is_list else "") + kind].format(default))
    return [(snake(getter), slot, kind) for getter, (slot, kind) in found.items()]


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def names(of):
    return sorted((value, key) for key, value in vars(of).items() if not key.startswith("_"))


def union(text, of):
    rows = []
    for number, name in names(of):
        if name == "NONE":
            rows.append("    (\"\", &[]),")
            continue
        body = ", ".join(f'field("{n}", {slot}, {kind})' for n, slot, kind in fields(text, name))
        rows.append(f'    ("{name}", &[{body}]),')
    assert [number for number, _ in names(of)] == list(range(len(rows)))
    return "\n".join(rows)


def main():
    text = pathlib.Path(schema.__file__).read_text()
    operators = names(schema.BuiltinOperator)
    assert [number for number, _ in operators] == list(range(len(operators)))
    out = [HEAD, "/// The operators by their numbers.", "pub const OPERATORS: &[&str] = &["]
    out += [f'    "{name}",' for _, name in operators]
    out += ["];", ""]
    for const, of in (("OPTIONS", schema.BuiltinOptions), ("OPTIONS_2", schema.BuiltinOptions2)):
        doc = "The tables of options by their numbers in the union" + (" that was added later." if "2" in const else ".")
        out += [f"/// {doc}", f"pub(super) const {const}: &[(&str, &[Field])] = &[", union(text, of), "];", ""]
    root = pathlib.Path(__file__).parents[2]
    (root / "crates/format/src/tflite/schema.rs").write_text("\n".join(out[:-1]) + "\n")


if __name__ == "__main__":
    main()
