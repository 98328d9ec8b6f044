//! How much a change adds to what was there before.

/// The power of a signal, and of what differs from it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Noise {
    /// Squares of what was there before, added up.
    pub signal: f64,
    /// Squares of the differences.
    pub noise: f64,
}

impl Noise {
    /// That of elements as they were and as they are now.
    pub fn between(before: &[f32], now: &[f32]) -> Noise {
        let mut noise = Noise::default();
        before.iter().zip(now).for_each(|(before, now)| noise.add(f64::from(*before), f64::from(*now)));
        noise
    }

    /// Adds an element as it was and as it is now.
    pub fn add(&mut self, before: f64, now: f64) {
        self.signal += before * before;
        self.noise += (before - now) * (before - now);
    }

    /// The signal's power over that of the noise, in dB; infinite without noise.
    pub fn snr_db(&self) -> f64 {
        if self.noise == 0.0 { f64::INFINITY } else { 10.0 * (self.signal / self.noise).log10() }
    }

    /// The root of the noise's share of the power.
    pub fn relative(&self) -> f64 {
        if self.noise == 0.0 { 0.0 } else { (self.noise / self.signal).sqrt() }
    }
}
