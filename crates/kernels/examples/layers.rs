//! Times the layers of well-known networks at batch 1: `cargo run --release --example layers [threads] [only]`.
//! Prints for each distinct layer its milliseconds, GFLOP/s, how often the network has it, and its share of the time.

use std::time::Instant;

use tightfit_kernels::*;

enum Op {
    /// height, in, out, window, stride
    Conv(usize, usize, usize, usize, usize),
    /// height, channels, window, stride
    Depthwise(usize, usize, usize, usize),
    /// m, k, n
    Dense(usize, usize, usize),
    /// batch, m, k, n, b transposed
    Batch(usize, usize, usize, usize, bool),
}
use Op::*;

/// As it is run: only pixels that somebody takes are computed.
const RESNET50: &[(usize, Op)] = &[
    (1, Conv(224, 3, 64, 7, 2)),
    (1, Conv(56, 64, 64, 1, 1)),
    (2, Conv(56, 64, 64, 3, 1)),
    (1, Conv(56, 64, 64, 3, 2)),
    (3, Conv(56, 64, 256, 1, 1)),
    (1, Conv(28, 64, 256, 1, 1)),
    (2, Conv(56, 256, 64, 1, 1)),
    (1, Conv(28, 256, 512, 1, 1)),
    (1, Conv(28, 256, 128, 1, 1)),
    (3, Conv(28, 128, 128, 3, 1)),
    (1, Conv(28, 128, 128, 3, 2)),
    (3, Conv(28, 128, 512, 1, 1)),
    (1, Conv(14, 128, 512, 1, 1)),
    (3, Conv(28, 512, 128, 1, 1)),
    (1, Conv(14, 512, 1024, 1, 1)),
    (1, Conv(14, 512, 256, 1, 1)),
    (5, Conv(14, 256, 256, 3, 1)),
    (1, Conv(14, 256, 256, 3, 2)),
    (5, Conv(14, 256, 1024, 1, 1)),
    (1, Conv(7, 256, 1024, 1, 1)),
    (5, Conv(14, 1024, 256, 1, 1)),
    (1, Conv(7, 1024, 2048, 1, 1)),
    (1, Conv(7, 1024, 512, 1, 1)),
    (3, Conv(7, 512, 512, 3, 1)),
    (3, Conv(7, 512, 2048, 1, 1)),
    (2, Conv(7, 2048, 512, 1, 1)),
    (1, Dense(1, 2048, 1000)),
];

const VGG16: &[(usize, Op)] = &[
    (1, Conv(224, 3, 64, 3, 1)),
    (1, Conv(224, 64, 64, 3, 1)),
    (1, Conv(112, 64, 128, 3, 1)),
    (1, Conv(112, 128, 128, 3, 1)),
    (1, Conv(56, 128, 256, 3, 1)),
    (2, Conv(56, 256, 256, 3, 1)),
    (1, Conv(28, 256, 512, 3, 1)),
    (2, Conv(28, 512, 512, 3, 1)),
    (3, Conv(14, 512, 512, 3, 1)),
    (1, Dense(1, 25088, 4096)),
    (1, Dense(1, 4096, 4096)),
    (1, Dense(1, 4096, 1000)),
];

const MOBILENET_V2: &[(usize, Op)] = &[
    (1, Conv(224, 3, 32, 3, 2)),
    (1, Depthwise(112, 32, 3, 1)),
    (1, Conv(112, 32, 16, 1, 1)),
    (1, Conv(112, 16, 96, 1, 1)),
    (1, Depthwise(112, 96, 3, 2)),
    (1, Conv(56, 96, 24, 1, 1)),
    (2, Conv(56, 24, 144, 1, 1)),
    (1, Depthwise(56, 144, 3, 1)),
    (1, Conv(56, 144, 24, 1, 1)),
    (1, Depthwise(56, 144, 3, 2)),
    (1, Conv(28, 144, 32, 1, 1)),
    (3, Conv(28, 32, 192, 1, 1)),
    (2, Depthwise(28, 192, 3, 1)),
    (2, Conv(28, 192, 32, 1, 1)),
    (1, Depthwise(28, 192, 3, 2)),
    (1, Conv(14, 192, 64, 1, 1)),
    (4, Conv(14, 64, 384, 1, 1)),
    (4, Depthwise(14, 384, 3, 1)),
    (3, Conv(14, 384, 64, 1, 1)),
    (1, Conv(14, 384, 96, 1, 1)),
    (3, Conv(14, 96, 576, 1, 1)),
    (2, Depthwise(14, 576, 3, 1)),
    (2, Conv(14, 576, 96, 1, 1)),
    (1, Depthwise(14, 576, 3, 2)),
    (1, Conv(7, 576, 160, 1, 1)),
    (3, Conv(7, 160, 960, 1, 1)),
    (3, Depthwise(7, 960, 3, 1)),
    (2, Conv(7, 960, 160, 1, 1)),
    (1, Conv(7, 960, 320, 1, 1)),
    (1, Conv(7, 320, 1280, 1, 1)),
    (1, Dense(1, 1280, 1000)),
];

const EFFICIENTNET_B0: &[(usize, Op)] = &[
    (1, Conv(224, 3, 32, 3, 2)),
    (1, Depthwise(112, 32, 3, 1)),
    (1, Conv(112, 32, 16, 1, 1)),
    (1, Conv(112, 16, 96, 1, 1)),
    (1, Depthwise(112, 96, 3, 2)),
    (1, Conv(56, 96, 24, 1, 1)),
    (2, Conv(56, 24, 144, 1, 1)),
    (1, Depthwise(56, 144, 3, 1)),
    (1, Conv(56, 144, 24, 1, 1)),
    (1, Depthwise(56, 144, 5, 2)),
    (1, Conv(28, 144, 40, 1, 1)),
    (2, Conv(28, 40, 240, 1, 1)),
    (1, Depthwise(28, 240, 5, 1)),
    (1, Conv(28, 240, 40, 1, 1)),
    (1, Depthwise(28, 240, 3, 2)),
    (1, Conv(14, 240, 80, 1, 1)),
    (3, Conv(14, 80, 480, 1, 1)),
    (2, Depthwise(14, 480, 3, 1)),
    (2, Conv(14, 480, 80, 1, 1)),
    (1, Depthwise(14, 480, 5, 1)),
    (1, Conv(14, 480, 112, 1, 1)),
    (3, Conv(14, 112, 672, 1, 1)),
    (2, Depthwise(14, 672, 5, 1)),
    (2, Conv(14, 672, 112, 1, 1)),
    (1, Depthwise(14, 672, 5, 2)),
    (1, Conv(7, 672, 192, 1, 1)),
    (4, Conv(7, 192, 1152, 1, 1)),
    (3, Depthwise(7, 1152, 5, 1)),
    (3, Conv(7, 1152, 192, 1, 1)),
    (1, Depthwise(7, 1152, 3, 1)),
    (1, Conv(7, 1152, 320, 1, 1)),
    (1, Conv(7, 320, 1280, 1, 1)),
    (1, Dense(1, 1280, 1000)),
];

const MOBILENET_V3_LARGE: &[(usize, Op)] = &[
    (1, Conv(224, 3, 16, 3, 2)),
    (1, Depthwise(112, 16, 3, 1)),
    (1, Conv(112, 16, 16, 1, 1)),
    (1, Conv(112, 16, 64, 1, 1)),
    (1, Depthwise(112, 64, 3, 2)),
    (1, Conv(56, 64, 24, 1, 1)),
    (2, Conv(56, 24, 72, 1, 1)),
    (1, Depthwise(56, 72, 3, 1)),
    (1, Conv(56, 72, 24, 1, 1)),
    (1, Depthwise(56, 72, 5, 2)),
    (1, Conv(28, 72, 40, 1, 1)),
    (2, Conv(28, 40, 120, 1, 1)),
    (2, Depthwise(28, 120, 5, 1)),
    (2, Conv(28, 120, 40, 1, 1)),
    (1, Conv(28, 40, 240, 1, 1)),
    (1, Depthwise(28, 240, 3, 2)),
    (1, Conv(14, 240, 80, 1, 1)),
    (1, Conv(14, 80, 200, 1, 1)),
    (1, Depthwise(14, 200, 3, 1)),
    (1, Conv(14, 200, 80, 1, 1)),
    (2, Conv(14, 80, 184, 1, 1)),
    (2, Depthwise(14, 184, 3, 1)),
    (2, Conv(14, 184, 80, 1, 1)),
    (1, Conv(14, 80, 480, 1, 1)),
    (1, Depthwise(14, 480, 3, 1)),
    (1, Conv(14, 480, 112, 1, 1)),
    (2, Conv(14, 112, 672, 1, 1)),
    (1, Depthwise(14, 672, 3, 1)),
    (1, Conv(14, 672, 112, 1, 1)),
    (1, Depthwise(14, 672, 5, 2)),
    (1, Conv(7, 672, 160, 1, 1)),
    (3, Conv(7, 160, 960, 1, 1)),
    (2, Depthwise(7, 960, 5, 1)),
    (2, Conv(7, 960, 160, 1, 1)),
    (1, Dense(1, 960, 1280)),
    (1, Dense(1, 1280, 1000)),
];

const VIT_S16: &[(usize, Op)] = &[
    (48, Dense(197, 384, 384)),
    (12, Dense(197, 384, 1536)),
    (12, Dense(197, 1536, 384)),
    (12, Batch(6, 197, 64, 197, true)),
    (12, Batch(6, 197, 197, 64, false)),
];

const BERT: &[(usize, Op)] = &[
    (48, Dense(128, 768, 768)),
    (12, Dense(128, 768, 3072)),
    (12, Dense(128, 3072, 768)),
    (12, Batch(12, 128, 64, 128, true)),
    (12, Batch(12, 128, 128, 64, false)),
];

fn values(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        })
        .collect()
}

/// The median of the seconds that `f` takes.
fn time(mut f: impl FnMut()) -> f64 {
    let started = Instant::now();
    f();
    let once = started.elapsed().as_secs_f64().max(1e-7);
    let inner = ((2e-4 / once) as usize).max(1);
    let runs = ((0.06 / (once * inner as f64)) as usize).clamp(5, 40);
    let mut seconds: Vec<f64> = (0..runs)
        .map(|_| {
            let started = Instant::now();
            (0..inner).for_each(|_| f());
            started.elapsed().as_secs_f64() / inner as f64
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[runs / 2]
}

/// Seconds and multiply-adds.
fn measure(pool: &ThreadPool, isa: Isa, op: &Op) -> Result<(f64, usize), KernelError> {
    match *op {
        Conv(size, channels, out_channels, window, stride) => {
            let window = Window { strides: [stride; 2], ..Window::new(window, window) }.same(size, size);
            let p = Conv2dParams {
                batch: 1,
                height: size,
                width: size,
                in_channels: channels,
                out_channels,
                window,
                groups: 1,
            };
            let op = Conv2d::new(isa, p)?;
            let mut packed = vec![0f32; op.layout().packed_bytes() / 4];
            let filter = values(op.filter_rows() * out_channels);
            op.layout().pack_rows(bytemuck::cast_slice_mut(&mut packed), 0, bytemuck::cast_slice(&filter))?;
            let input = values(size * size * channels);
            let mut out = vec![0f32; op.output_shape().iter().product()];
            let mut scratch = vec![0u8; op.scratch_bytes(pool.threads(), WeightForm::Packed)];
            let (scale, shift) = (values(out_channels), values(out_channels));
            let epilogue = Epilogue {
                scale: Some(&scale),
                shift: Some(&shift),
                residual: Residual::None,
                activation: Activation::Relu,
            };
            let weights = Weights::Packed(bytemuck::cast_slice(&packed));
            let seconds = time(|| {
                op.run(pool, &input, weights, &mut out, epilogue, &mut scratch).expect("checked shapes");
            });
            Ok((seconds, out.len() * op.filter_rows()))
        }
        Depthwise(size, channels, window, stride) => {
            let taps = window * window;
            let window = Window { strides: [stride; 2], ..Window::new(window, window) }.same(size, size);
            let p = DepthwiseParams { batch: 1, height: size, width: size, channels, multiplier: 1, window };
            let op = DepthwiseConv2d::new(isa, p)?;
            let input = values(size * size * channels);
            let filter = values(taps * channels);
            let mut out = vec![0f32; op.output_shape().iter().product()];
            let shift = values(channels);
            let epilogue = Epilogue { activation: Activation::Relu6, ..Epilogue::bias(&shift) };
            let seconds = time(|| {
                op.run(pool, &input, bytemuck::cast_slice(&filter), &mut out, epilogue)
                    .expect("checked shapes");
            });
            Ok((seconds, out.len() * taps))
        }
        Dense(m, k, n) => {
            let op = MatMul::new(isa, m, k, n, false, false)?;
            let mut packed = vec![0f32; op.layout().packed_bytes() / 4];
            let weights = values(k * n);
            op.layout().pack_rows(
                bytemuck::cast_slice_mut(&mut packed),
                0,
                bytemuck::cast_slice(&weights),
            )?;
            let a = values(m * k);
            let mut out = vec![0f32; m * n];
            let mut scratch = vec![0u8; op.scratch_bytes(pool.threads(), WeightForm::Packed)];
            let weights = Weights::Packed(bytemuck::cast_slice(&packed));
            let seconds = time(|| {
                op.run(pool, &a, weights, &mut out, Epilogue::default(), &mut scratch)
                    .expect("checked shapes");
            });
            Ok((seconds, m * k * n))
        }
        Batch(batch, m, k, n, transposed) => {
            let op = BatchMatMul {
                isa,
                batch: &[batch],
                m,
                k,
                n,
                a: MatrixStrides { row: k, column: 1, batch: &[m * k] },
                b: if transposed {
                    MatrixStrides { row: 1, column: k, batch: &[k * n] }
                } else {
                    MatrixStrides { row: n, column: 1, batch: &[k * n] }
                },
                out: MatrixStrides { row: n, column: 1, batch: &[m * n] },
            };
            let (a, b) = (values(batch * m * k), values(batch * k * n));
            let mut out = vec![0f32; batch * m * n];
            let mut scratch = vec![0u8; op.scratch_bytes(pool.threads())?];
            let seconds = time(|| {
                op.run(pool, &a, &b, &mut out, Epilogue::default(), &mut scratch).expect("checked shapes");
            });
            Ok((seconds, batch * m * k * n))
        }
    }
}

fn name(op: &Op) -> String {
    match op {
        Conv(size, i, o, window, stride) => format!("conv {window}x{window}/{stride} {size}x{size}x{i}->{o}"),
        Depthwise(size, c, window, stride) => {
            format!("depthwise {window}x{window}/{stride} {size}x{size}x{c}")
        }
        Dense(m, k, n) => format!("matmul {m}x{k}x{n}"),
        Batch(b, m, k, n, t) => format!("batch {b} of {m}x{k}x{n}{}", if *t { " bT" } else { "" }),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let threads = args.next().map_or(Ok(2), |a| a.parse())?;
    let only = args.next().unwrap_or_default();
    let pool = ThreadPool::new(threads)?;
    let isa = Isa::detect();
    println!("{isa:?}, {threads} threads");
    let nets = [
        ("resnet50", RESNET50),
        ("vgg16", VGG16),
        ("mobilenet_v2", MOBILENET_V2),
        ("efficientnet_b0", EFFICIENTNET_B0),
        ("mobilenet_v3_large", MOBILENET_V3_LARGE),
        ("vit_s16", VIT_S16),
        ("bert", BERT),
    ];
    for (net, layers) in nets.into_iter().filter(|(net, _)| net.starts_with(&only)) {
        let mut measured = Vec::new();
        for (times, op) in layers {
            let (seconds, work) = measure(&pool, isa, op)?;
            measured.push((*times as f64, op, seconds, 2.0 * work as f64));
        }
        let total: f64 = measured.iter().map(|(times, _, seconds, _)| times * seconds).sum();
        let work: f64 = measured.iter().map(|(times, _, _, flops)| times * flops).sum();
        println!("\n{net}: {:.3} ms, {:.0} GFLOP/s", total * 1e3, work / total / 1e9);
        for (times, op, seconds, flops) in measured {
            println!(
                "  {:36} {times:3} x {:8.4} ms  {:6.1} GFLOP/s  {:5.1} %",
                name(op),
                seconds * 1e3,
                flops / seconds / 1e9,
                times * seconds / total * 100.0
            );
        }
    }
    Ok(())
}
