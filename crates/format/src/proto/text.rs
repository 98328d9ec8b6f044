//! Protobuf's text encoding (protobuf.dev/reference/protobuf/textformat-spec): `name: value name { ... }`.

use super::{Field, Input, Kind, Result, Run, Scalar};
use crate::data_type::DataType;
use crate::error::{FormatError, Place, Problem};
use crate::limits;
use crate::source::Cursor;

/// The longest name or number.
const TOKEN_BYTES: usize = 128;

/// Reads messages out of a text. Lists in brackets become single values here, as they mean the same.
#[derive(Debug)]
pub(crate) struct TextReader {
    cursor: Cursor,
    line: u64,
    column: u64,
    depth: u64,
    /// What ends the current message; `None` for the file's end.
    close: Option<u8>,
    /// The field whose list in brackets is being read.
    list: Option<&'static Field>,
    /// The field that [`Input::next`] has named.
    kind: Kind,
}

/// A position in the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    offset: u64,
    line: u64,
    column: u64,
    list: Option<&'static Field>,
}

/// The message around a nested one.
#[derive(Debug)]
pub(crate) struct Scope {
    close: Option<u8>,
    list: Option<&'static Field>,
}

impl TextReader {
    /// A reader of the file's whole content as one message.
    pub fn new(mut cursor: Cursor) -> Self {
        cursor.seek(0);
        let kind = Kind::Message;
        Self { cursor, line: 1, column: 1, depth: 0, close: None, list: None, kind }
    }

    fn peek(&mut self) -> Result<Option<u8>> {
        Ok(self.cursor.peek()?.first().copied())
    }

    fn bump(&mut self) -> Result<Option<u8>> {
        let byte = self.cursor.byte()?;
        match byte {
            Some(b'\n') => {
                self.line += 1;
                self.column = 1;
            }
            Some(_) => self.column += 1,
            None => {}
        }
        Ok(byte)
    }

    fn accept(&mut self, wanted: u8) -> Result<bool> {
        let found = self.peek()? == Some(wanted);
        if found {
            self.bump()?;
        }
        Ok(found)
    }

    /// Passes over white space and comments.
    fn space(&mut self) -> Result<()> {
        while let Some(byte) = self.peek()? {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c => {
                    self.bump()?;
                }
                b'#' => while !matches!(self.bump()?, None | Some(b'\n')) {},
                _ => break,
            }
        }
        Ok(())
    }

    fn error_from(&self, mark: Mark, problem: Problem) -> FormatError {
        let place = Place::Line { line: mark.line, column: mark.column };
        FormatError::new(self.cursor.source().path(), place, problem)
    }

    /// The error of finding something else than `expected` here.
    fn unexpected(&mut self, expected: impl Into<std::borrow::Cow<'static, str>>) -> FormatError {
        let found = match self.peek() {
            Ok(Some(byte)) => format!("'{}'", byte.escape_ascii()),
            Ok(None) => "the end of the file".to_string(),
            Err(error) => return error,
        };
        self.error(Problem::invalid(expected, found))
    }

    /// A name or a number without its sign.
    fn token(&mut self) -> Result<String> {
        let mark = self.mark();
        let mut token = String::new();
        while let Some(byte) = self.peek()? {
            let in_exponent = matches!(byte, b'+' | b'-')
                && token.starts_with(|c: char| c.is_ascii_digit() || c == '.')
                && token.ends_with(['e', 'E'])
                && !token.starts_with("0x");
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.') || in_exponent) {
                break;
            }
            if token.len() == TOKEN_BYTES {
                let found = format!("a longer {token:?}");
                return Err(self.error_from(mark, Problem::invalid("a name or number", found)));
            }
            token.push(char::from(byte));
            self.bump()?;
        }
        if token.is_empty() {
            return Err(self.unexpected("a name or a value"));
        }
        Ok(token)
    }

    fn check_depth(&self, depth: u64) -> Result<()> {
        let limits::Limit { name, max } = limits::DEPTH;
        if depth < max {
            return Ok(());
        }
        Err(self.error(Problem::Limit { name, limit: max, found: depth + 1 }))
    }

    /// The bracket that closes the one that stands here, if one opens a message here.
    fn open(&mut self) -> Result<Option<u8>> {
        let close = match self.peek()? {
            Some(b'{') => b'}',
            Some(b'<') => b'>',
            _ => return Ok(None),
        };
        self.bump()?;
        Ok(Some(close))
    }

    /// The name of a field; `None` for an extension's or `Any`'s name in brackets, which nothing here knows.
    fn field_name(&mut self) -> Result<Option<String>> {
        if !self.accept(b'[')? {
            return self.token().map(Some);
        }
        loop {
            match self.bump()? {
                Some(b']') => return Ok(None),
                Some(_) => {}
                None => return Err(self.unexpected("']'")),
            }
        }
    }

    fn skip_value(&mut self, depth: u64) -> Result<()> {
        self.space()?;
        if let Some(close) = self.open()? {
            self.check_depth(depth)?;
            loop {
                self.space()?;
                if self.accept(close)? {
                    return Ok(());
                }
                if self.accept(b',')? || self.accept(b';')? {
                    continue;
                }
                self.field_name()?;
                self.space()?;
                self.accept(b':')?;
                self.skip_value(depth + 1)?;
            }
        }
        match self.peek()? {
            Some(b'"' | b'\'') => self.string(&mut |_| {}),
            Some(b'[') => {
                self.check_depth(depth)?;
                self.bump()?;
                loop {
                    self.space()?;
                    if self.accept(b']')? {
                        return Ok(());
                    }
                    self.skip_value(depth + 1)?;
                    self.space()?;
                    if !self.accept(b',')? && self.peek()? != Some(b']') {
                        return Err(self.unexpected("',' or ']'"));
                    }
                }
            }
            _ => {
                self.accept(b'-')?;
                self.space()?;
                self.token().map(drop)
            }
        }
    }

    /// Hands over the bytes of one or several adjacent string literals.
    fn string(&mut self, byte: &mut dyn FnMut(u8)) -> Result<()> {
        self.space()?;
        let Some(quote @ (b'"' | b'\'')) = self.peek()? else {
            return Err(self.unexpected("a string in quotes"));
        };
        let mut quote = quote;
        loop {
            self.bump()?;
            loop {
                match self.peek()? {
                    None | Some(b'\n') => return Err(self.unexpected("the end of the string")),
                    Some(b'\\') => self.escape(byte)?,
                    Some(b) => {
                        self.bump()?;
                        if b == quote {
                            break;
                        }
                        byte(b);
                    }
                }
            }
            self.space()?;
            match self.peek()? {
                Some(next @ (b'"' | b'\'')) => quote = next,
                _ => return Ok(()),
            }
        }
    }

    fn escape(&mut self, byte: &mut dyn FnMut(u8)) -> Result<()> {
        let mark = self.mark();
        self.bump()?;
        let letter = self.bump()?;
        let plain = match letter {
            Some(b'a') => 0x07,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'v') => 0x0b,
            Some(b @ (b'\\' | b'\'' | b'"' | b'?')) => b,
            Some(b @ b'0'..=b'7') => {
                let value = self.digits(8, 2, u32::from(b - b'0'))?.0;
                u8::try_from(value).map_err(|_| bad_escape(self, mark))?
            }
            Some(b'x' | b'X') => match self.digits(16, 2, 0)? {
                (_, 0) => return Err(bad_escape(self, mark)),
                (value, _) => value as u8,
            },
            Some(b @ (b'u' | b'U')) => {
                let character = self.code_point(b, mark)?;
                character.encode_utf8(&mut [0; 4]).bytes().for_each(byte);
                return Ok(());
            }
            _ => return Err(bad_escape(self, mark)),
        };
        byte(plain);
        Ok(())
    }

    /// The character of `\uXXXX` or `\UXXXXXXXX`; two of the former may be a surrogate pair.
    fn code_point(&mut self, letter: u8, mark: Mark) -> Result<char> {
        let length = if letter == b'u' { 4 } else { 8 };
        let (mut value, digits) = self.digits(16, length, 0)?;
        if digits == length && letter == b'u' && (0xd800..0xdc00).contains(&value) {
            let paired = self.accept(b'\\')? && self.accept(b'u')?;
            let (low, digits) = if paired { self.digits(16, 4, 0)? } else { (0, 0) };
            if digits != 4 || !(0xdc00..0xe000).contains(&low) {
                return Err(bad_escape(self, mark));
            }
            value = 0x10000 + ((value - 0xd800) << 10) + (low - 0xdc00);
        }
        char::from_u32(value).filter(|_| digits == length).ok_or_else(|| bad_escape(self, mark))
    }

    /// Up to `most` more digits after `value`, and how many there were.
    fn digits(&mut self, radix: u32, most: usize, mut value: u32) -> Result<(u32, usize)> {
        for count in 0..most {
            match self.peek()?.and_then(|b| char::from(b).to_digit(radix)) {
                Some(digit) => value = value.wrapping_mul(radix) | digit,
                None => return Ok((value, count)),
            }
            self.bump()?;
        }
        Ok((value, most))
    }
}

fn bad_escape(reader: &TextReader, mark: Mark) -> FormatError {
    let found = "one that means nothing";
    reader.error_from(mark, Problem::invalid("an escape such as \\n, \\x41, \\101 or \\u0041", found))
}

impl Input for TextReader {
    type Scope = Scope;
    type Mark = Mark;

    fn next(&mut self, fields: &'static [Field]) -> Result<Option<u32>> {
        loop {
            self.space()?;
            if let Some(field) = self.list {
                if self.accept(b',')? {
                    return Ok(Some(field.number));
                }
                if !self.accept(b']')? {
                    return Err(self.unexpected("',' or ']'"));
                }
                self.list = None;
                self.space()?;
            }
            if self.accept(b',')? || self.accept(b';')? {
                self.space()?;
            }
            match (self.peek()?, self.close) {
                (None, None) => return Ok(None),
                (Some(byte), Some(close)) if byte == close => {
                    self.bump()?;
                    return Ok(None);
                }
                (None, Some(close)) => return Err(self.unexpected(format!("'{}'", char::from(close)))),
                _ => {}
            }
            let name = self.field_name()?;
            self.space()?;
            let colon = self.accept(b':')?;
            let Some(field) = fields.iter().find(|f| Some(f.name) == name.as_deref()) else {
                self.skip_value(self.depth)?;
                continue;
            };
            self.space()?;
            if !colon && field.kind != Kind::Message {
                return Err(self.unexpected(format!("':' after {}", field.name)));
            }
            if self.accept(b'[')? {
                self.space()?;
                if self.accept(b']')? {
                    continue;
                }
                self.list = Some(field);
            }
            self.kind = field.kind;
            return Ok(Some(field.number));
        }
    }

    fn enter(&mut self) -> Result<Scope> {
        self.space()?;
        self.check_depth(self.depth)?;
        let Some(close) = self.open()? else {
            return Err(self.unexpected("'{'"));
        };
        self.depth += 1;
        Ok(Scope { close: self.close.replace(close), list: self.list.take() })
    }

    fn leave(&mut self, scope: Scope) {
        self.close = scope.close;
        self.list = scope.list;
        self.depth -= 1;
    }

    fn scalar(&mut self) -> Result<u64> {
        self.space()?;
        let mark = self.mark();
        let negative = self.accept(b'-')?;
        self.space()?;
        let token = self.token()?;
        let (value, expected) = match self.kind {
            Kind::Scalar(scalar) | Kind::Repeated(scalar) => match scalar {
                Scalar::Int => (integer(&token, negative), "an integer of 64 bits"),
                Scalar::Bool => (boolean(&token).filter(|_| !negative), "true or false"),
                Scalar::Float => {
                    (float(&token, negative).map(|v| u64::from((v as f32).to_bits())), "a number")
                }
                Scalar::Double => (float(&token, negative).map(f64::to_bits), "a number"),
                Scalar::DataType => {
                    let named = DataType::from_name(&token).filter(|_| !negative).map(|t| t.0 as u64);
                    (named.or_else(|| integer(&token, negative)), "a type such as DT_FLOAT")
                }
            },
            Kind::Bytes | Kind::Message => (None, "a message or a string"),
        };
        value.ok_or_else(|| {
            let sign = if negative { "-" } else { "" };
            self.error_from(mark, Problem::invalid(expected, format!("'{sign}{token}'")))
        })
    }

    fn scalars(&mut self, visit: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        let value = self.scalar()?;
        visit(value)
    }

    fn run(&mut self) -> Result<Option<Run>> {
        Ok(None)
    }

    fn places(&mut self, _: &mut dyn FnMut(u64, u64)) -> Result<bool> {
        Ok(false)
    }

    fn bytes_len(&mut self) -> Result<u64> {
        let mark = self.mark();
        let mut bytes = 0;
        self.string(&mut |_| bytes += 1)?;
        self.rewind(mark);
        Ok(bytes)
    }

    fn bytes_into(&mut self, out: &mut [u8]) -> Result<()> {
        let mut slots = out.iter_mut();
        self.string(&mut |byte| {
            if let Some(slot) = slots.next() {
                *slot = byte;
            }
        })
    }

    fn bytes_skip(&mut self, _bytes: u64) -> Result<Option<u64>> {
        self.string(&mut |_| {})?;
        Ok(None)
    }

    fn skip(&mut self) -> Result<()> {
        self.skip_value(self.depth)
    }

    fn mark(&self) -> Mark {
        Mark { offset: self.cursor.position(), line: self.line, column: self.column, list: self.list }
    }

    fn rewind(&mut self, mark: Mark) {
        self.cursor.seek(mark.offset);
        self.line = mark.line;
        self.column = mark.column;
        self.list = mark.list;
    }

    fn offset(&self) -> u64 {
        self.cursor.position()
    }

    fn error(&self, problem: Problem) -> FormatError {
        self.error_from(self.mark(), problem)
    }
}

/// A decimal, hexadecimal (`0x`) or octal (`0`) integer from -2^63 to 2^64 - 1.
fn integer(token: &str, negative: bool) -> Option<u64> {
    let (digits, radix) = match token.strip_prefix("0x").or_else(|| token.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if token.len() > 1 && token.starts_with('0') => (token, 8),
        None => (token, 10),
    };
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative { 0i64.checked_sub_unsigned(magnitude).map(|v| v as u64) } else { Some(magnitude) }
}

fn boolean(token: &str) -> Option<u64> {
    match token {
        "true" | "True" | "t" | "1" => Some(1),
        "false" | "False" | "f" | "0" => Some(0),
        _ => None,
    }
}

fn float(token: &str, negative: bool) -> Option<f64> {
    let digits = match token.strip_suffix(['f', 'F']) {
        Some(digits) if token.starts_with(|c: char| c.is_ascii_digit() || c == '.') => digits,
        _ => token,
    };
    let value = digits.parse::<f64>().ok()?;
    Some(if negative { -value } else { value })
}
