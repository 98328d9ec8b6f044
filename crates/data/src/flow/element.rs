//! What flows: elements of named fields, each a tensor. The type is a [`Schema`], tf.data's `element_spec`; memory is an
//! [`Element`], and what a stage lends to the next is an [`ElementView`].

use std::fmt;
use std::sync::Arc;

use std::collections::HashSet;

use tightfit_core::{
    BudgetError, DType, MAX_RANK, MemoryBudget, Reservation, Shape, ShapeError, StringRef, TensorView,
};

use super::growing::Growing;
use super::origin::Origin;
use crate::error::{Defect, Needed, RowFault, clamped};
use crate::meant::did_you_mean;

/// Fields of at least this size begin at a multiple of it, so that any vector register can be filled from them.
const WIDE_ALIGNMENT: usize = 64;

/// Smaller fields begin at a multiple of this, which is enough for every element type.
const ALIGNMENT: usize = 16;

/// The type of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// What it is called.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Its dimensions; `None` for one that differs from element to element.
    pub dims: Vec<Option<usize>>,
}

impl Field {
    /// A field.
    pub fn new(name: impl Into<String>, dtype: DType, dims: &[Option<usize>]) -> Field {
        Field { name: name.into(), dtype, dims: dims.to_vec() }
    }

    /// A field of a shape that is always the same.
    pub fn fixed(name: impl Into<String>, dtype: DType, dims: &[usize]) -> Field {
        Field { name: name.into(), dtype, dims: dims.iter().copied().map(Some).collect() }
    }

    /// The shape, when no dimension is open.
    pub fn shape(&self) -> Option<Shape> {
        let dims: Option<Vec<usize>> = self.dims.iter().copied().collect();
        Shape::new(&dims?).ok()
    }

    /// True when `shape` is one that the field can have.
    pub fn allows(&self, shape: &Shape) -> bool {
        let fits = |(dim, size): (&Option<usize>, &usize)| dim.is_none_or(|dim| dim == *size);
        self.dims.len() == shape.rank() && self.dims.iter().zip(&shape[..]).all(fits)
    }

    /// The field with one more dimension in front, as batching makes it.
    pub fn batched(&self, dim: Option<usize>) -> Field {
        let dims = std::iter::once(dim).chain(self.dims.iter().copied()).collect();
        Field { name: self.name.clone(), dtype: self.dtype, dims }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} [", self.name, self.dtype)?;
        for (i, dim) in self.dims.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            match dim {
                Some(dim) => write!(f, "{comma}{dim}")?,
                None => write!(f, "{comma}?")?,
            }
        }
        f.write_str("]")
    }
}

/// What a field takes in a schema: itself, its shape, and what the allocator adds for its name and its dimensions.
const FIELD_BYTES: usize = size_of::<Field>() + size_of::<Option<Shape>>() + 96;

/// The type of the elements of a stage: its fields in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schema {
    fields: Vec<Field>,
    /// Of each field the shape, when no dimension is open.
    shapes: Vec<Option<Shape>>,
}

impl Schema {
    /// A schema of these fields.
    ///
    /// # Errors
    /// When two fields have one name.
    pub fn new(fields: Vec<Field>) -> Result<Schema, String> {
        let mut names = HashSet::with_capacity(fields.len());
        if let Some(field) = fields.iter().find(|field| !names.insert(field.name.as_str())) {
            return Err(format!("two fields are called {:?}", field.name));
        }
        drop(names);
        let shapes = fields.iter().map(Field::shape).collect();
        Ok(Schema { fields, shapes })
    }

    /// A schema of one field.
    pub fn single(field: Field) -> Schema {
        Schema { shapes: vec![field.shape()], fields: vec![field] }
    }

    /// Bytes that a schema takes whose fields have names of `name_bytes` together.
    pub(crate) fn bytes_of(fields: usize, name_bytes: usize) -> u64 {
        (fields.saturating_mul(FIELD_BYTES)).saturating_add(name_bytes) as u64
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> u64 {
        Schema::bytes_of(self.fields.len(), self.fields.iter().map(|field| field.name.len()).sum())
    }

    /// The shape of the field `index`, when no dimension is open.
    pub(crate) fn shape(&self, index: usize) -> Option<&Shape> {
        self.shapes.get(index)?.as_ref()
    }

    /// The fields in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The number of the field `name`.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// The number of the field `name`.
    ///
    /// # Errors
    /// When there is none: a message with those that there are.
    pub fn index(&self, name: &str) -> Result<usize, String> {
        let missing = || {
            let names: Vec<_> = self.fields.iter().map(|field| field.name.as_str()).collect();
            format!("there is no field {name:?} here, but {self}{}", did_you_mean(name, &names))
        };
        self.find(name).ok_or_else(missing)
    }

    /// The same fields with `change` done to the field `index`.
    #[must_use]
    pub fn with(&self, index: usize, change: impl FnOnce(&mut Field)) -> Schema {
        let mut fields = self.fields.clone();
        if let Some(field) = fields.get_mut(index) {
            change(field);
        }
        let shapes = fields.iter().map(Field::shape).collect();
        Schema { fields, shapes }
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, field) in self.fields.iter().enumerate() {
            write!(f, "{}{field}", if i == 0 { "" } else { "; " })?;
        }
        if self.fields.is_empty() { f.write_str("no fields") } else { Ok(()) }
    }
}

/// Where a field lies in the values of its element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The field's shape in this element.
    pub shape: Shape,
    /// Where its first byte is.
    pub offset: usize,
}

/// One element, lent by the stage it lies in. Elements of string fields are [`StringRef`]s into [`ElementView::text`].
#[derive(Debug, Clone, Copy)]
pub struct ElementView<'a> {
    schema: &'a Schema,
    places: &'a [Place],
    values: &'a [u8],
    text: &'a [u8],
    origin: Origin,
}

impl<'a> ElementView<'a> {
    /// An element of `schema` whose fields lie in `values` at `places`.
    pub fn new(
        schema: &'a Schema,
        places: &'a [Place],
        values: &'a [u8],
        text: &'a [u8],
        origin: Origin,
    ) -> ElementView<'a> {
        ElementView { schema, places, values, text, origin }
    }

    /// Its type.
    pub fn schema(&self) -> &'a Schema {
        self.schema
    }

    /// Where its fields lie.
    pub fn places(&self) -> &'a [Place] {
        self.places
    }

    /// The memory that its fields lie in.
    pub fn values(&self) -> &'a [u8] {
        self.values
    }

    /// The bytes that the elements of string fields refer to.
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Where it came from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The same element, from `file`.
    #[must_use]
    pub(crate) fn in_file(self, file: u32) -> ElementView<'a> {
        ElementView { origin: Origin { file, ..self.origin }, ..self }
    }

    /// Field `index`.
    pub fn tensor(&self, index: usize) -> Option<TensorView<'a>> {
        let (field, place) = (self.schema.fields.get(index)?, self.places.get(index)?);
        let bytes = place.shape.elements().checked_mul(field.dtype.bytes())?;
        let values = self.values.get(place.offset..place.offset.checked_add(bytes)?)?;
        TensorView::new(field.dtype, place.shape, values)
    }

    /// The field `name`.
    pub fn field(&self, name: &str) -> Option<TensorView<'a>> {
        self.tensor(self.schema.find(name)?)
    }

    /// The strings of field `index`, row-major; none when it is a field of numbers. A [`Defect`] in place of one that
    /// does not lie in the element's text.
    pub fn strings(&self, index: usize) -> impl Iterator<Item = Result<&'a [u8], Defect>> + use<'a> {
        let text = self.text;
        self.string_refs(index).iter().map(move |bytes| string(text, bytes))
    }

    fn string_refs(&self, index: usize) -> &'a [[u8; 16]] {
        let tensor = self.tensor(index).filter(|t| t.dtype() == DType::String);
        tensor.map_or(&[][..], |t| t.bytes()).as_chunks().0
    }

    /// Bytes of the text of field `index`.
    fn string_bytes(&self, index: usize) -> usize {
        let bytes = |element: &[u8; 16]| clamped(bytemuck::cast::<_, StringRef>(*element).bytes);
        self.string_refs(index).iter().map(bytes).fold(0, usize::saturating_add)
    }

    /// The first string of field `index`.
    ///
    /// # Errors
    /// [`Defect`] when it has none: it is not there, has no elements or is one of numbers.
    pub fn string(&self, index: usize) -> Result<&'a [u8], Defect> {
        self.strings(index).next().needed("a field that has to be text is not").flatten()
    }

    /// Bytes of its numbers and its strings.
    pub fn bytes(&self) -> usize {
        let of_field = |(index, (field, place)): (usize, (&Field, &Place))| match field.dtype {
            DType::String => self.string_bytes(index),
            dtype => dtype.bytes().saturating_mul(place.shape.elements()),
        };
        self.schema.fields.iter().zip(self.places).enumerate().map(of_field).sum()
    }

    /// Whether its memory holds little beside its fields, which lie where [`Element::add`] would put them or further
    /// apart: then it is copied as it is.
    fn is_compact(&self) -> bool {
        let mut values = 0usize;
        for (field, place) in self.schema.fields.iter().zip(self.places) {
            let bytes = field.dtype.bytes().saturating_mul(place.shape.elements());
            if !place.offset.is_multiple_of(alignment(bytes)) {
                return false;
            }
            values = values.saturating_add(bytes);
        }
        let is_string =
            |index: &usize| self.schema.fields.get(*index).is_some_and(|f| f.dtype == DType::String);
        let texts = (0..self.places.len()).filter(is_string).map(|index| self.string_bytes(index));
        self.values.len() <= values.saturating_add(WIDE_ALIGNMENT * self.places.len())
            && (self.text.is_empty() || self.text.len() <= texts.fold(0, usize::saturating_add))
    }
}

/// `shape` with `first` for its first dimension, if it has one.
pub(crate) fn with_first(shape: &Shape, first: usize) -> Result<Shape, ShapeError> {
    let Some((_, inner)) = shape.split_first() else { return Ok(*shape) };
    let mut dims = [first; MAX_RANK];
    let dims = &mut dims[..shape.rank()];
    dims[1..].copy_from_slice(inner);
    Shape::new(dims)
}

/// What the place of a field of `bytes` is a multiple of.
fn alignment(bytes: usize) -> usize {
    if bytes < WIDE_ALIGNMENT { ALIGNMENT } else { WIDE_ALIGNMENT }
}

/// The bytes that a string element refers to.
pub(crate) fn string<'a>(text: &'a [u8], element: &[u8; 16]) -> Result<&'a [u8], Defect> {
    let StringRef { offset, bytes } = bytemuck::cast(*element);
    let range = usize::try_from(offset).ok().zip(usize::try_from(bytes).ok());
    let range = range.and_then(|(from, bytes)| Some(from..from.checked_add(bytes)?));
    range.and_then(|range| text.get(range)).needed("a string lies outside its text")
}

/// The memory of one element, used again for the next. It grows to the largest it has held.
#[derive(Debug)]
pub struct Element {
    schema: Arc<Schema>,
    values: Growing,
    text: Growing,
    places: Vec<Place>,
    /// Counts `places`.
    table: Option<Reservation>,
    purpose: &'static str,
    budget: MemoryBudget,
    origin: Origin,
}

impl Element {
    /// An empty element whose memory will come out of `budget`, for `purpose`.
    pub fn new(schema: Arc<Schema>, purpose: &'static str, budget: &MemoryBudget) -> Element {
        let growing = || Growing::new(purpose, budget);
        let (values, text, budget) = (growing(), growing(), budget.clone());
        let (places, origin) = (Vec::new(), Origin::default());
        Element { schema, values, text, places, table: None, purpose, budget, origin }
    }

    /// Makes room for the places of all fields, when the first comes.
    fn hold_places(&mut self) -> Result<(), BudgetError> {
        let fields = self.schema.fields.len();
        if self.table.is_none() {
            let bytes = fields.saturating_mul(size_of::<Place>()) as u64;
            self.table = Some(self.budget.try_reserve(self.purpose, bytes)?);
            self.places.reserve_exact(fields);
        }
        Ok(())
    }

    /// Its type.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Bytes it holds for values and text, used or not.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.values.held_bytes() + self.text.held_bytes()
    }

    /// Bytes it holds, used or not.
    pub fn held_bytes(&self) -> usize {
        let table = self.table.as_ref().map_or(0, |table| table.bytes() as usize);
        self.buffer_bytes() + table
    }

    /// Fields that were added.
    pub fn added(&self) -> usize {
        self.places.len()
    }

    /// Forgets what it holds; an element that comes from `origin` follows.
    pub fn begin(&mut self, origin: Origin) {
        self.values.set_used(0);
        self.text.set_used(0);
        self.places.clear();
        self.origin = origin;
    }

    /// The memory of the next field, in the order of the schema, to be filled: it may hold what was there before.
    ///
    /// # Errors
    /// [`RowFault::Memory`] when it does not fit, [`RowFault::Broken`] when the schema has no more fields.
    pub fn add(&mut self, shape: Shape) -> Result<&mut [u8], RowFault> {
        self.hold_places()?;
        let field = self.schema.fields.get(self.places.len());
        let dtype = field.needed("an element has more fields than its schema")?.dtype;
        let bytes = shape.elements().saturating_mul(dtype.bytes());
        // A power of two, for which the mask is much quicker than a division.
        let below = alignment(bytes) - 1;
        let offset = (self.values.used() + below) & !below;
        let end = offset.saturating_add(bytes);
        self.values.grow_to(end)?;
        self.places.push(Place { shape, offset });
        Ok(self.values.range_mut(offset, end)?)
    }

    /// Room for `bytes` of text, to be filled, and what a string element holds to refer to it.
    ///
    /// # Errors
    /// [`BudgetError`] when it does not fit.
    pub fn add_text_room(&mut self, bytes: usize) -> Result<(StringRef, &mut [u8]), BudgetError> {
        let offset = self.text.used();
        let room = self.text.grow_to(offset.saturating_add(bytes))?;
        Ok((StringRef { offset: offset as u64, bytes: bytes as u64 }, room))
    }

    /// Gives back what lies after `string`, the text that was added last.
    pub fn cut_text(&mut self, string: StringRef) {
        self.text.set_used((string.offset + string.bytes) as usize);
    }

    /// Adds text; what a string element holds to refer to it.
    ///
    /// # Errors
    /// [`BudgetError`] when it does not fit.
    pub fn add_text(&mut self, text: &[u8]) -> Result<StringRef, BudgetError> {
        let (string, room) = self.add_text_room(text.len())?;
        room.copy_from_slice(text);
        Ok(string)
    }

    /// The memory of a field that was added before.
    ///
    /// # Errors
    /// [`Defect`] when it was not.
    pub fn field_mut(&mut self, index: usize) -> Result<&mut [u8], Defect> {
        let field = self.places.get(index).zip(self.schema.fields.get(index));
        let (place, field) = field.needed("a field is filled before it is added")?;
        self.values.range_mut(place.offset, place.offset + place.shape.elements() * field.dtype.bytes())
    }

    /// Element `at` of the string field `index`, which was added before, becomes `string`.
    ///
    /// # Errors
    /// [`Defect`] when the field has no such element.
    pub fn put_string(&mut self, index: usize, at: usize, string: StringRef) -> Result<(), Defect> {
        let to = self.field_mut(index)?.as_chunks_mut::<16>().0.get_mut(at);
        *to.needed("a field has no room for a string")? = bytemuck::cast(string);
        Ok(())
    }

    /// Part of the memory of fields that were added before, `bytes` from `offset` on.
    pub(crate) fn values_mut(&mut self, offset: usize, bytes: usize) -> Result<&mut [u8], Defect> {
        self.values.range_mut(offset, offset.saturating_add(bytes))
    }

    /// Adds a field with one string.
    ///
    /// # Errors
    /// As [`Element::add`].
    pub fn add_string(&mut self, text: &[u8]) -> Result<(), RowFault> {
        let string = self.add_text(text)?;
        self.add(Shape::SCALAR)?.copy_from_slice(bytemuck::bytes_of(&string));
        Ok(())
    }

    /// Adds a field that is equal to `tensor`, whose strings lie in `text`.
    ///
    /// # Errors
    /// As [`Element::add`], and [`RowFault::Broken`] when a string does not lie in `text`.
    pub fn add_copy(&mut self, tensor: TensorView<'_>, text: &[u8]) -> Result<(), RowFault> {
        let index = self.places.len();
        self.add(*tensor.shape())?.copy_from_slice(tensor.bytes());
        if tensor.dtype() == DType::String {
            self.put_strings(index, 0, tensor.bytes(), text)?;
        }
        Ok(())
    }

    /// Makes the elements of string field `index`, from element `at` on, equal to the elements `refs`, whose bytes
    /// lie in `text`.
    ///
    /// # Errors
    /// [`RowFault::Memory`] when it does not fit, [`RowFault::Broken`] when there are fewer elements or the strings lie
    /// elsewhere.
    pub fn put_strings(&mut self, index: usize, at: usize, refs: &[u8], text: &[u8]) -> Result<(), RowFault> {
        for (i, element) in refs.as_chunks::<16>().0.iter().enumerate() {
            let own = self.add_text(string(text, element)?)?;
            self.put_string(index, at + i, own)?;
        }
        Ok(())
    }

    /// Leaves of each field only the first `rows` along its first dimension.
    ///
    /// # Errors
    /// [`Defect`] when the shapes that come out are none.
    pub fn keep_rows(&mut self, rows: usize) -> Result<(), Defect> {
        for place in &mut self.places {
            if let Some(first) = place.shape.first() {
                let fewer = with_first(&place.shape, rows.min(*first));
                place.shape = fewer.map_err(|_| Defect("fewer rows do not have a shape"))?;
            }
        }
        Ok(())
    }

    /// Becomes equal to `view`, which has the same schema.
    ///
    /// # Errors
    /// [`RowFault::Memory`] when it does not fit, [`RowFault::Broken`] when the view's fields do not lie in its memory.
    pub fn copy_from(&mut self, view: &ElementView<'_>) -> Result<(), RowFault> {
        self.begin(view.origin);
        self.hold_places()?;
        if view.is_compact() {
            self.values.extend(view.values)?;
            self.text.extend(view.text)?;
            self.places.extend_from_slice(view.places);
            return Ok(());
        }
        for index in 0..view.places.len() {
            self.add_copy(view.tensor(index).needed("a field lies outside its element")?, view.text)?;
        }
        Ok(())
    }

    /// What it holds.
    pub fn view(&self) -> ElementView<'_> {
        ElementView {
            schema: &self.schema,
            places: &self.places,
            values: self.values.bytes(),
            text: self.text.bytes(),
            origin: self.origin,
        }
    }
}
