//! Running one operator by itself on small values, for constant folding.

use std::cell::Cell;

use tightfit_core::{ALIGNMENT, Buffer, MemoryBudget, Shape, TensorView};
use tightfit_kernels::{FlushDenormals, ThreadPool};

use crate::fact::Fact;
use crate::operator::{Call, OpError, Operator, Place, Run, Slot, TensorInfo};
use crate::strings::StringPool;

/// The outputs of `operator` for these inputs: the shape and bytes of each. `outputs` is what it inferred, with
/// every dimension known, or a bound of it.
///
/// # Errors
/// What the operator refuses.
pub fn evaluate(
    operator: &dyn Operator,
    inputs: &[TensorView<'_>],
    outputs: &[Fact],
) -> Result<Vec<(Shape, Vec<u8>)>, OpError> {
    // The caller's own thread: folding happens at import, on values of a few bytes.
    let pool = &ThreadPool::new(1).map_err(|e| OpError::Invalid(e.to_string()))?;
    // What is folded must be what a run would compute.
    let _flush = FlushDenormals::new();
    let open = || OpError::Internal("an operator is evaluated whose output is not known");
    let info =
        |view: &TensorView<'_>| TensorInfo { dtype: view.dtype(), shape: *view.shape(), place: Place::Value };
    let input_infos: Vec<_> = inputs.iter().map(info).collect();
    let output_infos = outputs.iter().map(|fact| {
        Some(TensorInfo { dtype: fact.dtype, shape: fact.planned_dims().concrete()?, place: Place::Value })
    });
    let output_infos: Vec<TensorInfo> = output_infos.collect::<Option<_>>().ok_or_else(open)?;
    let call = Call { inputs: &input_infos, outputs: &output_infos, threads: 1, window_bytes: usize::MAX };
    let memory = operator.memory(&call);

    let bytes = |info: &TensorInfo| (info.shape.elements() * info.dtype.bytes()).next_multiple_of(ALIGNMENT);
    let infos = || input_infos.iter().chain(&output_infos);
    let total = infos().map(bytes).sum::<usize>() + memory.scratch_bytes;
    let unbounded = MemoryBudget::unlimited();
    let mut buffer =
        Buffer::new(&unbounded, "folding", total).map_err(|e| OpError::Invalid(e.to_string()))?;
    let mut rest: &mut [u8] = &mut buffer;
    let mut slots = Vec::new();
    for (i, info) in infos().enumerate() {
        let (memory, tail) = rest.split_at_mut(bytes(info));
        rest = tail;
        if let Some(view) = inputs.get(i) {
            memory[..view.bytes().len()].copy_from_slice(view.bytes());
        }
        slots.push(Slot {
            start: memory.as_mut_ptr(),
            dtype: info.dtype,
            shape: Cell::new(info.shape),
            place: Place::Value,
            capacity_bytes: memory.len(),
        });
    }
    let strings = Buffer::new(&unbounded, "folding", 0).map_err(|e| OpError::Invalid(e.to_string()))?;
    let indices: Vec<usize> = (0..slots.len()).collect();
    let (input_slots, output_slots) = indices.split_at(inputs.len());
    let strings = StringPool::new(strings);
    let mut run = Run {
        pool,
        slots: &slots,
        inputs: input_slots,
        outputs: output_slots,
        in_place_input: None,
        stream: None,
        scratch: Some(rest),
        strings: &strings,
        taken: 0,
    };
    if let Some(input) = memory.alias {
        let view = run.input(input)?;
        run.out_bytes(0)?.copy_from_slice(view.bytes());
    } else {
        operator.run(&mut run)?;
    }
    let values = output_slots.iter().map(|slot| {
        let slot = &slots[*slot];
        let shape = slot.shape.get();
        // SAFETY: the slot's memory is a part of `buffer`, which is alive and borrowed by nobody else now.
        let bytes = unsafe { std::slice::from_raw_parts(slot.start, shape.elements() * slot.dtype.bytes()) };
        (shape, bytes.to_vec())
    });
    Ok(values.collect())
}
