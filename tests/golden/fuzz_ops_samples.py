"""Random nodes of samplers of classes, of parts of images around places, and of neighbours, for `fuzz.py`."""

import numpy as np

from fuzz_ops import maker
from fuzz_ops_linalg import seeds


@maker("UniformCandidateSampler", "LogUniformCandidateSampler", "AllCandidateSampler", "FixedUnigramCandidateSampler")
def sampled_classes(g, name):
    count, columns, unique = g.pick([1, 2, 5, 30]), g.int(1, 3), g.chance(0.5)
    classes = count if name.startswith("All") else max(count if unique else 1, g.pick([1, 2, 6, 64, 1000]))
    attributes = {"num_true": columns, "num_sampled": count, "unique": unique, **seeds(g)}
    if name.startswith("Fixed"):
        classes = min(classes, 64)
        reserved, shards = g.pick([0, 0, 1]), g.pick([1, 1, 2])
        weights = [round(g.rng.uniform(0.5, 9), 2) for _ in range((classes - reserved) * shards)]
        if classes == reserved or unique and count > classes - reserved:
            return None
        shard = g.int(0, shards - 1) if reserved == 0 else 0
        if reserved and shards == 2:  # the first weight is the one of class 1, which the other shard has
            shards = 1
            weights = weights[:classes - reserved]
        attributes |= {"unigrams": weights, "distortion": g.pick([1.0, 0.75, 0.0]), "num_reserved_ids": reserved,
                       "num_shards": shards, "shard": shard}
    if not name.startswith("All"):
        attributes["range_max"] = classes
    return g.call(name, g.input("int64", [g.dim(), columns], 0, classes - 1, special=0, huge=False), **attributes)


@maker("ComputeAccidentalHits")
def accidental_hits(g, name):
    columns = g.int(1, 3)
    classes = g.input("int64", [g.dim(), columns], 0, 9, special=0)
    return g.call(name, classes, g.input("int64", [g.dim()], 0, 9, special=0), num_true=columns)


@maker("ExtractGlimpse", "ExtractGlimpseV2")
def glimpse(g, name):
    shape = [g.int(0, 2), g.int(1, 7), g.int(1, 7), g.int(0, 3)]
    size = [g.pick([0, 1, 2, 3, 9]) for _ in range(2)]
    normalized, centered = g.chance(0.5), g.chance(0.5)
    far = 1.5 if normalized else 8
    places = g.input("float32", [shape[0], 2], -far, far, special=0)
    x = g.input("float32", shape, special=0.1)
    return g.call(name, x, g.ints(size, "int32"), places, normalized=normalized, centered=centered, uniform_noise=False, noise="zero")


@maker("NearestNeighbors")
def neighbours(g, name):
    many, length = g.dim(), g.pick([1, 2, 3, 17, 40])
    # Whole numbers, so that equal distances are equal however they are added up.
    points = np.round(g.value("float32", [g.int(1, 5), length], special=0, huge=False))
    centers = np.round(g.value("float32", [many, length], special=0, huge=False))
    return g.call(name, g.feed(points), g.feed(centers), g.ints(g.pick([0, 1, 1, 2, 5, 40]), "int64"))


@maker("ApproxTopK")
def approximate_top(g, name):
    shape = [*g.shape(0, 3), g.dim()]
    x = g.input(g.dtype(name), shape, special=0, huge=False)
    override = g.pick([-1, -1, 100])
    return g.call(name, x, k=g.int(0, shape[-1]), recall_target=g.pick([0.95, 0.5]), reduction_input_size_override=override)


@maker("DeviceIndex")
def device(g, name):
    names = [g.pick(["CPU", "GPU", "TPU", "cpu", ""]) for _ in range(g.int(0, 3))]
    return g.call(name, device_names=names)
