//! Strings taken apart: StringSplit, StringSplitV2 and StringNGrams.
//!
//! Split: a vector of strings becomes a sparse matrix: `int64[pieces, 2]` indices, the pieces, and its shape, the strings and the most
//! pieces of one. The first version splits at any byte of `delimiter`, between all bytes where there is none, and leaves empty
//! pieces out unless told otherwise. The second splits at `sep` as Python does, at white space where there is none, and at most
//! `maxsplit` times. StringNGrams: strings in ragged rows become joined runs of them, in rows again. How many there are the data says.

use tightfit_core::{DType, StringRef};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::Indices;
use crate::ops::string::text::is_space;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "StringSplit",
        import: |a| Ok(Box::new(Split { how: How::AnyByte { skips_empty: a.bool_or("skip_empty", true)? } })),
    },
    Registration {
        name: "StringSplitV2",
        import: |a| Ok(Box::new(Split { how: How::Whole { most: a.int_or("maxsplit", -1)? } })),
    },
    Registration { name: "StringNGrams", import: import_ngrams },
];

#[derive(Debug, Clone, Copy)]
enum How {
    AnyByte { skips_empty: bool },
    Whole { most: i64 },
}

/// StringSplit of either version.
#[derive(Debug)]
struct Split {
    how: How,
}

impl Split {
    /// Calls `each` with the pieces of a text.
    fn pieces<'t>(&self, text: &'t [u8], at: &[u8], mut each: impl FnMut(&'t [u8])) {
        match self.how {
            How::AnyByte { .. } if at.is_empty() => text.chunks(1).for_each(each),
            How::AnyByte { skips_empty } => {
                if !text.is_empty() {
                    let pieces = text.split(|byte| at.contains(byte));
                    pieces.filter(|piece| !(skips_empty && piece.is_empty())).for_each(each);
                }
            }
            How::Whole { most: 0 } => each(text),
            How::Whole { most } => {
                let mut left = usize::try_from(most).unwrap_or(usize::MAX);
                let mut rest = text;
                if at.is_empty() {
                    let skip = |text: &'t [u8]| {
                        let start = text.iter().position(|byte| !is_space(*byte));
                        &text[start.unwrap_or(text.len())..]
                    };
                    rest = skip(rest);
                    while !rest.is_empty() {
                        if left == 0 {
                            return each(rest);
                        }
                        let end = rest.iter().position(|byte| is_space(*byte)).unwrap_or(rest.len());
                        each(&rest[..end]);
                        rest = skip(&rest[end..]);
                        left -= 1;
                        if left == 0 {
                            // What is left is a piece even where it is nothing.
                            return each(rest);
                        }
                    }
                    return;
                }
                while left > 0 {
                    let Some(end) = rest.windows(at.len()).position(|window| window == at) else { break };
                    each(&rest[..end]);
                    rest = &rest[end + at.len()..];
                    left -= 1;
                }
                each(rest);
            }
        }
    }
}

impl Operator for Split {
    fn name(&self) -> &'static str {
        match self.how {
            How::AnyByte { .. } => "StringSplit",
            How::Whole { .. } => "StringSplitV2",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, at) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, input, &[DType::String])?;
        shared::need_type(1, at, &[DType::String])?;
        shared::dims_of_rank(0, input, 1)?;
        shared::dims_of_rank(1, at, 0)?;
        let indices = Dims::new([Dim::Unknown, Dim::Known(2)]);
        Ok(vec![
            Fact::new(DType::I64, indices),
            Fact::new(DType::String, Dims::of_rank(1)),
            Fact::new(DType::I64, Dims::new([Dim::Known(2)])),
        ])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        // The run finds how many there are.
        reshape::set(run, 2, [2])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let texts = run.slice::<StringRef>(0)?;
        let at = run.slice::<StringRef>(1)?.first().map_or(&b""[..], |at| run.string(*at));
        let (mut count, mut most) = (0, 0);
        for text in texts {
            let mut own = 0;
            self.pieces(run.string(*text), at, |_| own += 1);
            count += own;
            most = most.max(own);
        }
        let shapes = reshape::shape([count, 2]).zip(reshape::shape([count]));
        let (indices, pieces) = shapes.ok_or_else(|| OpError::Invalid("makes too many pieces".into()))?;
        run.set_output_shape(0, indices)?;
        run.set_output_shape(1, pieces)?;
        let (indices, pieces, shape) = (run.out::<i64>(0)?, run.out::<StringRef>(1)?, run.out::<i64>(2)?);
        let mut places = indices.chunks_exact_mut(2).zip(pieces);
        for (row, text) in texts.iter().enumerate() {
            let (mut column, mut refused) = (0, None);
            self.pieces(run.string(*text), at, |piece| {
                if let Some((index, to)) = places.next() {
                    index.copy_from_slice(&[row as i64, column]);
                    column += 1;
                    match run.part_of_string(*text, piece) {
                        Ok(part) => *to = part,
                        Err(error) => refused = Some(error),
                    }
                }
            });
            if let Some(error) = refused {
                return Err(error);
            }
        }
        shape.copy_from_slice(&[texts.len() as i64, most as i64]);
        Ok(())
    }
}

fn import_ngrams(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let widths: Option<Vec<usize>> = attributes
        .ints("ngram_widths")?
        .into_iter()
        .map(|width| usize::try_from(width).ok().filter(|width| *width > 0))
        .collect();
    let widths = widths.ok_or_else(|| OpError::attribute("ngram_widths", "has a width below 1"))?;
    let text = |name: &str| attributes.bytes_or(name, b"").map(Box::from);
    Ok(Box::new(NGrams {
        widths,
        separator: text("separator")?,
        left: text("left_pad")?,
        right: text("right_pad")?,
        pad_width: usize::try_from(attributes.int_or("pad_width", 0)?).ok(),
        keeps_short: attributes.bool_or("preserve_short_sequences", false)?,
    }))
}

/// StringNGrams.
#[derive(Debug)]
struct NGrams {
    widths: Vec<usize>,
    separator: Box<[u8]>,
    left: Box<[u8]>,
    right: Box<[u8]>,
    /// `None` for one less than the width.
    pad_width: Option<usize>,
    keeps_short: bool,
}

impl NGrams {
    fn pad(&self, width: usize) -> usize {
        self.pad_width.map_or(width - 1, |pad| pad.min(width - 1))
    }

    fn count(&self, len: usize, width: usize) -> usize {
        (len + 2 * self.pad(width) + 1).saturating_sub(width)
    }

    /// How many a row of this length has.
    fn count_all(&self, len: usize) -> usize {
        match self.widths.iter().map(|width| self.count(len, *width)).sum() {
            0 if self.keeps_short && len > 0 => 1,
            count => count,
        }
    }

    fn join(
        &self,
        run: &Run<'_>,
        row: &[StringRef],
        width: usize,
        pad: usize,
        number: usize,
        count: usize,
    ) -> Result<StringRef, OpError> {
        let left = pad.saturating_sub(number);
        let right = pad.saturating_sub(count - (number + 1));
        let tokens = width.saturating_sub(left + right);
        let first = if left > 0 { 0 } else { number - pad };
        let row = row.get(first..first + tokens).unwrap_or_default();
        let texts = std::iter::repeat_n(&*self.left, left)
            .chain(row.iter().map(|text| run.string(*text)))
            .chain(std::iter::repeat_n(&*self.right, right));
        let mut new = run.new_string(&[])?;
        for (number, text) in texts.enumerate() {
            if number > 0 {
                new = run.extended_string(new, &self.separator)?;
            }
            new = run.extended_string(new, text)?;
        }
        Ok(new)
    }
}

impl Operator for NGrams {
    fn name(&self) -> &'static str {
        "StringNGrams"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (data, splits) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, data, &[DType::String])?;
        shared::need_type(1, splits, &[DType::I32, DType::I64])?;
        shared::dims_of_rank(0, data, 1)?;
        let dims = shared::dims_of_rank(1, splits, 1)?.map_or(Dims::of_rank(1), Dims::new);
        Ok(vec![Fact::new(DType::String, Dims::of_rank(1)), Fact::new(splits.dtype, dims)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let splits = run.shape(1);
        run.set_output_shape(1, splits).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (data, splits) = (run.slice::<StringRef>(0)?, Indices::new(run, 1)?);
        let bounds = |row: usize| -> Result<(usize, usize), OpError> {
            let (start, end) = (splits.get(row), splits.get(row + 1));
            let both = usize::try_from(start).ok().zip(usize::try_from(end).ok());
            both.filter(|(start, end)| start <= end && *end <= data.len()).ok_or_else(|| {
                OpError::input(1, format!("has {start} before {end} of {} strings", data.len()))
            })
        };
        let rows = splits.len().saturating_sub(1);
        if splits.len() > 0 && splits.get(0) != 0 {
            return Err(OpError::input(1, format!("begins with {}; 0 is needed", splits.get(0))));
        }
        if splits.len() > 0 && splits.get(rows) != data.len() as i64 {
            return Err(OpError::input(
                1,
                format!("ends with {} of {} strings", splits.get(rows), data.len()),
            ));
        }
        let mut count = 0;
        for row in 0..rows {
            let (start, end) = bounds(row)?;
            count += self.count_all(end - start);
        }
        // Of no strings at all there are not even padded n-grams.
        let rows_made = if data.is_empty() { 0 } else { rows };
        if data.is_empty() {
            count = 0;
        }
        let shape =
            reshape::shape([count]).ok_or_else(|| OpError::Invalid("makes too many n-grams".into()))?;
        run.set_output_shape(0, shape)?;
        let out = run.out::<StringRef>(0)?;
        let new_splits = run.out_bytes(1)?;
        let mut at = 0;
        for row in rows_made..rows {
            put(new_splits, row, 0, run.output_dtype(1));
        }
        for row in 0..rows_made {
            put(new_splits, row, at, run.output_dtype(1));
            let (start, end) = bounds(row)?;
            let (own, first) = (&data[start..end], at);
            for width in &self.widths {
                let count = self.count(own.len(), *width);
                for number in 0..count {
                    out[at] = self.join(run, own, *width, self.pad(*width), number, count)?;
                    at += 1;
                }
            }
            if at == first && self.keeps_short && !own.is_empty() {
                let pad = self.pad_width.unwrap_or(0);
                out[at] = self.join(run, own, own.len() + 2 * pad, pad, 0, 1)?;
                at += 1;
            }
        }
        if splits.len() > 0 {
            put(new_splits, rows, at, run.output_dtype(1));
        }
        Ok(())
    }
}

/// Writes element `i` of int32s or int64s.
pub(crate) fn put(bytes: &mut [u8], i: usize, value: usize, dtype: DType) {
    if dtype == DType::I32 {
        bytes[i * 4..i * 4 + 4].copy_from_slice(&(value as i32).to_le_bytes());
    } else {
        bytes[i * 8..i * 8 + 8].copy_from_slice(&(value as i64).to_le_bytes());
    }
}
