//! The rules of a step with bodies, for [`super::validate`]: the bodies, each of which is right by itself, go with the step.

use tightfit_core::DType;

use super::fault::{Check, fault, need};
use super::{Plan, RegionPlan, Role, SlotPlan, Step, Storage};
use crate::ir::RegionKind;
use crate::operator::{Call, Held, TensorInfo};

/// Checks the bodies of a step of `plan` that is called with these tensors.
pub(super) fn check(plans: &RegionPlan, call: &Call<'_>, plan: &Plan, step: &Step) -> Check {
    let variables = match plans.kind {
        RegionKind::Branch => {
            need(!plans.bodies.is_empty(), None, "a branch has bodies")?;
            let selector = call.inputs.first().is_some_and(|info| is_one(info, &[DType::Bool, DType::I32]));
            need(selector, None, "a branch is chosen by one bool or int32")?;
            let is_pair =
                call.inputs.first().is_none_or(|info| info.dtype == DType::I32) || plans.bodies.len() == 2;
            need(is_pair, None, "a bool chooses among two branches")?;
            0
        }
        RegionKind::Loop => {
            need(plans.bodies.len() == 2, None, "a loop has a condition and a body")?;
            let condition = plans.bodies[0].outputs.first().map(|(_, slot)| *slot);
            let info = condition.and_then(|slot| plans.bodies[0].slots.get(slot)).map(|slot| slot.info);
            let is_bool = info.is_some_and(|info| is_one(&info, &[DType::Bool]));
            need(is_bool && plans.bodies[0].outputs.len() == 1, None, "a loop's condition is one bool")?;
            need(step.inputs.len() >= step.outputs.len(), None, "a loop's variables have first values")?;
            step.outputs.len()
        }
    };
    for (number, body) in plans.bodies.iter().enumerate() {
        let written = if plans.kind == RegionKind::Loop && number == 1 { variables } else { 0 };
        need(body.role == Role::Body { variables: written }, number, "a body writes its variables alone")?;
        need(body.options.isa == plan.options.isa, number, "a body is made for the same instructions")?;
        given(plans, body, plan, step, variables)?;
        if plans.kind == RegionKind::Branch || number == 1 {
            returned(body, plan, step)?;
        }
    }
    for (variable, output) in step.outputs.iter().take(variables).enumerate() {
        let (first, all) = (&call.inputs[variable], &plan.slots[*output]);
        let grows = plan.slots[step.inputs[variable]].storage == Storage::Grown;
        need(
            !grows || all.storage == Storage::Grown,
            *output,
            "a variable grows where its first value does",
        )?;
        let is_held = if all.storage == Storage::Grown {
            first.dtype == all.info.dtype
        } else {
            fits(first, &all.info)
        };
        need(is_held, *output, "a variable holds its first value")?;
        need(is_dense(first), *output, "a variable's first value is dense")?;
        need(
            all.is_bound || first.shape == all.info.shape,
            *output,
            "a variable of one shape has it from the first turn on",
        )?;
    }
    Ok(())
}

/// A body has an input for each tensor that it is given, of the same type and shape.
fn given(plans: &RegionPlan, body: &Plan, plan: &Plan, step: &Step, variables: usize) -> Check {
    let own = plans.kind.own_inputs();
    need(body.inputs.len() + own == step.inputs.len(), None, "a body is given what the step reads")?;
    for (number, (_, slot)) in body.inputs.iter().enumerate() {
        let from = if number < variables { step.outputs[number] } else { step.inputs[number + own] };
        let (from, to) = (&plan.slots[from], &body.slots[*slot]);
        let is_same = from.info.dtype == to.info.dtype && from.info.shape == to.info.shape;
        need(is_dense(&from.info), number, "a body is given dense tensors")?;
        need(is_same, number, "a body is given tensors of the types and shapes that it is planned for")?;
        let is_grown = |slot: &SlotPlan| slot.storage == Storage::Grown;
        need(is_grown(from) == is_grown(to), number, "what a body is given grows in both")?;
    }
    Ok(())
}

/// What a body returns fits what the step makes.
fn returned(body: &Plan, plan: &Plan, step: &Step) -> Check {
    need(body.outputs.len() == step.outputs.len(), None, "a body returns what the step makes")?;
    for ((_, slot), output) in body.outputs.iter().zip(&step.outputs) {
        let from = body.slots.get(*slot).ok_or_else(|| fault(*slot, "an output's slot exists"))?;
        let to = &plan.slots[*output];
        let fits = match to.storage {
            Storage::Grown => from.info.dtype == to.info.dtype,
            _ => from.storage != Storage::Grown && fits(&from.info, &to.info),
        };
        need(fits, *output, "what a body returns fits what the step makes")?;
        need(
            to.is_bound || from.info.shape == to.info.shape,
            *output,
            "what has one shape in all runs is returned in it",
        )?;
    }
    Ok(())
}

fn fits(from: &TensorInfo, to: &TensorInfo) -> bool {
    from.dtype == to.dtype && from.shape.elements() <= to.shape.elements()
}

fn is_dense(info: &TensorInfo) -> bool {
    matches!(info.held, Held::Value | Held::Resident)
}

fn is_one(info: &TensorInfo, dtypes: &[DType]) -> bool {
    is_dense(info) && dtypes.contains(&info.dtype) && info.shape.elements() == 1
}
