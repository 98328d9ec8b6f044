//! Sound from and to WAV files: DecodeWav and EncodeWav.
//!
//! DecodeWav takes a file's bytes, a string scalar, and gives float32 samples from -1 to 1, `[samples, channels]`, and how
//! many there are a second, int32. `desired_samples` and `desired_channels` cut or fill up (samples with zeros, channels with
//! the last one); -1 leaves them as they are, and then the file alone says how many there are. EncodeWav takes samples and
//! their rate and gives a file. Files hold PCM of 16 bits; others are refused.

use tightfit_core::{DType, Shape, StringRef};
use tightfit_kernels::{WAV_HEADER_BYTES, Wav, encode_wav};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::int_input;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "DecodeWav",
        import: |attributes| {
            let desired = |name: &'static str| match attributes.int_or(name, -1)? {
                -1 => Ok(None),
                n => i32::try_from(n).ok().and_then(|n| usize::try_from(n).ok()).map(Some).ok_or_else(|| {
                    OpError::attribute(name, format!("is {n}; -1 or a number of 31 bits is needed"))
                }),
            };
            Ok(Box::new(Decode {
                samples: desired("desired_samples")?,
                channels: desired("desired_channels")?,
            }))
        },
    },
    Registration { name: "EncodeWav", import: |_| Ok(Box::new(Encode)) },
];

/// DecodeWav.
#[derive(Debug)]
struct Decode {
    samples: Option<usize>,
    channels: Option<usize>,
}

impl Operator for Decode {
    fn name(&self) -> &'static str {
        "DecodeWav"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let file = shared::input(inputs, 0)?;
        shared::need_type(0, file, &[DType::String])?;
        shared::dims_of_rank(0, file, 0)?;
        let dim = |n: Option<usize>| n.map_or(Dim::Unknown, |n| Dim::Known(n as i64));
        Ok(vec![
            Fact::new(DType::F32, Dims::new([dim(self.samples), dim(self.channels)])),
            Fact::new(DType::I32, Dims::scalar()),
        ])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        // The run finds the size of the first.
        run.set_output_shape(1, Shape::SCALAR).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let file = run.slice::<StringRef>(0)?.first().copied();
        let file = file.ok_or(OpError::Internal("a scalar has no element"))?;
        let wav = Wav::read(run.string(file))?;
        let channels = self.channels.unwrap_or(wav.channels);
        run.set_output_shape(0, Shape::new(&[self.samples.unwrap_or(wav.samples), channels])?)?;
        wav.decode(channels, run.out(0)?)?;
        run.out::<i32>(1)?.fill(wav.sample_rate as i32);
        Ok(())
    }
}

/// EncodeWav.
#[derive(Debug)]
struct Encode;

impl Operator for Encode {
    fn name(&self) -> &'static str {
        "EncodeWav"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (sound, rate) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, sound, &[DType::F32])?;
        shared::need_type(1, rate, &[DType::I32])?;
        shared::dims_of_rank(0, sound, 2)?;
        shared::dims_of_rank(1, rate, 0)?;
        Ok(vec![Fact::new(DType::String, Dims::scalar())])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let samples = call.inputs.first().map_or(0, |sound| sound.shape.elements());
        let bytes = samples.saturating_mul(2).saturating_add(WAV_HEADER_BYTES);
        Memory { scratch_bytes: bytes, string_bytes: bytes, ..Memory::default() }
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        run.set_output_shape(0, Shape::SCALAR).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (sound, rate) = (run.slice::<f32>(0)?, int_input(run, 1)?);
        if sound.len() >= i32::MAX as usize {
            return Err(OpError::input(0, format!("has {} samples, more than a file holds", sound.len())));
        }
        let file = run
            .scratch()?
            .get_mut(..WAV_HEADER_BYTES + 2 * sound.len())
            .ok_or(OpError::Internal("scratch is smaller than was planned"))?;
        encode_wav(sound, run.shape(0)[1], rate, file)?;
        let text = run.new_string(file)?;
        run.out::<StringRef>(0)?.fill(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;
    use tightfit_core::StringRef;

    #[test]
    fn refuses_what_is_no_file() {
        let empty = scalar(StringRef::default());
        refuses("DecodeWav", &[("desired_samples", int(-2))], &[empty.clone()], "-1 or");
        let sized = [("desired_samples", int(4)), ("desired_channels", int(1))];
        refuses("DecodeWav", &sized, &[empty], "as long as it says");
        refuses("EncodeWav", &[], &[tensor(&[2], &[0f32; 2]), scalar(1i32)], "rank 2");
    }
}
