//! The batch that runs fastest inside the budget, found by running.

use std::time::{Duration, Instant};

use tightfit_core::MemoryBudget;
use tightfit_graph::exec::Feed;

use crate::error::Error;
use crate::fit::FitOptions;
use crate::model::Model;
use crate::run::Runner;
use crate::tensor::Tensor;

/// Batches that are tried, in this order.
const CANDIDATES: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
/// A larger batch must be faster by this factor to be worth its memory.
const WORTH: f64 = 1.03;
/// How many batches in a row may be no faster before larger ones are not tried.
const PATIENCE: usize = 2;
/// How long one batch is measured.
const MEASURED: Duration = Duration::from_millis(150);
/// How often it is run at least, the first time aside, which warms the caches.
const LEAST_RUNS: usize = 2;

/// The model in memory for the batch, of at most `most` rows, with the most rows per second.
///
/// # Errors
/// [`Error::NotFit`] when not even one row fits, and what is wrong with the model.
pub fn fastest(
    model: &Model,
    most: usize,
    options_for: &dyn Fn(usize) -> Result<FitOptions, Error>,
    budget: &MemoryBudget,
) -> Result<(Runner, usize), Error> {
    let mut runner = Runner::new(model, &options_for(CANDIDATES[0])?, budget)?;
    let mut best = (CANDIDATES[0], rows_per_second(&mut runner, budget)?);
    let mut failures = 0;
    for batch in CANDIDATES.into_iter().skip(1).filter(|batch| *batch <= most) {
        let options = options_for(batch)?;
        if failures == PATIENCE || !runner.fits(model, &options)? {
            break;
        }
        runner.replan(model, &options)?;
        let speed = rows_per_second(&mut runner, budget)?;
        if speed > best.1 * WORTH {
            best = (batch, speed);
            failures = 0;
        } else {
            failures += 1;
        }
    }
    let options = FitOptions { fills_rest: true, ..options_for(best.0)? };
    if runner.context().plan().streaming_cost() > 0 {
        // Now that the batch is known, what is left keeps weights.
        drop(runner);
        runner = Runner::new(model, &options, budget)?;
    } else if runner.batch() != best.0 {
        runner.replan(model, &options)?;
    }
    Ok((runner, best.0))
}

/// The speed of a runner on zeros.
fn rows_per_second(runner: &mut Runner, budget: &MemoryBudget) -> Result<f64, Error> {
    let plan = runner.context().plan();
    let infos: Vec<_> = plan.inputs.iter().map(|(_, slot)| plan.slots[*slot].info).collect();
    let zeros = infos.iter().map(|info| Tensor::zeros(budget, info.dtype, info.shape));
    let zeros = zeros.collect::<Result<Vec<_>, _>>()?;
    let feeds: Vec<Feed<'_>> = zeros.iter().filter_map(Tensor::feed).collect();
    runner.run(&feeds)?;
    let start = Instant::now();
    let mut fastest = Duration::MAX;
    let mut runs = 0;
    while runs < LEAST_RUNS || start.elapsed() < MEASURED {
        let begun = Instant::now();
        runner.run(&feeds)?;
        fastest = fastest.min(begun.elapsed());
        runs += 1;
    }
    Ok(runner.batch() as f64 / fastest.as_secs_f64())
}
