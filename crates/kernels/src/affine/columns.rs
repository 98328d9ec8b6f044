//! Windows over 16 channels of an image as columns that neighbouring windows share.
//!
//! Of each column of pixels under a line of windows the bytes of two rows stand side by side, as integers of 16 bits, and of the
//! last row of an odd number those of two columns: an instruction multiplies each two with their weights and adds them up.

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;
    use std::mem::MaybeUninit;

    use crate::affine::dot::COLUMNS;
    use crate::base::window::Window3;

    /// The most rows of a window.
    pub const ROWS: usize = 8;
    /// The most pairs of a window's elements.
    const TERMS: usize = 32;
    /// Pairs of pixels that are held at once: 64 bytes each.
    const PAIRS: usize = 256;

    /// Two vectors of 16 integers: of each channel two side by side, channels 0 to 3 and 8 to 11, and the others.
    type Pair = [[i16; COLUMNS]; 2];

    /// Which elements of a window are multiplied together.
    pub struct Terms {
        rows: usize,
        dilation: usize,
        stride: usize,
        pad: usize,
        /// Pairs of a column.
        pairs: usize,
        /// Columns from the first that a window touches to behind the last.
        span: usize,
        /// Each pair's place behind a window's first, and its elements; the second may be left out.
        terms: [(usize, usize, Option<usize>); TERMS],
        count: usize,
    }

    /// The weights of 16 channels, by term.
    pub struct Weights {
        pairs: [Pair; TERMS],
        /// The sums of each channel's.
        pub sums: [i32; COLUMNS],
    }

    /// A line of the image under a line of windows.
    pub struct Line {
        /// The first pixel of each row of the window; null for what is outside.
        pub rows: [*const u8; ROWS],
        /// How many pixels a row has.
        pub width: usize,
        /// Bytes from one to the next.
        pub stride: usize,
        /// What is outside of the image.
        pub zero: i32,
        pub is_signed: bool,
    }

    /// The columns of some windows.
    pub struct Columns([MaybeUninit<Pair>; PAIRS]);

    impl Terms {
        /// Those of a window; `None` where they are more than there is room for.
        pub fn new(window: &Window3) -> Option<Terms> {
            let ([_, rows, across], [_, _, dilation]) = (window.size, window.dilations);
            let span = across.saturating_sub(1).checked_mul(dilation)?.checked_add(1)?;
            let pairs = rows.div_ceil(2);
            let count = rows / 2 * across + rows % 2 * across.div_ceil(2);
            let is_held = (1..=ROWS).contains(&rows) && across > 0 && span <= PAIRS / pairs && count <= TERMS;
            if !is_held {
                return None;
            }
            let mut terms = [(0, 0, None); TERMS];
            let above = (0..rows / 2).flat_map(|pair| {
                let at = 2 * pair * across;
                (0..across).map(move |x| (x * dilation * pairs + pair, at + x, Some(at + across + x)))
            });
            let last = (0..across).step_by(2).map(|x| {
                let at = (rows - 1) * across + x;
                (x * dilation * pairs + pairs - 1, at, (x + 1 < across).then_some(at + 1))
            });
            let all = above.chain(last.take(rows % 2 * across));
            terms.iter_mut().zip(all).for_each(|(to, term)| *to = term);
            let (stride, pad) = (window.strides[2], window.pads[4]);
            Some(Terms { rows, dilation, stride, pad, pairs, span, terms, count })
        }

        /// How many windows' columns are held at once.
        pub fn windows(&self) -> usize {
            (PAIRS / self.pairs - self.span) / self.stride + 1
        }

        /// The weights that `read` gives for each element of the window, less what stands for 0.
        ///
        /// # Safety
        /// The processor has AVX2.
        #[inline]
        #[target_feature(enable = "avx2")]
        pub unsafe fn weights(&self, read: impl Fn(usize, &mut [u8; COLUMNS]), zero: i32) -> Weights {
            let zeros = _mm256_set1_epi16(zero as i16);
            let one = |tap: usize| {
                let mut bytes = [0; COLUMNS];
                read(tap, &mut bytes);
                // SAFETY: 16 bytes.
                let words = _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) });
                _mm256_sub_epi16(words, zeros)
            };
            let ones = _mm256_set1_epi16(1);
            let mut weights = Weights { pairs: [[[0; COLUMNS]; 2]; TERMS], sums: [0; COLUMNS] };
            let mut sums = [_mm256_setzero_si256(); 2];
            for ((_, a, b), to) in self.terms.iter().take(self.count).zip(&mut weights.pairs) {
                let (a, b) = (one(*a), b.map_or(_mm256_setzero_si256(), one));
                for ((pair, to), sum) in interleaved(a, b).into_iter().zip(to).zip(&mut sums) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pair, ones));
                    // SAFETY: 16 integers.
                    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), pair) };
                }
            }
            put(sums, &mut weights.sums);
            weights
        }
    }

    impl Columns {
        pub fn new() -> Columns {
            Columns([MaybeUninit::uninit(); PAIRS])
        }

        /// Lays out the columns of `count` windows from `first` on, no more than [`Terms::windows`].
        ///
        /// # Safety
        /// The processor has AVX2, and of each row that is not null 16 bytes of each pixel can be read.
        #[inline]
        #[target_feature(enable = "avx2")]
        pub unsafe fn lay_out(&mut self, terms: &Terms, line: &Line, (first, count): (usize, usize)) {
            let start = (first * terms.stride) as isize - terms.pad as isize;
            let columns = (count - 1) * terms.stride + terms.span;
            let outside = _mm256_set1_epi16(line.zero as i16);
            let words = |row: *const u8, x: isize| {
                if row.is_null() || x.unsigned_abs() >= line.width || x < 0 {
                    return outside;
                }
                // SAFETY: the caller's promise.
                let bytes = unsafe { _mm_loadu_si128(row.offset(x * line.stride as isize).cast()) };
                if line.is_signed { _mm256_cvtepi8_epi16(bytes) } else { _mm256_cvtepu8_epi16(bytes) }
            };
            // A row that is outside is one byte over and over.
            let none = [line.zero as u8; COLUMNS];
            let all = &mut self.0[..columns * terms.pairs];
            for (pair, rows) in line.rows[..terms.rows].chunks(2).enumerate() {
                let (rows, ahead) = match *rows {
                    [above, below] => ([above, below], 0),
                    [last, ..] => ([last; 2], terms.dilation),
                    [] => ([std::ptr::null(); 2], 0),
                };
                let inside =
                    (line.width as isize - ahead as isize - start).clamp(0, columns as isize) as usize;
                let inside = ((-start).clamp(0, inside as isize) as usize)..inside;
                let mut put = |column: usize, a: __m256i, b: __m256i| {
                    let to = all[column * terms.pairs + pair].as_mut_ptr().cast::<__m256i>();
                    for (half, pair) in interleaved(a, b).into_iter().enumerate() {
                        // SAFETY: 16 of 32 integers.
                        unsafe { _mm256_storeu_si256(to.add(half), pair) };
                    }
                };
                for column in (0..inside.start).chain(inside.end..columns) {
                    let x = start + column as isize;
                    put(column, words(rows[0], x), words(rows[1], x + ahead as isize));
                }
                let steps = rows.map(|row| if row.is_null() { 0 } else { line.stride });
                let first = start + inside.start as isize;
                let mut at = [0, 1].map(|row| match steps[row] {
                    0 => none.as_ptr(),
                    step => {
                        let x = first + (row * ahead) as isize;
                        rows[row].wrapping_offset(x * step as isize)
                    }
                });
                for column in inside {
                    // SAFETY: the caller's promise, of pixels that are inside of the image.
                    let [a, b] = at.map(|pixel| unsafe { _mm_loadu_si128(pixel.cast()) });
                    if line.is_signed {
                        put(column, _mm256_cvtepi8_epi16(a), _mm256_cvtepi8_epi16(b));
                    } else {
                        put(column, _mm256_cvtepu8_epi16(a), _mm256_cvtepu8_epi16(b));
                    }
                    at = [0, 1].map(|row| at[row].wrapping_add(steps[row]));
                }
            }
        }

        /// The sums of a window, the one of this number among those whose columns are laid out, and of the next.
        ///
        /// # Safety
        /// The processor has AVX2, and the columns of both are laid out.
        #[inline]
        #[target_feature(enable = "avx2")]
        pub unsafe fn sums(
            &self,
            terms: &Terms,
            weights: &Weights,
            numbers: [usize; 2],
        ) -> [[i32; COLUMNS]; 2] {
            let [first, second] = numbers.map(|number| &self.0[number * terms.stride * terms.pairs..]);
            let reach = terms.span * terms.pairs;
            let (first, second) = (&first[..reach], &second[..reach]);
            let mut sums = [[_mm256_setzero_si256(); 2]; 2];
            for ((at, ..), weights) in terms.terms.iter().take(terms.count).zip(&weights.pairs) {
                let pixels = [&first[*at], &second[*at]];
                for half in 0..2 {
                    // SAFETY: 16 integers, and the caller's promise.
                    let own = unsafe { _mm256_loadu_si256(weights[half].as_ptr().cast()) };
                    for (sums, pixels) in sums.iter_mut().zip(pixels) {
                        // SAFETY: as above.
                        let pixels =
                            unsafe { _mm256_loadu_si256(pixels.as_ptr().cast::<__m256i>().add(half)) };
                        sums[half] = _mm256_add_epi32(sums[half], _mm256_madd_epi16(pixels, own));
                    }
                }
            }
            let mut all = [[0; COLUMNS]; 2];
            sums.into_iter().zip(&mut all).for_each(|(sums, to)| put(sums, to));
            all
        }
    }

    /// Two vectors of integers side by side.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn interleaved(a: __m256i, b: __m256i) -> [__m256i; 2] {
        [_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b)]
    }

    /// The sums of 16 channels in their order.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn put([low, high]: [__m256i; 2], to: &mut [i32; COLUMNS]) {
        // SAFETY: 16 sums.
        unsafe {
            let to = to.as_mut_ptr();
            _mm256_storeu_si256(to.cast(), _mm256_permute2x128_si256::<0x20>(low, high));
            _mm256_storeu_si256(to.add(8).cast(), _mm256_permute2x128_si256::<0x31>(low, high));
        }
    }
}
