//! Sums of products of unsigned by signed bytes, in the instructions that a processor has for them. All give the same
//! integers.

use crate::base::cpu::Isa;

/// Rows of the left-hand side in a tile.
pub(crate) const ROWS: usize = 6;
/// Columns of a panel.
pub(crate) const COLUMNS: usize = 16;
/// Panels in a tile.
pub(crate) const PANELS: usize = 2;
/// Bytes of a depth that are multiplied at once.
pub(crate) const STEP: usize = 4;

/// The sums of a tile, by row and panel.
pub(crate) type Sums = [[[i32; COLUMNS]; PANELS]; ROWS];

/// A tile of a product: some rows of unsigned bytes, and panels of signed ones, in which 4 bytes of each column stand
/// together.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a> {
    /// The rows, as [`Dot::put`] writes them, each `left_stride` from the one before.
    pub left: &'a [u8],
    pub left_stride: usize,
    /// 1 to [`ROWS`].
    pub rows: usize,
    /// The panels, each `panel_stride` from the one before.
    pub right: &'a [u8],
    pub panel_stride: usize,
    /// 1 or 2.
    pub panels: usize,
    /// Columns whose sums are asked for.
    pub columns: usize,
    /// Steps of 4 bytes.
    pub steps: usize,
}

/// The instructions for products of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dot {
    /// AVX-512 VNNI.
    Vnni,
    /// AVX2: products of 16 bits, added up in pairs.
    Avx2,
    /// What the compiler makes of loops.
    Portable,
}

impl Dot {
    /// The fastest for these vector instructions.
    pub fn of(isa: Isa) -> Dot {
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Avx512 && isa.is_available() && is_x86_feature_detected!("avx512vnni") {
            return Dot::Vnni;
        }
        if isa.has_avx2() { Dot::Avx2 } else { Dot::Portable }
    }

    /// Bytes that each byte of a tile's rows takes: 2 where it stands as an integer of 16 bits.
    pub fn row_width(self) -> usize {
        if self == Dot::Avx2 { 2 } else { 1 }
    }

    /// Writes the first `count` bytes, each with the bits of `flip` turned, as a tile takes them: [`Dot::row_width`] for each. What
    /// is behind them in both may be read and written too.
    pub fn put(self, bytes: &[u8], count: usize, flip: u8, row: &mut [u8]) {
        assert!(bytes.len() >= count && row.len() >= count * self.row_width());
        match self {
            #[cfg(target_arch = "x86_64")]
            Dot::Avx2 => {
                // SAFETY: `Dot::of` has found the instructions, and the assertion above the memory.
                unsafe { x86::widen(bytes, count, flip, row) }
            }
            _ => row.iter_mut().zip(&bytes[..count]).for_each(|(to, byte)| *to = byte ^ flip),
        }
    }

    /// The same of one byte over and over.
    pub fn fill(self, byte: u8, row: &mut [u8]) {
        match self {
            Dot::Avx2 => {
                row.chunks_exact_mut(2).for_each(|to| to.copy_from_slice(&u16::from(byte).to_ne_bytes()))
            }
            _ => row.fill(byte),
        }
    }

    /// The sum of the bytes of a row that is written.
    pub fn sum(self, row: &[u8]) -> i32 {
        row.iter().step_by(self.row_width()).map(|byte| i32::from(*byte)).fold(0, i32::wrapping_add)
    }

    /// The sums of a tile.
    pub fn tile(self, tile: Tile<'_>, sums: &mut Sums) {
        let Tile { left, left_stride, rows, right, panel_stride, panels, steps, .. } = tile;
        assert!((1..=ROWS).contains(&rows) && (1..=PANELS).contains(&panels));
        assert!(left.len() >= (rows - 1) * left_stride + steps * STEP * self.row_width());
        assert!(right.len() >= (panels - 1) * panel_stride + steps * STEP * COLUMNS);
        match self {
            #[cfg(target_arch = "x86_64")]
            Dot::Vnni => {
                // SAFETY: `Dot::of` has found the instructions, and the assertions above the memory.
                unsafe { x86::tile_vnni(&tile, sums) }
            }
            #[cfg(target_arch = "x86_64")]
            Dot::Avx2 => {
                // SAFETY: as above.
                unsafe { x86::tile_avx2(&tile, sums) }
            }
            _ => tile_portable(&tile, sums),
        }
    }

    /// The sums of products of each of a few rows, `left_stride` apart, with one row of signed bytes, and the sum of the
    /// latter: for a left-hand side of so few rows that panels are not worth while.
    pub fn rows(
        self,
        left: &[u8],
        left_stride: usize,
        rows: usize,
        right: &[u8],
        sums: &mut [i32; ROWS],
    ) -> i32 {
        assert!((1..=ROWS).contains(&rows) && left.len() >= (rows - 1) * left_stride + right.len());
        match self {
            #[cfg(target_arch = "x86_64")]
            Dot::Vnni => {
                // SAFETY: as in `tile`.
                unsafe { x86::rows_vnni(left, left_stride, rows, right, sums) }
            }
            #[cfg(target_arch = "x86_64")]
            Dot::Avx2 => {
                // SAFETY: as in `tile`.
                unsafe { x86::rows_avx2(left, left_stride, rows, right, sums) }
            }
            _ => rows_portable(left, left_stride, rows, right, sums),
        }
    }
}

#[inline(always)]
fn rows_portable(left: &[u8], left_stride: usize, rows: usize, right: &[u8], sums: &mut [i32; ROWS]) -> i32 {
    for (r, sum) in sums.iter_mut().enumerate().take(rows) {
        let row = &left[r * left_stride..r * left_stride + right.len()];
        let products = row.iter().zip(right).map(|(a, b)| *a as i32 * *b as i8 as i32);
        *sum = products.fold(0, i32::wrapping_add);
    }
    right.iter().map(|b| *b as i8 as i32).fold(0, i32::wrapping_add)
}

#[inline(always)]
fn tile_portable(tile: &Tile<'_>, sums: &mut Sums) {
    for p in 0..tile.panels {
        let panel = &tile.right[p * tile.panel_stride..][..tile.steps * STEP * COLUMNS];
        for (r, sums) in sums.iter_mut().enumerate().take(tile.rows) {
            let row = &tile.left[r * tile.left_stride..][..tile.steps * STEP];
            let mut all = [0i32; COLUMNS];
            for (four, block) in row.chunks_exact(STEP).zip(panel.chunks_exact(STEP * COLUMNS)) {
                for (sum, bytes) in all.iter_mut().zip(block.chunks_exact(STEP)) {
                    for (a, b) in four.iter().zip(bytes) {
                        *sum = sum.wrapping_add(*a as i32 * *b as i8 as i32);
                    }
                }
            }
            sums[p] = all;
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{COLUMNS, PANELS, ROWS, STEP, Sums, Tile};

    /// # Safety
    /// The processor has AVX-512 VNNI, and the tile's memory is as long as it says.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) unsafe fn tile_vnni(tile: &Tile<'_>, sums: &mut Sums) {
        macro_rules! of {
            ($($rows:literal),*) => {
                match (tile.rows, tile.panels) {
                    $(
                        // SAFETY: the caller's promise.
                        ($rows, 1) => unsafe { vnni::<$rows, 1>(tile, sums) },
                        // SAFETY: the caller's promise.
                        ($rows, _) => unsafe { vnni::<$rows, 2>(tile, sums) },
                    )*
                    _ => {}
                }
            };
        }
        of!(1, 2, 3, 4, 5, 6);
    }

    /// # Safety
    /// As of [`tile_vnni`], for so many rows and panels.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn vnni<const R: usize, const P: usize>(tile: &Tile<'_>, sums: &mut Sums) {
        let mut all = [[_mm512_setzero_si512(); P]; R];
        let (mut left, mut right) = (tile.left.as_ptr(), tile.right.as_ptr());
        for _ in 0..tile.steps {
            let mut weights = [_mm512_setzero_si512(); P];
            for (p, weights) in weights.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *weights = unsafe { _mm512_loadu_si512(right.add(p * tile.panel_stride).cast()) };
            }
            for (r, all) in all.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                let four = unsafe { left.add(r * tile.left_stride).cast::<i32>().read_unaligned() };
                let four = _mm512_set1_epi32(four);
                for p in 0..P {
                    all[p] = _mm512_dpbusd_epi32(all[p], four, weights[p]);
                }
            }
            left = left.wrapping_add(STEP);
            right = right.wrapping_add(STEP * COLUMNS);
        }
        for (sums, all) in sums.iter_mut().zip(&all) {
            for p in 0..P {
                // SAFETY: 16 integers.
                unsafe { _mm512_storeu_si512(sums[p].as_mut_ptr().cast(), all[p]) };
            }
        }
    }

    /// # Safety
    /// The processor has AVX2, and the tile's memory is as long as it says.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn tile_avx2(tile: &Tile<'_>, sums: &mut Sums) {
        macro_rules! of {
            ($($rows:literal),*) => {
                match tile.rows {
                    $(
                        // SAFETY: the caller's promise.
                        $rows => unsafe { avx2::<$rows>(tile, sums) },
                    )*
                    _ => {}
                }
            };
        }
        of!(1, 2, 3, 4, 5, 6);
    }

    /// # Safety
    /// As of [`tile_avx2`], for `R` rows: 8 columns after the other, with as many sums as there are registers beside.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn avx2<const R: usize>(tile: &Tile<'_>, sums: &mut Sums) {
        let halves = tile.columns.min(tile.panels.min(PANELS) * COLUMNS).div_ceil(8);
        for half in 0..halves {
            let (panel, half) = (half / 2, half % 2);
            // Of each column two sums, those of the first and of the last two of 4 bytes.
            let mut all = [[_mm256_setzero_si256(); 2]; R];
            let mut left = tile.left.as_ptr();
            let mut right = tile.right.as_ptr().wrapping_add(panel * tile.panel_stride + half * 32);
            for _ in 0..tile.steps {
                // SAFETY: the caller's promise.
                let weights = unsafe {
                    [
                        _mm256_cvtepi8_epi16(_mm_loadu_si128(right.cast())),
                        _mm256_cvtepi8_epi16(_mm_loadu_si128(right.add(16).cast())),
                    ]
                };
                for (r, all) in all.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    let four = unsafe { left.add(r * tile.left_stride).cast::<i64>().read_unaligned() };
                    let four = _mm256_set1_epi64x(four);
                    for (all, weights) in all.iter_mut().zip(weights) {
                        *all = _mm256_add_epi32(*all, _mm256_madd_epi16(four, weights));
                    }
                }
                left = left.wrapping_add(2 * STEP);
                right = right.wrapping_add(STEP * COLUMNS);
            }
            for (sums, [low, high]) in sums.iter_mut().zip(all) {
                // Columns 0 1 4 5 2 3 6 7.
                let eight = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(low, high));
                // SAFETY: 8 of 16 integers.
                unsafe { _mm256_storeu_si256(sums[panel].as_mut_ptr().add(half * 8).cast(), eight) };
            }
        }
    }

    /// Bytes, with bits turned, as integers of 16 bits.
    ///
    /// # Safety
    /// The processor has AVX2, and there are `count` bytes, and twice as many to write.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn widen(bytes: &[u8], count: usize, flip: u8, to: &mut [u8]) {
        let turned = _mm_set1_epi8(flip as i8);
        // The last bytes with those behind them, where there are any.
        let room = bytes.len().min(to.len() / 2);
        let whole = if room >= count.next_multiple_of(16) { count } else { count / 16 * 16 };
        for at in (0..whole).step_by(16) {
            // SAFETY: 16 bytes, and 32.
            unsafe {
                let bytes = _mm_xor_si128(_mm_loadu_si128(bytes.as_ptr().add(at).cast()), turned);
                _mm256_storeu_si256(to.as_mut_ptr().add(2 * at).cast(), _mm256_cvtepu8_epi16(bytes));
            }
        }
        let (mut to, mut rest) = (&mut to[2 * whole..2 * count], &bytes[whole..count]);
        if let (Some((eight, more)), true) = (rest.split_first_chunk::<8>(), to.len() >= 16) {
            let (first, behind) = to.split_at_mut(16);
            // SAFETY: 8 bytes, and 16.
            unsafe {
                let bytes = _mm_xor_si128(_mm_loadl_epi64(eight.as_ptr().cast()), turned);
                _mm_storeu_si128(first.as_mut_ptr().cast(), _mm_cvtepu8_epi16(bytes));
            }
            (to, rest) = (behind, more);
        }
        for (to, byte) in to.chunks_exact_mut(2).zip(rest) {
            to.copy_from_slice(&u16::from(byte ^ flip).to_ne_bytes());
        }
    }

    /// # Safety
    /// The processor has AVX-512 VNNI, and each row is as long as `right`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) unsafe fn rows_vnni(
        left: &[u8],
        left_stride: usize,
        rows: usize,
        right: &[u8],
        sums: &mut [i32; ROWS],
    ) -> i32 {
        let ones = _mm512_set1_epi8(1);
        let mut all = [_mm512_setzero_si512(); ROWS];
        let mut total = _mm512_setzero_si512();
        let mut at = 0;
        while at < right.len() {
            let count = (right.len() - at).min(64);
            let mask = if count == 64 { !0 } else { (1u64 << count) - 1 };
            // SAFETY: only bytes of the mask are read.
            let weights = unsafe { _mm512_maskz_loadu_epi8(mask, right.as_ptr().add(at).cast()) };
            total = _mm512_dpbusd_epi32(total, ones, weights);
            for (r, all) in all.iter_mut().enumerate().take(rows) {
                let from = left.as_ptr().wrapping_add(r * left_stride + at);
                // SAFETY: as above.
                let bytes = unsafe { _mm512_maskz_loadu_epi8(mask, from.cast()) };
                *all = _mm512_dpbusd_epi32(*all, bytes, weights);
            }
            at += 64;
        }
        for (sum, all) in sums.iter_mut().zip(&all).take(rows) {
            *sum = _mm512_reduce_add_epi32(*all);
        }
        _mm512_reduce_add_epi32(total)
    }

    /// # Safety
    /// The processor has AVX2, and each row is as long as `right`.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn rows_avx2(
        left: &[u8],
        left_stride: usize,
        rows: usize,
        right: &[u8],
        sums: &mut [i32; ROWS],
    ) -> i32 {
        let ones = _mm256_set1_epi16(1);
        let mut all = [_mm256_setzero_si256(); ROWS];
        let mut total = _mm256_setzero_si256();
        let mut add = |bytes: *const u8, at: usize| {
            // SAFETY: the caller of this gives 16 bytes.
            let weights = _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(bytes.cast()) });
            total = _mm256_add_epi32(total, _mm256_madd_epi16(ones, weights));
            for (r, all) in all.iter_mut().enumerate().take(rows) {
                let from = left.as_ptr().wrapping_add(r * left_stride + at);
                let mut own = [0u8; 16];
                let count = (right.len() - at).min(16);
                // SAFETY: as many bytes as the row has.
                let bytes = unsafe {
                    if count == 16 {
                        _mm_loadu_si128(from.cast())
                    } else {
                        std::ptr::copy_nonoverlapping(from, own.as_mut_ptr(), count);
                        _mm_loadu_si128(own.as_ptr().cast())
                    }
                };
                *all = _mm256_add_epi32(*all, _mm256_madd_epi16(_mm256_cvtepu8_epi16(bytes), weights));
            }
        };
        let pieces = right.chunks_exact(16);
        let (rest, whole) = (pieces.remainder(), right.len() / 16 * 16);
        for (at, piece) in pieces.enumerate() {
            add(piece.as_ptr(), at * 16);
        }
        if !rest.is_empty() {
            let mut last = [0; 16];
            last[..rest.len()].copy_from_slice(rest);
            add(last.as_ptr(), whole);
        }
        let sum = |eight: __m256i| {
            let four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
            let two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
            _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
        };
        for (to, all) in sums.iter_mut().zip(all).take(rows) {
            *to = sum(all);
        }
        sum(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(count: usize, step: usize) -> Vec<u8> {
        (0..count).map(|n| (n * step % 256) as u8).collect()
    }

    #[test]
    fn all_instructions_give_the_same_sums() {
        for (rows, panels, steps) in [(1, 1, 1), (6, 2, 9), (3, 2, 33), (5, 1, 2), (2, 2, 0)] {
            let (stride, panel) = (steps * STEP + 5, steps * STEP * COLUMNS + 64);
            let (left, right) = (bytes(rows * stride, 37), bytes(panels * panel, 91));
            let tile = Tile {
                left: &left,
                left_stride: stride,
                rows,
                right: &right,
                panel_stride: panel,
                panels,
                columns: panels * COLUMNS,
                steps,
            };
            let mut expected = [[[0; COLUMNS]; PANELS]; ROWS];
            tile_portable(&tile, &mut expected);
            let first: i32 = (0..steps)
                .flat_map(|s| (0..4).map(move |i| (s, i)))
                .fold(0, |sum, (s, i)| sum + left[s * 4 + i] as i32 * right[s * 64 + i] as i8 as i32);
            assert_eq!(expected[0][0][0], first);
            for isa in Isa::ALL {
                let (mut sums, dot) = ([[[0; COLUMNS]; PANELS]; ROWS], Dot::of(isa));
                let mut wide = vec![0; left.len() * dot.row_width()];
                dot.put(&left, left.len(), 0, &mut wide);
                let left_stride = stride * dot.row_width();
                dot.tile(Tile { left: &wide, left_stride, ..tile }, &mut sums);
                assert_eq!(sums, expected, "{isa:?} {rows} {panels} {steps}");
            }
        }
    }

    #[test]
    fn rows_are_multiplied_alike() {
        for depth in [0, 1, 5, 63, 64, 65, 200] {
            let (left, right) = (bytes(3 * (depth + 7), 41), bytes(depth, 77));
            let mut expected = [0; ROWS];
            let total = rows_portable(&left, depth + 7, 3, &right, &mut expected);
            for isa in Isa::ALL {
                let mut sums = [0; ROWS];
                assert_eq!(Dot::of(isa).rows(&left, depth + 7, 3, &right, &mut sums), total);
                assert_eq!(sums, expected, "{isa:?} {depth}");
            }
        }
    }
}
