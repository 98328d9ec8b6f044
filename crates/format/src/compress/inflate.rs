//! Inflating gzip, zlib and raw deflate streams without losing what is before damage.
//!
//! Sources: RFC 1950 (zlib), RFC 1951 (deflate), RFC 1952 (gzip).

use std::io::{self, BufRead, ErrorKind, Read};

use flate2::{Decompress, FlushDecompress, Status};

/// What is around the deflate stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrapping {
    /// Nothing; bytes past its end are left alone.
    Raw,
    /// RFC 1950; bytes past its end are an error.
    Zlib,
    /// RFC 1952, one member or several; what is after a member must be another one.
    Gzip,
}

/// Reads inflated bytes of `R`. All bytes before a damaged place are read before the error is, so that what a
/// file is found to hold does not depend on how much is asked for at once. Takes heap when made, none when read.
///
/// The stream's errors are of kind `InvalidData`, `UnexpectedEof` when it ends too early, and come again with every
/// call. After an error of `R` reading goes on where it was.
#[derive(Debug)]
pub struct Inflater<R> {
    read: R,
    wrapping: Wrapping,
    stage: Stage,
    deflated: Decompress,
    /// Of a gzip member's header, then of its content.
    hasher: crc32fast::Hasher,
    /// Of the member's content, modulo 2^32.
    content_bytes: u32,
    flags: u8,
    /// The first bytes of a field that `R` has not wholly given yet.
    field: [u8; FIXED_BYTES],
    field_bytes: usize,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Header,
    ExtraBytes,
    /// So many bytes of the extra field.
    Extra(usize),
    Name,
    Comment,
    HeaderCrc,
    Content,
    Trailer,
    /// The end, or whatever should not be there.
    Behind,
    Ended,
    Failed(Fault),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Header,
    HeaderCrc,
    Deflate,
    Sum,
    Truncated,
    Behind,
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> io::Error {
        let (kind, text) = match fault {
            Fault::Header => (ErrorKind::InvalidData, "invalid gzip header"),
            Fault::HeaderCrc => (ErrorKind::InvalidData, "the CRC of a gzip header is wrong"),
            Fault::Deflate => (ErrorKind::InvalidData, "corrupt deflate stream"),
            Fault::Sum => (ErrorKind::InvalidData, "the CRC or the size of a gzip member is wrong"),
            Fault::Truncated => (ErrorKind::UnexpectedEof, "incomplete deflate stream"),
            Fault::Behind => (ErrorKind::InvalidData, "extra bytes follow the end of the zlib stream"),
        };
        io::Error::new(kind, text)
    }
}

/// Bytes of a gzip header without optional fields.
const FIXED_BYTES: usize = 10;
const HAS_HEADER_CRC: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;

impl<R: BufRead> Inflater<R> {
    /// A reader of the stream where `read` stands.
    pub fn new(wrapping: Wrapping, read: R) -> Self {
        Inflater {
            read,
            wrapping,
            stage: if wrapping == Wrapping::Gzip { Stage::Header } else { Stage::Content },
            deflated: Decompress::new(wrapping == Wrapping::Zlib),
            hasher: crc32fast::Hasher::new(),
            content_bytes: 0,
            flags: 0,
            field: [0; FIXED_BYTES],
            field_bytes: 0,
        }
    }

    /// Does what the stage asks for, which is not the content's; the next stage.
    fn pass(&mut self) -> io::Result<Stage> {
        Ok(match self.stage {
            Stage::Header => match self.header_field::<FIXED_BYTES>()? {
                Some([0x1f, 0x8b, 8, flags, ..]) if flags & RESERVED == 0 => {
                    self.flags = flags;
                    Stage::ExtraBytes
                }
                Some(_) => Stage::Failed(Fault::Header),
                None => Stage::Failed(Fault::Truncated),
            },
            Stage::ExtraBytes if self.flags & HAS_EXTRA == 0 => Stage::Name,
            Stage::ExtraBytes => match self.header_field()? {
                Some(bytes) => Stage::Extra(usize::from(u16::from_le_bytes(bytes))),
                None => Stage::Failed(Fault::Truncated),
            },
            Stage::Extra(0) => Stage::Name,
            Stage::Extra(left_bytes) => match self.skip(|input| input.len().min(left_bytes))? {
                0 => Stage::Failed(Fault::Truncated),
                bytes => Stage::Extra(left_bytes - bytes),
            },
            Stage::Name => self.skip_text(HAS_NAME, Stage::Comment)?,
            Stage::Comment => self.skip_text(HAS_COMMENT, Stage::HeaderCrc)?,
            Stage::HeaderCrc if self.flags & HAS_HEADER_CRC == 0 => self.begin_content(),
            Stage::HeaderCrc => match self.field()? {
                // Its lower half.
                Some(crc) if u16::from_le_bytes(crc) == self.crc() as u16 => self.begin_content(),
                Some(_) => Stage::Failed(Fault::HeaderCrc),
                None => Stage::Failed(Fault::Truncated),
            },
            Stage::Trailer => match self.field::<8>()? {
                Some([c0, c1, c2, c3, size @ ..]) => {
                    let found = (u32::from_le_bytes([c0, c1, c2, c3]), u32::from_le_bytes(size));
                    let is_right = found == (self.crc(), self.content_bytes);
                    if is_right { Stage::Behind } else { Stage::Failed(Fault::Sum) }
                }
                None => Stage::Failed(Fault::Truncated),
            },
            Stage::Behind if self.read.fill_buf()?.is_empty() => Stage::Ended,
            Stage::Behind if self.wrapping == Wrapping::Zlib => Stage::Failed(Fault::Behind),
            Stage::Behind => {
                self.hasher.reset();
                Stage::Header
            }
            stage @ (Stage::Content | Stage::Ended | Stage::Failed(_)) => stage,
        })
    }

    /// The next `N` bytes, or `None` when the file ends before.
    fn field<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        while self.field_bytes < N {
            let input = self.read.fill_buf()?;
            let room = self.field.get_mut(self.field_bytes..N);
            let room = room.ok_or_else(|| crate::defect("a field is longer than its room"))?;
            let bytes = input.len().min(room.len());
            if bytes == 0 {
                return Ok(None);
            }
            room.iter_mut().zip(input).for_each(|(to, from)| *to = *from);
            self.read.consume(bytes);
            self.field_bytes += bytes;
        }
        self.field_bytes = 0;
        Ok(self.field.first_chunk().copied())
    }

    /// As [`Inflater::field`], of the header that is summed up.
    fn header_field<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        let field = self.field()?;
        self.hasher.update(field.as_ref().map_or(&[], |field| &field[..]));
        Ok(field)
    }

    /// Passes over as many bytes of the header as `count` says of those that are there; their number, 0 at the end.
    fn skip(&mut self, count: impl FnOnce(&[u8]) -> usize) -> io::Result<usize> {
        let input = self.read.fill_buf()?;
        let bytes = count(input).min(input.len());
        self.hasher.update(crate::first(input, bytes)?);
        self.read.consume(bytes);
        Ok(bytes)
    }

    /// Passes over a text that ends with 0, or what there is of it, if `flag` says that there is one; the next stage.
    fn skip_text(&mut self, flag: u8, behind: Stage) -> io::Result<Stage> {
        if self.flags & flag == 0 {
            return Ok(behind);
        }
        let mut is_end = false;
        let bytes = self.skip(|input| {
            let end = input.iter().position(|byte| *byte == 0);
            is_end = end.is_some();
            end.map_or(input.len(), |at| at + 1)
        })?;
        Ok(match bytes {
            0 => Stage::Failed(Fault::Truncated),
            _ if is_end => behind,
            _ => self.stage,
        })
    }

    fn crc(&self) -> u32 {
        self.hasher.clone().finalize()
    }

    fn begin_content(&mut self) -> Stage {
        self.hasher.reset();
        self.content_bytes = 0;
        self.deflated.reset(false);
        Stage::Content
    }

    /// Inflates what there is of input into `out`, which has room; the number of bytes and the next stage.
    fn inflate(&mut self, out: &mut [u8]) -> io::Result<(usize, Stage)> {
        let input = self.read.fill_buf()?;
        let is_end = input.is_empty();
        let (in_before, out_before) = (self.deflated.total_in(), self.deflated.total_out());
        let status = self.deflated.decompress(input, out, FlushDecompress::None);
        // Also those before an error, which the decompressor's result does not tell.
        let consumed_bytes = (self.deflated.total_in() - in_before) as usize;
        let bytes = (self.deflated.total_out() - out_before) as usize;
        self.read.consume(consumed_bytes);
        if self.wrapping == Wrapping::Gzip {
            self.hasher.update(crate::first(out, bytes)?);
            self.content_bytes = self.content_bytes.wrapping_add(bytes as u32);
        }
        let stage = match (status, self.wrapping) {
            (Ok(Status::StreamEnd), Wrapping::Raw) => Stage::Ended,
            (Ok(Status::StreamEnd), Wrapping::Zlib) => Stage::Behind,
            (Ok(Status::StreamEnd), Wrapping::Gzip) => Stage::Trailer,
            (Ok(_), _) if bytes > 0 || consumed_bytes > 0 => Stage::Content,
            (Ok(_), _) if is_end => Stage::Failed(Fault::Truncated),
            _ => Stage::Failed(Fault::Deflate),
        };
        Ok((bytes, stage))
    }
}

impl<R: BufRead> Read for Inflater<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            match self.stage {
                Stage::Content => {
                    let (bytes, stage) = self.inflate(out)?;
                    self.stage = stage;
                    if bytes > 0 {
                        return Ok(bytes);
                    }
                }
                Stage::Ended => return Ok(0),
                Stage::Failed(fault) => return Err(fault.into()),
                _ => self.stage = self.pass()?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use flate2::Compression;
    use flate2::bufread::MultiGzDecoder;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    /// Gives a few bytes at a time, and is interrupted between.
    struct Halting<'a>(&'a [u8], usize);

    impl Read for Halting<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 += 1;
            if self.1.is_multiple_of(2) {
                return Err(ErrorKind::Interrupted.into());
            }
            let bytes = out.len().min(1 + self.1 % 3);
            self.0.read(&mut out[..bytes])
        }
    }

    /// What is read `part_bytes` at a time, and the error that ends it.
    fn all(wrapping: Wrapping, read: impl BufRead, part_bytes: usize) -> (Vec<u8>, Option<String>) {
        let mut inflater = Inflater::new(wrapping, read);
        let (mut list, mut part) = (Vec::new(), vec![0; part_bytes]);
        loop {
            match inflater.read(&mut part) {
                Ok(0) => return (list, None),
                Ok(bytes) => list.extend(&part[..bytes]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    assert_eq!(inflater.read(&mut part).unwrap_err().to_string(), error.to_string());
                    return (list, Some(error.to_string()));
                }
            }
        }
    }

    fn packed(wrapping: Wrapping, content: &[u8]) -> Vec<u8> {
        let level = Compression::default();
        match wrapping {
            Wrapping::Raw => {
                let mut encoder = DeflateEncoder::new(Vec::new(), level);
                encoder.write_all(content).and_then(|()| encoder.finish())
            }
            Wrapping::Zlib => {
                let mut encoder = ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(content).and_then(|()| encoder.finish())
            }
            Wrapping::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), level);
                encoder.write_all(content).and_then(|()| encoder.finish())
            }
        }
        .unwrap()
    }

    fn content() -> Vec<u8> {
        (0..3000u32).flat_map(|i| (i.wrapping_mul(0x9e37_79b9) >> (i % 3 * 12)).to_le_bytes()).collect()
    }

    const WRAPPINGS: [Wrapping; 3] = [Wrapping::Raw, Wrapping::Zlib, Wrapping::Gzip];

    /// A gzip member with all fields there are.
    fn member_with_fields(content: &[u8]) -> Vec<u8> {
        let flags = HAS_HEADER_CRC | HAS_EXTRA | HAS_NAME | HAS_COMMENT | 1;
        let mut bytes = vec![0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 255];
        bytes.extend(b"\x07\0\0extra\0name\0comment\0");
        let crc = crc32fast::hash(&bytes) as u16;
        bytes.extend(crc.to_le_bytes());
        bytes.extend(packed(Wrapping::Raw, content));
        bytes.extend(crc32fast::hash(content).to_le_bytes());
        bytes.extend((content.len() as u32).to_le_bytes());
        bytes
    }

    #[test]
    fn whole_streams_however_they_are_read() {
        let content = content();
        for wrapping in WRAPPINGS {
            let file = packed(wrapping, &content);
            for part_bytes in [1, 7, 1000, 1 << 20] {
                let wanted = (content.clone(), None);
                assert_eq!(all(wrapping, &file[..], part_bytes), wanted);
                assert_eq!(all(wrapping, BufReader::new(Halting(&file, 0)), part_bytes), wanted);
            }
        }
    }

    #[test]
    fn bytes_in_front_of_damage_are_read_however_they_are_read() {
        let content = content();
        for wrapping in WRAPPINGS {
            let file = packed(wrapping, &content);
            for at in (0..file.len()).step_by(61).chain(file.len() - 9..file.len()) {
                let mut damaged = file.clone();
                damaged[at] ^= 0x55;
                for bytes in [&damaged[..], &file[..at]] {
                    let wanted = all(wrapping, bytes, 1);
                    for part_bytes in [7, 1000, 1 << 20] {
                        assert_eq!(all(wrapping, bytes, part_bytes), wanted);
                    }
                    assert_eq!(all(wrapping, BufReader::new(Halting(bytes, 0)), 300), wanted);
                }
                let (read, error) = all(wrapping, &file[..at], 1 << 20);
                assert!(content.starts_with(&read) && error.is_some());
            }
        }
    }

    #[test]
    fn sums_are_checked_behind_the_content() {
        let content = content();
        for (wrapping, sum_bytes) in [(Wrapping::Zlib, 4), (Wrapping::Gzip, 8)] {
            let mut file = packed(wrapping, &content);
            for from_end in 1..=sum_bytes {
                let at = file.len() - from_end;
                file[at] ^= 1;
                let (read, error) = all(wrapping, &file[..], 1 << 20);
                assert!(read == content && error.is_some(), "{wrapping:?} {from_end}");
                assert!(all(wrapping, &file[..at], 1 << 20).1.unwrap().contains("incomplete"));
                file[at] ^= 1;
            }
        }
    }

    #[test]
    fn headers_with_all_fields() {
        let member = member_with_fields(b"content");
        let two = [&member[..], &member[..]].concat();
        assert_eq!(all(Wrapping::Gzip, &two[..], 100), (b"contentcontent".to_vec(), None));
        assert_eq!(all(Wrapping::Gzip, BufReader::new(Halting(&two, 0)), 100).0, b"contentcontent");
        for cut_at in 0..member.len() {
            let (_, error) = all(Wrapping::Gzip, &member[..cut_at], 100);
            assert_eq!(error.as_deref(), Some("incomplete deflate stream"), "{cut_at}");
        }
        let header_bytes = member.len() - packed(Wrapping::Raw, b"content").len() - 8;
        for at in 0..header_bytes {
            let mut damaged = member.clone();
            damaged[at] ^= 0x80;
            assert!(all(Wrapping::Gzip, &damaged[..], 100).1.is_some(), "{at}");
        }
    }

    #[test]
    fn what_is_behind_the_end() {
        let (content, long) = (b"content".to_vec(), [b"content".repeat(2), vec![]].concat());
        let file = |wrapping| packed(wrapping, &content);
        let garbage =
            |wrapping, garbage: &[u8]| all(wrapping, &[&file(wrapping)[..], garbage].concat()[..], 9);
        assert_eq!(garbage(Wrapping::Raw, b"garbage"), (content.clone(), None));
        assert_eq!(garbage(Wrapping::Gzip, &file(Wrapping::Gzip)), (long, None));
        assert_eq!(garbage(Wrapping::Gzip, b"garbage of ten").1.unwrap(), "invalid gzip header");
        for (wrapping, bytes) in [
            (Wrapping::Gzip, &b"short"[..]),
            (Wrapping::Gzip, &[0; 512]),
            (Wrapping::Zlib, b"garbage"),
            (Wrapping::Zlib, &file(Wrapping::Zlib)),
        ] {
            let (read, error) = garbage(wrapping, bytes);
            assert!(read == content && error.is_some());
        }
    }

    proptest! {
        #[test]
        fn reads_what_another_decoder_does(
            content in proptest::collection::vec(0..4u8, 0..300),
            has_fields in any::<bool>(),
            damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
            part_bytes in 1..400usize,
        ) {
            let mut file = if has_fields { member_with_fields(&content) } else { packed(Wrapping::Gzip, &content) };
            if let Some((at, byte)) = damage {
                let at = at.index(file.len());
                file[at] ^= byte;
            }
            let mut wanted = Vec::new();
            let outcome = MultiGzDecoder::new(&file[..]).read_to_end(&mut wanted);
            let (read, error) = all(Wrapping::Gzip, &file[..], part_bytes);
            prop_assert_eq!(outcome.is_err(), error.is_some());
            prop_assert!(read.starts_with(&wanted) && (error.is_some() || read.len() == wanted.len()));
        }
    }
}
