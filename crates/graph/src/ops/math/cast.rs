//! The same numbers in another type, and the same bits: Cast, Bitcast.
//!
//! Shape: Cast keeps it. Bitcast to a smaller type adds a last axis of as many elements as one becomes, to a larger
//! one removes such an axis. Types: Cast takes every number and bool, to the results TensorFlow has on x86 (of complex numbers the real part); with
//! `Truncate` the bits that float16 and bfloat16 have no room for are cut off. float8_e5m2 and float8_e4m3fn are cast from
//! and to every number, int4 and uint4 from and to integers; each is held in a byte. Strings and quantised types are refused.
//! Bitcast takes every type but bool and string, and costs nothing: the output is the input's memory.

use tightfit_core::{DType, TensorView, TensorViewMut};
use tightfit_format::{AttrValue, DataType};
use tightfit_kernels::{SmallNumber, cast, cast_truncated, decode_small, encode_small};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Cast", import: import_cast },
    Registration { name: "Bitcast", import: |a| Ok(Box::new(Bitcast { to: a.dtype("type")? })) },
];

fn import_cast(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    if let Some(cast) = small_cast(attributes)? {
        return Ok(Box::new(cast));
    }
    let to = attributes.dtype("DstT")?;
    if !is_number(to) {
        return Err(OpError::attribute("DstT", format!("is {to}; only numbers and bool are supported")));
    }
    let is_truncated = attributes.bool_or("Truncate", false)?;
    Ok(if is_truncated { Box::new(TruncatingCast(Cast { to })) } else { Box::new(Cast { to }) })
}

/// The cast from or to a number of eight or four bits, which a node's attributes alone tell from an integer.
fn small_cast(attributes: &Attributes<'_>) -> Result<Option<SmallCast>, OpError> {
    let kind = |name: &str| match attributes.node().attr(name) {
        Some(AttrValue::Type(number)) if DataType(*number).is_quantized() => {
            Err(OpError::attribute(name, format!("is {}, which is not cast", DataType(*number))))
        }
        Some(AttrValue::Type(number)) => Ok(match DataType(*number).base() {
            DataType(24) => Some(SmallNumber::Float8E5M2),
            DataType(25) => Some(SmallNumber::Float8E4M3),
            DataType(29) => Some(SmallNumber::Int4),
            DataType(30) => Some(SmallNumber::UInt4),
            _ => None,
        }),
        _ => Ok(None),
    };
    let dtype = attributes.dtype("DstT");
    match (kind("SrcT")?, kind("DstT")?) {
        (None, None) => Ok(None),
        (Some(a), Some(b)) if a == b => Ok(None),
        (Some(_), Some(_)) => {
            Err(OpError::attribute("DstT", "and SrcT are both of few bits; cast one at a time"))
        }
        (Some(small), None) => Ok(Some(SmallCast { small, is_from: true, to: dtype? })),
        (None, Some(small)) => Ok(Some(SmallCast { small, is_from: false, to: dtype? })),
    }
}

/// A cast from or to a number of eight or four bits, which is held in a byte.
#[derive(Debug)]
struct SmallCast {
    small: SmallNumber,
    is_from: bool,
    to: DType,
}

impl SmallCast {
    /// The type that all such numbers are converted through.
    fn between(&self) -> DType {
        match (self.small.is_float(), self.is_from) {
            (true, true) => DType::F32,
            (true, false) => DType::F64,
            (false, true) => DType::I8,
            (false, false) => DType::I64,
        }
    }
}

impl Operator for SmallCast {
    fn name(&self) -> &'static str {
        "Cast"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        let other = if self.is_from { self.to } else { input.dtype };
        let fits = if self.small.is_float() { !matches!(other, DType::String) } else { other.is_integer() };
        if !fits || (self.is_from && !matches!(input.dtype, DType::I8 | DType::U8)) {
            let why =
                format!("is of type {}, which is not cast to {} by way of few bits", input.dtype, self.to);
            return Err(OpError::input(0, why));
        }
        Ok(vec![Fact::new(self.to, input.dims.clone())])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let elements = call.inputs.first().map_or(0, |input| input.shape.elements());
        Memory::scratch(elements.saturating_mul(self.between().bytes()))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, pool, between) = (run.input(0)?, run.pool, self.between());
        let shape = *input.shape();
        let small = || OpError::Internal("scratch is smaller than was planned");
        let room = run.scratch()?.get_mut(..shape.elements() * between.bytes()).ok_or_else(small)?;
        if self.is_from {
            if self.small.is_float() {
                let numbers = bytemuck::try_cast_slice_mut(room).map_err(|_| small())?;
                decode_small(self.small, input.bytes(), numbers)?;
            } else {
                room.iter_mut().zip(input.bytes()).for_each(|(to, byte)| *to = self.small.cut(*byte));
            }
            let numbers = TensorView::new(between, shape, room).ok_or_else(small)?;
            return Ok(cast(pool, numbers.into(), &mut run.output(0)?)?);
        }
        let mut wide = TensorViewMut::new(between, shape, room).ok_or_else(small)?;
        cast(pool, input.into(), &mut wide)?;
        if self.small.is_float() {
            let numbers = bytemuck::try_cast_slice(room).map_err(|_| small())?;
            return Ok(encode_small(self.small, numbers, run.out_bytes(0)?)?);
        }
        let lowest_bytes = room.iter().step_by(size_of::<i64>());
        run.out_bytes(0)?.iter_mut().zip(lowest_bytes).for_each(|(to, byte)| *to = self.small.cut(*byte));
        Ok(())
    }
}

fn is_number(dtype: DType) -> bool {
    dtype != DType::String
}

/// Conversion to another type.
#[derive(Debug, Clone, Copy)]
pub struct Cast {
    /// The type of the output.
    pub to: DType,
}

impl Operator for Cast {
    fn name(&self) -> &'static str {
        "Cast"
    }

    fn grows_with(&self, _: usize) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        if !is_number(input.dtype) {
            return Err(OpError::input(
                0,
                format!("is of type {}; only numbers and bool are supported", input.dtype),
            ));
        }
        let is_index = |dtype| matches!(dtype, DType::I32 | DType::I64);
        let values = input.dims_value().filter(|_| is_index(input.dtype) && is_index(self.to));
        Ok(vec![match values {
            Some(values) => Fact::of_dims(self.to, input.dims.clone(), &values),
            None => Fact::new(self.to, input.dims.clone()),
        }])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        if call.inputs.iter().all(|i| i.dtype == self.to) {
            Memory::alias(0)
        } else {
            Memory::overwrites(&[0])
        }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.src(0)?;
        Ok(cast(run.pool, input, &mut run.output(0)?)?)
    }
}

/// A cast that cuts off the bits that float16 and bfloat16 have no room for.
#[derive(Debug)]
struct TruncatingCast(Cast);

impl Operator for TruncatingCast {
    fn name(&self) -> &'static str {
        "Cast"
    }

    fn grows_with(&self, input: usize) -> bool {
        self.0.grows_with(input)
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        self.0.infer(inputs)
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        self.0.memory(call)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.src(0)?;
        Ok(cast_truncated(run.pool, input, &mut run.output(0)?)?)
    }
}

/// The same bits as another type.
#[derive(Debug)]
struct Bitcast {
    to: DType,
}

impl Operator for Bitcast {
    fn name(&self) -> &'static str {
        "Bitcast"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        if [input.dtype, self.to].iter().any(|t| matches!(t, DType::Bool | DType::String)) {
            return Err(OpError::input(
                0,
                format!("is of type {}, which has no bits as {}", input.dtype, self.to),
            ));
        }
        let Some(dims) = input.dims.get() else { return Ok(vec![Fact::new(self.to, Dims::UNKNOWN)]) };
        let (from, to) = (input.dtype.bytes(), self.to.bytes());
        let mut dims = dims.to_vec();
        if from > to {
            dims.push(Dim::Known((from / to) as i64));
        } else if from < to {
            let needed = (to / from) as i64;
            if dims.pop().is_none_or(|last| last.known().is_some_and(|n| n != needed)) {
                let why = format!("is {}{}; its last axis must be of size {needed}", input.dtype, input.dims);
                return Err(OpError::input(0, why));
            }
        }
        Ok(vec![Fact::new(self.to, Dims::new(dims))])
    }

    shares_memory!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use tightfit_core::Shape;

    #[test]
    fn casts() {
        let to = |t| [("DstT", dtype(t))];
        check("Cast", &to(DType::I32), &[tensor(&[2], &[1.9f32, -1.9])], &[tensor(&[2], &[1i32, -1])]);
        check("Cast", &to(DType::F32), &[bools(&[2], &[true, false])], &[tensor(&[2], &[1f32, 0.0])]);
        check(
            "Cast",
            &to(DType::Bool),
            &[tensor(&[3], &[0i64, 2, -1])],
            &[bools(&[3], &[false, true, true])],
        );
        check("Cast", &to(DType::I64), &[tensor::<i64>(&[0, 2], &[])], &[tensor::<i64>(&[0, 2], &[])]);
        refuses("Cast", &to(DType::String), &[scalar(1f32)], "DstT");
    }

    #[test]
    fn casts_numbers_of_few_bits() {
        let types = |from: i32, to: i32| [("SrcT", AttrValue::Type(from)), ("DstT", AttrValue::Type(to))];
        let floats = tensor(&[3], &[1.5f32, -2.0, 0.101_562_5]);
        let bytes = tensor(&[3], &[0x3cu8, 0xc0, 0x1d]);
        check("Cast", &types(25, 1), std::slice::from_ref(&bytes), std::slice::from_ref(&floats));
        check("Cast", &types(1, 25), &[floats], &[bytes]);
        let nibbles = tensor(&[3], &[7i8, -8, -1]);
        check("Cast", &types(29, 3), std::slice::from_ref(&nibbles), &[tensor(&[3], &[7i32, -8, -1])]);
        check("Cast", &types(3, 29), &[tensor(&[3], &[7i32, 8, 15])], &[nibbles]);
        refuses("Cast", &types(12, 1), &[scalar(1u8)], "DT_QUINT8");
    }

    #[test]
    fn casts_complex_numbers() {
        let to = |t| [("DstT", dtype(t))];
        let complex = |dtype, parts: &[f64]| {
            let bytes = match dtype {
                DType::C64 => parts.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect(),
                _ => parts.iter().flat_map(|x| x.to_le_bytes()).collect(),
            };
            Tensor { dtype, shape: Shape::new(&[parts.len() / 2]).unwrap(), bytes }
        };
        let parts = [1.5, 2.0, 0.0, 3.0, -3.75, -1.0];
        for from in [DType::C64, DType::C128] {
            let x = [complex(from, &parts)];
            check("Cast", &to(DType::F64), &x, &[tensor(&[3], &[1.5f64, 0.0, -3.75])]);
            check("Cast", &to(DType::I32), &x, &[tensor(&[3], &[1i32, 0, -3])]);
            check("Cast", &to(DType::Bool), &x, &[bools(&[3], &[true, false, true])]);
            let halves = [1.5, 0.0, -3.75].map(half::bf16::from_f32);
            check("Cast", &to(DType::BF16), &x, &[tensor(&[3], &halves)]);
            for other in [DType::C64, DType::C128] {
                check("Cast", &to(other), &x, &[complex(other, &parts)]);
            }
            let real = [complex(from, &[1.5, 0.0, -2.0, 0.0])];
            check("Cast", &to(from), &[tensor(&[2], &[1.5f64, -2.0])], &real);
            check("Cast", &to(from), &[tensor(&[2], &[1.5, -2.0].map(half::f16::from_f32))], &real);
            check("Cast", &to(from), &[bools(&[1], &[true])], &[complex(from, &[1.0, 0.0])]);
        }
    }

    #[test]
    fn bitcasts() {
        let to = |t| [("type", dtype(t))];
        let x = tensor(&[1], &[0x1234_5678u32]);
        check("Bitcast", &to(DType::U8), &[x], &[tensor(&[1, 4], &[0x78u8, 0x56, 0x34, 0x12])]);
        check("Bitcast", &to(DType::I16), &[tensor(&[1, 2], &[1u8, 1])], &[tensor(&[1], &[257i16])]);
        check("Bitcast", &to(DType::I32), &[scalar(1f32)], &[scalar(0x3f80_0000i32)]);
        refuses("Bitcast", &to(DType::I32), &[tensor(&[3], &[1u8, 1, 1])], "size 4");
        refuses("Bitcast", &to(DType::I32), &[scalar(1u8)], "size 4");
    }
}
