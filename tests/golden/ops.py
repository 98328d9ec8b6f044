#!/usr/bin/env python3
"""Writes the golden operators: small graphs of single operators, with TensorFlow's answers.

    python tests/golden/ops.py [--only TEXT]

Each case covers one family where TensorFlow's rules are easy to get subtly wrong. The values go in through
placeholders, so that constant folding does not hide the kernels. A case is `ops/NAME/model.pb` with `ref_tf/`
beside it, in the manifest format of `bench/oracle.py`. bfloat16 has no .npy type: such values come and go as float32
with a Cast inside the graph.
"""

import argparse
import zlib

from op_cases import CASES, HERE, Graph
import op_growth  # noqa: F401  registers its cases
import op_layers  # noqa: F401
import op_strings  # noqa: F401
import op_values  # noqa: F401
import oracle


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name contains this text")
    options = parser.parse_args()
    for name, (build, rtol, atol) in CASES.items():
        if options.only not in name:
            continue
        graph = Graph(zlib.crc32(name.encode()))
        graph_def, _ = oracle.graph_of(lambda: build(graph))
        graph_def = oracle.prune(graph_def, graph.outputs)
        oracle.write_case(HERE / "ops" / name, graph_def, graph.feeds, graph.outputs, rtol, atol)
        print(f"{name}: {len(graph_def.node)} nodes, {len(graph.outputs)} outputs")


if __name__ == "__main__":
    main()
