//! Tables of the model that operators look keys up in.
//!
//! A table's content that the model comes with is read as the model is imported, and shared by all who run it. One that a
//! run changes is copied by the context that changes it, which keeps it for the next run, like a variable.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use tightfit_core::{BudgetError, Buffer, DType, MemoryBudget, StringRef};
use tightfit_kernels::fingerprint64;

use super::OpError;

/// What the memory of a table is reserved for.
const PURPOSE: &str = "tables";

/// The type of a table: of keys and values, and how many elements each key and value has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableType {
    /// The type of a key's elements.
    pub key: DType,
    /// Elements of a key; 1 for all but dense tables.
    pub key_elements: usize,
    /// The type of a value's elements.
    pub value: DType,
    /// Elements of a value.
    pub value_elements: usize,
}

/// Keys with a value each, in the order in which they were put in.
pub struct Table {
    kind: TableType,
    budget: MemoryBudget,
    len: usize,
    /// For each place of the hash, 0 or one more than the number of the entry there.
    places: Buffer,
    keys: Buffer,
    values: Buffer,
    /// The texts of keys and values.
    texts: Buffer,
    text_bytes: usize,
    /// Bytes of texts that no entry refers to any more.
    lost_bytes: usize,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} entries of {:?})", self.len, self.kind)
    }
}

/// Elements of a tensor that are given to a table or taken from one, and where their texts are.
#[derive(Clone, Copy)]
pub struct Elements<'a, 't> {
    /// The elements.
    pub bytes: &'a [u8],
    /// The text of a string among them.
    pub text: &'a dyn Fn(StringRef) -> &'t [u8],
}

impl<'a, 't> Elements<'a, 't> {
    /// The bytes from one offset to another.
    fn part(&self, from: usize, bytes: usize) -> Option<Elements<'a, 't>> {
        Some(Elements { bytes: self.bytes.get(from..from.checked_add(bytes)?)?, text: self.text })
    }

    fn texts(&self) -> impl Iterator<Item = &'t [u8]> + use<'a, 't> {
        let text = self.text;
        references(self.bytes).map(text)
    }
}

fn references(bytes: &[u8]) -> impl Iterator<Item = StringRef> + use<'_> {
    bytes.chunks_exact(size_of::<StringRef>()).map(bytemuck::pod_read_unaligned)
}

const BROKEN: OpError = OpError::Internal("a table's entry is not there");

impl Table {
    /// A table without entries.
    ///
    /// # Errors
    /// [`BudgetError`] when there is no memory for it.
    pub fn new(kind: TableType, budget: &MemoryBudget) -> Result<Table, BudgetError> {
        let empty = || Buffer::new(budget, PURPOSE, 0);
        Ok(Table {
            kind,
            budget: budget.clone(),
            len: 0,
            places: empty()?,
            keys: empty()?,
            values: empty()?,
            texts: empty()?,
            text_bytes: 0,
            lost_bytes: 0,
        })
    }

    /// A copy in memory of `budget`.
    ///
    /// # Errors
    /// [`BudgetError`] when there is no memory for it.
    pub fn try_clone(&self, budget: &MemoryBudget) -> Result<Table, BudgetError> {
        let copy = |of: &Buffer| -> Result<Buffer, BudgetError> {
            let mut buffer = Buffer::new(budget, PURPOSE, of.len())?;
            buffer.copy_from_slice(of);
            Ok(buffer)
        };
        Ok(Table {
            kind: self.kind,
            budget: budget.clone(),
            len: self.len,
            places: copy(&self.places)?,
            keys: copy(&self.keys)?,
            values: copy(&self.values)?,
            texts: copy(&self.texts)?,
            text_bytes: self.text_bytes,
            lost_bytes: self.lost_bytes,
        })
    }

    /// What it holds.
    pub fn kind(&self) -> TableType {
        self.kind
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of one key.
    pub fn key_bytes(&self) -> usize {
        self.kind.key.bytes() * self.kind.key_elements
    }

    /// Bytes of one value.
    pub fn value_bytes(&self) -> usize {
        self.kind.value.bytes() * self.kind.value_elements
    }

    fn text(&self, string: StringRef) -> &[u8] {
        let start = usize::try_from(string.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(string.bytes).unwrap_or(usize::MAX));
        self.texts.get(start..end).unwrap_or_default()
    }

    fn own_key(&self, entry: usize) -> &[u8] {
        self.keys.get(entry * self.key_bytes()..(entry + 1) * self.key_bytes()).unwrap_or_default()
    }

    fn own_value(&self, entry: usize) -> &[u8] {
        self.values.get(entry * self.value_bytes()..(entry + 1) * self.value_bytes()).unwrap_or_default()
    }

    fn hash(dtype: DType, bytes: &[u8], text: &dyn Fn(StringRef) -> u64) -> u64 {
        if dtype != DType::String {
            return fingerprint64(bytes);
        }
        references(bytes).fold(0u64, |hash, string| hash.rotate_left(5).wrapping_mul(31) ^ text(string))
    }

    fn hash_of(&self, key: Elements<'_, '_>) -> u64 {
        Table::hash(self.kind.key, key.bytes, &|string| fingerprint64((key.text)(string)))
    }

    fn place_count(&self) -> usize {
        self.places.len() / size_of::<u32>()
    }

    fn place(&self, at: usize) -> usize {
        let bytes = self.places.get(at * 4..at * 4 + 4);
        bytes.map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
    }

    fn set_place(&mut self, at: usize, value: usize) {
        if let Some(bytes) = self.places.get_mut(at * 4..at * 4 + 4) {
            bytes.copy_from_slice(&(value as u32).to_le_bytes());
        }
    }

    /// The place of a key, or the free one where it would be; `None` in a table without places.
    fn find_place(&self, key: Elements<'_, '_>) -> Option<usize> {
        let count = self.place_count();
        let mut at = (self.hash_of(key) as usize) & count.checked_sub(1)?;
        loop {
            match self.place(at) {
                0 => return Some(at),
                entry if self.is_key(entry - 1, key) => return Some(at),
                _ => at = (at + 1) & (count - 1),
            }
        }
    }

    fn is_key(&self, entry: usize, key: Elements<'_, '_>) -> bool {
        let own = self.own_key(entry);
        match self.kind.key {
            DType::String => references(own).map(|own| self.text(own)).eq(key.texts()),
            _ => own == key.bytes,
        }
    }

    /// The number of a key's entry.
    pub fn find(&self, key: Elements<'_, '_>) -> Option<usize> {
        self.place(self.find_place(key)?).checked_sub(1)
    }

    /// The number of the entry of key number `index` of a tensor.
    pub fn find_at(&self, keys: Elements<'_, '_>, index: usize) -> Option<usize> {
        self.find(keys.part(index * self.key_bytes(), self.key_bytes())?)
    }

    /// The value of an entry: its elements, and the texts of its strings.
    pub fn value<'t>(&'t self, entry: usize) -> (&'t [u8], impl Iterator<Item = &'t [u8]> + 't) {
        let own = self.own_value(entry);
        let strings = if self.kind.value == DType::String { own } else { &[] };
        (own, references(strings).map(|string| self.text(string)))
    }

    /// The key of an entry, in the same way.
    pub fn key<'t>(&'t self, entry: usize) -> (&'t [u8], impl Iterator<Item = &'t [u8]> + 't) {
        let own = self.own_key(entry);
        let strings = if self.kind.key == DType::String { own } else { &[] };
        (own, references(strings).map(|string| self.text(string)))
    }

    /// Key and value number `index` of tensors of them.
    ///
    /// # Errors
    /// [`OpError::Internal`] where there are fewer.
    pub fn entry_of<'a, 't>(
        &self,
        keys: Elements<'a, 't>,
        values: Elements<'a, 't>,
        index: usize,
    ) -> Result<(Elements<'a, 't>, Elements<'a, 't>), OpError> {
        let key = keys.part(index * self.key_bytes(), self.key_bytes()).ok_or(BROKEN)?;
        let value = values.part(index * self.value_bytes(), self.value_bytes()).ok_or(BROKEN)?;
        Ok((key, value))
    }

    /// True where a key is there with another value.
    pub fn differs(&self, key: Elements<'_, '_>, value: Elements<'_, '_>) -> bool {
        let Some(entry) = self.find(key) else { return false };
        let (own, texts) = self.value(entry);
        match self.kind.value {
            DType::String => !texts.eq(value.texts()),
            _ => own != value.bytes,
        }
    }

    /// Puts a value in the place of that of a key, or in a new entry.
    ///
    /// # Errors
    /// [`OpError::Budget`] when there is no memory for it.
    pub fn insert_one(&mut self, key: Elements<'_, '_>, value: Elements<'_, '_>) -> Result<(), OpError> {
        // A quarter of the places stays free.
        if (self.len + 1) * 4 > self.place_count() * 3 {
            self.grow()?;
        }
        let place = self.find_place(key).ok_or(BROKEN)?;
        let entry = match self.place(place).checked_sub(1) {
            Some(entry) => {
                let lost = if self.kind.value == DType::String {
                    references(self.own_value(entry)).map(|text| text.bytes as usize).sum()
                } else {
                    0
                };
                self.lost_bytes += lost;
                let bytes = self.value_bytes();
                self.values.get_mut(entry * bytes..(entry + 1) * bytes).ok_or(BROKEN)?.fill(0);
                entry
            }
            None => {
                let (entry, bytes) = (self.len, self.key_bytes());
                self.write(Part::Key, entry * bytes, key)?;
                self.set_place(place, entry + 1);
                self.len += 1;
                entry
            }
        };
        self.write(Part::Value, entry * self.value_bytes(), value)
    }

    fn write(&mut self, part: Part, at: usize, elements: Elements<'_, '_>) -> Result<(), OpError> {
        let dtype = if part == Part::Key { self.kind.key } else { self.kind.value };
        if dtype != DType::String {
            let own = self.part_mut(part).get_mut(at..at + elements.bytes.len()).ok_or(BROKEN)?;
            own.copy_from_slice(elements.bytes);
            return Ok(());
        }
        for (number, text) in elements.texts().enumerate() {
            self.make_text_room(text.len())?;
            let (start, end) = (self.text_bytes, self.text_bytes + text.len());
            self.texts.get_mut(start..end).ok_or(BROKEN)?.copy_from_slice(text);
            self.text_bytes = end;
            let own = StringRef { offset: start as u64, bytes: text.len() as u64 };
            let at = at + number * size_of::<StringRef>();
            let place = self.part_mut(part).get_mut(at..at + size_of::<StringRef>()).ok_or(BROKEN)?;
            place.copy_from_slice(bytemuck::bytes_of(&own));
        }
        Ok(())
    }

    fn part_mut(&mut self, part: Part) -> &mut Buffer {
        match part {
            Part::Key => &mut self.keys,
            Part::Value => &mut self.values,
        }
    }

    /// Room for one text more: lost ones are given up where they are most of all, else the memory grows.
    fn make_text_room(&mut self, bytes: usize) -> Result<(), OpError> {
        if self.texts.len() - self.text_bytes >= bytes {
            return Ok(());
        }
        let kept = self.text_bytes - self.lost_bytes;
        let all = (kept + bytes).max(kept * 2).max(LEAST_TEXT_BYTES);
        if self.lost_bytes < kept {
            self.texts.grow(&self.budget, (self.text_bytes + bytes).max(all))?;
            return Ok(());
        }
        let mut texts = Buffer::new(&self.budget, PURPOSE, all)?;
        let mut at = 0;
        let old = std::mem::replace(&mut self.texts, Buffer::new(&self.budget, PURPOSE, 0)?);
        let lists = [(&mut self.keys, self.kind.key), (&mut self.values, self.kind.value)];
        for (list, _) in lists.into_iter().filter(|(_, dtype)| *dtype == DType::String) {
            for place in list.chunks_exact_mut(size_of::<StringRef>()) {
                let string: StringRef = bytemuck::pod_read_unaligned(place);
                let (start, bytes) = (string.offset as usize, string.bytes as usize);
                let text = old.get(start..start + bytes).ok_or(BROKEN)?;
                texts.get_mut(at..at + bytes).ok_or(BROKEN)?.copy_from_slice(text);
                let new = StringRef { offset: at as u64, bytes: bytes as u64 };
                place.copy_from_slice(bytemuck::bytes_of(&new));
                at += bytes;
            }
        }
        (self.texts, self.text_bytes, self.lost_bytes) = (texts, at, 0);
        Ok(())
    }

    /// Twice as many places, and room for as many entries as may fill them.
    fn grow(&mut self) -> Result<(), OpError> {
        let count = (self.place_count() * 2).max(LEAST_PLACES);
        if u32::try_from(count).is_err() {
            return Err(OpError::Invalid("holds more than 2^32 entries".into()));
        }
        let entries = count / 4 * 3;
        self.keys.grow(&self.budget, entries * self.key_bytes())?;
        self.values.grow(&self.budget, entries * self.value_bytes())?;
        self.places = Buffer::new(&self.budget, PURPOSE, 0)?;
        self.places = Buffer::new(&self.budget, PURPOSE, count * size_of::<u32>())?;
        for entry in 0..self.len {
            let mut at = self.storage(entry) & (count - 1);
            while self.place(at) != 0 {
                at = (at + 1) & (count - 1);
            }
            self.set_place(at, entry + 1);
        }
        Ok(())
    }

    /// The hash of an entry's key.
    fn storage(&self, entry: usize) -> usize {
        let hash = |string| fingerprint64(self.text(string));
        Table::hash(self.kind.key, self.own_key(entry), &hash) as usize
    }

    /// Takes out the entry of a key, if there is one. The last entry takes its number.
    pub fn remove(&mut self, key: Elements<'_, '_>) {
        let Some(place) = self.find_place(key) else { return };
        let Some(entry) = self.place(place).checked_sub(1) else { return };
        let lost = [(self.kind.key, self.own_key(entry)), (self.kind.value, self.own_value(entry))]
            .into_iter()
            .filter(|(dtype, _)| *dtype == DType::String)
            .flat_map(|(_, own)| references(own))
            .map(|text| text.bytes as usize)
            .sum::<usize>();
        self.lost_bytes += lost;
        self.free_place(place);
        let last = self.len - 1;
        if entry != last {
            let count = self.place_count();
            let mut at = self.storage(last) & (count - 1);
            while self.place(at) != last + 1 {
                at = (at + 1) & (count - 1);
            }
            self.set_place(at, entry + 1);
            let (key, value) = (self.key_bytes(), self.value_bytes());
            self.keys.copy_within(last * key..(last + 1) * key, entry * key);
            self.values.copy_within(last * value..(last + 1) * value, entry * value);
        }
        // What refers to no text is no text that is kept.
        let (key, value) = (self.key_bytes(), self.value_bytes());
        if let Some(own) = self.keys.get_mut(last * key..(last + 1) * key) {
            own.fill(0);
        }
        if let Some(own) = self.values.get_mut(last * value..(last + 1) * value) {
            own.fill(0);
        }
        self.len = last;
    }

    /// Frees a place, and moves those after it that were put there because it was taken.
    fn free_place(&mut self, place: usize) {
        let count = self.place_count();
        let mask = count - 1;
        let (mut free, mut at) = (place, place);
        loop {
            at = (at + 1) & mask;
            let Some(entry) = self.place(at).checked_sub(1) else { break };
            let storage = self.storage(entry) & mask;
            // It may move where its own first place is not after the free one.
            if (at.wrapping_sub(storage) & mask) >= (at.wrapping_sub(free) & mask) {
                self.set_place(free, entry + 1);
                free = at;
            }
        }
        self.set_place(free, 0);
    }

    /// Takes out all entries.
    pub fn clear(&mut self) {
        self.places.fill(0);
        self.keys.fill(0);
        self.values.fill(0);
        (self.len, self.text_bytes, self.lost_bytes) = (0, 0, 0);
    }
}

/// What of an entry is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Key,
    Value,
}

const LEAST_PLACES: usize = 16;
const LEAST_TEXT_BYTES: usize = 64;

/// A table of the model.
pub struct TableSpec {
    /// Its name.
    pub name: String,
    /// What it holds before the first run.
    pub initial: Arc<Table>,
    /// The dimensions of a key; none but for dense tables.
    pub key_dims: Vec<usize>,
    /// The dimensions of a value.
    pub value_dims: Vec<usize>,
    /// The keys that none may be, of dense tables: for one that is not there, and for one that was taken out.
    pub reserved: Option<Table>,
    /// True for one that is filled once: what stands for the value of a key that it lacks is one value for all.
    pub is_filled_once: bool,
    /// True for one that runs change.
    pub is_mutable: bool,
}

// Its name says which it is.
impl fmt::Debug for TableSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table '{}'", self.name)
    }
}

/// The tables that a context changes.
#[derive(Debug)]
pub struct Tables {
    budget: MemoryBudget,
    own: Vec<(Arc<TableSpec>, RefCell<Table>)>,
}

impl Tables {
    /// No tables yet; what they grow to is of `budget`.
    pub fn new(budget: &MemoryBudget) -> Tables {
        Tables { budget: budget.clone(), own: Vec::new() }
    }

    /// Holds the tables that steps change; those that it has stay as they are.
    ///
    /// # Errors
    /// [`BudgetError`] when there is no memory for them.
    pub fn install(&mut self, specs: Vec<Arc<TableSpec>>) -> Result<(), BudgetError> {
        for spec in specs {
            if !self.own.iter().any(|(own, _)| own.name == spec.name) {
                let table = spec.initial.try_clone(&self.budget)?;
                self.own.push((spec, RefCell::new(table)));
            }
        }
        Ok(())
    }

    /// Makes every table what it is before the first run.
    ///
    /// # Errors
    /// [`BudgetError`] when there is no memory for it.
    pub fn reset(&mut self) -> Result<(), BudgetError> {
        for (spec, table) in &mut self.own {
            let empty = Table::new(spec.initial.kind(), &self.budget)?;
            *table.get_mut() = empty;
            *table.get_mut() = spec.initial.try_clone(&self.budget)?;
        }
        Ok(())
    }

    /// A table as it is by now.
    ///
    /// # Errors
    /// [`OpError::Internal`] for one that is not held here.
    pub fn get(&self, spec: &TableSpec) -> Result<&RefCell<Table>, OpError> {
        let own = self.own.iter().find(|(own, _)| own.name == spec.name);
        own.map(|(_, table)| table).ok_or(OpError::Internal("a table is not held by who runs"))
    }
}

#[cfg(test)]
mod tests;
