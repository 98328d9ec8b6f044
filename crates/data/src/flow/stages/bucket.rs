//! Batches of elements of about one length: `tf.data.Dataset.bucket_by_sequence_length`.

use std::sync::Arc;

use tightfit_core::DType;

use super::gather::{Pile, batch_schema};
use super::padded::Padding;
use crate::convert::to_whole;
use crate::error::{DataError, Needed, RowFault};
use crate::flow::element::{Element, ElementView, Schema};
use crate::flow::identity;
use crate::flow::json::{Args, Read};
use crate::flow::origin::Names;
use crate::flow::spec::StageSpec;
use crate::flow::stage::{Context, Meter, Node, Stage};
use crate::flow::state::{StateReader, StateWriter};

const PURPOSE: &str = "bucket_by_length";

/// Padded batches of elements of about one length. When the input is at its end, the buckets that are not empty follow,
/// those of shorter elements first.
#[derive(Debug, Clone, serde::Serialize)]
pub struct BucketByLength {
    /// The field that says how long an element is: its first dimension, or the value of a whole number.
    pub field: String,
    /// Where one bucket ends and the next begins: bucket `i` holds elements of lengths from `boundaries[i - 1]` up to,
    /// but not including, `boundaries[i]`.
    pub boundaries: Vec<u64>,
    /// Elements of a batch of each bucket, one more than there are boundaries.
    pub batch_sizes: Vec<u64>,
    /// What elements are padded to.
    pub padding: Padding,
    /// Whether open dimensions are padded to the longest that the bucket could hold, instead of to the longest of the
    /// batch. An element as long as the last boundary is then an error.
    pub pad_to_boundary: bool,
    /// Whether batches of fewer elements are left out.
    pub drop_remainder: bool,
}

impl BucketByLength {
    fn check(&self) -> Result<(), DataError> {
        let wrong = |why: &str| Err(DataError::Spec(format!("{PURPOSE}: {why}")));
        if self.boundaries.is_empty() || !self.boundaries.is_sorted_by(|a, b| a < b) {
            return wrong("boundaries are to be given, each larger than the one before");
        }
        if self.boundaries.first() == Some(&0) {
            return wrong("no element is shorter than the boundary 0");
        }
        if self.batch_sizes.len() != self.boundaries.len() + 1 || self.batch_sizes.contains(&0) {
            return wrong("batch_sizes are to be one more than boundaries, and none 0");
        }
        Ok(())
    }
}

impl StageSpec for BucketByLength {
    fn identity(&self) -> serde_json::Value {
        identity::of("bucket_by_length", self)
    }

    fn open(&self, input: Node, context: &mut Context) -> Result<Node, DataError> {
        self.check()?;
        let index = input.schema().index(&self.field).map_err(DataError::Spec)?;
        let field = input.schema().fields().get(index);
        let is_value = field.is_some_and(|field| field.dims.is_empty());
        if let Some(field) = field.filter(|field| field.dims.is_empty() && !field.dtype.is_integer()) {
            return Err(DataError::Spec(format!("{field} has no length")));
        }
        let pile = |boundary: Option<&u64>| {
            let open = boundary.filter(|_| self.pad_to_boundary).map(|boundary| *boundary as usize - 1);
            let layouts = self.padding.layouts(input.schema(), open)?;
            Ok(Pile::new(input.schema().clone(), layouts, PURPOSE, &context.budget))
        };
        let bounds = self.boundaries.iter().map(Some).chain([None]);
        let buckets = bounds.map(pile).collect::<Result<Vec<_>, DataError>>()?;
        let first = *self.batch_sizes.first().needed(NO_BUCKET)?;
        let is_fixed = self.drop_remainder && self.batch_sizes.iter().all(|size| *size == first);
        let layouts = self.padding.layouts(input.schema(), None)?;
        let schema = batch_schema(input.schema(), &layouts, is_fixed.then_some(first as usize))?;
        let meter = context.meter(PURPOSE, &[&input]);
        let bucket = Bucket {
            input,
            spec: self.clone(),
            index,
            is_value,
            buckets,
            is_at_end: false,
            made: Element::new(Arc::new(schema), PURPOSE, &context.budget),
            names: context.names.clone(),
            meter: meter.clone(),
        };
        Ok(context.node(bucket, meter))
    }
}

pub(crate) fn read(args: &mut Args<'_>) -> Read<Arc<dyn StageSpec>> {
    let needed = |list: Option<Vec<u64>>, what: &str| list.ok_or(format!("{PURPOSE} needs {what}"));
    Ok(Arc::new(BucketByLength {
        field: args.text()?.to_string(),
        boundaries: needed(args.numbers_option("boundaries")?, "boundaries")?,
        batch_sizes: needed(args.numbers_option("batch_sizes")?, "batch_sizes")?,
        padding: Padding::read(args)?,
        pad_to_boundary: args.flag("pad_to_bucket_boundary")?,
        drop_remainder: args.flag("drop_remainder")?,
    }))
}

/// Buckets that are not those of the boundaries.
const NO_BUCKET: &str = "a bucket is missing";

/// See the module.
struct Bucket {
    input: Node,
    spec: BucketByLength,
    /// The field that says how long an element is, and whether its value does.
    index: usize,
    is_value: bool,
    buckets: Vec<Pile>,
    is_at_end: bool,
    made: Element,
    names: Names,
    meter: Arc<Meter>,
}

impl Bucket {
    /// The number of the bucket that `row` belongs to.
    fn find(&self, row: &ElementView<'_>) -> Result<usize, RowFault> {
        let missing = || RowFault::Map(format!("{} has no length here", self.spec.field));
        let tensor = row.tensor(self.index).ok_or_else(missing)?;
        let length = if self.is_value {
            let length = to_whole(tensor.dtype(), tensor.bytes()).ok_or_else(missing)?;
            u64::try_from(length).map_err(|_| RowFault::Range { value: length, dtype: DType::U64 })?
        } else {
            *tensor.shape().first().ok_or_else(missing)? as u64
        };
        let bucket = self.spec.boundaries.partition_point(|boundary| *boundary <= length);
        if let Some(last) =
            self.spec.boundaries.last().filter(|last| self.spec.pad_to_boundary && **last <= length)
        {
            return Err(RowFault::Map(format!(
                "it is {length} long, but is to be padded to less than {last}, the last boundary"
            )));
        }
        Ok(bucket)
    }

    /// Goes on to the batch of bucket `number`.
    fn give(&mut self, number: usize) -> Result<bool, DataError> {
        let bucket = self.buckets.get_mut(number).needed(NO_BUCKET)?;
        let laid = bucket.lay_out(&mut self.made);
        let held: usize = self.buckets.iter().map(Pile::held_bytes).sum();
        self.meter.holds(held + self.made.held_bytes());
        laid.map_err(|(origin, fault)| self.names.bad(origin, fault))?;
        Ok(true)
    }
}

impl Stage for Bucket {
    fn schema(&self) -> &Arc<Schema> {
        self.made.schema()
    }

    fn advance(&mut self) -> Result<bool, DataError> {
        while !self.is_at_end {
            if !self.input.advance()? {
                self.is_at_end = true;
                break;
            }
            let row = self.input.current();
            let bad = |fault| self.names.bad(row.origin(), fault);
            let number = self.find(&row).map_err(bad)?;
            let bucket = self.buckets.get_mut(number).needed(NO_BUCKET)?;
            bucket.add(&row).map_err(bad)?;
            if bucket.len() as u64 >= *self.spec.batch_sizes.get(number).needed(NO_BUCKET)? {
                return self.give(number);
            }
        }
        if self.spec.drop_remainder {
            self.buckets.iter_mut().for_each(Pile::clear);
        }
        match self.buckets.iter().position(|bucket| bucket.len() > 0) {
            Some(number) => self.give(number),
            None => Ok(false),
        }
    }

    fn current(&self) -> ElementView<'_> {
        self.made.view()
    }

    fn take(&mut self, out: &mut Element) -> Result<(), DataError> {
        std::mem::swap(out, &mut self.made);
        Ok(())
    }

    fn reset(&mut self, epoch: u64) -> Result<(), DataError> {
        self.buckets.iter_mut().for_each(Pile::clear);
        self.is_at_end = false;
        self.input.reset(epoch)
    }

    fn save(&mut self, state: &mut StateWriter) -> Result<(), DataError> {
        self.input.save(state)?;
        state.numbers(&[u64::from(self.is_at_end)])?;
        self.buckets.iter().try_for_each(|bucket| bucket.save(state))
    }

    fn restore(&mut self, state: &mut StateReader) -> Result<(), DataError> {
        self.input.restore(state)?;
        let [is_at_end] = state.numbers()?;
        self.is_at_end = is_at_end != 0;
        self.buckets.iter_mut().try_for_each(|bucket| bucket.restore(state))
    }
}
