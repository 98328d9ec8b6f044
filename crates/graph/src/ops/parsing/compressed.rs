//! DecodeCompressed: each string inflated, of the `compression_type` ZLIB or GZIP; as it is with none.

use std::io::Read;

use tightfit_core::{DType, StringRef};
use tightfit_format::compress::inflate::{Inflater, Wrapping};

use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run, reshape};
use crate::ops::string::text::of_each_string;

pub(crate) const OPS: &[Registration] = &[Registration { name: "DecodeCompressed", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let wrapping = match attributes.text_or("compression_type", "")? {
        "" => None,
        "ZLIB" => Some(Wrapping::Zlib),
        "GZIP" => Some(Wrapping::Gzip),
        other => {
            let why = format!("is '{other}'; ZLIB, GZIP and none are possible");
            return Err(OpError::attribute("compression_type", why));
        }
    };
    Ok(Box::new(DecodeCompressed { wrapping }))
}

/// The operator.
#[derive(Debug)]
struct DecodeCompressed {
    wrapping: Option<Wrapping>,
}

/// Bytes that are inflated at once.
const PART_BYTES: usize = 4096;

/// What an inflater takes of the heap: its window and its tables.
const HEAP_BYTES: u64 = 96 << 10;

impl Operator for DecodeCompressed {
    fn name(&self) -> &'static str {
        "DecodeCompressed"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        of_each_string(inputs, DType::String)
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        // A string that grows leaves this much behind it at the most where it has to move.
        Memory { string_bytes: PART_BYTES, ..Memory::default() }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let texts = run.slice::<StringRef>(0)?;
        let out = run.out::<StringRef>(0)?;
        let Some(wrapping) = self.wrapping else {
            out.copy_from_slice(texts);
            return Ok(());
        };
        let _heap = run.reserve("inflating of strings", HEAP_BYTES)?;
        for (to, text) in out.iter_mut().zip(texts) {
            let mut inflater = Inflater::new(wrapping, run.string(*text));
            let mut inflated = run.new_string(&[])?;
            let mut part = [0; PART_BYTES];
            loop {
                match inflater.read(&mut part) {
                    Ok(0) => break,
                    Ok(bytes) => inflated = run.extended_string(inflated, &part[..bytes])?,
                    Err(error) => return Err(OpError::input(0, format!("does not inflate: {error}"))),
                }
            }
            *to = inflated;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refuses, refuses_as_it_runs, scalar, text};
    use tightfit_core::StringRef;

    #[test]
    fn what_is_not_compressed_is_refused() {
        let empty = [scalar(StringRef::default())];
        check("DecodeCompressed", &[], &empty, &empty);
        refuses_as_it_runs("DecodeCompressed", &[("compression_type", text("ZLIB"))], &empty, "incomplete");
        refuses("DecodeCompressed", &[("compression_type", text("LZMA"))], &empty, "possible");
    }
}
