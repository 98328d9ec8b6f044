//! Elements as text and as numbers.

use std::io::{self, Write};

use base64::display::Base64Display;
use base64::prelude::BASE64_STANDARD;
use half::{bf16, f16};
use tightfit_core::{DType, StringRef};

use crate::outputs::Outputs;

/// An element as a number; `None` for strings and complex numbers.
pub fn number(dtype: DType, element: &[u8]) -> Option<f64> {
    Some(match dtype {
        DType::F32 => read::<f32>(element) as f64,
        DType::F64 => read::<f64>(element),
        DType::F16 => read::<f16>(element).to_f64(),
        DType::BF16 => read::<bf16>(element).to_f64(),
        DType::U64 => read::<u64>(element) as f64,
        DType::String | DType::C64 | DType::C128 => return None,
        _ => integer(dtype, element)? as f64,
    })
}

/// An element as an integer; uint64 keeps its bits. `None` for all that are none.
pub fn integer(dtype: DType, element: &[u8]) -> Option<i64> {
    Some(match dtype {
        DType::I8 => read::<i8>(element) as i64,
        DType::I16 => read::<i16>(element) as i64,
        DType::I32 => read::<i32>(element) as i64,
        DType::I64 => read::<i64>(element),
        DType::U8 | DType::Bool => read::<u8>(element) as i64,
        DType::U16 => read::<u16>(element) as i64,
        DType::U32 => read::<u32>(element) as i64,
        DType::U64 => read::<u64>(element) as i64,
        _ => return None,
    })
}

/// The text of an element of a string tensor.
pub fn string<'a>(outputs: &Outputs<'a>, element: &[u8]) -> &'a [u8] {
    outputs.string(read::<StringRef>(element))
}

fn read<T: bytemuck::AnyBitPattern>(element: &[u8]) -> T {
    bytemuck::pod_read_unaligned(element)
}

/// Writes an element as JSON. What JSON has no numbers for are the strings protobuf uses: "NaN", "Infinity",
/// "-Infinity". A complex number is a list of its parts, a string that is no UTF-8 `{"b64": ".."}`.
pub fn write_json(
    write: &mut impl Write,
    dtype: DType,
    element: &[u8],
    outputs: &Outputs<'_>,
) -> io::Result<()> {
    match dtype {
        DType::Bool => write!(write, "{}", element != [0]),
        DType::String => write_json_text(write, string(outputs, element)),
        DType::C64 | DType::C128 => {
            let (part, (re, im)) = (complex_part(dtype), element.split_at(element.len() / 2));
            write.write_all(b"[")?;
            write_json(write, part, re, outputs)?;
            write.write_all(b", ")?;
            write_json(write, part, im, outputs)?;
            write.write_all(b"]")
        }
        DType::F32 | DType::F64 | DType::F16 | DType::BF16 => {
            write_json_float(write, number(dtype, element).unwrap_or(f64::NAN), dtype != DType::F64)
        }
        _ => write_number(write, dtype, element),
    }
}

/// Writes an element for a .csv file: a string as it is, with quotes where it needs them.
pub fn write_csv(
    write: &mut impl Write,
    dtype: DType,
    element: &[u8],
    outputs: &Outputs<'_>,
) -> io::Result<()> {
    match dtype {
        DType::String => write_csv_text(write, &String::from_utf8_lossy(string(outputs, element))),
        DType::C64 | DType::C128 => {
            let (part, (re, im)) = (complex_part(dtype), element.split_at(element.len() / 2));
            write_number(write, part, re)?;
            if number(part, im).is_some_and(|im| im.is_sign_positive() || im.is_nan()) {
                write.write_all(b"+")?;
            }
            write_number(write, part, im)?;
            write.write_all(b"j")
        }
        _ => write_number(write, dtype, element),
    }
}

/// Writes a text for a .csv file (RFC 4180).
pub fn write_csv_text(write: &mut impl Write, text: &str) -> io::Result<()> {
    if text.contains([',', '"', '\n', '\r']) {
        write!(write, "\"{}\"", text.replace('"', "\"\""))
    } else {
        write.write_all(text.as_bytes())
    }
}

/// Writes a text as JSON.
pub fn write_json_text(write: &mut impl Write, text: &[u8]) -> io::Result<()> {
    match std::str::from_utf8(text) {
        Ok(text) => serde_json::to_writer(write, text).map_err(io::Error::from),
        Err(_) => write!(write, "{{\"b64\": \"{}\"}}", Base64Display::new(text, &BASE64_STANDARD)),
    }
}

fn complex_part(dtype: DType) -> DType {
    if dtype == DType::C64 { DType::F32 } else { DType::F64 }
}

/// Writes a score as JSON.
pub fn write_json_score(write: &mut impl Write, score: f64) -> io::Result<()> {
    write_json_float(write, score, is_single(score))
}

/// Writes a score for a .csv file.
pub fn write_csv_score(write: &mut impl Write, score: f64) -> io::Result<()> {
    if is_single(score) { write!(write, "{:?}", score as f32) } else { write!(write, "{score:?}") }
}

/// True when nothing is lost in the narrower type, whose text is shorter.
fn is_single(value: f64) -> bool {
    value as f32 as f64 == value
}

fn write_json_float(write: &mut impl Write, value: f64, is_single: bool) -> io::Result<()> {
    if value.is_nan() {
        write.write_all(b"\"NaN\"")
    } else if value.is_infinite() {
        write.write_all(if value > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" })
    } else if is_single {
        write!(write, "{:?}", value as f32)
    } else {
        write!(write, "{value:?}")
    }
}

/// The shortest text from which the same number is read back.
fn write_number(write: &mut impl Write, dtype: DType, element: &[u8]) -> io::Result<()> {
    match dtype {
        DType::F64 => write!(write, "{:?}", read::<f64>(element)),
        DType::U64 => write!(write, "{}", read::<u64>(element)),
        _ => match integer(dtype, element) {
            Some(value) => write!(write, "{value}"),
            None => write!(write, "{:?}", number(dtype, element).unwrap_or(f64::NAN) as f32),
        },
    }
}
