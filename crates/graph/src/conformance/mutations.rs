//! Plans damaged in the ways that a planner's fault would damage them: each is refused, or computes the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use super::call::{Caller, Value};
use super::context::{run_plan, same_outputs};
use super::dags::{dag, feeds, streamed_net};
use super::damages::{all, somewhere};
use super::golden::{Case, STREAMED, folders, run_passes};
use super::random::Random;
use crate::ir::Graph;
use crate::plan::{Plan, PlanOptions, WeightMode, computes, validate};

/// Damages of one kind tried on each plan.
const TRIES: usize = 6;

static RESIDENT: LazyLock<PlanOptions> = LazyLock::new(|| PlanOptions::new(2, WeightMode::Resident));

/// How often a kind of damage was refused, and how often it computed the same.
type Counts = BTreeMap<&'static str, (usize, usize)>;

struct Bench<'a> {
    graph: &'a Graph,
    fed: &'a HashMap<String, Value>,
    expected: Vec<Value>,
    caller: &'a Caller,
}

impl Bench<'_> {
    fn damage(&self, plan: &Plan, seed: u64, counts: &mut Counts) -> Result<(), String> {
        for (number, (name, damage)) in all().enumerate() {
            for case in 0..TRIES {
                let mut random = Random((seed << 20 | (number as u64) << 8 | case as u64) + 1);
                random.next();
                let mut damaged = plan.clone();
                if !damage(somewhere(&mut damaged, &mut random), &mut random) {
                    continue;
                }
                let count = counts.entry(name).or_default();
                // Every damage is found without running anything, or is none.
                if computes(&damaged, self.graph).and_then(|()| validate(&damaged)).is_err() {
                    count.0 += 1;
                    continue;
                }
                count.1 += 1;
                let outputs = run_plan(damaged, self.fed, self.caller)
                    .map_err(|why| format!("{name} (case {case}) is accepted: {why}"))?;
                same_outputs(&format!("{name} (case {case})"), &self.expected, &outputs, self.caller)?;
            }
        }
        Ok(())
    }
}

/// Damages the plans of a graph.
fn check_graph(
    graph: &Graph,
    fed: &HashMap<String, Value>,
    weights: &[WeightMode],
    seed: u64,
    caller: &Caller,
    counts: &mut Counts,
) -> Result<(), String> {
    for weights in weights {
        let options = PlanOptions::new(2, *weights);
        let Ok(plan) = Plan::new(graph, &options) else { continue };
        validate(&plan).map_err(|fault| format!("a whole plan is refused: {fault}"))?;
        let expected = run_plan(plan.clone(), fed, caller)?;
        Bench { graph, fed, expected, caller }.damage(&plan, seed, counts)?;
    }
    Ok(())
}

fn check(case: &Case, seed: u64, caller: &Caller, counts: &mut Counts) -> Result<(), String> {
    let raw = case.import().map_err(|e| e.to_string())?;
    let mut simple = case.import().map_err(|e| e.to_string())?;
    run_passes(&mut simple)?;
    for (number, graph) in [raw, simple].iter().enumerate() {
        // With the values of the feeds known nearly all is folded away.
        let is_planned = |bound: &Graph| Plan::new(bound, &RESIDENT).is_ok();
        let bound = case.bind(graph, false).ok().filter(is_planned);
        let Some(graph) = bound.or_else(|| case.bind(graph, true).ok()) else { continue };
        let weights = [WeightMode::Resident, STREAMED];
        check_graph(&graph, &case.feeds, &weights, seed << 1 | number as u64, caller, counts)?;
    }
    Ok(())
}

#[test]
fn a_damaged_plan_is_refused_or_computes_the_same() {
    let mut counts = Counts::new();
    let mut failures = Vec::new();
    for kind in ["models", "ops"] {
        for (number, folder) in folders(kind).into_iter().enumerate() {
            let caller = Caller::new();
            let name = folder.file_name().unwrap().to_string_lossy().to_string();
            let case = Case::read(folder, &caller);
            if let Err(why) = check(&case, number as u64, &caller, &mut counts) {
                failures.push(format!("{name}: {why}"));
            }
        }
    }
    let caller = Caller::new();
    for seed in 1..60 {
        let mut random = Random(seed);
        random.next();
        let graph = dag(&mut random);
        let fed = feeds(&graph, &mut random, &caller);
        if let Err(why) = check_graph(&graph, &fed, &[WeightMode::Resident], seed, &caller, &mut counts) {
            failures.push(format!("random graph {seed}: {why}"));
        }
    }
    let (graph, fed) = streamed_net("damaged", &caller);
    let windows = [4 << 10, 64 << 10].map(|window_bytes| WeightMode::Streamed { window_bytes });
    if let Err(why) = check_graph(&graph, &fed, &windows, 1, &caller, &mut counts) {
        failures.push(format!("streamed weights: {why}"));
    }
    for (name, (refused, same)) in &counts {
        println!("{name}: {refused} refused, {same} compute the same");
    }
    assert!(failures.is_empty(), "{} damaged plans are accepted:\n{}", failures.len(), failures.join("\n"));
    // Each kind of damage was done, and found.
    let blind: Vec<_> = all().filter(|(name, _)| counts.get(name).is_none_or(|count| count.0 == 0)).collect();
    let blind: Vec<_> = blind.into_iter().map(|(name, _)| name).collect();
    assert!(blind.is_empty(), "never refused: {blind:?}");
}
