//! What kind of model a path is, found from its content.

use std::fmt;
use std::path::Path;

use tightfit_core::MemoryBudget;

use crate::error::FormatError;
use crate::foreign::{self, Foreign};
use crate::graph_def::mapped_package::is_package;
use crate::proto::wire::WireReader;
use crate::proto::{Field, Input, Kind, Scalar};
use crate::source::{Cursor, SourceFile};

/// Kinds of model files, and of files that are taken for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelFormat {
    /// A GraphDef in protobuf's binary encoding.
    GraphDef,
    /// A GraphDef in protobuf's text encoding.
    GraphDefText,
    /// A folder with `saved_model.pb` or `saved_model.pbtxt`.
    SavedModelDir,
    /// The `saved_model.pb` of such a folder, without it.
    SavedModelFile,
    /// The prefix that `PREFIX.index` and `PREFIX.data-...` share, or the index itself.
    Checkpoint,
    /// A MetaGraphDef: a checkpoint's `.meta`.
    MetaGraph,
    /// The same in protobuf's text encoding.
    MetaGraphText,
    /// A memory-mapped package: a GraphDef with its tensors beside it in one file.
    MappedPackage,
    /// The `model.json` of a TensorFlow.js graph model.
    TfJs,
    /// A TensorFlow Lite model.
    TfLite,
    /// Records, which are data and no model.
    TfRecord,
    /// Another framework's or container's format, or something else that is known.
    Foreign(&'static Foreign),
    /// Nothing that is known.
    Unknown,
}

impl fmt::Display for ModelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ModelFormat::GraphDef => "a GraphDef",
            ModelFormat::GraphDefText => "a GraphDef as text",
            ModelFormat::SavedModelDir => "a SavedModel",
            ModelFormat::SavedModelFile => "the saved_model.pb of a SavedModel",
            ModelFormat::Checkpoint => "a checkpoint",
            ModelFormat::MetaGraph => "a MetaGraph",
            ModelFormat::MetaGraphText => "a MetaGraph as text",
            ModelFormat::MappedPackage => "a memory-mapped package",
            ModelFormat::TfJs => "a TensorFlow.js graph model",
            ModelFormat::TfLite => "a TensorFlow Lite model",
            ModelFormat::TfRecord | ModelFormat::Foreign(_) => self.foreign().map_or("", |kind| kind.name),
            ModelFormat::Unknown => "not a model of a known kind, or a damaged one",
        })
    }
}

impl ModelFormat {
    /// What to tell of a file that is not a model; `None` for one that is, or of which nothing is known.
    pub fn foreign(self) -> Option<&'static Foreign> {
        Some(match self {
            ModelFormat::TfRecord => &foreign::TF_RECORD,
            ModelFormat::Foreign(kind) => kind,
            _ => return None,
        })
    }
}

/// What a look at the directory of a package takes: a window and a name.
const PACKAGE_BYTES: u64 = (crate::source::WINDOW_BYTES as u64) + (96 << 10);

/// The first bytes that decide most kinds.
const HEAD_BYTES: usize = 512;

/// What ends a LevelDB table, as a checkpoint's index is one.
const TABLE_MAGIC: u64 = 0xdb47_7524_8b80_fb57;

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Finds what `path` is. Reads a few blocks at most.
///
/// # Errors
/// [`FormatError`] when there is nothing at `path` or it cannot be read.
pub fn detect(path: impl AsRef<Path>) -> Result<ModelFormat, FormatError> {
    let path = path.as_ref();
    if path.is_dir() {
        let is_saved_model =
            ["saved_model.pb", "saved_model.pbtxt"].iter().any(|name| path.join(name).is_file());
        return Ok(match is_saved_model {
            true => ModelFormat::SavedModelDir,
            false => ModelFormat::Foreign(foreign::by_folder(path)),
        });
    }
    if !path.exists() {
        let mut index = path.as_os_str().to_owned();
        index.push(".index");
        if Path::new(&index).is_file() {
            return Ok(ModelFormat::Checkpoint);
        }
    }
    let source = SourceFile::open(path)?;
    let mut head = [0; HEAD_BYTES];
    let head = &mut head[..source.len().min(HEAD_BYTES as u64) as usize];
    source.read_exact_at(0, head)?;
    if head.get(4..8) == Some(b"TFL3") {
        return Ok(ModelFormat::TfLite);
    }
    if starts_a_record(head) {
        return Ok(ModelFormat::TfRecord);
    }
    if let Some(kind) = foreign::by_head(head, source.len()) {
        return Ok(ModelFormat::Foreign(kind));
    }
    if let Some(magic_at) = source.len().checked_sub(8) {
        let mut magic = [0; 8];
        source.read_exact_at(magic_at, &mut magic)?;
        if u64::from_le_bytes(magic) == TABLE_MAGIC {
            return Ok(ModelFormat::Checkpoint);
        }
    }
    if let Some(kind) = text_kind(head) {
        return Ok(kind);
    }
    let text = head.to_vec();
    if foreign::by_text(&text) == Some(&foreign::TF_JS) && !contains(&text, b"\"layers-model\"") {
        return Ok(ModelFormat::TfJs);
    }
    let budget = MemoryBudget::new(PACKAGE_BYTES);
    if is_package(&source, &budget) {
        return Ok(ModelFormat::MappedPackage);
    }
    let budget = MemoryBudget::new(crate::source::WINDOW_BYTES as u64);
    let reader = WireReader::new(Cursor::new(source, &budget)?);
    let kind = binary_kind(reader).unwrap_or(ModelFormat::Unknown);
    Ok(match foreign::by_text(&text).filter(|_| kind == ModelFormat::Unknown) {
        Some(text) => ModelFormat::Foreign(text),
        None => kind,
    })
}

/// A record's length is followed by its masked CRC-32C.
fn starts_a_record(head: &[u8]) -> bool {
    let Some((length, rest)) = head.split_first_chunk::<8>() else { return false };
    let Some(stored) = rest.first_chunk::<4>() else { return false };
    let mut crc = !0u32;
    for byte in length {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8) == u32::from_le_bytes(*stored)
}

/// Decides by the name of the first field.
fn text_kind(head: &[u8]) -> Option<ModelFormat> {
    let mut rest = head;
    loop {
        rest = rest.trim_ascii_start();
        if rest.first() != Some(&b'#') {
            break;
        }
        rest = &rest[rest.iter().position(|b| *b == b'\n')?..];
    }
    let end = rest.iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'_'))?;
    let (name, behind) = rest.split_at(end);
    if !matches!(behind.trim_ascii_start().first(), Some(b':' | b'{' | b'<')) {
        return None;
    }
    match name {
        b"node" | b"versions" | b"version" | b"library" => Some(ModelFormat::GraphDefText),
        b"saved_model_schema_version" | b"meta_graphs" => Some(ModelFormat::SavedModelFile),
        b"meta_info_def" | b"graph_def" => Some(ModelFormat::MetaGraphText),
        _ => None,
    }
}

const fn field(number: u32, kind: Kind) -> Field {
    Field { name: "", number, kind }
}

/// Fields 1 and 2 in both the encodings that the kinds have there.
const TOP_INT: &[Field] = &[field(1, Kind::Scalar(Scalar::Int)), field(2, Kind::Message)];
const TOP_MESSAGE: &[Field] =
    &[field(1, Kind::Message), field(2, Kind::Message), field(3, Kind::Message), field(4, Kind::Message)];
const NAMES: &[Field] = &[field(1, Kind::Bytes), field(2, Kind::Bytes)];

/// A GraphDef starts with a node {1: name, 2: op}, a MetaGraphDef with its info {2: operators, ...} and then the
/// graph, a SavedModel with its version as a number and then the graphs. An error means: none of them.
fn binary_kind(mut reader: WireReader) -> Result<ModelFormat, FormatError> {
    let start = reader.mark();
    if reader.next(TOP_INT)? == Some(1) {
        let version = reader.scalar()?;
        return Ok(match (version, reader.next(TOP_INT)?) {
            (1, Some(2)) => ModelFormat::SavedModelFile,
            (_, Some(_)) => ModelFormat::Foreign(&foreign::ONNX),
            _ => ModelFormat::Unknown,
        });
    }
    reader.rewind(start);
    let mut kind = ModelFormat::Unknown;
    while let Some(number) = reader.next(TOP_MESSAGE)? {
        if number == 1 {
            return Ok(if holds_a_node(&mut reader)? {
                ModelFormat::GraphDef
            } else {
                ModelFormat::MetaGraph
            });
        }
        // A library or versions without any node before them.
        kind = ModelFormat::GraphDef;
        reader.skip()?;
    }
    Ok(kind)
}

fn holds_a_node(reader: &mut WireReader) -> Result<bool, FormatError> {
    let scope = reader.enter()?;
    let mut is_node = false;
    while let Some(number) = reader.next(NAMES)? {
        let bytes = reader.bytes_len()?;
        let mut op = [0; 64];
        let op = &mut op[..bytes.min(64) as usize];
        let start = reader.mark();
        reader.bytes_into(op)?;
        reader.rewind(start + bytes);
        is_node |= number == 2 && op.iter().all(|b| b.is_ascii_graphic()) && !op.is_empty();
    }
    reader.leave(scope);
    Ok(is_node)
}
