//! A step of an optimizer, as TensorFlow trains with it: what a variable and what is kept beside it become by a gradient.
//! Each operation is rounded to the type of the variable, as TensorFlow's are.

use bytemuck::Pod;
use std::ops::{Add, Mul, Neg, Sub};
use tightfit_core::{DType, TensorView, TensorViewMut};

use crate::base::access::{for_dtype, values, values_mut};
use crate::base::complex::{Complex, Float, complex};
use crate::base::error::{KernelError, Result, ensure};
use crate::base::indices::Indices;

/// The rule by which a variable changes. Of each: what is kept beside the variable, and the numbers that steer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Optimizer {
    /// Nothing; the rate.
    GradientDescent,
    /// Nothing; the rate and the strengths l1 and l2 of regularization.
    ProximalGradientDescent,
    /// The momentum; the rate, and how much of it stays.
    Momentum,
    /// The same, of gradients times the rate.
    KerasMomentum,
    /// Mean and square; the powers of both betas, the rate, the betas, epsilon.
    Adam,
    /// Mean, square and the largest square; as Adam.
    AdamWithAmsgrad,
    /// Mean and largest; the power of the first beta, the rate, the betas, epsilon.
    AdaMax,
    /// Squares of gradients and of updates; the rate, rho, epsilon.
    Adadelta,
    /// Squares; the rate.
    Adagrad,
    /// Squares; the rate, epsilon.
    AdagradV2,
    /// Sums of gradients and of squares; the rate, l1, l2, the number of the step (int64).
    AdagradDa,
    /// Squares; the rate, l1, l2.
    ProximalAdagrad,
    /// Squares and the linear part; the rate, l1, l2, the power of the rate.
    Ftrl,
    /// The same; the rate, l1, l2, the l2 of shrinkage, the power of the rate.
    FtrlV2,
    /// Squares and momentum; the rate, rho, how much of the momentum stays, epsilon.
    RmsProp,
    /// Mean, squares and momentum; as RmsProp.
    CenteredRmsProp,
    /// The mean; the rate, alpha, the decay of the sign, beta.
    AddSign,
    /// The mean; the rate, the base's logarithm, the decay of the sign, beta.
    PowerSign,
}

/// What attributes say of an [`Optimizer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OptimizerOptions {
    /// Looks ahead along the momentum.
    pub nesterov: bool,
    /// Leaves the squares of Adagrad as they are.
    pub keeps_slots: bool,
    /// Keeps the linear part of Ftrl times the rate.
    pub linear_by_rate: bool,
    /// The gradient is of some rows, for which TensorFlow orders the operations of RMSProp in another way, and of AdagradDA
    /// where a row has several elements.
    pub of_rows: bool,
}

/// The most tensors that a step changes: a variable and what is kept beside it.
pub const MAX_STATES: usize = 4;

/// The most numbers that steer a step.
pub const MAX_STEERING: usize = 6;

/// A number that variables hold.
trait Number: Pod + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Neg<Output = Self> {
    fn num(x: f64) -> Self;
    fn over(self, x: Self) -> Self;
    fn root(self) -> Self;
    /// The rules that only numbers in an order have.
    fn ordered(
        rule: Optimizer,
        options: OptimizerOptions,
        by: &[Self],
        x: [Self; MAX_STATES],
        g: Self,
    ) -> Option<[Self; MAX_STATES]>;
}

/// One that is smaller or larger than another.
trait Real: Number + PartialOrd {
    fn power(self, x: Self) -> Self;
    fn exponential(self) -> Self;

    fn size(self) -> Self {
        if self < Self::num(0.0) { -self } else { self }
    }

    fn sign(self) -> Self {
        let zero = Self::num(0.0);
        match (self > zero, self < zero) {
            (true, _) => Self::num(1.0),
            (_, true) => Self::num(-1.0),
            _ => zero,
        }
    }

    fn larger(self, x: Self) -> Self {
        if self < x { x } else { self }
    }
}

macro_rules! real {
    ($($T:ty: $from:expr, $wide:expr, $narrow:expr;)*) => { $(
        impl Number for $T {
            #[inline(always)]
            fn num(x: f64) -> Self {
                $from(x)
            }
            #[inline(always)]
            fn over(self, x: Self) -> Self {
                self / x
            }
            #[inline(always)]
            fn root(self) -> Self {
                $narrow($wide(self).sqrt())
            }
            #[inline(always)]
            fn ordered(rule: Optimizer, options: OptimizerOptions, by: &[Self], x: [Self; MAX_STATES], g: Self) -> Option<[Self; MAX_STATES]> {
                of_ordered(rule, options, by, x, g)
            }
        }
        impl Real for $T {
            fn power(self, x: Self) -> Self {
                $narrow($wide(self).powf($wide(x)))
            }
            fn exponential(self) -> Self {
                $narrow($wide(self).exp())
            }
        }
    )* };
}

real! {
    f32: |x| x as f32, |x: f32| x, |x| x;
    f64: |x| x, |x: f64| x, |x| x;
    half::f16: half::f16::from_f64, half::f16::to_f32, half::f16::from_f32;
    half::bf16: half::bf16::from_f64, half::bf16::to_f32, half::bf16::from_f32;
}

impl<F: Float> Number for Complex<F> {
    fn num(x: f64) -> Self {
        complex(F::of(x), F::ZERO)
    }

    fn over(self, x: Self) -> Self {
        Complex::of(self.wide().over(x.wide()))
    }

    fn root(self) -> Self {
        Complex::of(self.wide().sqrt())
    }

    fn ordered(
        _: Optimizer,
        _: OptimizerOptions,
        _: &[Self],
        _: [Self; MAX_STATES],
        _: Self,
    ) -> Option<[Self; MAX_STATES]> {
        None
    }
}

/// A mean that decays by `rho`, with a value more.
#[inline(always)]
fn toward<T: Number>(mean: T, value: T, rho: T) -> T {
    mean + (value - mean) * (T::num(1.0) - rho)
}

/// What a variable and what is kept beside it are after a gradient `g`; `None` for a rule that the type does not have.
#[inline(always)]
fn next<T: Number>(
    rule: Optimizer,
    options: OptimizerOptions,
    by: &[T],
    x: [T; MAX_STATES],
    g: T,
) -> Option<[T; MAX_STATES]> {
    let one = T::num(1.0);
    let [v, a, b, c] = x;
    Some(match (rule, by) {
        (Optimizer::GradientDescent, &[rate]) => [v - g * rate, a, b, c],
        (Optimizer::Momentum, &[rate, stays]) => {
            let a = a * stays + g;
            let by = if options.nesterov { g * rate + a * stays * rate } else { a * rate };
            [v - by, a, b, c]
        }
        (Optimizer::KerasMomentum, &[rate, stays]) => {
            let a = a * stays - g * rate;
            let by = if options.nesterov { a * stays - g * rate } else { a };
            [v + by, a, b, c]
        }
        (Optimizer::Adam, &[power1, power2, rate, beta1, beta2, epsilon]) => {
            let alpha = (rate * (one - power2).root()).over(one - power1);
            let (a, b) = (toward(a, g, beta1), toward(b, g * g, beta2));
            let mean = if options.nesterov { g * (one - beta1) + beta1 * a } else { a };
            [v - (mean * alpha).over(b.root() + epsilon), a, b, c]
        }
        (Optimizer::Adadelta, &[rate, rho, epsilon]) => {
            let a = a * rho + g * g * (one - rho);
            let update = (b + epsilon).root() * one.over((a + epsilon).root()) * g;
            [v - update * rate, a, b * rho + update * update * (one - rho), c]
        }
        (Optimizer::Adagrad, &[rate]) => {
            let a = if options.keeps_slots { a } else { a + g * g };
            [v - g * rate * one.over(a.root()), a, b, c]
        }
        (Optimizer::AdagradV2, &[rate, epsilon]) => {
            let a = if options.keeps_slots { a } else { a + g * g };
            [v - (g * rate).over(a.root() + epsilon), a, b, c]
        }
        (Optimizer::RmsProp, &[rate, rho, stays, epsilon]) if options.of_rows => {
            let a = a * rho + g * g * (one - rho);
            let b = b * stays + one.over((a + epsilon).root()) * rate * g;
            [v - b, a, b, c]
        }
        (Optimizer::CenteredRmsProp, &[rate, rho, stays, epsilon]) if options.of_rows => {
            let (b, a) = (b * rho + g * g * (one - rho), a * rho + g * (one - rho));
            let c = c * stays + one.over((b + epsilon - a * a).root()) * rate * g;
            [v - c, a, b, c]
        }
        (Optimizer::RmsProp, &[rate, rho, stays, epsilon]) => {
            let a = toward(a, g * g, rho);
            let b = b * stays + (g * rate).over((a + epsilon).root());
            [v - b, a, b, c]
        }
        (Optimizer::CenteredRmsProp, &[rate, rho, stays, epsilon]) => {
            let (b, a) = (toward(b, g * g, rho), toward(a, g, rho));
            let c = c * stays + (g * rate).over(((b - a * a) + epsilon).root());
            [v - c, a, b, c]
        }
        _ => return T::ordered(rule, options, by, x, g),
    })
}

/// The same of the rules that compare.
#[inline(always)]
fn of_ordered<T: Real>(
    rule: Optimizer,
    options: OptimizerOptions,
    by: &[T],
    x: [T; MAX_STATES],
    g: T,
) -> Option<[T; MAX_STATES]> {
    let (zero, one) = (T::num(0.0), T::num(1.0));
    let [v, a, b, c] = x;
    // The nearest to `at` that pays the price of both norms.
    let shrunk = |at: T, rate: T, l1: T, l2: T| {
        let kept = if l1 > zero { at.sign() * (at.size() - rate * l1).larger(zero) } else { at };
        kept.over(one + l2 * rate)
    };
    Some(match (rule, by) {
        (Optimizer::ProximalGradientDescent, &[rate, l1, l2]) => {
            [shrunk(v - g * rate, rate, l1, l2), a, b, c]
        }
        (Optimizer::ProximalAdagrad, &[rate, l1, l2]) => {
            let a = a + g * g;
            let rate = rate * one.over(a.root());
            [shrunk(v - g * rate, rate, l1, l2), a, b, c]
        }
        (Optimizer::AdagradDa, &[rate, l1, l2, step]) if options.of_rows => {
            let (a, b) = (a + g, b + g * g);
            let share =
                if l1 > zero { a.sign() * (a.size().over(step) - l1).larger(zero) } else { a.over(step) };
            [-share.over(l2 + b.root().over(step * rate)), a, b, c]
        }
        (Optimizer::AdagradDa, &[rate, l1, l2, step]) => {
            let (a, b) = (a + g, b + g * g);
            let kept = if l1 > zero { a.sign() * (a.size() - l1 * step).larger(zero) } else { a };
            [(-rate * kept).over(l2 * step * rate + b.root()), a, b, c]
        }
        (Optimizer::AdamWithAmsgrad, &[power1, power2, rate, beta1, beta2, epsilon]) => {
            let alpha = (rate * (one - power2).root()).over(one - power1);
            let (a, b) = (toward(a, g, beta1), toward(b, g * g, beta2));
            let c = c.larger(b);
            [v - (a * alpha).over(c.root() + epsilon), a, b, c]
        }
        (Optimizer::AdaMax, &[power1, rate, beta1, beta2, epsilon]) => {
            let (a, b) = (toward(a, g, beta1), (beta2 * b).larger(g.size()));
            [v - rate.over(one - power1) * a.over(b + epsilon), a, b, c]
        }
        (Optimizer::Ftrl, &[rate, l1, l2, power]) => ftrl(options, [rate, l1, l2, power], x, g, g),
        (Optimizer::FtrlV2, &[rate, l1, l2, shrinkage, power]) => {
            ftrl(options, [rate, l1, l2, power], x, g, g + T::num(2.0) * shrinkage * v)
        }
        (Optimizer::AddSign, &[rate, alpha, decay, beta]) => {
            let a = a * beta + g * (one - beta);
            [v - rate * (alpha + decay * (g.sign() * a.sign())) * g, a, b, c]
        }
        (Optimizer::PowerSign, &[rate, base, decay, beta]) => {
            let a = a * beta + g * (one - beta);
            let scale = (base * decay * (g.sign() * a.sign())).exponential();
            [v - rate * scale * g, a, b, c]
        }
        _ => return None,
    })
}

/// Follow the regularized leader: `g` is added up in the squares, `linear` in the linear part.
fn ftrl<T: Real>(
    options: OptimizerOptions,
    [rate, l1, l2, power]: [T; 4],
    [v, squares, linear, c]: [T; MAX_STATES],
    g: T,
    with_shrinkage: T,
) -> [T; MAX_STATES] {
    let two = T::num(2.0);
    let sum = squares + g * g;
    let root = |x: T| if power == T::num(-0.5) { x.root() } else { x.power(-power) };
    let (linear, l1, weight) = if options.linear_by_rate {
        let linear = linear + (with_shrinkage * rate - (root(sum) - root(squares)) * v);
        (linear, l1 * rate, root(sum) + two * l2 * rate)
    } else {
        let linear = linear + (with_shrinkage - (root(sum) - root(squares)).over(rate) * v);
        (linear, l1, root(sum).over(rate) + two * l2)
    };
    let v = if linear.size() > l1 { (l1 * linear.sign() - linear).over(weight) } else { T::num(0.0) };
    [v, sum, linear, c]
}

/// Changes a variable and what is kept beside it, all of one shape and type, by a gradient. With `rows` the gradient is of the
/// slices of the first axis that they name, one after the other; else it is of the variable's shape. `steering` holds what
/// [`Optimizer`] says, one element each.
///
/// # Errors
/// [`KernelError::Index`] for a row that is not there, [`KernelError::Invalid`] for shapes or numbers of tensors that do not go
/// together, [`KernelError::DType`] for a type that the rule is not for.
pub fn optimize(
    rule: Optimizer,
    options: OptimizerOptions,
    states: &mut [Option<TensorViewMut<'_>>; MAX_STATES],
    steering: &[TensorView<'_>],
    gradient: TensorView<'_>,
    rows: Option<TensorView<'_>>,
) -> Result<()> {
    const KERNEL: &str = "Apply";
    ensure(steering.len() <= MAX_STEERING, KERNEL, "few numbers steer a step")?;
    let shape = states[0].as_ref().map_or(*gradient.shape(), |state| *state.shape());
    let dtype = gradient.dtype();
    let is_alike = states.iter().flatten().all(|state| state.dtype() == dtype && *state.shape() == shape);
    let is_of_type = |view: &TensorView<'_>| {
        (view.dtype() == dtype || view.dtype() == DType::I64) && view.shape().elements() == 1
    };
    ensure(
        is_alike && steering.iter().all(is_of_type),
        KERNEL,
        "variables and numbers have one type and shape",
    )?;
    let rows = rows.map(|rows| Indices::new(KERNEL, rows)).transpose()?;
    let len: usize = if rows.is_some() { shape.iter().skip(1).product() } else { shape.elements() };
    let count = rows.as_ref().map_or(1, Indices::len);
    ensure(gradient.shape().elements() == count * len, KERNEL, "the gradient has the variable's shape")?;
    if let Some(rows) = &rows {
        rows.check(KERNEL, |_| shape.first().copied().unwrap_or(0))?;
    }
    for_dtype!(dtype, KERNEL, [F32, F64, F16, BF16, C64, C128], T => {
        let mut by = [<T as Number>::num(0.0); MAX_STEERING];
        for (to, view) in by.iter_mut().zip(steering) {
            *to = match view.dtype() {
                DType::I64 => T::num(values::<i64>(view.bytes(), KERNEL)?[0] as f64),
                _ => values::<T>(view.bytes(), KERNEL)?[0],
            };
        }
        let (gradient, kept) = (values::<T>(gradient.bytes(), KERNEL)?, states.iter().flatten().count());
        let mut parts: [&mut [T]; MAX_STATES] = Default::default();
        for (part, state) in parts.iter_mut().zip(states.iter_mut().flatten()) {
            *part = values_mut::<T>(state.bytes(), KERNEL)?;
        }
        for n in 0..count {
            let first = rows.as_ref().map_or(0, |rows| rows.get(n) as usize) * len;
            for (i, g) in gradient[n * len..][..len].iter().enumerate() {
                let mut x = [<T as Number>::num(0.0); MAX_STATES];
                x.iter_mut().zip(&parts).for_each(|(x, part)| *x = part.get(first + i).copied().unwrap_or(*x));
                let made = next(rule, options, &by[..steering.len()], x, *g);
                let made = made.ok_or(KernelError::DType { kernel: KERNEL, dtype })?;
                for (part, made) in parts.iter_mut().zip(made).take(kept) {
                    part[first + i] = made;
                }
            }
        }
        Ok(())
    })
}

/// One number as a float64, for what is checked of it.
///
/// # Errors
/// [`KernelError::DType`] for a type that is none of floats.
pub fn float_of(view: TensorView<'_>) -> Result<f64> {
    const KERNEL: &str = "Apply";
    let none = KernelError::Invalid { kernel: KERNEL, rule: "there is one number" };
    match view.dtype() {
        DType::F32 => values::<f32>(view.bytes(), KERNEL)?.first().map(|x| f64::from(*x)),
        DType::F64 => values::<f64>(view.bytes(), KERNEL)?.first().copied(),
        DType::F16 => values::<half::f16>(view.bytes(), KERNEL)?.first().map(|x| x.to_f64()),
        DType::BF16 => values::<half::bf16>(view.bytes(), KERNEL)?.first().map(|x| x.to_f64()),
        dtype => return Err(KernelError::DType { kernel: KERNEL, dtype }),
    }
    .ok_or(none)
}
