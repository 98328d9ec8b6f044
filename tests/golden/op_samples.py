"""Golden cases of samplers of classes, of parts of images around places, and of neighbours."""

import numpy as np
import tensorflow as tf

from op_cases import case

raw = tf.raw_ops


@case(rtol=1e-5)
def candidates(g):
    """Classes that a loss is estimated by: each at most once and any number of times, and those that were true."""
    classes = g.feed("classes", g.rng.integers(0, 12, (3, 2)), "int64", open_dims=(0,))
    both = {"true_classes": classes, "num_true": 2, "seed": 3, "seed2": 4}
    for unique in (False, True):
        given = {"num_sampled": 8, "unique": unique, **both}
        made = {
            "uniform": raw.UniformCandidateSampler(range_max=12, **given),
            "words": raw.LogUniformCandidateSampler(range_max=1000, **given),
            "weighted": raw.FixedUnigramCandidateSampler(
                range_max=12, unigrams=[0.5 + n for n in range(11)], num_reserved_ids=1, distortion=0.75, **given),
        }
        for name, (drawn, of_classes, of_drawn) in made.items():
            name += "_once" if unique else ""
            g.out(**{name: drawn, name + "_classes": of_classes, name + "_drawn": of_drawn})
    every = raw.AllCandidateSampler(num_sampled=12, unique=True, **both)
    hits = raw.ComputeAccidentalHits(true_classes=classes, sampled_candidates=every.sampled_candidates, num_true=2)
    g.out(every=every.sampled_candidates, rows=hits.indices, places=hits.ids, weights=hits.weights)


@case()
def glimpses(g):
    """Parts of images inside of them, past each side and beside them, by every meaning of a place."""
    x = g.input("x", (4, 5, 6, 2), open_dims=(0, 1))
    places = g.feed("places", np.array([[0.0, 0.1], [-0.9, 0.8], [0.7, -0.6], [3.0, -4.0]], np.float32))
    size = g.feed("size", np.array([3, 2], np.int32))
    for op in (raw.ExtractGlimpse, raw.ExtractGlimpseV2):
        for normalized in (False, True):
            for centered in (False, True):
                at = places if normalized else places * 4.0
                part = op(input=x, size=size, offsets=at, normalized=normalized, centered=centered, uniform_noise=False, noise="zero")
                g.out(**{f"{op.__name__}_{normalized}_{centered}": part})


@case(rtol=1e-5, atol=1e-4)
def neighbours(g):
    """The nearest centres, and the largest elements as they are approximated on other devices."""
    points, centers = g.input("points", (5, 20), open_dims=(0,)), g.input("centers", (7, 20))
    for k in (1, 3, 9):
        places, distances = raw.NearestNeighbors(points=points, centers=centers, k=np.int64(k))
        g.out(**{f"places_{k}": places, f"distances_{k}": distances})
    values, places = raw.ApproxTopK(input=points, k=4)
    device = raw.DeviceIndex(device_names=["TPU", "GPU", "CPU"])
    g.out(largest=values, largest_places=places, device=device)
