//! The values of a feature of a tf.Example as numbers of another element type, for whoever has the memory for them.

use tightfit_core::DType;
use tightfit_format::example::{Feature, FeatureKind};

use crate::convert::cast;
use crate::error::{Needed, RowFault};

/// A feature of more values than were counted.
const NO_ROOM: &str = "a feature has more values than there is room for";

/// Writes the numbers of `feature` into `target` as `dtype`; how many there are, which may be more than `target` has
/// room for. `None` when it holds byte strings, or what `dtype` cannot hold: floats become floats, integers all
/// numbers but complex ones.
///
/// # Errors
/// [`RowFault`] when the list is broken, or a number does not fit.
pub(crate) fn numbers(
    feature: &Feature<'_>,
    dtype: DType,
    target: &mut [u8],
) -> Result<Option<usize>, RowFault> {
    match feature.kind() {
        // TensorFlow writes an empty list as no list at all.
        FeatureKind::Empty => Ok(Some(0)),
        FeatureKind::Float if dtype.is_float() => floats(feature, dtype, target).map(Some),
        FeatureKind::Int64 if dtype == DType::I64 => match bytemuck::try_cast_slice_mut(target) {
            Ok(target) => Ok(Some(feature.read_ints(target)?)),
            Err(_) => ints(feature, dtype, target).map(Some),
        },
        FeatureKind::Int64 if dtype != DType::String && !dtype.is_complex() => {
            ints(feature, dtype, target).map(Some)
        }
        FeatureKind::Float | FeatureKind::Int64 | FeatureKind::Bytes => Ok(None),
    }
}

fn floats(feature: &Feature<'_>, dtype: DType, target: &mut [u8]) -> Result<usize, RowFault> {
    let mut count = 0usize;
    for run in feature.float_runs() {
        let run = run?;
        let rest = target.get_mut(count.saturating_mul(dtype.bytes())..).needed(NO_ROOM)?;
        cast(DType::F32, run.as_flattened(), dtype, rest)?;
        count += run.len();
    }
    Ok(count)
}

fn ints(feature: &Feature<'_>, dtype: DType, target: &mut [u8]) -> Result<usize, RowFault> {
    let mut block = [0i64; 128];
    let (mut count, mut in_block) = (0usize, 0usize);
    let mut values = feature.ints();
    loop {
        let value = values.next().transpose()?;
        if let (Some(value), Some(to)) = (value, block.get_mut(in_block)) {
            *to = value;
            in_block += 1;
        }
        if value.is_none() || in_block == block.len() {
            let rest = target.get_mut(count.saturating_mul(dtype.bytes())..).needed(NO_ROOM)?;
            let filled = block.get(..in_block).needed("a block of numbers is overfull")?;
            cast(DType::I64, bytemuck::cast_slice(filled), dtype, rest)?;
            count += in_block;
            in_block = 0;
        }
        if value.is_none() {
            return Ok(count);
        }
    }
}
