"""Golden cases of detection, audio, Fourier transforms and complex numbers."""

from op_cases import case, case_per
import numpy as np
import tensorflow as tf

raw = tf.raw_ops


def overlapping(g, count):
    corners = g.rng.uniform(0.0, 1.0, (count, 2))
    return np.concatenate([corners, corners + g.rng.uniform(0.1, 0.5, (count, 2))], 1)


@case_per(("float32", "float16"))
def suppression(g, dtype):
    boxes = overlapping(g, 40)
    boxes[::7] = boxes[::7][:, [2, 3, 0, 1]]  # corners in the other order
    boxes = g.feed("boxes", boxes, dtype, open_dims=(0,))
    scores = g.feed("scores", np.round(g.rng.uniform(0.0, 1.0, 40), 1), dtype, open_dims=(0,))
    most = g.feed("most", 12, "int32")
    half = lambda x: tf.constant(x, dtype)
    common = {"boxes": boxes, "scores": scores}
    g.out(v2=raw.NonMaxSuppressionV2(max_output_size=most, iou_threshold=half(0.3), **common),
          v3=raw.NonMaxSuppressionV3(max_output_size=30, iou_threshold=half(0.3), score_threshold=half(0.4), **common))
    if dtype == "float32":
        g.out(v1=raw.NonMaxSuppression(max_output_size=5, iou_threshold=0.2, **common),
              overlaps=raw.NonMaxSuppressionWithOverlaps(
                  overlaps=g.input("overlaps", (40, 40), "float32", 0.0, 1.0), scores=scores, max_output_size=9,
                  overlap_threshold=0.8, score_threshold=0.1))
    for pad in (False, True):
        fourth = raw.NonMaxSuppressionV4(max_output_size=33, iou_threshold=half(0.4), score_threshold=half(0.2),
                                         pad_to_max_output_size=pad, **common)
        fifth = raw.NonMaxSuppressionV5(max_output_size=33, iou_threshold=half(0.4), score_threshold=half(0.2),
                                        soft_nms_sigma=half(0.5), pad_to_max_output_size=pad, **common)
        g.out(**{f"v4_{pad}": fourth[0], f"v4_{pad}_count": fourth[1], f"v5_{pad}": fifth[0],
                 f"v5_{pad}_scores": fifth[1], f"v5_{pad}_count": fifth[2]})


@case()
def combined_suppression(g):
    scores = g.feed("scores", np.round(g.rng.uniform(0.0, 1.0, (2, 30, 3)), 1), "float32", open_dims=(0,))
    for name, places in (("shared", 1), ("own", 3)):
        boxes = overlapping(g, 2 * 30 * places).reshape(2, 30, places, 4)
        boxes = g.feed(f"boxes_{name}", boxes, "float32", open_dims=(0,))
        for pad, clip in ((False, True), (True, False)):
            made = raw.CombinedNonMaxSuppression(
                boxes=boxes, scores=scores, max_output_size_per_class=6, max_total_size=25, iou_threshold=0.3,
                score_threshold=0.15, pad_per_class=pad, clip_boxes=clip)
            g.out(**{f"{name}_{pad}_{part}": t for part, t in zip(("boxes", "scores", "classes", "count"), made)})


@case()
def draw_boxes(g):
    boxes = g.feed("boxes", [[[0.1, 0.2, 0.8, 0.9], [-0.5, 0.3, 0.4, 1.7], [0.9, 0.0, 0.1, 1.0]]], "float32")
    for depth in (1, 3, 4):
        images = g.input(f"images_{depth}", (1, 7, 9, depth), "float32", 0.0, 1.0, open_dims=(1, 2))
        g.out(**{f"plain_{depth}": raw.DrawBoundingBoxes(images=images, boxes=boxes),
                 f"colored_{depth}": raw.DrawBoundingBoxesV2(
                     images=images, boxes=boxes, colors=g.input(f"colors_{depth}", (2, 4), "float32", 0.0, 1.0))})


@case(rtol=1e-4, atol=1e-5)
def audio(g):
    sound = g.input("sound", (900, 2), "float32", -1.0, 1.0, open_dims=(0,))
    squared = raw.AudioSpectrogram(input=sound, window_size=100, stride=70, magnitude_squared=True)
    rate = g.feed("rate", 16000, "int32")
    g.out(strengths=raw.AudioSpectrogram(input=sound, window_size=64, stride=30, magnitude_squared=False), squared=squared,
          mfcc=raw.Mfcc(spectrogram=squared, sample_rate=rate),
          few=raw.Mfcc(spectrogram=squared, sample_rate=rate, upper_frequency_limit=7000.0, lower_frequency_limit=100.0,
                       filterbank_channel_count=12, dct_coefficient_count=12))
    file = raw.EncodeWav(audio=sound, sample_rate=rate)
    for name, samples, channels in (("same", 900, 2), ("longer", 1000, 3), ("shorter", 10, 1)):
        wav = raw.DecodeWav(contents=file, desired_samples=samples, desired_channels=channels)
        g.out(**{f"{name}_sound": wav[0], f"{name}_rate": wav[1]})


@case_per(("float32", "float64"), looser=10.0)
def fourier(g, dtype):
    kind = "complex64" if dtype == "float32" else "complex128"
    real = g.input("real", (2, 3, 6, 10), dtype, open_dims=(0,))
    other = g.input("other", (2, 3, 6, 10), dtype, open_dims=(0,))
    z = tf.complex(real, other)
    parts = lambda name, x: g.out(**{f"{name}_re": tf.math.real(x), f"{name}_im": tf.math.imag(x)})
    for name, there, back in (("1d", raw.FFT, raw.IFFT), ("2d", raw.FFT2D, raw.IFFT2D), ("3d", raw.FFT3D, raw.IFFT3D)):
        parts(name, there(input=z))
        parts(f"back_{name}", back(input=z))
    for name, there, back, length in (("1d", raw.RFFT, raw.IRFFT, [9]), ("2d", raw.RFFT2D, raw.IRFFT2D, [6, 10]),
                                      ("3d", raw.RFFT3D, raw.IRFFT3D, [3, 5, 8])):
        half = there(input=real, fft_length=length, Tcomplex=kind)
        parts(f"real_{name}", half)
        g.out(**{f"real_back_{name}": back(input=half, fft_length=length, Treal=dtype)})
    parts("odd", raw.FFT(input=tf.complex(g.input("a", (3, 37), dtype), g.input("b", (3, 37), dtype))))


@case(rtol=1e-4, atol=1e-5)
def short_time_fourier(g):
    sound = g.input("sound", (2, 400), "float32", -1.0, 1.0, open_dims=(0,))
    frames = tf.signal.stft(sound, 64, 32, fft_length=64)
    g.out(size=tf.abs(frames), angle=tf.math.angle(frames[:, :, 1:-1]),
          back=tf.signal.inverse_stft(frames, 64, 32, window_fn=tf.signal.inverse_stft_window_fn(32)))
    mel = tf.tensordot(tf.abs(frames), tf.signal.linear_to_mel_weight_matrix(12, 33, 8000, 80.0, 3800.0), 1)
    log = tf.math.log(mel + 1e-6)
    g.out(mfccs=tf.signal.mfccs_from_log_mel_spectrograms(log), dct=tf.signal.dct(sound, type=2, norm="ortho"),
          idct=tf.signal.idct(sound, type=2), dct3=tf.signal.dct(sound, type=3), mdct=tf.signal.mdct(sound, 64))


@case_per(("float32", "float64"), looser=10.0)
def complex_numbers(g, dtype):
    z = tf.complex(g.input("a", (2, 5), dtype, open_dims=(0,)), g.input("b", (2, 5), dtype, open_dims=(0,)))
    w = tf.complex(g.input("c", (1, 5), dtype), g.input("d", (1, 5), dtype))
    parts = lambda name, x: g.out(**{f"{name}_re": tf.math.real(x), f"{name}_im": tf.math.imag(x)})
    g.out(angle=tf.math.angle(z), abs=tf.abs(z), equal=tf.equal(z, z), unequal=tf.not_equal(z, w))
    for op in (raw.Exp, raw.Expm1, raw.Log, raw.Log1p, raw.Sqrt, raw.Rsqrt, raw.Reciprocal, raw.Neg, raw.Square, raw.Sign,
               raw.Sigmoid, raw.Sin, raw.Cos, raw.Tan, raw.Sinh, raw.Cosh, raw.Tanh, raw.Asin, raw.Acos, raw.Atan,
               raw.Asinh, raw.Acosh, raw.Atanh):
        parts(op.__name__.lower(), op(x=z))
    for name, op in (("sum", tf.add), ("gap", tf.subtract), ("product", tf.multiply), ("ratio", tf.divide), ("power", tf.pow),
                     ("squared_gap", tf.math.squared_difference)):
        parts(name, op(z, w))
    for name, op in (("reduced", tf.reduce_sum), ("mean", tf.reduce_mean), ("all_product", tf.reduce_prod)):
        parts(name, op(z, 0))
    parts("running", tf.cumsum(z, 1))
    parts("matmul", tf.matmul(z, w, transpose_b=True))
    parts("adjoint", raw.BatchMatMulV2(x=z, y=z, adj_x=True))
    parts("conjugate", tf.transpose(z, conjugate=True))
    parts("ones", tf.ones_like(z))
