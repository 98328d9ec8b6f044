//! What frequencies a sound has: AudioSpectrogram, and Mfcc of its result.
//!
//! AudioSpectrogram takes float32 samples `[samples, channels]` and gives the strengths `[channels, windows, frequencies]` of
//! windows of `window_size` samples that begin `stride` samples apart, or with `magnitude_squared` their squares. Mfcc takes
//! squared strengths and the samples a second, int32, and gives `dct_coefficient_count` coefficients for each window.

use tightfit_core::{DType, Shape};
use tightfit_kernels::{
    Mfcc as Coefficients, Spectrogram, mfcc, mfcc_scratch_bytes, spectrogram, spectrogram_scratch_bytes,
};

use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;
use crate::ops::shared::extent::int_input;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "AudioSpectrogram", import: import_spectrogram },
    Registration { name: "Mfcc", import: import_mfcc },
];

/// The largest window: float64 numbers of its transform are counted in 32 bits.
const MAX_WINDOW: i64 = 1 << 24;

fn import_spectrogram(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (window, stride) = (attributes.int("window_size")?, attributes.int("stride")?);
    if !(2..=MAX_WINDOW).contains(&window) {
        let why = format!("is {window}; from 2 to {MAX_WINDOW} is supported");
        return Err(OpError::attribute("window_size", why));
    }
    if !(1..=i32::MAX as i64).contains(&stride) {
        return Err(OpError::attribute("stride", format!("is {stride}; at least 1 is needed")));
    }
    let is_squared = attributes.bool_or("magnitude_squared", false)?;
    let what = Spectrogram { window: window as usize, stride: stride as usize, is_squared };
    Ok(Box::new(Strengths { what }))
}

/// AudioSpectrogram.
#[derive(Debug)]
struct Strengths {
    what: Spectrogram,
}

impl Operator for Strengths {
    fn name(&self) -> &'static str {
        "AudioSpectrogram"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let sound = shared::input(inputs, 0)?;
        shared::need_type(0, sound, &[DType::F32])?;
        let dims = shared::dims_of_rank(0, sound, 2)?.unwrap_or(vec![Dim::Unknown; 2]);
        let windows = dims[0].size().map_or(Dim::Unknown, |n| Dim::Known(self.what.windows(n) as i64));
        let frequencies = Dim::Known(self.what.frequencies() as i64);
        Ok(vec![Fact::new(DType::F32, Dims::new([dims[1], windows, frequencies]))])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        Memory::scratch(spectrogram_scratch_bytes(&self.what, call.threads))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(0);
        let dims = [*shape.get(1)?, self.what.windows(shape[0]), self.what.frequencies()];
        run.set_output_shape(0, Shape::new(&dims).ok()?).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (sound, channels) = (run.slice::<f32>(0)?, run.shape(0)[1]);
        let scratch = run.scratch()?;
        Ok(spectrogram(run.pool, &self.what, sound, channels, run.out(0)?, scratch)?)
    }
}

fn import_mfcc(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let count = |name: &'static str, default: i64| match attributes.int_or(name, default)? {
        n if (1..=i32::MAX as i64).contains(&n) => Ok(n as usize),
        n => Err(OpError::attribute(name, format!("is {n}; at least 1 is needed"))),
    };
    Ok(Box::new(Mfcc {
        lower_hz: attributes.float_or("lower_frequency_limit", 20.0)?,
        upper_hz: attributes.float_or("upper_frequency_limit", 4000.0)?,
        bands: count("filterbank_channel_count", 40)?,
        coefficients: count("dct_coefficient_count", 13)?,
    }))
}

/// Mfcc.
#[derive(Debug)]
struct Mfcc {
    lower_hz: f32,
    upper_hz: f32,
    bands: usize,
    coefficients: usize,
}

impl Mfcc {
    fn of(&self, frequencies: usize, sample_rate: i64) -> Coefficients {
        Coefficients {
            frequencies,
            sample_rate: sample_rate as f64,
            lower_hz: self.lower_hz as f64,
            upper_hz: self.upper_hz as f64,
            bands: self.bands,
            coefficients: self.coefficients,
        }
    }
}

impl Operator for Mfcc {
    fn name(&self) -> &'static str {
        "Mfcc"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (strengths, rate) = (shared::input(inputs, 0)?, shared::input(inputs, 1)?);
        shared::need_type(0, strengths, &[DType::F32])?;
        shared::need_type(1, rate, &[DType::I32])?;
        shared::dims_of_rank(1, rate, 0)?;
        let dims = shared::dims_of_rank(0, strengths, 3)?.unwrap_or(vec![Dim::Unknown; 3]);
        if let (Some(frequencies), Some(rate)) = (dims[2].size(), rate.int())
            && !strengths.is_bound
        {
            self.of(frequencies, rate).check()?;
        }
        let coefficients = Dim::Known(self.coefficients as i64);
        Ok(vec![Fact::new(DType::F32, Dims::new([dims[0], dims[1], coefficients]))])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        let frequencies = call.inputs.first().and_then(|input| input.shape.last().copied()).unwrap_or(0);
        Memory::scratch(mfcc_scratch_bytes(frequencies, self.bands, self.coefficients))
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let shape = run.shape(0);
        let [channels, windows, _] = shape[..] else { return None };
        run.set_output_shape(0, Shape::new(&[channels, windows, self.coefficients]).ok()?).ok()
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let what = self.of(run.shape(0)[2], int_input(run, 1)?);
        let scratch = run.scratch()?;
        Ok(mfcc(&what, run.slice(0)?, run.out(0)?, scratch)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    #[test]
    fn strengths_of_windows() {
        let attributes = [("window_size", int(2)), ("stride", int(2)), ("magnitude_squared", flag(true))];
        // A Hann window of two samples has the weights 0 and 1.
        let sound = tensor(&[5, 1], &[1f32, 2.0, 3.0, 4.0, 5.0]);
        check(
            "AudioSpectrogram",
            &attributes,
            &[sound.clone()],
            &[tensor(&[1, 2, 2], &[4f32, 4.0, 16.0, 16.0])],
        );
        check(
            "AudioSpectrogram",
            &attributes[..2],
            &[sound.clone()],
            &[tensor(&[1, 2, 2], &[2f32, 2.0, 4.0, 4.0])],
        );
        let short = tensor(&[1, 2], &[1f32, 2.0]);
        check("AudioSpectrogram", &attributes, &[short], &[tensor(&[2, 0, 2], &[0f32; 0])]);
        refuses("AudioSpectrogram", &[("window_size", int(1)), attributes[1].clone()], &[sound], "from 2");
    }

    #[test]
    fn coefficients_of_nothing() {
        let attributes = [
            ("upper_frequency_limit", float(4000.0)),
            ("filterbank_channel_count", int(10)),
            ("dct_coefficient_count", int(1)),
        ];
        let first = ((2f64 / 10.0).sqrt() * 10.0 * 1e-12f64.ln()) as f32;
        let silence = tensor(&[1, 1, 65], &[0f32; 65]);
        let inputs = [silence.clone(), scalar(8000i32)];
        check_close("Mfcc", &attributes, &inputs, &tensor(&[1, 1, 1], &[first]), 1e-6);
        refuses("Mfcc", &attributes, &[silence, scalar(0i32)], "samples a second");
        let more = [("filterbank_channel_count", int(3)), ("dct_coefficient_count", int(4))];
        refuses("Mfcc", &more, &inputs, "no more coefficients");
    }
}
