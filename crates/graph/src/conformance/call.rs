//! One call of an operator in guarded memory, in every way a plan may ask for it.

use std::cell::Cell;
use std::fmt;

use tightfit_core::{Buffer, DType, MemoryBudget, Shape, StringRef};
use tightfit_kernels::{BytePanels, Isa, PackedLayout, Philox, ThreadPool};

use crate::fact::Fact;
use crate::operator::Growth;
use crate::operator::growing::Growing;
use crate::operator::random::Generator;
use crate::operator::rooms::Rooms;
use crate::operator::strings::{StringPool, Texts};
use crate::operator::tables::Tables;
use crate::operator::{
    Call, Held, Memory, OpError, Operator, Run, Slot, TensorInfo, WeightLayout, WeightStream, WeightUse,
};
use crate::plan::growth::open_shape;

/// Bytes before and after each tensor that nobody may change.
const GUARD_BYTES: usize = 256;
const GUARD: u8 = 0xA5;
/// Room for the strings of a graph.
const STRING_BYTES: usize = 1 << 20;
/// Windows that weights are streamed through: the smallest legal block, and a few blocks.
const WINDOWS_BYTES: [usize; 2] = [1, 4 << 10];

/// A tensor. Strings are references into the caller's pool.
#[derive(Clone, PartialEq)]
pub struct Value {
    pub dtype: DType,
    pub shape: Shape,
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.bytes[..self.bytes.len().min(64)];
        write!(f, "{}{} {shown:02x?}", self.dtype, self.shape)
    }
}

/// The shapes of a call as planned and as they are.
pub struct Shapes {
    pub planned_inputs: Vec<Shape>,
    pub planned_outputs: Vec<(DType, Shape)>,
    /// The outputs' shapes in this run, upper bounds where the operator finds them while it runs.
    pub outputs: Vec<Shape>,
}

/// Where a weight is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Dense,
    Packed,
    Streamed { window_bytes: usize },
}

/// One way to call.
#[derive(Debug, Clone, Copy)]
struct Way {
    form: Form,
    pool: usize,
    in_place_input: Option<usize>,
    /// What the memory of outputs and scratch holds before.
    fill: u8,
    /// True when the shapes of the outputs are worked out as the step runs.
    is_reshaped: bool,
}

/// Threads and strings to call with.
pub struct Caller {
    pools: [ThreadPool; 2],
    pub strings: StringPool,
    /// Where the next call's random numbers begin, and where those of the last one ended.
    pub drawn: Cell<(Option<Philox>, Option<Philox>)>,
    tables: Tables,
}

struct Guarded {
    memory: Buffer,
    bytes: usize,
}

impl Guarded {
    fn new(bytes: usize, fill: u8) -> Guarded {
        let mut memory = Buffer::new(&MemoryBudget::new(u64::MAX), "test", bytes + 2 * GUARD_BYTES)
            .expect("memory for a test");
        memory.fill(GUARD);
        memory[GUARD_BYTES..GUARD_BYTES + bytes].fill(fill);
        Guarded { memory, bytes }
    }

    fn of(bytes: &[u8]) -> Guarded {
        let mut guarded = Guarded::new(bytes.len(), 0);
        guarded.inner().copy_from_slice(bytes);
        guarded
    }

    fn inner(&mut self) -> &mut [u8] {
        &mut self.memory[GUARD_BYTES..GUARD_BYTES + self.bytes]
    }

    fn is_whole(&self) -> bool {
        let (before, rest) = self.memory.split_at(GUARD_BYTES);
        before.iter().chain(&rest[self.bytes..]).all(|b| *b == GUARD)
    }
}

/// A weight whose blocks lie at odd addresses.
struct OddStream {
    bytes: Vec<u8>,
    block_bytes: usize,
}

impl WeightStream for OddStream {
    fn blocks(&self, each: &mut crate::operator::EachBlock<'_>) -> Result<(), OpError> {
        if self.block_bytes == 0 {
            return Err(OpError::Internal("a weight that is read in pieces was read in blocks"));
        }
        let mut window = vec![0; self.block_bytes + 1];
        for (number, block) in self.bytes.chunks(self.block_bytes).enumerate() {
            window[1..][..block.len()].copy_from_slice(block);
            each((number * self.block_bytes) as u64, &window[1..][..block.len()])?;
        }
        Ok(())
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), OpError> {
        let from = self.bytes.get(offset as usize..).unwrap_or_default();
        let from = from.get(..bytes.len()).ok_or(OpError::Internal("read past the end of a weight"))?;
        bytes.copy_from_slice(from);
        Ok(())
    }
}

impl Caller {
    pub fn new() -> Caller {
        let budget = MemoryBudget::new(u64::MAX);
        let strings = Buffer::new(&budget, "test", STRING_BYTES).expect("memory for a test");
        let pool = |threads| ThreadPool::new(threads).expect("threads for a test");
        Caller {
            pools: [pool(1), pool(3)],
            strings: StringPool::new(Texts::default(), strings, &budget),
            tables: Tables::new(&budget),
            drawn: Cell::default(),
        }
    }

    /// Calls `operator` in every way there is. The inner result is the operator's own.
    ///
    /// # Errors
    /// Which promise was broken, and how.
    pub fn check(
        &self,
        operator: &dyn Operator,
        inputs: &[Value],
        shapes: &Shapes,
    ) -> Result<Result<Vec<Value>, OpError>, String> {
        let plain = Way { form: Form::Dense, pool: 0, in_place_input: None, fill: 0xCD, is_reshaped: false };
        let expected = self.call(operator, inputs, shapes, plain)?;
        let mut forms = vec![Form::Dense];
        if let Some(weight) = self.weight(operator, inputs, shapes, usize::MAX) {
            forms.push(Form::Packed);
            // Only large constants are streamed, empty ones never.
            let windows = WINDOWS_BYTES.iter().filter(|_| !inputs[weight.input].bytes.is_empty());
            forms.extend(windows.map(|window_bytes| Form::Streamed { window_bytes: *window_bytes }));
        }
        for form in forms {
            let memory = self.memory(operator, inputs, shapes, form, 1);
            let qualifies = |i: &usize| {
                let outputs = shapes.planned_outputs.first();
                outputs.is_some_and(|(dtype, shape)| {
                    inputs[*i].dtype.bytes() == dtype.bytes()
                        && shapes.planned_inputs[*i] == *shape
                        && inputs[*i].shape == shapes.outputs[0]
                })
            };
            let in_place = memory.overwrites.iter().filter(qualifies).map(Some);
            for in_place_input in std::iter::once(None).chain(in_place) {
                for (pool, fill) in [(0, 0x11), (1, 0xEE)] {
                    let is_reshaped = pool == 1 && in_place_input.is_none();
                    let way = Way { form, pool, in_place_input, fill, is_reshaped };
                    let result = self.call(operator, inputs, shapes, way)?;
                    self.compare(&expected, &result, way)?;
                }
            }
        }
        Ok(expected)
    }

    fn compare(
        &self,
        expected: &Result<Vec<Value>, OpError>,
        result: &Result<Vec<Value>, OpError>,
        way: Way,
    ) -> Result<(), String> {
        match (expected, result) {
            (Ok(a), Ok(b)) => match a.iter().zip(b).position(|(a, b)| !self.same(a, b)) {
                None => Ok(()),
                Some(i) => Err(format!("output {i} is {:?}, but as {way:?} {:?}", a[i], b[i])),
            },
            (Err(_), Err(_)) => Ok(()),
            (Ok(_), Err(error)) => Err(format!("as {way:?} it is refused: {error}")),
            (Err(error), Ok(_)) => Err(format!("only as {way:?} it is not refused: {error}")),
        }
    }

    /// True when both are the same bit for bit, strings by their text.
    pub fn same(&self, a: &Value, b: &Value) -> bool {
        if a.dtype == DType::String {
            return (a.dtype, a.shape) == (b.dtype, b.shape) && self.texts(a) == self.texts(b);
        }
        a == b
    }

    /// The texts of a tensor of strings.
    pub fn texts(&self, value: &Value) -> Vec<Vec<u8>> {
        let references = value.bytes.chunks_exact(16).map(bytemuck::pod_read_unaligned::<StringRef>);
        references.map(|r| self.strings.get(r).to_vec()).collect()
    }

    fn infos(&self, inputs: &[Value], shapes: &Shapes) -> (Vec<TensorInfo>, Vec<TensorInfo>) {
        let info = |dtype, shape| TensorInfo { dtype, shape, is_bound: false, held: Held::Value };
        let inputs = inputs.iter().zip(&shapes.planned_inputs).map(|(v, s)| info(v.dtype, *s));
        (inputs.collect(), shapes.planned_outputs.iter().map(|(d, s)| info(*d, *s)).collect())
    }

    fn weight(
        &self,
        operator: &dyn Operator,
        inputs: &[Value],
        shapes: &Shapes,
        window_bytes: usize,
    ) -> Option<WeightUse> {
        let (inputs, outputs) = self.infos(inputs, shapes);
        operator.weight(&Call {
            inputs: &inputs,
            outputs: &outputs,
            threads: 1,
            isa: Isa::detect(),
            window_bytes,
        })
    }

    fn memory(
        &self,
        operator: &dyn Operator,
        inputs: &[Value],
        shapes: &Shapes,
        form: Form,
        threads: usize,
    ) -> Memory {
        let (mut input_infos, outputs) = self.infos(inputs, shapes);
        let window_bytes = match form {
            Form::Streamed { window_bytes } => window_bytes,
            _ => usize::MAX,
        };
        if let (Some(weight), true) =
            (self.weight(operator, inputs, shapes, window_bytes), form != Form::Dense)
        {
            input_infos[weight.input].held = match form {
                Form::Streamed { .. } => Held::Streamed,
                _ => weight.layout.held(),
            };
        }
        operator.memory(&Call {
            inputs: &input_infos,
            outputs: &outputs,
            threads,
            isa: Isa::detect(),
            window_bytes,
        })
    }

    /// The shapes of outputs that only a run finds.
    pub fn grow(
        &self,
        operator: &dyn Operator,
        inputs: &[Value],
        facts: &[Fact],
    ) -> Result<Vec<Shape>, OpError> {
        let mut guarded: Vec<Guarded> = inputs.iter().map(|v| Guarded::of(&v.bytes)).collect();
        guarded.extend(facts.iter().map(|_| Guarded::new(0, 0)));
        let empty = Shape::new(&[0])?;
        let open: Vec<Shape> =
            facts.iter().map(|fact| open_shape(fact, fact.planned_dims()).unwrap_or(empty)).collect();
        let shapes = Shapes {
            planned_inputs: inputs.iter().map(|value| value.shape).collect(),
            planned_outputs: facts.iter().zip(&open).map(|(fact, shape)| (fact.dtype, *shape)).collect(),
            outputs: open,
        };
        let slots = self.slots(inputs, &shapes, &[], &mut guarded, None);
        let rooms = Rooms::new(&MemoryBudget::new(u64::MAX), facts.len() + 2, slots.len());
        for slot in &slots[inputs.len()..] {
            slot.growth.set(Growth::SHAPED);
            slot.let_go(&rooms);
        }
        let indices: Vec<usize> = (0..slots.len()).collect();
        let (input_slots, output_slots) = indices.split_at(inputs.len());
        // Its shapes are found before it draws: what it draws here is drawn again.
        let generator = Generator::at(self.drawn.get().0);
        let mut run = Run {
            pool: &self.pools[0],
            slots: &slots,
            inputs: input_slots,
            outputs: output_slots,
            in_place_input: None,
            stream: None,
            scratch: None,
            strings: &self.strings,
            tables: &self.tables,
            rooms: Some(&rooms),
            generator: Some(&generator),
        };
        let growing = Growing { threads: 1, isa: Isa::detect(), is_last: &|_| false, check: &|| Ok(()) };
        growing.call(operator, &mut run, &rooms)?;
        Ok(slots[inputs.len()..].iter().map(|slot| slot.shape.get()).collect())
    }

    fn call(
        &self,
        operator: &dyn Operator,
        inputs: &[Value],
        shapes: &Shapes,
        way: Way,
    ) -> Result<Result<Vec<Value>, OpError>, String> {
        // As a session does.
        let _flush = tightfit_kernels::FlushDenormals::new();
        let pool = &self.pools[way.pool];
        let memory = self.memory(operator, inputs, shapes, way.form, pool.threads());
        let mut guarded: Vec<Guarded> = inputs.iter().map(|v| Guarded::of(&v.bytes)).collect();
        let mut places = vec![Held::Value; inputs.len()];
        let mut stream = None;
        if let (Form::Packed | Form::Streamed { .. }, window_bytes) = (way.form, window_of(way.form))
            && let Some(weight) = self.weight(operator, inputs, shapes, window_bytes)
        {
            let value = &inputs[weight.input];
            match (way.form, weight.layout) {
                (Form::Streamed { .. }, _) => {
                    places[weight.input] = Held::Streamed;
                    stream = Some(OddStream { bytes: value.bytes.clone(), block_bytes: weight.block_bytes });
                }
                (_, WeightLayout::Dense) => places[weight.input] = Held::Resident,
                (_, layout) => {
                    places[weight.input] = Held::Packed;
                    guarded[weight.input] = Guarded::of(&pack(value, layout)?);
                }
            }
        }
        let capacity = |(dtype, shape): &(DType, Shape)| shape.elements() * dtype.bytes();
        let outputs = shapes.planned_outputs.iter().map(|planned| Guarded::new(capacity(planned), way.fill));
        guarded.extend(outputs);
        let mut scratch = Guarded::new(memory.scratch_bytes, way.fill);
        let slots = self.slots(inputs, shapes, &places, &mut guarded, way.in_place_input);
        let indices: Vec<usize> = (0..slots.len()).collect();
        let (input_slots, output_slots) = indices.split_at(inputs.len());
        let (strings_before, asked_before) = (self.strings.used_bytes(), self.strings.asked_bytes());
        let generator = Generator::at(self.drawn.get().0);
        let mut run = Run {
            pool,
            slots: &slots,
            inputs: input_slots,
            outputs: output_slots,
            in_place_input: way.in_place_input,
            stream: stream.as_ref().map(|s| s as &dyn WeightStream),
            scratch: Some(scratch.inner()),
            strings: &self.strings,
            tables: &self.tables,
            rooms: None,
            generator: Some(&generator),
        };
        run.begin();
        if way.is_reshaped {
            // As a step does whose shapes depend on data; what it leaves alone is found by the run.
            let planned = slots[inputs.len()..].iter().map(|slot| slot.shape.get()).collect::<Vec<_>>();
            slots[inputs.len()..].iter().zip(&shapes.planned_outputs).for_each(|(s, p)| s.shape.set(p.1));
            if operator.reshape(&mut run).is_none() {
                slots[inputs.len()..].iter().zip(planned).for_each(|(s, shape)| s.shape.set(shape));
            }
        }
        if let Some(input) = memory.alias {
            return alias(&inputs[input], shapes, slots[inputs.len()..].iter().map(|s| s.shape.get()))
                .map(Ok);
        }
        let result = operator.run(&mut run);
        self.drawn.set((self.drawn.get().0, generator.place()));
        let new_strings_bytes = self.strings.used_bytes() - strings_before;
        let asked_bytes = (self.strings.asked_bytes() - asked_before) as usize;
        if new_strings_bytes > memory.string_bytes.saturating_add(asked_bytes) {
            let planned_bytes = memory.string_bytes;
            return Err(format!(
                "makes {new_strings_bytes} bytes of strings, not {planned_bytes} and {asked_bytes}"
            ));
        }
        let actual: Vec<Shape> = slots[inputs.len()..].iter().map(|slot| slot.shape.get()).collect();
        self.check_guards(inputs, &mut guarded, &scratch, &places, way)?;
        if let Err(error) = result {
            return Ok(Err(error));
        }
        let values = shapes.planned_outputs.iter().zip(actual).enumerate().map(|(i, ((dtype, _), shape))| {
            let from = match (i, way.in_place_input) {
                (0, Some(input)) => &mut guarded[input],
                _ => &mut guarded[inputs.len() + i],
            };
            Value { dtype: *dtype, shape, bytes: from.inner()[..shape.elements() * dtype.bytes()].to_vec() }
        });
        Ok(Ok(values.collect()))
    }

    fn slots(
        &self,
        inputs: &[Value],
        shapes: &Shapes,
        places: &[Held],
        guarded: &mut [Guarded],
        in_place_input: Option<usize>,
    ) -> Vec<Slot> {
        let mut slots: Vec<Slot> = Vec::new();
        for (i, memory) in guarded.iter_mut().enumerate() {
            let (dtype, shape) = match i.checked_sub(inputs.len()) {
                None => (inputs[i].dtype, inputs[i].shape),
                Some(output) => (shapes.planned_outputs[output].0, shapes.outputs[output]),
            };
            let in_place = in_place_input.filter(|_| i == inputs.len());
            slots.push(Slot {
                start: Cell::new(
                    in_place.map_or(memory.inner().as_mut_ptr(), |input| slots[input].start.get()),
                ),
                dtype,
                shape: Cell::new(shape),
                held: places.get(i).copied().unwrap_or_default(),
                capacity_bytes: Cell::new(memory.bytes),
                is_taken: Cell::new(false),
                growth: Cell::new(Growth::PLANNED),
            });
        }
        slots
    }

    fn check_guards(
        &self,
        inputs: &[Value],
        guarded: &mut [Guarded],
        scratch: &Guarded,
        places: &[Held],
        way: Way,
    ) -> Result<(), String> {
        if let Some(i) = guarded.iter().position(|g| !g.is_whole()) {
            return Err(format!("writes outside of tensor {i} (inputs first, then outputs) as {way:?}"));
        }
        if !scratch.is_whole() {
            return Err(format!("writes outside of its scratch as {way:?}"));
        }
        for (i, value) in inputs.iter().enumerate() {
            let is_dense = places[i] != Held::Packed && way.in_place_input != Some(i);
            if is_dense && guarded[i].inner() != value.bytes {
                return Err(format!("writes into its input {i} as {way:?}"));
            }
        }
        Ok(())
    }
}

fn window_of(form: Form) -> usize {
    match form {
        Form::Streamed { window_bytes } => window_bytes,
        _ => usize::MAX,
    }
}

fn alias(input: &Value, shapes: &Shapes, mut set: impl Iterator<Item = Shape>) -> Result<Vec<Value>, String> {
    let ([(dtype, _)], [shape]) = (&shapes.planned_outputs[..], &shapes.outputs[..]) else {
        return Err("an alias has other than one output".to_string());
    };
    if shape.elements() * dtype.bytes() != input.bytes.len() || set.next() != Some(*shape) {
        return Err(format!("an alias of {input:?} is {dtype}{shape}"));
    }
    Ok(vec![Value { dtype: *dtype, shape: *shape, bytes: input.bytes.clone() }])
}

/// A weight in the kernel's panels.
fn pack(value: &Value, layout: WeightLayout) -> Result<Vec<u8>, String> {
    let error = |error: tightfit_kernels::KernelError| format!("the layout of its weight: {error}");
    let (k, n, is_transposed, groups) = match layout {
        WeightLayout::Dense => return Ok(value.bytes.clone()),
        WeightLayout::Panels { k, n, is_transposed, groups } => (k, n, is_transposed, groups),
        WeightLayout::BytePanels { columns, depth, kind } => {
            let panels = BytePanels::new(columns, depth).map_err(error)?;
            let mut packed = vec![0; panels.bytes()];
            panels.pack(&mut packed, 0, kind, &value.bytes).map_err(error)?;
            return Ok(packed);
        }
    };
    let packed_layout = PackedLayout::new(Isa::detect(), k, n, groups).map_err(error)?;
    let mut packed = vec![0; packed_layout.packed_bytes()];
    if is_transposed {
        packed_layout.pack_columns(&mut packed, 0, &value.bytes).map_err(error)?;
    } else {
        packed_layout.pack_rows(&mut packed, 0, &value.bytes).map_err(error)?;
    }
    Ok(packed)
}
