//! Times products with sparse weights beside dense ones, in turn: `cargo run --release --example sparse [threads]`. Prints for each
//! product the milliseconds of the dense one, and for each share of zeros those of the sparse one and their ratio.

use std::time::Instant;

use tightfit_kernels::*;

/// Rows, depth, columns: dense layers of one row and of few, and 1x1 convolutions of MobileNet, EfficientNet and ResNet.
const SIZES: [[usize; 3]; 14] = [
    [1, 256, 256],
    [1, 1024, 1024],
    [1, 2048, 1000],
    [1, 4096, 4096],
    [4, 1024, 1024],
    [16, 1024, 1024],
    [49, 960, 160],
    [49, 960, 320],
    [196, 96, 576],
    [196, 576, 96],
    [196, 1024, 256],
    [784, 192, 32],
    [3136, 64, 256],
    [128, 768, 3072],
];

fn best(mut run: impl FnMut(), runs: usize) -> f64 {
    let of = |run: &mut dyn FnMut()| {
        let begin = Instant::now();
        run();
        begin.elapsed().as_secs_f64() * 1e3
    };
    (0..runs).map(|_| of(&mut run)).fold(f64::INFINITY, f64::min)
}

fn main() {
    let threads = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1);
    let isas = Isa::ALL.into_iter().filter(|isa| isa.is_available());
    for isa in isas {
        let pool = ThreadPool::with_isa(threads, isa).unwrap();
        println!("{isa:?}, {threads} threads");
        for [m, k, n] in SIZES {
            let left: Vec<f32> = (0..m * k).map(|n| (n % 13) as f32 - 6.0).collect();
            let weights: Vec<f32> = (0..n * k).map(|n| (n % 11) as f32 - 5.0).collect();
            let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
            let dense = MatMul::new(isa, m, k, n, false, true).unwrap();
            let mut packed = vec![0u8; dense.layout().packed_bytes()];
            dense.layout().pack_columns(&mut packed, 0, &bytes).unwrap();
            let mut scratch = vec![0u8; dense.scratch_bytes(threads, WeightForm::Packed)];
            let mut out = vec![0f32; m * n];
            let work = 2.0 * (m * k * n) as f64;
            let runs = (2e8 / work).clamp(3.0, 400.0) as usize;
            let mut line = format!("{m:5} {k:5} {n:5}");
            for share in [70, 80, 90] {
                let mut seed = 1u64;
                let mut is_there = || {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    seed >> 33 & 0xffff >= 65536 * share / 100
                };
                let mut marks = vec![0u8; (n * k).div_ceil(8)];
                let mut values = Vec::new();
                for (at, weight) in weights.iter().enumerate() {
                    if is_there() {
                        marks[at / 8] |= 1 << (at % 8);
                        values.extend(weight.to_le_bytes());
                    }
                }
                let sparse = SparseProduct::new(isa, m, k, n).unwrap();
                let mut own = vec![0u8; sparse.scratch_bytes(threads, values.len() / 4)];
                let (mut a, mut b) = (f64::INFINITY, f64::INFINITY);
                for _ in 0..7 {
                    a = a.min(best(
                        || {
                            dense
                                .run(
                                    &pool,
                                    &left,
                                    Weights::Packed(&packed),
                                    &mut out,
                                    Epilogue::default(),
                                    &mut scratch,
                                )
                                .unwrap()
                        },
                        runs,
                    ));
                    b = b.min(best(
                        || {
                            sparse
                                .run(&pool, &left, (&marks, &values), &mut out, Epilogue::default(), &mut own)
                                .unwrap()
                        },
                        runs,
                    ));
                }
                line += &format!("  {share} %: {a:.4} {b:.4} {:.2}", b / a);
            }
            println!("{line}");
        }
    }
}
