//! Bytes as numbers: DecodeRaw and DecodePaddedRaw.
//!
//! DecodeRaw: strings of one length each become numbers of `out_type` along a new last axis, how many the data says. DecodePaddedRaw:
//! the same, each string cut or filled with zeros to the bytes that its second input says. `little_endian` false turns the bytes
//! of each number around.

use tightfit_core::{DType, StringRef};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run, reshape};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "DecodeRaw", import: |a| import(a, false) },
    Registration { name: "DecodePaddedRaw", import: |a| import(a, true) },
];

fn import(attributes: &Attributes<'_>, is_padded: bool) -> Result<Box<dyn Operator>, OpError> {
    let dtype = attributes.dtype("out_type")?;
    if dtype == DType::String {
        return Err(OpError::attribute("out_type", "is string; numbers are supported"));
    }
    let is_little = attributes.bool_or("little_endian", true)?;
    Ok(Box::new(Raw { dtype, is_little, is_padded }))
}

/// DecodeRaw, and DecodePaddedRaw.
#[derive(Debug)]
struct Raw {
    dtype: DType,
    is_little: bool,
    is_padded: bool,
}

impl Raw {
    /// How many numbers are in so many bytes.
    fn count(&self, bytes: usize) -> Result<usize, OpError> {
        let size = self.dtype.bytes();
        if bytes.is_multiple_of(size) {
            return Ok(bytes / size);
        }
        let why = format!("has length {bytes}, which is no multiple of {size}, the size of {}", self.dtype);
        Err(OpError::input(usize::from(self.is_padded), why))
    }

    fn width(&self, fixed: i64) -> Result<usize, OpError> {
        let bytes = usize::try_from(fixed).ok().filter(|bytes| *bytes > 0);
        self.count(bytes.ok_or_else(|| OpError::input(1, format!("is {fixed}; it must be greater than 0")))?)
    }
}

impl Operator for Raw {
    fn name(&self) -> &'static str {
        if self.is_padded { "DecodePaddedRaw" } else { "DecodeRaw" }
    }

    fn can_outgrow(&self) -> bool {
        self.is_padded
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::String])?;
        let mut last = Dim::Unknown;
        if self.is_padded {
            let fixed = shared::input(inputs, 1)?;
            shared::need_type(1, fixed, &[DType::I32])?;
            if let Some(fixed) = fixed.int() {
                last = Dim::Known(self.width(fixed)? as i64);
            }
        }
        let dims = input.dims.get().map(|dims| Dims::new([dims, &[last]].concat()));
        Ok(vec![Fact::new(self.dtype, dims.unwrap_or(Dims::UNKNOWN))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        if !self.is_padded {
            // The run looks at the strings.
            return Some(());
        }
        let width = self.width(reshape::int(run, 1)?).ok()?;
        let shape = run.shape(0);
        reshape::set(run, 0, shape.iter().copied().chain([width]))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let texts = run.slice::<StringRef>(0)?;
        if !self.is_padded {
            let bytes = texts.first().map_or(0, |text| run.string(*text).len());
            if let Some(other) = texts.iter().find(|text| text.bytes as usize != bytes) {
                let why =
                    format!("has strings of {bytes} and of {} bytes; all must be of one size", other.bytes);
                return Err(OpError::input(0, why));
            }
            let count = self.count(bytes)?;
            let shape = reshape::shape(run.shape(0).iter().copied().chain([count]));
            run.set_output_shape(
                0,
                shape.ok_or_else(|| OpError::Invalid("has too many dimensions".into()))?,
            )?;
        }
        let row = run.output_shape(0).last().copied().unwrap_or(0) * self.dtype.bytes();
        let out = run.out_bytes(0)?;
        for (to, text) in out.chunks_exact_mut(row.max(1)).zip(texts) {
            let text = run.string(*text);
            let used = text.len().min(to.len());
            to[..used].copy_from_slice(&text[..used]);
            to[used..].fill(0);
            if self.dtype == DType::Bool {
                to.iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
            }
            let part = if self.dtype.is_complex() { self.dtype.bytes() / 2 } else { self.dtype.bytes() };
            if !self.is_little && part > 1 {
                to.chunks_exact_mut(part).for_each(<[u8]>::reverse);
            }
        }
        Ok(())
    }
}
