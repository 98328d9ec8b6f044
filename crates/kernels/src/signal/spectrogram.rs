//! How strong each frequency of a sound is, window after window.

use tightfit_core::Shared;

use super::transform::{Transform, fill_roots};
use crate::base::access::values_mut;
use crate::base::error::{KernelError, Result, check_exact, ensure};
use crate::base::threads::ThreadPool;
use crate::base::width::{Loop, vectorised};

const KERNEL: &str = "AudioSpectrogram";

/// Windows that are transformed side by side.
const ROWS: usize = 8;

/// What is taken of a sound.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spectrogram {
    /// Samples of a window, at least 2.
    pub window: usize,
    /// Samples from one window to the next, at least 1.
    pub stride: usize,
    /// The square of each strength.
    pub is_squared: bool,
}

impl Spectrogram {
    /// Windows that so many samples have.
    pub fn windows(&self, samples: usize) -> usize {
        samples.checked_sub(self.window).map_or(0, |rest| 1 + rest / self.stride.max(1))
    }

    fn length(&self) -> usize {
        self.window.next_power_of_two()
    }

    /// Frequencies of a window.
    pub fn frequencies(&self) -> usize {
        1 + self.length() / 2
    }

    /// The transform of a window: its samples in pairs, as complex numbers.
    fn transform(&self) -> Transform {
        Transform::new(self.length() / 2)
    }

    /// Numbers for the weights, for the roots that take pairs apart, for the transform's table and for each thread.
    fn needs(&self) -> [usize; 4] {
        let transform = self.transform();
        [self.window, 2 * self.frequencies(), transform.table_len(), transform.work_len(ROWS)]
    }
}

/// The scratch of [`spectrogram`] in bytes for so many threads.
pub fn spectrogram_scratch_bytes(what: &Spectrogram, threads: usize) -> usize {
    let [window, roots, table, work] = what.needs();
    (window + roots + table + threads * work) * size_of::<f64>()
}

/// The strengths `[channels, windows, frequencies]` of a sound `[samples, channels]`, each window weighted by a periodic
/// Hann window and filled up with zeros to a power of two. Computed in float64.
///
/// # Errors
/// [`KernelError::Invalid`] for windows of no length, [`KernelError::Length`] for an output of another size,
/// [`KernelError::Scratch`] for too little scratch.
pub fn spectrogram(
    pool: &ThreadPool,
    what: &Spectrogram,
    sound: &[f32],
    channels: usize,
    dst: &mut [f32],
    scratch: &mut [u8],
) -> Result<()> {
    ensure(what.window > 1 && what.stride > 0, KERNEL, "a window has samples, and a stride")?;
    let samples = sound.len().checked_div(channels).unwrap_or(0);
    let (windows, frequencies) = (what.windows(samples), what.frequencies());
    check_exact("the sound", samples * channels, sound.len())?;
    check_exact("strengths", channels * windows * frequencies, dst.len())?;
    let (needed_bytes, given_bytes) = (spectrogram_scratch_bytes(what, pool.threads()), scratch.len());
    let scratch =
        scratch.get_mut(..needed_bytes).ok_or(KernelError::Scratch { needed_bytes, given_bytes })?;
    let scratch = values_mut::<f64>(scratch, KERNEL)?;
    let [window, roots, table, each] = what.needs();
    let (weights, rest) = scratch.split_at_mut(window);
    let (roots, rest) = rest.split_at_mut(roots);
    let (table, work) = rest.split_at_mut(table);
    let isa = pool.isa();
    for (i, weight) in weights.iter_mut().enumerate() {
        *weight = 0.5 - 0.5 * ((2.0 * std::f64::consts::PI * i as f64) / window as f64).cos();
    }
    let transform = what.transform();
    transform.fill_table(isa, table, work);
    let (cos, sin) = roots.split_at_mut(frequencies);
    fill_roots(cos, sin, what.length());
    let (weights, roots, table) = (&*weights, [&*cos, &*sin], &*table);
    let lines = channels * windows;
    let (shared_work, shared_dst) = (Shared::new(work), Shared::new(dst));
    pool.run(lines.div_ceil(ROWS), &|task, worker| {
        let first = task * ROWS;
        let rows = ROWS.min(lines - first);
        // SAFETY: each worker has a part of its own, and each task its windows.
        let (mut work, mut out) = unsafe {
            (shared_work.part(worker * each, each), shared_dst.part(first * frequencies, rows * frequencies))
        };
        let mut planes = transform.planes(&mut work, rows);
        planes[0].iter_mut().for_each(|plane| plane.fill(0.0));
        for row in 0..rows {
            let (channel, at) = ((first + row) / windows, (first + row) % windows * what.stride);
            for (k, weight) in weights.iter().enumerate() {
                planes[0][k % 2][k / 2 * rows + row] = sound[(at + k) * channels + channel] as f64 * weight;
            }
        }
        transform.run(isa, table, rows, &mut planes);
        let [re, im] = &planes[0];
        vectorised(
            isa,
            Strengths { planes: [re, im], roots, rows, is_squared: what.is_squared, out: &mut out },
        );
    });
    Ok(())
}

/// The strengths of rows whose samples were transformed in pairs, `z[k] = x[2k] + i x[2k + 1]`: the transform of the even
/// ones is what `Z[k]` and the conjugate of `Z[-k]` have in common, that of the odd ones what they differ by.
struct Strengths<'a> {
    planes: [&'a [f64]; 2],
    /// Of the whole window's circle, for each frequency.
    roots: [&'a [f64]; 2],
    rows: usize,
    is_squared: bool,
    out: &'a mut [f32],
}

impl Loop for Strengths<'_> {
    #[inline(always)]
    fn run(self) {
        let Strengths { planes: [re, im], roots: [cos, sin], rows, is_squared, out } = self;
        let (frequencies, pairs) = (cos.len(), re.len() / rows);
        let mut strengths = [0f32; ROWS];
        for k in 0..frequencies {
            let (at, back) = (k % pairs * rows, (pairs - k) % pairs * rows);
            let (a, b) = ([&re[at..][..rows], &im[at..][..rows]], [&re[back..][..rows], &im[back..][..rows]]);
            for (row, strength) in strengths[..rows].iter_mut().enumerate() {
                let even = [0.5 * (a[0][row] + b[0][row]), 0.5 * (a[1][row] - b[1][row])];
                let odd = [0.5 * (a[1][row] + b[1][row]), 0.5 * (b[0][row] - a[0][row])];
                let re = even[0] + cos[k] * odd[0] - sin[k] * odd[1];
                let im = even[1] + cos[k] * odd[1] + sin[k] * odd[0];
                let squared = (re * re + im * im) as f32;
                *strength = if is_squared { squared } else { squared.sqrt() };
            }
            for (row, strength) in strengths[..rows].iter().enumerate() {
                out[row * frequencies + k] = *strength;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_strong_at_its_frequency() {
        let what = Spectrogram { window: 6, stride: 3, is_squared: false };
        // The second channel has twice the strength.
        let tone = |i: usize| (2.0 * std::f32::consts::PI * 2.0 * i as f32 / 8.0).cos();
        let sound: Vec<f32> = (0..12).flat_map(|i| [tone(i), 2.0 * tone(i)]).collect();
        assert_eq!((what.windows(12), what.windows(5), what.frequencies()), (3, 0, 5));
        for threads in [1, 3] {
            let pool = ThreadPool::new(threads).unwrap();
            let mut scratch = vec![0u64; spectrogram_scratch_bytes(&what, threads) / 8];
            let mut out = [f32::NAN; 30];
            let scratch = bytemuck::cast_slice_mut(&mut scratch);
            spectrogram(&pool, &what, &sound, 2, &mut out, scratch).unwrap();
            for (line, row) in out.chunks_exact(5).enumerate() {
                assert!(row.iter().all(|x| *x <= row[2]), "{row:?}");
                assert!(line < 3 || (row[2] - 2.0 * out[2 + 5 * (line - 3)]).abs() < 1e-5);
            }
        }
    }
}
