use tightfit_core::Shape;

use super::*;

type C = Complex<f64>;

fn numbers(count: usize) -> Vec<C> {
    let number = |i: usize| (((i + 1) * (i + 1) * (i + 1) * 29 + i * 7) % 101) as f64 / 25.0 - 2.0;
    (0..count).map(|i| C { re: number(i), im: number(i + 1000) }).collect()
}

/// Does an operation on complex matrices.
fn run(op: MatrixOp, sizes: MatrixSizes, inputs: &[&[C]], outputs: &[usize]) -> Vec<Vec<C>> {
    let view = |of: &[C]| Shape::new(&[of.len()]).unwrap();
    let inputs: Vec<_> = inputs
        .iter()
        .map(|of| TensorView::new(DType::C128, view(of), bytemuck::cast_slice(of)).unwrap())
        .collect();
    let mut made: Vec<Vec<C>> = outputs.iter().map(|n| vec![C::ZERO; *n]).collect();
    let mut views: Vec<_> = made
        .iter_mut()
        .map(|of| TensorViewMut::new(DType::C128, view(of), bytemuck::cast_slice_mut(of)).unwrap())
        .collect();
    let mut scratch = vec![0u64; op.scratch_bytes(sizes, DType::C128).div_ceil(8)];
    let scratch = bytemuck::cast_slice_mut(&mut scratch);
    solve_matrices(op, sizes, 1, &inputs, &|_, n| n, &mut views, scratch).unwrap();
    made
}

/// A B, or A B* of a B that lies turned.
fn product(a: &[C], b: &[C], inner: usize, is_adjoint: bool) -> Vec<C> {
    let (rows, cols) = (a.len() / inner, b.len() / inner);
    let at = |k: usize, col: usize| if is_adjoint { b[col * inner + k].conj() } else { b[k * cols + col] };
    let sum = |i: usize| (0..inner).fold(C::ZERO, |sum, k| sum + a[i / cols * inner + k] * at(k, i % cols));
    (0..rows * cols).map(sum).collect()
}

fn assert_close(a: &[C], b: &[C]) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (*a - *b).abs() < 1e-10), "{a:?}\n{b:?}");
}

#[test]
fn complex_factors_make_up_the_matrix() {
    for (rows, cols) in [(5, 3), (3, 5), (4, 4), (1, 1), (18, 17)] {
        let a = numbers(rows * cols);
        let (sizes, least) = (MatrixSizes { rows, cols, rhs: 0 }, rows.min(cols));
        let qr = run(MatrixOp::Qr { full: false }, sizes, &[&a], &[rows * least, least * cols]);
        assert_close(&product(&qr[0], &qr[1], least, false), &a);
        let svd = MatrixOp::Svd { vectors: true, full: false };
        let mut svd = run(svd, sizes, &[&a], &[least, rows * least, cols * least]);
        for i in 0..svd[1].len() {
            svd[1][i] = svd[1][i] * svd[0][i % least];
        }
        assert_close(&product(&svd[1], &svd[2], least, true), &a);
    }
}

#[test]
fn a_column_that_a_reflection_makes_zero_keeps_its_sign() {
    // Below its diagonal the second column is 0 then, in the order in which Eigen rounds.
    let a = [-1f32, -1.0, -3.0, 0.0, -2.0, 2.0, -2.0, -2.0, 0.0];
    let shape = Shape::new(&[3, 3]).unwrap();
    let (mut q, mut r) = ([0f32; 9], [0f32; 9]);
    let mut views = [&mut q, &mut r]
        .map(|of| TensorViewMut::new(DType::F32, shape, bytemuck::cast_slice_mut(of)).unwrap());
    let sizes = MatrixSizes { rows: 3, cols: 3, rhs: 0 };
    let op = MatrixOp::Qr { full: true };
    let mut scratch = vec![0u64; op.scratch_bytes(sizes, DType::F32).div_ceil(8)];
    let input = TensorView::new(DType::F32, shape, bytemuck::cast_slice(&a)).unwrap();
    solve_matrices(op, sizes, 1, &[input], &|_, n| n, &mut views, bytemuck::cast_slice_mut(&mut scratch))
        .unwrap();
    assert_eq!(q[3..6], [0.0, 1.0, 0.0]);
    assert_eq!(r[3..6], [0.0, -2.0, 2.0]);
}

#[test]
fn complex_eigenvectors_are_scaled_by_their_values() {
    let n = 6;
    let sizes = MatrixSizes { rows: n, cols: n, rhs: 0 };
    let a = numbers(n * n);
    let hermitian: Vec<C> = (0..n * n).map(|i| a[i] + a[i % n * n + i / n].conj()).collect();
    let both =
        [(MatrixOp::SelfAdjointEig { vectors: true }, hermitian), (MatrixOp::Eig { vectors: true }, a)];
    for (op, a) in both {
        let found = run(op, sizes, &[&a], &[n, n * n]);
        let scaled: Vec<C> = (0..n * n).map(|i| found[1][i] * found[0][i % n]).collect();
        assert_close(&product(&a, &found[1], n, false), &scaled);
    }
}

#[test]
fn real_matrices_have_complex_eigenvectors() {
    for n in 1..9 {
        let sizes = MatrixSizes { rows: n, cols: n, rhs: 0 };
        let op = MatrixOp::Eig { vectors: true };
        let a: Vec<f64> = numbers(n * n).into_iter().map(|x| x.re).collect();
        let (mut values, mut vectors) = (vec![C::ZERO; n], vec![C::ZERO; n * n]);
        let shape = |len: usize| Shape::new(&[len]).unwrap();
        let input = TensorView::new(DType::F64, shape(n * n), bytemuck::cast_slice(&a)).unwrap();
        let mut scratch = vec![0u64; op.scratch_bytes(sizes, DType::F64).div_ceil(8)];
        let mut views = [
            TensorViewMut::new(DType::C128, shape(n), bytemuck::cast_slice_mut(&mut values)).unwrap(),
            TensorViewMut::new(DType::C128, shape(n * n), bytemuck::cast_slice_mut(&mut vectors)).unwrap(),
        ];
        let scratch = bytemuck::cast_slice_mut(&mut scratch);
        solve_matrices(op, sizes, 1, &[input], &|_, n| n, &mut views, scratch).unwrap();
        let scaled: Vec<C> = (0..n * n).map(|i| vectors[i] * values[i % n]).collect();
        let a: Vec<C> = a.into_iter().map(C::real).collect();
        assert_close(&product(&a, &vectors, n, false), &scaled);
    }
}

#[test]
fn a_complex_triangle_is_solved() {
    let (n, rhs) = (4, 2);
    let sizes = MatrixSizes { rows: n, cols: n, rhs };
    let (mut a, b) = (numbers(n * n), numbers(n * rhs));
    (0..n).for_each(|i| a[i * n + i] = a[i * n + i] + C { re: 4.0, im: 1.0 });
    let upper: Vec<C> =
        (0..n * n).map(|i| if i / n <= i % n { a[i % n * n + i / n].conj() } else { C::ZERO }).collect();
    let op = MatrixOp::SolveTriangular { lower: true, adjoint: true };
    let x = run(op, sizes, &[&a, &b], &[n * rhs]).remove(0);
    assert_close(&product(&upper, &x, n, false), &b);
    let op = MatrixOp::Solve { adjoint: true };
    let x = run(op, sizes, &[&a, &b], &[n * rhs]).remove(0);
    let adjoint: Vec<C> = (0..n * n).map(|i| a[i % n * n + i / n].conj()).collect();
    assert_close(&product(&adjoint, &x, n, false), &b);
}
