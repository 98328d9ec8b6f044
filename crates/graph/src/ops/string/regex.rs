//! Regular expressions on strings: RegexFullMatch and RegexReplace, and with the pattern as an attribute StaticRegexFullMatch and
//! StaticRegexReplace.
//!
//! Patterns are RE2's. FullMatch: bools, whether a whole string matches. Replace: each string with its first match, or all
//! with `replace_global`, replaced by the rewrite, in which `\0` to `\9` are the groups of the match.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use tightfit_core::{DType, Reservation, StringRef, block_bytes};

use super::pattern::{Groups, Pattern};
use crate::dim::Dims;
use crate::fact::Fact;
use crate::operator::Registration;
use crate::operator::attributes::Attributes;
use crate::operator::{OpError, Operator, Run, reshape};
use crate::ops::shared;

pub(crate) const OPS: &[Registration] = &[
    Registration {
        name: "RegexFullMatch",
        import: |_| Ok(Box::new(FullMatch { pattern: Source::input(1) })),
    },
    Registration {
        name: "StaticRegexFullMatch",
        import: |a| Ok(Box::new(FullMatch { pattern: Source::attribute(a, true)? })),
    },
    Registration { name: "RegexReplace", import: |a| import_replace(a, Source::input(1), None) },
    Registration {
        name: "StaticRegexReplace",
        import: |a| import_replace(a, Source::attribute(a, false)?, Some(a.bytes_or("rewrite", b"")?.into())),
    },
];

fn import_replace(
    attributes: &Attributes<'_>,
    pattern: Source,
    rewrite: Option<Box<[u8]>>,
) -> Result<Box<dyn Operator>, OpError> {
    let is_global = attributes.bool_or("replace_global", true)?;
    if let (Source::Attribute { compiled, .. }, Some(rewrite)) = (&pattern, &rewrite) {
        check_rewrite(rewrite, compiled.groups())?;
    }
    Ok(Box::new(Replace { pattern, rewrite, is_global }))
}

/// Where a pattern comes from.
enum Source {
    Attribute {
        text: Box<[u8]>,
        compiled: Arc<Pattern>,
    },
    /// An input; the last one compiled is kept.
    Input {
        input: usize,
        last: Mutex<Option<Compiled>>,
    },
}

/// A pattern that an input said last.
struct Compiled {
    text: Box<[u8]>,
    pattern: Arc<Pattern>,
    _memory: Reservation,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Attribute { text, .. } => write!(f, "{text:?}"),
            Source::Input { input, .. } => write!(f, "input {input}"),
        }
    }
}

impl Source {
    fn input(input: usize) -> Source {
        Source::Input { input, last: Mutex::new(None) }
    }

    fn attribute(attributes: &Attributes<'_>, is_whole: bool) -> Result<Source, OpError> {
        let text = attributes.bytes_or("pattern", b"")?;
        let compiled =
            Pattern::new(text, is_whole).map_err(|error| OpError::attribute("pattern", error.to_string()))?;
        Ok(Source::Attribute { text: text.into(), compiled: Arc::new(compiled) })
    }

    /// What a pattern takes that was compiled as the file was read.
    fn heap_bytes(&self) -> u64 {
        match self {
            Source::Attribute { compiled, .. } => compiled.heap_bytes(),
            Source::Input { .. } => 0,
        }
    }

    fn is_attribute(&self) -> bool {
        matches!(self, Source::Attribute { .. })
    }

    fn get(&self, run: &Run<'_>, is_whole: bool) -> Result<Cow<'_, Arc<Pattern>>, OpError> {
        match self {
            Source::Attribute { compiled, .. } => Ok(Cow::Borrowed(compiled)),
            Source::Input { input, last } => {
                let text = run.slice::<StringRef>(*input)?.first().map_or(&b""[..], |text| run.string(*text));
                let mut last = last.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if let Some(compiled) = last.as_ref().filter(|own| *own.text == *text) {
                    return Ok(Cow::Owned(compiled.pattern.clone()));
                }
                *last = None;
                let pattern = Arc::new(Pattern::new(text, is_whole)?);
                let bytes = pattern.heap_bytes() + block_bytes(text.len() as u64);
                let _memory = run.reserve("a regular expression", bytes)?;
                *last = Some(Compiled { text: text.into(), pattern: pattern.clone(), _memory });
                Ok(Cow::Owned(pattern))
            }
        }
    }
}

fn check_scalars(inputs: &[&Fact], from: usize, count: usize) -> Result<(), OpError> {
    for index in from..from + count {
        let input = shared::input(inputs, index)?;
        shared::need_type(index, input, &[DType::String])?;
        shared::dims_of_rank(index, input, 0)?;
    }
    Ok(())
}

fn texts_dims(inputs: &[&Fact]) -> Result<Dims, OpError> {
    let input = shared::input(inputs, 0)?;
    shared::need_type(0, input, &[DType::String])?;
    Ok(input.dims.clone())
}

/// RegexFullMatch.
#[derive(Debug)]
struct FullMatch {
    pattern: Source,
}

impl Operator for FullMatch {
    fn name(&self) -> &'static str {
        if self.pattern.is_attribute() { "StaticRegexFullMatch" } else { "RegexFullMatch" }
    }

    fn heap_bytes(&self) -> u64 {
        self.pattern.heap_bytes()
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        check_scalars(inputs, 1, usize::from(!self.pattern.is_attribute()))?;
        Ok(vec![Fact::new(DType::Bool, texts_dims(inputs)?)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let pattern = self.pattern.get(run, true)?;
        let texts = run.slice::<StringRef>(0)?;
        for (to, text) in run.out_bytes(0)?.iter_mut().zip(texts) {
            *to = u8::from(pattern.is_match(run.string(*text)));
        }
        Ok(())
    }
}

/// RegexReplace.
#[derive(Debug)]
struct Replace {
    pattern: Source,
    /// `None` for the third input.
    rewrite: Option<Box<[u8]>>,
    is_global: bool,
}

/// Checks that a rewrite names groups that there are.
fn check_rewrite(rewrite: &[u8], groups: usize) -> Result<(), OpError> {
    let mut bytes = rewrite.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            continue;
        }
        let is_right = match bytes.next() {
            Some(b'\\') => true,
            Some(digit @ b'0'..=b'9') => usize::from(digit - b'0') < groups,
            _ => false,
        };
        if !is_right {
            let shown = String::from_utf8_lossy(rewrite).into_owned();
            return Err(OpError::Invalid(format!(
                "the rewrite '{shown}' has a backslash before what is no group of the pattern"
            )));
        }
    }
    Ok(())
}

impl Replace {
    fn replaced(
        &self,
        run: &Run<'_>,
        text: StringRef,
        pattern: &Pattern,
        rewrite: &[u8],
    ) -> Result<StringRef, OpError> {
        let own = run.string(text);
        let mut groups: Groups = [None; 20];
        let (mut at, mut last_end, mut new) = (0, None, None);
        while at <= own.len() && pattern.find(own, at, &mut groups) {
            let [Some(start), Some(end)] = [groups[0], groups[1]] else { break };
            let (start, end) = (start.get(), end.get());
            let mut made = match new {
                Some(made) => made,
                None => run.new_string(&[])?,
            };
            made = run.extended_string(made, &own[at..start])?;
            if start == end && last_end == Some(start) {
                // Nothing, where the last match has ended, is no match: the search goes on after the next character.
                let next = super::text::characters(&own[start..]).next().map_or(1, |c| c.bytes);
                let next = (start + next).min(own.len());
                new = Some(run.extended_string(made, &own[start..next])?);
                if start == own.len() {
                    at = start;
                    break;
                }
                at = next;
                continue;
            }
            let mut from = 0;
            for i in 0..rewrite.len() {
                if rewrite[i] != b'\\' || i < from {
                    continue;
                }
                made = run.extended_string(made, &rewrite[from..i])?;
                match rewrite.get(i + 1) {
                    Some(digit @ b'0'..=b'9') => {
                        let group = usize::from(digit - b'0') * 2;
                        if let (Some(start), Some(end)) = (groups[group], groups[group + 1]) {
                            made = run.extended_string(made, &own[start.get()..end.get()])?;
                        }
                    }
                    _ => made = run.extended_string(made, b"\\")?,
                }
                from = i + 2;
            }
            made = run.extended_string(made, rewrite.get(from..).unwrap_or_default())?;
            new = Some(made);
            at = end;
            last_end = Some(end);
            if !self.is_global {
                break;
            }
        }
        match new {
            None => Ok(text),
            Some(new) => run.extended_string(new, own.get(at..).unwrap_or_default()),
        }
    }
}

impl Operator for Replace {
    fn name(&self) -> &'static str {
        if self.pattern.is_attribute() { "StaticRegexReplace" } else { "RegexReplace" }
    }

    fn heap_bytes(&self) -> u64 {
        self.pattern.heap_bytes()
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        check_scalars(inputs, 1, if self.pattern.is_attribute() { 0 } else { 2 })?;
        Ok(vec![Fact::new(DType::String, texts_dims(inputs)?)])
    }

    fn reshape(&self, run: &mut Run<'_>) -> Option<()> {
        reshape::same(run, 0)
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let pattern = self.pattern.get(run, false)?;
        let rewrite = match &self.rewrite {
            Some(rewrite) => rewrite,
            None => {
                let rewrite = run.slice::<StringRef>(2)?.first().map_or(&b""[..], |text| run.string(*text));
                check_rewrite(rewrite, pattern.groups())?;
                rewrite
            }
        };
        let texts = run.slice::<StringRef>(0)?;
        for (to, text) in run.out::<StringRef>(0)?.iter_mut().zip(texts) {
            *to = self.replaced(run, *text, &pattern, rewrite)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::fact::Fact;
    use crate::operator::evaluate;
    use crate::testing::{operator, text};
    use tightfit_core::{DType, MemoryBudget, Shape, StringRef, TensorView};

    #[test]
    fn patterns_are_counted() {
        let read = operator("StaticRegexFullMatch", &[("pattern", text(r"\pL+"))]).unwrap();
        assert!(read.heap_bytes() > 10_000, "{}", read.heap_bytes());
        let computed = operator("RegexFullMatch", &[]).unwrap();
        let references = [StringRef::default()];
        let empty = TensorView::new(DType::String, Shape::SCALAR, bytemuck::cast_slice(&references)).unwrap();
        let outputs = [Fact::new(DType::Bool, Shape::SCALAR)];
        let run = |budget: &MemoryBudget| evaluate(&*computed, &[empty, empty], &outputs, budget);
        assert!(run(&MemoryBudget::new(1000)).is_err());
        let budget = MemoryBudget::new(1 << 20);
        assert_eq!(run(&budget).unwrap()[0].1, [1]);
        assert!(budget.used_bytes() > 1000, "{}", budget.used_bytes());
    }
}
