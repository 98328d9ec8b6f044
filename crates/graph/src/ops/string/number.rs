//! StringToNumber: a number for each string, of the type `out_type`: float32, float64, int32, int64, uint32 or uint64. White space
//! around it is allowed; what is no number, or an integer that the type has not, is an error.

use tightfit_core::{DType, StringRef};

use super::text::trimmed;
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::{OpError, Operator, Run, reshape};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[Registration {
    name: "StringToNumber",
    import: |a| Ok(Box::new(ToNumber { to: a.dtype_or("out_type", DType::F32)? })),
}];

/// StringToNumber.
#[derive(Debug)]
struct ToNumber {
    to: DType,
}

/// The bytes of the number that a text is, of a type; `None` for what is none.
pub(crate) fn number(text: &[u8], dtype: DType) -> Option<([u8; 8], usize)> {
    let mut bytes = [0; 8];
    let mut put = |from: &[u8]| {
        bytes[..from.len()].copy_from_slice(from);
        from.len()
    };
    let text = std::str::from_utf8(trimmed(text)).ok()?;
    let size = match dtype {
        DType::F32 => {
            put(&float(text).map_or_else(|| text.parse::<f32>().ok(), |x| Some(x as f32))?.to_le_bytes())
        }
        DType::F64 => put(&float(text).or_else(|| text.parse::<f64>().ok())?.to_le_bytes()),
        DType::I32 => put(&text.parse::<i32>().ok()?.to_le_bytes()),
        DType::I64 => put(&text.parse::<i64>().ok()?.to_le_bytes()),
        DType::U32 => put(&text.parse::<u32>().ok()?.to_le_bytes()),
        DType::U64 => put(&text.parse::<u64>().ok()?.to_le_bytes()),
        _ => return None,
    };
    Some((bytes, size))
}

/// A hexadecimal integer as a float; `None` for anything else.
fn float(text: &str) -> Option<f64> {
    let (sign, digits) = match text.as_bytes() {
        [b'-', ..] => (-1.0, &text[1..]),
        [b'+', ..] => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    let digits = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"))?;
    u64::from_str_radix(digits, 16).ok().map(|value| sign * value as f64)
}

impl Operator for ToNumber {
    fn name(&self) -> &'static str {
        "StringToNumber"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::String])?;
        if number(b"0", self.to).is_none() {
            return Err(OpError::attribute("out_type", format!("is {}, which is not supported", self.to)));
        }
        Ok(vec![Fact::new(self.to, input.dims.clone())])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let texts = run.slice::<StringRef>(0)?;
        let out = run.out_bytes(0)?;
        for (to, text) in out.chunks_exact_mut(self.to.bytes()).zip(texts) {
            let text = run.string(*text);
            let (bytes, size) = number(text, self.to).ok_or_else(|| {
                let shown = String::from_utf8_lossy(text).into_owned();
                OpError::Invalid(format!("could not correctly convert string: {shown}"))
            })?;
            to.copy_from_slice(&bytes[..size]);
        }
        Ok(())
    }
}
