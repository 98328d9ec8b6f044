//! A product with a sparse weight, multiplied as it is held: the elements that are there, and a bit for each place.
//!
//! Few rows are multiplied element by element of the weight's rows: as many elements as a vector has lanes are put to their places
//! between zeros, so that no more is read of the weight than is held. Many rows are transposed in tiles, and each element that is
//! there is multiplied by a column of the tile: what is not there costs nothing.

use std::ops::Range;

use crate::base::cpu::Isa;
use crate::base::error::{Result, check_at_least, check_exact, ensure, product};
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::{ThreadPool, share};
use crate::product::gemm::{Epilogue, RawEpilogue};

/// Rows of the left-hand side up to which the weight is put between zeros, where there are instructions for it.
const FEW_ROWS: usize = 4;

/// Elements of a weight up to which it stays in the last-level cache, from where a dense one is read sooner than a sparse one is
/// put between zeros.
const CACHED_WEIGHT: usize = 4 << 20;

/// Columns of the output that are stored at once.
const BLOCK: usize = 16;

/// The most lanes of a vector.
const MOST_LANES: usize = 16;

/// Vectors of a tile's column, at most.
const MOST_VECTORS: usize = 4;

/// Elements of a row that are taken from eight bits at once, the rest of which is written over.
const STEP: usize = 8;

/// Words of a cache line.
const LINE: usize = 16;

/// For each byte the places of its bits.
static PLACES: [[u16; STEP]; 256] = {
    let mut table = [[0; STEP]; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut bit, mut count) = (0, 0);
        while bit < STEP {
            if byte >> bit & 1 == 1 {
                table[byte][count] = bit as u16;
                count += 1;
            }
            bit += 1;
        }
        byte += 1;
    }
    table
};

/// `[m, k]` times the transposition of a sparse `[n, k]` -> `[m, n]`, f32. Cheap to make; holds no memory.
#[derive(Debug, Clone, Copy)]
pub struct SparseProduct {
    isa: Isa,
    m: usize,
    k: usize,
    n: usize,
}

impl SparseProduct {
    /// The product of these sizes.
    ///
    /// # Errors
    /// [`KernelError`](crate::KernelError) when sizes overflow, and for rows or a weight of more elements than are counted.
    pub fn new(isa: Isa, m: usize, k: usize, n: usize) -> Result<SparseProduct> {
        product(&[m, k])?;
        product(&[m, n])?;
        product(&[n, k])?;
        ensure(k <= 1 << 16, "a sparse product", "rows have at most 65536 elements")?;
        ensure(n * k < 1 << 32, "a sparse product", "the weight has fewer than 2^32 elements")?;
        Ok(SparseProduct { isa, m, k, n })
    }

    fn is_of_few_rows(&self) -> bool {
        self.m <= FEW_ROWS && self.isa != Isa::Portable
    }

    /// Vectors of a tile's column: those with which threads end first, tiles being dealt out whole.
    fn vectors(&self, threads: usize) -> usize {
        let cost = |vectors: &usize| {
            let tiles = self.m.div_ceil(vectors * self.isa.lanes());
            tiles.div_ceil(threads.max(1)) * (2 * vectors + 3)
        };
        [MOST_VECTORS, 2, 1].into_iter().min_by_key(cost).unwrap_or(1)
    }

    /// Words of a thread's scratch: a tile's columns.
    fn tile_words(&self, vectors: usize) -> usize {
        (self.k * vectors * self.isa.lanes()).next_multiple_of(LINE)
    }

    /// Words for where `count` elements stand.
    fn place_words(&self, count: usize) -> usize {
        (count + STEP).div_ceil(2).next_multiple_of(LINE)
    }

    /// True where the dense product, its weight packed, is predicted to take less time than this one of `count` elements. The
    /// numbers are fitted to times of both, within 15 % of nearly all (the example `sparse`): in multiplications of the dense
    /// product, what a multiplication takes here, and what goes with each row, column and element.
    pub fn is_faster_dense(&self, threads: usize, count: usize) -> bool {
        let [m, k, n, count] = [self.m, self.k, self.n, count].map(|number| number as f64);
        if self.is_of_few_rows() {
            // As many steps as the dense product has, each of which does more, but less memory to read.
            return self.k * self.n < CACHED_WEIGHT;
        }
        let width = self.vectors(threads) * self.isa.lanes();
        let tiles = self.m.div_ceil(width).div_ceil(threads.max(1)) * threads.max(1);
        let tiled = (tiles * width) as f64;
        let [each, column, row, element, place, dense_sum] = match self.isa {
            Isa::Avx512 => [1.81, 28.3, 23.6, 26.8, 15.2, 4.8],
            Isa::Portable => [0.94, 29.1, 7.6, 7.4, 5.5, 6.6],
            _ => [1.9, 39.8, 25.3, 32.4, 12.3, 2.6],
        };
        let sparse = tiled * (each * count + column * n + row * k) + element * count + place * k * n;
        m * n * (k + dense_sum) < sparse
    }

    /// Bytes of scratch that a call needs for a weight of so many elements.
    pub fn scratch_bytes(&self, threads: usize, count: usize) -> usize {
        let starts = (self.n + 1).next_multiple_of(LINE);
        // Never less for more rows, whichever tiles are best for them.
        let vectors = self.m.div_ceil(self.isa.lanes()).next_power_of_two().clamp(1, MOST_VECTORS);
        let tiles = threads.max(1) * self.tile_words(vectors) + self.place_words(count);
        4 * (LINE + starts + if self.is_of_few_rows() { 0 } else { tiles })
    }

    /// Computes the product. `marks` has a bit for each element of the weight, the lowest of a byte first, and `values` the
    /// elements of those that are set, at any alignment.
    ///
    /// # Errors
    /// [`KernelError`](crate::KernelError) when a length is wrong, the scratch too small, or marks and values do not go together.
    pub fn run(
        &self,
        pool: &ThreadPool,
        left: &[f32],
        (marks, values): (&[u8], &[u8]),
        out: &mut [f32],
        epilogue: Epilogue<'_>,
        scratch: &mut [u8],
    ) -> Result<()> {
        let SparseProduct { isa, m, k, n } = *self;
        check_exact("the left-hand side", m * k, left.len())?;
        check_exact("the output", m * n, out.len())?;
        check_exact("the marks", (n * k).div_ceil(8), marks.len())?;
        check_at_least("the scratch", self.scratch_bytes(pool.threads(), values.len() / 4), scratch.len())?;
        // SAFETY: any bytes are numbers.
        let (_, words, _) = unsafe { scratch.align_to_mut::<u32>() };
        let skipped = words.as_ptr().align_offset(4 * LINE).min(LINE - 1);
        let (starts, rest) = words[skipped..].split_at_mut((n + 1).next_multiple_of(LINE));
        let starts = &mut starts[..=n];
        let count = dispatch(isa, Starts { marks, k, starts });
        let fits = values.len() == 4 * count as usize;
        ensure(fits, "a sparse product", "there is an element for each mark")?;
        let raw = epilogue.to_raw(n, out.as_mut_ptr(), out.len())?;
        let task = Task {
            k,
            n,
            left: left.as_ptr(),
            marks,
            values: values.as_ptr().cast(),
            starts,
            out: out.as_mut_ptr(),
            epilogue: raw,
            isa,
        };
        if self.is_of_few_rows() {
            let blocks = n.div_ceil(BLOCK);
            let tasks = if n * k < 1 << 14 { 1 } else { blocks.min(4 * pool.threads()) };
            pool.run(tasks, &|number, _| {
                let own = share(blocks, tasks, number);
                let columns = own.start * BLOCK..(own.end * BLOCK).min(n);
                match m {
                    1 => dispatch(isa, Few::<1> { task: &task, columns }),
                    2 => dispatch(isa, Few::<2> { task: &task, columns }),
                    3 => dispatch(isa, Few::<3> { task: &task, columns }),
                    _ => dispatch(isa, Few::<4> { task: &task, columns }),
                }
            });
            return Ok(());
        }
        let (places, tiles) = rest.split_at_mut(self.place_words(count as usize));
        let places = Words(places.as_mut_ptr());
        let most = 4 * pool.threads();
        pool.run(most, &|number, _| {
            dispatch(
                isa,
                Places { task: &task, columns: share(n, most, number), places: places.at(0).cast() },
            );
        });
        let vectors = self.vectors(pool.threads());
        let (width, words) = (vectors * isa.lanes(), self.tile_words(vectors));
        let tiles = Words(tiles.as_mut_ptr());
        pool.run(m.div_ceil(width), &|tile, worker| {
            let rows = tile * width..((tile + 1) * width).min(m);
            let (tile, places) = (tiles.at(worker * words).cast(), places.at(0).cast_const().cast());
            match vectors {
                1 => dispatch(isa, Many::<1> { task: &task, rows, tile, places }),
                2 => dispatch(isa, Many::<2> { task: &task, rows, tile, places }),
                _ => dispatch(isa, Many::<MOST_VECTORS> { task: &task, rows, tile, places }),
            }
        });
        Ok(())
    }
}

/// The threads' scratch.
struct Words(*mut u32);

// SAFETY: each worker has its own part.
unsafe impl Sync for Words {}

impl Words {
    fn at(&self, word: usize) -> *mut u32 {
        self.0.wrapping_add(word)
    }
}

/// 25 bits or more from this one on, and zeros after the last.
#[inline(always)]
fn bits(marks: &[u8], from: usize) -> u32 {
    let (byte, shift) = (from / 8, from % 8);
    let four = match marks.get(byte..byte + 4) {
        Some(four) => u32::from_le_bytes([four[0], four[1], four[2], four[3]]),
        None => marks.iter().skip(byte).rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte)),
    };
    four >> shift
}

/// Counts where the elements of each row begin, and returns how many there are.
struct Starts<'s> {
    marks: &'s [u8],
    k: usize,
    starts: &'s mut [u32],
}

impl Kernel for Starts<'_> {
    type Output = u32;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> u32 {
        let (mut count, last) = (0, self.starts.len() - 1);
        for (row, start) in self.starts[..last].iter_mut().enumerate() {
            *start = count;
            let (mut at, end) = (row * self.k, (row + 1) * self.k);
            while at < end && !at.is_multiple_of(8) {
                count += bits(self.marks, at) & 1;
                at += 1;
            }
            let whole = &self.marks[at / 8..(at / 8).max(end / 8)];
            let (words, bytes) = whole.as_chunks::<8>();
            count += words.iter().map(|word| u64::from_le_bytes(*word).count_ones()).sum::<u32>();
            count += bytes.iter().map(|byte| byte.count_ones()).sum::<u32>();
            at += 8 * whole.len();
            if at < end {
                count += (bits(self.marks, at) & low(end - at)).count_ones();
            }
        }
        self.starts[last] = count;
        count
    }
}

/// A mask of the lowest bits, at most 32.
#[inline(always)]
fn low(count: usize) -> u32 {
    if count >= 32 { u32::MAX } else { (1 << count) - 1 }
}

/// What all threads share.
struct Task<'t> {
    k: usize,
    n: usize,
    left: *const f32,
    marks: &'t [u8],
    values: *const f32,
    /// Where the elements of each row begin, and the last end.
    starts: &'t [u32],
    out: *mut f32,
    epilogue: RawEpilogue,
    isa: Isa,
}

// SAFETY: threads write parts of the output of their own.
unsafe impl Sync for Task<'_> {}

impl Task<'_> {
    /// Stores a row's sums from a column on.
    ///
    /// # Safety
    /// Row and columns are those of the output, and no other thread has them.
    #[inline(always)]
    unsafe fn store<S: Simd>(&self, s: S, row: usize, column: usize, sums: &[f32; BLOCK]) {
        let count = (self.n - column).min(BLOCK);
        let element = row * self.n + column;
        let e = self.epilogue.starting_at(column, element);
        for at in (0..count).step_by(S::LANES) {
            let own = (count - at).min(S::LANES);
            // SAFETY: the caller vouches for the output; vectors of channels are as long, as was checked.
            unsafe {
                let sum = s.load_partial(sums.as_ptr().add(at), own);
                e.store(s, sum, [at, at], own, self.out.wrapping_add(element));
            }
        }
    }

    /// Adds to the sums of some rows the products with elements of a column of the output, which stand at `at`.
    #[inline(always)]
    fn add<S: Simd, const ROWS: usize>(
        &self,
        s: S,
        column: usize,
        (from, count): (usize, usize),
        at: &mut usize,
        sums: &mut [S::V; ROWS],
    ) {
        let marks = bits(self.marks, column * self.k + from) & low(count);
        let left = self.starts[self.n] as usize - *at;
        // SAFETY: marks and elements were counted to go together, and rows of the left-hand side have k floats.
        unsafe {
            let weight = s.expand(self.values.wrapping_add(*at), left, marks);
            for (r, sum) in sums.iter_mut().enumerate() {
                let x = self.left.wrapping_add(r * self.k + from);
                let x = if count == S::LANES { s.load(x) } else { s.load_partial(x, count) };
                *sum = s.mul_add(weight, x, *sum);
            }
        }
        *at += marks.count_ones() as usize;
    }

    /// Notes where the elements of a row of the weight stand.
    #[inline(always)]
    fn place(&self, column: usize, places: *mut u16) {
        let (mut at, end) = (self.starts[column] as usize, self.starts[column + 1] as usize);
        for first in (0..self.k).step_by(STEP) {
            let byte = bits(self.marks, column * self.k + first) & low((self.k - first).min(STEP));
            let own = &PLACES[byte as usize];
            let to = places.wrapping_add(at);
            let count = byte.count_ones() as usize;
            // SAFETY: what follows within the row is written next; what follows the row is another thread's.
            unsafe {
                if at + STEP <= end {
                    to.cast::<[u16; STEP]>().write_unaligned(own.map(|place| place + first as u16));
                } else {
                    own[..count]
                        .iter()
                        .enumerate()
                        .for_each(|(i, place)| to.add(i).write(place + first as u16));
                }
            }
            at += count;
        }
    }

    /// Applies what follows the clamp.
    ///
    /// # Safety
    /// As [`Task::store`].
    unsafe fn after(&self, row: usize, columns: Range<usize>) {
        let at = self.out.wrapping_add(row * self.n + columns.start);
        // SAFETY: the caller vouches for it.
        unsafe { self.epilogue.finish(self.isa, at, columns.len()) };
    }

    /// What is not there is zero, which times a number that is not finite is NaN: so is the sum of a row that has one, in columns
    /// from `first` on.
    fn spoil<const WIDTH: usize>(&self, rows: &Range<usize>, first: usize, sums: &mut [[f32; WIDTH]; BLOCK]) {
        for (row, at) in rows.clone().flat_map(|row| (0..self.k).map(move |at| (row, at))) {
            // SAFETY: the left-hand side has rows of k elements, as was checked.
            let is_finite = unsafe { self.left.wrapping_add(row * self.k + at).read() }.is_finite();
            if is_finite {
                continue;
            }
            for (column, sums) in (first..self.n).zip(&mut *sums) {
                if bits(self.marks, column * self.k + at) & 1 == 0 {
                    sums[row - rows.start] = f32::NAN;
                }
            }
        }
    }
}

/// Some columns of few rows.
struct Few<'t, const ROWS: usize> {
    task: &'t Task<'t>,
    columns: Range<usize>,
}

impl<const ROWS: usize> Kernel for Few<'_, ROWS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Few { task, columns } = self;
        let k = task.k;
        for first in columns.clone().step_by(BLOCK) {
            let mut sums = [[0.0; BLOCK]; ROWS];
            for column in first..(first + BLOCK).min(columns.end) {
                let mut at = task.starts[column] as usize;
                let (mut even, mut odd) = ([s.splat(0.0); ROWS], [s.splat(0.0); ROWS]);
                let mut from = 0;
                while from + 2 * S::LANES <= k {
                    task.add(s, column, (from, S::LANES), &mut at, &mut even);
                    task.add(s, column, (from + S::LANES, S::LANES), &mut at, &mut odd);
                    from += 2 * S::LANES;
                }
                while from < k {
                    task.add(s, column, (from, (k - from).min(S::LANES)), &mut at, &mut even);
                    from += S::LANES;
                }
                for (r, (a, b)) in even.into_iter().zip(odd).enumerate() {
                    let mut lanes = [0f32; MOST_LANES];
                    // SAFETY: there are at least as many.
                    unsafe { s.store(lanes.as_mut_ptr(), s.add(a, b)) };
                    let mut half = MOST_LANES / 2;
                    while half > 0 {
                        for lane in 0..half {
                            lanes[lane] += lanes[lane + half];
                        }
                        half /= 2;
                    }
                    sums[r][column - first] = lanes[0];
                }
            }
            // SAFETY: the columns are this task's.
            sums.iter().enumerate().for_each(|(row, sums)| unsafe { task.store(s, row, first, sums) });
        }
        // SAFETY: as above.
        (0..ROWS).for_each(|row| unsafe { task.after(row, columns.clone()) });
    }
}

/// Where the elements of some rows of the weight stand.
struct Places<'t> {
    task: &'t Task<'t>,
    columns: Range<usize>,
    places: *mut u16,
}

impl Kernel for Places<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.columns.for_each(|column| self.task.place(column, self.places));
    }
}

/// A tile of rows, and its thread's scratch.
struct Many<'t, const VECTORS: usize> {
    task: &'t Task<'t>,
    rows: Range<usize>,
    tile: *mut f32,
    /// Where the elements of all rows of the weight stand.
    places: *const u16,
}

impl<const VECTORS: usize> Kernel for Many<'_, VECTORS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Many { task, rows, tile, places } = self;
        let (k, width) = (task.k, VECTORS * S::LANES);
        // SAFETY: `tile_words` has room for it.
        let tile = unsafe { std::slice::from_raw_parts_mut(tile, k * width) };
        transpose(task.left.wrapping_add(rows.start * k), rows.len(), k, width, tile);
        let is_odd = tile.iter().fold(0, |odd, x| odd | u32::from(!x.is_finite())) != 0;
        for first in (0..task.n).step_by(BLOCK) {
            let mut sums = [[0f32; MOST_VECTORS * MOST_LANES]; BLOCK];
            for (column, sums) in (first..task.n).zip(&mut sums) {
                let (start, end) = (task.starts[column] as usize, task.starts[column + 1] as usize);
                let values = task.values.wrapping_add(start);
                // SAFETY: there is a place for each element.
                let places = unsafe { std::slice::from_raw_parts(places.wrapping_add(start), end - start) };
                let mut own = [s.splat(0.0); VECTORS];
                for (n, at) in places.iter().enumerate() {
                    let from = tile.as_ptr().wrapping_add(usize::from(*at) * width);
                    // SAFETY: places are below k, and there are as many elements as marks.
                    unsafe {
                        let weight = s.splat(values.wrapping_add(n).read_unaligned());
                        for (v, own) in own.iter_mut().enumerate() {
                            *own = s.mul_add(weight, s.load(from.wrapping_add(v * S::LANES)), *own);
                        }
                    }
                }
                for (v, own) in own.into_iter().enumerate() {
                    // SAFETY: there are as many vectors.
                    unsafe { s.store(sums.as_mut_ptr().wrapping_add(v * S::LANES), own) };
                }
            }
            if is_odd {
                task.spoil(&rows, first, &mut sums);
            }
            for row in rows.clone() {
                let own: [f32; BLOCK] = std::array::from_fn(|column| sums[column][row - rows.start]);
                // SAFETY: the rows are this task's.
                unsafe { task.store(s, row, first, &own) };
            }
        }
        // SAFETY: as above.
        rows.for_each(|row| unsafe { task.after(row, 0..task.n) });
    }
}

/// Puts the rows of a matrix side by side: element i of row r stands at `i · width + r`.
#[inline(always)]
fn transpose(from: *const f32, rows: usize, k: usize, width: usize, tile: &mut [f32]) {
    if rows < width {
        tile.fill(0.0);
    }
    const SIDE: usize = 8;
    for first in (0..k).step_by(SIDE) {
        let count = (k - first).min(SIDE);
        let mut row = 0;
        while row + SIDE <= rows && count == SIDE {
            // SAFETY: the caller's rows have k floats each.
            let square: [[f32; SIDE]; SIDE] = std::array::from_fn(|r| unsafe {
                from.wrapping_add((row + r) * k + first).cast::<[f32; SIDE]>().read_unaligned()
            });
            for i in 0..SIDE {
                let to = &mut tile[(first + i) * width + row..][..SIDE];
                to.copy_from_slice(&std::array::from_fn::<f32, SIDE, _>(|r| square[r][i]));
            }
            row += SIDE;
        }
        for row in row..rows {
            for i in first..first + count {
                // SAFETY: as above.
                tile[i * width + row] = unsafe { from.wrapping_add(row * k + i).read() };
            }
        }
    }
}

#[cfg(test)]
#[path = "sparse_product_tests.rs"]
mod tests;
