use super::*;
use half::f16;
use proptest::prelude::*;
use tightfit_core::{Element, Shape, TensorView};

fn bytes<T: Element>(values: &[T]) -> Option<&[u8]> {
    Some(bytemuck::cast_slice(values))
}

fn run<T: Element>(op: BinaryOp, a: (&[usize], &[T]), b: (&[usize], &[T]), out: &[usize]) -> Result<Vec<T>> {
    let shape = Shape::new(out).unwrap();
    let mut dst = vec![T::zeroed(); shape.elements()];
    let mut view = TensorViewMut::new(T::DTYPE, shape, bytemuck::cast_slice_mut(&mut dst)).unwrap();
    let view_of = |x: (&[usize], &[T])| Shape::new(x.0).unwrap();
    let (sa, sb) = (view_of(a), view_of(b));
    let pool = ThreadPool::new(2).unwrap();
    let (va, vb) = (TensorView::from_slice(sa, a.1).unwrap(), TensorView::from_slice(sb, b.1).unwrap());
    binary(&pool, op, va.into(), vb.into(), &mut view)?;
    // In place is the same wherever an operand has the output's shape.
    for (k, (dims, values)) in [a, b].into_iter().enumerate() {
        if dims == out {
            let mut place = values.to_vec();
            let mut view = TensorViewMut::new(T::DTYPE, shape, bytemuck::cast_slice_mut(&mut place)).unwrap();
            let here = Src::InPlace(T::DTYPE);
            let (a, b) = if k == 0 { (here, vb.into()) } else { (va.into(), here) };
            binary(&pool, op, a, b, &mut view)?;
            assert_eq!(bytemuck::cast_slice::<T, u8>(&place), bytemuck::cast_slice::<T, u8>(&dst));
        }
    }
    // So is what knows no shapes, where there is nothing to broadcast.
    if [a, b].iter().all(|(dims, values)| *dims == out || values.len() == 1) {
        let mut flat = vec![T::zeroed(); dst.len()];
        let operands = [bytes(a.1), bytes(b.1)];
        binary_flat(&pool, op, T::DTYPE, operands, bytemuck::cast_slice_mut(&mut flat))?;
        assert_eq!(bytes(&flat), bytes(&dst));
        for (k, (dims, values)) in [a, b].into_iter().enumerate() {
            if dims == out {
                let mut place = values.to_vec();
                let mut operands = operands;
                operands[k] = None;
                binary_flat(&pool, op, T::DTYPE, operands, bytemuck::cast_slice_mut(&mut place))?;
                assert_eq!(bytes(&place), bytes(&dst));
            }
        }
    }
    Ok(dst)
}

fn vector<T: Element>(op: BinaryOp, a: &[T], b: &[T]) -> Result<Vec<T>> {
    run(op, (&[a.len()], a), (&[b.len()], b), &[a.len().max(b.len())])
}

/// Values of TensorFlow 2.21.
#[test]
fn floats_as_tensorflow() {
    use BinaryOp::*;
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    let same = |op, a: &[f32], b: &[f32], expected: &[f32]| {
        let result = vector(op, a, b).unwrap();
        let equal = result.iter().zip(expected).all(|(r, e)| r == e || r.is_nan() && e.is_nan());
        assert!(equal, "{op:?} {result:?} {expected:?}");
    };
    same(FloorDiv, &[7., -7., 1., 0., inf], &[-2., 2., 0., 0., 2.], &[-4., -4., inf, nan, inf]);
    same(FloorMod, &[7., -7., 1., -1., 5.], &[-2., 2., inf, inf, 0.], &[-1., 1., 1., inf, nan]);
    same(TruncateMod, &[7., -7.], &[-2., 2.], &[1., -1.]);
    same(Maximum, &[nan, 1., nan, 2.], &[1., nan, nan, 3.], &[nan, nan, nan, 3.]);
    same(Minimum, &[nan, 1., nan, 2.], &[1., nan, nan, 3.], &[nan, nan, nan, 2.]);
    same(Xdivy, &[0., 0., 1.], &[0., nan, 0.], &[0., 0., inf]);
    same(MulNoNan, &[nan, inf, 1.], &[0., 0., nan], &[0., 0., nan]);
    same(DivNoNan, &[nan, inf, 1.], &[0., 0., nan], &[0., 0., nan]);
    same(Pow, &[2., 9.], &[3., 0.5], &[8., 3.]);
    same(SquaredDifference, &[2., 9.], &[3.], &[1., 36.]);
    let tiny = 1e-40;
    same(Pow, &[tiny, 2., tiny, nan, -2.], &[1., tiny, 0.5, tiny, tiny], &[tiny, 1., 0., 1., 1.]);
    let (eighth, far) = (std::f32::consts::FRAC_PI_4, 3.0 * std::f32::consts::FRAC_PI_4);
    same(
        Atan2,
        &[tiny, 0., tiny, -tiny, 0.],
        &[tiny, -tiny, 0., -0., -0.],
        &[eighth, far, eighth, -far, 4.0 * eighth],
    );
}

/// Halves are one by one in TensorFlow: a denormal exponent counts, as C's powf has it.
#[test]
fn halves_as_tensorflow() {
    use BinaryOp::*;
    let of = |x: &[f32]| x.iter().map(|x| half::bf16::from_f32(*x)).collect::<Vec<_>>();
    let inf = f32::INFINITY;
    let powers = vector(Pow, &of(&[inf, 0.0, 2.0, -2.0]), &of(&[1e-40; 4])).unwrap();
    assert_eq!(powers[..3], of(&[inf, 0.0, 1.0]));
    assert!(powers[3].is_nan());
    let quotient = |op| vector(op, &[f16::from_f32(2047.0)], &[f16::from_f32(2048.0)]).unwrap();
    assert_eq!((quotient(FloorDiv), quotient(TruncateDiv)), (vec![f16::ZERO], vec![f16::ZERO]));
    // Of gradients each step is rounded, so that an end that rounding made is one exactly.
    let gradients = [1.859375; 4];
    let selu = vector(SeluGrad, &of(&gradients), &of(&[-1.7578125, -1.75, -0.5, 0.5])).unwrap();
    assert_eq!(selu, of(&[0.0, 0.014526367, 2.34375, 1.9453125]));
    let elu = vector(EluGrad, &of(&[1.3; 3]), &of(&[-0.99609375, -0.123, -0.001])).unwrap();
    assert_eq!(elu, of(&[0.005065918, 1.1328125, 1.296875]));
    assert_eq!(vector(SoftplusGrad, &of(&[1.046875]), &of(&[3.0])).unwrap(), of(&[1.0]));
    let zeros = vector(Maximum, &of(&[-0.0, 0.0]), &of(&[0.0, -0.0])).unwrap();
    assert_eq!([zeros[0].to_bits(), zeros[1].to_bits()], [0x8000, 0]);
}

#[test]
fn integers_as_tensorflow() {
    use BinaryOp::*;
    assert_eq!(vector(Pow, &[2, 3, -2], &[31, 40, 63]).unwrap(), [i32::MIN, 689956897, 0]);
    assert_eq!(vector(Pow, &[1, 1], &[-1, 2]), Err(KernelError::NegativeExponent));
    assert_eq!(vector(FloorDiv, &[7, -7, 7, i32::MIN], &[-2, 2, 2, -1]).unwrap(), [-4, -4, 3, i32::MIN]);
    assert_eq!(vector(Div, &[7, -7], &[-2, 2]).unwrap(), [-3, -3]);
    assert_eq!(vector(FloorMod, &[7, -7, 7], &[-2, 2, 2]).unwrap(), [-1, 1, 1]);
    assert_eq!(vector(TruncateMod, &[7, -7], &[-2, 2]).unwrap(), [1, -1]);
    for op in [Div, FloorDiv, FloorMod, TruncateMod] {
        assert_eq!(vector(op, &[1u8, 2], &[1, 0]), Err(KernelError::DivisionByZero));
    }
    assert_eq!(vector(LeftShift, &[1, 1, 1], &[-1, 33, 31]).unwrap(), [1, i32::MIN, i32::MIN]);
    assert_eq!(vector(RightShift, &[-8, 8], &[40, 1]).unwrap(), [-1, 4]);
    assert_eq!(vector(Add, &[250u8], &[10]).unwrap(), [4]);
    assert!(matches!(vector(Atan2, &[1], &[1]), Err(KernelError::DType { .. })));
    let half = |x: f32| f16::from_f32(x);
    assert_eq!(vector(Mul, &[half(1.5); 300], &[half(2.0)]).unwrap(), [half(3.0); 300]);
}

#[test]
fn comparisons() {
    let shape = Shape::new(&[3]).unwrap();
    let (a, b) = ([1.0f32, 2.0, f32::NAN], [2.0f32, 2.0, 2.0]);
    for (op, expected) in [
        (CompareOp::Less, [1, 0, 0]),
        (CompareOp::LessEqual, [1, 1, 0]),
        (CompareOp::Equal, [0, 1, 0]),
        (CompareOp::NotEqual, [1, 0, 1]),
        (CompareOp::Greater, [0, 0, 0]),
        (CompareOp::GreaterEqual, [0, 1, 0]),
    ] {
        let mut dst = [9u8; 3];
        let mut view = TensorViewMut::new(DType::Bool, shape, &mut dst).unwrap();
        let (a, b) = (TensorView::from_slice(shape, &a).unwrap(), TensorView::from_slice(shape, &b).unwrap());
        compare(&ThreadPool::new(1).unwrap(), op, a.into(), b.into(), &mut view).unwrap();
        assert_eq!(dst, expected, "{op:?}");
    }
}

/// The offset of the element of an operand of `shape` for the output position `at`, by plain index arithmetic.
fn naive_offset(shape: &[usize], output: &[usize], at: usize) -> usize {
    let (mut at, mut offset, mut step) = (at, 0, 1);
    for (n, dim) in output.iter().rev().enumerate() {
        let index = at % dim;
        at /= dim;
        if n < shape.len() {
            let own = shape[shape.len() - 1 - n];
            offset += if own == 1 { 0 } else { index * step };
            step *= own;
        }
    }
    offset
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn broadcasting_is_index_arithmetic(
        output in prop::collection::vec(prop_oneof![1usize..5, 60usize..70], 0..5),
        ones in prop::collection::vec(any::<[bool; 2]>(), 5),
        cut in [0usize..3, 0usize..3],
    ) {
        prop_assume!(output.iter().product::<usize>() < 100_000);
        let operand = |k: usize| -> Vec<usize> {
            let dims = output.iter().zip(&ones).map(|(d, one)| if one[k] { 1 } else { *d });
            dims.skip(cut[k].min(output.len())).collect()
        };
        let shapes = [operand(0), operand(1)];
        let values = shapes.each_ref().map(|s| (0..s.iter().product::<usize>() as i32).collect::<Vec<_>>());
        let result = run(BinaryOp::Sub, (&shapes[0], &values[0]), (&shapes[1], &values[1]), &output).unwrap();
        for (at, value) in result.iter().enumerate() {
            let [a, b] = [0, 1].map(|k| values[k][naive_offset(&shapes[k], &output, at)]);
            prop_assert_eq!(*value, a - b);
        }
    }
}

#[test]
fn flat_operands_are_as_large_as_the_output_or_one_element() {
    let pool = ThreadPool::new(2).unwrap();
    // More than a block, and more than one thread's.
    for elements in [1usize, 255, 256, 257, 70_000] {
        let x: Vec<f32> = (0..elements).map(|i| i as f32 * 0.5 - 3.0).collect();
        let mut dst = x.clone();
        let half = [0.5f32];
        let both = [None, bytes(&half)];
        binary_flat(&pool, BinaryOp::Mul, DType::F32, both, bytemuck::cast_slice_mut(&mut dst)).unwrap();
        assert!(dst.iter().zip(&x).all(|(y, x)| *y == 0.5 * x));
        binary_flat(&pool, BinaryOp::Sub, DType::F32, [None; 2], bytemuck::cast_slice_mut(&mut dst)).unwrap();
        assert!(dst.iter().all(|y| *y == 0.0));
        let mut less = vec![2u8; elements];
        compare_flat(
            &pool,
            CompareOp::Less,
            DType::F32,
            [bytemuck::cast_slice(&x), bytemuck::cast_slice(&half)],
            &mut less,
        )
        .unwrap();
        assert!(less.iter().zip(&x).all(|(less, x)| (*less == 1) == (*x < 0.5)));
        compare_flat(&pool, CompareOp::Equal, DType::F32, [bytemuck::cast_slice(&x); 2], &mut less).unwrap();
        assert!(less.iter().all(|is_equal| *is_equal == 1));
    }
    let (two, mut dst) = ([1.0f32, 2.0], [0.0f32; 3]);
    let two = bytes(&two);
    let refused = |operands, dst: &mut [f32]| {
        binary_flat(&pool, BinaryOp::Add, DType::F32, operands, bytemuck::cast_slice_mut(dst)).is_err()
    };
    assert!(refused([two, None], &mut dst) && refused([None, two], &mut dst));
    assert!(!refused([None, None], &mut dst));
    let refused =
        binary_flat(&pool, BinaryOp::LeftShift, DType::F32, [None; 2], bytemuck::cast_slice_mut(&mut dst));
    assert!(matches!(refused, Err(KernelError::DType { .. })));
}
