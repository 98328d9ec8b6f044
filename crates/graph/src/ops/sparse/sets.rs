//! Sets in the rows of tensors: DenseToDenseSetOperation, DenseToSparseSetOperation, SparseToSparseSetOperation and SetSize.
//!
//! The last axis of a tensor of at least two holds the elements of a set, integers or strings; the axes before it must be
//! the same of both tensors. `set_operation` is a-b, b-a, intersection or union. The result is a sparse tensor, the
//! elements of each set in order, as wide as the largest; SetSize counts the elements of each. Elements of a sparse tensor
//! come row by row; with `validate_indices` each coordinate comes once and in order.

use std::cmp::Ordering;
use std::ops::Range;

use tightfit_core::{DType, Shape, StringRef, TensorView};
use tightfit_kernels::{Coordinates, SetOperation, sort_set};

use super::common::{
    Parts, at_most_rows, check_count, countable_sizes, dims_in, give_dims, room, room_bytes, set_rows, sizes,
};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;
use crate::ops::shared::extent::agree;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "DenseToDenseSetOperation",
        import: |a| import(a, [Side::Dense(0), Side::Dense(1)]),
    },
    Registration {
        name: "DenseToSparseSetOperation",
        import: |a| import(a, [Side::Dense(0), Side::Sparse(Parts::from(1))]),
    },
    Registration {
        name: "SparseToSparseSetOperation",
        import: |a| import(a, [Side::Sparse(Parts::from(0)), Side::Sparse(Parts::from(3))]),
    },
    Registration {
        name: "SetSize",
        import: |a| Ok(Box::new(SetSize { is_checked: a.bool_or("validate_indices", true)? })),
    },
];

fn import(attributes: &Attributes<'_>, sides: [Side; 2]) -> Result<Box<dyn Operator>, OpError> {
    let operation = match attributes.text("set_operation")?.to_ascii_lowercase().as_str() {
        "a-b" => SetOperation::Without,
        "b-a" => SetOperation::OnlySecond,
        "intersection" => SetOperation::Intersection,
        "union" => SetOperation::Union,
        other => {
            let why = format!("is '{other}'; a-b, b-a, intersection and union are possible");
            return Err(OpError::attribute("set_operation", why));
        }
    };
    Ok(Box::new(Combine { sides, operation, is_checked: attributes.bool_or("validate_indices", true)? }))
}

/// Where the sets of one side come from.
#[derive(Debug, Clone, Copy)]
enum Side {
    Dense(usize),
    Sparse(Parts),
}

const TYPES: &[DType] =
    &[DType::I8, DType::I16, DType::I32, DType::I64, DType::U8, DType::U16, DType::String];

impl Side {
    fn values(self) -> usize {
        match self {
            Side::Dense(input) => input,
            Side::Sparse(parts) => parts.values,
        }
    }

    /// Whether the shape of the sets is what this input holds or has.
    fn infer(self, inputs: &[&Fact]) -> Result<(Dim, Dims), OpError> {
        let values = shared::input(inputs, self.values())?;
        shared::need_type(self.values(), values, TYPES)?;
        let (count, dims, at) = match self {
            Side::Dense(at) => (values.dims.elements(), values.dims.clone(), at),
            Side::Sparse(parts) => {
                let (count, rank) = parts.infer(inputs)?;
                let dims = match dims_in(inputs, parts.shape)? {
                    dims if dims.get().is_some() => dims,
                    _ => rank.size().map_or(Dims::UNKNOWN, Dims::of_rank),
                };
                (count, dims, parts.shape)
            }
        };
        if dims.rank().is_some_and(|rank| rank < 2) {
            return Err(OpError::input(at, "is of less than 2 dimensions, without sets along the last"));
        }
        check_count(self.values(), count)?;
        Ok((count, dims))
    }

    /// The sets at run time.
    fn groups<'a>(self, run: &Run<'a>, is_checked: bool) -> Result<Groups<'a>, OpError> {
        match self {
            Side::Dense(input) => {
                let shape = run.shape(input);
                let [before @ .., width] = &shape[..] else {
                    return Err(OpError::input(
                        input,
                        "is a scalar; sets lie along the last of 2 dimensions",
                    ));
                };
                if before.is_empty() {
                    return Err(OpError::input(
                        input,
                        "is a vector; sets lie along the last of 2 dimensions",
                    ));
                }
                let count = shape.elements();
                Ok(Groups { shape: Shape::new(before)?, count, of: Of::Dense { width: *width } })
            }
            Side::Sparse(parts) => {
                let (coordinates, dims) = (parts.coordinates(run)?, countable_sizes(run, parts.shape)?);
                let Some((_, before)) = dims.split_last().filter(|(_, before)| !before.is_empty()) else {
                    return Err(OpError::input(parts.shape, "is of less than 2 dimensions"));
                };
                let mut sizes = [0; tightfit_core::MAX_RANK];
                for (size, dim) in sizes.iter_mut().zip(before) {
                    *size = usize::try_from(*dim)
                        .map_err(|_| OpError::input(parts.shape, format!("has a dimension of {dim}")))?;
                }
                let groups = Groups {
                    shape: Shape::new(&sizes[..before.len()])?,
                    count: coordinates.len(),
                    of: Of::Sparse(coordinates),
                };
                coordinates.check("set operation", &dims)?;
                if is_checked {
                    coordinates.check_order("set operation")?;
                } else if !(1..groups.count).all(|n| groups.group(n - 1) <= groups.group(n)) {
                    return Err(OpError::input(parts.indices, "does not come row by row"));
                }
                Ok(groups)
            }
        }
    }
}

/// The sets of a tensor, in order.
#[derive(Debug, Clone, Copy)]
struct Groups<'a> {
    /// The axes before the last.
    shape: Shape,
    /// Elements of all sets.
    count: usize,
    of: Of<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Of<'a> {
    Dense { width: usize },
    Sparse(Coordinates<'a>),
}

impl Groups<'_> {
    /// The set that an element is of, which must exist.
    fn group(&self, element: usize) -> usize {
        match &self.of {
            Of::Dense { width } => element / width,
            Of::Sparse(coordinates) => {
                let row = coordinates.row(element).iter().zip(self.shape.iter());
                row.fold(0, |sum, (at, dim)| sum * dim + *at as usize)
            }
        }
    }

    /// The elements of the set that the element `from` begins.
    fn run(&self, from: usize) -> Option<(usize, Range<usize>)> {
        if from >= self.count {
            return None;
        }
        let group = self.group(from);
        let mut end = from + 1;
        while end < self.count && self.group(end) == group {
            end += 1;
        }
        Some((group, from..end))
    }
}

/// The values of both sides under one row of numbers: those of the second after those of the first.
struct Elements<'r, 'a> {
    run: &'r Run<'a>,
    values: [TensorView<'a>; 2],
    first: usize,
}

impl<'r, 'a> Elements<'r, 'a> {
    fn new(run: &'r Run<'a>, first: usize, second: usize) -> Result<Elements<'r, 'a>, OpError> {
        let values = [run.input(first)?, run.input(second)?];
        Ok(Elements { run, first: values[0].shape().elements(), values })
    }

    fn bytes(&self, number: u32) -> &'a [u8] {
        let (side, at) = match (number as usize).checked_sub(self.first) {
            None => (0, number as usize),
            Some(at) => (1, at),
        };
        let size = self.values[side].dtype().bytes();
        self.values[side].bytes().get(at * size..(at + 1) * size).unwrap_or_default()
    }

    fn integer(&self, number: u32) -> i64 {
        let bytes = self.bytes(number);
        let mut wide = [0; 8];
        let is_negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0)
            && !matches!(self.values[0].dtype(), DType::U8 | DType::U16);
        wide.fill(if is_negative { 0xff } else { 0 });
        wide[..bytes.len()].copy_from_slice(bytes);
        i64::from_le_bytes(wide)
    }

    fn text(&self, number: u32) -> &'a [u8] {
        self.run.string(bytemuck::pod_read_unaligned::<StringRef>(self.bytes(number)))
    }

    fn compare(&self, a: u32, b: u32) -> Ordering {
        match self.values[0].dtype() {
            DType::String => self.text(a).cmp(self.text(b)),
            _ => self.integer(a).cmp(&self.integer(b)),
        }
    }
}

/// The operators of two tensors.
#[derive(Debug)]
struct Combine {
    sides: [Side; 2],
    operation: SetOperation,
    is_checked: bool,
}

/// What stands in a list of elements after those of a set of which some were equal.
const NONE: u32 = u32::MAX;

/// Calls `each` with every set and its elements of both sides in `lists`.
fn each_pair(
    groups: &[Groups<'_>; 2],
    mut each: impl FnMut(usize, [Range<usize>; 2]) -> Result<(), OpError>,
) -> Result<(), OpError> {
    let mut at = [0; 2];
    loop {
        let runs = [0, 1].map(|side| groups[side].run(at[side]));
        let Some(group) = runs.iter().flatten().map(|(group, _)| *group).min() else { return Ok(()) };
        let own = [0, 1].map(|side| match &runs[side] {
            Some((of, run)) if *of == group => run.clone(),
            _ => at[side]..at[side],
        });
        at = [own[0].end, own[1].end];
        each(group, own)?;
    }
}

/// The elements of a set in a list that may have [`NONE`] at its end.
fn set_of(list: &[u32]) -> &[u32] {
    let end = list.iter().position(|element| *element == NONE).unwrap_or(list.len());
    &list[..end]
}

impl Operator for Combine {
    fn name(&self) -> &'static str {
        match self.sides {
            [Side::Dense(_), Side::Dense(_)] => "DenseToDenseSetOperation",
            [Side::Dense(_), Side::Sparse(_)] => "DenseToSparseSetOperation",
            _ => "SparseToSparseSetOperation",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let [first, second] = [self.sides[0].infer(inputs)?, self.sides[1].infer(inputs)?];
        let dtype = shared::input(inputs, self.sides[0].values())?.dtype;
        let is_bound = inputs.iter().any(|fact| fact.is_bound);
        shared::need_type(self.sides[1].values(), shared::input(inputs, self.sides[1].values())?, &[dtype])?;
        if let (Some(a), Some(b)) = (first.1.get(), second.1.get()) {
            let before = |dims: &[Dim]| dims[..dims.len() - 1].to_vec();
            let are_same = a.len() == b.len()
                && before(a).iter().zip(before(b)).all(|(a, b)| agree(*a, b, is_bound).is_some());
            if !are_same {
                let why = format!("has sets of {}, unlike the {} of the first", second.1, first.1);
                return Err(OpError::input(self.sides[1].values(), why));
            }
        }
        let most = match self.operation {
            SetOperation::Without => first.0,
            SetOperation::OnlySecond => second.0,
            SetOperation::Union => first.0.plus(second.0),
            SetOperation::Intersection => match (first.0.known(), second.0.known()) {
                (Some(a), Some(b)) => Dim::Known(a.min(b)),
                (None, Some(_)) => second.0,
                _ => first.0,
            },
        };
        let rank = first.1.rank().or(second.1.rank()).map_or(Dim::Unknown, |rank| Dim::Known(rank as i64));
        Ok(vec![
            at_most_rows(DType::I64, most, &[rank]),
            at_most_rows(dtype, most, &[]),
            Fact::new(DType::I64, Dims::new([rank])),
        ])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let elements = |side: Side| call.inputs.get(side.values()).map_or(0, |info| info.shape.elements());
        Memory::scratch(room_bytes::<u32>(elements(self.sides[0]).saturating_add(elements(self.sides[1]))))
    }

    fn reshape(&self, _: &mut Run<'_>) -> Option<()> {
        // The run itself finds how many elements there are.
        Some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let groups =
            [self.sides[0].groups(run, self.is_checked)?, self.sides[1].groups(run, self.is_checked)?];
        if groups[0].shape != groups[1].shape {
            let why = format!("has sets of {}, unlike the {} of the first", groups[1].shape, groups[0].shape);
            return Err(OpError::input(self.sides[1].values(), why));
        }
        let [first, second] = groups.map(|groups| groups.count);
        let (lists, _) = room::<u32>(run.scratch()?, first + second)?;
        lists.iter_mut().zip(0..).for_each(|(to, n)| *to = n);
        let rank = groups[0].shape.rank() + 1;
        let (mut count, mut width) = (0usize, 0usize);
        {
            let elements = Elements::new(run, self.sides[0].values(), self.sides[1].values())?;
            let compare = |a: u32, b: u32| elements.compare(a, b);
            let (one, two) = lists.split_at_mut(first);
            each_pair(&groups, |_, [a, b]| {
                for list in [&mut one[a.clone()], &mut two[b.clone()]] {
                    let kept = sort_set(list, &compare);
                    list[kept..].fill(NONE);
                }
                let mut size = 0;
                self.operation.combine(set_of(&one[a]), set_of(&two[b]), &compare, |_| size += 1);
                count += size;
                width = width.max(size);
                Ok(())
            })?;
        }
        set_rows(run, 0, count, rank)?;
        let (indices, values) = (run.out::<i64>(0)?, run.out_bytes(1)?);
        {
            let elements = Elements::new(run, self.sides[0].values(), self.sides[1].values())?;
            let compare = |a: u32, b: u32| elements.compare(a, b);
            let size = elements.values[0].dtype().bytes();
            let (one, two) = lists.split_at(first);
            let mut out = indices.chunks_exact_mut(rank).zip(values.chunks_exact_mut(size));
            each_pair(&groups, |group, [a, b]| {
                let mut column = 0;
                self.operation.combine(set_of(&one[a]), set_of(&two[b]), &compare, |element| {
                    if let Some((row, value)) = out.next() {
                        write_row(row, group, &groups[0].shape, column);
                        value.copy_from_slice(elements.bytes(element));
                    }
                    column += 1;
                });
                Ok(())
            })?;
        }
        let shape = groups[0].shape;
        give_dims(run, 2, rank, shape.iter().map(|dim| *dim as i64).chain([width as i64]))
    }
}

/// The coordinates of an element: those of its set in a tensor of `shape`, and its column.
fn write_row(row: &mut [i64], group: usize, shape: &Shape, column: i64) {
    let Some((last, before)) = row.split_last_mut() else { return };
    *last = column;
    let mut rest = group;
    for (to, dim) in before.iter_mut().zip(shape.iter()).rev() {
        *to = (rest % dim) as i64;
        rest /= dim;
    }
}

/// SetSize: how many different elements there are in each set of a sparse tensor.
#[derive(Debug)]
struct SetSize {
    is_checked: bool,
}

impl SetSize {
    const SIDE: Side = Side::Sparse(Parts::from(0));
}

impl Operator for SetSize {
    fn name(&self) -> &'static str {
        "SetSize"
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 2
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (_, dims) = SetSize::SIDE.infer(inputs)?;
        let before = dims.get().and_then(|dims| dims.split_last()).map(|(_, before)| Dims::new(before));
        Ok(vec![Fact::new(DType::I32, before.unwrap_or(Dims::UNKNOWN))])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        Memory::scratch(room_bytes::<u32>(call.inputs.get(1).map_or(0, |values| values.shape.elements())))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let dims = sizes(run, 2).ok()?;
        let (_, before) = dims.split_last()?;
        reshape::set(run, 0, before.iter().map(|dim| *dim as usize))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let groups = SetSize::SIDE.groups(run, self.is_checked)?;
        let (list, _) = room::<u32>(run.scratch()?, groups.count)?;
        list.iter_mut().zip(0..).for_each(|(to, n)| *to = n);
        run.set_output_shape(0, groups.shape)?;
        let sizes = run.out::<i32>(0)?;
        sizes.fill(0);
        let elements = Elements::new(run, 1, 1)?;
        let mut at = 0;
        while let Some((group, own)) = groups.run(at) {
            at = own.end;
            let kept = sort_set(&mut list[own], &|a, b| elements.compare(a, b));
            let size = sizes.get_mut(group).ok_or(OpError::Internal("a set is outside of its tensor"))?;
            *size = kept as i32;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refuses, tensor, text};

    #[test]
    fn sets_are_combined_row_by_row() {
        let dense = [tensor(&[2, 3], &[3i32, 1, 3, 4, 4, 4]), tensor(&[2, 2], &[1i32, 9, 4, -2])];
        let union = [
            tensor(&[5, 2], &[0i64, 0, 0, 1, 0, 2, 1, 0, 1, 1]),
            tensor(&[5], &[1i32, 3, 9, -2, 4]),
            tensor(&[2], &[2i64, 3]),
        ];
        check("DenseToDenseSetOperation", &[("set_operation", text("Union"))], &dense, &union);
        let less = [tensor(&[1, 2], &[0i64, 0]), tensor(&[1], &[3i32]), tensor(&[2], &[2i64, 1])];
        check("DenseToDenseSetOperation", &[("set_operation", text("a-b"))], &dense, &less);
        let sparse = [
            dense[0].clone(),
            tensor(&[2, 2], &[1i64, 0, 1, 7]),
            tensor(&[2], &[4i32, 8]),
            tensor(&[2], &[2i64, 9]),
        ];
        let both = [tensor(&[1, 2], &[1i64, 0]), tensor(&[1], &[4i32]), tensor(&[2], &[2i64, 1])];
        check("DenseToSparseSetOperation", &[("set_operation", text("intersection"))], &sparse, &both);
        refuses("DenseToDenseSetOperation", &[("set_operation", text("xor"))], &dense, "union are possible");
        let other = [dense[0].clone(), tensor(&[1, 2], &[1i32, 2])];
        refuses("DenseToDenseSetOperation", &[("set_operation", text("union"))], &other, "unlike the");
    }

    #[test]
    fn sizes_count_what_differs() {
        let inputs = [
            tensor(&[4, 2], &[0i64, 0, 0, 1, 2, 0, 2, 3]),
            tensor(&[4], &[7u16, 7, 1, 65535]),
            tensor(&[2], &[3i64, 4]),
        ];
        check("SetSize", &[], &inputs, &[tensor(&[3], &[1i32, 0, 2])]);
        let mut turned = inputs.to_vec();
        turned[0] = tensor(&[4, 2], &[2i64, 0, 0, 1, 0, 0, 2, 3]);
        refuses("SetSize", &[], &turned, "in order");
        refuses("SetSize", &[("validate_indices", crate::testing::flag(false))], &turned, "row by row");
    }
}
