#!/usr/bin/env python3
"""Decodes random pictures, whole and damaged, with TensorFlow and with this project, and tells where they differ.

    cargo build -p tightfit-data --example decode
    python tests/golden/compare_images.py png bmp gif jpeg --pictures 3000 --seed 1

A picture that both decode has to be the same (JPEGs those of `decode_jpeg` with `INTEGER_ACCURATE`), and what TensorFlow
refuses has to be refused. What only TensorFlow decodes is counted by the message here. Pictures that differ are written
to `--out`.
"""

import argparse
import collections
import os
import struct
import subprocess
import zlib
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

import jpegs  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
DTYPES = ["uint8", "uint16", "float32"]


class Decoder:
    """`crates/data/examples/decode.rs`, which says how it is asked."""

    def __init__(self, binary):
        self.process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, content, channels, dtype, frames):
        head = bytes([channels, DTYPES.index(dtype), frames]) + struct.pack("<I", len(content))
        self.process.stdin.write(head + content)
        self.process.stdin.flush()
        read = self.process.stdout.read
        if read(1) == b"\1":
            shape = struct.unpack("<4I", read(16))
            shape = shape if frames else shape[1:]
            return np.frombuffer(read(int(np.prod(shape)) * np.dtype(dtype).itemsize), dtype).reshape(shape)
        return read(struct.unpack("<I", read(4))[0]).decode()


def tensorflow(kind, content, channels, dtype, frames):
    if kind == "jpeg" and dtype == "uint8":
        return tf.io.decode_jpeg(content, channels, dct_method="INTEGER_ACCURATE").numpy()
    return tf.io.decode_image(content, channels, getattr(tf, dtype), expand_animations=bool(frames)).numpy()


def pixels(rng, shape, top=255):
    """Noise, flat parts and slopes, up to `top`."""
    image = rng.integers(0, top + 1, shape).astype(np.int64)
    kind = rng.random()
    if kind < 0.3:
        image[:] = image[:1, :1].copy()
    elif kind < 0.6:
        image = (image // 16 + np.arange(shape[1])[None, :, None] * (top // 256 + 1)) % (top + 1)
    return image


def side(rng):
    return int(rng.choice([1, 2, 3, 7, 8, 9, int(rng.integers(1, 70))]))


# PNG


def chunk(kind, data, rng=None):
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def packed(line, bits):
    """Samples of one line as bytes."""
    if bits == 16:
        return line.astype(">u2").tobytes()
    if bits == 8:
        return line.astype(np.uint8).tobytes()
    text = "".join(f"{int(v):0{bits}b}" for v in line)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def filtered(rng, lines, step):
    out, above = b"", None
    for line in lines:
        line = np.frombuffer(line, np.uint8).astype(np.int64)
        up = np.zeros_like(line) if above is None else above
        left = np.concatenate([np.zeros(step, np.int64), line])[: len(line)]
        corner = np.concatenate([np.zeros(step, np.int64), up])[: len(line)]
        kind = int(rng.integers(5))
        guess = left + up - corner
        a, b, c = abs(guess - left), abs(guess - up), abs(guess - corner)
        paeth = np.where((a <= b) & (a <= c), left, np.where(b <= c, up, corner))
        by = [0, left, up, (left + up) // 2, paeth][kind]
        out += bytes([kind]) + ((line - by) % 256).astype(np.uint8).tobytes()
        above = line
    return out


def png(rng):
    colour = int(rng.choice([0, 2, 3, 4, 6]))
    bits = int(rng.choice({0: [1, 2, 4, 8, 16], 3: [1, 2, 4, 8]}.get(colour, [8, 16])))
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    height, width = side(rng), side(rng)
    image = pixels(rng, (height, width, channels), 65535 if bits == 16 else 255)
    entries = 0
    if colour == 3:
        entries = int(rng.integers(1, 2**bits + 1))
        image = image % (entries if rng.random() < 0.9 else 2**bits)
    elif bits < 8:
        image = image % 2**bits
    interlaced = int(rng.random() < 0.3)
    step = max(1, channels * bits // 8)
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
        parts = [image[y::dy, x::dx] for y, x, dy, dx in passes]
    else:
        parts = [image]
    raw = b""
    for part in parts:
        if part.size:
            raw += filtered(rng, [packed(line.reshape(-1), bits) for line in part], step)
    data = zlib.compress(raw, int(rng.integers(0, 10)))
    out = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))
    extras = []
    if rng.random() < 0.3:
        extras.append(chunk(b"gAMA", struct.pack(">I", int(rng.choice([45455, 100000, 60000, 22000, 96000, 95100, 0])))))
    if rng.random() < 0.2:
        extras.append(chunk(b"sRGB", bytes([int(rng.integers(0, 5))])))
    if rng.random() < 0.1:
        extras.append(chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)))
    if rng.random() < 0.1:
        extras.append(chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(rng.integers(0, 256, 200).tolist()))))
    if rng.random() < 0.1:
        extras.append(chunk(b"sBIT", bytes([min(bits, 5)] * {3: 3}.get(colour, channels))))
    if rng.random() < 0.2:
        extras.append(chunk(b"tEXt", b"Title\0" + b"x" * int(rng.choice([1, 100, 90_000]))))
    if rng.random() < 0.1:
        extras.append(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"y" * 200_000)))
    rng.shuffle(extras)
    out += b"".join(extras)
    if colour == 3 or colour in (2, 6) and rng.random() < 0.1:
        out += chunk(b"PLTE", bytes(rng.integers(0, 256, 3 * max(entries, 1)).tolist()))
    if rng.random() < 0.3:
        if colour == 3:
            out += chunk(b"tRNS", bytes(rng.integers(0, 256, int(rng.integers(1, entries + 1))).tolist()))
        elif colour in (0, 2):
            key = image[rng.integers(height), rng.integers(width)]
            out += chunk(b"tRNS", struct.pack(f">{channels}H", *key.tolist()))
    if rng.random() < 0.1 and colour in (0, 2):
        out += chunk(b"bKGD", struct.pack(f">{channels}H", *[1] * channels))
    cut = int(rng.integers(1, len(data) + 1)) if rng.random() < 0.3 else len(data)
    out += chunk(b"IDAT", data[:cut])
    if data[cut:]:
        out += chunk(b"IDAT", data[cut:])
    if rng.random() < 0.1:
        out += chunk(b"tEXt", b"Title\0" + b"x" * 50)
    return b"\x89PNG\r\n\x1a\n" + out + chunk(b"IEND", b"")


# BMP


def bmp(rng):
    bits = int(rng.choice([1, 4, 8, 8, 16, 24, 24, 24, 32, 32]))
    height, width = side(rng), side(rng)
    dib = int(rng.choice([12, 40, 40, 40, 52, 56, 64, 108, 124]))
    line_bytes = (width * bits + 31) // 32 * 4
    data = bytes(rng.integers(0, 256, line_bytes * height).tolist())
    compression = int(rng.choice([0, 0, 0, 0, 3])) if rng.random() < 0.9 else int(rng.choice([1, 2, 4, 5, 6]))
    used = int(rng.choice([0, 0, 1 << min(bits, 8), 3])) if bits <= 8 else 0
    signed = -height if rng.random() < 0.3 else height
    if dib == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", 40, width, signed, 1, bits, compression, len(data), 2835, 2835, used, 0)
        info = struct.pack("<I", dib) + info[4:]
        masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000) if bits == 32 else (0xF800, 0x7E0, 0x1F, 0)
        if rng.random() < 0.2:
            masks = (0xFF, 0xFF00, 0xFF0000, 0xFF000000)
        if dib > 40:
            info += (struct.pack("<4I", *masks) + bytes(200))[: dib - 40]
        elif compression == 3:
            info += struct.pack("<3I", *masks[:3])
    palette = b""
    if bits <= 8:
        palette = bytes(rng.integers(0, 256, (3 if dib == 12 else 4) * (used or 1 << bits)).tolist())
    gap = bytes(int(rng.choice([0, 0, 0, 2, 7])))
    start = 14 + len(info) + len(palette) + len(gap)
    if rng.random() < 0.05:
        start = int(rng.choice([0, 14, 54, 10_000, 2**31, 2**32 - 1]))
    if rng.random() < 0.1:
        data = data[: len(data) - int(rng.integers(0, 6))]
    elif rng.random() < 0.1:
        data += bytes(5)
    return struct.pack("<2sIHHI", b"BM", 14 + len(info), 0, 0, start) + info + palette + gap + data


# GIF


def lzw(indices, bits):
    """Codes of growing size, cleared when the table is full."""
    clear, end = 1 << bits, (1 << bits) + 1
    out, window, count = bytearray(), 0, 0

    def put(code, size):
        nonlocal window, count
        window |= code << count
        count += size
        while count >= 8:
            out.append(window & 255)
            window >>= 8
            count -= 8

    table, size = {}, bits + 1
    put(clear, size)
    string = ()
    for index in indices:
        longer = string + (index,)
        if len(longer) == 1 or longer in table:
            string = longer
            continue
        put(table[string] if len(string) > 1 else string[0], size)
        if len(table) + end + 1 < 4096:
            table[longer] = len(table) + end + 1
            if len(table) + end >= 1 << size and size < 12:
                size += 1
        else:
            put(clear, size)
            table, size = {}, bits + 1
        string = (index,)
    if string:
        put(table[string] if len(string) > 1 else string[0], size)
    put(end, size)
    put(0, 8)
    return bytes(out)


def blocks(data):
    return b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255)) + b"\0"


def gif(rng):
    screen = [side(rng), side(rng)]
    depth = int(rng.integers(1, 9))
    has_global = rng.random() < 0.9
    out = bytes(rng.choice([b"GIF87a", b"GIF89a"])) + struct.pack("<HH", *screen)
    out += bytes([(0x80 if has_global else 0) | 0x70 | depth - 1, int(rng.integers(2**depth)), 0])
    if has_global:
        out += bytes(rng.integers(0, 256, 3 << depth).tolist())
    for _ in range(int(rng.choice([1, 1, 1, 2, 3, 4]))):
        if rng.random() < 0.3:
            out += b"!\xfe" + blocks(b"a comment" * int(rng.integers(1, 60)))
        if rng.random() < 0.5:
            flags = int(rng.integers(0, 2)) | int(rng.integers(0, 4)) << 2
            out += b"!\xf9\x04" + struct.pack("<BHB", flags, 5, int(rng.integers(2**depth))) + b"\0"
        if rng.random() < 0.1:
            out += b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
        height, width = (screen[1], screen[0]) if rng.random() < 0.5 else (side(rng), side(rng))
        left, top = (0, 0) if rng.random() < 0.6 else (int(rng.integers(0, 20)), int(rng.integers(0, 20)))
        local = rng.random() < 0.3
        own = int(rng.integers(1, 9)) if local else depth
        # Every so often an index that the palette does not have.
        most = 2**own if rng.random() < 0.95 else min(256, 2 ** (own + 1))
        indices = pixels(rng, (height, width, 1))[..., 0] % most
        interlaced = rng.random() < 0.3
        if interlaced:
            order = [*range(0, height, 8), *range(4, height, 8), *range(2, height, 4), *range(1, height, 2)]
            indices = indices[order]
        flags = (0x80 | own - 1 if local else 0) | (0x40 if interlaced else 0)
        out += b"," + struct.pack("<HHHHB", left, top, width, height, flags)
        if local:
            out += bytes(rng.integers(0, 256, 3 << own).tolist())
        bits = max(2, int(most - 1).bit_length())
        out += bytes([bits]) + blocks(lzw(indices.reshape(-1).tolist(), bits))
    return out + (b";" if rng.random() < 0.95 else b"")


def jpeg(rng):
    if rng.random() < 0.5:
        return jpegs.random_jpeg(rng, 90)
    shape = (side(rng), side(rng), int(rng.choice([1, 3])))
    kind = "grayscale" if shape[2] == 1 else "rgb"
    return tf.io.encode_jpeg(
        pixels(rng, shape).astype(np.uint8), kind, int(rng.integers(20, 100)), bool(rng.random() < 0.4), bool(rng.random() < 0.5),
        bool(rng.random() < 0.7)).numpy()  # fmt: skip


MADE = {"png": png, "bmp": bmp, "gif": gif, "jpeg": jpeg}


def damaged(rng, content):
    """Some bytes changed, anywhere or in the head; PNGs keep their sums, so that something is left to be read."""
    if not content.startswith(b"\x89PNG"):
        if rng.random() < 0.4:
            content = bytearray(content)
            content[int(rng.integers(2, min(len(content), 60)))] = int(rng.choice([0, 1, 2, 127, 128, 255, 7]))
            return bytes(content)
        return jpegs.damaged(rng, content)
    if rng.random() < 0.2:
        return jpegs.damaged(rng, content)
    at, chunks = 8, []
    while at + 12 <= len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        chunks.append([content[at + 4 : at + 8], bytearray(content[at + 8 : at + 8 + size])])
        at += 12 + size
    which = int(rng.integers(len(chunks)))
    what = rng.random()
    if what < 0.2:
        del chunks[which]
    elif what < 0.4:
        chunks.insert(int(rng.integers(len(chunks) + 1)), chunks[which])
    elif what < 0.5 and chunks[which][1]:
        del chunks[which][1][int(rng.integers(len(chunks[which][1]))) :]
    elif chunks[which][1]:
        chunks[which][1][int(rng.integers(min(len(chunks[which][1]), 40)))] = int(rng.integers(256))
    return content[:8] + b"".join(chunk(kind, bytes(data)) for kind, data in chunks)


def compare(kind, rng, decoder, out, name, tally):
    content = MADE[kind](rng)
    if is_damaged := rng.random() < 0.4:
        content = damaged(rng, content)
    channels = int(rng.choice([0, 0, 1, 3, 4]))
    # TensorFlow ends the process on a BMP from the top that is to be anything but uint8.
    is_from_top = kind == "bmp" and content[25:26] >= b"\x80"
    dtype = "uint8" if kind == "jpeg" or is_from_top else str(rng.choice(["uint8", "uint8", "uint16", "float32"]))
    frames = int(kind == "gif" and rng.random() < 0.5)
    if not {"png": b"\x89PNG\r\n\x1a\n", "bmp": b"BM", "gif": b"GIF8", "jpeg": b"\xff\xd8\xff"}[kind] == content[: {
        "png": 8, "bmp": 2, "gif": 4, "jpeg": 3}[kind]]:  # fmt: skip
        return
    try:
        expected = tensorflow(kind, content, channels, dtype, frames)
    except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError, tf.errors.InternalError) as error:
        expected = str(error)
    found = decoder(content, channels, dtype, frames)
    whole = "damaged" if is_damaged else "whole"
    if isinstance(expected, str):
        outcome = "refused by both" if isinstance(found, str) else "ACCEPTED here only"
    elif isinstance(found, str):
        outcome = f"refused here only: {found[:90]}"
    else:
        same = expected.shape == found.shape and np.array_equal(expected, found, equal_nan=dtype == "float32")
        outcome = "same" if same else "DIFFERENT"
    tally[kind, whole, outcome] += 1
    if outcome.isupper() or outcome.startswith(("ACCEPTED", "refused here")):
        (out / f"{name}.{kind}").write_bytes(content)
        shapes = [x[:100] if isinstance(x, str) else x.shape for x in (expected, found)]
        with open(out / "found.txt", "a") as file:
            print(name, kind, whole, outcome, channels, dtype, frames, *shapes, file=file)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kinds", nargs="+", choices=MADE)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bin", default=str(ROOT / "target/debug/examples/decode"))
    parser.add_argument("--out", type=Path, default=Path("/tmp/compare_images"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    decoder, tally = Decoder(options.bin), collections.Counter()
    for kind in options.kinds:
        for number in range(options.pictures):
            rng = np.random.default_rng([options.seed, number])
            compare(kind, rng, decoder, options.out, f"{options.seed}_{number}", tally)
    for (kind, whole, outcome), count in sorted(tally.items()):
        print(f"{kind:5} {whole:8} {count:6}  {outcome}")
    bad = sum(count for (_, _, outcome), count in tally.items() if outcome.startswith(("ACC", "DIFF")))
    print(f"{bad} of {sum(tally.values())} wrong")
    raise SystemExit(bad > 0)


if __name__ == "__main__":
    main()
