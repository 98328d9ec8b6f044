//! Diagonals of matrices: MatrixDiag, MatrixDiagPart, MatrixSetDiag (each also V2 and V3), MatrixBandPart, Diag,
//! DiagPart, and the older names of the first four that begin with Batch.
//!
//! A matrix is the last two axes. The V2 and V3 forms take `k`, the diagonal or the lowest and highest diagonal that
//! are meant: several are the rows of one matrix, the highest first, as long as the longest of them. Attribute `align`
//! (V3) says where a shorter one lies in its row: RIGHT_LEFT, LEFT_RIGHT, LEFT_LEFT (V2) or RIGHT_RIGHT, for those
//! above and below the main diagonal. Diag and DiagPart are the same for tensors of any rank: a tensor of shape `s` is
//! the diagonal of one of shape `s + s`. Types: any, strings included. MatrixBandPart keeps `num_lower` diagonals below
//! the main one and `num_upper` above, all where the number is negative.

use tightfit_core::{DType, MAX_RANK, Shape, TensorViewMut};
use tightfit_kernels::{Diagonals, copy, fill, matrix_band_part, matrix_diag_part, matrix_set_diag};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::{agree, int_input, need_index_type, reshaped};

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "MatrixDiag", import: |_| Ok(Box::new(MatrixDiag { form: Form::MAIN })) },
    Registration { name: "MatrixDiagV2", import: |_| Ok(Box::new(MatrixDiag { form: Form::V2 })) },
    Registration { name: "MatrixDiagV3", import: |a| Ok(Box::new(MatrixDiag { form: Form::aligned(a)? })) },
    Registration { name: "MatrixDiagPart", import: |_| Ok(Box::new(MatrixDiagPart { form: Form::MAIN })) },
    Registration { name: "MatrixDiagPartV2", import: |_| Ok(Box::new(MatrixDiagPart { form: Form::V2 })) },
    Registration {
        name: "MatrixDiagPartV3",
        import: |a| Ok(Box::new(MatrixDiagPart { form: Form::aligned(a)? })),
    },
    Registration { name: "MatrixSetDiag", import: |_| Ok(Box::new(MatrixSetDiag { form: Form::MAIN })) },
    Registration { name: "MatrixSetDiagV2", import: |_| Ok(Box::new(MatrixSetDiag { form: Form::V2 })) },
    Registration {
        name: "MatrixSetDiagV3",
        import: |a| Ok(Box::new(MatrixSetDiag { form: Form::aligned(a)? })),
    },
    Registration { name: "BatchMatrixDiag", import: |_| Ok(Box::new(MatrixDiag { form: Form::MAIN })) },
    Registration {
        name: "BatchMatrixDiagPart",
        import: |_| Ok(Box::new(MatrixDiagPart { form: Form::MAIN })),
    },
    Registration { name: "BatchMatrixSetDiag", import: |_| Ok(Box::new(MatrixSetDiag { form: Form::MAIN })) },
    Registration { name: "BatchMatrixBandPart", import: |_| Ok(Box::new(MatrixBandPart)) },
    Registration { name: "MatrixBandPart", import: |_| Ok(Box::new(MatrixBandPart)) },
    Registration { name: "Diag", import: |_| Ok(Box::new(Diag { takes_part: false })) },
    Registration { name: "DiagPart", import: |_| Ok(Box::new(Diag { takes_part: true })) },
];

/// Which diagonals an operator means.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Form {
    /// True when an input says it, false when it is the main diagonal.
    has_k: bool,
    right_above: bool,
    right_below: bool,
}

impl Form {
    const MAIN: Form = Form { has_k: false, right_above: false, right_below: false };
    const V2: Form = Form { has_k: true, right_above: false, right_below: false };

    fn aligned(attributes: &Attributes<'_>) -> Result<Form, OpError> {
        let (right_above, right_below) = match attributes.text_or("align", "RIGHT_LEFT")? {
            "RIGHT_LEFT" => (true, false),
            "LEFT_RIGHT" => (false, true),
            "LEFT_LEFT" => (false, false),
            "RIGHT_RIGHT" => (true, true),
            other => return Err(OpError::attribute("align", format!("is {other}"))),
        };
        Ok(Form { has_k: true, right_above, right_below })
    }

    /// The diagonals for `k` as input number `index` has it.
    fn diagonals(&self, index: usize, k: &[i64]) -> Result<Diagonals, OpError> {
        let (lower, upper) = match k {
            [k] => (*k, *k),
            [lower, upper] if lower <= upper => (*lower, *upper),
            _ => {
                return Err(OpError::input(
                    index,
                    format!("is {k:?}; a diagonal or the lowest and highest is needed"),
                ));
            }
        };
        // Far more than any matrix has, and sums of them fit.
        if [lower, upper].iter().any(|k| i32::try_from(*k).is_err()) {
            return Err(OpError::input(index, format!("is {k:?}, no diagonal")));
        }
        Ok(Diagonals { lower, upper, right_above: self.right_above, right_below: self.right_below })
    }

    /// The diagonals where they are known before the model runs.
    fn known(&self, inputs: &[&Fact], index: usize) -> Result<Option<Diagonals>, OpError> {
        if !self.has_k {
            return self.diagonals(index, &[0]).map(Some);
        }
        let k = shared::input(inputs, index)?;
        shared::need_type(index, k, &[DType::I32])?;
        k.ints().map(|k| self.diagonals(index, &k)).transpose()
    }

    fn actual(&self, run: &Run<'_>, index: usize) -> Result<Diagonals, OpError> {
        if self.has_k { self.diagonals(index, &run.ints::<2>(index)?) } else { self.diagonals(index, &[0]) }
    }
}

/// Checks that a matrix, which is input number `index`, has these diagonals.
///
/// # Errors
/// [`OpError::Input`] where it has not.
fn check_within(index: usize, diagonals: &Diagonals, rows: usize, columns: usize) -> Result<(), OpError> {
    let is_in = |k: i64| k == 0 || (k > -(rows as i64) && k < columns as i64);
    if is_in(diagonals.lower) && is_in(diagonals.upper) {
        return Ok(());
    }
    let why = format!("has no diagonals {} to {}", diagonals.lower, diagonals.upper);
    Err(OpError::input(index, format!("of [{rows}, {columns}] {why}")))
}

/// The dimensions after `outer` of the diagonals of a matrix.
fn diagonal_dims(
    index: usize,
    outer: &[Dim],
    diagonals: &Diagonals,
    rows: Dim,
    columns: Dim,
) -> Result<Vec<Dim>, OpError> {
    let mut dims = outer.to_vec();
    if diagonals.lower < diagonals.upper {
        dims.push(Dim::Known(diagonals.upper - diagonals.lower + 1));
    }
    dims.push(match (rows.size(), columns.size()) {
        (Some(rows), Some(columns)) => {
            check_within(index, diagonals, rows, columns)?;
            Dim::Known(diagonals.longest([rows, columns]) as i64)
        }
        _ if diagonals.lower == 0 && diagonals.upper == 0 && rows == columns => rows,
        _ => Dim::Unknown,
    });
    Ok(dims)
}

/// Matrices of given diagonals.
#[derive(Debug)]
struct MatrixDiag {
    form: Form,
}

impl MatrixDiag {
    /// Rows and columns, for diagonals as long as `len`.
    fn size(&self, inputs: &[&Fact], diagonals: &Diagonals, len: Dim) -> Result<[Dim; 2], OpError> {
        let least =
            [len.plus(Dim::Known(-diagonals.upper.min(0))), len.plus(Dim::Known(diagonals.lower.max(0)))];
        if !self.form.has_k {
            return Ok([len, len]);
        }
        let mut asked = [Dim::Unknown; 2];
        for (i, asked) in asked.iter_mut().enumerate() {
            let input = shared::input(inputs, 2 + i)?;
            shared::need_type(2 + i, input, &[DType::I32])?;
            *asked = input.dims_value().and_then(|v| v.first().copied()).unwrap_or(Dim::Unknown);
        }
        let size = match asked {
            [Dim::Known(-1), Dim::Known(-1)] => match least {
                [Dim::Known(rows), Dim::Known(columns)] => [Dim::Known(rows.max(columns)); 2],
                [rows, columns] if rows == columns => least,
                _ => [Dim::Unknown; 2],
            },
            [rows @ Dim::Known(_), Dim::Known(-1)] => [rows, least[1]],
            [Dim::Known(-1), columns @ Dim::Known(_)] => [least[0], columns],
            // Where one is open, -1 for the other may mean either.
            asked => asked.map(|size| if size == Dim::Known(-1) { Dim::Unknown } else { size }),
        };
        if let [Dim::Known(rows), Dim::Known(columns)] = size
            && let [Dim::Known(least_rows), Dim::Known(least_columns)] = least
        {
            let is_exact = rows == least_rows || columns == least_columns;
            if rows < least_rows || columns < least_columns || !is_exact {
                let why =
                    format!("and 3 ask for [{rows}, {columns}], which has not diagonals of {len} elements");
                return Err(OpError::input(2, why));
            }
        }
        Ok(size)
    }
}

impl Operator for MatrixDiag {
    fn name(&self) -> &'static str {
        if self.form.has_k { "MatrixDiagV3" } else { "MatrixDiag" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        if self.form.has_k {
            shared::need_type(4, shared::input(inputs, 4)?, &[input.dtype])?;
            for index in 2..=4 {
                let dims = &shared::input(inputs, index)?.dims;
                if dims.rank().is_some_and(|rank| rank > 0) {
                    return Err(OpError::input(index, format!("is of shape {dims}; a scalar is needed")));
                }
            }
        }
        let diagonals = self.form.known(inputs, 1)?;
        let (Some(dims), Some(diagonals)) = (input.dims.get(), diagonals) else {
            return Ok(vec![Fact::new(input.dtype, Dims::UNKNOWN)]);
        };
        let count = diagonals.upper - diagonals.lower + 1;
        let outer = match dims {
            [outer @ .., _] if count == 1 => outer,
            [outer @ .., rows, _] if rows.known().is_none_or(|n| n == count) => outer,
            _ => return Err(OpError::input(0, format!("of shape {} is not {count} diagonals", input.dims))),
        };
        let len = dims.last().copied().unwrap_or(Dim::Unknown);
        let size = self.size(inputs, &diagonals, len)?;
        Ok(vec![Fact::new(input.dtype, Dims::new([outer, &size].concat()))])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, diagonals) = (run.input(0)?, self.form.actual(run, 1)?);
        let padding = if self.form.has_k { Some(run.input(4)?) } else { None };
        let mut output = run.output(0)?;
        let zeros = [0; 16];
        let size = input.dtype().bytes();
        fill(run.pool, padding.map_or(&zeros[..size], |p| p.bytes()), &mut output)?;
        if input.bytes().is_empty() {
            return Ok(());
        }
        Ok(matrix_set_diag(diagonals, input, &mut output)?)
    }
}

/// Diagonals of matrices.
#[derive(Debug)]
struct MatrixDiagPart {
    form: Form,
}

impl Operator for MatrixDiagPart {
    fn name(&self) -> &'static str {
        if self.form.has_k { "MatrixDiagPartV3" } else { "MatrixDiagPart" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        if self.form.has_k {
            shared::need_type(2, shared::input(inputs, 2)?, &[input.dtype])?;
        }
        let diagonals = self.form.known(inputs, 1)?;
        let (Some(dims), Some(diagonals)) = (input.dims.get(), diagonals) else {
            return Ok(vec![Fact::new(input.dtype, Dims::UNKNOWN)]);
        };
        let [outer @ .., rows, columns] = dims else {
            return Err(OpError::input(0, format!("is of shape {}, no matrix", input.dims)));
        };
        let dims = diagonal_dims(0, outer, &diagonals, *rows, *columns)?;
        Ok(vec![Fact::new(input.dtype, Dims::new(dims))])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (input, diagonals) = (run.input(0)?, self.form.actual(run, 1)?);
        let padding = if self.form.has_k { Some(run.input(2)?) } else { None };
        let mut output = run.output(0)?;
        if output.bytes().is_empty() {
            return Ok(());
        }
        let zeros = [0; 16];
        let padding = padding.map_or(&zeros[..input.dtype().bytes()], |p| p.bytes());
        Ok(matrix_diag_part(run.pool, diagonals, padding, input, &mut output)?)
    }
}

/// Matrices with other diagonals.
#[derive(Debug)]
struct MatrixSetDiag {
    form: Form,
}

/// Checks that a matrix has these diagonals and that they have this shape, once all of it is known.
///
/// # Errors
/// [`OpError::Input`] for the one that is not so.
fn check_set(diagonals: &Diagonals, matrix: &Shape, diagonal: &Shape) -> Result<(), OpError> {
    let [outer @ .., rows, columns] = &matrix[..] else {
        return Err(OpError::input(0, format!("is of shape {matrix}, no matrix")));
    };
    check_within(0, diagonals, *rows, *columns)?;
    let count = usize::try_from(diagonals.upper - diagonals.lower + 1).ok().filter(|count| *count > 1);
    let longest = diagonals.longest([*rows, *columns]);
    if outer.iter().copied().chain(count).chain([longest]).eq(diagonal.iter().copied()) {
        return Ok(());
    }
    let why = format!("is of shape {diagonal}; {} of {longest} elements are needed", count.unwrap_or(1));
    Err(OpError::input(1, why))
}

impl Operator for MatrixSetDiag {
    fn name(&self) -> &'static str {
        if self.form.has_k { "MatrixSetDiagV3" } else { "MatrixSetDiag" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (input, diagonal) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(1, diagonal, &[input.dtype])?;
        let diagonals = self.form.known(inputs, 2)?;
        if let (Some(dims), Some(diagonals)) = (input.dims.get(), diagonals) {
            let [outer @ .., rows, columns] = dims else {
                return Err(OpError::input(0, format!("is of shape {}, no matrix", input.dims)));
            };
            let needed = diagonal_dims(0, outer, &diagonals, *rows, *columns)?;
            let fits = |given: &[Dim]| {
                let is_bound = input.is_bound || diagonal.is_bound;
                given.len() == needed.len()
                    && given.iter().zip(&needed).all(|(a, b)| agree(*a, *b, is_bound).is_some())
            };
            if !diagonal.dims.get().is_none_or(fits) {
                let why = format!("is of shape {}; {} is needed", diagonal.dims, Dims::new(needed));
                return Err(OpError::input(1, why));
            }
        }
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory::overwrites(&[0])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (diagonal, diagonals) = (run.input(1)?, self.form.actual(run, 2)?);
        // Where k is only known now, nothing has looked at it: the output's shape follows without.
        check_set(&diagonals, &run.shape(0), diagonal.shape())?;
        let mut output = output_with_input(run)?;
        if diagonal.bytes().is_empty() {
            return Ok(());
        }
        Ok(matrix_set_diag(diagonals, diagonal, &mut output)?)
    }
}

/// The first output with the elements of the first input.
fn output_with_input<'a>(run: &mut Run<'a>) -> Result<TensorViewMut<'a>, OpError> {
    let input = if run.is_in_place(0) { None } else { Some(run.input(0)?) };
    let mut output = run.output(0)?;
    if let Some(input) = input {
        copy(run.pool, input, &mut output)?;
    }
    Ok(output)
}

/// Matrices with zeros outside of a band.
#[derive(Debug)]
struct MatrixBandPart;

impl Operator for MatrixBandPart {
    fn name(&self) -> &'static str {
        "MatrixBandPart"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        for i in 1..3 {
            need_index_type(i, shared::input(inputs, i)?)?;
        }
        if input.dims.rank().is_some_and(|rank| rank < 2) {
            return Err(OpError::input(0, format!("is of shape {}, no matrix", input.dims)));
        }
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory::overwrites(&[0])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (lower, upper) = (int_input(run, 1)?, int_input(run, 2)?);
        let shape = run.shape(0);
        for (index, n) in [(1, lower), (2, upper)] {
            let most = shape[shape.rank() + index - 3];
            if n > most as i64 {
                return Err(OpError::input(index, format!("is {n}, more than the {most} of a matrix")));
            }
        }
        let mut output = output_with_input(run)?;
        Ok(matrix_band_part(run.pool, lower, upper, &mut output)?)
    }
}

/// Diag and DiagPart.
#[derive(Debug)]
struct Diag {
    takes_part: bool,
}

impl Operator for Diag {
    fn name(&self) -> &'static str {
        if self.takes_part { "DiagPart" } else { "Diag" }
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        let Some(dims) = input.dims.get() else { return Ok(vec![Fact::new(input.dtype, Dims::UNKNOWN)]) };
        if !self.takes_part {
            if dims.is_empty() || 2 * dims.len() > MAX_RANK {
                return Err(OpError::input(0, format!("has {} dimensions", dims.len())));
            }
            return Ok(vec![Fact::new(input.dtype, Dims::new([dims, dims].concat()))]);
        }
        let (first, second) = dims.split_at(dims.len() / 2);
        let same =
            first.iter().zip(second).map(|(a, b)| agree(*a, *b, input.is_bound)).collect::<Option<Vec<_>>>();
        match same.filter(|_| !dims.is_empty() && dims.len() % 2 == 0) {
            Some(same) => Ok(vec![Fact::new(input.dtype, Dims::new(same))]),
            None => {
                Err(OpError::input(0, format!("is of shape {}, which does not repeat itself", input.dims)))
            }
        }
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let mut output = run.output(0)?;
        if input.bytes().is_empty() {
            return Ok(());
        }
        let zeros = &[0; 16][..input.dtype().bytes()];
        if self.takes_part {
            let n = output.shape().elements();
            return Ok(matrix_diag_part(
                run.pool,
                Diagonals::single(0),
                zeros,
                reshaped(input, &[n, n])?,
                &mut output,
            )?);
        }
        let n = input.shape().elements();
        fill(run.pool, zeros, &mut output)?;
        let mut matrix = TensorViewMut::new(input.dtype(), Shape::new(&[n, n])?, output.into_bytes())
            .ok_or(OpError::Internal("a tensor was looked at under a shape of another size"))?;
        Ok(matrix_set_diag(Diagonals::single(0), reshaped(input, &[n])?, &mut matrix)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    #[test]
    fn the_main_diagonal() {
        let v = tensor(&[2], &[1f32, 2.0]);
        let m = tensor(&[2, 2], &[1f32, 0.0, 0.0, 2.0]);
        check("MatrixDiag", &[], &[v.clone()], &[m.clone()]);
        check("Diag", &[], &[v.clone()], &[m.clone()]);
        check("MatrixDiagPart", &[], &[m.clone()], &[v.clone()]);
        check("DiagPart", &[], &[m], &[v.clone()]);
        let wide = tensor(&[2, 3], &[9f32; 6]);
        let set = tensor(&[2, 3], &[1f32, 9.0, 9.0, 9.0, 2.0, 9.0]);
        check("MatrixSetDiag", &[], &[wide.clone(), v.clone()], &[set]);
        refuses("MatrixSetDiag", &[], &[wide, tensor(&[3], &[1f32; 3])], "needed");
        refuses("DiagPart", &[], &[tensor(&[2, 3], &[0f32; 6])], "repeat");
        refuses("MatrixDiagPart", &[], &[v], "no matrix");
    }

    /// The examples of tf.linalg.diag_part and tf.linalg.diag.
    #[test]
    fn several_diagonals() {
        let m = tensor(&[3, 4], &[1i32, 2, 3, 4, 5, 6, 7, 8, 9, 8, 7, 6]);
        let part = |align: &str, k: &[i32], expected: Tensor| {
            let k = tensor(&[k.len()], k);
            check("MatrixDiagPartV3", &[("align", text(align))], &[m.clone(), k, scalar(0i32)], &[expected]);
        };
        part("RIGHT_LEFT", &[1], tensor(&[3], &[2i32, 7, 6]));
        part("RIGHT_LEFT", &[-1, 2], tensor(&[4, 3], &[0i32, 3, 8, 2, 7, 6, 1, 6, 7, 5, 8, 0]));
        part("LEFT_RIGHT", &[-1, 2], tensor(&[4, 3], &[3i32, 8, 0, 2, 7, 6, 1, 6, 7, 0, 5, 8]));
        let k = tensor(&[2], &[-1i32, 1]);
        let bands = tensor(&[3, 3], &[0i32, 8, 9, 1, 2, 3, 4, 5, 0]);
        let matrix = tensor(&[3, 3], &[1i32, 8, 0, 4, 2, 9, 0, 5, 3]);
        let free = [scalar(-1i32), scalar(-1i32), scalar(0i32)];
        check("MatrixDiagV3", &[], &[&[bands.clone(), k.clone()], &free[..]].concat(), &[matrix.clone()]);
        let other = tensor(&[3, 3], &[7i32; 9]);
        let set = tensor(&[3, 3], &[1i32, 8, 7, 4, 2, 9, 7, 5, 3]);
        check("MatrixSetDiagV3", &[], &[other, bands, k], &[set]);
        let above = [tensor(&[2], &[1i32, 2]), scalar(1i32), scalar(-1i32), scalar(-1i32), scalar(9i32)];
        let expected = tensor(&[3, 3], &[9i32, 1, 9, 9, 9, 2, 9, 9, 9]);
        check("MatrixDiagV2", &[], &above, &[expected]);
        let narrow = [tensor(&[2], &[1i32, 2]), scalar(1i32), scalar(2i32), scalar(2i32), scalar(9i32)];
        refuses("MatrixDiagV2", &[], &narrow, "diagonals of 2");
        refuses("MatrixDiagPartV2", &[], &[m, scalar(4i32), scalar(0i32)], "no diagonals");
        for index in 2..=4 {
            let mut inputs =
                [tensor(&[2], &[1i32, 2]), scalar(0i32), scalar(2i32), scalar(2i32), scalar(9i32)];
            inputs[index] = tensor(&[1], &[2i32]);
            refuses("MatrixDiagV2", &[], &inputs, "a scalar is needed");
        }
    }

    /// Where there are no elements, too, as TensorFlow does.
    #[test]
    fn refuses_diagonals_of_another_shape_however_late_they_are_known() {
        let matrix = tensor::<f32>(&[5, 0, 4, 2], &[]);
        for (diagonal, k, text) in [
            (&[5, 0, 1][..], &[0][..], "is of shape"),
            (&[5, 0, 2], &[9], "has no"),
            (&[5, 0, 2, 2], &[0, 2], "has no"),
        ] {
            let inputs = [matrix.clone(), tensor::<f32>(diagonal, &[]), tensor(&[k.len()], k)];
            refuses("MatrixSetDiagV3", &[], &inputs, text);
            refuses_as_it_runs("MatrixSetDiagV3", &[], &inputs, text);
        }
        let fine = [matrix.clone(), tensor::<f32>(&[5, 0, 2], &[]), tensor(&[1], &[0i32])];
        check("MatrixSetDiagV3", &[], &fine, &[matrix]);
    }

    #[test]
    fn bands() {
        let m = tensor(&[3, 3], &[1f32; 9]);
        let band = tensor(&[3, 3], &[1f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]);
        check("MatrixBandPart", &[], &[m.clone(), scalar(-1i64), scalar(0i64)], &[band]);
        let band = tensor(&[3, 3], &[1f32, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0]);
        check("MatrixBandPart", &[], &[m.clone(), scalar(0i32), scalar(1i32)], &[band]);
        check("MatrixBandPart", &[], &[m.clone(), scalar(3i32), scalar(-9i32)], &[m.clone()]);
        refuses("MatrixBandPart", &[], &[m.clone(), scalar(4i32), scalar(1i32)], "input 1 is 4");
        refuses("MatrixBandPart", &[], &[m, scalar(0i32), scalar(4i32)], "input 2 is 4");
    }
}
