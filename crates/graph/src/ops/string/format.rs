//! AsString: a string for each number, as C's printf writes it.
//!
//! Shape: the input's. Integers are written whole, floats with `precision` digits (6) plain, with `scientific` as `1.5e+00`, with
//! `shortest` in the shorter of the two; `width` and `fill` pad. Bools are `true` and `false`; complex numbers are written in
//! parentheses. Strings are padded as they are.

use std::fmt::{self, Write as _};

use half::{bf16, f16};
use tightfit_core::{DType, StringRef};

use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run, reshape};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[Registration { name: "AsString", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (is_scientific, is_shortest) =
        (attributes.bool_or("scientific", false)?, attributes.bool_or("shortest", false)?);
    let how = match (is_scientific, is_shortest) {
        (true, true) => {
            return Err(OpError::attribute("shortest", "and scientific cannot both be true"));
        }
        (true, false) => How::Scientific,
        (false, true) => How::Shortest,
        (false, false) => How::Fixed,
    };
    let fill = match attributes.bytes_or("fill", b"")? {
        [] => None,
        [fill @ (b' ' | b'+' | b'-' | b'0' | b'#')] => Some(*fill),
        other => {
            let shown = String::from_utf8_lossy(other).into_owned();
            return Err(OpError::attribute("fill", format!("is '{shown}', which is not supported")));
        }
    };
    let limited = |name: &str| match attributes.int_or(name, -1)? {
        ..0 => Ok(None),
        n @ 0..=PRECISION_MAX => Ok(Some(n as usize)),
        n => Err(OpError::attribute(name, format!("is {n}; at most {PRECISION_MAX} is supported"))),
    };
    let (precision, width) = (limited("precision")?, limited("width")?);
    let dtype = attributes.dtype("T")?;
    if precision.is_some() && !(dtype.is_float() || dtype.is_complex()) {
        return Err(OpError::attribute("precision", format!("is not for {dtype}")));
    }
    Ok(Box::new(AsString { how, fill, precision, width }))
}

const PRECISION_MAX: i64 = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Fixed,
    Scientific,
    Shortest,
}

/// AsString.
#[derive(Debug)]
struct AsString {
    how: How,
    fill: Option<u8>,
    precision: Option<usize>,
    width: Option<usize>,
}

/// A text of limited length in place.
pub(super) struct Line {
    bytes: [u8; 2 * 1024],
    len: usize,
}

impl Line {
    pub fn new() -> Line {
        Line { bytes: [0; 2048], len: 0 }
    }

    pub fn text(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, bytes: &[u8]) -> fmt::Result {
        let to = self.bytes.get_mut(self.len..self.len + bytes.len()).ok_or(fmt::Error)?;
        to.copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }

    /// WindowAttributes what was written from `at` on further back, and fills the gap.
    fn pad(&mut self, at: usize, count: usize, with: u8) -> fmt::Result {
        if self.len + count > self.bytes.len() {
            return Err(fmt::Error);
        }
        self.bytes.copy_within(at..self.len, at + count);
        self.bytes[at..at + count].fill(with);
        self.len += count;
        Ok(())
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes())
    }
}

impl AsString {
    /// Puts before and after what was written from `start` on what sign and width ask for. `digits` is where numbers begin,
    /// where there are some that zeros may stand before.
    fn finish(&self, line: &mut Line, start: usize, is_number: bool, may_fill: bool) -> fmt::Result {
        let is_negative = line.bytes[start..line.len].first() == Some(&b'-');
        if is_number && !is_negative && matches!(self.fill, Some(b'+' | b' ')) {
            line.pad(start, 1, self.fill.unwrap_or(b' '))?;
        }
        let missing = self.width.unwrap_or(0).saturating_sub(line.len - start);
        let has_sign = matches!(line.bytes[start..line.len].first(), Some(b'-' | b'+' | b' '));
        match self.fill {
            Some(b'-') => line.pad(line.len, missing, b' '),
            Some(b'0') if may_fill => line.pad(start + usize::from(has_sign), missing, b'0'),
            _ => line.pad(start, missing, b' '),
        }
    }

    fn integer(&self, line: &mut Line, value: i128, is_signed: bool) -> fmt::Result {
        let start = line.len;
        write!(line, "{value}")?;
        self.finish(line, start, is_signed, true)
    }

    fn float(&self, line: &mut Line, value: f64) -> fmt::Result {
        let start = line.len;
        if !value.is_finite() {
            let sign = if value.is_sign_negative() { "-" } else { "" };
            write!(line, "{sign}{}", if value.is_nan() { "nan" } else { "inf" })?;
            return self.finish(line, start, true, false);
        }
        let precision = self.precision.unwrap_or(6);
        let keeps_point = self.fill == Some(b'#');
        match self.how {
            How::Fixed => fixed(line, value, precision, keeps_point)?,
            How::Scientific => scientific(line, value, precision, keeps_point)?,
            How::Shortest => shortest(line, value, precision.max(1), keeps_point)?,
        }
        self.finish(line, start, true, true)
    }

    fn element(&self, line: &mut Line, dtype: DType, bytes: &[u8]) -> fmt::Result {
        macro_rules! of {
            ($rust:ty) => {
                bytemuck::pod_read_unaligned::<$rust>(bytes)
            };
        }
        match dtype {
            DType::F32 => self.float(line, flushed(of!(f32)).into()),
            DType::F64 => self.float(line, flushed_f64(of!(f64))),
            DType::F16 => self.float(line, f64::from(of!(f16))),
            DType::BF16 => self.float(line, flushed(of!(bf16).to_f32()).into()),
            DType::C64 | DType::C128 => {
                let (real, imaginary) = bytes.split_at(bytes.len() / 2);
                let part = if dtype == DType::C64 { DType::F32 } else { DType::F64 };
                line.push(b"(")?;
                self.element(line, part, real)?;
                line.push(b",")?;
                self.element(line, part, imaginary)?;
                line.push(b")")
            }
            DType::Bool => line.push(if bytes == [0] { b"false" } else { b"true" }),
            DType::I8 => self.integer(line, of!(i8).into(), true),
            DType::I16 => self.integer(line, of!(i16).into(), true),
            DType::I32 => self.integer(line, of!(i32).into(), true),
            DType::I64 => self.integer(line, of!(i64).into(), true),
            DType::U8 => self.integer(line, of!(u8).into(), false),
            DType::U16 => self.integer(line, of!(u16).into(), false),
            DType::U32 => self.integer(line, of!(u32).into(), false),
            DType::U64 => self.integer(line, of!(u64).into(), false),
            DType::String => Err(fmt::Error),
        }
    }
}

/// The number as it is written: TensorFlow's threads take a denormal for zero.
pub(super) fn flushed(value: f32) -> f32 {
    if value.is_subnormal() { 0f32.copysign(value) } else { value }
}

/// [`flushed`] of float64.
pub(super) fn flushed_f64(value: f64) -> f64 {
    if value.is_subnormal() { 0f64.copysign(value) } else { value }
}

fn fixed(line: &mut Line, value: f64, precision: usize, keeps_point: bool) -> fmt::Result {
    write!(line, "{value:.precision$}")?;
    if keeps_point && precision == 0 { line.push(b".") } else { Ok(()) }
}

/// With an exponent of at least two digits and a sign.
fn scientific(line: &mut Line, value: f64, precision: usize, keeps_point: bool) -> fmt::Result {
    let start = line.len;
    write!(line, "{value:.precision$e}")?;
    let at = line.text()[start..].iter().rposition(|byte| *byte == b'e').ok_or(fmt::Error)? + start;
    let exponent = exponent(&line.text()[at + 1..])?;
    line.len = at;
    if keeps_point && precision == 0 {
        line.push(b".")?;
    }
    write!(line, "e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn exponent(text: &[u8]) -> Result<i32, fmt::Error> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(fmt::Error)
}

/// A number with at most so many digits, in the shorter of both forms.
pub(super) fn shortest(line: &mut Line, value: f64, digits: usize, keeps_point: bool) -> fmt::Result {
    // The exponent is that of the value rounded to so many digits.
    let start = line.len;
    write!(line, "{value:.*e}", digits - 1)?;
    let at = line.text()[start..].iter().rposition(|byte| *byte == b'e').ok_or(fmt::Error)? + start;
    let exponent = exponent(&line.text()[at + 1..])?;
    line.len = start;
    let is_plain = (-4..digits as i32).contains(&exponent);
    if is_plain {
        fixed(line, value, (digits as i32 - 1 - exponent) as usize, keeps_point)?;
    } else {
        scientific(line, value, digits - 1, keeps_point)?;
    }
    if keeps_point {
        return Ok(());
    }
    // Zeros at the end of the fraction go.
    let end = match is_plain {
        true => line.len,
        false => line.text()[start..].iter().rposition(|b| *b == b'e').ok_or(fmt::Error)? + start,
    };
    if !line.text()[start..end].contains(&b'.') {
        return Ok(());
    }
    let kept = line.text()[start..end].iter().rposition(|byte| *byte != b'0').ok_or(fmt::Error)? + start;
    let kept = if line.bytes[kept] == b'.' { kept } else { kept + 1 };
    line.bytes.copy_within(end..line.len, kept);
    line.len -= end - kept;
    Ok(())
}

impl Operator for AsString {
    fn name(&self) -> &'static str {
        "AsString"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        Ok(vec![Fact::new(DType::String, input.dims.clone())])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let dtype = input.dtype();
        let out = run.out::<StringRef>(0)?;
        for (to, bytes) in out.iter_mut().zip(input.bytes().chunks_exact(dtype.bytes())) {
            if dtype == DType::String {
                let text = bytemuck::pod_read_unaligned::<StringRef>(bytes);
                *to = self.padded(run, text)?;
                continue;
            }
            let mut line = Line::new();
            self.element(&mut line, dtype, bytes)
                .map_err(|_| OpError::Invalid("makes a longer text of a number than is supported".into()))?;
            *to = run.new_string(line.text())?;
        }
        Ok(())
    }
}

impl AsString {
    fn padded(&self, run: &Run<'_>, text: StringRef) -> Result<StringRef, OpError> {
        let own = run.string(text);
        let missing = self.width.unwrap_or(0).saturating_sub(own.len());
        if missing == 0 {
            return Ok(text);
        }
        let spaces = [b' '; PRECISION_MAX as usize];
        let spaces = &spaces[..missing.min(spaces.len())];
        let (first, second) = if self.fill == Some(b'-') { (own, spaces) } else { (spaces, own) };
        let new = run.new_string(first)?;
        run.extended_string(new, second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(
        how: How,
        precision: Option<usize>,
        width: Option<usize>,
        fill: Option<u8>,
        value: f64,
    ) -> String {
        let mut line = Line::new();
        AsString { how, fill, precision, width }.float(&mut line, value).unwrap();
        String::from_utf8(line.text().to_vec()).unwrap()
    }

    #[test]
    fn numbers_are_written_as_by_printf() {
        let shortest = |value| text(How::Shortest, None, None, None, value);
        let all = [1.5, 1e10, 1e-5, 100000.0, 123456.7, 0.0, 0.0001, 999999.5].map(shortest);
        assert_eq!(all, ["1.5", "1e+10", "1e-05", "100000", "123457", "0", "0.0001", "1e+06"]);
        assert_eq!(text(How::Fixed, Some(2), Some(8), Some(b'0'), -2.0), "-0002.00");
        assert_eq!(text(How::Fixed, None, Some(8), Some(b'0'), f64::NAN), "     nan");
        assert_eq!(text(How::Scientific, Some(3), None, Some(b'+'), 12345.678), "+1.235e+04");
        assert_eq!(text(How::Scientific, Some(0), None, Some(b'#'), 1e-100), "1.e-100");
        assert_eq!(text(How::Fixed, Some(2), Some(10), Some(b'-'), 3.5), "3.50      ");
        assert_eq!(text(How::Fixed, None, None, None, -0.0), "-0.000000");
        assert_eq!(text(How::Shortest, Some(3), None, Some(b'#'), 2.0), "2.00");
    }

    #[test]
    fn denormals_are_written_as_zeros() {
        let write = |dtype, bytes: &[u8]| {
            let mut line = Line::new();
            let how = AsString { how: How::Scientific, fill: None, precision: Some(1), width: None };
            how.element(&mut line, dtype, bytes).unwrap();
            String::from_utf8(line.text().to_vec()).unwrap()
        };
        assert_eq!(write(DType::F64, &(-1e-310f64).to_ne_bytes()), "-0.0e+00");
        assert_eq!(write(DType::F32, &1e-40f32.to_ne_bytes()), "0.0e+00");
        assert_eq!(write(DType::F16, &f16::from_f32(6e-8).to_ne_bytes()), "6.0e-08");
    }
}
