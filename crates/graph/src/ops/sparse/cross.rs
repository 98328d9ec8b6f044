//! Features crossed with each other: SparseCross, SparseCrossV2 and SparseCrossHashed.
//!
//! Columns are sparse tensors `[batch, width]`, whose elements come row by row, and dense ones `[batch, width]`, of strings or
//! int64. Each row of the output, a sparse tensor, has every choice of one feature of each column: as strings that `_X_`
//! (SparseCross) or `sep` (V2) joins, or as hashes (SparseCross with `out_type` int64, and Hashed) modulo the number of
//! buckets where that is not 0. How many there are the data says.

use std::ops::Range;

use tightfit_core::{DType, MAX_RANK, StringRef};
use tightfit_kernels::{fingerprint_cat64, fingerprint64, sip_hash};

use super::common::{at_most_rows, give_dims, room, room_bytes, set_rows};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run};
use crate::ops::shared;
use crate::ops::shared::extent::int_input;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "SparseCross", import: import_first },
    Registration { name: "SparseCrossV2", import: |a| import(a, Made::Texts { has_separator: true }, 1) },
    Registration { name: "SparseCrossHashed", import: |a| import(a, Made::Hashes, 3) },
];

fn import(attributes: &Attributes<'_>, made: Made, more: usize) -> Result<Box<dyn Operator>, OpError> {
    let dense = attributes.dtypes_or_empty("dense_types")?.len();
    let sparse = attributes.count("N")?;
    if attributes.dtypes_or_empty("sparse_types")?.len() != sparse {
        return Err(OpError::attribute("sparse_types", format!("is not of {sparse} types, as N says")));
    }
    if sparse + dense == 0 {
        return Err(OpError::attribute("N", "and dense_types say that there are no columns"));
    }
    Ok(Box::new(Cross { sparse, dense, more, made }))
}

fn import_first(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    if attributes.dtype("internal_type")? == DType::String {
        let types = [attributes.dtypes_or_empty("sparse_types")?, attributes.dtypes_or_empty("dense_types")?];
        if let Some(other) = types.iter().flatten().find(|dtype| **dtype != DType::String) {
            let why = format!("is string, and there is a column of {other}");
            return Err(OpError::attribute("internal_type", why));
        }
    }
    let made = match attributes.dtype("out_type")? {
        DType::String => Made::Texts { has_separator: false },
        _ => Made::KeyedHashes {
            buckets: attributes.int("num_buckets")?,
            key: attributes.int("hash_key")? as u64,
        },
    };
    import(attributes, made, 0)
}

/// What is made of the features that are crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Texts {
        /// An input says what stands between; else it is `_X_`.
        has_separator: bool,
    },
    /// Hashes that begin with a key.
    KeyedHashes { buckets: i64, key: u64 },
    /// Hashes of which inputs say the buckets, whether they are strong, and the key of strong ones.
    Hashes,
}

/// The operators.
#[derive(Debug)]
struct Cross {
    sparse: usize,
    dense: usize,
    /// Inputs after the columns.
    more: usize,
    made: Made,
}

/// One column at run time.
#[derive(Clone, Copy)]
enum Column<'a> {
    Sparse { rows: &'a [i64], rank: usize, values: Values<'a> },
    Dense { width: usize, values: Values<'a> },
}

#[derive(Clone, Copy)]
enum Values<'a> {
    Texts(&'a [StringRef]),
    Numbers(&'a [i64]),
}

impl<'a> Column<'a> {
    fn values(self) -> Values<'a> {
        match self {
            Column::Sparse { values, .. } | Column::Dense { values, .. } => values,
        }
    }

    /// The features of a row, which are no earlier than `from`.
    fn features(&self, row: usize, from: usize) -> Range<usize> {
        match self {
            Column::Dense { width, .. } => row * width..(row + 1) * width,
            Column::Sparse { rows, rank, .. } => {
                let rest = rows.iter().skip(from * rank).step_by(*rank);
                from..from + rest.take_while(|own| **own == row as i64).count()
            }
        }
    }
}

/// How a hash is made of features.
#[derive(Clone, Copy)]
struct Hashing {
    /// What a keyed hash begins with.
    first: Option<u64>,
    buckets: u64,
    strong: Option<[u64; 2]>,
}

impl Hashing {
    /// The hash of one feature.
    fn of(&self, feature: &[u8]) -> u64 {
        self.strong.map_or_else(|| fingerprint64(feature), |key| sip_hash(key, feature))
    }
}

impl Cross {
    fn behind_columns(&self) -> usize {
        3 * self.sparse + self.dense
    }

    fn column<'a>(&self, run: &Run<'a>, column: usize) -> Result<Column<'a>, OpError> {
        let values = |input: usize| match run.dtype(input) {
            DType::String => Ok::<_, OpError>(Values::Texts(run.slice(input)?)),
            _ => Ok(Values::Numbers(run.slice(input)?)),
        };
        if let Some(dense) = column.checked_sub(self.sparse) {
            let input = 3 * self.sparse + dense;
            let [_, width] = run.shape(input)[..] else {
                return Err(OpError::input(input, "is no matrix"));
            };
            return Ok(Column::Dense { width, values: values(input)? });
        }
        let (shape, value_input) = (run.shape(column), self.sparse + column);
        let [count, rank] = shape[..] else {
            return Err(OpError::input(column, format!("is of shape {shape}; rank 2 is needed")));
        };
        if rank != 2 || run.shape(value_input).elements() != count {
            let why = format!("is of shape {} for coordinates {shape}", run.shape(value_input));
            return Err(OpError::input(value_input, why));
        }
        Ok(Column::Sparse { rows: run.slice(column)?, rank, values: values(value_input)? })
    }

    /// How many rows all columns have.
    fn batch(&self, run: &Run<'_>) -> Result<usize, OpError> {
        let mut batch = None;
        for column in 0..self.sparse + self.dense {
            let (input, rows) = match column.checked_sub(self.sparse) {
                Some(dense) => {
                    let input = 3 * self.sparse + dense;
                    (input, run.shape(input).first().copied().unwrap_or(0) as i64)
                }
                None => {
                    let input = 2 * self.sparse + column;
                    // How wide a column is nobody asks.
                    let dims = run.ints::<MAX_RANK>(input)?;
                    let &[rows, _] = &dims[..] else {
                        return Err(OpError::input(input, "is no shape of 2 axes"));
                    };
                    (input, rows)
                }
            };
            if batch.is_some_and(|batch| batch != rows) {
                let why = format!("has {rows} rows, unlike a column before it");
                return Err(OpError::input(input, why));
            }
            batch = Some(rows);
        }
        usize::try_from(batch.unwrap_or(0)).map_err(|_| OpError::Invalid("has too many rows".into()))
    }

    fn hashing(&self, run: &Run<'_>) -> Result<Option<Hashing>, OpError> {
        Ok(match self.made {
            Made::Texts { .. } => None,
            Made::KeyedHashes { buckets, key } => {
                Some(Hashing { first: Some(key), buckets: buckets.max(0) as u64, strong: None })
            }
            Made::Hashes => {
                let at = self.behind_columns();
                let is_strong = run.input(at + 1)?.bytes() != [0];
                let salt = run.slice::<i64>(at + 2)?;
                let &[a, b] = salt else {
                    return Err(OpError::input(at + 2, format!("has {} elements; 2 are needed", salt.len())));
                };
                let strong = is_strong.then_some([a as u64, b as u64]);
                let buckets = u64::try_from(int_input(run, at)?).unwrap_or(0);
                Some(Hashing { first: None, buckets, strong })
            }
        })
    }

    /// The text of a choice of one feature of each column.
    fn text(&self, run: &Run<'_>, chosen: &[usize], between: &[u8]) -> Result<StringRef, OpError> {
        let mut text = run.new_string(&[])?;
        for (column, feature) in chosen.iter().enumerate() {
            if column > 0 {
                text = run.extended_string(text, between)?;
            }
            text = match self.column(run, column)?.values() {
                Values::Texts(texts) => run.extended_string(text, run.string(texts[*feature]))?,
                Values::Numbers(numbers) => {
                    let mut digits = [0; 20];
                    run.extended_string(text, decimal(numbers[*feature], &mut digits))?
                }
            };
        }
        Ok(text)
    }

    /// The hash of a choice.
    fn hash(&self, run: &Run<'_>, chosen: &[usize], how: Hashing) -> Result<i64, OpError> {
        let mut hash = how.first;
        for (column, feature) in chosen.iter().enumerate() {
            let features = self.column(run, column)?;
            let own = match (features.values(), features) {
                // Of a number of a sparse column TensorFlow hashes the lower half.
                (Values::Numbers(numbers), Column::Sparse { .. }) if how.first.is_none() => {
                    how.of(&numbers[*feature].to_le_bytes()[..4])
                }
                (Values::Numbers(numbers), _) => numbers[*feature] as u64,
                (Values::Texts(texts), _) => how.of(run.string(texts[*feature])),
            };
            hash = Some(hash.map_or(own, |hash| fingerprint_cat64(hash, own)));
        }
        let buckets = if how.buckets > 0 { how.buckets } else { i64::MAX as u64 };
        Ok((hash.unwrap_or(0) % buckets) as i64)
    }
}

/// A number in decimal digits, at the end of `digits`.
fn decimal(number: i64, digits: &mut [u8; 20]) -> &[u8] {
    let (mut rest, mut at) = (number.unsigned_abs(), digits.len());
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    &digits[at..]
}

/// The next choice of one feature of each column, the last column's first; false after the last choice.
fn advance(chosen: &mut [usize], features: &[[usize; 2]]) -> bool {
    for (own, [start, end]) in chosen.iter_mut().zip(features).rev() {
        *own += 1;
        if *own < *end {
            return true;
        }
        *own = *start;
    }
    false
}

impl Operator for Cross {
    fn name(&self) -> &'static str {
        match self.made {
            Made::Texts { has_separator: true } => "SparseCrossV2",
            Made::Hashes => "SparseCrossHashed",
            _ => "SparseCross",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        for column in 0..self.sparse {
            for (part, rank) in [(0, 2), (1, 1), (2, 1)] {
                let index = part * self.sparse + column;
                let dims = shared::dims_of_rank(index, shared::input(inputs, index)?, rank)?;
                if let Some(axes) = dims.filter(|_| part == 2).and_then(|dims| dims[0].size())
                    && axes != 2
                    && !inputs[index].is_bound
                {
                    let why = format!("is the shape of a tensor of {axes} axes; 2 are needed");
                    return Err(OpError::input(index, why));
                }
            }
        }
        for index in 3 * self.sparse..self.behind_columns() {
            shared::dims_of_rank(index, shared::input(inputs, index)?, 2)?;
        }
        // The buckets of hashes may be one number of any rank.
        if self.more > 0 && self.made != Made::Hashes {
            shared::dims_of_rank(self.behind_columns(), shared::input(inputs, self.behind_columns())?, 0)?;
        }
        let dtype = if matches!(self.made, Made::Texts { .. }) { DType::String } else { DType::I64 };
        Ok(vec![
            at_most_rows(DType::I64, Dim::Unknown, &[Dim::Known(2)]),
            at_most_rows(dtype, Dim::Unknown, &[]),
            Fact::new(DType::I64, Dims::new([Dim::Known(2)])),
        ])
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        // The features of a row of each column, and the choice at hand.
        let columns = self.sparse + self.dense;
        Memory::scratch(room_bytes::<[usize; 2]>(columns) + room_bytes::<usize>(columns))
    }

    fn reshape(&self, _: &mut Run<'_>) -> Option<()> {
        // The run itself counts the choices.
        Some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (columns, batch) = (self.sparse + self.dense, self.batch(run)?);
        let (features, rest) = room::<[usize; 2]>(run.scratch()?, columns)?;
        let (chosen, _) = room::<usize>(rest, columns)?;
        let next_row = |run: &Run<'_>, row: usize, features: &mut [[usize; 2]]| {
            let mut choices = 1usize;
            for (column, own) in features.iter_mut().enumerate() {
                let found = self.column(run, column)?.features(row, own[1]);
                choices = choices.saturating_mul(found.len());
                *own = [found.start, found.end];
            }
            Ok::<_, OpError>(choices)
        };
        features.fill([0; 2]);
        let (mut count, mut widest) = (0usize, 0);
        for row in 0..batch {
            let choices = next_row(run, row, features)?;
            (count, widest) = (count.saturating_add(choices), widest.max(choices));
        }
        set_rows(run, 0, count, 2)?;
        let hashing = self.hashing(run)?;
        let between = match self.made {
            Made::Texts { has_separator: true } => run
                .slice::<StringRef>(self.behind_columns())?
                .first()
                .map_or(&b""[..], |text| run.string(*text)),
            _ => b"_X_",
        };
        let mut rows = run.out::<i64>(0)?.chunks_exact_mut(2);
        let (no_texts, no_hashes): (&mut [StringRef], &mut [i64]) = (&mut [], &mut []);
        let (texts, hashes) = match hashing {
            None => (run.out::<StringRef>(1)?, no_hashes),
            Some(_) => (no_texts, run.out::<i64>(1)?),
        };
        let (mut texts, mut hashes) = (texts.iter_mut(), hashes.iter_mut());
        features.fill([0; 2]);
        for row in 0..batch {
            let choices = next_row(run, row, features)?;
            chosen.iter_mut().zip(features.iter()).for_each(|(own, [start, _])| *own = *start);
            for choice in 0..choices {
                let to = rows.next().ok_or(OpError::Internal("more choices than were counted"))?;
                to.copy_from_slice(&[row as i64, choice as i64]);
                match (hashing, texts.next(), hashes.next()) {
                    (Some(how), _, Some(to)) => *to = self.hash(run, chosen, how)?,
                    (None, Some(to), _) => *to = self.text(run, chosen, between)?,
                    _ => return Err(OpError::Internal("more choices than were counted")),
                }
                advance(chosen, features);
            }
        }
        give_dims(run, 2, 2, [batch as i64, widest as i64].into_iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, dtype, int, tensor};
    use tightfit_format::{AttrValue, ListValue};

    #[test]
    fn hashes_are_those_of_tensorflow() {
        let types = |numbers: &[i32]| AttrValue::List(ListValue::Types(numbers.to_vec()));
        let attributes = [
            ("N", int(1)),
            ("sparse_types", types(&[9])),
            ("dense_types", types(&[9])),
            ("out_type", dtype(DType::I64)),
            ("internal_type", dtype(DType::I64)),
            ("num_buckets", int(0)),
            ("hash_key", int(3)),
        ];
        let inputs = [
            tensor(&[3, 2], &[0i64, 0, 2, 0, 2, 1]),
            tensor(&[3], &[5i64, 6, -7]),
            tensor(&[2], &[3i64, 2]),
            tensor(&[3, 1], &[1i64, 2, 3]),
        ];
        let hash = |values: [i64; 2]| {
            let hash = values.iter().fold(3, |hash, value| fingerprint_cat64(hash, *value as u64));
            (hash % i64::MAX as u64) as i64
        };
        let expected = [
            tensor(&[3, 2], &[0i64, 0, 2, 0, 2, 1]),
            tensor(&[3], &[hash([5, 1]), hash([6, 3]), hash([-7, 3])]),
            tensor(&[2], &[3i64, 2]),
        ];
        check("SparseCross", &attributes, &inputs, &expected);
        let mut turned = inputs.to_vec();
        turned[0] = tensor(&[3, 2], &[2i64, 0, 0, 0, 2, 1]);
        // Rows that are passed when theirs would come are left out.
        let kept = [
            tensor(&[1, 2], &[2i64, 0]),
            tensor(&[1], &[3_783_796_454_575_461_132i64]),
            tensor(&[2], &[3i64, 1]),
        ];
        check("SparseCross", &attributes, &turned, &kept);
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        let text = |n: i64| String::from_utf8(decimal(n, &mut [0; 20]).to_vec()).unwrap();
        assert_eq!(
            [0, -12, i64::MIN, i64::MAX].map(text),
            ["0", "-12", "-9223372036854775808", "9223372036854775807"]
        );
    }
}
