//! Some patches and panels of a convolution by the way of Winograd, on the calling thread.

use std::ops::Range;

use super::Winograd;
use super::cut::{Cut, pitch};
use super::transform::{CELLS, Filters, IN, OUT, PLACES, Patch, TAPS, are_even, elements, is_even};
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::share;
use crate::product::gemm::{
    Band, LeftHand, MAX_ROWS, RawEpilogue, Segment, max_rows, max_rows_of, tile_width,
};

/// Some patches and panels.
pub(super) struct Task<'t> {
    op: &'t Winograd<'t>,
    patches: Range<usize>,
    panels: Range<usize>,
    /// Input channels at once.
    depth: usize,
    /// Transformed patches: for each place [patches, channels].
    inputs: Places,
    /// Transformed filters of a panel: for each place [channels, columns].
    filters: Places,
    /// Sums: for each panel and place [patches, columns].
    sums: Places,
    /// For each patch the sums of the squares of its cells.
    squares: *mut f32,
    /// For each panel and tap the sums of the squares of its output channels: those of a panel are neighbours.
    tap_squares: *mut f32,
}

/// Matrices, one for each place.
#[derive(Clone, Copy)]
struct Places {
    start: *mut f32,
    /// Floats from one to the next.
    pitch: usize,
}

impl Places {
    #[inline(always)]
    fn at(&self, place: usize) -> *mut f32 {
        self.start.wrapping_add(place * self.pitch)
    }
}

impl<'t> Task<'t> {
    /// `memory` has the parts of the cut.
    pub(super) fn new(
        op: &'t Winograd<'t>,
        cut: &Cut,
        patches: Range<usize>,
        panels: Range<usize>,
        memory: *mut u8,
    ) -> Task<'t> {
        let width = tile_width(op.pixels.conv.layout.isa());
        let [inputs, filters, sums, squares, _] = cut.parts(width);
        let places = |from: usize, floats: usize| Places {
            start: memory.wrapping_add(from).cast(),
            pitch: pitch(floats),
        };
        Task {
            op,
            depth: cut.depth,
            inputs: places(0, patches.len() * cut.depth),
            filters: places(inputs, cut.depth * width),
            sums: places(inputs + filters, patches.len() * width),
            squares: memory.wrapping_add(inputs + filters + sums).cast(),
            tap_squares: memory.wrapping_add(inputs + filters + sums + squares).cast(),
            patches,
            panels,
        }
    }

    /// Computes it.
    ///
    /// # Safety
    /// The pointers are valid for the sizes, and nothing else uses the scratch and these elements of the output.
    pub(super) unsafe fn run(&self) {
        let conv = self.op.pixels.conv;
        let (isa, all) = (conv.layout.isa(), conv.p.in_channels);
        // SAFETY: as the caller vouches.
        unsafe { std::ptr::write_bytes(self.squares, 0, self.patches.len() * CELLS) };
        for first in (0..all).step_by(self.depth) {
            let channels = first..all.min(first + self.depth);
            dispatch(isa, Inputs { task: self, channels: channels.clone() });
            for panel in self.panels.clone() {
                dispatch(isa, Products { task: self, channels: channels.clone(), panel });
            }
        }
        for panel in self.panels.clone() {
            dispatch(isa, Outputs { task: self, panel });
        }
    }

    /// The sums of a panel.
    #[inline(always)]
    fn sums(&self, panel: usize) -> Places {
        let number = panel - self.panels.start;
        Places { start: self.sums.at(number * PLACES), ..self.sums }
    }

    /// The squares of a panel's taps.
    #[inline(always)]
    fn tap_squares(&self, panel: usize) -> *mut f32 {
        let width = tile_width(self.op.pixels.conv.layout.isa());
        self.tap_squares.wrapping_add((panel - self.panels.start) * TAPS * width)
    }

    /// The image (or plane) and the first row and column of the output of a patch.
    #[inline(always)]
    fn place(&self, patch: usize) -> [usize; 3] {
        let [_, height, width] = self.op.pixels.conv.output;
        let (down, right) = (height.div_ceil(OUT), width.div_ceil(OUT));
        [patch / right / down, patch / right % down * OUT, patch % right * OUT]
    }

    /// A panel of a patch's elements the direct way.
    ///
    /// # Safety
    /// As [`Task::run`].
    unsafe fn direct(&self, panel: usize, first_pixel: usize, [rows, columns]: [usize; 2]) {
        let (op, conv) = (self.op, self.op.pixels.conv);
        let segment = Segment { taps: TAPS, first_tap: 0, offset: 0, len: conv.p.in_channels };
        let mut pointers = [std::ptr::null(); TAPS * MAX_ROWS];
        for row in 0..rows {
            let pixel = first_pixel + row * conv.output[2];
            let at = pixel * conv.p.out_channels;
            // SAFETY: there are 9 taps, which need no copies, and the caller vouches for the rest; of the filter, which is packed,
            // nothing is written.
            unsafe {
                op.pixels.fill(0, pixel, columns, segment, pointers.as_mut_ptr(), std::ptr::null_mut());
                let band = Band {
                    layout: conv.layout,
                    rows: pointers.as_ptr(),
                    count: columns,
                    taps: TAPS,
                    tap_len: segment.len,
                    zeros: op.pixels.zeros.as_ptr(),
                    b: op.filter.cast_mut(),
                    source: None,
                    out: op.out.wrapping_add(at),
                    out_stride: conv.p.out_channels,
                    first: true,
                    epilogue: op.epilogue.starting_at(0, at),
                };
                band.run(panel..panel + 1);
            }
        }
    }
}

/// Transforms some channels of the patches.
struct Inputs<'k> {
    task: &'k Task<'k>,
    channels: Range<usize>,
}

impl Kernel for Inputs<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (task, pixels, p) = (self.task, &self.task.op.pixels, &self.task.op.pixels.conv.p);
        let [_, height, width] = p.size;
        for (number, patch) in task.patches.clone().enumerate() {
            let [image, y, x] = task.place(patch);
            let (top, left) = (y as isize + p.window.start(1), x as isize + p.window.start(2));
            let addresses = std::array::from_fn(|place| {
                let (y, x) = (top + (place / IN) as isize, left + (place % IN) as isize);
                if (y as usize) < height && (x as usize) < width {
                    let pixel = (image * height + y as usize) * width + x as usize;
                    pixels.input.as_ptr().wrapping_add(pixel * p.in_channels + self.channels.start)
                } else {
                    pixels.zeros.as_ptr()
                }
            });
            let count = self.channels.len();
            let to = task.inputs.start.wrapping_add(number * count);
            let patch = Patch { pixels: addresses, channels: count, to, pitch: task.inputs.pitch };
            // SAFETY: the pixels lie in the image or are as many zeros; whoever runs the task vouches for its scratch.
            unsafe { patch.transform(s, &mut *task.squares.add(number * CELLS).cast::<[f32; CELLS]>()) };
        }
    }
}

/// Transforms some channels of a panel's filters, and adds up their products with the patches.
struct Products<'k> {
    task: &'k Task<'k>,
    channels: Range<usize>,
    panel: usize,
}

impl Kernel for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let task = self.task;
        let conv = task.op.pixels.conv;
        let panel = conv.layout.panel(self.panel);
        let filters = Filters {
            from: task.op.filter.wrapping_add(panel.offset + self.channels.start * panel.width),
            tap: conv.p.in_channels * panel.width,
            channels: self.channels.len(),
            to: task.filters.start,
            pitch: task.filters.pitch,
            squares: task.tap_squares(self.panel),
        };
        let first = self.channels.start == 0;
        let full = 2 * S::LANES;
        // SAFETY: whoever runs the task vouches for its scratch and the filter.
        unsafe {
            if panel.width == full {
                filters.transform::<S, 2>(s, first);
            } else {
                filters.transform::<S, 1>(s, first);
            }
        }
        let (count, sums) = (task.patches.len(), task.sums(self.panel));
        let tiles = count.div_ceil(max_rows(conv.layout.isa()));
        for place in 0..PLACES {
            for rows in (0..tiles).map(|number| share(count, tiles, number)) {
                let tile = SumTile {
                    a: task.inputs.at(place).wrapping_add(rows.start * self.channels.len()),
                    depth: self.channels.len(),
                    b: task.filters.at(place),
                    sums: sums.at(place).wrapping_add(rows.start * full),
                    first,
                };
                // SAFETY: as above.
                unsafe {
                    if panel.width == full {
                        tile.rows::<S, 2>(s, rows.len());
                    } else {
                        tile.rows::<S, 1>(s, rows.len());
                    }
                }
            }
        }
    }
}

/// Some rows of sums.
struct SumTile {
    /// Rows of `depth` floats.
    a: *const f32,
    depth: usize,
    /// `depth` rows of so many vectors.
    b: *const f32,
    /// Rows of two vectors.
    sums: *mut f32,
    /// Whether they start at 0, or at what is there.
    first: bool,
}

impl SumTile {
    /// # Safety
    /// As [`SumTile::add`].
    #[inline(always)]
    unsafe fn rows<S: Simd, const VECTORS: usize>(&self, s: S, rows: usize) {
        macro_rules! table {
            ($($rows:literal)*) => {
                // SAFETY: as the caller vouches.
                unsafe { match rows {
                    $($rows if $rows <= const { max_rows_of(S::LANES) } => self.add::<S, $rows, VECTORS>(s),)*
                    _ => unreachable!("a tile has between 1 and max_rows rows"),
                } }
            };
        }
        table!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
    }

    /// Adds `ROWS` rows of A times B.
    ///
    /// # Safety
    /// The pointers are valid for so many rows and vectors.
    #[inline(always)]
    unsafe fn add<S: Simd, const ROWS: usize, const VECTORS: usize>(&self, s: S) {
        let at = |row: usize, vector: usize| self.sums.wrapping_add((2 * row + vector) * S::LANES);
        let mut sums = [[s.splat(0.0); VECTORS]; ROWS];
        // SAFETY: as the caller vouches.
        unsafe {
            if !self.first {
                for (r, row) in sums.iter_mut().enumerate() {
                    for (v, sum) in row.iter_mut().enumerate() {
                        *sum = s.load(at(r, v));
                    }
                }
            }
            let rows: [*const f32; ROWS] = std::array::from_fn(|r| self.a.wrapping_add(r * self.depth));
            let mut b = self.b;
            for k in 0..self.depth {
                let columns: [S::V; VECTORS] = std::array::from_fn(|v| s.load(b.wrapping_add(v * S::LANES)));
                for (r, row) in sums.iter_mut().enumerate() {
                    let x = s.splat(*rows[r].add(k));
                    for (sum, column) in row.iter_mut().zip(columns) {
                        *sum = s.mul_add(x, column, *sum);
                    }
                }
                b = b.wrapping_add(VECTORS * S::LANES);
            }
            for (r, row) in sums.iter().enumerate() {
                for (v, sum) in row.iter().enumerate() {
                    s.store(at(r, v), *sum);
                }
            }
        }
    }
}

/// Transforms the sums of a panel to elements of the output, and stores them.
struct Outputs<'k> {
    task: &'k Task<'k>,
    panel: usize,
}

impl Kernel for Outputs<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (task, conv) = (self.task, self.task.op.pixels.conv);
        let panel = conv.layout.panel(self.panel);
        let [_, height, width] = conv.output;
        let sums = task.sums(self.panel);
        // SAFETY: whoever runs the task vouches for its scratch, and the products have left the squares there.
        let taps = unsafe { std::slice::from_raw_parts(task.tap_squares(self.panel), TAPS * panel.width) };
        let is_panel_fit = are_even(taps, panel.width, panel.columns);
        for (number, patch) in task.patches.clone().enumerate() {
            let [image, y, x] = task.place(patch);
            let size = [OUT.min(height - y), OUT.min(width - x)];
            let pixel = (image * height + y) * width + x;
            // SAFETY: whoever runs the task vouches for its scratch and the output.
            unsafe {
                let squares = &*task.squares.add(number * CELLS).cast::<[f32; CELLS]>();
                let mut is_fit = is_panel_fit && is_even(squares, size);
                let mut vectors = [[[s.splat(0.0); OUT]; OUT]; 2];
                for (v, vector) in vectors.iter_mut().enumerate().take(panel.width / S::LANES) {
                    let from = sums.start.wrapping_add((2 * number + v) * S::LANES);
                    is_fit = is_fit && elements(s, from, sums.pitch, vector);
                }
                if !is_fit {
                    task.direct(self.panel, pixel, size);
                    continue;
                }
                let at = pixel * conv.p.out_channels + panel.first;
                let e = task.op.epilogue.starting_at(panel.first, at);
                let out = task.op.out.wrapping_add(at);
                let store =
                    Store { e, out, size, columns: panel.columns, width, channels: conv.p.out_channels };
                if panel.columns == 2 * S::LANES {
                    store.patch::<S, true>(s, &vectors);
                } else {
                    store.patch::<S, false>(s, &vectors);
                }
                if e.after.is_some() {
                    for (row, column) in (0..size[0]).flat_map(|row| (0..size[1]).map(move |c| (row, c))) {
                        let to = out.wrapping_add((row * width + column) * conv.p.out_channels);
                        e.finish(conv.layout.isa(), to, panel.columns);
                    }
                }
            }
        }
    }
}

/// Where a panel of a patch's elements goes.
struct Store {
    /// From the first element on.
    e: RawEpilogue,
    out: *mut f32,
    /// Rows and columns that lie in the output.
    size: [usize; 2],
    /// Output channels that are meant.
    columns: usize,
    /// Of the output.
    width: usize,
    /// Of the output.
    channels: usize,
}

impl Store {
    /// Scales, shifts, adds, clamps and stores.
    ///
    /// # Safety
    /// The elements can be written, and read where they are the residual.
    #[inline(always)]
    unsafe fn patch<S: Simd, const FULL: bool>(&self, s: S, vectors: &[[[S::V; OUT]; OUT]; 2]) {
        let e = &self.e;
        let (min, max) = (s.splat(e.min), s.splat(e.max));
        for (v, vector) in vectors.iter().enumerate() {
            let column = v * S::LANES;
            let count = self.columns.saturating_sub(column).min(S::LANES);
            if !FULL && count == 0 {
                return;
            }
            let load = |from: *const f32, at: usize, absent: f32| {
                // SAFETY: as the caller vouches.
                unsafe {
                    match (from.is_null(), FULL) {
                        (true, _) => s.splat(absent),
                        (_, true) => s.load(from.add(at)),
                        (_, false) => s.load_partial(from.add(at), count),
                    }
                }
            };
            let (scale, shift) = (load(e.scale, column, 1.0), load(e.shift, column, 0.0));
            for (y, line) in vector.iter().enumerate().take(self.size[0]) {
                for (x, sum) in line.iter().enumerate().take(self.size[1]) {
                    let at = (y * self.width + x) * self.channels + column;
                    let mut value = s.mul_add(*sum, scale, shift);
                    if !e.residual.is_null() {
                        value = s.add(value, load(e.residual, at, 0.0));
                    }
                    value = s.min(max, s.max(min, value));
                    // SAFETY: as the caller vouches.
                    unsafe {
                        if FULL {
                            s.store(self.out.add(at), value);
                        } else {
                            s.store_partial(self.out.add(at), value, count);
                        }
                    }
                }
            }
        }
    }
}
