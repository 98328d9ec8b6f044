//! What makes a graph simpler, one pass a file. Each leaves the results of every fetched tensor as they are.

pub mod activation;
pub mod byte_functions;
pub mod channel_scale;
pub mod common_subexpressions;
pub mod computed_constants;
pub mod control_edges;
pub mod dense;
pub mod depthwise;
pub mod filters;
pub mod fold_constants;
pub mod hoist;
pub mod identities;
pub mod layer_norm;
pub mod layout;
pub mod neutral;
pub mod pad;
pub mod regions;
pub mod residual;
mod rewrite;
pub mod scale_shift;
pub mod separable;
pub mod smooth_activations;
pub mod sparse;
pub mod strides;
pub mod transposed;

use tightfit_core::step_done;

use crate::error::GraphError;
use crate::infer::{self, graph_memory_error, infer};
use crate::ir::{Graph, dead_nodes};

/// A pass: changes the graph, and says whether it did.
pub type Pass = fn(&mut Graph) -> bool;

/// The passes that need no concrete shapes, in the order they run.
pub static PASSES: &[(&str, Pass)] = &[
    ("regions", regions::simplify),
    ("hoist", hoist::products),
    ("control_edges", control_edges::remove),
    ("identities", identities::remove),
    ("computed_constants", computed_constants::make),
    ("filters", filters::read_transposed),
    ("fold_constants", fold_constants::fold),
    ("neutral", neutral::remove),
    ("common_subexpressions", common_subexpressions::merge),
    ("layout", layout::simplify),
    ("layer_norm", layer_norm::fuse),
    ("smooth_activations", smooth_activations::fuse),
    ("byte_functions", byte_functions::fuse),
    ("dense", dense::make),
    ("depthwise", depthwise::make),
    ("transposed", transposed::drop_sizes),
    ("pad", pad::fuse),
    ("scale_shift", scale_shift::fuse),
    ("channel_scale", channel_scale::make),
    ("residual", residual::fuse),
    ("activation", activation::fuse),
    ("strides", strides::move_up),
    ("sparse", sparse::multiply),
];

/// How often the list is run at most, for passes that make work for earlier ones.
const ROUNDS: usize = 4;

/// What shows, in a body, the values that it hands on as it is given them.
static TIDYING: &[(&str, Pass)] =
    &[("control_edges", control_edges::remove), ("identities", identities::remove)];

/// Runs all passes until none changes anything, on the graph and then on the bodies in it.
///
/// # Errors
/// [`GraphError`] when the result is no longer whole, which would be a defect of a pass.
pub fn run(graph: &mut Graph) -> Result<(), GraphError> {
    tidy_bodies(graph)?;
    run_on_all(graph)
}

/// Tidies the bodies in a graph, from the innermost ones on.
fn tidy_bodies(graph: &mut Graph) -> Result<(), GraphError> {
    for id in graph.regions() {
        let bodies = graph.region_mut(id).map(|region| &mut region.bodies);
        bodies.into_iter().flatten().try_for_each(|body| {
            tidy_bodies(body)?;
            run_list(body, TIDYING).map(|_| ())
        })?;
    }
    Ok(())
}

fn run_on_all(graph: &mut Graph) -> Result<(), GraphError> {
    run_on(graph)?;
    let regions = graph.regions();
    for id in &regions {
        let bodies = graph.region_mut(*id).map(|region| &mut region.bodies);
        bodies.into_iter().flatten().try_for_each(run_on_all)?;
    }
    if regions.is_empty() { Ok(()) } else { infer(graph) }
}

/// Runs all passes on a graph, until none changes anything, and leaves the bodies in it as they are.
fn run_on(graph: &mut Graph) -> Result<(), GraphError> {
    for _ in 0..ROUNDS {
        if !run_list(graph, PASSES)? {
            break;
        }
    }
    Ok(())
}

/// Runs each of these passes on a graph, and says whether any has changed it.
fn run_list(graph: &mut Graph, passes: &[(&str, Pass)]) -> Result<bool, GraphError> {
    let mut has_changed = false;
    for (name, pass) in passes {
        let working = graph.memory().room(working_bytes(graph));
        let _working = working.map_err(|source| graph_memory_error(graph, source))?;
        let changes = pass(graph);
        step_done();
        graph.check().map_err(|source| graph_memory_error(graph, source))?;
        if changes {
            has_changed = true;
            dead_nodes::remove(graph);
            graph.recount().map_err(|source| graph_memory_error(graph, source))?;
            infer(graph).map_err(|error| match error {
                GraphError::Node { node, source, .. } => {
                    GraphError::Broken { node, why: format!("after the pass {name}: {source}") }
                }
                other => other,
            })?;
        }
    }
    Ok(has_changed)
}

/// Runs what there is to do once every shape is known: values that follow from shapes become constants, and what pays for
/// images of their sizes, computed by so many threads, is fused.
///
/// # Errors
/// [`GraphError`] when the result is no longer whole, which would be a defect of a pass.
pub fn run_bound(graph: &mut Graph, threads: usize) -> Result<(), GraphError> {
    let working = graph.memory().room(working_bytes(graph));
    let _working = working.map_err(|source| graph_memory_error(graph, source))?;
    fold_constants::fold(graph);
    step_done();
    dead_nodes::remove(graph);
    if separable::fuse(graph, threads) {
        dead_nodes::remove(graph);
    }
    for id in graph.regions() {
        let bodies = graph.region_mut(id).map(|region| &mut region.bodies);
        bodies.into_iter().flatten().try_for_each(|body| run_bound(body, threads))?;
    }
    graph.recount().map_err(|source| graph_memory_error(graph, source))
}

/// The same after products with sparse weights that are faster dense are made so: see [`sparse::make_dense`].
///
/// # Errors
/// As [`run_bound`].
pub fn run_bound_dense(graph: &mut Graph, runs: sparse::Runs) -> Result<(), GraphError> {
    {
        let working = graph.memory().room(working_bytes(graph));
        let _working = working.map_err(|source| graph_memory_error(graph, source))?;
        if sparse::make_dense(graph, runs) {
            dead_nodes::remove(graph);
        }
    }
    run_bound(graph, runs.threads)
}

/// The most bytes that a pass takes besides what the graph holds, or inference after it: the order of the nodes, and who
/// uses what with tables, or what inference notes.
fn working_bytes(graph: &Graph) -> u64 {
    let nodes = graph.nodes.len() as u64;
    let values: usize = graph.nodes.iter().map(|node| node.facts.len()).sum();
    let edges = graph.nodes.iter().map(|node| node.inputs.len()).sum::<usize>() + graph.results().count();
    // As a pass changes uses, the list of them grows; the old one is there until the new one is filled.
    let uses = rewrite::Uses::bytes(nodes, values as u64, 3 * edges as u64);
    let tables = uses + common_subexpressions::table_bytes(nodes);
    infer::order_bytes(graph) + tables.max(infer::notes_bytes(graph))
}
