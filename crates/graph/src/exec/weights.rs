//! Reading constants into memory, each straight into the layout its user wants.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tightfit_core::{ALIGNMENT, Buffer, MemoryBudget, Shared, step_done};
use tightfit_kernels::{BytePanels, FilterType, Isa, PackedLayout, ThreadPool};

use crate::error::GraphError;
use crate::ir::{Constant, ConstantData};
use crate::operator::strings::Texts;
use crate::operator::{OpError, WeightLayout};
use crate::plan::{Plan, WeightPlan};

/// Bytes of a file that are read at once while packing.
const CHUNK_BYTES: usize = 512 << 10;
/// Columns of a large matrix that one thread packs: row segments of it are long enough to be read by themselves. A
/// multiple of every panel's width.
const SPLIT_COLUMNS: usize = 2048;

/// Bytes of scratch that [`WeightMemory::add`] needs.
pub(super) fn load_scratch_bytes(plan: &Plan, threads: usize) -> usize {
    let packed = all(plan).filter(|w| w.layout != WeightLayout::Dense);
    let each = packed.map(|w| CHUNK_BYTES.min(w.constant.bytes()).max(row_bytes(w))).max();
    each.unwrap_or(0) * threads
}

/// The constants of a plan and of the bodies in it.
fn all(plan: &Plan) -> impl Iterator<Item = &WeightPlan> {
    plan.all().flat_map(|plan| &plan.weights)
}

fn row_bytes(weight: &WeightPlan) -> usize {
    match weight.layout {
        WeightLayout::Panels { n, is_transposed: false, groups, .. } => (n * groups).min(SPLIT_COLUMNS) * 4,
        WeightLayout::Panels { k, .. } => k * 4,
        WeightLayout::BytePanels { depth, .. } => depth * BytePanels::WIDTH,
        WeightLayout::Dense => 0,
    }
}

/// A piece of work for one thread: some columns of a weight, or all of it.
struct Part<'p> {
    weight: &'p WeightPlan,
    columns: std::ops::Range<usize>,
}

/// The constants of a model in memory, which nobody writes any more. A clone shares them, and a plan for another batch
/// finds most of them there already.
#[derive(Clone, Default)]
pub struct WeightMemory {
    memory: Vec<Arc<Buffer>>,
    places: HashMap<Key, Place>,
    texts: Texts,
}

#[derive(Clone)]
struct Place {
    piece: usize,
    offset: usize,
    _constant: Arc<Constant>,
}

/// A constant in a layout: the constant by its address, which [`Place`] keeps taken.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    constant: usize,
    layout: WeightLayout,
}

impl Key {
    fn of(weight: &WeightPlan) -> Key {
        Key { constant: Arc::as_ptr(&weight.constant).addr(), layout: weight.layout }
    }
}

impl WeightMemory {
    /// Reads the constants of `plan` that are not there yet, with all threads.
    ///
    /// # Errors
    /// [`GraphError::Budget`] when their memory is not free, [`GraphError::Node`] for the first error of a file.
    pub fn add(
        &mut self,
        plan: &Plan,
        file: &str,
        scratch: &mut [u8],
        pool: &ThreadPool,
        budget: &MemoryBudget,
    ) -> Result<(), GraphError> {
        let is_new = |w: &&WeightPlan| !self.places.contains_key(&Key::of(w));
        let mut seen = HashSet::new();
        let is_first = |w: &&WeightPlan| seen.insert(Key::of(w));
        let mut new: Vec<WeightPlan> = all(plan).filter(is_new).filter(is_first).cloned().collect();
        let mut bytes = 0;
        for weight in &mut new {
            weight.offset = bytes;
            bytes += weight.bytes.next_multiple_of(ALIGNMENT);
        }
        let mut memory = Buffer::new(budget, "weights", bytes)?;
        load(&new, &mut memory, scratch, pool).map_err(|source| GraphError::Node {
            file: file.to_string(),
            node: "weights".to_string(),
            op: "Const".to_string(),
            source: Box::new(source),
        })?;
        let has_room = self.add_texts(&new, &mut memory, budget)?;
        for weight in new {
            let place =
                Place { piece: self.memory.len(), offset: weight.offset, _constant: weight.constant.clone() };
            self.places.insert(Key::of(&weight), place);
        }
        self.memory.push(Arc::new(memory));
        has_room.then_some(()).ok_or_else(|| GraphError::Plan("string constants were not planned for".into()))
    }

    /// Keeps the texts of string constants, and writes their references where the constants are.
    fn add_texts(
        &mut self,
        new: &[WeightPlan],
        memory: &mut [u8],
        budget: &MemoryBudget,
    ) -> Result<bool, GraphError> {
        let mut lists = Vec::new();
        let (mut rest, mut passed, mut bytes) = (memory, 0, 0);
        for weight in new {
            let ConstantData::Strings(texts) = &weight.constant.data else { continue };
            let outside = || GraphError::Plan("a constant lies outside of its memory".into());
            let (_, from) = rest.split_at_mut_checked(weight.offset - passed).ok_or_else(outside)?;
            let (references, behind) = from.split_at_mut_checked(weight.bytes).ok_or_else(outside)?;
            lists.push((&texts[..], references));
            bytes += texts.iter().map(|text| text.len()).sum::<usize>();
            (rest, passed) = (behind, weight.offset + weight.bytes);
        }
        if lists.is_empty() {
            return Ok(true);
        }
        Ok(self.texts.add(lists.into_iter(), bytes, budget)?)
    }

    /// Where a constant is: memory that is only read.
    ///
    /// # Errors
    /// [`GraphError::Plan`] for one that was never added.
    pub fn start(&self, weight: &WeightPlan) -> Result<*mut u8, GraphError> {
        let missing = || GraphError::Plan("a constant of the plan was not read".into());
        let place = self.places.get(&Key::of(weight)).ok_or_else(missing)?;
        let piece = self.memory.get(place.piece).ok_or_else(missing)?;
        Ok(piece.as_ptr().wrapping_add(place.offset).cast_mut())
    }

    /// The texts that string constants refer to.
    pub fn texts(&self) -> &Texts {
        &self.texts
    }
}

/// Reads constants into `memory`, each at its offset, with all threads.
fn load(
    weights: &[WeightPlan],
    memory: &mut [u8],
    scratch: &mut [u8],
    pool: &ThreadPool,
) -> Result<(), OpError> {
    let parts: Vec<Part<'_>> = weights.iter().flat_map(parts).collect();
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let memory = Shared::new(memory);
    let scratch_each = scratch.len() / pool.threads();
    let scratch = Shared::new(scratch);
    pool.run(pool.threads(), &|_, worker| {
        // SAFETY: each worker has its own piece of the scratch.
        let mut scratch = unsafe { scratch.part(worker * scratch_each, scratch_each) };
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (from, bytes) = part.place();
            // SAFETY: parts are disjoint ranges of the memory: weights have offsets of their own, and so have ranges
            // of whole panels of one weight.
            let mut target = unsafe { memory.part(from, bytes) };
            if let Err(error) = part.load(pool.isa(), &mut target, &mut scratch) {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                return;
            }
            step_done();
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn parts(weight: &WeightPlan) -> Vec<Part<'_>> {
    match weight.layout {
        WeightLayout::Panels { n, groups: 1, .. } | WeightLayout::BytePanels { columns: n, .. } => {
            let starts = (0..n.max(1)).step_by(SPLIT_COLUMNS);
            starts.map(|from| Part { weight, columns: from..(from + SPLIT_COLUMNS).min(n) }).collect()
        }
        WeightLayout::Panels { n, groups, .. } => vec![Part { weight, columns: 0..n * groups }],
        WeightLayout::Dense => vec![Part { weight, columns: 0..0 }],
    }
}

impl Part<'_> {
    /// Offset and bytes among the constants.
    fn place(&self) -> (usize, usize) {
        match self.weight.layout {
            // Panels before a multiple of their width hold exactly their columns.
            WeightLayout::Panels { k, n, groups: 1, .. } if self.columns.len() < n => {
                let end = if self.columns.end == n { self.weight.bytes } else { self.columns.end * k * 4 };
                let start = self.columns.start * k * 4;
                (self.weight.offset + start, end - start)
            }
            WeightLayout::BytePanels { columns, depth, .. } if self.columns.len() < columns => {
                let bytes = |columns| BytePanels::new(columns, depth).map_or(0, |panels| panels.bytes());
                let start = bytes(self.columns.start);
                (self.weight.offset + start, bytes(self.columns.end) - start)
            }
            _ => (self.weight.offset, self.weight.bytes),
        }
    }

    fn load(&self, isa: Isa, target: &mut [u8], scratch: &mut [u8]) -> Result<(), OpError> {
        let constant = &self.weight.constant;
        let (k, n, is_transposed, groups) = match self.weight.layout {
            WeightLayout::Dense => return constant.read_at(0, target),
            WeightLayout::Panels { k, n, is_transposed, groups } => (k, n, is_transposed, groups),
            WeightLayout::BytePanels { depth, kind, .. } => {
                return self.pack_bytes(depth, kind, target, scratch);
            }
        };
        let columns_each = if groups == 1 { self.columns.len() } else { n };
        let layout = PackedLayout::new(isa, k, columns_each, groups)?;
        if is_transposed {
            return self.pack_columns(&layout, k, target, scratch);
        }
        self.pack_rows(&layout, (k, n * groups), target, scratch)
    }

    /// Reads rows `[k, n]`, whole ones where all columns are wanted and segments of them elsewhere.
    fn pack_rows(
        &self,
        layout: &PackedLayout,
        (k, n): (usize, usize),
        target: &mut [u8],
        scratch: &mut [u8],
    ) -> Result<(), OpError> {
        let constant = &self.weight.constant;
        let width = self.columns.len();
        let rows_at_once = (scratch.len() / (width * 4).max(1)).max(1);
        for first in (0..k).step_by(rows_at_once) {
            let rows = rows_at_once.min(k - first);
            let chunk = &mut scratch[..rows * width * 4];
            if width == n {
                constant.read_at((first * n * 4) as u64, chunk)?;
            } else {
                for (row, segment) in chunk.chunks_exact_mut(width * 4).enumerate() {
                    constant.read_at((((first + row) * n + self.columns.start) * 4) as u64, segment)?;
                }
            }
            layout.pack_rows(target, first, chunk)?;
        }
        Ok(())
    }

    /// Reads columns of bytes, as many whole panels at once as there is scratch for.
    fn pack_bytes(
        &self,
        depth: usize,
        kind: FilterType,
        target: &mut [u8],
        scratch: &mut [u8],
    ) -> Result<(), OpError> {
        let width = self.columns.len();
        let panels = BytePanels::new(width, depth)?;
        let fitting = scratch.len() / (depth * BytePanels::WIDTH).max(1);
        let at_once = fitting.max(1) * BytePanels::WIDTH;
        for first in (0..width).step_by(at_once) {
            let chunk = &mut scratch[..at_once.min(width - first) * depth];
            self.weight.constant.read_at(((self.columns.start + first) * depth) as u64, chunk)?;
            panels.pack(target, first, kind, chunk)?;
        }
        Ok(())
    }

    /// Reads columns of a weight the file has as `[n, k]`.
    fn pack_columns(
        &self,
        layout: &PackedLayout,
        k: usize,
        target: &mut [u8],
        scratch: &mut [u8],
    ) -> Result<(), OpError> {
        let at_once = (scratch.len() / (k * 4).max(1)).max(1);
        let width = self.columns.len();
        for first in (0..width).step_by(at_once) {
            let chunk = &mut scratch[..at_once.min(width - first) * k * 4];
            self.weight.constant.read_at(((self.columns.start + first) * k * 4) as u64, chunk)?;
            layout.pack_columns(target, first, chunk)?;
        }
        Ok(())
    }
}
