//! Constants of a file: small ones are read, large ones stay there.

use std::sync::Arc;

use tightfit_core::{BudgetError, DType, Reservation, Shape, block_bytes, list_bytes};
use tightfit_format::{AttrValue, DataType, InlineBytes, NodeDef, TensorContent, TensorDef};

use super::{Importer, take_attribute};
use crate::fact::KNOWN_VALUE_MAX_BYTES;
use crate::ir::{Constant, ConstantData, Node, NodeId, NodeKind};
use crate::operator::OpError;

/// The value of a Const node, out of its attributes.
fn take_tensor(node: &mut NodeDef) -> Option<TensorDef> {
    match take_attribute(node, "value") {
        Some(AttrValue::Tensor(tensor)) => Some(*tensor),
        _ => None,
    }
}

impl Importer<'_> {
    pub(super) fn add_constant(&mut self, index: usize) -> Result<NodeId, OpError> {
        let tensor = take_tensor(&mut self.def.nodes[index])
            .ok_or_else(|| OpError::attribute("value", "is missing or no tensor"))?;
        let constant = self.constant(tensor)?;
        let facts = vec![constant.fact()];
        let kind = NodeKind::Constant(self.graph.hold(constant));
        let name = (&*self.def.nodes[index].name).into();
        Ok(self.graph.add(Node { name, kind, inputs: vec![], control: vec![], facts }))
    }

    /// The constant of a tensor in the file: small ones are read, large ones stay there.
    pub(super) fn constant(&mut self, tensor: TensorDef) -> Result<Constant, OpError> {
        let data_type = DataType(tensor.dtype);
        let dtype = data_type.storage().ok_or_else(|| {
            OpError::attribute("value", format!("is a tensor of {data_type}, a type that is not supported"))
        })?;
        let dims: Result<Vec<usize>, _> = tensor.shape.iter().map(|d| usize::try_from(*d)).collect();
        let dims = dims.map_err(|_| OpError::attribute("value", "is a tensor of open shape"))?;
        let shape = Shape::new(&dims)?;
        let bytes = shape.elements() * dtype.bytes();
        let source = self.source;
        let data = match tensor.content {
            TensorContent::Strings(strings) if dtype == DType::String => {
                // The list is copied after its counters; the texts go from the description to the constant.
                let texts = strings.iter().map(|text| block_bytes(text.len() as u64)).sum::<u64>();
                let list = block_bytes(2 * size_of::<usize>() as u64 + size_of_val(&*strings) as u64);
                let held = self.hold_of_file(texts, list)?;
                return Ok(Constant { dtype, shape, data: ConstantData::Strings(strings.into()), held });
            }
            _ if dtype == DType::String => {
                return Err(OpError::attribute("value", "holds no strings in a tensor of strings"));
            }
            TensorContent::Strings(_) | TensorContent::Opaque => {
                return Err(OpError::attribute("value", format!("does not hold elements of {dtype}")));
            }
            _ if bytes <= KNOWN_VALUE_MAX_BYTES => {
                let held = self.hold_of_file(0, block_bytes(2 * size_of::<usize>() as u64 + bytes as u64))?;
                let mut elements = vec![0; bytes];
                tensor.read_into(source, &mut elements)?;
                return Ok(Constant { dtype, shape, data: ConstantData::Memory(elements.into()), held });
            }
            TensorContent::File { offset, bytes: present } if present == bytes as u64 => {
                ConstantData::File { source: source.clone(), offset }
            }
            _ => ConstantData::Tensor { source: source.clone(), tensor: Box::new(tensor) },
        };
        let held = match &data {
            ConstantData::Tensor { tensor, .. } => {
                let inline = match &tensor.content {
                    TensorContent::Inline(InlineBytes::Small(bytes)) => block_bytes(bytes.len() as u64),
                    TensorContent::Stored(stored) => stored.heap_bytes(),
                    _ => 0,
                };
                let own = block_bytes(size_of::<TensorDef>() as u64) + list_bytes(&tensor.shape);
                self.hold_of_file(inline, own)?
            }
            _ => None,
        };
        Ok(Constant { dtype, shape, data, held })
    }

    /// The reservation of a constant: `moved` bytes come from the description, which had reserved them.
    fn hold_of_file(&mut self, moved: u64, new: u64) -> Result<Option<Arc<Reservation>>, BudgetError> {
        let own = block_bytes(2 * size_of::<usize>() as u64 + size_of::<Constant>() as u64);
        let left = self.def.reservation.bytes().saturating_sub(moved);
        self.def.reservation.shrink(left);
        self.graph.reserve_constant(moved + new + own).map(Some)
    }
}
