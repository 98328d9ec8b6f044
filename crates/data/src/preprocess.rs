//! Keras' preprocessings of pixel values.

use std::fmt;
use std::str::FromStr;

/// What is done to pixel values from 0 to 255, by the names of `keras.applications.imagenet_utils.preprocess_input`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[non_exhaustive]
pub enum Preprocess {
    /// Nothing.
    #[default]
    None,
    /// `x / 255`.
    Unit,
    /// `x / 127.5 - 1`.
    Tf,
    /// `(x / 255 - mean) / std` by channel, RGB: mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225.
    Torch,
    /// RGB becomes BGR, less 103.939, 116.779, 123.68.
    Caffe,
}

const TORCH_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const TORCH_STD: [f32; 3] = [0.229, 0.224, 0.225];
const CAFFE_MEAN: [f32; 3] = [103.939, 116.779, 123.68];

impl Preprocess {
    /// Every one, in the order they are listed to people.
    pub const ALL: [Preprocess; 5] =
        [Preprocess::None, Preprocess::Unit, Preprocess::Tf, Preprocess::Torch, Preprocess::Caffe];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Preprocess::None => "none",
            Preprocess::Unit => "unit",
            Preprocess::Tf => "tf",
            Preprocess::Torch => "torch",
            Preprocess::Caffe => "caffe",
        }
    }

    /// True when the three channels are treated differently.
    pub(crate) fn needs_rgb(self) -> bool {
        matches!(self, Preprocess::Torch | Preprocess::Caffe)
    }

    /// Does it to values in place. Where channels differ, `values` are whole RGB pixels.
    pub(crate) fn apply(self, values: &mut [f32]) {
        match self {
            Preprocess::None => {}
            Preprocess::Unit => values.iter_mut().for_each(|v| *v /= 255.0),
            Preprocess::Tf => values.iter_mut().for_each(|v| *v = *v / 127.5 - 1.0),
            Preprocess::Torch => values.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| {
                for (v, (mean, std)) in pixel.iter_mut().zip(TORCH_MEAN.iter().zip(TORCH_STD)) {
                    *v = (*v / 255.0 - mean) / std;
                }
            }),
            Preprocess::Caffe => values.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| {
                pixel.reverse();
                for (v, mean) in pixel.iter_mut().zip(CAFFE_MEAN) {
                    *v -= mean;
                }
            }),
        }
    }
}

impl fmt::Display for Preprocess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preprocess {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Preprocess::ALL.into_iter().find(|p| p.name() == name);
        found.ok_or_else(|| format!("'{name}' is not a preprocessing: use tf, torch, caffe, unit or none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of tf.keras.applications.imagenet_utils.preprocess_input for the pixel (0, 128, 255).
    #[test]
    fn as_keras_does() {
        for (preprocess, expected) in [
            (Preprocess::None, [0.0, 128.0, 255.0]),
            (Preprocess::Unit, [0.0, 0.501_960_8, 1.0]),
            (Preprocess::Tf, [-1.0, 0.003_921_628, 1.0]),
            (Preprocess::Torch, [-2.117_904, 0.205_182_16, 2.64]),
            (Preprocess::Caffe, [151.061, 11.221, -123.68]),
        ] {
            let mut pixel = [0.0, 128.0, 255.0];
            preprocess.apply(&mut pixel);
            let close = pixel.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-5);
            assert!(close, "{preprocess}: {pixel:?} {expected:?}");
            assert_eq!(preprocess.name().parse::<Preprocess>().unwrap(), preprocess);
        }
        assert!("imagenet".parse::<Preprocess>().unwrap_err().contains("torch"));
    }
}
