//! Dimensions under another data format: DataFormatDimMap and DataFormatVecPermute.
//!
//! DataFormatDimMap takes numbers of dimensions of `src_format` (int32 or int64, negative ones count from the end) and gives
//! where these are in `dst_format`. DataFormatVecPermute takes a vector with an element for each dimension, or for each but
//! `N` and `C`, or such pairs, and gives them in the other order.

use tightfit_core::DType;

use crate::dim::Dim;
use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "DataFormatDimMap",
        import: |attributes| Ok(Box::new(DimMap { formats: Formats::new(attributes)? })),
    },
    Registration {
        name: "DataFormatVecPermute",
        import: |attributes| Ok(Box::new(VecPermute { formats: Formats::new(attributes)? })),
    },
];

/// The most dimensions of a format.
const MOST: usize = 5;

/// For each dimension of one format where it is in the other.
#[derive(Debug)]
struct Formats {
    from: String,
    to: String,
}

impl Formats {
    fn new(attributes: &Attributes<'_>) -> Result<Formats, OpError> {
        let from = attributes.text_or("src_format", "NHWC")?.to_string();
        let to = attributes.text_or("dst_format", "NCHW")?.to_string();
        let are_same = from.len() == to.len() && from.chars().all(|c| to.matches(c).count() == 1);
        if !(4..=MOST).contains(&from.len()) || !are_same {
            let why = format!("is {to}, no other order of src_format, {from}, of 4 or 5 dimensions");
            return Err(OpError::attribute("dst_format", why));
        }
        Ok(Formats { from, to })
    }

    fn place(&self, dimension: usize) -> Option<usize> {
        self.to.bytes().position(|c| Some(c) == self.from.as_bytes().get(dimension).copied())
    }
}

/// Replaces each integer of an input by `of` it.
fn map(run: &mut Run<'_>, of: impl Fn(i64) -> Option<i64>) -> Result<(), OpError> {
    let outside = |x: i64| OpError::input(0, format!("names dimension {x}, which the format does not have"));
    match run.dtype(0) {
        DType::I64 => {
            let input = run.slice::<i64>(0)?;
            run.out::<i64>(0)?.iter_mut().zip(input).try_for_each(|(to, x)| {
                *to = of(*x).ok_or_else(|| outside(*x))?;
                Ok(())
            })
        }
        _ => {
            let input = run.slice::<i32>(0)?;
            run.out::<i32>(0)?.iter_mut().zip(input).try_for_each(|(to, x)| {
                *to = of(*x as i64).ok_or_else(|| outside(*x as i64))? as i32;
                Ok(())
            })
        }
    }
}

/// Numbers of dimensions.
#[derive(Debug)]
struct DimMap {
    formats: Formats,
}

impl Operator for DimMap {
    fn name(&self) -> &'static str {
        "DataFormatDimMap"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::I32, DType::I64])?;
        Ok(vec![Fact::new(input.dtype, input.dims.clone())])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let rank = self.formats.from.len() as i64;
        // TensorFlow adds up in the type itself, and takes what is none of the first dimensions for the last.
        let is_int = run.dtype(0) == DType::I32;
        let from_end = |x: i64| {
            if is_int { i64::from((x as i32).wrapping_add(rank as i32)) } else { x.wrapping_add(rank) }
        };
        map(run, |x| {
            let dimension = usize::try_from(from_end(x) % rank).unwrap_or(self.formats.from.len() - 1);
            Some(self.formats.place(dimension)? as i64)
        })
    }
}

/// Elements for dimensions.
#[derive(Debug)]
struct VecPermute {
    formats: Formats,
}

impl VecPermute {
    /// The order of `count` elements: where each comes from.
    fn order(&self, count: usize) -> Option<[usize; MOST]> {
        let rank = self.formats.from.len();
        let is_kept = |c: &u8| count == rank || !matches!(c, b'N' | b'C');
        let mut order = [0; MOST];
        let wanted = self.formats.to.bytes().filter(is_kept);
        let mut n = 0;
        for c in wanted {
            order[n] = self.formats.from.bytes().filter(is_kept).position(|own| own == c)?;
            n += 1;
        }
        (n == count).then_some(order)
    }
}

impl Operator for VecPermute {
    fn name(&self) -> &'static str {
        "DataFormatVecPermute"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::I32, DType::I64])?;
        let fits = match input.dims.get() {
            None => true,
            Some([n]) => n.size().is_none_or(|n| self.order(n).is_some()),
            Some([n, Dim::Known(2)]) => n.size().is_none_or(|n| self.order(n).is_some()),
            Some([n, pair]) => pair.known().is_none() && n.size().is_none_or(|n| self.order(n).is_some()),
            Some(_) => false,
        };
        if !fits {
            let why =
                format!("is of shape {}; an element or a pair for each dimension is needed", input.dims);
            return Err(OpError::input(0, why));
        }
        let values = input.dims_value().filter(|_| input.dims.rank() == Some(1));
        let moved = values.and_then(|values| {
            let order = self.order(values.len())?;
            Some((0..values.len()).map(|n| values[order[n]]).collect::<Vec<_>>())
        });
        Ok(vec![match moved {
            Some(moved) => Fact::of_dims(input.dtype, input.dims.clone(), &moved),
            None => Fact::new(input.dtype, input.dims.clone()),
        }])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let input = run.input(0)?;
        let count = input.shape().first().copied().unwrap_or(0);
        let why = "must have an element or a pair for each dimension";
        let order = self.order(count).ok_or_else(|| OpError::input(0, why))?;
        let bytes = input.bytes().len() / count;
        let output = run.out_bytes(0)?;
        for (to, from) in output.chunks_exact_mut(bytes).zip(order) {
            to.copy_from_slice(&input.bytes()[from * bytes..][..bytes]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check, refuses, tensor, text};

    #[test]
    fn maps_to_the_other_order() {
        let dims = tensor(&[4], &[0i32, 1, -1, 3]);
        check("DataFormatDimMap", &[], &[dims], &[tensor(&[4], &[0i32, 2, 1, 1])]);
        let sizes = tensor(&[4], &[7i64, 4, 9, 3]);
        check("DataFormatVecPermute", &[], &[sizes], &[tensor(&[4], &[7i64, 3, 4, 9])]);
        let pairs = tensor(&[4, 2], &[0i32, 0, 1, 2, 3, 4, 5, 6]);
        check("DataFormatVecPermute", &[], &[pairs], &[tensor(&[4, 2], &[0i32, 0, 5, 6, 1, 2, 3, 4])]);
        let spatial = tensor(&[2], &[7i32, 4]);
        check("DataFormatVecPermute", &[], &[spatial.clone()], &[spatial]);
        refuses(
            "DataFormatDimMap",
            &[("dst_format", text("NHWX"))],
            &[tensor(&[1], &[0i32])],
            "no other order",
        );
        let past = tensor(&[6], &[i32::MIN, i32::MAX, -6, -5, 4, 6]);
        check("DataFormatDimMap", &[], &[past], &[tensor(&[6], &[0i32, 1, 1, 1, 0, 3])]);
    }
}
