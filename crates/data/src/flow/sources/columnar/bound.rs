//! One column of a batch, made ready to be read row by row.

use arrow_array::cast::AsArray;
use arrow_array::types::{BinaryViewType, StringViewType};
use arrow_array::{
    Array, BinaryArray, FixedSizeBinaryArray, GenericByteViewArray, LargeBinaryArray, LargeStringArray,
    StringArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow_schema::DataType;
use tightfit_core::{DType, MAX_RANK, Shape};

use super::{Column, field_of};
use crate::error::{Needed, RowFault, clamped};
use crate::flow::element::Element;

/// Where the lists of a column begin and end in its values.
enum Offsets {
    Small(OffsetBuffer<i32>),
    Large(OffsetBuffer<i64>),
}

impl Offsets {
    /// Where the list of `row` begins, and its values.
    fn range(&self, row: usize) -> Option<(usize, usize)> {
        let (from, to) = match self {
            Offsets::Small(offsets) => (i64::from(*offsets.get(row)?), i64::from(*offsets.get(row + 1)?)),
            Offsets::Large(offsets) => (*offsets.get(row)?, *offsets.get(row + 1)?),
        };
        let (from, to) = (usize::try_from(from).ok()?, usize::try_from(to).ok()?);
        Some((from, to.checked_sub(from)?))
    }
}

/// Byte strings.
enum Texts {
    Utf8(StringArray),
    LargeUtf8(LargeStringArray),
    Binary(BinaryArray),
    LargeBinary(LargeBinaryArray),
    Utf8View(GenericByteViewArray<StringViewType>),
    BinaryView(GenericByteViewArray<BinaryViewType>),
    Fixed(FixedSizeBinaryArray),
}

impl Texts {
    fn new(array: &dyn Array) -> Option<Texts> {
        Some(match array.data_type() {
            DataType::Utf8 => Texts::Utf8(array.as_string_opt()?.clone()),
            DataType::LargeUtf8 => Texts::LargeUtf8(array.as_string_opt()?.clone()),
            DataType::Binary => Texts::Binary(array.as_binary_opt()?.clone()),
            DataType::LargeBinary => Texts::LargeBinary(array.as_binary_opt()?.clone()),
            DataType::Utf8View => Texts::Utf8View(array.as_byte_view_opt()?.clone()),
            DataType::BinaryView => Texts::BinaryView(array.as_byte_view_opt()?.clone()),
            DataType::FixedSizeBinary(_) => Texts::Fixed(array.as_fixed_size_binary_opt()?.clone()),
            _ => return None,
        })
    }

    fn get(&self, index: usize) -> Result<&[u8], RowFault> {
        Ok(match self {
            Texts::Utf8(array) if index < array.len() => array.value(index).as_bytes(),
            Texts::LargeUtf8(array) if index < array.len() => array.value(index).as_bytes(),
            Texts::Binary(array) if index < array.len() => array.value(index),
            Texts::LargeBinary(array) if index < array.len() => array.value(index),
            Texts::Utf8View(array) if index < array.len() => array.value(index).as_bytes(),
            Texts::BinaryView(array) if index < array.len() => array.value(index),
            Texts::Fixed(array) if index < array.len() => array.value(index),
            _ => return Err(no_value()),
        })
    }
}

/// The values inside all lists.
enum Values {
    /// Numbers as they lie in memory, and the bytes from one to the next: of decimals more than the number has.
    Numbers(Buffer, usize),
    Booleans(BooleanBuffer),
    Texts(Texts),
}

impl Values {
    fn new(array: &dyn Array, dtype: DType) -> Option<Values> {
        Some(match dtype {
            DType::Bool => Values::Booleans(array.as_boolean_opt()?.values().clone()),
            DType::String => Values::Texts(Texts::new(array)?),
            _ => {
                let width = array.data_type().primitive_width()?;
                Values::Numbers(number_bytes(array, width)?, width)
            }
        })
    }

    /// Writes the number `index` to `to`.
    fn number(&self, index: usize, to: &mut [u8]) -> Result<(), RowFault> {
        match self {
            Values::Numbers(bytes, stride) => {
                let from = index.saturating_mul(*stride);
                let bytes = bytes.get(from..from.saturating_add(to.len()));
                to.copy_from_slice(bytes.ok_or_else(no_value)?);
            }
            Values::Booleans(bits) if index < bits.len() => to.fill(u8::from(bits.value(index))),
            Values::Booleans(_) => return Err(no_value()),
            Values::Texts(_) => return Err(RowFault::Broken("text where there have to be numbers")),
        }
        Ok(())
    }
}

/// What a file is wrong about whose lists or keys point after its values.
fn no_value() -> RowFault {
    RowFault::Map("a value of the column is not there".to_string())
}

/// The values of an array of numbers of `width` bytes.
fn number_bytes(array: &dyn Array, width: usize) -> Option<Buffer> {
    let data = array.to_data();
    let (from, bytes) = (data.offset().checked_mul(width)?, data.len().checked_mul(width)?);
    let buffer = data.buffers().first()?;
    (from.checked_add(bytes)? <= buffer.len()).then(|| buffer.slice_with_length(from, bytes))
}

/// The numbers of the values that a dictionary has for its elements.
struct Keys {
    bytes: Buffer,
    width: usize,
}

impl Keys {
    fn new(keys: &dyn Array) -> Option<Keys> {
        let width = keys.data_type().primitive_width()?;
        Some(Keys { bytes: number_bytes(keys, width)?, width })
    }

    /// Negative ones become too large to be there.
    fn get(&self, index: usize) -> Result<usize, RowFault> {
        let from = index.saturating_mul(self.width);
        let mut key = [0; 8];
        let bytes = self.bytes.get(from..from.saturating_add(self.width)).ok_or_else(no_value)?;
        key.get_mut(..bytes.len())
            .needed("a key of a dictionary is wider than there are")?
            .copy_from_slice(bytes);
        Ok(clamped(u64::from_le_bytes(key)))
    }
}

/// See the module.
pub(crate) struct Bound {
    lists: Option<(Offsets, Option<NullBuffer>)>,
    /// The sizes of fixed-size lists, and the product of them.
    sizes: Vec<usize>,
    per_row: usize,
    /// Nulls of fixed-size lists and of values: each bit stands for so many values.
    nulls: Vec<(usize, NullBuffer)>,
    keys: Option<Keys>,
    /// Nulls among the values of a dictionary.
    value_nulls: Option<NullBuffer>,
    values: Values,
    default: Option<Vec<u8>>,
    nulls_are_empty: bool,
    is_optional: bool,
    name: Box<str>,
    dtype: DType,
}

impl Bound {
    /// The column `column` of a batch; an error when `array` is of another type.
    pub fn new(array: &dyn Array, column: &Column) -> Result<Bound, String> {
        let name = &column.field.name;
        let mut found = field_of(name, array.data_type())?;
        found.dims.extend(column.is_optional.then_some(None));
        if found != column.field {
            return Err(format!("column {name:?} is {found}, not {}", column.field));
        }
        Bound::of(array, column).ok_or_else(|| format!("column {name:?}: an array of {}", array.data_type()))
    }

    fn of(array: &dyn Array, column: &Column) -> Option<Bound> {
        let has_nulls = |array: &dyn Array| array.nulls().filter(|nulls| nulls.null_count() > 0).cloned();
        let mut inner = array;
        let lists = match inner.data_type() {
            DataType::List(_) => {
                let list = inner.as_list_opt::<i32>()?;
                inner = list.values().as_ref();
                Some((Offsets::Small(list.offsets().clone()), has_nulls(list)))
            }
            DataType::LargeList(_) => {
                let list = inner.as_list_opt::<i64>()?;
                inner = list.values().as_ref();
                Some((Offsets::Large(list.offsets().clone()), has_nulls(list)))
            }
            _ => None,
        };
        let (mut sizes, mut levels) = (Vec::new(), Vec::new());
        while let Some(list) = inner.as_fixed_size_list_opt() {
            levels.push(has_nulls(list));
            sizes.push(usize::try_from(list.value_length()).ok()?);
            inner = list.values().as_ref();
        }
        levels.push(has_nulls(inner));
        let mut stride = 1usize;
        let mut nulls = Vec::new();
        for (level, mask) in levels.into_iter().enumerate().rev() {
            nulls.extend(mask.map(|mask| (stride, mask)));
            // The outermost level has none around it.
            if let Some(outer) = level.checked_sub(1) {
                stride = stride.checked_mul(*sizes.get(outer)?)?;
            }
        }
        let dictionary = inner.as_any_dictionary_opt();
        let keys = match dictionary {
            Some(dictionary) => Some(Keys::new(dictionary.keys())?),
            None => None,
        };
        let leaf = dictionary.map_or(inner, |dictionary| dictionary.values().as_ref());
        Some(Bound {
            lists,
            per_row: sizes.iter().try_fold(1usize, |all, size| all.checked_mul(*size))?,
            sizes,
            nulls,
            value_nulls: keys.as_ref().and_then(|_| has_nulls(leaf)),
            keys,
            values: Values::new(leaf, column.field.dtype)?,
            default: column.default.clone(),
            nulls_are_empty: column.nulls_are_empty,
            is_optional: column.is_optional,
            name: column.field.name.as_str().into(),
            dtype: column.field.dtype,
        })
    }

    fn is_null(&self, index: usize) -> Result<bool, RowFault> {
        let is_null = |nulls: &NullBuffer, i: usize| i < nulls.len() && nulls.is_null(i);
        let is_masked = |(stride, nulls): &(usize, NullBuffer)| is_null(nulls, index / (*stride).max(1));
        if self.nulls.iter().any(is_masked) {
            return Ok(true);
        }
        match &self.value_nulls {
            Some(nulls) => Ok(is_null(nulls, self.place(index)?)),
            None => Ok(false),
        }
    }

    /// Where the value of element `index` is.
    fn place(&self, index: usize) -> Result<usize, RowFault> {
        self.keys.as_ref().map_or(Ok(index), |keys| keys.get(index))
    }

    fn null(&self) -> RowFault {
        RowFault::Map(format!("column {:?} is null here, and has no default", self.name))
    }

    /// Adds field `index` of `out`: what the column is in `row`.
    pub fn add(&self, index: usize, row: usize, out: &mut Element) -> Result<(), RowFault> {
        let (mut from, mut count) = (row, 1);
        if let Some((offsets, nulls)) = &self.lists {
            let is_null = nulls.as_ref().is_some_and(|nulls| row < nulls.len() && nulls.is_null(row));
            (from, count) = match is_null {
                true if self.default.is_none() && !self.nulls_are_empty => return Err(self.null()),
                true => (0, 0),
                false => offsets.range(row).ok_or_else(|| RowFault::Map("a broken list".to_string()))?,
            };
        }
        if self.is_optional && self.default.is_none() {
            count = usize::from(!self.is_null(row)?);
        }
        let shape = self.shape(count)?;
        let (from, count) = (from.saturating_mul(self.per_row), shape.elements());
        let mut has_nulls = false;
        if !self.nulls.is_empty() || self.value_nulls.is_some() {
            for index in from..from + count {
                has_nulls |= self.is_null(index)?;
            }
        }
        if has_nulls && self.default.is_none() {
            return Err(self.null());
        }
        match &self.values {
            Values::Texts(texts) => self.add_texts(texts, index, shape, from, has_nulls, out),
            _ => self.add_numbers(shape, from, has_nulls, out),
        }
    }

    fn shape(&self, count: usize) -> Result<Shape, RowFault> {
        let is_ragged = self.lists.is_some() || self.is_optional;
        if !is_ragged && self.sizes.is_empty() {
            return Ok(Shape::SCALAR);
        }
        let mut dims = [0; MAX_RANK];
        let all = is_ragged.then_some(count).into_iter().chain(self.sizes.iter().copied());
        let rank = dims.iter_mut().zip(all).map(|(dim, size)| *dim = size).count();
        Shape::new(&dims[..rank]).map_err(|error| RowFault::Map(error.to_string()))
    }

    fn add_numbers(
        &self,
        shape: Shape,
        from: usize,
        has_nulls: bool,
        out: &mut Element,
    ) -> Result<(), RowFault> {
        let width = self.dtype.bytes();
        let room = out.add(shape)?;
        if let (Values::Numbers(bytes, stride), None, false) = (&self.values, &self.keys, has_nulls)
            && *stride == width
        {
            let from = from.saturating_mul(width);
            room.copy_from_slice(bytes.get(from..from.saturating_add(room.len())).ok_or_else(no_value)?);
            return Ok(());
        }
        for (i, to) in room.chunks_exact_mut(width).enumerate() {
            match &self.default {
                Some(default) if has_nulls && self.is_null(from + i)? => to.copy_from_slice(default),
                _ => self.values.number(self.place(from + i)?, to)?,
            }
        }
        Ok(())
    }

    fn add_texts(
        &self,
        texts: &Texts,
        index: usize,
        shape: Shape,
        from: usize,
        has_nulls: bool,
        out: &mut Element,
    ) -> Result<(), RowFault> {
        out.add(shape)?;
        for i in 0..shape.elements() {
            let text = match &self.default {
                Some(default) if has_nulls && self.is_null(from + i)? => default,
                _ => texts.get(self.place(from + i)?)?,
            };
            let string = out.add_text(text)?;
            out.put_string(index, i, string)?;
        }
        Ok(())
    }
}
