//! Fourier transforms, and the sound that they are taken of.

mod fourier;
mod mel;
mod spectrogram;
mod transform;
mod wav;

pub use fourier::{Fourier, FourierKind, fourier, fourier_scratch_bytes, fourier_scratch_bytes_at_most};
pub use mel::{Mfcc, mfcc, mfcc_scratch_bytes};
pub use spectrogram::{Spectrogram, spectrogram, spectrogram_scratch_bytes};
pub use wav::{WAV_HEADER_BYTES, Wav, encode_wav};
