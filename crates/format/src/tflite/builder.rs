//! Tables of a flatbuffer, written from front to back: a table stands before all that it points to, and the bytes of large
//! lists stand after all tables, so that they can be streamed.

use tightfit_core::{Account, BudgetError, MemoryBudget};

/// The bytes of a list begin at a multiple of this.
pub(super) const ALIGNMENT: u64 = 16;

/// What the memory of the tables is reserved for.
const PURPOSE: &str = "tables of the model that is written";

/// A table that is to be written: what its fields hold, by their slots.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(u16, Item)>);

/// What a field holds.
#[derive(Debug)]
enum Item {
    /// A number of so many bytes.
    Number([u8; 8], usize),
    Table(Fields),
    Text(Box<str>),
    /// The elements of a list, and how many bytes each has.
    Numbers(Vec<u8>, usize),
    Tables(Vec<Fields>),
    /// A list of bytes that comes later, by its number.
    Later(usize),
}

impl Fields {
    /// Adds a number.
    pub fn number<const N: usize>(&mut self, slot: u16, bytes: [u8; N]) {
        let mut item = [0; 8];
        item.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        self.0.push((slot, Item::Number(item, N)));
    }

    pub fn table(&mut self, slot: u16, table: Fields) {
        self.0.push((slot, Item::Table(table)));
    }

    pub fn text(&mut self, slot: u16, text: &str) {
        self.0.push((slot, Item::Text(text.into())));
    }

    /// Adds a list of numbers.
    pub fn numbers<const N: usize>(&mut self, slot: u16, values: impl Iterator<Item = [u8; N]>) {
        self.0.push((slot, Item::Numbers(values.flatten().collect(), N)));
    }

    pub fn tables(&mut self, slot: u16, tables: Vec<Fields>) {
        self.0.push((slot, Item::Tables(tables)));
    }

    /// Adds the list of bytes of that number.
    pub fn later(&mut self, slot: u16, list: usize) {
        self.0.push((slot, Item::Later(list)));
    }
}

impl Fields {
    /// Puts other tables in the place of a list.
    pub fn replace(&mut self, slot: u16, tables: Vec<Fields>) {
        self.0.retain(|(own, _)| *own != slot);
        self.tables(slot, tables);
    }
}

/// The tables as they stand in the file, and where lists of bytes are pointed to.
pub(super) struct Tables {
    bytes: Vec<u8>,
    /// The places of offsets, and the number of the list that each is to point to.
    later: Vec<(usize, usize)>,
    account: Account,
}

impl Tables {
    /// The file that begins with this table.
    ///
    /// # Errors
    /// [`BudgetError`] where the tables do not fit the memory.
    pub fn new(root: &Fields, identifier: [u8; 4], budget: &MemoryBudget) -> Result<Tables, BudgetError> {
        let mut tables =
            Tables { bytes: Vec::new(), later: Vec::new(), account: Account::new(budget, PURPOSE) };
        tables.put(&[0; 4])?;
        tables.put(&identifier)?;
        let at = tables.table(root)?;
        tables.point(0, at);
        Ok(tables)
    }

    /// Lets each list stand where `starts` says by its number.
    pub fn place_all(&mut self, starts: &[u64]) {
        for (field, list) in std::mem::take(&mut self.later) {
            if let Some(start) = starts.get(list) {
                self.point(field, *start as usize);
            }
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn put(&mut self, bytes: &[u8]) -> Result<usize, BudgetError> {
        self.account.reserve(&mut self.bytes, bytes.len())?;
        let at = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        Ok(at)
    }

    /// Goes to a place that is `behind` bytes before a multiple of `alignment`.
    fn align(&mut self, alignment: usize, behind: usize) -> Result<(), BudgetError> {
        let count = (alignment - (self.bytes.len() + behind) % alignment) % alignment;
        self.put(&[0; 8][..count]).map(|_| ())
    }

    /// Lets the offset at `field` point to `at`.
    fn point(&mut self, field: usize, at: usize) {
        let offset = (at - field) as u32;
        self.bytes[field..field + 4].copy_from_slice(&offset.to_le_bytes());
    }

    fn table(&mut self, fields: &Fields) -> Result<usize, BudgetError> {
        let slots = fields.0.iter().map(|(slot, _)| usize::from(*slot) + 1).max().unwrap_or(0);
        let size = |item: &Item| if let Item::Number(_, bytes) = item { *bytes } else { 4 };
        let mut order: Vec<usize> = (0..fields.0.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(size(&fields.0[*index].1)));
        let mut entries = vec![0u16; slots];
        let mut end: usize = 4;
        for index in &order {
            let (slot, item) = &fields.0[*index];
            let bytes = size(item);
            end = end.next_multiple_of(bytes);
            entries[usize::from(*slot)] = end as u16;
            end += bytes;
        }
        let vtable_bytes = 4 + 2 * slots;
        self.align(8, vtable_bytes)?;
        let vtable = self.put(&(vtable_bytes as u16).to_le_bytes())?;
        self.put(&(end as u16).to_le_bytes())?;
        for entry in &entries {
            self.put(&entry.to_le_bytes())?;
        }
        let table = self.put(&((vtable_bytes) as i32).to_le_bytes())?;
        debug_assert_eq!(table, vtable + vtable_bytes);
        self.account.reserve(&mut self.bytes, end - 4)?;
        self.bytes.resize(table + end, 0);
        for (slot, item) in &fields.0 {
            let field = table + usize::from(entries[usize::from(*slot)]);
            self.item(field, item)?;
        }
        Ok(table)
    }

    fn item(&mut self, field: usize, item: &Item) -> Result<(), BudgetError> {
        let at = match item {
            Item::Number(bytes, count) => {
                self.bytes[field..field + count].copy_from_slice(&bytes[..*count]);
                return Ok(());
            }
            Item::Later(list) => {
                self.account.reserve(&mut self.later, 1)?;
                self.later.push((field, *list));
                return Ok(());
            }
            Item::Table(table) => self.table(table)?,
            Item::Text(text) => {
                self.align(4, 0)?;
                let at = self.put(&(text.len() as u32).to_le_bytes())?;
                self.put(text.as_bytes())?;
                self.put(&[0])?;
                at
            }
            Item::Numbers(bytes, size) => {
                self.align((*size).max(4), 4)?;
                let at = self.put(&((bytes.len() / size) as u32).to_le_bytes())?;
                self.put(bytes)?;
                at
            }
            Item::Tables(tables) => {
                self.align(4, 0)?;
                let at = self.put(&(tables.len() as u32).to_le_bytes())?;
                for _ in tables {
                    self.put(&[0; 4])?;
                }
                for (index, table) in tables.iter().enumerate() {
                    let place = self.table(table)?;
                    self.point(at + 4 + 4 * index, place);
                }
                at
            }
        };
        self.point(field, at);
        Ok(())
    }
}
