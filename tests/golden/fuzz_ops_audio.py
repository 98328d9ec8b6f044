"""Random nodes of detection, audio, Fourier transforms and complex numbers, for `fuzz.py`."""

import numpy as np

from fuzz_ops import axes_of, broadcast_pair, maker

COMPLEX = ["complex64", "complex64", "complex128"]
PARTS = {"complex64": "float32", "complex128": "float64"}


def boxes_of(g, count):
    """Boxes that overlap often, some of them the wrong way round or empty."""
    boxes = g.rng.uniform(-0.2, 1.2, [max(count, 1), 4])
    boxes[:, 2:] = boxes[:, :2] + g.rng.uniform(-0.2, 0.8, [max(count, 1), 2])
    if g.chance(0.3):
        boxes = np.round(boxes * 4) / 4
    return boxes[g.rng.integers(0, len(boxes), count)]


def scores_of(g, shape):
    scores = g.rng.uniform(0, 1, shape)
    if g.chance(0.5):  # many equal ones
        scores = np.round(scores * g.pick([1, 3, 10])) / 10
    if g.chance(0.1):
        scores = np.where(g.rng.random(shape) < 0.2, g.pick([np.nan, np.inf, -np.inf, -3e38]), scores)
    return scores


@maker("NonMaxSuppression", "NonMaxSuppressionV2", "NonMaxSuppressionV3", "NonMaxSuppressionV4", "NonMaxSuppressionV5",
       "NonMaxSuppressionWithOverlaps")
def suppression(g, name):
    count = g.pick([0, 1, 3, 10, 40])
    is_of = name not in ("NonMaxSuppression", "NonMaxSuppressionWithOverlaps")
    kind = g.pick(["float32", "float32", "float16"]) if is_of else "float32"
    given = g.pick(["float32", "float16"]) if is_of and name != "NonMaxSuppressionV5" else kind
    first = g.rng.uniform(0, 1, [count, count]) if name.endswith("Overlaps") else boxes_of(g, count)
    low = lambda value, const=None: g.feed(np.array(value), given, const)
    # Half of the thresholds are known as the graph is read.
    thresholds = [low(g.pick([0.0, 0.3, 0.5, 0.7, 1.0]))]
    if name not in ("NonMaxSuppressionV2",):
        thresholds.append(low(g.pick([0.0, 0.2, 0.5, -1.0, float("-inf")])))
    if name == "NonMaxSuppressionV5":
        thresholds.append(low(g.pick([0.0, 0.0, 0.1, 0.5, 2.0])))
    padded = {"pad_to_max_output_size": g.chance(0.4)} if name[-1] in "45" else {}
    most = g.ints(g.pick([0, 1, 2, 5, 20, 60]), "int32", const=True if padded.get("pad_to_max_output_size") else None)
    inputs = [g.feed(first.astype(kind), kind), g.feed(scores_of(g, [count]).astype(kind), kind), most]
    if name == "NonMaxSuppression":
        return g.call(name, *inputs, iou_threshold=g.pick([0.0, 0.25, 0.5, 1.0]))
    return g.call(name, *inputs, *thresholds, **padded)


@maker("CombinedNonMaxSuppression")
def combined(g, name):
    batch, count, classes = g.int(0, 2), g.pick([1, 3, 10, 40]), g.int(1, 4)
    places = g.pick([1, classes])
    boxes = np.stack([boxes_of(g, count * places).reshape(count, places, 4) for _ in range(batch)] or
                     [np.zeros([count, places, 4])])[:batch]
    single = lambda value: g.feed(np.array(value), "float32")
    return g.call(name, g.feed(boxes.astype("float32")), g.feed(scores_of(g, [batch, count, classes]).astype("float32")),
                  g.ints(g.pick([1, 2, 5, 30]), "int32", const=True), g.ints(g.pick([1, 3, 10, 50]), "int32", const=True),
                  single(g.pick([0.0, 0.3, 0.5, 1.0])), single(g.pick([0.0, 0.2, -1.0])), pad_per_class=g.chance(0.5),
                  clip_boxes=g.chance(0.5))


@maker("DrawBoundingBoxes", "DrawBoundingBoxesV2")
def draw(g, name):
    batch, count, depth = g.int(1, 2), g.int(0, 4), g.pick([1, 3, 4])
    images = g.input(g.pick(["float32", "float16"]), [batch, g.int(1, 9), g.int(1, 9), depth], 0, 1)
    boxes = boxes_of(g, batch * count).reshape(batch, count, 4)
    if g.chance(0.1):
        boxes = np.where(g.rng.random(boxes.shape) < 0.2, g.pick([np.nan, np.inf, -np.inf, 1e30]), boxes)
    inputs = [images, g.feed(boxes.astype("float32"))]
    if name.endswith("V2"):
        inputs.append(g.input("float32", [g.int(0, 3), depth + g.int(0, 1)], 0, 1, special=0))
    return g.call(name, *inputs)


@maker("DecodeWav")
def decode_wav(g, name):
    channels, samples = g.int(1, 3), g.int(0, 12)
    head = 18 if g.chance(0.2) else 16
    rate = g.pick([8000, 16000, 44100, 1])
    form = np.array([1, channels], "<u2").tobytes() + np.array([rate, rate * channels * 2], "<u4").tobytes() \
        + np.array([2 * channels, 16], "<u2").tobytes() + b"\0" * (head - 16)
    data = g.rng.integers(-32768, 32767, samples * channels, endpoint=True).astype("<i2").tobytes()
    chunk = lambda tag, body: tag + np.array(len(body), "<u4").tobytes() + body
    junk = chunk(g.pick([b"JUNK", b"bext", b"LIST"]), b"x" * g.int(0, 5)) if g.chance(0.2) else b""
    more = chunk(g.pick([b"LIST", b"data"]), b"y" * g.int(0, 6)) if g.chance(0.2) else b""
    body = b"WAVE" + junk + chunk(b"fmt ", form) + chunk(b"data", data + b"z" * g.pick([0, 0, 0, 1])) + more
    file = bytearray(chunk(b"RIFF", body))
    if g.chance(0.3):  # a damaged file
        for _ in range(g.int(1, 3)):
            file[g.int(0, len(file) - 1)] = g.int(0, 255)
        file = file[:g.int(0, len(file))] if g.chance(0.3) else file
    # What no attribute bounds is the concern of values whose size has no bound.
    desired = lambda n: g.pick([n, n + 2, max(0, n - 1)])
    return g.call(name, g.feed(np.array(bytes(file), dtype=object), "string"), desired_channels=desired(channels),
                  desired_samples=desired(samples))


@maker("EncodeWav")
def encode_wav(g, name):
    sound = g.input("float32", [g.dim(), g.int(1, 3)], -1.2, 1.2, special=0.2)
    return g.call(name, sound, g.ints(g.pick([8000, 16000, 44100, 1]), "int32"))


@maker("AudioSpectrogram")
def spectrogram(g, name):
    return g.call(name, g.input("float32", [g.int(0, 60), g.int(1, 3)], -1, 1, special=0, huge=False),
                  window_size=g.pick([2, 3, 5, 8, 16, 31]), stride=g.int(1, 12), magnitude_squared=g.chance(0.5))


@maker("Mfcc")
def mfcc(g, name):
    bands = g.int(1, 20)
    strengths = g.input("float32", [g.int(0, 2), g.int(0, 4), g.pick([2, 17, 65, 129])], 0, 10, special=0.1, huge=False)
    return g.call(name, strengths, g.ints(g.pick([8000, 16000, 44100]), "int32"), upper_frequency_limit=g.pick([4000.0, 3000.0, 500.0]),
                  lower_frequency_limit=g.pick([20.0, 0.0, 300.0]), filterbank_channel_count=bands,
                  dct_coefficient_count=g.int(1, bands))


RANKS = {"FFT": 1, "FFT2D": 2, "FFT3D": 3}
LENGTHS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 31, 37, 60, 64]


@maker(*(f"{way}{name}" for name in RANKS for way in ("", "I", "R", "IR")))
def fourier(g, name):
    way = name[:name.index("FFT")]
    rank = RANKS[name[len(way):]]
    shape = [g.pick(LENGTHS if rank == 1 else LENGTHS[:9]) for _ in range(rank)]
    if g.chance(0.1):
        shape[g.int(0, rank - 1)] = 0
    shape = [g.int(1, 3) for _ in range(g.int(0, 2))] + shape
    kind = g.pick(COMPLEX)
    if way in ("", "I"):
        return g.call(name, g.input(kind, shape), Tcomplex=kind)
    return real_fourier(g, name, shape, rank, kind, way)


def real_fourier(g, name, shape, rank, kind, way, *axes):
    lengths = shape[-rank:]
    if g.chance(0.3):  # cut
        lengths = [max(0, n - g.int(0, 2)) for n in lengths]
    given = list(shape)
    if way == "IR" and given[-1]:
        given[-1] = given[-1] // 2 + 1
    x = g.input(PARTS[kind] if way == "R" else kind, given)
    return g.call(name, x, g.ints(lengths, "int32"), *axes, Treal=PARTS[kind], Tcomplex=kind)


@maker("FFTND", "IFFTND", "RFFTND", "IRFFTND")
def fourier_nd(g, name):
    way, rank = name[:name.index("FFT")], g.int(1, 4)
    shape = [g.int(1, 3) for _ in range(g.int(0, 1))] + [g.pick(LENGTHS[:7]) for _ in range(rank)]
    kind = g.pick(COMPLEX)
    axes = [len(shape) - rank + i for i in range(rank)]
    axes = g.ints([a - len(shape) * g.chance(0.4) for a in axes], "int32")
    if way in ("", "I"):
        lengths = [max(1, n - (g.int(0, 2) if g.chance(0.2) else 0)) for n in shape[-rank:]]
        return g.call(name, g.input(kind, shape), g.ints(lengths, "int32"), axes, Tcomplex=kind)
    return real_fourier(g, name, shape, rank, kind, way, axes)


@maker("Complex", "Real", "Imag", "ComplexAbs", "Angle", "Conj")
def parts(g, name):
    kind = g.pick(COMPLEX)
    if name == "Complex":
        one, two = broadcast_pair(g)
        return g.call(name, g.input(PARTS[kind], one), g.input(PARTS[kind], two), Tout=kind)
    x = g.input(kind, g.shape(0, 5))
    return g.call(name, x) if name == "Conj" else g.call(name, x, Tout=PARTS[kind])
