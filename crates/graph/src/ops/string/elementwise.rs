//! Functions of each string: StringLower, StringUpper, StringStrip, StringLength, EncodeBase64, DecodeBase64, Substr.
//!
//! Shape: the input's. Lower and Upper: of ASCII letters, or with `encoding` utf-8 of all, what is no UTF-8 becoming U+FFFD.
//! Strip takes white space off both ends. Length: int32, in bytes, or with `unit` UTF8_CHAR in characters. Base64 is that for
//! URLs, with `=` at the end where `pad` asks for it; decoding takes both. Substr: string, position and length (int32 or int64, of
//! one shape or broadcast), in bytes or characters; a negative position counts from the end.

use base64::engine::general_purpose::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine, alphabet};
use tightfit_core::{DType, StringRef};

use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::Indices;
use crate::ops::string::text::{Character, broadcast_steps, characters, of_each_string, place, trimmed};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "StringLower", import: |a| import_case(a, Function::Lower, Function::LowerAll) },
    Registration { name: "StringUpper", import: |a| import_case(a, Function::Upper, Function::UpperAll) },
    Registration { name: "StringStrip", import: |_| Ok(Box::new(Each { function: Function::Strip })) },
    Registration {
        name: "EncodeBase64",
        import: |a| {
            let is_padded = a.bool_or("pad", false)?;
            Ok(Box::new(Each { function: Function::Encode { is_padded } }))
        },
    },
    Registration { name: "DecodeBase64", import: |_| Ok(Box::new(Each { function: Function::Decode })) },
    Registration {
        name: "StringLength",
        import: |a| Ok(Box::new(Length { is_characters: is_characters(a)? })),
    },
    Registration { name: "Substr", import: |a| Ok(Box::new(Substr { is_characters: is_characters(a)? })) },
];

fn import_case(
    attributes: &Attributes<'_>,
    ascii: Function,
    all: Function,
) -> Result<Box<dyn Operator>, OpError> {
    let function = match attributes.text_or("encoding", "")? {
        "" => ascii,
        "utf-8" => all,
        other => return Err(OpError::attribute("encoding", format!("is {other}; there is only utf-8"))),
    };
    Ok(Box::new(Each { function }))
}

fn is_characters(attributes: &Attributes<'_>) -> Result<bool, OpError> {
    Ok(attributes.text_or("unit", "BYTE")? == "UTF8_CHAR")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Lower,
    LowerAll,
    Upper,
    UpperAll,
    Strip,
    Encode { is_padded: bool },
    Decode,
}

/// A string for each string.
#[derive(Debug)]
struct Each {
    function: Function,
}

impl Operator for Each {
    fn name(&self) -> &'static str {
        match self.function {
            Function::Lower | Function::LowerAll => "StringLower",
            Function::Upper | Function::UpperAll => "StringUpper",
            Function::Strip => "StringStrip",
            Function::Encode { .. } => "EncodeBase64",
            Function::Decode => "DecodeBase64",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        of_each_string(inputs, DType::String)
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let texts = run.slice::<StringRef>(0)?;
        for (to, reference) in run.out::<StringRef>(0)?.iter_mut().zip(texts) {
            let text = run.string(*reference);
            *to = match self.function {
                Function::Strip => run.part_of_string(*reference, trimmed(text))?,
                Function::Lower => mapped(run, text, |byte| byte.to_ascii_lowercase())?,
                Function::Upper => mapped(run, text, |byte| byte.to_ascii_uppercase())?,
                Function::LowerAll => lower(run, text)?,
                Function::UpperAll => upper(run, text)?,
                Function::Encode { is_padded } => encode(run, text, is_padded)?,
                Function::Decode => decode(run, text)?,
            };
        }
        Ok(())
    }
}

/// Bytes worked on at a time.
const BLOCK: usize = 256;

fn mapped(run: &Run<'_>, text: &[u8], function: impl Fn(&u8) -> u8) -> Result<StringRef, OpError> {
    let mut new = run.new_string(&[])?;
    for part in text.chunks(BLOCK) {
        let mut block = [0; BLOCK];
        block.iter_mut().zip(part).for_each(|(to, byte)| *to = function(byte));
        new = run.extended_string(new, &block[..part.len()])?;
    }
    Ok(new)
}

/// What some characters become, one after the other.
fn of_characters<I: Iterator<Item = char>>(
    run: &Run<'_>,
    text: &[u8],
    function: impl Fn(char, usize) -> I,
) -> Result<StringRef, OpError> {
    let mut new = run.new_string(&[])?;
    // TensorFlow takes what is before the first NUL.
    let text = text.split(|byte| *byte == 0).next().unwrap_or(text);
    for Character { is, at, .. } in characters(text) {
        for character in function(is.unwrap_or(char::REPLACEMENT_CHARACTER), at) {
            new = run.extended_string(new, character.encode_utf8(&mut [0; 4]).as_bytes())?;
        }
    }
    Ok(new)
}

fn lower(run: &Run<'_>, text: &[u8]) -> Result<StringRef, OpError> {
    const SIGMA: char = '\u{3a3}';
    of_characters(run, text, |character, at| {
        // A sigma at the end of a word has a letter of its own.
        let is_final = character == SIGMA && ends_word(text, at, SIGMA.len_utf8());
        let instead = is_final.then_some('\u{3c2}');
        instead.into_iter().chain(character.to_lowercase().filter(move |_| !is_final))
    })
}

/// True where cased letters stand before `at` and none after it, marks aside.
fn ends_word(text: &[u8], at: usize, bytes: usize) -> bool {
    let is_cased = |c: &char| c.is_lowercase() || c.is_uppercase();
    let is_mark =
        |c: &char| matches!(c, '\'' | '.' | ':' | '\u{b7}' | '\u{2019}' | '\u{300}'..='\u{36f}' | '\u{ad}');
    let before = String::from_utf8_lossy(&text[..at]);
    let behind = String::from_utf8_lossy(&text[at + bytes..]);
    let before = before.chars().rev().find(|c| !is_mark(c));
    let behind = behind.chars().find(|c| !is_mark(c));
    before.is_some_and(|c| is_cased(&c)) && !behind.is_some_and(|c| is_cased(&c))
}

fn upper(run: &Run<'_>, text: &[u8]) -> Result<StringRef, OpError> {
    of_characters(run, text, |character, _| character.to_uppercase())
}

/// Base 64 for URLs, whose last character may have bits that stand for nothing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Characters of base 64 that are made at a time.
const PART: usize = 64;

fn encode(run: &Run<'_>, text: &[u8], is_padded: bool) -> Result<StringRef, OpError> {
    let engine = if is_padded { &URL_SAFE } else { &BASE64 };
    let mut new = run.new_string(&[])?;
    for part in text.chunks(PART / 4 * 3) {
        let mut made = [0; PART];
        let count = engine.encode_slice(part, &mut made).map_err(|e| OpError::Invalid(e.to_string()))?;
        new = run.extended_string(new, &made[..count])?;
    }
    Ok(new)
}

fn decode(run: &Run<'_>, text: &[u8]) -> Result<StringRef, OpError> {
    if text.len() % 4 == 1 {
        return Err(OpError::Invalid("a base64 string's length cannot be 1 modulo 4".into()));
    }
    // At the end of whole fours there may be padding.
    let text = match text {
        [rest @ .., b'=', b'='] | [rest @ .., b'='] if text.len().is_multiple_of(4) => rest,
        text => text,
    };
    let mut new = run.new_string(&[])?;
    for part in text.chunks(PART) {
        let mut made = [0; PART];
        let count = BASE64
            .decode_slice_unchecked(part, &mut made)
            .map_err(|_| OpError::Invalid("a base64 string has an invalid character".into()))?;
        new = run.extended_string(new, &made[..count])?;
    }
    Ok(new)
}

/// StringLength.
#[derive(Debug)]
struct Length {
    is_characters: bool,
}

impl Operator for Length {
    fn name(&self) -> &'static str {
        "StringLength"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        of_each_string(inputs, DType::I32)
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let texts = run.slice::<StringRef>(0)?;
        for (to, text) in run.out::<i32>(0)?.iter_mut().zip(texts) {
            let text = run.string(*text);
            let count = if self.is_characters {
                text.iter().filter(|byte| begins(**byte)).count()
            } else {
                text.len()
            };
            *to = i32::try_from(count).unwrap_or(i32::MAX);
        }
        Ok(())
    }
}

/// True for a byte that a character begins with, as TensorFlow counts them.
fn begins(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

/// Parts of strings.
#[derive(Debug)]
struct Substr {
    is_characters: bool,
}

impl Substr {
    /// The part of a text; `None` for a position outside of it.
    fn part<'t>(&self, text: &'t [u8], position: i64, len: i64) -> Option<&'t [u8]> {
        let all =
            if self.is_characters { text.iter().filter(|byte| begins(**byte)).count() } else { text.len() };
        let start = if position < 0 { position.checked_add(all as i64)? } else { position };
        let start = usize::try_from(start).ok().filter(|start| *start <= all)?;
        if !self.is_characters {
            // A negative length is all that is left.
            let len = usize::try_from(len).unwrap_or(usize::MAX).min(all - start);
            return text.get(start..start + len);
        }
        // Only from the front is a negative length none; counted from the back it is outside.
        if position < 0 && len < 0 {
            return None;
        }
        let len = usize::try_from(len).unwrap_or(0).min(all - start);
        let place = |number: usize| {
            let mut places = text.iter().enumerate().filter(|(_, byte)| begins(**byte));
            places.nth(number).map_or(text.len(), |(at, _)| at)
        };
        text.get(place(start)..place(start + len))
    }
}

impl Operator for Substr {
    fn name(&self) -> &'static str {
        "Substr"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let [text, position, len] = [0, 1, 2].map(|index| shared::input(inputs, index));
        let (text, position, len) = (text?, position?, len?);
        shared::need_type(0, text, &[DType::String])?;
        shared::need_type(1, position, &[DType::I32, DType::I64])?;
        shared::need_type(2, len, &[position.dtype])?;
        if let (Some(a), Some(b)) = (position.dims.rank(), len.dims.rank())
            && a != b
        {
            return Err(OpError::input(2, "is of another rank than the position"));
        }
        Ok(vec![Fact::new(DType::String, shared::broadcast(text, position)?)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::elementwise(run)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if run.shape(1) != run.shape(2) {
            return Err(OpError::input(2, "is of another shape than the position"));
        }
        let shape = run.output_shape(0);
        let steps = [0, 1].map(|input| broadcast_steps(&run.shape(input), shape.rank()));
        let texts = run.slice::<StringRef>(0)?;
        let (positions, lens) = (Indices::new(run, 1)?, Indices::new(run, 2)?);
        for (i, to) in run.out::<StringRef>(0)?.iter_mut().enumerate() {
            let [text, at] = steps.map(|steps| place(i, &shape, &steps));
            let text = texts[text];
            let (position, len) = (positions.get(at), lens.get(at));
            let own = run.string(text);
            let part = self.part(own, position, len).ok_or_else(|| {
                let shown = String::from_utf8_lossy(own).into_owned();
                OpError::Invalid(format!("pos {position} out of range for string '{shown}' at index {i}"))
            })?;
            *to = run.part_of_string(text, part)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_counted_from_either_end() {
        let characters = |position, len| Substr { is_characters: true }.part("aé€".as_bytes(), position, len);
        assert_eq!((characters(1, 1), characters(-1, 9)), (Some("é".as_bytes()), Some("€".as_bytes())));
        // A negative length is nothing from the front, and outside from the back.
        assert_eq!((characters(1, -1), characters(-2, -1)), (Some(&b""[..]), None));
        assert_eq!((characters(3, i64::MIN), characters(-2, i64::MIN)), (Some(&b""[..]), None));
        let bytes = |position, len| Substr { is_characters: false }.part(b"abc", position, len);
        assert_eq!((bytes(-2, -1), bytes(1, 1), bytes(4, 1)), (Some(&b"bc"[..]), Some(&b"b"[..]), None));
    }
}
