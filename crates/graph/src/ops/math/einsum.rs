//! Einsum: the sum, over every label that the output lacks, of the product of one or two operands, each axis of which
//! has a label, as in `abc,cd->abd`.
//!
//! `...` stands for axes that broadcast by numpy's rules, a label that an operand has twice for its diagonal; one that
//! the output has twice is refused. Types: float32, float64, int32, int64 (float16 and bfloat16 are converted around
//! it).
//!
//! Two operands are multiplied as a batch of matrices over their own strides, without copies where the labels allow it:
//! see [`super::contraction`].

use tightfit_core::{DType, MAX_RANK, Shape};
use tightfit_kernels::{StridedDim, strided_sum};

use super::batch_matmul::TYPES;
use super::contraction::{Axis, Contraction, List};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[Registration { name: "Einsum", import }];

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(Einsum::parse(attributes.text("equation")?)?))
}

/// The operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Einsum {
    /// The labels of each operand; `.` stands for an ellipsis.
    pub operands: Vec<Vec<u8>>,
    /// The labels of the output.
    pub output: Vec<u8>,
}

/// An ellipsis among labels.
const ELLIPSIS: u8 = b'.';

/// A label for each axis of a tensor: a letter, or from [`FIRST_HIDDEN`] on an axis of an ellipsis, counted from the
/// last.
#[derive(Clone, Copy)]
struct Labels {
    rank: usize,
    labels: [u8; MAX_RANK],
}

const FIRST_HIDDEN: u8 = 128;

impl std::ops::Deref for Labels {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.labels[..self.rank]
    }
}

impl Labels {
    /// The labels of `text`, its ellipsis standing for `hidden` axes.
    fn new(text: &[u8], hidden: usize) -> Option<Labels> {
        let mut labels = Labels { rank: 0, labels: [0; MAX_RANK] };
        let mut push = |label: u8| {
            *labels.labels.get_mut(labels.rank)? = label;
            labels.rank += 1;
            Some(())
        };
        for label in text {
            if *label != ELLIPSIS {
                push(*label)?;
                continue;
            }
            for axis in (0..hidden).rev() {
                push(FIRST_HIDDEN + axis as u8)?;
            }
        }
        Some(labels)
    }
}

impl Einsum {
    /// Reads an equation.
    ///
    /// # Errors
    /// [`OpError::Attribute`] for one that is none, that has more than two operands, or repeats a label of the output.
    pub fn parse(equation: &str) -> Result<Einsum, OpError> {
        let bad = |why: &str| OpError::attribute("equation", format!("is {equation}, {why}"));
        let (operands, output) = equation.split_once("->").ok_or_else(|| bad("which has no ->"))?;
        let labels = |text: &str| {
            let text = text.replace(' ', "").replace("...", ".");
            let is_legal = text.bytes().all(|b| b.is_ascii_alphabetic() || b == ELLIPSIS)
                && text.bytes().filter(|b| *b == ELLIPSIS).count() <= 1;
            is_legal.then(|| text.into_bytes()).ok_or_else(|| bad("which has characters other than letters"))
        };
        let operands = operands.split(',').map(labels).collect::<Result<Vec<_>, _>>()?;
        let output = labels(output)?;
        if operands.len() > 2 {
            return Err(bad("of more than two operands"));
        }
        for (i, label) in output.iter().enumerate() {
            if output[..i].contains(label) {
                return Err(bad("which repeats a label of the output"));
            }
            if *label != ELLIPSIS && !operands.iter().flatten().any(|l| l == label) {
                return Err(bad("whose output has a label that no operand has"));
            }
        }
        Ok(Einsum { operands, output })
    }

    /// The labels of an operand of this rank.
    fn operand(&self, index: usize, rank: usize) -> Result<Labels, OpError> {
        let text = &self.operands[index];
        let own = text.iter().filter(|l| **l != ELLIPSIS).count();
        let wrong = || OpError::input(index, format!("is of rank {rank}, which its labels do not fit"));
        let hidden = rank.checked_sub(own).ok_or_else(wrong)?;
        Labels::new(text, hidden).filter(|labels| labels.rank == rank).ok_or_else(wrong)
    }

    /// The labels of the output for operands with these.
    fn result(&self, operands: &[Labels]) -> Result<Labels, OpError> {
        let hidden = |labels: &Labels| labels.iter().filter(|l| **l >= FIRST_HIDDEN).count();
        let hidden = operands.iter().map(hidden).max().unwrap_or(0);
        if hidden > 0 && !self.output.contains(&ELLIPSIS) {
            return Err(OpError::attribute(
                "equation",
                "has an ellipsis of some axes, and none in the output",
            ));
        }
        let too_many = || OpError::Unsupported(format!("an output of more than {MAX_RANK} axes"));
        Labels::new(&self.output, hidden).ok_or_else(too_many)
    }

    /// The axes that the labels of these shapes make, those of the output first and in its order.
    fn axes(&self, shapes: &[Shape]) -> Result<List<Axis>, OpError> {
        let mut operands = [Labels { rank: 0, labels: [0; MAX_RANK] }; 2];
        for (i, shape) in shapes.iter().enumerate() {
            operands[i] = self.operand(i, shape.rank())?;
        }
        let operands = &operands[..shapes.len()];
        let output = self.result(operands)?;
        let mut axes: List<Axis> = List::default();
        let mut seen = [0u8; 2 * MAX_RANK];
        let labels = || output.iter().chain(operands.iter().flat_map(|labels| labels.iter()));
        for label in labels() {
            if seen[..axes.len()].contains(label) {
                continue;
            }
            seen[axes.len()] = *label;
            let mut axis = Axis::new(output.contains(label));
            for (i, shape) in shapes.iter().enumerate() {
                let strides = shape.strides();
                for (at, _) in operands[i].iter().enumerate().filter(|(_, l)| *l == label) {
                    // An axis of 1 is broadcast, which a stride of 0 does.
                    if shape[at] != 1 {
                        axis.size = shape[at];
                        axis.strides[i] += strides[at];
                        axis.is_in[i] = true;
                    }
                }
            }
            axes.push(axis);
        }
        Ok(axes)
    }

    /// The size of each label, and the output's shape.
    fn infer_dims(&self, inputs: &[&Fact]) -> Result<Dims, OpError> {
        let mut sizes: Vec<(u8, Dim)> = Vec::new();
        let mut operands = Vec::new();
        for (i, fact) in inputs.iter().enumerate() {
            let Some(dims) = fact.dims.get() else { return Ok(self.unknown()) };
            let labels = self.operand(i, dims.len())?;
            for (label, dim) in labels.iter().zip(dims) {
                let Some((_, size)) = sizes.iter_mut().find(|(l, _)| l == label) else {
                    sizes.push((*label, *dim));
                    continue;
                };
                let is_hidden = *label >= FIRST_HIDDEN;
                *size = merge(*size, *dim, is_hidden).ok_or_else(|| {
                    OpError::input(i, format!("has {dim} where the same label of another axis has {size}"))
                })?;
            }
            operands.push(labels);
        }
        let output = self.result(&operands)?;
        let size =
            |label: &u8| sizes.iter().find(|(l, _)| l == label).map_or(Dim::Unknown, |(_, size)| *size);
        Ok(Dims::new(output.iter().map(size).collect::<Vec<_>>()))
    }

    fn unknown(&self) -> Dims {
        if self.output.contains(&ELLIPSIS) { Dims::UNKNOWN } else { Dims::of_rank(self.output.len()) }
    }

    fn contraction(&self, shapes: &[Shape]) -> Result<Contraction, OpError> {
        Ok(Contraction::new(&self.axes(shapes)?))
    }

    /// The one operand, summed and transposed.
    fn run_one(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let axes = self.axes(&[*input.shape()])?;
        let mut dims = [StridedDim::default(); 2 * MAX_RANK];
        for (dim, axis) in dims.iter_mut().zip(axes.iter()) {
            *dim = StridedDim { size: axis.size, stride: axis.strides[0] };
        }
        let kept = axes.iter().filter(|axis| axis.in_output).count();
        let (kept, summed) = dims[..axes.len()].split_at(kept);
        Ok(strided_sum(run.pool, input.dtype(), kept, summed, input.bytes(), run.out_bytes(0)?)?)
    }
}

/// The one size of a label that two axes have; an axis of an ellipsis may also be 1.
fn merge(a: Dim, b: Dim, is_hidden: bool) -> Option<Dim> {
    match (a, b) {
        (Dim::Known(1), other) | (other, Dim::Known(1)) if is_hidden => Some(other),
        (Dim::Known(x), Dim::Known(y)) => (x == y).then_some(a),
        (Dim::Known(_), _) => Some(a),
        (_, Dim::Known(_)) => Some(b),
        (x, y) if x == y || !is_hidden => Some(x),
        _ => Some(Dim::Unknown),
    }
}

impl Operator for Einsum {
    fn name(&self) -> &'static str {
        "Einsum"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let first = shared::input(inputs, 0)?;
        shared::need_type(0, first, TYPES)?;
        if inputs.len() != self.operands.len() {
            let why = format!("has {} operands for {} inputs", self.operands.len(), inputs.len());
            return Err(OpError::attribute("equation", why));
        }
        for (i, fact) in inputs.iter().enumerate() {
            shared::need_type(i, fact, &[first.dtype])?;
        }
        Ok(vec![Fact::new(first.dtype, self.infer_dims(inputs)?)])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let [a, b] = call.inputs else { return Memory::default() };
        let contraction = self.contraction(&[a.shape, b.shape]);
        contraction
            .map_or(Memory::default(), |c| Memory::scratch(c.scratch_bytes(a.dtype, call.isa, call.threads)))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if run.inputs() == 1 {
            return self.run_one(run);
        }
        let (a, b) = (run.input(0)?, run.input(1)?);
        let contraction = self.contraction(&[*a.shape(), *b.shape()])?;
        let dtype: DType = a.dtype();
        let (out, scratch) = (run.out_bytes(0)?, run.scratch()?);
        contraction.run(run.pool, dtype, [a.bytes(), b.bytes()], out, scratch)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Tensor, check, refuses, run, tensor, text};

    /// By definition: a walk over all values of all labels.
    fn naive(equation: &str, shapes: &[&[usize]], values: &[Vec<i64>]) -> Tensor {
        let (operands, output) = equation.split_once("->").unwrap();
        let operands: Vec<&[u8]> = operands.split(',').map(str::as_bytes).collect();
        let mut labels: Vec<u8> = output.bytes().collect();
        for label in operands.iter().copied().flatten() {
            if !labels.contains(label) {
                labels.push(*label);
            }
        }
        let size = |label: &u8| {
            let at = |(o, s): (&&[u8], &&[usize])| o.iter().position(|l| l == label).map(|i| s[i]);
            operands.iter().zip(shapes).find_map(at).unwrap()
        };
        let sizes: Vec<usize> = labels.iter().map(size).collect();
        let dims = &sizes[..output.len()];
        let mut out = vec![0i64; dims.iter().product()];
        for number in 0..sizes.iter().product() {
            let mut index = vec![0; labels.len()];
            let mut rest: usize = number;
            for (at, size) in index.iter_mut().zip(&sizes).rev() {
                *at = rest % size;
                rest /= size;
            }
            let offset = |own: &[u8], shape: &[usize]| {
                own.iter().zip(shape).fold(0, |sum, (label, size)| {
                    sum * size + index[labels.iter().position(|l| l == label).unwrap()]
                })
            };
            let terms = operands.iter().zip(shapes).zip(values);
            out[offset(output.as_bytes(), dims)] +=
                terms.map(|((own, shape), v)| v[offset(own, shape)]).product::<i64>();
        }
        tensor(dims, &out)
    }

    fn values(count: usize, seed: usize) -> Vec<i64> {
        (0..count).map(|i| ((i * 7 + seed * 5) % 11) as i64 - 5).collect()
    }

    #[test]
    fn any_equation_is_its_definition() {
        let cases: &[(&str, &[&[usize]])] = &[
            ("ab,bc->ac", &[&[2, 3], &[3, 4]]),
            ("abc,cde->abde", &[&[2, 3, 4], &[4, 2, 5]]),
            ("abcd,cde->abe", &[&[2, 3, 4, 5], &[4, 5, 6]]),
            ("abc,cd->abd", &[&[2, 3, 4], &[4, 5]]),
            ("aecd,abcd->acbe", &[&[2, 3, 4, 5], &[2, 6, 4, 5]]),
            ("acbe,aecd->abcd", &[&[2, 3, 4, 5], &[2, 5, 3, 6]]),
            ("ab,ab->ab", &[&[2, 3], &[2, 3]]),
            ("ab,cb->bca", &[&[2, 3], &[4, 3]]),
            ("abc,bad->cda", &[&[2, 3, 4], &[3, 2, 5]]),
            ("abcd,dcbe->ae", &[&[2, 3, 4, 5], &[5, 4, 3, 2]]),
            ("ab,cd->abcd", &[&[2, 3], &[4, 5]]),
            ("ab,cd->bd", &[&[2, 3], &[4, 5]]),
            ("ab,ab->", &[&[2, 3], &[2, 3]]),
            ("aab,bc->ac", &[&[3, 3, 2], &[2, 4]]),
            ("abc,d->cabd", &[&[2, 3, 4], &[5]]),
            ("ba,ca->abc", &[&[2, 3], &[4, 3]]),
            ("aa->a", &[&[3, 3]]),
            ("abc->ca", &[&[2, 3, 4]]),
            ("ab->ba", &[&[2, 3]]),
            ("ab->", &[&[2, 3]]),
            ("ab,bc->ac", &[&[2, 1], &[1, 4]]),
            ("ab,bc->ac", &[&[2, 0], &[0, 4]]),
        ];
        for (equation, shapes) in cases {
            let data: Vec<Vec<i64>> =
                shapes.iter().enumerate().map(|(i, s)| values(s.iter().product(), i)).collect();
            let inputs: Vec<Tensor> = shapes.iter().zip(&data).map(|(s, v)| tensor(s, v)).collect();
            let expected = naive(equation, shapes, &data);
            check("Einsum", &[("equation", text(equation))], &inputs, std::slice::from_ref(&expected));
            let floats: Vec<Tensor> = shapes
                .iter()
                .zip(&data)
                .map(|(s, v)| tensor(s, &v.iter().map(|x| *x as f32).collect::<Vec<_>>()))
                .collect();
            let outputs = run("Einsum", &[("equation", text(equation))], &floats).unwrap();
            let exact: Vec<f32> = expected.values::<i64>().iter().map(|x| *x as f32).collect();
            assert_eq!(outputs[0].values::<f32>(), exact, "{equation}");
        }
    }

    #[test]
    fn an_ellipsis_broadcasts() {
        let (a, b) = (values(2 * 3 * 4, 0), values(4 * 5, 1));
        let expected = naive("zab,bc->zac", &[&[2, 3, 4], &[4, 5]], &[a.clone(), b.clone()]);
        let equation = [("equation", text("...ab,...bc->...ac"))];
        for shape in [&[4, 5][..], &[1, 4, 5]] {
            check(
                "Einsum",
                &equation,
                &[tensor(&[2, 3, 4], &a), tensor(shape, &b)],
                std::slice::from_ref(&expected),
            );
        }
        refuses("Einsum", &[("equation", text("...a->a"))], &[tensor(&[2, 3, 4], &a)], "ellipsis");
    }

    #[test]
    fn refuses_what_it_does_not_mean() {
        let a = tensor(&[2, 3], &[0.0f32; 6]);
        let equation = |e| [("equation", text(e))];
        refuses("Einsum", &equation("ab,bc"), &[a.clone(), a.clone()], "no ->");
        refuses("Einsum", &equation("ab,bc->ac"), &[a.clone(), a.clone()], "same label");
        refuses("Einsum", &equation("ab->aab"), std::slice::from_ref(&a), "repeats");
        refuses("Einsum", &equation("ab->c"), std::slice::from_ref(&a), "no operand");
        refuses("Einsum", &equation("abc->a"), std::slice::from_ref(&a), "rank 2");
        refuses("Einsum", &equation("a1->a"), &[a], "letters");
    }
}
