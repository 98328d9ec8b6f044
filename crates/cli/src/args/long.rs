//! Long lists of files, as a shell makes of a pattern. The parser would hold several hundred bytes for each, so of each list
//! it sees the beginning and one word that stands for the rest.

use std::ffi::{OsStr, OsString};

use super::is_bare;

/// How much of a list the parser sees.
const SEEN: usize = 64;

/// What begins the word for the rest of a list. No argument of a process has a zero in it.
const MARK: &str = "\0";

/// The rests of lists.
#[derive(Debug, Default)]
pub struct Lists(Vec<Vec<OsString>>);

/// The arguments with a word for the rest of each long list, and the rests.
pub fn shorten(args: impl Iterator<Item = OsString>) -> (Vec<OsString>, Lists) {
    let (mut short, mut lists, mut run) = (Vec::new(), Lists::default(), 0);
    for arg in args {
        run = if is_bare(&arg) { run + 1 } else { 0 };
        if run <= SEEN {
            short.push(arg);
            continue;
        }
        if run == SEEN + 1 {
            short.push(OsString::from(format!("{MARK}{}", lists.0.len())));
            lists.0.push(Vec::new());
        }
        if let Some(list) = lists.0.last_mut() {
            list.push(arg);
        }
    }
    (short, lists)
}

impl Lists {
    /// Puts the rests where their words stand in `list`.
    pub fn put_back<T: From<OsString> + AsRef<OsStr>>(&self, list: &mut Vec<T>) {
        let number = |arg: &T| arg.as_ref().to_str()?.strip_prefix(MARK)?.parse::<usize>().ok();
        while let Some((at, rest)) =
            list.iter().enumerate().find_map(|(at, arg)| Some((at, self.0.get(number(arg)?)?)))
        {
            list.splice(at..=at, rest.iter().cloned().map(T::from));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_whole_and_in_order() {
        let names = |count: usize| (0..count).map(|n| OsString::from(format!("{n}.png")));
        for count in [0, 1, SEEN, SEEN + 1, 1000] {
            let words = ["tightfit", "run", "--input"].map(OsString::from);
            let more = ["-q", "-", "x"].map(OsString::from);
            let args: Vec<OsString> = words.into_iter().chain(names(count)).chain(more).collect();
            let (mut short, lists) = shorten(args.iter().cloned());
            assert!(short.len() <= SEEN + 7 && short.len() <= args.len());
            lists.put_back(&mut short);
            assert_eq!(short, args);
        }
    }
}
