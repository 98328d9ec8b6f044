//! Names of classes, and the largest scores of a row.

use std::path::Path;
use std::sync::Arc;

use tightfit_core::{MemoryBudget, Reservation};

use super::elements::number;
use super::{OutputRows, Part};
use crate::error::Error;
use crate::memory::counted::read_whole;

/// The names of classes in the order of their numbers: the lines of a file.
#[derive(Debug)]
pub struct Labels {
    text: String,
    /// Where each name begins in the text; after the last, where it ends.
    starts: Vec<usize>,
    reservation: Reservation,
}

impl Labels {
    /// Reads a file of one name a line.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Data`] when it is no text, and the memory.
    pub fn read(path: &Path, budget: &MemoryBudget) -> Result<Labels, Error> {
        let (text, mut reservation) = read_whole(path, "sink", budget)?;
        let text = String::from_utf8(text).map_err(|error| {
            let good = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
            let line = good.filter(|byte| **byte == b'\n').count() + 1;
            Error::data(path, format!("line {line} is not UTF-8"))
        })?;
        // Empty lines at the end name nothing.
        let end = text.trim_end().len();
        let names = if end == 0 { 0 } else { text[..end].bytes().filter(|byte| *byte == b'\n').count() + 1 };
        reservation.try_grow(((names + 1) * size_of::<usize>()) as u64)?;
        let mut starts = Vec::with_capacity(names + 1);
        if names > 0 {
            starts.push(0);
            starts.extend(text[..end].bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1));
            starts.push(end);
        }
        Ok(Labels { text, starts, reservation })
    }

    /// How many names there are.
    pub fn count(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The name of a class.
    pub fn name(&self, class: usize) -> Option<&str> {
        let (start, end) = (*self.starts.get(class)?, *self.starts.get(class + 1)?);
        Some(self.text.get(start..end)?.trim())
    }

    /// The names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        (0..self.count()).filter_map(|class| self.name(class))
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> u64 {
        self.reservation.bytes()
    }
}

/// The largest elements of a row.
#[derive(Debug)]
pub struct Top {
    k: usize,
    labels: Option<Arc<Labels>>,
}

impl Top {
    /// The `k` largest, with their names.
    pub fn new(k: usize, labels: Option<Arc<Labels>>) -> Top {
        Top { k, labels }
    }

    /// The rows of the first output: one for each row of the batch, or along its first dimension.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is no output, or it has no rows.
    pub fn rows<'a>(&self, rows: &OutputRows<'a>) -> Result<Vec<Part<'a>>, Error> {
        let first = rows.named().next();
        let (name, tensor) =
            first.ok_or_else(|| Error::Usage("the model has no output to rank".into()))??;
        let is_vector = tensor.shape().rank() < 2;
        let count = match tensor.shape().first() {
            Some(first) if !(rows.is_whole && is_vector) => *first,
            _ => 1,
        };
        if rows.is_whole && is_vector {
            return Ok(vec![rows.part(name, &tensor, 0)?]);
        }
        let by_rows =
            OutputRows { rows: if rows.is_whole { count } else { rows.rows }, is_whole: false, ..*rows };
        (0..by_rows.rows).map(|row| by_rows.part(name, &tensor, row)).collect()
    }

    /// Puts the index and value of the largest elements of a row into `best`, largest first; of equal ones, the one
    /// with the smallest index first.
    ///
    /// # Errors
    /// [`Error::Usage`] for a row that does not hold numbers, or another number of classes than there are names: one
    /// too many at the front would move them all.
    pub fn best(&self, part: &Part<'_>, best: &mut Vec<(usize, f64)>) -> Result<(), Error> {
        best.clear();
        let classes = part.bytes.len() / part.dtype.bytes();
        if let Some(names) = self.labels.as_ref().map(|labels| labels.count()).filter(|n| *n != classes) {
            let why = format!("there are {names} names, but a row has {classes} classes");
            return Err(Error::option("labels", "", why));
        }
        for (index, element) in part.bytes.chunks_exact(part.dtype.bytes()).enumerate() {
            let score = number(part.dtype, element).ok_or_else(|| {
                Error::Usage(format!("the top of an output of {} cannot be taken", part.dtype))
            })?;
            // Not a number is below everything.
            let is_above = |other: f64| score > other || (other.is_nan() && !score.is_nan());
            let place = best.iter().rposition(|(_, other)| !is_above(*other)).map_or(0, |p| p + 1);
            if place < self.k {
                best.truncate(self.k - 1);
                best.insert(place, (index, score));
            }
        }
        Ok(())
    }

    /// The name of a class.
    pub fn label(&self, index: usize) -> Option<&str> {
        self.labels.as_ref()?.name(index)
    }
}

#[cfg(test)]
mod tests {
    use tightfit_core::{DType, Shape};

    use super::*;

    fn best(k: usize, scores: &[f32]) -> Vec<usize> {
        let shape = Shape::new(&[scores.len()]).unwrap();
        let part = Part { dtype: DType::F32, shape, bytes: bytemuck::cast_slice(scores) };
        let mut best = Vec::new();
        Top::new(k, None).best(&part, &mut best).unwrap();
        best.into_iter().map(|(i, _)| i).collect()
    }

    #[test]
    fn names_are_lines_without_what_is_around_them() {
        let path = std::env::temp_dir().join(format!("tightfit-labels-{}", std::process::id()));
        let read = |text: &[u8]| {
            std::fs::write(&path, text).unwrap();
            let labels = Labels::read(&path, &MemoryBudget::new(1000)).map_err(|error| error.to_string())?;
            assert!(labels.memory_bytes() >= text.len() as u64);
            Ok::<Vec<String>, String>(labels.names().map(str::to_string).collect())
        };
        assert_eq!(read("zero\r\n a b \n\nthré\n\n \n".as_bytes()).unwrap(), ["zero", "a b", "", "thré"]);
        assert_eq!(read(b"one").unwrap(), ["one"]);
        assert!(read(b"").unwrap().is_empty() && read(b"\n\n").unwrap().is_empty());
        assert!(read(b"a\nb\n\xff").unwrap_err().contains("line 3 is not UTF-8"));
        assert!(read(&[b'\n'; 990]).unwrap().is_empty());
        assert!(read(&b"a\n".repeat(450)).unwrap_err().contains("budget"));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn largest_first_and_the_first_of_equals() {
        assert_eq!(best(3, &[0.1, 0.5, 0.2, 0.5, 0.3]), [1, 3, 4]);
        assert_eq!(best(5, &[1.0, 2.0]), [1, 0]);
        assert_eq!(best(2, &[f32::NAN, -1.0, f32::NEG_INFINITY]), [1, 2]);
        assert_eq!(best(1, &[f32::NAN, f32::NAN]), [0]);
    }
}
