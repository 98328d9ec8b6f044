//! What a checkpoint's index says of a tensor (tensor_bundle.proto).

use crate::example::{ExampleError, Message, Wire};
use crate::limits;

/// A tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BundleEntry {
    /// A number of [`crate::DataType`].
    pub dtype: i32,
    /// The dimensions, none below 0.
    pub shape: Vec<i64>,
    /// The shard that it stands in.
    pub shard: u32,
    /// Where it begins there.
    pub offset: u64,
    /// Bytes in the file.
    pub bytes: u64,
    /// The CRC-32C of its values.
    pub crc: u32,
    /// For a partitioned variable the parts that it was saved in, each under a key of its own; empty for a whole tensor.
    pub slices: Vec<SliceDef>,
}

/// A part of a tensor (tensor_slice.proto): for each axis the first element and how many, or all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SliceDef(pub Vec<(i64, Option<i64>)>);

/// The header, which stands under the empty key.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub shards: u64,
    pub is_big_endian: bool,
    pub min_consumer: u64,
}

impl Header {
    pub fn parse(value: &[u8]) -> Result<Header, ExampleError> {
        let mut header = Header::default();
        let mut message = Message(value);
        while let Some(field) = message.field()? {
            match field {
                (1, Wire::Varint(shards)) => header.shards = shards,
                (2, Wire::Varint(endianness)) => header.is_big_endian = endianness != 0,
                (3, Wire::Bytes(version)) => header.min_consumer = number(version, 2)?,
                _ => {}
            }
        }
        Ok(header)
    }
}

impl BundleEntry {
    /// The entry that these bytes are; `None` where they are one that no writer makes.
    pub(super) fn parse(value: &[u8]) -> Result<Option<BundleEntry>, ExampleError> {
        let mut entry = BundleEntry::default();
        let mut message = Message(value);
        let mut is_right = true;
        while let Some(field) = message.field()? {
            match field {
                (1, Wire::Varint(dtype)) => entry.dtype = dtype as i32,
                (2, Wire::Bytes(shape)) => is_right &= dims(shape, &mut entry.shape)?,
                (3, Wire::Varint(shard)) => match u32::try_from(shard) {
                    Ok(shard) => entry.shard = shard,
                    Err(_) => is_right = false,
                },
                (4, Wire::Varint(offset)) => entry.offset = offset,
                (5, Wire::Varint(bytes)) => entry.bytes = bytes,
                (6, Wire::Fixed32(stored)) => {
                    let stored = stored.first_chunk().copied().unwrap_or_default();
                    entry.crc = crate::table::unmasked(u32::from_le_bytes(stored));
                }
                (7, Wire::Bytes(slice)) => {
                    is_right &= (entry.slices.len() as u64) < limits::SLICES.max;
                    if is_right {
                        entry.slices.push(SliceDef::parse(slice)?);
                    }
                }
                _ => {}
            }
        }
        let end = entry.offset.checked_add(entry.bytes);
        is_right &= entry.shape.len() as u64 <= limits::RANK.max && end.is_some();
        is_right &= entry.elements().is_some();
        entry.shape.shrink_to_fit();
        entry.slices.shrink_to_fit();
        Ok(is_right.then_some(entry))
    }

    /// How many elements it has; `None` past 2^63 bytes of the widest type.
    pub fn elements(&self) -> Option<u64> {
        crate::stored::elements(&self.shape)
    }

    /// Bytes of the lists it holds.
    pub(super) fn heap_bytes(&self) -> u64 {
        let extents = self.slices.iter().map(|slice| tightfit_core::list_bytes(&slice.0)).sum::<u64>();
        tightfit_core::list_bytes(&self.shape) + tightfit_core::list_bytes(&self.slices) + extents
    }
}

fn dims(shape: &[u8], dims: &mut Vec<i64>) -> Result<bool, ExampleError> {
    let mut message = Message(shape);
    dims.clear();
    let mut is_right = true;
    while let Some(field) = message.field()? {
        match field {
            (2, Wire::Bytes(dim)) if (dims.len() as u64) < limits::RANK.max => {
                let size = number(dim, 1)? as i64;
                is_right &= size >= 0;
                dims.push(size);
            }
            (2 | 3, _) => is_right = false,
            _ => {}
        }
    }
    Ok(is_right)
}

/// The last value of a field of numbers, 0 where it is not there.
fn number(message: &[u8], wanted: u64) -> Result<u64, ExampleError> {
    let mut message = Message(message);
    let mut found = 0;
    while let Some((number, value)) = message.field()? {
        if let (true, Wire::Varint(value)) = (number == wanted, value) {
            found = value;
        }
    }
    Ok(found)
}

impl SliceDef {
    fn parse(value: &[u8]) -> Result<SliceDef, ExampleError> {
        let mut extents = Vec::new();
        let mut message = Message(value);
        while let Some(extent) = message.next_bytes(1)? {
            // More than any tensor has axes: no tensor has this part then.
            if extents.len() as u64 > limits::RANK.max {
                break;
            }
            let mut fields = Message(extent);
            let (mut start, mut length) = (0, None);
            while let Some(field) = fields.field()? {
                match field {
                    (1, Wire::Varint(value)) => start = value as i64,
                    (2, Wire::Varint(value)) => length = Some(value as i64),
                    _ => {}
                }
            }
            extents.push((start, length));
        }
        extents.shrink_to_fit();
        Ok(SliceDef(extents))
    }

    /// The part that the text of a restore operator names: `10 4 0,5:-` is rows 0 to 4 of a tensor `[10, 4]`. Also that
    /// tensor's shape.
    pub fn from_spec(spec: &str) -> Option<(Vec<i64>, SliceDef)> {
        let mut words: Vec<&str> = spec.split(' ').collect();
        let slice = words.pop()?;
        let shape = words.iter().map(|word| word.parse::<i64>().ok().filter(|d| *d >= 0));
        let shape = shape.collect::<Option<Vec<i64>>>()?;
        let extent = |text: &str| match text {
            "-" => Some((0, None)),
            _ => {
                let (start, length) = text.split_once(',')?;
                Some((start.parse::<i64>().ok()?, Some(length.parse::<i64>().ok()?)))
            }
        };
        let extents = slice.split(':').map(extent).collect::<Option<Vec<_>>>()?;
        (extents.len() == shape.len()).then_some((shape, SliceDef(extents)))
    }

    /// For each axis of `shape` where the part begins and how long it is; `None` where the part is not in it.
    pub(super) fn within(&self, shape: &[i64]) -> Option<Vec<(u64, u64)>> {
        if self.0.len() != shape.len() {
            return None;
        }
        let extents = self.0.iter().zip(shape).map(|((start, length), size)| {
            let (start, size) = (u64::try_from(*start).ok()?, u64::try_from(*size).ok()?);
            let length = length.map_or(Some(size), |length| u64::try_from(length).ok())?;
            (start.checked_add(length)? <= size).then_some((start, length))
        });
        extents.collect()
    }

    /// The key that the part `name` was saved under: numbers and texts in a code that sorts as they do.
    pub(super) fn key(&self, name: &str) -> Vec<u8> {
        let mut key = Vec::with_capacity(name.len() + 16);
        put_number(&mut key, 0);
        for byte in name.bytes() {
            match byte {
                0 => key.extend([0, 0xff]),
                0xff => key.extend([0xff, 0]),
                other => key.push(other),
            }
        }
        key.extend([0, 1]);
        put_number(&mut key, self.0.len() as u64);
        for (start, length) in &self.0 {
            put_signed(&mut key, *start);
            put_signed(&mut key, length.unwrap_or(-1));
        }
        key
    }
}

/// How many bytes follow, and those without zeros before them.
fn put_number(key: &mut Vec<u8>, value: u64) {
    let bytes = value.to_be_bytes();
    let zeros = value.leading_zeros() as usize / 8;
    key.push((bytes.len() - zeros) as u8);
    key.extend(bytes.iter().skip(zeros));
}

/// A number in as many bytes as it needs, seven bits in each; ones before the first bit tell how many bytes there are, and
/// a negative number is the complement.
fn put_signed(key: &mut Vec<u8>, value: i64) {
    let magnitude = if value < 0 { !value } else { value } as u64;
    let bits = 64 - magnitude.leading_zeros() as usize;
    let length = bits / 7 + 1;
    let mut bytes = [if value < 0 { 0xff } else { 0 }; 10];
    if let Some(low) = bytes.last_chunk_mut::<8>() {
        *low = value.to_be_bytes();
    }
    // The ones that say the length: the first `length` bits.
    let ones = !(u128::MAX >> length);
    let head = ones.to_be_bytes();
    for (byte, mark) in bytes.iter_mut().skip(10 - length).zip(head) {
        *byte ^= mark;
    }
    key.extend(bytes.iter().skip(10 - length));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_order() {
        // What TensorFlow's OrderedCode gives.
        let code = |value| {
            let mut key = Vec::new();
            put_signed(&mut key, value);
            key
        };
        assert_eq!(code(0), [0x80]);
        assert_eq!(code(-1), [0x7f]);
        assert_eq!(code(63), [0xbf]);
        assert_eq!(code(64), [0xc0, 0x40]);
        assert_eq!(code(-65), [0x3f, 0xbf]);
        assert_eq!(code(8191), [0xdf, 0xff]);
        assert_eq!(code(8192), [0xe0, 0x20, 0x00]);
        assert_eq!(code(i64::MAX), [0xff, 0xc0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        let mut key = Vec::new();
        put_number(&mut key, 0);
        put_number(&mut key, 0x1234);
        assert_eq!(key, [0, 2, 0x12, 0x34]);
        let values = [i64::MIN, -1 << 40, -70000, -65, -64, -1, 0, 1, 63, 64, 70000, 1 << 40, i64::MAX];
        assert!(values.windows(2).all(|pair| code(pair[0]) < code(pair[1])));
    }

    #[test]
    fn parts_of_a_tensor() {
        let (shape, slice) = SliceDef::from_spec("10 4 2,5:-").unwrap();
        assert_eq!((&shape[..], &slice.0[..]), (&[10, 4][..], &[(2, Some(5)), (0, None)][..]));
        assert_eq!(slice.within(&shape), Some(vec![(2, 5), (0, 4)]));
        assert_eq!(slice.within(&[6, 4]), None);
        assert_eq!(slice.within(&[10]), None);
        for bad in ["", "10", "10 4 -", "10 0,x", "-1 -", "a b"] {
            assert_eq!(SliceDef::from_spec(bad), None, "{bad}");
        }
    }
}
