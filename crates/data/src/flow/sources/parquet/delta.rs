//! How much byte arrays become that are written as differences: the lengths are in the page, and only they say it.

/// What is known of a run of `DELTA_BINARY_PACKED` numbers.
pub(super) struct Deltas {
    /// The sum of all.
    pub sum: u64,
    /// Where the run ends.
    pub end: usize,
}

/// Bytes that are no such run, or one of more than `most` numbers, or with negative ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoDeltas;

/// Walks over the numbers that `bytes` begin with, which are at most `most`.
pub(super) fn walk(bytes: &[u8], most: u64) -> Result<Deltas, NoDeltas> {
    let mut at = 0;
    let block = varint(bytes, &mut at)?;
    let parts = varint(bytes, &mut at)?;
    let count = varint(bytes, &mut at)?;
    let mut value = zigzag(varint(bytes, &mut at)?);
    let size = block.checked_div(parts).filter(|size| *size > 0 && size.is_multiple_of(8)).ok_or(NoDeltas)?;
    // The format has blocks of multiples of 128 values, and 32 a part; larger ones than any writer makes are damage.
    if count > most || parts > 4096 || size > 1 << 20 {
        return Err(NoDeltas);
    }
    let mut sum = if count > 0 { u64::try_from(value).map_err(|_| NoDeltas)? } else { 0 };
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let least = zigzag(varint(bytes, &mut at)?);
        let widths = bytes.get(at..at + parts as usize).ok_or(NoDeltas)?;
        at += parts as usize;
        for width in widths.iter().map(|width| u64::from(*width)) {
            if left == 0 {
                break;
            }
            if width > 64 {
                return Err(NoDeltas);
            }
            let part_bytes = (size * width / 8) as usize;
            let part = bytes.get(at..at.checked_add(part_bytes).ok_or(NoDeltas)?).ok_or(NoDeltas)?;
            at += part_bytes;
            for index in 0..size.min(left) {
                let delta = least.wrapping_add(packed(part, index * width, width) as i64);
                // Lengths are 32 bits wide, and so is the addition.
                value = i64::from(value.wrapping_add(delta) as i32);
                sum = sum.saturating_add(u64::try_from(value).map_err(|_| NoDeltas)?);
            }
            left -= size.min(left);
        }
    }
    Ok(Deltas { sum, end: at })
}

/// The most values that a run says it has.
pub(super) fn count(bytes: &[u8]) -> Result<u64, NoDeltas> {
    let mut at = 0;
    varint(bytes, &mut at)?;
    varint(bytes, &mut at)?;
    varint(bytes, &mut at)
}

/// The `width` bits from bit `from` on.
fn packed(bytes: &[u8], from: u64, width: u64) -> u64 {
    let (first, shift) = ((from / 8) as usize, from % 8);
    let mut window = [0; 16];
    let end = bytes.len().min(first + 9);
    let have = &bytes[first.min(end)..end];
    window[..have.len()].copy_from_slice(have);
    let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
    (u128::from_le_bytes(window) >> shift) as u64 & mask
}

fn zigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

fn varint(bytes: &[u8], at: &mut usize) -> Result<u64, NoDeltas> {
    let mut number = 0u64;
    for index in 0..10 {
        let byte = *bytes.get(*at).ok_or(NoDeltas)?;
        *at += 1;
        number |= u64::from(byte & 0x7f) << (7 * index).min(63);
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(NoDeltas)
}
