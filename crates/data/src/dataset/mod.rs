//! A data set: its files listed and looked at, its columns matched with what they hold.

pub(crate) mod batch;
pub(crate) mod batches;
pub(crate) mod fill;
pub(crate) mod plan;
mod reader;
pub(crate) mod slot;
pub(crate) mod spec;

use std::path::Path;
use std::sync::Arc;

use tightfit_core::{Buffer, DType, MAX_RANK, MemoryBudget};
use tightfit_format::example::FeatureKind;
use tightfit_format::npy::NpyHeader;

use crate::convert::can_cast;
use crate::dataset::batches::{Batches, Shared};
use crate::dataset::fill::{Scratch, Spare};
use crate::dataset::plan::{PipelinePlan, Sizes, decodes_images};
use crate::dataset::reader::Reader;
use crate::dataset::slot::{Layout, Slot, is_preprocessed};
use crate::dataset::spec::{Column, DatasetSpec, MAX_COLUMNS};
use crate::error::{BadRow, DataError, RowFault};
use crate::flow::Schema;
use crate::source::look::Features;
use crate::source::pipeline::{PipelineRows, SavedStates};
use crate::source::scan::{FeatureSeen, Scan, read_npy_header};
use crate::source::stream::{Position, Stream};
use crate::source::{FileKind, FileList, list, why_no_columns};

/// Files that have been listed and looked at, and what is to become of them.
#[derive(Debug)]
pub struct Dataset {
    spec: DatasetSpec,
    list: Arc<FileList>,
    scan: Scan,
    /// The feature that each column is read from.
    features: Vec<String>,
    key: Option<String>,
}

impl Dataset {
    /// Lists the files of `spec` and looks at the head of each. The list, and what looking takes for a moment, comes
    /// out of `budget`.
    ///
    /// # Errors
    /// [`DataError`] when a source is no file, an array cannot feed its column, the columns cannot be fed by such
    /// files, or the budget is too small. Broken images and records are not looked for: they are bad rows later.
    pub fn open(spec: DatasetSpec, budget: &MemoryBudget) -> Result<Dataset, DataError> {
        check_columns(&spec)?;
        if let Some(rows) = spec.pipeline.clone() {
            return Dataset::of_pipeline(spec, &rows, budget);
        }
        let list = list(&spec.sources, budget)?;
        check_kinds(&spec, &list)?;
        for file in list.files.iter().filter(|f| f.kind == FileKind::Array) {
            if let Some(column) = spec.columns.first() {
                check_array(&file.path, &read_npy_header(&file.path, budget)?, column)?;
            }
        }
        let mut scan = Scan::new(&list, budget)?;
        let features = find_features(&spec, &scan)?;
        scan.look(&list, looked_into(&spec, &features), budget);
        Ok(Dataset { spec, list: Arc::new(list), scan, features, key: None })
    }

    fn of_pipeline(
        spec: DatasetSpec,
        rows: &PipelineRows,
        budget: &MemoryBudget,
    ) -> Result<Dataset, DataError> {
        let list = FileList::of_pipeline(&rows.name, budget)?;
        let facts = rows.look(budget)?;
        let fields: Result<Vec<_>, _> =
            spec.columns.iter().map(|column| field_of(column, &facts.schema)).collect();
        let features = fields.map_err(|why| DataError::Spec(format!("{}: {why}", rows.name.display())))?;
        let scan = Scan { rows: facts.rows, pipeline_bytes: rows.memory_bytes, ..Scan::default() };
        Ok(Dataset { spec, list: Arc::new(list), scan, features, key: Some(facts.key) })
    }

    /// What tells the pipeline that rows come from, and its files, from others; `None` where rows come from files.
    pub fn pipeline_key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Rows, where the files say how many they have: arrays and images do, TFRecords do not.
    pub fn total_rows(&self) -> Option<u64> {
        self.scan.rows
    }

    /// Files.
    pub fn files(&self) -> usize {
        self.list.files.len()
    }

    /// The files in the order they are read.
    pub fn list(&self) -> &FileList {
        &self.list
    }

    /// What it was opened with.
    pub fn spec(&self) -> &DatasetSpec {
        &self.spec
    }

    /// The feature that column `index` is read from when rows are tf.Examples.
    pub fn feature(&self, index: usize) -> Option<&str> {
        self.features.get(index).map(String::as_str)
    }

    fn layout(&self, batch: usize) -> Result<Layout, DataError> {
        let too_large = || DataError::Spec(format!("a batch of {batch} rows does not fit the address space"));
        let batch = batch.max(1);
        let pool_bytes = usize::try_from(self.text_bytes(batch)).map_err(|_| too_large())?;
        Layout::new(&self.spec, &self.features, batch, pool_bytes).ok_or_else(too_large)
    }

    /// The most bytes of text that a batch of `batch` rows has.
    pub fn text_bytes(&self, batch: usize) -> u64 {
        if !self.spec.columns.iter().any(|column| column.dtype == DType::String) {
            return 0;
        }
        let of_rows = |bytes: u64| bytes.saturating_mul(batch as u64);
        let limit = self.spec.string_bytes.map(|bytes| of_rows(bytes as u64));
        let largest = &self.scan.largest;
        match self.scan.is_whole {
            true => {
                let known = of_rows(largest.text_bytes).min(largest.all_text_bytes);
                known.min(limit.unwrap_or(u64::MAX))
            }
            false => limit.unwrap_or_else(|| of_rows(STRING_BYTES.max(largest.text_bytes))),
        }
    }

    fn sizes(&self, layout: &Layout, threads: usize) -> (Sizes, usize) {
        let can_share = decodes_images(&self.scan) && !layout.has_strings();
        let threads = if can_share { threads.clamp(1, layout.batch) } else { 1 };
        (Sizes::new(&self.spec, &self.scan, layout, threads), threads)
    }

    /// The memory that batches of `batch` rows will take with up to `threads` decoding threads and `slots` batches:
    /// the one in use and those read ahead. 2 slots read one batch ahead; each is at least 1.
    ///
    /// # Errors
    /// [`DataError::Spec`] when one batch does not fit the address space.
    pub fn plan(&self, batch: usize, threads: usize, slots: usize) -> Result<PipelinePlan, DataError> {
        let layout = self.layout(batch)?;
        let (sizes, threads) = self.sizes(&layout, threads);
        Ok(sizes.plan(&layout, slots.max(1), threads, &self.list))
    }

    /// Takes the planned memory out of `budget` and begins to read. A record or image that needs more than was planned takes
    /// what is free of it by then, up to the limits of the specification.
    ///
    /// # Errors
    /// [`DataError::Budget`] when it does not fit.
    pub fn start(
        &self,
        batch: usize,
        threads: usize,
        slots: usize,
        budget: &MemoryBudget,
    ) -> Result<Batches, DataError> {
        self.start_at(Position::default(), batch, threads, slots, budget)
    }

    /// As [`Dataset::start`] for the rows after `start`: the [`end`](crate::Batch::end) of a batch of the same files.
    /// Records before it are passed over, uncompressed ones and rows of arrays without being read.
    ///
    /// # Errors
    /// As [`Dataset::start`]. A file that has no such place is a bad row.
    pub fn start_at(
        &self,
        start: Position,
        batch: usize,
        threads: usize,
        slots: usize,
        budget: &MemoryBudget,
    ) -> Result<Batches, DataError> {
        self.start_saving(start, None, (batch, threads, slots), budget)
    }

    /// As [`Dataset::start_at`] for the rows of a pipeline, whose state is saved now and then: a later process goes on
    /// from it, after the batch after which it was saved, and no row is made again. `sizes` are the batch, the threads and
    /// the slots. Each state is whole on the disk before its batch is given out.
    ///
    /// # Errors
    /// As [`Dataset::start_at`]; that a state cannot be read or written comes when it is its turn.
    pub fn start_saving(
        &self,
        start: Position,
        states: Option<SavedStates>,
        (batch, threads, slots): (usize, usize, usize),
        budget: &MemoryBudget,
    ) -> Result<Batches, DataError> {
        let layout = self.layout(batch)?;
        let (sizes, threads) = self.sizes(&layout, threads);
        let plan = sizes.plan(&layout, slots.max(1), threads, &self.list);
        let unbuffered = budget.try_reserve("pipeline", plan.unbuffered_bytes(&layout))?;
        // A file that is opened later finds its memory here, whatever else the budget is used for by then.
        let reads = MemoryBudget::new(self.list.read_ahead_bytes(threads));
        let window = Buffer::new(budget, "pipeline", sizes.window_bytes)?;
        let spare = Arc::new(Spare::new(budget));
        let how = (self.spec.resize, self.spec.decode_bytes);
        let scratches: Result<Vec<_>, _> =
            (0..threads).map(|_| Scratch::new(&sizes, how, budget, &reads, &spare)).collect();
        let slots: Result<Vec<_>, _> = (0..plan.slots).map(|_| Slot::new(&layout, budget)).collect();
        let shared = Arc::new(Shared::new(layout, self.list.clone(), slots?, unbuffered));
        let pipeline = self.spec.pipeline.clone();
        let limit_bytes = self.spec.record_bytes.map_or(u64::MAX, |bytes| bytes as u64);
        let stream = Stream::new(self.list.clone(), pipeline, window, start, limit_bytes, &reads);
        let mut reader = Reader::new(shared.clone(), stream, scratches?, self.spec.skip_bad, budget);
        if let Some(states) = states {
            reader.save_to(states);
        }
        Batches::start(shared, plan, reader)
    }
}

fn spec_error<T>(text: String) -> Result<T, DataError> {
    Err(DataError::Spec(text))
}

fn check_columns(spec: &DatasetSpec) -> Result<(), DataError> {
    if spec.columns.is_empty() || spec.columns.len() > MAX_COLUMNS {
        return spec_error(format!("{} inputs; 1 to {MAX_COLUMNS} can be fed", spec.columns.len()));
    }
    if let Some(column) = spec.columns.iter().find(|c| c.row_shape.rank() >= MAX_RANK) {
        return spec_error(format!("{}: rows of {} dimensions", column.input, column.row_shape.rank()));
    }
    let name = spec.preprocess;
    if name == crate::Preprocess::None {
        return Ok(());
    }
    let is_for = |c: &Column| is_preprocessed(spec, c.image_shape().is_some(), c.dtype);
    if !spec.columns.iter().any(is_for) {
        return spec_error(format!(
            "preprocessing '{name}' needs a float input of [height, width, channels]"
        ));
    }
    let is_grey = |c: &&Column| is_for(c) && c.image_shape().is_some_and(|s| s.channels != 3);
    match spec.columns.iter().find(is_grey).filter(|_| name.needs_rgb()) {
        Some(column) => {
            spec_error(format!("preprocessing '{name}' needs 3 channels; {} has 1", column.input))
        }
        None => Ok(()),
    }
}

fn check_kinds(spec: &DatasetSpec, list: &FileList) -> Result<(), DataError> {
    if let Some(file) = list.files.iter().find(|f| f.kind == FileKind::Columns) {
        return spec_error(why_no_columns(&file.path));
    }
    let Some(file) = list.files.iter().find(|f| matches!(f.kind, FileKind::Image | FileKind::Array)) else {
        return Ok(());
    };
    let (path, what) =
        (file.path.display(), if file.kind == FileKind::Image { "an image" } else { "an array" });
    let (Some(column), 1) = (spec.columns.first(), spec.columns.len()) else {
        let count = spec.columns.len();
        return spec_error(format!(
            "{path} is {what} and feeds one input, but {count} are to be fed: use TFRecords for several"
        ));
    };
    if spec.label.is_some() {
        return spec_error(format!("{path} is {what} and has no labels: they come from TFRecords"));
    }
    let has_images = list.files.iter().any(|f| f.kind == FileKind::Image);
    if has_images && column.image_shape().is_none() {
        let (input, dtype, shape) = (&column.input, column.dtype, column.row_shape);
        return spec_error(format!(
            "{input} is {dtype} of {shape} a row; an image needs [height, width, 1 or 3]"
        ));
    }
    Ok(())
}

fn check_array(path: &Path, header: &NpyHeader, column: &Column) -> Result<(), DataError> {
    let bad = |fault| {
        let (record, offset) = (None, None);
        Err(DataError::Row(Box::new(BadRow { path: path.to_path_buf(), record, offset, fault })))
    };
    if !is_same_but_ones(header.row_shape(), &column.row_shape) || header.shape.rank() == 0 {
        let (expected, found) = (column.row_shape.to_vec(), header.row_shape().to_vec());
        return bad(RowFault::RowShape { expected, found });
    }
    let (from, to) = (header.element.dtype(), column.dtype);
    if can_cast(from, to) { Ok(()) } else { bad(RowFault::Cast { from, to }) }
}

/// What is looked at of each record to know what it takes.
fn looked_into<'a>(spec: &DatasetSpec, features: &'a [String]) -> Features<'a> {
    let of = |is_wanted: &dyn Fn(&Column) -> bool| {
        let columns = spec.columns.iter().zip(features).filter(|(column, _)| is_wanted(column));
        columns.map(|(_, feature)| feature.as_bytes()).collect()
    };
    Features {
        images: of(&|column| column.image_shape().is_some()),
        texts: of(&|column| column.dtype == DType::String),
    }
}

/// Bytes of text for each row, where not all rows were looked at.
const STRING_BYTES: u64 = 1024;

/// How many features an error names.
const SHOWN_FEATURES: usize = 20;

fn is_same_but_ones(found: &[usize], expected: &[usize]) -> bool {
    let is_wide = |dim: &&usize| **dim != 1;
    found.iter().filter(is_wide).eq(expected.iter().filter(is_wide))
}

/// Whether an element of shape `found` is a row of shape `expected`: the same but for dimensions of 1, or all its values
/// in a row, as features are.
pub(crate) fn is_row_of(found: &[usize], expected: &[usize]) -> bool {
    is_same_but_ones(found, expected)
        || found.len() <= 1 && found.iter().product::<usize>() == expected.iter().product::<usize>()
}

/// The field of a pipeline that feeds `column`: the one asked for, the one named as the input, or the only one.
fn field_of(column: &Column, schema: &Schema) -> Result<String, String> {
    let index = match &column.feature {
        Some(name) => schema.index(name)?,
        None => match schema.find(&column.input) {
            Some(index) => index,
            None if schema.fields().len() == 1 => 0,
            None => {
                return Err(format!(
                    "which field feeds {0}? Name one as its feature: {schema}",
                    column.input
                ));
            }
        },
    };
    let field = schema.fields().get(index).ok_or("no such field")?;
    if !can_cast(field.dtype, column.dtype) {
        return Err(format!("{field} does not become {} for {}", column.dtype, column.input));
    }
    let dims: Option<Vec<usize>> = field.dims.iter().copied().collect();
    if dims.is_some_and(|dims| !is_row_of(&dims, &column.row_shape)) {
        return Err(format!("{} needs rows of {}, and there is {field}", column.input, column.row_shape));
    }
    Ok(field.name.clone())
}

/// The feature of each column: the one asked for, the one named as the input, or the only one that fits.
fn find_features(spec: &DatasetSpec, scan: &Scan) -> Result<Vec<String>, DataError> {
    let of = |column: &Column| {
        if let Some(feature) = &column.feature {
            return Ok(feature.clone());
        }
        let is_named = |f: &&FeatureSeen| f.name == column.input;
        if let (Some(f), _) | (None, [f]) =
            (scan.features.iter().find(is_named), &*fitting(spec, scan, column))
        {
            return Ok(f.name.clone());
        }
        if scan.features.is_empty() {
            // Nothing could be looked at; whatever comes is told when it is read.
            return Ok(column.input.clone());
        }
        let mut names: Vec<_> = scan.features.iter().take(SHOWN_FEATURES).map(describe).collect();
        let more = scan.features.len() - names.len();
        names.extend((more > 0).then(|| format!("{more} others")));
        let (input, dtype, shape) = (&column.input, column.dtype, column.row_shape);
        spec_error(format!(
            "which feature feeds {input} ({dtype} of {shape})? Name one of those of the first record: {}",
            names.join(", ")
        ))
    };
    spec.columns.iter().map(of).collect()
}

fn describe(feature: &FeatureSeen) -> String {
    match feature.image {
        Some(image) => format!("{} (image of {} x {})", feature.name, image.height, image.width),
        None => format!("{} ({} {})", feature.name, feature.count, feature.kind),
    }
}

fn fitting(spec: &DatasetSpec, scan: &Scan, column: &Column) -> Vec<FeatureSeen> {
    let elements = column.row_shape.elements();
    let fits = |f: &&FeatureSeen| match f.kind {
        _ if spec.label.as_ref() == Some(&f.name) => false,
        FeatureKind::Float => column.dtype.is_float() && f.count == elements,
        FeatureKind::Int64 => can_cast(DType::I64, column.dtype) && f.count == elements,
        FeatureKind::Bytes if column.dtype == DType::String => f.count == elements,
        FeatureKind::Bytes => {
            let is_raw = f.bytes == column.row_bytes() || f.bytes == elements;
            f.count == 1 && (is_raw || f.image.is_some() && column.image_shape().is_some())
        }
        FeatureKind::Empty => false,
    };
    scan.features.iter().filter(fits).cloned().collect()
}
