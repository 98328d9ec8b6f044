//! What must hold for every reader of untrusted files, whatever bytes it is given. Fuzz targets call these with bytes
//! that libFuzzer makes up, and `crates/data/tests/fuzz.rs` with damaged files, so that each is a test too.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{Buffer, DType, MemoryBudget};
use tightfit_data::image::{DecodeOptions, ImageFormat, ImageHeader, decode};
use tightfit_format::example::list::ExampleListWithContext;
use tightfit_format::example::sequence::SequenceExample;
use tightfit_format::example::{Example, ExampleError, Feature, FeatureKind};
use tightfit_format::message::MessageKind;
use tightfit_format::npy::NpyReader;
use tightfit_format::npz::NpzReader;
use tightfit_format::tfrecord::{
    Compression, RecordFault, RecordReader, RecordWriter, find_header, masked_crc,
};
use tightfit_format::{
    AttrValue, GraphDef, MetaGraphDef, NodeDef, SourceFile, TensorBundle, TensorContent, detect,
    saved_model_tags, tflite,
};

use self::reference::Held;

/// What no reader may take for an input of a few KiB.
const BUDGET_BYTES: u64 = 4 << 20;

fn path() -> Arc<Path> {
    Arc::from(Path::new("input"))
}

fn window(bytes: usize) -> Buffer {
    Buffer::new(&MemoryBudget::new(BUDGET_BYTES), "window", bytes).expect("within the budget")
}

fn record_reader(data: &[u8], window_bytes: usize) -> RecordReader<&[u8]> {
    RecordReader::new(path(), data, window(window_bytes)).expect("memory can be read")
}

/// Records in order: place and data, or the error.
type Outcome = Vec<Result<(u64, u64, Vec<u8>), String>>;

/// Reads through a window that grows with the records; `None` when one is larger than any window here.
fn read_records(data: &[u8], window_bytes: usize) -> Option<Outcome> {
    let (mut reader, mut outcome) = (record_reader(data, window_bytes), Vec::new());
    loop {
        match reader.next_record() {
            Ok(None) => return Some(outcome),
            Ok(Some(record)) => outcome.push(Ok((record.index, record.offset, record.data.to_vec()))),
            Err(error) => {
                let RecordFault::TooLarge { bytes, .. } = error.fault else {
                    outcome.push(Err(error.to_string()));
                    continue;
                };
                let whole_bytes = bytes.saturating_add(16).max(window_bytes as u64);
                if whole_bytes > BUDGET_BYTES {
                    return None;
                }
                reader.enlarge(window(whole_bytes as usize)).expect("a larger window");
            }
        }
    }
}

/// TFRecord files, compressed or not: reading, checking, reading on from the middle and through windows of any size
/// agree, and of an uncompressed file each record is framed as it stands there.
pub fn records(data: &[u8]) {
    record_file(data);
    // After a CRC that chance would not get right stands what lengths can do.
    record_file(&mended(data));
}

/// `data` with the CRCs that its lengths ask for, up to the first length that passes its end.
fn mended(data: &[u8]) -> Vec<u8> {
    let (mut data, mut at) = (data.to_vec(), 0);
    while let Some(header) = data.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<12>()) {
        let length = *header.first_chunk::<8>().expect("eight of twelve");
        header[8..].copy_from_slice(&masked_crc(&length).to_le_bytes());
        let Ok(bytes) = usize::try_from(u64::from_le_bytes(length)) else { break };
        let Some((record, rest)) = data.get_mut(at + 12..).and_then(|rest| rest.split_at_mut_checked(bytes))
        else {
            break;
        };
        let Some(footer) = rest.first_chunk_mut::<4>() else { break };
        *footer = masked_crc(record).to_le_bytes();
        at += bytes + 16;
    }
    data
}

fn record_file(data: &[u8]) {
    let mut checker = record_reader(data, 16);
    let checked: Vec<_> = std::iter::from_fn(|| checker.check_next().transpose()).collect();
    let is_plain = checker.compression() == Compression::None;
    assert!(!is_plain || checked.len() <= data.len() / 12 + 1, "{} records", checked.len());
    if let (Some(small), Some(large)) = (read_records(data, 16), read_records(data, 32 << 10)) {
        assert_eq!(small, large);
        assert_eq!(small.len(), checked.len());
        for (read, checked) in small.iter().zip(&checked) {
            match (read, checked) {
                (Ok((index, offset, bytes)), Ok(checked)) => {
                    let found = (checked.index, checked.offset, checked.bytes);
                    assert_eq!((*index, *offset, bytes.len() as u64), found);
                }
                (Err(read), Err(checked)) => assert_eq!(*read, checked.to_string()),
                _ => panic!("{read:?} against {checked:?}"),
            }
        }
        for (index, offset, bytes) in small.iter().flatten().filter(|_| is_plain) {
            let rest = &data[*offset as usize..];
            let mut writer = RecordWriter::new(Vec::new());
            writer.write(bytes).expect("memory can be written");
            assert!(rest.starts_with(&writer.into_inner()));
            let window = window(bytes.len() + 16);
            let mut resumed = RecordReader::resume(path(), rest, window, *offset, *index);
            assert_eq!(resumed.next_record().expect("the record").expect("one").data, &bytes[..]);
        }
    }
    let end = data.len() as u64;
    let found = find_header(data, &mut [0; 40], 0, end, end).expect("memory can be read");
    let first_good = checked.iter().flatten().next().map(|record| record.offset);
    assert!(!is_plain || first_good.is_none_or(|offset| found.is_some_and(|found| found <= offset)));
}

/// Examples, SequenceExamples and lists with context: no more values than bytes, and whatever the reader written after
/// protobuf's rules takes for a message holds the same here.
pub fn messages(data: &[u8]) {
    let kind = MessageKind::of(data);
    let example = features(Example::new(data).features());
    agree(&example, reference::features(data, 1));
    let sequence = SequenceExample::new(data);
    let lists = sequence_lists(&sequence);
    agree(&lists, reference::feature_lists(data));
    let list = ExampleListWithContext::new(data);
    let context = features(list.context());
    let examples: Result<Vec<_>, _> =
        list.examples().map(|e| e.and_then(|e| features(e.features()))).collect();
    let is_readable = match kind {
        MessageKind::Example => Example::new(data).features().all(|entry| entry.is_ok()),
        MessageKind::SequenceExample => {
            sequence.context().all(|entry| entry.is_ok()) && sequence.feature_lists().all(|list| list.is_ok())
        }
        MessageKind::ExampleListWithContext => {
            list.context().all(|entry| entry.is_ok()) && list.examples().all(|example| example.is_ok())
        }
        MessageKind::Other => true,
    };
    assert!(is_readable, "{kind}, but it cannot be walked");
    let all = [example, context].into_iter().flatten().chain(examples.into_iter().flatten());
    for map in all {
        assert!(map.values().map(Held::count).sum::<usize>() <= data.len());
    }
}

type Map<T> = BTreeMap<Vec<u8>, T>;

fn agree<T: PartialEq + std::fmt::Debug>(found: &Result<Map<T>, ExampleError>, expected: Option<Map<T>>) {
    if let Some(expected) = expected {
        assert_eq!(found.as_ref().ok(), Some(&expected), "{found:?}");
    }
}

fn features<'a>(
    entries: impl Iterator<Item = Result<(&'a [u8], Feature<'a>), ExampleError>>,
) -> Result<Map<Held>, ExampleError> {
    entries.map(|entry| entry.and_then(|(name, feature)| Ok((name.to_vec(), held(&feature)?)))).collect()
}

fn held(feature: &Feature<'_>) -> Result<Held, ExampleError> {
    let count = feature.count()?;
    let held = match feature.kind() {
        FeatureKind::Empty => Held::Empty,
        FeatureKind::Bytes => {
            Held::Bytes(feature.bytes().map(|value| value.map(<[u8]>::to_vec)).collect::<Result<_, _>>()?)
        }
        FeatureKind::Float => {
            let mut values = vec![0.0; count];
            assert_eq!(feature.read_floats(&mut values)?, count);
            Held::Float(values.into_iter().map(f32::to_bits).collect())
        }
        FeatureKind::Int64 => {
            let mut values = vec![0; count];
            assert_eq!(feature.read_ints(&mut values)?, count);
            assert!(feature.ints().flatten().eq(values.iter().copied()));
            Held::Int64(values)
        }
    };
    assert_eq!(held.count(), count);
    Ok(held)
}

fn sequence_lists(sequence: &SequenceExample<'_>) -> Result<Map<Vec<Held>>, ExampleError> {
    let lists = sequence.feature_lists().map(|entry| {
        let (name, list) = entry?;
        let steps = list.map(|step| step.and_then(|step| held(&step)));
        Ok((name.to_vec(), steps.collect::<Result<_, _>>()?))
    });
    lists.collect()
}

/// A reader of the same messages that follows protobuf's description word by word: it builds everything, and takes
/// nothing that is wrong anywhere.
mod reference {
    use super::Map;

    #[derive(Debug, Clone, PartialEq, Default)]
    pub enum Held {
        #[default]
        Empty,
        Bytes(Vec<Vec<u8>>),
        /// By their bits.
        Float(Vec<u32>),
        Int64(Vec<i64>),
    }

    impl Held {
        pub fn count(&self) -> usize {
            match self {
                Held::Empty => 0,
                Held::Bytes(values) => values.len(),
                Held::Float(values) => values.len(),
                Held::Int64(values) => values.len(),
            }
        }
    }

    enum Field<'a> {
        Varint(u64),
        Fixed32(u32),
        Bytes(&'a [u8]),
        Other,
    }

    fn varint(data: &mut &[u8]) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = data.split_first()?;
            *data = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take<'a>(data: &mut &'a [u8], bytes: u64) -> Option<&'a [u8]> {
        let (taken, rest) = data.split_at_checked(usize::try_from(bytes).ok()?)?;
        *data = rest;
        Some(taken)
    }

    /// The fields up to the end, or to that of group `group`.
    fn fields<'a>(data: &mut &'a [u8], group: Option<u64>, depth: usize) -> Option<Vec<(u64, Field<'a>)>> {
        let mut fields = Vec::new();
        loop {
            if data.is_empty() {
                return group.is_none().then_some(fields);
            }
            let tag = varint(data)?;
            let number = tag >> 3;
            if number == 0 || number >= 1 << 29 {
                return None;
            }
            let field = match tag & 7 {
                0 => Field::Varint(varint(data)?),
                1 => take(data, 8).map(|_| Field::Other)?,
                2 => {
                    let bytes = varint(data)?;
                    Field::Bytes(take(data, bytes)?)
                }
                3 if depth < 100 => self::fields(data, Some(number), depth + 1).map(|_| Field::Other)?,
                4 if group == Some(number) => return Some(fields),
                5 => Field::Fixed32(u32::from_le_bytes(take(data, 4)?.try_into().ok()?)),
                _ => return None,
            };
            fields.push((number, field));
        }
    }

    fn all(mut data: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
        fields(&mut data, None, 0)
    }

    /// The map in the messages of field `number`.
    fn map<T>(data: &[u8], number: u64, value: impl Fn(&[u8]) -> Option<T>) -> Option<Map<T>> {
        let mut map = Map::new();
        for (found, message) in all(data)? {
            let (true, Field::Bytes(message)) = (found == number, message) else { continue };
            for (found, entry) in all(message)? {
                let (1, Field::Bytes(entry)) = (found, entry) else { continue };
                let (mut key, mut last) = (&[][..], None);
                for field in all(entry)? {
                    match field {
                        (1, Field::Bytes(bytes)) => key = bytes,
                        (2, Field::Bytes(_)) if last.is_some() => return None,
                        (2, Field::Bytes(bytes)) => last = Some(bytes),
                        _ => {}
                    }
                }
                map.insert(key.to_vec(), value(last.unwrap_or_default())?);
            }
        }
        Some(map)
    }

    pub fn features(data: &[u8], number: u64) -> Option<Map<Held>> {
        map(data, number, feature)
    }

    pub fn feature_lists(data: &[u8]) -> Option<Map<Vec<Held>>> {
        map(data, 2, |list| {
            let steps = all(list)?.into_iter().filter_map(|(number, step)| match (number, step) {
                (1, Field::Bytes(step)) => Some(feature(step)),
                _ => None,
            });
            steps.collect()
        })
    }

    fn feature(data: &[u8]) -> Option<Held> {
        let mut held = Held::Empty;
        for (number, list) in all(data)? {
            let Field::Bytes(list) = list else { continue };
            match number {
                1 => {
                    let mut values = if let Held::Bytes(values) = held { values } else { Vec::new() };
                    for (number, value) in all(list)? {
                        if let (1, Field::Bytes(value)) = (number, value) {
                            values.push(value.to_vec());
                        }
                    }
                    held = Held::Bytes(values);
                }
                2 => {
                    let mut values = if let Held::Float(values) = held { values } else { Vec::new() };
                    for (number, value) in all(list)? {
                        match (number, value) {
                            (1, Field::Fixed32(value)) => values.push(value),
                            (1, Field::Bytes(packed)) if packed.len() % 4 == 0 => values.extend(
                                packed.as_chunks::<4>().0.iter().map(|value| u32::from_le_bytes(*value)),
                            ),
                            (1, Field::Bytes(_)) => return None,
                            _ => {}
                        }
                    }
                    held = Held::Float(values);
                }
                3 => {
                    let mut values = if let Held::Int64(values) = held { values } else { Vec::new() };
                    for (number, value) in all(list)? {
                        match (number, value) {
                            (1, Field::Varint(value)) => values.push(value as i64),
                            (1, Field::Bytes(mut packed)) => {
                                while !packed.is_empty() {
                                    values.push(varint(&mut packed)? as i64);
                                }
                            }
                            _ => {}
                        }
                    }
                    held = Held::Int64(values);
                }
                _ => {}
            }
        }
        Some(held)
    }
}

/// .npy and .npz files: no more rows than the header says, all of them from the data, within the budget.
pub fn arrays(data: &[u8]) {
    if let Ok(reader) = NpyReader::new(path(), data) {
        rows(reader);
    }
    let budget = MemoryBudget::new(BUDGET_BYTES);
    let Ok(mut npz) = NpzReader::new(path(), Cursor::new(data), &budget) else { return };
    let names: Vec<String> = npz.names().take(20).map(str::to_string).collect();
    for name in names {
        if let Ok(Some(reader)) = npz.array(&name) {
            rows(reader);
        }
    }
}

fn rows<R: std::io::Read>(mut reader: NpyReader<R>) {
    let header = *reader.header();
    let mut out = [0; 4096];
    let mut count = 0;
    // Rows without bytes, and what inflates to very many, are not all looked at.
    for _ in 0..1000 {
        match reader.read_rows(&mut out) {
            Ok(0) | Err(_) => break,
            Ok(rows) => count += rows as u64,
        }
    }
    assert!(count <= header.rows() && count == reader.row());
    assert!(
        header.is_fortran_order || count < header.rows() || {
            u128::from(count) * header.row_bytes() as u128 == u128::from(header.data_bytes())
        }
    );
}

/// Graphs, binary and text: what can be read is written, and read again as the same.
pub fn graphs(data: &[u8]) {
    let file = TemporaryFile::new(data);
    let _ = detect(&file.0);
    for read in [GraphDef::read, GraphDef::read_text] {
        let budget = MemoryBudget::new(BUDGET_BYTES);
        let source = SourceFile::open(&file.0).expect("the file");
        let Ok(graph) = read(source, &budget) else { continue };
        let mut written = Vec::new();
        if graph.write(&mut written, &budget).is_err() || written.len() > 1 << 20 {
            continue;
        }
        let copy = TemporaryFile::new(&written);
        let budget = MemoryBudget::new(2 * BUDGET_BYTES);
        let again = GraphDef::read(SourceFile::open(&copy.0).expect("the file"), &budget).expect("its own");
        let names = |graph: &GraphDef| graph.nodes.iter().map(|n| (n.name.clone(), n.op.clone())).collect();
        let [before, after]: [Vec<_>; 2] = [names(&graph), names(&again)];
        assert_eq!(before, after);
        assert_eq!(graph.functions.len(), again.functions.len());
    }
}

/// SavedModels, MetaGraphs, memory-mapped packages and TensorFlow.js models, binary and text: what is read lies in the file, and no memory is lost.
pub fn saved_models(data: &[u8]) {
    let file = TemporaryFile::new(data);
    let _ = detect(&file.0);
    let source = || SourceFile::open(&file.0).expect("the file");
    for is_text in [false, true] {
        let budget = MemoryBudget::new(BUDGET_BYTES);
        if let Ok(tags) = saved_model_tags(&source(), is_text, &budget) {
            for index in 0..tags.len().min(3) + 1 {
                let Ok(graph) = MetaGraphDef::read_saved_model(source(), is_text, index, &budget) else {
                    continue;
                };
                assert!(index < tags.len());
                lies_in_file(&graph.graph, data);
            }
        }
        if let Ok(graph) = MetaGraphDef::read(source(), is_text, &budget) {
            lies_in_file(&graph.graph, data);
        }
        assert_eq!(budget.used_bytes(), 0);
    }
    let budget = MemoryBudget::new(BUDGET_BYTES);
    if let Ok(graph) = GraphDef::read_mapped_package(source(), &budget) {
        lies_in_file(&graph, data);
    }
    if let Ok(graph) = tightfit_format::tfjs::read(source(), &budget) {
        lies_in_file(&graph.graph, data);
    }
    assert_eq!(budget.used_bytes(), 0);
}

fn lies_in_file(graph: &GraphDef, data: &[u8]) {
    let in_bodies = graph.functions.iter().flat_map(|function| &function.nodes);
    for (_, value) in graph.nodes.iter().chain(in_bodies).flat_map(|node: &NodeDef| &node.attrs) {
        let AttrValue::Tensor(tensor) = value else { continue };
        if let TensorContent::File { offset, bytes } = &tensor.content {
            assert!(offset + bytes <= data.len() as u64);
        }
    }
}

/// TensorFlow Lite models: what is read lies in the file, names tensors that are there, and no memory is lost.
pub fn tflite(data: &[u8]) {
    let file = TemporaryFile::new(data);
    let _ = detect(&file.0);
    let budget = MemoryBudget::new(BUDGET_BYTES);
    let source = SourceFile::open(&file.0).expect("the file");
    if let Ok(model) = tflite::Model::read(source, &budget) {
        let bytes = data.len() as u64;
        let lies =
            |place: tflite::Place| place.offset.checked_add(place.bytes).is_some_and(|end| end <= bytes);
        for graph in &model.subgraphs {
            assert!(graph.tensors.iter().all(|tensor| lies(tensor.values)));
            for operator in &graph.operators {
                assert!(lies(operator.custom_options));
                let named = operator.inputs.iter().chain(&operator.outputs);
                assert!(named.into_iter().all(|n| *n == -1 || (*n as usize) < graph.tensors.len()));
            }
        }
        assert!(model.subgraphs.is_empty() || budget.used_bytes() > 0);
    }
    let _ = tflite::flex_map(data);
    assert_eq!(budget.used_bytes(), 0);
}

/// Indexes of checkpoints, of which the checksums are made right: tensors that are read, or errors.
pub fn tensor_bundles(data: &[u8]) {
    let mut data = data.to_vec();
    repair(&mut data);
    let file = TemporaryFile::new(&data);
    let name = |ending: &str| PathBuf::from(format!("{}{ending}", file.0.display()));
    let index = TemporaryFile(name(".index"));
    std::fs::rename(&file.0, &index.0).expect("a temporary file");
    let shard: Vec<u8> = (0..4096).map(|i| (i % 7) as u8).collect();
    let shards = [TemporaryFile(name(".data-00000-of-00001")), TemporaryFile(name(".data-00001-of-00002"))];
    shards.iter().for_each(|file| std::fs::write(&file.0, &shard).expect("a temporary file"));
    let budget = MemoryBudget::new(BUDGET_BYTES);
    let Ok(bundle) = TensorBundle::open(&file.0, &budget) else { return };
    let _ = bundle.objects(&budget).map(|objects| objects.key("name").is_some());
    for (name, entry) in bundle.entries().take(20) {
        for spec in ["", "2 3 0,1:-", "4 1,2"] {
            let mut memory = budget.try_reserve("test", 0).expect("nothing");
            let Ok(tensor) = bundle.tensor(name, spec, &mut memory) else { continue };
            assert!(!spec.is_empty() || tensor.shape == entry.shape);
            let Some(bytes) = tensor.bytes().filter(|bytes| *bytes <= BUDGET_BYTES) else { continue };
            let (mut whole, mut pieces) = (vec![1; bytes as usize], vec![2; bytes as usize]);
            let middle = pieces.len() / 2;
            let (head, tail) = pieces.split_at_mut(middle);
            // Most seeds have the checksums of other values than those that are here.
            if tensor.read_into(bundle.index(), &mut whole).is_ok() {
                tensor.read_at(bundle.index(), middle as u64, tail).expect("a part of what was read");
                tensor.read_at(bundle.index(), 0, head).expect("a part of what was read");
                assert_eq!(pieces, whole);
            }
        }
    }
}

/// Makes the checksums right of the block at the beginning and of the index, where there are such.
fn repair(data: &mut [u8]) {
    let number = |bytes: &mut &[u8]| {
        let mut value = 0u64;
        for (i, byte) in bytes.iter().enumerate().take(9) {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                *bytes = &bytes[i + 1..];
                return Some(value as usize);
            }
        }
        None
    };
    let Some(footer_at) = data.len().checked_sub(48) else { return };
    let footer = data[footer_at..].to_vec();
    let mut handles = &footer[..];
    let numbers = [(); 4].map(|()| number(&mut handles));
    let [Some(meta), Some(_), Some(index), Some(bytes)] = numbers else { return };
    for (offset, bytes) in [(0, meta.saturating_sub(5)), (index, bytes)] {
        let end = offset.checked_add(bytes).and_then(|end| end.checked_add(1));
        let Some(end) = end.filter(|end| end + 4 <= footer_at) else { continue };
        let crc = tightfit_format::tfrecord::masked_crc(&data[offset..end]);
        data[end..end + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

/// A file in memory where the system has such a place; removed when dropped.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(data: &[u8]) -> TemporaryFile {
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let shm = Path::new("/dev/shm");
        let folder = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = TemporaryFile(folder.join(format!("tightfit-fuzz-{}-{number}", std::process::id())));
        std::fs::write(&file.0, data).expect("a temporary file");
        file
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// Headers of images: sizes that make sense, or an error.
pub fn images(data: &[u8]) {
    let format = ImageFormat::detect(data);
    let Ok(header) = ImageHeader::read(&mut Cursor::new(data), data.len() as u64) else { return };
    assert_eq!(format, Some(header.format));
    let pixels = header.width as u64 * header.height as u64;
    assert!(pixels > 0 && header.pixel_bytes >= pixels && header.pixel_bytes <= u64::from(u32::MAX));
    assert!(header.heap_bytes < 1 << 40);
    if header.pixel_bytes > BUDGET_BYTES / 4 {
        return;
    }
    for channels in [0, 1, 3] {
        let options = DecodeOptions { channels, dtype: DType::U8, expand_animations: channels == 0 };
        let first = decoded(&options, &header, data, 0);
        assert_eq!(first, decoded(&options, &header, data, 0xff), "what was there before shows");
        let mut pixels = vec![0x55; header.pixel_bytes as usize];
        if channels > 0
            && let Ok(found) = decode(data, &header, channels, &mut pixels)
        {
            assert!(found == 1 || found == channels);
        }
    }
}

/// The pixels of a picture decoded to where bytes of `filler` were; `None` for what is not decoded.
fn decoded(options: &DecodeOptions, header: &ImageHeader, data: &[u8], filler: u8) -> Option<Vec<u8>> {
    let made = options.output(data, header).ok()?;
    let bytes = made.bytes().ok().filter(|bytes| *bytes as u64 <= BUDGET_BYTES)?;
    let (mut out, mut scratch) = (vec![filler; bytes], vec![filler; made.scratch_bytes]);
    options.decode(data, header, &mut out, &mut scratch).ok()?;
    Some(out)
}
