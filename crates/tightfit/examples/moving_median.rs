//! Runs a model with an operator of our own: the median over a window that moves along each row. From the repository's
//! top folder: `cargo run --release -p tightfit --example moving_median`

use tightfit::operator::{
    Attributes, Call, Dim, Dims, Fact, Memory, OpError, Operator, Operators, Run, for_each_row,
};
use tightfit::{DType, Feed, FitOptions, MemoryBudget, Model, OpenOptions, Runner, Shape, TensorView};

/// `[rows, samples]` of float32 become `[rows, samples - window + 1]`: the median of each `window` samples in a row.
#[derive(Debug)]
pub struct MovingMedian {
    window: usize,
}

impl MovingMedian {
    /// The operator of a node with an odd `window`.
    pub fn import(attributes: &Attributes<'_>) -> Result<Box<dyn Operator>, OpError> {
        match attributes.count("window")? {
            window if window % 2 == 1 => Ok(Box::new(MovingMedian { window })),
            window => Err(OpError::attribute("window", format!("is {window}; it must be odd"))),
        }
    }
}

impl Operator for MovingMedian {
    fn name(&self) -> &'static str {
        "MovingMedian"
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Vec<Fact>, OpError> {
        let [signal] = inputs else {
            return Err(OpError::Invalid(format!("takes one input, not {}", inputs.len())));
        };
        if signal.dtype != DType::F32 {
            return Err(OpError::input(0, format!("is of {}, not float32", signal.dtype)));
        }
        let (rows, samples) = match signal.dims.get() {
            Some([rows, samples]) => (*rows, *samples),
            // Nothing is known of it yet.
            None => (Dim::Unknown, Dim::Unknown),
            Some(_) => {
                return Err(OpError::input(0, format!("has shape {}, not [rows, samples]", signal.dims)));
            }
        };
        let windows = match samples.size() {
            Some(samples) if samples < self.window => {
                let why = format!("has {samples} samples, fewer than the window of {}", self.window);
                return Err(OpError::input(0, why));
            }
            Some(samples) => Dim::Known((samples - self.window + 1) as i64),
            None => Dim::Unknown,
        };
        Ok(vec![Fact::new(DType::F32, Dims::new([rows, windows]))])
    }

    fn memory(&self, call: &Call<'_>) -> Memory {
        // Each thread sorts a window of its own.
        Memory::scratch(call.threads * self.window * size_of::<f32>())
    }

    fn run(&self, run: &mut Run<'_>) -> Result<(), OpError> {
        let (samples, windows) = (run.shape(0)[1], run.output_shape(0)[1]);
        let (signal, scratch, medians) = (run.slice::<f32>(0)?, run.scratch_of::<f32>()?, run.out::<f32>(0)?);
        for_each_row(run.pool, medians, windows, scratch, &|row, medians, sorted| {
            let signal = &signal[row * samples..][..samples];
            for (median, window) in medians.iter_mut().zip(signal.windows(self.window)) {
                let sorted = &mut sorted[..self.window];
                sorted.copy_from_slice(window);
                *median = *sorted.select_nth_unstable_by(self.window / 2, f32::total_cmp).1;
            }
        });
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut operators = Operators::new();
    operators.add("MovingMedian", &["medians"], MovingMedian::import)?;

    let budget = MemoryBudget::new(64 << 20);
    let fetches = vec!["smooth".to_string(), "level".to_string()];
    let open = OpenOptions { operators, fetches, ..OpenOptions::default() };
    let model = Model::open("examples/own_operator/signal.pbtxt", &open, &budget)?;

    let signal = [1.0, 1.1, 9.0, 1.2, 1.3, 1.4, 2.0, 2.1, -7.0, 2.2, 2.3, 2.4f32];
    let shape = Shape::new(&[2, 6])?;
    let options = FitOptions { batch: 2, shapes: [("signal".into(), shape)].into(), ..FitOptions::default() };
    let mut runner = Runner::new(&model, &options, &budget)?;
    let rows = TensorView::from_slice(shape, &signal).ok_or("12 samples are needed")?;
    let outputs = runner.run(&[Feed::Tensor(rows)])?;
    for (name, output) in ["smooth", "level"].map(|name| (name, outputs.get(name))) {
        let output = output.ok_or("the model has no such output")?;
        println!("{name} {} {:?}", output.shape(), output.as_slice::<f32>().ok_or("not float32")?);
    }
    Ok(())
}
