//! Numbers that are counted: `tf.data.Dataset.range`. Each is an int64 scalar called `value`.
//!
//! ```json
//! {"range": 10}
//! {"range": [10, 0, -3]}
//! ```

use std::sync::Arc;

use tightfit_core::{DType, Shape};

use crate::error::DataError;
use crate::flow::element::{ElementView, Field, Place, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::origin::Origin;
use crate::flow::spec::SourceSpec;
use crate::flow::stage::{Context, Node, Stage};
use crate::flow::state::{StateReader, StateWriter};

/// Numbers from `start` on in steps of `step`, up to `stop` without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Range {
    /// The first.
    pub start: i64,
    /// Where they end.
    pub stop: i64,
    /// From one to the next; not 0.
    pub step: i64,
}

impl Range {
    fn count(self) -> u64 {
        let way = i128::from(self.stop) - i128::from(self.start);
        let (way, step) =
            if self.step < 0 { (-way, -i128::from(self.step)) } else { (way, self.step.into()) };
        if way <= 0 || step == 0 { 0 } else { u64::try_from((way + step - 1) / step).unwrap_or(u64::MAX) }
    }
}

impl SourceSpec for Range {
    fn identity(&self) -> serde_json::Value {
        identity::of("range", self)
    }

    fn open(&self, context: &mut Context) -> Result<Node, DataError> {
        if self.step == 0 {
            return Err(DataError::Spec("range: a step of 0".to_string()));
        }
        let fields = vec![Field::fixed("value", DType::I64, &[])];
        let schema = Arc::new(Schema::new(fields).map_err(DataError::Spec)?);
        let meter = context.meter("range", &[]);
        let file = context.names.add_other("range");
        Ok(context.node(Counter { range: *self, schema, file, next: 0, value: [0; 8] }, meter))
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn SourceSpec>> {
    let wrong = || args.wrong(args.name(), "a whole number, [start, stop] or [start, stop, step]");
    let numbers: Option<Vec<i64>> = match args.value().as_array() {
        Some(numbers) => numbers.iter().map(|number| number.as_i64()).collect(),
        None => args.value().as_i64().map(|stop| vec![0, stop]),
    };
    let (start, stop, step) = match numbers.ok_or_else(wrong)?[..] {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] => (start, stop, step),
        _ => return Err(wrong()),
    };
    Ok(Arc::new(Range { start, stop, step }))
}

struct Counter {
    range: Range,
    schema: Arc<Schema>,
    file: u32,
    /// How many numbers were given.
    next: u64,
    value: [u8; 8],
}

/// Where the one field lies.
const PLACES: [Place; 1] = [Place { shape: Shape::SCALAR, offset: 0 }];

impl Stage for Counter {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        if self.next >= self.range.count() {
            return Ok(false);
        }
        // Within 64 bits, as it is before the end.
        let value = i128::from(self.range.start) + i128::from(self.next) * i128::from(self.range.step);
        self.value = (value as i64).to_le_bytes();
        self.next += 1;
        Ok(true)
    }

    fn current(&self) -> ElementView<'_> {
        let origin = Origin { file: self.file, record: self.next.saturating_sub(1), offset: 0 };
        ElementView::new(&self.schema, &PLACES, &self.value, &[], origin)
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

    fn rows(&self) -> Option<u64> {
        Some(self.range.count())
    }
}
