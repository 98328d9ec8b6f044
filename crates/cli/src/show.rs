//! Rows of a run to look at: the images that were fed beside the answers, on a terminal and in a report.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use tightfit::sink::{Labels, OutputRows, RowPlace, Sink};
use tightfit::{DType, Done, Error, Feed, TensorView};

use crate::html::escape;
use crate::stdio;
use crate::style::Style;

/// The largest side of a picture: larger images are thinned out.
const MAX_SIDE: usize = 16;

/// Memory of a row that is kept, in bytes: its picture, and the path that it comes from.
const ROW_BYTES: u64 = 8 << 10;

/// What drawing takes, of a few rows at a time, in bytes.
const DRAWING_BYTES: u64 = 128 << 10;

/// Characters of a line.
const LINE: usize = 80;

/// Characters between two pictures.
const GAP: usize = 3;

/// Characters of pixels without colours, dark to light.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

/// A row to look at.
#[derive(Debug)]
struct Shown {
    picture: Option<Picture>,
    source: String,
    row: u64,
    /// The class with the largest score, and the score.
    answer: Option<(usize, f64)>,
    label: Option<i64>,
}

/// A small image in grey.
#[derive(Debug)]
struct Picture {
    width: usize,
    /// Row-major, 0 to 255.
    pixels: Vec<u8>,
}

/// The first rows of a run, and the first whose answer is wrong.
#[derive(Debug)]
pub struct Gallery {
    first: Vec<Shown>,
    wrong: Vec<Shown>,
    most_first: usize,
    most_wrong: usize,
    labels: Option<Arc<Labels>>,
}

impl Gallery {
    /// A gallery of so many rows, whose memory is a part of the sink's.
    pub fn new(most_first: usize, most_wrong: usize, labels: Option<Arc<Labels>>) -> Gallery {
        Gallery { first: Vec::new(), wrong: Vec::new(), most_first, most_wrong, labels }
    }

    /// The memory of a gallery of so many rows, in bytes.
    pub fn memory_bytes(rows: usize) -> u64 {
        if rows == 0 { 0 } else { (rows as u64).saturating_mul(ROW_BYTES).saturating_add(DRAWING_BYTES) }
    }

    fn take(&mut self, rows: &OutputRows<'_>) {
        for row in 0..rows.rows {
            let is_first = self.first.len() < self.most_first;
            let wants_wrong = rows.labels.is_some() && self.wrong.len() < self.most_wrong;
            if !is_first && !wants_wrong {
                return;
            }
            let answer = answer(rows, row);
            let label = rows.labels.and_then(|labels| labels.get(row)).copied();
            let shown = Shown {
                picture: rows.inputs.iter().find_map(|feed| Picture::of(feed, row)),
                source: (rows.sources)(row).to_string(),
                row: rows.first_row + row as u64,
                answer,
                label,
            };
            if is_first {
                self.first.push(shown);
            } else if shown.is_right() == Some(false) {
                self.wrong.push(shown);
            }
        }
    }

    fn name(&self, class: i64) -> String {
        let name = usize::try_from(class).ok().and_then(|class| self.labels.as_ref()?.name(class));
        name.map_or_else(|| class.to_string(), str::to_string)
    }

    /// What stands under a picture: the answer and its score, and whether it is right.
    fn caption(&self, shown: &Shown) -> [String; 2] {
        let answer = match shown.answer {
            Some((class, score)) => format!("{} {score:.3}", self.name(class as i64)),
            None => format!("row {}", shown.row),
        };
        let verdict = match (shown.is_right(), shown.label) {
            (Some(true), _) => "right".to_string(),
            (Some(false), Some(label)) => format!("WRONG: {}", self.name(label)),
            _ => String::new(),
        };
        [answer, verdict]
    }

    /// Writes the first `count` rows as text, and as many of those with a wrong answer.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_text(&self, out: &mut dyn io::Write, count: usize, has_colours: bool) -> io::Result<()> {
        let (first, later) = self.first.split_at(count.min(self.first.len()));
        self.side_by_side(out, &first.iter().collect::<Vec<_>>(), has_colours)?;
        let wrong = later.iter().filter(|shown| shown.is_right() == Some(false)).chain(&self.wrong);
        let wrong: Vec<&Shown> = wrong.take(count).collect();
        if !wrong.is_empty() {
            writeln!(out, "{}", Style::Head.paint("Wrong answers:", has_colours))?;
        }
        self.side_by_side(out, &wrong, has_colours)
    }

    /// Writes rows as text, side by side as far as a line has room.
    fn side_by_side(&self, out: &mut dyn io::Write, rows: &[&Shown], has_colours: bool) -> io::Result<()> {
        let width = rows.iter().map(|shown| self.cell(shown, has_colours).1).max().unwrap_or(0) + GAP;
        for line in rows.chunks((LINE / width).max(1)) {
            let cells: Vec<Vec<String>> = line.iter().map(|shown| self.cell(shown, has_colours).0).collect();
            for at in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
                let mut whole = String::new();
                for cell in &cells {
                    let part = cell.get(at).map_or("", String::as_str);
                    let pad = width.saturating_sub(visible(part));
                    let _ = write!(whole, "{part}{}", " ".repeat(pad));
                }
                writeln!(out, "{}", whole.trim_end())?;
            }
        }
        Ok(())
    }

    /// The lines of one row, and the width of the widest.
    fn cell(&self, shown: &Shown, has_colours: bool) -> (Vec<String>, usize) {
        let mut lines = shown.picture.as_ref().map_or_else(Vec::new, |picture| picture.lines(has_colours));
        let [answer, verdict] = self.caption(shown);
        let style = if shown.is_right() == Some(false) { Style::Bad } else { Style::Good };
        lines.push(answer);
        if !verdict.is_empty() {
            lines.push(style.paint(&verdict, has_colours));
        }
        let width = lines.iter().map(|line| visible(line)).max().unwrap_or(0);
        (lines, width)
    }

    /// Writes the rows as a part of a page: the first ones, and the first wrong ones.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_html(&self, out: &mut dyn io::Write) -> io::Result<()> {
        for (title, rows) in [("The first rows", &self.first), ("Wrong answers", &self.wrong)] {
            if rows.is_empty() {
                continue;
            }
            write!(out, "<section class=\"card\"><h2>{title}</h2><div class=\"rows\">")?;
            for shown in rows {
                let [answer, verdict] = self.caption(shown);
                let class = if shown.is_right() == Some(false) { "row wrong" } else { "row" };
                let source = escape(&shown.source);
                let picture = shown.picture.as_ref().map_or_else(String::new, Picture::svg);
                let (answer, verdict) = (escape(&answer), escape(&verdict));
                write!(
                    out,
                    "<div class=\"{class}\" title=\"{source}\">{picture}<b>{answer}</b><span>{verdict}</span></div>"
                )?;
            }
            write!(out, "</div></section>")?;
        }
        Ok(())
    }
}

/// Characters that are seen of a text with colours.
fn visible(text: &str) -> usize {
    let mut is_code = false;
    let seen = text.chars().filter(|c| {
        let was_code = is_code;
        is_code = if is_code { *c != 'm' } else { *c == '\x1b' };
        !was_code && !is_code
    });
    seen.count()
}

impl Shown {
    /// Whether the answer is the label, where both are known.
    fn is_right(&self) -> Option<bool> {
        Some(self.answer?.0 as i64 == self.label?)
    }
}

/// The largest score of a row of the first output, and the first class that has it.
fn answer(rows: &OutputRows<'_>, row: usize) -> Option<(usize, f64)> {
    let tensor = rows.outputs.tensor(0).filter(|tensor| tensor.dtype() == DType::F32)?;
    let scores = tensor.as_slice::<f32>()?;
    let classes = scores.len().checked_div(rows.rows).filter(|classes| *classes > 1)?;
    let scores = scores.get(row * classes..(row + 1) * classes)?;
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = class;
        }
    }
    Some((best, f64::from(scores[best])))
}

impl Picture {
    /// The image of a row of a feed, where it is one.
    fn of(feed: &Feed<'_>, row: usize) -> Option<Picture> {
        let Feed::Tensor(tensor) = feed else { return None };
        let &[rows, height, width, channels] = &tensor.shape()[..] else { return None };
        let is_image = matches!(channels, 1 | 3) && height > 1 && width > 1 && row < rows;
        let values = is_image.then(|| values_of(tensor, row, height * width * channels)).flatten()?;
        let (high, wide) = (height.min(MAX_SIDE), width.min(MAX_SIDE));
        let pixel = |y: usize, x: usize| {
            let at = (y * height / high * width + x * width / wide) * channels;
            values.get(at..at + channels).map_or(0.0, |pixel| pixel.iter().sum::<f32>())
        };
        let grey: Vec<f32> =
            (0..high).flat_map(|y| (0..wide).map(move |x| (y, x))).map(|(y, x)| pixel(y, x)).collect();
        let (least, most) = grey.iter().fold((f32::MAX, f32::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
        let scale = 255.0 / (most - least).max(f32::MIN_POSITIVE);
        let pixels = grey.iter().map(|value| ((value - least) * scale) as u8).collect();
        Some(Picture { width: wide, pixels })
    }

    fn rows(&self) -> impl Iterator<Item = &[u8]> {
        self.pixels.chunks(self.width.max(1))
    }

    /// Two pixels high in each line with colours, else two characters wide.
    fn lines(&self, has_colours: bool) -> Vec<String> {
        let rows: Vec<&[u8]> = self.rows().collect();
        if !has_colours {
            let shade = |pixel: &u8| SHADES[usize::from(*pixel) * (SHADES.len() - 1) / 255];
            return rows.iter().map(|row| row.iter().flat_map(|p| [shade(p); 2]).collect()).collect();
        }
        let line = |pair: &[&[u8]]| {
            let mut line = String::new();
            for (x, upper) in pair[0].iter().enumerate() {
                let lower = pair.get(1).and_then(|row| row.get(x)).copied().unwrap_or(0);
                let _ = write!(line, "\x1b[38;2;{upper};{upper};{upper};48;2;{lower};{lower};{lower}m▀");
            }
            line + "\x1b[0m"
        };
        rows.chunks(2).map(line).collect()
    }

    fn svg(&self) -> String {
        let (width, height) = (self.width, self.pixels.len() / self.width.max(1));
        let mut svg = format!("<svg viewBox=\"0 0 {width} {height}\" shape-rendering=\"crispEdges\">");
        for (y, row) in self.rows().enumerate() {
            for (x, pixel) in row.iter().enumerate().filter(|(_, pixel)| **pixel > 0) {
                let _ = write!(
                    svg,
                    "<rect x=\"{x}\" y=\"{y}\" width=\"1\" height=\"1\" fill=\"#{pixel:02x}{pixel:02x}{pixel:02x}\"/>"
                );
            }
        }
        svg + "</svg>"
    }
}

/// The numbers of a row, of the types that images have.
fn values_of(tensor: &TensorView<'_>, row: usize, count: usize) -> Option<Vec<f32>> {
    let range = row.checked_mul(count)?..(row + 1).checked_mul(count)?;
    match tensor.dtype() {
        DType::F32 => Some(tensor.as_slice::<f32>()?.get(range)?.to_vec()),
        DType::U8 => Some(tensor.bytes().get(range)?.iter().map(|byte| f32::from(*byte)).collect()),
        _ => None,
    }
}

/// A sink that shows a gallery what goes by, and calls the standard input by its name.
pub struct Watched {
    /// Where results go.
    pub sink: Box<dyn Sink>,
    /// Who looks at them.
    pub gallery: Rc<RefCell<Gallery>>,
}

impl Sink for Watched {
    fn write(&mut self, rows: &OutputRows<'_>) -> Result<(), Error> {
        let sources = |row| {
            let place = (rows.sources)(row);
            RowPlace { file: stdio::shown(place.file), ..place }
        };
        let rows = OutputRows { sources: &sources, ..*rows };
        self.gallery.borrow_mut().take(&rows);
        self.sink.write(&rows)
    }

    fn checkpoint(&mut self, done: &Done) -> Result<(), Error> {
        self.sink.checkpoint(done)
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        self.sink.finish()
    }
}

#[cfg(test)]
mod tests {
    use tightfit::Shape;

    use super::*;

    fn gallery() -> Gallery {
        let mut gallery = Gallery::new(3, 3, None);
        let pixels = [0.0f32, 1.0, 0.5, 0.0, 1.0, 1.0, 0.0, 0.0];
        let tensor = TensorView::from_slice(Shape::new(&[2, 2, 2, 1]).unwrap(), &pixels).unwrap();
        for (row, label) in [(0, 7), (1, 3)] {
            let picture = Picture::of(&Feed::Tensor(tensor), row);
            let (answer, source) = (Some((7, 0.75)), "<a>".to_string());
            let shown = Shown { picture, source, row: row as u64, answer, label: Some(label) };
            gallery.first.push(shown);
        }
        gallery
    }

    fn text(has_colours: bool) -> String {
        let mut text = Vec::new();
        gallery().write_text(&mut text, 3, has_colours).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn pictures_stand_side_by_side_over_their_answers() {
        let text = text(false);
        let lines = ["  ██       ████", "░░", "7 0.750    7 0.750", "right      WRONG: 3"];
        assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn colours_take_no_room_and_pages_no_markup() {
        let text = text(true);
        assert!(text.contains("\x1b[1;31mWRONG: 3\x1b[0m") && text.contains('▀'), "{text:?}");
        assert_eq!(visible("\x1b[1;31mab\x1b[0mc"), 3);
        let mut page = Vec::new();
        gallery().write_html(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains("row wrong") && page.contains("&lt;a&gt;") && !page.contains("<a>"), "{page}");
        assert_eq!(page.matches("<rect").count(), 4);
    }
}
