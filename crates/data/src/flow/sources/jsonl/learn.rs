//! What the fields are: from the description, and from the first lines.

use std::collections::HashMap;

use tightfit_core::{DType, MemoryBudget, Reservation};

use super::rows::{Column, Lines, MAX_KEY_BYTES, name_of};
use super::{JsonColumn, JsonLines, PURPOSE};
use crate::error::{BadRow, DataError, RowFault};
use crate::flow::sources::csv::column_bytes;
use crate::json::{Found, Json, Kind};
use crate::source::FileList;

/// Lines that are looked at to find the types and shapes of fields, as many as rows of CSV.
const INFERENCE_LINES: usize = 100;

/// The field of lines that are no objects.
const VALUE: &str = "value";

impl JsonLines {
    /// The fields: from the description, and the first lines of the first file.
    pub(super) fn learn(&self, list: &FileList, budget: &MemoryBudget) -> Result<Learnt, DataError> {
        let wrong = |why: String| DataError::Spec(format!("{}: {why}", list.path(0).display()));
        let mut reservation = budget.try_reserve(PURPOSE, 0)?;
        let (seen, is_bare) = look(list, &mut reservation, budget)?;
        // Who wants some of the keys wants no others.
        let is_wanted = |name: &str| self.wanted.iter().any(|(wanted, _)| wanted == name);
        let has_wanted = seen.iter().any(|one| is_wanted(&one.name));
        let chosen = |name: &str| match &self.select {
            Some(select) => select.iter().any(|selected| selected == name),
            None => !has_wanted || is_wanted(name),
        };
        let mut columns: Vec<JsonColumn> = self.columns.iter().filter(|c| chosen(&c.name)).cloned().collect();
        let described = columns.len();
        for one in seen {
            let is_described = columns.get(..described).is_some_and(|c| c.iter().any(|c| c.name == one.name));
            if is_described || !chosen(&one.name) {
                continue;
            }
            let wanted = self.wanted.iter().find(|(name, _)| *name == one.name).map(|(_, dtype)| *dtype);
            let is_needed = self.select.is_some() || wanted.is_some();
            match one.dtype(wanted) {
                Some(dtype) => {
                    let Seen { name, dims, .. } = one;
                    columns.push(JsonColumn { name, dtype, dims, default: None });
                }
                None if is_needed => {
                    return Err(wrong(format!("{:?} makes no tensor in the first lines", one.name)));
                }
                None => {}
            }
        }
        if let Some(select) = &self.select {
            let place = |name: &str| select.iter().position(|selected| selected == name);
            if let Some(name) = select.iter().find(|name| columns.iter().all(|c| c.name != **name)) {
                return Err(wrong(format!("there is no key {name:?} in the first lines")));
            }
            columns.sort_by_key(|column| place(&column.name));
        }
        if columns.is_empty() {
            return Err(wrong("no key of the first lines has values that make a tensor".to_string()));
        }
        let columns =
            columns.into_iter().map(|spec| Column::new(spec).map_err(wrong)).collect::<Result<_, _>>()?;
        Ok(Learnt { columns, is_bare, reservation })
    }
}

/// What [`JsonLines::learn`] finds out.
pub(super) struct Learnt {
    pub columns: Vec<Column>,
    /// Whether lines are values, and no objects.
    pub is_bare: bool,
    /// Counts what is kept for each field.
    pub reservation: Reservation,
}

/// What the values of a key were so far.
struct Seen {
    name: String,
    kind: Kind,
    dims: Vec<Option<usize>>,
}

impl Seen {
    fn see(&mut self, found: &Found) {
        if self.kind == Kind::Null {
            self.dims = found.shape.iter().copied().map(Some).collect();
            self.kind = found.kind;
        } else if self.dims.len() != found.shape.rank() {
            self.kind = Kind::Other;
        }
        self.kind = self.kind.with(found.kind);
        for (dim, size) in self.dims.iter_mut().zip(found.shape.iter()) {
            *dim = dim.filter(|dim| dim == size);
        }
    }

    /// The type of the field that it becomes, if it becomes one: of numbers the float type that is wanted.
    fn dtype(&self, wanted: Option<DType>) -> Option<DType> {
        let float = wanted.filter(|dtype| dtype.is_float());
        Some(match self.kind {
            Kind::Whole => float.unwrap_or(DType::I64),
            Kind::Float | Kind::Nothing => float.unwrap_or(DType::F32),
            Kind::FloatText => float.unwrap_or(DType::String),
            Kind::Bool => DType::Bool,
            Kind::Text => DType::String,
            Kind::Null | Kind::Other => return None,
        })
    }
}

/// Looks at the first lines: what each key holds there, and whether the first line is no object.
fn look(
    list: &FileList,
    reservation: &mut Reservation,
    budget: &MemoryBudget,
) -> Result<(Vec<Seen>, bool), DataError> {
    let path = list.path(0);
    let failed = |fault: RowFault| match fault {
        RowFault::Io(error) => DataError::Io { path: path.to_path_buf(), error },
        RowFault::Memory(error) => DataError::Budget(error),
        fault => {
            DataError::Row(Box::new(BadRow { path: path.to_path_buf(), record: None, offset: None, fault }))
        }
    };
    let mut lines = Lines::open(path, (0, 0), None, budget).map_err(failed)?;
    let (mut seen, mut places) = (Vec::<Seen>::new(), HashMap::<String, usize>::new());
    let (mut is_bare, mut first_fault) = (None, None);
    for _ in 0..INFERENCE_LINES {
        match lines.advance() {
            Ok(true) => {}
            Ok(false) => break,
            // A line that is too long for the memory is told when it is its turn.
            Err(_) if is_bare.is_some() => break,
            Err(fault) => return Err(failed(lines.in_line(fault))),
        }
        let mut json = Json::new(lines.current(), 0);
        let is_object = json.peek() == Some(b'{');
        if is_object == *is_bare.get_or_insert(!is_object) {
            continue;
        }
        let mut refused = None;
        let mut see = |name: &[u8], found: &Found| {
            let name = String::from_utf8_lossy(name);
            let place = places.get(&*name).copied();
            let one = match place {
                Some(place) => seen.get_mut(place),
                None => {
                    refused = reservation.try_grow(2 * column_bytes(1, name.len())).err();
                    if refused.is_some() {
                        return;
                    }
                    places.insert(name.clone().into_owned(), seen.len());
                    seen.push(Seen { name: name.into_owned(), kind: Kind::Null, dims: Vec::new() });
                    seen.last_mut()
                }
            };
            if let Some(one) = one.filter(|_| found.kind != Kind::Null) {
                one.see(found);
            }
        };
        let read = match is_object {
            true => json.object(|key, json| {
                let (mut room, found) = ([0; MAX_KEY_BYTES], json.value()?);
                if let Some(name) = name_of(key, &mut room) {
                    see(name, &found);
                }
                Ok(())
            }),
            false => json.value().map(|found| see(VALUE.as_bytes(), &found)),
        };
        if let Some(error) = refused {
            return Err(DataError::Budget(error));
        }
        if let Err(why) = read.and_then(|()| json.end()) {
            // A line that is wrong is told when it is its turn, if it is not all there is.
            first_fault.get_or_insert(lines.in_line(RowFault::Map(why)));
        }
    }
    match (seen.is_empty(), first_fault) {
        (true, Some(fault)) => Err(failed(fault)),
        (true, None) => Err(failed(RowFault::Map("no lines to find the fields from".to_string()))),
        (false, _) => Ok((seen, is_bare == Some(true))),
    }
}
