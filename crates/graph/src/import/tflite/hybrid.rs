//! Floats beside weights of integers: TensorFlow Lite rounds the floats to 8 bits as well, over the range that each row of the
//! batch has in the run, and so do the nodes made here. Integers are exact in float32, so the product of both is TensorFlow
//! Lite's.

use super::attrs::{Value, kind, truth, types};
use super::build::Refusal;
use super::operator::Op;

/// Floats as integers of 8 bits less their zero point, and what one is worth: a factor for each row.
pub(super) struct Rounded {
    pub value: Value,
    scale: Value,
}

/// How a row is rounded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    /// From minus the largest to the largest: 0 is 0.
    Symmetric,
    /// From the least to the largest.
    Whole,
}

/// The smallest scale: that of a row of zeros.
const LEAST: f64 = 1e-30;

fn of_two(op: &mut Op<'_, '_, '_>, name: &str, left: Value, right: Value) -> Result<Value, Refusal> {
    op.node(name, vec![left, right], vec![kind("T", types::F32)])
}

fn with(op: &mut Op<'_, '_, '_>, name: &str, left: Value, right: f64) -> Result<Value, Refusal> {
    let right = op.number_of(types::F32, right)?;
    of_two(op, name, left, right)
}

fn reduced(op: &mut Op<'_, '_, '_>, name: &str, value: Value, axes: &[i64]) -> Result<Value, Refusal> {
    let axes = op.vector(axes)?;
    let attrs = vec![kind("T", types::F32), kind("Tidx", types::I32), truth("keep_dims", true)];
    op.node(name, vec![value, axes], attrs)
}

fn nearest(op: &mut Op<'_, '_, '_>, value: Value, (low, high): (f64, f64)) -> Result<Value, Refusal> {
    let value = op.node("Round", vec![value], vec![kind("T", types::F32)])?;
    op.clip(value, types::F32, (low, high))
}

/// Rounds a value whose rows go over `axes`.
pub(super) fn rounded(
    op: &mut Op<'_, '_, '_>,
    value: Value,
    axes: &[i64],
    range: Range,
) -> Result<Rounded, Refusal> {
    if range == Range::Symmetric {
        let size = op.node("Abs", vec![value.clone()], vec![kind("T", types::F32)])?;
        let most = reduced(op, "Max", size, axes)?;
        let scale = with(op, "RealDiv", most, 127.0)?;
        let scale = with(op, "Maximum", scale, LEAST)?;
        let value = of_two(op, "RealDiv", value, scale.clone())?;
        let value = nearest(op, value, (-127.0, 127.0))?;
        return Ok(Rounded { value, scale });
    }
    let low = reduced(op, "Min", value.clone(), axes)?;
    let low = with(op, "Minimum", low, 0.0)?;
    let high = reduced(op, "Max", value.clone(), axes)?;
    let high = with(op, "Maximum", high, 0.0)?;
    let scale = of_two(op, "Sub", high, low.clone())?;
    let scale = with(op, "RealDiv", scale, 255.0)?;
    let scale = with(op, "Maximum", scale, LEAST)?;
    // The integer that stands for 0 is so far from the lowest, -128.
    let zero = of_two(op, "RealDiv", low, scale.clone())?;
    let zero = op.node("Neg", vec![zero], vec![kind("T", types::F32)])?;
    let zero = with(op, "Sub", zero, 128.0)?;
    let zero = nearest(op, zero, (-128.0, 127.0))?;
    let value = of_two(op, "RealDiv", value, scale.clone())?;
    let value = of_two(op, "AddV2", value, zero.clone())?;
    let value = nearest(op, value, (-128.0, 127.0))?;
    let value = of_two(op, "Sub", value, zero)?;
    Ok(Rounded { value, scale })
}

impl Rounded {
    /// The product of the integers as the one of the floats.
    pub fn scaled(self, op: &mut Op<'_, '_, '_>, product: Value) -> Result<Value, Refusal> {
        of_two(op, "Mul", product, self.scale)
    }
}
