use super::*;
use crate::Activation;
use crate::product::gemm::Residual;

fn number(seed: usize) -> f32 {
    ((seed * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0
}

/// A weight, its marks and its elements: of every `of` one is there, roughly.
fn sparse(elements: usize, of: usize) -> (Vec<f32>, Vec<u8>, Vec<u8>) {
    let is_there = |n: usize| (n * 7919 + n / 3).is_multiple_of(of);
    let dense: Vec<f32> = (0..elements).map(|n| if is_there(n) { number(n) + 2.0 } else { 0.0 }).collect();
    let mut marks = vec![0u8; elements.div_ceil(8)];
    (0..elements).filter(|n| is_there(*n)).for_each(|n| marks[n / 8] |= 1 << (n % 8));
    let values = dense.iter().filter(|value| **value != 0.0).flat_map(|value| value.to_le_bytes()).collect();
    (dense, marks, values)
}

#[test]
fn what_is_not_there_is_zero_whatever_the_sizes() {
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        for threads in [1, 3] {
            let pool = ThreadPool::with_isa(threads, isa).unwrap();
            for (m, k, n, of) in [
                (1, 64, 33, 3),
                (2, 37, 5, 2),
                (3, 7, 16, 4),
                (4, 200, 40, 5),
                (5, 1, 1, 1),
                (70, 45, 19, 3),
                (131, 96, 32, 10),
            ] {
                let left: Vec<f32> = (0..m * k).map(|n| number(n + 17)).collect();
                let (dense, marks, values) = sparse(n * k, of);
                let (scale, shift): (Vec<f32>, Vec<f32>) = (0..n).map(|n| (number(n), number(n + 3))).unzip();
                let before: Vec<f32> = (0..m * n).map(|n| number(n + 5)).collect();
                let mut out = before.clone();
                let epilogue = Epilogue {
                    scale: Some(&scale),
                    shift: Some(&shift),
                    residual: Residual::Output,
                    activation: Activation::Relu,
                };
                let kernel = SparseProduct::new(isa, m, k, n).unwrap();
                let mut scratch = vec![0; kernel.scratch_bytes(threads, values.len() / 4)];
                kernel.run(&pool, &left, (&marks, &values), &mut out, epilogue, &mut scratch).unwrap();
                for (at, found) in out.iter().enumerate() {
                    let (row, column) = (at / n, at % n);
                    let pairs = left[row * k..][..k].iter().zip(&dense[column * k..][..k]);
                    let sum: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    let wanted = sum * f64::from(scale[column]) + f64::from(shift[column] + before[at]);
                    let error = (f64::from(*found) - wanted.max(0.0)).abs();
                    assert!(error < 1e-4, "{isa:?} {m} {k} {n} at {at}: {found} {wanted}");
                }
            }
        }
    }
}

/// As a whole weight has it, whose zeros are multiplied too.
#[test]
fn infinities_times_what_is_not_there_are_nan() {
    let (k, n) = (20, 18);
    let (dense, marks, values) = sparse(n * k, 3);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let pool = ThreadPool::with_isa(2, isa).unwrap();
        for m in [1, 4, 5, 40] {
            let mut left = vec![1.0; m * k];
            left[(m - 1) * k + 7] = f32::INFINITY;
            let kernel = SparseProduct::new(isa, m, k, n).unwrap();
            let mut scratch = vec![0; kernel.scratch_bytes(2, values.len() / 4)];
            let mut out = vec![0.0; m * n];
            let epilogue = Epilogue::default();
            kernel.run(&pool, &left, (&marks, &values), &mut out, epilogue, &mut scratch).unwrap();
            for (at, found) in out.iter().enumerate() {
                let (row, column) = (at / n, at % n);
                let is_there = dense[column * k + 7] != 0.0;
                let is_right = match (row + 1 == m, is_there) {
                    (false, _) => found.is_finite(),
                    (true, true) => *found == f32::INFINITY,
                    (true, false) => found.is_nan(),
                };
                assert!(is_right, "{isa:?} {m} at {at}: {found}");
            }
        }
    }
}

#[test]
fn more_rows_need_no_less_scratch() {
    for isa in Isa::ALL {
        for threads in 1..5 {
            let mut before = 0;
            for m in 1..300 {
                let kernel = SparseProduct::new(isa, m, 40, 9).unwrap();
                let bytes = kernel.scratch_bytes(threads, 90);
                let tile = 4 * kernel.tile_words(kernel.vectors(threads));
                assert!(bytes >= before, "{isa:?} {m}");
                assert!(kernel.is_of_few_rows() || threads * tile <= bytes, "{isa:?} {m}");
                before = bytes;
            }
        }
    }
}

#[test]
fn marks_and_elements_go_together() {
    let pool = ThreadPool::with_isa(1, Isa::Portable).unwrap();
    let kernel = SparseProduct::new(Isa::Portable, 1, 4, 2).unwrap();
    let mut scratch = vec![0; kernel.scratch_bytes(1, 2)];
    let mut run = |marks: &[u8], values: &[u8]| {
        let mut out = [0.0; 2];
        kernel.run(&pool, &[1.0; 4], (marks, values), &mut out, Epilogue::default(), &mut scratch)
    };
    assert!(run(&[0b1001], &[0; 8]).is_ok());
    assert!(run(&[0b1001], &[0; 4]).is_err());
    assert!(run(&[0b1001, 0], &[0; 8]).is_err());
}
