//! Text for people, on the standard output.

use std::io::{self, Write};

use tightfit::Error;

use crate::failure::Failure;

/// Prints `text` as it is.
///
/// # Errors
/// What the system says; a closed pipe is told apart by [`Failure`].
pub fn print(text: &str) -> Result<(), Failure> {
    print_by(|out| out.write_all(text.as_bytes()))
}

/// Prints what `write` writes: for texts that grow with their data and are never in memory as a whole.
///
/// # Errors
/// As [`print`].
pub fn print_by(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let printed = write(&mut out).and_then(|()| out.flush());
    printed.map_err(|error| Failure::Job(Error::io("standard output", error)))
}

/// `1 row`, `2 rows`: so many of what a word names.
pub fn count_of(count: impl TryInto<u64>, what: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}

/// Columns of text, each as wide as its widest cell; the columns whose number is in `right` are flush right.
pub fn columns(rows: &[Vec<String>], right: &[usize]) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in rows {
        let mut line = String::from("  ");
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(width(column).saturating_sub(cell.chars().count()));
            let (before, after) =
                if right.contains(&column) { (pad.as_str(), "") } else { ("", pad.as_str()) };
            line.extend([before, cell, after, "  "]);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
