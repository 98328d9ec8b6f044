//! Values of flags, and what is wrong with those that are none.

use std::str::FromStr;

use tightfit::{Shape, parse_bytes};

/// The largest side that images are brought to.
const MAX_SIDE: usize = 1 << 15;

/// The longest measurement, in seconds.
const MAX_SECONDS: f64 = 1e6;

/// A number of bytes.
pub fn size(text: &str) -> Result<u64, String> {
    parse_bytes(text).map_err(|error| error.to_string())
}

/// A whole number of at least 1 and at most `MOST`.
pub fn count<const MOST: usize>(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|n| (1..=MOST).contains(n));
    count.ok_or_else(|| format!("give a whole number from 1 to {MOST}"))
}

/// A whole number, 0 included.
pub fn whole(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "give a whole number".to_string())
}

/// Seconds, more than none.
pub fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|s| s.is_finite() && *s > 0.0 && *s < MAX_SECONDS);
    seconds.ok_or_else(|| "give a number above 0".to_string())
}

/// `NAME=D0,D1,..`, the shape of an input.
pub fn shape(text: &str) -> Result<(String, Shape), String> {
    let wrong = || "write it as NAME=1,224,224,3".to_string();
    let (name, dims) = text.split_once('=').ok_or_else(wrong)?;
    let dims = dims.split(',').filter(|d| !d.is_empty()).map(|d| d.trim().parse::<usize>());
    let dims = dims.collect::<Result<Vec<_>, _>>().map_err(|_| wrong())?;
    let shape = Shape::new(&dims).map_err(|error| error.to_string())?;
    Ok((name.strip_suffix(":0").unwrap_or(name).to_string(), shape))
}

/// `INPUT=NAME`, the feature that feeds an input.
pub fn feature(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(input, name)| (input.to_string(), name.to_string()));
    pair.ok_or_else(|| "write it as INPUT=NAME".to_string())
}

/// Rows at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// So many.
    Fixed(usize),
    /// As many as run fastest.
    Auto,
}

impl BatchSize {
    /// The most rows at once that are accepted.
    pub const MOST: usize = 1 << 20;
}

impl FromStr for BatchSize {
    type Err = String;

    fn from_str(text: &str) -> Result<BatchSize, String> {
        match text {
            "auto" => Ok(BatchSize::Auto),
            _ => count::<{ BatchSize::MOST }>(text)
                .map(BatchSize::Fixed)
                .map_err(|why| format!("{why}, or auto")),
        }
    }
}

/// Height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sides(pub [usize; 2]);

impl FromStr for Sides {
    type Err = String;

    fn from_str(text: &str) -> Result<Sides, String> {
        let side = |text: &str| text.parse::<usize>().ok().filter(|n| (1..=MAX_SIDE).contains(n));
        let sides = text.split_once('x').and_then(|(height, width)| Some([side(height)?, side(width)?]));
        sides.map(Sides).ok_or_else(|| "write it as 224x224, height first".to_string())
    }
}

/// The precision that is computed in.
///
/// # Errors
/// For any but float32.
pub fn precision(text: &str) -> Result<String, String> {
    if text == "f32" { Ok(text.to_string()) } else { Err("only f32 is supported yet".to_string()) }
}
