//! As much of Thrift's compact protocol as the headers of pages need, and counting what a footer lists. Nothing is
//! allocated.

/// Bytes that are no Thrift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThriftError {
    /// They end too early.
    Short,
    /// They are something else.
    Broken,
}

type Read<T> = Result<T, ThriftError>;

/// Structures inside each other; deeper ones are taken for damage.
const MAX_DEPTH: usize = 32;

/// The types of the protocol that matter here.
const STOP: u8 = 0;
const TRUE: u8 = 1;
const FALSE: u8 = 2;
pub(super) const LIST: u8 = 9;
pub(super) const STRUCT: u8 = 12;

/// Walks over Thrift.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// The head of a field: its number and its type.
#[derive(Debug, Clone, Copy)]
pub(super) struct FieldHead {
    pub id: i64,
    pub kind: u8,
}

impl FieldHead {
    /// A boolean is its type.
    pub fn flag(self) -> bool {
        self.kind == TRUE
    }
}

impl<'a> Thrift<'a> {
    pub fn new(bytes: &'a [u8]) -> Thrift<'a> {
        Thrift { bytes, at: 0 }
    }

    /// Bytes walked over.
    pub fn position(&self) -> usize {
        self.at
    }

    fn byte(&mut self) -> Read<u8> {
        let byte = self.bytes.get(self.at).ok_or(ThriftError::Short)?;
        self.at += 1;
        Ok(*byte)
    }

    fn varint(&mut self) -> Read<u64> {
        let mut number = 0u64;
        for index in 0..10 {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << (7 * index).min(63);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ThriftError::Broken)
    }

    /// An integer of any width.
    pub fn integer(&mut self) -> Read<i64> {
        let number = self.varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// The next field of a structure whose last was `last`; `None` at its end.
    pub fn field(&mut self, last: &mut i64) -> Read<Option<FieldHead>> {
        let head = self.byte()?;
        let kind = head & 0x0f;
        if kind == STOP {
            return Ok(None);
        }
        let id = match head >> 4 {
            0 => self.integer()?,
            more => last.saturating_add(i64::from(more)),
        };
        *last = id;
        Ok(Some(FieldHead { id, kind }))
    }

    /// The type and the number of the elements of a list.
    pub fn list(&mut self) -> Read<(u8, u64)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            count => u64::from(count),
        };
        // Every element takes at least a byte.
        let left = (self.bytes.len() - self.at) as u64;
        if count > left { Err(ThriftError::Short) } else { Ok((head & 0x0f, count)) }
    }

    /// Passes over the value of a field.
    pub fn skip(&mut self, kind: u8) -> Read<()> {
        match kind {
            TRUE | FALSE => Ok(()),
            kind => self.skip_value(kind, 0),
        }
    }

    fn skip_value(&mut self, kind: u8, depth: usize) -> Read<()> {
        if depth > MAX_DEPTH {
            return Err(ThriftError::Broken);
        }
        match kind {
            TRUE..=3 => self.skip_bytes(1),
            4..=6 => self.varint().map(|_| ()),
            7 => self.skip_bytes(8),
            8 => {
                let bytes = self.varint()?;
                self.skip_bytes(bytes)
            }
            LIST | 10 => {
                let (kind, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip_value(kind, depth + 1))
            }
            11 => {
                let count = self.varint()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                (0..count).try_for_each(|_| {
                    self.skip_value(kinds >> 4, depth + 1)?;
                    self.skip_value(kinds & 0x0f, depth + 1)
                })
            }
            STRUCT => {
                let mut last = 0;
                while let Some(field) = self.field(&mut last)? {
                    if !matches!(field.kind, TRUE | FALSE) {
                        self.skip_value(field.kind, depth + 1)?;
                    }
                }
                Ok(())
            }
            _ => Err(ThriftError::Broken),
        }
    }

    fn skip_bytes(&mut self, bytes: u64) -> Read<()> {
        let end = usize::try_from(bytes).ok().and_then(|bytes| self.at.checked_add(bytes));
        self.at = end.filter(|end| *end <= self.bytes.len()).ok_or(ThriftError::Short)?;
        Ok(())
    }
}
