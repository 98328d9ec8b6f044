"""Makes the files in golden/ with TensorFlow: images of every format, what it decodes them to, and what its resizing
gives. Run from this folder with tensorflow 2.x; the results are committed, so nothing in the suite needs it."""

import struct
import zlib

import numpy as np
import tensorflow as tf

OUT = "golden/"
HEIGHT, WIDTH = 37, 45


def picture():
    """Smooth colours with a few edges, as photographs have, in [HEIGHT, WIDTH, 3]."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    planes = [127 + 100 * np.sin(x / 9 + y / 13), 255 * x / WIDTH, 127 + 90 * np.cos(y / 7)]
    image = np.stack(planes, axis=-1)
    image[10:20, 12:30] = [200, 40, 90]
    return image.astype(np.uint8)


def save(name, content):
    with open(OUT + name, "wb") as f:
        f.write(content)


def save_decoded(name, content, channels):
    decoded = tf.io.decode_image(content, channels=channels, expand_animations=False).numpy()
    np.save(f"{OUT}{name}.{channels}.npy", decoded)
    if name.endswith(".jpg"):
        # The default is libjpeg's fast transform, which is the less accurate one.
        accurate = tf.io.decode_jpeg(content, channels=channels, dct_method="INTEGER_ACCURATE").numpy()
        np.save(f"{OUT}{name}.{channels}.accurate.npy", accurate)


def bmp(image):
    """A 24-bit bitmap, lines from the bottom, BGR, padded to 4 bytes."""
    height, width, _ = image.shape
    pad = b"\0" * (-width * 3 % 4)
    data = b"".join(line[:, ::-1].tobytes() + pad for line in image[::-1])
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(data), 2835, 2835, 0, 0)
    return struct.pack("<2sIHHI", b"BM", 54 + len(data), 0, 0, 54) + info + data


def gif(indices, palette):
    """One frame. Codes of 9 bits throughout: a clear code comes before the table would need 10."""
    height, width = indices.shape
    codes = []
    for i, index in enumerate(indices.flatten()):
        if i % 200 == 0:
            codes.append(256)
        codes.append(int(index))
    codes.append(257)
    bits = sum(code << (9 * i) for i, code in enumerate(codes))
    data = bits.to_bytes((9 * len(codes) + 7) // 8, "little")
    blocks = b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255))
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0) + palette.tobytes()
    return head + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x08" + blocks + b"\0;"


def palette_png(indices, palette):
    height, width = indices.shape

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    lines = b"".join(b"\0" + line.tobytes() for line in indices)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"PLTE", palette.tobytes())
        + chunk(b"IDAT", zlib.compress(lines, 9))
        + chunk(b"IEND", b"")
    )


def main():
    image = picture()
    grey = image[..., :1]
    alpha = np.concatenate([image, image[..., 1:2]], axis=-1)
    wide = image.astype(np.uint16) * 257 - 3
    indices = (image[..., 0] // 4).astype(np.uint8)
    palette = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256) // 2], axis=-1).astype(np.uint8)
    files = {
        "rgb.png": tf.io.encode_png(image).numpy(),
        "grey.png": tf.io.encode_png(grey).numpy(),
        "alpha.png": tf.io.encode_png(alpha).numpy(),
        "wide.png": tf.io.encode_png(wide).numpy(),
        "palette.png": palette_png(indices, palette),
        "rgb.bmp": bmp(image),
        "palette.gif": gif(indices, palette),
        "rgb.jpg": tf.io.encode_jpeg(image, quality=92).numpy(),
        "full.jpg": tf.io.encode_jpeg(image, quality=92, chroma_downsampling=False).numpy(),
        "progressive.jpg": tf.io.encode_jpeg(image, quality=92, progressive=True).numpy(),
        "grey.jpg": tf.io.encode_jpeg(grey, format="grayscale", quality=92).numpy(),
    }
    for name, content in files.items():
        save(name, content)
        for channels in (1, 3):
            # TensorFlow turns neither bitmaps nor GIFs into grey.
            if channels == 3 or not name.endswith((".bmp", ".gif")):
                save_decoded(name, content, channels)
    np.save(OUT + "resize_in.npy", image)
    for method in ("bilinear", "nearest"):
        for height, width in ((16, 16), (61, 80), (37, 20), (1, 1)):
            out = tf.image.resize(image, (height, width), method=method).numpy().astype(np.float32)
            np.save(f"{OUT}resize_{method}_{height}x{width}.npy", out)


main()
