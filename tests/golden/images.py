#!/usr/bin/env python3
"""Writes the golden images: what TensorFlow's image functions make of small pictures.

    python tests/golden/images.py

`images/cases.txt` has a line for each case: its number, the name of the picture, the operation and its arguments as
`tightfit_data::image::op_by_name` takes them. `images/cases.npz` holds the pictures under their names and the results
under the numbers. `images/files.txt` and `images/files.npz` are the same for coded images: a line is the number, the
name of the file, channels and element type of `tf.io.decode_image` (`frames` instead of `image` for all frames).
"""

import io
import struct
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

import compare_images

OUT = Path(__file__).parent / "images"
HEIGHT, WIDTH = 17, 23


def pictures():
    """Waves with noise and an edge: by channels and element type."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    planes = [0.5 + 0.4 * np.sin(x / 3 + y / 5), x / WIDTH, 0.5 + 0.4 * np.cos(y / 2), 1 - y / HEIGHT]
    image = np.stack(planes, axis=-1) + rng.uniform(-0.1, 0.1, (HEIGHT, WIDTH, 4))
    image[5:9, 6:14] = [0.8, 0.1, 0.4, 1.0]
    image[9:11, 2:5, :3] = 0.5
    image = image.clip(0, 1)
    rgb = image[..., :3]
    small = rgb[::3, ::4]
    return {
        "rgb_u8": (rgb * 255).round().astype(np.uint8),
        "grey_u8": (image[..., :1] * 255).round().astype(np.uint8),
        "two_u8": (image[..., :2] * 255).round().astype(np.uint8),
        "rgba_u8": (image * 255).round().astype(np.uint8),
        "rgb_u16": (rgb * 65535).round().astype(np.uint16),
        "rgb_f32": rgb.astype(np.float32),
        "wide_f32": (rgb * 3 - 1).astype(np.float32),
        "grey_f32": image[..., :1].astype(np.float32),
        "rgb_f16": rgb.astype(np.float16),
        "rgb_f64": rgb,
        "small_uint8": (small * 255).round().astype(np.uint8),
        "small_uint16": (small * 65535).round().astype(np.uint16),
        "small_float32": small.astype(np.float32),
        "small_float16": small.astype(np.float16),
        "small_float64": small,
        "small_int8": (small * 255 - 128).round().astype(np.int8),
        "small_int32": ((small * 2 - 1) * 2**31).clip(-(2**31), 2**31 - 1).astype(np.int32),
        "flat_u8": np.full((5, 4, 3), 77, np.uint8),
    }


class Cases:
    def __init__(self):
        self.lines, self.arrays = [], {}

    def add(self, words, result):
        result = result.numpy() if hasattr(result, "numpy") else result
        self.arrays[str(len(self.lines))] = result
        self.lines.append(" ".join([str(len(self.lines)), *words]))

    def save(self, name, inputs):
        (OUT / f"{name}.txt").write_text("\n".join(self.lines) + "\n")
        np.savez_compressed(OUT / f"{name}.npz", **inputs, **self.arrays)
        print(f"{name}: {len(self.lines)} cases, {(OUT / f'{name}.npz').stat().st_size} bytes")


def word(key, value):
    if isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, (tuple, list)):
        value = ",".join(repr(v) for v in value)
    return f"{key}={value}"


METHODS = ["bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic"]


def resizing(add):
    """`add(picture, op, arguments, function of the picture)`"""
    for method in METHODS:
        for antialias in (False, True):
            for size in ((7, 9), (21, 26), (17, 23), (5, 37), (1, 1)):
                arguments = dict(size=size, method=method, antialias=antialias)
                add("rgb_u8", "resize", arguments, lambda x: tf.image.resize(x, size, method, antialias=antialias))
            size = (11, 8)
            for picture in ("grey_u8", "two_u8", "rgba_u8", "rgb_u16", "wide_f32", "rgb_f16", "rgb_f64"):
                arguments = dict(size=size, method=method, antialias=antialias)
                add(picture, "resize", arguments, lambda x: tf.image.resize(x, size, method, antialias=antialias))
        for size in ((9, 30), (30, 9), (40, 40)):
            arguments = dict(size=size, method=method, preserve_aspect_ratio=True)
            add("grey_u8", "resize", arguments, lambda x: tf.image.resize(x, size, method, preserve_aspect_ratio=True))
            arguments = dict(size=size, method=method, antialias=True)
            add("grey_f32", "resize_with_pad", arguments,
                lambda x: tf.image.resize_with_pad(x, *size, method=method, antialias=True))  # fmt: skip
    for size in ((9, 30), (13, 13), (20, 26)):
        add("rgb_u8", "resize_with_pad", dict(size=size), lambda x: tf.image.resize_with_pad(x, *size))


def moving(add):
    image = tf.image
    for size in ((9, 30), (30, 9), (17, 23), (12, 11), (20, 26)):
        for picture in ("rgb_u8", "grey_f32"):
            add(picture, "resize_with_crop_or_pad", dict(size=size), lambda x: image.resize_with_crop_or_pad(x, *size))
    for fraction in (0.1, 0.5, 0.6, 0.875, 1.0):
        add("rgb_u8", "central_crop", dict(fraction=fraction), lambda x: image.central_crop(x, fraction))
    add("rgb_f32", "crop_to_bounding_box", dict(offset=(3, 5), size=(9, 11)),
        lambda x: image.crop_to_bounding_box(x, 3, 5, 9, 11))  # fmt: skip
    add("rgb_f32", "pad_to_bounding_box", dict(offset=(3, 5), size=(20, 31)),
        lambda x: image.pad_to_bounding_box(x, 3, 5, 20, 31))  # fmt: skip
    for picture in ("rgb_u8", "grey_u8", "two_u8", "rgba_u8", "rgb_u16", "rgb_f32", "small_float64"):
        add(picture, "flip_left_right", {}, image.flip_left_right)
        add(picture, "flip_up_down", {}, image.flip_up_down)
        add(picture, "transpose", {}, image.transpose)
        for k in range(4):
            add(picture, "rot90", dict(k=k), lambda x: image.rot90(x, k))


def converting(add):
    kinds = ["uint8", "uint16", "float32", "float16", "float64", "int8", "int32"]
    for kind in kinds:
        picture = f"small_{kind}"
        for dtype in kinds:
            add(picture, "cast", dict(dtype=dtype), lambda x: tf.cast(x, dtype))
            # 1.0 is out of range of int32, and float16 does not hold 65535.5: what TensorFlow makes of these is the
            # processor's, or white.
            if kind.startswith("float") and dtype == "int32" or (kind, dtype) == ("float16", "uint16"):
                continue
            for saturate in (False, True):
                add(picture, "convert_image_dtype", dict(dtype=dtype, saturate=saturate),
                    lambda x: tf.image.convert_image_dtype(x, dtype, saturate=saturate))  # fmt: skip


def values(add):
    image = tf.image
    for picture in ("rgb_u8", "rgb_u16", "rgb_f32", "flat_u8", "grey_u8", "wide_f32"):
        add(picture, "per_image_standardization", {}, image.per_image_standardization)
        for delta in (0.25, -0.3):
            add(picture, "adjust_brightness", dict(delta=delta), lambda x: image.adjust_brightness(x, delta))
        for factor in (0.5, 1.7):
            add(picture, "adjust_contrast", dict(factor=factor), lambda x: image.adjust_contrast(x, factor))
    for picture in ("rgb_u8", "rgb_u16", "rgb_f32", "rgb_f64", "grey_u8"):
        for gamma, gain in ((0.5, 1.0), (2.2, 0.8)):
            add(picture, "adjust_gamma", dict(gamma=gamma, gain=gain), lambda x: image.adjust_gamma(x, gamma, gain))
    for picture in ("rgb_u8", "rgb_u16", "rgb_f32", "rgb_f64", "flat_u8"):
        add(picture, "rgb_to_grayscale", {}, image.rgb_to_grayscale)
        for factor in (0.3, 1.6):
            add(picture, "adjust_saturation", dict(factor=factor), lambda x: image.adjust_saturation(x, factor))
        for delta in (0.3, -0.7, 0.0, 1.0):
            add(picture, "adjust_hue", dict(delta=delta), lambda x: image.adjust_hue(x, delta))
    add("rgb_f16", "adjust_brightness", dict(delta=0.25), lambda x: image.adjust_brightness(x, 0.25))
    for picture in ("grey_u8", "grey_f32"):
        add(picture, "grayscale_to_rgb", {}, image.grayscale_to_rgb)
    for picture in ("rgb_f32", "rgb_f16"):
        add(picture, "rgb_to_hsv", {}, image.rgb_to_hsv)
        add(picture, "hsv_to_rgb", {}, image.hsv_to_rgb)
    add("rgb_u8", "rescale", dict(scale=0.0078125, offset=-1.0), tf.keras.layers.Rescaling(0.0078125, -1.0))
    mean, std = np.float32([120.0, 110.0, 100.0]), np.float32([60.0, 50.0, 40.0])
    add("rgb_u8", "normalize", dict(mean=mean.tolist(), std=std.tolist()), lambda x: (tf.cast(x, tf.float32) - mean) / std)
    for mode in ("tf", "torch", "caffe"):
        process = tf.keras.applications.imagenet_utils.preprocess_input
        add("rgb_u8", "preprocess", dict(mode=mode), lambda x: process(tf.cast(x, tf.float32), mode=mode))


def operations():
    inputs, cases = pictures(), Cases()

    def add(picture, op, arguments, function):
        words = [picture, op] + [word(key, value) for key, value in arguments.items()]
        cases.add(words, function(tf.constant(inputs[picture])))

    for part in (resizing, moving, converting, values):
        part(add)
    cases.save("cases", inputs)


def bmp(image, top_down=False):
    """A bitmap of 8, 24 or 32 bits without a palette, lines from the bottom unless `top_down`."""
    height, width, channels = image.shape
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    pad = b"\0" * (-width * channels % 4)
    data = b"".join(line[:, order].tobytes() + pad for line in (image if top_down else image[::-1]))
    size = -height if top_down else height
    info = struct.pack("<IiiHHIIiiII", 40, width, size, 1, channels * 8, 0, len(data), 2835, 2835, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + len(data), 0, 0, 54) + info + data


def with_pillow(image, mode, **options):
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image, mode)).save(out, **options)
    return out.getvalue()


def animation(frames, **options):
    out = io.BytesIO()
    frames[0].save(out, format="GIF", save_all=True, append_images=frames[1:], duration=50, **options)
    return out.getvalue()


def gif_block(code, indices, left, top, size, extension=b""):
    """One frame of a GIF: codes of 9 bits throughout, as a clear code comes before the table would need 10."""
    width, height = size
    codes = []
    for i, index in enumerate(indices.flatten()):
        if i % 200 == 0:
            codes.append(256)
        codes.append(int(index))
    codes.append(257)
    data = sum(c << (9 * i) for i, c in enumerate(codes)).to_bytes((9 * len(codes) + 7) // 8, "little")
    blocks = b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255))
    return extension + b"," + struct.pack("<HHHHB", left, top, width, height, code) + b"\x08" + blocks + b"\0"


def gif_by_hand(frames, screen):
    """`frames`: (indices, left, top, transparent index or None, interlaced)."""
    palette = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2], axis=-1).astype(np.uint8)
    out = b"GIF89a" + struct.pack("<HHBBB", *screen, 0xF7, 0, 0) + palette.tobytes()
    for indices, left, top, transparent, interlaced in frames:
        height, width = indices.shape
        if interlaced:
            order = [*range(0, height, 8), *range(4, height, 8), *range(2, height, 4), *range(1, height, 2)]
            indices = indices[order]
        extension = b""
        if transparent is not None:
            extension = b"!\xf9\x04" + struct.pack("<BHB", 1, 5, transparent) + b"\0"
        out += gif_block(0x40 if interlaced else 0, indices, left, top, (width, height), extension)
    return out + b";"


def coded():
    """The files, by name."""
    images = pictures()
    rgb, grey, rgba = images["rgb_u8"], images["grey_u8"], images["rgba_u8"]
    two = Image.fromarray(rgba[..., [0, 3]].copy(), "LA")
    index = (grey[..., 0] // 3).astype(np.uint8)
    palette = Image.fromarray(rgb).quantize(40)
    frames = [Image.fromarray(np.roll(rgb, 3 * k, axis=1)).quantize(60) for k in range(3)]
    cmyk = Image.fromarray(np.repeat(np.repeat(rgb, 2, 0), 2, 1)).convert("CMYK")
    large = np.repeat(np.repeat(rgb, 2, 0), 2, 1)
    files = {
        "rgb.png": tf.io.encode_png(rgb).numpy(),
        "grey.png": tf.io.encode_png(grey).numpy(),
        "alpha.png": tf.io.encode_png(rgba).numpy(),
        "greyalpha.png": with_pillow(two, "LA", format="PNG"),
        "wide.png": tf.io.encode_png(images["rgb_u16"]).numpy(),
        "widegrey.png": tf.io.encode_png(images["rgb_u16"][..., :1]).numpy(),
        "bits.png": with_pillow(Image.fromarray(grey[..., 0]).convert("1"), "1", format="PNG"),
        "palette.png": with_pillow(palette, "P", format="PNG"),
        "palettealpha.png": with_pillow(palette, "P", format="PNG", transparency=bytes(range(0, 240, 6))),
        "keyed.png": with_pillow(Image.fromarray(rgb), "RGB", format="PNG", transparency=tuple(map(int, rgb[6, 7]))),
        "keyedgrey.png": with_pillow(Image.fromarray(grey[..., 0]), "L", format="PNG", transparency=int(grey[6, 7, 0])),
        "rgb.bmp": bmp(rgb),
        "grey.bmp": bmp(grey),
        "alpha.bmp": bmp(rgba),
        "topdown.bmp": bmp(rgb, top_down=True),
        "one.gif": with_pillow(palette, "P", format="GIF"),
        "animated.gif": animation(frames),
        "optimised.gif": animation(frames, optimize=True, disposal=2),
        "parts.gif": gif_by_hand(
            [(index[:9, :11], 2, 3, None, False), (index[4:12, 3:20], 0, 1, int(index[5, 5]), False),
             (index, 0, 0, 9, True)], (WIDTH, HEIGHT)),
        "small.gif": gif_by_hand([(index[:9, :11], 2, 3, int(index[2, 2]), False)], (WIDTH, HEIGHT)),
        "rgb.jpg": tf.io.encode_jpeg(large, quality=92).numpy(),
        "grey.jpg": tf.io.encode_jpeg(large[..., :1], format="grayscale", quality=92).numpy(),
        "cmyk.jpg": with_pillow(cmyk, "CMYK", format="JPEG", quality=92),
        "keptrgb.jpg": with_pillow(Image.fromarray(large), "RGB", format="JPEG", quality=92, keep_rgb=True),
    }  # fmt: skip
    large_frame = np.tile(index, (2, 2))
    files["larger.gif"] = gif_by_hand([(index, 0, 0, None, False), (large_frame, 1, 1, None, False)], (5, 4))
    behind = gif_by_hand([(index, 0, 0, None, False), (index[::-1], 0, 0, None, False)], (WIDTH, HEIGHT))
    files["damagedbehind.gif"] = behind[:-40]
    files["nopalette.gif"] = behind[:10] + b"\0" + behind[11:13] + behind[13 + 768 :]
    for bits in (1, 4, 16):
        head = struct.pack("<IiiHHIIiiII", 40, 8, 4, 1, bits, 0, 64, 2835, 2835, 0, 0)
        files[f"bits{bits}.bmp"] = struct.pack("<2sIHHI", b"BM", 200, 0, 0, 54) + head + bytes(range(128))
    rows = bmp(grey)
    files["runs.bmp"] = rows[:30] + b"\1" + rows[31:]
    rows = bmp(rgba)
    files["masks.bmp"] = rows[:30] + b"\3" + rows[31:]
    # The same inks without the Adobe marker, which says that they are inverted.
    data = files["cmyk.jpg"]
    at = data.index(b"\xff\xee")
    files["plaincmyk.jpg"] = data[:at] + data[at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0] :]
    return files


def decoding():
    files, cases = coded(), Cases()
    for name, content in files.items():
        for channels in (0, 1, 3, 4):
            for dtype in ("uint8", "uint16", "float32"):
                if dtype != "uint8" and channels == 1 or name == "topdown.bmp" and dtype != "uint8":
                    continue
                try:
                    image = tf.io.decode_image(content, channels, getattr(tf, dtype), expand_animations=False)
                except tf.errors.InvalidArgumentError:
                    cases.add([name, "refused", str(channels), dtype], np.zeros(0, np.uint8))
                    continue
                cases.add([name, "image", str(channels), dtype], image)
        if name.endswith(".gif") and name != "nopalette.gif":
            cases.add([name, "frames", "0", "uint8"], tf.io.decode_gif(content))
    # Whatever chance brings.
    for kind in compare_images.MADE:
        number = 0
        while number < 12:
            rng = np.random.default_rng([7, number])
            content = compare_images.MADE[kind](rng)
            name = f"chance{number}.{kind}"
            number += 1
            files[name] = content
            for channels in (0, 1, 3):
                try:
                    image = compare_images.tensorflow(kind, content, channels, "uint8", 0)
                except tf.errors.InvalidArgumentError:
                    cases.add([name, "refused", str(channels), "uint8"], np.zeros(0, np.uint8))
                    continue
                cases.add([name, "image", str(channels), "uint8"], image)
    cases.save("files", {name: np.frombuffer(content, np.uint8) for name, content in files.items()})


if __name__ == "__main__":
    operations()
    decoding()
