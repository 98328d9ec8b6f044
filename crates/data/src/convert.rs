//! Numbers of one element type into another.
//!
//! Integers become any integer type that holds them (otherwise the row is bad) and any float type; floats become any
//! float type, rounded as numpy's `astype` does. Floats never become integers: that is a decision, not a conversion.
//! Pixels are the exception: [`store_pixels`] truncates as `tf.cast(image, tf.uint8)` does.

use half::{bf16, f16};
use tightfit_core::DType;

use crate::Preprocess;
use crate::error::RowFault;

/// True when values of `from` can become `to`.
pub(crate) fn can_cast(from: DType, to: DType) -> bool {
    let is_whole = |dtype: DType| dtype.is_integer() || dtype == DType::Bool;
    from == to || to.is_float() && (is_whole(from) || from.is_float()) || is_whole(from) && is_whole(to)
}

/// Turns the elements of `source` into those of `target`, as many as both hold.
///
/// # Errors
/// [`RowFault::Range`] and [`RowFault::Cast`].
pub(crate) fn cast(from: DType, source: &[u8], to: DType, target: &mut [u8]) -> Result<(), RowFault> {
    if from == to && from != DType::Bool {
        let bytes = source.len().min(target.len());
        if let (Some(to), Some(from)) = (target.get_mut(..bytes), source.get(..bytes)) {
            to.copy_from_slice(from);
        }
        return Ok(());
    }
    if !can_cast(from, to) {
        return Err(RowFault::Cast { from, to });
    }
    match from {
        DType::Bool => store(source.iter().map(|b| i128::from(*b != 0)), to, target),
        DType::U8 => store(source.iter().map(|b| i128::from(*b)), to, target),
        DType::I8 => store(source.iter().map(|b| i128::from(*b as i8)), to, target),
        DType::U16 => store(chunks(source).map(|b| i128::from(u16::from_le_bytes(b))), to, target),
        DType::I16 => store(chunks(source).map(|b| i128::from(i16::from_le_bytes(b))), to, target),
        DType::U32 => store(chunks(source).map(|b| i128::from(u32::from_le_bytes(b))), to, target),
        DType::I32 => store(chunks(source).map(|b| i128::from(i32::from_le_bytes(b))), to, target),
        DType::U64 => store(chunks(source).map(|b| i128::from(u64::from_le_bytes(b))), to, target),
        DType::I64 => store(chunks(source).map(|b| i128::from(i64::from_le_bytes(b))), to, target),
        DType::F16 => store_floats(chunks(source).map(|b| f16::from_le_bytes(b).to_f64()), to, target),
        DType::BF16 => store_floats(chunks(source).map(|b| bf16::from_le_bytes(b).to_f64()), to, target),
        DType::F32 => store_floats(chunks(source).map(|b| f64::from(f32::from_le_bytes(b))), to, target),
        DType::F64 => store_floats(chunks(source).map(f64::from_le_bytes), to, target),
        DType::String | DType::C64 | DType::C128 => return Err(RowFault::Cast { from, to }),
    }
    .map_err(|value| RowFault::Range { value, dtype: to })
}

/// Writes the number that `text` is; `None` when it is none, or does not fit.
pub(crate) fn put_number(text: &str, dtype: DType, target: &mut [u8]) -> Option<()> {
    fn put<const N: usize>(target: &mut [u8], bytes: Option<[u8; N]>) -> Option<()> {
        target.copy_from_slice(&bytes?);
        Some(())
    }
    macro_rules! number {
        ($rust:ty) => {
            put(target, text.parse::<$rust>().ok().map(<$rust>::to_le_bytes))
        };
    }
    match dtype {
        DType::I8 => number!(i8),
        DType::I16 => number!(i16),
        DType::I32 => number!(i32),
        DType::I64 => number!(i64),
        DType::U8 => number!(u8),
        DType::U16 => number!(u16),
        DType::U32 => number!(u32),
        DType::U64 => number!(u64),
        DType::F32 => number!(f32),
        DType::F64 => number!(f64),
        DType::F16 => put(target, text.parse().ok().map(|v| f16::from_f64(v).to_le_bytes())),
        DType::BF16 => put(target, text.parse().ok().map(|v| bf16::from_f64(v).to_le_bytes())),
        DType::Bool => match text {
            "1" => put(target, Some([1])),
            "0" => put(target, Some([0])),
            _ if text.eq_ignore_ascii_case("true") => put(target, Some([1])),
            _ if text.eq_ignore_ascii_case("false") => put(target, Some([0])),
            _ => None,
        },
        DType::String | DType::C64 | DType::C128 => None,
    }
}

/// The whole number that `bytes` are an element of; `None` when `dtype` is no integer type.
pub(crate) fn to_whole(dtype: DType, bytes: &[u8]) -> Option<i128> {
    let mut wide = [0; 8];
    if dtype == DType::U64 {
        cast(dtype, bytes, DType::U64, &mut wide).ok()?;
        return Some(u64::from_le_bytes(wide).into());
    }
    let is_whole = dtype.is_integer() || dtype == DType::Bool;
    (is_whole && bytes.len() == dtype.bytes()).then_some(())?;
    cast(dtype, bytes, DType::I64, &mut wide).ok()?;
    Some(i64::from_le_bytes(wide).into())
}

/// The number that `bytes` are an element of, as a float; `None` when `dtype` is no type of numbers.
pub(crate) fn to_float(dtype: DType, bytes: &[u8]) -> Option<f64> {
    let mut wide = [0; 8];
    (bytes.len() == dtype.bytes()).then_some(())?;
    cast(dtype, bytes, DType::F64, &mut wide).ok()?;
    Some(f64::from_le_bytes(wide))
}

fn chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

fn put<const N: usize>(
    values: impl Iterator<Item = i128>,
    target: &mut [u8],
    convert: impl Fn(i128) -> Option<[u8; N]>,
) -> Result<(), i128> {
    for (value, to) in values.zip(target.as_chunks_mut::<N>().0) {
        *to = convert(value).ok_or(value)?;
    }
    Ok(())
}

/// Stores whole numbers; the first that does not fit is the error.
fn store(values: impl Iterator<Item = i128>, to: DType, target: &mut [u8]) -> Result<(), i128> {
    macro_rules! whole {
        ($($dtype:ident => $rust:ty),*) => {
            match to {
                $(DType::$dtype => put(values, target, |v| <$rust>::try_from(v).ok().map(<$rust>::to_le_bytes)),)*
                DType::Bool => put(values, target, |v| (0..=1).contains(&v).then_some([v as u8])),
                DType::F16 => put(values, target, |v| Some(f16::from_f64(v as f64).to_le_bytes())),
                DType::BF16 => put(values, target, |v| Some(bf16::from_f64(v as f64).to_le_bytes())),
                DType::F32 => put(values, target, |v| Some((v as f32).to_le_bytes())),
                DType::F64 => put(values, target, |v| Some((v as f64).to_le_bytes())),
                DType::String | DType::C64 | DType::C128 => Ok(()),
            }
        };
    }
    whole!(I8 => i8, I16 => i16, I32 => i32, I64 => i64, U8 => u8, U16 => u16, U32 => u32, U64 => u64)
}

/// Stores floats into a float type; others are left as they are, as [`can_cast`] has refused them.
fn store_floats(values: impl Iterator<Item = f64>, to: DType, target: &mut [u8]) -> Result<(), i128> {
    match to {
        DType::F16 => write(values, target, |v| f16::from_f64(v).to_le_bytes()),
        DType::BF16 => write(values, target, |v| bf16::from_f64(v).to_le_bytes()),
        DType::F32 => write(values, target, |v| (v as f32).to_le_bytes()),
        DType::F64 => write(values, target, f64::to_le_bytes),
        _ => {}
    }
    Ok(())
}

fn write<T, const N: usize>(
    values: impl Iterator<Item = T>,
    target: &mut [u8],
    as_bytes: impl Fn(T) -> [u8; N],
) {
    for (value, to) in values.zip(target.as_chunks_mut::<N>().0) {
        *to = as_bytes(value);
    }
}

/// Stores pixel values as `to`: floats as they are, integers truncated as `tf.cast` does.
pub(crate) fn store_pixels(pixels: &[f32], to: DType, target: &mut [u8]) {
    let values = pixels.iter().copied();
    match to {
        DType::F32 => write(values, target, f32::to_le_bytes),
        DType::F64 => write(values, target, |v| f64::from(v).to_le_bytes()),
        DType::F16 => write(values, target, |v| f16::from_f32(v).to_le_bytes()),
        DType::BF16 => write(values, target, |v| bf16::from_f32(v).to_le_bytes()),
        DType::U8 => write(values, target, |v| [v as u8]),
        DType::I8 => write(values, target, |v| (v as i8).to_le_bytes()),
        DType::U16 => write(values, target, |v| (v as u16).to_le_bytes()),
        DType::I16 => write(values, target, |v| (v as i16).to_le_bytes()),
        DType::U32 => write(values, target, |v| (v as u32).to_le_bytes()),
        DType::I32 => write(values, target, |v| (v as i32).to_le_bytes()),
        DType::U64 => write(values, target, |v| (v as u64).to_le_bytes()),
        DType::I64 => write(values, target, |v| (v as i64).to_le_bytes()),
        DType::Bool => write(values, target, |v| [u8::from(v != 0.0)]),
        DType::String | DType::C64 | DType::C128 => {}
    }
}

/// Does `preprocess` to a row of a float type in place.
pub(crate) fn preprocess_row(preprocess: Preprocess, dtype: DType, row: &mut [u8]) {
    if preprocess == Preprocess::None {
        return;
    }
    // A multiple of the three channels.
    let mut block = [0f32; 192];
    for part in row.chunks_mut(block.len() * dtype.bytes()) {
        let count = part.len() / dtype.bytes();
        let Some(values) = block.get_mut(..count) else { continue };
        // From a float type to float32 cannot fail.
        if cast(dtype, part, DType::F32, bytemuck::cast_slice_mut(values)).is_ok() {
            preprocess.apply(values);
            store_pixels(values, dtype, part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_fit_or_are_named() {
        let source: Vec<u8> = [1i64, -2, 300].iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut wide = [0; 12];
        cast(DType::I64, &source, DType::I32, &mut wide).unwrap();
        assert_eq!(wide, [[1, 0, 0, 0], (-2i32).to_le_bytes(), [44, 1, 0, 0]].as_flattened());
        let fault = cast(DType::I64, &source, DType::U8, &mut [0; 3]).unwrap_err();
        assert!(matches!(fault, RowFault::Range { value: -2, dtype: DType::U8 }));
        let mut floats = [0; 12];
        cast(DType::I64, &source, DType::F32, &mut floats).unwrap();
        assert_eq!(floats[8..], 300f32.to_le_bytes());
        let mut bools = [9; 2];
        cast(DType::Bool, &[7, 0], DType::Bool, &mut bools).unwrap();
        assert_eq!(bools, [1, 0]);
    }

    #[test]
    fn floats_become_floats_only() {
        let source = 1.000_000_1f64.to_le_bytes();
        let mut out = [0; 4];
        cast(DType::F64, &source, DType::F32, &mut out).unwrap();
        assert_eq!(f32::from_le_bytes(out), 1.000_000_1);
        assert!(matches!(cast(DType::F64, &source, DType::I32, &mut out), Err(RowFault::Cast { .. })));
        for dtype in DType::ALL {
            assert_eq!(can_cast(dtype, dtype), cast(dtype, &[], dtype, &mut []).is_ok());
        }
    }

    #[test]
    fn preprocesses_every_float_type() {
        let pixels: Vec<f32> = (0..600).map(|v| (v % 256) as f32).collect();
        let mut expected = pixels.clone();
        Preprocess::Caffe.apply(&mut expected);
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            let mut row = vec![0; 600 * dtype.bytes()];
            store_pixels(&pixels, dtype, &mut row);
            preprocess_row(Preprocess::Caffe, dtype, &mut row);
            let mut got = vec![0f32; 600];
            cast(dtype, &row, DType::F32, bytemuck::cast_slice_mut(&mut got)).unwrap();
            assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 0.6), "{dtype}");
        }
    }
}
