//! Characters of strings: UnicodeDecode, UnicodeDecodeWithOffsets, UnicodeEncode, UnicodeTranscode.
//!
//! Encodings are UTF-8, UTF-16-BE and UTF-32-BE; reading also takes US-ASCII, ISO-8859-1, UTF-16-LE and UTF-32-LE. Decode: strings of any
//! shape become int32 code points in ragged rows (splits first), with int64 offsets in bytes where they are asked for. Encode: rows of
//! code points become strings. What is no character is an error (`errors` strict), left out (ignore) or replaced by
//! `replacement_char` (replace); control characters are replaced where `replace_control_characters` says so.

use tightfit_core::{DType, StringRef};

use super::split::put;
use super::text::{characters, of_each_string};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::Indices;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "UnicodeDecode", import: |a| import_decode(a, false) },
    Registration { name: "UnicodeDecodeWithOffsets", import: |a| import_decode(a, true) },
    Registration {
        name: "UnicodeEncode",
        import: |a| {
            let to = Encoding::output(a)?;
            Ok(Box::new(Encode { to, errors: Errors::read(a)? }))
        },
    },
    Registration {
        name: "UnicodeTranscode",
        import: |a| {
            let to = Encoding::output(a)?;
            Ok(Box::new(Transcode { from: Encoding::input(a)?, to, errors: Errors::read(a)? }))
        },
    },
];

fn import_decode(attributes: &Attributes<'_>, has_offsets: bool) -> Result<Box<dyn Operator>, OpError> {
    let splits = attributes.dtype_or("Tsplits", DType::I64)?;
    let (from, errors) = (Encoding::input(attributes)?, Errors::read(attributes)?);
    Ok(Box::new(Decode { from, errors, splits, has_offsets }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16 { is_little: bool },
    Utf32 { is_little: bool },
    Latin,
    Ascii,
}

impl Encoding {
    fn named(name: &str) -> Option<Encoding> {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        Some(match &*plain.to_ascii_uppercase() {
            "UTF8" => Encoding::Utf8,
            "UTF16BE" | "UTF16" => Encoding::Utf16 { is_little: false },
            "UTF16LE" => Encoding::Utf16 { is_little: true },
            "UTF32BE" | "UTF32" => Encoding::Utf32 { is_little: false },
            "UTF32LE" => Encoding::Utf32 { is_little: true },
            "ISO88591" | "LATIN1" => Encoding::Latin,
            "USASCII" | "ASCII" => Encoding::Ascii,
            _ => return None,
        })
    }

    fn input(attributes: &Attributes<'_>) -> Result<Encoding, OpError> {
        let name = attributes.text("input_encoding")?;
        Encoding::named(name)
            .ok_or_else(|| OpError::attribute("input_encoding", format!("is {name}, which is not supported")))
    }

    fn output(attributes: &Attributes<'_>) -> Result<Encoding, OpError> {
        let name = attributes.text("output_encoding")?;
        match Encoding::named(name) {
            Some(
                encoding @ (Encoding::Utf8
                | Encoding::Utf16 { is_little: false }
                | Encoding::Utf32 { is_little: false }),
            ) => Ok(encoding),
            _ => Err(OpError::attribute("output_encoding", format!("is {name}, which is not supported"))),
        }
    }

    /// Calls `each` with every character of a text (`None` for what is none) and where it begins.
    fn decode(
        self,
        text: &[u8],
        mut each: impl FnMut(Option<char>, usize) -> Result<(), OpError>,
    ) -> Result<(), OpError> {
        match self {
            Encoding::Utf8 => characters(text).try_for_each(|c| each(c.is, c.at)),
            Encoding::Latin => {
                text.iter().enumerate().try_for_each(|(at, byte)| each(Some(char::from(*byte)), at))
            }
            Encoding::Ascii => text
                .iter()
                .enumerate()
                .try_for_each(|(at, byte)| each(byte.is_ascii().then_some(char::from(*byte)), at)),
            Encoding::Utf32 { is_little } => {
                let (words, rest) = text.as_chunks::<4>();
                for (number, word) in words.iter().enumerate() {
                    let code = if is_little { u32::from_le_bytes(*word) } else { u32::from_be_bytes(*word) };
                    each(char::from_u32(code), number * 4)?;
                }
                if rest.is_empty() { Ok(()) } else { each(None, words.len() * 4) }
            }
            Encoding::Utf16 { is_little } => {
                let (words, rest) = text.as_chunks::<2>();
                let unit = |word: &[u8; 2]| {
                    if is_little { u16::from_le_bytes(*word) } else { u16::from_be_bytes(*word) }
                };
                let mut at = 0;
                for character in char::decode_utf16(words.iter().map(unit)) {
                    let units = character.as_ref().map_or(1, |c| c.len_utf16());
                    each(character.ok(), at * 2)?;
                    at += units;
                }
                if rest.is_empty() { Ok(()) } else { each(None, words.len() * 2) }
            }
        }
    }

    /// The string with a character after it.
    fn push(self, run: &Run<'_>, to: StringRef, character: char) -> Result<StringRef, OpError> {
        match self {
            Encoding::Utf16 { .. } => {
                let mut units = [0; 2];
                let mut bytes = [0; 4];
                let units = character.encode_utf16(&mut units);
                for (to, unit) in bytes.chunks_exact_mut(2).zip(&*units) {
                    to.copy_from_slice(&unit.to_be_bytes());
                }
                run.extended_string(to, &bytes[..units.len() * 2])
            }
            Encoding::Utf32 { .. } => run.extended_string(to, &u32::from(character).to_be_bytes()),
            _ => run.extended_string(to, character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// What becomes of what is no character.
#[derive(Debug, Clone, Copy)]
struct Errors {
    what: What,
    replacement: char,
    replaces_control: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Refuse,
    Replace,
    LeaveOut,
}

impl Errors {
    fn read(attributes: &Attributes<'_>) -> Result<Errors, OpError> {
        let what = match attributes.text_or("errors", "replace")? {
            "strict" => What::Refuse,
            "replace" => What::Replace,
            "ignore" => What::LeaveOut,
            other => return Err(OpError::attribute("errors", format!("is {other}, which there is not"))),
        };
        let code = attributes.int_or("replacement_char", 65533)?;
        let replacement = u32::try_from(code).ok().and_then(char::from_u32);
        let replacement = replacement.ok_or_else(|| {
            OpError::attribute("replacement_char", format!("is {code}, which is no character"))
        })?;
        let replaces_control = attributes.bool_or("replace_control_characters", false)?;
        Ok(Errors { what, replacement, replaces_control })
    }

    /// What stands for a character; `None` where nothing does.
    fn settle(self, character: Option<char>) -> Result<Option<char>, OpError> {
        match character.filter(|c| !self.is_replaced(*c)) {
            Some(character) => Ok(Some(character)),
            None => match self.what {
                What::Refuse => Err(OpError::Invalid("invalid formatting on input string".into())),
                What::Replace => Ok(Some(self.replacement)),
                What::LeaveOut => Ok(None),
            },
        }
    }

    /// The same where a text is decoded: a control character is no error there.
    fn settle_decoded(self, character: Option<char>) -> Result<Option<char>, OpError> {
        match character {
            Some(control) if self.is_replaced(control) && self.what == What::Refuse => {
                Ok(Some(self.replacement))
            }
            _ => self.settle(character),
        }
    }

    /// True for a control character that is not to stay.
    fn is_replaced(self, character: char) -> bool {
        self.replaces_control && u32::from(character) <= 0x1f
    }
}

/// UnicodeDecode.
#[derive(Debug)]
struct Decode {
    from: Encoding,
    errors: Errors,
    splits: DType,
    has_offsets: bool,
}

impl Operator for Decode {
    fn name(&self) -> &'static str {
        if self.has_offsets { "UnicodeDecodeWithOffsets" } else { "UnicodeDecode" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::String])?;
        let rows = input.dims.elements().plus(Dim::Known(1));
        let mut facts =
            vec![Fact::new(self.splits, Dims::new([rows])), Fact::new(DType::I32, Dims::of_rank(1))];
        if self.has_offsets {
            facts.push(Fact::new(DType::I64, Dims::of_rank(1)));
        }
        Ok(facts)
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let rows = run.shape(0).elements() + 1;
        reshape::set(run, 0, [rows])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let texts = run.slice::<StringRef>(0)?;
        let mut count = 0;
        for text in texts {
            self.from.decode(run.string(*text), |character, _| {
                count += usize::from(self.errors.settle_decoded(character)?.is_some());
                Ok(())
            })?;
        }
        let shape =
            reshape::shape([count]).ok_or_else(|| OpError::Invalid("has too many characters".into()))?;
        run.set_output_shape(1, shape)?;
        if self.has_offsets {
            run.set_output_shape(2, shape)?;
        }
        let (splits, codes) = (run.out_bytes(0)?, run.out::<i32>(1)?);
        let mut offsets = if self.has_offsets { Some(run.out::<i64>(2)?) } else { None };
        let mut at = 0;
        put(splits, 0, 0, self.splits);
        for (row, text) in texts.iter().enumerate() {
            self.from.decode(run.string(*text), |character, place| {
                if let Some(character) = self.errors.settle_decoded(character)? {
                    codes[at] = u32::from(character) as i32;
                    if let Some(offsets) = &mut offsets {
                        offsets[at] = place as i64;
                    }
                    at += 1;
                }
                Ok(())
            })?;
            put(splits, row + 1, at, self.splits);
        }
        Ok(())
    }
}

/// UnicodeEncode.
#[derive(Debug)]
struct Encode {
    to: Encoding,
    errors: Errors,
}

impl Operator for Encode {
    fn name(&self) -> &'static str {
        "UnicodeEncode"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (codes, splits) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, codes, &[DType::I32])?;
        shared::need_type(1, splits, &[DType::I32, DType::I64])?;
        shared::dims_of_rank(0, codes, 1)?;
        let rows = match shared::dims_of_rank(1, splits, 1)?.as_deref() {
            Some([count]) => shared::extent::minus(*count, Dim::Known(1)),
            _ => Dim::Unknown,
        };
        Ok(vec![Fact::new(DType::String, Dims::new([rows]))])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let rows = run.shape(1).elements().checked_sub(1)?;
        reshape::set(run, 0, [rows])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (codes, splits) = (run.slice::<i32>(0)?, Indices::new(run, 1)?);
        for (row, to) in run.out::<StringRef>(0)?.iter_mut().enumerate() {
            let (start, end) = (splits.get(row), splits.get(row + 1));
            let both = usize::try_from(start).ok().zip(usize::try_from(end).ok());
            let own = both.and_then(|(start, end)| codes.get(start..end)).ok_or_else(|| {
                OpError::input(1, format!("has {start} before {end} of {} characters", codes.len()))
            })?;
            let mut new = run.new_string(&[])?;
            for code in own {
                let character = u32::try_from(*code).ok().and_then(char::from_u32);
                if let Some(character) = self.errors.settle(character)? {
                    new = self.to.push(run, new, character)?;
                }
            }
            *to = new;
        }
        if splits.len() > 0 && splits.get(splits.len() - 1) != codes.len() as i64 {
            return Err(OpError::input(
                1,
                format!("does not end with {}, the number of characters", codes.len()),
            ));
        }
        Ok(())
    }
}

/// UnicodeTranscode.
#[derive(Debug)]
struct Transcode {
    from: Encoding,
    to: Encoding,
    errors: Errors,
}

impl Operator for Transcode {
    fn name(&self) -> &'static str {
        "UnicodeTranscode"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        of_each_string(inputs, DType::String)
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let texts = run.slice::<StringRef>(0)?;
        for (to, text) in run.out::<StringRef>(0)?.iter_mut().zip(texts) {
            let mut new = run.new_string(&[])?;
            self.from.decode(run.string(*text), |character, _| {
                if let Some(character) = self.errors.settle(character)? {
                    new = self.to.push(run, new, character)?;
                }
                Ok(())
            })?;
            *to = new;
        }
        Ok(())
    }
}
