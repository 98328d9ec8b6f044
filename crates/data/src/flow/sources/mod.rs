//! Where elements come from. Files of one kind are read by [`files::Files`], in the order they are listed or
//! interleaved; what differs between the kinds is [`FileRows`], the rows of one open file.

#[cfg(feature = "arrow")]
mod arrow;
#[cfg(feature = "arrow")]
pub(crate) mod columnar;
pub(crate) mod combine;
pub(crate) mod csv;
pub(crate) mod files;
pub(crate) mod generate;
pub(crate) mod images;
pub(crate) mod jsonl;
pub(crate) mod npy;
pub(crate) mod npz;
#[cfg(feature = "arrow")]
mod parquet;
pub(crate) mod range;
pub(crate) mod records;
pub(crate) mod shuffled;
#[cfg(test)]
mod tests;
pub(crate) mod text;

use std::sync::Arc;

use tightfit_core::Buffer;

use super::element::{ElementView, Schema};
#[cfg(not(feature = "arrow"))]
use super::json::{Args, Read};
#[cfg(not(feature = "arrow"))]
use super::spec::SourceSpec;
use crate::error::{DataError, RowFault};
use crate::source::DataFile;

/// A row of a file that cannot be read.
#[derive(Debug)]
pub(crate) struct BadRead {
    /// The row's number and where it begins, when the file was open already.
    pub place: Option<(u64, u64)>,
    pub fault: RowFault,
}

/// The rows of one open file. After an error it can be asked for the next row; a file that cannot be read on then says
/// that it is at its end.
pub(crate) trait FileRows: Send {
    /// Goes on to the next row; false at the end of the file.
    fn advance(&mut self) -> Result<bool, BadRead>;

    /// The row, of the schema of its [`Format`]; its origin has `file` for the file.
    fn current(&self, file: u32) -> ElementView<'_>;

    /// The number and the offset of the row that comes next: where [`Format::open`] would go on.
    fn next_place(&self) -> (u64, u64);

    /// Bytes it holds.
    fn held_bytes(&self) -> usize;

    /// The memory it read through, for the next file.
    fn into_window(self: Box<Self>) -> Option<Buffer> {
        None
    }
}

/// A kind of file: what its rows are, and how one is opened.
pub(crate) trait Format: Send {
    /// The type of its rows.
    fn schema(&self) -> &Arc<Schema>;

    /// Opens a file before row number `from.0`, which begins at `from.1`. `window` is what another file of this kind was
    /// read through.
    fn open(
        &self,
        file: &DataFile,
        from: (u64, u64),
        window: Option<Buffer>,
    ) -> Result<Box<dyn FileRows>, BadRead>;

    /// Rows of all files, where their headers say so.
    fn rows(&self, files: &[DataFile]) -> Result<Option<u64>, DataError> {
        let _ = files;
        Ok(None)
    }
}

#[cfg(feature = "arrow")]
pub(crate) use columnar::{read_arrow, read_parquet};

/// The sources of a build that has none of these.
#[cfg(not(feature = "arrow"))]
pub(crate) fn read_columns(args: &mut Args<'_>) -> Read<Arc<dyn SourceSpec>> {
    Err(format!("{}: {}", args.name(), crate::source::NO_COLUMNS))
}
#[cfg(not(feature = "arrow"))]
pub(crate) use read_columns as read_arrow;
#[cfg(not(feature = "arrow"))]
pub(crate) use read_columns as read_parquet;
