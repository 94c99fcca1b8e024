//! A chart for a terminal: each character is a grid of 2 × 4 dots.
use super::Series;
use std::fmt::Write;

/// ANSI colours in the order of series: blue, red, green, yellow, magenta, cyan.
const COLORS: [u8; 6] = [34, 31, 32, 33, 35, 36];
/// The dot of each place of a character, column by column, from the top.
const DOTS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// Lines over `0..` of both axes in `rows` lines of `columns` characters, with the highest values at the axes and,
/// where there are several, their names below. Where lines cross, the later one is seen. Points are in order of x.
pub fn braille(series: &[Series], columns: usize, rows: usize, x_label: &str, color: bool) -> String {
    let most = |of: fn(&(f64, f64)) -> f64| series.iter().flat_map(|s| &s.points).map(of).fold(0.0, f64::max);
    let (x_most, y_most) = (most(|p| p.0), most(|p| p.1));
    let mut canvas = Canvas { cells: vec![(0, 0); columns * rows], columns, rows };
    for (i, line) in series.iter().enumerate() {
        canvas.draw(&line.points, (x_most, y_most), i);
    }
    let mut out = String::new();
    for (row, cells) in canvas.cells.chunks(columns).enumerate() {
        let label = if row == 0 { format!("{y_most:.2e}") } else { String::new() };
        let _ = write!(out, "{label:>9} ┤"); // writing to a String cannot fail
        let mut last = None;
        for &(dots, owner) in cells {
            let shown = (color && dots != 0).then_some(owner);
            if shown != last {
                out.push_str(&shown.map_or("\x1b[0m".to_owned(), paint));
                last = shown;
            }
            // U+2800 and the 255 characters behind it are the braille patterns.
            out.push(char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' '));
        }
        out.push_str(if last.is_some() { "\x1b[0m\n" } else { "\n" });
    }
    let _ = writeln!(out, "{:>9} └{}", "0", "─".repeat(columns)); // as above
    let end = format!("{} {x_label}", short(x_most));
    let _ = writeln!(out, "{:>10} 0{end:>width$}", "", width = columns.saturating_sub(1)); // as above
    if series.len() > 1 {
        for (i, line) in series.iter().enumerate() {
            let (on, off) = if color { (paint(i), "\x1b[0m") } else { (String::new(), "") };
            let _ = writeln!(out, "{:>10} {on}──{off} {}", "", line.name); // as above
        }
    }
    out
}

fn paint(series: usize) -> String {
    format!("\x1b[{}m", COLORS[series % COLORS.len()])
}

/// A whole number as it is, a large or broken one with three digits.
fn short(x: f64) -> String {
    if x.fract() == 0.0 && x < 1e9 { format!("{x}") } else { format!("{x:.2e}") }
}

/// Dots and the series that drew last, for each character.
struct Canvas {
    cells: Vec<(u8, usize)>,
    columns: usize,
    rows: usize,
}

impl Canvas {
    /// A line through the points: a dot per column of dots, joined upwards or downwards to the one before.
    fn draw(&mut self, points: &[(f64, f64)], most: (f64, f64), owner: usize) {
        let (width, height) = (2 * self.columns, 4 * self.rows);
        let scale = |value: f64, most: f64, dots: usize| {
            if most > 0.0 { (value / most * (dots - 1) as f64).round() as usize } else { 0 }
        };
        let mut before: Option<(usize, usize)> = None;
        for &(x, y) in points.iter().filter(|p| p.0.is_finite() && p.1.is_finite()) {
            let to = (scale(x, most.0, width), scale(y, most.1, height));
            let from = before.unwrap_or(to);
            for column in from.0..=to.0 {
                let share =
                    if to.0 > from.0 { (column - from.0) as f64 / (to.0 - from.0) as f64 } else { 1.0 };
                let level = (from.1 as f64 + (to.1 as f64 - from.1 as f64) * share).round() as usize;
                // Up or down to here from the dot before, which is there already.
                let joined = match before.map_or(level, |before| before.1) {
                    last if last < level => last + 1..=level,
                    last if last > level => level..=last - 1,
                    _ => level..=level,
                };
                joined.for_each(|level| self.dot(column, height - 1 - level, owner));
                before = Some((column, level));
            }
        }
    }

    /// Columns from the left, rows from the top.
    fn dot(&mut self, column: usize, row: usize, owner: usize) {
        let cell = &mut self.cells[row / 4 * self.columns + column / 2];
        *cell = (cell.0 | DOTS[column % 2][row % 4], owner);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Line;
    use super::*;

    fn line(name: &str, points: &[(f64, f64)]) -> Series {
        Series::new(name, (0, 0, 0), Line::Solid, points.to_vec())
    }

    #[test]
    fn a_diagonal_is_a_diagonal() {
        let text = braille(&[line("a", &[(0.0, 0.0), (8.0, 1.0)])], 4, 2, "steps", false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "   1.00e0 ┤⠀⠀⡠⠊");
        assert_eq!(lines[1], "          ┤⡠⠊⠀⠀");
        assert_eq!(lines[2], "        0 └────");
        assert!(lines[3].ends_with("8 steps") && lines.len() == 4, "{text}");
    }

    #[test]
    fn a_jump_is_joined_and_crossing_lines_have_their_colours() {
        let down = line("down", &[(0.0, 1.0), (1.0, 1.0), (2.0, 0.0), (4.0, 0.0)]);
        let flat = line("flat", &[(0.0, 0.5), (4.0, 0.5)]);
        let text = braille(&[down, flat], 5, 3, "tokens", true);
        assert_eq!(text.matches("\x1b[34m").count(), 3, "{text:?}"); // two rows and the legend
        assert_eq!(text.matches("\x1b[31m").count(), 2, "{text:?}"); // its row and the legend
        assert!(text.contains("flat") && !braille(&[], 3, 3, "", true).contains("NaN"));
    }
}
