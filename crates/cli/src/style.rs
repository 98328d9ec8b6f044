//! Colours, where a terminal shows them.

use std::io::IsTerminal;

/// A stream that text goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The standard output.
    Out,
    /// The standard error.
    Err,
}

impl Stream {
    /// Whether it is a terminal.
    pub fn is_terminal(self) -> bool {
        match self {
            Stream::Out => std::io::stdout().is_terminal(),
            Stream::Err => std::io::stderr().is_terminal(),
        }
    }

    /// Whether it shows colours: a terminal, unless the user wants none (<https://no-color.org>).
    pub fn has_colours(self) -> bool {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        !is_set("NO_COLOR") && !is_dumb && self.is_terminal()
    }
}

/// A way to show text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A headline.
    Head,
    /// What is typed as it is: commands and flags.
    Literal,
    /// Something good.
    Good,
    /// Something bad.
    Bad,
    /// What matters less.
    Soft,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Style::Head => "1",
            Style::Literal => "36",
            Style::Good => "32",
            Style::Bad => "1;31",
            Style::Soft => "2",
        }
    }

    /// The text in this style, if colours are shown.
    pub fn paint(self, text: &str, has_colours: bool) -> String {
        if has_colours { format!("\x1b[{}m{text}\x1b[0m", self.code()) } else { text.to_string() }
    }
}

/// Help with its headlines and literals in colour, where the standard output shows them.
pub fn help(text: &str) -> String {
    if Stream::Out.has_colours() { coloured(text) } else { text.to_string() }
}

/// A headline stands at the margin and ends in a colon; a flag or command is the first of two columns.
fn coloured(text: &str) -> String {
    let line = |line: &str| {
        let body = line.trim_start();
        let indent = &line[..line.len() - body.len()];
        if indent.is_empty() && body.ends_with(':') {
            return Style::Head.paint(body, true);
        }
        let is_literal = body.starts_with('-') || body.starts_with("tightfit ");
        let (first, rest) = body.find("  ").map_or((body, ""), |end| body.split_at(end));
        match is_literal || (indent.len() == 2 && !rest.is_empty()) {
            true => format!("{indent}{}{rest}", Style::Literal.paint(first, true)),
            false => line.to_string(),
        }
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headlines_and_flags_are_coloured_and_texts_are_not() {
        let text = "Show a plan\n\nInput:\n      --shape <X>  The shape\n  run    Run a model\n    more text";
        let shown = coloured(text);
        assert!(shown.contains("\x1b[1mInput:\x1b[0m\n"), "{shown:?}");
        assert!(shown.contains("      \x1b[36m--shape <X>\x1b[0m  The shape\n"), "{shown:?}");
        assert!(shown.contains("  \x1b[36mrun\x1b[0m    Run a model\n    more text"), "{shown:?}");
        let codes = shown.matches('\x1b').count();
        assert_eq!(codes, 6, "{shown:?}");
    }
}
