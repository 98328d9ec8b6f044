//! How long an image operation takes: `image_ops HEIGHT WIDTH CHANNELS DTYPE SECONDS OP [NAME=VALUE]...` prints the
//! median of its runs in milliseconds. `bench/image_ops.py` runs it beside TensorFlow.

use std::process::ExitCode;
use std::time::Instant;

use tightfit_core::DType;
use tightfit_data::image::{Argument, ImageOp, ImageType, op_by_name};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match measure(&words) {
        Ok(ms) => {
            println!("{ms}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn op_of(name: &str, words: &[String]) -> Result<ImageOp, String> {
    let mut pairs = Vec::new();
    for word in words {
        let (key, value) = word.split_once('=').ok_or("arguments are NAME=VALUE")?;
        let numbers: Vec<f64> = value.split(',').filter_map(|v| v.parse().ok()).collect();
        pairs.push((key, value, numbers));
    }
    let arguments: Vec<(&str, Argument<'_>)> = pairs
        .iter()
        .map(|(key, value, numbers)| match (*value, numbers.as_slice()) {
            ("true" | "false", _) => (*key, Argument::Flag(*value == "true")),
            (_, []) => (*key, Argument::Text(value)),
            (_, [number]) => (*key, Argument::Number(*number)),
            (_, numbers) => (*key, Argument::Numbers(numbers)),
        })
        .collect();
    op_by_name(name, &arguments).ok_or("no such operation")?.map_err(|e| e.to_string())
}

fn measure(words: &[String]) -> Result<f64, String> {
    let [height, width, channels, dtype, seconds, op, rest @ ..] = words else {
        return Err("usage: image_ops HEIGHT WIDTH CHANNELS DTYPE SECONDS OP [NAME=VALUE]...".to_string());
    };
    let side = |text: &String| text.parse::<usize>().map_err(|e| e.to_string());
    let dtype = DType::ALL.into_iter().find(|d| d.name() == dtype).ok_or("no such element type")?;
    let input = ImageType::new([side(height)?, side(width)?, side(channels)?], dtype);
    let seconds: f64 = seconds.parse().map_err(|_| "SECONDS is a number")?;
    let op = op_of(op, rest)?;
    let text = |error: tightfit_data::image::ImageError| error.to_string();
    // In words of 8 bytes, so that every element type is aligned.
    let room = |bytes: usize| vec![0u64; bytes.div_ceil(8)];
    let mut pixels = room(input.bytes().map_err(text)?);
    let mut out = room(op.output(input).and_then(|output| output.bytes()).map_err(text)?);
    let mut scratch = room(op.scratch_bytes(input).map_err(text)?);
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut pixels);
    if dtype == DType::F32 {
        let values: &mut [f32] = bytemuck::cast_slice_mut(bytes);
        values.iter_mut().enumerate().for_each(|(i, v)| *v = (i * 7919 % 256) as f32 / 255.0);
    } else {
        bytes.iter_mut().enumerate().for_each(|(i, v)| *v = (i * 7919 % 256) as u8);
    }
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < 5 || begin.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        let (out, scratch) = (bytemuck::cast_slice_mut(&mut out), bytemuck::cast_slice_mut(&mut scratch));
        op.run(input, bytemuck::cast_slice(&pixels), out, scratch, 0).map_err(text)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
