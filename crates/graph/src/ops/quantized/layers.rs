//! Layers of quantised integers: QuantizedConv2D, QuantizedMatMul, QuantizedMaxPool, QuantizedAvgPool, QuantizedRelu,
//! QuantizedRelu6, QuantizedReshape.
//!
//! Each tensor of integers comes with the minimum and the maximum of its range, and leaves with them. Convolution and
//! product take uint8 (the filter of a convolution also int8) and give int32 sums, whose range is that of the products;
//! the others give their input's type and range. Images are `[batch, height, width, channels]`; padding stands for 0.

use tightfit_core::{DType, Shape};
use tightfit_kernels::{
    PoolKind, QuantizedConv2d, QuantizedRange, QuantizedWindow, quantized_average, quantized_clamp,
    quantized_matmul,
};

use super::convert::{check_numbers, give, number, range_of, reshape_with_range, with_range};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run, reshape};
use crate::ops::array::reshape::Reshape;
use crate::ops::nn::max_pool_with_argmax::AnyPool;
use crate::ops::shared;
use crate::ops::shared::window::{Padding, WindowAttributes, pair};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "QuantizedConv2D", import: import_conv },
    Registration { name: "QuantizedMatMul", import: import_matmul },
    Registration { name: "QuantizedMaxPool", import: |a| import_pool(a, PoolKind::Max) },
    Registration { name: "QuantizedAvgPool", import: |a| import_pool(a, PoolKind::Average) },
    Registration {
        name: "QuantizedRelu",
        import: |_| Ok(Box::new(Clamp { name: "QuantizedRelu", high: None })),
    },
    Registration {
        name: "QuantizedRelu6",
        import: |_| Ok(Box::new(Clamp { name: "QuantizedRelu6", high: Some(6.0) })),
    },
    Registration { name: "QuantizedReshape", import: |_| Ok(Box::new(QuantizedReshape)) },
];

fn import_conv(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let window = WindowAttributes::import(attributes)?;
    if window.strides[0] != window.strides[1] {
        return Err(OpError::attribute(
            "strides",
            format!("are {:?}; equal ones are needed", window.strides),
        ));
    }
    if window.dilations != [1, 1] {
        return Err(OpError::attribute("dilations", "are not 1; a quantised convolution has no others"));
    }
    if matches!(window.padding, Padding::Explicit(_)) {
        return Err(OpError::attribute("padding", "is EXPLICIT; SAME and VALID are supported"));
    }
    Ok(Box::new(Conv2d { window }))
}

/// QuantizedConv2D.
#[derive(Debug)]
struct Conv2d {
    window: WindowAttributes,
}

impl Conv2d {
    /// How far the first position of the filter reaches beyond the image; with padding it may also begin inside of it, as
    /// TensorFlow has it.
    fn before(&self, filter: &[usize], image: &[usize], output: &[usize]) -> [isize; 2] {
        std::array::from_fn(|axis| {
            if self.window.padding != Padding::Same {
                return 0;
            }
            let steps = (output[axis] as isize - 1) * self.window.strides[axis] as isize;
            (steps + filter[axis] as isize - image[axis] as isize) / 2
        })
    }
}

/// The two ranges of a product, which must not be empty.
fn factor_ranges(run: &Run<'_>) -> Result<(QuantizedRange, QuantizedRange), OpError> {
    let ranges = (range_of(run, 0, 2)?, range_of(run, 1, 4)?);
    for (range, max) in [(ranges.0, 3), (ranges.1, 5)] {
        if range.max <= range.min || range.max.is_nan() || range.min.is_nan() {
            return Err(OpError::input(
                max,
                format!("is {}, not above the minimum, {}", range.max, range.min),
            ));
        }
    }
    Ok(ranges)
}

/// What stands for 0, as far as it is a number of 32 bits.
fn zero(range: &QuantizedRange) -> Result<i32, OpError> {
    i32::try_from(range.unclamped(0.0))
        .map_err(|_| OpError::Invalid(format!("the range {} to {} is too far from 0", range.min, range.max)))
}

impl Operator for Conv2d {
    fn name(&self) -> &'static str {
        "QuantizedConv2D"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, filter) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, input, &[DType::U8])?;
        shared::need_type(1, filter, &[DType::U8, DType::I8])?;
        check_numbers(inputs, 2..6)?;
        let image = shared::dims_of_rank(0, input, 4)?.unwrap_or(vec![Dim::Unknown; 4]);
        let size = shared::dims_of_rank(1, filter, 4)?.unwrap_or(vec![Dim::Unknown; 4]);
        if let (Some(channels), Some(depth)) = (image[3].size(), size[2].size())
            && channels != depth
        {
            return Err(OpError::input(1, format!("is of shape {} for {channels} channels", filter.dims)));
        }
        let [rows, columns] = match (size[0].size(), size[1].size()) {
            (Some(height), Some(width)) => self.window.output([height, width], &image[1..3])?,
            _ => [Dim::Unknown; 2],
        };
        Ok(with_range(Fact::new(DType::I32, Dims::new([image[0], rows, columns, size[3]]))))
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        self.window.check_filter(inputs)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input_range, filter_range) = (range_of(run, 0, 2)?, range_of(run, 1, 4)?);
        let (input, filter) = (run.input(0)?, run.input(1)?);
        if input.shape().elements() == 0 || filter.shape().elements() == 0 {
            let empty = usize::from(input.shape().elements() > 0);
            return Err(OpError::input(empty, "has no elements"));
        }
        let output = four(run.output_shape(0))?;
        let window = QuantizedWindow {
            input: four(*input.shape())?,
            filter: four(*filter.shape())?,
            output: [output[1], output[2]],
            strides: self.window.strides,
            dilations: [1, 1],
            before: self.before(&filter.shape()[..2], &input.shape()[1..3], &output[1..3]),
            is_input_signed: false,
        };
        let conv = QuantizedConv2d {
            window,
            input_zero: zero(&input_range)?,
            filter_zero: zero(&filter_range)?,
            is_filter_signed: filter.dtype() == DType::I8,
        };
        conv.run(run.pool, input.bytes(), filter.bytes(), run.out(0)?)?;
        give(run, 1, QuantizedRange::of_products(&input_range, &filter_range))
    }
}

/// The four sizes of an image or a filter.
pub(super) fn four(shape: Shape) -> Result<[usize; 4], OpError> {
    <[usize; 4]>::try_from(&shape[..]).map_err(|_| OpError::Internal("an image of other than four axes"))
}

fn import_matmul(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(MatMul {
        transpose_a: attributes.bool_or("transpose_a", false)?,
        transpose_b: attributes.bool_or("transpose_b", false)?,
    }))
}

/// QuantizedMatMul.
#[derive(Debug)]
struct MatMul {
    transpose_a: bool,
    transpose_b: bool,
}

/// Two dimensions in the order of a matrix that is not transposed.
fn turned<T: Copy>(dims: &[T], is_transposed: bool) -> [T; 2] {
    if is_transposed { [dims[1], dims[0]] } else { [dims[0], dims[1]] }
}

impl Operator for MatMul {
    fn name(&self) -> &'static str {
        "QuantizedMatMul"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (left, right) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, left, &[DType::U8])?;
        shared::need_type(1, right, &[DType::U8])?;
        check_numbers(inputs, 2..6)?;
        let open = || vec![Dim::Unknown; 2];
        let [m, k] = turned(&shared::dims_of_rank(0, left, 2)?.unwrap_or_else(open), self.transpose_a);
        let [depth, n] = turned(&shared::dims_of_rank(1, right, 2)?.unwrap_or_else(open), self.transpose_b);
        if k.size().zip(depth.size()).is_some_and(|(a, b)| a != b) && !left.is_bound && !right.is_bound {
            return Err(OpError::input(1, format!("has {depth} rows where input 0 has {k} columns")));
        }
        Ok(with_range(Fact::new(DType::I32, Dims::new([m, n]))))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (left_range, right_range) = factor_ranges(run)?;
        let ([m, k], [depth, n]) =
            (turned(&run.shape(0), self.transpose_a), turned(&run.shape(1), self.transpose_b));
        if k != depth {
            return Err(OpError::input(1, format!("has {depth} rows where input 0 has {k} columns")));
        }
        let (left, right) = (run.slice::<u8>(0)?, run.slice::<u8>(1)?);
        quantized_matmul(
            run.pool,
            (m, k, n),
            (self.transpose_a, self.transpose_b),
            (left, zero(&left_range)?),
            (right, zero(&right_range)?, false),
            run.out(0)?,
        )?;
        give(run, 1, QuantizedRange::of_products(&left_range, &right_range))
    }
}

fn import_pool(attributes: &Attributes<'_>, kind: PoolKind) -> Result<Box<dyn Operator>, OpError> {
    let size = pair("ksize", &attributes.ints("ksize")?)?;
    let window = WindowAttributes::import_pool(attributes)?;
    let pool = AnyPool { kind: PoolKind::Max, size, window, channels: 1, places: None };
    Ok(Box::new(Pool { kind, pool }))
}

/// QuantizedMaxPool and QuantizedAvgPool.
#[derive(Debug)]
struct Pool {
    kind: PoolKind,
    /// The window, as that of a largest element.
    pool: AnyPool,
}

impl Operator for Pool {
    fn name(&self) -> &'static str {
        if self.kind == PoolKind::Max { "QuantizedMaxPool" } else { "QuantizedAvgPool" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        shared::need_type(0, shared::input(inputs, 0)?, &[DType::U8, DType::I8])?;
        check_numbers(inputs, 1..3)?;
        let fact = self.pool.infer(&inputs[..1])?.remove(0);
        Ok(with_range(fact))
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        self.pool.check(inputs)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if self.kind == PoolKind::Max {
            self.pool.run(run)?;
        } else {
            let (input, pool) = (run.input(0)?, run.pool);
            let image = [input.shape()[1], input.shape()[2]];
            let window = self.pool.window.window(self.pool.size, image);
            quantized_average(pool, window, input, &mut run.output(0)?)?;
        }
        let range = (number(run, 1)?, number(run, 2)?);
        give(run, 1, range)
    }
}

/// QuantizedRelu and QuantizedRelu6.
#[derive(Debug)]
struct Clamp {
    name: &'static str,
    /// The largest number.
    high: Option<f32>,
}

impl Operator for Clamp {
    fn name(&self) -> &'static str {
        self.name
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::U8, DType::I32])?;
        check_numbers(inputs, 1..3)?;
        Ok(with_range(Fact::new(input.dtype, input.dims.clone())))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape_with_range(run)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let range = range_of(run, 0, 1)?;
        let high = self.high.map_or(range.highest(), |high| range.quantized(high));
        let (input, pool) = (run.input(0)?, run.pool);
        quantized_clamp(pool, input, (range.quantized(0.0), high), &mut run.output(0)?)?;
        give(run, 1, (range.min, range.max))
    }
}

/// QuantizedReshape.
#[derive(Debug)]
struct QuantizedReshape;

impl Operator for QuantizedReshape {
    fn name(&self) -> &'static str {
        "QuantizedReshape"
    }

    fn grows_with(&self, input: usize) -> bool {
        Reshape.grows_with(input)
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        check_numbers(inputs, 2..4)?;
        shared::dims_of_rank(1, shared::input(inputs, 1)?, 1)?;
        let fact = Reshape.infer(inputs)?.remove(0);
        Ok(with_range(Fact { value: None, ..fact }))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        Reshape.reshape(run)?;
        (1..3).try_for_each(|output| reshape::set(run, output, []))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let output = run.out_bytes(0)?;
        if output.len() != input.bytes().len() {
            return Err(OpError::input(
                1,
                format!("asks for other than {} elements", input.shape().elements()),
            ));
        }
        output.copy_from_slice(input.bytes());
        let range = (number(run, 2)?, number(run, 3)?);
        give(run, 1, range)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, ints, refuses, run, scalar, tensor, text};

    #[test]
    fn sums_are_those_of_the_numbers() {
        // 0 is 100 in both: (1, -2) . (3, 4) and its like.
        let (min, max) = (scalar(-1f32), scalar(1.55f32));
        let a = tensor(&[2, 2], &[101u8, 98, 100, 100]);
        let b = tensor(&[2, 1], &[103u8, 104]);
        let inputs = [a, b, min.clone(), max.clone(), min.clone(), max.clone()];
        let outputs = run("QuantizedMatMul", &[], &inputs).unwrap();
        assert_eq!(outputs[0].values::<i32>(), [3 - 8, 0]);
        let step = 0.01f32 * 0.01;
        let high = outputs[2].values::<f32>()[0];
        assert!((high / (step * 2_147_483_648.0) - 1.0).abs() < 1e-5, "{high}");
        let mut empty = inputs.to_vec();
        empty[3] = scalar(-1f32);
        refuses("QuantizedMatMul", &[], &empty, "not above the minimum");
    }

    #[test]
    fn padding_stands_for_zero() {
        let (min, max) = (scalar(-1f32), scalar(1.55f32));
        let x = tensor(&[1, 2, 2, 1], &[101u8, 102, 103, 104]);
        let w = tensor(&[3, 3, 1, 1], &[101u8; 9]);
        let inputs = [x, w, min.clone(), max.clone(), min, max];
        let attributes = [("strides", ints(&[1, 1, 1, 1])), ("padding", text("SAME"))];
        let outputs = run("QuantizedConv2D", &attributes, &inputs).unwrap();
        assert_eq!(outputs[0].values::<i32>(), [10; 4]);
        let dilated = [attributes.as_slice(), &[("dilations", ints(&[1, 2, 2, 1]))]].concat();
        refuses("QuantizedConv2D", &dilated, &inputs, "dilations");
    }

    #[test]
    fn pools_and_bounds_keep_the_range() {
        let range = [scalar(-1f32), scalar(1.55f32)];
        let with = |x| [vec![x], range.to_vec()].concat();
        let x = tensor(&[1, 2, 2, 1], &[1u8, 50, 120, 254]);
        let pool =
            [("ksize", ints(&[1, 2, 2, 1])), ("strides", ints(&[1, 2, 2, 1])), ("padding", text("VALID"))];
        let one = |value: u8| with(tensor(&[1, 1, 1, 1], &[value]));
        check("QuantizedMaxPool", &pool, &with(x.clone()), &one(254));
        check("QuantizedAvgPool", &pool, &with(x.clone()), &one(106));
        check("QuantizedRelu", &[], &with(x), &with(tensor(&[1, 2, 2, 1], &[100u8, 100, 120, 254])));
    }

    #[test]
    fn a_shape_is_a_vector() {
        let inputs = [tensor(&[1], &[1u8]), scalar(1i32), scalar(0f32), scalar(1f32)];
        refuses("QuantizedReshape", &[], &inputs, "rank 1 is needed");
    }

    /// TensorFlow's QuantizedAvgPool does not look at the step over channels.
    #[test]
    fn a_pool_takes_any_step_over_channels() {
        let steps =
            [("ksize", ints(&[1, 2, 2, 1])), ("strides", ints(&[1, 1, 1, 0])), ("padding", text("VALID"))];
        let inputs = [tensor(&[1, 2, 2, 1], &[1u8, 2, 3, 10]), scalar(0f32), scalar(1f32)];
        let expected = [tensor(&[1, 1, 1, 1], &[4u8]), scalar(0f32), scalar(1f32)];
        check("QuantizedAvgPool", &steps, &inputs, &expected);
    }
}
