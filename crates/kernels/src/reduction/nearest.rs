//! The nearest of several points.

use tightfit_core::Shared;

use crate::base::access::split_range;
use crate::base::error::{KernelError, Result, check_exact, product};
use crate::base::threads::ThreadPool;

/// The `k` of `centers` that are nearest to each of `points`, of `len` numbers each: their places and the squares of their
/// distances, the nearest first, and of equally near ones the first. `halves` has room for a number for each centre.
///
/// # Errors
/// [`KernelError`] for lengths that do not go together, and more to find than there are.
pub fn nearest_neighbors(
    pool: &ThreadPool,
    (points, centers, len): (&[f32], &[f32], usize),
    halves: &mut [f32],
    (places, distances): (&mut [i64], &mut [f32]),
    [count, k]: [usize; 2],
) -> Result<()> {
    const KERNEL: &str = "NearestNeighbors";
    let many = halves.len();
    check_exact("the points", product(&[count, len])?, points.len())?;
    check_exact("the centres", product(&[many, len])?, centers.len())?;
    check_exact("the places", product(&[count, k])?, places.len())?;
    check_exact("the distances", product(&[count, k])?, distances.len())?;
    if k > many {
        return Err(KernelError::Invalid {
            kernel: KERNEL,
            rule: "there are as many centres as are asked for",
        });
    }
    if k == 0 {
        return Ok(());
    }
    for (n, half) in halves.iter_mut().enumerate() {
        let center = &centers[n * len..][..len];
        *half = 0.5 * dot(center, center);
    }
    let halves = &*halves;
    let (places, distances) = (Shared::new(places), Shared::new(distances));
    split_range(pool, count, many.saturating_mul(len.max(1)), &|first, count| {
        for row in first..first + count {
            // SAFETY: every row belongs to one task, and the outputs outlive the call.
            let (mut places, mut distances) =
                unsafe { (places.part(row * k, k), distances.part(row * k, k)) };
            let point = &points[row * len..][..len];
            let mut found = 0;
            for (n, half) in halves.iter().enumerate() {
                let distance = half - dot(point, &centers[n * len..][..len]);
                let at = distances[..found].partition_point(|nearer| *nearer <= distance);
                if at == k {
                    continue;
                }
                found = (found + 1).min(k);
                distances[at..found].rotate_right(1);
                places[at..found].rotate_right(1);
                (distances[at], places[at]) = (distance, n as i64);
            }
            let half = 0.5 * dot(point, point);
            distances.iter_mut().for_each(|distance| *distance = 2.0 * (half + *distance));
        }
    });
    Ok(())
}

/// In as many sums as a vector holds.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for ((sum, x), y) in sums.iter_mut().zip(a).zip(b) {
            *sum += x * y;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + rest
}
