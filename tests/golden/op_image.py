"""Golden cases of images and volumes: convolutions and pools in three dimensions, layouts, colours, resampling."""

from op_cases import case, case_per
import numpy as np
import tensorflow as tf

raw = tf.raw_ops


@case(rtol=1e-4, atol=1e-5)
def conv3d(g):
    x = g.input("x", (2, 5, 6, 7, 3), open_dims=(0,))
    kernel = lambda *size, i=3, o=4: tf.constant(g.rng.normal(scale=0.3, size=(*size, i, o)), tf.float32)
    conv = lambda k, s, p: raw.Conv3D(input=x, filter=k, strides=[1, *s, 1], padding=p)
    g.out(
        same=conv(kernel(3, 3, 3), (1, 1, 1), "SAME"), valid=conv(kernel(3, 2, 3), (1, 1, 1), "VALID"),
        same_2=conv(kernel(3, 3, 3, o=17), (2, 2, 2), "SAME"), uneven=conv(kernel(2, 3, 4), (1, 2, 3), "SAME"),
        pointwise=conv(kernel(1, 1, 1), (1, 1, 1), "VALID"), plane=conv(kernel(1, 3, 3), (1, 1, 1), "SAME"),
        relu=tf.nn.relu(conv(kernel(3, 1, 1), (1, 1, 1), "SAME") + tf.constant([0.1, -0.2, 0.3, 0.0])),
    )


@case_per(("float64", "float16", "bfloat16"), looser=10.0)
def conv3d_of(g, dtype):
    x = g.input("x", (1, 3, 4, 5, 2), dtype, 0.0, 1.0)
    kernel = tf.cast(tf.constant(g.rng.uniform(0.0, 1.0, (2, 2, 2, 2, 3))), x.dtype)
    y = raw.Conv3D(input=x, filter=kernel, strides=[1, 1, 1, 1, 1], padding="SAME")
    back = raw.Conv3DBackpropInputV2(
        input_sizes=[1, 3, 4, 5, 2], filter=kernel, out_backprop=y, strides=[1, 1, 1, 1, 1], padding="SAME"
    )
    g.out(conv=y, transposed=back)


@case(rtol=1e-4, atol=1e-5)
def conv3d_transposed(g):
    kernel = lambda *size: tf.constant(g.rng.normal(scale=0.3, size=(*size, 2, 3)), tf.float32)
    x = g.input("x", (2, 2, 3, 3, 3))
    batch = tf.shape(x)[0]

    def back(size, k, s, p):
        sizes = tf.stack([batch, *size, 2])
        return raw.Conv3DBackpropInputV2(input_sizes=sizes, filter=k, out_backprop=x, strides=[1, *s, 1], padding=p)

    g.out(
        same=back((2, 3, 3), kernel(3, 3, 3), (1, 1, 1), "SAME"), double=back((4, 6, 6), kernel(2, 3, 2), (2, 2, 2), "SAME"),
        odd=back((3, 5, 6), kernel(3, 3, 3), (2, 2, 2), "SAME"), valid=back((4, 7, 5), kernel(3, 3, 1), (1, 2, 2), "VALID"),
    )


@case(rtol=1e-5)
def pooling3d(g):
    x = g.input("x", (2, 5, 6, 7, 5), open_dims=(0,))
    make = lambda op, k, s, p: op(input=x - 0.5, ksize=[1, *k, 1], strides=[1, *s, 1], padding=p)
    g.out(
        max_same=make(raw.MaxPool3D, (3, 2, 3), (2, 2, 2), "SAME"), max_valid=make(raw.MaxPool3D, (2, 2, 2), (1, 2, 3), "VALID"),
        average_same=make(raw.AvgPool3D, (3, 2, 3), (2, 2, 2), "SAME"), average_valid=make(raw.AvgPool3D, (2, 2, 2), (1, 2, 3), "VALID"),
        average_whole=make(raw.AvgPool3D, (5, 6, 7), (1, 1, 1), "VALID"),
    )


@case_per(("float32", "float16", "int32", "uint8"))
def dilation2d(g, dtype):
    x, f = g.input("x", (2, 5, 6, 3), dtype, 0, 20), g.input("f", (2, 3, 3), dtype, 0, 9)
    make = lambda s, r, p: raw.Dilation2D(input=x, filter=f, strides=[1, s, s, 1], rates=[1, r, r, 1], padding=p)
    g.out(same=make(1, 1, "SAME"), valid=make(2, 1, "VALID"), spread=make(1, 2, "SAME"))


@case(rtol=1e-4, atol=1e-5)
def depthwise_transposed(g):
    x = g.input("x", (2, 3, 4, 6))
    f = tf.constant(g.rng.normal(size=(3, 2, 3, 2)), tf.float32)
    make = lambda size, s, p: raw.DepthwiseConv2dNativeBackpropInput(
        input_sizes=[2, *size, 3], filter=f, out_backprop=x, strides=[1, s, s, 1], padding=p
    )
    g.out(same=make((3, 4), 1, "SAME"), double=make((6, 7), 2, "SAME"), valid=make((5, 5), 1, "VALID"))


@case(rtol=1e-4, atol=1e-5)
def depthwise_multipliers(g):
    for multiplier in (2, 3, 4, 7, 16, 20):
        x = g.input(f"x{multiplier}", (1, 6, 7, 3))
        for size, stride in ((3, 1), (3, 2), (5, 1), (2, 1)):
            f = tf.constant(g.rng.normal(size=(size, size, 3, multiplier)), tf.float32)
            name = f"of_{multiplier}_{size}_{stride}"
            g.out(**{name: raw.DepthwiseConv2dNative(input=x, filter=f, strides=[1, stride, stride, 1], padding="SAME")})


@case(rtol=1e-4, atol=1e-5)
def colours(g):
    x = g.input("x", (2, 3, 4, 3), low=0.0, high=1.0)
    greys = tf.constant([[[1.0, 0.0, 0.0], [0.4, 0.4, 0.4], [0.0, 0.0, 0.0], [0.9, 0.9, 0.2], [0.2, 0.9, 0.9]]])
    d = g.input("d", (3,), "float64", 0.0, 1.0)
    g.out(
        hsv=raw.RGBToHSV(images=x), rgb=raw.HSVToRGB(images=x), one=raw.RGBToHSV(images=d), back=raw.HSVToRGB(images=d),
        hue=raw.AdjustHue(images=x, delta=0.3), back_hue=raw.AdjustHue(images=x, delta=-0.7), hue_of_grey=raw.AdjustHue(images=greys, delta=0.2),
        less=raw.AdjustSaturation(images=x, scale=0.4), more=raw.AdjustSaturation(images=x, scale=3.0),
        of_grey=raw.AdjustSaturation(images=greys, scale=0.5), hsv_of_grey=raw.RGBToHSV(images=greys),
        contrast=raw.AdjustContrastv2(images=x, contrast_factor=1.7), flat=raw.AdjustContrastv2(images=x, contrast_factor=0.0),
    )


@case(rtol=1e-4, atol=1e-5)
def projective(g):
    x, u = g.input("x", (2, 5, 6, 2)), g.input("u", (2, 4, 4, 1), "uint8", 0, 255)
    turn = tf.constant([[0.8, -0.6, 1.0, 0.6, 0.8, -2.0, 0.01, -0.02]])
    each = tf.constant([[1.5, 0.0, -4.0, 0.2, 1.0, 3.0, 0.0, 0.0], [-1.0, 0.0, 5.0, 0.0, -1.0, 9.0, 0.0, 0.0]])
    for mode in ("CONSTANT", "REFLECT", "WRAP", "NEAREST"):
        for how in ("NEAREST", "BILINEAR"):
            more = dict(interpolation=how, fill_mode=mode)
            two = raw.ImageProjectiveTransformV2(images=x, transforms=turn, output_shape=[7, 5], **more)
            three = raw.ImageProjectiveTransformV3(images=u, transforms=each, output_shape=[6, 6], fill_value=9.0, **more)
            g.out(**{f"two_{mode}_{how}": two, f"three_{mode}_{how}": three})


@case(rtol=1e-4, atol=1e-5)
def scale_and_translate(g):
    x, u = g.input("x", (2, 7, 6, 2)), g.input("u", (1, 5, 5, 1), "uint8", 0, 255)
    for kernel in "lanczos1 lanczos3 lanczos5 gaussian box triangle keyscubic mitchellcubic".split():
        for antialias in (True, False):
            make = lambda image, size, scale, shift: raw.ScaleAndTranslate(
                images=image, size=size, scale=scale, translation=shift, kernel_type=kernel, antialias=antialias
            )
            name = f"{kernel}_{'smooth' if antialias else 'plain'}"
            g.out(**{f"{name}_down": make(x, [4, 3], [0.5, 0.45], [0.3, -0.2]), f"{name}_up": make(u, [9, 8], [1.7, 1.5], [-1.0, 2.0])})


@case_per(("float32", "int64", "uint8"))
def patches(g, dtype):
    x, v = g.input("x", (2, 5, 6, 2), dtype, 0, 9), g.input("v", (1, 3, 4, 5, 2), dtype, 0, 9)
    images = lambda k, s, r, p: raw.ExtractImagePatches(images=x, ksizes=[1, *k, 1], strides=[1, *s, 1], rates=[1, *r, 1], padding=p)
    volumes = lambda k, s, p: raw.ExtractVolumePatches(input=v, ksizes=[1, *k, 1], strides=[1, *s, 1], padding=p)
    g.out(
        same=images((2, 3), (1, 2), (1, 1), "SAME"), spread=images((2, 2), (1, 1), (2, 3), "VALID"),
        volume_same=volumes((2, 3, 2), (1, 2, 2), "SAME"), volume_valid=volumes((3, 1, 2), (1, 1, 2), "VALID"),
    )
