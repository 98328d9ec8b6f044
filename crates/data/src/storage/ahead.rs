//! Many files opened one after the other, with the next ones on their way.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use tightfit_core::MemoryBudget;

use super::remote::Opening;
use super::{Location, StoredFile, open};

/// Objects that are asked for at once.
const OPEN_AHEAD: usize = 8;

/// Files in order, opened.
pub(super) struct OpenEach<T, I> {
    files: I,
    coming: VecDeque<(T, Opening)>,
    /// A file that is opened when its turn comes: it is local, or there was no memory for asking ahead.
    next: Option<T>,
    budget: MemoryBudget,
}

impl<T: AsRef<Path>, I: Iterator<Item = T>> OpenEach<T, I> {
    pub fn new(files: I, budget: &MemoryBudget) -> OpenEach<T, I> {
        OpenEach { files, coming: VecDeque::new(), next: None, budget: budget.clone() }
    }

    /// Asks for the next objects, as many as there may be on their way.
    fn ask(&mut self) {
        while self.coming.len() < OPEN_AHEAD {
            let Some(file) = self.next.take().or_else(|| self.files.next()) else { return };
            let opening = match Location::of(file.as_ref()) {
                Location::Url(url) => Opening::begin(url, &self.budget).ok(),
                Location::Local(_) => None,
            };
            match opening {
                Some(opening) => self.coming.push_back((file, opening)),
                None => {
                    self.next = Some(file);
                    return;
                }
            }
        }
    }
}

impl<T: AsRef<Path>, I: Iterator<Item = T>> Iterator for OpenEach<T, I> {
    type Item = (T, io::Result<StoredFile>);

    fn next(&mut self) -> Option<Self::Item> {
        self.ask();
        if let Some((file, opening)) = self.coming.pop_front() {
            return Some((file, opening.finish().map(StoredFile::remote)));
        }
        let file = self.next.take()?;
        let opened = open(file.as_ref(), &self.budget);
        Some((file, opened))
    }
}
