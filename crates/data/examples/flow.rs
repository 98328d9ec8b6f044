//! What the stages of a pipeline cost by themselves: nanoseconds per row of a source in memory whose rows have five small
//! fields, or strings of differing lengths.
//!
//! ```text
//! flow [ROWS]        JSON: for each pipeline the median of five passes, in nanoseconds per row of the source
//! ```

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use tightfit_core::{DType, MemoryBudget, Shape};
use tightfit_data::DataError;
use tightfit_data::flow::*;

/// Rows made of their number.
#[derive(Debug, Clone, Copy)]
struct Counted {
    rows: u64,
    /// Whether a field of `number % 64` elements is among them.
    is_ragged: bool,
}

struct Counter {
    spec: Counted,
    made: Element,
    next: u64,
}

impl SourceSpec for Counted {
    fn identity(&self) -> serde_json::Value {
        serde_json::json!({"counted": [self.rows, u64::from(self.is_ragged)]})
    }

    fn open(&self, context: &mut Context) -> Result<Node, DataError> {
        let mut fields = vec![
            Field::fixed("id", DType::I64, &[]),
            Field::fixed("label", DType::I32, &[]),
            Field::fixed("weight", DType::F32, &[]),
            Field::fixed("point", DType::F32, &[4]),
            Field::fixed("flags", DType::U8, &[8]),
        ];
        if self.is_ragged {
            fields.push(Field::new("tokens", DType::I32, &[None]));
        }
        let schema = Arc::new(Schema::new(fields).map_err(DataError::Spec)?);
        let meter = context.meter("count", &[]);
        let made = Element::new(schema, "count", &context.budget);
        Ok(context.node(Counter { spec: *self, made, next: 0 }, meter))
    }
}

impl Stage for Counter {
    fn schema(&self) -> &Arc<Schema> {
        self.made.schema()
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        let number = self.next;
        if number == self.spec.rows {
            return Ok(false);
        }
        self.next += 1;
        // But for their numbers all rows of one shape are equal, so that making them costs next to nothing.
        if number == 0 || self.spec.is_ragged {
            let shape = |size: usize| Shape::new(&[size]).unwrap_or(Shape::SCALAR);
            self.made.begin(Origin { file: 0, record: number, offset: number });
            for shape in [Shape::SCALAR, Shape::SCALAR, Shape::SCALAR, shape(4), shape(8)] {
                self.made.add(shape).map_err(DataError::of_fault)?.fill(1);
            }
            if self.spec.is_ragged {
                self.made.add(shape((number % 64) as usize)).map_err(DataError::of_fault)?.fill(2);
            }
        }
        self.made.field_mut(0)?.copy_from_slice(&number.to_le_bytes());
        Ok(true)
    }

    fn current(&self) -> ElementView<'_> {
        self.made.view()
    }

    fn reset(&mut self, _epoch: u64) -> Result<(), DataError> {
        self.next = 0;
        Ok(())
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        state.numbers(&[self.next])
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        [self.next] = state.numbers()?;
        Ok(())
    }
}

/// Nanoseconds per row: the median of five passes after one that makes what is used again.
fn measure(spec: PipelineSpec, rows: u64) -> Result<f64, Box<dyn Error>> {
    let mut pipeline = Pipeline::open(&spec, &MemoryBudget::new(256 << 20), 1)?;
    let mut times = Vec::new();
    for epoch in 0..6 {
        pipeline.reset(epoch)?;
        let start = Instant::now();
        while pipeline.advance()? {
            black_box(pipeline.current().places().len());
        }
        times.push(start.elapsed().as_nanos() as f64 / rows as f64);
    }
    let mut times = times.split_off(1);
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

fn main() -> Result<(), Box<dyn Error>> {
    let rows: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let even = || PipelineSpec::new(Counted { rows, is_ragged: false });
    let ragged = || PipelineSpec::new(Counted { rows, is_ragged: true });
    let batch = |size| Batch { size, drop_remainder: false };
    let shuffle = |bytes| Shuffle { buffer_bytes: bytes, seed: 1, reshuffles: true };
    let padded = PaddedBatch { size: 64, padding: Padding::default(), drop_remainder: false };
    let ragged_batch = RaggedBatch { size: 64, fields: None, drop_remainder: false };
    let window = Window { size: 8, shift: 8, stride: 1, drop_remainder: false };
    let cast = Cast { fields: vec![("id".to_string(), DType::F32)], truncates: false };
    let inline = Map { op: Arc::new(cast), mode: MapMode::Inline };
    let all = [
        ("source", even()),
        ("take, skip, repeat", even().then(Take(rows)).then(Skip(1)).then(Repeat(Some(1)))),
        ("batch 256", even().then(batch(256))),
        ("batch 256, prefetch", even().then(batch(256)).then(Prefetch::default())),
        ("prefetch", even().then(Prefetch::default())),
        ("batch 256, unbatch", even().then(batch(256)).then(Unbatch)),
        ("cast", even().then(inline)),
        ("window 8", even().then(window)),
        ("shuffle 1 MiB", even().then(shuffle(1 << 20))),
        ("shuffle 64 MiB", even().then(shuffle(64 << 20))),
        ("source of ragged rows", ragged()),
        ("padded_batch 64", ragged().then(padded)),
        ("ragged_batch 64", ragged().then(ragged_batch)),
        ("shuffle 1 MiB of ragged rows", ragged().then(shuffle(1 << 20))),
        ("shuffle 16 MiB of ragged rows", ragged().then(shuffle(16 << 20))),
    ];
    let mut told = Vec::new();
    for (name, spec) in all {
        told.push(format!("  {name:?}: {:.1}", measure(spec, rows)?));
    }
    println!("{{\n{}\n}}", told.join(",\n"));
    Ok(())
}
