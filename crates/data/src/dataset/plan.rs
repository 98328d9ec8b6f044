//! Every byte that a pipeline will hold, before it holds any.

use std::fmt;

use tightfit_core::display_bytes;

use crate::dataset::slot::Layout;
use crate::dataset::spec::DatasetSpec;
use crate::error::clamped;
use crate::image::WEIGHT_BYTES;
use crate::source::FileList;
use crate::source::scan::Scan;

/// Read ahead beyond one record or row, so that small ones do not cost a system call each.
pub(crate) const READ_AHEAD_BYTES: usize = 256 << 10;

/// The room for one record where none could be looked at.
const MIN_RECORD_BYTES: usize = 64 << 10;

/// How much larger later records and their images may be than the first.
const GROWTH: u64 = 4;

/// What a thread takes: the touched part of its stack, and what the allocator keeps for it.
const THREAD_BYTES: u64 = 128 << 10;

/// The memory of a pipeline, line by line, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PipelinePlan {
    /// Rows of a batch.
    pub batch: usize,
    /// Batches that exist at once: the one in use and those read ahead.
    pub slots: usize,
    /// Threads that read and decode. 1, whatever was asked, unless images are decoded.
    pub threads: usize,
    /// One batch: columns, text, labels, positions.
    pub slot_bytes: u64,
    /// The window through which records and arrays are read.
    pub read_buffer_bytes: u64,
    /// The largest record there is room for; 0 when there are no records.
    pub record_bytes: u64,
    /// Inflating compressed records.
    pub inflate_bytes: u64,
    /// Each thread's copy of its record or image file.
    pub input_bytes: u64,
    /// Each thread's decoded image, and lines on the way into the batch.
    pub pixel_bytes: u64,
    /// What each thread's image decoder may allocate by itself.
    pub decoder_bytes: u64,
    /// Each thread's stack, and what the allocator keeps for it.
    pub thread_bytes: u64,
    /// The list of files, held since the data set was opened.
    pub file_list_bytes: u64,
    /// Object stores: what they take of the process, held since the data set was opened, and ranges on their way.
    pub object_store_bytes: u64,
    /// The stages of a pipeline that rows come from.
    pub stage_bytes: u64,
    /// The ranges alone.
    pub read_ahead_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}

/// The sizes of buffers that the lines of a plan are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub window_bytes: usize,
    pub file_bytes: usize,
    pub record_copy_bytes: usize,
    pub pixel_bytes: usize,
    pub line_bytes: usize,
    pub decoder_bytes: u64,
    pub inflate_bytes: u64,
    record_bytes: usize,
    stage_bytes: u64,
}

/// Whether images are decoded, which is what more than one thread is worth for.
pub(crate) fn decodes_images(scan: &Scan) -> bool {
    scan.pixel_bytes > 0 || scan.image_file_bytes > 0
}

impl Sizes {
    pub fn new(spec: &DatasetSpec, scan: &Scan, layout: &Layout, threads: usize) -> Sizes {
        let guessed = scan.first_record_bytes.map_or(0, |bytes| bytes.saturating_mul(GROWTH as usize));
        let largest = clamped(scan.largest.record_bytes);
        let record_bytes = match spec.record_bytes {
            _ if !scan.has_records => 0,
            limit if scan.is_whole => largest.min(limit.unwrap_or(usize::MAX)),
            Some(bytes) => bytes,
            None => guessed.max(MIN_RECORD_BYTES).max(largest),
        };
        let records = if scan.has_records { record_bytes.saturating_add(16 + READ_AHEAD_BYTES) } else { 0 };
        let arrays = match scan.array_row_bytes {
            0 => 0,
            bytes => (READ_AHEAD_BYTES / bytes).max(1).saturating_mul(bytes),
        };
        // A column may be an image although the record that was looked at had none, or was broken.
        let line =
            layout.image_shapes().map(|s| s.width * (s.channels * 4 + WEIGHT_BYTES)).max().unwrap_or(0);
        let is_guessed = scan.has_records && !scan.is_whole;
        let growth = if scan.has_record_images && is_guessed { GROWTH } else { 1 };
        let (mut pixel_bytes, mut decoder_bytes) =
            (scan.pixel_bytes.saturating_mul(growth), scan.heap_bytes.saturating_mul(growth));
        if let Some(limit) = spec.decode_bytes {
            let (pixels, heap) = (limit / 3, limit - limit / 3);
            (pixel_bytes, decoder_bytes) = match is_guessed {
                true => (pixels, heap),
                false => (pixel_bytes.min(pixels), decoder_bytes.min(heap)),
            };
        }
        Sizes {
            window_bytes: records.max(arrays),
            file_bytes: clamped(scan.image_file_bytes),
            record_copy_bytes: if threads > 1 { record_bytes } else { 0 },
            pixel_bytes: clamped(pixel_bytes),
            line_bytes: line,
            decoder_bytes,
            inflate_bytes: scan.inflate_bytes,
            record_bytes,
            stage_bytes: scan.pipeline_bytes,
        }
    }

    pub fn plan(&self, layout: &Layout, slots: usize, threads: usize, list: &FileList) -> PipelinePlan {
        let each = |bytes: u64| bytes.saturating_mul(threads as u64);
        let slot_bytes = layout.slot_bytes() as u64 + layout.metadata_bytes();
        let read_ahead_bytes = list.read_ahead_bytes(threads);
        let mut plan = PipelinePlan {
            batch: layout.batch,
            slots,
            threads,
            slot_bytes,
            read_buffer_bytes: self.window_bytes as u64,
            record_bytes: self.record_bytes as u64,
            inflate_bytes: self.inflate_bytes,
            input_bytes: each(self.file_bytes.saturating_add(self.record_copy_bytes) as u64),
            pixel_bytes: each(self.pixel_bytes.saturating_add(self.line_bytes) as u64),
            decoder_bytes: each(self.decoder_bytes),
            thread_bytes: each(THREAD_BYTES),
            file_list_bytes: list.bytes(),
            object_store_bytes: list.store_bytes().saturating_add(read_ahead_bytes),
            stage_bytes: self.stage_bytes,
            read_ahead_bytes,
            total_bytes: 0,
        };
        plan.total_bytes = plan.lines().iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes));
        plan
    }
}

impl PipelinePlan {
    /// The lines that add up to the total, with their names.
    pub fn lines(&self) -> [(&'static str, u64); 10] {
        [
            ("batches", self.slot_bytes.saturating_mul(self.slots as u64)),
            ("read buffer", self.read_buffer_bytes),
            ("inflate", self.inflate_bytes),
            ("input copies", self.input_bytes),
            ("pixels", self.pixel_bytes),
            ("decoders", self.decoder_bytes),
            ("threads", self.thread_bytes),
            ("file list", self.file_list_bytes),
            ("object stores", self.object_store_bytes),
            ("stages", self.stage_bytes),
        ]
    }

    /// What is reserved without a buffer: memory that others allocate.
    pub(crate) fn unbuffered_bytes(&self, layout: &Layout) -> u64 {
        let metadata_bytes = layout.metadata_bytes().saturating_mul(self.slots as u64);
        self.inflate_bytes
            .saturating_add(self.decoder_bytes)
            .saturating_add(self.thread_bytes)
            .saturating_add(self.read_ahead_bytes)
            .saturating_add(self.stage_bytes)
            .saturating_add(metadata_bytes)
    }
}

impl fmt::Display for PipelinePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {} batches of {}", display_bytes(self.total_bytes), self.slots, self.batch)?;
        for (name, bytes) in self.lines().into_iter().filter(|(_, bytes)| *bytes > 0) {
            write!(f, ", {name} {}", display_bytes(bytes))?;
        }
        Ok(())
    }
}
