"""Random nodes that make files of pixels, for `fuzz.py`."""

import numpy as np

from fuzz_ops import maker


def pixels(g, shape, dtype="uint8"):
    y, x, c = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    smooth = 127 + 90 * np.sin(x / g.int(2, 9) + c) * np.cos(y / g.int(2, 9))
    noise = g.rng.uniform(-1, 1, shape) * g.pick([0, 5, 60, 200])
    value = np.clip(smooth + noise, 0, 255) * (257 if dtype == "uint16" else 1)
    return g.feed(value.astype(dtype), dtype)


@maker("EncodeJpeg", "EncodeJpegVariableQuality")
def encode_jpeg(g, name):
    shape = [g.int(1, 50), g.int(1, 50), g.pick([1, 3, 3])]
    if name != "EncodeJpeg":
        return g.call(name, pixels(g, shape), g.ints(g.int(0, 100), "int32"))
    return g.call(name, pixels(g, shape), format=g.pick(["", "", "rgb" if shape[2] == 3 else "grayscale"]), quality=g.int(0, 100),
                  progressive=g.chance(0.4), optimize_size=g.chance(0.4), chroma_downsampling=g.chance(0.6),
                  density_unit=g.pick(["in", "cm"]), x_density=g.int(1, 600), xmp_metadata=g.pick(["", "", "<x:xmpmeta/>"]))


@maker("EncodePng")
def encode_png(g, name):
    dtype = g.pick(["uint8", "uint16"])
    file = g.call(name, pixels(g, [g.int(1, 20), g.int(1, 20), g.int(1, 4)], dtype), compression=g.int(-1, 9))[0]
    # The files differ; the pixels do not.
    return g.call("DecodePng", file, dtype=dtype)
