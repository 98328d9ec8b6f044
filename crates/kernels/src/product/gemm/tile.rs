//! The inner loop: a few rows of A times a panel of B, summed in registers.

use crate::base::cpu::Isa;
#[cfg(target_arch = "x86_64")]
use crate::base::simd::{Avx2, Avx512};
use crate::base::simd::{Portable, Simd};

use super::RawEpilogue;

/// The most rows a tile has on any [`Isa`].
pub(crate) const MAX_ROWS: usize = 14;

/// How many rows ahead of its use a B that is not packed is asked for.
pub(super) const PREFETCHED_ROWS: usize = 12;

/// Vectors in a full panel.
const VECTORS: usize = 2;

/// Columns of a full panel.
pub(crate) const fn width(isa: Isa) -> usize {
    VECTORS * isa.lanes()
}

/// The most rows a tile has: as many as leave registers for a row of B and an element of A.
pub(crate) const fn max_rows(isa: Isa) -> usize {
    max_rows_of(isa.lanes())
}

/// The same of vectors of so many floats.
pub(crate) const fn max_rows_of(lanes: usize) -> usize {
    match lanes {
        16 => 14,
        8 => 6,
        _ => 4,
    }
}

/// How many rows each tile has of so many, which differ by one at most: full tiles and a low last one would waste more.
pub(super) fn heights(isa: Isa, rows: usize) -> impl Iterator<Item = usize> {
    let tiles = rows.div_ceil(max_rows(isa)).max(1);
    let (least, more) = (rows / tiles, rows % tiles);
    (0..tiles).map(move |tile| least + usize::from(tile < more))
}

/// Tiles of the output that stand side by side.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// How many.
    pub panels: usize,
    /// `taps` times [`MAX_ROWS`] pointers, of which the first as many as the tile has rows are used, each to
    /// `tap_len` floats of A.
    pub rows: *const *const f32,
    pub taps: usize,
    pub tap_len: usize,
    /// Where taps that lie outside an image lead to; or null.
    pub zeros: *const f32,
    /// `taps · tap_len` rows of the first panel, at any alignment.
    pub b: *const f32,
    /// Floats from one row of a panel to the next.
    pub b_stride: usize,
    /// Floats from one panel to the next.
    pub b_panel: usize,
    /// Where to pack the panels' rows as they are read, one panel after the other, for the tiles to come; or null. Only for
    /// full panels.
    pub b_copy: *mut f32,
    pub out: *mut f32,
    pub out_stride: usize,
    /// Columns that are meant; the panel's may be more. Of several panels each is full.
    pub columns: usize,
    /// Whether the sum starts at 0, or at what the output holds.
    pub first: bool,
    /// Its channels are the panels' columns, its residual starts at the first tile and has the output's stride.
    pub epilogue: RawEpilogue,
}

/// Computes tiles of `rows` rows, and panels of `width` columns with those that are not meant.
///
/// # Safety
/// All that the [`Tile`] points to is valid, and the processor has the instructions.
#[inline]
pub(crate) unsafe fn run(isa: Isa, rows: usize, width: usize, tile: &Tile) {
    let packs = !tile.b_copy.is_null();
    // SAFETY: as the caller vouches.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Avx512 && !packs && (tile.columns - 1) % Avx512::LANES < Avx2::LANES {
            return in_halves(rows, tile);
        }
        select(isa, rows, width, packs)(tile);
    }
}

/// Computes a tile whose last columns fill half a vector at most. Half a vector takes half the time on processors that split
/// the widest ones in two.
///
/// # Safety
/// As [`run`].
#[cfg(target_arch = "x86_64")]
unsafe fn in_halves(rows: usize, tile: &Tile) {
    let whole = (tile.columns - 1) / Avx512::LANES * Avx512::LANES;
    // SAFETY: as the caller vouches; both parts are of the same panel.
    unsafe {
        if whole > 0 {
            select(Isa::Avx512, rows, whole, false)(&Tile { columns: whole, ..*tile });
        }
        half(rows)(&Tile {
            b: tile.b.wrapping_add(whole),
            out: tile.out.wrapping_add(whole),
            columns: tile.columns - whole,
            epilogue: tile.epilogue.starting_at(whole, whole),
            ..*tile
        });
    }
}

/// What computes a tile.
///
/// # Safety
/// As [`run`].
type TileFn = unsafe fn(&Tile);

/// The function for tiles of `rows` rows and half a vector.
#[cfg(target_arch = "x86_64")]
fn half(rows: usize) -> TileFn {
    macro_rules! table {
        ($($rows:literal)*) => {
            match rows {
                $($rows => avx512_half::<$rows>,)*
                _ => unreachable!("a tile has between 1 and max_rows rows"),
            }
        };
    }
    table!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
}

/// The function for tiles of `rows` rows and a panel of `width` columns, which is packed on the way or not.
fn select(isa: Isa, rows: usize, width: usize, packs: bool) -> TileFn {
    let vectors = width / isa.lanes();
    debug_assert!((1..=max_rows(isa)).contains(&rows) && (1..=VECTORS).contains(&vectors));
    debug_assert!(!packs || vectors == VECTORS);
    macro_rules! table {
        ($function:ident: $($rows:literal)*) => {
            match (rows, vectors, packs) {
                $(
                    ($rows, 1, _) => $function::<$rows, 1, false>,
                    ($rows, _, false) => $function::<$rows, 2, false>,
                    ($rows, _, true) => $function::<$rows, 2, true>,
                )*
                _ => unreachable!("a tile has between 1 and max_rows rows"),
            }
        };
    }
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => table!(avx512: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => table!(avx2: 1 2 3 4 5 6),
        _ => table!(portable: 1 2 3 4),
    }
}

/// # Safety
/// As [`TileFn`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn avx512<const ROWS: usize, const VECTORS: usize, const PACK: bool>(tile: &Tile) {
    // SAFETY: the caller vouches for memory and instructions.
    unsafe { compute::<_, ROWS, VECTORS, PACK>(Avx512::new(), tile) }
}

/// Vectors of eight, with the registers of the wider ones.
///
/// # Safety
/// As [`TileFn`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn avx512_half<const ROWS: usize>(tile: &Tile) {
    // SAFETY: the caller vouches for memory and instructions.
    unsafe { compute::<_, ROWS, 1, false>(Avx2::new(), tile) }
}

/// # Safety
/// As [`TileFn`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const ROWS: usize, const VECTORS: usize, const PACK: bool>(tile: &Tile) {
    // SAFETY: the caller vouches for memory and instructions.
    unsafe { compute::<_, ROWS, VECTORS, PACK>(Avx2::new(), tile) }
}

/// # Safety
/// As [`TileFn`].
unsafe fn portable<const ROWS: usize, const VECTORS: usize, const PACK: bool>(tile: &Tile) {
    // SAFETY: the caller vouches for the memory.
    unsafe { compute::<_, ROWS, VECTORS, PACK>(Portable, tile) }
}

/// # Safety
/// As [`TileFn`].
#[inline(always)]
unsafe fn compute<S: Simd, const ROWS: usize, const VECTORS: usize, const PACK: bool>(s: S, t: &Tile) {
    let (mut copy, mut panel) = (t.b_copy, 0);
    while panel < t.panels {
        let (column, b) = (panel * VECTORS * S::LANES, t.b.wrapping_add(panel * t.b_panel));
        // SAFETY: as the caller vouches; there are so many full panels, and one row with one tap.
        unsafe {
            if ROWS == 1 && S::LANES == 8 && !PACK && t.taps == 1 && panel + GROUP <= t.panels {
                compute_group(s, t, column, b);
                panel += GROUP;
            } else {
                compute_panel::<S, ROWS, VECTORS, PACK>(s, t, column, b, &mut copy);
                panel += 1;
            }
        }
    }
}

/// Panels that a row is multiplied by at once: in one alone each sum waits for the one before it.
const GROUP: usize = 4;

/// The tiles of a row and the [`GROUP`] full panels from the one at `b` on, whose first column is `column`.
///
/// # Safety
/// As [`TileFn`]; there is one row, with one tap.
#[inline(always)]
unsafe fn compute_group<S: Simd>(s: S, t: &Tile, column: usize, b: *const f32) {
    let mut sums = [[[s.splat(0.0); VECTORS]; 1]; GROUP];
    let first_of = |panel: usize| column + panel * VECTORS * S::LANES;
    // SAFETY: as the caller vouches.
    unsafe {
        if !t.first {
            for (panel, [row]) in sums.iter_mut().enumerate() {
                for (v, sum) in row.iter_mut().enumerate() {
                    *sum = s.load(t.out.add(first_of(panel) + v * S::LANES));
                }
            }
        }
        let a = *t.rows;
        for k in 0..t.tap_len {
            let x = s.splat(*a.add(k));
            for (panel, [row]) in sums.iter_mut().enumerate() {
                let from = b.wrapping_add(panel * t.b_panel + k * t.b_stride);
                for (v, sum) in row.iter_mut().enumerate() {
                    *sum = s.mul_add(x, s.load(from.wrapping_add(v * S::LANES)), *sum);
                }
            }
        }
        for (panel, sums) in sums.iter().enumerate() {
            finish::<S, 1, VECTORS, true>(s, t, first_of(panel), sums);
        }
    }
}

/// The tile of the panel at `b`, whose first column is `column`.
///
/// # Safety
/// As [`TileFn`].
#[inline(always)]
unsafe fn compute_panel<S: Simd, const ROWS: usize, const VECTORS: usize, const PACK: bool>(
    s: S,
    t: &Tile,
    column: usize,
    mut b: *const f32,
    copy: &mut *mut f32,
) {
    let mut sums = [[s.splat(0.0); VECTORS]; ROWS];
    // SAFETY: the caller vouches for the pointers and counts in the tile; partial vectors end at `columns`.
    unsafe {
        if !t.first {
            for (r, row) in sums.iter_mut().enumerate() {
                for (v, sum) in row.iter_mut().enumerate() {
                    *sum = load_columns(s, t.out.add(r * t.out_stride + column), v, t.columns);
                }
            }
        }
        let mut rows = t.rows;
        for _ in 0..t.taps {
            let mut a = [std::ptr::null(); ROWS];
            for (r, pointer) in a.iter_mut().enumerate() {
                *pointer = *rows.add(r);
            }
            rows = rows.add(MAX_ROWS);
            if a[0] == t.zeros && a.iter().all(|row| *row == t.zeros) {
                // Zero times a weight that is not finite is NaN, in every row.
                let mut products = [s.splat(0.0); VECTORS];
                for _ in 0..t.tap_len {
                    let columns = next_columns::<S, VECTORS, PACK>(s, t, &mut b, copy);
                    for (product, column) in products.iter_mut().zip(columns) {
                        *product = s.mul_add(column, s.splat(0.0), *product);
                    }
                }
                for row in &mut sums {
                    for (sum, product) in row.iter_mut().zip(products) {
                        *sum = s.add(*sum, product);
                    }
                }
                continue;
            }
            for k in 0..t.tap_len {
                let columns = next_columns::<S, VECTORS, PACK>(s, t, &mut b, copy);
                for r in 0..ROWS {
                    let x = s.splat(*a[r].add(k));
                    for v in 0..VECTORS {
                        sums[r][v] = s.mul_add(x, columns[v], sums[r][v]);
                    }
                }
            }
        }
        if t.columns == VECTORS * S::LANES {
            finish::<S, ROWS, VECTORS, true>(s, t, column, &sums);
        } else {
            finish::<S, ROWS, VECTORS, false>(s, t, column, &sums);
        }
    }
}

/// The next row of the panel, which is copied with `PACK`.
///
/// # Safety
/// As [`TileFn`]; `b` and `copy` lead to a row that is left.
#[inline(always)]
unsafe fn next_columns<S: Simd, const VECTORS: usize, const PACK: bool>(
    s: S,
    t: &Tile,
    b: &mut *const f32,
    copy: &mut *mut f32,
) -> [S::V; VECTORS] {
    let mut columns = [s.splat(0.0); VECTORS];
    // SAFETY: the caller vouches for the row.
    unsafe {
        for (v, column) in columns.iter_mut().enumerate() {
            *column = s.load(b.wrapping_add(v * S::LANES));
        }
        if PACK {
            for (v, column) in columns.iter().enumerate() {
                s.store(copy.add(v * S::LANES), *column);
            }
            *copy = copy.wrapping_add(VECTORS * S::LANES);
            // The rows are far apart, which no hardware prefetcher follows.
            for line in (0..VECTORS * S::LANES).step_by(16) {
                s.prefetch(b.wrapping_add(PREFETCHED_ROWS * t.b_stride + line));
            }
        }
    }
    *b = b.wrapping_add(t.b_stride);
    columns
}

/// The `v`th vector at `from`, as far as there are columns.
///
/// # Safety
/// `columns` floats can be read.
#[inline(always)]
unsafe fn load_columns<S: Simd>(s: S, from: *const f32, v: usize, columns: usize) -> S::V {
    let count = columns.saturating_sub(v * S::LANES).min(S::LANES);
    // SAFETY: the vector is cut to what can be read.
    unsafe { s.load_partial(from.wrapping_add(v * S::LANES), count) }
}

/// Scales, shifts, adds, clamps and stores the tile whose first column is `column`.
///
/// # Safety
/// As [`TileFn`]; with `FULL` all of the panel's columns are meant.
#[inline(always)]
unsafe fn finish<S: Simd, const ROWS: usize, const VECTORS: usize, const FULL: bool>(
    s: S,
    t: &Tile,
    column: usize,
    sums: &[[S::V; VECTORS]; ROWS],
) {
    let e = &t.epilogue;
    let (min, max) = (s.splat(e.min), s.splat(e.max));
    // SAFETY: the caller vouches for the pointers; partial vectors end at `columns`.
    unsafe {
        let load = |from: *const f32, v: usize| {
            if FULL { s.load(from.add(v * S::LANES)) } else { load_columns(s, from, v, t.columns) }
        };
        let mut scale = [s.splat(1.0); VECTORS];
        let mut shift = [s.splat(0.0); VECTORS];
        for v in 0..VECTORS {
            if !e.scale.is_null() {
                scale[v] = load(e.scale.add(column), v);
            }
            if !e.shift.is_null() {
                shift[v] = load(e.shift.add(column), v);
            }
        }
        for (r, row) in sums.iter().enumerate() {
            let at = r * t.out_stride + column;
            let out = t.out.add(at);
            for (v, sum) in row.iter().enumerate() {
                let mut x = s.mul_add(*sum, scale[v], shift[v]);
                if !e.residual.is_null() {
                    x = s.add(x, load(e.residual.add(at), v));
                }
                x = s.min(max, s.max(min, x));
                if FULL {
                    s.store(out.add(v * S::LANES), x);
                } else {
                    let count = t.columns.saturating_sub(v * S::LANES).min(S::LANES);
                    s.store_partial(out.wrapping_add(v * S::LANES), x, count);
                }
            }
        }
    }
}
