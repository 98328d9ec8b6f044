//! The operators, one file per family. Each file is in the same order: meaning, attributes and import, inference,
//! memory, run, cases.

/// The methods of an operator whose first output is of its first input's type and shape, and may take its memory.
macro_rules! takes_over_its_input {
    () => {
        fn memory(&self, _: &$crate::operator::Call<'_>) -> $crate::operator::Memory {
            $crate::operator::Memory::overwrites(&[0])
        }

        fn reshape(&self, run: &mut $crate::operator::Run<'_>) -> Option<()> {
            $crate::reshape::same(run, 0)
        }
    };
}

mod arg;
mod assert;
mod batch_matmul;
pub mod batch_norm;
mod bias_add;
mod binary;
mod bincount;
mod cast;
mod concat;
mod contraction;
pub mod conv2d;
mod conv2d_f64;
mod conv2d_transpose;
mod cross_entropy;
pub mod depthwise;
mod diagonal;
mod distinct;
pub mod einsum;
mod extent;
mod fake_quant;
mod fill;
pub mod fused;
mod gather;
pub mod identity;
mod l2_loss;
pub mod layer_norm;
mod lrn;
pub mod matmul;
mod max_pool_with_argmax;
mod one_hot;
mod pack;
mod pad;
mod partition;
mod patches;
pub mod pool;
pub mod reduce;
mod repeat;
mod reshape;
pub mod reshape_tail;
mod resize;
mod reverse;
mod scan;
mod scatter;
mod segment;
mod select;
mod shape;
mod slice;
mod softmax;
mod space;
mod strided_slice;
mod top_k;
mod transpose;
mod unary;
pub mod window;

use std::collections::HashMap;
use std::sync::OnceLock;

use tightfit_core::DType;

use crate::attributes::Attributes;
use crate::dim::{Dim, Dims};
use crate::fact::Fact;
use crate::operator::{OpError, Operator};

pub use batch_matmul::BatchMatMul;
pub use binary::Binary;
pub use cast::Cast;
pub use reshape::Reshape;
pub use slice::Slice;
pub use softmax::Softmax;
pub use strided_slice::StridedSlice;
pub use unary::Unary;

/// How a node of a file becomes an operator.
pub struct Registration {
    /// The operator's name in TensorFlow.
    pub name: &'static str,
    /// Reads the node's attributes.
    pub import: fn(&Attributes<'_>) -> Result<Box<dyn Operator>, OpError>,
}

/// Every family of operators, by the name of its file, with what it registers.
pub static FAMILIES: &[(&str, &[Registration])] = &[
    ("arg", arg::OPS),
    ("assert", assert::OPS),
    ("batch_matmul", batch_matmul::OPS),
    ("batch_norm", batch_norm::OPS),
    ("bias_add", bias_add::OPS),
    ("binary", binary::OPS),
    ("bincount", bincount::OPS),
    ("cast", cast::OPS),
    ("concat", concat::OPS),
    ("conv2d", conv2d::OPS),
    ("conv2d_transpose", conv2d_transpose::OPS),
    ("cross_entropy", cross_entropy::OPS),
    ("depthwise", depthwise::OPS),
    ("diagonal", diagonal::OPS),
    ("distinct", distinct::OPS),
    ("einsum", einsum::OPS),
    ("fake_quant", fake_quant::OPS),
    ("fill", fill::OPS),
    ("gather", gather::OPS),
    ("identity", identity::OPS),
    ("l2_loss", l2_loss::OPS),
    ("lrn", lrn::OPS),
    ("matmul", matmul::OPS),
    ("max_pool_with_argmax", max_pool_with_argmax::OPS),
    ("one_hot", one_hot::OPS),
    ("pack", pack::OPS),
    ("pad", pad::OPS),
    ("partition", partition::OPS),
    ("patches", patches::OPS),
    ("pool", pool::OPS),
    ("reduce", reduce::OPS),
    ("repeat", repeat::OPS),
    ("reshape", reshape::OPS),
    ("resize", resize::OPS),
    ("reverse", reverse::OPS),
    ("scan", scan::OPS),
    ("scatter", scatter::OPS),
    ("segment", segment::OPS),
    ("select", select::OPS),
    ("shape", shape::OPS),
    ("slice", slice::OPS),
    ("softmax", softmax::OPS),
    ("space", space::OPS),
    ("strided_slice", strided_slice::OPS),
    ("top_k", top_k::OPS),
    ("transpose", transpose::OPS),
    ("unary", unary::OPS),
];

/// The registration of an operator.
pub fn find(name: &str) -> Option<&'static Registration> {
    static BY_NAME: OnceLock<HashMap<&'static str, &'static Registration>> = OnceLock::new();
    BY_NAME.get_or_init(|| all().map(|r| (r.name, r)).collect()).get(name).copied()
}

/// True when nodes of this kind can be imported.
pub fn is_supported(name: &str) -> bool {
    matches!(name, "Const" | "Placeholder") || find(name).is_some()
}

/// Every registration, in the order of the registry.
pub fn all() -> impl Iterator<Item = &'static Registration> {
    FAMILIES.iter().flat_map(|(_, operators)| *operators)
}

/// The fact of an input.
///
/// # Errors
/// [`OpError::Input`] when the node has fewer inputs.
pub(crate) fn input<'a>(inputs: &[&'a Fact], index: usize) -> Result<&'a Fact, OpError> {
    inputs.get(index).copied().ok_or_else(|| OpError::input(index, "is missing"))
}

/// The axis that `axis` means in a tensor of `rank`: negative ones count from the end.
pub(crate) fn axis(axis: i64, rank: usize) -> Option<usize> {
    let positive = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(positive).ok().filter(|axis| *axis < rank)
}

/// The shape of an elementwise result.
///
/// # Errors
/// [`OpError::Input`] when the shapes do not broadcast.
pub(crate) fn broadcast(a: &Fact, b: &Fact) -> Result<Dims, OpError> {
    let why = || OpError::input(1, format!("of shape {} does not broadcast with {}", b.dims, a.dims));
    a.dims.broadcast(&b.dims).ok_or_else(why)
}

/// The most axes that TensorFlow broadcasts along, where neighbours that are broadcast alike are one.
const MAX_BROADCAST: usize = 5;

/// Checks that TensorFlow's kernels broadcast these shapes, which go together.
///
/// # Errors
/// [`OpError::Input`] for shapes that differ in too many ways.
pub(crate) fn check_broadcast(a: &[usize], b: &[usize]) -> Result<(), OpError> {
    if a.len().max(b.len()) <= MAX_BROADCAST || a == b || a.contains(&0) || b.contains(&0) {
        return Ok(());
    }
    let (mut runs, mut last) = (0, None);
    for axis in 1..=a.len().max(b.len()) {
        let is_one = [a, b].map(|dims| dims.len().checked_sub(axis).is_none_or(|at| dims[at] == 1));
        if is_one != [true; 2] && last != Some(is_one) {
            runs += 1;
            last = Some(is_one);
        }
    }
    if runs <= MAX_BROADCAST {
        return Ok(());
    }
    let why = format!(
        "of shape {b:?} is broadcast with {a:?} along {runs} axes; at most {MAX_BROADCAST} are supported"
    );
    Err(OpError::input(1, why))
}

/// Checks the type of an input.
///
/// # Errors
/// [`OpError::Input`] that names both.
pub(crate) fn need_type(index: usize, fact: &Fact, types: &[DType]) -> Result<(), OpError> {
    if types.contains(&fact.dtype) {
        return Ok(());
    }
    let names = types.iter().map(|t| t.name()).collect::<Vec<_>>().join(", ");
    Err(OpError::input(index, format!("is of type {}; supported: {names}", fact.dtype)))
}

/// Checks that an input is of a float type.
///
/// # Errors
/// [`OpError::Input`] when it is not.
pub(crate) fn need_float(index: usize, fact: &Fact) -> Result<(), OpError> {
    need_type(index, fact, &[DType::F32, DType::F64, DType::F16, DType::BF16])
}

/// The dimensions of an input that must be of a rank, or `None` when nothing is known of its shape.
///
/// # Errors
/// [`OpError::Input`] when it is of another rank.
pub(crate) fn dims_of_rank(index: usize, fact: &Fact, rank: usize) -> Result<Option<Vec<Dim>>, OpError> {
    match fact.dims.get() {
        None => Ok(None),
        Some(dims) if dims.len() == rank => Ok(Some(dims.to_vec())),
        Some(_) => Err(OpError::input(index, format!("is of shape {}; rank {rank} is needed", fact.dims))),
    }
}
