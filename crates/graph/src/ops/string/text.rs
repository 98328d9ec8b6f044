//! What operators of strings share: characters of texts, white space, and lists of texts to write.

use tightfit_core::{DType, MAX_RANK, Shape};

use crate::fact::Fact;
use crate::operator::OpError;
use crate::ops::shared;

/// The output of an operator that makes an element of this type of each string of its first input.
///
/// # Errors
/// [`OpError::Input`] for an input of another type.
pub fn of_each_string(inputs: &[&Fact], dtype: DType) -> Result<Vec<Fact>, OpError> {
    let input = shared::input(inputs, 0)?;
    shared::need_type(0, input, &[DType::String])?;
    Ok(vec![Fact::new(dtype, input.dims.clone())])
}

/// A character of a text, or bytes that are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Character {
    /// The character; `None` for bytes that are no UTF-8.
    pub is: Option<char>,
    /// Where it begins.
    pub at: usize,
    /// How many bytes it has.
    pub bytes: usize,
}

/// The characters of a text in UTF-8. What is none is cut as Unicode recommends: as long as it could have become one.
pub fn characters(text: &[u8]) -> impl Iterator<Item = Character> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let head = &rest[..rest.len().min(4)];
        let (is, bytes) = match std::str::from_utf8(head) {
            Ok(valid) => valid.chars().next().map_or((None, 1), |c| (Some(c), c.len_utf8())),
            Err(error) if error.valid_up_to() > 0 => {
                let valid = std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default();
                valid.chars().next().map_or((None, 1), |c| (Some(c), c.len_utf8()))
            }
            Err(error) => (None, error.error_len().unwrap_or(head.len())),
        };
        let character = Character { is, at, bytes };
        at += bytes;
        Some(character)
    })
}

/// TensorFlow's white space, of which Rust's lacks the vertical tab.
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// A text without white space at its ends.
pub fn trimmed(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_space(*byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_space(*byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

/// How far elements of an input lie apart along each axis of what it is broadcast to.
pub fn broadcast_steps(shape: &Shape, rank: usize) -> [usize; MAX_RANK] {
    let mut steps = [0; MAX_RANK];
    let mut step = 1;
    for axis in (0..shape.rank()).rev() {
        if shape[axis] != 1 {
            steps[axis + rank - shape.rank()] = step;
        }
        step *= shape[axis];
    }
    steps
}

/// The place in an input of element `i` of an output.
pub fn place(i: usize, shape: &Shape, steps: &[usize; MAX_RANK]) -> usize {
    let (mut rest, mut at) = (i, 0);
    for axis in (0..shape.rank()).rev() {
        at += rest % shape[axis] * steps[axis];
        rest /= shape[axis];
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_character_is_cut_where_it_could_not_become_one() {
        let parts = |text: &[u8]| characters(text).map(|c| (c.is, c.at, c.bytes)).collect::<Vec<_>>();
        assert_eq!(parts("aé😀".as_bytes()), [(Some('a'), 0, 1), (Some('é'), 1, 2), (Some('😀'), 3, 4)]);
        assert_eq!(parts(b"\xe2\x82x"), [(None, 0, 2), (Some('x'), 2, 1)]);
        assert_eq!(parts(b"\xff\xf0\x9f"), [(None, 0, 1), (None, 1, 2)]);
        assert_eq!(parts(b"abc\xff")[3], (None, 3, 1));
        assert_eq!(parts(b""), []);
    }
}
