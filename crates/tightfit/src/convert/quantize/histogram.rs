//! How often values of a tensor lie where, and the range that loses least when it is cut into steps.

/// Bins of a histogram, half of them for values below 0.
const BINS: usize = 4096;

/// Shares of the range of all values that are tried.
const TRIED: std::ops::RangeInclusive<u32> = 20..=100;

/// How often values lie where: bins of one width around 0, which is doubled when a value lies outside.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    /// The largest magnitude that has a bin.
    limit: f64,
    bins: Vec<u64>,
    /// Values that are 0: they have an integer of their own and lose nothing.
    zeros: u64,
    least: f64,
    most: f64,
}

/// What is lost by a range is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// The mean of the squares of what rounding and cutting off change.
    Squares,
    /// How far the distribution of the rounded values is from that of all (Kullback and Leibler).
    Entropy,
}

impl Histogram {
    /// Bytes that one takes.
    pub const BYTES: u64 = 8 * BINS as u64;

    pub fn new() -> Histogram {
        Histogram { limit: 0.0, bins: vec![0; BINS], zeros: 0, least: 0.0, most: 0.0 }
    }

    /// Counts a finite value.
    pub fn add(&mut self, value: f32) {
        let value = f64::from(value);
        if value == 0.0 {
            self.zeros += 1;
            return;
        }
        self.least = self.least.min(value);
        self.most = self.most.max(value);
        if self.limit == 0.0 {
            self.limit = value.abs().max(f64::from(f32::MIN_POSITIVE)).log2().ceil().exp2();
        }
        while value.abs() > self.limit {
            self.double();
        }
        let place = (value / self.limit + 1.0) * (BINS / 2) as f64;
        self.bins[(place as usize).min(BINS - 1)] += 1;
    }

    /// Lets bins be twice as wide.
    fn double(&mut self) {
        let mut wide = vec![0; BINS];
        for (index, count) in self.bins.iter().enumerate() {
            wide[BINS / 4 + index / 2] += count;
        }
        self.bins = wide;
        self.limit *= 2.0;
    }

    /// The middle of each bin that has values, and how many.
    fn bins(&self) -> impl Iterator<Item = (f64, f64)> + Clone + '_ {
        let width = 2.0 * self.limit / BINS as f64;
        let middle = move |index: usize| (index as f64 + 0.5) * width - self.limit;
        let filled = self.bins.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(move |(index, count)| (middle(index), *count as f64))
    }

    /// The range within that of all values that loses least in `steps` steps.
    pub fn range(&self, loss: Loss, steps: u32) -> (f32, f32) {
        let cut = |ends: (f64, f64)| match loss {
            Loss::Squares => self.squares(ends, steps),
            Loss::Entropy => self.entropy(ends, steps),
        };
        let all = (self.least, self.most);
        let share = |percent: u32| f64::from(percent) / 100.0;
        let least_of = |tried: &mut dyn Iterator<Item = (f64, f64)>| {
            tried
                .map(|ends| (cut(ends), ends))
                .min_by(|a, b| a.0.total_cmp(&b.0))
                .map_or(all, |(_, ends)| ends)
        };
        // Widest first: of two that lose the same the first is kept.
        let tried = TRIED.rev();
        let both = least_of(&mut tried.clone().map(|p| (all.0 * share(p), all.1 * share(p))));
        let low = least_of(&mut tried.clone().map(|p| (all.0 * share(p), both.1)));
        let high = least_of(&mut tried.map(|p| (low.0, all.1 * share(p))));
        (high.0 as f32, high.1 as f32)
    }

    /// What rounding to steps adds to all values, and cutting off to those outside.
    fn squares(&self, (least, most): (f64, f64), steps: u32) -> f64 {
        let step = (most - least) / f64::from(steps);
        let rounding = step * step / 12.0;
        let lost = |value: f64| {
            let outside = (least - value).max(value - most).max(0.0);
            if outside > 0.0 { outside * outside } else { rounding }
        };
        self.bins().map(|(value, count)| count * lost(value)).sum()
    }

    /// How far the distribution of the values in steps is from the distribution of all.
    fn entropy(&self, (least, most): (f64, f64), steps: u32) -> f64 {
        let step = ((most - least) / f64::from(steps)).max(f64::MIN_POSITIVE);
        let place = |value: f64| (((value - least) / step).floor().max(0.0) as usize).min(steps as usize - 1);
        // Of each step: values in it, and how many bins they are in; what is cut off is in the outermost bins that are kept.
        let mut inside = vec![(0f64, 0f64); steps as usize];
        let mut outside = (0f64, 0f64);
        for (value, count) in self.bins() {
            if value < least {
                outside.0 += count;
            } else if value > most {
                outside.1 += count;
            } else {
                let own = &mut inside[place(value)];
                *own = (own.0 + count, own.1 + 1.0);
            }
        }
        let kept: f64 = inside.iter().map(|(count, _)| count).sum();
        let total = kept + outside.0 + outside.1;
        if kept == 0.0 {
            return f64::INFINITY;
        }
        let first = self.bins().find(|(value, _)| *value >= least).map_or(least, |(value, _)| value);
        let last = self.bins().filter(|(value, _)| *value <= most).last().map_or(most, |(value, _)| value);
        let mut distance = 0.0;
        for (value, count) in self.bins().filter(|(value, _)| *value >= least && *value <= most) {
            let at_ends =
                if value == first { outside.0 } else { 0.0 } + if value == last { outside.1 } else { 0.0 };
            let (in_step, bins) = inside[place(value)];
            let (all, rounded) = ((count + at_ends) / total, in_step / bins.max(1.0) / kept);
            distance += all * (all / rounded.max(f64::MIN_POSITIVE)).ln();
        }
        distance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values like those of a bell, and one far outside.
    fn bell(outlier: f32) -> Histogram {
        let mut histogram = Histogram::new();
        for index in 0..20_000u32 {
            // Sums of uniform numbers.
            let sum: f32 = (1..13u32)
                .map(|k| (index.wrapping_mul(2_654_435_761 + 2 * k) >> 8) as f32 / 16_777_216.0)
                .sum();
            histogram.add(sum - 6.0);
        }
        histogram.add(outlier);
        histogram
    }

    #[test]
    fn a_value_far_outside_is_cut_off() {
        // One value in so many is worth its error only where steps are few.
        for (loss, steps) in [(Loss::Squares, 15), (Loss::Entropy, 255)] {
            let (least, most) = bell(40.0).range(loss, steps);
            assert!(most < 20.0 && most > 1.0, "{loss:?}: {least} to {most}");
        }
        assert!(bell(40.0).range(Loss::Squares, 255).1 > 20.0);
    }

    #[test]
    fn what_has_few_steps_is_cut_off_more() {
        let histogram = bell(4.0);
        let (_, few) = histogram.range(Loss::Squares, 15);
        let (_, many) = histogram.range(Loss::Squares, 65_535);
        assert!(few < many, "{few} and {many}");
        assert!(many > 3.9);
    }

    #[test]
    fn zeros_lose_nothing_and_counts_are_kept_when_bins_are_widened() {
        let mut histogram = Histogram::new();
        [0.0, 1.0, -3.0, 100.0, 0.5].into_iter().for_each(|value| histogram.add(value));
        assert_eq!(histogram.bins().map(|(_, count)| count).sum::<f64>(), 4.0);
        assert_eq!(histogram.zeros, 1);
        assert_eq!((histogram.least, histogram.most), (-3.0, 100.0));
    }
}
