//! Constants that the file has in another form than one element after the other: sparse ones, and several elements in a
//! byte. They are made dense in memory.

use std::sync::Arc;

use tightfit_core::{Buffer, MemoryBudget};
use tightfit_format::tflite::{Place, SparseDim, Sparsity, Tensor};
use tightfit_format::{InlineBytes, SourceFile, TensorContent};

/// What the memory of a dense constant is reserved for.
const PURPOSE: &str = "constants that the file has sparse or packed";

/// Dimensions of a sparse tensor, those of its blocks too.
const MAX_DIMS: usize = 16;

fn content(buffer: Buffer) -> TensorContent {
    TensorContent::Inline(InlineBytes::Large(Arc::new(buffer)))
}

fn read(source: &SourceFile, place: Place, budget: &MemoryBudget) -> Result<Buffer, String> {
    let bytes = usize::try_from(place.bytes).map_err(|error| error.to_string())?;
    let mut buffer = Buffer::new(budget, PURPOSE, bytes).map_err(|error| error.to_string())?;
    source.read_exact_at(place.offset, &mut buffer).map_err(|error| error.to_string())?;
    Ok(buffer)
}

/// Elements of 2 or 4 bits as a byte each, the lowest bits of a byte first.
pub(super) fn unpacked(
    source: &SourceFile,
    place: Place,
    (elements, bits): (u64, u64),
    is_signed: bool,
    budget: &MemoryBudget,
) -> Result<TensorContent, String> {
    let each = (8 / bits) as usize;
    if place.bytes != elements.div_ceil(each as u64) {
        return Err(format!("which has {} bytes for {elements} elements of {bits} bits", place.bytes));
    }
    let packed = read(source, place, budget)?;
    let count = usize::try_from(elements).map_err(|error| error.to_string())?;
    let mut dense = Buffer::new(budget, PURPOSE, count).map_err(|error| error.to_string())?;
    let unused = 8 - bits as u32;
    for (number, out) in dense.iter_mut().enumerate() {
        let shifted = packed[number / each] >> (number % each * bits as usize) << unused;
        *out = if is_signed { ((shifted as i8) >> unused) as u8 } else { shifted >> unused };
    }
    Ok(content(dense))
}

/// A sparse tensor with all its elements, of `element_bytes` each.
pub(super) fn of_sparse(
    source: &SourceFile,
    tensor: &Tensor,
    sparsity: &Sparsity,
    element_bytes: usize,
    budget: &MemoryBudget,
) -> Result<TensorContent, String> {
    let layout = Layout::new(tensor, sparsity).ok_or("which is sparse in a way that does not go together")?;
    let values = read(source, tensor.values, budget)?;
    let elements = tensor.elements().and_then(|elements| usize::try_from(elements).ok());
    let bytes =
        elements.and_then(|elements| elements.checked_mul(element_bytes)).ok_or("which is too large")?;
    let mut dense = Buffer::new(budget, PURPOSE, bytes).map_err(|error| error.to_string())?;
    dense.fill(0);
    let mut left = &values[..];
    let mut put = |element: usize| {
        let (value, rest) = left.split_at_checked(element_bytes)?;
        let start = element.checked_mul(element_bytes)?;
        dense.get_mut(start..)?.get_mut(..element_bytes)?.copy_from_slice(value);
        left = rest;
        Some(())
    };
    let walked = Walk { layout: &layout, put: &mut put, indices: [0; MAX_DIMS] }.level(0, 0);
    walked.filter(|()| left.is_empty()).ok_or("which is damaged: its indices lead elsewhere")?;
    Ok(content(dense))
}

/// A bit for each element of a sparse tensor that says whether its value is there, and how many are; `None` for one whose values
/// do not stand in the order of its elements.
pub(super) fn marks(
    tensor: &Tensor,
    sparsity: &Sparsity,
    budget: &MemoryBudget,
) -> Result<Option<(TensorContent, u64)>, String> {
    let layout = Layout::new(tensor, sparsity).ok_or("which is sparse in a way that does not go together")?;
    let elements = tensor.elements().and_then(|elements| usize::try_from(elements).ok());
    let elements = elements.ok_or("which is too large")?;
    let mut marks = Buffer::new(budget, PURPOSE, elements.div_ceil(8)).map_err(|error| error.to_string())?;
    marks.fill(0);
    let (mut next, mut count, mut is_in_order) = (0, 0u64, true);
    let mut put = |element: usize| {
        is_in_order &= element >= next;
        (next, count) = (element + 1, count + 1);
        *marks.get_mut(element / 8)? |= 1 << (element % 8);
        Some(())
    };
    let walked = Walk { layout: &layout, put: &mut put, indices: [0; MAX_DIMS] }.level(0, 0);
    walked.ok_or("which is damaged: its indices lead elsewhere")?;
    Ok(is_in_order.then(|| (content(marks), count)))
}

/// Where the elements of a sparse tensor belong.
struct Layout<'s> {
    dims: &'s [SparseDim],
    /// For each level: which dimension it goes over, those of blocks after the tensor's.
    order: Vec<usize>,
    /// For each dimension of the tensor its size, and how long a block is along it.
    sizes: Vec<(usize, usize)>,
    /// For each dimension of a block the tensor's that it is a part of.
    blocks: Vec<usize>,
}

impl<'s> Layout<'s> {
    fn new(tensor: &Tensor, sparsity: &'s Sparsity) -> Option<Layout<'s>> {
        let index = |number: &i32| usize::try_from(*number).ok();
        let order = sparsity.traversal_order.iter().map(index).collect::<Option<Vec<usize>>>()?;
        let blocks = sparsity.block_map.iter().map(index).collect::<Option<Vec<usize>>>()?;
        let sizes = tensor.shape.iter().map(index).collect::<Option<Vec<usize>>>()?;
        let mut sizes: Vec<(usize, usize)> = sizes.into_iter().map(|size| (size, 1)).collect();
        let all = sizes.len() + blocks.len();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if all > MAX_DIMS || sorted.iter().copied().ne(0..all) || sparsity.dims.len() != all {
            return None;
        }
        for (number, dim) in blocks.iter().enumerate() {
            let level = order.iter().position(|own| *own == tensor.shape.len() + number)?;
            let SparseDim::Dense { size } = sparsity.dims.get(level)? else { return None };
            sizes.get_mut(*dim)?.1 = usize::try_from(*size).ok().filter(|size| *size > 0)?;
        }
        Some(Layout { dims: &sparsity.dims, order, sizes, blocks })
    }

    /// The number of the element with these indices of all dimensions.
    fn element(&self, indices: &[usize; MAX_DIMS]) -> Option<usize> {
        let mut element = 0usize;
        for (dim, (size, block)) in self.sizes.iter().enumerate() {
            let inner =
                self.blocks.iter().position(|own| *own == dim).map_or(0, |n| indices[self.sizes.len() + n]);
            let index = indices[dim].checked_mul(*block)?.checked_add(inner).filter(|index| index < size)?;
            element = element.checked_mul(*size)?.checked_add(index)?;
        }
        Some(element)
    }
}

struct Walk<'w> {
    layout: &'w Layout<'w>,
    /// Takes the number of each element, in the order of the values; `None` ends the walk.
    put: &'w mut dyn FnMut(usize) -> Option<()>,
    indices: [usize; MAX_DIMS],
}

impl Walk<'_> {
    /// Goes over the dimension of this level, at a place of all before it; `None` for indices that are damaged.
    fn level(&mut self, level: usize, place: usize) -> Option<()> {
        let layout = self.layout;
        let Some(dim) = layout.order.get(level) else { return (self.put)(layout.element(&self.indices)?) };
        match layout.dims.get(level)? {
            SparseDim::Dense { size } => {
                let size = usize::try_from(*size).ok()?;
                for index in 0..size {
                    self.indices[*dim] = index;
                    self.level(level + 1, place.checked_mul(size)?.checked_add(index)?)?;
                }
            }
            SparseDim::Sparse { segments, indices } => {
                let [from, to] = segments.get(place..place.checked_add(2)?)? else { return None };
                for at in usize::try_from(*from).ok()?..usize::try_from(*to).ok()? {
                    self.indices[*dim] = usize::try_from(*indices.get(at)?).ok()?;
                    self.level(level + 1, at)?;
                }
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tightfit_format::tflite::TensorKind;

    fn tensor(shape: &[i32], values: Place) -> Tensor {
        Tensor {
            name: "t".into(),
            kind: TensorKind(9),
            shape: shape.to_vec(),
            signature: vec![],
            values,
            external: None,
            quantization: None,
            blockwise: None,
            is_variable: false,
            sparsity: None,
        }
    }

    fn bytes(content: TensorContent) -> Vec<u8> {
        match content {
            TensorContent::Inline(bytes) => bytes.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    fn file(values: &[u8]) -> Arc<SourceFile> {
        let path =
            std::env::temp_dir().join(format!("tightfit-dense-{}-{}", std::process::id(), values.len()));
        std::fs::write(&path, values).unwrap();
        let source = SourceFile::open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        source
    }

    #[test]
    fn blocks_and_rows_are_put_where_they_belong() {
        let budget = MemoryBudget::new(1 << 20);
        // Rows of [2, 4]; of each the columns that are there.
        let rows = Sparsity {
            traversal_order: vec![0, 1],
            block_map: vec![],
            dims: vec![
                SparseDim::Dense { size: 2 },
                SparseDim::Sparse { segments: vec![0, 1, 3], indices: vec![2, 0, 3] },
            ],
        };
        let tensor_of = tensor(&[2, 4], Place { offset: 0, bytes: 3 });
        let dense = of_sparse(&file(&[7, 8, 9]), &tensor_of, &rows, 1, &budget).unwrap();
        assert_eq!(bytes(dense), [0, 0, 7, 0, 8, 0, 0, 9]);
        // Blocks of 2 columns.
        let blocks = Sparsity {
            traversal_order: vec![0, 1, 2],
            block_map: vec![1],
            dims: vec![
                SparseDim::Dense { size: 2 },
                SparseDim::Sparse { segments: vec![0, 1, 2], indices: vec![1, 0] },
                SparseDim::Dense { size: 2 },
            ],
        };
        let tensor_of = tensor(&[2, 4], Place { offset: 0, bytes: 4 });
        let dense = of_sparse(&file(&[1, 2, 3, 4]), &tensor_of, &blocks, 1, &budget).unwrap();
        assert_eq!(bytes(dense), [0, 0, 1, 2, 3, 4, 0, 0]);
        let (found, count) = marks(&tensor(&[2, 4], Place::default()), &blocks, &budget).unwrap().unwrap();
        assert_eq!((bytes(found), count), (vec![0b0011_1100], 4));
        let columns = Sparsity {
            traversal_order: vec![1, 0],
            dims: vec![blocks.dims[2].clone(); 2],
            block_map: vec![],
        };
        assert!(marks(&tensor(&[2, 2], Place::default()), &columns, &budget).unwrap().is_none());
        let damaged = Sparsity { traversal_order: vec![0, 0, 2], ..blocks.clone() };
        assert!(of_sparse(&file(&[1, 2, 3, 4]), &tensor_of, &damaged, 1, &budget).is_err());
        let tensor_of = tensor(&[2, 2], Place { offset: 0, bytes: 4 });
        assert!(of_sparse(&file(&[1, 2, 3, 4]), &tensor_of, &blocks, 1, &budget).is_err());
    }

    #[test]
    fn elements_of_few_bits_are_bytes() {
        let budget = MemoryBudget::new(1 << 20);
        let place = Place { offset: 0, bytes: 2 };
        let four = unpacked(&file(&[0xf1, 0x08]), place, (3, 4), true, &budget).unwrap();
        assert_eq!(bytes(four), [1, 0xff, 0xf8]);
        let two = unpacked(&file(&[0b1110_0100, 1]), place, (5, 2), true, &budget).unwrap();
        assert_eq!(bytes(two), [0, 1, 0xfe, 0xff, 1]);
        let unsigned = unpacked(&file(&[0xf1, 0x08]), place, (4, 4), false, &budget).unwrap();
        assert_eq!(bytes(unsigned), [1, 15, 8, 0]);
        assert!(unpacked(&file(&[0xf1, 0x08]), place, (5, 4), true, &budget).is_err());
    }
}
