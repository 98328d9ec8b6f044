//! Rounding a weight so that its product changes least: what rounding an element adds, the elements of its row that are not rounded
//! yet make up for, in the order of the columns.
//!
//! Frantar, Ashkboos, Hoefler, Alistarh: GPTQ, accurate post-training quantization for generative pre-trained transformers, 2022.

use super::hessian::Factored;
use super::values::Scales;

/// The integers of a weight, rows as long as the matrix is wide, which `weights` has the numbers of then.
pub(super) fn rounded(weights: &mut [f32], root: &Factored, scales: &Scales) -> Vec<i16> {
    let mut integers = Vec::with_capacity(weights.len());
    let columns = root.size();
    for (row, weights) in weights.chunks_exact_mut(columns).enumerate() {
        for at in 0..columns {
            let element = (row * columns + at) as u64;
            let integer = scales.integer(element, weights[at]);
            let number = scales.number(element, integer);
            root.make_up(at, f64::from(weights[at] - number), weights);
            weights[at] = number;
            integers.push(integer);
        }
    }
    integers
}

#[cfg(test)]
mod tests {
    use super::super::hessian::factored;
    use super::*;

    #[test]
    fn what_follows_makes_up_for_what_is_rounded() {
        // Two elements that are always equal: what the first loses the second is to add.
        let root = factored(&[1.0, 0.999, 0.999, 1.0], 2);
        let scales = Scales { scales: vec![1.0], inner: 2, zero_point: 0, bounds: [-7, 7] };
        let mut weights = [0.4f32, 0.4, 9.0, 1.0];
        assert_eq!(rounded(&mut weights, &root, &scales), [0, 1, 7, 3]);
        assert_eq!(weights, [0.0, 1.0, 7.0, 3.0]);
    }
}
