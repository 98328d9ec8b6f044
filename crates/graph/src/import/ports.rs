//! What callers call a model's inputs and outputs: the keys of a signature stand for tensors of the graph.

use super::{ImportOptions, split_name};

/// Names that stand for tensors.
#[derive(Debug, Clone, Default)]
pub struct PortNames {
    /// Tensors that are fed, and what callers call them.
    pub inputs: Vec<(String, String)>,
    /// What callers call outputs, and the tensors.
    pub outputs: Vec<(String, String)>,
    /// Other names of outputs, and the tensors: what the file calls a tensor where a graph cannot.
    pub aliases: Vec<(String, String)>,
    /// True where these inputs are fed although they may be computed from others: as long as nothing but these outputs is
    /// fetched. Set by [`PortNames::resolve`].
    pub are_fed: bool,
}

impl PortNames {
    /// What the input that is this node is called, where it has a name of its own.
    pub fn input_key(&self, node: &str) -> Option<&str> {
        self.inputs.iter().find(|(tensor, _)| split_name(tensor).0 == node).map(|(_, key)| key.as_str())
    }

    /// The tensor of an output's key; the name itself where it is none.
    fn output<'n>(&'n self, name: &'n str) -> Option<&'n str> {
        let mut names = self.outputs.iter().chain(&self.aliases);
        names.find(|(key, _)| key == name).map(|(_, tensor)| tensor.as_str())
    }

    fn input<'n>(&'n self, name: &'n str) -> &'n str {
        self.inputs.iter().find(|(_, key)| key == name).map_or(name, |(tensor, _)| tensor)
    }

    /// The options with tensors in the place of keys, and what the fetches are called. Without fetches those are all
    /// outputs that have a name.
    pub(super) fn resolve(&self, options: &ImportOptions) -> (ImportOptions, Vec<String>) {
        let mut resolved = options.clone();
        let shown: Vec<String> = match options.fetches.is_empty() {
            true => self.outputs.iter().map(|(key, _)| key.clone()).collect(),
            false => options.fetches.clone(),
        };
        let tensor = |name: &String| self.output(name).unwrap_or(name).to_string();
        resolved.fetches = shown.iter().map(tensor).collect();
        resolved.feeds = options.feeds.iter().map(|name| self.input(name).to_string()).collect();
        resolved.ports.are_fed = shown.iter().all(|name| self.output(name).is_some());
        (resolved, shown)
    }
}
