//! Elements that follow each other, together as one: `tf.data.Dataset.window` with each window as a batch, as
//! `window(...).flat_map(lambda w: w.batch(size))` gives them. What two windows share is held and not read again.

use std::sync::Arc;

use super::gather::{Columns, Layout, RowQueue, batch_schema};
use crate::error::{DataError, RowFault};
use crate::flow::codec::Cursor;
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::origin::{Names, Origin};
use crate::flow::spec::StageSpec;
use crate::flow::stage::{Context, Meter, Node, Stage};
use crate::flow::state::{StateReader, StateWriter};

const PURPOSE: &str = "window";

/// Windows over the elements.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Window {
    /// Elements of a window.
    pub size: usize,
    /// Elements from the beginning of one window to that of the next.
    pub shift: usize,
    /// Elements from one of a window to its next.
    pub stride: usize,
    /// Whether windows of fewer elements, at the end, are left out.
    pub drop_remainder: bool,
}

impl StageSpec for Window {
    fn identity(&self) -> serde_json::Value {
        identity::of("window", self)
    }

    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        if self.size == 0 || self.shift == 0 || self.stride == 0 {
            return Err(DataError::Spec("window: size, shift and stride are to be at least 1".to_string()));
        }
        let span = (self.size - 1).checked_mul(self.stride).and_then(|steps| steps.checked_add(1));
        let span = span.ok_or_else(|| DataError::Spec("window: it spans too many elements".to_string()))?;
        let layouts = vec![Layout::Equal; input.schema().fields().len()];
        let dim = self.drop_remainder.then_some(self.size);
        let schema = Arc::new(batch_schema(input.schema(), &layouts, dim)?);
        let meter = context.meter(PURPOSE, &[&input]);
        let window = WindowStage {
            columns: Columns::new(input.schema().clone(), layouts),
            input,
            spec: *self,
            span,
            rows: RowQueue::new(PURPOSE, &context.budget),
            to_skip: 0,
            is_at_end: false,
            made: Element::new(schema, PURPOSE, &context.budget),
            names: context.names.clone(),
            meter: meter.clone(),
        };
        Ok(context.node(window, meter))
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    let size = args.number()?;
    let shift = args.number_option("shift")?.unwrap_or(size) as usize;
    let stride = args.number_option("stride")?.unwrap_or(1) as usize;
    let drop_remainder = args.flag("drop_remainder")?;
    Ok(Arc::new(Window { size: size as usize, shift, stride, drop_remainder }))
}

/// See the module.
struct WindowStage {
    input: Node,
    spec: Window,
    /// Elements from the first of a window to its last.
    span: usize,
    /// The elements from where the next window begins on.
    rows: RowQueue,
    columns: Columns,
    /// Elements before the next window begins.
    to_skip: usize,
    is_at_end: bool,
    made: Element,
    names: Names,
    meter: Arc<Meter>,
}

impl WindowStage {
    fn fill(&mut self) -> Result<(), DataError> {
        while !self.is_at_end && self.rows.len() < self.span {
            if !self.input.advance()? {
                self.is_at_end = true;
            } else if self.to_skip > 0 {
                self.to_skip -= 1;
            } else {
                let row = self.input.current();
                self.rows.push(&row).map_err(|fault| self.names.bad(row.origin(), fault))?;
            }
        }
        Ok(())
    }
}

impl WindowStage {
    /// Makes a window of the first `rows` of those held.
    fn lay_out(&mut self, rows: usize) -> Result<(), (Origin, RowFault)> {
        let chosen = || (0..rows).step_by(self.spec.stride).map(|index| self.rows.get(index));
        self.columns.clear();
        let origin = self.rows.origin().map_err(|fault| (Origin::default(), fault))?;
        self.made.begin(origin);
        for row in chosen() {
            let row = row.map_err(|defect| (origin, defect.into()))?;
            let own = Cursor::new(row).map_or(origin, |row| row.origin());
            self.columns.add_encoded(row).map_err(|fault| (own, fault))?;
        }
        self.columns.lay_out(chosen(), &mut self.made).map_err(|fault| (origin, fault))
    }
}

impl Stage for WindowStage {
    fn schema(&self) -> &Arc<Schema> {
        self.made.schema()
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        self.fill()?;
        let rows = self.rows.len();
        if rows == 0 || self.spec.drop_remainder && rows < self.span {
            self.rows.clear();
            return Ok(false);
        }
        let laid = self.lay_out(rows);
        let gone = self.spec.shift.min(rows);
        self.rows.pop(gone)?;
        self.to_skip = self.spec.shift - gone;
        self.meter.holds(self.rows.held_bytes() + self.made.held_bytes());
        laid.map_err(|(origin, fault)| self.names.bad(origin, fault))?;
        Ok(true)
    }

    fn current(&self) -> ElementView<'_> {
        self.made.view()
    }

    fn take(&mut self, out: &mut Element) -> Result<(), DataError> {
        std::mem::swap(out, &mut self.made);
        Ok(())
    }

    fn reset(&mut self, epoch: u64) -> Result<(), DataError> {
        self.rows.clear();
        (self.to_skip, self.is_at_end) = (0, false);
        self.input.reset(epoch)
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        self.input.save(state)?;
        state.numbers(&[self.to_skip as u64, u64::from(self.is_at_end)])?;
        self.rows.save(state)
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        self.input.restore(state)?;
        let [to_skip, is_at_end] = state.numbers()?;
        (self.to_skip, self.is_at_end) = (to_skip as usize, is_at_end != 0);
        self.rows.restore(state)
    }

    fn rows(&self) -> Option<u64> {
        let (rows, shift, span) = (self.input.rows()?, self.spec.shift as u64, self.span as u64);
        Some(match (self.spec.drop_remainder, rows.checked_sub(span)) {
            (true, Some(behind)) => behind / shift + 1,
            (true, None) => 0,
            (false, _) => rows.div_ceil(shift),
        })
    }
}
