//! Every window of an image or a volume as a pixel of many channels.

use crate::base::access::split_with_cost;
use crate::base::error::{Result, check_exact, product};
use crate::base::threads::ThreadPool;
use crate::base::window::Window3;

/// Copies the elements of each window of `src` `[batch, depth, height, width, pixel]`, the last in bytes, to `dst` `[batch,
/// depth', height', width', elements of the window · pixel]`. What lies outside is 0.
///
/// # Errors
/// [`KernelError`](crate::KernelError) for a window that makes no sense and for wrong lengths.
pub fn patches(
    pool: &ThreadPool,
    window: Window3,
    [batch, depth, height, width, pixel]: [usize; 5],
    src: &[u8],
    dst: &mut [u8],
) -> Result<()> {
    let [deep, high, wide] = window.output([depth, height, width])?;
    let [_, rows, columns] = window.size;
    let taps = product(&window.size)?;
    check_exact("the input", product(&[batch, depth, height, width, pixel])?, src.len())?;
    check_exact("the output", product(&[batch, deep, high, wide, taps, pixel])?, dst.len())?;
    split_with_cost(pool, dst, taps * pixel, taps * pixel, &|first, dst| {
        for (n, patch) in dst.chunks_exact_mut(taps * pixel).enumerate() {
            let (x, rest) = ((first + n) % wide, (first + n) / wide);
            let (y, rest) = (rest % high, rest / high);
            let (z, volume) = (rest % deep, rest / deep);
            for (tap, to) in patch.chunks_exact_mut(pixel).enumerate() {
                let place = window
                    .element_at(0, z, tap / columns / rows, depth)
                    .zip(window.element_at(1, y, tap / columns % rows, height))
                    .zip(window.element_at(2, x, tap % columns, width));
                match place {
                    Some(((z, y), x)) => {
                        let from = (((volume * depth + z) * height + y) * width + x) * pixel;
                        to.copy_from_slice(&src[from..from + pixel]);
                    }
                    None => to.fill(0),
                }
            }
        }
    });
    Ok(())
}
