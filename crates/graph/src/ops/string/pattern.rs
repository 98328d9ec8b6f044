//! Regular expressions in the syntax of RE2, as the regex crate runs them.
//!
//! The two differ in little: RE2's classes `\d`, `\s`, `\w` and `\b` are of ASCII, a bracket within a class is one, and a brace
//! that counts nothing is one. A pattern is put into the other's words before it is compiled.

use std::sync::Mutex;

use regex_automata::meta::{Cache, Config, Regex};
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::{Anchored, Input};
use regex_syntax::ParserBuilder;

use tightfit_core::block_bytes;

use crate::operator::OpError;

/// The most that a compiled pattern may take.
const PROGRAM_MAX_BYTES: usize = 512 << 10;

/// Places of the groups that a rewrite may name, each a start and an end.
pub type Groups = [Option<NonMaxUsize>; 20];

/// A compiled pattern, and the memory that one search takes.
#[derive(Debug)]
pub struct Pattern {
    regex: Regex,
    cache: Mutex<Cache>,
}

impl Pattern {
    /// Compiles a pattern; one that is to match whole texts where `is_whole`.
    ///
    /// # Errors
    /// [`OpError::Invalid`] for one that is none.
    pub fn new(pattern: &[u8], is_whole: bool) -> Result<Pattern, OpError> {
        let refused = |why: String| {
            let shown = String::from_utf8_lossy(pattern).into_owned();
            OpError::Invalid(format!("the regular expression '{shown}' {why}"))
        };
        let text = std::str::from_utf8(pattern).map_err(|_| refused("is no UTF-8".into()))?;
        let text = translated(text).ok_or_else(|| refused("has a class that does not end".into()))?;
        let text = if is_whole { format!(r"\A(?:{text})\z") } else { text };
        let unsupported =
            |error: &dyn std::error::Error| refused(format!("is not supported: {}", last_line(error)));
        let parsed =
            ParserBuilder::new().utf8(false).build().parse(&text).map_err(|error| unsupported(&error))?;
        // No engine that grows while it searches.
        let config = Config::new()
            .hybrid(false)
            .backtrack(false)
            .utf8_empty(false)
            .nfa_size_limit(Some(PROGRAM_MAX_BYTES));
        let regex =
            Regex::builder().configure(config).build_from_hir(&parsed).map_err(|error| {
                match error.size_limit() {
                    Some(_) => refused(format!("takes more than {PROGRAM_MAX_BYTES} bytes compiled")),
                    None => unsupported(&error),
                }
            })?;
        let cache = Mutex::new(regex.create_cache());
        Ok(Pattern { regex, cache })
    }

    /// Bytes of the heap that it takes, with the memory of a search.
    pub fn heap_bytes(&self) -> u64 {
        let cache = self.cache.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let own = size_of::<Pattern>() + self.regex.memory_usage() + cache.memory_usage();
        block_bytes(own as u64)
    }

    /// How many groups it has, the whole match one of them.
    pub fn groups(&self) -> usize {
        self.regex.group_info().group_len(regex_automata::PatternID::ZERO)
    }

    /// Searches `text` from `start` on.
    pub fn find(&self, text: &[u8], start: usize, groups: &mut Groups) -> bool {
        groups.fill(None);
        let input = Input::new(text).span(start..text.len()).anchored(Anchored::No);
        let mut cache = self.cache.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let count = (self.groups() * 2).min(groups.len());
        self.regex.search_slots_with(&mut cache, &input, &mut groups[..count]).is_some()
    }

    /// True where it matches.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.find(text, 0, &mut [None; 20])
    }
}

/// What a compiler says at the end of what it says, in one line.
fn last_line(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let text = deepest.to_string();
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    line.trim_start_matches("error: ").to_string()
}

/// A pattern of RE2 in the words of the regex crate; `None` for a class without end.
fn translated(pattern: &str) -> Option<String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let behind = &rest[first.len_utf8()..];
        rest = match first {
            '\\' => escape(behind, false, &mut out),
            '[' => class(behind, &mut out)?,
            '{' if !is_count(behind) => {
                out.push_str(r"\{");
                behind
            }
            '}' if !closes_count(&out) => {
                out.push_str(r"\}");
                behind
            }
            _ => {
                out.push(first);
                behind
            }
        };
    }
    Some(out)
}

/// True where what follows an open brace is a count.
fn is_count(text: &str) -> bool {
    let Some((count, _)) = text.split_once('}') else { return false };
    let (least, most) = count.split_once(',').unwrap_or((count, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !least.is_empty() && is_number(least) && is_number(most)
}

fn closes_count(before: &str) -> bool {
    let Some(at) = before.rfind('{') else { return false };
    // A brace of an escape, as in \x{..} and \p{..}, was written out with it.
    !before[..at].ends_with('\\') && is_count(&format!("{}}}", &before[at + 1..]))
}

/// What stands after a backslash. Returns what is left.
fn escape<'p>(text: &'p str, is_in_class: bool, out: &mut String) -> &'p str {
    let Some(first) = text.chars().next() else {
        out.push('\\');
        return text;
    };
    let behind = &text[first.len_utf8()..];
    let class = match first {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => r"\t\n\f\r ",
        'D' => "^0-9",
        'W' => "^0-9A-Za-z_",
        'S' => r"^\t\n\f\r ",
        'b' if !is_in_class => {
            out.push_str(r"(?-u:\b)");
            return behind;
        }
        'B' if !is_in_class => {
            out.push_str(r"(?-u:\B)");
            return behind;
        }
        'C' if !is_in_class => {
            out.push_str(r"(?s-u:.)");
            return behind;
        }
        'Q' if !is_in_class => {
            let (quoted, rest) = behind.split_once(r"\E").unwrap_or((behind, ""));
            quoted.chars().for_each(|c| literal(c, out));
            return rest;
        }
        'x' | 'p' | 'P' if behind.starts_with('{') => {
            let end = behind.find('}').map_or(behind.len(), |end| end + 1);
            out.push('\\');
            out.push(first);
            out.push_str(&behind[..end]);
            return &behind[end..];
        }
        '0'..='7' => {
            // Octal, of at most three digits.
            let digits = text.bytes().take(3).take_while(|b| (b'0'..b'8').contains(b)).count();
            let code = u32::from_str_radix(&text[..digits], 8).unwrap_or(0);
            if first == '0' || digits > 1 {
                out.push_str(&format!(r"\x{{{code:x}}}"));
                return &text[digits..];
            }
            out.push('\\');
            out.push(first);
            return behind;
        }
        first if first.is_ascii_alphanumeric() => {
            out.push('\\');
            out.push(first);
            return behind;
        }
        first => {
            literal(first, out);
            return behind;
        }
    };
    out.push('[');
    out.push_str(class);
    out.push(']');
    behind
}

/// One character that stands for itself.
fn literal(character: char, out: &mut String) {
    out.push_str(&format!(r"\x{{{:x}}}", u32::from(character)));
}

/// A class, after its bracket. Returns what is left.
fn class<'p>(text: &'p str, out: &mut String) -> Option<&'p str> {
    out.push('[');
    let mut rest = text;
    if let Some(behind) = rest.strip_prefix('^') {
        out.push('^');
        rest = behind;
    }
    let mut is_first = true;
    loop {
        let first = rest.chars().next()?;
        let behind = &rest[first.len_utf8()..];
        rest = match first {
            ']' if !is_first => {
                out.push(']');
                return Some(behind);
            }
            '[' if behind.starts_with(':') && behind.contains(":]") => {
                let end = behind.find(":]").map_or(behind.len(), |end| end + 2);
                out.push('[');
                out.push_str(&behind[..end]);
                &behind[end..]
            }
            '\\' => escape(behind, true, out),
            // A range has its hyphen between two, and nowhere else.
            '-' if !is_first && !behind.starts_with(']') && ends_item(out) => {
                out.push('-');
                behind
            }
            first => {
                literal(first, out);
                behind
            }
        };
        is_first = false;
    }
}

/// True where a range may go on from what was written last.
fn ends_item(out: &str) -> bool {
    !out.ends_with(['-', ']', '['])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern.as_bytes(), true).unwrap().is_match(text.as_bytes())
    }

    #[test]
    fn patterns_mean_what_they_mean_to_re2() {
        assert!(whole(r"[!\-#$%&()*+,./:;<=>?@[\]^_`{|}~]+", "[]{}~&&-"));
        assert!(whole(r"\d+", "12") && !whole(r"\d+", "١"));
        assert!(whole(r"[\d\s]+", "1 2") && !whole(r"[^\d]", "1") && whole(r"[\D]", "x"));
        assert!(whole("a{2}", "aa") && whole("a{x", "a{x") && whole("a{,2}", "a{,2}"));
        assert!(whole(r"\Qa.b\E+", "a.bbb") && !whole(r"\Qa.b\E", "axb"));
        assert!(whole("[[:alpha:]]+", "abc") && whole("[]a]+", "]a") && whole("[a-]+", "-a"));
        assert!(whole("[+--]", ",") && whole(".", "é") && whole(r"\x41\x{42}\103", "ABC"));
        assert!(whole("(?i)straße", "STRAßE") && whole(r"\pL+", "abcé"));
        assert!(Pattern::new(b"(", false).unwrap_err().to_string().contains("unclosed group"));
        assert!(Pattern::new(b"[a", false).unwrap_err().to_string().contains("does not end"));
    }
}
