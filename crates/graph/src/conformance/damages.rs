//! The ways to damage a plan, by what they damage.

use std::sync::Arc;

use tightfit_core::{DType, Shape};

use super::random::Random;
use crate::ir::RegionKind;
use crate::operator::{Call, Held, WeightLayout};
use crate::plan::{Action, AliasOf, Plan, PlanOptions, RegionPlan, Role, Storage};

/// A way to damage a plan; false where this plan has nothing of the kind.
pub type Damage = fn(&mut Plan, &mut Random) -> bool;

/// A slot in the arena that holds something.
fn arena_slot(plan: &Plan, random: &mut Random) -> Option<(usize, usize)> {
    let mut slots = Vec::new();
    for (slot, s) in plan.slots.iter().enumerate() {
        if let Storage::Arena(offset) = s.storage
            && s.info.shape.elements() > 0
        {
            slots.push((slot, offset));
        }
    }
    (!slots.is_empty()).then(|| slots[random.below(slots.len())])
}

/// WindowAttributes everything that shares the memory of a slot.
fn move_group(plan: &mut Plan, slot: usize, to: usize) {
    let storage = plan.slots[slot].storage;
    let mut group = vec![slot];
    while let Some(next) = (0..plan.slots.len()).find(|s| {
        !group.contains(s)
            && plan.slots[*s].storage == storage
            && (plan.slots[*s].alias_of.is_some_and(|of| group.contains(&of.slot))
                || group.iter().any(|g| plan.slots[*g].alias_of.is_some_and(|of| of.slot == *s))
                || plan.steps.iter().any(|step| {
                    step.in_place_input.is_some_and(|i| {
                        (step.outputs[0] == *s && group.contains(&step.inputs[i]))
                            || (step.inputs[i] == *s && group.contains(&step.outputs[0]))
                    })
                }))
    }) {
        group.push(next);
    }
    for slot in group {
        plan.slots[slot].storage = Storage::Arena(to);
    }
}

fn pick(count: usize, random: &mut Random) -> Option<usize> {
    (count > 0).then(|| random.below(count))
}

macro_rules! pick {
    ($list:expr, $random:expr) => {
        match pick($list, $random) {
            Some(index) => index,
            None => return false,
        }
    };
}

macro_rules! slot {
    ($plan:expr, $random:expr) => {
        match arena_slot($plan, $random) {
            Some(slot) => slot,
            None => return false,
        }
    };
}

/// The steps of which something holds; one of them.
fn step_where(plan: &Plan, random: &mut Random, is_so: impl Fn(&crate::plan::Step) -> bool) -> Option<usize> {
    let steps: Vec<usize> = (0..plan.steps.len()).filter(|s| is_so(&plan.steps[*s])).collect();
    pick(steps.len(), random).map(|i| steps[i])
}

const OFFSETS: &[(&str, Damage)] = &[
    ("a value is moved", |plan, random| {
        let (slot, offset) = slot!(plan, random);
        let by = random.of(&[64, 128, 192, 256, 4096]);
        let to = if random.chance(50) { offset + by } else { offset.saturating_sub(by) };
        plan.slots[slot].storage = Storage::Arena(to);
        to != offset
    }),
    ("a value and what shares its memory are moved", |plan, random| {
        let (slot, offset) = slot!(plan, random);
        let by = random.of(&[64, 128, 192, 256, 4096]);
        let to = if random.chance(50) { offset + by } else { offset.saturating_sub(by) };
        move_group(plan, slot, to);
        to != offset
    }),
    ("a value is where another is", |plan, random| {
        let ((slot, from), (_, to)) = (slot!(plan, random), slot!(plan, random));
        move_group(plan, slot, to);
        from != to
    }),
    ("two values change places", |plan, random| {
        let ((a, from), (b, to)) = (slot!(plan, random), slot!(plan, random));
        plan.slots[a].storage = Storage::Arena(to);
        plan.slots[b].storage = Storage::Arena(from);
        from != to
    }),
    ("a value is not aligned", |plan, random| {
        let (slot, offset) = slot!(plan, random);
        move_group(plan, slot, offset + random.of(&[1, 4, 16, 32]));
        true
    }),
    ("a value is past the end", |plan, random| {
        let (slot, _) = slot!(plan, random);
        let at = random.of(&[plan.arena_bytes, usize::MAX & !63]);
        move_group(plan, slot, at);
        true
    }),
    ("the arena is too small", |plan, random| {
        let bytes = plan.arena_bytes;
        plan.arena_bytes = bytes.saturating_sub(random.of(&[1, 64, 256, bytes / 2]));
        plan.arena_bytes != bytes
    }),
];

/// Whether a step may have more scratch than its operator needs.
fn has_spare_scratch(plan: &Plan, step: usize) -> bool {
    let step = &plan.steps[step];
    let infos = |slots: &[usize]| slots.iter().map(|slot| plan.slots[*slot].info).collect::<Vec<_>>();
    let (inputs, outputs) = (infos(&step.inputs), infos(&step.outputs));
    let PlanOptions { threads, isa, weights, .. } = plan.options;
    let call =
        Call { inputs: &inputs, outputs: &outputs, threads, isa, window_bytes: weights.window_bytes() };
    match &step.action {
        Action::Operator(operator) => operator.memory(&call).most_scratch_bytes > 0,
        Action::Region(_) => false,
    }
}

const SCRATCH: &[(&str, Damage)] = &[
    ("scratch is where a value is", |plan, random| {
        let Some(step) = step_where(plan, random, |s| s.scratch.1 > 0) else { return false };
        let (_, to) = slot!(plan, random);
        let from = plan.steps[step].scratch.0;
        plan.steps[step].scratch.0 = to;
        from != to
    }),
    ("scratch is moved", |plan, random| {
        let Some(step) = step_where(plan, random, |s| s.scratch.1 > 0) else { return false };
        plan.steps[step].scratch.0 += random.of(&[4, 64, 128, 1 << 40]);
        true
    }),
    ("scratch is too small", |plan, random| {
        let Some(step) = step_where(plan, random, |s| s.scratch.1 > 0) else { return false };
        let bytes = plan.steps[step].scratch.1;
        // It may be more than the operator needs.
        let less = random.of(&[bytes - 1, bytes / 2, 0]);
        plan.steps[step].scratch.1 = if has_spare_scratch(plan, step) { 0 } else { less };
        true
    }),
    ("scratch is too large", |plan, random| {
        let Some(step) = step_where(plan, random, |s| s.scratch.1 > 0) else { return false };
        plan.steps[step].scratch.1 = plan.arena_bytes + 1 - plan.steps[step].scratch.0;
        true
    }),
];

const SHARING: &[(&str, Damage)] = &[
    ("a step is not in place any more", |plan, random| {
        let Some(step) = step_where(plan, random, |s| s.in_place_input.is_some()) else { return false };
        plan.steps[step].in_place_input = None;
        true
    }),
    ("a step is in place of another input", |plan, random| {
        let Some(step) = step_where(plan, random, |s| !s.inputs.is_empty() && !s.outputs.is_empty()) else {
            return false;
        };
        let input = pick!(plan.steps[step].inputs.len() + 1, random);
        let before = plan.steps[step].in_place_input.replace(input);
        before != Some(input)
    }),
    ("a step is in place, in the memory too", |plan, random| {
        let Some(step) = step_where(plan, random, |s| !s.inputs.is_empty() && !s.outputs.is_empty()) else {
            return false;
        };
        let input = pick!(plan.steps[step].inputs.len(), random);
        let storage = plan.slots[plan.steps[step].inputs[input]].storage;
        let (output, before) = (plan.steps[step].outputs[0], plan.steps[step].in_place_input.replace(input));
        match storage {
            Storage::Arena(to) => move_group(plan, output, to),
            storage => plan.slots[output].storage = storage,
        }
        before != Some(input)
    }),
    ("an output lies on an input", |plan, random| {
        let Some(step) = step_where(plan, random, |s| !s.inputs.is_empty() && !s.outputs.is_empty()) else {
            return false;
        };
        let (i, o) =
            (pick!(plan.steps[step].inputs.len(), random), pick!(plan.steps[step].outputs.len(), random));
        let (storage, output) = (plan.slots[plan.steps[step].inputs[i]].storage, plan.steps[step].outputs[o]);
        let before = plan.slots[output].storage;
        plan.slots[output].storage = storage;
        before != storage
    }),
    ("an alias is of another tensor", |plan, random| {
        let aliases: Vec<usize> =
            (0..plan.slots.len()).filter(|s| plan.slots[*s].alias_of.is_some()).collect();
        let alias = aliases[pick!(aliases.len(), random)];
        let slot = random.below(plan.slots.len());
        let (storage, place) = (plan.slots[slot].storage, plan.slots[slot].info.held);
        let value = if random.chance(50) { plan.slots[slot].value } else { plan.slots[alias].value };
        let before = plan.slots[alias].alias_of.replace(AliasOf { slot, value });
        plan.slots[alias].storage = storage;
        plan.slots[alias].info.held = place;
        before.is_some_and(|of| of.slot != slot)
    }),
    ("an alias is a tensor of its own", |plan, random| {
        let aliases: Vec<usize> =
            (0..plan.slots.len()).filter(|s| plan.slots[*s].alias_of.is_some()).collect();
        let alias = aliases[pick!(aliases.len(), random)];
        plan.slots[alias].alias_of = None;
        true
    }),
    ("a tensor is an alias", |plan, random| {
        let slot = random.below(plan.slots.len());
        let of = random.below(plan.slots.len());
        let value = plan.slots[of].value;
        let before = plan.slots[slot].alias_of.replace(AliasOf { slot: of, value });
        plan.slots[slot].storage = plan.slots[of].storage;
        before.is_none()
    }),
];

const STEPS: &[(&str, Damage)] = &[
    ("a step is missing", |plan, random| {
        let step = pick!(plan.steps.len(), random);
        plan.steps.remove(step);
        true
    }),
    ("a step is done twice", |plan, random| {
        let step = pick!(plan.steps.len(), random);
        let copy = plan.steps[step].clone();
        plan.steps.insert(step + random.below(2), copy);
        true
    }),
    ("two steps change places", |plan, random| {
        let (a, b) = (pick!(plan.steps.len(), random), pick!(plan.steps.len(), random));
        plan.steps.swap(a, b);
        a != b
    }),
    ("a step is done one step later", |plan, random| {
        let step = pick!(plan.steps.len().saturating_sub(1), random);
        plan.steps.swap(step, step + 1);
        true
    }),
    ("a step reads other slots", |plan, random| {
        let Some(step) = step_where(plan, random, |s| !s.inputs.is_empty()) else { return false };
        let (input, slot) = (random.below(plan.steps[step].inputs.len()), random.below(plan.slots.len() + 1));
        let before = std::mem::replace(&mut plan.steps[step].inputs[input], slot);
        if random.chance(50)
            && let Some(s) = plan.slots.get(slot)
        {
            plan.steps[step].reads[input] = s.value;
        }
        before != slot
    }),
    ("a step has its inputs in another order", |plan, random| {
        let Some(step) = step_where(plan, random, |s| s.inputs.len() > 1) else { return false };
        let step = &mut plan.steps[step];
        let before = step.inputs.clone();
        step.inputs.reverse();
        before != step.inputs
    }),
    ("a step makes other slots", |plan, random| {
        let Some(step) = step_where(plan, random, |s| !s.outputs.is_empty()) else { return false };
        let (output, slot) =
            (random.below(plan.steps[step].outputs.len()), random.below(plan.slots.len() + 1));
        let before = std::mem::replace(&mut plan.steps[step].outputs[output], slot);
        before != slot
    }),
    ("a step lacks an input", |plan, random| {
        let Some(step) = step_where(plan, random, |s| !s.inputs.is_empty()) else { return false };
        plan.steps[step].inputs.pop();
        plan.steps[step].reads.pop();
        true
    }),
    ("a step lacks an output", |plan, random| {
        let Some(step) = step_where(plan, random, |s| !s.outputs.is_empty()) else { return false };
        plan.steps[step].outputs.pop();
        true
    }),
    ("a step has shapes of other runs", |plan, random| {
        let step = pick!(plan.steps.len(), random);
        plan.steps[step].is_dynamic ^= true;
        true
    }),
    ("a step computes nothing", |plan, random| {
        let step = pick!(plan.steps.len(), random);
        plan.steps[step].is_alias ^= true;
        true
    }),
    ("a step does what another does", |plan, random| {
        let (a, b) = (pick!(plan.steps.len(), random), pick!(plan.steps.len(), random));
        let action = plan.steps[b].action.clone();
        let is_other = format!("{action:?}") != format!("{:?}", plan.steps[a].action);
        plan.steps[a].action = action;
        is_other
    }),
];

const TENSORS: &[(&str, Damage)] = &[
    ("a tensor is larger", |plan, random| {
        let slot = random.below(plan.slots.len());
        let info = &mut plan.slots[slot].info;
        let mut dims = info.shape.to_vec();
        let Some(axis) = pick(dims.len(), random) else { return false };
        dims[axis] = dims[axis] * random.of(&[2, 1 << 20]) + 1;
        Shape::new(&dims).is_ok_and(|shape| std::mem::replace(&mut info.shape, shape) != shape)
    }),
    ("a tensor is smaller", |plan, random| {
        let slot = random.below(plan.slots.len());
        let info = &mut plan.slots[slot].info;
        let mut dims = info.shape.to_vec();
        let Some(axis) = pick(dims.len(), random) else { return false };
        dims[axis] /= 2;
        Shape::new(&dims).is_ok_and(|shape| std::mem::replace(&mut info.shape, shape) != shape)
    }),
    ("a tensor has another shape", |plan, random| {
        let slot = random.below(plan.slots.len());
        let info = &mut plan.slots[slot].info;
        let mut dims = info.shape.to_vec();
        dims.reverse();
        Shape::new(&dims).is_ok_and(|shape| std::mem::replace(&mut info.shape, shape) != shape)
    }),
    ("a tensor has another type", |plan, random| {
        let slot = random.below(plan.slots.len());
        let info = &mut plan.slots[slot].info;
        let dtype = random.of(&[DType::F32, DType::I32, DType::F64, DType::I64, DType::U8, DType::String]);
        std::mem::replace(&mut info.dtype, dtype) != dtype
    }),
    ("a tensor is in another place", |plan, random| {
        let slot = random.below(plan.slots.len());
        let info = &mut plan.slots[slot].info;
        let place = random.of(&[Held::Value, Held::Resident, Held::Packed, Held::Streamed]);
        std::mem::replace(&mut info.held, place) != place
    }),
    ("a tensor has another storage", |plan, random| {
        let [fed, other] = [Storage::Fed(0), Storage::Fed(1)];
        let storage = random.of(&[
            fed,
            other,
            Storage::Weight(0),
            Storage::Weight(1),
            Storage::Streamed,
            Storage::Grown,
        ]);
        let slot = random.below(plan.slots.len());
        std::mem::replace(&mut plan.slots[slot].storage, storage) != storage
    }),
    ("a shape depends on data", |plan, random| {
        let slot = random.below(plan.slots.len());
        plan.slots[slot].is_bound ^= true;
        true
    }),
    ("an output is another tensor", |plan, random| {
        let output = pick!(plan.outputs.len(), random);
        let slot = random.below(plan.slots.len() + 1);
        std::mem::replace(&mut plan.outputs[output].1, slot) != slot
    }),
    ("an input is another tensor", |plan, random| {
        let input = pick!(plan.inputs.len(), random);
        let slot = random.below(plan.slots.len() + 1);
        std::mem::replace(&mut plan.inputs[input].1, slot) != slot
    }),
];

const WEIGHTS: &[(&str, Damage)] = &[
    ("a weight is where another is", |plan, random| {
        let (a, b) = (pick!(plan.weights.len(), random), pick!(plan.weights.len(), random));
        let to = plan.weights[b].offset;
        std::mem::replace(&mut plan.weights[a].offset, to) != to
    }),
    ("a weight is moved", |plan, random| {
        let weight = pick!(plan.weights.len(), random);
        plan.weights[weight].offset += random.of(&[4, 64, 1 << 40]);
        true
    }),
    ("a weight is too small", |plan, random| {
        let weight = pick!(plan.weights.len(), random);
        let bytes = plan.weights[weight].bytes;
        plan.weights[weight].bytes = bytes / 2;
        bytes > 0
    }),
    ("a weight is too large", |plan, random| {
        let weight = pick!(plan.weights.len(), random);
        plan.weights[weight].bytes += 64;
        true
    }),
    ("a weight has another layout", |plan, random| {
        let weight = pick!(plan.weights.len(), random);
        let weight = &mut plan.weights[weight];
        let layout = match weight.layout {
            WeightLayout::Dense => WeightLayout::Panels { k: 1, n: 1, is_transposed: false, groups: 1 },
            WeightLayout::Panels { .. } | WeightLayout::BytePanels { .. } => WeightLayout::Dense,
        };
        weight.layout = layout;
        weight.bytes = layout.bytes(&weight.constant, plan.options.isa);
        true
    }),
    ("two weights change places", |plan, random| {
        let (a, b) = (pick!(plan.weights.len(), random), pick!(plan.weights.len(), random));
        let constant = plan.weights[a].constant.clone();
        plan.weights[a].constant = std::mem::replace(&mut plan.weights[b].constant, constant);
        a != b
    }),
    ("the memory of weights is too small", |plan, random| {
        let bytes = plan.weights_bytes;
        plan.weights_bytes = random.of(&[bytes.saturating_sub(64), bytes / 2, 0]);
        plan.weights_bytes < bytes
    }),
    ("the window is too small", |plan, random| {
        let bytes = plan.block_bytes;
        plan.block_bytes = random.of(&[bytes.saturating_sub(64), bytes / 2, 0]);
        plan.block_bytes < bytes
    }),
    ("a stream is missing", |plan, random| {
        let Some(step) = step_where(plan, random, |s| s.stream.is_some()) else { return false };
        plan.steps[step].stream = None;
        true
    }),
    ("a stream has other blocks", |plan, random| {
        let Some(step) = step_where(plan, random, |s| s.stream.is_some()) else { return false };
        let Some(stream) = &mut plan.steps[step].stream else { return false };
        stream.block_bytes = stream.block_bytes / 2 + 4;
        true
    }),
    ("a stream is another's", |plan, random| {
        let Some(a) = step_where(plan, random, |s| s.stream.is_some()) else { return false };
        let Some(b) = step_where(plan, random, |s| s.stream.is_some()) else { return false };
        plan.steps[a].stream = plan.steps[b].stream.clone();
        a != b
    }),
    ("a stream is another place of the window", |plan, random| {
        let Some(step) = step_where(plan, random, |s| s.stream.is_some()) else { return false };
        let Some(stream) = &mut plan.steps[step].stream else { return false };
        stream.first_block += 1;
        true
    }),
    ("there is no room for strings", |plan, random| {
        let bytes = plan.string_bytes;
        plan.string_bytes = bytes - bytes.min(1 + random.below(8));
        plan.string_bytes < bytes
    }),
];

const BODIES: &[(&str, Damage)] = &[
    ("bodies change places", |plan, random| {
        let Some(region) = some_region(plan, random) else { return false };
        region.bodies.rotate_left(1);
        region.bodies.len() > 1
    }),
    ("a body is missing", |plan, random| {
        some_region(plan, random).is_some_and(|region| region.bodies.pop().is_some())
    }),
    ("a body writes over what it is given", |plan, random| {
        let Some(region) = some_region(plan, random) else { return false };
        let body = random.below(region.bodies.len());
        let role = Role::Body { variables: random.below(4) };
        std::mem::replace(&mut region.bodies[body].role, role) != role
    }),
    ("a body needs a larger arena", |plan, random| {
        let Some(region) = some_region(plan, random) else { return false };
        let body = random.below(region.bodies.len());
        let largest = region.bodies.iter().map(|body| body.arena_bytes).max().unwrap_or(0);
        region.bodies[body].arena_bytes = largest + 64;
        true
    }),
    ("a branch is a loop", |plan, random| {
        let Some(region) = some_region(plan, random) else { return false };
        region.kind = match region.kind {
            RegionKind::Branch => RegionKind::Loop,
            RegionKind::Loop => RegionKind::Branch,
        };
        true
    }),
];

const GROWTH: &[(&str, Damage)] = &[
    ("a value that grows is let go too soon", |plan, random| {
        let end = pick!(plan.ends.len(), random);
        let step = plan.ends[end].0;
        plan.ends[end].0 = random.below(step.max(1));
        plan.ends.sort_unstable();
        step > 0
    }),
    ("a value that grows is let go too late", |plan, random| {
        let end = pick!(plan.ends.len(), random);
        plan.ends[end].0 += 1 + random.below(3);
        plan.ends.sort_unstable();
        true
    }),
    ("a value that grows is not let go", |plan, random| {
        let end = pick!(plan.ends.len(), random);
        plan.ends.remove(end);
        true
    }),
    ("a value that grows is let go twice", |plan, random| {
        let end = pick!(plan.ends.len(), random);
        plan.ends.insert(end, plan.ends[end]);
        true
    }),
    ("another value is let go", |plan, random| {
        let end = pick!(plan.ends.len(), random);
        let slot = random.below(plan.slots.len() + 1);
        std::mem::replace(&mut plan.ends[end].1, slot) != slot
    }),
    ("values are let go in another order", |plan, _| {
        let before = plan.ends.clone();
        plan.ends.reverse();
        before != plan.ends
    }),
    ("a value grows that has a place", |plan, random| {
        let (slot, _) = slot!(plan, random);
        (plan.slots[slot].storage, plan.slots[slot].is_bound) = (Storage::Grown, true);
        true
    }),
    ("a value has a place that grows", |plan, random| {
        let grown: Vec<usize> =
            (0..plan.slots.len()).filter(|s| plan.slots[*s].storage == Storage::Grown).collect();
        plan.slots[grown[pick!(grown.len(), random)]].storage = Storage::Arena(0);
        true
    }),
    ("a step grows", |plan, random| {
        let step = pick!(plan.steps.len(), random);
        plan.steps[step].grows ^= true;
        true
    }),
];

fn some_region<'p>(plan: &'p mut Plan, random: &mut Random) -> Option<&'p mut RegionPlan> {
    let step = step_where(plan, random, |step| step.region().is_some())?;
    match &mut plan.steps[step].action {
        Action::Region(region) => Some(Arc::make_mut(region)),
        Action::Operator(_) => None,
    }
}

/// The plan, or that of a body in it.
pub fn somewhere<'p>(plan: &'p mut Plan, random: &mut Random) -> &'p mut Plan {
    if random.chance(40) || plan.bodies().next().is_none() {
        return plan;
    }
    let region = some_region(plan, random).expect("a plan with bodies has a step with them");
    let body = random.below(region.bodies.len());
    somewhere(&mut region.bodies[body], random)
}

/// All of them, by what they do.
pub fn all() -> impl Iterator<Item = &'static (&'static str, Damage)> {
    [OFFSETS, SCRATCH, SHARING, STEPS, TENSORS, WEIGHTS, BODIES, GROWTH].into_iter().flatten()
}
