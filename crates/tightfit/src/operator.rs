//! What an operator of your own is made of, for models with nodes of kinds that are not built in.
//!
//! An operator is a type that implements [`Operator`]. `name`, `infer` and `run` are all that it must have:
//!
//! - `infer` says type and shape of each output from what is known of the inputs. A dimension of a [`Fact`] may be open, the
//!   batch for one; what goes in open comes out open.
//! - `memory` says how much scratch a run needs at given shapes, and whether an input may be overwritten. It is part of the
//!   plan, so of what `--memory` bounds. A run that allocates by itself does so outside of the budget.
//! - `run` reads inputs as typed slices, writes outputs, and computes on [`Run::pool`]; [`for_each_row`] deals rows out among
//!   its threads.
//!
//! Whatever one of them refuses is an [`OpError`]; node and file are added to it. The `Debug` text of an operator must hold all
//! its attributes: two nodes that take the same values and whose operators print the same text become one.
//!
//! [`Operators`] says which nodes become which operator, and [`OpenOptions::operators`](crate::OpenOptions::operators) takes
//! it. `crates/tightfit/examples/moving_median.rs` is a whole one, and docs/own-operators.md tells of it.

pub use tightfit_core::{Element, StringRef};
pub use tightfit_graph::Operators;
pub use tightfit_graph::dim::{Dim, Dims};
pub use tightfit_graph::fact::Fact;
pub use tightfit_graph::operator::attributes::Attributes;
pub use tightfit_graph::operator::{Call, Ints, Memory, OpError, Operator, Run, TensorInfo};
pub use tightfit_kernels::for_each_row;
