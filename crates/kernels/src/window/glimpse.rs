//! Parts of images around a place, which may lie outside of them.

use crate::base::error::{Result, check_exact, product};
use crate::random::{PhiloxStream, box_muller_f32, unit_f32};

/// What stands outside of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GlimpseNoise {
    /// Zeros.
    Zero,
    /// Numbers between the image's least and largest one.
    Uniform,
    /// Normal numbers of each channel's mean and deviation, between its least and largest one.
    Gaussian,
}

/// How places are meant.
#[derive(Debug, Clone, Copy)]
pub struct Glimpse {
    /// Places are parts of the image's size instead of pixels.
    pub is_normalized: bool,
    /// Places are from the image's centre.
    pub is_centered: bool,
    /// ExtractGlimpse, instead of its V2: a place is the glimpse's centre, however it is meant.
    pub is_first_version: bool,
    /// What stands outside of the image.
    pub noise: GlimpseNoise,
}

/// Where the pixels of one side come from: the first of the image and of the glimpse, and how many.
struct Side {
    from: usize,
    to: usize,
    len: usize,
    is_whole: bool,
}

impl Glimpse {
    /// Where a glimpse of so many pixels begins.
    fn start(&self, place: f32, image: usize, glimpse: usize) -> i64 {
        let (image, half) = (image as f32, glimpse as f32 / 2.0);
        let scaled = if self.is_normalized { place * image } else { place };
        let start = match (self.is_centered, self.is_first_version || self.is_normalized) {
            (true, true) => scaled / 2.0 + image / 2.0 - half,
            (true, false) => scaled + image / 2.0,
            (false, _) if self.is_first_version => scaled - half,
            (false, _) => scaled,
        };
        start as i64
    }

    fn side(&self, place: f32, image: usize, glimpse: usize) -> Side {
        let start = self.start(place, image, glimpse);
        let (image, glimpse) = (image as i64, glimpse as i64);
        let (from, to, len, is_whole) = if start < 0 {
            let len = start.saturating_add(glimpse).max(0);
            (0, glimpse - len, len, false)
        } else if start.saturating_add(glimpse) >= image {
            (start, 0, image.saturating_sub(start).max(0), false)
        } else {
            (start, 0, glimpse, true)
        };
        Side { from: from as usize, to: to as usize, len: len.min(image) as usize, is_whole }
    }

    /// Copies of each image `[height, width, channels]` of `src` what is around its place (y, x) to `dst`, of `size`. Numbers
    /// for what stands outside are drawn where there are any.
    ///
    /// # Errors
    /// [`KernelError`](crate::KernelError) for lengths that do not go together.
    pub fn extract(
        &self,
        [batch, height, width, channels]: [usize; 4],
        [rows, columns]: [usize; 2],
        (src, places): (&[f32], &[f32]),
        numbers: Option<&mut PhiloxStream>,
        dst: &mut [f32],
    ) -> Result<()> {
        let (image, glimpse) = (product(&[height, width, channels])?, product(&[rows, columns, channels])?);
        check_exact("the images", product(&[batch, image])?, src.len())?;
        check_exact("the places", product(&[batch, 2])?, places.len())?;
        check_exact("the glimpses", product(&[batch, glimpse])?, dst.len())?;
        let mut numbers = numbers;
        for n in 0..if glimpse == 0 { 0 } else { batch } {
            let (src, dst) = (&src[n * image..][..image], &mut dst[n * glimpse..][..glimpse]);
            let (y, x) =
                (self.side(places[2 * n], height, rows), self.side(places[2 * n + 1], width, columns));
            if !(y.is_whole && x.is_whole) {
                match (self.noise, numbers.as_deref_mut()) {
                    (GlimpseNoise::Uniform, Some(numbers)) => uniform(src, numbers, dst),
                    (GlimpseNoise::Gaussian, Some(numbers)) => gaussian(src, channels, numbers, dst),
                    _ => dst.fill(0.0),
                }
            }
            for row in 0..if x.len == 0 { 0 } else { y.len } {
                let from = ((y.from + row) * width + x.from) * channels;
                let to = ((y.to + row) * columns + x.to) * channels;
                dst[to..to + x.len * channels].copy_from_slice(&src[from..from + x.len * channels]);
            }
        }
        Ok(())
    }
}

fn ends(values: impl Iterator<Item = f32>) -> (f32, f32) {
    values.fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), x| (least.min(x), most.max(x)))
}

fn uniform(src: &[f32], numbers: &mut PhiloxStream, dst: &mut [f32]) {
    let (least, most) = ends(src.iter().copied());
    dst.fill_with(|| least + unit_f32(numbers.next_u32()) * (most - least));
}

fn gaussian(src: &[f32], channels: usize, numbers: &mut PhiloxStream, dst: &mut [f32]) {
    for channel in 0..channels {
        let of_channel = || src.iter().skip(channel).step_by(channels).copied();
        let (count, (least, most)) = (of_channel().count() as f32, ends(of_channel()));
        let mean = of_channel().sum::<f32>() / count;
        let deviation = (of_channel().map(|x| (x - mean) * (x - mean)).sum::<f32>() / count).sqrt();
        for to in dst.iter_mut().skip(channel).step_by(channels) {
            let [normal, _] = box_muller_f32(numbers.next_u32(), numbers.next_u32());
            *to = (mean + normal * deviation).min(most).max(least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Philox;

    #[test]
    fn noise_is_of_the_images_range() {
        let image = [1f32, -2.0, 3.0, 4.0];
        for noise in [GlimpseNoise::Uniform, GlimpseNoise::Gaussian] {
            let how = Glimpse { is_normalized: false, is_centered: false, is_first_version: false, noise };
            let mut numbers = PhiloxStream::new(Philox::of_seeds(1, 2));
            let mut part = [9f32; 4];
            how.extract([1, 2, 2, 1], [2, 2], (&image, &[1.0, 0.0]), Some(&mut numbers), &mut part).unwrap();
            assert_eq!(part[..2], [3.0, 4.0]);
            assert!(part[2..].iter().all(|x| (-2.0..=4.0).contains(x)) && part[2] != part[3], "{part:?}");
        }
    }
}
