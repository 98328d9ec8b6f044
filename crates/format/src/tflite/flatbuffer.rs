//! Tables of a flatbuffer, read where they stand in the file: every offset, length and count is held against the file before
//! it is followed.
//!
//! A table begins with the distance back to its vtable, which says where in the table each field stands. Offsets to tables,
//! texts and lists point forward, so no chain of them is a circle; but many may point to one place, so what is made of a file
//! is counted on the budget, and how many tables are looked at is limited.

use tightfit_core::{Account, BudgetError, Buffer, MemoryBudget, array_bytes, block_bytes};

use crate::error::{FormatError, Problem};
use crate::limits::{self, Limit};
use crate::source::SourceFile;

pub(super) type Result<T> = std::result::Result<T, FormatError>;

/// What a piece of the file takes in memory, and how many pieces there are.
const PAGE_BYTES: usize = 4 << 10;
const PAGES: usize = 16;

/// The tables of a file.
pub const TABLES: Limit = Limit { name: "tables in a flatbuffer", max: 1 << 23 };

/// A table: where it stands, and its vtable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    at: u64,
    vtable: u64,
    vtable_bytes: u16,
    table_bytes: u16,
}

impl Table {
    /// Where it stands in the file.
    pub fn offset(&self) -> u64 {
        self.at
    }
}

/// A file of tables.
pub(super) struct Flatbuffer<'f> {
    source: &'f SourceFile,
    pages: Buffer,
    /// Which page of the file each of `pages` is.
    held: [u64; PAGES],
    tables: u64,
    account: Account,
}

const NO_PAGE: u64 = u64::MAX;

impl<'f> Flatbuffer<'f> {
    pub fn new(
        source: &'f SourceFile,
        budget: &MemoryBudget,
        purpose: &'static str,
    ) -> Result<Flatbuffer<'f>> {
        let pages = Buffer::new(budget, "window over a model file", PAGE_BYTES * PAGES)
            .map_err(|e| source.error_at(0, Problem::Budget(e)))?;
        let account = Account::new(budget, purpose);
        Ok(Flatbuffer { source, pages, held: [NO_PAGE; PAGES], tables: 0, account })
    }

    /// What has been made so far stays counted on this.
    pub fn into_account(self) -> Account {
        self.account
    }

    pub fn len(&self) -> u64 {
        self.source.len()
    }

    pub fn error(&self, at: u64, problem: Problem) -> FormatError {
        self.source.error_at(at, problem)
    }

    pub fn invalid(&self, at: u64, expected: &'static str, found: impl Into<String>) -> FormatError {
        self.error(at, Problem::invalid(expected, found))
    }

    fn budget_error(&self, error: BudgetError) -> FormatError {
        self.error(0, Problem::Budget(error))
    }

    /// Counts a block of `bytes` that is about to be allocated.
    pub fn charge(&mut self, bytes: u64) -> Result<()> {
        self.account.grow(block_bytes(bytes)).map_err(|e| self.budget_error(e))
    }

    /// An empty list with room for `count` elements.
    pub fn list<T>(&mut self, count: usize) -> Result<Vec<T>> {
        self.account.grow(array_bytes::<T>(count)).map_err(|e| self.budget_error(e))?;
        Ok(Vec::with_capacity(count))
    }

    /// The bytes at `at`.
    pub fn bytes<const N: usize>(&mut self, at: u64) -> Result<[u8; N]> {
        let mut out = [0; N];
        self.read(at, &mut out)?;
        Ok(out)
    }

    /// Fills `out` with the bytes from `at` on.
    pub fn read(&mut self, at: u64, out: &mut [u8]) -> Result<()> {
        let fits = at.checked_add(out.len() as u64).is_some_and(|end| end <= self.len());
        if !fits {
            let present_bytes = self.len().saturating_sub(at);
            let needed_bytes = out.len() as u64;
            return Err(
                self.error(at, Problem::Truncated { what: "a flatbuffer", needed_bytes, present_bytes })
            );
        }
        if out.len() > PAGE_BYTES {
            return self.source.read_exact_at(at, out);
        }
        let (mut at, mut rest) = (at, out);
        while !rest.is_empty() {
            let page = at / PAGE_BYTES as u64;
            let from = (at % PAGE_BYTES as u64) as usize;
            let count = rest.len().min(PAGE_BYTES - from);
            let (head, tail) = rest.split_at_mut(count);
            let held = self.page(page)?;
            // The page is whole but for the file's end, before which all of `out` lies.
            head.copy_from_slice(&held[from..from + count]);
            (at, rest) = (at + count as u64, tail);
        }
        Ok(())
    }

    fn page(&mut self, page: u64) -> Result<&[u8]> {
        let place = (page % PAGES as u64) as usize;
        let memory = &mut self.pages[place * PAGE_BYTES..][..PAGE_BYTES];
        if self.held[place] != page {
            self.held[place] = NO_PAGE;
            let start = page * PAGE_BYTES as u64;
            let bytes = (self.source.len() - start).min(PAGE_BYTES as u64) as usize;
            self.source.read_exact_at(start, &mut memory[..bytes])?;
            self.held[place] = page;
        }
        Ok(&self.pages[place * PAGE_BYTES..][..PAGE_BYTES])
    }

    /// Follows the offset that stands at `at`.
    fn follow(&mut self, at: u64) -> Result<u64> {
        let offset = u32::from_le_bytes(self.bytes(at)?);
        let target = at + u64::from(offset);
        if offset < 4 || target >= self.len() {
            return Err(self.invalid(at, "an offset within the file", offset.to_string()));
        }
        Ok(target)
    }

    /// The table that the offset at `at` is of.
    pub fn table_at(&mut self, at: u64) -> Result<Table> {
        self.tables += 1;
        if self.tables > TABLES.max {
            let problem = Problem::Limit { name: TABLES.name, limit: TABLES.max, found: self.tables };
            return Err(self.error(at, problem));
        }
        let at = self.follow(at)?;
        let back = i32::from_le_bytes(self.bytes(at)?);
        let vtable = i64::try_from(at).ok().and_then(|at| at.checked_sub(back.into()));
        let Some(vtable) = vtable.and_then(|vtable| u64::try_from(vtable).ok()) else {
            return Err(self.invalid(at, "a table's fields within the file", back.to_string()));
        };
        let [a, b, c, d] = self.bytes(vtable)?;
        let (vtable_bytes, table_bytes) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        let fits =
            |start: u64, bytes: u16| start.checked_add(bytes.into()).is_some_and(|end| end <= self.len());
        if vtable_bytes < 4 || table_bytes < 4 || !fits(vtable, vtable_bytes) || !fits(at, table_bytes) {
            let found = format!("{vtable_bytes} bytes of fields and {table_bytes} of values");
            return Err(self.invalid(at, "a table within the file", found));
        }
        Ok(Table { at, vtable, vtable_bytes, table_bytes })
    }

    /// Where a field of `bytes` stands; `None` where the file leaves it out.
    fn field(&mut self, table: Table, slot: u16, bytes: u64) -> Result<Option<u64>> {
        let entry = 4 + 2 * u32::from(slot);
        if entry + 2 > u32::from(table.vtable_bytes) {
            return Ok(None);
        }
        let offset = u16::from_le_bytes(self.bytes(table.vtable + u64::from(entry))?);
        if offset == 0 {
            return Ok(None);
        }
        if u64::from(offset) + bytes > u64::from(table.table_bytes) {
            let found = format!("field {slot} at {offset} of {}", table.table_bytes);
            return Err(self.invalid(table.at, "a field within its table", found));
        }
        Ok(Some(table.at + u64::from(offset)))
    }

    /// The bytes of a field, or `default`.
    pub fn scalar<const N: usize>(&mut self, table: Table, slot: u16, default: [u8; N]) -> Result<[u8; N]> {
        match self.field(table, slot, N as u64)? {
            Some(at) => self.bytes(at),
            None => Ok(default),
        }
    }

    pub fn i32(&mut self, table: Table, slot: u16, default: i32) -> Result<i32> {
        Ok(i32::from_le_bytes(self.scalar(table, slot, default.to_le_bytes())?))
    }

    pub fn u32(&mut self, table: Table, slot: u16, default: u32) -> Result<u32> {
        Ok(u32::from_le_bytes(self.scalar(table, slot, default.to_le_bytes())?))
    }

    pub fn u64(&mut self, table: Table, slot: u16) -> Result<u64> {
        Ok(u64::from_le_bytes(self.scalar(table, slot, [0; 8])?))
    }

    pub fn u8(&mut self, table: Table, slot: u16) -> Result<u8> {
        Ok(self.scalar(table, slot, [0])?[0])
    }

    /// The table that a field is.
    pub fn table(&mut self, table: Table, slot: u16) -> Result<Option<Table>> {
        match self.field(table, slot, 4)? {
            Some(at) => self.table_at(at).map(Some),
            None => Ok(None),
        }
    }

    /// Where the elements of a list stand, and how many bytes they are; `None` where the file has no such list.
    pub fn vector(&mut self, table: Table, slot: u16, element_bytes: u64) -> Result<Option<(u64, u64)>> {
        let Some(at) = self.field(table, slot, 4)? else { return Ok(None) };
        let at = self.follow(at)?;
        let count = u64::from(u32::from_le_bytes(self.bytes(at)?));
        let (start, bytes) = (at + 4, count * element_bytes);
        if bytes > self.len().saturating_sub(start) {
            let present_bytes = self.len().saturating_sub(start);
            let problem = Problem::Truncated { what: "a list", needed_bytes: bytes, present_bytes };
            return Err(self.error(at, problem));
        }
        Ok(Some((start, count)))
    }

    /// The same where a list has at most so many elements.
    fn limited(&mut self, table: Table, slot: u16, element_bytes: u64, limit: Limit) -> Result<(u64, usize)> {
        let (start, count) = self.vector(table, slot, element_bytes)?.unwrap_or_default();
        if count > limit.max {
            let problem = Problem::Limit { name: limit.name, limit: limit.max, found: count };
            return Err(self.error(table.at, problem));
        }
        Ok((start, count as usize))
    }

    /// The numbers of a list.
    pub fn scalars<const N: usize, T>(
        &mut self,
        table: Table,
        slot: u16,
        limit: Limit,
        each: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        let (start, count) = self.limited(table, slot, N as u64, limit)?;
        let mut list = self.list(count)?;
        for index in 0..count {
            list.push(each(self.bytes(start + (index * N) as u64)?));
        }
        Ok(list)
    }

    /// What `each` makes of the tables of a list.
    pub fn tables<T>(
        &mut self,
        table: Table,
        slot: u16,
        limit: Limit,
        mut each: impl FnMut(&mut Self, Table) -> Result<T>,
    ) -> Result<Vec<T>> {
        let (start, count) = self.limited(table, slot, 4, limit)?;
        let mut list = self.list(count)?;
        for index in 0..count {
            let inner = self.table_at(start + 4 * index as u64)?;
            list.push(each(self, inner)?);
        }
        Ok(list)
    }

    /// A text, what of it is no UTF-8 replaced; `None` where the file has none.
    pub fn text(&mut self, table: Table, slot: u16) -> Result<Option<Box<str>>> {
        if self.vector(table, slot, 1)?.is_none() {
            return Ok(None);
        }
        let bytes = self.scalars(table, slot, limits::NAME_BYTES, |[b]: [u8; 1]| b)?;
        self.account.shrink(block_bytes(bytes.len() as u64));
        let text = String::from_utf8_lossy(&bytes);
        self.charge(text.len() as u64)?;
        Ok(Some(text.into()))
    }
}
