//! Classes that are drawn for a loss to be estimated by, as TensorFlow's samplers of candidates draw them.

use super::philox::{Philox, PhiloxStream, unit_f32};
use crate::base::error::{KernelError, Result, check_exact, ensure};

const KERNEL: &str = "CandidateSampler";

/// Weights that classes are drawn by.
#[derive(Debug)]
pub struct Unigrams {
    weights: Box<[f32]>,
    total: f32,
    /// For each class how often it stays when it is drawn, and which one is taken in its place otherwise.
    stays: Box<[(f32, u32)]>,
}

impl Unigrams {
    /// Of one weight at least.
    pub fn new(weights: Box<[f32]>) -> Unigrams {
        let count = weights.len();
        let sum: f64 = weights.iter().map(|w| *w as f64).sum();
        let mut parts: Vec<f64> = weights.iter().map(|w| (w * count as f32) as f64 / sum).collect();
        let mut stays: Box<[(f32, u32)]> = (0..count as u32).map(|n| (1.0, n)).collect();
        let (mut low, mut high): (Vec<usize>, Vec<usize>) = (0..count).partition(|n| parts[*n] < 1.0);
        while let (Some(short), Some(&long)) = (low.last().copied(), high.last()) {
            low.pop();
            high.pop();
            stays[short] = (parts[short] as f32, long as u32);
            parts[long] -= 1.0 - parts[short];
            if parts[long] < 1.0 { low.push(long) } else { high.push(long) }
        }
        let total = weights.iter().sum();
        Unigrams { weights, total, stays }
    }

    /// How many classes there are.
    pub fn count(&self) -> usize {
        self.weights.len()
    }

    /// What it holds of the heap.
    pub fn heap_bytes(&self) -> u64 {
        (self.weights.len() * (size_of::<f32>() + size_of::<(f32, u32)>())) as u64
    }
}

/// How classes are drawn.
#[derive(Debug)]
pub enum Candidates {
    /// Each of them once, in their order.
    All,
    /// All as likely.
    Uniform,
    /// The more likely the smaller, as words by how common they are.
    LogUniform,
    /// By weights.
    Weighted(Unigrams),
}

impl Candidates {
    fn draw(&self, numbers: &mut PhiloxStream, range: u64) -> i64 {
        match self {
            Candidates::All => 0,
            Candidates::Uniform => numbers.below_u64(range) as i64,
            Candidates::LogUniform => {
                let drawn = (numbers.next_f64() * (range as f64).ln_1p()).exp() as i64 - 1;
                drawn % range as i64
            }
            Candidates::Weighted(unigrams) => {
                let chance = unit_f32(numbers.next_u32());
                let drawn = numbers.below_u32(unigrams.count() as u32);
                let (stays, other) = unigrams.stays[drawn as usize];
                (if chance < stays { drawn } else { other }) as i64
            }
        }
    }

    fn likelihood(&self, class: i64, range: u64) -> f32 {
        let class = class as f64;
        match self {
            Candidates::All => 1.0,
            Candidates::Uniform => (1.0 / range as f64) as f32,
            Candidates::LogUniform => (((class + 2.0) / (class + 1.0)).ln() / (range as f64).ln_1p()) as f32,
            Candidates::Weighted(unigrams) => {
                unigrams.weights.get(class as usize).map_or(0.0, |weight| weight / unigrams.total)
            }
        }
    }

    /// Draws classes below `range` to `drawn`, where `is_unique` each at most once, and says how often each of them, and each
    /// of `classes`, is to be expected among them. `seen` has room for twice as many classes as are drawn.
    ///
    /// # Errors
    /// [`KernelError::Index`] for a class that there is not, [`KernelError::Invalid`] for more than there are.
    pub fn sample(
        &self,
        (range, is_unique): (u64, bool),
        philox: Philox,
        classes: &[i64],
        seen: &mut [i64],
        (drawn, of_classes, of_drawn): (&mut [i64], &mut [f32], &mut [f32]),
    ) -> Result<()> {
        check_exact("what is expected of the classes", classes.len(), of_classes.len())?;
        check_exact("what is expected of those drawn", drawn.len(), of_drawn.len())?;
        ensure(0 < range && i64::try_from(range).is_ok(), KERNEL, "there are classes")?;
        ensure(!is_unique || drawn.len() as u64 <= range, KERNEL, "there are as many classes as are drawn")?;
        let is_class = |class: i64| u64::try_from(class).is_ok_and(|class| class < range);
        if let Some(position) = classes.iter().position(|class| !is_class(*class)) {
            let bound = usize::try_from(range).unwrap_or(usize::MAX);
            return Err(KernelError::Index { kernel: KERNEL, position, index: classes[position], bound });
        }
        if let Candidates::All = self {
            drawn.iter_mut().zip(0..).for_each(|(to, class)| *to = class);
            of_classes.fill(1.0);
            of_drawn.fill(1.0);
            return Ok(());
        }
        let mut numbers = PhiloxStream::new(philox);
        let tries = if is_unique {
            self.draw_unique(&mut numbers, range, seen, drawn)?
        } else {
            drawn.fill_with(|| self.draw(&mut numbers, range));
            drawn.len()
        };
        let expected = |class: i64| {
            let likelihood = self.likelihood(class, range);
            match tries == drawn.len() {
                true => likelihood * tries as f32,
                false => -(tries as f32 * (-likelihood).ln_1p()).exp_m1(),
            }
        };
        of_drawn.iter_mut().zip(&*drawn).for_each(|(to, class)| *to = expected(*class));
        of_classes.iter_mut().zip(classes).for_each(|(to, class)| *to = expected(*class));
        Ok(())
    }

    /// The number of draws that it took.
    fn draw_unique(
        &self,
        numbers: &mut PhiloxStream,
        range: u64,
        seen: &mut [i64],
        drawn: &mut [i64],
    ) -> Result<usize> {
        ensure(seen.len() > drawn.len(), KERNEL, "there is room for what was seen")?;
        seen.fill(-1);
        let mut tries = 0;
        for to in drawn {
            *to = loop {
                tries += 1;
                ensure(tries < i32::MAX as usize, KERNEL, "another class is drawn now and then")?;
                let class = self.draw(numbers, range);
                let mut at = (class as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize % seen.len();
                while seen[at] != -1 && seen[at] != class {
                    at = (at + 1) % seen.len();
                }
                if seen[at] == -1 {
                    seen[at] = class;
                    break class;
                }
            };
        }
        Ok(tries)
    }
}
