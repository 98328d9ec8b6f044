//! Fields of other element types: `tf.cast`.

use std::sync::Arc;

use half::{bf16, f16};
use tightfit_core::{DType, MemoryBudget};

use super::{MapOp, MapWorker, Verdict};
use crate::convert;
use crate::error::{DataError, RowFault};
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::spec::StageSpec;
use crate::flow::stages::map::read_each;

/// Fields of numbers as other types of numbers.
///
/// As it is, a number that the type does not hold is an error, and floats do not become integers; to a float type all is
/// rounded to the nearest. With `truncates` the results are those of `tf.cast`: integers keep their low bits, floats are
/// cut off towards zero, and what is not zero is true. A float that is too large for the integer type, or no number, is
/// what C++ and with it TensorFlow leave open, and an error.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Cast {
    /// The fields, and what they become.
    #[serde(serialize_with = "identity::dtypes")]
    pub fields: Vec<(String, DType)>,
    /// Whether what does not fit is cut off.
    pub truncates: bool,
}

fn is_number(dtype: DType) -> bool {
    !(dtype == DType::String || dtype.is_complex())
}

impl Cast {
    /// What each field of `input` becomes.
    fn types(&self, input: &Schema) -> Result<Vec<DType>, String> {
        let mut types: Vec<DType> = input.fields().iter().map(|field| field.dtype).collect();
        for (name, to) in &self.fields {
            let index = input.index(name)?;
            if let Some(dtype) = types.get_mut(index) {
                let can = if self.truncates {
                    is_number(*dtype) && is_number(*to)
                } else {
                    convert::can_cast(*dtype, *to)
                };
                if !can && *dtype != *to {
                    let hint = if is_number(*dtype) && is_number(*to) { " unless it truncates" } else { "" };
                    return Err(format!("{name} is {dtype}, which does not become {to}{hint}"));
                }
                *dtype = *to;
            }
        }
        Ok(types)
    }
}

impl MapOp for Cast {
    fn identity(&self) -> serde_json::Value {
        identity::of("cast", self)
    }

    fn name(&self) -> String {
        let pairs: Vec<_> = self.fields.iter().map(|(name, dtype)| format!("{name:?} to {dtype}")).collect();
        format!("cast {}{}", pairs.join(", "), if self.truncates { ", truncate" } else { "" })
    }

    fn schema(&self, input: &Schema) -> Result<Schema, String> {
        let mut fields = input.fields().to_vec();
        for (field, dtype) in fields.iter_mut().zip(self.types(input)?) {
            field.dtype = dtype;
        }
        Schema::new(fields)
    }

    fn worker(&self, input: &Schema, _budget: &MemoryBudget) -> Result<Box<dyn MapWorker>, DataError> {
        let types = self.types(input).map_err(DataError::Spec)?;
        Ok(Box::new(Worker { types, truncates: self.truncates }))
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    let pair = |(name, text): (String, String)| {
        let dtype = DType::ALL.into_iter().find(|dtype| dtype.name() == text);
        Ok::<_, String>((name, dtype.ok_or_else(|| format!("cast: there is no type {text:?}"))?))
    };
    let fields = args.text_pairs()?.into_iter().map(pair).collect::<Result<_, _>>()?;
    let truncates = args.flag("truncate")?;
    read_each(Cast { fields, truncates }, args)
}

struct Worker {
    types: Vec<DType>,
    truncates: bool,
}

impl MapWorker for Worker {
    fn run(&mut self, input: &ElementView<'_>, out: &mut Element) -> Result<Verdict, RowFault> {
        for (index, to) in self.types.iter().enumerate() {
            let Some(tensor) = input.tensor(index) else { continue };
            let from = tensor.dtype();
            if from == *to {
                out.add_copy(tensor, input.text())?;
                continue;
            }
            let made = out.add(*tensor.shape())?;
            // To floats, both ways give the same; this one is quicker.
            if self.truncates || to.is_float() {
                cast_as(from, tensor.bytes(), *to, made)?;
            } else {
                convert::cast(from, tensor.bytes(), *to, made)?;
            }
        }
        Ok(Verdict::Keep)
    }
}

/// A number as it lies in memory, as one of these: whole numbers are exact in the first, floats in the second.
trait Number<const N: usize> {
    type Wide: Copy;
    fn read(bytes: [u8; N]) -> Self::Wide;
}

macro_rules! number {
    ($($rust:ty, $bytes:literal => $wide:ty, $v:ident $value:expr);* $(;)?) => { $(
        impl Number<$bytes> for $rust {
            type Wide = $wide;
            #[inline(always)]
            fn read(bytes: [u8; $bytes]) -> $wide {
                let $v = <$rust>::from_le_bytes(bytes);
                $value
            }
        }
    )* };
}

number! {
    u8, 1 => u8, v v; i8, 1 => i8, v v; u16, 2 => u16, v v; i16, 2 => i16, v v; u32, 4 => u32, v v;
    i32, 4 => i32, v v; u64, 8 => u64, v v; i64, 8 => i64, v v;
    f16, 2 => f32, v v.to_f32(); bf16, 2 => f32, v v.to_f32(); f32, 4 => f32, v v; f64, 8 => f64, v v;
}

fn each<S: Number<N>, const N: usize, const M: usize>(
    source: &[u8],
    target: &mut [u8],
    mut convert: impl FnMut(S::Wide) -> [u8; M],
) {
    for (from, to) in source.as_chunks::<N>().0.iter().zip(target.as_chunks_mut::<M>().0) {
        *to = convert(S::read(*from));
    }
}

/// Turns the numbers of `source` into those of `target`, as [`Cast`] says of one that truncates.
///
/// # Errors
/// [`RowFault`] for types that are no numbers, and for a float that is too large for an integer type or none.
pub(crate) fn cast_as(from: DType, source: &[u8], to: DType, target: &mut [u8]) -> Result<(), RowFault> {
    /// Of whole numbers.
    macro_rules! whole {
        ($S:ty) => {
            match to {
                DType::U8 => each::<$S, _, _>(source, target, |v| (v as u8).to_le_bytes()),
                DType::I8 => each::<$S, _, _>(source, target, |v| (v as i8).to_le_bytes()),
                DType::U16 => each::<$S, _, _>(source, target, |v| (v as u16).to_le_bytes()),
                DType::I16 => each::<$S, _, _>(source, target, |v| (v as i16).to_le_bytes()),
                DType::U32 => each::<$S, _, _>(source, target, |v| (v as u32).to_le_bytes()),
                DType::I32 => each::<$S, _, _>(source, target, |v| (v as i32).to_le_bytes()),
                DType::U64 => each::<$S, _, _>(source, target, |v| (v as u64).to_le_bytes()),
                DType::I64 => each::<$S, _, _>(source, target, |v| (v as i64).to_le_bytes()),
                DType::Bool => each::<$S, _, _>(source, target, |v| [u8::from(v != 0)]),
                DType::F32 => each::<$S, _, _>(source, target, |v| (v as f32).to_le_bytes()),
                DType::F64 => each::<$S, _, _>(source, target, |v| (v as f64).to_le_bytes()),
                DType::F16 => each::<$S, _, _>(source, target, |v| f16::from_f64(v as f64).to_le_bytes()),
                DType::BF16 => each::<$S, _, _>(source, target, |v| bf16::from_f64(v as f64).to_le_bytes()),
                DType::String | DType::C64 | DType::C128 => return Err(RowFault::Cast { from, to }),
            }
        };
    }
    /// Of floats.
    macro_rules! float {
        ($S:ty) => {
            match to {
                DType::Bool => each::<$S, _, _>(source, target, |v| [u8::from(v != 0.0)]),
                DType::F32 => each::<$S, _, _>(source, target, |v| (v as f32).to_le_bytes()),
                DType::F64 => each::<$S, _, _>(source, target, |v| f64::from(v).to_le_bytes()),
                DType::F16 => each::<$S, _, _>(source, target, |v| f16::from_f64(f64::from(v)).to_le_bytes()),
                DType::BF16 => {
                    each::<$S, _, _>(source, target, |v| bf16::from_f64(f64::from(v)).to_le_bytes())
                }
                DType::String | DType::C64 | DType::C128 => return Err(RowFault::Cast { from, to }),
                _ => return truncate::<$S, _>(source, to, target),
            }
        };
    }
    match from {
        DType::U8 | DType::Bool => whole!(u8),
        DType::I8 => whole!(i8),
        DType::U16 => whole!(u16),
        DType::I16 => whole!(i16),
        DType::U32 => whole!(u32),
        DType::I32 => whole!(i32),
        DType::U64 => whole!(u64),
        DType::I64 => whole!(i64),
        DType::F16 => float!(f16),
        DType::BF16 => float!(bf16),
        DType::F32 => float!(f32),
        DType::F64 => float!(f64),
        DType::String | DType::C64 | DType::C128 => return Err(RowFault::Cast { from, to }),
    }
    Ok(())
}

/// Cuts floats off towards zero.
fn truncate<S: Number<N>, const N: usize>(source: &[u8], to: DType, target: &mut [u8]) -> Result<(), RowFault>
where
    f64: From<S::Wide>,
{
    let mut wrong = None;
    macro_rules! integer {
        ($($dtype:ident => $rust:ty),*) => {
            match to {
                $(DType::$dtype => {
                    // Powers of two, and so exact.
                    let above = <$rust>::MAX as f64 + if <$rust>::BITS < 64 { 1.0 } else { 0.0 };
                    let lowest = <$rust>::MIN as f64;
                    each::<S, _, _>(source, target, |v| {
                        let value = f64::from(v).trunc();
                        if !(value >= lowest && value < above) {
                            wrong.get_or_insert(f64::from(v));
                        }
                        (value as $rust).to_le_bytes()
                    })
                })*
                _ => {}
            }
        };
    }
    integer!(U8 => u8, I8 => i8, U16 => u16, I16 => i16, U32 => u32, I32 => i32, U64 => u64, I64 => i64);
    match wrong {
        None => Ok(()),
        Some(value) => Err(RowFault::Map(format!("{value} does not fit {to}"))),
    }
}
