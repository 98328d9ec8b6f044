#!/usr/bin/env python3
"""Compares what TightFit plans with what the system sees, for every model of some folders.

    python bench/planned.py [--rounds N] [--seconds S] [--threads N,...] [--show N] [--bin PATH] FOLDER...

Looks for `model.pb`, `*.tflite` and folders with `saved_model.pb`. Each runs by `bench` on random input, N times for each
number of threads; where one has references in check.py's format (`REF/manifest.json`), each of them is also fed to `run`.
The peak resident memory of the whole process (ru_maxrss) has to be at most its plan. Prints the models that came nearest to theirs; exit
status 1 when one was passed. What does not run on random input of one row is counted and left out.
"""

import argparse
import json
import pathlib
import sys
import tempfile

from peers import spawn

ROOT = pathlib.Path(__file__).resolve().parents[1]


def models(folder):
    """Model files and SavedModel folders, the latter by their folder."""
    found = {path for pattern in ("model.pb", "*.tflite") for path in folder.rglob(pattern)}
    found |= {path.parent for path in folder.rglob("saved_model.pb")}
    return sorted(found)


def references(model):
    """The manifests of the references beside a model."""
    folder = model if model.is_dir() else model.parent
    return sorted(folder.glob("*/manifest.json"))


def left_by_bench(binary, model, threads, seconds):
    """Planned bytes less peak bytes of one benchmark, or `None` where the model does not run so."""
    command = [binary, "bench", model, "--json", "--threads", str(threads), "--seconds", str(seconds)]
    code, stdout, _, peak_bytes = spawn(command)
    return json.loads(stdout)["planned_bytes"] - peak_bytes if code == 0 else None


def left_by_run(binary, model, manifest, work):
    """The same of one run on the inputs of a reference, which are arrays in files."""
    entries = json.loads(manifest.read_text())["in"]
    if not all("file" in entry and entry.get("name") for entry in entries):
        return None
    command = [binary, "run", model, "--quiet", "--output", work / "out.npz", "--report", work / "report.json"]
    for entry in entries:
        command += ["--input", f"{entry['name'].removesuffix(':0')}={manifest.parent / entry['file']}"]
    code, _, _, peak_bytes = spawn(command)
    if code != 0:
        return None
    return json.loads((work / "report.json").read_text())["planned_bytes"]["total"] - peak_bytes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    parser.add_argument("--bin", default=ROOT / "target/release/tightfit", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--show", type=int, default=12)
    options = parser.parse_args()
    left, without = [], 0
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        for model in (model for folder in options.folders for model in models(folder)):
            measured = [
                (left_by_bench(options.bin, model, threads, options.seconds), f"bench, {threads} threads", model)
                for threads in options.threads.split(",")
                for _ in range(options.rounds)
            ]
            measured += [(left_by_run(options.bin, model, ref, work), "run", model) for ref in references(model)]
            left += [entry for entry in measured if entry[0] is not None]
            without += sum(entry[0] is None for entry in measured)
    left.sort(key=lambda entry: entry[0])
    print("| KiB below the plan | command | model |\n|---:|---|---|")
    for bytes_left, command, model in left[: options.show]:
        print(f"| {bytes_left / 1024:,.0f} | {command} | {model} |")
    above = sum(bytes_left < 0 for bytes_left, _, _ in left)
    print(f"\n{len(left)} processes, {above} above their plan; {without} commands did not run")
    sys.exit(1 if above or not left else 0)


if __name__ == "__main__":
    main()
