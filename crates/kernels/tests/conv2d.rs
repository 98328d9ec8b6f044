//! Convolution, depthwise convolution and pooling against naive references, on every instruction set.
#![allow(missing_docs)]

mod common;

use common::*;
use proptest::prelude::*;
use tightfit_kernels::*;

/// The sums of a convolution before the epilogue.
fn reference(p: &Conv2dParams, output: [usize; 4], input: &[f32], filter: &[f32]) -> Vec<f64> {
    let [batch, height, width, channels] = output;
    let (ci, co) = (p.in_channels / p.groups, p.out_channels / p.groups);
    let [wh, ww] = p.window.size;
    let mut out = vec![0.0; batch * height * width * channels];
    for (index, sum) in out.iter_mut().enumerate() {
        let (o, pixel) = (index % channels, index / channels);
        let (x, y, b) = (pixel % width, pixel / width % height, pixel / width / height);
        for (ky, kx) in (0..wh).flat_map(|ky| (0..ww).map(move |kx| (ky, kx))) {
            let iy = source(&p.window, 0, y, ky, p.height);
            let ix = source(&p.window, 1, x, kx, p.width);
            let (Some(iy), Some(ix)) = (iy, ix) else { continue };
            for c in 0..ci {
                let from = ((b * p.height + iy) * p.width + ix) * p.in_channels + o / co * ci + c;
                let tap = ((ky * ww + kx) * ci + c) * p.out_channels + o;
                *sum += f64::from(input[from]) * f64::from(filter[tap]);
            }
        }
    }
    out
}

/// The same in f64 by the kernel.
fn check_f64(p: &Conv2dParams, expected: &[f64], input: &[f32], filter: &[f32]) {
    let double = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
    for pool in &pools() {
        let mut out = vec![f64::NAN; expected.len()];
        conv2d_plain(pool, p, &double(input), &double(filter), &mut out).unwrap();
        assert!(out.iter().zip(expected).all(|(x, e)| (x - e).abs() < 1e-10));
    }
}

fn check(p: Conv2dParams, choice: usize, max_block_bytes: usize) {
    let output_shape = Conv2d::new(Isa::Portable, p).unwrap().output_shape();
    let out_len = output_shape.iter().product();
    let k = p.window.size[0] * p.window.size[1] * p.in_channels / p.groups;
    let input = values(1, p.batch * p.height * p.width * p.in_channels);
    let filter = values(2, k * p.out_channels);
    let data = EpilogueData::new(choice, p.out_channels, out_len);
    let sums = reference(&p, output_shape, &input, &filter);
    check_f64(&p, &sums, &input, &filter);
    let expected: Vec<f64> =
        sums.iter().enumerate().map(|(i, sum)| data.apply(*sum, i % p.out_channels, i)).collect();
    let (weight, pools) = (Unaligned::new(&filter), pools());
    for isa in isas() {
        let op = Conv2d::new(isa, p).unwrap();
        let (block, epilogue) = (block_rows(&op, max_block_bytes), data.epilogue());
        let (op, input, weight, data) = (&op, &input, &weight, &data);
        let forms = Forms { op, input, weight, by_columns: false, piece: 7, block, data, epilogue };
        assert_close(&forms.output(&pools), &expected, k);
    }
}

/// A filter with its output channels first gives the same bits as the same filter with them last, in every form.
fn check_transposed(p: Conv2dParams, choice: usize, max_block_bytes: usize) {
    let plain = Conv2d::new(Isa::Portable, p).unwrap();
    let out_len = plain.output_shape().iter().product();
    let (k, n) = (plain.filter_rows(), p.out_channels);
    let input = values(1, p.batch * p.height * p.width * p.in_channels);
    let filter = values(2, k * n);
    let turned: Vec<f32> = (0..k * n).map(|i| filter[i % k * n + i / k]).collect();
    let data = EpilogueData::new(choice, n, out_len);
    let (rows, raw) = (Unaligned::new(&filter), Unaligned::new(&turned));
    let pools = pools();
    for isa in isas() {
        let plain = Conv2d::new(isa, p).unwrap();
        let op = plain.with_transposed_filter().unwrap();
        let (block, epilogue) = (block_rows(&op, max_block_bytes), data.epilogue());
        let (op, input, weight, data) = (&op, &input, &raw, &data);
        let forms = Forms { op, input, weight, by_columns: true, piece: 7, block, data, epilogue };
        let found = bits(&forms.output(&pools));
        for pool in &pools {
            let mut expected = output(&data.residual);
            let mut room = scratch(plain.scratch_bytes(pool.threads(), WeightForm::Unpacked));
            let weights = Weights::Unpacked(rows.bytes());
            plain.run(pool, input, weights, expected.get(), data.epilogue(), room.get()).unwrap();
            assert_eq!(found, bits(expected.get()));
        }
    }
}

prop_compose! {
    fn windows()(
        size in prop::array::uniform2(1usize..6), strides in prop::array::uniform2(1usize..4),
        dilations in prop::array::uniform2(1usize..3), pads in prop::array::uniform4(0usize..4),
    ) -> Window {
        Window { size, strides, dilations, pads }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn convolution(
        batch in 1usize..3, height in 1usize..12, width in 1usize..12, window in windows(),
        groups in 1usize..4, ci in prop::sample::select(vec![1usize, 2, 3, 5, 16, 17, 20]), co in 1usize..50,
        choice in 0usize..60, block in 1usize..6000,
    ) {
        let p = Conv2dParams {
            batch, height, width, in_channels: ci * groups, out_channels: co * groups, window, groups,
        };
        let [h, w] = window.output(height, width).unwrap();
        prop_assume!(h * w > 0);
        check(p, choice, block);
        if groups == 1 {
            check_transposed(p, choice, block);
        }
    }

    #[test]
    fn depthwise(
        batch in 1usize..3, height in 1usize..14, width in 1usize..14, window in windows(), square in 0usize..8,
        channels in 1usize..40, multiplier in 1usize..3, choice in 0usize..60,
    ) {
        // Half of the cases take the sizes that have code of their own.
        let window = match square {
            0 => Window { size: [3, 3], dilations: [1, 1], ..window },
            1 => Window { size: [5, 5], dilations: [1, 1], ..window },
            2 => Window { size: [7, 7], dilations: [1, 1], ..window },
            3 => Window { size: [9, 3], dilations: [1, 1], ..window },
            _ => window,
        };
        let [h, w] = window.output(height, width).unwrap();
        prop_assume!(h * w > 0);
        let p = DepthwiseParams { batch, height, width, channels, multiplier, window };
        let all = channels * multiplier;
        let (input, filter) = (values(1, batch * height * width * channels), values(2, window.size[0] * window.size[1] * all));
        let data = EpilogueData::new(choice, all, batch * h * w * all);
        let mut expected = vec![0.0; batch * h * w * all];
        for (index, out) in expected.iter_mut().enumerate() {
            let (o, pixel) = (index % all, index / all);
            let (x, y, b) = (pixel % w, pixel / w % h, pixel / w / h);
            let mut sum = 0.0;
            for (ky, kx) in (0..window.size[0]).flat_map(|ky| (0..window.size[1]).map(move |kx| (ky, kx))) {
                let iy = source(&window, 0, y, ky, height);
                let ix = source(&window, 1, x, kx, width);
                let (Some(iy), Some(ix)) = (iy, ix) else { continue };
                let from = ((b * height + iy) * width + ix) * channels + o / multiplier;
                sum += f64::from(input[from]) * f64::from(filter[(ky * window.size[1] + kx) * all + o]);
            }
            *out = data.apply(sum, o, index);
        }
        let raw = Unaligned::new(&filter);
        let pools = pools();
        for isa in isas() {
            let op = DepthwiseConv2d::new(isa, p).unwrap();
            prop_assert_eq!(op.output_shape(), [batch, h, w, all]);
            let mut all_bits = Vec::new();
            for pool in &pools {
                let mut out = output(&data.residual);
                op.run(pool, &input, raw.bytes(), out.get(), data.epilogue()).unwrap();
                assert_close(out.get(), &expected, 30);
                all_bits.push(bits(out.get()));
            }
            prop_assert_eq!(&all_bits[0], &all_bits[1]);
        }
    }

    /// Row by row come the bits that the two convolutions give one after the other.
    #[test]
    fn expanded_depthwise(
        batch in 1usize..3, height in 1usize..14, width in 1usize..20, window in windows(), square in any::<bool>(),
        depth in 1usize..20, channels in 1usize..70, multiplier in 1usize..3, choice in 0usize..60, turned in any::<bool>(),
    ) {
        let window = if square { Window { size: [3, 3], dilations: [1, 1], ..window } } else { window };
        let [h, w] = window.output(height, width).unwrap();
        prop_assume!(h * w > 0);
        let p = DepthwiseParams { batch, height, width, channels, multiplier, window };
        let all = channels * multiplier;
        let pixels = batch * height * width;
        let (input, filter) = (values(1, pixels * depth), values(2, depth * channels));
        let stored = match turned {
            true => (0..depth * channels).map(|i| filter[i % depth * channels + i / depth]).collect(),
            false => filter.clone(),
        };
        let own = EpilogueData::new(choice * 7 % 60, channels, pixels * channels);
        let own = Epilogue { residual: Residual::None, ..own.epilogue() };
        let (filter, stored) = (Unaligned::new(&filter), Unaligned::new(&stored));
        let taps = Unaligned::new(&values(3, window.size[0] * window.size[1] * all));
        let data = EpilogueData::new(choice, all, batch * h * w * all);
        let whole = Conv2dParams {
            batch, height, width, in_channels: depth, out_channels: channels, window: Window::new(1, 1), groups: 1,
        };
        for isa in isas() {
            let op = ExpandedDepthwise::new(isa, depth, p, turned).unwrap();
            prop_assert_eq!(op.output_shape(), [batch, h, w, all]);
            let first = Conv2d::new(isa, whole).unwrap();
            for pool in &pools() {
                let mut between = vec![f32::NAN; pixels * channels];
                let mut room = scratch(first.scratch_bytes(pool.threads(), WeightForm::Unpacked));
                let weights = Weights::Unpacked(filter.bytes());
                first.run(pool, &input, weights, &mut between, own, room.get()).unwrap();
                let mut expected = output(&data.residual);
                let second = DepthwiseConv2d::new(isa, p).unwrap();
                second.run(pool, &between, taps.bytes(), expected.get(), data.epilogue()).unwrap();
                let mut out = output(&data.residual);
                let mut room = scratch(op.scratch_bytes(pool.threads()));
                let expand = ExpandedLayer { filter: stored.bytes(), epilogue: own };
                let depthwise = ExpandedLayer { filter: taps.bytes(), epilogue: data.epilogue() };
                op.run(pool, &input, expand, depthwise, out.get(), room.get()).unwrap();
                prop_assert_eq!(bits(out.get()), bits(expected.get()));
            }
        }
    }

    #[test]
    fn pooling(
        batch in 1usize..3, height in 1usize..12, width in 1usize..12, window in windows(), channels in 1usize..90,
        nan in 0usize..4,
    ) {
        let [h, w] = window.output(height, width).unwrap();
        prop_assume!(h * w > 0);
        let shape = [batch, height, width, channels];
        let mut input = values(1, shape.iter().product());
        if nan == 0 {
            let middle = input.len() / 2;
            input[middle] = f32::NAN;
        }
        for kind in [PoolKind::Max, PoolKind::Average] {
            let mut expected = Vec::new();
            for index in 0..batch * h * w * channels {
                let (c, pixel) = (index % channels, index / channels);
                let (x, y, b) = (pixel % w, pixel / w % h, pixel / w / h);
                let taps = (0..window.size[0]).flat_map(|ky| (0..window.size[1]).map(move |kx| (ky, kx)));
                let found: Vec<f64> = taps
                    .filter_map(|(ky, kx)| {
                        let iy = source(&window, 0, y, ky, height)?;
                        let ix = source(&window, 1, x, kx, width)?;
                        Some(f64::from(input[((b * height + iy) * width + ix) * channels + c]))
                    })
                    .collect();
                expected.push(if found.is_empty() {
                    None
                } else if kind == PoolKind::Max {
                    // `f64::max` passes over NaN.
                    Some(found.iter().copied().fold(f64::from(f32::MIN), f64::max))
                } else {
                    Some(found.iter().sum::<f64>() / found.len() as f64)
                });
            }
            let expected: Option<Vec<f64>> = expected.into_iter().collect();
            for isa in isas() {
                let op = Pool2d::new(isa, kind, shape, window);
                let (Some(expected), Ok(op)) = (&expected, &op) else {
                    prop_assert!(expected.is_none() && op.is_err(), "windows that touch nothing are refused");
                    continue;
                };
                for pool in &pools() {
                    let mut out = output(&vec![5.0; expected.len()]);
                    op.run(pool, &input, out.get()).unwrap();
                    for (g, e) in out.get().iter().zip(expected) {
                        prop_assert!((f64::from(*g) - e).abs() < 1e-5 || g.is_nan() && e.is_nan(), "{g} {e}");
                    }
                }
            }
        }
    }

    #[test]
    fn means(outer in 1usize..4, n in 1usize..60, channels in 1usize..200) {
        let input = values(7, outer * n * channels);
        for (isa, pool) in isas().flat_map(|isa| pools().into_iter().map(move |pool| (isa, pool))) {
            let mut out = output(&vec![0.0; outer * channels]);
            mean_middle_axis(isa, &pool, [outer, n, channels], &input, out.get()).unwrap();
            let mean = |i: usize| {
                let (o, c) = (i / channels, i % channels);
                (0..n).map(|j| f64::from(input[(o * n + j) * channels + c])).sum::<f64>() / n as f64
            };
            let expected: Vec<f64> = (0..outer * channels).map(mean).collect();
            assert_close(out.get(), &expected, 4);
        }
    }
}

#[test]
fn layers_of_networks() {
    let same = |size: usize, window: usize, stride: usize, i: usize, o: usize| Conv2dParams {
        batch: 1,
        height: size,
        width: size,
        in_channels: i,
        out_channels: o,
        window: Window { strides: [stride; 2], ..Window::new(window, window) }.same(size, size),
        groups: 1,
    };
    check(same(30, 7, 2, 3, 64), 3, 1 << 12);
    check(same(30, 3, 2, 3, 32), 27, 1 << 10);
    check(same(14, 3, 1, 64, 80), 11, 1 << 16);
    check(same(7, 1, 1, 1024, 160), 7, 1 << 17);
    check(same(14, 1, 2, 128, 256), 9, 1 << 16);
    check(same(40, 1, 1, 16, 96), 15, 1 << 11);
    check(same(14, 3, 1, 128, 160), 3, 4 * 160 * 1024);
    check(same(7, 3, 1, 96, 64), 3, 1 << 14);
    check(same(17, 7, 1, 20, 40), 5, 1 << 12);
    check(Conv2dParams { batch: 3, ..same(8, 3, 2, 24, 70) }, 3, 1 << 12);
    // One pixel, and panels enough for several at once.
    check(same(1, 1, 1, 96, 200), 19, 1 << 12);
    check(same(1, 3, 1, 20, 200), 19, 1 << 12);
    let mut grouped = same(9, 3, 1, 64, 128);
    grouped.groups = 32;
    check(grouped, 51, 1 << 12);
}

/// Where an image ends there are zeros, and zero times a weight that is not finite is NaN: also in rows of pixels whose
/// windows stick out all along.
#[test]
fn zeros_around_an_image_are_multiplied() {
    for (size, window, stride, channels) in [(14, 3, 1, 5), (7, 3, 1, 24), (9, 5, 2, 17), (8, 7, 1, 3)] {
        let (n, p) = (40, |window: Window| Conv2dParams {
            batch: 2,
            height: size,
            width: size,
            in_channels: channels,
            out_channels: 40,
            window,
            groups: 1,
        });
        let p = p(Window { strides: [stride; 2], ..Window::new(window, window) }.same(size, size));
        let input = values(1, 2 * size * size * channels);
        let mut filter = values(2, window * window * channels * n);
        for (ky, kx, odd) in
            [(0, 1, f32::INFINITY), (window - 1, 0, f32::NAN), (1, window - 1, -f32::INFINITY)]
        {
            filter[((ky * window + kx) * channels + channels - 1) * n + 5 * ky + 3] = odd;
        }
        for isa in isas() {
            let op = Conv2d::new(isa, p).unwrap();
            let [_, height, width, _] = op.output_shape();
            let mut packed = vec![0u8; op.layout().packed_bytes()];
            op.layout().pack_rows(&mut packed, 0, bytemuck::cast_slice(&filter)).unwrap();
            let expected = reference(&p, op.output_shape(), &input, &filter);
            for pool in &pools() {
                for form in [WeightForm::Packed, WeightForm::Unpacked] {
                    let weights = match form {
                        WeightForm::Packed => Weights::Packed(&packed),
                        _ => Weights::Unpacked(bytemuck::cast_slice(&filter)),
                    };
                    let mut out = vec![0.0; expected.len()];
                    let mut room = scratch(op.scratch_bytes(pool.threads(), form));
                    op.run(pool, &input, weights, &mut out, Epilogue::default(), room.get()).unwrap();
                    for (index, (found, inside)) in out.iter().zip(&expected).enumerate() {
                        let (x, y) = (index / n % width, index / n / width % height);
                        let is_outside = |ky: usize, kx: usize| {
                            source(&p.window, 0, y, ky, size).is_none()
                                || source(&p.window, 1, x, kx, size).is_none()
                        };
                        let is_odd = |tap: usize| {
                            (0..channels).any(|c| !filter[(tap * channels + c) * n + index % n].is_finite())
                        };
                        let times_zero = (0..window * window)
                            .any(|tap| is_outside(tap / window, tap % window) && is_odd(tap));
                        assert_eq!(found.is_nan(), inside.is_nan() || times_zero, "{isa:?}, {size}, {index}");
                    }
                }
            }
        }
    }
}

#[test]
fn same_padding_is_tensorflows() {
    let window = |size, stride| Window { strides: [stride; 2], ..Window::new(size, size) };
    assert_eq!(window(3, 2).same(224, 224).pads, [0, 1, 0, 1]);
    assert_eq!(window(3, 2).same(225, 7).pads, [1, 1, 1, 1]);
    assert_eq!(window(7, 2).same(224, 224).pads, [2, 3, 2, 3]);
    assert_eq!(window(1, 2).same(56, 56).pads, [0; 4]);
    assert_eq!(window(3, 2).same(224, 224).output(224, 224), Ok([112, 112]));
    assert_eq!(window(5, 1).output(3, 9), Ok([0, 5]));
}

#[test]
fn refusals() {
    let p = Conv2dParams {
        batch: 1,
        height: 4,
        width: 4,
        in_channels: 4,
        out_channels: 6,
        window: Window::new(3, 3),
        groups: 1,
    };
    assert!(Conv2d::new(Isa::Portable, Conv2dParams { groups: 0, ..p }).is_err());
    assert!(Conv2d::new(Isa::Portable, Conv2dParams { groups: 4, ..p }).is_err());
    assert!(Conv2d::new(Isa::Portable, Conv2dParams { batch: usize::MAX, ..p }).is_err());
    let window = Window { strides: [0, 1], ..p.window };
    assert!(Conv2d::new(Isa::Portable, Conv2dParams { window, ..p }).is_err());
    let window = Window { pads: [usize::MAX, 0, 0, 0], ..p.window };
    assert!(Conv2d::new(Isa::Portable, Conv2dParams { window, ..p }).is_err());
    let op = Conv2d::new(Isa::Portable, p).unwrap();
    let pool = ThreadPool::new(1).unwrap();
    let bytes = vec![0; 4 * 36 * 6];
    let (input, mut out) = (vec![0.0; 64], vec![0.0; 24]);
    let mut scratch = vec![0; op.scratch_bytes(1, WeightForm::Unpacked)];
    let weights = Weights::Unpacked(&bytes);
    let none = Epilogue::default();
    assert!(op.run(&pool, &input, weights, &mut out, none, &mut scratch).is_ok());
    assert!(op.run(&pool, &input[1..], weights, &mut out, none, &mut scratch).is_err());
    assert!(op.run(&pool, &input, Weights::Packed(&bytes), &mut out, none, &mut scratch).is_err());
    assert!(op.run(&pool, &input, weights, &mut out, none, &mut scratch[129..]).is_err());
    // Rows of a window of few channels are taken whole or in parts, but no block may cross them.
    let block = Block { first: 10, count: 5, bytes: &bytes[..4 * 6 * 5] };
    assert!(op.accumulate(&pool, &input, block, &mut out, none, &mut scratch).is_err());
}
