//! Checkpoints as TensorFlow 1 and 2 save them: `PREFIX.index`, a table of what there is, and the values in shards
//! `PREFIX.data-00000-of-00001`. Values stay where they are; [`Stored`] reads them.

mod entry;
mod objects;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tightfit_core::{Account, DType, MemoryBudget, Reservation, block_bytes};

use crate::data_type::DataType;
use crate::error::{FormatError, Place, Problem};
use crate::graph_def::{TensorContent, TensorDef};
use crate::limits;
use crate::source::{Cursor, SourceFile};
use crate::stored::{self, Extent, Stored};
use crate::table;
use entry::Header;
pub use entry::{BundleEntry, SliceDef};
pub use objects::Objects;
pub use write::{BundleWriter, files};

type Result<T> = std::result::Result<T, FormatError>;

/// The version of the format that is read here.
const VERSION: u64 = 1;

const PURPOSE: &str = "index of a checkpoint";

/// A checkpoint, of which the index is in memory.
#[derive(Debug)]
pub struct TensorBundle {
    prefix: PathBuf,
    index: Arc<SourceFile>,
    /// By key, in order; parts of partitioned variables have keys that are no texts.
    entries: Vec<(Box<[u8]>, BundleEntry)>,
    shard_count: u32,
    shards: Mutex<BTreeMap<u32, Arc<SourceFile>>>,
    _reservation: Reservation,
}

/// The prefix that the files of the checkpoint `path` share: `path` itself, or without the ending of one of its files.
pub fn prefix(path: &Path) -> PathBuf {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let shard = name.rsplit_once(".data-").map(|(prefix, _)| prefix);
    match name.strip_suffix(".index").or_else(|| name.strip_suffix(".meta")).or(shard) {
        Some(prefix) => path.with_file_name(prefix),
        None => path.to_path_buf(),
    }
}

/// `prefix` with an ending after it.
pub fn with_ending(prefix: &Path, ending: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

impl TensorBundle {
    /// Reads the index of the checkpoint at `path`: its prefix, or one of its files. Values are looked at when they are
    /// asked for.
    ///
    /// # Errors
    /// [`FormatError`] when the index cannot be read or is damaged, for a checkpoint of a machine with the other order of
    /// bytes, and for an index that does not fit the budget.
    pub fn open(path: &Path, budget: &MemoryBudget) -> Result<TensorBundle> {
        let prefix = prefix(path);
        let index = SourceFile::open(with_ending(&prefix, ".index"))?;
        let mut account = Account::new(budget, PURPOSE);
        let mut entries: Vec<(Box<[u8]>, BundleEntry)> = Vec::new();
        let mut header = None;
        table::for_each(&index, budget, &mut |key, value, offset| {
            let damaged = |what| index.error_at(offset, Problem::invalid(what, "other bytes in the index"));
            if key.is_empty() {
                header = Some(Header::parse(value).map_err(|_| damaged("the header of a checkpoint"))?);
                return Ok(());
            }
            let entry = BundleEntry::parse(value).ok().flatten();
            let entry = entry.ok_or_else(|| damaged("what a checkpoint says of a tensor"))?;
            let mut charge =
                |bytes| account.grow(bytes).map_err(|e| index.error_at(offset, Problem::Budget(e)));
            charge(entry.heap_bytes() + block_bytes(key.len() as u64))?;
            account
                .push(&mut entries, (key.into(), entry))
                .map_err(|e| index.error_at(offset, Problem::Budget(e)))
        })?;
        let header = header.ok_or_else(|| {
            index.error_at(0, Problem::invalid("the index of a checkpoint", "a table without its header"))
        })?;
        let shard_count = check(&index, &header)?;
        account.fit(&mut entries);
        let reservation = account.finish().map_err(|e| index.error_at(0, Problem::Budget(e)))?;
        let shards = Mutex::default();
        Ok(TensorBundle { prefix, index, entries, shard_count, shards, _reservation: reservation })
    }

    /// What all its files' names begin with.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// The file of its index.
    pub fn index(&self) -> &Arc<SourceFile> {
        &self.index
    }

    /// How many shards its values are in.
    pub fn shards(&self) -> u32 {
        self.shard_count
    }

    /// Its tensors by name, in the order of their names.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &BundleEntry)> {
        self.entries.iter().filter_map(|(key, entry)| match key.first() {
            // A part of a tensor.
            Some(0) | None => None,
            Some(_) => Some((std::str::from_utf8(key).ok()?, entry)),
        })
    }

    /// What the index says of the tensor `name`.
    pub fn entry(&self, name: &str) -> Option<&BundleEntry> {
        self.find(name.as_bytes())
    }

    fn find(&self, key: &[u8]) -> Option<&BundleEntry> {
        let at = self.entries.binary_search_by(|(own, _)| (**own).cmp(key)).ok()?;
        self.entries.get(at).map(|(_, entry)| entry)
    }

    fn error(&self, expected: String, found: impl Into<String>) -> FormatError {
        FormatError::new(self.index.path(), Place::Whole, Problem::invalid(expected, found))
    }

    fn shard(&self, number: u32) -> Result<Arc<SourceFile>> {
        if number >= self.shard_count {
            let found = format!("shard {number}");
            return Err(self.error(format!("one of {} shards", self.shard_count), found));
        }
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shard) = shards.get(&number) {
            return Ok(shard.clone());
        }
        let ending = format!(".data-{number:05}-of-{:05}", self.shard_count);
        let shard = SourceFile::open(with_ending(&self.prefix, &ending))?;
        shards.insert(number, shard.clone());
        Ok(shard)
    }

    /// The tensor `name`, or the part of it that `spec` names as a restore operator does (empty for all of it). Values are
    /// left where they are, but for strings; what it takes of memory is added to `memory`.
    ///
    /// # Errors
    /// [`FormatError`] for a tensor that is not there, whose values are not all there, or that does not fit the memory.
    pub fn tensor(&self, name: &str, spec: &str, memory: &mut Reservation) -> Result<TensorDef> {
        let entry = self.entry(name).ok_or_else(|| {
            self.error(format!("a checkpoint with the tensor '{name}'"), "none of this name")
        })?;
        let grow = |memory: &mut Reservation, bytes| {
            memory.try_grow(bytes).map_err(|e| self.index.error_at(0, Problem::Budget(e)))
        };
        let mut shape = entry.shape.clone();
        let mut window = None;
        if !spec.is_empty() {
            let bad = || self.error(format!("a part of '{name}' {:?}", entry.shape), format!("'{spec}'"));
            let (full, slice) =
                SliceDef::from_spec(spec).filter(|(full, _)| *full == shape).ok_or_else(bad)?;
            let extents = slice.within(&full).ok_or_else(bad)?;
            shape = extents.iter().map(|(_, length)| *length as i64).collect();
            window = Some(extents);
        }
        let content = match DataType(entry.dtype).storage() {
            None => TensorContent::Opaque,
            Some(DType::String) if window.is_none() && entry.slices.is_empty() => {
                TensorContent::Strings(self.strings(name, entry, memory)?)
            }
            Some(DType::String) => {
                let what = format!("'{name}' is a partitioned variable of strings");
                let advice = "save it as one variable";
                return Err(FormatError::new(
                    self.index.path(),
                    Place::Whole,
                    Problem::Unsupported { what, advice },
                ));
            }
            Some(dtype) => {
                let stored = self.stored(name, entry, dtype.bytes() as u64, window)?;
                grow(memory, stored.heap_bytes())?;
                TensorContent::Stored(Arc::new(stored))
            }
        };
        grow(memory, block_bytes(8 * shape.len() as u64))?;
        Ok(TensorDef { dtype: entry.dtype, shape, content })
    }

    /// Where the values of a tensor are, or those of a window of it.
    fn stored(
        &self,
        name: &str,
        entry: &BundleEntry,
        element_bytes: u64,
        window: Option<Vec<(u64, u64)>>,
    ) -> Result<Stored> {
        let place = |key: &str, entry: &BundleEntry| {
            let wanted = entry.elements().and_then(|n| n.checked_mul(element_bytes));
            if wanted != Some(entry.bytes) {
                let found = format!("{} bytes", entry.bytes);
                let expected =
                    format!("{wanted:?} bytes of '{key}' {} {:?}", DataType(entry.dtype), entry.shape);
                return Err(self.error(expected, found));
            }
            stored::Place::new(self.shard(entry.shard)?, key, entry.offset, entry.bytes, entry.crc)
        };
        let whole: Vec<u64> = entry.shape.iter().map(|d| *d as u64).collect();
        if entry.slices.is_empty() && window.is_none() {
            return Ok(Stored::whole(place(name, entry)?, element_bytes));
        }
        let window = window.unwrap_or_else(|| whole.iter().map(|size| (0, *size)).collect());
        let everything = SliceDef(whole.iter().map(|_| (0, None)).collect());
        let slices = if entry.slices.is_empty() { std::slice::from_ref(&everything) } else { &entry.slices };
        let mut parts = Vec::new();
        for slice in slices {
            let damaged = || self.error(format!("the parts of '{name}' {whole:?}"), "others");
            let extents = slice.within(&entry.shape).ok_or_else(damaged)?;
            let Some(extents) = overlap(&extents, &window) else { continue };
            let part = match entry.slices.is_empty() {
                true => entry,
                false => self.find(&slice.key(name)).ok_or_else(damaged)?,
            };
            let has_shape = part.shape.len() == extents.len()
                && part.shape.iter().zip(&extents).all(|(size, e)| *size as u64 == e.array_length);
            if !has_shape || part.dtype != entry.dtype || !part.slices.is_empty() && !entry.slices.is_empty()
            {
                return Err(damaged());
            }
            parts.push((place(name, part)?, extents));
        }
        let shape: Vec<u64> = window.iter().map(|(_, length)| *length).collect();
        Stored::of_parts(&shape, parts, element_bytes)
            .ok_or_else(|| self.error(format!("parts that make up '{name}' {whole:?}"), "others"))
    }

    /// The elements of a tensor of strings: their lengths, a checksum of those, and the texts one after another.
    fn strings(&self, name: &str, entry: &BundleEntry, memory: &mut Reservation) -> Result<Vec<Box<[u8]>>> {
        let source = self.shard(entry.shard)?;
        let damaged = || {
            let expected = format!("the strings of '{name}' {:?}", entry.shape);
            source.error_at(entry.offset, Problem::invalid(expected, "other bytes"))
        };
        let mut grow = |bytes| memory.try_grow(bytes).map_err(|e| source.error_at(0, Problem::Budget(e)));
        let count = entry.elements().unwrap_or(u64::MAX);
        let end =
            entry.offset.checked_add(entry.bytes).filter(|end| *end <= source.len()).ok_or_else(damaged)?;
        // Each length takes a byte or more.
        if count > entry.bytes || count > limits::STRINGS.max {
            return Err(damaged());
        }
        grow(crate::source::WINDOW_BYTES as u64)?;
        let cursor_budget = MemoryBudget::new(crate::source::WINDOW_BYTES as u64);
        let mut cursor = Cursor::new(source.clone(), &cursor_budget)?;
        cursor.seek(entry.offset);
        grow(block_bytes(count * size_of::<Box<[u8]>>() as u64) + block_bytes(count * 8))?;
        let mut lengths = Vec::with_capacity(count as usize);
        let (mut crc, mut total) = (0, 0u64);
        for _ in 0..count {
            let mut length = 0u64;
            let mut shift = 0;
            while let Some(byte) = cursor.byte()? {
                length |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 || shift > 56 {
                    break;
                }
            }
            total = total.checked_add(length).filter(|total| *total <= entry.bytes).ok_or_else(damaged)?;
            crc = match u32::try_from(length) {
                Ok(short) => crc32c::crc32c_append(crc, &short.to_le_bytes()),
                Err(_) => crc32c::crc32c_append(crc, &length.to_le_bytes()),
            };
            lengths.push(length);
        }
        let mut stored = [0; 4];
        cursor.read_exact(&mut stored)?;
        if table::unmasked(u32::from_le_bytes(stored)) != crc || cursor.position() + total != end {
            return Err(damaged());
        }
        crc = crc32c::crc32c_append(crc, &stored);
        let mut texts = Vec::with_capacity(count as usize);
        for length in lengths {
            if length > limits::STRING_BYTES.max {
                return Err(damaged());
            }
            grow(block_bytes(length))?;
            let mut text = vec![0; length as usize].into_boxed_slice();
            cursor.read_exact(&mut text)?;
            crc = crc32c::crc32c_append(crc, &text);
            texts.push(text);
        }
        if crc != entry.crc {
            return Err(stored::wrong_checksum(&source, entry.offset, name));
        }
        Ok(texts)
    }
}

/// The number of shards of a checkpoint that can be read.
fn check(index: &SourceFile, header: &Header) -> Result<u32> {
    let unsupported = |what: String, advice| Err(index.error_at(0, Problem::Unsupported { what, advice }));
    if header.is_big_endian {
        let what = "the checkpoint was saved on a machine with the high byte first".to_string();
        return unsupported(what, "save it again on one with the low byte first, as nearly all have");
    }
    if header.min_consumer > VERSION {
        let what = format!("the checkpoint is of version {}; {VERSION} is known here", header.min_consumer);
        return unsupported(what, "save it with TensorFlow 2");
    }
    let limits::Limit { name, max } = limits::SHARDS;
    match u32::try_from(header.shards) {
        Ok(shards) if u64::from(shards) <= max => Ok(shards),
        _ => Err(index.error_at(0, Problem::Limit { name, limit: max, found: header.shards })),
    }
}

/// What a part and a window of one tensor have in common, as a block of the window; `None` where nothing is.
fn overlap(part: &[(u64, u64)], window: &[(u64, u64)]) -> Option<Vec<Extent>> {
    let extents = part.iter().zip(window).map(|(part, window)| {
        let from = part.0.max(window.0);
        let to = (part.0 + part.1).min(window.0 + window.1);
        let length = to.checked_sub(from).filter(|length| *length > 0)?;
        Some(Extent { start: from - window.0, length, array_start: from - part.0, array_length: part.1 })
    });
    extents.collect()
}

#[cfg(test)]
mod tests;
