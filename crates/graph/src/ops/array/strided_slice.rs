//! StridedSlice: `x[1:, ::-2, tf.newaxis, ..., 3]`.
//!
//! Inputs: a tensor of any type, and the int32 or int64 vectors `begin`, `end` and `strides`, an entry of which stands
//! for an axis or, by the masks, for something else: `ellipsis_mask` for all axes the other entries leave over,
//! `new_axis_mask` for a new axis of size 1, `shrink_axis_mask` for an axis of which one index is taken and that is
//! left out. `begin_mask` and `end_mask` make an entry start or end at the axis' own end. Negative indices count from
//! the end of the axis, and those past it are cut off; strides may be negative. Where the values are not known when
//! memory is planned, the input's dimensions are the bound.

use tightfit_core::{MAX_RANK, Shape};
use tightfit_kernels::strided_slice;

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::{Cut, SMALL_BYTES, check_cut, minus, need_index_type, shape_of, vector_len};

pub(crate) const OPS: &[Registration] = &[Registration { name: "StridedSlice", import }];

/// The most entries: as many as a mask has bits.
const MAX_ENTRIES: usize = 32;

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(slice_of(attributes)?))
}

/// What the masks of a node say.
pub(super) fn slice_of(attributes: &Attributes<'_>) -> Result<StridedSlice, OpError> {
    let mask = |name| attributes.int_or(name, 0).map(|mask| mask as u32);
    let slice = StridedSlice {
        begin_mask: mask("begin_mask")?,
        end_mask: mask("end_mask")?,
        ellipsis_mask: mask("ellipsis_mask")?,
        new_axis_mask: mask("new_axis_mask")?,
        shrink_axis_mask: mask("shrink_axis_mask")?,
    };
    if slice.ellipsis_mask.count_ones() > 1 {
        return Err(OpError::attribute("ellipsis_mask", "has more than one bit"));
    }
    Ok(slice)
}

/// The operator; bit `i` of a mask speaks of entry `i`.
#[derive(Debug)]
pub struct StridedSlice {
    begin_mask: u32,
    end_mask: u32,
    ellipsis_mask: u32,
    new_axis_mask: u32,
    shrink_axis_mask: u32,
}

/// What happens to an axis of the input, or that there is a new one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Item {
    /// The axis stays whole.
    Whole(usize),
    /// The axis is sliced as the entry says.
    Sliced { axis: usize, entry: usize },
    /// One index of the axis is taken, as the entry says, and the axis goes.
    Taken { axis: usize, entry: usize },
    /// An axis of size 1 comes.
    New,
}

/// The items in the order of the output's axes.
struct Items {
    items: [Item; MAX_ENTRIES + MAX_RANK],
    count: usize,
}

impl Items {
    fn push(&mut self, item: Item) {
        if let Some(slot) = self.items.get_mut(self.count) {
            *slot = item;
            self.count += 1;
        }
    }

    fn iter(&self) -> impl Iterator<Item = Item> + '_ {
        self.items[..self.count].iter().copied()
    }
}

impl StridedSlice {
    /// What so many entries say about a tensor of `rank`.
    fn items(&self, entries: usize, rank: usize) -> Result<Items, OpError> {
        if entries > MAX_ENTRIES {
            return Err(OpError::input(
                1,
                format!("has {entries} elements; at most {MAX_ENTRIES} are supported"),
            ));
        }
        let is_in = |mask: u32, entry: usize| mask >> entry & 1 == 1;
        let is_ellipsis = |entry: usize| is_in(self.ellipsis_mask, entry);
        let is_new = |entry: usize| is_in(self.new_axis_mask, entry) && !is_ellipsis(entry);
        let named = (0..entries).filter(|e| !is_ellipsis(*e) && !is_new(*e)).count();
        let left_over = rank.checked_sub(named).ok_or_else(|| {
            OpError::input(1, format!("has entries for {named} axes where the tensor has {rank}"))
        })?;
        let mut items = Items { items: [Item::New; MAX_ENTRIES + MAX_RANK], count: 0 };
        let mut axis = 0;
        let whole = |items: &mut Items, axis: &mut usize| {
            (0..left_over).for_each(|i| items.push(Item::Whole(*axis + i)));
            *axis += left_over;
        };
        let has_ellipsis = (0..entries).any(is_ellipsis);
        for entry in 0..entries {
            if is_ellipsis(entry) {
                whole(&mut items, &mut axis);
            } else if is_new(entry) {
                items.push(Item::New);
            } else {
                let is_taken = is_in(self.shrink_axis_mask, entry);
                items.push(if is_taken { Item::Taken { axis, entry } } else { Item::Sliced { axis, entry } });
                axis += 1;
            }
        }
        if !has_ellipsis {
            whole(&mut items, &mut axis);
        }
        Ok(items)
    }

    /// First index and number of indices of an axis of `size`.
    fn range(
        &self,
        entry: usize,
        size: i64,
        begin: i64,
        end: i64,
        stride: i64,
    ) -> Result<(i64, i64), OpError> {
        if stride == 0 {
            return Err(OpError::input(3, format!("has a stride of 0 at {entry}")));
        }
        let (low, high) = if stride > 0 { (0, size) } else { (-1, size - 1) };
        let is_masked = |mask: u32| mask >> entry & 1 == 1;
        let clamp =
            |index: i64| (if index < 0 { index.saturating_add(size) } else { index }).clamp(low, high);
        let (first, last) = if stride > 0 { (low, high) } else { (high, low) };
        let begin = if is_masked(self.begin_mask) { first } else { clamp(begin) };
        let end = if is_masked(self.end_mask) { last } else { clamp(end) };
        let distance = if stride > 0 { end - begin } else { begin - end };
        let step = stride.unsigned_abs().min(i64::MAX as u64) as i64;
        Ok((begin, if distance <= 0 { 0 } else { (distance - 1) / step + 1 }))
    }

    /// The index that is taken of an axis of `size`.
    fn index(&self, entry: usize, size: i64, begin: i64, stride: i64) -> Result<i64, OpError> {
        if stride <= 0 {
            return Err(OpError::input(
                3,
                format!("has a stride of {stride} at {entry}, where one index is taken"),
            ));
        }
        let index = if begin < 0 { begin + size } else { begin };
        if (0..size).contains(&index) {
            Ok(index)
        } else {
            Err(OpError::input(1, format!("has {begin} at {entry}, no index of an axis of {size} elements")))
        }
    }

    /// The size of an axis of which not all is known.
    fn open_len(&self, entry: usize, size: Dim, bounds: &Bounds) -> Dim {
        let is_masked = |mask: u32| mask >> entry & 1 == 1;
        let at = |values: &Option<Vec<Dim>>| values.as_ref().and_then(|v| v.get(entry).copied());
        if at(&bounds.strides) != Some(Dim::Known(1)) {
            let is_reversed = at(&bounds.strides) == Some(Dim::Known(-1));
            let is_all = is_reversed && is_masked(self.begin_mask) && is_masked(self.end_mask);
            return if is_all { size } else { Dim::Unknown };
        }
        let begin = if is_masked(self.begin_mask) { Some(Dim::Known(0)) } else { at(&bounds.begin) };
        let end = if is_masked(self.end_mask) { Some(size) } else { at(&bounds.end) };
        match (begin, end) {
            (Some(begin), Some(end)) if end == size && begin.known().is_none_or(|n| n == 0) => {
                minus(end, begin)
            }
            _ => Dim::Unknown,
        }
    }
}

/// What is known of the vectors.
struct Bounds {
    begin: Option<Vec<Dim>>,
    end: Option<Vec<Dim>>,
    strides: Option<Vec<Dim>>,
}

impl Bounds {
    /// The numbers of an entry, when all are known.
    fn numbers(&self, entry: usize) -> Option<[i64; 3]> {
        let at = |values: &Option<Vec<Dim>>| values.as_ref()?.get(entry)?.known();
        Some([at(&self.begin)?, at(&self.end)?, at(&self.strides)?])
    }

    /// Checks the stride of an entry, which may be known where the rest of it is not.
    ///
    /// # Errors
    /// [`OpError::Input`] for 0 and, where one index is taken of an axis whose size is known, a negative one.
    fn check_stride(&self, entry: usize, is_taken: bool) -> Result<(), OpError> {
        match self.strides.as_ref().and_then(|strides| strides.get(entry)?.known()) {
            Some(0) => Err(OpError::input(3, format!("has a stride of 0 at {entry}"))),
            Some(stride @ ..0) if is_taken => Err(OpError::input(
                3,
                format!("has a stride of {stride} at {entry}, where one index is taken"),
            )),
            _ => Ok(()),
        }
    }
}

impl Operator for StridedSlice {
    fn name(&self) -> &'static str {
        "StridedSlice"
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 0
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        let mut entries = None;
        for i in 1..4 {
            let vector = shared::input(inputs, i)?;
            need_index_type(i, vector)?;
            let len = vector_len(i, vector)?;
            if entries.is_some() && len.is_some() && len != entries {
                return Err(OpError::input(i, "has not as many elements as input 1"));
            }
            entries = entries.or(len);
        }
        let (Some(entries), Some(dims)) = (entries, input.dims.get()) else {
            return Ok(vec![Fact::new(input.dtype, Dims::UNKNOWN)]);
        };
        let bounds = Bounds {
            begin: inputs[1].dims_value(),
            end: inputs[2].dims_value(),
            strides: inputs[3].dims_value(),
        };
        let items = self.items(entries, dims.len())?;
        let mut bounds_at = Vec::new();
        let mut sliced = Vec::new();
        for item in items.iter() {
            match item {
                Item::New => sliced.push(Dim::Known(1)),
                Item::Whole(axis) => sliced.push(dims[axis]),
                Item::Taken { axis, entry } => {
                    bounds.check_stride(entry, dims[axis].known().is_some())?;
                    if let (Some([begin, _, stride]), Some(size), false) =
                        (bounds.numbers(entry), dims[axis].known(), input.is_bound)
                    {
                        self.index(entry, size, begin, stride)?;
                    }
                }
                Item::Sliced { axis, entry } => {
                    bounds.check_stride(entry, false)?;
                    let len = match (bounds.numbers(entry), dims[axis].known()) {
                        (Some([begin, end, stride]), Some(size)) => {
                            Dim::Known(self.range(entry, size, begin, end, stride)?.1)
                        }
                        _ => self.open_len(entry, dims[axis], &bounds),
                    };
                    // What the values will be is found when the model runs; the axis is the most there can be.
                    let is_open = len == Dim::Unknown && dims[axis].known().is_some();
                    if is_open {
                        bounds_at.push(sliced.len());
                    }
                    sliced.push(if is_open { dims[axis] } else { len });
                }
            }
        }
        let values = self.values(input, &bounds, &items);
        let dims = Dims::new(sliced);
        Ok(vec![match values {
            Some(values) => Fact::of_dims(input.dtype, dims, &values),
            None if !bounds_at.is_empty() => {
                Fact::at_most_where(input.dtype, dims, |axis| bounds_at.contains(&axis))
            }
            None => Fact::new(input.dtype, dims),
        }])
    }

    fn reshape(&self, _: &mut Run<'_>) -> Option<()> {
        // The run itself finds and checks the shape.
        Some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if let Some(taken) = self.piece(run) {
            run.out_bytes(0)?.copy_from_slice(taken);
            return Ok(());
        }
        let input = run.input(0)?;
        let rank = input.shape().rank();
        let Taken { first, steps, sizes, is_stepped, dims, output_rank, .. } =
            self.taken(run, input.shape())?;
        let target = shape_of(0, &dims[..output_rank])?;
        let is_whole = |axis: usize| !is_stepped[axis] && sizes[axis] == input.shape()[axis];
        let is_of_rows = !is_stepped[0] && (1..rank).all(is_whole);
        let is_all = is_of_rows && (rank == 0 || is_whole(0));
        check_cut(&input, Cut { is_all, is_of_rows }, &target)?;
        run.set_output_shape(0, target)?;
        let mut output = run.output(0)?;
        Ok(strided_slice(run.pool, input, &first[..rank], &steps[..rank], &sizes[..rank], &mut output)?)
    }
}

/// What is taken of a tensor.
pub(super) struct Taken {
    /// The first index of each axis, the steps to the next ones, and how many there are.
    pub first: [usize; MAX_RANK],
    pub steps: [isize; MAX_RANK],
    pub sizes: [usize; MAX_RANK],
    /// Axes of which not every index between the first and the last is taken.
    pub is_stepped: [bool; MAX_RANK],
    /// The shape of what is taken.
    pub dims: [i64; MAX_ENTRIES + MAX_RANK],
    pub output_rank: usize,
    /// The axis of that shape that each axis of the tensor becomes; `None` where one index is taken.
    pub becomes: [Option<usize>; MAX_RANK],
}

/// Axes of a slice that is looked at before all that a slice may be is worked out.
const FEW: usize = 4;

impl StridedSlice {
    /// What is taken, where that is a small piece of memory and the output has its shape already, as a loop takes it in each
    /// turn; `None` where it may be something else, or is an error.
    fn piece<'r>(&self, run: &Run<'r>) -> Option<&'r [u8]> {
        let (rank, entries) = (run.rank(0), run.dim(1, 0)?);
        let is_plain = self.ellipsis_mask == 0 && self.new_axis_mask == 0 && entries <= rank;
        if !is_plain || rank > FEW || (2..4).any(|vector| run.dim(vector, 0) != Some(entries)) {
            return None;
        }
        let (begin, end, strides) =
            (run.ints::<FEW>(1).ok()?, run.ints::<FEW>(2).ok()?, run.ints::<FEW>(3).ok()?);
        let (mut first, mut count, mut output_axes) = (0, 1, 0);
        for axis in 0..rank {
            let size = run.dim(0, axis)?;
            let (from, taken, is_kept) = if axis >= entries {
                (0, size, true)
            } else if strides[axis] != 1 {
                return None;
            } else if self.shrink_axis_mask >> axis & 1 == 1 {
                (self.index(axis, size as i64, begin[axis], 1).ok()?, 1, false)
            } else {
                let (from, taken) = self.range(axis, size as i64, begin[axis], end[axis], 1).ok()?;
                (from, taken as usize, true)
            };
            // Of several slices only whole ones follow one another.
            if taken == 0 || (count > 1 && taken != size) {
                return None;
            }
            (first, count) = (first * size + from as usize, count * taken);
            if is_kept {
                (run.output_dim(0, output_axes) == Some(taken)).then_some(())?;
                output_axes += 1;
            }
        }
        let bytes = run.dtype(0).bytes();
        let is_small = run.output_rank(0) == output_axes && count * bytes <= SMALL_BYTES;
        let input = is_small.then(|| run.bytes(0).ok()).flatten()?;
        input.get(first * bytes..)?.get(..count * bytes)
    }

    /// What the vectors, inputs 1 to 3, take of a tensor of this shape.
    pub(super) fn taken(&self, run: &Run<'_>, shape: &Shape) -> Result<Taken, OpError> {
        let (begin, end) = (run.ints::<MAX_ENTRIES>(1)?, run.ints::<MAX_ENTRIES>(2)?);
        let strides = run.ints::<MAX_ENTRIES>(3)?;
        let rank = shape.rank();
        let entries = begin.len();
        if let Some((i, _)) =
            [(2, &end), (3, &strides)].into_iter().find(|(_, vector)| vector.len() != entries)
        {
            return Err(OpError::input(i, "has not as many elements as input 1"));
        }
        let mut taken = Taken {
            first: [0; MAX_RANK],
            steps: [1; MAX_RANK],
            sizes: [0; MAX_RANK],
            is_stepped: [false; MAX_RANK],
            dims: [0; MAX_ENTRIES + MAX_RANK],
            output_rank: 0,
            becomes: [None; MAX_RANK],
        };
        taken.sizes[..rank].copy_from_slice(shape);
        for item in self.items(entries, rank)?.iter() {
            let size = match item {
                Item::New => 1,
                Item::Whole(axis) => {
                    taken.becomes[axis] = Some(taken.output_rank);
                    taken.sizes[axis] as i64
                }
                Item::Taken { axis, entry } => {
                    let size = taken.sizes[axis] as i64;
                    taken.first[axis] = self.index(entry, size, begin[entry], strides[entry])? as usize;
                    taken.sizes[axis] = 1;
                    taken.is_stepped[axis] = strides[entry] != 1;
                    continue;
                }
                Item::Sliced { axis, entry } => {
                    let size = taken.sizes[axis] as i64;
                    let (from, len) = self.range(entry, size, begin[entry], end[entry], strides[entry])?;
                    taken.first[axis] = from.max(0) as usize;
                    taken.is_stepped[axis] = strides[entry] != 1;
                    // A single index has no next one, however long the step.
                    taken.steps[axis] = if len > 1 { strides[entry] as isize } else { 1 };
                    taken.sizes[axis] = len as usize;
                    taken.becomes[axis] = Some(taken.output_rank);
                    len
                }
            };
            taken.dims[taken.output_rank] = size;
            taken.output_rank += 1;
        }
        Ok(taken)
    }
}

impl StridedSlice {
    /// The first row that is taken, where the slice is of whole rows that stand one after another, and known.
    pub fn first_of_rows(&self, inputs: &[&Fact]) -> Option<usize> {
        let shape = inputs.first()?.dims.concrete()?;
        let [begin, end, strides] = [inputs.get(1)?.ints()?, inputs.get(2)?.ints()?, inputs.get(3)?.ints()?];
        let mut first = 0;
        for item in self.items(begin.len(), shape.rank()).ok()?.iter() {
            match item {
                Item::New | Item::Whole(_) => {}
                Item::Taken { axis: 0, entry } => {
                    first = self.index(entry, shape[0] as i64, begin[entry], *strides.get(entry)?).ok()?;
                }
                Item::Taken { .. } => return None,
                Item::Sliced { axis, entry } => {
                    let (stride, size) = (*strides.get(entry)?, shape[axis] as i64);
                    let (from, len) = self.range(entry, size, begin[entry], *end.get(entry)?, stride).ok()?;
                    if stride != 1 || (axis > 0 && len != size) {
                        return None;
                    }
                    first = if axis == 0 { from } else { first };
                }
            }
        }
        usize::try_from(first).ok()
    }

    /// The elements that are taken of a vector whose elements are known.
    fn values(&self, input: &Fact, bounds: &Bounds, items: &Items) -> Option<Vec<Dim>> {
        if input.dims.rank()? != 1 {
            return None;
        }
        let values = input.dims_value()?;
        let size = values.len() as i64;
        for item in items.iter() {
            match item {
                Item::New => {}
                Item::Whole(_) => return Some(values),
                Item::Taken { entry, .. } => {
                    let [begin, _, stride] = bounds.numbers(entry)?;
                    let index = self.index(entry, size, begin, stride).ok()?;
                    return Some(vec![*values.get(index as usize)?]);
                }
                Item::Sliced { entry, .. } => {
                    let [begin, end, stride] = bounds.numbers(entry)?;
                    let (first, len) = self.range(entry, size, begin, end, stride).ok()?;
                    return (0..len).map(|i| values.get((first + i * stride) as usize).copied()).collect();
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Symbol;
    use crate::testing::*;
    use tightfit_core::{DType, StringRef};

    fn slice(x: &Tensor, masks: [i64; 5], spec: [&[i32]; 3], expected: &Tensor) {
        let names = ["begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"];
        let attributes: Vec<_> = names.into_iter().zip(masks.map(int)).collect();
        let vectors = spec.map(|v| tensor(&[v.len()], v));
        check("StridedSlice", &attributes, &[&[x.clone()], &vectors[..]].concat(), &[expected.clone()]);
    }

    /// Values of numpy.
    #[test]
    fn pieces_that_stand_in_one_row() {
        let x = tensor(&[1, 2, 3], &[0f32, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let (row, part) = (tensor(&[1, 1, 3], &[3f32, 4.0, 5.0]), tensor(&[1, 1, 2], &[4f32, 5.0]));
        slice(&x, [0; 5], [&[0, 1], &[1, 2], &[1, 1]], &row);
        slice(&x, [1, 1, 0, 0, 0], [&[0, -1], &[0, 9], &[1, 1]], &row);
        slice(&x, [0; 5], [&[0, 1, 1], &[1, 2, 3], &[1, 1, 1]], &part);
        slice(&x, [0, 0, 0, 0, 3], [&[0, 1, -2], &[1, 2, 3], &[1, 1, 1]], &tensor(&[2], &[4f32, 5.0]));
        slice(&x, [0, 0, 0, 0, 1], [&[0], &[1], &[1]], &tensor(&[2, 3], &[0f32, 1.0, 2.0, 3.0, 4.0, 5.0]));
        // Those do not: parts of two rows, every other one, and none.
        slice(&x, [0; 5], [&[0, 0, 1], &[1, 2, 2], &[1, 1, 1]], &tensor(&[1, 2, 1], &[1f32, 4.0]));
        slice(&x, [0; 5], [&[0, 0], &[1, 2], &[1, 2]], &tensor(&[1, 1, 3], &[0f32, 1.0, 2.0]));
        slice(&x, [0; 5], [&[0, 1], &[1, 1], &[1, 1]], &tensor::<f32>(&[1, 0, 3], &[]));
        let out_of_range = [tensor(&[1], &[3i32]), tensor(&[1], &[4i32]), tensor(&[1], &[1i32])];
        refuses(
            "StridedSlice",
            &[("shrink_axis_mask", int(1))],
            &[&[x], &out_of_range[..]].concat(),
            "no index",
        );
    }

    /// Values of numpy.
    #[test]
    fn slices_as_numpy() {
        let x = tensor(&[2, 3], &[0f32, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let v = tensor(&[5], &[0i16, 1, 2, 3, 4]);
        slice(&v, [0; 5], [&[1], &[4], &[2]], &tensor(&[2], &[1i16, 3]));
        slice(&v, [0; 5], [&[-2], &[-9], &[-2]], &tensor(&[2], &[3i16, 1]));
        slice(&v, [1, 1, 0, 0, 0], [&[3], &[3], &[-1]], &tensor(&[5], &[4i16, 3, 2, 1, 0]));
        slice(&v, [0; 5], [&[3], &[1], &[1]], &tensor::<i16>(&[0], &[]));
        slice(&v, [0; 5], [&[2], &[99], &[i32::MAX]], &tensor(&[1], &[2i16]));
        slice(&v, [0, 0, 0, 0, 1], [&[-1], &[0], &[1]], &scalar(4i16));
        slice(&x, [0, 0, 0, 0, 1], [&[1], &[2], &[1]], &tensor(&[3], &[3f32, 4.0, 5.0]));
        // x[..., tf.newaxis, 1]
        slice(&x, [0, 0, 1, 2, 4], [&[0, 0, 1], &[0, 0, 2], &[1, 1, 1]], &tensor(&[2, 1], &[1f32, 4.0]));
        // x[:, tf.newaxis, tf.newaxis, :]
        let spec: [&[i32]; 3] = [&[0; 4], &[0; 4], &[1; 4]];
        slice(&x, [9, 9, 0, 6, 0], spec, &tensor(&[2, 1, 1, 3], &x.values::<f32>()));
        slice(&x, [0; 5], [&[], &[], &[]], &x);
        let text = |offset| StringRef { offset, bytes: 1 };
        let texts = tensor(&[3], &[text(0), text(1), text(2)]);
        slice(&texts, [0; 5], [&[2], &[0], &[-1]], &tensor(&[2], &[text(2), text(1)]));
    }

    #[test]
    fn refuses_what_is_no_slice() {
        let x = tensor(&[2], &[0f32, 1.0]);
        let v = |x: i32| tensor(&[1], &[x]);
        refuses("StridedSlice", &[], &[x.clone(), v(0), v(1), v(0)], "stride of 0");
        let shrink = [("shrink_axis_mask", int(1))];
        refuses("StridedSlice", &shrink, &[x.clone(), v(2), v(3), v(1)], "no index");
        refuses("StridedSlice", &shrink, &[x.clone(), v(1), v(3), v(-1)], "one index");
        let two = tensor(&[2], &[0i32, 0]);
        refuses("StridedSlice", &[], &[x.clone(), two.clone(), two.clone(), two.clone()], "axes");
        refuses(
            "StridedSlice",
            &[("ellipsis_mask", int(3))],
            &[x, two.clone(), two.clone(), two],
            "ellipsis",
        );
    }

    #[test]
    fn strides_are_looked_at_where_the_rest_is_not_known() {
        let known = |x: i32| Fact::known(DType::I32, Shape::new(&[1]).unwrap(), x.to_le_bytes());
        let (x, open) = (
            Fact::new(DType::F32, Shape::new(&[4]).unwrap()),
            Fact::new(DType::I32, Shape::new(&[1]).unwrap()),
        );
        let why = |masks: &[(&str, tightfit_format::AttrValue)], stride| {
            operator("StridedSlice", masks)
                .unwrap()
                .infer(&[&x, &open, &open, &known(stride)])
                .err()
                .map(|e| e.to_string())
        };
        assert!(why(&[], 0).unwrap().contains("stride of 0"));
        assert_eq!(why(&[], -1), None);
        assert!(why(&[("shrink_axis_mask", int(1))], -1).unwrap().contains("one index"));
    }

    #[test]
    fn a_shape_is_sliced_as_values() {
        let dims = [Dim::of(Symbol::BATCH), Dim::Known(128), Dim::Known(3)];
        let shape = Fact::of_dims(DType::I32, Shape::new(&[3]).unwrap(), &dims);
        let known = |x: i32| Fact::known(DType::I32, Shape::new(&[1]).unwrap(), x.to_le_bytes());
        let vectors = [known(0), known(1), known(1)];
        let taken = operator("StridedSlice", &[("shrink_axis_mask", int(1))]).unwrap();
        let facts = taken.infer(&[&shape, &vectors[0], &vectors[1], &vectors[2]]).unwrap();
        assert_eq!(
            (facts[0].dims.clone(), facts[0].dims_value()),
            (Dims::scalar(), Some(dims[..1].to_vec()))
        );
        let kept = operator("StridedSlice", &[]).unwrap();
        let tail = [known(1), known(3), known(1)];
        let facts = kept.infer(&[&shape, &tail[0], &tail[1], &tail[2]]).unwrap();
        assert_eq!(facts[0].ints(), Some(vec![128, 3]));
        // An open axis that is kept whole stays what it is.
        let open = Fact::new(DType::F32, Dims::new(dims));
        let whole = operator("StridedSlice", &[("begin_mask", int(1)), ("end_mask", int(1))]).unwrap();
        let facts = whole.infer(&[&open, &vectors[0], &vectors[0], &vectors[1]]).unwrap();
        assert_eq!(facts[0].dims, open.dims);
    }
}
