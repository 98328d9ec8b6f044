//! JSON in a line of memory (RFC 8259), read where it lies: nothing is allocated, and nothing is nested deeper than a tensor has
//! dimensions. `NaN`, `Infinity` and `-Infinity`, which Python writes, are numbers.

use tightfit_core::{DType, MAX_RANK, Shape};
use tightfit_format::base64;

use crate::convert::put_number;

/// Lists and objects that are only passed over may be nested so deep.
const MAX_DEPTH: usize = 64;

/// What the values in nested lists are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There are none.
    Nothing,
    /// `true` and `false`.
    Bool,
    /// Whole numbers.
    Whole,
    /// Numbers.
    Float,
    /// Strings that stand for floats: `"NaN"`, `"Infinity"` and `"-Infinity"`, as protobuf writes them.
    FloatText,
    /// Strings, or `{"b64": ".."}`.
    Text,
    /// `null` alone.
    Null,
    /// What makes no tensor.
    Other,
}

impl Kind {
    /// What values of both kinds are together.
    pub fn with(self, other: Kind) -> Kind {
        use Kind::{Float, FloatText, Nothing, Other, Text, Whole};
        match (self, other) {
            (one, two) if one == two => one,
            (Nothing, one) | (one, Nothing) => one,
            (Whole | Float | FloatText, Whole | Float | FloatText) => Float,
            (Text, FloatText) | (FloatText, Text) => Text,
            _ => Other,
        }
    }
}

/// A value: where its text begins, and what it is as a tensor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// Where it begins in its line.
    pub at: usize,
    pub shape: Shape,
    pub kind: Kind,
}

/// Reads through a text.
#[derive(Debug, Clone)]
pub(crate) struct Json<'t> {
    text: &'t [u8],
    at: usize,
}

/// The lengths of lists so far.
struct Lists {
    dims: [usize; MAX_RANK],
    /// Dimensions whose first list has begun, and whose length is known.
    begun: usize,
    known: [bool; MAX_RANK],
    /// How deep the first value stands.
    rank: Option<usize>,
    kind: Kind,
}

impl<'t> Json<'t> {
    /// From `at` on.
    pub fn new(text: &'t [u8], at: usize) -> Json<'t> {
        Json { text, at }
    }

    /// The next byte that is no space, which is not taken.
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes `byte` if it comes next.
    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn wrong(&self, wanted: &str) -> String {
        match self.text.get(self.at..).unwrap_or_default() {
            [] => format!("the line ends where {wanted} is to be"),
            [byte, ..] => {
                format!("{:?} at character {}, where {wanted} is to be", *byte as char, self.at + 1)
            }
        }
    }

    /// That nothing comes any more.
    pub fn end(&mut self) -> Result<(), String> {
        if self.peek().is_some() { Err(self.wrong("the end of the line")) } else { Ok(()) }
    }

    /// The entries of an object, one after the other: `entry` gets each key, and reads its value.
    pub fn object(
        &mut self,
        mut entry: impl FnMut(RawText<'t>, &mut Json<'t>) -> Result<(), String>,
    ) -> Result<(), String> {
        if !self.takes(b'{') {
            return Err(self.wrong("an object"));
        }
        if self.takes(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            if !self.takes(b':') {
                return Err(self.wrong("a colon"));
            }
            entry(key, self)?;
            if self.takes(b'}') {
                return Ok(());
            }
            if !self.takes(b',') {
                return Err(self.wrong("a comma or }"));
            }
        }
    }

    /// A string, with its escapes as they are.
    fn string(&mut self) -> Result<RawText<'t>, String> {
        if !self.takes(b'"') {
            return Err(self.wrong("a string"));
        }
        let (from, mut has_escapes) = (self.at, false);
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(next) = memchr::memchr2(b'"', b'\\', rest) else {
                self.at = self.text.len();
                return Err(self.wrong("the end of a string"));
            };
            self.at += next;
            if self.text.get(self.at) == Some(&b'"') {
                let raw = self.text.get(from..self.at).unwrap_or_default();
                self.at += 1;
                return Ok(RawText { raw, has_escapes });
            }
            has_escapes = true;
            self.at = (self.at + 2).min(self.text.len());
        }
    }

    /// What stands between spaces and the like: a number, or a word.
    fn word(&mut self) -> &'t [u8] {
        self.peek();
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let end = rest.iter().position(|b| !is_part(b)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// Passes over a value: what it is as a tensor. Only what is no JSON is an error.
    pub fn value(&mut self) -> Result<Found, String> {
        self.peek();
        let at = self.at;
        let mut lists = Lists {
            dims: [0; MAX_RANK],
            begun: 0,
            known: [false; MAX_RANK],
            rank: None,
            kind: Kind::Nothing,
        };
        self.pass_over(&mut lists, 0)?;
        let shape = Shape::new(&lists.dims[..lists.begun]);
        let kind = if shape.is_err() { Kind::Other } else { lists.kind };
        Ok(Found { at, shape: shape.unwrap_or(Shape::SCALAR), kind })
    }

    fn pass_over(&mut self, lists: &mut Lists, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("lists and objects are nested deeper than {MAX_DEPTH}"));
        }
        let kind = match self.peek() {
            Some(b'[') => return self.list(lists, depth),
            Some(b'{') => self.bytes_or_object(depth)?,
            Some(b'"') => match self.string()?.raw {
                b"NaN" | b"Infinity" | b"-Infinity" => Kind::FloatText,
                _ => Kind::Text,
            },
            Some(_) => {
                let before = self.at;
                match self.word() {
                    b"null" if depth == 0 => Kind::Null,
                    b"null" => Kind::Other,
                    b"true" | b"false" => Kind::Bool,
                    b"NaN" | b"Infinity" | b"-Infinity" => Kind::Float,
                    word => number_kind(word).ok_or_else(|| {
                        self.at = before;
                        self.wrong("a value")
                    })?,
                }
            }
            None => return Err(self.wrong("a value")),
        };
        lists.put(kind, depth);
        Ok(())
    }

    fn list(&mut self, lists: &mut Lists, depth: usize) -> Result<(), String> {
        self.at += 1;
        let is_first = lists.begin(depth);
        let mut length = 0;
        if !self.takes(b']') {
            loop {
                self.pass_over(lists, depth + 1)?;
                length += 1;
                if self.takes(b']') {
                    break;
                }
                if !self.takes(b',') {
                    return Err(self.wrong("a comma or ]"));
                }
            }
        }
        lists.end(depth, length, is_first);
        Ok(())
    }

    /// `{"b64": ".."}`, or another object.
    fn bytes_or_object(&mut self, depth: usize) -> Result<Kind, String> {
        let (mut entries, mut is_bytes) = (0, true);
        self.object(|key, json| {
            entries += 1;
            is_bytes &= key.raw == b"b64" && json.peek() == Some(b'"');
            let mut lists = Lists::nothing();
            json.pass_over(&mut lists, depth + 1)
        })?;
        Ok(if is_bytes && entries == 1 { Kind::Text } else { Kind::Other })
    }

    /// The values of nested lists one after the other, which were [found](Json::value) to be such; false when there are no
    /// more.
    fn next_leaf(&mut self) -> Option<Leaf<'t>> {
        loop {
            match self.peek()? {
                b'[' | b']' | b',' => self.at += 1,
                b'"' => return Some(Leaf::Text(self.string().ok()?)),
                b'{' => {
                    let mut bytes = None;
                    self.object(|_, json| {
                        bytes = Some(json.string()?);
                        Ok(())
                    })
                    .ok()?;
                    return Some(Leaf::Bytes(bytes?));
                }
                _ => {
                    let word = self.word();
                    return (!word.is_empty()).then_some(Leaf::Word(word));
                }
            }
        }
    }
}

impl Lists {
    fn nothing() -> Lists {
        Lists { dims: [0; MAX_RANK], begun: 0, known: [false; MAX_RANK], rank: None, kind: Kind::Nothing }
    }

    /// A list begins; whether it is the first so deep.
    fn begin(&mut self, depth: usize) -> bool {
        if depth >= MAX_RANK || self.rank.is_some_and(|rank| depth >= rank) {
            self.kind = Kind::Other;
            return false;
        }
        let is_first = self.begun == depth;
        self.begun = self.begun.max(depth + 1);
        is_first
    }

    fn end(&mut self, depth: usize, length: usize, is_first: bool) {
        let Some((dim, known)) = self.dims.get_mut(depth).zip(self.known.get_mut(depth)) else { return };
        if is_first {
            (*dim, *known) = (length, true);
        } else if *known && *dim != length {
            self.kind = Kind::Other;
        }
    }

    fn put(&mut self, kind: Kind, depth: usize) {
        let is_beside_lists = *self.rank.get_or_insert(depth) != depth || self.begun > depth;
        self.kind = if is_beside_lists { Kind::Other } else { self.kind.with(kind) };
    }
}

/// Whether `word` is a number, and which.
fn number_kind(word: &[u8]) -> Option<Kind> {
    let digits = |text: &mut &[u8]| {
        let count = text.iter().take_while(|b| b.is_ascii_digit()).count();
        *text = text.get(count..).unwrap_or_default();
        count
    };
    let mut rest = word.strip_prefix(b"-").unwrap_or(word);
    let has_zero = rest.first() == Some(&b'0');
    let whole = digits(&mut rest);
    if whole == 0 || has_zero && whole > 1 {
        return None;
    }
    let mut kind = Kind::Whole;
    if let Some(fraction) = rest.strip_prefix(b".") {
        (rest, kind) = (fraction, Kind::Float);
        (digits(&mut rest) > 0).then_some(())?;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        rest = exponent.strip_prefix(b"+").or(exponent.strip_prefix(b"-")).unwrap_or(exponent);
        kind = Kind::Float;
        (digits(&mut rest) > 0).then_some(())?;
    }
    rest.is_empty().then_some(kind)
}

/// One value of nested lists.
#[derive(Debug)]
enum Leaf<'t> {
    Word(&'t [u8]),
    Text(RawText<'t>),
    Bytes(RawText<'t>),
}

/// The text between two quotes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawText<'t> {
    raw: &'t [u8],
    has_escapes: bool,
}

impl<'t> RawText<'t> {
    /// The text where it needs nothing put for it.
    pub fn plain(self) -> Option<&'t [u8]> {
        (!self.has_escapes).then_some(self.raw)
    }

    /// Bytes that it takes at most.
    pub fn most_bytes(self) -> usize {
        self.raw.len()
    }

    /// Writes the text to the beginning of `out`, which has [`RawText::most_bytes`]; its bytes.
    pub fn read(self, out: &mut [u8]) -> Result<usize, String> {
        let (mut from, mut to) = (self.raw, 0);
        let put = |bytes: &[u8], to: &mut usize, out: &mut [u8]| {
            let room = out.get_mut(*to..*to + bytes.len()).ok_or("a string has no room")?;
            room.copy_from_slice(bytes);
            *to += bytes.len();
            Ok::<_, String>(())
        };
        loop {
            let end = memchr::memchr(b'\\', from).unwrap_or(from.len());
            let (plain, rest) = from.split_at(end);
            if plain.iter().any(|b| *b < b' ') {
                return Err("a string with a control character in it".to_string());
            }
            put(plain, &mut to, out)?;
            let [_, escape, rest @ ..] = rest else { return Ok(to) };
            from = rest;
            let byte = match escape {
                b'"' | b'\\' | b'/' => *escape,
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'u' => {
                    let character =
                        escaped(&mut from).ok_or("\\u is followed by no character in a string")?;
                    put(character.encode_utf8(&mut [0; 4]).as_bytes(), &mut to, out)?;
                    continue;
                }
                _ => return Err(format!("\\{} in a string", *escape as char)),
            };
            put(&[byte], &mut to, out)?;
        }
    }
}

/// The character of four digits after `\u`, or of two such pairs.
fn escaped(from: &mut &[u8]) -> Option<char> {
    let unit = |from: &mut &[u8]| {
        let (digits, rest) = from.split_at_checked(4)?;
        *from = rest;
        digits.iter().try_fold(0, |value, digit| Some(value << 4 | (*digit as char).to_digit(16)?))
    };
    let high = unit(from)?;
    if !(0xd800..0xdc00).contains(&high) {
        return char::from_u32(high);
    }
    *from = from.strip_prefix(b"\\u")?;
    let low = unit(from).filter(|low| (0xdc00..0xe000).contains(low))?;
    char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
}

/// Writes the numbers of a value to `target`, as many as its shape has elements.
pub(crate) fn read_numbers(mut json: Json<'_>, dtype: DType, target: &mut [u8]) -> Result<(), String> {
    for element in target.chunks_exact_mut(dtype.bytes()) {
        let word = match json.next_leaf() {
            Some(Leaf::Word(word)) => word,
            Some(Leaf::Text(text)) if dtype.is_float() => match text.raw {
                word @ (b"NaN" | b"Infinity" | b"-Infinity") => word,
                _ => return Err(format!("a string, and no {dtype}")),
            },
            _ => return Err(format!("no {dtype}")),
        };
        let text = std::str::from_utf8(word).unwrap_or_default();
        put_number(text, dtype, element).ok_or_else(|| format!("{text} is not a valid {dtype}"))?;
    }
    Ok(())
}

/// Gives the strings of a value to `put`: how many bytes each may have, and what writes it there.
pub(crate) fn read_texts<E: From<String>>(
    mut json: Json<'_>,
    count: usize,
    mut put: impl FnMut(usize, &dyn Fn(&mut [u8]) -> Result<usize, String>) -> Result<(), E>,
) -> Result<(), E> {
    for _ in 0..count {
        match json.next_leaf() {
            Some(Leaf::Text(text)) => put(text.most_bytes(), &|out| text.read(out))?,
            Some(Leaf::Bytes(text)) => put(text.most_bytes(), &|out| {
                let bytes = text.plain().and_then(|raw| base64::decode_to(raw, out));
                bytes.ok_or_else(|| "\"b64\" is not base64".to_string())
            })?,
            _ => return Err("no string".to_string().into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> Result<(Vec<usize>, Kind), String> {
        let mut json = Json::new(text.as_bytes(), 0);
        let found = json.value()?;
        json.end()?;
        Ok((found.shape.to_vec(), found.kind))
    }

    #[test]
    fn values_as_tensors() {
        for (text, shape, kind) in [
            ("1", &[][..], Kind::Whole),
            ("-0.5e-3", &[], Kind::Float),
            ("[1, 2.5]", &[2], Kind::Float),
            ("[[1, 2], [3, 4]]", &[2, 2], Kind::Whole),
            ("[]", &[0], Kind::Nothing),
            ("[[], []]", &[2, 0], Kind::Nothing),
            ("[true, false]", &[2], Kind::Bool),
            ("\"a\\\"b\"", &[], Kind::Text),
            ("[\"a\", {\"b64\": \"Yg==\"}]", &[2], Kind::Text),
            ("[NaN, -Infinity, \"NaN\", 1]", &[4], Kind::Float),
            ("null", &[], Kind::Null),
            ("[null]", &[1], Kind::Other),
            ("{\"a\": [1, {\"b\": 2}]}", &[], Kind::Other),
            ("[1, \"a\"]", &[2], Kind::Other),
        ] {
            assert_eq!(found(text), Ok((shape.to_vec(), kind)), "{text}");
        }
        for other in ["[[1], [2, 3]]", "[1, [2]]", "[[1], 2]", "[[], [[]]]", "[[[1]], [[]]]"] {
            assert_eq!(found(other).unwrap().1, Kind::Other, "{other}");
        }
        for bad in [
            "", "[", "[1", "[1,]", "01", "1.", ".5", "+1", "1e", "nul", "\"a", "\"a\\", "{\"a\"}", "1 2",
            "[1}",
        ] {
            assert!(found(bad).is_err(), "{bad}");
        }
        assert!(found(&"[".repeat(100_000)).unwrap_err().contains("nested deeper"));
        let deep = format!("{}1{}", "[".repeat(MAX_RANK + 1), "]".repeat(MAX_RANK + 1));
        assert_eq!(found(&deep).unwrap().1, Kind::Other);
    }

    #[test]
    fn texts_and_numbers() {
        let mut out = [0; 64];
        let mut text = |text: &str| {
            let mut json = Json::new(text.as_bytes(), 0);
            let bytes = json.string()?.read(&mut out)?;
            Ok::<_, String>(String::from_utf8_lossy(&out[..bytes]).into_owned())
        };
        assert_eq!(text(r#""a\n\"\\\/\u00e4\ud83d\ude00b""#), Ok("a\n\"\\/ä😀b".to_string()));
        for bad in [r#""\x""#, r#""\u12""#, r#""\ud83d""#, r#""\ud83dab""#, "\"a\tb\""] {
            assert!(text(bad).is_err(), "{bad}");
        }
        let mut numbers = [0; 16];
        read_numbers(Json::new(b"[[1, -2.5], [\"NaN\", 1e3]]", 0), DType::F32, &mut numbers).unwrap();
        let numbers: &[f32] = bytemuck::cast_slice(&numbers);
        assert!(numbers[..2] == [1.0, -2.5] && numbers[2].is_nan() && numbers[3] == 1000.0);
        assert!(read_numbers(Json::new(b"300", 0), DType::U8, &mut [0]).unwrap_err().contains("valid uint8"));
        assert!(read_numbers(Json::new(b"1.5", 0), DType::I64, &mut [0; 8]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in prop::collection::vec(prop::sample::select(b"[]{}\",:\\u0b6 4-1.eNnul\xff".to_vec()), 0..60)) {
            let mut json = Json::new(&bytes, 0);
            if let Ok(found) = json.value() {
                let mut target = vec![0; found.shape.elements().min(100) * 4];
                let _ = read_numbers(Json::new(&bytes, found.at), DType::F32, &mut target);
                let _ = read_texts::<String>(Json::new(&bytes, found.at), 3, |most, read| {
                    read(&mut vec![0; most]).map(drop)
                });
            }
        }
    }
}
