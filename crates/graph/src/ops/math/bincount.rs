//! Counting values: Bincount, DenseBincount and HistogramFixedWidth.
//!
//! Bincount: inputs values (int32, of any shape), size, weights (of the output's type and the values' shape, or empty
//! for 1 each); output `[size]`. DenseBincount: the same for values `[]`, `[n]` or `[rows, n]` of int32 or int64, output
//! `[size]` or `[rows, size]`, 1 for each value that occurs with `binary_output`. Values past the size are dropped,
//! negative ones refused. HistogramFixedWidth: inputs values, range `[low, high]`, number of parts; output int32 or
//! int64.

use tightfit_core::{DType, Shape, TensorView, TensorViewMut};
use tightfit_kernels::{bincount, histogram};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "Bincount",
        import: |_| Ok(Box::new(Bincount { is_dense: false, is_binary: false })),
    },
    Registration {
        name: "DenseBincount",
        import: |attributes| {
            Ok(Box::new(Bincount { is_dense: true, is_binary: attributes.bool_or("binary_output", false)? }))
        },
    },
    Registration { name: "HistogramFixedWidth", import: import_histogram },
];

fn import_histogram(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let dtype = attributes.dtype_or("dtype", DType::I32)?;
    if !matches!(dtype, DType::I32 | DType::I64) {
        return Err(OpError::attribute("dtype", format!("is {dtype}; int32 and int64 are supported")));
    }
    Ok(Box::new(Histogram { dtype }))
}

/// The size that an input says.
fn size(index: usize, fact: &Fact) -> Result<Dim, OpError> {
    shared::need_type(index, fact, &[DType::I32, DType::I64])?;
    match fact.dims_value().as_deref() {
        Some([Dim::Known(n)]) if *n < 0 => {
            Err(OpError::input(index, format!("is {n}; it must not be negative")))
        }
        Some([size]) => Ok(*size),
        Some(_) => Err(OpError::input(index, format!("is of shape {}, no scalar", fact.dims))),
        None => Ok(Dim::Unknown),
    }
}

/// Bincount and DenseBincount.
#[derive(Debug)]
struct Bincount {
    is_dense: bool,
    is_binary: bool,
}

impl Operator for Bincount {
    fn name(&self) -> &'static str {
        if self.is_dense { "DenseBincount" } else { "Bincount" }
    }

    fn grows_with(&self, input: usize) -> bool {
        input == 1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (values, weights) = (shared::input(inputs, 0)?, shared::input(inputs, 2)?);
        shared::need_type(0, values, &[DType::I32, DType::I64])?;
        shared::need_type(2, weights, &[DType::I32, DType::I64, DType::F32, DType::F64])?;
        let size = size(1, shared::input(inputs, 1)?)?;
        if let (Some(of), Some(by)) = (values.dims.get(), weights.dims.get()) {
            let is_bound = values.is_bound || weights.is_bound;
            let differs = |(a, b): (&Dim, &Dim)| a.known().zip(b.known()).is_some_and(|(a, b)| a != b);
            // Bincount looks at how many there are alone.
            let is_like = if self.is_dense {
                of.len() == by.len() && (is_bound || !of.iter().zip(by).any(differs))
            } else {
                is_bound || !differs((&values.dims.elements(), &weights.dims.elements()))
            };
            // Where there are none, each weighs 1.
            let may_be_empty = by.iter().any(|d| d.known().is_none_or(|n| n == 0));
            if !is_like && !may_be_empty {
                let why = format!("is of shape {} for values of {}", weights.dims, values.dims);
                return Err(OpError::input(2, why));
            }
        }
        let dims = match values.dims.get() {
            None if self.is_dense => Dims::UNKNOWN,
            Some(&[rows, _]) if self.is_dense => Dims::new([rows, size]),
            Some([] | [_]) | None => Dims::new([size]),
            Some(_) if !self.is_dense => Dims::new([size]),
            Some(_) => {
                return Err(OpError::input(
                    0,
                    format!("is of shape {}; at most rank 2 is needed", values.dims),
                ));
            }
        };
        Ok(vec![Fact::new(weights.dtype, dims)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (values, weights) = (run.shape(0), run.shape(2));
        let is_like = if self.is_dense { weights == values } else { weights.elements() == values.elements() };
        (weights.elements() == 0 || is_like).then_some(())?;
        let size = usize::try_from(reshape::int(run, 1)?).ok()?;
        match values[..] {
            [rows, _] if self.is_dense => reshape::set(run, 0, [rows, size]),
            [] | [_] => reshape::set(run, 0, [size]),
            _ if self.is_dense => None,
            _ => reshape::set(run, 0, [size]),
        }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (values, weights) = (run.input(0)?, run.input(2)?);
        // That a value occurs does not depend on its weight.
        let weights = Some(weights).filter(|w| !w.bytes().is_empty() && !self.is_binary);
        let mut output = run.output(0)?;
        let rows = if output.shape().rank() == 2 { output.shape()[0] } else { 1 };
        let mut counted = Rows { rows, output: &mut output };
        for row in 0..rows {
            let values = part(values, row, rows)?;
            let weights = weights.map(|w| part(w, row, rows)).transpose()?;
            bincount(values, weights, &mut counted.row(row)?)?;
        }
        if self.is_binary {
            make_binary(&mut output);
        }
        Ok(())
    }
}

/// Row `row` of `rows`.
fn part(view: TensorView<'_>, row: usize, rows: usize) -> Result<TensorView<'_>, OpError> {
    let elements = view.shape().elements() / rows.max(1);
    let bytes = elements * view.dtype().bytes();
    let row = view.bytes().get(row * bytes..(row + 1) * bytes);
    row.and_then(|bytes| TensorView::new(view.dtype(), Shape::new(&[elements]).ok()?, bytes))
        .ok_or(OpError::Internal("a row that a tensor does not have"))
}

struct Rows<'a, 'b> {
    rows: usize,
    output: &'a mut TensorViewMut<'b>,
}

impl Rows<'_, '_> {
    fn row(&mut self, row: usize) -> Result<TensorViewMut<'_>, OpError> {
        let (dtype, elements) = (self.output.dtype(), self.output.shape().elements() / self.rows.max(1));
        let bytes = elements * dtype.bytes();
        let shape = Shape::new(&[elements])?;
        let row = self.output.bytes().get_mut(row * bytes..(row + 1) * bytes);
        row.and_then(|bytes| TensorViewMut::new(dtype, shape, bytes))
            .ok_or(OpError::Internal("a row that a tensor does not have"))
    }
}

/// 1 for each count that is not 0.
fn make_binary(output: &mut TensorViewMut<'_>) {
    if let Some(counts) = output.as_slice::<i32>() {
        counts.iter_mut().for_each(|n| *n = (*n != 0) as i32);
    } else if let Some(counts) = output.as_slice::<i64>() {
        counts.iter_mut().for_each(|n| *n = (*n != 0) as i64);
    } else if let Some(counts) = output.as_slice::<f32>() {
        counts.iter_mut().for_each(|n| *n = (*n != 0.0) as u8 as f32);
    } else if let Some(counts) = output.as_slice::<f64>() {
        counts.iter_mut().for_each(|n| *n = (*n != 0.0) as u8 as f64);
    }
}

/// HistogramFixedWidth.
#[derive(Debug)]
struct Histogram {
    dtype: DType,
}

impl Operator for Histogram {
    fn name(&self) -> &'static str {
        "HistogramFixedWidth"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (values, range) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, values, &[DType::F32, DType::F64, DType::I32, DType::I64])?;
        shared::need_type(1, range, &[values.dtype])?;
        shared::dims_of_rank(1, range, 1)?;
        Ok(vec![Fact::new(self.dtype, Dims::new([size(2, shared::input(inputs, 2)?)?]))])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (values, range) = (run.input(0)?, run.input(1)?);
        Ok(histogram(values, range, &mut run.output(0)?)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, flag, refuses, scalar, tensor};

    #[test]
    fn nan_falls_into_no_part() {
        let values = tensor(&[2], &[f64::NAN, 1.0]);
        let inputs = [values, tensor(&[2], &[0f64, 2.0]), scalar(3i32)];
        refuses("HistogramFixedWidth", &[], &inputs, "NaN");
        let [values, range, _] = inputs;
        check("HistogramFixedWidth", &[], &[values, range, scalar(1i32)], &[tensor(&[1], &[2i32])]);
    }

    #[test]
    fn counts_values() {
        let values = tensor(&[2, 3], &[1i32, 1, 3, 0, 7, 1]);
        let none = tensor(&[0], &[0i64; 0]);
        check(
            "Bincount",
            &[],
            &[values.clone(), scalar(4i32), none.clone()],
            &[tensor(&[4], &[1i64, 3, 0, 1])],
        );
        let weights = tensor(&[1, 6], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let weighed = [values.clone(), scalar(4i32), weights.clone()];
        check("Bincount", &[], &weighed, &[tensor(&[4], &[4.0f32, 9.0, 0.0, 3.0])]);
        refuses("DenseBincount", &[], &weighed, "for values of");
        let rows = [tensor(&[2, 3], &[0i64, 2, 0, 1, 1, 0])];
        check("DenseBincount", &[], &[values.clone(), scalar(3i32), none.clone()], &rows);
        let rows = [tensor(&[2, 3], &[0i64, 1, 0, 1, 1, 0])];
        let binary = [("binary_output", flag(true))];
        check("DenseBincount", &binary, &[values.clone(), scalar(3i32), none.clone()], &rows);
        let weights = tensor(&[2, 3], &[0.5f32, 1.0, 2.0, 4.0, 8.0, 0.25]);
        // That a value occurs does not depend on its weight.
        let zeros = [values.clone(), scalar(3i32), tensor(&[2, 3], &[0.0f32; 6])];
        let rows = [tensor(&[2, 3], &[0.0f32, 1.0, 0.0, 1.0, 1.0, 0.0])];
        check("DenseBincount", &binary, &zeros, &rows);
        check(
            "DenseBincount",
            &[],
            &[scalar(2i32), scalar(3i32), none.clone()],
            &[tensor(&[3], &[0i64, 0, 1])],
        );
        refuses("DenseBincount", &[], &[scalar(2i32), scalar(3i32), tensor(&[1], &[1i64])], "shape");
        let sums = [tensor(&[2], &[4.0f32, 1.75])];
        check("Bincount", &[], &[values, scalar(2i32), weights], &sums);
        refuses("Bincount", &[], &[tensor(&[1], &[-1i32]), scalar(2i32), none], "-1");
    }

    #[test]
    fn parts_of_a_range() {
        let inputs =
            [tensor(&[6], &[-1.0f32, 0.0, 1.5, 2.0, 5.0, 15.0]), tensor(&[2], &[0.0f32, 5.0]), scalar(5i32)];
        check("HistogramFixedWidth", &[], &inputs, &[tensor(&[5], &[2i32, 1, 1, 0, 2])]);
        // Where a part begins is rounded as TensorFlow rounds it.
        let inputs = [tensor(&[1], &[-2i64]), tensor(&[2], &[-3i64, -1]), scalar(6i32)];
        check("HistogramFixedWidth", &[], &inputs, &[tensor(&[6], &[0i32, 0, 1, 0, 0, 0])]);
    }
}
