//! Samples of components as pixels. Source: ITU-T T.871 for the colours, libjpeg's documentation for the 16 bits of
//! fraction in the constants and for how they are rounded; TensorFlow's `jpeg_mem.cc` for what becomes of inks.

use super::Stop;
use super::frame::Frame;
use super::tables::Tables;
use crate::image::lanes::vectorised;

/// What the components are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colors {
    Grey,
    Rgb,
    YCbCr,
    /// Cyan, magenta, yellow, black.
    Inks,
    /// Those as luma and chroma, and black.
    YCbCrInks,
}

impl Colors {
    /// What libjpeg takes them to be.
    pub fn new(frame: &Frame, tables: &Tables) -> Result<Colors, Stop> {
        let ids: &[u8] =
            &frame.components().iter().map(|one| one.id).fold([0; 4], |[_, b, c, d], id| [b, c, d, id]);
        Ok(match (frame.components().len(), tables.adobe) {
            (1, _) => Colors::Grey,
            (3, _) if tables.is_jfif => Colors::YCbCr,
            (3, Some(0)) => Colors::Rgb,
            (3, None) if ids[1..] == *b"RGB" => Colors::Rgb,
            (3, _) => Colors::YCbCr,
            (4, None | Some(0)) => Colors::Inks,
            (4, _) => Colors::YCbCrInks,
            _ => return Err(Stop::Broken("a JPEG of a number of components that is not decoded")),
        })
    }

    /// How many of the components pixels of `channels` are made of.
    pub fn needed(self, channels: usize) -> usize {
        match (self, channels) {
            (Colors::Grey, _) | (Colors::YCbCr, 1) => 1,
            (Colors::Rgb | Colors::YCbCr, _) => 3,
            (Colors::Inks | Colors::YCbCrInks, _) => 4,
        }
    }

    /// Writes the pixels that are made of `lines`, one of each component that is needed.
    pub fn line(self, lines: [&[u8]; 4], is_adobe: bool, channels: usize, out: &mut [u8]) {
        let [a, b, c, d] = lines;
        match (self, channels) {
            (Colors::Grey, _) | (Colors::YCbCr, 1) => {
                for (to, from) in out.iter_mut().zip(a) {
                    *to = *from;
                }
            }
            (Colors::Rgb, 1) => grey_of_rgb(a, b, c, out),
            (Colors::Rgb, _) => interleave(a, b, c, out),
            (Colors::YCbCr, _) => rgb_of_ycc(a, b, c, out),
            (Colors::Inks | Colors::YCbCrInks, _) => {
                let is_ycc = self == Colors::YCbCrInks;
                for ((to, abc), k) in out.as_chunks_mut::<3>().0.iter_mut().zip(a.iter().zip(b).zip(c)).zip(d)
                {
                    let ((a, b), c) = abc;
                    let inks = if is_ycc { rgb(*a, *b, *c).map(|ink| 255 - ink) } else { [*a, *b, *c] };
                    // Adobe's are inverted.
                    let light = |ink: u8| u32::from(if is_adobe { ink } else { 255 - ink });
                    *to = inks.map(|ink| (light(*k) * light(ink) / 255) as u8);
                }
            }
        }
    }
}

/// 2^16 times a constant.
const fn fixed(value: f64) -> i32 {
    (value * 65536.0 + 0.5) as i32
}

/// Half of 2^16.
const HALF: i32 = 1 << 15;

#[inline(always)]
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    // Less whole multiples the constants have 16 bits, which vectors multiply fastest.
    let red = y + cr + ((fixed(0.402) * cr + HALF) >> 16);
    let green = y - cr + ((fixed(0.28586) * cr - fixed(0.34414) * cb + HALF) >> 16);
    let blue = y + 2 * cb + ((HALF - fixed(0.228) * cb) >> 16);
    [red, green, blue].map(
        #[inline(always)]
        |value| value.clamp(0, 255) as u8,
    )
}

vectorised! {
    fn rgb_of_ycc(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
        for (((to, y), cb), cr) in out.as_chunks_mut::<3>().0.iter_mut().zip(y).zip(cb).zip(cr) {
            *to = rgb(*y, *cb, *cr);
        }
    }
}

vectorised! {
    fn interleave(red: &[u8], green: &[u8], blue: &[u8], out: &mut [u8]) {
        for (((to, red), green), blue) in out.as_chunks_mut::<3>().0.iter_mut().zip(red).zip(green).zip(blue) {
            *to = [*red, *green, *blue];
        }
    }
}

vectorised! {
    fn grey_of_rgb(red: &[u8], green: &[u8], blue: &[u8], out: &mut [u8]) {
        for (((to, red), green), blue) in out.iter_mut().zip(red).zip(green).zip(blue) {
            let sum = fixed(0.299) * i32::from(*red) + fixed(0.587) * i32::from(*green) + fixed(0.114) * i32::from(*blue);
            *to = ((sum + HALF) >> 16) as u8;
        }
    }
}
