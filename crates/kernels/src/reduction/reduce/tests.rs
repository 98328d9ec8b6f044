use super::*;
use crate::reduction::{ArgOp, ScanOp, arg_reduce, scan};
use proptest::prelude::*;
use tightfit_core::{Element as _, Shape};

fn run<T: tightfit_core::Element>(
    op: ReduceOp,
    dims: &[usize],
    axes: &[usize],
    x: &[T],
    threads: usize,
) -> Vec<T> {
    let kept =
        Shape::new(&[(0..dims.len()).filter(|a| !axes.contains(a)).map(|a| dims[a]).product()]).unwrap();
    let mut dst = vec![T::zeroed(); kept.elements()];
    let mut view = TensorViewMut::new(T::DTYPE, kept, bytemuck::cast_slice_mut(&mut dst)).unwrap();
    let src = TensorView::from_slice(Shape::new(dims).unwrap(), x).unwrap();
    reduce(&ThreadPool::new(threads).unwrap(), op, axes, src, &mut view).unwrap();
    dst
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn reductions_are_index_arithmetic(
        dims in prop::collection::vec(prop_oneof![1usize..5, 30usize..40], 1..5),
        chosen in prop::collection::vec(any::<bool>(), 5),
    ) {
        prop_assume!(dims.iter().product::<usize>() < 200_000);
        let axes: Vec<usize> = (0..dims.len()).filter(|a| chosen[*a]).collect();
        let x: Vec<i32> = (0..dims.iter().product::<usize>() as i64).map(|i| (i * 7919 % 2003) as i32 - 1000).collect();
        let mut sums = std::collections::BTreeMap::<usize, (i32, i32)>::new();
        for (at, x) in x.iter().enumerate() {
            let (mut left, mut key, mut step) = (at, 0, 1);
            for axis in (0..dims.len()).rev() {
                if !axes.contains(&axis) {
                    key += left % dims[axis] * step;
                    step *= dims[axis];
                }
                left /= dims[axis];
            }
            let entry = sums.entry(key).or_insert((0, i32::MIN));
            *entry = (entry.0 + x, entry.1.max(*x));
        }
        let (expected, largest): (Vec<i32>, Vec<i32>) = sums.into_values().unzip();
        prop_assert_eq!(run(ReduceOp::Sum, &dims, &axes, &x, 2), expected);
        prop_assert_eq!(run(ReduceOp::Max, &dims, &axes, &x, 2), largest);
    }
}

/// Values of TensorFlow 2.21.
#[test]
fn edges_as_tensorflow() {
    let nan = f32::NAN;
    assert!(run(ReduceOp::Max, &[3], &[0], &[1.0, nan, 3.0], 1)[0].is_nan());
    assert!(run(ReduceOp::Min, &[3], &[0], &[nan, 1.0, 3.0], 1)[0].is_nan());
    assert_eq!(run(ReduceOp::Max, &[0], &[0], &[] as &[f32], 1), [f32::NEG_INFINITY]);
    assert_eq!(run(ReduceOp::Max, &[0], &[0], &[] as &[i32], 1), [i32::MIN]);
    assert!(run(ReduceOp::Mean, &[0], &[0], &[] as &[f32], 1)[0].is_nan());
    assert_eq!(run(ReduceOp::Mean, &[0], &[0], &[] as &[i32], 1), [0]);
    assert_eq!(run(ReduceOp::Prod, &[2, 0], &[1], &[] as &[f32], 1), [1.0, 1.0]);
    assert_eq!(run(ReduceOp::Mean, &[3], &[0], &[-1i32, -2, -4], 1), [-2]);
    assert_eq!(run(ReduceOp::Mean, &[3], &[0], &[200u8, 200, 200], 1), [200]);
    assert_eq!(run(ReduceOp::Sum, &[3], &[0], &[200u8, 200, 200], 1), [88]);
    assert_eq!(run(ReduceOp::EuclideanNorm, &[2], &[0], &[3.0f32, 4.0], 1), [5.0]);
    assert_eq!(run(ReduceOp::L2Loss, &[2, 2], &[0], &[1.0f32, 2.0, 3.0, 4.0], 1), [5.0, 10.0]);
}

#[test]
fn sums_are_exact_and_the_same_on_threads() {
    let x: Vec<f32> = (0..1_000_003).map(|i| 0.1 + (i % 17) as f32).collect();
    let exact: f64 = x.iter().map(|x| *x as f64).sum();
    let sum = run(ReduceOp::Sum, &[x.len()], &[0], &x, 1);
    assert!((sum[0] as f64 / exact - 1.0).abs() < 1e-7);
    assert_eq!(run(ReduceOp::Sum, &[x.len()], &[0], &x, 2), sum);
    let means = run(ReduceOp::Mean, &[2, 50_000, 10], &[1], &x[..1_000_000], 1);
    assert_eq!(run(ReduceOp::Mean, &[2, 50_000, 10], &[1], &x[..1_000_000], 2), means);
}

#[test]
fn any_and_all() {
    let x = [1u8, 0, 1, 1, 0, 0];
    for (op, expected) in [(ReduceOp::Any, [1, 1, 0]), (ReduceOp::All, [0, 1, 0])] {
        let mut dst = [7u8; 3];
        let mut view = TensorViewMut::new(DType::Bool, Shape::new(&[3]).unwrap(), &mut dst).unwrap();
        let src = TensorView::new(DType::Bool, Shape::new(&[3, 2]).unwrap(), &x).unwrap();
        reduce(&ThreadPool::new(1).unwrap(), op, &[1], src, &mut view).unwrap();
        assert_eq!(dst, expected);
    }
}

/// Values of TensorFlow 2.21.
#[test]
fn the_first_extreme_wins_and_nans_are_passed_over() {
    let nan = f32::NAN;
    for (x, op, expected) in [
        ([1.0, nan, 3.0], ArgOp::Max, 2i64),
        ([nan, 1.0, 3.0], ArgOp::Max, 2),
        ([1.0, nan, 0.0], ArgOp::Min, 2),
        ([nan, nan, nan], ArgOp::Max, 0),
        ([5.0, 5.0, 1.0], ArgOp::Max, 0),
    ] {
        let mut dst = [0i64; 1];
        let mut view =
            TensorViewMut::new(DType::I64, Shape::SCALAR, bytemuck::cast_slice_mut(&mut dst)).unwrap();
        let src = TensorView::from_slice(Shape::new(&[3]).unwrap(), &x).unwrap();
        arg_reduce(&ThreadPool::new(1).unwrap(), op, 0, src, &mut view).unwrap();
        assert_eq!(dst, [expected], "{x:?}");
    }
}

/// Values of TensorFlow 2.21.
#[test]
fn running_sums() {
    let x = [1i32, 2, 3, 4, 5, 6];
    for (op, axis, how, expected) in [
        (ScanOp::Sum, 1, (false, false), [1, 3, 6, 4, 9, 15]),
        (ScanOp::Sum, 1, (true, false), [0, 1, 3, 0, 4, 9]),
        (ScanOp::Sum, 1, (true, true), [5, 3, 0, 11, 6, 0]),
        (ScanOp::Sum, 0, (false, true), [5, 7, 9, 4, 5, 6]),
        (ScanOp::Prod, 1, (true, true), [6, 3, 1, 30, 6, 1]),
    ] {
        let mut dst = [0i32; 6];
        let shape = Shape::new(&[2, 3]).unwrap();
        let mut view = TensorViewMut::new(i32::DTYPE, shape, bytemuck::cast_slice_mut(&mut dst)).unwrap();
        let src = TensorView::from_slice(shape, &x).unwrap();
        scan(&ThreadPool::new(1).unwrap(), op, axis, how, src, &mut view).unwrap();
        assert_eq!(dst, expected, "{op:?} {axis} {how:?}");
    }
}
