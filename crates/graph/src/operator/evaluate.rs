//! Running one operator by itself on small values, for constant folding.

use std::cell::Cell;

use tightfit_core::{ALIGNMENT, Buffer, MemoryBudget, Shape, TensorView, block_bytes};
use tightfit_kernels::{FlushDenormals, Isa, ThreadPool};

use crate::fact::Fact;
use crate::operator::Growth;
use crate::operator::growing::Growing;
use crate::operator::random::Generator;
use crate::operator::rooms::Rooms;
use crate::operator::strings::{StringPool, Texts};
use crate::operator::tables::Tables;
use crate::operator::{Call, Held, Memory, OpError, Operator, Run, Slot, TensorInfo};

/// What the memory of an operator is reserved for that runs by itself.
const PURPOSE: &str = "values computed ahead";

/// The outputs of `operator` for these inputs: the shape and bytes of each. `outputs` is what it inferred. One without a
/// bound gets its memory from `budget` when its shape is known.
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
    let info = |view: &TensorView<'_>| TensorInfo {
        dtype: view.dtype(),
        shape: *view.shape(),
        is_bound: false,
        held: Held::Value,
    };
    let input_infos: Vec<_> = inputs.iter().map(info).collect();
    let grows = outputs.iter().any(Fact::grows);
    let output_infos = outputs.iter().map(|fact| {
        let shape = fact.planned_dims().concrete().map_or_else(|| Shape::new(&[0]), Ok)?;
        Ok(TensorInfo { dtype: fact.dtype, shape, is_bound: fact.depends_on_data(), held: Held::Value })
    });
    let output_infos: Vec<TensorInfo> = output_infos.collect::<Result<_, OpError>>()?;
    let call = Call {
        inputs: &input_infos,
        outputs: &output_infos,
        threads: 1,
        isa: Isa::detect(),
        window_bytes: usize::MAX,
    };
    // Where an output grows it is asked once the shapes are known.
    let memory = if grows { Memory::default() } else { operator.memory(&call).checked(inputs.len())? };

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
            held: Held::Value,
            capacity_bytes: Cell::new(memory.len()),
            is_taken: Cell::new(false),
            growth: Cell::new(Growth::PLANNED),
        });
    }
    let strings = StringPool::new(Texts::default(), Buffer::new(budget, PURPOSE, 0)?, budget);
    let tables = Tables::new(budget);
    let rooms = Rooms::new(budget, outputs.len() + 2, infos().count());
    for (slot, _) in slots[inputs.len()..].iter().zip(outputs).filter(|(_, fact)| fact.grows()) {
        slot.growth.set(Growth::SHAPED);
        slot.let_go(&rooms);
    }
    let indices: Vec<usize> = (0..slots.len()).collect();
    let (input_slots, output_slots) = indices.split_at(inputs.len());
    let generator = Generator::default();
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
        rooms: grows.then_some(&rooms),
        generator: Some(&generator),
    };
    run.begin();
    if grows {
        let (isa, check) = (Isa::detect(), &|| Ok(()));
        Growing { threads: 1, isa, is_last: &|_| false, check }.call(operator, &mut run, &rooms)?;
    } else if let Some(input) = memory.alias {
        let view = run.input(input)?;
        run.out_bytes(0)?.copy_from_slice(view.bytes());
    } else {
        operator.run(&mut run)?;
    }
    let values = output_slots.iter().map(|slot| {
        let slot = &slots[*slot];
        let shape = slot.shape.get();
        // SAFETY: the slot's memory is a part of `buffer` or a room, which are alive and borrowed by nobody else now.
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
