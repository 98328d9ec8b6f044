//! BatchMatMul, BatchMatMulV2 and V3: `[.., m, k]` times `[.., k, n]`, either transposed (`adj_x`, `adj_y`), the
//! dimensions before the last two broadcast by numpy's rules. Also MatMul of types other than float32.
//!
//! Types: float32, float64, int32, int64 (float16 and bfloat16 are converted around it, and so are the operands of a
//! BatchMatMulV3 that returns another type), complex64 and complex128, whose matrices `adj_x` and `adj_y` conjugate besides.
//! Both operands are used as they stand, whatever their strides.

use tightfit_core::{ALIGNMENT, DType, MAX_RANK, Shape, TensorViewMut};
use tightfit_kernels::{BatchMatMul as Kernel, Epilogue, Isa, MatrixStrides, Src, ThreadPool, conjugate};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "BatchMatMul",
        import: |a| Ok(Box::new(BatchMatMul { batch: Batch::Same, ..BatchMatMul::import(a)? })),
    },
    Registration { name: "BatchMatMulV2", import },
    Registration { name: "BatchMatMulV3", import: import_v3 },
];

fn import_v3(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let output = attributes.dtype("Tout")?;
    let types = [attributes.dtype_or("Ta", output)?, attributes.dtype_or("Tb", output)?];
    let is_byte = |dtype: &DType| matches!(dtype, DType::I8 | DType::U8);
    let is_computed = match output {
        DType::I32 if types.iter().all(is_byte) => true,
        DType::BF16 => types.iter().all(|t| is_byte(t) || *t == output) && !types.iter().all(is_byte),
        _ => types == [output; 2],
    };
    if !is_computed {
        let why = format!("is {output}, which TensorFlow does not make of {} and {}", types[0], types[1]);
        return Err(OpError::attribute("Tout", why));
    }
    Ok(Box::new(BatchMatMul { output: Some(output), ..BatchMatMul::import(attributes)? }))
}

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    Ok(Box::new(BatchMatMul::import(attributes)?))
}

/// The axes before the matrices of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// None: MatMul.
    None,
    /// The same for both operands: BatchMatMul.
    Same,
    /// Of size 1 they are repeated: BatchMatMulV2 and V3.
    Broadcast,
}

/// The operator.
#[derive(Debug, Clone, Copy)]
pub struct BatchMatMul {
    /// The left-hand side is stored `[.., k, m]`.
    pub adj_x: bool,
    /// The right-hand side is stored `[.., n, k]`.
    pub adj_y: bool,
    /// What may be before the last two axes.
    pub batch: Batch,
    /// What the product is of, where that need not be the type of the operands: they are converted before it.
    pub output: Option<DType>,
}

/// True when a product of this type is computed from operands of that one.
fn is_computed_as(output: DType, operands: DType) -> bool {
    match output {
        DType::F16 | DType::BF16 => operands == DType::F32,
        DType::I16 => operands == DType::I32,
        _ => output == operands,
    }
}

/// Types that products are of.
pub(crate) const TYPES: &[DType] = &[DType::F32, DType::F64, DType::I32, DType::I64, DType::C64, DType::C128];

/// Computes a product of elements of one of [`TYPES`].
///
/// # Errors
/// [`OpError`] when the kernel refuses, which inference excludes.
pub(crate) fn multiply(
    pool: &ThreadPool,
    dtype: DType,
    product: &Kernel<'_>,
    (a, b, out): (&[u8], &[u8], &mut [u8]),
    scratch: &mut [u8],
) -> Result<(), OpError> {
    if dtype != DType::F32 {
        return Ok(product.run_any(pool, dtype, a, b, out)?);
    }
    let misaligned = |_| OpError::Internal("an operand is not aligned");
    let a = bytemuck::try_cast_slice(a).map_err(misaligned)?;
    let b = bytemuck::try_cast_slice(b).map_err(misaligned)?;
    let out = bytemuck::try_cast_slice_mut(out).map_err(misaligned)?;
    Ok(product.run(pool, a, b, out, Epilogue::default(), scratch)?)
}

/// Scratch bytes of [`multiply`]; more than any plan has room for where the kernel refuses the sizes.
pub(crate) fn scratch_bytes(dtype: DType, product: &Kernel<'_>, threads: usize) -> usize {
    if dtype == DType::F32 { product.scratch_bytes(threads).unwrap_or(usize::MAX) } else { 0 }
}

/// Bytes of a copy of an operand, after which the next one is aligned.
fn copy_bytes(shape: &Shape, dtype: DType) -> usize {
    (shape.elements() * dtype.bytes()).next_multiple_of(ALIGNMENT)
}

/// Sizes and strides of a product.
struct Layout {
    /// How many of the batch dimensions there are.
    rank: usize,
    batch: [usize; MAX_RANK],
    a: [usize; MAX_RANK],
    b: [usize; MAX_RANK],
    out: [usize; MAX_RANK],
    /// m, k and n.
    size: [usize; 3],
    is_transposed: [bool; 2],
}

impl Layout {
    fn kernel(&self, isa: Isa) -> Kernel<'_> {
        let [m, k, n] = self.size;
        let matrix = |is_transposed: bool, rows: usize, columns: usize, batch| {
            let (row, column) = if is_transposed { (1, rows) } else { (columns, 1) };
            MatrixStrides { row, column, batch }
        };
        Kernel {
            isa,
            batch: &self.batch[..self.rank],
            m,
            k,
            n,
            a: matrix(self.is_transposed[0], m, k, &self.a[..self.rank]),
            b: matrix(self.is_transposed[1], k, n, &self.b[..self.rank]),
            out: MatrixStrides { row: n, column: 1, batch: &self.out[..self.rank] },
        }
    }
}

/// The last two of a tensor's dimensions as rows and columns, and those before.
fn matrix<T: Copy>(dims: &[T], is_transposed: bool) -> Option<(&[T], T, T)> {
    let (batch, [rows, columns]) = dims.split_last_chunk::<2>()?;
    Some(if is_transposed { (batch, *columns, *rows) } else { (batch, *rows, *columns) })
}

impl BatchMatMul {
    fn import(attributes: &Attributes<'_>) -> Result<BatchMatMul, OpError> {
        let (adj_x, adj_y) = (attributes.bool_or("adj_x", false)?, attributes.bool_or("adj_y", false)?);
        Ok(BatchMatMul { adj_x, adj_y, batch: Batch::Broadcast, output: None })
    }

    /// Which operands are conjugated: adjoint matrices of complex numbers. MatMul's are only transposed.
    fn conjugates(&self, dtype: DType) -> [bool; 2] {
        let is_complex = dtype.is_complex() && self.batch != Batch::None;
        [is_complex && self.adj_x, is_complex && self.adj_y]
    }

    fn layout(&self, a: &Shape, b: &Shape) -> Result<Layout, OpError> {
        let scalar = OpError::Internal("a product of less than a matrix");
        let (Some((a_batch, m, k)), Some((b_batch, _, n))) = (matrix(a, self.adj_x), matrix(b, self.adj_y))
        else {
            return Err(scalar);
        };
        let rank = a_batch.len().max(b_batch.len());
        let none = [0; MAX_RANK];
        let is_transposed = [self.adj_x, self.adj_y];
        let mut layout =
            Layout { rank, batch: none, a: none, b: none, out: none, size: [m, k, n], is_transposed };
        let (mut a_stride, mut b_stride, mut out_stride) = (m * k, k * n, m * n);
        for axis in (0..rank).rev() {
            // Counted from the end, where the dimensions of both operands meet.
            let size = |batch: &[usize]| (axis + batch.len()).checked_sub(rank).map_or(1, |i| batch[i]);
            let (in_a, in_b) = (size(a_batch), size(b_batch));
            layout.batch[axis] = if in_a == 1 { in_b } else { in_a };
            layout.a[axis] = if in_a == 1 { 0 } else { a_stride };
            layout.b[axis] = if in_b == 1 { 0 } else { b_stride };
            layout.out[axis] = out_stride;
            a_stride *= in_a;
            b_stride *= in_b;
            out_stride *= layout.batch[axis];
        }
        Ok(layout)
    }
}

impl Operator for BatchMatMul {
    fn name(&self) -> &'static str {
        "BatchMatMulV2"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (a, b) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, a, TYPES)?;
        shared::need_type(1, b, &[a.dtype])?;
        if let Some(output) = self.output.filter(|output| !is_computed_as(*output, a.dtype)) {
            return Err(OpError::input(0, format!("is of type {}, not of the product's {output}", a.dtype)));
        }
        let no_matrix =
            |input, fact: &Fact| OpError::input(input, format!("is of shape {}, no matrix", fact.dims));
        let (Some(a_dims), Some(b_dims)) = (a.dims.get(), b.dims.get()) else {
            return Ok(vec![Fact::new(a.dtype, Dims::UNKNOWN)]);
        };
        let (a_batch, m, k) = matrix(a_dims, self.adj_x).ok_or_else(|| no_matrix(0, a))?;
        let (b_batch, depth, n) = matrix(b_dims, self.adj_y).ok_or_else(|| no_matrix(1, b))?;
        if let (Dim::Known(k), Dim::Known(depth)) = (k, depth)
            && k != depth
        {
            return Err(OpError::input(1, format!("has {depth} rows where input 0 has {k} columns")));
        }
        let is_same = |(a, b): (&Dim, &Dim)| a.known().zip(b.known()).is_none_or(|(a, b)| a == b);
        let is_alike = a_batch.len() == b_batch.len() && a_batch.iter().zip(b_batch).all(is_same);
        let has_batch = a_batch.len() + b_batch.len() > 0;
        let is_fine = match self.batch {
            Batch::None => !has_batch,
            Batch::Same => is_alike || a.is_bound || b.is_bound,
            Batch::Broadcast => true,
        };
        if !is_fine {
            let rule = if self.batch == Batch::None {
                "there are none before the last two"
            } else {
                "those before the last two are the same"
            };
            let why = format!("is of shape {} for {}; {rule}", b.dims, a.dims);
            return Err(OpError::input(1, why));
        }
        let batch = Dims::new(a_batch).broadcast(&Dims::new(b_batch)).ok_or_else(|| {
            OpError::input(
                1,
                format!("of shape {} does not broadcast with {} before the last two", b.dims, a.dims),
            )
        })?;
        let mut dims = batch.get().ok_or(OpError::Internal("a batch of unknown rank"))?.to_vec();
        dims.extend([m, n]);
        Ok(vec![Fact::new(a.dtype, Dims::new(dims))])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let layout = self.layout(&call.inputs[0].shape, &call.inputs[1].shape);
        let bytes =
            |layout: Layout| scratch_bytes(call.inputs[0].dtype, &layout.kernel(call.isa), call.threads);
        let conjugates = call.inputs.iter().zip(self.conjugates(call.inputs[0].dtype));
        let copies = conjugates
            .filter(|(_, is_copied)| *is_copied)
            .map(|(input, _)| copy_bytes(&input.shape, input.dtype));
        let copies = copies.fold(0, usize::saturating_add);
        layout.map_or(Memory::default(), |layout| Memory::scratch(bytes(layout).saturating_add(copies)))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (a, b) = (run.shape(0), run.shape(1));
        let (a_batch, m, k) = matrix(&a, self.adj_x)?;
        let (b_batch, depth, n) = matrix(&b, self.adj_y)?;
        let is_fine = match self.batch {
            Batch::None => a_batch.is_empty() && b_batch.is_empty(),
            Batch::Same => a_batch == b_batch,
            Batch::Broadcast => true,
        };
        (k == depth && is_fine).then_some(())?;
        let batch = reshape::broadcast(Shape::new(a_batch).ok()?, Shape::new(b_batch).ok()?)?;
        reshape::set(run, 0, batch.iter().copied().chain([m, n]))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let layout = self.layout(&run.shape(0), &run.shape(1))?;
        let (a, b) = (run.input(0)?, run.input(1)?);
        let (out, mut scratch) = (run.out_bytes(0)?, run.scratch()?);
        let mut operands = [a.bytes(), b.bytes()];
        for ((view, operand), is_copied) in
            [a, b].into_iter().zip(&mut operands).zip(self.conjugates(a.dtype()))
        {
            if is_copied {
                let bytes = copy_bytes(view.shape(), view.dtype());
                let (copy, rest) =
                    scratch.split_at_mut_checked(bytes).ok_or(OpError::Internal("scratch is too small"))?;
                scratch = rest;
                let copy = &mut copy[..view.bytes().len()];
                let mut to = TensorViewMut::new(view.dtype(), *view.shape(), copy)
                    .ok_or(OpError::Internal("a copy is of another size"))?;
                conjugate(run.pool, Src::View(view), &mut to)?;
                *operand = to.into_bytes();
            }
        }
        let [a_bytes, b_bytes] = operands;
        multiply(run.pool, a.dtype(), &layout.kernel(run.pool.isa()), (a_bytes, b_bytes, out), scratch)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, check_close, dtype, flag, refuses, tensor};
    use tightfit_core::DType;

    #[test]
    fn batches_broadcast() {
        let a: Vec<f32> = (0..2 * 3 * 5).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
        let b: Vec<f32> = (0..4 * 7 * 5).map(|i| (i * 5 % 13) as f32 - 6.0).collect();
        let mut expected = vec![0.0; 4 * 2 * 3 * 7];
        for (i, out) in expected.iter_mut().enumerate() {
            let (outer, inner, row, column) = (i / 42, i / 21 % 2, i / 7 % 3, i % 7);
            *out = (0..5).map(|k| a[(inner * 3 + row) * 5 + k] * b[(outer * 7 + column) * 5 + k]).sum();
        }
        let inputs = [tensor(&[2, 3, 5], &a), tensor(&[4, 1, 7, 5], &b)];
        check_close(
            "BatchMatMulV2",
            &[("adj_y", flag(true))],
            &inputs,
            &tensor(&[4, 2, 3, 7], &expected),
            1e-5,
        );
    }

    #[test]
    fn integers_and_doubles() {
        let inputs = [tensor(&[2, 2], &[1i32, 2, 3, 4]), tensor(&[2, 1], &[5i32, 6])];
        check("MatMul", &[("T", dtype(DType::I32))], &inputs, &[tensor(&[2, 1], &[17i32, 39])]);
        let inputs = [tensor(&[1, 2, 2], &[1.0f64, 2.0, 3.0, 4.0]), tensor(&[1, 2, 1], &[0.5f64, 0.25])];
        check("BatchMatMul", &[("adj_x", flag(true))], &inputs, &[tensor(&[1, 2, 1], &[1.25f64, 2.0])]);
        let empty = [tensor(&[2, 0], &[0i64; 0]), tensor(&[0, 2], &[0i64; 0])];
        check("BatchMatMulV2", &[], &empty, &[tensor(&[2, 2], &[0i64; 4])]);
    }

    #[test]
    fn refuses_shapes_that_do_not_fit() {
        let a = tensor(&[2, 2, 3], &[0.0f32; 12]);
        refuses("BatchMatMulV2", &[], &[a.clone(), tensor(&[2, 1], &[0.0f32; 2])], "2 rows");
        refuses("BatchMatMulV2", &[], &[a.clone(), tensor(&[3, 3, 1], &[0.0f32; 9])], "broadcast");
        refuses("BatchMatMulV2", &[], &[a, tensor(&[3], &[0.0f32; 3])], "no matrix");
    }
}
