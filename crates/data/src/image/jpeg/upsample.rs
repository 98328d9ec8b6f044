//! Lines of a component that has fewer samples than the picture has pixels, as libjpeg's fancy upsampling makes them:
//! halved components are interpolated between the nearest two samples, three parts to one, and the rounding alternates;
//! others, and halved ones of at most two samples across, are repeated.

use super::frame::{Component, Frame};
use crate::image::lanes::vectorised;

/// How a component's lines become the picture's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upsampling {
    /// They are.
    None,
    /// Twice as many samples across.
    Across,
    /// Twice as many lines.
    Down,
    /// Both.
    Both,
    /// Each sample as often across and down.
    Repeat([usize; 2]),
}

impl Upsampling {
    /// What `component` takes, repeated where `repeats`; `None` where the picture's samples are no whole number of its own.
    pub fn new(frame: &Frame, component: &Component, repeats: bool) -> Option<Upsampling> {
        let [across, down] = frame.group(component);
        if !frame.h_max.is_multiple_of(across) || !frame.v_max.is_multiple_of(down) {
            return None;
        }
        let (h, v) = (frame.h_max / across, frame.v_max / down);
        Some(match (h, v, component.width > 2) {
            (1, 1, _) => Upsampling::None,
            _ if repeats || frame.unit == 1 => Upsampling::Repeat([h, v]),
            (2, 1, true) => Upsampling::Across,
            (1, 2, _) => Upsampling::Down,
            (2, 2, true) => Upsampling::Both,
            _ => Upsampling::Repeat([h, v]),
        })
    }

    /// Whether lines above and below take part.
    pub fn has_neighbours(self) -> bool {
        matches!(self, Upsampling::Down | Upsampling::Both)
    }

    /// Which of the component's lines line `y` of the picture is made of: the nearer and the farther one.
    pub fn lines(self, y: usize, height: usize) -> [usize; 2] {
        match self {
            Upsampling::None | Upsampling::Across => [y, y],
            Upsampling::Repeat([_, v]) => [y / v, y / v],
            Upsampling::Down | Upsampling::Both => {
                let far = if y.is_multiple_of(2) { (y / 2).saturating_sub(1) } else { y / 2 + 1 };
                [y / 2, far.min(height.saturating_sub(1))]
            }
        }
    }

    /// Writes line `y` of the picture, made of `near` and `far`, to `out`, which has room for twice `near`'s length
    /// or what repeating takes. `sums` has room for two more than its length.
    pub fn line(self, y: usize, near: &[u8], far: &[u8], sums: &mut [u16], out: &mut [u8]) {
        match self {
            Upsampling::None => {}
            Upsampling::Across => {
                weigh_one(near, sums);
                pad(sums, near.len());
                spread::<1, 2, 2>(sums, out);
            }
            Upsampling::Down => halve(near, far, 1 + (y % 2) as u16, out),
            Upsampling::Both => {
                weigh_two(near, far, sums);
                pad(sums, near.len());
                spread::<8, 7, 4>(sums, out);
            }
            Upsampling::Repeat([h, _]) => {
                for (out, sample) in out.chunks_mut(h).zip(near) {
                    out.fill(*sample);
                }
            }
        }
    }
}

/// Repeats the first and the last of the `count` sums that begin at the second.
fn pad(sums: &mut [u16], count: usize) {
    if let [first, rest @ ..] = sums
        && let Some([last, end]) = rest.get_mut(count - 1..=count)
    {
        *end = *last;
        *first = rest[0];
    }
}

vectorised! {
    fn weigh_one(near: &[u8], sums: &mut [u16]) {
        for (sum, near) in sums.iter_mut().skip(1).zip(near) {
            *sum = u16::from(*near);
        }
    }
}

vectorised! {
    fn weigh_two(near: &[u8], far: &[u8], sums: &mut [u16]) {
        let sums = sums.split_first_mut().map_or(&mut [][..], |(_, rest)| rest);
        for ((sum, near), far) in sums.iter_mut().zip(near).zip(far) {
            *sum = 3 * u16::from(*near) + u16::from(*far);
        }
    }
}

vectorised! {
    fn halve(near: &[u8], far: &[u8], bias: u16, out: &mut [u8]) {
        for ((to, near), far) in out.iter_mut().zip(near).zip(far) {
            *to = ((3 * u16::from(*near) + u16::from(*far) + bias) >> 2) as u8;
        }
    }
}

/// Two samples of each sum but the first and the last: three parts of it and one of its neighbour.
#[inline(always)]
fn spread<const LEFT: u16, const RIGHT: u16, const SHIFT: u32>(sums: &[u16], out: &mut [u8]) {
    spread_lanes(sums, out, LEFT, RIGHT, SHIFT);
}

vectorised! {
    fn spread_lanes(sums: &[u16], out: &mut [u8], left_bias: u16, right_bias: u16, shift: u32) {
        let lanes = sums.iter().zip(sums.iter().skip(1)).zip(sums.iter().skip(2));
        for (((left, sum), right), to) in lanes.zip(out.as_chunks_mut::<2>().0) {
            let three = 3 * *sum;
            *to = [((three + *left + left_bias) >> shift) as u8, ((three + *right + right_bias) >> shift) as u8];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(upsampling: Upsampling, y: usize, near: &[u8], far: &[u8], count: usize) -> Vec<u8> {
        let (mut sums, mut out) = (vec![9; near.len() + 2], vec![0; count]);
        upsampling.line(y, near, far, &mut sums, &mut out);
        out
    }

    #[test]
    fn samples_between_two_are_three_parts_to_one() {
        let across = line(Upsampling::Across, 0, &[0, 100, 101], &[], 6);
        assert_eq!(across, [0, 25, 75, 100, 101, 101]);
        assert_eq!(line(Upsampling::Down, 0, &[0, 10], &[10, 1], 2), [2, 8]);
        assert_eq!(line(Upsampling::Down, 1, &[0, 10], &[10, 1], 2), [3, 8]);
        let both = line(Upsampling::Both, 0, &[0, 100, 0], &[0, 0, 200], 6);
        assert_eq!(both, [0, 19, 56, 69, 56, 50]);
        assert_eq!(line(Upsampling::Repeat([3, 1]), 0, &[5, 6], &[], 5), [5, 5, 5, 6, 6]);
    }

    #[test]
    fn lines_at_the_edges_are_their_own_neighbours() {
        assert_eq!(Upsampling::Both.lines(0, 2), [0, 0]);
        assert_eq!(Upsampling::Both.lines(1, 2), [0, 1]);
        assert_eq!(Upsampling::Both.lines(3, 2), [1, 1]);
        assert_eq!(Upsampling::Repeat([1, 3]).lines(5, 2), [1, 1]);
    }
}
