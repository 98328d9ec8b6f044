//! A layout in figures, for `tightfit.Plan`.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use tightfit::{Fit, FitOptions};

/// The figures of a layout.
pub fn to_dict<'py>(py: Python<'py>, options: &FitOptions, fit: &Fit) -> PyResult<Bound<'py, PyDict>> {
    let report = fit.plan.report();
    let plan = PyDict::new(py);
    plan.set_item("batch", options.batch)?;
    plan.set_item("threads", options.threads)?;
    plan.set_item("memory_bytes", options.memory_bytes)?;
    plan.set_item("minimum_bytes", fit.minimum_bytes)?;
    plan.set_item("planned_bytes", fit.lines.total_bytes())?;
    let lines = PyDict::new(py);
    for (name, bytes) in fit.lines.named() {
        lines.set_item(name, bytes)?;
    }
    plan.set_item("lines", lines)?;
    plan.set_item("arena_bytes", report.arena_bytes)?;
    plan.set_item("arena_lower_bound_bytes", report.arena_lower_bound_bytes)?;
    plan.set_item("streamed_bytes", report.streamed_bytes)?;
    plan.set_item("growth_bytes", fit.growth_bytes)?;
    let growing = fit.plan.growing();
    let growing: Vec<_> = growing.iter().map(|g| (g.node.clone(), g.op.clone(), g.what.clone())).collect();
    plan.set_item("growing", growing)?;
    plan.set_item(
        "steps",
        fit.plan.steps.iter().map(|s| (s.name.to_string(), s.op_name().to_string())).collect::<Vec<_>>(),
    )?;
    for (key, ports) in [("input_shapes", &fit.plan.inputs), ("output_shapes", &fit.plan.outputs)] {
        let shapes = PyDict::new(py);
        for (name, slot) in ports {
            if let Some(slot) = fit.plan.slots.get(*slot) {
                shapes.set_item(name, PyTuple::new(py, &slot.info.shape[..])?)?;
            }
        }
        plan.set_item(key, shapes)?;
    }
    let peak = report.peak_step.map(|peak| {
        let alive: Vec<_> = peak.alive.into_iter().map(|a| (a.name, a.what, a.bytes)).collect();
        (peak.step, peak.node, peak.op, peak.alive_bytes, alive)
    });
    plan.set_item("peak", peak)?;
    let rectangles = fit.plan.rectangles();
    let rectangles: Vec<_> =
        rectangles.map(|r| (r.name, r.what, r.first, r.end, r.offset, r.bytes)).collect();
    plan.set_item("rectangles", rectangles)?;
    Ok(plan)
}
