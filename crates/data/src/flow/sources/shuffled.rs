//! TFRecord files in random order, whole data sets of any size: the elements are those of [`super::records`], the order
//! that of [`ShuffleReader`].

use std::path::PathBuf;
use std::sync::Arc;

use super::records::{PLACES, schema, string_of};
use crate::error::{DataError, clamped};
use crate::flow::element::{ElementView, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::origin::Origin;
use crate::flow::spec::SourceSpec;
use crate::flow::stage::{Context, Node, Stage};
use crate::flow::state::{StateReader, StateWriter};
use crate::shuffle::{Order, RecordIndex, ShuffleOptions, ShuffleReader};
use crate::source::list_of;

/// The window where nothing is said.
const WINDOW_BYTES: u64 = 32 << 20;

/// Records of TFRecord files in an order that depends on the seed and the pass alone.
#[derive(Debug, Clone)]
pub struct Shuffled {
    /// Files, folders and globs.
    pub paths: Vec<PathBuf>,
    /// The order.
    pub order: Order,
    /// What tells orders apart; each pass has its own.
    pub seed: u64,
    /// Bytes of the window; no more than all records need are taken.
    pub window_bytes: u64,
    /// Where indexes go if nothing can be written beside the data.
    pub index_folder: Option<PathBuf>,
    /// Of how many parts, by position, this is which.
    pub shard: (u64, u64),
}

impl SourceSpec for Shuffled {
    fn identity(&self) -> serde_json::Value {
        // The window of a uniform order, and where indexes are, change nothing of what comes.
        let window_bytes = match self.order {
            Order::Blocks { mix_bytes: None, .. } => Some(self.window_bytes),
            _ => None,
        };
        identity::of("shuffled", &(self.order, self.seed, self.shard, window_bytes))
    }

    fn open(&self, context: &mut Context) -> Result<Node, DataError> {
        let list = Arc::new(list_of(&self.paths, None, &context.access, &context.budget)?);
        let folder = self.index_folder.as_deref();
        folder.map_or(Ok(()), |folder| context.access.check(folder)).map_err(DataError::Spec)?;
        let index = Arc::new(RecordIndex::open(&list, folder, &context.budget, &mut |_| true)?);
        let window_bytes = self.window_bytes.min(ShuffleReader::whole_bytes(&index));
        let options = ShuffleOptions {
            order: self.order,
            shard: self.shard,
            threads: context.threads,
            ..ShuffleOptions::new(self.seed, clamped(window_bytes))
        };
        let meter = context.meter("shuffled", &[]);
        let held = window_bytes as usize + ShuffleReader::fixed_bytes(&index, options.threads);
        let reader = ShuffleReader::new(index, options, &context.budget)?;
        meter.holds(held);
        let first = context.names.add_files(list);
        Ok(context.node(Shuffle { schema: schema(), reader, first, string: [0; 16] }, meter))
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn SourceSpec>> {
    let order = match args.bytes_option("blocks")? {
        Some(block_bytes) => Order::Blocks { block_bytes, mix_bytes: args.bytes_option("mix")? },
        None => Order::Uniform,
    };
    let shard = (args.number_option("shards")?.unwrap_or(1), args.number_option("shard")?.unwrap_or(0));
    Ok(Arc::new(Shuffled {
        paths: args.paths()?,
        order,
        seed: args.number_option("seed")?.unwrap_or(0),
        window_bytes: args.bytes_option("memory")?.unwrap_or(WINDOW_BYTES),
        index_folder: args.path_option("index")?,
        shard,
    }))
}

struct Shuffle {
    schema: Arc<Schema>,
    reader: ShuffleReader,
    /// The number of the first file.
    first: u32,
    /// The current record as a string element: all of the text.
    string: [u8; 16],
}

impl Stage for Shuffle {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        let more = self.reader.advance()?;
        self.string = string_of(self.reader.current().map_or(0, |record| record.data.len()));
        Ok(more)
    }

    fn current(&self) -> ElementView<'_> {
        let (data, origin) = match self.reader.current() {
            Some(record) => {
                let file = self.first + record.file;
                (record.data, Origin { file, record: record.index, offset: record.offset })
            }
            None => (&[][..], Origin::default()),
        };
        ElementView::new(&self.schema, &PLACES, &self.string, data, origin)
    }

    fn reset(&mut self, epoch: u64) -> Result<(), DataError> {
        self.reader.reset(epoch);
        Ok(())
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        state.numbers(&[self.reader.position()])
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        let [position] = state.numbers()?;
        self.reader.seek(position);
        Ok(())
    }

    fn rows(&self) -> Option<u64> {
        Some(self.reader.records())
    }
}
