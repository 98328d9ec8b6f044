//! One row of a batch out of one record, array row or image.

use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tightfit_core::{BudgetError, Buffer, DType, MemoryBudget, StringRef};
use tightfit_format::example::{Example, Feature, FeatureKind};
use tightfit_format::npy::{NpyHeader, NpyType, trim_zeros, utf8_of_ucs4};

use crate::convert::{cast, preprocess_row, store_pixels};
use crate::dataset::is_row_of;
use crate::dataset::plan::Sizes;
use crate::dataset::slot::{ColumnLayout, Layout, Row, TextPool};
use crate::dataset::spec::{ImageShape, MAX_COLUMNS, Resize};
use crate::error::{RowFault, clamped};
use crate::feature::numbers;
use crate::flow::ElementView;
use crate::image::{ImageFormat, ImageHeader, Resizer, WEIGHT_BYTES, decode};
use crate::source::DataFile;
use crate::source::stream::Payload;
use crate::storage::StoredFile;

/// What one thread needs.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// A record of its own, for when several threads read one stream.
    pub record: Buffer,
    pub fill: FillScratch,
}

/// What filling a row needs.
#[derive(Debug)]
pub(crate) struct FillScratch {
    file: Buffer,
    /// For what an image file takes to be open.
    reads: MemoryBudget,
    decoder: Decoder,
}

#[derive(Debug)]
struct Decoder {
    pixels: Buffer,
    line: Buffer,
    heap_bytes: u64,
    resize: Option<Resize>,
    /// The most that one image may take, if that is limited: thrice its pixels, or one and a half times the rest.
    limit_bytes: Option<u64>,
    spare: Arc<Spare>,
}

/// What is free of a budget, for one image at a time that is larger than was planned for: so what fits does not depend
/// on how many threads there are.
#[derive(Debug)]
pub(crate) struct Spare {
    budget: MemoryBudget,
    turn: Mutex<()>,
}

impl Spare {
    pub fn new(budget: &MemoryBudget) -> Spare {
        Spare { budget: budget.clone(), turn: Mutex::new(()) }
    }

    /// Waits until no other image takes any.
    fn turn(&self) -> MutexGuard<'_, ()> {
        // There is nothing that a panic could have broken.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// [`RowFault::LargeImage`], which needs `needed_bytes` in all.
    fn buffer(&self, bytes: u64, needed_bytes: u64) -> Result<Buffer, RowFault> {
        Buffer::new(&self.budget, "pipeline", clamped(bytes))
            .map_err(|error| RowFault::LargeImage { bytes: needed_bytes, error })
    }
}

impl Scratch {
    /// Buffers come out of `budget`, what open files take out of `reads`, and what images take that are larger than `sizes`
    /// out of `spare`, up to the limit.
    pub fn new(
        sizes: &Sizes,
        (resize, limit_bytes): (Option<Resize>, Option<u64>),
        budget: &MemoryBudget,
        reads: &MemoryBudget,
        spare: &Arc<Spare>,
    ) -> Result<Scratch, BudgetError> {
        let buffer = |bytes| Buffer::new(budget, "pipeline", bytes);
        let decoder = Decoder {
            pixels: buffer(sizes.pixel_bytes)?,
            line: buffer(sizes.line_bytes)?,
            heap_bytes: sizes.decoder_bytes,
            resize,
            limit_bytes,
            spare: spare.clone(),
        };
        let record = buffer(sizes.record_copy_bytes)?;
        let file = buffer(sizes.file_bytes)?;
        Ok(Scratch { record, fill: FillScratch { file, reads: reads.clone(), decoder } })
    }
}

/// Fills `row` from `payload`.
pub(crate) fn fill(
    layout: &Layout,
    payload: &Payload<'_>,
    row: &mut Row<'_>,
    text: &mut TextPool<'_>,
    scratch: &mut FillScratch,
) -> Result<(), RowFault> {
    match payload {
        Payload::Record { data, .. } => record(layout, data, row, text, &mut scratch.decoder),
        Payload::Row { header, bytes } => {
            let (Some(column), Some(target)) = (layout.columns.first(), row.columns.first_mut()) else {
                return Ok(());
            };
            array_row(column, header, bytes, target, text)
        }
        Payload::Element(element) => element_row(layout, element, row, text),
        Payload::Image(file) => {
            let (Some(column), Some(target)) = (layout.columns.first(), row.columns.first_mut()) else {
                return Ok(());
            };
            image_file(column, file, target, scratch)
        }
    }
}

/// Fills a row from an element of a pipeline.
fn element_row(
    layout: &Layout,
    element: &ElementView<'_>,
    row: &mut Row<'_>,
    text: &mut TextPool<'_>,
) -> Result<(), RowFault> {
    let field = |name: &str| {
        let missing = || RowFault::MissingFeature { feature: name.to_string() };
        let index = element.schema().find(name).ok_or_else(missing)?;
        Ok::<_, RowFault>((index, element.tensor(index).ok_or_else(missing)?))
    };
    for (column, target) in layout.columns.iter().zip(row.columns.iter_mut()) {
        let (index, tensor) = field(&column.feature)?;
        if !is_row_of(tensor.shape(), &column.row_shape) {
            let (expected, found) = (column.row_shape.to_vec(), tensor.shape().to_vec());
            return Err(RowFault::RowShape { expected, found });
        }
        if column.dtype == DType::String {
            for (string, to) in element.strings(index).zip(target.as_chunks_mut::<16>().0) {
                put_text(string?, to, text)?;
            }
            continue;
        }
        cast(tensor.dtype(), tensor.bytes(), column.dtype, target)?;
        preprocess_row(column.preprocess, column.dtype, target);
    }
    if let Some(name) = &layout.label {
        let (_, tensor) = field(name)?;
        let expected = 1;
        if tensor.shape().elements() != expected {
            let (feature, found) = (name.clone(), tensor.shape().elements());
            return Err(RowFault::Count { feature, expected, found });
        }
        cast(tensor.dtype(), tensor.bytes(), DType::I64, bytemuck::bytes_of_mut(row.label))?;
    }
    Ok(())
}

/// Reads and decodes an image file into a row.
fn image_file(
    column: &ColumnLayout,
    file: &DataFile,
    target: &mut [u8],
    scratch: &mut FillScratch,
) -> Result<(), RowFault> {
    let mut opened = file.open(&scratch.reads).map_err(RowFault::Io)?;
    let bytes = opened.len();
    let read = |opened: &StoredFile, room: &mut [u8]| match opened.read_at(room, 0) {
        Ok(have) if have < room.len() => Err(RowFault::Io(std::io::ErrorKind::UnexpectedEof.into())),
        Ok(_) => Ok(()),
        Err(error) => Err(RowFault::Io(error)),
    };
    let room = usize::try_from(bytes).ok().and_then(|bytes| scratch.file.get_mut(..bytes));
    if let Some(room) = room {
        read(&opened, room)?;
        return image(column, room, target, &mut scratch.decoder, None);
    }
    // It has grown since the files were listed, or its header could not be read then.
    let header = ImageHeader::read(&mut opened, bytes).map_err(image_fault)?;
    let spare = scratch.decoder.spare.clone();
    let turn = spare.turn();
    let mut room = spare.buffer(bytes, bytes.saturating_add(header.pixel_bytes + header.heap_bytes))?;
    read(&opened, &mut room)?;
    image(column, &room, target, &mut scratch.decoder, Some(turn))
}

fn image_fault(error: std::io::Error) -> RowFault {
    match error.kind() {
        std::io::ErrorKind::InvalidData => RowFault::Image(error.to_string()),
        std::io::ErrorKind::UnexpectedEof => RowFault::Image("the file ends inside its header".to_string()),
        _ => RowFault::Io(error),
    }
}

/// Decodes an image into a row, resized and preprocessed. `turn` is given by who has taken spare memory for it.
fn image(
    column: &ColumnLayout,
    bytes: &[u8],
    target: &mut [u8],
    decoder: &mut Decoder,
    turn: Option<MutexGuard<'_, ()>>,
) -> Result<(), RowFault> {
    let Some(shape) = column.image else {
        return Err(RowFault::Image(format!("an input of shape {} takes no image", column.row_shape)));
    };
    let header = ImageHeader::read(&mut Cursor::new(bytes), bytes.len() as u64).map_err(image_fault)?;
    let is_same = (header.height, header.width) == (shape.height, shape.width);
    let method = match decoder.resize {
        None if !is_same => {
            let (expected, found) = ([shape.height, shape.width], [header.height, header.width]);
            return Err(RowFault::ImageSize { expected, found });
        }
        Some(method) if !is_same => method,
        _ => Resize::Nearest,
    };
    // A third of what an image may take is for pixels.
    let needed_bytes =
        header.pixel_bytes.saturating_mul(3).max(header.heap_bytes.div_ceil(2).saturating_mul(3));
    if let Some(planned_bytes) = decoder.limit_bytes.filter(|limit| needed_bytes > *limit) {
        return Err(RowFault::DecodeBytes { needed_bytes, planned_bytes });
    }
    let Decoder { pixels: own, line, heap_bytes, spare, .. } = decoder;
    if header.pixel_bytes <= own.len() as u64 && header.heap_bytes <= *heap_bytes {
        let channels = decode(bytes, &header, shape.channels, own).map_err(RowFault::Image)?;
        return pixels(column, shape, method, (&header, own, channels), target, line);
    }
    let _turn = turn.unwrap_or_else(|| spare.turn());
    let needed_bytes = header.pixel_bytes.saturating_add(header.heap_bytes);
    let _heap = spare.budget.try_reserve("pipeline", header.heap_bytes.saturating_sub(*heap_bytes));
    let _heap = _heap.map_err(|error| RowFault::LargeImage { bytes: needed_bytes, error })?;
    let mut larger = None;
    let room = match header.pixel_bytes <= own.len() as u64 {
        true => own,
        false => larger.insert(spare.buffer(header.pixel_bytes, needed_bytes)?),
    };
    let channels = decode(bytes, &header, shape.channels, room).map_err(RowFault::Image)?;
    pixels(column, shape, method, (&header, room, channels), target, line)
}

fn pixels(
    column: &ColumnLayout,
    shape: ImageShape,
    method: Resize,
    (header, pixels, channels): (&ImageHeader, &[u8], usize),
    target: &mut [u8],
    line: &mut Buffer,
) -> Result<(), RowFault> {
    let broken = || RowFault::Image("its memory was not planned for".to_string());
    let (weights, line) = line.split_at_mut_checked(shape.width * WEIGHT_BYTES).ok_or_else(broken)?;
    let line: &mut [f32] = bytemuck::try_cast_slice_mut(line).map_err(|_| broken())?;
    let line = line.get_mut(..shape.width * shape.channels).ok_or_else(broken)?;
    let (from, to) = ([header.height, header.width], [shape.height, shape.width]);
    let resizer = Resizer::new(method, pixels, from, channels, to, weights).ok_or_else(broken)?;
    let line_bytes = line.len() * column.dtype.bytes();
    for (y, out) in target.chunks_exact_mut(line_bytes).enumerate() {
        if channels == shape.channels {
            resizer.line(y, line);
        } else {
            let (_, grey) = line.split_at_mut(shape.width * (shape.channels - channels));
            resizer.line(y, grey);
            spread(line, shape.width).ok_or_else(broken)?;
        }
        column.preprocess.apply(line);
        store_pixels(line, column.dtype, out);
    }
    Ok(())
}

/// Makes RGB of the `width` grey values at the end of `line`; `None` where it is too short for that.
fn spread(line: &mut [f32], width: usize) -> Option<()> {
    let grey = line.len().checked_sub(width)?;
    for x in 0..width {
        // A pixel ends at 3 x + 3, never after the grey value 2 width + x that is read next.
        let value = *line.get(grey + x)?;
        line.get_mut(3 * x..3 * x + 3)?.fill(value);
    }
    Some(())
}

fn array_row(
    column: &ColumnLayout,
    header: &NpyHeader,
    bytes: &[u8],
    target: &mut [u8],
    text: &mut TextPool<'_>,
) -> Result<(), RowFault> {
    let elements = header.row_shape().iter().product::<usize>();
    if elements != column.row_shape.elements() {
        let (expected, found) = (column.row_shape.to_vec(), header.row_shape().to_vec());
        return Err(RowFault::RowShape { expected, found });
    }
    if column.dtype != DType::String {
        cast(header.element.dtype(), bytes, column.dtype, target)?;
        preprocess_row(column.preprocess, column.dtype, target);
        return Ok(());
    }
    let element_bytes = header.element.bytes().max(1);
    for (element, to) in bytes.chunks_exact(element_bytes).zip(target.as_chunks_mut::<16>().0) {
        if let NpyType::Unicode(_) = header.element {
            let (mut string, room) = take(text, element.len())?;
            let bytes = utf8_of_ucs4(element, room).ok_or(RowFault::Unicode)?;
            text.go_back(string.offset as usize + bytes);
            string.bytes = bytes as u64;
            *to = bytemuck::cast(string);
        } else {
            put_text(trim_zeros(element), to, text)?;
        }
    }
    Ok(())
}

fn take<'a>(text: &'a mut TextPool<'_>, bytes: usize) -> Result<(StringRef, &'a mut [u8]), RowFault> {
    let left_bytes = text.left_bytes();
    text.take(bytes).ok_or(RowFault::StringBytes { needed_bytes: bytes, left_bytes })
}

fn put_text(value: &[u8], to: &mut [u8; 16], text: &mut TextPool<'_>) -> Result<(), RowFault> {
    let (string, room) = take(text, value.len())?;
    room.copy_from_slice(value);
    *to = bytemuck::cast(string);
    Ok(())
}

fn record(
    layout: &Layout,
    data: &[u8],
    row: &mut Row<'_>,
    text: &mut TextPool<'_>,
    decoder: &mut Decoder,
) -> Result<(), RowFault> {
    let mut found: [Option<Feature<'_>>; MAX_COLUMNS] = [None; MAX_COLUMNS];
    let mut label = None;
    for entry in Example::new(data).features() {
        let (name, feature) = entry?;
        for (to, column) in found.iter_mut().zip(&layout.columns) {
            if column.feature.as_bytes() == name {
                *to = Some(feature);
            }
        }
        if layout.label.as_ref().is_some_and(|label| label.as_bytes() == name) {
            label = Some(feature);
        }
    }
    for ((column, feature), target) in layout.columns.iter().zip(found).zip(row.columns.iter_mut()) {
        let missing = || RowFault::MissingFeature { feature: column.feature.clone() };
        feature_row(column, &feature.ok_or_else(missing)?, target, text, decoder)?;
    }
    if let Some(name) = &layout.label {
        let feature = label.ok_or_else(|| RowFault::MissingFeature { feature: name.clone() })?;
        *row.label = one_integer(name, &feature)?;
    }
    Ok(())
}

fn one_integer(name: &str, feature: &Feature<'_>) -> Result<i64, RowFault> {
    if feature.kind() != FeatureKind::Int64 {
        let (feature, found) = (name.to_string(), feature.kind());
        return Err(RowFault::Kind { feature, dtype: DType::I64, found });
    }
    let mut value = [0];
    match feature.read_ints(&mut value)? {
        1 => Ok(value[0]),
        found => Err(RowFault::Count { feature: name.to_string(), expected: 1, found }),
    }
}

/// Fills a row from a feature: numbers, raw bytes, an encoded image, or strings.
fn feature_row(
    column: &ColumnLayout,
    feature: &Feature<'_>,
    target: &mut [u8],
    text: &mut TextPool<'_>,
    decoder: &mut Decoder,
) -> Result<(), RowFault> {
    let expected = column.row_shape.elements();
    let count = |found| RowFault::Count { feature: column.feature.clone(), expected, found };
    let found = match feature.kind() {
        FeatureKind::Bytes if column.dtype == DType::String => strings(feature, target, text)?,
        FeatureKind::Bytes => {
            let mut values = feature.bytes();
            let first = values.next().ok_or_else(|| count(0))??;
            if values.next().is_some() {
                return Err(count(feature.count()?));
            }
            return one_value(column, first, target, decoder);
        }
        found => numbers(feature, column.dtype, target)?.ok_or_else(|| {
            let (feature, dtype) = (column.feature.clone(), column.dtype);
            RowFault::Kind { feature, dtype, found }
        })?,
    };
    if found != expected {
        return Err(count(found));
    }
    preprocess_row(column.preprocess, column.dtype, target);
    Ok(())
}

fn strings(feature: &Feature<'_>, target: &mut [u8], text: &mut TextPool<'_>) -> Result<usize, RowFault> {
    let mut rest = target.as_chunks_mut::<16>().0.iter_mut();
    let mut count = 0;
    for value in feature.bytes() {
        let value = value?;
        if let Some(to) = rest.next() {
            put_text(value, to, text)?;
        }
        count += 1;
    }
    Ok(count)
}

/// One byte string into a row of numbers: as many bytes as the row has, one byte for each element, or an image.
fn one_value(
    column: &ColumnLayout,
    value: &[u8],
    target: &mut [u8],
    decoder: &mut Decoder,
) -> Result<(), RowFault> {
    let is_raw = value.len() == target.len();
    if !is_raw && column.image.is_some() && ImageFormat::detect(value).is_some() {
        return image(column, value, target, decoder, None);
    }
    if is_raw {
        cast(column.dtype, value, column.dtype, target)?;
    } else if value.len() == column.row_shape.elements() && !column.dtype.is_complex() {
        cast(DType::U8, value, column.dtype, target)?;
    } else {
        return Err(RowFault::RawBytes {
            feature: column.feature.clone(),
            expected_bytes: target.len(),
            found_bytes: value.len(),
        });
    }
    preprocess_row(column.preprocess, column.dtype, target);
    Ok(())
}
