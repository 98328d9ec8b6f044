//! A model that C calls.

use std::ffi::{CStr, CString};
use std::path::Path;

use tightfit::{DType, Fact, Feed, OpenOptions, Session, SessionOptions, Shape, TensorView};
use tightfit_core::StringRef;

use crate::error::Failure;
use crate::types::{PlanLines, Spec, Tensor, Text, number};

/// A model that is open: `tightfit_model`.
pub struct Model {
    session: Session,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    /// What the last run has computed, as it is handed out.
    results: Vec<Kept>,
}

/// An input or output.
pub struct Port {
    name: CString,
    dtype: DType,
    shape: Option<Vec<i64>>,
}

/// An output of the last run: its elements are where the run left them, strings apart.
struct Kept {
    shape: Shape,
    texts: Vec<Text>,
}

impl Port {
    fn new(name: &str, fact: &Fact) -> Result<Port, Failure> {
        let open =
            |dims: &[_]| dims.iter().map(|dim: &tightfit::Dim| dim.size().map_or(-1, |n| n as i64)).collect();
        Ok(Port {
            name: CString::new(name).map_err(|_| Failure::defect("a name of the model has a zero in it"))?,
            dtype: fact.dtype,
            shape: fact.dims.get().map(open),
        })
    }

    /// What it is, for who asks.
    pub fn spec(&self) -> Spec {
        Spec {
            name: self.name.as_ptr(),
            dtype: number(self.dtype),
            rank: self.shape.as_ref().map_or(-1, |shape| shape.len() as i64),
            shape: self.shape.as_ref().map_or(std::ptr::null(), |shape| shape.as_ptr()),
        }
    }
}

/// What an input is fed, as it comes in.
enum Fed<'a> {
    Dense(TensorView<'a>),
    Texts(Shape, Vec<Box<[u8]>>),
}

impl Fed<'_> {
    fn feed(&self) -> Feed<'_> {
        match self {
            Fed::Dense(view) => Feed::Tensor(*view),
            Fed::Texts(shape, texts) => Feed::Strings(*shape, texts),
        }
    }
}

impl Model {
    /// Opens the model at `path`.
    pub fn open(path: &str, open: &OpenOptions, options: &SessionOptions) -> Result<Model, Failure> {
        let session = Session::open(Path::new(path), open, options)?;
        let graph = session.model().graph();
        let port = |port: &tightfit::Port| Port::new(&port.name, graph.fact(port.value));
        let inputs = graph.inputs.iter().map(port).collect::<Result<_, _>>()?;
        let outputs = graph.outputs.iter().map(port).collect::<Result<_, _>>()?;
        Ok(Model { session, inputs, outputs, results: Vec::new() })
    }

    /// What it takes.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What it gives.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// How it lies in memory for `batch` rows.
    pub fn plan(&self, batch: usize) -> Result<PlanLines, Failure> {
        if batch == 0 {
            return Err(Failure::usage("a batch of no rows"));
        }
        let (_, fit) = self.session.plan(batch, Default::default())?;
        let lines = fit.lines;
        Ok(PlanLines {
            minimum_bytes: fit.minimum_bytes,
            planned_bytes: lines.total_bytes(),
            runtime_bytes: lines.runtime_bytes,
            weights_bytes: lines.weights_bytes,
            window_bytes: lines.window_bytes,
            arena_bytes: lines.arena_bytes,
            pipeline_bytes: lines.pipeline_bytes,
            sink_bytes: lines.sink_bytes,
        })
    }

    /// Computes the outputs.
    ///
    /// # Safety
    /// The tensors point to what they say.
    pub unsafe fn run(&mut self, tensors: &[Tensor]) -> Result<(), Failure> {
        self.results.clear();
        let mut fed: Vec<Option<Fed<'_>>> = self.inputs.iter().map(|_| None).collect();
        for tensor in tensors {
            if tensor.name.is_null() {
                return Err(Failure::usage("a tensor without a name"));
            }
            // SAFETY: as the caller promises.
            let name = unsafe { CStr::from_ptr(tensor.name) };
            let index = self.find_input(&name.to_string_lossy())?;
            // SAFETY: as the caller promises.
            let value = unsafe { read(tensor, name) }?;
            match fed.get_mut(index) {
                Some(place @ None) => *place = Some(value),
                _ => return Err(Failure::usage(format!("input '{}' is fed twice", name.to_string_lossy()))),
            }
        }
        let missing = self.inputs.iter().zip(&fed).find(|(_, fed)| fed.is_none());
        if let Some((input, _)) = missing {
            return Err(Failure::usage(format!("not fed: {}", input.name.to_string_lossy())));
        }
        let feeds: Vec<Feed<'_>> = fed.iter().flatten().map(Fed::feed).collect();
        let outputs = self.session.run(&feeds)?;
        for index in 0..outputs.len() {
            let Some(tensor) = outputs.tensor(index) else {
                let name = outputs.name(index).unwrap_or_default();
                return Err(Failure::usage(format!("'{name}' is a weight and not kept as it is")));
            };
            let references = tensor.as_slice::<StringRef>().unwrap_or_default();
            let texts = references.iter().map(|reference| {
                let text = outputs.string(*reference);
                Text { data: text.as_ptr().cast(), bytes: text.len() }
            });
            self.results.push(Kept { shape: *tensor.shape(), texts: texts.collect() });
        }
        Ok(())
    }

    fn find_input(&self, name: &str) -> Result<usize, Failure> {
        let model = self.session.model();
        let inputs = &model.graph().inputs;
        inputs.iter().position(|port| model.is_called(port, name)).ok_or_else(|| {
            let names = inputs.iter().map(|port| port.name.as_str());
            Failure::usage(match tightfit::closest(name, names.clone()) {
                Some(input) => format!("the model has no input '{name}'; did you mean '{input}'?"),
                None => {
                    let names: Vec<&str> = names.collect();
                    format!("the model has no input '{name}'; its inputs are {}", names.join(", "))
                }
            })
        })
    }

    /// Output `index` of the last run.
    pub fn result(&self, index: usize) -> Result<Tensor, Failure> {
        let port =
            self.outputs.get(index).ok_or_else(|| Failure::usage(format!("there is no output {index}")))?;
        let outputs = self.session.outputs().filter(|_| index < self.results.len());
        let tensor = outputs.and_then(|outputs| outputs.tensor(index));
        let (Some(tensor), Some(result)) = (tensor, self.results.get(index)) else {
            return Err(Failure::usage("there are no outputs before a run, and after one that failed"));
        };
        let is_text = tensor.dtype() == DType::String;
        Ok(Tensor {
            name: port.name.as_ptr(),
            dtype: number(tensor.dtype()),
            rank: result.shape.rank(),
            shape: result.shape.as_ptr(),
            data: if is_text { result.texts.as_ptr().cast() } else { tensor.bytes().as_ptr().cast() },
            bytes: if is_text { size_of_val(&result.texts[..]) } else { tensor.bytes().len() },
        })
    }

    /// Makes every variable what it is before the first run.
    pub fn reset(&mut self) -> Result<(), Failure> {
        self.results.clear();
        Ok(self.session.reset()?)
    }
}

/// A tensor that comes in.
///
/// # Safety
/// It points to what it says.
unsafe fn read<'a>(tensor: &Tensor, name: &CStr) -> Result<Fed<'a>, Failure> {
    let name = name.to_string_lossy();
    let wrong = |why: &str| Failure::usage(format!("input '{name}' {why}"));
    let number = usize::try_from(tensor.dtype).ok();
    let dtype =
        number.and_then(|number| DType::ALL.get(number)).ok_or_else(|| wrong("is of no type that exists"))?;
    let dims = match (tensor.rank, tensor.shape.is_null()) {
        (0, _) => &[],
        (_, true) => return Err(wrong("has no shape")),
        // SAFETY: as the caller promises.
        (rank, false) => unsafe { std::slice::from_raw_parts(tensor.shape, rank) },
    };
    let shape = Shape::new(dims).map_err(|error| wrong(&error.to_string()))?;
    if *dtype == DType::String {
        let count = shape.elements();
        if tensor.bytes / size_of::<Text>() != count || !tensor.bytes.is_multiple_of(size_of::<Text>()) {
            return Err(wrong("has not as many strings as its shape"));
        }
        if count > 0 && tensor.data.is_null() {
            return Err(wrong("has no elements"));
        }
        let texts = (0..count).map(|index| {
            // SAFETY: as the caller promises.
            let text = unsafe { tensor.data.cast::<Text>().add(index).read() };
            if text.bytes == 0 {
                return Ok(Box::default());
            }
            if text.data.is_null() {
                return Err(wrong("has a string that is nowhere"));
            }
            // SAFETY: as the caller promises.
            Ok(unsafe { std::slice::from_raw_parts(text.data.cast::<u8>(), text.bytes) }.into())
        });
        return Ok(Fed::Texts(shape, texts.collect::<Result<_, _>>()?));
    }
    if tensor.bytes > 0 && tensor.data.is_null() {
        return Err(wrong("has no elements"));
    }
    if tensor.data.align_offset(dtype.bytes().min(8)) != 0 {
        return Err(wrong("is not aligned for its elements"));
    }
    let bytes = match tensor.bytes {
        0 => &[],
        // SAFETY: as the caller promises.
        bytes => unsafe { std::slice::from_raw_parts(tensor.data.cast::<u8>(), bytes) },
    };
    // Kernels rely on 0 and 1.
    if *dtype == DType::Bool && bytes.iter().any(|byte| *byte > 1) {
        return Err(wrong("has a truth that is neither 0 nor 1"));
    }
    let view = TensorView::new(*dtype, shape, bytes);
    view.map(Fed::Dense).ok_or_else(|| wrong("has not as many bytes as its shape and type"))
}
