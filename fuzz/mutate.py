#!/usr/bin/env python3
"""Damaged models through `tightfit inspect` and `tightfit plan`, as a user would hand them over.

    python fuzz/mutate.py [--bin PATH] [--count N] [--seed N] [--memory MIB] [--keep DIR] [FOLDER ...]

The small models under FOLDERs (this repository's tests/golden and examples if none is named) are damaged one at a time, in
ways that a number from `--seed` on decides: GraphDefs, SavedModels, MetaGraphs, indexes of checkpoints, .tflite, text
graphs and TensorFlow.js models. Half of the messages of protobuf are taken apart and put together again, so that what is
odd about them is a name, a number, a field that is twice there or not at all, and not a length; the rest have bytes
changed, cut, doubled and taken out. Each is opened twice, in processes of their own, with so much memory.

A model is wrong where a process panics, says that something is a defect, is ended by a signal, runs for more than a
minute, leaves with an exit code that is none of the documented ones, or has more resident than it was given. It is kept in
DIR, and the exit status is 1.
"""

import argparse
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading

MIB = 2**20
LARGEST_SEED = 128 << 10
SECONDS = 60
# Success, a wrong model, a wrong call, and what does not fit.
CODES = (0, 1, 2, 3)
NUMBERS = (0, 1, 2, 3, 7, 127, 128, 255, 256, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40,
           (1 << 62) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 2)
ODD = (b"\xff" * 8, b"\xff" * 9 + b"\x01", b"\x00" * 7 + b"\x80", b"\x80" * 12, b"\x3b\x3c", b"")
TEXTS = (b"", b"^", b":", b":0", b"a:-1", b"a:99999999999999999999", b"/", b"..", b"\xff\xfe", b"Const", b"Merge", b"While",
         b"PartitionedCall", b"Enter", b"NextIteration", b"Switch", b"Placeholder", b"value", b"T", b"dtype", b"x" * 5000)


# ---- damage ------------------------------------------------------------------------------------------------------


def varint(value):
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def read_varint(data, at):
    value = shift = 0
    while at < len(data) and shift < 70:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value & (1 << 64) - 1, at
    return None, at


def fields(data):
    """[[number, kind, value]] of a message, or None if it is none."""
    at, found = 0, []
    while at < len(data):
        tag, at = read_varint(data, at)
        if tag is None or not 0 < tag >> 3 < 1 << 12:
            return None
        kind = tag & 7
        if kind == 0:
            value, at = read_varint(data, at)
        elif kind in (1, 5):
            width = 8 if kind == 1 else 4
            value, at = data[at : at + width], at + width
        elif kind == 2:
            length, at = read_varint(data, at)
            value, at = (None, at) if length is None else (data[at : at + length], at + length)
        else:
            return None
        if value is None or at > len(data):
            return None
        found.append([tag >> 3, kind, value])
    return found


def joined(found):
    parts = []
    for number, kind, value in found:
        parts.append(varint(number << 3 | kind))
        if kind == 2:
            parts.append(varint(len(value)))
        parts.append(varint(value) if kind == 0 else value)
    return b"".join(parts)


def damaged_message(rng, data):
    """The message with one field, somewhere in it, that is another one."""
    found = fields(data)
    if not found:
        return damaged_bytes(rng, data)
    place = rng.randrange(len(found))
    number, kind, value = found[place]
    what = rng.random()
    if kind == 2 and len(value) > 1 and what < 0.8 and fields(value):
        found[place][2] = damaged_message(rng, value)
    elif what < 0.5 and kind == 0:
        found[place][2] = rng.choice(NUMBERS)
    elif what < 0.5 and kind == 2:
        others = [other[2] for other in found if other[1] == 2]
        found[place][2] = rng.choice([rng.choice(TEXTS), rng.choice(others), damaged_bytes(rng, value), value[: len(value) // 2]])
    elif what < 0.6:
        found.insert(place, [number, kind, value])
    elif what < 0.7:
        del found[place]
    elif what < 0.8:
        other = rng.randrange(len(found))
        found[place], found[other] = found[other], found[place]
    elif what < 0.9:
        found[place][0] = rng.choice([*range(1, 16), number + 1])
    else:
        found[place] = [number, 0, rng.choice(NUMBERS)]
    return joined(found)


def damaged_bytes(rng, data):
    at = rng.randrange(len(data) + 1)
    length = rng.choice((1, 2, 4, 8, rng.randrange(1, 64)))
    how = rng.randrange(7)
    if how == 0 and at < len(data):
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if how == 1:
        return data[:at]
    if how == 2:
        return data[:at] + rng.choice(ODD) + data[at:]
    if how == 3:
        return data[:at] + data[at : at + length] + data[at:]
    if how == 4:
        return data[:at] + data[at + length :]
    if how == 5:
        width = rng.choice((1, 2, 4, 8))
        at -= at % width
        return data[:at] + (rng.choice(NUMBERS) & (1 << 8 * width) - 1).to_bytes(width, "little") + data[at + width :]
    return data[:at] + rng.randbytes(length) + data[at + length :]


def damaged_text(rng, data):
    lines = data.split(b"\n")
    place, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    how = rng.randrange(5)
    if how == 0:
        del lines[place]
    elif how == 1:
        lines.insert(other, lines[place])
    elif how == 2:
        number = str(rng.choice(NUMBERS) * rng.choice((1, -1))).encode()
        runs = [at for at, byte in enumerate(lines[place]) if 48 <= byte < 58]
        at = rng.choice(runs or [0])
        lines[place] = lines[place][:at] + number + lines[place][at + 1 :]
    elif how == 3:
        words = lines[place].split(b'"')
        words[rng.randrange(len(words))] = rng.choice(TEXTS)
        lines[place] = b'"'.join(words)
    else:
        return damaged_bytes(rng, data)
    return b"\n".join(lines)


def damaged(rng, data, suffix):
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if suffix in (".pbtxt", ".json"):
            data = damaged_text(rng, data)
        elif suffix in (".pb", ".meta") and rng.random() < 0.6:
            data = damaged_message(rng, data)
        else:
            data = damaged_bytes(rng, data)
    return data


# ---- models ------------------------------------------------------------------------------------------------------


def find_seeds(folders):
    """(the file to damage, the folder to copy beside it if it needs others, what to open) of every small model."""
    seeds = []
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.suffix not in (".pb", ".pbtxt", ".index", ".meta", ".tflite", ".json"):
                continue
            if not file.is_file() or file.stat().st_size > LARGEST_SEED or file.suffix == ".json" and file.name != "model.json":
                continue
            if file.stem == "saved_model":
                seeds.append((file, file.parent, "."))
            elif file.name == "variables.index" and (file.parents[1] / "saved_model.pb").exists():
                seeds.append((file, file.parents[1], "."))
            elif file.suffix in (".index", ".meta", ".json"):
                seeds.append((file, file.parent, file.name.removesuffix(".index")))
            else:
                seeds.append((file, None, file.name))
    return seeds


def write_model(rng, seed, folder):
    """A damaged model in `folder`, and what to open of it."""
    file, whole, opened = seed
    data = damaged(rng, file.read_bytes(), file.suffix)
    target = folder / file.relative_to(whole or file.parent)
    if whole:
        for other in whole.rglob("*"):
            copy = folder / other.relative_to(whole)
            if other.is_file() and other != file:
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.symlink_to(other.resolve())
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return folder / opened


# ---- looking -----------------------------------------------------------------------------------------------------


def fault(binary, command, model, memory):
    """What is wrong with how the command ends, or None."""
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [binary, command, model, "--memory", f"{memory}MiB"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
        )
        timer = threading.Timer(SECONDS, child.kill)
        timer.start()
        _, status, usage = os.wait4(child.pid, 0)
        timer.cancel()
        child.returncode = code = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read(1 << 16).decode(errors="replace")
    if code not in CODES:
        return code, f"{command}: exit {code}: {text[-300:]}"
    if "panicked" in text or "defect" in text:
        return code, f"{command}: {text[-300:]}"
    if code and len(text) < 10:
        return code, f"{command}: exit {code} without a reason"
    # The system counts this process too, which is smaller.
    if usage.ru_maxrss * 1024 > memory * MIB:
        return code, f"{command}: {usage.ru_maxrss / 1024:.1f} MiB resident"
    return code, None


def main():
    root = pathlib.Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--bin", type=pathlib.Path, default=root / "target/release/tightfit")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory", type=int, default=48, metavar="MIB")
    parser.add_argument("--keep", type=pathlib.Path, default=root / "fuzz/artifacts/mutate")
    options = parser.parse_args()
    seeds = find_seeds(options.folders or [root / "tests/golden", root / "examples"])
    binary = options.bin.resolve()
    codes, faults = {code: 0 for code in CODES}, 0
    print(f"{len(seeds)} models to damage", flush=True)
    for number in range(options.seed, options.seed + options.count):
        rng = random.Random(number)
        # As many of every kind as there are files, but of each kind some.
        kind = rng.choice(sorted({seed[0].suffix for seed in seeds})) if rng.random() < 0.5 else None
        seed = rng.choice([seed for seed in seeds if kind in (None, seed[0].suffix)])
        with tempfile.TemporaryDirectory() as folder:
            model = write_model(rng, seed, pathlib.Path(folder))
            for command in ("inspect", "plan"):
                code, why = fault(binary, command, model, options.memory)
                codes[code] = codes.get(code, 0) + 1
                if why:
                    faults += 1
                    print(f"{number} {seed[0]}: {why.strip()}", flush=True)
                    shutil.copytree(folder, options.keep / str(number), symlinks=True, dirs_exist_ok=True)
                    break
        if (number - options.seed + 1) % 1000 == 0:
            print(f"{number - options.seed + 1} done, {faults} wrong, exit codes {codes}", flush=True)
    print(f"{options.count} models, {faults} wrong; exit codes {codes}")
    return faults > 0


if __name__ == "__main__":
    sys.exit(main())
