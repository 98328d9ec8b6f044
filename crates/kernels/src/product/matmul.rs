//! Matrix products: one matrix by weights, and batches of run-time matrices.

use super::weighted::{Parts, check_residual};
use crate::base::cpu::Isa;
use crate::base::error::{KernelError, check_at_least, check_exact, product};
use crate::base::threads::ThreadPool;
use crate::product::gemm::{
    Epilogue, Form, Gemm, LeftHand, MAX_ROWS, Offsets, PackedLayout, Problem, RightHand, Segment,
};

/// `[m, k] · [k, n]` -> `[m, n]`, f32, where the right-hand side is weights. Cheap to make; holds no memory.
#[derive(Debug, Clone, Copy)]
pub struct MatMul {
    m: usize,
    k: usize,
    n: usize,
    transpose_a: bool,
    transpose_b: bool,
    layout: PackedLayout,
}

impl MatMul {
    /// The product of `a`, `[m, k]` (stored `[k, m]` with `transpose_a`), and `b`, `[k, n]` (stored `[n, k]` with
    /// `transpose_b`).
    ///
    /// # Errors
    /// [`KernelError`] when the processor lacks `isa` or the sizes overflow.
    pub fn new(
        isa: Isa,
        m: usize,
        k: usize,
        n: usize,
        transpose_a: bool,
        transpose_b: bool,
    ) -> Result<MatMul, KernelError> {
        product(&[m, k])?;
        product(&[m, n])?;
        Ok(MatMul { m, k, n, transpose_a, transpose_b, layout: PackedLayout::new(isa, k, n, 1)? })
    }

    /// The left-hand side, for `k` of its columns from `first_k`.
    fn rows<'a>(&self, a: &'a [f32], first_k: usize, k: usize) -> MatrixRows<'a> {
        let (row_stride, column_stride) = if self.transpose_a { (1, self.m) } else { (self.k, 1) };
        MatrixRows::new(a, first_k, self.m, k, self.n, row_stride, column_stride, Batches::NONE)
    }
}

impl Parts for MatMul {
    /// It depends on k, n and the isa alone. Fill it with [`PackedLayout::pack_rows`], or with
    /// [`PackedLayout::pack_columns`] when `b` is stored transposed.
    fn packed(&self) -> PackedLayout {
        self.layout
    }

    fn stored(&self) -> (usize, usize) {
        if self.transpose_b { (self.n, self.k) } else { (self.k, self.n) }
    }

    fn fitting_rows(&self, fitting: usize) -> Option<usize> {
        (fitting > 0).then_some(fitting)
    }

    fn strides(&self) -> (usize, usize) {
        if self.transpose_b { (1, self.k) } else { (self.n, 1) }
    }

    fn part_scratch_bytes(&self, threads: usize, rows: usize, form: Form) -> usize {
        let (k, n) = if self.transpose_b { (self.k, rows) } else { (rows, self.n) };
        let layout = PackedLayout::new(self.layout.isa(), k, n, 1).unwrap_or(self.layout);
        self.rows(&[], 0, k).problem(self.m, layout, k, 1, form).scratch_bytes(threads)
    }

    fn part(
        &self,
        pool: &ThreadPool,
        a: &[f32],
        right: RightHand,
        rows: (usize, usize),
        out: &mut [f32],
        epilogue: Epilogue<'_>,
        scratch: &mut [u8],
    ) -> Result<(), KernelError> {
        check_exact("the left-hand side", self.m * self.k, a.len())?;
        check_exact("the output", self.m * self.n, out.len())?;
        let (k, n) = if self.transpose_b { ((0, self.k), rows) } else { (rows, (0, self.n)) };
        let (first, last) = (k.0 == 0, k.0 + k.1 == self.k);
        check_residual(&epilogue, first && last)?;
        let out = out.as_mut_ptr();
        let epilogue = epilogue.to_raw(self.n, out, self.m * self.n)?.starting_at(n.0, n.0).only_if(last);
        let rows = self.rows(a, k.0, k.1);
        let gemm = Gemm {
            rows: &rows,
            m: self.m,
            layout: PackedLayout::new(self.layout.isa(), k.1, n.1, 1)?,
            instances: 1,
            segment: Segment::new(k.1, 0, k.1)?,
            b: right,
            out: out.wrapping_add(n.0),
            out_stride: self.n,
            first,
            epilogue,
        };
        let scratch = gemm.scratch(pool.threads(), scratch)?;
        // SAFETY: the lengths were checked above, and `out` and `scratch` are borrowed exclusively.
        unsafe { gemm.run(pool, &scratch) };
        Ok(())
    }
}

/// The strides of a matrix in a batch, in elements.
#[derive(Debug, Clone, Copy)]
pub struct MatrixStrides<'a> {
    /// From one row to the next.
    pub row: usize,
    /// From one column to the next; the output's must be 1.
    pub column: usize,
    /// From one element to the next along each batch dimension; 0 where an operand is broadcast.
    pub batch: &'a [usize],
}

/// A batch of products `[m, k] · [k, n]` of run-time operands, f32, any strides.
#[derive(Debug, Clone, Copy)]
pub struct BatchMatMul<'a> {
    /// The instructions to use.
    pub isa: Isa,
    /// The batch dimensions, outermost first; none for a single product.
    pub batch: &'a [usize],
    /// Rows of each output.
    pub m: usize,
    /// Length of each sum.
    pub k: usize,
    /// Columns of each output.
    pub n: usize,
    /// `[m, k]` matrices.
    pub a: MatrixStrides<'a>,
    /// `[k, n]` matrices: a transposed one is a matter of strides.
    pub b: MatrixStrides<'a>,
    /// `[m, n]` matrices; no two elements may share memory.
    pub out: MatrixStrides<'a>,
}

impl BatchMatMul<'_> {
    /// Bytes of scratch that [`Self::run`] needs.
    ///
    /// # Errors
    /// [`KernelError`] when the processor lacks the isa or the sizes overflow.
    pub fn scratch_bytes(&self, threads: usize) -> Result<usize, KernelError> {
        let layout = PackedLayout::new(self.isa, self.k, self.n, 1)?;
        let instances = product(self.batch)?;
        let form = Form::of_column_stride(self.b.column);
        Ok(self.rows(&[]).problem(self.m, layout, self.k, instances, form).scratch_bytes(threads))
    }

    /// Computes all products. A scale or shift in the epilogue is per column, the same for the whole batch; a
    /// residual has the output's strides.
    ///
    /// # Errors
    /// [`KernelError`] when a length is wrong, the output's elements overlap, or the scratch is too small.
    pub fn run(
        &self,
        pool: &ThreadPool,
        a: &[f32],
        b: &[f32],
        out: &mut [f32],
        epilogue: Epilogue<'_>,
        scratch: &mut [u8],
    ) -> Result<(), KernelError> {
        let instances = product(self.batch)?;
        if instances == 0 || self.m == 0 || self.n == 0 {
            return Ok(());
        }
        if self.k > 0 {
            check_at_least("the left-hand side", self.extent(&self.a, self.m, self.k)?, a.len())?;
            check_at_least("the right-hand side", self.extent(&self.b, self.k, self.n)?, b.len())?;
        }
        check_at_least("the output", self.extent(&self.out, self.m, self.n)?, out.len())?;
        self.check_disjoint()?;
        let rows = self.rows(a);
        let (out, out_len) = (out.as_mut_ptr(), out.len());
        let gemm = Gemm {
            rows: &rows,
            m: self.m,
            layout: PackedLayout::new(self.isa, self.k, self.n, 1)?,
            instances,
            segment: Segment::new(self.k, 0, self.k)?,
            b: RightHand::Strided { start: b.as_ptr(), row_stride: self.b.row, column_stride: self.b.column },
            out,
            out_stride: self.out.row,
            first: true,
            epilogue: epilogue.to_raw(self.n, out, out_len)?,
        };
        let scratch = gemm.scratch(pool.threads(), scratch)?;
        // SAFETY: the extents were checked above, the output's elements are disjoint, and `out` and `scratch` are
        // borrowed exclusively.
        unsafe { gemm.run(pool, &scratch) };
        Ok(())
    }

    fn rows<'a>(&'a self, a: &'a [f32]) -> MatrixRows<'a> {
        let batches = Batches { dims: self.batch, a: self.a.batch, b: self.b.batch, out: self.out.batch };
        MatrixRows::new(a, 0, self.m, self.k, self.n, self.a.row, self.a.column, batches)
    }

    /// One past the largest index in a batch of `rows · columns` matrices, none of which is empty.
    pub(crate) fn extent(
        &self,
        strides: &MatrixStrides<'_>,
        rows: usize,
        columns: usize,
    ) -> Result<usize, KernelError> {
        check_exact("the batch strides", self.batch.len(), strides.batch.len())?;
        let dims = self.batch.iter().copied().zip(strides.batch.iter().copied());
        dims.chain([(rows, strides.row), (columns, strides.column)])
            .try_fold(1usize, |sum, (dim, stride)| sum.checked_add((dim - 1).checked_mul(stride)?))
            .ok_or(KernelError::Attribute("strides that reach past the end of memory"))
    }

    /// An error unless every element of the output has memory of its own: going from the smallest stride to the
    /// largest, each must step over all that the smaller ones span.
    pub(crate) fn check_disjoint(&self) -> Result<(), KernelError> {
        let overlap = KernelError::Attribute("the output's strides make its elements overlap");
        if self.out.column != 1 {
            return Err(KernelError::Attribute("the output's columns must be next to each other"));
        }
        let dims =
            || self.batch.iter().copied().zip(self.out.batch.iter().copied()).chain([(self.m, self.out.row)]);
        let mut span = self.n;
        let mut above = None;
        for _ in 0..=self.batch.len() {
            let candidates = dims().filter(|(dim, stride)| *dim > 1 && above.is_none_or(|a| *stride > a));
            let Some((dim, stride)) = candidates.min_by_key(|(_, stride)| *stride) else { break };
            let same = dims().filter(|d| d.0 > 1 && d.1 == stride).count();
            if stride < span || same > 1 {
                return Err(overlap);
            }
            span += (dim - 1) * stride;
            above = Some(stride);
        }
        Ok(())
    }
}

/// Batch dimensions and the operands' strides along them.
#[derive(Clone, Copy)]
struct Batches<'a> {
    dims: &'a [usize],
    a: &'a [usize],
    b: &'a [usize],
    out: &'a [usize],
}

impl Batches<'_> {
    const NONE: Batches<'static> = Batches { dims: &[], a: &[], b: &[], out: &[] };
}

/// A strided matrix as the left-hand side.
struct MatrixRows<'a> {
    a: &'a [f32],
    /// Where the part of k begins.
    first_k: usize,
    row_stride: usize,
    column_stride: usize,
    /// Floats from one copied row to the next; 0 when rows are used where they are.
    copy_pitch: usize,
    batches: Batches<'a>,
}

/// Rows this many floats apart fall on the same few lines of a first-level cache.
pub(crate) const ALIASING_FLOATS: usize = 1024;

/// Floats from one copied row of `k` to the next: an odd number of cache lines, so that the copies do not alias.
pub(crate) fn copy_pitch(k: usize) -> usize {
    (k.div_ceil(16) | 1) * 16
}

impl<'a> MatrixRows<'a> {
    #[allow(clippy::too_many_arguments)]
    fn new(
        a: &'a [f32],
        first_k: usize,
        m: usize,
        k: usize,
        n: usize,
        row_stride: usize,
        column_stride: usize,
        batches: Batches<'a>,
    ) -> Self {
        let aliasing = row_stride.is_multiple_of(ALIASING_FLOATS) && m > 4 && n >= 128 && k >= 64;
        let copied = (column_stride != 1 && k > 1) || aliasing;
        let copy_pitch = if copied { copy_pitch(k) } else { 0 };
        MatrixRows { a, first_k, row_stride, column_stride, copy_pitch, batches }
    }

    fn problem(&self, m: usize, layout: PackedLayout, k: usize, instances: usize, form: Form) -> Problem {
        let (copy_floats, copies_all) = (self.copy_floats(), self.copies_all());
        Problem { m, layout, k, taps: 1, instances, form, copy_floats, copies_all }
    }
}

impl LeftHand for MatrixRows<'_> {
    fn copy_floats(&self) -> usize {
        self.copy_pitch * MAX_ROWS
    }

    fn copies_all(&self) -> bool {
        self.copy_pitch > 0
    }

    fn offsets(&self, number: usize) -> Offsets {
        let mut offsets = Offsets::default();
        let mut rest = number;
        for (axis, dim) in self.batches.dims.iter().enumerate().rev() {
            let index = rest % dim;
            rest /= dim;
            offsets.a += index * self.batches.a[axis];
            offsets.b += index * self.batches.b[axis];
            offsets.out += index * self.batches.out[axis];
        }
        offsets
    }

    #[inline]
    unsafe fn fill(
        &self,
        a: usize,
        first_row: usize,
        count: usize,
        segment: Segment,
        pointers: *mut *const f32,
        copies: *mut f32,
    ) {
        let start = self.a.as_ptr().wrapping_add(a + self.first_k * self.column_stride);
        for r in 0..count {
            let mut row = start.wrapping_add((first_row + r) * self.row_stride);
            // SAFETY: the extents of the matrix were checked; the caller vouches for pointers and copies.
            unsafe {
                if self.copy_pitch > 0 {
                    let copy = copies.add(r * self.copy_pitch);
                    if self.column_stride == 1 {
                        std::ptr::copy_nonoverlapping(row, copy, segment.len);
                    } else {
                        for k in 0..segment.len {
                            *copy.add(k) = *row.add(k * self.column_stride);
                        }
                    }
                    row = copy;
                }
                if segment.taps > 0 {
                    *pointers.add(r) = row;
                }
            }
        }
    }
}
