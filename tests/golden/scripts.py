#!/usr/bin/env python3
"""Writes `crates/graph/src/ops/string/scripts.rs`: the script of each character, as TensorFlow's UnicodeScript says.

    python tests/golden/scripts.py
"""

import os
import pathlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEAD = '''//! Written by tests/golden/scripts.py from what TensorFlow's UnicodeScript says.

/// The characters that begin a run of one script, in order, each times 256, with the script's number in ICU.
#[rustfmt::skip]
pub(super) const RUNS: &[u32] = &[
'''


def main():
    scripts = tf.raw_ops.UnicodeScript(input=np.arange(0x110000, dtype=np.int32)).numpy()
    starts = [0, *(np.flatnonzero(np.diff(scripts)) + 1)]
    runs = [f"0x{(int(start) << 8) | int(scripts[start]):x}" for start in starts]
    lines, line = [], "   "
    for run in runs:
        if len(line) + len(run) > 112:
            lines.append(line)
            line = "   "
        line += f" {run},"
    text = HEAD + "\n".join([*lines, line]) + "\n];\n"
    (ROOT / "crates/graph/src/ops/string/scripts.rs").write_text(text)


if __name__ == "__main__":
    main()
