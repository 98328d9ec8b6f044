//! The ranges of activations: the model of floats runs over data, and of each tensor is kept what its range follows from.

use std::collections::{HashMap, HashSet};

use tightfit_core::Account;
use tightfit_format::tflite::SubGraph;

use super::histogram::{Histogram, Loss};
use super::kinds::FLOAT;
use super::watch::{Look, Watch};
use crate::error::Error;

/// How a range follows from the values of the batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// The smallest and the largest value of all.
    MinMax,
    /// A moving average of the smallest and the largest value of each batch.
    MovingAverage,
    /// The range whose rounding and cutting off change values least, by the mean of squares.
    #[default]
    Mse,
    /// The range whose rounded values are distributed most like all values.
    Entropy,
}

impl Method {
    /// All with their names.
    pub const ALL: [(&'static str, Method); 4] = [
        ("min-max", Method::MinMax),
        ("moving-average", Method::MovingAverage),
        ("mse", Method::Mse),
        ("entropy", Method::Entropy),
    ];

    fn loss(self) -> Option<Loss> {
        match self {
            Method::MinMax | Method::MovingAverage => None,
            Method::Mse => Some(Loss::Squares),
            Method::Entropy => Some(Loss::Entropy),
        }
    }
}

/// The weight of a new batch in a moving average.
const NEW_SHARE: f32 = 0.05;

/// The ranges that were found.
#[derive(Debug, Clone, Default)]
pub(super) struct Calibration {
    /// The range of each tensor by its number.
    pub ranges: HashMap<i32, (f32, f32)>,
    /// The mean of the squares of each tensor.
    pub powers: HashMap<i32, f64>,
    /// Rows of data.
    pub rows: u64,
}

/// The tensors of floats that operators compute or callers feed.
pub(super) fn activations(graph: &SubGraph) -> Vec<i32> {
    let made = graph.inputs.iter().chain(graph.operators.iter().flat_map(|operator| &operator.outputs));
    let is_float = |id: &&i32| {
        let tensor = usize::try_from(**id).ok().and_then(|id| graph.tensors.get(id));
        tensor.is_some_and(|tensor| tensor.kind == FLOAT && !tensor.is_variable)
    };
    let mut seen = HashSet::new();
    made.filter(is_float).copied().filter(|id| seen.insert(*id)).collect()
}

/// Runs the model of floats over the data, and finds ranges for `steps` steps.
///
/// # Errors
/// As [`Watch::each`].
pub(super) fn ranges(watch: &Watch<'_>, method: Method, steps: u32) -> Result<Calibration, Error> {
    let account = Account::new(watch.budget, "what ranges of activations follow from");
    let looker = Ranges { method, seen: HashMap::new(), account };
    let (looker, rows) = watch.each(&activations(watch.graph), looker)?;
    let mut found = Calibration { rows, ..Calibration::default() };
    for (id, seen) in looker.seen {
        let range = match (method.loss(), &seen.histogram) {
            (Some(loss), Some(histogram)) => histogram.range(loss, steps),
            _ => seen.range,
        };
        found.ranges.insert(id, range);
        found.powers.insert(id, seen.squares / seen.count.max(1) as f64);
    }
    Ok(found)
}

/// What is kept of a tensor.
struct Seen {
    range: (f32, f32),
    squares: f64,
    count: u64,
    histogram: Option<Histogram>,
}

struct Ranges {
    method: Method,
    seen: HashMap<i32, Seen>,
    account: Account,
}

impl Look for Ranges {
    fn look(&mut self, tensor: i32, _dims: &[usize], values: &[f32]) -> Result<(), Error> {
        let finite = values.iter().copied().filter(|value| value.is_finite());
        let (least, most) = finite
            .clone()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), v| (least.min(v), most.max(v)));
        if least > most {
            return Ok(());
        }
        if !self.seen.contains_key(&tensor) {
            let histogram = self.method.loss().map(|_| Histogram::new());
            self.account.grow(256 + histogram.as_ref().map_or(0, |_| Histogram::BYTES))?;
            self.seen.insert(tensor, Seen { range: (least, most), squares: 0.0, count: 0, histogram });
        }
        let Some(own) = self.seen.get_mut(&tensor) else { return Ok(()) };
        own.range = match self.method {
            Method::MovingAverage => (
                own.range.0 + NEW_SHARE * (least - own.range.0),
                own.range.1 + NEW_SHARE * (most - own.range.1),
            ),
            _ => (own.range.0.min(least), own.range.1.max(most)),
        };
        own.count += values.len() as u64;
        own.squares += finite.clone().map(|value| f64::from(value) * f64::from(value)).sum::<f64>();
        if let Some(histogram) = &mut own.histogram {
            finite.for_each(|value| histogram.add(value));
        }
        Ok(())
    }
}
