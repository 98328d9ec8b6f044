//! Steps of optimizers, with which graphs that train change their variables: ApplyGradientDescent, ApplyMomentum, ApplyAdam and
//! their kin; with `Sparse` the gradient is of some rows, and with `Resource` the variables are resources.
//!
//! The variable and what is kept beside it come first, all of one shape and type; then in the order of each operator the gradient, of
//! that shape, the numbers that steer the step, all scalars of that type (the step of AdagradDA is int64), and with `Sparse` the
//! rows (int32 or int64) that the gradient is of. The outputs are what the variables are from then on. Floats; GradientDescent,
//! Momentum, KerasMomentum, Adam, Adadelta, Adagrad, RMSProp and CenteredRMSProp of complex numbers too.

use tightfit_core::{DType, TensorView, TensorViewMut};
use tightfit_kernels::{MAX_STATES, MAX_STEERING, Optimizer, OptimizerOptions, copy, float_of, optimize};

use crate::fact::Fact;
use crate::operator::attributes::Attributes;
use crate::operator::{Call, Memory, OpError, Operator, Registration, Run};
use crate::ops::shared;
use crate::ops::shared::extent::need_index_type;

/// The operators of a rule that there are.
macro_rules! registered {
    ($($name:literal)*) => { &[$(Registration { name: $name, import }),*] };
}

pub(crate) const OPS: &[Registration] = registered! {
    "ApplyGradientDescent" "ApplyProximalGradientDescent" "ApplyMomentum" "ApplyAdam" "ApplyAdaMax" "ApplyAdadelta"
    "ApplyAdagrad" "ApplyAdagradV2" "ApplyAdagradDA" "ApplyProximalAdagrad" "ApplyFtrl" "ApplyFtrlV2" "ApplyRMSProp"
    "ApplyCenteredRMSProp" "ApplyAddSign" "ApplyPowerSign"
    "SparseApplyProximalGradientDescent" "SparseApplyMomentum" "SparseApplyAdadelta" "SparseApplyAdagrad"
    "SparseApplyAdagradV2" "SparseApplyAdagradDA" "SparseApplyProximalAdagrad" "SparseApplyFtrl" "SparseApplyFtrlV2"
    "SparseApplyRMSProp" "SparseApplyCenteredRMSProp"
    "ResourceApplyGradientDescent" "ResourceApplyProximalGradientDescent" "ResourceApplyMomentum"
    "ResourceApplyKerasMomentum" "ResourceApplyAdam" "ResourceApplyAdamWithAmsgrad" "ResourceApplyAdaMax"
    "ResourceApplyAdadelta" "ResourceApplyAdagrad" "ResourceApplyAdagradV2" "ResourceApplyAdagradDA"
    "ResourceApplyProximalAdagrad" "ResourceApplyFtrl" "ResourceApplyFtrlV2" "ResourceApplyRMSProp"
    "ResourceApplyCenteredRMSProp" "ResourceApplyAddSign" "ResourceApplyPowerSign"
    "ResourceSparseApplyProximalGradientDescent" "ResourceSparseApplyMomentum" "ResourceSparseApplyKerasMomentum"
    "ResourceSparseApplyAdadelta" "ResourceSparseApplyAdagrad" "ResourceSparseApplyAdagradV2"
    "ResourceSparseApplyAdagradDA" "ResourceSparseApplyProximalAdagrad" "ResourceSparseApplyFtrl"
    "ResourceSparseApplyFtrlV2" "ResourceSparseApplyRMSProp" "ResourceSparseApplyCenteredRMSProp"
};

/// What the number of a position must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Any,
    Positive,
    NotNegative,
    NotPositive,
}

use Sign::{Any, NotNegative, NotPositive, Positive};

/// A rule as its operators spell it.
#[derive(Debug)]
struct Rule {
    /// What follows `Apply`.
    name: &'static str,
    rule: Optimizer,
    /// Tensors that change: the variable and what is kept beside it.
    states: usize,
    /// Where the gradient stands among the inputs after those.
    gradient: usize,
    /// The numbers that steer a step, in their order.
    steering: &'static [Sign],
}

const fn rule(
    name: &'static str,
    rule: Optimizer,
    states: usize,
    gradient: usize,
    steering: &'static [Sign],
) -> Rule {
    Rule { name, rule, states, gradient, steering }
}

const RULES: &[Rule] = &[
    rule("GradientDescent", Optimizer::GradientDescent, 1, 1, &[Any]),
    rule("ProximalGradientDescent", Optimizer::ProximalGradientDescent, 1, 3, &[Any, Any, Any]),
    rule("Momentum", Optimizer::Momentum, 2, 1, &[Any, Any]),
    rule("KerasMomentum", Optimizer::KerasMomentum, 2, 1, &[Any, Any]),
    rule("Adam", Optimizer::Adam, 3, 6, &[Any; 6]),
    rule("AdamWithAmsgrad", Optimizer::AdamWithAmsgrad, 4, 6, &[Any; 6]),
    rule("AdaMax", Optimizer::AdaMax, 3, 5, &[Any; 5]),
    rule("Adadelta", Optimizer::Adadelta, 3, 3, &[Any; 3]),
    rule("Adagrad", Optimizer::Adagrad, 2, 1, &[Any]),
    rule("AdagradV2", Optimizer::AdagradV2, 2, 2, &[Any; 2]),
    rule("AdagradDA", Optimizer::AdagradDa, 3, 0, &[Any; 4]),
    rule("ProximalAdagrad", Optimizer::ProximalAdagrad, 2, 3, &[Positive, NotNegative, NotNegative]),
    rule("Ftrl", Optimizer::Ftrl, 3, 0, &[Positive, NotNegative, NotNegative, NotPositive]),
    rule("FtrlV2", Optimizer::FtrlV2, 3, 0, &[Positive, NotNegative, NotNegative, NotNegative, NotPositive]),
    rule("RMSProp", Optimizer::RmsProp, 3, 4, &[Any; 4]),
    rule("CenteredRMSProp", Optimizer::CenteredRmsProp, 4, 4, &[Any; 4]),
    rule("AddSign", Optimizer::AddSign, 2, 4, &[Any; 4]),
    rule("PowerSign", Optimizer::PowerSign, 2, 4, &[Any; 4]),
];

/// The rule of an operator, and whether its gradient is of some rows.
fn rule_of(op: &str) -> Option<(&'static Rule, bool)> {
    let op = op.strip_prefix("Resource").unwrap_or(op);
    let (op, is_sparse) = op.strip_prefix("Sparse").map_or((op, false), |op| (op, true));
    let name = op.strip_prefix("Apply")?;
    RULES.iter().find(|rule| rule.name == name).map(|rule| (rule, is_sparse))
}

/// How many variables an operator changes; `None` for one that is no step of an optimizer.
pub(crate) fn states(op: &str) -> Option<usize> {
    rule_of(op).map(|(rule, _)| rule.states)
}

fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
    let (rule, is_sparse) = rule_of(&attributes.node().op)
        .ok_or(OpError::Internal("an optimizer is registered for which there is no rule"))?;
    let options = OptimizerOptions {
        nesterov: attributes.bool_or("use_nesterov", false)?,
        keeps_slots: !attributes.bool_or("update_slots", true)?,
        linear_by_rate: attributes.bool_or("multiply_linear_by_lr", false)?,
        of_rows: is_sparse,
    };
    let is_resource = attributes.node().op.starts_with("Resource");
    Ok(Box::new(Apply { rule, is_sparse, compares_ranks: is_sparse && !is_resource, options }))
}

/// A step of an optimizer.
#[derive(Debug)]
struct Apply {
    rule: &'static Rule,
    is_sparse: bool,
    /// The gradient is of as many axes as the variable, which TensorFlow asks of those that are no resources as it reads a file.
    compares_ranks: bool,
    options: OptimizerOptions,
}

impl Apply {
    /// The input that is the gradient.
    fn gradient(&self) -> usize {
        self.rule.states + self.rule.gradient
    }

    /// The input that names the rows of the gradient.
    fn rows(&self) -> Option<usize> {
        self.is_sparse.then_some(self.gradient() + 1)
    }

    /// The input that is the `n`th number that steers the step.
    fn steering(&self, n: usize) -> usize {
        let others = if n < self.rule.gradient { 0 } else { 1 + usize::from(self.is_sparse) };
        self.rule.states + n + others
    }

    /// Checks the shape of the gradient, and of the rows that it is of.
    fn check(&self, variable: &[usize], gradient: &[usize], rows: Option<&[usize]>) -> Result<(), OpError> {
        let is_right = match rows {
            None => gradient == variable,
            // Axes behind those of the variable may be of one element each.
            Some(rows) => {
                let (own, more) = gradient.split_at(variable.len().min(gradient.len()));
                !variable.is_empty()
                    && own.get(..1) == Some(rows)
                    && own.get(1..) == variable.get(1..)
                    && (more.is_empty() || self.takes_more_axes())
                    && (rows == [0] || more.iter().all(|size| *size == 1))
            }
        };
        // Axes behind those of the variable do not count here either.
        let row = gradient.get(1..variable.len().clamp(1, gradient.len().max(1)));
        let has_empty_rows = rows.is_some() && row.is_some_and(|row| row.contains(&0));
        if has_empty_rows && !self.takes_empty_rows() {
            return Err(OpError::input(
                self.gradient(),
                format!("is of shape {gradient:?}, of rows of nothing"),
            ));
        }
        if is_right {
            return Ok(());
        }
        let of = rows.map_or(String::new(), |rows| format!(", of which rows of shape {rows:?} change"));
        let why = format!("is of shape {gradient:?} for a variable of {variable:?}{of}");
        Err(OpError::input(self.gradient(), why))
    }

    /// TensorFlow has rules for which a row without elements is an error.
    fn takes_empty_rows(&self) -> bool {
        use Optimizer::{Adadelta, CenteredRmsProp, KerasMomentum, Momentum, RmsProp};
        matches!(self.rule.rule, Adadelta | CenteredRmsProp | KerasMomentum | Momentum | RmsProp)
    }

    /// TensorFlow compares the ranks for two rules alone.
    fn takes_more_axes(&self) -> bool {
        !matches!(self.rule.rule, Optimizer::Adagrad | Optimizer::AdagradV2)
    }

    /// The numbers that steer the step, with the signs that they must have; TensorFlow looks at those of Ftrl where rows change.
    fn read<'a>(&self, run: &Run<'a>, n: usize) -> Result<TensorView<'a>, OpError> {
        let input = self.steering(n);
        let view = run.input(input)?;
        let is_unchecked = !self.is_sparse && matches!(self.rule.rule, Optimizer::Ftrl | Optimizer::FtrlV2);
        let sign = match self.rule.steering.get(n) {
            _ if is_unchecked => Any,
            // A linear part that is kept times the rate is not divided by it.
            Some(Positive) if self.options.linear_by_rate => NotNegative,
            Some(sign) => *sign,
            None => Any,
        };
        if sign == Any {
            return Ok(view);
        }
        let x = float_of(view)?;
        let needed = match sign {
            Positive if x > 0.0 => return Ok(view),
            NotNegative if x >= 0.0 => return Ok(view),
            NotPositive if x <= 0.0 => return Ok(view),
            Positive => "more than 0",
            NotNegative => "at least 0",
            _ => "at most 0",
        };
        Err(OpError::input(input, format!("is {x}; it must be {needed}")))
    }
}

impl Operator for Apply {
    fn name(&self) -> &'static str {
        self.rule.name
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let variable = shared::input(inputs, 0)?;
        for input in (1..self.rule.states).chain([self.gradient()]) {
            shared::need_type(input, shared::input(inputs, input)?, &[variable.dtype])?;
        }
        for input in 1..self.rule.states {
            let kept = shared::input(inputs, input)?;
            if let (Some(own), Some(of)) = (kept.dims.concrete(), variable.dims.concrete())
                && own != of
            {
                return Err(OpError::input(input, format!("is of shape {own}; the variable is of {of}")));
            }
        }
        for n in 0..self.rule.steering.len() {
            let (input, is_step) = (self.steering(n), self.rule.rule == Optimizer::AdagradDa && n == 3);
            let number = shared::input(inputs, input)?;
            shared::need_type(input, number, &[if is_step { DType::I64 } else { variable.dtype }])?;
            shared::dims_of_rank(input, number, 0)?;
        }
        let rows = self.rows().map(|rows| shared::input(inputs, rows)).transpose()?;
        if let (Some(rows), Some(input)) = (rows, self.rows()) {
            need_index_type(input, rows)?;
            shared::dims_of_rank(input, rows, 1)?;
        }
        let gradient = shared::input(inputs, self.gradient())?;
        if let (Some(of), Some(by)) = (variable.dims.rank(), gradient.dims.rank())
            && self.compares_ranks
            && of != by
        {
            let why = format!("is of shape {}; the variable is of {}", gradient.dims, variable.dims);
            return Err(OpError::input(self.gradient(), why));
        }
        let is_sure = !gradient.is_bound && rows.is_none_or(|rows| !rows.is_bound);
        if let (Some(of), Some(by)) = (variable.dims.concrete(), gradient.dims.concrete())
            && is_sure
        {
            match rows.map(|rows| rows.dims.concrete()) {
                Some(Some(rows)) => self.check(&of, &by, Some(&rows))?,
                Some(None) => {}
                None => self.check(&of, &by, None)?,
            }
        }
        Ok((0..self.rule.states).map(|_| Fact::new(variable.dtype, variable.dims.clone())).collect())
    }

    fn check(&self, inputs: &[&Fact]) -> Result<(), OpError> {
        let (variable, gradient) = (shared::input(inputs, 0)?, shared::input(inputs, self.gradient())?);
        match (variable.dims.rank(), gradient.dims.rank()) {
            (Some(of), Some(own)) if own != of => {
                let why = format!("is of rank {own} for a variable of rank {of}");
                Err(OpError::input(self.gradient(), why))
            }
            _ => Ok(()),
        }
    }

    fn memory(&self, _: &Call<'_>) -> Memory {
        Memory::overwrites(&[0])
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let gradient = run.input(self.gradient())?;
        let rows = self.rows().map(|rows| run.input(rows)).transpose()?;
        self.check(&run.output_shape(0), gradient.shape(), rows.as_ref().map(|rows| &**rows.shape()))?;
        let mut steering = [gradient; MAX_STEERING];
        for (n, to) in steering.iter_mut().enumerate().take(self.rule.steering.len()) {
            *to = self.read(run, n)?;
        }
        let mut states: [Option<TensorViewMut<'_>>; MAX_STATES] = [const { None }; MAX_STATES];
        for (n, state) in states.iter_mut().enumerate().take(self.rule.states) {
            let before = if run.is_in_place(n) { None } else { Some(run.input(n)?) };
            let mut after = run.output(n)?;
            if let Some(before) = before {
                copy(run.pool, before, &mut after)?;
            }
            *state = Some(after);
        }
        let of_single = gradient.shape().iter().skip(1).product::<usize>() == 1;
        let of_rows = self.options.of_rows && !(self.rule.rule == Optimizer::AdagradDa && of_single);
        Ok(optimize(
            self.rule.rule,
            OptimizerOptions { of_rows, ..self.options },
            &mut states,
            &steering[..self.rule.steering.len()],
            gradient,
            rows,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    #[test]
    fn variables_go_down_their_gradients() {
        let x = tensor(&[2], &[1f32, -2.0]);
        let g = tensor(&[2], &[0.5f32, 4.0]);
        let down = [x.clone(), scalar(0.5f32), g.clone()];
        check("ApplyGradientDescent", &[], &down, &[tensor(&[2], &[0.75f32, -4.0])]);
        let a = tensor(&[2], &[2f32, 0.0]);
        let momentum = [x.clone(), a.clone(), scalar(0.5f32), g.clone(), scalar(0.25f32)];
        let kept = tensor(&[2], &[1f32, 4.0]);
        check("ApplyMomentum", &[], &momentum, &[tensor(&[2], &[0.5f32, -4.0]), kept.clone()]);
        let ahead = [("use_nesterov", flag(true))];
        check("ResourceApplyMomentum", &ahead, &momentum, &[tensor(&[2], &[0.625f32, -4.5]), kept]);
        let squares = [x.clone(), tensor(&[2], &[0.75f32, 0.0]), scalar(2f32), g.clone()];
        check("ApplyAdagrad", &[], &squares, &[tensor(&[2], &[0f32, -4.0]), tensor(&[2], &[1f32, 16.0])]);
    }

    #[test]
    fn rows_change_in_their_order() {
        let x = tensor(&[3, 1], &[1f32, 2.0, 3.0]);
        let kept = tensor(&[3, 1], &[0f32; 3]);
        let rows = tensor(&[2], &[2i64, 2]);
        let g = tensor(&[2, 1], &[1f32, 2.0]);
        let inputs = [x, kept, scalar(1f32), g, rows, scalar(0.5f32)];
        let (after, beside) = (tensor(&[3, 1], &[1f32, 2.0, -0.5]), tensor(&[3, 1], &[0f32, 0.0, 2.5]));
        check("SparseApplyMomentum", &[], &inputs, &[after, beside]);
        let mut outside = inputs;
        outside[4] = tensor(&[2], &[2i64, 3]);
        refuses("ResourceSparseApplyMomentum", &[], &outside, "3");
        outside[4] = tensor(&[1], &[2i64]);
        refuses("ResourceSparseApplyMomentum", &[], &outside, "rows of shape");
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let (x, g) = (tensor(&[2], &[1f32, 2.0]), tensor(&[2], &[1f32, 1.0]));
        refuses("ApplyGradientDescent", &[], &[x.clone(), g.clone(), g.clone()], "rank");
        // Axes more of one element each TensorFlow takes but of Adagrad.
        let row = tensor(&[1, 2], &[1f32, 2.0]);
        let deep =
            [row.clone(), row.clone(), scalar(0.5f32), tensor(&[1, 2, 1], &[1f32; 2]), tensor(&[1], &[0i32])];
        refuses("ResourceSparseApplyAdagrad", &[], &deep, "[1, 2, 1]");
        let deep = [&deep[..], &[scalar(0.5f32)]].concat();
        assert!(run("ResourceSparseApplyMomentum", &[], &deep).is_ok());
        refuses("SparseApplyMomentum", &[], &deep, "[1, 2, 1]");
        // Of no rows any axes more will do, of nothing too; rows of nothing will not.
        let none = tensor(&[0], &[0i32; 0]);
        let dual = |state: &Tensor, gradient: Tensor| {
            let numbers = [scalar(0.5f32), scalar(0.5f32), scalar(0.5f32), scalar(1i64)];
            let [a, b, c] = [state; 3].map(Clone::clone);
            [a, b, c, gradient, none.clone()].into_iter().chain(numbers).collect::<Vec<_>>()
        };
        let unchanged = [row.clone(), row.clone(), row.clone()];
        let of_nothing = dual(&row, tensor(&[0, 2, 0], &[0f32; 0]));
        check("ResourceSparseApplyAdagradDA", &[], &of_nothing, &unchanged);
        // Of a step below 0 a row of several elements is divided by it first, and one of a single element is not.
        let before = |of: usize| -> Vec<Tensor> {
            let states = [tensor(&[1, of], &vec![1f32; of]), tensor(&[1, of], &vec![1f32; of])];
            let [variable, kept] = states;
            let more = [tensor(&[1, of], &vec![0f32; of]), tensor(&[1, of], &vec![2f32; of])];
            let [squares, gradient] = more;
            let numbers = [scalar(0.5f32), scalar(1f32), scalar(1f32), scalar(-2i64)];
            [variable, kept, squares, gradient, tensor(&[1], &[0i32])].into_iter().chain(numbers).collect()
        };
        let after = run("SparseApplyAdagradDA", &[], &before(2)).unwrap();
        assert_eq!(after[0].values::<f32>(), [-0.0; 2]);
        let after = run("SparseApplyAdagradDA", &[], &before(1)).unwrap();
        assert_eq!(after[0].values::<f32>(), [-2.5]);
        let rows_of_nothing = dual(&tensor(&[1, 0], &[0f32; 0]), tensor(&[0, 0], &[0f32; 0]));
        refuses("ResourceSparseApplyAdagradDA", &[], &rows_of_nothing, "rows of nothing");
        refuses("ApplyGradientDescent", &[], &[x.clone(), scalar(1f32), tensor(&[1], &[1f32])], "variable");
        refuses("ApplyGradientDescent", &[], &[x.clone(), scalar(1f64), g.clone()], "float64");
        refuses(
            "ApplyAdagrad",
            &[],
            &[x.clone(), tensor(&[1], &[1f32]), scalar(1f32), g.clone()],
            "variable",
        );
        let ftrl = |rate: f32, power: f32| {
            let numbers = [rate, 0.0, 0.0, power].map(scalar);
            let rows = tensor(&[2], &[0i32, 1]);
            [x.clone(), g.clone(), g.clone(), g.clone(), rows].into_iter().chain(numbers).collect::<Vec<_>>()
        };
        refuses("SparseApplyFtrl", &[], &ftrl(0.0, -0.5), "more than 0");
        refuses("SparseApplyFtrl", &[], &ftrl(0.1, 0.5), "at most 0");
        assert!(run("SparseApplyFtrl", &[("multiply_linear_by_lr", flag(true))], &ftrl(0.0, -0.5)).is_ok());
    }
}
