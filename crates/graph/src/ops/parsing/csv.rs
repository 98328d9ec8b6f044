//! DecodeCSV: records of text become a tensor for each column, of the records' shape.
//!
//! Types are those of `OUT_TYPE`: float32, float64, int32, int64 and string. A field that is empty, or `na_value`, is the column's
//! default; a column whose default is empty must have a value. Fields may be in quotation marks, in which two stand for one.
//! `select_cols` names the columns that are wanted, in rising order.

use tightfit_core::{DType, StringRef};

use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run, reshape};
use crate::ops::shared;
use crate::ops::string::number::number;

pub(crate) const OPS: &[Registration] = &[Registration { name: "DecodeCSV", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let types = attributes.dtypes("OUT_TYPE")?;
    let known = [DType::F32, DType::F64, DType::I32, DType::I64, DType::String];
    if let Some(other) = types.iter().find(|dtype| !known.contains(dtype)) {
        return Err(OpError::attribute("OUT_TYPE", format!("has {other}, which is not supported")));
    }
    let [delimiter] = attributes.bytes_or("field_delim", b",")? else {
        return Err(OpError::attribute("field_delim", "is not one character"));
    };
    let columns: Option<Vec<usize>> = attributes
        .ints_or_empty("select_cols")?
        .into_iter()
        .map(|column| usize::try_from(column).ok())
        .collect();
    let columns = columns.filter(|columns| columns.is_sorted_by(|a, b| a < b));
    let columns = columns.ok_or_else(|| OpError::attribute("select_cols", "is not of rising columns"))?;
    if !columns.is_empty() && columns.len() != types.len() {
        return Err(OpError::attribute("select_cols", "is not of as many columns as there are types"));
    }
    Ok(Box::new(Csv {
        types,
        delimiter: *delimiter,
        has_quotes: attributes.bool_or("use_quote_delim", true)?,
        nothing: attributes.bytes_or("na_value", b"")?.into(),
        columns,
    }))
}

/// DecodeCSV.
#[derive(Debug)]
struct Csv {
    types: Vec<DType>,
    delimiter: u8,
    has_quotes: bool,
    nothing: Box<[u8]>,
    columns: Vec<usize>,
}

/// One field of a record.
#[derive(Clone, Copy)]
struct Field<'t> {
    text: &'t [u8],
    /// True where two quotation marks in it stand for one.
    is_quoted: bool,
}

impl Csv {
    /// Takes a field off the front of a record: the field and, unless it is the last, what is after its delimiter.
    fn field<'t>(&self, record: &'t [u8]) -> Result<(Field<'t>, Option<&'t [u8]>), OpError> {
        let invalid = |why: &str| OpError::Invalid(why.into());
        if !self.has_quotes || record.first() != Some(&b'"') {
            let end = record.iter().position(|byte| *byte == self.delimiter);
            let text = &record[..end.unwrap_or(record.len())];
            let is_bad = |byte: &u8| matches!(byte, b'\n' | b'\r') || (self.has_quotes && *byte == b'"');
            if text.iter().any(is_bad) {
                return Err(invalid("unquoted fields cannot have quotes/CRLFs inside"));
            }
            let rest = end.map(|end| &record[end + 1..]);
            return Ok((Field { text, is_quoted: false }, rest));
        }
        let mut at = 1;
        loop {
            match record.get(at) {
                None => return Err(invalid("quoted field has to end with quote followed by delim or end")),
                Some(b'"') if record.get(at + 1) == Some(&b'"') => at += 2,
                Some(b'"') => break,
                Some(_) => at += 1,
            }
        }
        let field = Field { text: &record[1..at], is_quoted: true };
        match record.get(at + 1) {
            None => Ok((field, None)),
            Some(byte) if *byte == self.delimiter => Ok((field, Some(&record[at + 2..]))),
            Some(_) => Err(invalid("quoted field has to end with quote followed by delim or end")),
        }
    }

    /// Writes one field to its place.
    fn write(
        &self,
        run: &Run<'_>,
        record: StringRef,
        place: (usize, usize),
        field: Field<'_>,
        to: &mut [u8],
    ) -> Result<(), OpError> {
        let (row, column) = place;
        let dtype = self.types[column];
        let is_nothing = field.text.is_empty() || (!self.nothing.is_empty() && field.text == &*self.nothing);
        if is_nothing {
            let default = run.input(column + 1)?;
            if default.shape().elements() == 0 {
                return Err(OpError::Invalid(format!(
                    "field {column} is required but missing in record {row}"
                )));
            }
            to.copy_from_slice(&default.bytes()[..to.len()]);
            return Ok(());
        }
        if dtype == DType::String {
            let text = if field.is_quoted && field.text.contains(&b'"') {
                let mut new = run.new_string(&[])?;
                let mut rest = field.text;
                while let Some(at) = rest.iter().position(|byte| *byte == b'"') {
                    new = run.extended_string(new, &rest[..=at])?;
                    rest = rest.get(at + 2..).unwrap_or_default();
                }
                run.extended_string(new, rest)?
            } else {
                run.part_of_string(record, field.text)?
            };
            to.copy_from_slice(bytemuck::bytes_of(&text));
            return Ok(());
        }
        let (bytes, size) = number(field.text, dtype).ok_or_else(|| {
            let shown = String::from_utf8_lossy(field.text).into_owned();
            OpError::Invalid(format!("field {column} in record {row} is not a valid {dtype}: {shown}"))
        })?;
        to.copy_from_slice(&bytes[..size]);
        Ok(())
    }
}

impl Operator for Csv {
    fn name(&self) -> &'static str {
        "DecodeCSV"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let records = shared::input(inputs, 0)?;
        shared::need_type(0, records, &[DType::String])?;
        for (column, dtype) in self.types.iter().enumerate() {
            let default = shared::input(inputs, column + 1)?;
            shared::need_type(column + 1, default, &[*dtype])?;
            if default.dims.elements().known().is_some_and(|count| count > 1) {
                return Err(OpError::input(column + 1, "has more than one default for a column"));
            }
            if default.dims.rank().is_some_and(|rank| rank > 1) {
                let why = format!("is of shape {}; a default is a scalar or a vector", default.dims);
                return Err(OpError::input(column + 1, why));
            }
        }
        Ok(self.types.iter().map(|dtype| Fact::new(*dtype, records.dims.clone())).collect())
    }

    fn max_outputs(&self, inputs: usize) -> usize {
        inputs.max(self.types.len())
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let records = run.slice::<StringRef>(0)?;
        // A column at a time, as an output is handed out once; that reads a record again for each.
        for (column, dtype) in self.types.iter().enumerate() {
            let wanted = self.columns.get(column).copied().unwrap_or(column);
            let out = run.out_bytes(column)?;
            for (row, (to, record)) in out.chunks_exact_mut(dtype.bytes()).zip(records).enumerate() {
                // Of nothing there is no field.
                let mut rest = Some(run.string(*record)).filter(|text| !text.is_empty());
                let (mut found, mut count) = (None, 0);
                while let Some(text) = rest {
                    let (field, behind) = self.field(text)?;
                    if count == wanted {
                        found = Some(field);
                    }
                    count += 1;
                    rest = behind;
                    if !self.columns.is_empty() && found.is_some() {
                        break;
                    }
                }
                if self.columns.is_empty() && count != self.types.len() {
                    let expected = self.types.len();
                    return Err(OpError::Invalid(format!(
                        "expect {expected} fields but have {count} in record {row}"
                    )));
                }
                let field = found.ok_or_else(|| {
                    OpError::Invalid(format!("record {row} has {count} fields and not column {wanted}"))
                })?;
                self.write(run, *record, (row, column), field, to)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_without_quotation_marks_are_of_one_line() {
        let csv = |has_quotes| Csv {
            types: vec![DType::String],
            delimiter: b',',
            has_quotes,
            nothing: Box::default(),
            columns: Vec::new(),
        };
        let text = |has_quotes, record: &'static [u8]| {
            let found = csv(has_quotes).field(record);
            found.map(|(field, _)| field.text).map_err(|why| why.to_string())
        };
        for has_quotes in [true, false] {
            let refused = text(has_quotes, b"a\nb,c").unwrap_err();
            assert!(refused.contains("unquoted fields cannot have quotes/CRLFs inside"), "{refused}");
            assert!(text(has_quotes, b"a,b\r").is_ok());
        }
        assert!(text(true, b"a\"b").is_err());
        assert_eq!(text(true, b"\"a\nb\",c").unwrap(), b"a\nb");
        assert_eq!(text(false, b"a\"b\",c").unwrap(), b"a\"b\"");
        assert!(text(false, b"\"a\nb\",c").is_err());
    }

    #[test]
    fn a_default_is_one_element_of_one_axis_at_most() {
        let csv = Csv {
            types: vec![DType::F32],
            delimiter: b',',
            has_quotes: true,
            nothing: Box::default(),
            columns: Vec::new(),
        };
        let records = Fact::new(DType::String, crate::dim::Dims::of_rank(1));
        let with = |dims: &[usize]| {
            let default = Fact::new(DType::F32, tightfit_core::Shape::new(dims).unwrap());
            csv.infer(&[&records, &default]).map_err(|why| why.to_string())
        };
        for taken in [&[][..], &[0], &[1]] {
            assert!(with(taken).is_ok(), "{taken:?}");
        }
        assert!(with(&[2]).unwrap_err().contains("more than one default"));
        assert!(with(&[1, 1]).unwrap_err().contains("a scalar or a vector"));
    }
}
