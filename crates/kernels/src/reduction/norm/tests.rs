use super::*;
use tightfit_core::{DType, Shape};

fn data(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919) % 2003) as f32 * 0.01 + 30.0).collect()
}

fn run(
    dims: &[usize],
    x: &[f32],
    kernel: impl Fn(Src<'_>, &mut TensorViewMut<'_>) -> Result<()>,
) -> Vec<f32> {
    let shape = Shape::new(dims).unwrap();
    let mut dst = vec![0.0f32; x.len()];
    let mut view = TensorViewMut::new(DType::F32, shape, bytemuck::cast_slice_mut(&mut dst)).unwrap();
    kernel(TensorView::from_slice(shape, x).unwrap().into(), &mut view).unwrap();
    let mut place = x.to_vec();
    let mut view = TensorViewMut::new(DType::F32, shape, bytemuck::cast_slice_mut(&mut place)).unwrap();
    kernel(Src::InPlace(DType::F32), &mut view).unwrap();
    assert_eq!(place, dst);
    dst
}

fn close(a: f32, b: f64) {
    assert!((a as f64 - b).abs() <= 1e-5 * b.abs().max(1.0), "{a} {b}");
}

#[test]
fn layer_norm_is_its_formula() {
    let pool = ThreadPool::new(2).unwrap();
    for len in [5, 768] {
        let x = data(len * 40);
        let gamma: Vec<f32> = data(len).iter().map(|x| x * 0.03).collect();
        let beta: Vec<f32> = data(len).iter().map(|x| x * 0.01).collect();
        let result = run(&[8, 5, len], &x, |s, d| layer_norm(&pool, Some(&gamma), Some(&beta), 1e-6, s, d));
        let plain = run(&[8, 5, len], &x, |s, d| layer_norm(&pool, None, None, 1e-6, s, d));
        for ((x, y), plain) in x.chunks(len).zip(result.chunks(len)).zip(plain.chunks(len)) {
            let mean = x.iter().map(|x| *x as f64).sum::<f64>() / len as f64;
            let variance = x.iter().map(|x| (*x as f64 - mean).powi(2)).sum::<f64>() / len as f64;
            for i in 0..len {
                let normal = (x[i] as f64 - mean) / (variance + 1e-6).sqrt();
                close(plain[i], normal);
                close(y[i], normal * gamma[i] as f64 + beta[i] as f64);
            }
        }
    }
}

#[test]
fn batch_norm_is_its_formula() {
    let pool = ThreadPool::new(2).unwrap();
    let channels = 70;
    let x = data(channels * 300);
    let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
    let shape = Shape::new(&[3, 10, 10, channels]).unwrap();
    batch_statistics(&pool, TensorView::from_slice(shape, &x).unwrap(), &mut mean, &mut variance).unwrap();
    let (scale, offset) = (data(channels), data(channels));
    let norm = BatchNorm { scale: &scale, offset: &offset, mean: &mean, variance: &variance, epsilon: 1e-3 };
    let result = run(&shape, &x, |s, d| batch_norm(&pool, norm, s, d));
    for c in 0..channels {
        let column = || x.iter().skip(c).step_by(channels).map(|x| *x as f64);
        let exact = column().sum::<f64>() / 300.0;
        let spread = column().map(|x| (x - exact).powi(2)).sum::<f64>() / 300.0;
        close(mean[c], exact);
        close(variance[c], spread);
        for (x, y) in column().zip(result.iter().skip(c).step_by(channels)) {
            close(*y, (x - exact) / (spread + 1e-3).sqrt() * scale[c] as f64 + offset[c] as f64);
        }
    }
}

/// Values of the formula.
#[test]
fn local_response_and_length() {
    let pool = ThreadPool::new(1).unwrap();
    let x = [1.0f32, 2.0, 3.0, 4.0];
    let shape = Shape::new(&[1, 4]).unwrap();
    let mut dst = [0.0f32; 4];
    let mut view = TensorViewMut::new(DType::F32, shape, bytemuck::cast_slice_mut(&mut dst)).unwrap();
    let norm = LocalResponse { depth_radius: 1, bias: 1.0, alpha: 0.5, beta: 0.5 };
    local_response_norm(&pool, norm, TensorView::from_slice(shape, &x).unwrap(), &mut view).unwrap();
    for (a, b) in
        dst.into_iter().zip([0.534_522_5, std::f64::consts::FRAC_1_SQRT_2, 0.762_000_8, 1.088_662_1])
    {
        close(a, b);
    }
    assert_eq!(
        run(&[2, 2], &[3.0, 4.0, 0.0, 2.0], |s, d| l2_normalize(&pool, 1e-12, s, d)),
        [0.6, 0.8, 0.0, 1.0]
    );
}
