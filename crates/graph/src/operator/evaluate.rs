//! Running one operator by itself on small values, for constant folding.

use std::cell::Cell;

use tightfit_core::{ALIGNMENT, Buffer, MemoryBudget, Shape, TensorView, block_bytes};
use tightfit_kernels::{FlushDenormals, Isa, ThreadPool};

use crate::fact::Fact;
use crate::operator::strings::{StringPool, Texts};
use crate::operator::tables::Tables;
use crate::operator::{Call, OpError, Operator, Place, Run, Slot, TensorInfo};

/// What the memory of an operator is reserved for that runs by itself.
const PURPOSE: &str = "values computed ahead";

/// The outputs of `operator` for these inputs: the shape and bytes of each. `outputs` is what it inferred, with
/// every dimension known, or a bound of it.
///
/// # Errors
/// What the operator refuses, and [`OpError::Budget`] when its memory is not free.
pub fn evaluate(
    operator: &dyn Operator,
    inputs: &[TensorView<'_>],
    outputs: &[Fact],
    budget: &MemoryBudget,
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
    let call = Call {
        inputs: &input_infos,
        outputs: &output_infos,
        threads: 1,
        isa: Isa::detect(),
        window_bytes: usize::MAX,
    };
    let memory = operator.memory(&call);

    let bytes = |info: &TensorInfo| (info.shape.elements() * info.dtype.bytes()).next_multiple_of(ALIGNMENT);
    let infos = || input_infos.iter().chain(&output_infos);
    let total = infos().map(bytes).fold(memory.scratch_bytes, usize::saturating_add);
    let infos_bytes = infos().count() * (size_of::<TensorInfo>() + size_of::<Slot>() + size_of::<usize>());
    let results = outputs_bytes(&output_infos);
    // The lists, and the results once more outside of the buffer.
    let _room = budget.try_reserve(PURPOSE, infos_bytes as u64 + results)?;
    let mut buffer = Buffer::new(budget, PURPOSE, total)?;
    let mut rest: &mut [u8] = &mut buffer;
    let mut slots = Vec::new();
    for (i, info) in infos().enumerate() {
        let (memory, tail) = rest.split_at_mut(bytes(info));
        rest = tail;
        if let Some(view) = inputs.get(i) {
            memory[..view.bytes().len()].copy_from_slice(view.bytes());
        }
        slots.push(Slot {
            start: Cell::new(memory.as_mut_ptr()),
            dtype: info.dtype,
            shape: Cell::new(info.shape),
            place: Place::Value,
            capacity_bytes: Cell::new(memory.len()),
            is_taken: Cell::new(false),
        });
    }
    let strings = StringPool::new(Texts::default(), Buffer::new(budget, PURPOSE, 0)?, budget);
    let tables = Tables::new(budget);
    let indices: Vec<usize> = (0..slots.len()).collect();
    let (input_slots, output_slots) = indices.split_at(inputs.len());
    let mut run = Run {
        pool,
        slots: &slots,
        inputs: input_slots,
        outputs: output_slots,
        in_place_input: None,
        stream: None,
        scratch: Some(rest),
        strings: &strings,
        tables: &tables,
    };
    run.begin();
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
        let bytes =
            unsafe { std::slice::from_raw_parts(slot.start.get(), shape.elements() * slot.dtype.bytes()) };
        (shape, bytes.to_vec())
    });
    Ok(values.collect())
}

/// What the results take as blocks of their own.
fn outputs_bytes(infos: &[TensorInfo]) -> u64 {
    let bytes = |info: &TensorInfo| (info.shape.elements() as u64).saturating_mul(info.dtype.bytes() as u64);
    infos.iter().map(|info| block_bytes(bytes(info))).fold(0, u64::saturating_add)
}
