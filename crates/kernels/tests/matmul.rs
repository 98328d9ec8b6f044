//! Matrix products against a naive reference, in every form of weights, on every instruction set.
#![allow(missing_docs)]

mod common;

use common::*;
use proptest::prelude::*;
use tightfit_kernels::*;

/// a·b with the strides (row, column) of both, before the epilogue.
fn reference(a: &[f32], sa: [usize; 2], b: &[f32], sb: [usize; 2], [m, k, n]: [usize; 3]) -> Vec<f64> {
    let mut out = Vec::new();
    for i in 0..m {
        for j in 0..n {
            let product = |l| f64::from(a[i * sa[0] + l * sa[1]]) * f64::from(b[l * sb[0] + j * sb[1]]);
            out.push((0..k).map(product).sum());
        }
    }
    out
}

/// Runs one product in all forms and compares.
fn check(m: usize, k: usize, n: usize, transpose_a: bool, transpose_b: bool, choice: usize, block: usize) {
    let (a, b) = (values(1, m * k), values(2, k * n));
    let data = EpilogueData::new(choice, n, m * n);
    let sa = if transpose_a { [1, m] } else { [k, 1] };
    let sb = if transpose_b { [1, k] } else { [n, 1] };
    let sums = reference(&a, sa, &b, sb, [m, k, n]);
    let expected: Vec<f64> = sums.iter().enumerate().map(|(i, sum)| data.apply(*sum, i % n, i)).collect();
    let (weight, pools) = (Unaligned::new(&b), pools());
    for isa in isas() {
        let op = MatMul::new(isa, m, k, n, transpose_a, transpose_b).unwrap();
        let (op, input, weight, data, epilogue) = (&op, &a[..], &weight, &data, data.epilogue());
        let (by_columns, piece) = (transpose_b, block);
        let forms = Forms { op, input, weight, by_columns, piece, block, data, epilogue };
        assert_close(&forms.output(&pools), &expected, k);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_forms_agree(
        m in 1usize..40, k in 1usize..70, n in 1usize..140,
        transpose_a: bool, transpose_b: bool, choice in 0usize..60, block in 1usize..80,
    ) {
        check(m, k, n, transpose_a, transpose_b, choice, block);
    }

    #[test]
    fn batches_of_any_strides(
        batch in (1usize..4, 1usize..4), m in 1usize..30, k in 1usize..40, n in 1usize..50,
        a_transposed: bool, b_transposed: bool, broadcast in 0usize..4, heads_inside: bool,
    ) {
        let dims = [batch.0, batch.1];
        let strides = |rows: usize, columns: usize, transposed: bool, fixed: bool| {
            let inner = if fixed { [0, 0] } else { [batch.1 * rows * columns, rows * columns] };
            if transposed { ([1, rows], inner) } else { ([columns, 1], inner) }
        };
        let (sa, ba) = strides(m, k, a_transposed, broadcast & 1 != 0);
        let (sb, bb) = strides(k, n, b_transposed, broadcast & 2 != 0);
        // With `heads_inside` the second batch dimension lies between rows and columns, as attention heads do.
        let (row, bo) = if heads_inside {
            (batch.1 * n, [m * batch.1 * n, n])
        } else {
            (n, [batch.1 * m * n, m * n])
        };
        let count = batch.0 * batch.1;
        let (a, b) = (values(3, count * m * k), values(4, count * k * n));
        let pools = pools();
        for isa in isas() {
            let op = BatchMatMul {
                isa, batch: &dims, m, k, n,
                a: MatrixStrides { row: sa[0], column: sa[1], batch: &ba },
                b: MatrixStrides { row: sb[0], column: sb[1], batch: &bb },
                out: MatrixStrides { row, column: 1, batch: &bo },
            };
            for pool in &pools {
                let mut out = output(&vec![f32::NAN; count * m * n]);
                let mut scratch = scratch(op.scratch_bytes(pool.threads()).unwrap());
                let epilogue = Epilogue { activation: Activation::Relu, ..Epilogue::default() };
                op.run(pool, &a, &b, out.get(), epilogue, scratch.get()).unwrap();
                for (x, y) in (0..batch.0).flat_map(|x| (0..batch.1).map(move |y| (x, y))) {
                    let (a, b) = (&a[x * ba[0] + y * ba[1]..], &b[x * bb[0] + y * bb[1]..]);
                    let expected = reference(a, sa, b, sb, [m, k, n]);
                    let expected: Vec<f64> = expected.iter().map(|x| x.max(0.0)).collect();
                    let start = x * bo[0] + y * bo[1];
                    let got: Vec<f32> = (0..m * n).map(|i| out.get()[start + i / n * row + i % n]).collect();
                    assert_close(&got, &expected, k);
                }
            }
        }
    }
}

#[test]
fn sizes_that_are_cut_differently() {
    // Deep sums, rows that alias in the cache, many panels, single rows, more panels than a cache holds.
    check(15, 1024, 161, false, false, 7, 400);
    check(200, 64, 33, false, false, 11, 17);
    check(1, 300, 500, false, true, 3, 70);
    check(1, 37, 1000, false, false, 5, 9);
    check(3, 2048, 130, true, false, 8, 999);
    check(6, 5000, 96, false, false, 2, 5000);
    // The last block is smaller than the others.
    check(30, 1500, 400, false, false, 1, 1000);
    check(30, 200, 1500, false, true, 1, 1000);
    check(2, 1500, 400, false, false, 1, 1000);
}

#[test]
fn empty_dimensions() {
    let pool = ThreadPool::new(2).unwrap();
    for isa in isas() {
        for (m, k, n) in [(0, 3, 4), (3, 0, 4), (3, 4, 0)] {
            let op = MatMul::new(isa, m, k, n, false, false).unwrap();
            let mut scratch = vec![0; op.scratch_bytes(2, WeightForm::Unpacked)];
            let (a, b) = (vec![1.0; m * k], vec![0u8; 4 * k * n]);
            let mut out = vec![f32::NAN; m * n];
            let bias = values(5, n);
            op.run(&pool, &a, Weights::Unpacked(&b), &mut out, Epilogue::bias(&bias), &mut scratch).unwrap();
            // A sum of nothing is 0, plus the bias.
            assert!(out.iter().enumerate().all(|(i, x)| *x == bias[i % n]));
        }
    }
}

#[test]
fn not_a_number_comes_through() {
    let pool = ThreadPool::new(1).unwrap();
    for isa in isas() {
        let op = MatMul::new(isa, 1, 2, 40, false, false).unwrap();
        let mut scratch = vec![0; op.scratch_bytes(1, WeightForm::Unpacked)];
        let b = Unaligned::new(&[1.0; 80]);
        for activation in [Activation::None, Activation::Relu, Activation::Relu6, Activation::Swish] {
            let mut out = [0.0; 40];
            let epilogue = Epilogue { activation, ..Epilogue::default() };
            let weights = Weights::Unpacked(b.bytes());
            op.run(&pool, &[f32::NAN, 1.0], weights, &mut out, epilogue, &mut scratch).unwrap();
            assert!(out.iter().all(|x| x.is_nan()), "{activation:?} on {isa:?}");
        }
    }
}

#[test]
fn refusals() {
    let pool = ThreadPool::new(1).unwrap();
    let op = MatMul::new(Isa::Portable, 2, 3, 4, false, false).unwrap();
    let (a, b) = ([1.0; 6], [0u8; 48]);
    let mut scratch = vec![0; op.scratch_bytes(1, WeightForm::Unpacked)];
    let mut out = [0.0; 8];
    let run = |a: &[f32], b: &[u8], out: &mut [f32], e: Epilogue<'_>, scratch: &mut [u8]| {
        op.run(&pool, a, Weights::Unpacked(b), out, e, scratch)
    };
    let none = Epilogue::default();
    assert_eq!(run(&a, &b, &mut out, none, &mut scratch), Ok(()));
    assert!(run(&a[..5], &b, &mut out, none, &mut scratch).is_err());
    assert!(run(&a, &b[..47], &mut out, none, &mut scratch).is_err());
    assert!(run(&a, &b, &mut out[..7], none, &mut scratch).is_err());
    assert!(run(&a, &b, &mut out, Epilogue::bias(&[0.0; 3]), &mut scratch).is_err());
    let short = run(&a, &b, &mut out, none, &mut scratch[65..]);
    assert!(matches!(short, Err(KernelError::Scratch { .. })), "{short:?}");
    let block = Block { first: 0, count: 2, bytes: &b[..32] };
    let in_place = Epilogue { residual: Residual::Output, ..none };
    assert!(op.accumulate(&pool, &a, block, &mut out, in_place, &mut scratch).is_err());
    let outside = Block { first: 2, count: 2, bytes: &b[..32] };
    assert!(op.accumulate(&pool, &a, outside, &mut out, none, &mut scratch).is_err());
    let overlapping = BatchMatMul {
        isa: Isa::Portable,
        batch: &[2],
        m: 2,
        k: 1,
        n: 2,
        a: MatrixStrides { row: 1, column: 1, batch: &[2] },
        b: MatrixStrides { row: 2, column: 1, batch: &[2] },
        out: MatrixStrides { row: 2, column: 1, batch: &[2] },
    };
    let mut scratch = vec![0; overlapping.scratch_bytes(1).unwrap()];
    assert!(overlapping.run(&pool, &a, &a, &mut out, none, &mut scratch).is_err());
    assert!(MatMul::new(Isa::Portable, usize::MAX, 2, 2, false, false).is_err());
    assert!(MatMul::new(Isa::Portable, 2, usize::MAX / 2, usize::MAX / 2, false, false).is_err());
}

#[test]
fn block_rows_fit() {
    let op = MatMul::new(Isa::Portable, 2, 30, 10, false, false).unwrap();
    assert_eq!(op.block_rows(39), None);
    assert_eq!(op.block_rows(40), Some(1));
    assert_eq!(op.block_rows(1 << 20), Some(30));
    let op = MatMul::new(Isa::Portable, 2, 30, 10, false, true).unwrap();
    assert_eq!(op.block_rows(250), Some(2));
}
