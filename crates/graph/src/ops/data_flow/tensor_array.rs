//! TensorFlow 1's arrays of tensors: TensorArrayV3 and its kin. What goes from node to node is the *flow*, which is a list as
//! [`super::tensor_list`] has it; the handle, which says which array is meant, is a tensor without elements.
//!
//! Types: any. An array of `dynamic_size` gets longer where a place past its last element is written, which nodes see by its
//! handle: it has one element then. Elements may have different shapes where the array does not say which.

use super::list_parts::{Resizes, Said, shape_of_attribute, stacked};
use super::list_reads::{Concat, Gather, GetItem, Length};
use super::list_split::{Pieces, Split};
use super::tensor_list::{Reserve, Scatter, SetItem};
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Run};

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
            let shape = Said::Attribute(shape_of_attribute(a, "element_shape")?);
            Ok(Box::new(Gather { dtype: a.dtype("dtype")?, list: 2, shape }))
        },
    },
    Registration {
        name: "TensorArrayScatterV3",
        import: |a| Ok(Box::new(Scatter { dtype: a.dtype("T")?, list: 3, rows: 2, resizes: BY_HANDLE })),
    },
    Registration {
        name: "TensorArraySplitV3",
        import: |a| Ok(Box::new(Split { dtype: a.dtype("T")?, of: Pieces::Array })),
    },
    Registration {
        name: "TensorArrayConcatV3",
        import: |a| {
            let rest = shape_of_attribute(a, "element_shape_except0")?;
            let shape = Said::Attribute(stacked(Dim::Unknown, &rest));
            Ok(Box::new(Concat { dtype: a.dtype("dtype")?, list: 1, shape }))
        },
    },
    Registration { name: "TensorArraySizeV3", import: |_| Ok(Box::new(Length { list: 1 })) },
    Registration { name: "TensorArrayCloseV3", import: |_| Ok(Box::new(Close)) },
];

/// The array's handle says whether it gets longer.
const BY_HANDLE: Resizes = Resizes::WithHandle(0);

fn array(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let said = shape_of_attribute(attributes, "element_shape")?;
    let is_dynamic = attributes.bool_or("dynamic_size", false)?;
    Ok(Box::new(Reserve::array(attributes.dtype("dtype")?, said, is_dynamic)))
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
