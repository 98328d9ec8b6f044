//! The transpose of a depthwise convolution: what its output was made from.

use crate::base::access::split_with_cost;
use crate::base::error::{KernelError, check_exact, product};
use crate::base::threads::ThreadPool;
use crate::product::Term;
use crate::window::depthwise::DepthwiseParams;

/// The transpose of a depthwise convolution: `input` `[batch, height', width', channels · multiplier]` is what it would make,
/// and `out` `[batch, height, width, channels]` what it would be made from, by `filter` `[window height, window width,
/// channels, multiplier]`.
///
/// # Errors
/// [`KernelError`] when the parameters make no sense or a length is wrong.
pub fn depthwise_transpose<T: Term>(
    pool: &ThreadPool,
    p: &DepthwiseParams,
    input: &[T],
    filter: &[T],
    out: &mut [T],
) -> Result<(), KernelError> {
    let size = p.window.output(p.height, p.width)?;
    let [rows, columns] = p.window.size;
    let all = product(&[p.channels, p.multiplier])?;
    check_exact("the input", product(&[p.batch, size[0], size[1], all])?, input.len())?;
    check_exact("the filter", product(&[rows, columns, all])?, filter.len())?;
    check_exact("the output", product(&[p.batch, p.height, p.width, p.channels])?, out.len())?;
    // The place in the input from which an element of the window reaches a place of the output.
    let reaching = |axis: usize, at: usize, element: usize| {
        let ahead = (at + p.window.pads[2 * axis]).checked_sub(element * p.window.dilations[axis])?;
        let place = ahead / p.window.strides[axis];
        (ahead.is_multiple_of(p.window.strides[axis]) && place < size[axis]).then_some(place)
    };
    split_with_cost(pool, out, p.channels, all * rows * columns, &|first, out| {
        for (n, sums) in out.chunks_exact_mut(p.channels).enumerate() {
            let (x, rest) = ((first + n) % p.width, (first + n) / p.width);
            let (y, image) = (rest % p.height, rest / p.height);
            sums.fill(T::default());
            for (tap, weights) in filter.chunks_exact(all.max(1)).enumerate() {
                let Some((iy, ix)) = reaching(0, y, tap / columns).zip(reaching(1, x, tap % columns)) else {
                    continue;
                };
                let from = &input[((image * size[0] + iy) * size[1] + ix) * all..][..all];
                if p.multiplier == 1 {
                    for ((sum, x), w) in sums.iter_mut().zip(from).zip(weights) {
                        *sum = sum.plus(*x, *w);
                    }
                    continue;
                }
                let parts =
                    from.chunks_exact(p.multiplier.max(1)).zip(weights.chunks_exact(p.multiplier.max(1)));
                for (sum, (xs, ws)) in sums.iter_mut().zip(parts) {
                    *sum = xs.iter().zip(ws).fold(*sum, |sum, (x, w)| sum.plus(*x, *w));
                }
            }
        }
    });
    Ok(())
}
