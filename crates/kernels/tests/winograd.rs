//! Convolution with windows of 3x3 and the scratch to do it by the way of Winograd, against naive references.
#![allow(missing_docs)]

mod common;

use common::*;
use proptest::prelude::*;
use tightfit_kernels::*;

fn params(batch: usize, [height, width]: [usize; 2], channels: [usize; 2], pads: [usize; 4]) -> Conv2dParams {
    let window = Window { pads, ..Window::new(3, 3) };
    Conv2dParams {
        batch,
        height,
        width,
        in_channels: channels[0],
        out_channels: channels[1],
        window,
        groups: 1,
    }
}

/// The sums before the epilogue.
fn reference(p: &Conv2dParams, input: &[f32], filter: &[f32]) -> Vec<f64> {
    let [_, height, width, n] = Conv2d::new(Isa::Portable, *p).unwrap().output_shape();
    let mut out = vec![0.0; p.batch * height * width * n];
    for (pixel, sums) in out.chunks_exact_mut(n).enumerate() {
        let (x, y, b) = (pixel % width, pixel / width % height, pixel / width / height);
        for (ky, kx) in (0..3).flat_map(|ky| (0..3).map(move |kx| (ky, kx))) {
            let iy = source(&p.window, 0, y, ky, p.height);
            let ix = source(&p.window, 1, x, kx, p.width);
            let (Some(iy), Some(ix)) = (iy, ix) else { continue };
            for c in 0..p.in_channels {
                let value = f64::from(input[((b * p.height + iy) * p.width + ix) * p.in_channels + c]);
                let row = &filter[((ky * 3 + kx) * p.in_channels + c) * n..][..n];
                sums.iter_mut().zip(row).for_each(|(sum, w)| *sum += value * f64::from(*w));
            }
        }
    }
    out
}

/// The output with this scratch.
fn run(
    op: &Conv2d,
    pool: &ThreadPool,
    [input, filter]: [&[f32]; 2],
    data: &EpilogueData,
    scratch_bytes: usize,
) -> Vec<f32> {
    let mut packed = vec![0u8; op.layout().packed_bytes()];
    op.layout().pack_rows(&mut packed, 0, bytemuck::cast_slice(filter)).unwrap();
    let mut out = output(&data.residual);
    let mut room = scratch(scratch_bytes);
    op.run(pool, input, Weights::Packed(&packed), out.get(), data.epilogue(), room.get()).unwrap();
    out.get().to_vec()
}

/// The outputs the direct way and with the most scratch that is of use, which is more where it is of use.
fn both(op: &Conv2d, pool: &ThreadPool, values: [&[f32]; 2], data: &EpilogueData) -> [Vec<f32>; 2] {
    let threads = pool.threads();
    let direct = op.scratch_bytes(threads, WeightForm::Packed);
    [direct, op.most_scratch_bytes(threads, WeightForm::Packed)]
        .map(|bytes| run(op, pool, values, data, bytes))
}

fn is_used(op: &Conv2d) -> bool {
    op.most_scratch_bytes(1, WeightForm::Packed) > op.scratch_bytes(1, WeightForm::Packed)
}

fn check(p: Conv2dParams, choice: usize, share: usize) -> bool {
    let n = p.out_channels;
    let sums = Conv2d::new(Isa::Portable, p).unwrap().output_shape().iter().product();
    let input = values(1, p.batch * p.height * p.width * p.in_channels);
    let filter = values(2, 9 * p.in_channels * n);
    let data = EpilogueData::new(choice, n, sums);
    let expected: Vec<f64> = reference(&p, &input, &filter)
        .iter()
        .enumerate()
        .map(|(i, sum)| data.apply(*sum, i % n, i))
        .collect();
    let mut used = false;
    for isa in isas() {
        let op = Conv2d::new(isa, p).unwrap();
        let mut same: Option<[Vec<u32>; 2]> = None;
        for pool in &pools() {
            let found = both(&op, pool, [&input, &filter], &data);
            for out in &found {
                assert_close(out, &expected, 9 * p.in_channels);
            }
            // Whatever the threads and the scratch, there are no more than two ways to round.
            let found = found.map(|out| bits(&out));
            let most = op.most_scratch_bytes(pool.threads(), WeightForm::Packed);
            let least = op.scratch_bytes(pool.threads(), WeightForm::Packed);
            let some = run(&op, pool, [&input, &filter], &data, least + (most - least) * share / 100);
            assert!(found.contains(&bits(&some)));
            used |= isa != Isa::Avx512 && is_used(&op) && found[0] != found[1];
            assert!(*same.get_or_insert_with(|| found.clone()) == found);
        }
    }
    used
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn convolution(
        batch in 1usize..3, height in 3usize..24, width in 3usize..24, pads in prop::array::uniform4(0usize..4),
        ci in prop::sample::select(vec![17usize, 20, 33, 64, 81, 100]), co in 1usize..70,
        choice in 0usize..60, share in 0usize..100,
    ) {
        check(params(batch, [height, width], [ci, co], pads), choice, share);
    }
}

/// Shapes of networks are done so.
#[test]
fn layers_of_networks() {
    for (size, ci, co, choice, share) in [
        (28, 64, 96, 3, 60),
        (14, 256, 64, 11, 80),
        (35, 48, 64, 7, 40),
        (9, 200, 72, 9, 50),
        (17, 33, 160, 39, 70),
    ] {
        assert!(
            check(params(1, [size, size], [ci, co], [1; 4]), choice, share)
                || isas().all(|isa| isa == Isa::Avx512)
        );
    }
    for isa in isas() {
        let used =
            |size, ci, co| is_used(&Conv2d::new(isa, params(1, [size, size], [ci, co], [1; 4])).unwrap());
        assert!(!used(4, 512, 512) && !used(56, 16, 64), "{isa:?}");
        assert_eq!(used(56, 64, 64), isa != Isa::Avx512);
    }
}

/// What is not finite spreads no further than its windows, and not into other output channels.
#[test]
fn values_that_are_not_finite() {
    let p = params(2, [18, 21], [40, 50], [1; 4]);
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e30, -1e25] {
        for where_to in 0..3 {
            let mut input = values(1, 2 * 18 * 21 * 40);
            let mut filter = values(2, 9 * 40 * 50);
            match where_to {
                0 => input[(7 * 21 + 9) * 40 + 3] = odd,
                1 => filter[(4 * 40 + 5) * 50 + 17] = odd,
                _ => {
                    filter[(5 * 40 + 2) * 50 + 49] = odd;
                    input[(18 * 21 + 5) * 40 + 39] = -odd;
                }
            }
            for isa in isas() {
                let op = Conv2d::new(isa, p).unwrap();
                let data = EpilogueData::new(0, 50, 2 * 18 * 21 * 50);
                for pool in &pools() {
                    let [direct, found] = both(&op, pool, [&input, &filter], &data);
                    for (i, (a, b)) in direct.iter().zip(&found).enumerate() {
                        let is_same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
                        // Where it is finite it is as near as ever.
                        let largest = if a.abs() > 1e3 { a.abs() } else { 10.0 };
                        assert!(
                            is_same || (a - b).abs() < 1e-5 * largest,
                            "{odd} {where_to} {isa:?} {i}: {b}, not {a}"
                        );
                    }
                }
            }
        }
    }
}

/// Small windows beside large values are as accurate as alone; sums that are near the largest number do not overflow on the way.
#[test]
fn values_of_all_sizes() {
    let p = params(1, [24, 24], [32, 40], [1; 4]);
    for (large, small) in [(1e6, 1.0), (1.0, 1e-6), (1e38, 1e36), (1e18, 1e3), (1.0, 0.0)] {
        let mut input = values(1, 24 * 24 * 32);
        for (i, x) in input.iter_mut().enumerate() {
            let (x_at, y_at) = (i / 32 % 24, i / 32 / 24);
            *x *= if (x_at / 5 + y_at / 7) % 2 == 0 { large } else { small };
        }
        let filter: Vec<f32> = values(2, 9 * 32 * 40).iter().map(|x| x / 32.0).collect();
        let expected = reference(&p, &input, &filter);
        let sizes: Vec<f32> = input.iter().map(|x| x.abs()).collect();
        let ones: Vec<f32> = filter.iter().map(|x| x.abs()).collect();
        // What the products of a window add up to without their signs.
        let sizes = reference(&p, &sizes, &ones);
        for isa in isas() {
            let op = Conv2d::new(isa, p).unwrap();
            let data = EpilogueData::new(0, 40, expected.len());
            let [_, found] = both(&op, &pools()[0], [&input, &filter], &data);
            for (i, ((found, expected), size)) in found.iter().zip(&expected).zip(&sizes).enumerate() {
                let error = (f64::from(*found) - expected).abs();
                assert!(error <= 1e-4 * size + 1e-30, "{large} {small} {isa:?} {i}: {found}, not {expected}");
            }
        }
    }
}
