//! Pools whose windows are of two sizes in turn, so that the output may be of nearly any size.

use crate::base::error::{Result, check_exact, ensure};
use crate::random::{Philox, PhiloxStream};

/// Where windows begin along an axis of `input` elements, `edges.len() - 1` of them: sizes that differ by one at most, in an
/// order that is drawn (`is_pseudo`: in steps from a start that is drawn).
///
/// # Errors
/// [`KernelError::Invalid`](crate::KernelError::Invalid) for more windows than elements.
pub fn fractional_edges(input: usize, is_pseudo: bool, draws: &mut Philox, edges: &mut [i64]) -> Result<()> {
    let count = edges.len().saturating_sub(1);
    ensure(count > 0 && count <= input, "a fractional pool", "there are as many elements as windows")?;
    let size = input / count;
    let mut stream = PhiloxStream::new(*draws);
    if is_pseudo {
        let alpha = input as f64 / count as f64;
        let most =
            ((size + 2) as f64 / alpha - 1.0).min((input + 1 - size) as f64 / alpha - (count - 1) as f64);
        let start = stream.next_f64() * most;
        draws.skip(1);
        edges[0] = 0;
        for (n, edge) in edges.iter_mut().enumerate().skip(1) {
            *edge = (alpha * (n as f64 + start)).ceil() as i64 - 1;
        }
        edges[count] = input as i64;
        return Ok(());
    }
    // The sizes are put in order first, the larger ones in front, and then shuffled.
    let larger = input % count;
    for (n, edge) in edges[..count].iter_mut().enumerate() {
        *edge = (size + usize::from(n < larger)) as i64;
    }
    for n in 0..count - 1 {
        edges.swap(n, n + stream.next_u32() as usize % (count - n));
    }
    draws.skip(count.div_ceil(4) as u64);
    let mut at = 0;
    for edge in &mut edges[..count] {
        at += std::mem::replace(edge, at);
    }
    edges[count] = input as i64;
    Ok(())
}

/// A number that is pooled.
pub trait Pooled: Copy {
    /// No number is smaller.
    const LEAST: Self;
    /// 0.
    const ZERO: Self;
    /// The larger one.
    fn larger(self, other: Self) -> Self;
    /// The sum.
    fn plus(self, other: Self) -> Self;
    /// Over so many.
    fn over(self, count: usize) -> Self;
}

macro_rules! pooled {
    ($($T:ty, $plus:expr, $least:expr);*) => {$(
        impl Pooled for $T {
            const LEAST: $T = $least;
            const ZERO: $T = 0 as $T;
            fn larger(self, other: $T) -> $T {
                if self < other { other } else { self }
            }
            fn plus(self, other: $T) -> $T {
                $plus(self, other)
            }
            fn over(self, count: usize) -> $T {
                self / count as $T
            }
        }
    )*};
}

pooled!(
    f32, |a: f32, b: f32| a + b, f32::MIN;
    f64, |a: f64, b: f64| a + b, f64::MIN;
    i32, i32::wrapping_add, i32::MIN;
    i64, i64::wrapping_add, i64::MIN
);

/// The pools of `[batch, rows, columns, channels]` over windows that begin at edges along both axes, and end before the next
/// one, or at it where `overlaps`.
#[derive(Debug, Clone, Copy)]
pub struct FractionalPool<'e> {
    /// `[batch, rows, columns, channels]` of the input.
    pub shape: [usize; 4],
    /// Edges along the rows, the last after all of them.
    pub rows: &'e [i64],
    /// Edges along the columns.
    pub columns: &'e [i64],
    /// Windows that share their edges.
    pub overlaps: bool,
    /// The mean of a window, or the largest.
    pub is_mean: bool,
}

impl FractionalPool<'_> {
    /// Computes the pools.
    ///
    /// # Errors
    /// [`KernelError::Length`](crate::KernelError::Length) when there are other elements.
    pub fn run<T: Pooled>(&self, input: &[T], out: &mut [T]) -> Result<()> {
        let [batch, rows, columns, channels] = self.shape;
        check_exact("the input", batch * rows * columns * channels, input.len())?;
        let (down, across) = (self.rows.len().saturating_sub(1), self.columns.len().saturating_sub(1));
        check_exact("the output", batch * down * across * channels, out.len())?;
        let window = |edges: &[i64], at: usize, end: usize| {
            let behind = edges[at + 1] as usize + usize::from(self.overlaps);
            (edges[at] as usize).min(end)..behind.min(end)
        };
        for (n, to) in out.chunks_exact_mut(channels.max(1)).enumerate() {
            let (image, y, x) = (n / (down * across), n / across % down, n % across);
            let (ys, xs) = (window(self.rows, y, rows), window(self.columns, x, columns));
            to.fill(if self.is_mean { T::ZERO } else { T::LEAST });
            for y in ys.clone() {
                for x in xs.clone() {
                    let at = ((image * rows + y) * columns + x) * channels;
                    for (to, value) in to.iter_mut().zip(&input[at..at + channels]) {
                        *to = if self.is_mean { to.plus(*value) } else { to.larger(*value) };
                    }
                }
            }
            if self.is_mean {
                let count = (ys.len() * xs.len()).max(1);
                to.iter_mut().for_each(|to| *to = to.over(count));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_of_two_sizes() {
        for is_pseudo in [false, true] {
            for (input, count) in [(10, 7), (7, 7), (25, 9), (1, 1), (100, 51)] {
                let mut edges = vec![-1; count + 1];
                let mut draws = Philox::of_seeds(3, 4);
                fractional_edges(input, is_pseudo, &mut draws, &mut edges).unwrap();
                assert_eq!((edges[0], edges[count]), (0, input as i64));
                let size = (input / count) as i64;
                assert!(edges.windows(2).all(|e| (size..=size + 1).contains(&(e[1] - e[0]))), "{edges:?}");
            }
        }
        assert!(fractional_edges(2, false, &mut Philox::of_seeds(1, 1), &mut [0; 4]).is_err());
    }

    #[test]
    fn pools_of_windows() {
        let input: Vec<i32> = (0..12).collect();
        let pool = FractionalPool {
            shape: [1, 3, 4, 1],
            rows: &[0, 1, 3],
            columns: &[0, 1, 4],
            overlaps: false,
            is_mean: false,
        };
        let mut out = [0; 4];
        pool.run(&input, &mut out).unwrap();
        assert_eq!(out, [0, 3, 8, 11]);
        FractionalPool { overlaps: true, ..pool }.run(&input, &mut out).unwrap();
        assert_eq!(out, [5, 7, 9, 11]);
        FractionalPool { is_mean: true, ..pool }.run(&input, &mut out).unwrap();
        assert_eq!(out, [0, 2, 6, 8]);
        assert!(pool.run(&input[1..], &mut out).is_err());
    }
}
