"""TensorFlow 1's calls."""

import numpy as np
import pytest
import tightfit
import tightfit.compat.v1 as tf


def test_a_frozen_graph(digits, images):
    graph_def = tf.GraphDef()
    with tf.gfile.GFile(str(digits), "rb") as file:
        graph_def.ParseFromString(file.read())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    with tf.Session(graph=graph, config=tf.ConfigProto(memory="64MiB", intra_op_parallelism_threads=1)) as sess:
        probabilities = graph.get_tensor_by_name("probabilities:0")
        found = sess.run(probabilities, feed_dict={"image:0": images})
        expected = tightfit.Model(digits, memory="64MiB").run(images)["probabilities"]
        np.testing.assert_allclose(found, expected, 1e-5)
        # Feeds are cast, as TensorFlow's are.
        np.testing.assert_array_equal(sess.run("probabilities:0", {"image": images.astype(np.float64)}), found)
        used = sess.run(tf.MaxBytesInUse())
        assert 0 < used <= 64 << 20 and used == sess.max_bytes_in_use
    with pytest.raises(RuntimeError, match="closed"):
        sess.run(probabilities, {"image": images})


def test_structures_of_fetches(digits, images):
    sess = tf.Session(graph=str(digits), memory="64MiB")
    found = sess.run({"a": "probabilities", "b": ["probabilities:0", ("image:0",)]}, {"image:0": images})
    assert isinstance(found["b"], list) and isinstance(found["b"][1], tuple)
    np.testing.assert_array_equal(found["a"], found["b"][0])
    np.testing.assert_array_equal(found["b"][1][0], images)


def test_names_of_an_imported_graph(digits, images):
    with tf.Graph().as_default() as graph:
        (probabilities,) = tf.import_graph_def(tf.GraphDef(digits), return_elements=["probabilities:0"])
        sess = tf.Session(memory="64MiB")
    assert probabilities.name == "import/probabilities:0" and sess.graph is graph
    assert sess.run(probabilities, {"import/image:0": images}).shape == (12, 10)
    with pytest.raises(ValueError, match="begin with 'import/'"):
        sess.run("probabilities:0", {"import/image:0": images})


def test_a_saved_model(saved_models):
    with tf.Graph().as_default(), tf.Session(memory="64MiB") as sess:
        signatures = tf.saved_model.load(sess, ["serve"], str(saved_models / "keras_export"))
        assert "serving_default" in signatures


def test_a_meta_graph_and_its_checkpoint(saved_models):
    folder = saved_models / "checkpoint"
    with tf.Graph().as_default(), tf.Session(memory="64MiB") as sess:
        saver = tf.train.import_meta_graph(str(folder / "model.ckpt.meta"))
        saver.restore(sess, str(folder / "model.ckpt"))
        found = sess.run("out:0", {"a:0": np.load(saved_models / "a.npy")})
    np.testing.assert_allclose(found, np.load(saved_models / "a_out.npy"), 1e-5)


def test_what_is_refused(digits, images):
    with pytest.raises(ValueError, match="target"):
        tf.Session("grpc://other")
    with tf.Graph().as_default():
        with pytest.raises(ValueError, match="empty"):
            tf.Session(memory="64MiB").run("x:0")
    sess = tf.Session(graph=str(digits), memory="64MiB")
    with pytest.raises(TypeError):
        sess.run(3)
    with pytest.raises(tightfit.InvalidArgument):
        sess.run("none:0", {"image:0": images})
    with pytest.raises(tightfit.NotFit):
        tf.Session(graph=str(digits), memory="64MiB").run(
            "probabilities:0", {"image:0": np.zeros((1_000_000, 8, 8, 1), np.float32)}
        )
