//! Checks that end a run: Assert and CheckNumerics.
//!
//! Assert: inputs a condition, a bool scalar (or a tensor of bools, all of which must hold), and data that the error
//! shows the first `summarize` elements of; no output. CheckNumerics: the input as it is, of a float type, an error with
//! its `message` where an element is infinite or NaN.

use tightfit_core::{DType, TensorView};

use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Assert", import: import_assert },
    Registration { name: "CheckNumerics", import: import_check },
    Registration { name: "CheckNumericsV2", import: import_check },
];

fn import_assert(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    // A negative number stands for all.
    let summarize = usize::try_from(attributes.int_or("summarize", 3)?).unwrap_or(usize::MAX);
    Ok(Box::new(Assert { summarize: summarize.min(MAX_SHOWN) }))
}

fn import_check(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(CheckNumerics { message: attributes.text_or("message", "")?.to_string() }))
}

/// How many elements of a tensor an error shows at most.
const MAX_SHOWN: usize = 100;

/// Assert.
#[derive(Debug)]
struct Assert {
    summarize: usize,
}

impl Assert {
    fn show(&self, run: &Run<'_>, view: TensorView<'_>) -> String {
        macro_rules! show {
            ($($dtype:ident $rust:ty),*) => {
                match view.dtype() {
                    DType::String => view.as_slice().map(|v| shown(v, self.summarize, |s| {
                        String::from_utf8_lossy(run.string(*s)).into_owned()
                    })),
                    DType::Bool => view.as_bytes_of_bool().map(|v| shown(v, self.summarize, |b| (*b != 0).to_string())),
                    $(DType::$dtype => view.as_slice::<$rust>().map(|v| shown(v, self.summarize, |x| x.to_string())),)*
                    _ => None,
                }
            };
        }
        show!(F32 f32, F64 f64, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64)
            .unwrap_or_else(|| format!("a tensor of {}", view.dtype()))
    }
}

fn shown<T>(values: &[T], count: usize, text: impl Fn(&T) -> String) -> String {
    let more = if values.len() > count { " .." } else { "" };
    let shown: Vec<String> = values.iter().take(count).map(text).collect();
    format!("[{}{more}]", shown.join(" "))
}

impl Operator for Assert {
    fn name(&self) -> &'static str {
        "Assert"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        shared::need_type(0, shared::input(inputs, 0)?, &[DType::Bool])?;
        Ok(vec![])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if run.input(0)?.bytes().iter().all(|holds| *holds != 0) {
            return Ok(());
        }
        let data = (1..run.inputs()).map(|input| Ok(self.show(run, run.input(input)?)));
        let data: Result<Vec<String>, OpError> = data.collect();
        Err(OpError::Invalid(format!("assertion failed: {}", data?.join(" "))))
    }

    fn is_pure(&self) -> bool {
        false
    }

    fn has_effect(&self, inputs: &[&Fact]) -> bool {
        let condition = inputs.first().and_then(|fact| fact.view());
        condition.is_none_or(|condition| condition.bytes().contains(&0))
    }
}

/// CheckNumerics.
#[derive(Debug)]
struct CheckNumerics {
    message: String,
}

impl Operator for CheckNumerics {
    fn name(&self) -> &'static str {
        "CheckNumerics"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_float(0, input)?;
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        // The exponent's bits are all set in what is not finite, and the fraction's in what is NaN.
        let bits: (u64, u64) = match input.dtype() {
            DType::F64 => (0x7ff0 << 48, !0 >> 1),
            DType::F32 => (0x7f80 << 16, !0u32 as u64 >> 1),
            DType::F16 => (0x7c00, 0x7fff),
            _ => (0x7f80, 0x7fff),
        };
        let mut found = [false; 2];
        for element in input.bytes().chunks_exact(input.dtype().bytes()) {
            let mut bytes = [0; 8];
            bytes[..element.len()].copy_from_slice(element);
            let value = u64::from_le_bytes(bytes);
            if value & bits.0 == bits.0 {
                found[(value & bits.1 != bits.0) as usize] = true;
            }
        }
        let what = match found {
            [false, false] => {
                run.out_bytes(0)?.copy_from_slice(input.bytes());
                return Ok(());
            }
            [true, false] => "Inf",
            [false, true] => "NaN",
            [true, true] => "Inf and NaN",
        };
        Err(OpError::Invalid(format!("{}: a tensor has {what} values", self.message)))
    }

    fn is_pure(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{bools, check, int, refuses, scalar, tensor, text};

    #[test]
    fn an_assertion_shows_its_data() {
        let data = tensor(&[4], &[1i32, 2, 3, 4]);
        check("Assert", &[], &[bools(&[], &[true]), data.clone()], &[]);
        refuses("Assert", &[("summarize", int(2))], &[bools(&[], &[false]), data], "[1 2 ..]");
    }

    #[test]
    fn only_finite_numbers_pass() {
        let x = tensor(&[2], &[1.0f32, f32::MAX]);
        check("CheckNumerics", &[("message", text("x"))], std::slice::from_ref(&x), std::slice::from_ref(&x));
        refuses("CheckNumerics", &[("message", text("here"))], &[scalar(f64::NAN)], "here: a tensor has NaN");
        refuses("CheckNumerics", &[], &[tensor(&[2], &[f32::INFINITY, f32::NAN])], "Inf and NaN");
    }
}
