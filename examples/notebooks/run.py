#!/usr/bin/env python3
"""Runs notebooks without Jupyter, and fails where a cell does: python run.py [--write] [NOTEBOOK ..]

The cells of a notebook are run one after the other in the notebook's folder, in a process of its own. What they print and
show is stored in the notebook with --write; without it the notebook stays as it is. Without names all of the folder are run.
"""

import ast
import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path


def shown(value):
    """A value as a notebook shows it."""
    data = {"text/plain": repr(value).splitlines(keepends=True)}
    if hasattr(value, "_repr_html_"):
        data["text/html"] = value._repr_html_().splitlines(keepends=True)
    return data


def run_cell(source, names):
    """Runs the lines of a cell; what it printed, and the value of an expression at its end."""
    tree = ast.parse(source)
    last = ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        value = None if last is None else eval(compile(last, "cell", "eval"), names)
    return printed.getvalue(), value


def run(path, writes):
    """Runs a notebook in this process."""
    notebook = json.loads(path.read_text())
    os.chdir(path.parent)
    sys.path.insert(0, str(path.parent))
    names = {"__name__": "__main__"}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, 1):
        source = "".join(cell["source"])
        try:
            printed, value = run_cell(source, names)
        except BaseException:
            print(f"{path.name}, cell {number}:\n{source}", file=sys.stderr)
            raise
        cell["execution_count"], cell["outputs"] = number, []
        if printed:
            text = printed.splitlines(keepends=True)
            cell["outputs"].append({"output_type": "stream", "name": "stdout", "text": text})
        if value is not None:
            result = {"output_type": "execute_result", "execution_count": number, "metadata": {}}
            cell["outputs"].append({**result, "data": shown(value)})
    if writes:
        path.write_text(json.dumps(notebook, indent=1) + "\n")


def main():
    arguments = sys.argv[1:]
    writes = "--write" in arguments
    paths = [Path(name).resolve() for name in arguments if not name.startswith("--")]
    if "--here" in arguments:
        run(paths[0], writes)
        return
    for path in paths or sorted(Path(__file__).resolve().parent.glob("*.ipynb")):
        flags = ["--here", *(["--write"] if writes else [])]
        subprocess.run([sys.executable, __file__, *flags, path], check=True)
        print(f"{path.name}: done")


if __name__ == "__main__":
    main()
