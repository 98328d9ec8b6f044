"""What stands around models: signals, forks, the command line, files."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import tightfit


def run(code, *args, **options):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)], capture_output=True, text=True, **options
    )


def test_import_is_lazy():
    done = run("import sys, tightfit; print('numpy' in sys.modules); tightfit.Model; print('numpy' in sys.modules)")
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_everything_has_a_docstring():
    for name in tightfit.__all__:
        value = getattr(tightfit, name)
        assert value.__doc__ and len(value.__doc__) > 20, name
        for member in vars(value) if isinstance(value, type) else ():
            if not member.startswith("_"):
                assert getattr(value, member).__doc__, f"{name}.{member}"
    assert set(tightfit.__all__) <= set(dir(tightfit))
    assert tightfit.Model.run.__doc__ and "Parameters" in tightfit.Model.run.__doc__


def test_an_interrupt_ends_a_run(digits):
    images = np.zeros((40_000, 8, 8, 1), np.float32)
    model = tightfit.Model(digits, memory="8GiB", threads=1)
    model.run(images[:1])
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        while time.monotonic() < begin + 60:
            model.run(images)
    timer.join()
    assert model.run(images[:2])["probabilities"].shape == (2, 10)


def test_a_handler_that_raises_ends_a_job(digits):
    class Alarm(Exception):
        pass

    def ring(*_):
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    try:
        model = tightfit.Model(digits, memory="256MiB", threads=1)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Alarm):
            while True:
                model.predict([digits.parent / "test.tfrecord"] * 50, batch=1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_other_threads_run_meanwhile(digits):
    model = tightfit.Model(digits, memory="8GiB", threads=1)
    images = np.zeros((40_000, 8, 8, 1), np.float32)
    model.run(images)
    turns = 0
    done = threading.Event()

    def work():
        model.run(images)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        turns += 1
        time.sleep(0.0005)
    thread.join()
    assert turns > 3


def test_threads_share_models_and_interpreters(digits, images):
    shared = tightfit.Model(digits, memory="64MiB", threads=1)
    expected = shared.run(images)["probabilities"]
    interpreter = tightfit.Interpreter(str(digits), num_threads=1, memory="64MiB")
    interpreter.allocate_tensors()
    wrong = []

    def run(model, number):
        for turn in range(50):
            rows = 1 + (turn + number) % len(images)
            found = model.run(images[:rows])["probabilities"]
            if not np.allclose(found, expected[:rows], 1e-5):
                wrong.append((number, rows))

    def invoke(number):
        for _ in range(50):
            interpreter.set_tensor(0, images[:1])
            interpreter.invoke()
            if not np.allclose(interpreter.get_tensor(1), expected[:1], 1e-5):
                wrong.append(number)

    def come_and_go(number):
        for _ in range(10):
            run_one = tightfit.Interpreter(str(digits), num_threads=1, memory="64MiB")
            run_one.allocate_tensors()
            array = run_one.tensor(0)()
            del run_one
            array[:] = number
            try:
                wrong.append(tightfit.Model(digits, memory="2MiB"))
            except tightfit.NotFit:
                pass

    own = [tightfit.Model(digits, memory="64MiB", threads=1) for _ in range(2)]
    work = [(run, (model, number)) for number, model in enumerate([*own, shared, shared, shared])]
    work += [(invoke, (number,)) for number in range(3)] + [(come_and_go, (number,)) for number in range(2)]
    threads = [threading.Thread(target=function, args=arguments) for function, arguments in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_opens_its_own(digits):
    code = """
        import os, sys, numpy as np, tightfit
        image = np.zeros((1, 8, 8, 1), np.float32)
        model = tightfit.Model(sys.argv[1], memory="64MiB", threads=2)
        model.run(image)
        pid = os.fork()
        if pid == 0:
            try:
                model.run(image)
                os._exit(1)
            except tightfit.TightFitError as error:
                assert "forked" in str(error), error
            del model
            again = tightfit.Model(sys.argv[1], memory="64MiB", threads=2)
            again.run(image)
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        model.run(image)
    """
    done = run(code, digits, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_command_line(digits):
    command = [sys.executable, "-m", "tightfit"]
    done = subprocess.run([*command, "plan", str(digits), "--memory", "32MiB", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["memory_bytes"] == 32 << 20
    done = subprocess.run([*command, "plan", str(digits), "--memory", "1MiB"], capture_output=True, text=True)
    assert done.returncode == 3 and "does not fit" in done.stderr
    done = subprocess.run([*command, "pln"], capture_output=True, text=True)
    assert done.returncode == 2 and "did you mean plan?" in done.stderr
    done = subprocess.run([*command, "--version"], capture_output=True, text=True)
    assert done.stdout == f"tightfit {tightfit.__version__}\n"


def test_files_are_written(saved_models, tmp_path, golden):
    source = saved_models / "keras_export"
    frozen = tightfit.freeze(source, tmp_path / "frozen.pb", memory="64MiB")
    assert frozen["bytes"] == (tmp_path / "frozen.pb").stat().st_size and frozen["tensorflow_can_read"]
    smaller = tightfit.optimize(source, tmp_path / "optimized.pb")
    assert smaller["nodes"] < smaller["nodes_before"] and "fold_batch_norms" in smaller["passes"]
    image, expected = np.load(saved_models / "image.npy"), np.load(saved_models / "image_out.npy")
    for path in ("frozen.pb", "optimized.pb"):
        (found,) = tightfit.Model(tmp_path / path, memory="64MiB").run(image).values()
        np.testing.assert_allclose(found, expected, 1e-4, 1e-6)
    parts = tightfit.partition(golden("keras_inception").model, tmp_path / "parts", max_bytes=700)
    assert len(parts["parts"]) > 1 and (tmp_path / "parts" / "manifest.json").is_file()
    told = tightfit.inspect(source)
    assert told["format"].endswith("SavedModel") or "SavedModel" in told["format"]
    assert told["operators"] and not told["unsupported"] and told["signatures"]
    with pytest.raises(tightfit.InvalidArgument, match="did you mean fold_constants"):
        tightfit.optimize(source, tmp_path / "x.pb", transforms=["fold_constant"])
    with pytest.raises(tightfit.InvalidArgument, match="give one of"):
        tightfit.partition(source, tmp_path / "x")
