//! Random nodes that TensorFlow's registry allows, for tests: the types of their inputs, and the attributes that say them.

use tightfit_core::DType;
use tightfit_format::{AttrValue, DataType, ListValue};

use super::{Rule, row, rules};

/// What an operator is called with.
pub struct Sample {
    /// The type of each input, and whether it is chosen by itself: the ones that hold the same data share theirs.
    pub inputs: Vec<DType>,
    /// Attributes in their allowed values.
    pub attrs: Vec<(Box<str>, AttrValue)>,
}

/// A call of an operator; `below(n)` chooses a number below `n`. `None` for operators without a row, and for types that no
/// tensor here has.
pub fn sample(op: &str, below: &mut dyn FnMut(usize) -> usize) -> Option<Sample> {
    let row = row(op)?;
    let mut attrs: Vec<(Box<str>, AttrValue)> = Vec::new();
    for rule in rules(row) {
        if let Some(value) = value(&rule, below) {
            attrs.push((rule.name.into(), value));
        }
    }
    let mut inputs = Vec::new();
    for argument in row.1.split_whitespace() {
        let (kind, count) = argument.split_once('*').map_or((argument, None), |(kind, n)| (kind, Some(n)));
        let dtype = match kind.strip_prefix('#') {
            Some(number) => dtype(number)?,
            None => match attrs.iter().find(|(name, _)| &**name == kind) {
                Some((_, AttrValue::Type(number))) => DataType(*number).storage()?,
                _ => DType::ALL[below(DType::ALL.len())],
            },
        };
        let many = match count {
            None => 1,
            Some("") => 1 + below(3),
            Some(name) => match attrs.iter().find(|(own, _)| &**own == name) {
                Some((_, AttrValue::Int(n))) => usize::try_from(*n).ok()?,
                _ => {
                    let many = 1 + below(3);
                    attrs.push((name.into(), AttrValue::Int(many as i64)));
                    many
                }
            },
        };
        if count == Some("") {
            let types = AttrValue::List(ListValue::Types(vec![DataType::from(dtype).0; many]));
            attrs.retain(|(name, _)| &**name != kind);
            attrs.push((kind.into(), types));
        }
        inputs.extend(std::iter::repeat_n(dtype, many));
    }
    Some(Sample { inputs, attrs })
}

fn dtype(number: &str) -> Option<DType> {
    DataType(number.parse().ok()?).storage()
}

/// A value that a rule allows, for the kinds that it tells something of.
fn value(rule: &Rule, below: &mut dyn FnMut(usize) -> usize) -> Option<AttrValue> {
    let mut one_of = |list: &'static str| {
        let all: Vec<&str> = list.split(',').collect();
        all[below(all.len())]
    };
    match (rule.kind, rule.allowed) {
        ("type", Some(list)) => {
            // Most models are of these.
            let usual = ["1", "3"].into_iter().find(|usual| list.split(',').any(|one| one == *usual));
            let found = one_of(list);
            let number = usual.filter(|_| below(2) == 0).unwrap_or(found);
            Some(AttrValue::Type(number.parse().ok()?))
        }
        ("string", Some(list)) => Some(AttrValue::Str(one_of(list).as_bytes().into())),
        ("int", _) => {
            let least = rule.minimum.and_then(|n| n.parse::<i64>().ok())?;
            Some(AttrValue::Int(least + below(3) as i64))
        }
        _ => None,
    }
}
