//! Random numbers for shuffles: the same for the same seed and epoch on every machine, and with a state that can be
//! saved. Nothing here is fit for secrets.

/// The golden ratio as a fraction of 2^64, the step of SplitMix64.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A bijection of 64 bits in which every bit of the input changes each bit of the output about half of the time:
/// Stafford's variant 13 of MurmurHash3's finaliser, as SplitMix64 has it.
pub fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// One number of a seed and an epoch. Epochs of one seed never share it.
pub fn key(seed: u64, epoch: u64) -> u64 {
    mix(seed.wrapping_add(STEP)) ^ mix(epoch.wrapping_mul(STEP).wrapping_add(0x6a09_e667_f3bc_c909))
}

/// SplitMix64 by Steele, Lea and Flood (2014): 64 bits of state, to seed other things with.
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> SplitMix64 {
        SplitMix64(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }
}

/// xoshiro256++ 1.0 by Blackman and Vigna (2019): for shuffles in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random([u64; 4]);

impl Random {
    /// The sequence of `seed` in `epoch`.
    pub fn new(seed: u64, epoch: u64) -> Random {
        let mut words = SplitMix64::new(key(seed, epoch));
        // SplitMix64 gives zero once in 2^64 numbers, so never four times in a row.
        Random([(); 4].map(|()| words.next_u64()))
    }

    /// What continues the sequence with [`Random::from_state`].
    pub fn state(&self) -> [u64; 4] {
        self.0
    }

    /// The sequence that [`Random::state`] was taken of; `None` for zeros, which no sequence has.
    pub fn from_state(state: [u64; 4]) -> Option<Random> {
        (state != [0; 4]).then_some(Random(state))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.0;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.0 = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        // The two lines above are the reference's five in-place ones: s2 ^= s0, s3 ^= s1, s1 ^= s2, s0 ^= s3, s2 ^= t.
        result
    }

    /// A number below `bound`, each as likely as the others, by Lemire's method (2019); 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let mut product = u128::from(self.next_u64()) * u128::from(bound);
        if (product as u64) < bound {
            // The 2^64 mod bound lowest products would make some numbers more likely.
            let rejected = bound.wrapping_neg() % bound;
            while (product as u64) < rejected {
                product = u128::from(self.next_u64()) * u128::from(bound);
            }
        }
        (product >> 64) as u64
    }

    /// Brings `list` into a random order, each as likely as the others (Fisher and Yates).
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_references() {
        let mut words = SplitMix64::new(1_477_776_061_723_855_037);
        let expected = [1_985_237_415_132_408_290, 2_979_275_885_539_914_483, 13_511_426_838_097_143_398];
        assert_eq!([(); 3].map(|()| words.next_u64()), expected);
        let mut random = Random::from_state([1, 2, 3, 4]).unwrap();
        let expected = [
            41_943_041,
            58_720_359,
            3_588_806_011_781_223,
            3_591_011_842_654_386,
            9_228_616_714_210_784_205,
            9_973_669_472_204_895_162,
        ];
        assert_eq!([(); 6].map(|()| random.next_u64()), expected);
    }

    #[test]
    fn a_saved_state_goes_on() {
        let mut random = Random::new(7, 1);
        random.next_u64();
        let mut resumed = Random::from_state(random.state()).unwrap();
        assert_eq!(resumed, random);
        assert_eq!(resumed.below(1000), random.below(1000));
        assert_eq!(Random::from_state([0; 4]), None);
        assert_ne!(Random::new(7, 0), Random::new(7, 1));
        assert_ne!(Random::new(7, 1), Random::new(8, 1));
        assert_ne!(Random::new(0, 1), Random::new(1, 0));
    }

    #[test]
    fn bounded_numbers_are_uniform() {
        let mut random = Random::new(1, 0);
        assert_eq!((random.below(0), random.below(1)), (0, 0));
        for bound in [2u64, 3, 10, 1000] {
            let draws = 1000 * bound;
            let mut counts = vec![0u64; bound as usize];
            (0..draws).for_each(|_| counts[random.below(bound) as usize] += 1);
            let chi: f64 = counts.iter().map(|c| (*c as f64 - 1000.0).powi(2) / 1000.0).sum();
            let freedom = bound as f64 - 1.0;
            assert!((chi - freedom).abs() < 4.0 * (2.0 * freedom).sqrt(), "{bound}: {chi}");
        }
        // Three quarters of 2^64: a plain remainder would give the lowest third twice as often.
        let bound = 3 << 62;
        let low = (0..30_000).filter(|_| random.below(bound) < bound / 3).count();
        assert!((9_600..10_400).contains(&low), "{low}");
    }

    #[test]
    fn every_order_of_four_is_as_likely() {
        let mut counts = std::collections::BTreeMap::<[u8; 4], u32>::new();
        let mut random = Random::new(3, 0);
        for _ in 0..24_000 {
            let mut list = [0, 1, 2, 3];
            random.shuffle(&mut list);
            *counts.entry(list).or_default() += 1;
        }
        let chi: f64 = counts.values().map(|c| (f64::from(*c) - 1000.0).powi(2) / 1000.0).sum();
        // 23 degrees of freedom: more than 49.7 comes once in a thousand seeds.
        assert!(counts.len() == 24 && chi < 49.7, "{chi}");
    }
}
