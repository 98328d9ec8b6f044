//! TensorFlow's numbers and names of element types (types.proto).

use std::fmt;

use tightfit_core::DType;

/// A number of TensorFlow's `DataType` enum. 100 and up are references to the type 100 below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DataType(pub i32);

const REF_OFFSET: i32 = 100;

struct Row {
    number: i32,
    name: &'static str,
    /// How elements lie in memory, for types that have plain elements.
    storage: Option<DType>,
    kind: Kind,
}

/// What the stored elements mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Themselves.
    Plain,
    /// Numbers of a range that comes beside them.
    Quantized,
    /// Numbers of fewer bits than TensorFlow's kernels compute with.
    Small,
}

const fn row(number: i32, name: &'static str, storage: Option<DType>) -> Row {
    Row { number, name, storage, kind: Kind::Plain }
}

const fn quantized(number: i32, name: &'static str, storage: DType) -> Row {
    Row { number, name, storage: Some(storage), kind: Kind::Quantized }
}

const fn small(number: i32, name: &'static str, storage: DType) -> Row {
    Row { number, name, storage: Some(storage), kind: Kind::Small }
}

const ROWS: [Row; 33] = [
    row(0, "DT_INVALID", None),
    row(1, "DT_FLOAT", Some(DType::F32)),
    row(2, "DT_DOUBLE", Some(DType::F64)),
    row(3, "DT_INT32", Some(DType::I32)),
    row(4, "DT_UINT8", Some(DType::U8)),
    row(5, "DT_INT16", Some(DType::I16)),
    row(6, "DT_INT8", Some(DType::I8)),
    row(7, "DT_STRING", Some(DType::String)),
    row(8, "DT_COMPLEX64", Some(DType::C64)),
    row(9, "DT_INT64", Some(DType::I64)),
    row(10, "DT_BOOL", Some(DType::Bool)),
    quantized(11, "DT_QINT8", DType::I8),
    quantized(12, "DT_QUINT8", DType::U8),
    quantized(13, "DT_QINT32", DType::I32),
    row(14, "DT_BFLOAT16", Some(DType::BF16)),
    quantized(15, "DT_QINT16", DType::I16),
    quantized(16, "DT_QUINT16", DType::U16),
    row(17, "DT_UINT16", Some(DType::U16)),
    row(18, "DT_COMPLEX128", Some(DType::C128)),
    row(19, "DT_HALF", Some(DType::F16)),
    row(20, "DT_RESOURCE", None),
    row(21, "DT_VARIANT", None),
    row(22, "DT_UINT32", Some(DType::U32)),
    row(23, "DT_UINT64", Some(DType::U64)),
    small(24, "DT_FLOAT8_E5M2", DType::U8),
    small(25, "DT_FLOAT8_E4M3FN", DType::U8),
    row(26, "DT_FLOAT8_E4M3FNUZ", None),
    row(27, "DT_FLOAT8_E4M3B11FNUZ", None),
    row(28, "DT_FLOAT8_E5M2FNUZ", None),
    small(29, "DT_INT4", DType::I8),
    small(30, "DT_UINT4", DType::U8),
    row(31, "DT_INT2", None),
    row(32, "DT_UINT2", None),
];

impl DataType {
    /// True for a reference to a variable's value, as in TensorFlow 1's `VariableV2`.
    pub fn is_ref(self) -> bool {
        self.0 > REF_OFFSET
    }

    /// The type referred to, or the type itself.
    pub fn base(self) -> DataType {
        if self.is_ref() { DataType(self.0 - REF_OFFSET) } else { self }
    }

    fn row(self) -> Option<&'static Row> {
        let row = ROWS.get(usize::try_from(self.base().0).ok()?)?;
        debug_assert_eq!(row.number, self.base().0);
        Some(row)
    }

    /// The element type; the base's of a reference. `None` for quantised types, resource, variant and types that
    /// cannot be computed with here: [`DataType`]'s Display names those in messages.
    pub fn dtype(self) -> Option<DType> {
        self.row().filter(|r| r.kind == Kind::Plain).and_then(|r| r.storage)
    }

    /// As [`DataType::dtype`], and the integers that a quantised type, or one of four bits or floats of eight, is stored as:
    /// a byte for each of these.
    pub fn storage(self) -> Option<DType> {
        self.row().and_then(|r| r.storage)
    }

    /// True for qint8, quint8, qint16, quint16 and qint32.
    pub fn is_quantized(self) -> bool {
        self.row().is_some_and(|r| r.kind == Kind::Quantized)
    }

    /// True for float8_e5m2, float8_e4m3fn, int4 and uint4.
    pub fn is_small(self) -> bool {
        self.row().is_some_and(|r| r.kind == Kind::Small)
    }

    /// The type of a name as text files write it: `DT_FLOAT`, `DT_FLOAT_REF`.
    pub fn from_name(name: &str) -> Option<DataType> {
        let (base, offset) = match name.strip_suffix("_REF") {
            Some(base) => (base, REF_OFFSET),
            None => (name, 0),
        };
        ROWS.iter().find(|r| r.name == base).map(|r| DataType(r.number + offset))
    }
}

impl From<DType> for DataType {
    fn from(dtype: DType) -> Self {
        let row = ROWS.iter().find(|r| r.kind == Kind::Plain && r.storage == Some(dtype));
        DataType(row.map_or(0, |r| r.number))
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row() {
            Some(row) if self.is_ref() => write!(f, "{}_REF", row.name),
            Some(row) => f.write_str(row.name),
            None => write!(f, "DataType {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_types() {
        for (number, row) in ROWS.iter().enumerate() {
            assert_eq!(row.number as usize, number);
            assert_eq!(DataType::from_name(row.name), Some(DataType(row.number)));
        }
        for dtype in DType::ALL {
            assert_eq!(DataType::from(dtype).dtype(), Some(dtype));
        }
        assert_eq!(DataType(101).dtype(), Some(DType::F32));
        assert_eq!(DataType(101).to_string(), "DT_FLOAT_REF");
        assert_eq!(DataType::from_name("DT_FLOAT_REF"), Some(DataType(101)));
        assert_eq!((DataType(12).dtype(), DataType(12).storage()), (None, Some(DType::U8)));
        assert_eq!((DataType(29).dtype(), DataType(29).storage()), (None, Some(DType::I8)));
        assert!(DataType(25).is_small() && !DataType(25).is_quantized() && !DataType(4).is_small());
        for odd in [i32::MIN, -1, 33, 100, 140, i32::MAX] {
            assert_eq!((DataType(odd).dtype(), DataType(odd).is_quantized()), (None, false));
        }
    }
}
