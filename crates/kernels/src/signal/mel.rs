//! Mel-frequency cepstral coefficients: a spectrogram's rows gathered in bands as wide as the ear tells apart, their
//! logarithms, and of those the cosine transform. All in float64.

use crate::base::access::values_mut;
use crate::base::error::{KernelError, Result, check_exact, ensure};

const KERNEL: &str = "Mfcc";

/// What less a band is taken for.
const FLOOR: f64 = 1e-12;

/// What is made of a row of a spectrogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mfcc {
    /// Frequencies of a row.
    pub frequencies: usize,
    /// Samples a second.
    pub sample_rate: f64,
    /// Where the lowest band begins, in Hz.
    pub lower_hz: f64,
    /// Where the highest band ends, in Hz.
    pub upper_hz: f64,
    /// Bands.
    pub bands: usize,
    /// Coefficients of the cosine transform.
    pub coefficients: usize,
}

fn mel(hz: f64) -> f64 {
    1127.0 * (hz / 700.0).ln_1p()
}

/// The scratch of [`mfcc`] in bytes for rows of so many frequencies.
pub fn mfcc_scratch_bytes(frequencies: usize, bands: usize, coefficients: usize) -> usize {
    let bands = bands.saturating_add(1);
    let numbers = frequencies.saturating_mul(2).saturating_add(bands.saturating_mul(2));
    numbers.saturating_add(bands.saturating_mul(coefficients)).saturating_mul(size_of::<f64>())
}

impl Mfcc {
    /// Checks that there is something to compute.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] for the first rule that is broken.
    pub fn check(&self) -> Result<()> {
        ensure(self.bands > 0, KERNEL, "there is a band")?;
        ensure(self.sample_rate > 0.0, KERNEL, "there are samples a second")?;
        ensure(self.frequencies > 1, KERNEL, "a row has at least 2 frequencies")?;
        ensure(self.lower_hz >= 0.0, KERNEL, "the lowest frequency is not negative")?;
        ensure(self.upper_hz > self.lower_hz, KERNEL, "the highest frequency is above the lowest")?;
        ensure(self.coefficients > 0, KERNEL, "there is a coefficient")?;
        ensure(self.coefficients <= self.bands, KERNEL, "there are no more coefficients than bands")
    }

    /// Hz from one frequency of a row to the next.
    fn step(&self) -> f64 {
        0.5 * self.sample_rate / (self.frequencies - 1) as f64
    }

    /// The first frequency that counts, and the last. The constant part never does.
    fn range(&self) -> (usize, usize) {
        let first = (1.5 + self.lower_hz / self.step()) as i32;
        (first.max(0) as usize, ((self.upper_hz / self.step()) as i32).max(0) as usize)
    }

    /// For each frequency the band below it, -1 for none, and its part in that; the rest is the next band's.
    fn fill_bands(&self, below: &mut [f64], parts: &mut [f64], centres: &mut [f64]) {
        let (low, high) = (mel(self.lower_hz), mel(self.upper_hz));
        let spacing = (high - low) / (self.bands + 1) as f64;
        for (i, centre) in centres.iter_mut().enumerate() {
            *centre = low + spacing * (i + 1) as f64;
        }
        let (first, last) = self.range();
        let mut band = 0;
        for i in first..self.frequencies.min(last + 1) {
            let at = mel(i as f64 * self.step());
            while band < self.bands && centres[band] < at {
                band += 1;
            }
            below[i] = band as f64 - 1.0;
            parts[i] = match band.checked_sub(1) {
                Some(below) => (centres[band] - at) / (centres[band] - centres[below]),
                None => (centres[0] - at) / (centres[0] - low),
            };
        }
    }

    /// The cosine transform's factors, `[coefficients, bands]`.
    fn fill_cosines(&self, cosines: &mut [f64]) {
        let norm = (2.0 / self.bands as f64).sqrt();
        let turn = std::f64::consts::PI / self.bands as f64;
        for (i, row) in cosines.chunks_exact_mut(self.bands).enumerate() {
            for (j, cosine) in row.iter_mut().enumerate() {
                *cosine = norm * (i as f64 * turn * (j as f64 + 0.5)).cos();
            }
        }
    }
}

/// The coefficients `[rows, coefficients]` of rows of squared strengths `[rows, frequencies]`.
///
/// # Errors
/// [`KernelError::Invalid`] as [`Mfcc::check`], [`KernelError::Length`] for an output of another size,
/// [`KernelError::Scratch`] for too little scratch.
pub fn mfcc(what: &Mfcc, src: &[f32], dst: &mut [f32], scratch: &mut [u8]) -> Result<()> {
    what.check()?;
    let rows = src.len() / what.frequencies;
    check_exact("a spectrogram", rows * what.frequencies, src.len())?;
    check_exact("coefficients", rows * what.coefficients, dst.len())?;
    let needed_bytes = mfcc_scratch_bytes(what.frequencies, what.bands, what.coefficients);
    let given_bytes = scratch.len();
    let scratch =
        scratch.get_mut(..needed_bytes).ok_or(KernelError::Scratch { needed_bytes, given_bytes })?;
    let scratch = values_mut::<f64>(scratch, KERNEL)?;
    let (below, rest) = scratch.split_at_mut(what.frequencies);
    let (parts, rest) = rest.split_at_mut(what.frequencies);
    let (centres, rest) = rest.split_at_mut(what.bands + 1);
    let (bands, cosines) = rest.split_at_mut(what.bands);
    let cosines = &mut cosines[..what.bands * what.coefficients];
    what.fill_bands(below, parts, centres);
    what.fill_cosines(cosines);
    let (first, last) = what.range();
    for (row, out) in src.chunks_exact(what.frequencies).zip(dst.chunks_exact_mut(what.coefficients)) {
        if last >= row.len() {
            // Bands end above what the row has: TensorFlow computes nothing of it, and the transform of nothing is 0.
            out.fill(0.0);
            continue;
        }
        bands.fill(0.0);
        for i in first..=last {
            let strength = (row[i] as f64).sqrt();
            let part = strength * parts[i];
            let next = (below[i] + 1.0) as usize;
            if next > 0 {
                bands[next - 1] += part;
            }
            if let Some(band) = bands.get_mut(next) {
                *band += strength - part;
            }
        }
        // NaN is not below the floor.
        bands.iter_mut().for_each(|band| *band = if *band < FLOOR { FLOOR.ln() } else { band.ln() });
        for (out, cosines) in out.iter_mut().zip(cosines.chunks_exact(what.bands)) {
            *out = cosines.iter().zip(&*bands).fold(0.0, |sum, (a, b)| sum + a * b) as f32;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_at_the_floor() {
        let what = Mfcc {
            frequencies: 129,
            sample_rate: 8000.0,
            lower_hz: 20.0,
            upper_hz: 4000.0,
            bands: 10,
            coefficients: 3,
        };
        let mut scratch = vec![0u64; mfcc_scratch_bytes(129, 10, 3) / 8];
        let scratch = bytemuck::cast_slice_mut(&mut scratch);
        let (src, mut out) = ([0f32; 258], [f32::NAN; 6]);
        mfcc(&what, &src, &mut out, scratch).unwrap();
        // Ten equal logarithms: only the first coefficient is not 0.
        let first = (2f64 / 10.0).sqrt() * 10.0 * FLOOR.ln();
        for row in out.chunks_exact(3) {
            assert!(
                (row[0] as f64 - first).abs() < 1e-4 && row[1].abs() < 1e-4 && row[2].abs() < 1e-4,
                "{row:?}"
            );
        }
        assert!(mfcc(&Mfcc { coefficients: 11, ..what }, &src, &mut out, &mut []).is_err());
        assert!(mfcc(&Mfcc { upper_hz: 10.0, ..what }, &src, &mut out, &mut []).is_err());
    }
}
