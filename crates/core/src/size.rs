//! Sizes in bytes as people write and read them.

use std::fmt;

/// A text that is not a size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SizeError(String);

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is not a size: write bytes, or a number with KB, MB, GB, KiB, MiB or GiB, as in 64MiB",
            self.0
        )
    }
}

impl std::error::Error for SizeError {}

const UNITS: [(&str, u64); 13] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("t", 1 << 40),
    ("b", 1),
];

/// Bytes of `67108864`, `64MiB`, `2GB`, `1.5GiB`: decimal units are powers of 1000, binary ones of 1024, and a
/// lone letter is binary.
///
/// # Errors
/// [`SizeError`] for anything else, for a negative size and for one that does not fit 64 bits.
pub fn parse_bytes(text: &str) -> Result<u64, SizeError> {
    let error = || SizeError(text.to_string());
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| lower.strip_suffix(name).map(|n| (n.trim_end(), *unit)))
        .unwrap_or((lower.as_str(), 1));
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit).ok_or_else(error);
    }
    if unit == 1 || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(error());
    }
    let bytes = number.parse::<f64>().map_err(|_| error())? * unit as f64;
    if bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(error()) }
}

/// `bytes` for a person: `640 B`, `12.5 KiB`, `96.0 MiB`, `1.20 GiB`.
pub fn display_bytes(bytes: u64) -> String {
    display(bytes, f64::round)
}

/// The same rounded up, for a size that is given back as a limit: `bytes` always fit what is shown.
pub fn display_bytes_up(bytes: u64) -> String {
    display(bytes, f64::ceil)
}

fn display(bytes: u64, round: fn(f64) -> f64) -> String {
    let b = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", round(b / 1024.0 * 10.0) / 10.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", round(b / 1_048_576.0 * 10.0) / 10.0),
        _ => format!("{:.2} GiB", round(b / 1_073_741_824.0 * 100.0) / 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("2GB", 2_000_000_000),
            ("1.5GiB", 3 << 29),
            ("10k", 10240),
            ("7B", 7),
        ] {
            assert_eq!(parse_bytes(text).unwrap(), bytes, "{text}");
        }
        for text in
            ["", "MiB", "-1", "1.5", "1e3MiB", "12XB", "99999999999999999999", "nanMiB", "20000000TiB"]
        {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        assert_eq!(display_bytes(96 << 20), "96.0 MiB");
        assert_eq!(display_bytes_up(96 << 20), "96.0 MiB");
        for bytes in [1, 1025, 19_009_730, 18_979_226, 1_073_741_825, 5_555_555_555] {
            assert!(parse_bytes(&display_bytes_up(bytes)).unwrap() >= bytes, "{bytes}");
        }
    }
}
