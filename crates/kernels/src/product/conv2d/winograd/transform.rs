//! What the way of Winograd makes of patches, filters and sums: F(4x4, 3x3) by the points 0, ±3/4, ±3/2 and infinity.
//!
//! All three are Kronecker squares of a transform of lines: the columns are transformed, and then the rows of what comes out.

use crate::base::simd::Simd;

/// Output elements of a line, and input elements that they are made of.
pub(super) const OUT: usize = 4;
pub(super) const IN: usize = 6;

/// Elements of a transformed patch, of which each is a product of its own.
pub(super) const PLACES: usize = IN * IN;

/// The points, and their powers. All are exact in binary.
const A: f32 = 0.75;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;

/// Divisors of the filter's transform: of each point the product of its distances to the others.
const F0: f32 = A2 * B2;
const FA: f32 = 2.0 * A2 * (A2 - B2);
const FB: f32 = 2.0 * B2 * (B2 - A2);

/// Six elements of the input.
#[inline(always)]
fn of_input<S: Simd>(s: S, d: [S::V; IN]) -> [S::V; IN] {
    let fma = |x: f32, y, z| s.mul_add(s.splat(x), y, z);
    let (even_a, odd_a) = (fma(-B2, d[2], d[4]), fma(-B2, d[1], d[3]));
    let (even_b, odd_b) = (fma(-A2, d[2], d[4]), fma(-A2, d[1], d[3]));
    [
        fma(A2 * B2, d[0], fma(-(A2 + B2), d[2], d[4])),
        fma(A, odd_a, even_a),
        fma(-A, odd_a, even_a),
        fma(B, odd_b, even_b),
        fma(-B, odd_b, even_b),
        fma(A2 * B2, d[1], fma(-(A2 + B2), d[3], d[5])),
    ]
}

/// Three elements of the filter.
#[inline(always)]
fn of_filter<S: Simd>(s: S, g: [S::V; 3]) -> [S::V; IN] {
    let mul = |x: f32, y| s.mul(s.splat(x), y);
    let fma = |x: f32, y, z| s.mul_add(s.splat(x), y, z);
    let (even_a, odd_a) = (fma(A2 / FA, g[2], mul(1.0 / FA, g[0])), mul(A / FA, g[1]));
    let (even_b, odd_b) = (fma(B2 / FB, g[2], mul(1.0 / FB, g[0])), mul(B / FB, g[1]));
    [
        mul(1.0 / F0, g[0]),
        s.add(even_a, odd_a),
        s.sub(even_a, odd_a),
        s.add(even_b, odd_b),
        s.sub(even_b, odd_b),
        g[2],
    ]
}

/// Six sums of products to four elements of the output.
#[inline(always)]
fn of_sums<S: Simd>(s: S, m: [S::V; IN]) -> [S::V; OUT] {
    let mul = |x: f32, y| s.mul(s.splat(x), y);
    let fma = |x: f32, y, z| s.mul_add(s.splat(x), y, z);
    let (even_a, odd_a) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
    let (even_b, odd_b) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
    [
        s.add(m[0], s.add(even_a, even_b)),
        fma(A, odd_a, mul(B, odd_b)),
        fma(A2, even_a, mul(B2, even_b)),
        fma(A2 * A, odd_a, fma(B2 * B, odd_b, m[5])),
    ]
}

/// Cells of 2x2 pixels that a patch consists of.
pub(super) const CELLS: usize = (IN / 2) * (IN / 2);

/// A patch of the input: some channels of 6x6 pixels.
pub(super) struct Patch {
    /// Where the pixels' channels begin.
    pub pixels: [*const f32; PLACES],
    pub channels: usize,
    /// Where they go: those of a place are neighbours.
    pub to: *mut f32,
    /// Floats from one place to the next.
    pub pitch: usize,
}

impl Patch {
    /// Transforms it, and adds up the squares of each cell.
    ///
    /// # Safety
    /// The pointers are valid for the counts.
    #[inline(always)]
    pub(super) unsafe fn transform<S: Simd>(&self, s: S, squares: &mut [f32; CELLS]) {
        let mut cells = [s.splat(0.0); CELLS];
        let mut channel = 0;
        while channel < self.channels {
            let left = self.channels - channel;
            // SAFETY: the caller vouches for the memory.
            unsafe {
                if left >= S::LANES {
                    self.vector::<S, true>(s, channel, S::LANES, &mut cells);
                } else {
                    self.vector::<S, false>(s, channel, left, &mut cells);
                }
            }
            channel += S::LANES;
        }
        for (sum, cell) in squares.iter_mut().zip(cells) {
            let mut lanes = [0.0; 16];
            // SAFETY: no vector has more lanes.
            unsafe { s.store(lanes.as_mut_ptr(), cell) };
            *sum += lanes.iter().sum::<f32>();
        }
    }

    #[inline(always)]
    unsafe fn vector<S: Simd, const FULL: bool>(
        &self,
        s: S,
        channel: usize,
        count: usize,
        cells: &mut [S::V; CELLS],
    ) {
        let mut rows = [[s.splat(0.0); IN]; IN];
        for (y, row) in rows.iter_mut().enumerate() {
            let mut line = [s.splat(0.0); IN];
            for (x, v) in line.iter_mut().enumerate() {
                let from = self.pixels[y * IN + x].wrapping_add(channel);
                // SAFETY: as in `transform`.
                *v = unsafe { if FULL { s.load(from) } else { s.load_partial(from, count) } };
                let cell = &mut cells[y / 2 * (IN / 2) + x / 2];
                *cell = s.mul_add(*v, *v, *cell);
            }
            *row = of_input(s, line);
        }
        #[expect(clippy::needless_range_loop, reason = "a map over the rows copies them for each column")]
        for x in 0..IN {
            let column = of_input(s, std::array::from_fn(|y| rows[y][x]));
            for (y, v) in column.into_iter().enumerate() {
                let to = self.to.wrapping_add((y * IN + x) * self.pitch + channel);
                // SAFETY: as in `transform`.
                unsafe { if FULL { s.store(to, v) } else { s.store_partial(to, v, count) } }
            }
        }
    }
}

/// Elements of a filter.
pub(super) const TAPS: usize = 9;

/// Some input channels of a panel of filters.
pub(super) struct Filters {
    /// The first tap's first channel: rows of output channels.
    pub from: *const f32,
    /// Floats from one tap to the next.
    pub tap: usize,
    pub channels: usize,
    pub to: *mut f32,
    /// Floats from one place to the next.
    pub pitch: usize,
    /// For each tap the sums of the squares of the output channels.
    pub squares: *mut f32,
}

impl Filters {
    /// Transforms them, and adds up the squares of each tap, which begin at 0 with `first`.
    ///
    /// # Safety
    /// The pointers are valid for the counts, and the rows are of `VECTORS` vectors.
    #[inline(always)]
    pub(super) unsafe fn transform<S: Simd, const VECTORS: usize>(&self, s: S, first: bool) {
        let mut squares = [[s.splat(0.0); TAPS]; VECTORS];
        let place = |v: usize, tap: usize| self.squares.wrapping_add((tap * VECTORS + v) * S::LANES);
        // SAFETY: the caller vouches for the memory.
        unsafe {
            for (v, tap) in
                (0..if first { 0 } else { VECTORS }).flat_map(|v| (0..TAPS).map(move |tap| (v, tap)))
            {
                squares[v][tap] = s.load(place(v, tap));
            }
            for row in 0..self.channels {
                for (v, squares) in squares.iter_mut().enumerate() {
                    let at = (row * VECTORS + v) * S::LANES;
                    self.vector(s, at, squares);
                }
            }
            for (v, tap) in (0..VECTORS).flat_map(|v| (0..TAPS).map(move |tap| (v, tap))) {
                s.store(place(v, tap), squares[v][tap]);
            }
        }
    }

    #[inline(always)]
    unsafe fn vector<S: Simd>(&self, s: S, at: usize, squares: &mut [S::V; TAPS]) {
        let mut columns = [[s.splat(0.0); IN]; 3];
        for (y, column) in columns.iter_mut().enumerate() {
            let taps = std::array::from_fn(|x| {
                // SAFETY: as in `transform`.
                unsafe { s.load(self.from.wrapping_add((y * 3 + x) * self.tap + at)) }
            });
            for (tap, square) in taps.into_iter().zip(&mut squares[y * 3..]) {
                *square = s.mul_add(tap, tap, *square);
            }
            *column = of_filter(s, taps);
        }
        #[expect(clippy::needless_range_loop, reason = "a map over the rows copies them for each column")]
        for x in 0..IN {
            let places = of_filter(s, [columns[0][x], columns[1][x], columns[2][x]]);
            for (y, v) in places.into_iter().enumerate() {
                // SAFETY: as in `transform`.
                unsafe { s.store(self.to.wrapping_add((y * IN + x) * self.pitch + at), v) };
            }
        }
    }
}

/// A patch whose cells differ by more than this, in the sums of their squares, is computed the direct way, and a filter whose
/// corners do.
const MOST_UNEVEN: f32 = 4096.0;

/// Whether all filters of a panel are even: what remains of one at a border of the image, 2x2 of its taps at least, is
/// not much smaller than the whole. `squares` has `width` floats for each tap, of which `columns` are meant.
pub(super) fn are_even(squares: &[f32], width: usize, columns: usize) -> bool {
    (0..columns).all(|column| {
        let tap = |y: usize, x: usize| squares[(y * 3 + x) * width + column];
        let total: f32 = (0..TAPS).map(|at| tap(at / 3, at % 3)).sum();
        let corner = |y, x| tap(y, x) + tap(y, x + 1) + tap(y + 1, x) + tap(y + 1, x + 1);
        let least = corner(0, 0).min(corner(0, 1)).min(corner(1, 0)).min(corner(1, 1));
        total < f32::INFINITY && least * MOST_UNEVEN >= total
    })
}

/// Whether no window of a patch is much smaller than the patch: each of those at these rows and columns of the output lies on
/// a whole cell.
#[inline(always)]
pub(super) fn is_even(squares: &[f32; CELLS], [rows, columns]: [usize; 2]) -> bool {
    /// The cell that a window lies on.
    const CELL: [usize; OUT] = [0, 1, 1, 2];
    let total: f32 = squares.iter().sum();
    let (down, right) = (CELL[rows - 1], CELL[columns - 1]);
    let mut cells = (0..=down).flat_map(|y| (0..=right).map(move |x| y * (IN / 2) + x));
    total < f32::INFINITY && cells.all(|cell| squares[cell] * MOST_UNEVEN >= total)
}

/// Transforms the sums of a vector of output channels to its 4x4 elements. Whether all are finite.
///
/// # Safety
/// Vectors can be read at `from` and every `pitch` floats from there.
#[inline(always)]
pub(super) unsafe fn elements<S: Simd>(
    s: S,
    from: *const f32,
    pitch: usize,
    out: &mut [[S::V; OUT]; OUT],
) -> bool {
    let mut rows = [[s.splat(0.0); OUT]; IN];
    for (y, row) in rows.iter_mut().enumerate() {
        // SAFETY: the caller vouches for the memory.
        let line = std::array::from_fn(|x| unsafe { s.load(from.wrapping_add((y * IN + x) * pitch)) });
        *row = of_sums(s, line);
    }
    // Zero times what is not finite is NaN, and stays so.
    let mut zeros = s.splat(0.0);
    for x in 0..OUT {
        let column = of_sums(s, std::array::from_fn(|y| rows[y][x]));
        for (y, v) in column.into_iter().enumerate() {
            zeros = s.mul_add(v, s.splat(0.0), zeros);
            out[y][x] = v;
        }
    }
    let mut lanes = [0u64; 8];
    // SAFETY: no vector has more lanes.
    unsafe { s.store(lanes.as_mut_ptr().cast(), zeros) };
    lanes.iter().fold(0, |all, lanes| all | lanes) == 0
}
