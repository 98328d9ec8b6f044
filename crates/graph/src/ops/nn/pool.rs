//! Pooling of `[batch, height, width, channels]`: MaxPool, MaxPoolV2 and AvgPool.
//!
//! float32 (averages of float16 and bfloat16 are converted around it, other types in [`super::max_pool_with_argmax`]), data format NHWC, and NCHW as a change of layout around it, no pooling over the batch; MaxPool
//! also over channels, in windows that do not overlap. The window is the attribute `ksize`; MaxPoolV2 has window and strides as inputs, which must be constants. An average is
//! over those pixels of the window that lie in the image.

use tightfit_core::DType;
use tightfit_kernels::{Isa, Pool2d, PoolKind, max_over_channels};

use super::max_pool_with_argmax::AnyPool;
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::window::{Padding, WindowAttributes, channel_window, padding, pair, pool_strides};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "MaxPool", import: |attributes| import(attributes, PoolKind::Max) },
    Registration { name: "AvgPool", import: |attributes| import(attributes, PoolKind::Average) },
    Registration { name: "MaxPoolV2", import: import_v2 },
];

fn import(attributes: &Attributes<'_>, kind: PoolKind) -> Result<Box<dyn Operator>, OpError> {
    let (ksize, strides) = (attributes.ints("ksize")?, attributes.ints("strides")?);
    if kind == PoolKind::Max
        && attributes.text_or("data_format", "NHWC")? == "NHWC"
        && let Some(pool) = over_channels(&ksize, &strides)?
    {
        padding(attributes)?;
        return Ok(pool);
    }
    let size = pair("ksize", &ksize)?;
    let window = WindowAttributes::import_pool(attributes)?;
    if let Padding::Explicit([top, bottom, left, right]) = window.padding
        && (top.max(bottom) >= size[0] || left.max(right) >= size[1])
    {
        let why = format!("has more than windows of {size:?} reach over");
        return Err(OpError::attribute("explicit_paddings", why));
    }
    Ok(max_or_average(attributes.dtype_or("T", DType::F32)?, kind, size, window))
}

/// The pool over channels that window and strides ask for, if they do.
///
/// # Errors
/// [`OpError::Attribute`] for what TensorFlow refuses: windows that overlap, and those that also cover other pixels.
fn over_channels(ksize: &[i64], strides: &[i64]) -> Result<Option<Box<dyn Operator>>, OpError> {
    Ok(channel_window(ksize, strides)?
        .map(|channels| Box::new(ChannelPool { channels }) as Box<dyn Operator>))
}

/// The largest of each of several neighbouring channels.
#[derive(Debug)]
struct ChannelPool {
    channels: usize,
}

impl Operator for ChannelPool {
    fn name(&self) -> &'static str {
        "MaxPool"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        if !input.dtype.is_float() && !input.dtype.is_integer() {
            return Err(OpError::input(0, format!("is of type {}, which is not supported", input.dtype)));
        }
        let Some(mut dims) = shared::dims_of_rank(0, input, 4)? else {
            return Ok(vec![Fact::new(input.dtype, Dims::of_rank(4))]);
        };
        if dims[3].size().is_some_and(|size| size % self.channels != 0) {
            let why = format!(
                "is of shape {}, whose channels a window of {} does not divide",
                input.dims, self.channels
            );
            return Err(OpError::input(0, why));
        }
        dims[3] = dims[3].divided_by(Dim::Known(self.channels as i64));
        Ok(vec![Fact::new(input.dtype, Dims::new(dims))])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        Ok(max_over_channels(run.pool, self.channels, input, &mut run.output(0)?)?)
    }
}

/// The pool for elements of this type.
fn max_or_average(
    dtype: DType,
    kind: PoolKind,
    size: [usize; 2],
    window: WindowAttributes,
) -> Box<dyn Operator> {
    match dtype {
        DType::F32 => Box::new(Pool { kind, size, window }),
        // Averages are converted around it; the largest of nothing but NaN is the type's own lowest number.
        DType::F16 | DType::BF16 if kind == PoolKind::Average => Box::new(Pool { kind, size, window }),
        _ => Box::new(AnyPool { kind, size, window, channels: 1, places: None }),
    }
}

fn import_v2(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    attributes.only("data_format", "NHWC")?;
    let padding = match attributes.text("padding")? {
        "SAME" => Padding::Same,
        "VALID" => Padding::Valid,
        other => return Err(OpError::attribute("padding", format!("is {other}"))),
    };
    Ok(Box::new(MaxPoolV2 { padding }))
}

/// Pooling with a window that is known at import.
#[derive(Debug, Clone)]
pub struct Pool {
    /// What is made of a window's elements.
    pub kind: PoolKind,
    /// Height and width of the window.
    pub size: [usize; 2],
    /// How it moves.
    pub window: WindowAttributes,
}

impl Pool {
    fn kernel(&self, isa: Isa, input: &[usize]) -> Result<Pool2d, OpError> {
        let shape = <[usize; 4]>::try_from(input)
            .map_err(|_| OpError::Internal("pooling of other than four axes"))?;
        let window = self.window.window(self.size, [shape[1], shape[2]]);
        Ok(Pool2d::new(isa, self.kind, shape, window)?)
    }
}

impl Operator for Pool {
    fn name(&self) -> &'static str {
        match self.kind {
            PoolKind::Max => "MaxPool",
            PoolKind::Average => "AvgPool",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::F32])?;
        let Some(image) = shared::dims_of_rank(0, input, 4)? else {
            return Ok(vec![Fact::new(DType::F32, Dims::of_rank(4))]);
        };
        let [rows, columns] = self.window.output(self.size, &image[1..3])?;
        if let Some(shape) = input.dims.concrete() {
            self.kernel(Isa::Portable, &shape)?;
        }
        Ok(vec![Fact::new(DType::F32, Dims::new([image[0], rows, columns, image[3]]))])
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        let Some(image) = shared::input(inputs, 0)?.dims.get() else { return Ok(()) };
        if self.kind == PoolKind::Max {
            self.window.check_channels(image)?;
        }
        self.window.check(self.size, image)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let kernel = self.kernel(run.pool.isa(), &run.shape(0))?;
        let input = run.slice::<f32>(0)?;
        Ok(kernel.run(run.pool, input, run.out(0)?)?)
    }
}

/// Pooling with a window and strides that are inputs.
#[derive(Debug)]
struct MaxPoolV2 {
    padding: Padding,
}

impl MaxPoolV2 {
    fn pool(&self, dtype: DType, size: &[i64], strides: &[i64]) -> Result<Box<dyn Operator>, OpError> {
        if let Some(pool) = over_channels(size, strides)? {
            return Ok(pool);
        }
        let named = |input: usize| move |error: OpError| OpError::input(input, error.to_string());
        let strides = pool_strides("", strides).map_err(named(2))?;
        let window = WindowAttributes { strides, dilations: [1, 1], padding: self.padding };
        Ok(max_or_average(dtype, PoolKind::Max, pair("", size).map_err(named(1))?, window))
    }
}

impl Operator for MaxPoolV2 {
    fn name(&self) -> &'static str {
        "MaxPoolV2"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        match (shared::input(inputs, 1)?.ints(), shared::input(inputs, 2)?.ints()) {
            (Some(size), Some(strides)) => self.pool(input.dtype, &size, &strides)?.infer(inputs),
            _ => Ok(vec![Fact::new(input.dtype, Dims::of_rank(4))]),
        }
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        match (shared::input(inputs, 1)?.ints(), shared::input(inputs, 2)?.ints()) {
            (Some(size), Some(strides)) => {
                self.pool(shared::input(inputs, 0)?.dtype, &size, &strides)?.check(inputs)
            }
            _ => Ok(()),
        }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        self.pool(run.dtype(0), &run.ints::<4>(1)?, &run.ints::<4>(2)?)?.run(run)
    }
}

#[cfg(test)]
mod tests {
    use super::DType;
    use crate::testing::{check, int, ints, refuses, tensor, text};

    #[test]
    fn windows_at_the_edge_are_smaller() {
        let x = tensor(&[1, 3, 3, 1], &(1..=9).map(|v| v as f32).collect::<Vec<_>>());
        let same = |padding| {
            [("ksize", ints(&[1, 2, 2, 1])), ("strides", ints(&[1, 2, 2, 1])), ("padding", text(padding))]
        };
        check("MaxPool", &same("SAME"), &[x.clone()], &[tensor(&[1, 2, 2, 1], &[5.0f32, 6.0, 8.0, 9.0])]);
        check("AvgPool", &same("SAME"), &[x.clone()], &[tensor(&[1, 2, 2, 1], &[3.0f32, 4.5, 7.5, 9.0])]);
        check("AvgPool", &same("VALID"), &[x.clone()], &[tensor(&[1, 1, 1, 1], &[3.0f32])]);
        // The step over channels is not looked at where the window covers one.
        let [ksize, _, padding] = same("VALID");
        let strides = ("strides", ints(&[1, 2, 2, 3]));
        check("AvgPool", &[ksize, strides, padding], &[x.clone()], &[tensor(&[1, 1, 1, 1], &[3.0f32])]);
        let sizes = [x.clone(), tensor(&[4], &[1i32, 2, 2, 1]), tensor(&[4], &[1i32, 1, 1, 1])];
        let expected = [tensor(&[1, 2, 2, 1], &[5.0f32, 6.0, 8.0, 9.0])];
        check("MaxPoolV2", &[("padding", text("VALID"))], &sizes, &expected);
        let [_, size, strides] = sizes;
        let doubles = tensor(&[1, 3, 3, 1], &(1..=9).map(|v| v as f64).collect::<Vec<_>>());
        let expected = [tensor(&[1, 2, 2, 1], &[5.0f64, 6.0, 8.0, 9.0])];
        check("MaxPoolV2", &[("padding", text("VALID"))], &[doubles, size, strides], &expected);
        let large =
            [("ksize", ints(&[1, 4, 1, 1])), ("strides", ints(&[1, 1, 1, 1])), ("padding", text("VALID"))];
        check("AvgPool", &large, &[x.clone()], &[tensor(&[1, 0, 3, 1], &[0.0f32; 0])]);
        let explicit = [
            ("ksize", ints(&[1, 2, 2, 1])),
            ("strides", ints(&[1, 2, 2, 1])),
            ("padding", text("EXPLICIT")),
            ("explicit_paddings", ints(&[0, 0, 1, 0, 1, 0, 0, 0])),
        ];
        let expected = [tensor(&[1, 2, 2, 1], &[1.0f32, 3.0, 7.0, 9.0])];
        check("MaxPool", &explicit, &[x.clone()], &expected);
        let mut wide = explicit;
        wide[3].1 = ints(&[0, 0, 1, 2, 1, 0, 0, 0]);
        refuses("MaxPool", &wide, &[x.clone()], "explicit_paddings");
        let channels = [
            ("ksize", ints(&[1, 1, 1, 1])),
            ("strides", ints(&[1, 1, 1, 1])),
            ("padding", text("EXPLICIT")),
            ("explicit_paddings", ints(&[])),
        ];
        refuses("MaxPool", &channels, &[x.clone()], "eight numbers");
        let mut channels = channels;
        (channels[0].1, channels[1].1) = (ints(&[1, 1, 1, 3]), ints(&[1, 1, 1, 3]));
        refuses("MaxPool", &channels, &[x], "eight numbers");
    }

    #[test]
    fn the_largest_of_no_numbers_is_the_lowest_of_the_type() {
        use half::{bf16, f16};
        let pool =
            [("ksize", ints(&[1, 2, 1, 1])), ("strides", ints(&[1, 2, 1, 1])), ("padding", text("VALID"))];
        let typed = |t| [pool.as_slice(), &[("T", crate::testing::dtype(t))]].concat();
        let values = [f32::NAN, f32::NEG_INFINITY, f32::NAN, 1.0];
        let halves = tensor(&[1, 4, 1, 1], &values.map(f16::from_f32));
        check("MaxPool", &typed(DType::F16), &[halves], &[tensor(&[1, 2, 1, 1], &[f16::MIN, f16::ONE])]);
        let halves = tensor(&[1, 4, 1, 1], &values.map(bf16::from_f32));
        check("MaxPool", &typed(DType::BF16), &[halves], &[tensor(&[1, 2, 1, 1], &[bf16::MIN, bf16::ONE])]);
    }

    #[test]
    fn channels_are_pooled_in_windows_of_their_own() {
        let x = tensor(&[1, 1, 2, 6], &(0..12).map(|v| v as f32).collect::<Vec<_>>());
        let pool =
            [("ksize", ints(&[1, 1, 1, 3])), ("strides", ints(&[1, 1, 1, 3])), ("padding", text("VALID"))];
        check("MaxPool", &pool, &[x], &[tensor(&[1, 1, 2, 2], &[2.0f32, 5.0, 8.0, 11.0])]);
    }

    #[test]
    fn refuses_what_is_not_supported() {
        let x = tensor(&[1, 2, 2, 2], &[0.0f32; 8]);
        let pool = |ksize, padding| {
            [("ksize", ints(ksize)), ("strides", ints(&[1, 1, 1, 1])), ("padding", text(padding))]
        };
        refuses("MaxPool", &pool(&[1, 1, 1, 2], "SAME"), &[x.clone()], "strides");
        refuses("MaxPool", &pool(&[1, 2, 1, 2], "SAME"), &[x.clone()], "ksize");
        refuses("AvgPool", &pool(&[1, 1, 1, 2], "SAME"), &[x.clone()], "ksize");
        refuses("MaxPool", &pool(&[1, 4, 4, 1], "VALID"), &[x.clone()], "window");
        refuses("AvgPool", &pool(&[1, 1, 1, 1], "NONE"), &[x.clone()], "padding");
        refuses("MaxPool", &[("ksize", int(2))], &[x], "ksize");
    }
}
