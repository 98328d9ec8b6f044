//! What can be wrong with a model, in the second of two levels: an operator says what, the graph says where.

use std::collections::BTreeMap;
use std::fmt;

use tightfit_core::{BudgetError, display_bytes};
use tightfit_format::FormatError;

use tightfit_kernels::ThreadError;

use crate::operator::OpError;

/// Who asks for a tensor that is to be returned.
pub const A_FETCH: &str = "a fetch";
/// Who asks for a tensor that is to be fed.
pub const A_FEED: &str = "a feed";

/// Why a model cannot be imported, planned or run.
#[derive(Debug)]
#[non_exhaustive]
pub enum GraphError {
    /// The file cannot be read.
    Format(FormatError),
    /// Nodes that cannot be run, all of them.
    Unsupported(Unsupported),
    /// A node cannot be inferred or run.
    Node {
        /// The model's file.
        file: String,
        /// The node.
        node: String,
        /// Its operator.
        op: String,
        /// What is wrong.
        source: Box<OpError>,
    },
    /// The graph reads variables, and no checkpoint says their values.
    NotFrozen {
        /// The model's file.
        file: String,
        /// One of them.
        variable: String,
        /// How many there are.
        count: usize,
    },
    /// The checkpoint has no value for a variable that is read.
    NoValue {
        /// The file.
        file: String,
        /// The variable.
        variable: String,
        /// The checkpoint, as the path that its files' names begin with.
        checkpoint: String,
        /// Names that it has and that are like it.
        similar: Vec<String>,
    },
    /// A node needs itself.
    Cycle {
        /// The node.
        node: String,
    },
    /// A node's input, or a tensor that was asked for, does not exist.
    NoSuchTensor {
        /// Who asked: a node, [`A_FETCH`] or [`A_FEED`].
        asked_by: String,
        /// The name.
        name: String,
        /// Names that are close to it.
        similar: Vec<String>,
    },
    /// A node's input, or a tensor that was asked for, is of a node that has fewer outputs.
    NoSuchOutput {
        /// Who asked: a node, [`A_FETCH`] or [`A_FEED`].
        asked_by: String,
        /// The name: a node's, or with a colon and a number.
        name: String,
        /// The node's operator.
        op: String,
        /// How many outputs it has.
        outputs: usize,
    },
    /// An operator was added under a name that is taken.
    OperatorExists {
        /// The name.
        op: String,
        /// True when the operator that has it is built in.
        is_built_in: bool,
    },
    /// Two nodes have one name.
    DuplicateNode {
        /// The name.
        node: String,
    },
    /// The shape of an input is open and nobody said what it is.
    OpenShape {
        /// The input.
        input: String,
        /// What is known of it.
        dims: String,
    },
    /// A tensor was fed that does not fit the input.
    Feed {
        /// The input.
        input: String,
        /// What is wrong.
        why: String,
    },
    /// A tensor or scratch is larger than any memory.
    TooLarge {
        /// The node.
        node: String,
        /// Its operator.
        op: String,
        /// Its size.
        bytes: u64,
    },
    /// The graph is not whole.
    Broken {
        /// The node.
        node: String,
        /// What is wrong with it.
        why: String,
    },
    /// The memory budget does not suffice.
    Budget(BudgetError),
    /// The system gave too few threads.
    Threads(ThreadError),
    /// The memory budget does not suffice for the structure of the model.
    Memory {
        /// The model's file.
        file: String,
        /// The node that was being made and its operator; `None` for the graph as a whole.
        node: Option<(String, String)>,
        /// What does not fit.
        source: Box<BudgetError>,
    },
    /// A run reads a variable that nothing has given a value.
    Unset {
        /// The variable.
        variable: String,
    },
    /// The run was asked to stop.
    Stopped,
    /// A context whose weights could not be read was run again.
    Failed,
    /// The plan broke one of its own rules.
    Plan(String),
}

/// All nodes of a model that cannot be run, grouped by operator and reason. However many there are, it keeps a few
/// names and groups and counts the others.
#[derive(Debug, Default)]
pub struct Unsupported {
    /// The model's file.
    pub file: String,
    /// Nodes by operator and reason.
    pub groups: BTreeMap<(String, String), UnsupportedNodes>,
    /// Number of nodes in all.
    pub(crate) count: usize,
}

/// Nodes that cannot be run for one reason.
#[derive(Debug, Default)]
pub struct UnsupportedNodes {
    /// The names of the first, in the order of the file.
    pub first: Vec<String>,
    /// How many there are.
    pub count: usize,
}

/// How many node names of a group are written out.
const NAMES_PER_GROUP: usize = 3;
/// How many groups are written out.
const GROUPS: usize = 40;

impl Unsupported {
    /// Adds a node.
    pub fn add(&mut self, op: &str, why: impl Into<String>, node: &str) {
        self.count += 1;
        let key = (op.to_string(), why.into());
        if self.groups.len() == GROUPS && !self.groups.contains_key(&key) {
            return;
        }
        let group = self.groups.entry(key).or_default();
        group.count += 1;
        if group.first.len() < NAMES_PER_GROUP {
            group.first.push(node.to_string());
        }
    }

    /// Adds all nodes of another list.
    pub(crate) fn append(&mut self, other: Unsupported) {
        self.count += other.count;
        for (key, nodes) in other.groups {
            if self.groups.len() == GROUPS && !self.groups.contains_key(&key) {
                continue;
            }
            let group = self.groups.entry(key).or_default();
            group.count += nodes.count;
            let left = NAMES_PER_GROUP.saturating_sub(group.first.len());
            group.first.extend(nodes.first.into_iter().take(left));
        }
    }

    /// Number of nodes.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count();
        write!(f, "{}: {count} node{} cannot be run: ", self.file, if count == 1 { "" } else { "s" })?;
        for (i, ((op, why), group)) in self.groups.iter().enumerate() {
            let more = if group.count > group.first.len() { ", .." } else { "" };
            let names = group.first.join(", ");
            write!(f, "{}{op} ({why}) x {}: {names}{more}", if i > 0 { "; " } else { "" }, group.count)?;
        }
        let others = self.count - self.groups.values().map(|group| group.count).sum::<usize>();
        if others > 0 {
            write!(f, "; and {others} more nodes")?;
        }
        Ok(())
    }
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GraphError::Format(error) => error.fmt(f),
            GraphError::Unsupported(unsupported) => unsupported.fmt(f),
            GraphError::Node { file, node, op, source } => {
                write!(f, "{file}: node '{node}' ({op}): {source}")
            }
            GraphError::NoValue { file, variable, checkpoint, similar } => {
                write!(
                    f,
                    "{file} is not frozen: variable '{variable}' has no value in the checkpoint {checkpoint}; give with --checkpoint the \
                     one that was saved with this graph"
                )?;
                if similar.is_empty() { Ok(()) } else { write!(f, "; it has {}", similar.join(", ")) }
            }
            GraphError::NotFrozen { file, variable, count } => write!(
                f,
                "{file} is not frozen: '{variable}'{} is a variable whose value is in a checkpoint; give the checkpoint \
                 too, or the SavedModel it was saved in",
                match count {
                    1 => String::new(),
                    more => format!(" and {} others", more - 1),
                }
            ),
            GraphError::Cycle { node } => {
                write!(f, "node '{node}' needs its own result: the graph has a cycle")
            }
            GraphError::NoSuchTensor { asked_by, name, similar } => {
                write!(f, "{asked_by} asks for '{name}', which the model does not have")?;
                if similar.is_empty() { Ok(()) } else { write!(f, "; did you mean {}?", similar.join(", ")) }
            }
            GraphError::NoSuchOutput { asked_by, name, op, outputs } => {
                let count = match outputs {
                    0 => "no outputs".to_string(),
                    1 => "1 output".to_string(),
                    outputs => format!("{outputs} outputs"),
                };
                write!(f, "{asked_by} asks for '{name}', but the node is a {op}, which has {count}")
            }
            GraphError::OperatorExists { op, is_built_in: true } => {
                write!(f, "operator '{op}' is built in; give yours another name")
            }
            GraphError::OperatorExists { op, is_built_in: false } => {
                write!(f, "operator '{op}' was added before; give each a name of its own")
            }
            GraphError::DuplicateNode { node } => write!(f, "two nodes are named '{node}'"),
            GraphError::OpenShape { input, dims } => {
                write!(f, "the shape of input '{input}' is open: {dims}; give it one")
            }
            GraphError::Feed { input, why } => write!(f, "input '{input}' {why}"),
            GraphError::TooLarge { node, op, bytes } => {
                write!(f, "node '{node}' ({op}) needs {}, more than any memory", display_bytes(*bytes))
            }
            GraphError::Broken { node, why } => write!(f, "node '{node}': {why}"),
            GraphError::Budget(error) => error.fmt(f),
            GraphError::Threads(error) => error.fmt(f),
            GraphError::Memory { file, node: Some((node, op)), source } => {
                write!(f, "{file}: node '{node}' ({op}): {source}; give it more memory")
            }
            GraphError::Memory { file, node: None, source } => {
                write!(f, "{file}: {source}; give it more memory")
            }
            GraphError::Unset { variable } => {
                write!(f, "variable '{variable}' is read before anything gives it a value")
            }
            GraphError::Stopped => f.write_str("the run was stopped"),
            GraphError::Failed => f.write_str("the model cannot run any more: an earlier run failed"),
            GraphError::Plan(why) => write!(f, "the memory plan is wrong: {why} (a defect of TightFit)"),
        }
    }
}

impl std::error::Error for GraphError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            GraphError::Format(error) => Some(error),
            GraphError::Node { source, .. } => Some(&**source),
            GraphError::Budget(error) => Some(error),
            GraphError::Memory { source, .. } => Some(&**source),
            GraphError::Threads(error) => Some(error),
            _ => None,
        }
    }
}

impl From<FormatError> for GraphError {
    fn from(error: FormatError) -> GraphError {
        GraphError::Format(error)
    }
}

impl From<BudgetError> for GraphError {
    fn from(error: BudgetError) -> GraphError {
        GraphError::Budget(error)
    }
}
