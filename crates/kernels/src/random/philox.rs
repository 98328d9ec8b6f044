//! Philox 4x32-10, the counter-based generator of TensorFlow's random operators: from a counter of 128 bits and a key of
//! 64 come four numbers of 32 bits, the same on every machine and whatever was drawn before.
//!
//! J. Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3; SC 2011.

/// How many numbers one step gives.
pub const PHILOX_NUMBERS: usize = 4;

/// The generator. A copy gives the same numbers again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Philox {
    counter: u128,
    key: u64,
}

impl Philox {
    /// A generator with this counter and key.
    pub fn new(counter: u128, key: u64) -> Philox {
        Philox { counter, key }
    }

    /// The generator that the attributes `seed` and `seed2` of a node mean: the key, and the upper half of the counter.
    pub fn of_seeds(seed: u64, seed2: u64) -> Philox {
        Philox { counter: (seed2 as u128) << 64, key: seed }
    }

    /// The generator of a stateless operator with these two seeds, which are scrambled so that it does not matter which
    /// of their bits differ.
    pub fn of_stateless_seeds(seeds: [u64; 2]) -> Philox {
        let key = 0x0246_1e29_3ec8_f720;
        let mut scrambler = Philox { counter: (seeds[1] as u128) << 64 | seeds[0] as u128, key };
        let [a, b, c, d] = scrambler.next();
        Philox { counter: (d as u128) << 96 | (c as u128) << 64, key: (b as u64) << 32 | a as u64 }
    }

    /// The counter.
    pub fn counter(&self) -> u128 {
        self.counter
    }

    /// The key.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Goes on by so many steps without computing them.
    #[inline]
    pub fn skip(&mut self, steps: u64) {
        let next = self.counter.wrapping_add(steps as u128);
        // TensorFlow adds words of 32 bits, and where those of the steps end with all ones forgets what it carries.
        let forgets =
            steps >> 32 == u32::MAX as u64 && (self.counter as u32).checked_add(steps as u32).is_none();
        self.counter = if forgets { self.counter >> 64 << 64 | next as u64 as u128 } else { next };
    }

    /// The same, as another generator.
    #[inline]
    pub fn skipped(mut self, steps: u64) -> Philox {
        self.skip(steps);
        self
    }

    /// The next four numbers.
    #[allow(clippy::should_implement_trait)] // it never ends
    #[inline]
    pub fn next(&mut self) -> [u32; PHILOX_NUMBERS] {
        let word = |n: u32| (self.counter >> (32 * n)) as u32;
        let mut x = [word(0), word(1), word(2), word(3)];
        let mut key = [self.key as u32, (self.key >> 32) as u32];
        for _ in 0..10 {
            let (a, b) = (0xd251_1f53 * x[0] as u64, 0xcd9e_8d57 * x[2] as u64);
            x = [(b >> 32) as u32 ^ x[1] ^ key[0], b as u32, (a >> 32) as u32 ^ x[3] ^ key[1], a as u32];
            key = [key[0].wrapping_add(0x9e37_79b9), key[1].wrapping_add(0xbb67_ae85)];
        }
        self.counter = self.counter.wrapping_add(1);
        x
    }
}

/// The numbers of a generator one by one.
#[derive(Debug, Clone)]
pub struct PhiloxStream {
    philox: Philox,
    numbers: [u32; PHILOX_NUMBERS],
    used: usize,
}

impl PhiloxStream {
    /// The numbers from where `philox` stands.
    pub fn new(philox: Philox) -> PhiloxStream {
        PhiloxStream { philox, numbers: [0; PHILOX_NUMBERS], used: PHILOX_NUMBERS }
    }

    /// The next number.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        if self.used == PHILOX_NUMBERS {
            self.numbers = self.philox.next();
            self.used = 0;
        }
        self.used += 1;
        self.numbers[self.used - 1]
    }

    /// A number from 0 to below `below`, which is not 0: numbers of the generator that would favour some are left out.
    pub fn below_u32(&mut self, below: u32) -> u32 {
        unfavoured(below as u64, u32::MAX as u64, || self.next_u32() as u64) as u32
    }

    /// The same of 64 bits.
    pub fn below_u64(&mut self, below: u64) -> u64 {
        unfavoured(below, u64::MAX, || self.next_u32() as u64 | (self.next_u32() as u64) << 32)
    }

    /// The next float64, in `[0, 1)`; takes two numbers.
    #[inline]
    pub fn next_f64(&mut self) -> f64 {
        let high = self.next_u32();
        unit_f64(high, self.next_u32())
    }
}

fn unfavoured(below: u64, most: u64, mut next: impl FnMut() -> u64) -> u64 {
    if below.is_power_of_two() {
        return next() & (below - 1);
    }
    let favoured = most % below + 1;
    loop {
        let drawn = next();
        if drawn >= favoured {
            return drawn % below;
        }
    }
}

/// A float32 in `[0, 1)` of 23 random bits.
#[inline]
pub fn unit_f32(bits: u32) -> f32 {
    f32::from_bits(0x3f80_0000 | bits & 0x7f_ffff) - 1.0
}

/// A float64 in `[0, 1)` of 52 random bits.
#[inline]
pub fn unit_f64(high: u32, low: u32) -> f64 {
    f64::from_bits(0x3ff0_0000_0000_0000 | (high as u64 & 0xf_ffff) << 32 | low as u64) - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the authors' reference implementation, Random123's `kat_vectors`.
    #[test]
    fn gives_the_numbers_of_the_reference() {
        assert_eq!(Philox::new(0, 0).next(), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            Philox::new(u128::MAX, u64::MAX).next(),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        let counter = 0x0370_7344_1319_8a2e_85a3_08d3_243f_6a88;
        assert_eq!(
            Philox::new(counter, 0x299f_31d0_a409_3822).next(),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn skips_what_it_would_have_drawn() {
        let mut one = Philox::of_seeds(3, u64::MAX);
        let mut other = one;
        (0..5).for_each(|_| _ = one.next());
        other.skip(5);
        assert_eq!(one, other);
        // What TensorFlow's RngSkip by -2 makes of the counters -1 and 77.
        let mut back = Philox { counter: 77 << 64 | u64::MAX as u128, key: 3 };
        back.skip(-512i64 as u64);
        assert_eq!(back.counter, 77 << 64 | -513i64 as u64 as u128);
        let mut stream = PhiloxStream::new(other);
        let numbers: Vec<u32> = (0..6).map(|_| stream.next_u32()).collect();
        assert_eq!(numbers[..4], one.next());
        assert_eq!(numbers[4..], one.next()[..2]);
        // A carry out of the lower half.
        let mut at_end = Philox::new(u64::MAX as u128, 1);
        at_end.next();
        assert_eq!(at_end.counter(), 1 << 64);
    }

    #[test]
    fn floats_are_below_one() {
        assert_eq!((unit_f32(0), unit_f64(0, 0)), (0.0, 0.0));
        assert_eq!(unit_f32(u32::MAX), 1.0 - f32::EPSILON);
        assert_eq!(unit_f64(u32::MAX, u32::MAX), 1.0 - f64::EPSILON);
    }
}
