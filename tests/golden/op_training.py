"""Golden cases of what graphs that train do: variables that change, and gradients."""

import numpy as np
import tensorflow as tf
from op_cases import case

raw = tf.raw_ops
tf1 = tf.compat.v1


def variable(g, value):
    """A variable of TensorFlow 2 with this value, and what gives it that."""
    value = tf.convert_to_tensor(value)
    g.count = getattr(g, "count", 0) + 1
    handle = raw.VarHandleOp(dtype=value.dtype, shape=value.shape, shared_name=f"variable{g.count}")
    return handle, raw.AssignVariableOp(resource=handle, value=value)


def after(handle, changed, like):
    with tf.control_dependencies([changed]):
        return raw.ReadVariableOp(resource=handle, dtype=like.dtype)


def stepped(g, name, states, gradient, rows=None, **numbers):
    """What a variable and what is kept beside it are after a step of an optimizer."""
    made = [variable(g, state) for state in states.values()]
    if "indices" in numbers or rows is not None:
        numbers["indices"] = rows
    handles = dict(zip(states, (handle for handle, _ in made)))
    with tf.control_dependencies([assigned for _, assigned in made]):
        step = getattr(raw, name)(**handles, **{"delta" if "GradientDescent" in name and rows is None else "grad": gradient}, **numbers)
    for key, (handle, _) in zip(states, made):
        g.out(**{f"{name}_{key}": after(handle, step, gradient)})


@case(rtol=1e-5)
def optimizers(g):
    """A step of each optimizer, of all of a variable."""
    v, gradient = g.input("v", (2, 3)), g.input("gradient", (2, 3))
    one, two = tf.square(v) + 0.5, tf.square(gradient) + 0.25
    adam = dict(beta1=0.9, beta2=0.99, lr=0.1, epsilon=1e-3, beta1_power=0.81)
    stepped(g, "ResourceApplyGradientDescent", dict(var=v), gradient, alpha=0.3)
    stepped(g, "ResourceApplyProximalGradientDescent", dict(var=v), gradient, alpha=0.3, l1=0.2, l2=0.1)
    stepped(g, "ResourceApplyMomentum", dict(var=v, accum=one), gradient, lr=0.1, momentum=0.9, use_nesterov=True)
    stepped(g, "ResourceApplyKerasMomentum", dict(var=v, accum=one), gradient, lr=0.1, momentum=0.9)
    stepped(g, "ResourceApplyAdam", dict(var=v, m=one, v=two), gradient, beta2_power=0.97, **adam)
    stepped(g, "ResourceApplyAdamWithAmsgrad", dict(var=v, m=one, v=two, vhat=one), gradient, beta2_power=0.97, **adam)
    stepped(g, "ResourceApplyAdaMax", dict(var=v, m=one, v=two), gradient, **adam)
    stepped(g, "ResourceApplyAdadelta", dict(var=v, accum=one, accum_update=two), gradient, lr=0.1, rho=0.9, epsilon=1e-3)
    stepped(g, "ResourceApplyAdagrad", dict(var=v, accum=one), gradient, lr=0.1)
    stepped(g, "ResourceApplyAdagradV2", dict(var=v, accum=one), gradient, lr=0.1, epsilon=1e-3, update_slots=False)
    stepped(g, "ResourceApplyAdagradDA", dict(var=v, gradient_accumulator=one, gradient_squared_accumulator=two), gradient, lr=0.1,
            l1=0.1, l2=0.2, global_step=tf.constant(3, tf.int64))
    stepped(g, "ResourceApplyProximalAdagrad", dict(var=v, accum=one), gradient, lr=0.1, l1=0.1, l2=0.2)
    stepped(g, "ResourceApplyFtrl", dict(var=v, accum=one, linear=two), gradient, lr=0.1, l1=0.1, l2=0.2, lr_power=-0.3)
    stepped(g, "ResourceApplyFtrlV2", dict(var=v, accum=one, linear=two), gradient, lr=0.1, l1=0.1, l2=0.2, l2_shrinkage=0.1,
            lr_power=-0.5, multiply_linear_by_lr=True)
    stepped(g, "ResourceApplyRMSProp", dict(var=v, ms=one, mom=two), gradient, lr=0.1, rho=0.9, momentum=0.8, epsilon=1e-3)
    stepped(g, "ResourceApplyCenteredRMSProp", dict(var=v, mg=v, ms=one + 4.0, mom=two), gradient, lr=0.1, rho=0.9, momentum=0.8, epsilon=1e-3)
    stepped(g, "ResourceApplyAddSign", dict(var=v, m=two), gradient, lr=0.1, alpha=1.0, sign_decay=0.9, beta=0.8)
    stepped(g, "ResourceApplyPowerSign", dict(var=v, m=two), gradient, lr=0.1, logbase=1.0, sign_decay=0.9, beta=0.8)


@case(rtol=1e-5)
def optimizers_of_rows(g):
    """A step of some rows of a variable, one of them twice."""
    v, gradient, rows = g.input("v", (3, 2)), g.input("gradient", (3, 2)), g.feed("rows", [2, 0, 2], "int32")
    one, two = tf.square(v) + 0.5, tf.abs(v) + 0.25
    stepped(g, "ResourceSparseApplyProximalGradientDescent", dict(var=v), gradient, rows, alpha=0.3, l1=0.2, l2=0.1)
    stepped(g, "ResourceSparseApplyMomentum", dict(var=v, accum=one), gradient, rows, lr=0.1, momentum=0.9)
    stepped(g, "ResourceSparseApplyKerasMomentum", dict(var=v, accum=one), gradient, rows, lr=0.1, momentum=0.9, use_nesterov=True)
    stepped(g, "ResourceSparseApplyAdadelta", dict(var=v, accum=one, accum_update=two), gradient, rows, lr=0.1, rho=0.9, epsilon=1e-3)
    stepped(g, "ResourceSparseApplyAdagrad", dict(var=v, accum=one), gradient, rows, lr=0.1)
    stepped(g, "ResourceSparseApplyAdagradV2", dict(var=v, accum=one), gradient, rows, lr=0.1, epsilon=1e-3)
    stepped(g, "ResourceSparseApplyFtrl", dict(var=v, accum=one, linear=two), gradient, rows, lr=0.1, l1=0.1, l2=0.2, lr_power=-0.5)
    stepped(g, "ResourceSparseApplyRMSProp", dict(var=v, ms=one, mom=two), gradient, rows, lr=0.1, rho=0.9, momentum=0.8, epsilon=1e-3)
    stepped(g, "ResourceSparseApplyCenteredRMSProp", dict(var=v, mg=v, ms=one + 4.0, mom=two), gradient, rows, lr=0.1, rho=0.9,
            momentum=0.8, epsilon=1e-3)


@case(rtol=1e-6)
def scattered_variables(g):
    """Slices of variables changed, one after the other; a counter."""
    x, rows, updates = g.input("x", (4, 3)), g.feed("rows", [3, 1, 3], "int64"), g.input("updates", (3, 3), low=0.5, high=2.0)
    for how in ("Update", "Add", "Sub", "Mul", "Div", "Min", "Max"):
        handle, last = variable(g, x)
        with tf.control_dependencies([last]):
            last = getattr(raw, "ResourceScatter" + how)(resource=handle, indices=rows, updates=updates)
        with tf.control_dependencies([last]):
            last = getattr(raw, "ResourceScatter" + how)(resource=handle, indices=tf.constant([[0]]), updates=tf.constant(1.5))
        g.out(**{f"rows_{how.lower()}": after(handle, last, x)})
    places = tf.stack([rows, tf.zeros_like(rows)], axis=1)
    for how in ("Update", "Add", "Sub", "Min", "Max"):
        handle, last = variable(g, x)
        with tf.control_dependencies([last]):
            last = getattr(raw, "ResourceScatterNd" + how)(ref=handle, indices=places, updates=updates[:, 0])
        g.out(**{f"places_{how.lower()}": after(handle, last, x)})
    handle, last = variable(g, x)
    with tf.control_dependencies([last]):
        last = raw.ResourceStridedSliceAssign(ref=handle, begin=[0, 2], end=[4, 0], strides=[2, -1], value=updates[:2, :2])
    g.out(slice_written=after(handle, last, x))
    handle, last = variable(g, tf.constant(5))
    with tf.control_dependencies([last]):
        count = raw.ResourceCountUpTo(resource=handle, limit=7, T=tf.int32)
    g.out(counted=count, counter=after(handle, count.op, count))


@case(rtol=1e-5)
def gradients_of_windows(g):
    """Of pools by their input, of convolutions by their filter."""
    x, dy = g.input("x", (2, 5, 4, 3)), g.input("dy", (2, 3, 2, 3))
    more = dict(ksize=[1, 2, 3, 1], strides=[1, 2, 2, 1], padding="SAME")
    g.out(max=raw.MaxPoolGrad(orig_input=x, orig_output=raw.MaxPool(input=x, **more), grad=dy, **more))
    g.out(average=raw.AvgPoolGrad(orig_input_shape=tf.shape(x), grad=dy, **more))
    y, places = raw.MaxPoolWithArgmax(input=x, **more)
    g.out(placed=raw.MaxPoolGradWithArgmax(input=x, grad=dy, argmax=places, **more))
    volume, wide = dict(ksize=[1, 2, 2, 2, 1], strides=[1, 1, 2, 1, 1], padding="VALID"), tf.round(g.input("volume", (1, 3, 4, 3, 2)))
    top = raw.MaxPool3D(input=wide, **volume)
    g.out(max_of_volumes=raw.MaxPool3DGrad(orig_input=wide, orig_output=top, grad=top + 1.0, **volume))
    g.out(average_of_volumes=raw.AvgPool3DGrad(orig_input_shape=tf.shape(wide), grad=top, **volume))
    conv = dict(strides=[1, 2, 2, 1], padding="SAME")
    for dtype in ("float32", "float64"):
        a, b = tf.cast(x, dtype), tf.cast(g.input(f"by_{dtype}", (2, 3, 2, 6)), dtype)
        g.out(**{f"filter_{dtype}": raw.Conv2DBackpropFilter(input=a, filter_sizes=[3, 2, 3, 6], out_backprop=b, **conv)})
        g.out(**{f"depthwise_{dtype}": raw.DepthwiseConv2dNativeBackpropFilter(input=a, filter_sizes=[3, 2, 3, 2], out_backprop=b, **conv)})
    by = g.input("by_volume", (1, 2, 2, 2, 4))
    g.out(filter_of_volumes=raw.Conv3DBackpropFilterV2(input=wide, filter_sizes=[2, 2, 2, 2, 4], out_backprop=by, strides=[1, 1, 2, 1, 1], padding="VALID"))


@case()
def slices_written(g):
    """Into zeros and into a tensor, with new axes and axes that go."""
    x, row = g.input("x", (3, 4)), g.input("row", (1, 3))
    g.out(gradient=raw.StridedSliceGrad(shape=[3, 4], begin=[0, 1, 3], end=[0, 2, -5], strides=[1, 1, -1], dy=g.input("dy", (1, 4)),
                                        new_axis_mask=1, shrink_axis_mask=2))
    g.out(update=raw.TensorStridedSliceUpdate(input=x, begin=[-1, 0], end=[-4, 3], strides=[-2, 1], value=row))
    g.out(added=raw.ScatterNdNonAliasingAdd(input=x, indices=[[1], [1]], updates=tf.concat([x[:1], x[2:]], 0)))


@case(rtol=1e-4, atol=1e-5)
def gradients_of_batch_norm(g):
    """Of statistics of the batch, and of given ones; channels last and second."""
    x, dy = g.input("x", (2, 3, 2, 4)), g.input("dy", (2, 3, 2, 4))
    mean, variance = tf.reduce_mean(x, [0, 1, 2]), tf.math.reduce_variance(x, [0, 1, 2])
    for training in (True, False):
        made = raw.FusedBatchNormGradV3(y_backprop=dy, x=x, scale=variance + 0.5, reserve_space_1=mean, reserve_space_2=variance,
                                        reserve_space_3=mean, is_training=training, epsilon=1e-3)
        g.out(**{f"{part}_{training}": tensor for part, tensor in zip(("x", "scale", "offset"), made)})
    second = raw.FusedBatchNormGradV2(y_backprop=tf.cast(dy, "float16"), x=tf.cast(x, "float16"), scale=variance[:3], reserve_space_1=mean[:3],
                                      reserve_space_2=variance[:3], data_format="NCHW")
    g.out(second_offset=second[2], nothing=second[3])


@case(rtol=1e-4, atol=1e-5)
def gradients_of_resizes(g):
    """By the image, and the slopes of gamma functions and leaky rectifiers."""
    image, dy = g.input("image", (1, 3, 4, 2)), g.input("dy", (1, 5, 3, 2))
    for name, more in (("legacy", {}), ("corners", dict(align_corners=True)), ("half", dict(half_pixel_centers=True))):
        g.out(**{f"bilinear_{name}": raw.ResizeBilinearGrad(grads=dy, original_image=image, **more)})
        g.out(**{f"bicubic_{name}": raw.ResizeBicubicGrad(grads=dy, original_image=image, **more)})
        g.out(**{f"nearest_{name}": raw.ResizeNearestNeighborGrad(grads=dy, size=[3, 4], **more)})
    a, x = tf.abs(image) + 0.1, tf.abs(image[:, ::-1]) * 4.0 + 0.1
    g.out(igamma=raw.IgammaGradA(a=a, x=x), sample=raw.RandomGammaGrad(alpha=a, sample=x))
    g.out(leaky=raw.LeakyReluGrad(gradients=image, features=image[:, ::-1], alpha=0.3))


@case(rtol=1e-5)
def gradients_of_segments(g):
    """By the rows of a table that they were made of; rows changed in place."""
    dy, rows = g.input("dy", (3, 2)), g.feed("rows", [4, 0, 4, 1], "int32")
    for how in ("Sum", "Mean", "SqrtN"):
        made = getattr(raw, f"SparseSegment{how}Grad")(grad=dy, indices=rows, segment_ids=tf.constant([0, 0, 0, 2]), output_dim0=6)
        g.out(**{how.lower(): made})
    # Each writes over what it is given.
    for how, factor in (("Update", 1.5), ("Add", 2.5), ("Sub", 3.5)):
        g.out(**{f"inplace_{how.lower()}": getattr(raw, "Inplace" + how)(x=dy * factor, i=[-1, 0], v=dy[1:] * 2.0)})
