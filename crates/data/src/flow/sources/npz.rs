//! Rows of .npz archives: each array is a field, and all of a file have as many rows.
//!
//! ```json
//! {"npz": ["part-*.npz"], "fields": ["x", "y"], "cycle": 2, "block": 8}
//! ```
//!
//! Packed arrays are unpacked as they are read, so a saved state goes on after what has to be unpacked once more.
//! Those in Fortran order can only be read from archives that are not packed.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tightfit_core::{Buffer, DType, MemoryBudget, Reservation, Shape};
use tightfit_format::npy::{NpyHeader, NpyReader};
use tightfit_format::npz::NpzReader;
use tightfit_format::zip::Content;
use tightfit_format::{FormatError, Place as FilePlace, Problem};

use super::files::{Interleave, open_files, read_interleave};
use super::npy::{PURPOSE, add_strings, field_of, window_for};
use super::{BadRead, FileRows, Format};
use crate::error::{DataError, RowFault, io_error};
use crate::flow::element::{Element, ElementView, Field, Schema};
use crate::flow::identity;
use crate::flow::json::{self, Args};
use crate::flow::origin::Origin;
use crate::flow::spec::SourceSpec;
use crate::flow::stage::{Context, Node};
use crate::source::array::{ArrayRows, header_at};
use crate::source::{DataFile, Wanted, list_of};
use crate::storage::{self, StoredFile};

/// Archives of arrays as a source of their rows.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Npz {
    /// Files, folders and globs.
    #[serde(skip)]
    pub paths: Vec<PathBuf>,
    /// How they are interleaved.
    pub interleave: Interleave,
    /// The arrays that become fields, in order; `None` for all.
    pub fields: Option<Vec<String>>,
}

impl SourceSpec for Npz {
    fn identity(&self) -> serde_json::Value {
        identity::of("npz", self)
    }

    fn open(&self, context: &mut Context) -> Result<Node, DataError> {
        let list = list_of(&self.paths, Some(Wanted::ARCHIVES), &context.access, &context.budget)?;
        let budget = context.budget.clone();
        let (mut known, mut rows) = (None::<Vec<Field>>, 0u64);
        let mut columns = None;
        for file in &list.files {
            let wrong = |why: String| DataError::Spec(format!("{}: {why}", file.path.display()));
            let archive = Archive::open(&file.path, &budget)?;
            let members = archive.find(self.fields.as_deref())?;
            let name_bytes = members.iter().map(|(name, _)| name.len()).sum();
            let column_bytes = Schema::bytes_of(members.len(), name_bytes);
            // Those of the first file stay, those of this one are compared with them.
            let counted = budget.try_reserve("columns", column_bytes.saturating_mul(2))?;
            let (mut fields, mut file_rows) = (Vec::with_capacity(members.len()), None);
            for (name, index) in members {
                let header = *archive.member(name, index, &budget)?.header();
                fields.push(field_of(name, &header).map_err(|why| wrong(format!("{name:?}: {why}")))?);
                let first = *file_rows.get_or_insert(header.rows());
                if header.rows() != first {
                    let found = header.rows();
                    return Err(wrong(format!("{name:?} has {found} rows, the first array has {first}")));
                }
            }
            let file_rows = file_rows.ok_or_else(|| wrong("no arrays".to_string()))?;
            rows = rows.saturating_add(file_rows);
            match &known {
                None => (known, columns) = (Some(fields), Some(counted)),
                Some(known) if *known == fields => {}
                Some(_) => return Err(wrong("other arrays than the first file has".to_string())),
            }
        }
        let fields = known.ok_or_else(|| DataError::Spec("no files".to_string()))?;
        let schema = Arc::new(Schema::new(fields).map_err(DataError::Spec)?);
        let format = ArchiveFormat { schema, rows, budget, _columns: columns };
        open_files("npz", format, list, self.interleave, context)
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> json::Read<Arc<dyn SourceSpec>> {
    let (paths, interleave) = (args.paths()?, read_interleave(args)?);
    let fields = args.texts_option("fields")?;
    Ok(Arc::new(Npz { paths, interleave, fields }))
}

/// What reading an array takes beside its windows: its place in lists, its path, and what the allocator adds.
const MEMBER_BYTES: u64 = 512;

/// A file that several read from, each at a place of its own.
#[derive(Debug)]
enum Shared {
    /// One that was opened once for all.
    File { file: Arc<StoredFile>, at: u64 },
    /// One of its own: an object is read ahead from one place.
    Own(StoredFile),
}

impl Read for Shared {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Shared::File { file, at } => {
                let read = file.read_at(out, *at)?;
                *at = at.saturating_add(read as u64);
                storage::has_read(read as u64);
                Ok(read)
            }
            Shared::Own(file) => file.read(out),
        }
    }
}

impl Seek for Shared {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (file, at) = match self {
            Shared::File { file, at } => (file, at),
            Shared::Own(file) => return file.seek(to),
        };
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(by) => file.len().checked_add_signed(by),
            SeekFrom::Current(by) => at.checked_add_signed(by),
        };
        *at = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(*at)
    }
}

/// An archive whose directory was read. Its arrays stand one after the other and are read side by side.
struct Archive {
    path: Arc<Path>,
    npz: NpzReader<Shared>,
    file: Option<Arc<StoredFile>>,
    /// What arrays in Fortran order are read from, once there is one.
    placed: OnceCell<Arc<StoredFile>>,
    budget: MemoryBudget,
    _names: Reservation,
}

impl Archive {
    fn open(path: &Path, budget: &MemoryBudget) -> Result<Archive, DataError> {
        let opened = storage::open(path, budget).map_err(|e| io_error(path, e))?;
        let path: Arc<Path> = Arc::from(path);
        let (read, file) = if storage::Location::of(&path).is_url() {
            (Shared::Own(opened), None)
        } else {
            let file = Arc::new(opened);
            (Shared::File { file: file.clone(), at: 0 }, Some(file))
        };
        let npz = NpzReader::new(path.clone(), read, budget).map_err(DataError::Format)?;
        // A list of the arrays to read, and an entry each to find it by its name.
        let entry_bytes = 3 * size_of::<(&str, usize)>() + 16;
        let bytes = npz.names().count().saturating_mul(entry_bytes) as u64;
        let names = budget.try_reserve("columns", bytes)?;
        Ok(Archive { path, npz, file, placed: OnceCell::new(), budget: budget.clone(), _names: names })
    }

    /// The arrays called `wanted`, or all, each with its number.
    fn find<'a>(&'a self, wanted: Option<&'a [String]>) -> Result<Vec<(&'a str, usize)>, DataError> {
        let Some(wanted) = wanted else {
            return Ok(self.npz.names().enumerate().map(|(index, name)| (name, index)).collect());
        };
        // Of two of one name the first is meant.
        let mut by_name = HashMap::with_capacity(self.npz.names().count());
        self.npz.names().enumerate().for_each(|(index, name)| {
            by_name.entry(name).or_insert(index);
        });
        let find = |name: &'a String| {
            let index = by_name.get(name.as_str()).copied();
            let missing = || DataError::Spec(format!("{}: there is no array {name:?}", self.path.display()));
            Ok((name.as_str(), index.ok_or_else(missing)?))
        };
        wanted.iter().map(find).collect()
    }

    fn read(&self) -> Result<Shared, DataError> {
        match &self.file {
            Some(file) => Ok(Shared::File { file: file.clone(), at: 0 }),
            None => {
                let opened = storage::open(&self.path, &self.budget);
                opened.map(Shared::Own).map_err(|e| io_error(&self.path, e))
            }
        }
    }

    /// The file for what is read at places of its own, one for all arrays.
    fn placed_file(&self, budget: &MemoryBudget) -> Result<Arc<StoredFile>, DataError> {
        if let Some(file) = self.file.as_ref().or(self.placed.get()) {
            return Ok(file.clone());
        }
        let file = storage::open(&self.path, budget).map_err(|e| io_error(&self.path, e))?;
        Ok(self.placed.get_or_init(|| Arc::new(file)).clone())
    }

    /// Array number `index`, which is called `name`.
    fn member(&self, name: &str, index: usize, budget: &MemoryBudget) -> Result<Member, DataError> {
        let member: Arc<Path> = Arc::from(self.path.join(name));
        let zip = self.npz.zip();
        let content = zip.content_through(index, self.read()?).map_err(DataError::Format)?;
        let reader = NpyReader::new(member.clone(), content).map_err(DataError::Format)?;
        if !reader.header().is_fortran_order {
            return Ok(Member::Streamed(reader));
        }
        drop(reader);
        let stored_at = zip.stored_at_through(index, &mut self.read()?).map_err(DataError::Format)?;
        let Some(offset) = stored_at else {
            let what = "a packed array in Fortran order".to_string();
            let problem = Problem::Unsupported { what, advice: "save it with numpy.savez, or as .npy" };
            return Err(DataError::Format(FormatError::new(&member, FilePlace::Whole, problem)));
        };
        let file = self.placed_file(budget)?;
        let header = header_at(&file, offset, &member).map_err(DataError::Format)?;
        Ok(Member::Placed { file, offset, header, path: member })
    }
}

/// One array of an archive, opened but for its window.
enum Member {
    /// It stands in the file as it is, in Fortran order.
    Placed { file: Arc<StoredFile>, offset: u64, header: NpyHeader, path: Arc<Path> },
    /// It is read from front to back, and its CRC checked.
    Streamed(NpyReader<Content<Shared>>),
}

impl Member {
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
    reader: NpyReader<Content<Shared>>,
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
        // Before the first there is none; the reader says how many rows the window holds.
        let Some(row) = self.next.checked_sub(1) else { return &[] };
        &self.window[row * row_bytes..][..row_bytes]
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
    _columns: Option<Reservation>,
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
    ) -> Result<Box<dyn FileRows>, BadRead> {
        let bad = |fault| BadRead { place: None, fault };
        let failed = |error| {
            bad(match error {
                DataError::Format(error) => RowFault::Array(error),
                DataError::Budget(error) => RowFault::Memory(error),
                DataError::Io { error, .. } => RowFault::Io(error),
                error => RowFault::Map(error.to_string()),
            })
        };
        let fields = self.schema.fields();
        let path_bytes = file.path.as_os_str().len() as u64 + MEMBER_BYTES;
        let counted = self.budget.try_reserve(PURPOSE, path_bytes.saturating_mul(fields.len() as u64));
        let counted = counted.map_err(|error| bad(RowFault::Memory(error)))?;
        let archive = Archive::open(&file.path, &self.budget).map_err(failed)?;
        let names: Vec<String> = fields.iter().map(|field| field.name.clone()).collect();
        let mut members = Vec::with_capacity(fields.len());
        for (field, (name, index)) in fields.iter().zip(archive.find(Some(&names)).map_err(failed)?) {
            let member = archive.member(name, index, &self.budget).map_err(failed)?;
            let shape = Shape::new(member.header().row_shape()).ok();
            let shape =
                shape.filter(|shape| field.allows(shape) && field.dtype == member.header().element.dtype());
            let changed = || RowFault::Map("it has changed since it was listed".to_string());
            let shape = shape.ok_or_else(|| bad(changed()))?;
            members.push((member.rows(from.0, &self.budget).map_err(bad)?, shape));
        }
        let made = Element::new(self.schema.clone(), PURPOSE, &self.budget);
        Ok(Box::new(ArchiveRows { members, made, row: from.0, is_broken: false, _counted: counted }))
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
    /// True after an error: arrays would not be at the same row after it.
    is_broken: bool,
    _counted: Reservation,
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

impl FileRows for ArchiveRows {
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
