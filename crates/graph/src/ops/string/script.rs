//! UnicodeScript: the script of each character, an int32 as ICU numbers scripts; -1 for what is no character.

use tightfit_core::DType;

use super::scripts::RUNS;
use crate::fact::Fact;
use crate::operator::{OpError, Operator, Registration, Run};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] =
    &[Registration { name: "UnicodeScript", import: |_| Ok(Box::new(UnicodeScript)) }];

/// The operator.
#[derive(Debug)]
struct UnicodeScript;

/// The script of a code point.
fn script(code: i32) -> i32 {
    match u32::try_from(code) {
        Ok(code @ ..=0x10_ffff) => {
            let behind = RUNS.partition_point(|run| run >> 8 <= code);
            behind.checked_sub(1).map_or(-1, |at| (RUNS[at] & 0xff) as i32)
        }
        _ => -1,
    }
}

impl Operator for UnicodeScript {
    fn name(&self) -> &'static str {
        "UnicodeScript"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let input = shared::input(inputs, 0)?;
        shared::need_type(0, input, &[DType::I32])?;
        Ok(vec![Fact::new(DType::I32, input.dims.clone())])
    }

    takes_over_its_input!();

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        if run.is_in_place(0) {
            run.out::<i32>(0)?.iter_mut().for_each(|code| *code = script(*code));
            return Ok(());
        }
        let codes = run.slice::<i32>(0)?;
        run.out::<i32>(0)?.iter_mut().zip(codes).for_each(|(to, code)| *to = script(*code));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, tensor};

    #[test]
    fn scripts_have_the_numbers_of_icu() {
        assert!(RUNS.is_sorted());
        let codes = [0x41, 0x20, 0x3b1, 0x434, 0x5d0, 0x4e2d, 0x3042, 0x1f600, -1, 0x110000, i32::MAX];
        let scripts = [25, 0, 14, 8, 19, 17, 20, 0, -1, -1, -1];
        check("UnicodeScript", &[], &[tensor(&[11], &codes)], &[tensor(&[11], &scripts)]);
    }
}
