//! Products of bytes, summed up in int32: a convolution and a matrix product.

use tightfit_core::Shared;

use crate::base::access::split_range;
use crate::base::cpu::Isa;
use crate::base::error::{KernelError, check_exact, product};
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::ThreadPool;

/// Columns whose sums are in registers at once.
const COLUMNS: usize = 16;
/// Rows that share the bytes of a column.
const ROWS: usize = 4;

/// Bytes of the right-hand side, which are uint8, or int8 by their bits.
#[derive(Clone, Copy)]
struct Right<'a> {
    bytes: &'a [u8],
    is_signed: bool,
    /// What stands for 0.
    zero: i32,
    row_stride: usize,
    column_stride: usize,
}

/// Adds a part of a sum to the sums of a few rows and columns.
struct Tile<'a> {
    left: &'a [u8],
    /// Where each row begins; `None` for one of padding.
    rows: [Option<usize>; ROWS],
    /// What padding is, less what stands for 0.
    padding: i32,
    left_stride: usize,
    left_zero: i32,
    /// The left-hand side's bytes are int8.
    is_left_signed: bool,
    depth: usize,
    right: Right<'a>,
    /// Where the right-hand side begins.
    first: usize,
    columns: usize,
    sums: &'a mut [[i32; COLUMNS]; ROWS],
}

impl Kernel for Tile<'_> {
    type Output = ();

    // Plain loops over arrays of a fixed length: what they are compiled to is what the processor has.
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Tile { left, rows, padding, left_stride, left_zero, depth, right, first, columns, sums, .. } =
            self;
        let is_left_signed = self.is_left_signed;
        let mut all = *sums;
        let mut k = 0;
        while k < depth {
            let mut weights = [0i32; COLUMNS];
            let at = first + k * right.row_stride;
            if columns == COLUMNS && right.column_stride == 1 {
                let bytes: &[u8; COLUMNS] = match right.bytes[at..at + COLUMNS].try_into() {
                    Ok(bytes) => bytes,
                    Err(_) => return,
                };
                let mut c = 0;
                while c < COLUMNS {
                    let byte = bytes[c];
                    weights[c] = if right.is_signed { byte as i8 as i32 } else { byte as i32 } - right.zero;
                    c += 1;
                }
            } else {
                let mut c = 0;
                while c < columns {
                    let byte = right.bytes[at + c * right.column_stride];
                    weights[c] = if right.is_signed { byte as i8 as i32 } else { byte as i32 } - right.zero;
                    c += 1;
                }
            }
            let mut r = 0;
            while r < ROWS {
                let x = match rows[r] {
                    Some(start) => {
                        let byte = left[start + k * left_stride];
                        if is_left_signed { byte as i8 as i32 } else { byte as i32 - left_zero }
                    }
                    None => padding,
                };
                if x != 0 {
                    let mut c = 0;
                    while c < COLUMNS {
                        all[r][c] = all[r][c].wrapping_add(x.wrapping_mul(weights[c]));
                        c += 1;
                    }
                }
                r += 1;
            }
            k += 1;
        }
        *sums = all;
    }
}

/// Where a filter of bytes lies on images of bytes.
#[derive(Debug, Clone, Copy)]
pub struct QuantizedWindow {
    /// Batch, height, width and channels of the input.
    pub input: [usize; 4],
    /// Height, width, channels, and out channels or, of a depthwise convolution, the multiplier of the filter.
    pub filter: [usize; 4],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Pixels from one position of the filter to the next, down and to the right.
    pub strides: [usize; 2],
    /// Pixels from one element of the filter to the next.
    pub dilations: [usize; 2],
    /// How far the first position of the filter reaches beyond the input's upper and left edges; it may also begin after them.
    pub before: [isize; 2],
    /// The input's bytes are int8, of which 0 is 0.
    pub is_input_signed: bool,
}

impl QuantizedWindow {
    /// The pixel along an axis under an element of the filter, unless it is padding.
    pub(super) fn place(&self, position: usize, tap: usize, axis: usize) -> Option<usize> {
        let at = (position * self.strides[axis] + tap * self.dilations[axis]) as isize - self.before[axis];
        usize::try_from(at).ok().filter(|at| *at < self.input[1 + axis])
    }
}

/// A convolution of bytes: `[batch, height, width, channels]` with `[height, width, channels, out channels]`.
#[derive(Debug, Clone, Copy)]
pub struct QuantizedConv2d {
    /// Where the filter lies.
    pub window: QuantizedWindow,
    /// What stands for 0 in the input.
    pub input_zero: i32,
    /// What stands for 0 in the filter.
    pub filter_zero: i32,
    /// The filter's bytes are int8.
    pub is_filter_signed: bool,
}

impl QuantizedConv2d {
    /// Computes the sums, `[batch, height, width, out channels]`.
    ///
    /// # Errors
    /// [`KernelError`] when a length is wrong.
    pub fn run(
        &self,
        pool: &ThreadPool,
        input: &[u8],
        filter: &[u8],
        output: &mut [i32],
    ) -> Result<(), KernelError> {
        let [batch, _, _, channels] = self.window.input;
        let [filter_height, filter_width, depth, columns] = self.window.filter;
        let [height, width] = self.window.output;
        check_exact("the input", product(&self.window.input)?, input.len())?;
        check_exact("the filter", product(&self.window.filter)?, filter.len())?;
        check_exact("the output", product(&[batch, height, width, columns])?, output.len())?;
        check_exact("the filter's channels", channels, depth)?;
        let row = width * columns;
        let cost = product(&[filter_height, filter_width, channels, row])?;
        let output = Shared::new(output);
        split_range(pool, batch * height, cost, &|first, count| {
            for line in first..first + count {
                // SAFETY: the lines of `split_range` are disjoint, and the output outlives the call.
                let mut to = unsafe { output.part(line * row, row) };
                self.line(pool.isa(), input, filter, (line / height, line % height), &mut to);
            }
        });
        Ok(())
    }

    /// One line of the output.
    fn line(&self, isa: Isa, input: &[u8], filter: &[u8], (image, y): (usize, usize), to: &mut [i32]) {
        let window = &self.window;
        let [_, in_height, in_width, channels] = window.input;
        let [filter_height, filter_width, _, columns] = window.filter;
        let width = window.output[1];
        let right = Right {
            bytes: filter,
            is_signed: self.is_filter_signed,
            zero: self.filter_zero,
            row_stride: columns,
            column_stride: 1,
        };
        // TensorFlow pads with what stands for 0, of which a byte has the lowest bits, unless that is negative.
        let padding = match self.input_zero {
            ..0 => 0,
            zero => (zero as u8 as i32).wrapping_sub(zero),
        };
        for x in (0..width).step_by(ROWS) {
            for first in (0..columns).step_by(COLUMNS) {
                let mut sums = [[0; COLUMNS]; ROWS];
                for (fy, fx) in (0..filter_height).flat_map(|y| (0..filter_width).map(move |x| (y, x))) {
                    let in_y = window.place(y, fy, 0);
                    if in_y.is_none() && padding == 0 {
                        continue;
                    }
                    let rows = std::array::from_fn(|r| {
                        let in_y = in_y?;
                        let in_x = window.place(x + r, fx, 1).filter(|_| x + r < width)?;
                        Some(((image * in_height + in_y) * in_width + in_x) * channels)
                    });
                    dispatch(
                        isa,
                        Tile {
                            left: input,
                            rows,
                            padding,
                            left_stride: 1,
                            left_zero: self.input_zero,
                            is_left_signed: window.is_input_signed,
                            depth: channels,
                            right,
                            first: (fy * filter_width + fx) * channels * columns + first,
                            columns: COLUMNS.min(columns - first),
                            sums: &mut sums,
                        },
                    );
                }
                store(&sums, to, (x, width), (first, columns));
            }
        }
    }
}

/// Writes the sums of some rows and columns of a matrix.
fn store(
    sums: &[[i32; COLUMNS]; ROWS],
    to: &mut [i32],
    (row, rows): (usize, usize),
    (first, columns): (usize, usize),
) {
    for (r, sums) in sums.iter().enumerate().take(rows - row) {
        let to = &mut to[(row + r) * columns + first..(row + r + 1) * columns];
        for (to, sum) in to.iter_mut().zip(sums) {
            *to = *sum;
        }
    }
}

/// `[m, k]` (stored `[k, m]` where `transposed.0`) times `[k, n]` (stored `[n, k]` where `transposed.1`), less what stands
/// for 0 in each. The left-hand side is uint8, and the other too, or int8 where that is said.
///
/// # Errors
/// [`KernelError`] when a length is wrong.
pub fn quantized_matmul(
    pool: &ThreadPool,
    (m, k, n): (usize, usize, usize),
    transposed: (bool, bool),
    (left, left_zero): (&[u8], i32),
    (right, right_zero, is_right_signed): (&[u8], i32, bool),
    output: &mut [i32],
) -> Result<(), KernelError> {
    check_exact("the left-hand side", product(&[m, k])?, left.len())?;
    check_exact("the right-hand side", product(&[k, n])?, right.len())?;
    check_exact("the output", product(&[m, n])?, output.len())?;
    let (row_stride, left_stride) = if transposed.0 { (1, m) } else { (k, 1) };
    let (right_stride, column_stride) = if transposed.1 { (1, k) } else { (n, 1) };
    let right = Right {
        bytes: right,
        is_signed: is_right_signed,
        zero: right_zero,
        row_stride: right_stride,
        column_stride,
    };
    let output = Shared::new(output);
    split_range(pool, m.div_ceil(ROWS), ROWS * k * n, &|block, count| {
        let (row, end) = (block * ROWS, ((block + count) * ROWS).min(m));
        // SAFETY: the rows of `split_range` are disjoint, and the output outlives the call.
        let mut to = unsafe { output.part(row * n, (end - row) * n) };
        for at in (row..end).step_by(ROWS) {
            for first in (0..n).step_by(COLUMNS) {
                let mut sums = [[0; COLUMNS]; ROWS];
                let tile = Tile {
                    left,
                    rows: std::array::from_fn(|r| (at + r < end).then_some((at + r) * row_stride)),
                    padding: 0,
                    left_stride,
                    left_zero,
                    is_left_signed: false,
                    depth: k,
                    right,
                    first: first * column_stride,
                    columns: COLUMNS.min(n - first),
                    sums: &mut sums,
                };
                dispatch(pool.isa(), tile);
                store(&sums, &mut to, (at - row, end - row), (first, n));
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(count: usize, step: usize) -> Vec<u8> {
        (0..count).map(|n| (n * step % 251) as u8).collect()
    }

    #[test]
    fn products_are_what_the_definition_says() {
        let pool = ThreadPool::new(3).unwrap();
        for (m, k, n) in [(1, 3, 5), (9, 17, 33), (64, 40, 16), (0, 2, 3), (2, 0, 3)] {
            let (left, right) = (bytes(m * k, 37), bytes(k * n, 53));
            for transposed in [(false, false), (true, false), (false, true), (true, true)] {
                let mut output = vec![-1; m * n];
                quantized_matmul(&pool, (m, k, n), transposed, (&left, 7), (&right, 130, false), &mut output)
                    .unwrap();
                for (at, sum) in output.iter().enumerate() {
                    let (row, column) = (at / n, at % n);
                    let expected: i32 = (0..k)
                        .map(|i| {
                            let a = if transposed.0 { left[i * m + row] } else { left[row * k + i] };
                            let b = if transposed.1 { right[column * k + i] } else { right[i * n + column] };
                            (a as i32 - 7) * (b as i32 - 130)
                        })
                        .sum();
                    assert_eq!(*sum, expected, "{m} {k} {n} {transposed:?} at {at}");
                }
            }
        }
    }

    #[test]
    fn convolutions_are_what_the_definition_says() {
        let pool = ThreadPool::new(2).unwrap();
        for (input, filter, output, stride, is_filter_signed) in [
            ([2, 5, 6, 3], [3, 3, 3, 20], [5, 6], 1, false),
            ([1, 7, 7, 4], [2, 2, 4, 16], [2, 2], 3, true),
            ([1, 4, 9, 1], [1, 1, 1, 1], [2, 5], 2, false),
        ] {
            let window = QuantizedWindow {
                input,
                filter,
                output,
                strides: [stride; 2],
                dilations: [1, 1],
                before: if stride == 3 { [0, 0] } else { [1, 1] },
                is_input_signed: false,
            };
            let conv = QuantizedConv2d {
                window,
                input_zero: 12,
                filter_zero: if is_filter_signed { 0 } else { 100 },
                is_filter_signed,
            };
            let (x, w) = (bytes(input.iter().product(), 37), bytes(filter.iter().product(), 53));
            let mut sums = vec![-1; input[0] * output[0] * output[1] * filter[3]];
            conv.run(&pool, &x, &w, &mut sums).unwrap();
            for (at, sum) in sums.iter().enumerate() {
                let (channel, rest) = (at % filter[3], at / filter[3]);
                let (ox, rest) = (rest % output[1], rest / output[1]);
                let (oy, image) = (rest % output[0], rest / output[0]);
                let mut expected = 0;
                for (fy, fx, c) in (0..filter[0])
                    .flat_map(|y| (0..filter[1]).map(move |x| (y, x)))
                    .flat_map(|(y, x)| (0..filter[2]).map(move |c| (y, x, c)))
                {
                    let y = (oy * stride + fy) as isize - window.before[0];
                    let px = (ox * stride + fx) as isize - window.before[1];
                    if y < 0 || px < 0 || y >= input[1] as isize || px >= input[2] as isize {
                        continue;
                    }
                    let from = ((image * input[1] + y as usize) * input[2] + px as usize) * input[3] + c;
                    let weight = w[((fy * filter[1] + fx) * filter[2] + c) * filter[3] + channel];
                    let weight = if is_filter_signed { weight as i8 as i32 } else { weight as i32 - 100 };
                    expected += (x[from] as i32 - 12) * weight;
                }
                assert_eq!(*sum, expected, "{conv:?} at {at}");
            }
        }
    }
}
