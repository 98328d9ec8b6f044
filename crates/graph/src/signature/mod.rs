//! What TensorFlow's registry says of an operator: how many inputs of which types it takes and gives, and which
//! values its attributes may have. A node that breaks it is refused before the operator looks at it.

pub mod ranks;
#[cfg(test)]
pub(crate) mod sample;
mod table;

use tightfit_core::DType;
use tightfit_format::{AttrValue, DataType, ListValue, NodeDef};

use crate::operator::OpError;

/// Name, inputs, outputs and attributes. An output has its name before it, as in `idx:T`. An input or output is `T` (a tensor of that attribute's type), `#3` (of type number 3), `T*N` (as
/// many as N says) or `T*` (one for each type of a list). An attribute is `name:kind{allowed}=default>minimum`.
type Row = (&'static str, &'static str, &'static str, &'static str);

fn row(op: &str) -> Option<&'static Row> {
    table::ROWS.binary_search_by_key(&op, |row| row.0).ok().and_then(|at| table::ROWS.get(at))
}

/// One attribute of a row.
struct Rule {
    name: &'static str,
    kind: &'static str,
    /// The allowed values, separated by commas; `None` where there is no list.
    allowed: Option<&'static str>,
    default: Option<&'static str>,
    minimum: Option<&'static str>,
}

fn rules(row: &'static Row) -> impl Iterator<Item = Rule> {
    row.3.split_whitespace().map(|text| {
        let (text, minimum) = text.split_once('>').map_or((text, None), |(text, n)| (text, Some(n)));
        let (text, default) = text.split_once('=').map_or((text, None), |(text, d)| (text, Some(d)));
        let (text, allowed) = text.split_once('{').map_or((text, None), |(text, a)| (text, Some(a)));
        let (name, kind) = text.split_once(':').unwrap_or((text, ""));
        Rule { name, kind, allowed: allowed.map(|list| list.trim_end_matches('}')), default, minimum }
    })
}

impl Rule {
    fn allows(&self, value: &str) -> bool {
        self.allowed.is_none_or(|list| list.split(',').any(|one| one == value))
    }

    fn check(&self, node: &NodeDef) -> Result<(), OpError> {
        let Some(value) = node.attr(self.name) else { return Ok(()) };
        let least = self.minimum.and_then(|n| n.parse::<i64>().ok()).unwrap_or(i64::MIN);
        let too_small = |n: i64, what: &str| {
            OpError::attribute(self.name, format!("{what} {n}; at least {least} is needed"))
        };
        match (self.kind, value) {
            ("type", AttrValue::Type(number)) if !self.allows(&DataType(*number).base().0.to_string()) => {
                let why = format!("is {}, which {} is not for", DataType(*number), node.op);
                Err(OpError::attribute(self.name, why))
            }
            ("string", AttrValue::Str(text)) if !self.allows(&String::from_utf8_lossy(text)) => {
                let why = format!(
                    "is '{}'; {} are what TensorFlow has",
                    String::from_utf8_lossy(text),
                    self.allowed.map_or_else(|| "others".to_string(), |list| list.replace(',', ", "))
                );
                Err(OpError::attribute(self.name, why))
            }
            ("int", AttrValue::Int(n)) if *n < least => Err(too_small(*n, "is")),
            ("list(int)", AttrValue::List(ListValue::Ints(list))) if (list.len() as i64) < least => {
                Err(too_small(list.len() as i64, "has length"))
            }
            _ => Ok(()),
        }
    }
}

/// Each attribute of an operator that there are rules for, with the values that it may have; types by their names.
pub fn attributes(op: &str) -> Vec<(&'static str, Vec<String>)> {
    let named = |rule: &Rule, value: &str| match (rule.kind, value.parse()) {
        ("type", Ok(number)) => match DataType(number).dtype() {
            Some(dtype) => dtype.to_string(),
            None => DataType(number).to_string().trim_start_matches("DT_").to_ascii_lowercase(),
        },
        _ => value.to_string(),
    };
    let values = |rule: &Rule| {
        let listed = rule.allowed.into_iter().flat_map(|list| list.split(','));
        listed.map(|value| named(rule, value)).collect()
    };
    row(op).into_iter().flat_map(rules).map(|rule| (rule.name, values(&rule))).collect()
}

/// Checks the attributes of a node by themselves.
///
/// # Errors
/// [`OpError::Attribute`] for a value that the operator does not have.
pub fn check_attributes(node: &NodeDef) -> Result<(), OpError> {
    row(&node.op).map_or(Ok(()), |row| rules(row).try_for_each(|rule| rule.check(node)))
}

/// Checks that the inputs of a node are of the number and the types that its attributes say. A type that the file leaves
/// out is that of the first input that it is said of.
///
/// # Errors
/// [`OpError::Input`] for an input of another type, [`OpError::Invalid`] for another number of them.
pub fn check_inputs(node: &NodeDef, inputs: &[DType]) -> Result<(), OpError> {
    let Some(row) = row(&node.op) else { return Ok(()) };
    let mut at = 0;
    let mut seen: [(&str, Option<DType>); 8] = [("", None); 8];
    let arguments = || row.1.split_whitespace();
    for (number, argument) in arguments().enumerate() {
        let (kind, count) = argument.split_once('*').map_or((argument, None), |(kind, n)| (kind, Some(n)));
        if count == Some("") {
            // Where the file does not say how many there are, only single tensors stand after them.
            let end = inputs.len().saturating_sub(arguments().count() - number - 1);
            at += check_list(node, kind, at, end, inputs)?;
            continue;
        }
        let many = match count.map(|name| node.attr(name)) {
            Some(Some(AttrValue::Int(n))) => usize::try_from(*n).map_err(|_| {
                OpError::Invalid(format!("takes {n} inputs, and the node has {}", inputs.len()))
            })?,
            Some(_) if rule_of(row, count).is_some_and(|rule| rule.default.is_some()) => {
                let default = rule_of(row, count).and_then(|rule| rule.default?.parse().ok());
                default.unwrap_or(0)
            }
            // A file that does not say how many has nothing else after them.
            Some(_) => inputs.len().saturating_sub(at + arguments().count() - 1),
            None => 1,
        };
        let mut wanted = declared(node, row, kind);
        let slot = seen.iter_mut().find(|(name, _)| name.is_empty() || *name == kind);
        if let (None, Some((name, first))) = (wanted, slot) {
            *name = kind;
            *first = first.or(inputs.get(at).copied());
            wanted = *first;
        }
        let end = at
            .checked_add(many)
            .filter(|end| *end <= inputs.len())
            .ok_or_else(|| wrong_number(at.saturating_add(many), inputs))?;
        if let Some(index) = (at..end).find(|i| wanted.is_some_and(|wanted| inputs[*i] != wanted)) {
            let wanted = wanted.map_or("", DType::name);
            let why = format!("is of type {}; {} of this node takes {wanted}", inputs[index], node.op);
            return Err(OpError::input(index, why));
        }
        at = end;
    }
    if at == inputs.len() { Ok(()) } else { Err(wrong_number(at, inputs)) }
}

/// What is said of the attribute that counts the tensors of an input.
fn rule_of(row: &'static Row, count: Option<&str>) -> Option<Rule> {
    rules(row).find(|rule| Some(rule.name) == count)
}

fn wrong_number(takes: usize, inputs: &[DType]) -> OpError {
    OpError::Invalid(format!("takes {takes} inputs, and the node has {}", inputs.len()))
}

/// The outputs of a node: the name of each in TensorFlow, what it is of, and how many tensors it is, `None` where the node
/// does not say. Nothing for an operator that has no row.
fn outputs(node: &NodeDef) -> impl Iterator<Item = (&'static str, &'static str, Option<usize>)> {
    let arguments = row(&node.op).map_or("", |row| row.2).split_whitespace();
    arguments.map(|argument| {
        let (name, argument) = argument.split_once(':').unwrap_or(("", argument));
        let (kind, count) = argument.split_once('*').map_or((argument, None), |(kind, n)| (kind, Some(n)));
        let tensors = match count {
            None => Some(1),
            Some("") => match node.attr(kind) {
                Some(AttrValue::List(ListValue::Types(types))) => Some(types.len()),
                Some(AttrValue::List(ListValue::Empty)) => Some(0),
                _ => None,
            },
            Some(name) => match node.attr(name) {
                Some(AttrValue::Int(n)) => usize::try_from(*n).ok(),
                _ => row(&node.op)
                    .and_then(|row| rule_of(row, Some(name)))
                    .and_then(|rule| rule.default?.parse().ok()),
            },
        };
        (name, kind, tensors)
    })
}

/// The number of the first tensor of the output of this name; `None` for a name that the operator does not have.
pub fn first_output(node: &NodeDef, output: &str) -> Option<usize> {
    let mut at = 0usize;
    for (name, _, tensors) in outputs(node) {
        if name == output {
            return Some(at);
        }
        at = at.checked_add(tensors?)?;
    }
    None
}

/// True when it is known which outputs the operator has.
pub fn has_row(op: &str) -> bool {
    row(op).is_some()
}

/// The type of one of a node's outputs, where its attributes say.
pub fn output_type(node: &NodeDef, output: usize) -> Option<DType> {
    let row = row(&node.op)?;
    let mut at = 0usize;
    for (_, kind, tensors) in outputs(node) {
        let tensors = tensors?;
        if output - at < tensors {
            return match node.attr(kind) {
                Some(AttrValue::List(ListValue::Types(types))) => {
                    DataType(*types.get(output - at)?).storage()
                }
                _ => declared(node, row, kind),
            };
        }
        at = at.checked_add(tensors)?;
    }
    None
}

/// The type that a node says an argument is of; `None` where the file leaves it out and there is no default.
fn declared(node: &NodeDef, row: &'static Row, kind: &str) -> Option<DType> {
    if let Some(number) = kind.strip_prefix('#') {
        return DataType(number.parse().ok()?).storage();
    }
    match node.attr(kind) {
        Some(AttrValue::Type(number)) => DataType(*number).storage(),
        Some(_) => None,
        None => rules(row)
            .find(|rule| rule.name == kind)?
            .default?
            .parse()
            .ok()
            .and_then(|n| DataType(n).storage()),
    }
}

/// Checks inputs against a list of types; how many there are: up to `end` where the node has no such list.
fn check_list(
    node: &NodeDef,
    attribute: &str,
    at: usize,
    end: usize,
    inputs: &[DType],
) -> Result<usize, OpError> {
    let rest = inputs.get(at..).ok_or_else(|| wrong_number(at, inputs))?;
    let types: &[i32] = match node.attr(attribute) {
        Some(AttrValue::List(ListValue::Types(types))) => types,
        Some(AttrValue::List(ListValue::Empty)) => &[],
        _ => return end.checked_sub(at).ok_or_else(|| wrong_number(at, inputs)),
    };
    let is_same = |(dtype, number): (&DType, &i32)| DataType(*number).storage() == Some(*dtype);
    let Some(own) = rest.get(..types.len()) else { return Err(wrong_number(at + types.len(), inputs)) };
    match own.iter().zip(types).position(|pair| !is_same(pair)) {
        None => Ok(own.len()),
        Some(i) => {
            Err(OpError::input(at + i, format!("is of type {}, not what attribute {attribute} says", own[i])))
        }
    }
}

/// True when an input of an operator is only of integers that say where or how much, of int32 or int64 among others.
pub fn is_index(op: &str, input: usize) -> bool {
    let Some(row) = row(op) else { return false };
    // What follows a list is not looked at: no operator with narrow indices has one.
    let Some(kind) = row.1.split_whitespace().nth(input) else { return false };
    let integers = ["3", "4", "5", "6", "9", "17"];
    let of_integers = |list: &str| {
        list.split(',').all(|one| integers.contains(&one))
            && ["3", "9"].iter().all(|n| list.split(',').any(|one| one == *n))
    };
    rules(row).any(|rule| rule.name == kind && rule.allowed.is_some_and(of_integers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;

    #[test]
    fn every_operator_has_a_row_in_order() {
        assert!(table::ROWS.is_sorted_by_key(|row| row.0));
        // Those of TFLite are none of TensorFlow's.
        for registration in ops::all().filter(|r| !r.name.starts_with("tfl.")) {
            assert!(row(registration.name).is_some(), "{}", registration.name);
        }
    }

    #[test]
    fn outputs_have_the_type_that_their_attribute_says() {
        let node = |op: &str, attributes: &[(&str, DType)]| {
            let attribute = |(name, dtype): &(&str, DType)| ((*name).into(), crate::testing::dtype(*dtype));
            NodeDef { op: op.into(), attrs: attributes.iter().map(attribute).collect(), ..NodeDef::default() }
        };
        let cast = node("Cast", &[("SrcT", DType::I32), ("DstT", DType::F16)]);
        assert_eq!(output_type(&cast, 0), Some(DType::F16));
        assert_eq!(output_type(&cast, 1), None);
        assert_eq!(output_type(&node("Equal", &[("T", DType::F32)]), 0), Some(DType::Bool));
        let top = node("TopKV2", &[("T", DType::F32), ("index_type", DType::I64)]);
        assert_eq!(output_type(&top, 1), Some(DType::I64));
        assert_eq!(output_type(&node("TopKV2", &[("T", DType::F32)]), 1), Some(DType::I32));
    }

    #[test]
    fn other_inputs_may_follow_a_list_of_types() {
        let types = |numbers: &[i32]| AttrValue::List(ListValue::Types(numbers.to_vec()));
        let attributes = [
            ("N", AttrValue::Int(1)),
            ("sparse_types", types(&[9])),
            ("dense_types", AttrValue::List(ListValue::Empty)),
        ];
        let attrs = attributes.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
        let node = NodeDef { op: "SparseCrossV2".into(), attrs, ..NodeDef::default() };
        let mut inputs = vec![DType::I64, DType::I64, DType::I64, DType::String];
        assert!(check_inputs(&node, &inputs).is_ok());
        inputs[1] = DType::String;
        assert!(check_inputs(&node, &inputs).unwrap_err().to_string().contains("sparse_types"));
        assert!(check_inputs(&node, &inputs[..3]).is_err());
    }

    #[test]
    fn outputs_are_found_by_name() {
        let node = |op: &str| NodeDef { op: op.into(), ..NodeDef::default() };
        assert_eq!(first_output(&node("UniqueWithCounts"), "y"), Some(0));
        assert_eq!(first_output(&node("UniqueWithCounts"), "count"), Some(2));
        assert_eq!(first_output(&node("FusedBatchNormV3"), "reserve_space_3"), Some(5));
        assert_eq!(first_output(&node("Split"), "output"), Some(0));
        assert_eq!(first_output(&node("Unique"), "count"), None);
    }

    #[test]
    fn narrow_integers_are_indices_where_only_integers_are_allowed() {
        assert!(is_index("GatherNd", 1) && is_index("SplitV", 1) && is_index("StridedSlice", 3));
        assert!(!is_index("GatherNd", 0) && !is_index("Add", 1) && !is_index("Nothing", 0));
    }
}
