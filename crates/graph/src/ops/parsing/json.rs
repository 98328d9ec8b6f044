//! DecodeJSONExample: each string a tf.train.Example in protobuf's JSON encoding, which becomes the serialized message that the
//! operators that parse Examples take.

use tightfit_core::{DType, StringRef};
use tightfit_format::example::json::{JSON_FACTOR, example_of_json};

use crate::fact::Fact;
use crate::operator::{OpError, Operator, Registration, Run, reshape};
use crate::ops::string::text::of_each_string;

pub(crate) const OPS: &[Registration] =
    &[Registration { name: "DecodeJSONExample", import: |_| Ok(Box::new(DecodeJsonExample)) }];

/// The operator.
#[derive(Debug)]
struct DecodeJsonExample;

impl Operator for DecodeJsonExample {
    fn name(&self) -> &'static str {
        "DecodeJSONExample"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        of_each_string(inputs, DType::String)
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let texts = run.slice::<StringRef>(0)?;
        let out = run.out::<StringRef>(0)?;
        for (to, text) in out.iter_mut().zip(texts) {
            let text = run.string(*text);
            let _heap = run.reserve("examples in JSON", text.len() as u64 * JSON_FACTOR)?;
            let example = example_of_json(text)
                .map_err(|why| OpError::input(0, format!("is no tf.train.Example in JSON: {why}")))?;
            *to = run.new_string(&example)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{refuses_as_it_runs, scalar};
    use tightfit_core::StringRef;

    #[test]
    fn what_is_no_example_is_refused() {
        let empty = [scalar(StringRef::default())];
        refuses_as_it_runs("DecodeJSONExample", &[], &empty, "is no tf.train.Example in JSON");
    }
}
