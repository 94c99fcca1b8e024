//! The head of a chart: its title and its legend, broken into lines, so that nothing is cut and nothing overlaps.

/// Height of the title's letters.
pub const TITLE: u32 = 36;
/// Height of the legend's letters.
pub const LEGEND: u32 = 28;
/// Length of the line in front of a name.
pub const SWATCH: i32 = 48;
/// Between that line and its name.
pub const GAP: i32 = 12;
/// Mean width of a letter of a wide proportional font, in heights; fonts are not known where an SVG is shown.
const LETTER: f64 = 0.6;
/// The same in bold.
const BOLD: f64 = 0.7;
/// Left and right of everything.
const MARGIN: i32 = 20;
/// Between names.
const BETWEEN: i32 = 36;
/// Of the lines of the title and of the legend.
const PITCH: [i32; 2] = [48, 44];

/// Texts with the places of their upper left corners; a name's is that of the line in front of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Lines of the title.
    pub title: Vec<(String, (i32, i32))>,
    /// A name per series; where it is longer than the chart is wide, its end.
    pub legend: Vec<(String, (i32, i32))>,
    /// Pixels of both.
    pub height: u32,
}

impl Head {
    /// Of a chart `width` pixels wide.
    pub fn new<'a>(title: &str, names: impl Iterator<Item = &'a str>, width: u32) -> Self {
        let room = width as i32 - 2 * MARGIN;
        let lines = broken(title, (f64::from(room) / (BOLD * f64::from(TITLE))) as usize);
        let title: Vec<_> =
            lines.into_iter().zip((14..).step_by(PITCH[0] as usize)).map(|(t, y)| (t, (MARGIN, y))).collect();
        let mut top = 14 + PITCH[0] * title.len().max(1) as i32 + 12;
        let letter = LETTER * f64::from(LEGEND);
        let longest = (f64::from(room - SWATCH - GAP) / letter) as usize;
        let mut left = MARGIN;
        let mut legend = Vec::new();
        for name in names {
            let name = shortened(name, longest);
            let width = SWATCH + GAP + (name.chars().count() as f64 * letter) as i32;
            if left > MARGIN && left + width > MARGIN + room {
                (left, top) = (MARGIN, top + PITCH[1]);
            }
            legend.push((name, (left, top)));
            left += width + BETWEEN;
        }
        Self { title, legend, height: (top + PITCH[1] + 2) as u32 }
    }
}

/// Lines of at most `most` characters, broken at spaces where there are any.
fn broken(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(shortened(word, most)),
        }
    }
    lines
}

/// The end of what is too long: names of files differ there.
fn shortened(text: &str, most: usize) -> String {
    match text.chars().count() {
        count if count > most => std::iter::once('…').chain(text.chars().skip(count + 1 - most)).collect(),
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Left, top, right, bottom of every text.
    fn boxes(head: &Head) -> Vec<[f64; 4]> {
        let of = |(text, at): &(String, (i32, i32)), ahead: i32, size: u32, letter: f64| {
            let [x, y, size] = [f64::from(at.0), f64::from(at.1), f64::from(size)];
            [x, y, x + f64::from(ahead) + text.chars().count() as f64 * letter * size, y + size]
        };
        let title = head.title.iter().map(|line| of(line, 0, TITLE, BOLD));
        title.chain(head.legend.iter().map(|name| of(name, SWATCH + GAP, LEGEND, LETTER))).collect()
    }

    #[test]
    fn nothing_is_cut_and_nothing_overlaps() {
        let long = "a/very/long/path/".repeat(12);
        let some: Vec<String> = (0..43).map(|i| format!("schedule number {i}")).collect();
        let titles = ["", "Loss", &"the rate that follows the loss ".repeat(5), &long];
        for title in titles {
            for names in
                [&some[..0], &some[..1], &some[..3], &some, &[long.clone(), "short".into(), long.clone()]]
            {
                let head = Head::new(title, names.iter().map(String::as_str), 1600);
                assert_eq!(head.legend.len(), names.len());
                let boxes = boxes(&head);
                for (i, a) in boxes.iter().enumerate() {
                    assert!(a[0] >= 0.0 && a[2] <= 1600.0 && a[3] <= f64::from(head.height), "{a:?} is cut");
                    for b in &boxes[..i] {
                        let apart = a[0] >= b[2] || b[0] >= a[2] || a[1] >= b[3] || b[1] >= a[3];
                        assert!(apart, "{a:?} lies over {b:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_title_and_a_few_names_take_a_line_each_and_long_names_keep_their_end() {
        let head = Head::new("Loss", ["a", "b"].into_iter(), 1600);
        assert_eq!((head.title.len(), head.height), (1, 120));
        assert_eq!(head.legend[1].1.1, head.legend[0].1.1);
        let head = Head::new("Loss", [format!("{}end.toml", "x".repeat(300)).as_str()].into_iter(), 1600);
        assert!(head.legend[0].0.starts_with('…') && head.legend[0].0.ends_with("end.toml"));
    }
}
