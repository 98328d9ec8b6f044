//! Channels second (NCHW, NCDHW) for operators that compute with channels last: the node is one of channels last, with its
//! inputs and outputs transposed around it. [`crate::passes::layout`] takes away what transpositions undo each other.

use std::sync::Arc;

use tightfit_core::{DType, Shape};
use tightfit_format::{AttrValue, ListValue, NodeDef};

use crate::infer::infer_node;
use crate::ir::{Constant, Graph, Node, NodeId, NodeKind, ValueRef};
use crate::operator::Operator;
use crate::ops::array::gather::Gather;
use crate::ops::array::transpose::Transpose;

/// What an input is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Role {
    /// A tensor in the layout.
    Laid,
    /// A vector with an element for each of the layout's axes.
    List,
    /// Nothing of the layout.
    Other,
}

/// The operators, and what their inputs are.
const OPERATORS: &[(&str, &[Role])] = &[
    ("AvgPool", &[Role::Laid]),
    ("AvgPool3D", &[Role::Laid]),
    ("Conv2D", &[Role::Laid, Role::Other]),
    ("Conv2DBackpropInput", &[Role::List, Role::Other, Role::Laid]),
    ("Conv3D", &[Role::Laid, Role::Other]),
    ("Conv3DBackpropInputV2", &[Role::List, Role::Other, Role::Laid]),
    ("DepthwiseConv2dNative", &[Role::Laid, Role::Other]),
    ("DepthwiseConv2dNativeBackpropInput", &[Role::List, Role::Other, Role::Laid]),
    ("MaxPool", &[Role::Laid]),
    ("MaxPool3D", &[Role::Laid]),
    ("MaxPoolV2", &[Role::Laid, Role::List, Role::List]),
];

/// Attributes with an element, or a pair of them, for each axis.
const LISTS: &[&str] = &["strides", "dilations", "ksize", "explicit_paddings"];

/// A node with channels second, as one with channels last.
pub(super) struct ChannelsLast {
    /// The node.
    pub(super) node: NodeDef,
    roles: &'static [Role],
    rank: usize,
}

/// The node with channels last, where its channels are second and its operator is one of these.
pub(super) fn channels_last(node: &NodeDef) -> Option<ChannelsLast> {
    let AttrValue::Str(format) = node.attr("data_format")? else { return None };
    let (rank, last) = match &**format {
        b"NCHW" => (4, "NHWC"),
        b"NCDHW" => (5, "NDHWC"),
        _ => return None,
    };
    let (_, roles) = OPERATORS.iter().find(|(name, _)| **name == *node.op)?;
    let mut node = node.clone();
    for (name, value) in &mut node.attrs {
        if &**name == "data_format" {
            *value = AttrValue::Str(last.as_bytes().into());
        } else if LISTS.contains(&&**name)
            && let AttrValue::List(ListValue::Ints(list)) = value
        {
            let pair = list.len() / rank;
            if list.len() == rank || list.len() == 2 * rank {
                *list = to_last(rank).flat_map(|axis| list[axis * pair..][..pair].to_vec()).collect();
            }
        }
    }
    Some(ChannelsLast { node, roles, rank })
}

/// Which axis of channels second each axis of channels last is.
fn to_last(rank: usize) -> impl Iterator<Item = usize> {
    std::iter::once(0).chain(2..rank).chain(std::iter::once(1))
}

/// Which axis of channels last each axis of channels second is.
fn to_second(rank: usize) -> impl Iterator<Item = usize> {
    [0, rank - 1].into_iter().chain(1..rank - 1)
}

impl ChannelsLast {
    /// The inputs with channels last; `None` where one has no such form, which the node then says by itself.
    pub(super) fn inputs(&self, graph: &mut Graph, inputs: &[ValueRef]) -> Option<Vec<ValueRef>> {
        let mut changed = Vec::with_capacity(inputs.len());
        for (number, value) in inputs.iter().enumerate() {
            let dims = &graph.fact(*value).dims;
            let role = self.roles.get(number).copied().unwrap_or(Role::Other);
            let elements = dims.get().and_then(|dims| dims.first()).and_then(|dim| dim.size());
            changed.push(match role {
                Role::Laid => {
                    dims.rank().is_none_or(|rank| rank == self.rank).then_some(())?;
                    self.permuted(graph, Arc::new(Transpose::PLAIN), *value, to_last(self.rank))?
                }
                // Height and width alone are in order.
                Role::List if elements == Some(self.rank - 2) => *value,
                Role::List => {
                    dims.rank().is_none_or(|rank| rank == 1).then_some(())?;
                    elements.is_none_or(|count| count == self.rank).then_some(())?;
                    self.permuted(graph, Arc::new(Gather::PLAIN), *value, to_last(self.rank))?
                }
                Role::Other => *value,
            });
        }
        Some(changed)
    }

    /// The node that has the output of `made` with channels second.
    pub(super) fn output(&self, graph: &mut Graph, made: NodeId) -> Option<NodeId> {
        let value = ValueRef::of(made);
        let value = self.permuted(graph, Arc::new(Transpose::PLAIN), value, to_second(self.rank))?;
        Some(value.node)
    }

    fn permuted(
        &self,
        graph: &mut Graph,
        operator: Arc<dyn Operator>,
        value: ValueRef,
        order: impl Iterator<Item = usize>,
    ) -> Option<ValueRef> {
        let order: Vec<u8> = order.flat_map(|axis| (axis as i32).to_le_bytes()).collect();
        let order = Constant::in_memory(DType::I32, Shape::new(&[self.rank]).ok()?, order);
        let order = graph.add_constant(&format!("{}/layout", self.node.name), order);
        let name = (&*self.node.name).into();
        let kind = NodeKind::Operator(operator);
        let id = graph.add(Node { name, kind, inputs: vec![value, order], control: vec![], facts: vec![] });
        graph.node_mut(id).facts = infer_node(graph, id).ok()?;
        Some(ValueRef::of(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ints, text};

    #[test]
    fn lists_follow_the_axes() {
        let attrs = [
            ("data_format", text("NCHW")),
            ("strides", ints(&[1, 9, 2, 3])),
            ("explicit_paddings", ints(&[0, 0, 7, 8, 1, 2, 3, 4])),
        ];
        let attrs = attrs.into_iter().map(|(name, value)| (name.into(), value)).collect();
        let mut node = NodeDef { name: "n".into(), op: "Conv2D".into(), attrs, ..NodeDef::default() };
        let changed = channels_last(&node).unwrap().node;
        assert_eq!(changed.attr("data_format"), Some(&text("NHWC")));
        assert_eq!(changed.attr("strides"), Some(&ints(&[1, 2, 3, 9])));
        assert_eq!(changed.attr("explicit_paddings"), Some(&ints(&[0, 0, 1, 2, 3, 4, 7, 8])));
        node.op = "BiasAdd".into();
        assert!(channels_last(&node).is_none());
        assert_eq!(to_second(5).collect::<Vec<_>>(), [0, 4, 1, 2, 3]);
    }
}
