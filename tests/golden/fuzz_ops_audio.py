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
