//! TensorFlow 1's arrays of tensors: TensorArrayV3 and its kin. What goes from node to node is the *flow*, which is a list as
//! [`super::tensor_list`] has it; the handle, which says which array is meant, is a tensor without elements.
//!
//! Types: any. An array of `dynamic_size` gets longer where a place behind its last element is written, which nodes see by its
//! handle: it has one element then. Refused: elements of different shapes in one array.

use tightfit_core::DType;

use super::list_parts::{Said, list};
use super::list_reads::{Concat, Gather, GetItem, Length};
use super::tensor_list::{Reserve, Resizes, Scatter, SetItem};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::reshape;
use crate::operator::{Call, Memory, OpError, Operator, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "TensorArrayV3", import: array },
    Registration {
        name: "TensorArrayWriteV3",
        import: |a| Ok(Box::new(SetItem { dtype: a.dtype("T")?, list: 3, resizes: BY_HANDLE })),
    },
    Registration {
        name: "TensorArrayReadV3",
        import: |a| {
            let shape = Said::Attribute(Dims::UNKNOWN);
            Ok(Box::new(GetItem { dtype: a.dtype("dtype")?, list: 2, shape }))
        },
    },
    Registration {
        name: "TensorArrayGatherV3",
        import: |a| {
            Ok(Box::new(Gather { dtype: a.dtype("dtype")?, list: 2, shape: element(a, "element_shape")? }))
        },
    },
    Registration {
        name: "TensorArrayScatterV3",
        import: |a| Ok(Box::new(Scatter { dtype: a.dtype("T")?, list: 3, rows: 2, resizes: BY_HANDLE })),
    },
    Registration { name: "TensorArraySplitV3", import: |a| Ok(Box::new(Split { dtype: a.dtype("T")? })) },
    Registration {
        name: "TensorArrayConcatV3",
        import: |a| {
            let shape = Said::Attribute(Dims::UNKNOWN);
            Ok(Box::new(Concat { dtype: a.dtype("dtype")?, list: 1, shape }))
        },
    },
    Registration { name: "TensorArraySizeV3", import: |_| Ok(Box::new(Length { list: 1 })) },
    Registration { name: "TensorArrayCloseV3", import: |_| Ok(Box::new(Close)) },
];

/// The array's handle says whether it gets longer.
const BY_HANDLE: Resizes = Resizes::WithHandle(0);

/// The shape of elements that an attribute says.
fn element(attributes: &Attributes<'_>, name: &str) -> Result<Said, OpError> {
    let dim = |dim: i64| if dim < 0 { Dim::Unknown } else { Dim::Known(dim) };
    let dims = attributes.shape_or_unknown(name)?;
    Ok(Said::Attribute(
        dims.map_or(Dims::UNKNOWN, |dims| Dims::new(dims.into_iter().map(dim).collect::<Vec<_>>())),
    ))
}

fn array(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let Said::Attribute(element) = element(attributes, "element_shape")? else {
        return Err(OpError::Internal("an attribute says the shape of elements"));
    };
    let is_dynamic = attributes.bool_or("dynamic_size", false)?;
    Ok(Box::new(Reserve::array(attributes.dtype("dtype")?, element, is_dynamic)))
}

/// A list of pieces of a tensor along its first axis, all of one length.
#[derive(Debug)]
struct Split {
    dtype: DType,
}

impl Operator for Split {
    fn name(&self) -> &'static str {
        "TensorArraySplitV3"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let (value, lengths) = (shared::input(inputs, 1)?, shared::input(inputs, 2)?);
        let flow = shared::input(inputs, 3)?;
        let count = lengths.dims.elements();
        // An array that may get longer is as long as there are pieces.
        let length = match flow.list.ok_or_else(|| OpError::input(3, "is no array of tensors"))? {
            Dim::Unknown => count,
            Dim::Known(_) if Resizes::WithHandle(0).is_known(inputs)? => count,
            length => length,
        };
        let piece = match lengths.ints().as_deref() {
            Some([first, rest @ ..]) if rest.iter().all(|other| other == first) => Dim::Known(*first),
            Some([_, ..]) => {
                return Err(OpError::input(
                    2,
                    "asks for pieces of different lengths, which is not supported",
                ));
            }
            _ => Dim::Unknown,
        };
        let element = value.dims.get().and_then(<[Dim]>::split_first);
        let element = element.map_or(Dims::UNKNOWN, |(_, rest)| Dims::new([&[piece], rest].concat()));
        Ok(vec![list(self.dtype, length, &element)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        let (value, lengths) = (run.shape(1), run.slice::<i64>(2).ok()?);
        let piece = usize::try_from(*lengths.first()?).ok()?;
        lengths.iter().all(|length| *length == lengths[0]).then_some(())?;
        reshape::set(run, 0, [lengths.len(), piece].into_iter().chain(value.get(1..)?.iter().copied()))
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let value = run.input(1)?;
        let out = run.out_bytes(0)?;
        if value.bytes().len() != out.len() {
            return Err(OpError::input(2, "asks for more or fewer rows than there are"));
        }
        out.copy_from_slice(value.bytes());
        Ok(())
    }
}

/// The end of an array.
#[derive(Debug)]
struct Close;

impl Operator for Close {
    fn name(&self) -> &'static str {
        "TensorArrayCloseV3"
    }

    fn infer(&self, _: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        Ok(Vec::new())
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory::default()
    }

    fn run(&self, _: &mut Run<'_>) -> Result<(), OpError> {
        Ok(())
    }
}
