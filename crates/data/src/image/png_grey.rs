//! Grey of the colours of a PNG with a gamma, as libpng computes it: colours are made linear, summed up, and coded again.
//! Source: libpng 1.6, `png_do_rgb_to_gray` and `png_build_gamma_table`. Numbers of gamma are 100,000 times the gamma.

/// A gamma of 1.
const UNIT: u32 = 100_000;

/// Whether a gamma differs from 1 by enough to count.
pub(super) fn is_significant(gamma: u32) -> bool {
    gamma.abs_diff(UNIT) > UNIT / 20
}

/// One over a gamma.
pub(super) fn inverse(gamma: u32) -> u32 {
    (1e10 / f64::from(gamma) + 0.5).floor() as u32
}

fn power(value: f64, gamma: u32) -> f64 {
    value.powf(f64::from(gamma) * 1e-5)
}

fn sum([r, g, b]: [u32; 3]) -> u32 {
    (9797 * r + 19234 * g + 3737 * b + 16384) >> 15
}

/// How colours become grey.
pub(super) enum Grey {
    /// Those of 8 bits.
    Narrow(Box<Narrow>),
    /// Those of 16 bits.
    Wide(Box<Wide>),
}

impl Grey {
    /// The grey of a colour.
    pub fn of(&self, rgb: [u16; 3]) -> u16 {
        match self {
            Grey::Narrow(narrow) => u16::from(narrow.grey(rgb.map(|value| value as u8))),
            Grey::Wide(wide) => wide.grey(rgb),
        }
    }
}

/// Colours of 8 bits made linear and back: by value, 0 to 255.
pub(super) struct Narrow {
    linear: [u8; 256],
    coded: [u8; 256],
}

impl Narrow {
    pub fn new(gamma: u32) -> Narrow {
        let table = |gamma: u32| {
            let mut table = [0; 256];
            for (value, to) in table.iter_mut().enumerate() {
                let exact = power(value as f64 / 255.0, gamma);
                *to = match value {
                    0 | 255 => value as u8,
                    _ if !is_significant(gamma) => value as u8,
                    _ => (255.0 * exact + 0.5).floor() as u8,
                };
            }
            table
        };
        Narrow { linear: table(inverse(gamma)), coded: table(inverse(inverse(gamma))) }
    }

    /// The grey of a colour.
    pub fn grey(&self, rgb: [u8; 3]) -> u8 {
        if rgb[0] == rgb[1] && rgb[0] == rgb[2] {
            return rgb[0];
        }
        let linear = rgb.map(|value| u32::from(self.linear[usize::from(value)]));
        self.coded[sum(linear) as usize & 255]
    }
}

/// Colours of 16 bits: what libpng has in tables is computed for each.
pub(super) struct Wide {
    gamma: u32,
    /// Lower bits that do not count.
    shift: u32,
    /// Where only the higher byte will be kept, the first number after those that become each; else nothing.
    bounds: Option<[u32; 255]>,
}

impl Wide {
    /// For a file whose samples have `significant_bits`, of which 8 bits will be kept if `is_cut`.
    pub fn new(gamma: u32, significant_bits: Option<u8>, is_cut: bool) -> Wide {
        let shift = significant_bits.map_or(0, |bits| 16 - u32::from(bits.clamp(1, 16)));
        let shift = shift.max(if is_cut { 5 } else { 0 }).min(8);
        let own = (f64::from(gamma) * 1e-5 * f64::from(inverse(gamma)) + 0.5).floor() as u32;
        let bound = |number: u32| {
            let value = number * 257 + 128;
            let value = (65535.0 * power(f64::from(value) / 65535.0, own) + 0.5).floor() as u32;
            (value * largest(shift) + 32768) / 65535 + 1
        };
        Wide { gamma, shift, bounds: is_cut.then(|| std::array::from_fn(|number| bound(number as u32))) }
    }

    /// The number of a value in a table.
    fn number(&self, value: u16) -> u32 {
        let (high, low) = (u32::from(value >> 8), u32::from(value & 255) >> self.shift);
        (high << (8 - self.shift)) + low
    }

    fn corrected(&self, value: u16, gamma: u32) -> u16 {
        let (number, largest) = (self.number(value), largest(self.shift));
        if is_significant(gamma) {
            let share = f64::from(number) * (1.0 / f64::from(largest));
            return (65535.0 * power(share, gamma) + 0.5).floor() as u16;
        }
        match self.shift {
            0 => value,
            shift => ((number * 65535 + (1 << (15 - shift))) / largest) as u16,
        }
    }

    /// The grey of a colour.
    pub fn grey(&self, rgb: [u16; 3]) -> u16 {
        let inverse_gamma = inverse(self.gamma);
        if rgb[0] != rgb[1] || rgb[0] != rgb[2] {
            let linear = rgb.map(|value| u32::from(self.corrected(value, inverse_gamma)));
            return self.corrected(sum(linear) as u16, inverse(inverse_gamma));
        }
        match &self.bounds {
            // The last becomes 65535.
            Some(bounds) => bounds.partition_point(|bound| *bound <= self.number(rgb[0])) as u16 * 257,
            None => {
                let own = (1e15 / f64::from(self.gamma) / f64::from(inverse_gamma) + 0.5).floor();
                self.corrected(rgb[0], own as u32)
            }
        }
    }
}

/// The largest number in a table.
fn largest(shift: u32) -> u32 {
    (1 << (16 - shift)) - 1
}
