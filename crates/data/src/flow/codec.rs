//! Elements as bytes, for caches and saved states: where the element came from (file, record, offset), for each field
//! its rank and dimensions, then the values of all fields as they lie in memory, and each string behind its length. All
//! numbers are little-endian.

use tightfit_core::{BudgetError, DType, MAX_RANK, Shape};

use super::element::{Element, ElementView};
use super::growing::Growing;
use super::origin::Origin;

/// Adds `view` to `out`.
pub(crate) fn encode(view: &ElementView<'_>, out: &mut Growing) -> Result<(), BudgetError> {
    let Origin { file, record, offset } = view.origin();
    out.extend(&file.to_le_bytes())?;
    out.extend(&record.to_le_bytes())?;
    out.extend(&offset.to_le_bytes())?;
    for place in view.places() {
        out.extend(&[place.shape.rank() as u8])?;
        for dim in &place.shape[..] {
            out.extend(&(*dim as u64).to_le_bytes())?;
        }
    }
    for index in 0..view.places().len() {
        let Some(tensor) = view.tensor(index) else { continue };
        if tensor.dtype() != DType::String {
            out.extend(tensor.bytes())?;
            continue;
        }
        for string in view.strings(index) {
            out.extend(&(string.len() as u64).to_le_bytes())?;
            out.extend(string)?;
        }
    }
    Ok(())
}

/// Why bytes are no element.
#[derive(Debug)]
pub(crate) enum DecodeError {
    /// They are not what [`encode`] makes of an element of the schema.
    Broken,
    /// There is no memory for it.
    Budget(BudgetError),
}

impl From<BudgetError> for DecodeError {
    fn from(error: BudgetError) -> Self {
        DecodeError::Budget(error)
    }
}

/// Makes `element` what was encoded as `bytes`.
pub(crate) fn decode(mut bytes: &[u8], element: &mut Element) -> Result<(), DecodeError> {
    let file = u32::from_le_bytes(take(&mut bytes)?);
    let record = u64::from_le_bytes(take(&mut bytes)?);
    let offset = u64::from_le_bytes(take(&mut bytes)?);
    element.begin(Origin { file, record, offset });
    let schema = element.schema().clone();
    let mut shapes = Vec::with_capacity(schema.fields().len());
    for _ in schema.fields() {
        let [rank] = take(&mut bytes)?;
        let mut dims = [0; MAX_RANK];
        let dims = dims.get_mut(..usize::from(rank)).ok_or(DecodeError::Broken)?;
        for dim in dims.iter_mut() {
            let size = u64::from_le_bytes(take(&mut bytes)?);
            *dim = usize::try_from(size).map_err(|_| DecodeError::Broken)?;
        }
        shapes.push(Shape::new(dims).map_err(|_| DecodeError::Broken)?);
    }
    for (index, (field, shape)) in schema.fields().iter().zip(shapes).enumerate() {
        // Every element takes at least a byte, so no more memory is asked for than there are bytes.
        if shape.elements() > bytes.len() {
            return Err(DecodeError::Broken);
        }
        if field.dtype != DType::String {
            let size = shape.elements() * field.dtype.bytes();
            let values = bytes.split_off(..size).ok_or(DecodeError::Broken)?;
            element.add(shape)?.copy_from_slice(values);
            continue;
        }
        element.add(shape)?;
        for i in 0..shape.elements() {
            let size = u64::from_le_bytes(take(&mut bytes)?);
            let size = usize::try_from(size).map_err(|_| DecodeError::Broken)?;
            let string = element.add_text(bytes.split_off(..size).ok_or(DecodeError::Broken)?)?;
            if let Some(to) = element.field_mut(index).get_mut(16 * i..16 * (i + 1)) {
                to.copy_from_slice(bytemuck::bytes_of(&string));
            }
        }
    }
    if bytes.is_empty() { Ok(()) } else { Err(DecodeError::Broken) }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (head, tail) = bytes.split_first_chunk().ok_or(DecodeError::Broken)?;
    *bytes = tail;
    Ok(*head)
}
