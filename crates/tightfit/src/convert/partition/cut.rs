//! Where a graph is cut: which part each of its nodes belongs to.

use tightfit_core::display_bytes;
use tightfit_format::GraphDef;

use super::layout::{Kind, Layout, Tensor, is_control_flow};

/// How parts are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// As few parts as hold at most so many bytes of weights each, cut where the least has to be carried over.
    MaxBytes(u64),
    /// After these nodes: each ends a part, with all that it needs.
    At(Vec<String>),
    /// Where the first scope of the nodes' names changes.
    Scope,
}

/// How much larger than the mean the largest part may be, in percent, as long as some cut allows it.
const IMBALANCE: [u64; 5] = [110, 125, 150, 200, 300];

/// What more even parts may carry of what the cheapest ones do, in percent.
const WORTH_PERCENT: u64 = 102;

/// The part of each node; those that are constants or inputs have none.
pub type Parts = Vec<Option<usize>>;

/// What a cut costs.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// How many moved nodes are before it.
    at: usize,
    carried_bytes: u64,
}

/// The part of every node, and how many parts there are.
///
/// # Errors
/// What cannot be cut so.
pub fn cut(
    def: &GraphDef,
    layout: &Layout,
    how: &Cut,
    carried_bytes: &dyn Fn(Tensor) -> Option<u64>,
) -> Result<(Parts, usize), String> {
    let mut parts = match how {
        Cut::MaxBytes(most) => by_bytes(def, layout, *most, carried_bytes)?,
        Cut::At(nodes) => at_nodes(layout, nodes)?,
        Cut::Scope => by_scope(def, layout),
    };
    let count = renumber(layout, &mut parts);
    check(def, layout, &parts, carried_bytes)?;
    Ok((parts, count))
}

/// Leaves out numbers that no node has.
fn renumber(layout: &Layout, parts: &mut Parts) -> usize {
    let most = parts.iter().flatten().max().map_or(0, |most| most + 1);
    let mut is_used = vec![false; most];
    layout.order.iter().filter_map(|node| parts[*node]).for_each(|part| is_used[part] = true);
    let mut count = 0;
    let numbers: Vec<usize> = is_used
        .into_iter()
        .map(|is_used| {
            count += usize::from(is_used);
            count.saturating_sub(1)
        })
        .collect();
    parts.iter_mut().flatten().for_each(|part| *part = numbers[*part]);
    count.max(1)
}

/// Each value goes forward, and is one that can be carried.
fn check(
    def: &GraphDef,
    layout: &Layout,
    parts: &Parts,
    carried_bytes: &dyn Fn(Tensor) -> Option<u64>,
) -> Result<(), String> {
    for node in &layout.order {
        for tensor in &layout.inputs[*node] {
            let (Some(from), Some(to)) = (parts[tensor.0], parts[*node]) else { continue };
            if from == to {
                continue;
            }
            let (name, taker) = (&def.nodes[tensor.0].name, &def.nodes[*node].name);
            let is_flow = is_control_flow(&def.nodes[tensor.0].op) && &*def.nodes[tensor.0].op != "Exit";
            if from > to || is_flow {
                return Err(format!(
                    "cannot cut between '{name}' and '{taker}': both are in one loop or branch"
                ));
            }
            if carried_bytes(*tensor).is_none() {
                return Err(format!(
                    "cannot cut between '{name}' and '{taker}': what goes from one to the other is a handle or of unknown \
                     type"
                ));
            }
        }
    }
    Ok(())
}

/// For each place between two moved nodes the bytes that go over it; `None` where it cannot be cut.
fn places(
    def: &GraphDef,
    layout: &Layout,
    carried_bytes: &dyn Fn(Tensor) -> Option<u64>,
) -> Vec<Option<u64>> {
    let count = layout.order.len();
    let mut position = vec![usize::MAX; def.nodes.len()];
    layout.order.iter().enumerate().for_each(|(at, node)| position[*node] = at);
    // What ends, begins and stops being possible at each place.
    let (mut grows, mut shrinks) = (vec![0u64; count + 1], vec![0u64; count + 1]);
    let mut blocked = vec![0i64; count + 2];
    let mut block = |from: usize, to: usize| {
        if from < to {
            blocked[from] += 1;
            blocked[to] -= 1;
        }
    };
    let mut last_use: std::collections::HashMap<Tensor, usize> = std::collections::HashMap::new();
    for (at, node) in layout.order.iter().enumerate() {
        for tensor in layout.inputs[*node].iter().filter(|(from, _)| layout.kinds[*from] == Kind::Moved) {
            match position[tensor.0] {
                from if from > at => block(at + 1, from + 1),
                _ => {
                    let last = last_use.entry(*tensor).or_insert(at);
                    *last = (*last).max(at);
                }
            }
        }
    }
    for (tensor, last) in &last_use {
        let from = position[tensor.0];
        match carried_bytes(*tensor) {
            Some(bytes) => {
                grows[from + 1] = grows[from + 1].saturating_add(bytes);
                shrinks[last + 1] = shrinks[last + 1].saturating_add(bytes);
            }
            None => block(from + 1, last + 1),
        }
    }
    let flow = |at: &usize| is_control_flow(&def.nodes[layout.order[*at]].op);
    if let (Some(first), Some(last)) = ((0..count).find(flow), (0..count).rev().find(flow)) {
        block(first + 1, last + 1);
    }
    let (mut alive, mut blocks) = (0u64, 0i64);
    (0..=count)
        .map(|at| {
            alive = alive.saturating_add(grows[at]).saturating_sub(shrinks[at]);
            blocks += blocked[at];
            (blocks == 0).then_some(alive)
        })
        .collect()
}

fn by_bytes(
    def: &GraphDef,
    layout: &Layout,
    most: u64,
    carried_bytes: &dyn Fn(Tensor) -> Option<u64>,
) -> Result<Parts, String> {
    let costs = places(def, layout, carried_bytes);
    let count = layout.order.len();
    // Between two nodes that take weights, one place is the best whatever the parts.
    let mut candidates: Vec<Place> = Vec::new();
    let mut is_seen = vec![false; def.nodes.len()];
    let mut best: Option<Place> = None;
    for at in 0..count {
        let mut taken = Vec::new();
        layout.constants_of(layout.order[at], &mut is_seen, &mut |constant| taken.push(constant));
        // Weights that are taken a second time make a part larger too.
        taken.iter().for_each(|constant| is_seen[*constant] = false);
        if taken.iter().any(|constant| layout.bytes[*constant] > 0) {
            candidates.extend(best.take());
        }
        if let Some(carried_bytes) = costs[at + 1].filter(|_| at + 1 < count)
            && best.is_none_or(|best| carried_bytes < best.carried_bytes)
        {
            best = Some(Place { at: at + 1, carried_bytes });
        }
    }
    candidates.extend(best);
    let mut ends: Vec<Place> = vec![Place { at: 0, carried_bytes: 0 }];
    ends.extend(candidates);
    ends.push(Place { at: count, carried_bytes: 0 });
    let spans = Spans::new(layout, &ends, most);
    let least = spans.fewest(most).ok_or_else(|| spans.too_large(def, layout, &ends, most))?;
    let total: u64 = spans.largest_total();
    let mean = total.div_ceil(least as u64);
    let mut bounds: Vec<u64> =
        IMBALANCE.iter().map(|percent| (mean.saturating_mul(*percent) / 100).min(most)).collect();
    bounds.push(most);
    let (_, cheapest) = spans.cheapest(&ends, most, least).ok_or("no cut is possible")?;
    let allowed = cheapest.saturating_mul(WORTH_PERCENT) / 100;
    let mut even = bounds.into_iter().filter_map(|bound| spans.cheapest(&ends, bound, least));
    let (chosen, _) = even.find(|(_, carried)| *carried <= allowed).ok_or("no cut is possible")?;
    let mut parts = vec![None; def.nodes.len()];
    for (number, pair) in chosen.windows(2).enumerate() {
        layout.order[pair[0]..pair[1]].iter().for_each(|node| parts[*node] = Some(number));
    }
    Ok(parts)
}

/// Bytes of the weights of parts that begin at one place and end at another.
struct Spans {
    /// For each end the bytes back to each begin, the nearest first, as far as they may be one part.
    bytes: Vec<Vec<u64>>,
}

impl Spans {
    fn new(layout: &Layout, ends: &[Place], most: u64) -> Spans {
        let mut bytes = vec![Vec::new()];
        let mut is_seen = vec![false; layout.kinds.len()];
        let mut touched = Vec::new();
        for end in 1..ends.len() {
            let mut total = 0u64;
            let mut back = Vec::new();
            for begin in (0..end).rev() {
                for node in &layout.order[ends[begin].at..ends[begin + 1].at] {
                    layout.constants_of(*node, &mut is_seen, &mut |constant| {
                        touched.push(constant);
                        total = total.saturating_add(layout.bytes[constant]);
                    });
                }
                back.push(total);
                if total > most {
                    break;
                }
            }
            touched.drain(..).for_each(|constant| is_seen[constant] = false);
            bytes.push(back);
        }
        Spans { bytes }
    }

    fn of(&self, begin: usize, end: usize) -> Option<u64> {
        self.bytes.get(end)?.get(end - begin - 1).copied()
    }

    fn largest_total(&self) -> u64 {
        (1..self.bytes.len()).filter_map(|end| self.of(end - 1, end)).sum()
    }

    /// The fewest parts of at most `most` bytes.
    fn fewest(&self, most: u64) -> Option<usize> {
        let mut parts: Vec<Option<usize>> = vec![Some(0)];
        for end in 1..self.bytes.len() {
            let before = (0..end).filter(|begin| self.of(*begin, end).is_some_and(|bytes| bytes <= most));
            parts.push(before.filter_map(|begin| parts[begin]).min().map(|parts| parts + 1));
        }
        parts.last().copied().flatten()
    }

    /// The ends of exactly `count` parts of at most `most` bytes that carry the least, and among those the most even; and
    /// what they carry.
    fn cheapest(&self, ends: &[Place], most: u64, count: usize) -> Option<(Vec<usize>, u64)> {
        type Best = Option<(u64, u64, usize)>;
        let mut rows: Vec<Vec<Best>> = vec![vec![None; ends.len()]];
        rows[0][0] = Some((0, 0, 0));
        for part in 1..=count {
            let mut row: Vec<Best> = vec![None; ends.len()];
            for end in part..ends.len() {
                for begin in (0..end).rev() {
                    let Some(bytes) = self.of(begin, end).filter(|bytes| *bytes <= most) else { break };
                    let Some((carried, largest, _)) = rows[part - 1][begin] else { continue };
                    let candidate =
                        (carried.saturating_add(ends[end].carried_bytes), largest.max(bytes), begin);
                    if row[end].is_none_or(|best| (candidate.0, candidate.1) < (best.0, best.1)) {
                        row[end] = Some(candidate);
                    }
                }
            }
            rows.push(row);
        }
        let mut end = ends.len() - 1;
        let (carried, ..) = rows[count][end]?;
        let mut chosen = vec![ends[end].at];
        for part in (1..=count).rev() {
            let (_, _, begin) = rows[part][end]?;
            chosen.push(ends[begin].at);
            end = begin;
        }
        chosen.reverse();
        Some((chosen, carried))
    }

    /// Which node, or which nodes that cannot be cut apart, take more than a part may have.
    fn too_large(&self, def: &GraphDef, layout: &Layout, ends: &[Place], most: u64) -> String {
        let large = (1..ends.len()).filter_map(|end| Some((self.of(end - 1, end)?, end))).max();
        let (bytes, end) = large.unwrap_or_default();
        let nodes = layout.order.get(ends[end.max(1) - 1].at..ends[end].at).unwrap_or_default();
        let mut heaviest = (0, 0);
        for node in nodes {
            let mut own = 0;
            let mut is_seen = vec![false; def.nodes.len()];
            layout.constants_of(*node, &mut is_seen, &mut |constant| own += layout.bytes[constant]);
            heaviest = heaviest.max((own, *node));
        }
        format!(
            "no parts of {} are possible: '{}' and what cannot be cut from it take {} of weights",
            display_bytes(most),
            def.nodes[heaviest.1].name,
            display_bytes(bytes)
        )
    }
}

fn at_nodes(layout: &Layout, names: &[String]) -> Result<Parts, String> {
    let mut needed: Vec<Vec<usize>> = Vec::new();
    for name in names {
        let node = layout.find(name).map_err(|name| format!("--at {name}: the model has no such node"))?;
        if layout.kinds[node] != Kind::Moved {
            return Err(format!("--at {name}: is an input or a constant, after which nothing is to cut"));
        }
        let mut is_seen = vec![false; layout.kinds.len()];
        let mut stack = vec![node];
        let mut all = Vec::new();
        while let Some(node) = stack.pop() {
            if layout.kinds[node] == Kind::Moved && !std::mem::replace(&mut is_seen[node], true) {
                all.push(node);
                stack.extend(layout.needs(node));
            }
        }
        needed.push(all);
    }
    // What needs more comes later, in whatever order the nodes are named.
    needed.sort_by_key(Vec::len);
    let mut parts = vec![None; layout.kinds.len()];
    layout.order.iter().for_each(|node| parts[*node] = Some(needed.len()));
    for (number, nodes) in needed.iter().enumerate().rev() {
        nodes.iter().for_each(|node| parts[*node] = Some(number));
    }
    Ok(parts)
}

/// Scopes in the order in which they begin; a node that takes something of a later one belongs to that.
fn by_scope(def: &GraphDef, layout: &Layout) -> Parts {
    let names: Vec<&str> = layout.order.iter().map(|node| &*def.nodes[*node].name).collect();
    let scope = |name: &'_ str, prefix: usize| -> String {
        let rest = name.get(prefix..).unwrap_or_default();
        rest.split('/').next().unwrap_or_default().to_string()
    };
    // The first scope in which not all are.
    let mut prefix = 0;
    while let Some(first) = names.first() {
        let own = scope(first, prefix);
        let end = prefix + own.len() + 1;
        let is_common = names.iter().all(|name| name.len() > end && scope(name, prefix) == own);
        if !is_common {
            break;
        }
        prefix = end;
    }
    let mut scopes: Vec<String> = Vec::new();
    let mut parts: Parts = vec![None; layout.kinds.len()];
    for (node, name) in layout.order.iter().zip(names) {
        let own = scope(name, prefix);
        let number = scopes.iter().position(|scope| *scope == own).unwrap_or_else(|| {
            scopes.push(own);
            scopes.len() - 1
        });
        let before = layout.needs(*node).filter_map(|from| parts[from]).max();
        parts[*node] = Some(before.map_or(number, |before| before.max(number)));
    }
    parts
}
