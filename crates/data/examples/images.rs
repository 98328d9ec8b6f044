//! How fast one thread decodes JPEGs and resizes them; `bench/images.py` runs it beside TensorFlow.
//!
//! ```text
//! images SIDE CHANNELS ROUNDS FILE..
//! ```
//!
//! The files are read first. Each round decodes and resizes all of them, bilinearly, to `[SIDE, SIDE, CHANNELS]` of
//! float32; the median of the rounds is told for one image, as JSON: `{"ms": S, "decode_ms": S}`.

use std::error::Error;
use std::io::Cursor;
use std::time::Instant;

use tightfit_core::{Buffer, MemoryBudget};
use tightfit_data::Resize;
use tightfit_data::image::{ImageHeader, Resizer, WEIGHT_BYTES, decode};

/// What this may hold: the target for peak resident memory less the process itself.
const MEMORY_BYTES: u64 = 20 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [side, channels, rounds, paths @ ..] = &args[..] else {
        return Err("images SIDE CHANNELS ROUNDS FILE..".into());
    };
    let (side, channels, rounds) =
        (side.parse::<usize>()?, channels.parse::<usize>()?, rounds.parse::<usize>()?);
    let budget = MemoryBudget::new(MEMORY_BYTES);
    let (mut files, mut pixel_bytes) = (Vec::new(), 0);
    for path in paths {
        let bytes = std::fs::read(path)?;
        let header = ImageHeader::read(&mut Cursor::new(&bytes), bytes.len() as u64)?;
        pixel_bytes = pixel_bytes.max(header.pixel_bytes as usize);
        files.push((bytes, header));
    }
    let mut pixels = Buffer::new(&budget, "pixels", pixel_bytes)?;
    let mut scratch = Buffer::new(&budget, "columns", side * WEIGHT_BYTES)?;
    let mut out = Buffer::new(&budget, "out", side * side * channels * size_of::<f32>())?;
    let mut told = Vec::new();
    for _ in 0..rounds.max(1) {
        let (mut decode_seconds, mut resize_seconds) = (0.0, 0.0);
        for (bytes, header) in &files {
            let start = Instant::now();
            let found = decode(bytes, header, channels, &mut pixels)?;
            decode_seconds += start.elapsed().as_secs_f64();
            let start = Instant::now();
            let from = [header.height, header.width];
            let resizer = Resizer::new(Resize::Bilinear, &pixels, from, found, [side; 2], &mut scratch);
            let resizer = resizer.ok_or("too little memory")?;
            let out: &mut [f32] = bytemuck::cast_slice_mut(&mut out);
            for (y, line) in out.chunks_exact_mut(side * found).take(side).enumerate() {
                resizer.line(y, line);
            }
            std::hint::black_box(out);
            resize_seconds += start.elapsed().as_secs_f64();
        }
        told.push([decode_seconds, resize_seconds].map(|seconds| seconds / files.len() as f64 * 1e3));
    }
    told.sort_by(|a, b| (a[0] + a[1]).total_cmp(&(b[0] + b[1])));
    let [decode_ms, resize_ms] = told[told.len() / 2];
    let ms = decode_ms + resize_ms;
    println!("{{\"ms\": {ms}, \"decode_ms\": {decode_ms}}}");
    Ok(())
}
