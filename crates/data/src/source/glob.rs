//! The files that a pattern matches, found one after the other: no folder's list of names is ever held, so that what a
//! pattern takes is what is kept of it.

use std::fs;
use std::path::{Component, Path, PathBuf};

use glob::{Pattern, PatternError};

use crate::error::{DataError, io_error};

/// Folders deeper than this below one that `**` stands for are taken for a loop of links.
const MAX_DEPTH: usize = 32;

/// A pattern as `glob` has them: `*`, `?` and `[...]` within a name, and `**` for any folders.
pub(super) struct Glob {
    /// What is before the first part with a wildcard.
    root: PathBuf,
    parts: Vec<Part>,
}

enum Part {
    /// A name as it stands.
    Name(PathBuf),
    /// A name with wildcards.
    Pattern(Pattern),
    /// Folders, as many as there are, or none; at the end it stands for folders alone, and so for no file.
    Folders,
}

fn is_wild(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

impl Glob {
    /// The pattern that `text` is.
    pub fn new(text: &str) -> Result<Glob, PatternError> {
        let (mut root, mut parts) = (PathBuf::new(), Vec::new());
        for component in Path::new(text).components() {
            let name = component.as_os_str().to_str().filter(|_| matches!(component, Component::Normal(_)));
            match name {
                Some("**") => parts.push(Part::Folders),
                Some(name) if is_wild(name) => parts.push(Part::Pattern(Pattern::new(name)?)),
                _ if parts.is_empty() => root.push(component),
                _ => parts.push(Part::Name(PathBuf::from(component.as_os_str()))),
            }
        }
        // All patterns are checked before anything is looked at.
        Pattern::new(text)?;
        Ok(Glob { root, parts })
    }

    /// Calls `found` for everything that matches, in no order.
    ///
    /// # Errors
    /// Those of `found`, and [`DataError::Io`] for a folder that cannot be read.
    pub fn each(&self, found: &mut dyn FnMut(&Path) -> Result<(), DataError>) -> Result<(), DataError> {
        walk(&self.root, &self.parts, 0, found)
    }
}

fn walk(
    at: &Path,
    parts: &[Part],
    depth: usize,
    found: &mut dyn FnMut(&Path) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let Some((part, rest)) = parts.split_first() else { return found(at) };
    if let Part::Name(name) = part {
        let path = at.join(name);
        return if path.exists() { walk(&path, rest, depth, found) } else { Ok(()) };
    }
    let is_folders = matches!(part, Part::Folders);
    // Several in a row are one, or what is below would be found more than once.
    let rest = if is_folders {
        let more = rest.iter().take_while(|part| matches!(part, Part::Folders)).count();
        rest.get(more..).unwrap_or(rest)
    } else {
        rest
    };
    if is_folders && !rest.is_empty() {
        walk(at, rest, depth, found)?;
    }
    let folder = if at.as_os_str().is_empty() { Path::new(".") } else { at };
    if !folder.is_dir() {
        return Ok(());
    }
    if depth > MAX_DEPTH {
        return Err(DataError::NoFiles { source: at.to_path_buf(), why: "folders are nested too deep" });
    }
    for entry in fs::read_dir(folder).map_err(|e| io_error(folder, e))? {
        let entry = entry.map_err(|e| io_error(folder, e))?;
        let name = entry.file_name();
        let path = at.join(&name);
        match part {
            // Links to folders are not followed there, as they may lead back.
            Part::Folders if entry.file_type().is_ok_and(|kind| kind.is_dir()) => {
                walk(&path, parts, depth + 1, found)?;
            }
            Part::Pattern(pattern) if name.to_str().is_some_and(|name| pattern.matches(name)) => {
                walk(&path, rest, depth, found)?;
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_the_library_finds() {
        let root = std::env::temp_dir().join(format!("tightfit-glob-{}", std::process::id()));
        for folder in ["a/b/c", "a/d", "e/b", "a/.h", "x[1]"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for file in
            ["a/1.txt", "a/b/2.txt", "a/b/c/3.txt", "a/d/4.csv", "e/b/5.txt", "a/.h/6.txt", ".7.txt", "8"]
        {
            fs::write(root.join(file), b"").unwrap();
        }
        for pattern in [
            "*",
            "a/*",
            "a/*.txt",
            "*/b/*.txt",
            "**/*.txt",
            "a/**/*.txt",
            "a/**",
            "**/b/*",
            "a/?.txt",
            "a/[0-1].txt",
            "*/d/*.csv",
            "*/nothing",
            "**/**/*.txt",
            "[!a]*/b/5.txt",
            "?",
            "a/b/../*.txt",
            ".*",
        ] {
            let text = format!("{}/{pattern}", root.display());
            let mut own = Vec::new();
            Glob::new(&text).unwrap().each(&mut |path| Ok(own.push(path.to_path_buf()))).unwrap();
            own.retain(|path| path.is_file());
            own.sort();
            let mut theirs: Vec<_> = glob::glob(&text).unwrap().map(Result::unwrap).collect();
            theirs.retain(|path| path.is_file());
            theirs.sort();
            assert_eq!(own, theirs, "{pattern}");
        }
        assert!(Glob::new("a/[").is_err());
        assert!(Glob::new("a/***").is_err());
        fs::remove_dir_all(root).unwrap();
    }
}
