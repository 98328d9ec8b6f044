//! StringFormat: a text with tensors in it.
//!
//! Each place of `template` that is `placeholder` becomes what the input of its number holds: elements in brackets, of each
//! axis the first and last `summarize` (all where that is negative), the others as dots. Numbers are written with as few
//! digits as lead back to them, 6 or 9 of float32, 15 or 17 of float64; strings in quotation marks with what is
//! not printed escaped; bools as 0 and 1. The output is a scalar string.

use std::fmt::Write as _;

use half::{bf16, f16};
use tightfit_core::{DType, Shape, StringRef, TensorView};

use super::format::{Line, flushed, flushed_f64, shortest};
use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Registration, Run};

pub(crate) const OPS: &[Registration] = &[Registration { name: "StringFormat", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let template = attributes.bytes_or("template", b"%s")?;
    let placeholder = attributes.bytes_or("placeholder", b"%s")?;
    let parts: Vec<Box<[u8]>> = match placeholder {
        [] => template.iter().map(|byte| Box::from([*byte])).collect(),
        _ => split(template, placeholder).map(Box::from).collect(),
    };
    let inputs = attributes.dtypes_or_empty("T")?.len();
    if parts.len() != inputs + 1 {
        let why = format!("has {} placeholders for {inputs} inputs", parts.len().saturating_sub(1));
        return Err(OpError::attribute("template", why));
    }
    let summarize = usize::try_from(attributes.int_or("summarize", 3)?).ok();
    Ok(Box::new(StringFormat { parts, summarize }))
}

/// The parts of a text between those that are `by`, which is not empty.
fn split<'t>(text: &'t [u8], by: &'t [u8]) -> impl Iterator<Item = &'t [u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let own = rest?;
        match own.windows(by.len()).position(|part| part == by) {
            Some(at) => {
                rest = Some(&own[at + by.len()..]);
                Some(&own[..at])
            }
            None => {
                rest = None;
                Some(own)
            }
        }
    })
}

/// The operator.
#[derive(Debug)]
struct StringFormat {
    /// What stands around the inputs.
    parts: Vec<Box<[u8]>>,
    /// How many elements from either end of an axis are written; `None` for all.
    summarize: Option<usize>,
}

impl Operator for StringFormat {
    fn name(&self) -> &'static str {
        "StringFormat"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        if inputs.len() + 1 != self.parts.len() {
            return Err(OpError::Invalid(format!("has {} inputs for its template", inputs.len())));
        }
        Ok(vec![Fact::new(DType::String, Dims::scalar())])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        run.set_output_shape(0, Shape::SCALAR).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (first, rest) = self.parts.split_first().map_or((&b""[..], &[][..]), |(a, b)| (&a[..], b));
        let mut text = run.new_string(first)?;
        for (input, part) in rest.iter().enumerate() {
            text = self.tensor(run, run.input(input)?, text)?;
            text = run.extended_string(text, part)?;
        }
        run.out::<StringRef>(0)?.fill(text);
        Ok(())
    }
}

impl StringFormat {
    /// The text with a tensor after it.
    fn tensor(
        &self,
        run: &Run<'_>,
        tensor: TensorView<'_>,
        mut text: StringRef,
    ) -> Result<StringRef, OpError> {
        let count = tensor.shape().elements();
        let limit = self.summarize.unwrap_or(count).min(count);
        if tensor.dtype() == DType::Bool && limit == 0 {
            return Ok(text);
        }
        if tensor.shape().rank() > 0 && tensor.dtype().is_complex() {
            // TensorFlow has no text for these, and looks at no axes.
            text = run.extended_string(text, b"[")?;
            for at in 0..limit {
                text = run.extended_string(text, if at > 0 { b" ?" } else { b"?" })?;
            }
            return run.extended_string(text, if limit < count { b"...]" } else { b"]" });
        }
        if tensor.shape().rank() > 0 {
            return axis(run, &tensor, limit, 0, 0, text);
        }
        if limit > 0 {
            text = element(run, &tensor, 0, text)?;
        }
        if limit < count { run.extended_string(text, b"...") } else { Ok(text) }
    }
}

/// The text with the elements from `first` on along an axis after it.
fn axis(
    run: &Run<'_>,
    tensor: &TensorView<'_>,
    limit: usize,
    along: usize,
    first: usize,
    text: StringRef,
) -> Result<StringRef, OpError> {
    let (shape, size) = (tensor.shape(), tensor.shape()[along]);
    let is_last = along + 1 == shape.rank();
    let step: usize = shape[along + 1..].iter().product();
    let space = |mut text: StringRef| {
        if is_last {
            return run.extended_string(text, b" ");
        }
        for _ in along + 1..shape.rank() {
            text = run.extended_string(text, b"\n")?;
        }
        for _ in 0..=along {
            text = run.extended_string(text, b" ")?;
        }
        Ok(text)
    };
    let one = |at: usize, text: StringRef| match is_last {
        true => element(run, tensor, first + at, text),
        false => axis(run, tensor, limit, along + 1, first + at * step, text),
    };
    let mut text = run.extended_string(text, b"[")?;
    for at in 0..limit.min(size) {
        if at > 0 {
            text = space(text)?;
        }
        text = one(at, text)?;
    }
    if size > limit.saturating_mul(2) {
        text = run.extended_string(space(text)?, b"...")?;
    }
    for at in limit.max(size.saturating_sub(limit))..size {
        text = one(at, space(text)?)?;
    }
    run.extended_string(text, b"]")
}

/// The text with an element after it.
fn element(run: &Run<'_>, tensor: &TensorView<'_>, at: usize, text: StringRef) -> Result<StringRef, OpError> {
    let size = tensor.dtype().bytes();
    let bytes = &tensor.bytes()[at * size..][..size];
    if tensor.dtype() == DType::String {
        return quoted(run, run.string(bytemuck::pod_read_unaligned(bytes)), text);
    }
    let mut line = Line::new();
    number(&mut line, tensor.dtype(), bytes)
        .map_err(|_| OpError::Internal("a number is longer than a line"))?;
    run.extended_string(text, line.text())
}

fn number(line: &mut Line, dtype: DType, bytes: &[u8]) -> std::fmt::Result {
    macro_rules! of {
        ($rust:ty) => {
            bytemuck::pod_read_unaligned::<$rust>(bytes)
        };
    }
    match dtype {
        DType::F32 => float32(line, flushed(of!(f32))),
        DType::F16 => float32(line, of!(f16).to_f32()),
        DType::BF16 => float32(line, flushed(of!(bf16).to_f32())),
        DType::F64 => float64(line, flushed_f64(of!(f64))),
        DType::Bool => write!(line, "{}", u8::from(bytes != [0])),
        DType::I8 => write!(line, "{}", of!(i8)),
        DType::I16 => write!(line, "{}", of!(i16)),
        DType::I32 => write!(line, "{}", of!(i32)),
        DType::I64 => write!(line, "{}", of!(i64)),
        DType::U8 => write!(line, "{}", of!(u8)),
        DType::U16 => write!(line, "{}", of!(u16)),
        DType::U32 => write!(line, "{}", of!(u32)),
        DType::U64 => write!(line, "{}", of!(u64)),
        // TensorFlow has no text for these.
        DType::C64 | DType::C128 | DType::String => line.write_str("?"),
    }
}

/// True where a number that is no finite one was written.
fn special(line: &mut Line, value: f64) -> Result<bool, std::fmt::Error> {
    if value.is_finite() {
        return Ok(false);
    }
    let sign = if value.is_sign_negative() && !value.is_nan() { "-" } else { "" };
    write!(line, "{sign}{}", if value.is_nan() { "nan" } else { "inf" })?;
    Ok(true)
}

fn float32(line: &mut Line, value: f32) -> std::fmt::Result {
    if special(line, value.into())? {
        return Ok(());
    }
    shortest(line, value.into(), 6, false)?;
    if std::str::from_utf8(line.text()).ok().and_then(|text| text.parse().ok()) == Some(value) {
        return Ok(());
    }
    *line = Line::new();
    shortest(line, value.into(), 9, false)
}

fn float64(line: &mut Line, value: f64) -> std::fmt::Result {
    if special(line, value)? {
        return Ok(());
    }
    shortest(line, value, 15, false)?;
    if std::str::from_utf8(line.text()).ok().and_then(|text| text.parse().ok()) == Some(value) {
        return Ok(());
    }
    *line = Line::new();
    shortest(line, value, 17, false)
}

/// The text with another one in quotation marks after it.
fn quoted(run: &Run<'_>, own: &[u8], text: StringRef) -> Result<StringRef, OpError> {
    let mut text = run.extended_string(text, b"\"")?;
    let mut from = 0;
    for (at, byte) in own.iter().enumerate() {
        let octal = [b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)];
        let escaped: &[u8] = match byte {
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            b'"' => b"\\\"",
            b'\'' => b"\\'",
            b'\\' => b"\\\\",
            ..b' ' | 0x7f => &octal,
            _ => continue,
        };
        text = run.extended_string(text, &own[from..at])?;
        text = run.extended_string(text, escaped)?;
        from = at + 1;
    }
    text = run.extended_string(text, &own[from..])?;
    run.extended_string(text, b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{refuses, text};

    #[test]
    fn numbers_have_as_few_digits_as_lead_back_to_them() {
        let short = |value: f32| {
            let mut line = Line::new();
            float32(&mut line, value).unwrap();
            String::from_utf8(line.text().to_vec()).unwrap()
        };
        let all = [1.234_567_9, 1e10, 1e-5, 123_456.7, 0.1, -0.0, 999_999.5, f32::NEG_INFINITY].map(short);
        let expected = ["1.23456788", "1e+10", "1e-05", "123456.703", "0.1", "-0", "999999.5", "-inf"];
        assert_eq!(all, expected);
        let mut line = Line::new();
        float64(&mut line, 1.0 / 3.0).unwrap();
        assert_eq!(line.text(), b"0.33333333333333331");
    }

    #[test]
    fn denormals_are_written_as_zeros() {
        let mut line = Line::new();
        number(&mut line, DType::F64, &(-1e-310f64).to_ne_bytes()).unwrap();
        number(&mut line, DType::F32, &1e-40f32.to_ne_bytes()).unwrap();
        assert_eq!(line.text(), b"-00");
    }

    #[test]
    fn a_placeholder_stands_for_each_input() {
        assert_eq!(split(b"a%s%sb", b"%s").collect::<Vec<_>>(), [&b"a"[..], b"", b"b"]);
        refuses("StringFormat", &[("template", text("%s and %s"))], &[], "2 placeholders for 0");
    }
}
