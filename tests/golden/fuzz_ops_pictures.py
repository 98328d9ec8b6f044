"""Random nodes that decode pictures, for `fuzz.py`: files as Pillow writes them, and damaged ones."""

import io

import numpy as np
from PIL import Image

import jpegs
from fuzz_ops import maker

MODES = {"png": ["L", "LA", "RGB", "RGBA", "P", "1", "I;16"], "jpeg": ["L", "RGB", "RGB", "CMYK"], "bmp": ["L", "RGB", "RGBA", "1", "P"],
         "gif": ["P", "L", "RGB"]}


def pixels(g, mode, height, width):
    smooth = g.chance(0.5)
    depth = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4, "P": 1, "1": 1, "I;16": 1}[mode]
    if mode == "I;16":
        return Image.fromarray(g.rng.integers(0, 65535, [height, width]).astype("uint16"))
    value = g.rng.integers(0, 255, [height, width, depth], endpoint=True)
    if smooth:
        value = (np.arange(height)[:, None, None] * 9 + np.arange(width)[None, :, None] * 5 + np.arange(depth) * 40 + value // 32) % 256
    value = value.astype("uint8")
    if mode in ("P", "1"):
        return Image.fromarray(value[..., 0], "L").convert(mode)
    return Image.fromarray(value[..., 0] if depth == 1 else value, mode)


def file(g, form):
    if form == "jpeg" and g.chance(0.3):  # as no encoder writes them
        data = jpegs.random_jpeg(g.rng, 70)
        return data, Image.open(io.BytesIO(data)).size[::-1]
    mode, size = g.pick(MODES[form]), (g.int(1, 20), g.int(1, 20))
    image, data = pixels(g, mode, *size), io.BytesIO()
    more = {}
    if form == "jpeg":
        more = {"quality": g.pick([10, 50, 75, 95, 100]), "progressive": g.chance(0.3), "optimize": g.chance(0.3)}
        if mode == "RGB":
            more["subsampling"] = g.pick([0, 1, 2])
    elif form == "gif" and g.chance(0.4):
        more = {"save_all": True, "append_images": [pixels(g, mode, *size) for _ in range(g.int(1, 2))], "duration": 100}
    elif form == "png":
        more = {"compress_level": g.pick([0, 6])}
    image.save(data, form.upper(), **more)
    data = data.getvalue()
    if g.wild and g.chance(0.3):
        data = data[:g.int(0, len(data))]
    return data, size


def held(g, data):
    return g.feed(np.array(data, dtype=object), "string", derive=False)


FORMS = {"DecodeJpeg": "jpeg", "DecodeAndCropJpeg": "jpeg", "DecodePng": "png", "DecodeGif": "gif", "DecodeBmp": "bmp", "ExtractJpegShape": "jpeg"}


@maker("DecodeImage", *FORMS)
def decode(g, name):
    form = FORMS.get(name) or g.pick(list(MODES))
    if name in ("DecodeJpeg", "DecodePng", "DecodeGif") and g.chance(0.15):  # which take one another's files
        form = g.pick(["jpeg", "png", "gif", "bmp"])
    data, (height, width) = file(g, form)
    contents = held(g, data)
    channels = g.pick([0, 0, 1, 3, 3, 4])
    if name == "ExtractJpegShape":
        return g.call(name, contents, output_type=g.pick(["int32", "int64"]))
    if name == "DecodeGif":
        return g.call(name, contents)
    if name == "DecodeBmp":
        return g.call(name, contents, channels=channels)
    if name == "DecodePng":
        return g.call(name, contents, channels=channels, dtype=g.pick(["uint8", "uint8", "uint16"]))
    if name == "DecodeImage":
        return g.call(name, contents, channels=channels, dtype=g.pick(["uint8", "uint8", "uint16", "float32"]), expand_animations=g.chance(0.6))
    more = dict(channels=g.pick([0, 1, 3]), ratio=g.pick([1, 1, 1, 2, 4, 8]), fancy_upscaling=g.chance(0.7),
                dct_method=g.pick(["", "INTEGER_ACCURATE", "INTEGER_ACCURATE", "INTEGER_FAST"]))
    if name == "DecodeAndCropJpeg":
        top, left = g.int(0, height - 1), g.int(0, width - 1)
        window = [top, left, g.int(1, height - top), g.int(1, width - left)]
        return g.call(name, contents, g.ints(window, "int32"), **more)
    return g.call(name, contents, **more)
