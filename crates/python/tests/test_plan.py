"""Plans, and the memory that they promise."""

import pickle

import numpy as np
import pytest
import tightfit


def test_a_plan_tells_where_the_memory_goes(digits):
    plan = tightfit.Model(digits, memory="64MiB", threads=2).plan(batch=4)
    assert (plan.batch, plan.threads, plan.memory_bytes) == (4, 2, 64 << 20)
    assert plan.planned_bytes == sum(plan.lines.values()) <= plan.memory_bytes
    assert plan.minimum_bytes <= plan.planned_bytes
    assert plan.arena_lower_bound_bytes <= plan.arena_bytes
    assert plan.input_shapes == {"image": (4, 8, 8, 1)} and plan.output_shapes == {"probabilities": (4, 10)}
    assert plan.lines["sink"] == 4 * 10 * 4
    assert all(0 <= r[2] < r[3] and r[4] + r[5] <= plan.arena_bytes for r in plan.rectangles)
    assert str(plan.minimum_bytes) in str(plan) and plan.to_dict()["batch"] == 4


def test_a_notebook_shows_the_arena(digits):
    plan = tightfit.Model(digits, memory="64MiB").plan(batch=2)
    page = plan._repr_html_()
    assert page.count("<rect") == len(plan.rectangles) > 3
    assert page.count("<tr>") == page.count("</tr>") and "arena" in page


def test_the_smallest_memory_works_and_less_does_not(digits):
    rows = 4096
    images = np.zeros((rows, 8, 8, 1), np.float32)
    minimum = tightfit.Model(digits, memory="256MiB", threads=1).plan(batch=rows).minimum_bytes
    model = tightfit.Model(digits, memory=minimum, threads=1)
    assert model.plan(batch=rows).minimum_bytes == minimum
    assert model.run(images)["probabilities"].shape == (rows, 10)
    assert model.peak_bytes <= minimum
    small = tightfit.Model(digits, memory=minimum - 1, threads=1)
    for refused in (lambda: small.plan(batch=rows), lambda: small.run(images)):
        with pytest.raises(tightfit.NotFit) as raised:
            refused()
        error = raised.value
        assert (error.minimum_bytes, error.memory_bytes, error.batch) == (minimum, minimum - 1, rows)
        assert str(minimum) in str(error)
    assert small.run(images[:1])["probabilities"].shape == (1, 10)


def test_errors_are_a_tree(digits, tmp_path):
    assert issubclass(tightfit.NotFit, MemoryError) and issubclass(tightfit.InvalidArgument, ValueError)
    with pytest.raises(tightfit.NotFit) as raised:
        tightfit.Model(digits, memory="1MiB")
    assert raised.value.minimum_bytes > 1 << 20
    copy = pickle.loads(pickle.dumps(raised.value))
    assert copy.minimum_bytes == raised.value.minimum_bytes and str(copy) == str(raised.value)
    with pytest.raises(FileNotFoundError):
        tightfit.Model(tmp_path / "none.pb")
    (tmp_path / "text.pb").write_text("no model at all, only words\n" * 9)
    with pytest.raises(tightfit.TightFitError, match="text.pb"):
        tightfit.Model(tmp_path / "text.pb")
    with pytest.raises(tightfit.InvalidArgument, match="memory '64 sheep'"):
        tightfit.Model(digits, memory="64 sheep")
    with pytest.raises(tightfit.InvalidArgument, match="threads=0"):
        tightfit.Model(digits, threads=0)
    with pytest.raises(TypeError):
        tightfit.Model(digits, memory=1.5)
