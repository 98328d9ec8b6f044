//! Results on a terminal: a line for each row, with the largest scores of it or what is in its tensors.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use tightfit::sink::{Labels, OutputRows, Sink, SinkOptions};
use tightfit::{DType, Error, TensorView};

use crate::style::Style;

/// Scores that a line shows when nobody says how many.
const SCORES: usize = 3;

/// Elements of a tensor that a line shows.
const ELEMENTS: usize = 4;

/// Characters of the name of a file: of longer ones the end is shown.
const FILE: usize = 28;

/// The most classes whose largest are shown: more elements are most likely something else.
const MOST_CLASSES: usize = 100_000;

/// A table of rows on the standard output.
pub struct RowTable {
    scores: usize,
    labels: Option<Arc<Labels>>,
    has_colours: bool,
    has_head: bool,
}

impl RowTable {
    /// Nothing written yet.
    pub fn new(options: SinkOptions, has_colours: bool) -> RowTable {
        let scores = options.top.unwrap_or(SCORES);
        RowTable { scores, labels: options.labels, has_colours, has_head: false }
    }

    fn line(&self, rows: &OutputRows<'_>, row: usize) -> String {
        let place = (rows.sources)(row);
        let record = place.record.map_or_else(String::new, |record| record.to_string());
        let number = rows.first_row + row as u64;
        let mut line = format!("{number:>7}  {:<FILE$}  {record:>7}", end_of(&place.file));
        for index in 0..rows.outputs.len() {
            let Some(tensor) = rows.outputs.tensor(index) else { continue };
            let text = match self.best(&tensor, rows.rows, row).filter(|_| index == 0) {
                Some(text) => text,
                None => described(&tensor, rows.rows, row),
            };
            let _ = write!(line, "  {text}");
        }
        let label = rows.labels.and_then(|labels| labels.get(row)).copied();
        if let (Some(label), Some(tensor)) = (label, rows.outputs.tensor(0)) {
            let answer =
                scores_of(&tensor, rows.rows, row).and_then(|scores| best_of(scores, 1).first().copied());
            let is_right = answer.is_some_and(|(class, _)| class as i64 == label);
            let (style, text) = match is_right {
                true => (Style::Good, "right".to_string()),
                false => (
                    Style::Bad,
                    format!("WRONG: {}", self.name(usize::try_from(label).unwrap_or(usize::MAX))),
                ),
            };
            let _ = write!(line, "  {}", style.paint(&text, self.has_colours));
        }
        line.push('\n');
        line
    }

    fn best(&self, tensor: &TensorView<'_>, rows: usize, row: usize) -> Option<String> {
        let scores = scores_of(tensor, rows, row)?;
        let best = best_of(scores, self.scores);
        let texts = best.iter().enumerate().map(|(place, (class, score))| {
            let text = format!("{} {score:.3}", self.name(*class));
            if place == 0 { text } else { Style::Soft.paint(&text, self.has_colours) }
        });
        Some(texts.collect::<Vec<_>>().join("  "))
    }

    fn name(&self, class: usize) -> String {
        let name = self.labels.as_ref().and_then(|labels| labels.name(class));
        name.map_or_else(|| class.to_string(), str::to_string)
    }
}

/// The scores of a row, where a tensor holds some for each.
fn scores_of<'a>(tensor: &TensorView<'a>, rows: usize, row: usize) -> Option<&'a [f32]> {
    let is_by_rows = tensor.dtype() == DType::F32 && tensor.shape().first() == Some(&rows);
    let scores = is_by_rows.then(|| tensor.as_slice::<f32>()).flatten()?;
    let classes = scores.len().checked_div(rows).filter(|classes| (2..=MOST_CLASSES).contains(classes))?;
    scores.get(row * classes..(row + 1) * classes)
}

/// The classes of the largest scores, largest first.
fn best_of(scores: &[f32], count: usize) -> Vec<(usize, f32)> {
    let mut best: Vec<(usize, f32)> = Vec::with_capacity(count.min(scores.len()) + 1);
    for (class, score) in scores.iter().enumerate() {
        let place = best.iter().rposition(|(_, other)| other >= score).map_or(0, |place| place + 1);
        if place < count {
            best.insert(place, (class, *score));
            best.truncate(count);
        }
    }
    best
}

/// Type and shape of a row of a tensor, and its first elements.
fn described(tensor: &TensorView<'_>, rows: usize, row: usize) -> String {
    let (dtype, shape) = (tensor.dtype(), tensor.shape());
    let Some((_, dims)) = shape.split_first().filter(|(first, _)| **first == rows) else {
        return format!("{dtype}{shape}");
    };
    let count: usize = dims.iter().product();
    let dims: Vec<String> = dims.iter().map(usize::to_string).collect();
    let mut text = format!("{dtype}[{}]", dims.join(", "));
    if let Some(values) = tensor.as_slice::<f32>().and_then(|all| all.get(row * count..(row + 1) * count)) {
        for value in values.iter().take(ELEMENTS) {
            let _ = write!(text, " {value:.4}");
        }
        if count > ELEMENTS {
            text.push_str(" ..");
        }
    }
    text
}

/// The end of a long name.
fn end_of(name: &str) -> String {
    let count = name.chars().count();
    match count <= FILE {
        true => name.to_string(),
        false => format!("..{}", name.chars().skip(count - FILE + 2).collect::<String>()),
    }
}

impl Sink for RowTable {
    fn write(&mut self, rows: &OutputRows<'_>) -> Result<(), Error> {
        let mut out = std::io::stdout().lock();
        let mut text = String::new();
        if !self.has_head && rows.rows > 0 {
            self.has_head = true;
            let head = format!("{:>7}  {:<FILE$}  {:>7}  outputs", "row", "file", "record");
            text = Style::Head.paint(&head, self.has_colours) + "\n";
        }
        for row in 0..rows.rows {
            text.push_str(&self.line(rows, row));
            out.write_all(text.as_bytes()).map_err(|error| Error::io("standard output", error))?;
            text.clear();
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        std::io::stdout().flush().map_err(|error| Error::io("standard output", error))
    }
}

#[cfg(test)]
mod tests {
    use tightfit::Shape;

    use super::*;

    #[test]
    fn the_largest_come_first_and_of_equals_the_first() {
        assert_eq!(best_of(&[0.1, 0.5, 0.2, 0.5], 3), [(1, 0.5), (3, 0.5), (2, 0.2)]);
        assert_eq!(best_of(&[1.0], 3), [(0, 1.0)]);
        assert_eq!(best_of(&[1.0, 2.0], 0), []);
    }

    #[test]
    fn wide_rows_are_described_and_long_names_cut() {
        let values: Vec<f32> = (0..12).map(|n| n as f32).collect();
        let tensor = TensorView::from_slice(Shape::new(&[2, 2, 3]).unwrap(), &values).unwrap();
        assert_eq!(described(&tensor, 2, 1), "float32[2, 3] 6.0000 7.0000 8.0000 9.0000 ..");
        assert_eq!(described(&tensor, 3, 1), "float32[2, 2, 3]");
        assert_eq!(scores_of(&tensor, 2, 1), Some(&values[6..]));
        let name = end_of("a/very/long/path/to/some/photo-000001.jpeg");
        assert!(
            name.starts_with("..") && name.ends_with("photo-000001.jpeg") && name.chars().count() == FILE
        );
    }
}
