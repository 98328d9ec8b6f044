//! From fields to the description, for both encodings. Scalars given twice: the last one holds, as protobuf says.
//! A message given twice in a place for one would have to be merged; no writer does that, and it is refused.

use tightfit_core::Account;

use super::schema::{
    ARG_DEF, ATTR_VALUE, DIM, FUNCTION_DEF, GRAPH_DEF, LIBRARY, LIST_VALUE, MAP_TO_MESSAGE, MAP_TO_STRING,
    NAME_ATTR_LIST, NODE_DEF, OP_DEF, TENSOR_SHAPE, VERSION_DEF,
};
use super::{ArgDef, AttrValue, FunctionDef, ListValue, NameAttrList, NodeDef, TensorDef, TensorShapeDef};
use crate::error::{FormatError, Problem};
use crate::limits::{self, Limit};
use crate::proto::{Field, Input};

type Result<T> = std::result::Result<T, FormatError>;

/// What a GraphDef message holds.
#[derive(Debug, Default)]
pub(crate) struct GraphParts {
    pub nodes: Vec<NodeDef>,
    pub functions: Vec<FunctionDef>,
    pub producer: i32,
    pub min_consumer: i32,
}

/// Decodes the message that `input` stands in, counting what it keeps.
pub(crate) struct Decoder<I> {
    pub(super) input: I,
    pub(super) ledger: Account,
    /// Nodes of the graph and of its functions so far.
    nodes: u64,
}

impl<I: Input> Decoder<I> {
    pub fn new(input: I, ledger: Account) -> Self {
        Self { input, ledger, nodes: 0 }
    }

    pub fn into_ledger(self) -> Account {
        self.ledger
    }

    /// A `GraphDef` without its enclosing message, as it is a file.
    pub fn graph(&mut self) -> Result<GraphParts> {
        let mut graph = GraphParts::default();
        let mut version = 0;
        while let Some(field) = self.input.next(GRAPH_DEF)? {
            match field {
                1 => {
                    let node = self.node()?;
                    self.keep(&mut graph.nodes, node, limits::NODES)?;
                }
                2 => self.message(LIBRARY, |this, _| {
                    let function = this.function()?;
                    this.keep(&mut graph.functions, function, limits::FUNCTIONS)
                })?,
                3 => version = self.int32()?,
                _ => self.message(VERSION_DEF, |this, field| {
                    let value = this.int32()?;
                    *if field == 1 { &mut graph.producer } else { &mut graph.min_consumer } = value;
                    Ok(())
                })?,
            }
        }
        // The field that `versions` has replaced.
        if graph.producer == 0 {
            graph.producer = version;
        }
        self.ledger.fit(&mut graph.nodes);
        self.ledger.fit(&mut graph.functions);
        Ok(graph)
    }

    fn node(&mut self) -> Result<NodeDef> {
        self.nodes += 1;
        self.check(limits::NODES, self.nodes)?;
        let mut node = NodeDef { offset: self.input.offset(), ..NodeDef::default() };
        self.message(NODE_DEF, |this, field| {
            match field {
                1 => node.name = this.name()?,
                2 => node.op = this.name()?,
                3 => {
                    let input = this.name()?;
                    this.keep(&mut node.inputs, input, limits::INPUTS)?;
                }
                4 => node.device = Some(this.name()?).filter(|d| !d.is_empty()),
                _ => this.attr(&mut node.attrs)?,
            }
            Ok(())
        })?;
        self.ledger.fit(&mut node.inputs);
        self.ledger.fit(&mut node.attrs);
        Ok(node)
    }

    /// One entry of a map of attributes.
    fn attr(&mut self, attrs: &mut Vec<(Box<str>, AttrValue)>) -> Result<()> {
        let mut key = Box::default();
        let mut value = None;
        self.message(MAP_TO_MESSAGE, |this, field| {
            match field {
                1 => key = this.name()?,
                _ => {
                    this.only_one(value.is_some(), "value of an attribute")?;
                    value = Some(this.attr_value()?);
                }
            }
            Ok(())
        })?;
        self.set(attrs, key, value.unwrap_or(AttrValue::None), limits::ATTRS)
    }

    fn attr_value(&mut self) -> Result<AttrValue> {
        let mut value = AttrValue::None;
        self.message(ATTR_VALUE, |this, field| {
            let twice = matches!(
                (field, &value),
                (1, AttrValue::List(_))
                    | (7, AttrValue::Shape(_))
                    | (8, AttrValue::Tensor(_))
                    | (10, AttrValue::Func(_))
            );
            this.only_one(twice, "value of an attribute")?;
            value = match field {
                1 => AttrValue::List(this.list()?),
                2 => AttrValue::Str(this.bytes(limits::STRING_BYTES)?),
                3 => AttrValue::Int(this.input.scalar()? as i64),
                4 => AttrValue::Float(f32::from_bits(this.input.scalar()? as u32)),
                5 => AttrValue::Bool(this.input.scalar()? != 0),
                6 => AttrValue::Type(this.int32()?),
                7 => AttrValue::Shape(this.shape()?),
                8 => {
                    this.charge(size_of::<TensorDef>() as u64)?;
                    AttrValue::Tensor(Box::new(this.tensor()?))
                }
                9 => AttrValue::Placeholder(this.name()?),
                _ => {
                    this.charge(size_of::<NameAttrList>() as u64)?;
                    AttrValue::Func(Box::new(this.name_attr_list()?))
                }
            };
            Ok(())
        })?;
        Ok(value)
    }

    fn list(&mut self) -> Result<ListValue> {
        let mut list = ListValue::Empty;
        self.message(LIST_VALUE, |this, field| this.list_field(&mut list, field))?;
        match &mut list {
            ListValue::Empty => {}
            ListValue::Strs(v) => self.ledger.fit(v),
            ListValue::Ints(v) => self.ledger.fit(v),
            ListValue::Floats(v) => self.ledger.fit(v),
            ListValue::Bools(v) => self.ledger.fit(v),
            ListValue::Types(v) => self.ledger.fit(v),
            ListValue::Shapes(v) => self.ledger.fit(v),
            ListValue::Tensors(v) => self.ledger.fit(v),
            ListValue::Funcs(v) => self.ledger.fit(v),
        }
        Ok(list)
    }

    fn list_field(&mut self, list: &mut ListValue, field: u32) -> Result<()> {
        if let ListValue::Empty = list {
            *list = match field {
                2 => ListValue::Strs(Vec::new()),
                3 => ListValue::Ints(Vec::new()),
                4 => ListValue::Floats(Vec::new()),
                5 => ListValue::Bools(Vec::new()),
                6 => ListValue::Types(Vec::new()),
                7 => ListValue::Shapes(Vec::new()),
                8 => ListValue::Tensors(Vec::new()),
                _ => ListValue::Funcs(Vec::new()),
            };
        }
        match (field, list) {
            (2, ListValue::Strs(v)) => {
                let item = self.bytes(limits::STRING_BYTES)?;
                self.keep(v, item, limits::LIST)
            }
            (3, ListValue::Ints(v)) => self.numbers(v, |bits| bits as i64),
            (4, ListValue::Floats(v)) => self.numbers(v, |bits| f32::from_bits(bits as u32)),
            (5, ListValue::Bools(v)) => self.numbers(v, |bits| bits != 0),
            (6, ListValue::Types(v)) => self.numbers(v, |bits| bits as i32),
            (7, ListValue::Shapes(v)) => {
                let item = self.shape()?;
                self.keep(v, item, limits::LIST)
            }
            (8, ListValue::Tensors(v)) => {
                let item = self.tensor()?;
                self.keep(v, item, limits::LIST)
            }
            (9, ListValue::Funcs(v)) => {
                let item = self.name_attr_list()?;
                self.keep(v, item, limits::LIST)
            }
            _ => Err(self.input.error(Problem::invalid("a list of one kind", "elements of several kinds"))),
        }
    }

    fn numbers<T>(&mut self, list: &mut Vec<T>, of_bits: impl Fn(u64) -> T) -> Result<()> {
        let Self { input, ledger, .. } = self;
        let mut problem = None;
        let walked = input.scalars(&mut |bits| {
            if problem.is_none() {
                problem = push(ledger, list, of_bits(bits), limits::LIST).err();
            }
            Ok(())
        });
        match problem {
            Some(problem) => Err(self.input.error(problem)),
            None => walked,
        }
    }

    pub(super) fn shape(&mut self) -> Result<TensorShapeDef> {
        let mut dims = Vec::new();
        let mut unknown_rank = false;
        self.message(TENSOR_SHAPE, |this, field| {
            if field == 3 {
                unknown_rank = this.input.scalar()? != 0;
                return Ok(());
            }
            let mut size = 0;
            this.message(DIM, |this, _| {
                size = this.input.scalar()? as i64;
                Ok(())
            })?;
            if size < -1 {
                let found = format!("a dimension of {size}");
                return Err(this.input.error(Problem::invalid("a dimension of 0 or more, or -1", found)));
            }
            this.keep(&mut dims, size, limits::RANK)
        })?;
        self.ledger.fit(&mut dims);
        Ok(TensorShapeDef { dims: (!unknown_rank).then_some(dims) })
    }

    fn name_attr_list(&mut self) -> Result<NameAttrList> {
        let mut list = NameAttrList::default();
        self.message(NAME_ATTR_LIST, |this, field| {
            match field {
                1 => list.name = this.name()?,
                _ => this.attr(&mut list.attrs)?,
            }
            Ok(())
        })?;
        self.ledger.fit(&mut list.attrs);
        Ok(list)
    }

    fn function(&mut self) -> Result<FunctionDef> {
        let mut function = FunctionDef::default();
        let mut signed = false;
        self.message(FUNCTION_DEF, |this, field| {
            match field {
                1 => {
                    this.only_one(std::mem::replace(&mut signed, true), "signature of a function")?;
                    this.signature(&mut function)?;
                }
                3 => {
                    let node = this.node()?;
                    this.keep(&mut function.nodes, node, limits::NODES)?;
                }
                4 => this.string_entry(&mut function.ret)?,
                5 => this.attr(&mut function.attrs)?,
                _ => this.string_entry(&mut function.control_ret)?,
            }
            Ok(())
        })?;
        self.ledger.fit(&mut function.nodes);
        self.ledger.fit(&mut function.attrs);
        Ok(function)
    }

    fn signature(&mut self, function: &mut FunctionDef) -> Result<()> {
        self.message(OP_DEF, |this, field| {
            match field {
                1 => function.name = this.name()?,
                17 => function.is_stateful = this.input.scalar()? != 0,
                _ => {
                    let arg = this.arg()?;
                    let list = if field == 2 { &mut function.input_args } else { &mut function.output_args };
                    this.keep(list, arg, limits::ARGS)?;
                }
            }
            Ok(())
        })?;
        self.ledger.fit(&mut function.input_args);
        self.ledger.fit(&mut function.output_args);
        Ok(())
    }

    fn arg(&mut self) -> Result<ArgDef> {
        let mut arg = ArgDef::default();
        self.message(ARG_DEF, |this, field| {
            match field {
                1 => arg.name = this.name()?,
                3 => arg.dtype = this.int32()?,
                4 => arg.type_attr = this.name()?,
                5 => arg.number_attr = this.name()?,
                _ => arg.type_list_attr = this.name()?,
            }
            Ok(())
        })?;
        Ok(arg)
    }

    fn string_entry(&mut self, entries: &mut Vec<(Box<str>, Box<str>)>) -> Result<()> {
        let mut key = Box::default();
        let mut value = Box::default();
        self.message(MAP_TO_STRING, |this, field| {
            *if field == 1 { &mut key } else { &mut value } = this.name()?;
            Ok(())
        })?;
        self.set(entries, key, value, limits::ARGS)
    }

    /// Reads a nested message field by field.
    pub(super) fn message(
        &mut self,
        fields: &'static [Field],
        mut field: impl FnMut(&mut Self, u32) -> Result<()>,
    ) -> Result<()> {
        let scope = self.input.enter()?;
        while let Some(number) = self.input.next(fields)? {
            field(self, number)?;
        }
        self.input.leave(scope);
        Ok(())
    }

    pub(super) fn int32(&mut self) -> Result<i32> {
        Ok(self.input.scalar()? as i32)
    }

    /// The bytes of a bytes field.
    pub(super) fn bytes(&mut self, limit: Limit) -> Result<Box<[u8]>> {
        let bytes = self.input.bytes_len()?;
        self.check(limit, bytes)?;
        self.charge(bytes)?;
        let mut out = vec![0; bytes as usize].into_boxed_slice();
        self.input.bytes_into(&mut out)?;
        Ok(out)
    }

    pub(super) fn name(&mut self) -> Result<Box<str>> {
        let bytes = self.bytes(limits::NAME_BYTES)?;
        match String::from_utf8(bytes.into_vec()) {
            Ok(name) => Ok(name.into_boxed_str()),
            Err(error) => {
                let start = &error.as_bytes()[..error.as_bytes().len().min(40)];
                let found = format!("\"{}\"", start.escape_ascii());
                Err(self.input.error(Problem::invalid("a name in UTF-8", found)))
            }
        }
    }

    /// Sets the entry `key` of a map, in which a later entry replaces an earlier one.
    pub(super) fn set<T>(
        &mut self,
        map: &mut Vec<(Box<str>, T)>,
        key: Box<str>,
        value: T,
        limit: Limit,
    ) -> Result<()> {
        match map.iter_mut().find(|(k, _)| *k == key) {
            Some((_, old)) => *old = value,
            None => self.keep(map, (key, value), limit)?,
        }
        Ok(())
    }

    /// Appends to a list of limited length.
    pub(super) fn keep<T>(&mut self, list: &mut Vec<T>, item: T, limit: Limit) -> Result<()> {
        push(&mut self.ledger, list, item, limit).map_err(|problem| self.input.error(problem))
    }

    pub(super) fn charge(&mut self, bytes: u64) -> Result<()> {
        self.ledger.charge(bytes).map_err(|e| self.input.error(Problem::Budget(e)))
    }

    pub(super) fn check(&self, limit: Limit, found: u64) -> Result<()> {
        if found <= limit.max {
            return Ok(());
        }
        Err(self.input.error(Problem::Limit { name: limit.name, limit: limit.max, found }))
    }

    pub(super) fn only_one(&self, twice: bool, what: &str) -> Result<()> {
        if !twice {
            return Ok(());
        }
        Err(self.input.error(Problem::invalid(format!("one {what}"), "a second one in the same message")))
    }
}

fn push<T>(
    ledger: &mut Account,
    list: &mut Vec<T>,
    item: T,
    limit: Limit,
) -> std::result::Result<(), Problem> {
    if list.len() as u64 >= limit.max {
        return Err(Problem::Limit { name: limit.name, limit: limit.max, found: limit.max + 1 });
    }
    ledger.push(list, item).map_err(Problem::Budget)
}
