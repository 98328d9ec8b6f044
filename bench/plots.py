#!/usr/bin/env python3
"""Draws what `bench/peers.py --json FILE` measured: time and peak memory of each engine beside TightFit's.

    python bench/plots.py FILE.json [--out DIR]

Writes DIR/speed.svg and DIR/memory.svg: a row for each model, a dot for each engine, at how many times TightFit's figure it
takes. Right of the line at 1 TightFit is faster, or smaller. Needs nothing but Python.
"""

import argparse
import json
import math
import pathlib
from xml.sax.saxutils import escape

NAMES = {
    "mobilenet_v2": "MobileNetV2", "resnet50": "ResNet50", "inception_v3": "InceptionV3", "efficientnet_b0": "EfficientNetB0",
    "vgg16": "VGG16", "bert_base": "BERT-base, 128 tokens", "densenet121": "DenseNet121", "nasnet_mobile": "NASNetMobile",
    "mobilenet_v3_large": "MobileNetV3Large", "convnext_tiny": "ConvNeXtTiny", "efficientnet_v2_b0": "EfficientNetV2B0",
    "xception": "Xception", "unet": "U-Net, 256x256", "vit_s16": "ViT-S/16",
}
ENGINES = {
    "tflite": ("TFLite", "#e8710a"), "openvino": ("OpenVINO", "#1a73e8"), "onnxruntime": ("ONNX Runtime", "#188038"),
    "tensorflow": ("TensorFlow", "#a142f4"),
}
LEFT, TOP, ROW, WIDTH, RIGHT = 170, 64, 26, 520, 24


def ratios(summary, key):
    """For each model, the engines' figures by TightFit's."""
    rows = {}
    for model, engines in summary.items():
        own = engines.get("tightfit", {}).get(key)
        rows[model] = {e: f[key] / own for e, f in engines.items() if own and e != "tightfit" and key in f}
    return rows


def plot(rows, title, about, ticks):
    """An SVG, whose axis is logarithmic and goes from the first tick to the last."""
    low, high = math.log(ticks[0]), math.log(ticks[-1])
    x = lambda ratio: LEFT + WIDTH * (math.log(min(max(ratio, ticks[0]), ticks[-1])) - low) / (high - low)
    height, width = TOP + ROW * len(rows) + 44, LEFT + WIDTH + RIGHT
    bottom = TOP + ROW * len(rows)
    text = lambda x, y, words, more="": f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        text(12, 22, title, 'font-size="15" font-weight="bold"'),
    ]
    at = LEFT
    shown = [e for e in ENGINES if any(e in row for row in rows.values())]
    for engine in shown:
        name, colour = ENGINES[engine]
        lines += [f'<circle cx="{at}" cy="40" r="5" fill="{colour}"/>', text(at + 10, 44.5, name)]
        at += 30 + 8 * len(name)
    for tick in ticks:
        own = tick == 1
        style = 'stroke="#202124" stroke-width="1.5"' if own else 'stroke="#dadce0"'
        lines.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP - 8}" y2="{bottom}" {style}/>')
        lines.append(text(x(tick), bottom + 16, "TightFit" if own else f"{tick:g}x", 'text-anchor="middle" fill="#5f6368"'))
    for number, (model, row) in enumerate(rows.items()):
        y = TOP + ROW * number + ROW / 2
        lines.append(text(LEFT - 12, y + 4.5, NAMES.get(model, model), 'text-anchor="end"'))
        for engine in (e for e in shown if e in row):
            lines.append(f'<circle cx="{x(row[engine]):.1f}" cy="{y:.1f}" r="5" fill="{ENGINES[engine][1]}" fill-opacity="0.85"/>')
    lines.append(text(12, height - 10, about, 'font-size="11" fill="#5f6368"'))
    return "\n".join(lines) + "\n</svg>\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[1] / "docs")
    options = parser.parse_args()
    measured = json.loads(options.file.read_text())
    threads = f"{measured['threads']} thread{'s' if measured['threads'] > 1 else ''}"
    about = f"{measured['processor']}. Batch {measured['batch']}, {threads}, medians of {measured['rounds_each']} interleaved rounds."
    plots = (
        ("speed.svg", "Time of a run, by TightFit's", "ms_median", (0.8, 0.9, 1, 1.2, 1.5, 2)),
        ("memory.svg", "Peak memory of the process, by TightFit's", "peak_resident_bytes", (1, 1.5, 2, 3, 4, 6, 8)),
    )
    for name, title, key, ticks in plots:
        (options.out / name).write_text(plot(ratios(measured["summary"], key), title, about, ticks))
        print(options.out / name)


if __name__ == "__main__":
    main()
