//! The images in a `.tar`: where each lies, so that they are read from the archive as from a folder. Names and sizes of GNU tar and
//! of pax are understood; folders, links and what is no image are passed over.

use std::io;
use std::path::Path;

use tightfit_core::MemoryBudget;

use crate::error::DataError;
use crate::storage::{self, StoredFile};

/// Headers and contents begin at multiples of this.
const BLOCK_BYTES: usize = 512;

/// The longest name, and the most that pax says of a member.
const MAX_EXTRA_BYTES: u64 = 64 << 10;

/// A regular file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub name: String,
    /// Where its content begins in the archive.
    pub offset: u64,
    pub bytes: u64,
}

/// Why an archive is not gone through to its end.
#[derive(Debug)]
pub(crate) enum Broken {
    /// It cannot be read, is damaged, or ends too early.
    Io(io::Error),
    /// What was done with a member.
    Data(DataError),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Io(error)
    }
}

/// Goes through the regular files of the archive at `path` in its order.
///
/// # Errors
/// [`Broken`].
pub(crate) fn each_member(
    path: &Path,
    budget: &MemoryBudget,
    each: &mut dyn FnMut(Member) -> Result<(), DataError>,
) -> Result<(), Broken> {
    let file = storage::open(path, budget)?;
    let (mut at, mut extra) = (0, Extra::default());
    while let Some(header) = Header::read(&file, at)? {
        let begin = at + BLOCK_BYTES as u64;
        let bytes = extra.bytes.unwrap_or(header.bytes);
        let end = begin.checked_add(bytes).filter(|end| *end <= file.len());
        let end = end.ok_or_else(|| damaged(at, "the archive ends inside a member"))?;
        let next = end.div_ceil(BLOCK_BYTES as u64) * BLOCK_BYTES as u64;
        match header.kind {
            b'L' => extra.name = Some(text(&content(&file, begin, bytes)?)),
            b'x' => extra
                .read_pax(&content(&file, begin, bytes)?)
                .ok_or_else(|| damaged(at, "a pax header is broken"))?,
            b'K' | b'g' => {}
            kind => {
                let Extra { name, .. } = std::mem::take(&mut extra);
                let name = name.unwrap_or(header.name);
                // Old archives have folders among the files, with a slash at the end.
                if matches!(kind, b'0' | 0 | b'7') && !name.ends_with('/') {
                    each(Member { name, offset: begin, bytes }).map_err(Broken::Data)?;
                }
            }
        }
        at = next;
    }
    Ok(())
}

fn damaged(at: u64, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a damaged .tar, at byte {at}: {why}"))
}

/// What a header before that of a member says of it.
#[derive(Debug, Default)]
struct Extra {
    name: Option<String>,
    bytes: Option<u64>,
}

impl Extra {
    /// Reads records `LENGTH KEY=VALUE` and a line end.
    fn read_pax(&mut self, mut records: &[u8]) -> Option<()> {
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(records.get(..space)?).ok()?.parse().ok()?;
            let (record, rest) = records.split_at_checked(length)?;
            let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
            if let Some(name) = record.strip_prefix(b"path=") {
                self.name = Some(text(name));
            } else if let Some(bytes) = record.strip_prefix(b"size=") {
                self.bytes = Some(std::str::from_utf8(bytes).ok()?.parse().ok()?);
            }
            records = rest;
        }
        Some(())
    }
}

/// What stands before the content of a member.
struct Header {
    name: String,
    bytes: u64,
    kind: u8,
}

impl Header {
    /// The header at `at`; `None` at the end of the archive.
    fn read(file: &StoredFile, at: u64) -> io::Result<Option<Header>> {
        let mut block = [0; BLOCK_BYTES];
        match file.read_at(&mut block, at)? {
            0 => return Ok(None),
            BLOCK_BYTES => {}
            _ => return Err(damaged(at, "the archive ends inside a header")),
        }
        if block == [0; BLOCK_BYTES] {
            return Ok(None);
        }
        let field = |from: usize, bytes: usize| block.get(from..from + bytes).unwrap_or_default();
        // The sum is of the header with spaces where the sum stands.
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        let own: u64 = field(148, 8).iter().map(|byte| u64::from(*byte)).sum();
        if number(field(148, 8)) != Some(sum - own + 8 * u64::from(b' ')) {
            return Err(damaged(at, "the sum of a header is wrong"));
        }
        let bytes = number(field(124, 12)).ok_or_else(|| damaged(at, "a size is no number"))?;
        let (name, prefix) = (text(field(0, 100)), text(field(345, 155)));
        let has_prefix = field(257, 6) == b"ustar\0" && !prefix.is_empty();
        let name = if has_prefix { format!("{prefix}/{name}") } else { name };
        Ok(Some(Header { name, bytes, kind: field(156, 1).first().copied().unwrap_or_default() }))
    }
}

/// Digits of base 8 between spaces or zeros, or after a first byte with its highest bit set a number of base 256.
fn number(field: &[u8]) -> Option<u64> {
    if let Some((first, rest)) = field.split_first().filter(|(first, _)| **first & 0x80 != 0) {
        let high = u64::from(first & 0x7f);
        return rest
            .iter()
            .try_fold(high, |value, byte| value.checked_mul(256).map(|value| value + u64::from(*byte)));
    }
    let digits = std::str::from_utf8(field).ok()?.trim_matches(|c| matches!(c, ' ' | '\0'));
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

/// What a member of names or of pax holds.
fn content(file: &StoredFile, at: u64, bytes: u64) -> io::Result<Vec<u8>> {
    if bytes > MAX_EXTRA_BYTES {
        return Err(damaged(at, "a name is too long"));
    }
    let mut content = vec![0; bytes as usize];
    if file.read_at(&mut content, at)? < content.len() {
        return Err(damaged(at, "the archive ends inside a member"));
    }
    Ok(content)
}

/// Text up to a zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A member as tar writes it.
    fn member(name: &[u8], kind: u8, content: &[u8]) -> Vec<u8> {
        let mut block = [0u8; BLOCK_BYTES];
        block[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        block[156] = kind;
        block[257..263].copy_from_slice(b"ustar\0");
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let mut all = [&block[..], content].concat();
        all.resize(all.len().div_ceil(BLOCK_BYTES) * BLOCK_BYTES, 0);
        all
    }

    fn members(archive: &[u8]) -> Result<Vec<Member>, String> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tightfit-tar-{}-{number}.tar", std::process::id()));
        std::fs::write(&path, archive).unwrap();
        let mut found = Vec::new();
        let read = each_member(&path, &MemoryBudget::new(1 << 20), &mut |member| {
            found.push(member);
            Ok(())
        });
        std::fs::remove_file(&path).unwrap();
        read.map(|()| found).map_err(|error| format!("{error:?}"))
    }

    /// An archive with every kind of name, and what is passed over.
    fn archive() -> Vec<u8> {
        let long = [b'a'; 150];
        let record = format!("{} path=täglich/b.png\n", 23);
        assert_eq!(record.len(), 23);
        [
            member(b"d/", b'5', b""),
            member(b"d/one.png", b'0', &[1; 700]),
            member(b"././@LongLink", b'L', &[&long[..], b"\0"].concat()),
            member(&long[..100], b'0', &[2; 512]),
            member(b"x", b'x', record.as_bytes()),
            member(b"short", b'0', b""),
            member(b"link", b'2', b""),
            member(b"hard", b'1', b""),
            member(b"old", 0, b"3"),
            vec![0; 1024],
            vec![7; 100],
        ]
        .concat()
    }

    #[test]
    fn members_with_any_names() {
        let found = members(&archive()).unwrap();
        let names: Vec<&str> = found.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["d/one.png", &"a".repeat(150), "täglich/b.png", "old"]);
        assert_eq!((found[0].offset, found[0].bytes), (1024, 700));
        assert_eq!((found[3].offset % 512, found[3].bytes), (0, 1));
        assert_eq!(members(b"").unwrap(), []);
        // A size in base 256, as of members of more than 8 GiB.
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]), Some(2 << 32));
        assert_eq!(number(&[0xff; 12]), None);
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_an_error() {
        let whole = archive();
        let wrong = |archive: &[u8]| members(archive).unwrap_err();
        assert!(wrong(&whole[..1500]).contains("at byte 512: the archive ends inside a member"));
        assert!(wrong(&whole[..700]).contains("inside a header"));
        for at in [513, 512 + 124, 512 + 150] {
            let mut broken = whole.clone();
            broken[at] ^= 1;
            assert!(wrong(&broken).contains("sum of a header"), "{at}");
        }
        let endless = member(b"././@LongLink", b'L', &vec![b'a'; 100_000]);
        assert!(wrong(&endless).contains("too long"));
        assert!(wrong(&member(b"x", b'x', b"99 path=a\n")).contains("pax"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn changed_archives(at in 0usize..4096, byte: u8, cut in 0usize..6000) {
            let mut archive = archive();
            archive[at] = byte;
            archive.truncate(cut);
            let _ = members(&archive);
        }
    }
}
