//! What an operator of your own is made of, for models with nodes of kinds that are not built in.
//!
//! An operator is a type that implements [`Operator`]. `name`, `infer` and `run` are all that it must have:
//!
//! - `infer` says type and shape of each output from what is known of the inputs. A dimension of a [`Fact`] may be open, the
//!   batch for one; what goes in open comes out open.
//! - `memory` says how much scratch a run needs at given shapes, and whether an input may be overwritten. It is part of the
//!   plan, so of what `--memory` bounds. A run that allocates by itself does so outside of the budget.
//! - `run` reads inputs as typed slices, writes outputs, and computes on [`Run::pool`]; [`for_each_row`] deals rows out among
//!   its threads.
//!
//! Whatever one of them refuses is an [`OpError`]; node and file are added to it. The `Debug` text of an operator must hold all
//! its attributes: two nodes that take the same values and whose operators print the same text become one.
//!
//! [`Operators`] says which nodes become which operator, and [`OpenOptions::operators`](crate::OpenOptions::operators) takes
//! it, as do the options of [`crate::freeze`], [`crate::optimize`] and [`crate::partition`]. `crates/tightfit/examples/moving_median.rs` is a whole one, and docs/own-operators.md tells of it.

pub use tightfit_core::{Element, StringRef};
pub use tightfit_graph::Operators;
pub use tightfit_graph::dim::{Dim, Dims};
pub use tightfit_graph::fact::Fact;
pub use tightfit_graph::operator::attributes::Attributes;
pub use tightfit_graph::operator::{Call, Held, Ints, Memory, OpError, Operator, Run, TensorInfo};
pub use tightfit_kernels::for_each_row;

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::convert::freeze::{FreezeOptions, freeze};
    use crate::convert::optimize::{OptimizeOptions, optimize};
    use crate::convert::partition::{Cut, PartitionOptions, partition};
    use crate::{DType, Feed, FitOptions, MemoryBudget, Model, OpenOptions, Runner, Shape, TensorView};

    /// Three times its input; an `Unsteady` one may differ from run to run.
    #[derive(Debug)]
    struct Tripled {
        is_pure: bool,
    }

    impl Operator for Tripled {
        fn name(&self) -> &'static str {
            if self.is_pure { "Tripled" } else { "Unsteady" }
        }

        fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
            let input = inputs.first().ok_or(OpError::Invalid("takes one input".into()))?;
            Ok(vec![Fact::new(DType::F32, input.dims.clone())])
        }

        fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
            let from = run.slice::<f32>(0)?;
            run.out::<f32>(0)?.iter_mut().zip(from).for_each(|(to, from)| *to = 3.0 * from);
            Ok(())
        }

        fn is_pure(&self) -> bool {
            self.is_pure
        }
    }

    fn operators() -> Operators {
        let mut operators = Operators::new();
        operators.add("Tripled", &["y"], |_| Ok(Box::new(Tripled { is_pure: true }))).unwrap();
        operators.add("Unsteady", &["y"], |_| Ok(Box::new(Tripled { is_pure: false }))).unwrap();
        operators
    }

    /// A graph of `x` of two numbers: both kinds twice, and one of a constant.
    fn graph() -> String {
        let float = r#"attr { key: "T" value { type: DT_FLOAT } }"#;
        let node = |name: &str, op: &str, inputs: &[&str], attrs: &str| {
            let inputs: String = inputs.iter().map(|input| format!("input: \"{input}\" ")).collect();
            format!("node {{ name: \"{name}\" op: \"{op}\" {inputs} {attrs} }}\n")
        };
        let dtype = r#"attr { key: "dtype" value { type: DT_FLOAT } }"#;
        let shape = r#"attr { key: "shape" value { shape { dim { size: 2 } } } }"#;
        let two =
            r#"attr { key: "value" value { tensor { dtype: DT_FLOAT tensor_shape { } float_val: 2 } } }"#;
        [
            node("x", "Placeholder", &[], &format!("{dtype} {shape}")),
            node("two", "Const", &[], &format!("{dtype} {two}")),
            node("a", "Tripled", &["x"], ""),
            node("b", "Tripled", &["x"], ""),
            node("six", "Tripled", &["two"], ""),
            node("left", "AddV2", &["a", "b"], float),
            node("c", "Unsteady", &["left"], ""),
            node("d", "Unsteady", &["left"], ""),
            node("right", "AddV2", &["c", "d"], float),
            node("y", "AddV2", &["right", "six"], float),
        ]
        .concat()
    }

    fn computes_the_same(path: &Path, budget: &MemoryBudget) {
        let fetches = if path.is_dir() { vec![] } else { vec!["y".to_string()] };
        let open = OpenOptions { operators: operators(), fetches, ..OpenOptions::default() };
        let model = Model::open(path, &open, budget).unwrap();
        let mut runner = Runner::new(&model, &FitOptions::default(), budget).unwrap();
        let x = TensorView::from_slice(Shape::new(&[2]).unwrap(), &[1.0f32, 10.0]).unwrap();
        let outputs = runner.run(&[Feed::Tensor(x)]).unwrap();
        assert_eq!(outputs.get("y").unwrap().as_slice::<f32>().unwrap(), [42.0, 366.0], "{}", path.display());
    }

    #[test]
    fn models_that_are_written_may_have_them() {
        let folder = std::env::temp_dir().join(format!("tightfit-own-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (budget, stop) = (MemoryBudget::new(64 << 20), AtomicBool::new(false));
        let path = folder.join("graph.pbtxt");
        std::fs::write(&path, graph()).unwrap();
        let fetches = vec!["y".to_string()];
        computes_the_same(&path, &budget);

        let to = folder.join("frozen.pb");
        let options =
            FreezeOptions { fetches: fetches.clone(), operators: operators(), ..FreezeOptions::default() };
        freeze(&path, &options, &to, &stop, &budget).unwrap();
        computes_the_same(&to, &budget);

        let to = folder.join("small.pb");
        let options = OptimizeOptions {
            fetches: fetches.clone(),
            operators: operators(),
            ..OptimizeOptions::default()
        };
        optimize(&path, &options, &to, &stop, &budget).unwrap();
        computes_the_same(&to, &budget);
        // The pure one of the constant is computed ahead and one of two is left; those that may differ stay.
        let bytes = std::fs::read(&to).unwrap();
        let count = |op: &[u8]| bytes.windows(op.len()).filter(|window| *window == op).count();
        assert_eq!((count(b"Tripled"), count(b"Unsteady")), (1, 2));

        let to = folder.join("parts");
        let cut = Cut::At(vec!["left".into()]);
        let options = PartitionOptions { source: Default::default(), fetches, cut, operators: operators() };
        let manifest = partition(&path, &options, &to, &stop, &budget).unwrap();
        assert_eq!(manifest.parts.len(), 2);
        computes_the_same(&to, &budget);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
