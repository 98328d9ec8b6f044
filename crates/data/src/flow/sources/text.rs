//! Lines of text: `tf.data.TextLineDataset`. Each is a string scalar called `line`, without its end, LF or CRLF.
//!
//! ```json
//! {"text": ["*.txt"], "skip_empty": true, "cycle": 4, "block": 16}
//! ```
//!
//! Files compressed with gzip are unpacked. TensorFlow also drops a carriage return inside a line; here it stays.

use std::path::PathBuf;
use std::sync::Arc;

use tightfit_core::{Buffer, DType, MemoryBudget, Shape, StringRef};

use super::files::{Interleave, open_files, read_interleave};
use super::{BadRead, FileRows, Format};
use crate::error::DataError;
use crate::flow::element::{ElementView, Field, Place, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::origin::Origin;
use crate::flow::spec::SourceSpec;
use crate::flow::stage::{Context, Node};
use crate::source::window::ByteWindow;
use crate::source::{DataFile, Wanted, list_of};

const PURPOSE: &str = "lines";

/// The field that a line is.
const LINE: &str = "line";

/// Lines of text files as a source.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Text {
    /// Files, folders and globs.
    #[serde(skip)]
    pub paths: Vec<PathBuf>,
    /// How they are interleaved.
    pub interleave: Interleave,
    /// Whether lines of nothing are left out.
    pub skip_empty: bool,
}

impl SourceSpec for Text {
    fn identity(&self) -> serde_json::Value {
        identity::of("text", self)
    }

    fn open(&self, context: &mut Context) -> Result<Node, DataError> {
        let list = list_of(&self.paths, Some(Wanted::TEXT), &context.access, &context.budget)?;
        let schema =
            Arc::new(Schema::new(vec![Field::fixed(LINE, DType::String, &[])]).map_err(DataError::Spec)?);
        let format = LineFormat { schema, skip_empty: self.skip_empty, budget: context.budget.clone() };
        open_files("text", format, list, self.interleave, context)
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn SourceSpec>> {
    let (paths, interleave) = (args.paths()?, read_interleave(args)?);
    Ok(Arc::new(Text { paths, interleave, skip_empty: args.flag("skip_empty")? }))
}

struct LineFormat {
    schema: Arc<Schema>,
    skip_empty: bool,
    budget: MemoryBudget,
}

impl Format for LineFormat {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn open(
        &self,
        file: &DataFile,
        from: (u64, u64),
        window: Option<Buffer>,
    ) -> Result<Box<dyn FileRows>, BadRead> {
        let (line, offset) = from;
        let window = ByteWindow::open(&file.path, offset, window, PURPOSE, &self.budget);
        let window = window.map_err(|fault| BadRead { place: None, fault })?;
        let (schema, skip_empty) = (self.schema.clone(), self.skip_empty);
        Ok(Box::new(LineRows { schema, skip_empty, window, line, used: 0, string: [0; 16] }))
    }
}

struct LineRows {
    schema: Arc<Schema>,
    skip_empty: bool,
    window: ByteWindow,
    /// The number of the next line.
    line: u64,
    /// Bytes of the current line with its end.
    used: usize,
    /// The current line as a string element.
    string: [u8; 16],
}

/// Where the one field lies.
const PLACES: [Place; 1] = [Place { shape: Shape::SCALAR, offset: 0 }];

impl LineRows {
    /// Goes on to the next line, empty or not: its bytes without its end, or `None` after the last.
    fn next_line(&mut self) -> Result<Option<usize>, BadRead> {
        self.window.consume(std::mem::take(&mut self.used));
        let place = Some((self.line, self.window.offset()));
        let line = self.window.line().map_err(|fault| {
            self.line += 1;
            BadRead { place, fault }
        })?;
        Ok(line.map(|(bytes, used)| {
            self.used = used;
            bytes
        }))
    }
}

impl FileRows for LineRows {
    fn advance(&mut self) -> Result<bool, BadRead> {
        while let Some(bytes) = self.next_line()? {
            self.line += 1;
            if bytes > 0 || !self.skip_empty {
                self.string = bytemuck::cast(StringRef { offset: 0, bytes: bytes as u64 });
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn current(&self, file: u32) -> ElementView<'_> {
        let origin = Origin { file, record: self.line.saturating_sub(1), offset: self.window.offset() };
        ElementView::new(&self.schema, &PLACES, &self.string, self.window.unread(), origin)
    }

    fn next_place(&self) -> (u64, u64) {
        (self.line, self.window.offset() + self.used as u64)
    }

    fn held_bytes(&self) -> usize {
        self.window.held_bytes()
    }

    fn into_window(self: Box<Self>) -> Option<Buffer> {
        Some(self.window.into_buffer())
    }
}
