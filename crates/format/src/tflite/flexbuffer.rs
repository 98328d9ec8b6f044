//! The options of custom operators: a flexbuffer, which is a map of names to numbers and texts. Nothing in it is followed
//! unchecked, and lists in it are passed over.

/// A value of a map.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum FlexValue {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

/// The types that are read, by their numbers.
mod types {
    pub const INT: u8 = 1;
    pub const UINT: u8 = 2;
    pub const FLOAT: u8 = 3;
    pub const KEY: u8 = 4;
    pub const STRING: u8 = 5;
    pub const INDIRECT_INT: u8 = 6;
    pub const INDIRECT_UINT: u8 = 7;
    pub const INDIRECT_FLOAT: u8 = 8;
    pub const MAP: u8 = 9;
    pub const BOOL: u8 = 26;
}

/// A value where it stands: its place, the bytes of a number there, and its type with the width of what it points to.
#[derive(Clone, Copy)]
struct At {
    place: usize,
    width: usize,
    packed: u8,
}

/// The longest name or text that is read.
const TEXT_BYTES: usize = 1 << 8;

struct Flex<'b>(&'b [u8]);

/// The numbers and texts of the map that `bytes` are; `None` where they are no map.
pub fn flex_map(bytes: &[u8]) -> Option<Vec<(String, FlexValue)>> {
    let flex = Flex(bytes);
    let (width, rest) = bytes.split_last()?;
    let (packed, _) = rest.split_last()?;
    let width = usize::from(*width);
    let place = bytes.len().checked_sub(2)?.checked_sub(width)?;
    let root = At { place, width, packed: *packed };
    if root.packed >> 2 != types::MAP {
        return None;
    }
    let (map, width) = flex.target(root)?;
    let count = flex.uint(map.checked_sub(width)?, width)?;
    let keys = flex.target(At { place: map.checked_sub(3 * width)?, width, packed: 0 })?.0;
    let key_width = flex.uint(map.checked_sub(2 * width)?, width)?;
    let mut values = Vec::new();
    for index in 0..count {
        let place = map.checked_add(index.checked_mul(width)?)?;
        let kind = map.checked_add(count.checked_mul(width)?)?.checked_add(index)?;
        let value = At { place, width, packed: *bytes.get(kind)? };
        let key = At { place: keys.checked_add(index.checked_mul(key_width)?)?, width: key_width, packed: 0 };
        let (key, _) = flex.target(key)?;
        if let Some(value) = flex.value(value) {
            values.push((flex.until_zero(key)?, value));
        }
    }
    Some(values)
}

impl Flex<'_> {
    fn number(&self, place: usize, width: usize) -> Option<&[u8]> {
        matches!(width, 1 | 2 | 4 | 8).then(|| self.0.get(place..place.checked_add(width)?))?
    }

    fn uint(&self, place: usize, width: usize) -> Option<usize> {
        let bytes = self.number(place, width)?;
        let value = bytes.iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        usize::try_from(value).ok()
    }

    fn int(&self, place: usize, width: usize, is_signed: bool) -> Option<i64> {
        let bytes = self.number(place, width)?;
        let value = bytes.iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        let unused = 64 - 8 * width as u32;
        Some(if is_signed { ((value << unused) as i64) >> unused } else { value as i64 })
    }

    fn float(&self, place: usize, width: usize) -> Option<f64> {
        let bytes = self.number(place, width)?;
        match width {
            4 => Some(f32::from_le_bytes(bytes.try_into().ok()?).into()),
            8 => Some(f64::from_le_bytes(bytes.try_into().ok()?)),
            _ => None,
        }
    }

    /// Where what a value points to stands, and the bytes of a number there.
    fn target(&self, at: At) -> Option<(usize, usize)> {
        let place = at.place.checked_sub(self.uint(at.place, at.width)?)?;
        Some((place, 1 << (at.packed & 3)))
    }

    fn until_zero(&self, place: usize) -> Option<String> {
        let rest = self.0.get(place..)?;
        let end = rest.iter().take(TEXT_BYTES).position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    fn value(&self, at: At) -> Option<FlexValue> {
        let inner = || self.target(at);
        Some(match at.packed >> 2 {
            types::INT => FlexValue::Int(self.int(at.place, at.width, true)?),
            types::UINT => FlexValue::Int(self.int(at.place, at.width, false)?),
            types::FLOAT => FlexValue::Float(self.float(at.place, at.width)?),
            types::BOOL => FlexValue::Bool(self.uint(at.place, at.width)? != 0),
            types::KEY => FlexValue::Text(self.until_zero(inner()?.0)?),
            types::STRING => {
                let (place, width) = inner()?;
                let bytes = self.uint(place.checked_sub(width)?, width)?;
                let text = self.0.get(place..place.checked_add(bytes.min(TEXT_BYTES))?)?;
                FlexValue::Text(String::from_utf8_lossy(text).into_owned())
            }
            types::INDIRECT_INT => inner().and_then(|(p, w)| self.int(p, w, true)).map(FlexValue::Int)?,
            types::INDIRECT_UINT => inner().and_then(|(p, w)| self.int(p, w, false)).map(FlexValue::Int)?,
            types::INDIRECT_FLOAT => inner().and_then(|(p, w)| self.float(p, w)).map(FlexValue::Float)?,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{"a": 3, "b": 0.5, "c": true, "s": "hi"}` as the flatbuffers library for Python writes it.
    const MAP: &[u8] = include_bytes!("../../tests/data/options.flexbuffer");

    #[test]
    fn reads_numbers_and_texts() {
        let expected = [
            ("a", FlexValue::Int(3)),
            ("b", FlexValue::Float(0.5)),
            ("c", FlexValue::Bool(true)),
            ("s", FlexValue::Text("hi".into())),
        ];
        assert_eq!(flex_map(MAP).unwrap(), expected.map(|(name, value)| (name.to_string(), value)));
    }

    #[test]
    fn damage_is_no_panic() {
        for at in 0..MAP.len() {
            for byte in 0..=255 {
                let mut damaged = MAP.to_vec();
                damaged[at] = byte;
                flex_map(&damaged);
                flex_map(&damaged[..at]);
            }
        }
        assert_eq!((flex_map(&[]), flex_map(&[1, 2]), flex_map(&[0xff; 9])), (None, None, None));
    }
}
