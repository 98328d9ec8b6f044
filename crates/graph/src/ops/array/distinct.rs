//! Elements found in a tensor, of which how many depends on the data: Where, Unique, UniqueWithCounts, ListDiff.
//! UniqueV2 and UniqueWithCountsV2 tell slices along an axis apart.
//!
//! Where takes numbers or bools and gives, int64 `[count, rank]`, the coordinates of those that are not 0. Unique takes
//! a vector and gives its distinct elements in order of appearance, the place of each element's like among them, and
//! with counts how often each comes. ListDiff gives the elements of its first vector that are not in the second, and
//! their places. Numbers, bools and strings; every NaN is distinct; places and counts are of type `out_idx`. Memory is
//! planned for the most there can be: as many as the input has.

use tightfit_core::{DType, MAX_RANK, Shape, StringRef, TensorView};
use tightfit_kernels::{FlushDenormals, count_nonzero, where_indices};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "Where", import: |_| Ok(Box::new(Where)) },
    Registration {
        name: "Unique",
        import: |a| Ok(Box::new(Unique { index: index_type(a)?, has_counts: false, has_axis: false })),
    },
    Registration {
        name: "UniqueWithCounts",
        import: |a| Ok(Box::new(Unique { index: index_type(a)?, has_counts: true, has_axis: false })),
    },
    Registration {
        name: "UniqueV2",
        import: |a| Ok(Box::new(Unique { index: index_type(a)?, has_counts: false, has_axis: true })),
    },
    Registration {
        name: "UniqueWithCountsV2",
        import: |a| Ok(Box::new(Unique { index: index_type(a)?, has_counts: true, has_axis: true })),
    },
    Registration { name: "ListDiff", import: |a| Ok(Box::new(ListDiff { index: index_type(a)? })) },
];

fn index_type(attributes: &Attributes<'_>) -> Result<DType, OpError> {
    match attributes.dtype_or("out_idx", DType::I32)? {
        dtype @ (DType::I32 | DType::I64) => Ok(dtype),
        other => Err(OpError::attribute("out_idx", format!("is {other}; int32 or int64 is needed"))),
    }
}

/// The coordinates of elements that are not 0.
#[derive(Debug)]
struct Where;

impl Operator for Where {
    fn name(&self) -> &'static str {
        "Where"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        if matches!(input.dtype, DType::String | DType::F16) {
            return Err(OpError::input(
                0,
                format!("is of type {}; other numbers and bools are supported", input.dtype),
            ));
        }
        let Some(rank) = input.dims.rank() else {
            return Ok(vec![Fact::new(DType::I64, Dims::of_rank(2))]);
        };
        if rank > MAX_RANK {
            return Err(OpError::input(0, format!("has {rank} dimensions")));
        }
        let dims = |count| Dims::new([count, Dim::Known(rank as i64)]);
        Ok(vec![match input.view() {
            Some(view) => Fact::new(DType::I64, dims(Dim::Known(count_known(view)? as i64))),
            None => Fact::at_most_along(DType::I64, dims(input.dims.elements()), 0),
        }])
    }

    fn reshape(&self, _: &mut Run<'_>) -> Option<()> {
        // The run itself finds and checks the shape.
        Some(())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        run.set_output_shape(0, Shape::new(&[count_nonzero(input)?, input.shape().rank()])?)?;
        Ok(where_indices(input, &mut run.output(0)?)?)
    }
}

/// How many elements of a known value are not 0, as the run finds them, which takes denormals for 0.
///
/// # Errors
/// [`OpError::Kernel`] for types that the kernel does not count.
fn count_known(view: TensorView<'_>) -> Result<usize, OpError> {
    // It lies at any alignment.
    let words: Vec<u64> = bytemuck::pod_collect_to_vec(view.bytes());
    let bytes = bytemuck::cast_slice(&words).get(..view.bytes().len());
    let aligned = bytes.and_then(|bytes| TensorView::new(view.dtype(), *view.shape(), bytes));
    let _flush = FlushDenormals::new();
    Ok(count_nonzero(aligned.ok_or(OpError::Internal("a known value lacks bytes"))?)?)
}

/// An element by which it is told apart from others; `None` is unlike everything, as NaN is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    /// The bits of a number, the same for both zeros.
    Bits(u64),
    Text(&'a [u8]),
}

/// Element `i` of a tensor.
fn key<'a>(run: &Run<'a>, tensor: TensorView<'a>, i: usize) -> Option<Key<'a>> {
    let size = tensor.dtype().bytes();
    let bytes = tensor.bytes().get(i * size..(i + 1) * size)?;
    if tensor.dtype() == DType::String {
        return Some(Key::Text(run.string(bytemuck::pod_read_unaligned::<StringRef>(bytes))));
    }
    let mut word = [0; 8];
    word.get_mut(..size)?.copy_from_slice(bytes);
    let bits = u64::from_le_bytes(word);
    // Of infinity, and of the smallest number that is not denormal.
    let (exponent, least) = match tensor.dtype() {
        DType::F64 => (0x7ff0_0000_0000_0000, 0x0010_0000_0000_0000),
        DType::F32 => (0x7f80_0000, 0x0080_0000),
        DType::F16 => (0x7c00, 0),
        DType::BF16 => (0x7f80, 0),
        _ => return Some(Key::Bits(bits)),
    };
    let magnitude = bits & !(1 << (size * 8 - 1));
    // A magnitude past that of infinity is NaN.
    // Both zeros and denormals are one, but not of the types of 16 bits, which TensorFlow tells apart by their bits.
    let is_zero = magnitude < least;
    (magnitude <= exponent).then_some(Key::Bits(if is_zero { 0 } else { bits }))
}

/// Numbers 0 to `count` in scratch.
fn scratch_order(scratch: &mut [u8], count: usize) -> Result<&mut [u32], OpError> {
    let order: &mut [u32] = scratch
        .get_mut(..count * 4)
        .and_then(|bytes| bytemuck::try_cast_slice_mut(bytes).ok())
        .ok_or(OpError::Internal("scratch is too small or not aligned"))?;
    order.iter_mut().zip(0..).for_each(|(to, i)| *to = i);
    Ok(order)
}

/// Numbers 0 to `count` in scratch, sorted by their keys and among equals by themselves.
fn sorted<'s, 'k>(
    scratch: &'s mut [u8],
    count: usize,
    key: impl Fn(usize) -> Option<Key<'k>>,
) -> Result<&'s mut [u32], OpError> {
    let order = scratch_order(scratch, count)?;
    order.sort_unstable_by_key(|i| (key(*i as usize), *i));
    Ok(order)
}

fn scratch_bytes(call: &Call<'_>, input: usize) -> usize {
    // Of an axis there are as many slices as it is long, even of no elements.
    let most = |shape: &Shape| shape.iter().copied().max().unwrap_or(1).max(shape.elements());
    call.inputs.get(input).map_or(0, |input| most(&input.shape) * 4)
}

/// The type and length of a vector whose elements can be told apart.
fn vector(index: usize, fact: &Fact) -> Result<Dim, OpError> {
    if fact.dtype.is_complex() {
        return Err(OpError::input(index, format!("is of type {}, which is not supported", fact.dtype)));
    }
    let len = shared::dims_of_rank(index, fact, 1)?.map_or(Dim::Unknown, |dims| dims[0]);
    if len.size().is_some_and(|n| u32::try_from(n).is_err()) {
        return Err(OpError::input(index, "has more than 2^32 elements"));
    }
    Ok(len)
}

/// Integers of either type to write.
enum Places<'a> {
    I32(&'a mut [i32]),
    I64(&'a mut [i64]),
}

impl<'a> Places<'a> {
    fn new(run: &mut Run<'a>, output: usize) -> Result<Places<'a>, OpError> {
        match run.output_dtype(output) {
            DType::I64 => Ok(Places::I64(run.out(output)?)),
            _ => Ok(Places::I32(run.out(output)?)),
        }
    }

    fn set(&mut self, i: usize, value: usize) {
        match self {
            Places::I32(places) => places[i] = value as i32,
            Places::I64(places) => places[i] = value as i64,
        }
    }

    fn get(&self, i: usize) -> usize {
        match self {
            Places::I32(places) => places[i] as usize,
            Places::I64(places) => places[i] as usize,
        }
    }
}

/// Distinct elements, or slices along an axis.
#[derive(Debug)]
struct Unique {
    index: DType,
    has_counts: bool,
    /// The second input is the axis, or nothing.
    has_axis: bool,
}

/// A tensor as slices along an axis: how many elements stand before and after it in each.
struct Slices {
    outer: usize,
    len: usize,
    inner: usize,
}

impl Slices {
    fn new(shape: &Shape, axis: usize) -> Slices {
        Slices {
            outer: shape[..axis].iter().product(),
            len: shape[axis],
            inner: shape[axis + 1..].iter().product(),
        }
    }

    /// The places of the elements of a slice.
    fn places(&self, slice: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.outer * self.inner)
            .map(move |k| (k / self.inner * self.len + slice) * self.inner + k % self.inner)
    }

    /// The order of two slices by their elements.
    fn order(&self, run: &Run<'_>, tensor: TensorView<'_>, a: usize, b: usize) -> std::cmp::Ordering {
        let keys = |slice| self.places(slice).map(|at| key(run, tensor, at));
        keys(a).cmp(keys(b))
    }

    /// True where all elements of two slices are alike.
    fn are_alike(&self, run: &Run<'_>, tensor: TensorView<'_>, a: usize, b: usize) -> bool {
        self.places(a).zip(self.places(b)).all(|(a, b)| {
            let a = key(run, tensor, a);
            a.is_some() && a == key(run, tensor, b)
        })
    }
}

impl Unique {
    /// The axis, where it is known: that which an input names, or a vector's only one.
    fn axis(&self, inputs: &[&Fact]) -> Result<Option<usize>, OpError> {
        let input = shared::input(inputs, 0)?;
        if !self.has_axis {
            vector(0, input)?;
            return Ok(Some(0));
        }
        let axis = shared::input(inputs, 1)?;
        shared::need_type(1, axis, &[DType::I32, DType::I64])?;
        let count = shared::dims_of_rank(1, axis, 1)?.and_then(|dims| dims[0].known());
        if count.is_some_and(|n| n > 1) {
            return Err(OpError::input(1, "names more than one axis"));
        }
        if count == Some(0) {
            vector(0, input)?;
            return Ok(Some(0));
        }
        match (axis.int(), input.dims.rank()) {
            (Some(axis), Some(rank)) => shared::axis(axis, rank)
                .map(Some)
                .ok_or_else(|| OpError::input(1, format!("is {axis}, no axis of a tensor of rank {rank}"))),
            (None, Some(1)) => Ok(Some(0)),
            _ => Ok(None),
        }
    }
}

impl Operator for Unique {
    fn name(&self) -> &'static str {
        match (self.has_counts, self.has_axis) {
            (false, false) => "Unique",
            (true, false) => "UniqueWithCounts",
            (false, true) => "UniqueV2",
            (true, true) => "UniqueWithCountsV2",
        }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, axis) = (shared::input(inputs, 0)?, self.axis(inputs)?);
        if input.dtype.is_complex() {
            return Err(OpError::input(0, format!("is of type {}, which is not supported", input.dtype)));
        }
        let len = axis.and_then(|axis| input.dims.get()?.get(axis).copied()).unwrap_or(Dim::Unknown);
        if len.size().is_some_and(|n| u32::try_from(n).is_err()) {
            return Err(OpError::input(0, "has more than 2^32 elements along the axis"));
        }
        let places = Dims::new([len]);
        let found = match axis {
            Some(axis) if input.dims.rank().is_some() => {
                Fact::at_most_along(input.dtype, input.dims.clone(), axis)
            }
            // A vector's are one.
            _ if !self.has_axis => Fact::at_most(input.dtype, places.clone()),
            _ => Fact::at_most_where(input.dtype, input.dims.clone(), |_| true),
        };
        let mut facts = vec![found, Fact::new(self.index, places.clone())];
        if self.has_counts {
            facts.push(Fact::at_most(self.index, places));
        }
        Ok(facts)
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        Memory::scratch(scratch_bytes(call, 0))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        // The run finds how many there are; each slice has a place.
        let shape = run.shape(0);
        let axis = self.axis_now(run).ok()?;
        run.set_output_shape(1, Shape::new(&[*shape.get(axis)?]).ok()?).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, axis) = (run.input(0)?, self.axis_now(run)?);
        let shape = *input.shape();
        let slices = Slices::new(&shape, axis);
        let len = slices.len;
        let scratch = run.scratch()?;
        let order = scratch_order(scratch, len)?;
        order.sort_unstable_by(|a, b| {
            slices.order(run, input, *a as usize, *b as usize).then_with(|| a.cmp(b))
        });
        let mut places = Places::new(run, 1)?;
        // First the place of each slice's first like: sorted, likes stand together, the first one first.
        let mut first = 0;
        for n in 0..len {
            let at = order[n] as usize;
            let is_like = n > 0 && slices.are_alike(run, input, at, order[n - 1] as usize);
            first = if is_like { first } else { at };
            places.set(at, first);
        }
        let count = (0..len).filter(|n| places.get(*n) == *n).count();
        let mut dims = [0; MAX_RANK];
        dims[..shape.rank()].copy_from_slice(&shape);
        dims[axis] = count;
        run.set_output_shape(0, Shape::new(&dims[..shape.rank()])?)?;
        let found = run.out_bytes(0)?;
        // Then, in order of appearance, the number of that: those before have theirs already.
        let bytes = slices.inner * input.dtype().bytes();
        let mut seen = 0;
        for n in 0..len {
            let first = places.get(n);
            if first == n {
                for outer in 0..slices.outer {
                    let from = &input.bytes()[(outer * len + n) * bytes..][..bytes];
                    found[(outer * count + seen) * bytes..][..bytes].copy_from_slice(from);
                }
                places.set(n, seen);
                seen += 1;
            } else {
                places.set(n, places.get(first));
            }
        }
        if self.has_counts {
            run.set_output_shape(2, Shape::new(&[count])?)?;
            let mut counts = Places::new(run, 2)?;
            (0..count).for_each(|i| counts.set(i, 0));
            for n in 0..len {
                let place = places.get(n);
                counts.set(place, counts.get(place) + 1);
            }
        }
        Ok(())
    }
}

impl Unique {
    /// The axis of this run.
    fn axis_now(&self, run: &Run<'_>) -> Result<usize, OpError> {
        let rank = run.shape(0).rank();
        let asked = if self.has_axis { run.ints::<1>(1)?.first().copied() } else { None };
        match asked {
            Some(axis) => shared::axis(axis, rank)
                .ok_or_else(|| OpError::input(1, format!("is {axis}, no axis of a tensor of rank {rank}"))),
            None if rank == 1 => Ok(0),
            None => Err(OpError::input(0, "is no vector, and there is no axis")),
        }
    }
}

/// Elements of one vector that are not in another.
#[derive(Debug)]
struct ListDiff {
    index: DType,
}

impl Operator for ListDiff {
    fn name(&self) -> &'static str {
        "ListDiff"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (x, y) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(1, y, &[x.dtype])?;
        vector(1, y)?;
        let dims = Dims::new([vector(0, x)?]);
        Ok(vec![Fact::at_most(x.dtype, dims.clone()), Fact::at_most(self.index, dims)])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        Memory::scratch(scratch_bytes(call, 1))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (x, y) = (run.input(0)?, run.input(1)?);
        let len = x.shape().elements();
        let size = x.dtype().bytes();
        let scratch = run.scratch()?;
        let order = sorted(scratch, y.shape().elements(), |i| key(run, y, i))?;
        let is_in = |run: &Run<'_>, i: usize| {
            let element = key(run, x, i);
            element.is_some() && order.binary_search_by(|n| key(run, y, *n as usize).cmp(&element)).is_ok()
        };
        let count = (0..len).filter(|i| !is_in(run, *i)).count();
        for output in 0..2 {
            run.set_output_shape(output, Shape::new(&[count])?)?;
        }
        let (found, mut places) = (run.out_bytes(0)?, Places::new(run, 1)?);
        for (at, i) in (0..len).filter(|i| !is_in(run, *i)).enumerate() {
            found[at * size..][..size].copy_from_slice(&x.bytes()[i * size..][..size]);
            places.set(at, i);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use tightfit_core::DType;

    #[test]
    fn finds_coordinates() {
        let x = bools(&[2, 2], &[true, false, false, true]);
        check("Where", &[], &[x], &[tensor(&[2, 2], &[0i64, 0, 1, 1])]);
        check("Where", &[], &[tensor(&[3], &[0f32, -0.0, 2.0])], &[tensor(&[1, 1], &[2i64])]);
        // Denormals are 0 as the model runs, and so they are as it is laid out.
        check("Where", &[], &[tensor(&[4], &[1e-40f32, 1.0, -1e-42, 2.0])], &[tensor(&[2, 1], &[1i64, 3])]);
        check("Where", &[], &[tensor(&[2], &[1e-310f64, f64::NAN])], &[tensor(&[1, 1], &[1i64])]);
        refuses("Where", &[], &[bools(&[], &[true])], "1 to 8 axes");
        check("Where", &[], &[tensor::<i32>(&[0], &[])], &[tensor::<i64>(&[0, 1], &[])]);
    }

    #[test]
    fn tells_elements_apart() {
        let x = tensor(&[6], &[5i32, 3, 5, 9, 3, 3]);
        let (y, places) = (tensor(&[3], &[5i32, 3, 9]), tensor(&[6], &[0i32, 1, 0, 2, 1, 1]));
        check("Unique", &[], &[x.clone()], &[y.clone(), places.clone()]);
        check("UniqueWithCounts", &[], &[x], &[y, places, tensor(&[3], &[2i32, 3, 1])]);
        let wide = [("out_idx", dtype(DType::I64))];
        let outputs = run("Unique", &wide, &[tensor(&[4], &[0f32, f32::NAN, -0.0, f32::NAN])]).unwrap();
        assert_eq!(outputs[1], tensor(&[4], &[0i64, 1, 0, 2]));
        let zeros = [f32::from_bits(1), 0.0, -0.0, f32::MIN_POSITIVE];
        let outputs = run("Unique", &wide, &[tensor(&[4], &zeros)]).unwrap();
        assert_eq!(outputs[1], tensor(&[4], &[0i64, 0, 0, 1]));
        let zeros = [half::bf16::ZERO, half::bf16::NEG_ZERO, half::bf16::ZERO];
        let outputs = run("Unique", &wide, &[tensor(&[3], &zeros)]).unwrap();
        assert_eq!(outputs[1], tensor(&[3], &[0i64, 1, 0]));
        check(
            "Unique",
            &wide,
            &[tensor::<i8>(&[0], &[])],
            &[tensor::<i8>(&[0], &[]), tensor::<i64>(&[0], &[])],
        );
        refuses("Unique", &[], &[tensor(&[1, 1], &[1i32])], "rank 1");
        let rows = tensor(&[3, 2], &[1i32, 2, 3, 4, 1, 2]);
        let outputs =
            [tensor(&[2, 2], &[1i32, 2, 3, 4]), tensor(&[3], &[0i32, 1, 0]), tensor(&[2], &[2i32, 1])];
        check("UniqueWithCountsV2", &[], &[rows.clone(), tensor(&[1], &[0i64])], &outputs);
        let columns = tensor(&[2, 3], &[1i8, 2, 1, 1, 2, 1]);
        let outputs = [tensor(&[2, 2], &[1i8, 2, 1, 2]), tensor(&[3], &[0i64, 1, 0])];
        check("UniqueV2", &wide, &[columns, tensor(&[1], &[-1i32])], &outputs);
        refuses("UniqueV2", &[], &[rows.clone(), tensor(&[0], &[0i32; 0])], "rank 1");
        refuses("UniqueV2", &[], &[rows, tensor(&[1], &[2i32])], "no axis");
    }

    #[test]
    fn takes_away() {
        let (x, y) = (tensor(&[5], &[1u8, 2, 3, 2, 4]), tensor(&[2], &[2u8, 4]));
        check("ListDiff", &[], &[x.clone(), y], &[tensor(&[2], &[1u8, 3]), tensor(&[2], &[0i32, 2])]);
        refuses("ListDiff", &[], &[x, tensor(&[1], &[1i32])], "type");
    }
}
