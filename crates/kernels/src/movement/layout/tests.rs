use super::*;
use proptest::prelude::*;

fn shape(dims: &[usize]) -> Shape {
    Shape::new(dims).unwrap()
}

fn counting(dims: &[usize]) -> Vec<i32> {
    (0..dims.iter().product::<usize>() as i32).collect()
}

/// What `kernel` writes for an input that counts from 0.
fn run(
    from: &[usize],
    to: &[usize],
    kernel: impl Fn(&ThreadPool, TensorView<'_>, &mut TensorViewMut<'_>) -> Result<()>,
) -> Result<Vec<i32>> {
    let mut dst = vec![-1i32; to.iter().product()];
    let src = counting(from);
    let mut view =
        TensorViewMut::new(tightfit_core::DType::I32, shape(to), bytemuck::cast_slice_mut(&mut dst)).unwrap();
    kernel(&ThreadPool::new(2).unwrap(), TensorView::from_slice(shape(from), &src).unwrap(), &mut view)?;
    Ok(dst)
}

/// The index along each dimension of flat position `at`.
fn indices(dims: &[usize], at: usize) -> Vec<usize> {
    let mut at = at;
    let mut index: Vec<usize> = dims.iter().rev().map(|d| (at % d, at /= d).0).collect();
    index.reverse();
    index
}

fn flat(dims: &[usize], index: &[usize]) -> i32 {
    dims.iter().zip(index).fold(0, |at, (d, i)| at * d + i) as i32
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn transpose_is_index_arithmetic(
        dims in prop::collection::vec(prop_oneof![1usize..6, 15usize..35], 1..5),
        keys in prop::collection::vec(any::<u32>(), 5),
    ) {
        let mut permutation: Vec<usize> = (0..dims.len()).collect();
        permutation.sort_by_key(|a| keys[*a]);
        let to: Vec<usize> = permutation.iter().map(|p| dims[*p]).collect();
        let result = run(&dims, &to, |pool, src, dst| transpose(pool, &permutation, src, dst)).unwrap();
        for (at, value) in result.iter().enumerate() {
            let index = indices(&to, at);
            let mut source = vec![0; dims.len()];
            permutation.iter().zip(&index).for_each(|(p, i)| source[*p] = *i);
            prop_assert_eq!(*value, flat(&dims, &source));
        }
    }

    #[test]
    fn strided_slice_is_index_arithmetic(
        axes in prop::collection::vec((1usize..12, 0usize..12, prop_oneof![-4isize..0, 1isize..5], 0usize..5), 1..5),
    ) {
        let dims: Vec<usize> = axes.iter().map(|a| a.0).collect();
        let begin: Vec<usize> = axes.iter().map(|a| a.1 % a.0).collect();
        let strides: Vec<isize> = axes.iter().map(|a| a.2).collect();
        // At most as many as lie within.
        let sizes: Vec<usize> = (0..dims.len()).map(|a| {
            let room = if strides[a] > 0 { dims[a] - 1 - begin[a] } else { begin[a] };
            axes[a].3.min(room / strides[a].unsigned_abs() + 1)
        }).collect();
        let kernel = |pool: &ThreadPool, src: TensorView<'_>, dst: &mut TensorViewMut<'_>| {
            strided_slice(pool, src, &begin, &strides, &sizes, dst)
        };
        let result = run(&dims, &sizes, kernel).unwrap();
        for (at, value) in result.iter().enumerate() {
            let index = indices(&sizes, at);
            let source: Vec<usize> =
                (0..dims.len()).map(|a| (begin[a] as isize + index[a] as isize * strides[a]) as usize).collect();
            prop_assert_eq!(*value, flat(&dims, &source));
        }
        let outside = |pool: &ThreadPool, src: TensorView<'_>, dst: &mut TensorViewMut<'_>| {
            strided_slice(pool, src, &dims, &strides, &vec![1; dims.len()], dst)
        };
        prop_assert!(run(&dims, &vec![1; dims.len()], outside).is_err());
    }

    #[test]
    fn tiling_and_broadcasting_are_index_arithmetic(axes in prop::collection::vec((1usize..5, 1usize..5), 1..5)) {
        let dims: Vec<usize> = axes.iter().map(|a| a.0).collect();
        let to: Vec<usize> = axes.iter().map(|a| a.0 * a.1).collect();
        for (at, value) in run(&dims, &to, tile).unwrap().iter().enumerate() {
            let index: Vec<usize> = indices(&to, at).iter().zip(&dims).map(|(i, d)| i % d).collect();
            prop_assert_eq!(*value, flat(&dims, &index));
        }
        let narrow: Vec<usize> = axes.iter().map(|a| if a.1 % 2 == 0 { 1 } else { a.0 }).skip(axes[0].1 % 2).collect();
        for (at, value) in run(&narrow, &dims, broadcast_to).unwrap().iter().enumerate() {
            let index = indices(&dims, at);
            let own: Vec<usize> =
                index[dims.len() - narrow.len()..].iter().zip(&narrow).map(|(i, d)| i % d).collect();
            prop_assert_eq!(*value, flat(&narrow, &own));
        }
    }
}

#[test]
fn large_transposes_are_the_same_on_threads() {
    for (from, permutation) in [
        (vec![2, 57, 61, 24], vec![0, 3, 1, 2]),
        (vec![2, 24, 57, 61], vec![0, 2, 3, 1]),
        (vec![3, 128, 12, 64], vec![0, 2, 1, 3]),
        (vec![300, 301], vec![1, 0]),
    ] {
        let to: Vec<usize> = permutation.iter().map(|p: &usize| from[*p]).collect();
        let result = run(&from, &to, |pool, src, dst| transpose(pool, &permutation, src, dst)).unwrap();
        for (at, value) in result.iter().enumerate() {
            let index = indices(&to, at);
            let mut source = vec![0; from.len()];
            permutation.iter().zip(&index).for_each(|(p, i)| source[*p] = *i);
            assert_eq!(*value, flat(&from, &source));
        }
    }
}

#[test]
fn long_parts_are_joined_row_by_row() {
    let pool = ThreadPool::new(3).unwrap();
    let (rows, widths) = (3000, [9usize, 16, 8]);
    let parts = widths
        .map(|width| (0..rows * width).map(|at| (at / width * 100 + at % width) as f32).collect::<Vec<_>>());
    let views: Vec<_> = widths
        .iter()
        .zip(&parts)
        .map(|(width, part)| TensorView::from_slice(shape(&[rows / 2, 2, *width]), part).unwrap())
        .collect();
    let mut dst = vec![0f32; rows * 33];
    let bytes = bytemuck::cast_slice_mut(&mut dst);
    let mut view = TensorViewMut::new(tightfit_core::DType::F32, shape(&[rows / 2, 2, 33]), bytes).unwrap();
    concat(&pool, 2, &views, &mut view).unwrap();
    for (row, joined) in dst.chunks(33).enumerate() {
        let expected = widths.iter().flat_map(|width| (0..*width).map(|at| (row * 100 + at) as f32));
        assert!(joined.iter().copied().eq(expected), "row {row}");
    }
}

#[test]
fn joins_and_cuts() {
    let pool = ThreadPool::new(1).unwrap();
    let (a, b) = ([1u8, 2, 3, 4], [5u8, 6]);
    let views = [
        TensorView::from_slice(shape(&[2, 2]), &a).unwrap(),
        TensorView::from_slice(shape(&[2, 1]), &b).unwrap(),
    ];
    let mut dst = [0u8; 6];
    let mut view = TensorViewMut::new(tightfit_core::DType::U8, shape(&[2, 3]), &mut dst).unwrap();
    concat(&pool, 1, &views, &mut view).unwrap();
    assert_eq!(dst, [1, 2, 5, 3, 4, 6]);
    let mut view = TensorViewMut::new(tightfit_core::DType::U8, shape(&[2, 3]), &mut dst).unwrap();
    assert!(concat(&pool, 1, &[views[0]], &mut view).is_err());
    assert!(concat(&pool, 0, &views, &mut view).is_err());
    assert_eq!(run(&[3, 4], &[2, 2], |p, s, d| slice(p, s, &[1, 2], d)).unwrap(), [6, 7, 10, 11]);
    assert!(run(&[3, 4], &[2, 2], |p, s, d| slice(p, s, &[2, 2], d)).is_err());
}

/// Values of numpy.
#[test]
fn pads_rolls_and_reverses() {
    let value = 9i32.to_le_bytes();
    let padded = run(&[2, 2], &[3, 4], |p, s, d| pad(p, &[1, 1], &value, s, d)).unwrap();
    assert_eq!(padded, [9, 9, 9, 9, 9, 0, 1, 9, 9, 2, 3, 9]);
    let reflected = run(&[2, 3], &[4, 6], |p, s, d| mirror_pad(p, Mirror::Reflect, &[1, 2], s, d)).unwrap();
    assert_eq!(reflected[..12], [5, 4, 3, 4, 5, 4, 2, 1, 0, 1, 2, 1]);
    assert_eq!(reflected[18..], [2, 1, 0, 1, 2, 1]);
    let symmetric = run(&[2, 3], &[3, 7], |p, s, d| mirror_pad(p, Mirror::Symmetric, &[0, 3], s, d)).unwrap();
    assert_eq!(symmetric, [2, 1, 0, 0, 1, 2, 2, 5, 4, 3, 3, 4, 5, 5, 5, 4, 3, 3, 4, 5, 5]);
    assert!(run(&[2, 2], &[4, 2], |p, s, d| mirror_pad(p, Mirror::Reflect, &[2, 0], s, d)).is_err());
    assert_eq!(run(&[2, 3], &[2, 3], |p, s, d| roll(p, &[1, -1], s, d)).unwrap(), [4, 5, 3, 1, 2, 0]);
    assert_eq!(run(&[2, 3], &[2, 3], |p, s, d| reverse(p, &[1], s, d)).unwrap(), [2, 1, 0, 5, 4, 3]);
}
