//! The files that a pattern stands for, by the bytes of their names: a name need not be UTF-8.
//!
//! `*` is any number of characters, `?` one, `[abc]`, `[a-z]` and `[!abc]` one of a set, and `**` any number of folders. A
//! part of the pattern that is the name of something is that, whatever it would mean. Files come in the order of their
//! names, folder by folder.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

use tightfit_core::MemoryBudget;

use crate::error::{DataError, io_error};

/// Folders deeper than this below a `**` are taken for a loop of links.
const MAX_DEPTH: usize = 32;

/// Calls `found` with each path that `pattern` stands for. The names of the folders that are looked through come out of
/// `budget`.
///
/// # Errors
/// [`DataError::Io`] for a folder that cannot be read, [`DataError::Budget`], and what `found` returns.
pub(crate) fn each_match(
    pattern: &Path,
    budget: &MemoryBudget,
    found: &mut dyn FnMut(&Path) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let parts: Vec<Component<'_>> = pattern.components().collect();
    Walk { budget, found }.go(PathBuf::new(), &parts, 0)
}

struct Walk<'a> {
    budget: &'a MemoryBudget,
    found: &'a mut dyn FnMut(&Path) -> Result<(), DataError>,
}

impl Walk<'_> {
    /// Finds what `parts` stand for below `folder`.
    fn go(&mut self, folder: PathBuf, parts: &[Component<'_>], depth: usize) -> Result<(), DataError> {
        let Some((part, rest)) = parts.split_first() else { return (self.found)(&folder) };
        let text = part.as_os_str();
        let literal = folder.join(text);
        let bytes = text.as_encoded_bytes();
        let is_pattern = matches!(part, Component::Normal(_)) && bytes.iter().any(|b| b"*?[".contains(b));
        if !is_pattern || fs::symlink_metadata(&literal).is_ok() {
            return if fs::symlink_metadata(&literal).is_ok() {
                self.go(literal, rest, depth)
            } else {
                Ok(())
            };
        }
        let is_deep = bytes == b"**";
        if is_deep {
            self.go(folder.clone(), rest, depth)?;
            if depth >= MAX_DEPTH {
                return Ok(());
            }
        }
        let here = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
        if !here.is_dir() {
            return Ok(());
        }
        let mut names: Vec<OsString> = Vec::new();
        let mut reservation = self.budget.try_reserve("file list", 0)?;
        for entry in fs::read_dir(here).map_err(|error| io_error(here, error))? {
            let name = entry.map_err(|error| io_error(here, error))?.file_name();
            if is_deep || matches(bytes, name.as_encoded_bytes()) {
                // The list grows by doubling, and the allocator adds something.
                reservation.try_grow((name.len() + 2 * size_of::<OsString>() + 16) as u64)?;
                names.push(name);
            }
        }
        names.sort_unstable();
        for name in names {
            let path = folder.join(&name);
            if !is_deep {
                self.go(path, rest, depth)?;
            } else if path.is_dir() && !name.as_encoded_bytes().starts_with(b".") {
                self.go(path, parts, depth + 1)?;
            }
        }
        Ok(())
    }
}

/// The character that `text` begins with, of what is no UTF-8 one byte, and what is after it; `None` of nothing.
fn split_character(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let longest = &text[..text.len().min(4)];
    let first = longest.utf8_chunks().next()?.valid().chars().next();
    text.split_at_checked(first.map_or(1, char::len_utf8))
}

/// Whether `name` is what `pattern` says.
fn matches(mut pattern: &[u8], mut name: &[u8]) -> bool {
    // Where to go on when what follows a star does not fit: the pattern after the star, and one more character taken.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        let step = match pattern {
            [b'*', rest @ ..] => {
                retry = Some((rest, name));
                pattern = rest;
                continue;
            }
            [] if name.is_empty() => return true,
            [] => None,
            [b'?', rest @ ..] => split_character(name).map(|(_, name)| (rest, name)),
            [b'[', rest @ ..] => match set(rest) {
                Some((set, is_not, behind)) => split_character(name)
                    .filter(|(character, _)| is_in_set(set, character) != is_not)
                    .map(|(_, name)| (behind, name)),
                None => name.strip_prefix(b"[").map(|name| (rest, name)),
            },
            [byte, rest @ ..] => name.strip_prefix(&[*byte]).map(|name| (rest, name)),
        };
        (pattern, name) = match (step, retry) {
            (Some(behind), _) => behind,
            (None, Some((behind, taken))) => {
                let Some((_, taken)) = split_character(taken) else { return false };
                retry = Some((behind, taken));
                (behind, taken)
            }
            (None, None) => return false,
        };
    }
}

/// The set after a bracket, whether what is not in it is meant, and what stands after; `None` where it has no end.
fn set(text: &[u8]) -> Option<(&[u8], bool, &[u8])> {
    let (is_not, text) = match text {
        [b'!' | b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    // A bracket that comes first is one of the set.
    let end = 1 + text.get(1..)?.iter().position(|b| *b == b']')?;
    Some((text.get(..end)?, is_not, text.get(end + 1..)?))
}

fn is_in_set(mut set: &[u8], one: &[u8]) -> bool {
    while let Some((first, mut rest)) = split_character(set) {
        let mut last = first;
        if let Some((end, behind)) = rest.strip_prefix(b"-").and_then(split_character) {
            (last, rest) = (end, behind);
        }
        set = rest;
        // The order of UTF-8 is that of its characters.
        if (first..=last).contains(&one) {
            return true;
        }
    }
    false
}

/// Whether a path has characters that may mean others.
pub(crate) fn is_pattern(path: &OsStr) -> bool {
    path.as_encoded_bytes().iter().any(|b| b"*?[".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_a_shell_matches_them() {
        for (pattern, yes, no) in [
            ("*", &["", "a", ".x", "a b"][..], &[][..]),
            ("*.txt", &[".txt", "a.txt", "a.txt.txt"], &["a.txt2", "txt"]),
            ("a*b*c", &["abc", "axbxbxc"], &["ab", "acb"]),
            ("?x", &["ax", "éx", "本x"], &["x", "aax"]),
            ("[a-c]1", &["a1", "b1"], &["d1", "1"]),
            ("[!a-c]1", &["d1", "é1"], &["a1", "1"]),
            ("[]x]", &["]", "x"], &["y"]),
            ("[é-ü]", &["ö"], &["a"]),
            ("[a", &["[a"], &["a"]),
            ("a-[0-9][0-9]", &["a-12"], &["a-1", "a-1x"]),
        ] {
            assert!(yes.iter().all(|name| matches(pattern.as_bytes(), name.as_bytes())), "{pattern}");
            assert!(!no.iter().any(|name| matches(pattern.as_bytes(), name.as_bytes())), "{pattern}");
        }
        assert!(matches(b"caf?.*", b"caf\xe9.txt") && matches(b"*", b"\xff\xfe"));
        // Many stars take no long.
        assert!(!matches(&[b"*a".repeat(200), b"b".to_vec()].concat(), &b"a".repeat(5000)));
    }

    #[cfg(unix)]
    #[test]
    fn files_of_any_name() {
        use std::os::unix::ffi::OsStrExt;
        let folder = std::env::temp_dir().join(format!("tightfit-pattern-{}", std::process::id()));
        let names: [&[u8]; 6] =
            [b"caf\xe9.txt", b"[x].txt", b"dt=1/a b.txt", b"[1]/y.txt", b"1/z.txt", b"d/e/f.txt"];
        for name in names {
            let path = folder.join(OsStr::from_bytes(name));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        }
        let find = |pattern: &str| {
            let mut found = Vec::new();
            let budget = MemoryBudget::new(1 << 20);
            each_match(&folder.join(pattern), &budget, &mut |path| {
                found.push(path.strip_prefix(&folder).unwrap().as_os_str().as_bytes().to_vec());
                Ok(())
            })
            .unwrap();
            found
        };
        assert_eq!(find("*.txt"), [&b"[x].txt"[..], b"caf\xe9.txt"]);
        assert_eq!(find("dt=1/*.txt"), [b"dt=1/a b.txt"]);
        assert_eq!(find("dt=[0-9]/a b.*"), [b"dt=1/a b.txt"]);
        // What is there is meant before what it could mean.
        assert_eq!(find("[1]/*"), [b"[1]/y.txt"]);
        assert_eq!(find("[x].t*"), [b"[x].txt"; 0]);
        assert_eq!(find("**/f.txt"), [b"d/e/f.txt"]);
        assert_eq!(find("**/*.txt").len(), 6);
        assert!(find("no/*").is_empty());
        let small = MemoryBudget::new(100);
        assert!(matches!(each_match(&folder.join("*"), &small, &mut |_| Ok(())), Err(DataError::Budget(_))));
        fs::remove_dir_all(&folder).unwrap();
    }
}
