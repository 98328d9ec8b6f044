//! Pixels as quantised coefficients: colours as luma and chroma, cosine transform, quantisation, each to the bit as libjpeg
//! rounds.

use super::{Component, ZIGZAG};

/// A factor in 16 bits of fraction.
const fn fixed(factor: f64) -> i32 {
    (factor * 65536.0 + 0.5) as i32
}

/// Luma or chroma of a pixel.
fn convert([red, green, blue]: [u8; 3], component: usize) -> i32 {
    let [red, green, blue] = [i32::from(red), i32::from(green), i32::from(blue)];
    const HALF: i32 = 1 << 15;
    const CENTRE: i32 = (128 << 16) + HALF - 1;
    let sum = match component {
        0 => fixed(0.299) * red + fixed(0.587) * green + fixed(0.114) * blue + HALF,
        1 => fixed(0.5) * blue - fixed(0.168_735_892) * red - fixed(0.331_264_108) * green + CENTRE,
        _ => fixed(0.5) * red - fixed(0.418_687_589) * green - fixed(0.081_312_411) * blue + CENTRE,
    };
    sum >> 16
}

/// One component of a picture.
struct Samples<'a> {
    shape: [usize; 3],
    pixels: &'a [u8],
    component: usize,
    /// True for a component of half the resolution.
    is_halved: bool,
}

impl Samples<'_> {
    fn pixel(&self, x: usize, y: usize) -> i32 {
        let [height, width, channels] = self.shape;
        // What is beyond an edge is as the last line or column.
        let at = (y.min(height - 1) * width + x.min(width - 1)) * channels;
        match self.pixels[at..at + channels] {
            [red, green, blue] => convert([red, green, blue], self.component),
            [grey, ..] => i32::from(grey),
            [] => 0,
        }
    }

    fn get(&self, x: usize, y: usize) -> i32 {
        if !self.is_halved {
            return self.pixel(x, y);
        }
        // Lines that are not there are as the last one that is.
        let y = y.min(self.shape[0].div_ceil(2) - 1);
        let sum: i32 =
            [(0, 0), (1, 0), (0, 1), (1, 1)].iter().map(|(i, j)| self.pixel(2 * x + i, 2 * y + j)).sum();
        // Rounded up and down in turn.
        (sum + 1 + (x & 1) as i32) >> 2
    }
}

/// The coefficients of a component, `blocks`, in blocks of 64 in the order of frequencies. Blocks that only fill up units
/// have the DC of the one before.
pub(super) fn component(
    shape: [usize; 3],
    pixels: &[u8],
    number: usize,
    component: &Component,
    steps: &[u8; 64],
    blocks: &mut [i16],
) {
    let [across, down] = component.padded;
    let samples = Samples { shape, pixels, component: number, is_halved: component.is_halved };
    for y in 0..down {
        for x in 0..across {
            let at = (y * across + x) * 64;
            if x < component.blocks[0] && y < component.blocks[1] {
                let mut values = [0i32; 64];
                for (n, value) in values.iter_mut().enumerate() {
                    *value = samples.get(x * 8 + n % 8, y * 8 + n / 8) - 128;
                }
                transform(&mut values);
                let out = blocks[at..at + 64].iter_mut().zip(ZIGZAG);
                out.for_each(|(to, from)| {
                    *to = quantised(values[usize::from(from)], steps[usize::from(from)])
                });
                continue;
            }
            // The block before in the unit: to the left, or the last of the line above.
            let before = match y < component.blocks[1] {
                true => at - 64,
                false => ((y - 1) * across + (x / component.factors[0] + 1) * component.factors[0] - 1) * 64,
            };
            let dc = blocks[before];
            blocks[at..at + 64].fill(0);
            blocks[at] = dc;
        }
    }
}

/// A coefficient, 8 times as large as it is, in steps, rounded to the nearest and away from 0.
fn quantised(value: i32, step: u8) -> i16 {
    let step = i32::from(step) * 8;
    let size = (value.abs() + step / 2) / step;
    (if value < 0 { -size } else { size }) as i16
}

/// The bits of fraction of the factors, and of what is between the two passes.
const FACTOR_BITS: u32 = 13;
const PASS_BITS: u32 = 2;

/// The cosine transform of 8 by 8 values, 8 times as large as it is: of the rows, then of the columns (Loeffler, Ligtenberg
/// and Moschytz, as libjpeg's `jpeg_fdct_islow` computes it).
fn transform(values: &mut [i32; 64]) {
    for row in values.as_chunks_mut::<8>().0 {
        *row = eight(*row, FACTOR_BITS - PASS_BITS, |sum| sum << PASS_BITS);
    }
    for column in 0..8 {
        let own = std::array::from_fn(|row| values[row * 8 + column]);
        let made = eight(own, FACTOR_BITS + PASS_BITS, |sum| rounded(sum, PASS_BITS));
        made.iter().enumerate().for_each(|(row, value)| values[row * 8 + column] = *value);
    }
}

fn rounded(value: i32, bits: u32) -> i32 {
    (value + (1 << (bits - 1))) >> bits
}

fn eight(x: [i32; 8], bits: u32, even: impl Fn(i32) -> i32) -> [i32; 8] {
    let [sum0, sum1, sum2, sum3] = [x[0] + x[7], x[1] + x[6], x[2] + x[5], x[3] + x[4]];
    let [less3, less2, less1, less0] = [x[0] - x[7], x[1] - x[6], x[2] - x[5], x[3] - x[4]];
    let [outer, inner] = [sum0 + sum3, sum1 + sum2];
    let [apart, near] = [sum0 - sum3, sum1 - sum2];
    let turn = (near + apart) * 4433;
    let [one, two] = [less0 + less3, less1 + less2];
    let (three, four) = (less0 + less2, less1 + less3);
    let five = (three + four) * 9633;
    let [one, two] = [one * -7373, two * -20995];
    let [three, four] = [three * -16069 + five, four * -3196 + five];
    [
        even(outer + inner),
        rounded(less3 * 12299 + one + four, bits),
        rounded(turn + apart * 6270, bits),
        rounded(less2 * 25172 + two + three, bits),
        even(outer - inner),
        rounded(less1 * 16819 + two + four, bits),
        rounded(turn - near * 15137, bits),
        rounded(less0 * 2446 + one + three, bits),
    ]
}
