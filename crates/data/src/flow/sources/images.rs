//! Image files as they are: the bytes of each, a string scalar called `image`, and its `path`. What they show is for an
//! operation to decode.
//!
//! ```json
//! {"images": ["photos/"], "cycle": 1}
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use tightfit_core::{Buffer, DType, MemoryBudget, Shape, StringRef};

use super::files::{Interleave, open_files, read_interleave};
use super::{BadRead, FileRows, Format};
use crate::error::{DataError, Needed, RowFault, clamped};
use crate::flow::element::{ElementView, Field, Place, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::origin::Origin;
use crate::flow::spec::SourceSpec;
use crate::flow::stage::{Context, Node};
use crate::source::{DataFile, Wanted, list_of};

const PURPOSE: &str = "image files";

/// Image files as a source.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Images {
    /// Files, folders and globs.
    #[serde(skip)]
    pub paths: Vec<PathBuf>,
    /// How they are interleaved: each is one element.
    pub interleave: Interleave,
}

impl SourceSpec for Images {
    fn identity(&self) -> serde_json::Value {
        identity::of("images", self)
    }

    fn open(&self, context: &mut Context) -> Result<Node, DataError> {
        let list = list_of(&self.paths, Some(Wanted::IMAGES), &context.access, &context.budget)?;
        let fields = ["image", "path"].map(|name| Field::fixed(name, DType::String, &[]));
        let schema = Arc::new(Schema::new(fields.to_vec()).map_err(DataError::Spec)?);
        let format = ImageFormat { schema, budget: context.budget.clone() };
        open_files("images", format, list, self.interleave, context)
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn SourceSpec>> {
    Ok(Arc::new(Images { paths: args.paths()?, interleave: read_interleave(args)? }))
}

struct ImageFormat {
    schema: Arc<Schema>,
    budget: MemoryBudget,
}

impl Format for ImageFormat {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn open(
        &self,
        file: &DataFile,
        from: (u64, u64),
        window: Option<Buffer>,
    ) -> Result<Box<dyn FileRows>, BadRead> {
        let schema = self.schema.clone();
        let mut rows = ImageRows { schema, window, strings: [[0; 16]; 2], text_bytes: 0, row: 1 };
        if from.0 == 0 {
            let place = Some((0, 0));
            rows.read(file, &self.budget).map_err(|fault| BadRead { place, fault })?;
            rows.row = 0;
        }
        Ok(Box::new(rows))
    }

    fn rows(&self, files: &[DataFile]) -> Result<Option<u64>, DataError> {
        Ok(Some(files.len() as u64))
    }
}

struct ImageRows {
    schema: Arc<Schema>,
    /// The file's bytes and then its path, `text_bytes` in all.
    window: Option<Buffer>,
    text_bytes: usize,
    strings: [[u8; 16]; 2],
    /// 0 before the one row, then 1.
    row: u64,
}

/// Where the two fields lie.
const PLACES: [Place; 2] =
    [Place { shape: Shape::SCALAR, offset: 0 }, Place { shape: Shape::SCALAR, offset: 16 }];

impl ImageRows {
    fn read(&mut self, file: &DataFile, budget: &MemoryBudget) -> Result<(), RowFault> {
        let opened = file.open(budget).map_err(RowFault::Io)?;
        let path = file.path.as_os_str().as_encoded_bytes();
        let bytes = clamped(opened.len());
        let text_bytes = bytes.saturating_add(path.len());
        let mut window = match self.window.take().filter(|window| window.len() >= text_bytes) {
            Some(window) => window,
            // A little more than asked, so that the next file, if a little larger, does not make another.
            None => Buffer::new(budget, PURPOSE, text_bytes.saturating_add(text_bytes / 4))
                .or_else(|_| Buffer::new(budget, PURPOSE, text_bytes))?,
        };
        let parts = window.get_mut(..text_bytes).and_then(|w| w.split_at_mut_checked(bytes));
        let (image, rest) = parts.needed("a window has no room for its image")?;
        let read = opened.read_at(image, 0).map_err(RowFault::Io)?;
        if read < bytes {
            return Err(RowFault::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
        rest.copy_from_slice(path);
        let path = StringRef { offset: bytes as u64, bytes: path.len() as u64 };
        let image = StringRef { offset: 0, bytes: bytes as u64 };
        self.strings = [bytemuck::cast(image), bytemuck::cast(path)];
        (self.window, self.text_bytes) = (Some(window), text_bytes);
        Ok(())
    }
}

impl FileRows for ImageRows {
    fn advance(&mut self) -> Result<bool, BadRead> {
        self.row += 1;
        Ok(self.row == 1)
    }

    fn current(&self, file: u32) -> ElementView<'_> {
        // Without a window nothing was read.
        let text = self.window.as_ref().map_or(&[][..], |window| &window[..self.text_bytes]);
        let origin = Origin { file, record: 0, offset: 0 };
        let values = self.strings.as_flattened();
        ElementView::new(&self.schema, &PLACES, values, text, origin)
    }

    fn next_place(&self) -> (u64, u64) {
        (self.row.min(1), 0)
    }

    fn held_bytes(&self) -> usize {
        self.window.as_ref().map_or(0, |window| window.len())
    }

    fn into_window(self: Box<Self>) -> Option<Buffer> {
        self.window
    }
}
