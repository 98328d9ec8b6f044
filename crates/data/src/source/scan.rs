//! Looks at the head of every file once, so that memory can be planned before anything is read in earnest.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget};
use tightfit_format::example::{Example, Feature, FeatureKind};
use tightfit_format::npy::NpyHeader;
use tightfit_format::tfrecord::{Compression, RecordFault, RecordReader};

use super::look::{Features, Largest, Look};
use super::{FileKind, FileList};
use crate::error::{DataError, io_error};
use crate::image::{ImageFormat, ImageHeader};
use crate::storage::{self, Location, StoredFile};

/// The first window through which a record is looked at; a larger record gets a second, of its size.
const PEEK_BYTES: usize = 64 << 10;

/// Features beyond this many are not listed.
const MAX_FEATURES: usize = 256;

/// Nor are features with a longer name, which would take memory that nothing counts.
const MAX_NAME_BYTES: usize = 1 << 10;

/// What is known of the files before they are read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scan {
    /// Rows, where all files say how many they have.
    pub rows: Option<u64>,
    /// The largest image file.
    pub image_file_bytes: u64,
    /// The most that any image decodes to, and takes in decoding.
    pub pixel_bytes: u64,
    pub heap_bytes: u64,
    /// The largest row of an array in its file.
    pub array_row_bytes: usize,
    /// All arrays together.
    pub array_bytes: u64,
    /// The largest first record of a TFRecord file.
    pub first_record_bytes: Option<usize>,
    pub has_records: bool,
    /// What the stages of a pipeline may take.
    pub pipeline_bytes: u64,
    /// The most that unpacking any file takes.
    pub inflate_bytes: u64,
    /// True when a record's image was seen, so that images are decoded.
    pub has_record_images: bool,
    /// The most that any record takes, where all were looked at; what was seen where not.
    pub largest: Largest,
    /// True when nothing of the records or the text is only guessed.
    pub is_whole: bool,
    /// The features of the first record that could be read.
    pub features: Vec<FeatureSeen>,
}

/// A feature of the first record.
#[derive(Debug, Clone)]
pub(crate) struct FeatureSeen {
    pub name: String,
    pub kind: FeatureKind,
    /// Values.
    pub count: usize,
    /// Bytes of the first byte string.
    pub bytes: usize,
    /// The header, if that is an image.
    pub image: Option<ImageHeader>,
}

impl Scan {
    /// Looks at all files of `list`. A file that is broken is left for the stream to report, with its place in the
    /// order; a header of an array is read here, because its shape decides whether the run makes sense.
    pub fn new(list: &FileList, budget: &MemoryBudget) -> Result<Scan, DataError> {
        let mut scan = Scan { rows: Some(0), ..Scan::default() };
        // Members of archives are images.
        list.files.iter().filter(|file| file.is_member()).for_each(|file| scan.image(file.open(budget)));
        for (file, opened) in storage::open_each(list.files.iter().filter(|file| !file.is_member()), budget) {
            match file.kind {
                FileKind::Image => scan.image(opened),
                FileKind::Array => scan.array(&npy_header(&file.path, opened)?),
                FileKind::Records(compression) => {
                    scan.inflate_bytes = scan.inflate_bytes.max(compression.held_bytes());
                    scan.records(&file.path, opened, budget)?;
                }
                FileKind::Pipeline | FileKind::Text | FileKind::Archive | FileKind::Columns => {
                    scan.rows = None
                }
            }
        }
        Ok(scan)
    }

    /// Looks at all records of local files that are not compressed, as long as that is cheap: at their lengths, and at the
    /// headers of what `features` hold.
    pub fn look(&mut self, list: &FileList, features: Features<'_>, budget: &MemoryBudget) {
        let mut look = Look::new(features);
        self.is_whole = true;
        for file in &list.files {
            self.is_whole &= match file.kind {
                FileKind::Image | FileKind::Array => continue,
                FileKind::Records(Compression::None) if !Location::of(&file.path).is_url() => {
                    // One that cannot be opened has no rows.
                    storage::open(&file.path, budget).map_or(true, |opened| look.file(&opened))
                }
                _ => false,
            };
            if !self.is_whole {
                break;
            }
        }
        self.largest = look.largest;
        self.pixel_bytes = self.pixel_bytes.max(self.largest.pixel_bytes);
        self.heap_bytes = self.heap_bytes.max(self.largest.heap_bytes);
        // The strings of arrays are as long as their elements at most.
        self.largest.text_bytes = self.largest.text_bytes.max(self.array_row_bytes as u64);
        self.largest.all_text_bytes = self.largest.all_text_bytes.saturating_add(self.array_bytes);
    }

    fn image(&mut self, opened: io::Result<StoredFile>) {
        self.rows = self.rows.map(|rows| rows + 1);
        let Ok(mut file) = opened else { return };
        let file_bytes = file.len();
        let Ok(header) = ImageHeader::read(&mut file, file_bytes) else { return };
        self.image_file_bytes = self.image_file_bytes.max(file_bytes);
        self.decoding(&header);
    }

    fn decoding(&mut self, header: &ImageHeader) {
        self.pixel_bytes = self.pixel_bytes.max(header.pixel_bytes);
        self.heap_bytes = self.heap_bytes.max(header.heap_bytes);
    }

    fn array(&mut self, header: &NpyHeader) {
        self.rows = self.rows.map(|rows| rows.saturating_add(header.rows()));
        self.array_row_bytes = self.array_row_bytes.max(header.row_bytes());
        let bytes = header.rows().saturating_mul(header.row_bytes() as u64);
        self.array_bytes = self.array_bytes.saturating_add(bytes);
    }

    fn records(
        &mut self,
        path: &Path,
        opened: io::Result<StoredFile>,
        budget: &MemoryBudget,
    ) -> Result<(), DataError> {
        self.rows = None;
        self.has_records = true;
        let Some((bytes, features)) = peek(path, opened, PEEK_BYTES, budget)? else { return Ok(()) };
        self.first_record_bytes = self.first_record_bytes.max(Some(bytes));
        for header in features.iter().filter_map(|f| f.image) {
            self.has_record_images = true;
            self.decoding(&header);
        }
        if self.features.is_empty() {
            self.features = features;
        }
        Ok(())
    }
}

/// The header of a .npy file.
pub(crate) fn read_npy_header(path: &Path, budget: &MemoryBudget) -> Result<NpyHeader, DataError> {
    npy_header(path, storage::open(path, budget))
}

fn npy_header(path: &Path, opened: io::Result<StoredFile>) -> Result<NpyHeader, DataError> {
    let mut file = opened.map_err(|e| io_error(path, e))?;
    NpyHeader::read(&mut file, &Arc::from(path)).map_err(DataError::Format)
}

/// The size and the features of a file's first record; `None` when it has none that can be read.
fn peek(
    path: &Path,
    opened: io::Result<StoredFile>,
    window_bytes: usize,
    budget: &MemoryBudget,
) -> Result<Option<(usize, Vec<FeatureSeen>)>, DataError> {
    let Ok(window) = Buffer::new(budget, "first record", window_bytes) else { return Ok(None) };
    let file = opened.map_err(|e| io_error(path, e))?;
    let Ok(mut reader) = RecordReader::new(Arc::from(path), file, window) else { return Ok(None) };
    let limit_bytes = reader.max_record_bytes();
    match reader.next_record() {
        Ok(Some(record)) => Ok(Some((record.data.len(), features_of(record.data)))),
        Ok(None) => Ok(None),
        Err(error) => match error.fault {
            RecordFault::TooLarge { bytes, .. } if bytes > limit_bytes as u64 => {
                drop(reader);
                match usize::try_from(bytes).ok().and_then(|bytes| bytes.checked_add(16)) {
                    Some(window_bytes) => peek(path, storage::open(path, budget), window_bytes, budget),
                    None => Ok(None),
                }
            }
            _ => Ok(None),
        },
    }
}

fn features_of(data: &[u8]) -> Vec<FeatureSeen> {
    let entries = Example::new(data).features().map_while(Result::ok).take(MAX_FEATURES);
    let entries = entries.filter(|(name, _)| name.len() <= MAX_NAME_BYTES);
    let mut seen: Vec<FeatureSeen> = Vec::new();
    for (name, feature) in entries {
        let name = String::from_utf8_lossy(name).into_owned();
        seen.retain(|f| f.name != name);
        seen.push(feature_seen(name, &feature));
    }
    seen.sort_by(|a, b| a.name.cmp(&b.name));
    seen
}

fn feature_seen(name: String, feature: &Feature<'_>) -> FeatureSeen {
    let first = feature.bytes().next().and_then(Result::ok).unwrap_or_default();
    let image = ImageFormat::detect(first)
        .and_then(|_| ImageHeader::read(&mut std::io::Cursor::new(first), first.len() as u64).ok());
    let count = feature.count().unwrap_or(0);
    FeatureSeen { name, kind: feature.kind(), count, bytes: first.len(), image }
}
