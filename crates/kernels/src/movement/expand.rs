//! Elements among zeros: what a sparse constant is when it is used.

use crate::base::error::{Result, ensure};

/// Writes the elements of `values`, of `size` bytes each, where `marks` has a bit, the lowest of a byte first, and zeros where it
/// has none.
///
/// # Errors
/// [`crate::KernelError::Invalid`] where elements, marks and output do not go together.
pub fn expand(marks: &[u8], values: &[u8], size: usize, dst: &mut [u8]) -> Result<()> {
    let elements = dst.len() / size.max(1);
    ensure(marks.len() == elements.div_ceil(8), "tfl.densify", "there is a mark for each element")?;
    let mut left = values.chunks_exact(size.max(1));
    for (marks, to) in marks.iter().zip(dst.chunks_mut(8 * size.max(1))) {
        for (bit, to) in to.chunks_exact_mut(size.max(1)).enumerate() {
            match marks >> bit & 1 {
                0 => to.fill(0),
                _ => match left.next() {
                    Some(value) => to.copy_from_slice(value),
                    None => return ensure(false, "tfl.densify", "there is an element for each mark"),
                },
            }
        }
    }
    ensure(left.next().is_none(), "tfl.densify", "there is a mark for each value")
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn elements_stand_where_they_are_marked() {
        let mut dst = [9u8; 20];
        expand(&[0b0000_0101, 0b10], &[1, 2, 3, 4, 5, 6], 2, &mut dst).unwrap();
        assert_eq!(dst, [1, 2, 0, 0, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 6]);
        for (marks, values) in [(&[1u8, 0][..], &[1u8, 2, 3, 4][..]), (&[3, 0], &[1, 2]), (&[1], &[1, 2])] {
            assert!(expand(marks, values, 2, &mut dst).is_err());
        }
    }
}
