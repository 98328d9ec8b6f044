//! Slices of variables: StridedSliceAssign and ResourceStridedSliceAssign.
//!
//! The operator of [`slice_update`](crate::ops::array::slice_update); its output is what the variable is from then on.

use crate::operator::Registration;
use crate::ops::array::slice_update::update;

pub(crate) const OPS: &[Registration] = &[
    Registration { name: "StridedSliceAssign", import: update },
    Registration { name: "ResourceStridedSliceAssign", import: update },
];
