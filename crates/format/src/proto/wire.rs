//! Protobuf's binary encoding (protobuf.dev/programming-guides/encoding): tag, value, tag, value.

use super::{Field, Input, Kind, Result, Run, Scalar};
use crate::error::{FormatError, Problem};
use crate::limits;
use crate::source::Cursor;

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;
const GROUP_START: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED32: u8 = 5;

/// A varint of 64 bits has no more bytes.
const VARINT_BYTES: usize = 10;

/// Reads messages out of a file. Every length is checked against the end of the message around it.
#[derive(Debug)]
pub(crate) struct WireReader {
    cursor: Cursor,
    /// Where the current message ends; never past the file's end.
    end: u64,
    depth: u64,
    /// The wire type and scalar of the field that [`Input::next`] has named.
    wire_type: u8,
    scalar: Scalar,
}

impl WireReader {
    /// A reader of the file's whole content as one message.
    pub fn new(mut cursor: Cursor) -> Self {
        cursor.seek(0);
        let end = cursor.remaining();
        Self { cursor, end, depth: 0, wire_type: VARINT, scalar: Scalar::Int }
    }

    /// A reader of `bytes` from `offset` on as one message; what is past the file's end is not there.
    pub fn of_part(mut cursor: Cursor, offset: u64, bytes: u64) -> Self {
        cursor.seek(offset);
        let end = offset + bytes.min(cursor.remaining());
        Self { cursor, end, depth: 0, wire_type: VARINT, scalar: Scalar::Int }
    }

    fn left(&self) -> u64 {
        self.end.saturating_sub(self.cursor.position())
    }

    fn truncated(&self, what: &'static str, needed_bytes: u64) -> FormatError {
        self.error(Problem::Truncated { what, needed_bytes, present_bytes: self.left() })
    }

    fn varint(&mut self) -> Result<u64> {
        let left = self.left();
        let bytes = self.cursor.peek_at_least(VARINT_BYTES)?;
        let readable = bytes.len().min(VARINT_BYTES).min(usize::try_from(left).unwrap_or(usize::MAX));
        let mut value = 0;
        for (i, byte) in bytes[..readable].iter().enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.cursor.skip(i as u64 + 1);
                return Ok(value);
            }
        }
        if readable < VARINT_BYTES {
            return Err(self.truncated("a number of variable length", readable as u64 + 1));
        }
        Err(self.error(Problem::invalid("a number of at most 10 bytes", "a longer one")))
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        if self.left() < N as u64 {
            return Err(self.truncated("a number", N as u64));
        }
        let mut out = [0; N];
        self.cursor.read_exact(&mut out)?;
        Ok(out)
    }

    /// A length, known to lie inside the current message.
    fn length(&mut self, what: &'static str) -> Result<u64> {
        let bytes = self.varint()?;
        if bytes > self.left() {
            return Err(self.truncated(what, bytes));
        }
        Ok(bytes)
    }

    fn tag(&mut self) -> Result<(u32, u8)> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| (1..1 << 29).contains(n));
        let Some(number) = number else {
            let found = format!("field number {}", tag >> 3);
            return Err(self.error(Problem::invalid("a protobuf field", found)));
        };
        Ok((number, (tag & 7) as u8))
    }

    fn skip_value(&mut self, number: u32, wire_type: u8, depth: u64) -> Result<()> {
        match wire_type {
            VARINT => self.varint().map(drop),
            FIXED64 => self.fixed::<8>().map(drop),
            FIXED32 => self.fixed::<4>().map(drop),
            LENGTH => {
                let bytes = self.length("an unknown field")?;
                self.cursor.skip(bytes);
                Ok(())
            }
            GROUP_START => {
                self.check_depth(depth)?;
                loop {
                    if self.left() == 0 {
                        return Err(self.truncated("a group", 1));
                    }
                    let (inner, wire_type) = self.tag()?;
                    if wire_type != GROUP_END {
                        self.skip_value(inner, wire_type, depth + 1)?;
                    } else if inner == number {
                        return Ok(());
                    } else {
                        let found = format!("the end of group {inner}");
                        return Err(self.error(Problem::invalid(format!("the end of group {number}"), found)));
                    }
                }
            }
            other => {
                let found =
                    format!("wire type {other} of field {number}; the file is damaged or of another kind");
                Err(self.error(Problem::invalid("a protobuf field", found)))
            }
        }
    }

    fn check_depth(&self, depth: u64) -> Result<()> {
        if depth < limits::DEPTH.max {
            return Ok(());
        }
        let limits::Limit { name, max } = limits::DEPTH;
        Err(self.error(Problem::Limit { name, limit: max, found: depth + 1 }))
    }

    /// Stands before each value of a repeated field in turn; `take` takes it.
    fn each_value(&mut self, take: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        if self.wire_type != LENGTH {
            return take(self);
        }
        let bytes = self.length("a list of numbers")?;
        let outer_end = std::mem::replace(&mut self.end, self.cursor.position() + bytes);
        while self.left() > 0 {
            take(self)?;
        }
        self.end = outer_end;
        Ok(())
    }

    fn one(&mut self) -> Result<u64> {
        Ok(match self.scalar {
            Scalar::Int | Scalar::DataType => self.varint()?,
            Scalar::Bool => u64::from(self.varint()? != 0),
            Scalar::Float => u32::from_le_bytes(self.fixed()?).into(),
            Scalar::Double => u64::from_le_bytes(self.fixed()?),
        })
    }
}

fn wire_type_of(scalar: Scalar) -> u8 {
    match scalar {
        Scalar::Int | Scalar::DataType | Scalar::Bool => VARINT,
        Scalar::Float => FIXED32,
        Scalar::Double => FIXED64,
    }
}

/// The scalar to read a field of `kind` as, or `None` when the wire type does not belong to it: protobuf takes such
/// a field for an unknown one.
fn readable_as(kind: Kind, wire_type: u8) -> Option<Scalar> {
    match kind {
        Kind::Scalar(s) => (wire_type == wire_type_of(s)).then_some(s),
        Kind::Repeated(s) => (wire_type == wire_type_of(s) || wire_type == LENGTH).then_some(s),
        Kind::Bytes | Kind::Message => (wire_type == LENGTH).then_some(Scalar::Int),
    }
}

impl Input for WireReader {
    type Scope = u64;
    type Mark = u64;

    fn next(&mut self, fields: &'static [Field]) -> Result<Option<u32>> {
        while self.left() > 0 {
            let (number, wire_type) = self.tag()?;
            let known = fields.iter().find(|f| f.number == number);
            if let Some(scalar) = known.and_then(|f| readable_as(f.kind, wire_type)) {
                self.wire_type = wire_type;
                self.scalar = scalar;
                return Ok(Some(number));
            }
            self.skip_value(number, wire_type, self.depth)?;
        }
        Ok(None)
    }

    fn enter(&mut self) -> Result<u64> {
        self.check_depth(self.depth)?;
        let bytes = self.length("a nested message")?;
        self.depth += 1;
        Ok(std::mem::replace(&mut self.end, self.cursor.position() + bytes))
    }

    fn leave(&mut self, outer_end: u64) {
        debug_assert_eq!(self.left(), 0);
        self.end = outer_end;
        self.depth -= 1;
    }

    fn scalar(&mut self) -> Result<u64> {
        self.one()
    }

    fn scalars(&mut self, visit: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        self.each_value(&mut |this| {
            let value = this.one()?;
            visit(value)
        })
    }

    fn places(&mut self, visit: &mut dyn FnMut(u64, u64)) -> Result<bool> {
        self.each_value(&mut |this| {
            let offset = this.cursor.position();
            this.one()?;
            visit(offset, this.cursor.position() - offset);
            Ok(())
        })?;
        Ok(true)
    }

    fn run(&mut self) -> Result<Option<Run>> {
        if self.wire_type != LENGTH || wire_type_of(self.scalar) == VARINT {
            return Ok(None);
        }
        let bytes = self.length("a list of numbers")?;
        let offset = self.cursor.position();
        self.cursor.skip(bytes);
        Ok(Some(Run { offset, bytes }))
    }

    fn bytes_len(&mut self) -> Result<u64> {
        self.length("a string")
    }

    fn bytes_into(&mut self, out: &mut [u8]) -> Result<()> {
        self.cursor.read_exact(out)
    }

    fn bytes_skip(&mut self, bytes: u64) -> Result<Option<u64>> {
        let offset = self.cursor.position();
        self.cursor.skip(bytes);
        Ok(Some(offset))
    }

    fn skip(&mut self) -> Result<()> {
        // A group is never named by `next`, so the number that a group's end is matched with plays no part.
        self.skip_value(0, self.wire_type, self.depth)
    }

    fn mark(&self) -> u64 {
        self.cursor.position()
    }

    fn rewind(&mut self, mark: u64) {
        self.cursor.seek(mark);
    }

    fn offset(&self) -> u64 {
        self.cursor.position()
    }

    fn error(&self, problem: Problem) -> FormatError {
        self.cursor.source().error_at(self.cursor.position(), problem)
    }
}
