//! How far sequences are from others: EditDistance.
//!
//! Two sparse tensors of as many axes, at least two, the last along the sequences, of any type: hypotheses and truths. For each place
//! before the last axis, float32, the fewest elements that are to be put in, taken out or changed to make one the other, with
//! `normalize` over the length of the truth: infinity for a truth without elements. The output is as large as the larger of
//! both along each axis.

use tightfit_core::{DType, MAX_RANK, Shape, StringRef, TensorView};
use tightfit_kernels::{Coordinates, edit_distance};

use super::common::{Parts, countable_sizes, dims_in, room, room_bytes};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run, reshape};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[Registration {
    name: "EditDistance",
    import: |a| Ok(Box::new(EditDistance { is_normal: a.bool_or("normalize", true)? })),
}];

/// The operator.
#[derive(Debug)]
struct EditDistance {
    is_normal: bool,
}

const SIDES: [Parts; 2] = [Parts::from(0), Parts::from(3)];

/// The shape of the output: the larger of both along each axis but the last.
fn shape(run: &Run<'_>) -> Result<Shape, OpError> {
    let [one, two] = [countable_sizes(run, SIDES[0].shape)?, countable_sizes(run, SIDES[1].shape)?];
    if one.len() != two.len() || one.len() < 2 {
        let why = format!("is of {} dimensions, unlike the {} of the hypotheses", two.len(), one.len());
        return Err(OpError::input(SIDES[1].shape, why));
    }
    let mut dims = [0; MAX_RANK];
    for (dim, (a, b)) in dims.iter_mut().zip(one.iter().zip(two.iter())) {
        *dim = usize::try_from(*a.max(b)).map_err(|_| OpError::input(2, "is too large a shape"))?;
    }
    Ok(Shape::new(&dims[..one.len() - 1])?)
}

/// True where two elements are the same.
fn equal(run: &Run<'_>, (a, at): (&TensorView<'_>, usize), (b, of): (&TensorView<'_>, usize)) -> bool {
    let size = a.dtype().bytes();
    let (a, b, dtype) = (&a.bytes()[at * size..][..size], &b.bytes()[of * size..][..size], a.dtype());
    macro_rules! same {
        ($rust:ty) => {
            bytemuck::pod_read_unaligned::<$rust>(a) == bytemuck::pod_read_unaligned::<$rust>(b)
        };
    }
    match dtype {
        DType::F32 => same!(f32),
        DType::F64 => same!(f64),
        DType::F16 => same!(half::f16),
        DType::BF16 => same!(half::bf16),
        DType::C64 => same!([f32; 2]),
        DType::C128 => same!([f64; 2]),
        DType::String => {
            let text = |bytes| run.string(bytemuck::pod_read_unaligned::<StringRef>(bytes));
            text(a) == text(b)
        }
        _ => a == b,
    }
}

/// A sequence: its place in the output, and the elements that it has.
struct Sequence {
    place: usize,
    elements: std::ops::Range<usize>,
}

/// The sequence that the element `from` begins.
fn sequence(
    of: &Coordinates<'_>,
    input: usize,
    shape: &Shape,
    from: usize,
) -> Result<Option<Sequence>, OpError> {
    if from >= of.len() {
        return Ok(None);
    }
    let before = |element: usize| &of.row(element)[..shape.rank()];
    let mut place = 0;
    for (at, dim) in before(from).iter().zip(shape.iter()) {
        let at = usize::try_from(*at).ok().filter(|at| at < dim);
        let why = || OpError::input(input, format!("has {:?}, which is outside of {shape}", before(from)));
        place = place * dim + at.ok_or_else(why)?;
    }
    if from > 0 && before(from - 1) > before(from) {
        return Err(OpError::input(input, "does not come in order"));
    }
    let end = (from..of.len()).find(|element| before(*element) != before(from)).unwrap_or(of.len());
    Ok(Some(Sequence { place, elements: from..end }))
}

impl Operator for EditDistance {
    fn name(&self) -> &'static str {
        "EditDistance"
    }

    fn grows_with(&self, input: usize) -> bool {
        SIDES.iter().any(|side| side.shape == input)
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let [one, two] = [SIDES[0].infer(inputs)?.1, SIDES[1].infer(inputs)?.1];
        let dtype = shared::input(inputs, SIDES[0].values)?.dtype;
        shared::need_type(SIDES[1].values, shared::input(inputs, SIDES[1].values)?, &[dtype])?;
        let rank = one.size().or(two.size());
        if rank.is_some_and(|rank| rank < 2) || (one.size().is_some() && two.size().is_some() && one != two) {
            let why = "is of another number of dimensions than the hypotheses, or of less than 2";
            return Err(OpError::input(SIDES[1].shape, why));
        }
        let dims = [dims_in(inputs, SIDES[0].shape)?, dims_in(inputs, SIDES[1].shape)?];
        let Some(rank) = rank else { return Ok(vec![Fact::new(DType::F32, Dims::UNKNOWN)]) };
        let larger = |axis: usize| match [0, 1].map(|i| dims[i].get().map(|dims| dims[axis])) {
            [Some(Dim::Known(a)), Some(Dim::Known(b))] => Dim::Known(a.max(b)),
            [Some(a), Some(b)] if a == b => a,
            _ => Dim::Unknown,
        };
        Ok(vec![Fact::new(DType::F32, Dims::new((0..rank - 1).map(larger).collect::<Vec<_>>()))])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let truths = call.inputs.get(SIDES[1].values).map_or(0, |values| values.shape.elements());
        Memory::scratch(room_bytes::<u32>(truths.saturating_add(1)))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = shape(run).ok()?;
        reshape::set(run, 0, shape.iter().copied())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let shape = shape(run)?;
        let sides = [SIDES[0].coordinates(run)?, SIDES[1].coordinates(run)?];
        let values = [run.input(SIDES[0].values)?, run.input(SIDES[1].values)?];
        run.set_output_shape(0, shape)?;
        let out = run.out::<f32>(0)?;
        out.fill(0.0);
        let (line, _) = room::<u32>(run.scratch()?, sides[1].len() + 1)?;
        let mut at = [0; 2];
        loop {
            let next = [0, 1].map(|side| sequence(&sides[side], SIDES[side].indices, &shape, at[side]));
            let [hypothesis, truth] = next;
            let next = [hypothesis?, truth?];
            let Some(place) = next.iter().flatten().map(|next| next.place).min() else { return Ok(()) };
            let [a, b] = [0, 1].map(|side| match &next[side] {
                Some(own) if own.place == place => own.elements.clone(),
                _ => at[side]..at[side],
            });
            at = [a.end, b.end];
            let same = |i, j| equal(run, (&values[0], a.start + i), (&values[1], b.start + j));
            let distance = edit_distance(a.len(), b.len(), line, same)? as f32;
            let to = out.get_mut(place).ok_or(OpError::Internal("a sequence is outside of the output"))?;
            *to = match (self.is_normal, b.is_empty()) {
                (true, true) => f32::INFINITY,
                (true, false) => distance / b.len() as f32,
                (false, _) => distance,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, flag, refuses, tensor};

    #[test]
    fn distances_of_sequences() {
        let inputs = [
            tensor(&[5, 2], &[0i64, 0, 0, 1, 0, 2, 2, 0, 3, 0]),
            tensor(&[5], &[1i32, 2, 3, 9, 5]),
            tensor(&[2], &[4i64, 3]),
            tensor(&[4, 2], &[0i64, 0, 0, 1, 1, 0, 3, 5]),
            tensor(&[4], &[1i32, 3, 7, 5]),
            tensor(&[2], &[5i64, 6]),
        ];
        let normal = tensor(&[5], &[0.5f32, 1.0, f32::INFINITY, 0.0, 0.0]);
        check("EditDistance", &[], &inputs, &[normal]);
        let plain = tensor(&[5], &[1f32, 1.0, 1.0, 0.0, 0.0]);
        check("EditDistance", &[("normalize", flag(false))], &inputs, &[plain]);
        let mut outside = inputs.to_vec();
        outside[3] = tensor(&[4, 2], &[0i64, 0, 0, 1, 1, 0, 7, 5]);
        refuses("EditDistance", &[], &outside, "outside of");
        outside[2] = tensor(&[2], &[4, i64::MAX]);
        refuses("EditDistance", &[], &outside, "than can be counted");
    }
}
