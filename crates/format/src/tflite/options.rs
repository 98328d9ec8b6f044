//! The options of operators: fields of a table by the names that schema.fbs has for them.

use super::flatbuffer::{Flatbuffer, Result, Table};
use crate::limits;

/// A field of a table of options.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its place in the table.
    pub slot: u16,
    /// What it holds.
    pub kind: Kind,
}

/// What a field of options holds; of a single value what it is where the file does not say.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Kind {
    Bool(bool),
    Int8(i8),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Float(f32),
    Text,
    Int32s,
    Uint32s,
    Int64s,
    Floats,
    Bytes,
}

/// The value of an option.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum OptionValue {
    Bool(bool),
    Int(i64),
    Float(f32),
    Text(Box<str>),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
}

/// The options of an operator, by their names in schema.fbs: `stride_w`, `fused_activation_function`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// The table that they are, as in `Conv2DOptions`; empty without one.
    pub table: &'static str,
    /// The fields, those that the file leaves out with what they are then.
    pub fields: Vec<(&'static str, OptionValue)>,
}

impl Options {
    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&OptionValue> {
        self.fields.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// The value of a field that is a number; 0 for one that the table lacks.
    pub fn int(&self, name: &str) -> i64 {
        match self.get(name) {
            Some(OptionValue::Int(value)) => *value,
            Some(OptionValue::Bool(value)) => i64::from(*value),
            _ => 0,
        }
    }

    /// The value of a field that is true or false; false for one that the table lacks.
    pub fn bool(&self, name: &str) -> bool {
        self.int(name) != 0
    }

    /// The value of a float field; 0 for one that the table lacks.
    pub fn float(&self, name: &str) -> f32 {
        match self.get(name) {
            Some(OptionValue::Float(value)) => *value,
            _ => 0.0,
        }
    }

    /// The numbers of a list; none for one that the table lacks.
    pub fn ints(&self, name: &str) -> &[i64] {
        match self.get(name) {
            Some(OptionValue::Ints(values)) => values,
            _ => &[],
        }
    }

    /// A text; empty for one that the table lacks.
    pub fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Some(OptionValue::Text(value)) => value,
            _ => "",
        }
    }
}

/// Reads the options of a table with these fields.
pub(super) fn read(
    file: &mut Flatbuffer<'_>,
    table: Table,
    (name, fields): (&'static str, &[Field]),
) -> Result<Options> {
    let mut values = file.list(fields.len())?;
    for field in fields {
        values.push((field.name, value(file, table, field)?));
    }
    Ok(Options { table: name, fields: values })
}

fn value(file: &mut Flatbuffer<'_>, table: Table, field: &Field) -> Result<OptionValue> {
    let slot = field.slot;
    Ok(match field.kind {
        Kind::Bool(default) => OptionValue::Bool(file.scalar(table, slot, [u8::from(default)])? != [0]),
        Kind::Int8(default) => {
            let [byte] = file.scalar(table, slot, default.to_le_bytes())?;
            OptionValue::Int(i64::from(byte as i8))
        }
        Kind::Int32(default) => OptionValue::Int(file.i32(table, slot, default)?.into()),
        Kind::Uint32(default) => OptionValue::Int(file.u32(table, slot, default)?.into()),
        Kind::Int64(default) => {
            OptionValue::Int(i64::from_le_bytes(file.scalar(table, slot, default.to_le_bytes())?))
        }
        Kind::Float(default) => {
            OptionValue::Float(f32::from_le_bytes(file.scalar(table, slot, default.to_le_bytes())?))
        }
        Kind::Text => OptionValue::Text(file.text(table, slot)?.unwrap_or_default()),
        Kind::Int32s => {
            OptionValue::Ints(file.scalars(table, slot, limits::LIST, |b| i32::from_le_bytes(b).into())?)
        }
        Kind::Uint32s => {
            OptionValue::Ints(file.scalars(table, slot, limits::LIST, |b| u32::from_le_bytes(b).into())?)
        }
        Kind::Int64s => OptionValue::Ints(file.scalars(table, slot, limits::LIST, i64::from_le_bytes)?),
        Kind::Floats => OptionValue::Floats(file.scalars(table, slot, limits::LIST, f32::from_le_bytes)?),
        Kind::Bytes => OptionValue::Ints(file.scalars(table, slot, limits::LIST, |[b]: [u8; 1]| b.into())?),
    })
}
