"""Quantises a model here and with ai-edge-quantizer, by the same recipe and data, and compares both files with the model of
floats in LiteRT: SNR of the outputs and the share of rows with the same largest element. Both files go through the `validate()`
of ai-edge-quantizer.

    python tests/golden/tflite_quality.py --bin target/debug/tightfit MODEL --fetch LOGITS --calibrate CAL.npy --evaluate EVAL.npy
        [--scheme int8] [--no-peer] [--option=--calibration=mse]...
"""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe

# The words of ours and theirs for the same thing.
PEERS = {
    "int8": recipe.static_wi8_ai8,
    "int16x8": recipe.static_wi8_ai16,
    "dynamic": recipe.dynamic_wi8_afp32,
    "weight-only-int8": recipe.weight_only_wi8_afp32,
    "weight-only-int4": recipe.weight_only_wi4_afp32,
}


def answers(path, rows):
    """The first output for each row, where ports may be integers that stand for floats."""
    runner = Interpreter(str(path), num_threads=2).get_signature_runner()
    (name, taken), *_ = runner.get_input_details().items()
    (result, given), *_ = runner.get_output_details().items()
    found = []
    for row in rows:
        if np.issubdtype(taken["dtype"], np.integer):
            scale, zero = taken["quantization"]
            bounds = np.iinfo(taken["dtype"])
            row = np.clip(np.round(row / scale) + zero, bounds.min, bounds.max).astype(taken["dtype"])
        value = runner(**{name: row[None]})[result]
        if np.issubdtype(given["dtype"], np.integer):
            scale, zero = given["quantization"]
            value = (value.astype(np.float32) - zero) * np.float32(scale)
        found.append(value)
    return np.concatenate(found)


def compared(expected, found):
    noise = np.square(expected - found, dtype=np.float64).sum()
    snr = 10 * np.log10(np.square(expected, dtype=np.float64).sum() / noise) if noise else float("inf")
    return {"snr_db": round(float(snr), 2), "top1_percent": float(100 * (expected.argmax(-1) == found.argmax(-1)).mean())}


def theirs(floats, output, name, samples):
    key = Interpreter(str(floats)).get_signature_list()
    signature, ports = next(iter(key.items()))
    peer = quantizer.Quantizer(str(floats), PEERS[name]())
    data = {signature: [{ports["inputs"][0]: row[None]} for row in samples]}
    result = peer.quantize(peer.calibrate(data, num_threads=2) if peer.need_calibration else None, enable_progress_report=False)
    result.export_model(str(output), overwrite=True)


def validated(floats, output, samples):
    """The SNR that ai-edge-quantizer's own comparison finds for the outputs; raises where it refuses a file."""
    signature, ports = next(iter(Interpreter(str(floats)).get_signature_list().items()))
    peer = quantizer.Quantizer(str(floats), previous_quantized_model=str(output))
    data = {signature: [{ports["inputs"][0]: row[None]} for row in samples[:2]]}
    peer.validate(data, num_threads=2, validate_output_tensors_only=False)
    return True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--bin", default="target/debug/tightfit")
    parser.add_argument("--fetch")
    parser.add_argument("--calibrate", required=True)
    parser.add_argument("--evaluate", required=True)
    parser.add_argument("--scheme", default="int8")
    parser.add_argument("--option", action="append", default=[])
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--no-validate", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        floats, own, peer = folder / "floats.tflite", folder / "own.tflite", folder / "peer.tflite"
        fetch = ["--fetch", args.fetch] if args.fetch else []
        subprocess.run([args.bin, "freeze", args.model, "--output", floats, "--quiet", *fetch], check=True)
        options = ["--scheme", args.scheme, "--float-io", "--quiet", *args.option]
        if args.scheme in ("int8", "int16x8") or args.option:
            options += ["--input", args.calibrate]
        subprocess.run([args.bin, "quantize", floats, "--output", own, *options], check=True)
        evaluation = np.load(args.evaluate)
        expected = answers(floats, evaluation)
        line = {"model": args.model, "scheme": args.scheme, "options": args.option, "bytes": own.stat().st_size,
                "own": compared(expected, answers(own, evaluation))}
        if not args.no_validate:
            line["own"]["is_valid"] = validated(floats, own, evaluation)
        if not args.no_peer and args.scheme in PEERS:
            theirs(floats, peer, args.scheme, np.load(args.calibrate))
            line["peer_bytes"] = peer.stat().st_size
            line["peer"] = compared(expected, answers(peer, evaluation))
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
