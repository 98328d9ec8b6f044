"""Random nodes of volumes and of pictures, for `fuzz.py`."""

import numpy as np

from fuzz_ops import maker


def volume(g, least=1):
    return [g.int(1, 2), g.int(least, 5), g.int(least, 6), g.int(least, 6), g.pick([1, 1, 2, 3, 4, 8, 17])]


def moves(g, least=1, most=3):
    return [1, g.int(least, most), g.int(least, most), g.int(least, most), 1]


def picture(g, channels=None, least=1):
    return [g.int(1, 2), g.int(least, 8), g.int(least, 8), channels or g.pick([1, 2, 3, 4])]


@maker("Conv3D")
def conv3d(g, name):
    dtype, shape = g.dtype(name), volume(g)
    kernel = [g.int(1, 3), g.int(1, 3), g.int(1, 3), shape[4], g.pick([1, 2, 5, 16, 33])]
    x, f = g.input(dtype, shape, huge=False), g.input(dtype, kernel, huge=False)
    return g.call(name, x, f, strides=moves(g), padding=g.pick(["SAME", "VALID"]))


@maker("Conv3DBackpropInputV2", "Conv3DBackpropInput")
def conv3d_transposed(g, name):
    dtype, shape, strides = g.dtype(name), volume(g), moves(g)
    taps = [g.int(1, 3) for _ in range(3)]
    padding = g.pick(["SAME", "VALID"])
    made = [-(-n // s) if padding == "SAME" else -(-(n - k + 1) // s) for n, k, s in zip(shape[1:4], taps, strides[1:4])]
    if min(made) < 1:
        return None
    out = g.pick([1, 2, 5])
    sizes = g.constant(shape, g.pick(["int32", "int64"])) if name.endswith("V2") else g.input(dtype, shape, huge=False)
    f = g.input(dtype, [*taps, shape[4], out], huge=False)
    return g.call(name, sizes, f, g.input(dtype, [shape[0], *made, out], huge=False), strides=strides, padding=padding)


@maker("MaxPool3D", "AvgPool3D")
def pool3d(g, name):
    x = g.input(g.dtype(name), volume(g), huge=False)
    return g.call(name, x, ksize=moves(g), strides=moves(g), padding=g.pick(["SAME", "VALID"]))


@maker("Dilation2D")
def dilation(g, name):
    dtype, shape = g.dtype(name), picture(g)
    two = lambda: [1, g.int(1, 3), g.int(1, 3), 1]
    f = g.input(dtype, [g.int(1, 3), g.int(1, 3), shape[3]], 0, 9, huge=False)
    return g.call(name, g.input(dtype, shape, 0, 50, huge=False), f, strides=two(), rates=two(), padding=g.pick(["SAME", "VALID"]))


@maker("RGBToHSV", "HSVToRGB")
def hsv(g, name):
    return g.call(name, g.input(g.dtype(name), [*g.shape(0, 4), 3], 0, 1, huge=False))


@maker("AdjustHue", "AdjustSaturation", "AdjustContrastv2")
def adjust(g, name):
    shape = [*g.shape(0, 2), g.int(1, 5), g.int(1, 5), 3]
    x = g.input("float32", shape, 0, 1, huge=False)
    return g.call(name, x, g.input("float32", [], -2, 3, huge=False))


@maker("AdjustContrast")
def adjust_with_limits(g, name):
    """Deprecated in favour of AdjustContrastv2."""
    shape = [*g.shape(0, 2), g.int(1, 5), g.int(1, 5), g.pick([1, 3])]
    single = lambda low, high: g.input("float32", [], low, high, special=0)
    return g.call(name, g.input(g.dtype(name), shape, 0, 9, special=0, huge=False), single(-2, 3), single(0, 2), single(3, 9))


@maker("ImageProjectiveTransformV2", "ImageProjectiveTransformV3")
def projective(g, name):
    shape = picture(g)
    transforms = g.input("float32", [g.pick([1, shape[0]]), 8], -2, 2, huge=False)
    inputs = [g.input(g.dtype(name), shape, 0, 50, huge=False), transforms, g.constant(np.array([g.int(1, 8), g.int(1, 8)], "int32"), "int32")]
    if name.endswith("V3"):
        inputs.append(g.input("float32", [], 0, 5, huge=False))
    modes = ["CONSTANT", "REFLECT", "WRAP", "NEAREST"]
    return g.call(name, *inputs, interpolation=g.pick(["NEAREST", "BILINEAR"]), fill_mode=g.pick(modes))


@maker("ScaleAndTranslate")
def scale_and_translate(g, name):
    kernels = "lanczos1 lanczos3 lanczos5 gaussian box triangle keyscubic mitchellcubic".split()
    size = g.constant([g.int(1, 10), g.int(1, 10)], "int32")
    scale, shift = g.input("float32", [2], 0.2, 3, huge=False), g.input("float32", [2], -3, 3, huge=False)
    x = g.input(g.dtype(name), picture(g), 0, 50, huge=False)
    return g.call(name, x, size, scale, shift, kernel_type=g.pick(kernels), antialias=g.chance(0.5))


@maker("ExtractVolumePatches")
def volume_patches(g, name):
    x = g.input(g.dtype(name), volume(g))
    return g.call(name, x, ksizes=moves(g), strides=moves(g), padding=g.pick(["SAME", "VALID"]))
