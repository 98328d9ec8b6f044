//! Transposed convolution against the definition, on every instruction set, with the filter in every form.
#![allow(missing_docs)]

mod common;

use common::*;
use proptest::prelude::*;
use tightfit_kernels::*;

/// The sums before the epilogue: each element of the input adds its products with the filter to what the filter reaches.
fn reference(p: &Conv3dParams, from: [usize; 5], input: &[f32], filter: &[f32]) -> Vec<f64> {
    let [_, depth, height, width, from_channels] = from;
    let ([deep, high, wide], [_, rows, columns], channels) = (p.size, p.window.size, p.in_channels);
    let mut out = vec![0.0; p.batch * deep * high * wide * channels];
    for (i, value) in input.iter().enumerate() {
        let (c, element) = (i % from_channels, i / from_channels);
        let at = [element / width / height % depth, element / width % height, element % width];
        let volume = element / width / height / depth;
        for tap in 0..p.window.size.iter().product() {
            let tap_at = [tap / columns / rows, tap / columns % rows, tap % columns];
            let place = |axis: usize| {
                let ahead = at[axis] * p.window.strides[axis] + tap_at[axis] * p.window.dilations[axis];
                ahead.checked_sub(p.window.pads[2 * axis]).filter(|place| *place < p.size[axis])
            };
            let (Some(z), Some(y), Some(x)) = (place(0), place(1), place(2)) else { continue };
            let to = (((volume * deep + z) * high + y) * wide + x) * channels;
            for (o, sum) in out[to..to + channels].iter_mut().enumerate() {
                let weight = filter[(tap * channels + o) * from_channels + c];
                *sum += f64::from(*value) * f64::from(weight);
            }
        }
    }
    out
}

fn check(p: Conv3dParams, choice: usize, max_block_bytes: usize) {
    let plain = ConvTranspose::new(Isa::Portable, p).unwrap();
    let from = plain.input_shape();
    let (rows, row_floats) = plain.weight_size();
    let out_len = p.batch * p.size.iter().product::<usize>() * p.in_channels;
    let (input, filter) = (values(1, from.iter().product()), values(2, rows * row_floats));
    let data = EpilogueData::new(choice, p.in_channels, out_len);
    let sums = reference(&p, from, &input, &filter);
    let channel = |index: usize| index % p.in_channels;
    let expected: Vec<f64> =
        sums.iter().enumerate().map(|(i, sum)| data.apply(*sum, channel(i), i)).collect();
    let (weight, pools) = (Unaligned::new(&filter), pools());
    for isa in isas() {
        let op = ConvTranspose::new(isa, p).unwrap();
        let (block, epilogue) = (block_rows(&op, max_block_bytes), data.without_output());
        let (op, input, weight, data) = (&op, &input, &weight, &data);
        let forms = Forms { op, input, weight, by_columns: true, piece: 7, block, data, epilogue };
        assert_close(&forms.output(&pools), &expected, rows * row_floats);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Windows smaller than their steps leave elements that nothing reaches, and padding cuts off what reaches over the edge.
    #[test]
    fn scatters_the_filter(
        batch in 1usize..3, size in prop::array::uniform3(1usize..12), is_flat in any::<bool>(),
        window in prop::array::uniform3(1usize..5), strides in prop::array::uniform3(1usize..4),
        dilations in prop::array::uniform3(1usize..3), pads in prop::array::uniform6(0usize..3),
        channels in 1usize..40, from_channels in 1usize..12, choice in 0usize..60, max_block_bytes in 4usize..4096,
    ) {
        let mut window = Window3 { size: window, strides, dilations, pads, skips: [0; 3] };
        let mut size = size;
        if is_flat {
            (size[0], window.size[0], window.strides[0], window.pads[0], window.pads[1]) = (1, 1, 1, 0, 0);
        }
        let p = Conv3dParams { batch, size, in_channels: channels, out_channels: from_channels, window, groups: 1 };
        prop_assume!(!ConvTranspose::new(Isa::Portable, p).unwrap().input_shape().contains(&0));
        check(p, choice, max_block_bytes);
    }
}

/// More columns than one block of panels holds, and rows of several tiles.
#[test]
fn large_ones() {
    let window = Window3 { strides: [1, 2, 2], ..Window3::new([1, 3, 3]) };
    let p =
        Conv3dParams { batch: 1, size: [1, 9, 67], in_channels: 80, out_channels: 210, window, groups: 1 };
    check(p, 13, 1 << 16);
    check(Conv3dParams { window: Window3 { pads: [0, 0, 1, 0, 0, 1], ..window }, ..p }, 7, 4 * 210 * 20);
}

/// What is not there is multiplied by nothing: no NaN comes of an infinite weight beside it.
#[test]
fn gaps_are_no_zeros() {
    let pool = ThreadPool::new(1).unwrap();
    let window = Window3 { strides: [1, 2, 2], ..Window3::new([1, 2, 2]) };
    let p = Conv3dParams { batch: 1, size: [1, 2, 4], in_channels: 1, out_channels: 1, window, groups: 1 };
    let op = ConvTranspose::new(Isa::Portable, p).unwrap();
    let filter: Vec<u8> = [f32::INFINITY, 1.0, 2.0, 3.0].iter().flat_map(|w| w.to_le_bytes()).collect();
    let mut room = scratch(op.scratch_bytes(1, WeightForm::Unpacked));
    let mut out = [0.0; 8];
    let weights = Weights::Unpacked(&filter);
    op.run(&pool, &[1.0, -2.0], weights, &mut out, Epilogue::default(), room.get()).unwrap();
    assert_eq!(out, [f32::INFINITY, 1.0, f32::NEG_INFINITY, -2.0, 2.0, 3.0, -4.0, -6.0]);
    let waits = Epilogue { residual: Residual::Output, ..Epilogue::default() };
    assert!(op.run(&pool, &[1.0, -2.0], weights, &mut out, waits, room.get()).is_err());
}
