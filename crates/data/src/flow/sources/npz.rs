//! Rows of .npz archives: each array is a field, and all of a file have as many rows.
//!
//! ```json
//! {"npz": ["part-*.npz"], "fields": ["x", "y"], "cycle": 2, "block": 8}
//! ```
//!
//! Packed arrays are unpacked as they are read, so a saved state goes on behind what has to be unpacked once more.
//! Those in Fortran order can only be read from archives that are not packed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{Buffer, DType, MemoryBudget, Shape};
use tightfit_format::npy::{NpyHeader, NpyReader};
use tightfit_format::npz::NpzReader;
use tightfit_format::zip::Content;
use tightfit_format::{FormatError, Place as FilePlace, Problem};

use super::files::{Interleave, open_files, read_interleave};
use super::npy::{PURPOSE, add_strings, field_of, window_for};
use super::{BadRead, Format, Rows};
use crate::error::{DataError, RowFault, io_error};
use crate::flow::element::{Element, ElementView, Field, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::origin::Origin;
use crate::flow::spec::SourceSpec;
use crate::flow::stage::{Context, Node};
use crate::source::array::{ArrayRows, header_at};
use crate::source::{DataFile, Wanted, list_of};
use crate::storage::{self, StoredFile};

/// Archives of arrays as a source of their rows.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Archives {
    /// Files, folders and globs.
    #[serde(skip)]
    pub paths: Vec<PathBuf>,
    /// How they are interleaved.
    pub interleave: Interleave,
    /// The arrays that become fields, in order; `None` for all.
    pub fields: Option<Vec<String>>,
}

impl SourceSpec for Archives {
    fn identity(&self) -> serde_json::Value {
        identity::of("npz", self)
    }

    fn open(&self, context: &mut Context) -> Result<Node, DataError> {
        let list = list_of(&self.paths, Some(Wanted::ARCHIVES), &context.budget)?;
        let budget = context.budget.clone();
        let (mut known, mut rows) = (None::<Vec<Field>>, 0u64);
        for file in &list.files {
            let wrong = |why: String| DataError::Spec(format!("{}: {why}", file.path.display()));
            let names = match &self.fields {
                Some(names) => names.clone(),
                None => archive(&file.path, &budget)?.names().map(str::to_string).collect(),
            };
            let (mut fields, mut file_rows) = (Vec::with_capacity(names.len()), None);
            for name in &names {
                let header = *Member::open(&file.path, name, &budget)?.header();
                fields.push(field_of(name, &header).map_err(|why| wrong(format!("{name:?}: {why}")))?);
                let first = *file_rows.get_or_insert(header.rows());
                if header.rows() != first {
                    let found = header.rows();
                    return Err(wrong(format!("{name:?} has {found} rows, the first array has {first}")));
                }
            }
            if fields.is_empty() {
                return Err(wrong("no arrays".to_string()));
            }
            rows = rows.saturating_add(file_rows.unwrap_or_default());
            match &known {
                None => known = Some(fields),
                Some(known) if *known == fields => {}
                Some(_) => return Err(wrong("other arrays than the first file has".to_string())),
            }
        }
        let schema = Arc::new(Schema::new(known.unwrap_or_default()).map_err(DataError::Spec)?);
        open_files("npz", ArchiveFormat { schema, rows, budget }, list, self.interleave, context)
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn SourceSpec>> {
    let (paths, interleave) = (args.paths()?, read_interleave(args)?);
    let fields = args.texts_option("fields")?;
    Ok(Arc::new(Archives { paths, interleave, fields }))
}

fn archive(path: &Path, budget: &MemoryBudget) -> Result<NpzReader<StoredFile>, DataError> {
    let file = storage::open(path, budget).map_err(|e| io_error(path, e))?;
    NpzReader::new(Arc::from(path), file, budget).map_err(DataError::Format)
}

/// One array of an archive, opened but for its window. Arrays stand one after the other and are read side by side, each
/// through a file of its own.
enum Member {
    /// It stands in the file as it is, in Fortran order.
    Placed { file: StoredFile, offset: u64, header: NpyHeader, path: Arc<Path> },
    /// It is read from front to back, and its CRC checked.
    Streamed(NpyReader<Content<StoredFile>>),
}

impl Member {
    fn open(path: &Path, name: &str, budget: &MemoryBudget) -> Result<Member, DataError> {
        let npz = archive(path, budget)?;
        let index = npz.names().position(|n| n == name);
        let index = index
            .ok_or_else(|| DataError::Spec(format!("{}: there is no array {name:?}", path.display())))?;
        let mut zip = npz.into_zip();
        let stored_at = zip.stored_at(index).map_err(DataError::Format)?;
        let member: Arc<Path> = Arc::from(path.join(name));
        let content = zip.into_content(index).map_err(DataError::Format)?;
        let reader = NpyReader::new(member.clone(), content).map_err(DataError::Format)?;
        let header = *reader.header();
        if !header.is_fortran_order {
            return Ok(Member::Streamed(reader));
        }
        let Some(offset) = stored_at else {
            let what = "a packed array in Fortran order".to_string();
            let problem = Problem::Unsupported { what, advice: "save it with numpy.savez, or as .npy" };
            return Err(DataError::Format(FormatError::new(&member, FilePlace::Whole, problem)));
        };
        let file = storage::open(path, budget).map_err(|e| io_error(path, e))?;
        let header = header_at(&file, offset, &member).map_err(DataError::Format)?;
        Ok(Member::Placed { file, offset, header, path: member })
    }

    fn header(&self) -> &NpyHeader {
        match self {
            Member::Placed { header, .. } => header,
            Member::Streamed(reader) => reader.header(),
        }
    }

    /// Its rows from number `row` on.
    fn rows(self, row: u64, budget: &MemoryBudget) -> Result<MemberRows, RowFault> {
        let window = window_for(self.header(), None, None, budget)?;
        match self {
            Member::Placed { file, offset, header, path } => {
                Ok(MemberRows::Placed(ArrayRows::new(path, file, offset, header, row, window)))
            }
            Member::Streamed(reader) => {
                let mut streamed = Streamed { reader, window, read: 0, next: 0 };
                while streamed.next_row() < row && streamed.advance().map_err(RowFault::Array)? {}
                Ok(MemberRows::Streamed(streamed))
            }
        }
    }
}

/// The rows of an array that is read from front to back.
struct Streamed {
    reader: NpyReader<Content<StoredFile>>,
    window: Buffer,
    /// Rows in the window, and the one of them that is next.
    read: usize,
    next: usize,
}

impl Streamed {
    fn next_row(&self) -> u64 {
        self.reader.row() - (self.read - self.next) as u64
    }

    fn advance(&mut self) -> Result<bool, FormatError> {
        if self.next == self.read {
            (self.read, self.next) = (0, 0);
            if self.reader.row() == self.reader.header().rows() {
                return Ok(false);
            }
            self.read = self.reader.read_rows(&mut self.window)?;
            if self.read == 0 {
                return Ok(false);
            }
        }
        self.next += 1;
        Ok(true)
    }

    fn current(&self) -> &[u8] {
        let row_bytes = self.reader.header().row_bytes();
        let end = self.next * row_bytes;
        self.window.get(end.saturating_sub(row_bytes)..end).unwrap_or_default()
    }
}

enum MemberRows {
    Placed(ArrayRows),
    Streamed(Streamed),
}

impl MemberRows {
    fn advance(&mut self) -> Result<bool, RowFault> {
        match self {
            MemberRows::Placed(rows) => rows.advance().map_err(|(_, fault)| fault),
            MemberRows::Streamed(rows) => rows.advance().map_err(RowFault::Array),
        }
    }

    fn header(&self) -> &NpyHeader {
        match self {
            MemberRows::Placed(rows) => rows.header(),
            MemberRows::Streamed(rows) => rows.reader.header(),
        }
    }

    fn current(&self) -> &[u8] {
        match self {
            MemberRows::Placed(rows) => rows.current(),
            MemberRows::Streamed(rows) => rows.current(),
        }
    }

    fn window_bytes(&self) -> usize {
        match self {
            MemberRows::Placed(rows) => rows.window_bytes(),
            MemberRows::Streamed(rows) => rows.window.len(),
        }
    }
}

struct ArchiveFormat {
    schema: Arc<Schema>,
    rows: u64,
    budget: MemoryBudget,
}

impl Format for ArchiveFormat {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn open(
        &self,
        file: &DataFile,
        from: (u64, u64),
        _window: Option<Buffer>,
    ) -> Result<Box<dyn Rows>, BadRead> {
        let bad = |fault| BadRead { place: None, fault };
        let mut members = Vec::with_capacity(self.schema.fields().len());
        for field in self.schema.fields() {
            let member = Member::open(&file.path, &field.name, &self.budget).map_err(|error| {
                bad(match error {
                    DataError::Format(error) => RowFault::Array(error),
                    DataError::Budget(error) => RowFault::Memory(error),
                    error => RowFault::Map(error.to_string()),
                })
            })?;
            let shape = Shape::new(member.header().row_shape()).ok();
            let shape =
                shape.filter(|shape| field.allows(shape) && field.dtype == member.header().element.dtype());
            let changed = || RowFault::Map("it has changed since it was listed".to_string());
            let shape = shape.ok_or_else(|| bad(changed()))?;
            members.push((member.rows(from.0, &self.budget).map_err(bad)?, shape));
        }
        let made = Element::new(self.schema.clone(), PURPOSE, &self.budget);
        Ok(Box::new(ArchiveRows { members, made, row: from.0, is_broken: false }))
    }

    fn rows(&self, _files: &[DataFile]) -> Result<Option<u64>, DataError> {
        Ok(Some(self.rows))
    }
}

struct ArchiveRows {
    members: Vec<(MemberRows, Shape)>,
    made: Element,
    /// The number of the next row.
    row: u64,
    /// True after an error: arrays would not be at the same row behind it.
    is_broken: bool,
}

impl ArchiveRows {
    fn fill(&mut self) -> Result<bool, RowFault> {
        self.made.begin(Origin { file: 0, record: self.row, offset: 0 });
        for (member, shape) in &mut self.members {
            if !member.advance()? {
                return Ok(false);
            }
            if member.header().element.dtype() == DType::String {
                add_strings(member.header(), *shape, member.current(), &mut self.made)?;
            } else {
                self.made.add(*shape)?.copy_from_slice(member.current());
            }
        }
        Ok(true)
    }
}

impl Rows for ArchiveRows {
    fn advance(&mut self) -> Result<bool, BadRead> {
        if self.is_broken {
            return Ok(false);
        }
        let filled = self.fill();
        self.is_broken = filled.is_err();
        let place = Some((self.row, 0));
        self.row += 1;
        filled.map_err(|fault| BadRead { place, fault })
    }

    fn current(&self, file: u32) -> ElementView<'_> {
        self.made.view().in_file(file)
    }

    fn next_place(&self) -> (u64, u64) {
        (self.row, 0)
    }

    fn held_bytes(&self) -> usize {
        self.members.iter().map(|(rows, _)| rows.window_bytes()).sum::<usize>() + self.made.held_bytes()
    }
}
