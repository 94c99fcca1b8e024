//! A chart as SVG text.
use super::series::{Line, Series};
use crate::{Error, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::sync::Once;

/// Pixels of the drawing. Twice what is shown, because plotters rounds to whole pixels.
const SIZE: (u32, u32) = (1600, 900);
/// Height of title and legend.
const HEAD: u32 = 120;
const INK: RGBColor = RGBColor(31, 41, 55);
const PALE: RGBColor = RGBColor(107, 114, 128);
const GRID: RGBColor = RGBColor(229, 231, 235);
const FONT: &str = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif";
/// Mean width of a letter of a proportional font, in heights; fonts are not known where the SVG is shown.
const LETTER: f64 = 0.52;

/// Lines over a common x.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What is shown.
    pub title: String,
    /// Name and unit of x.
    pub x_label: String,
    /// Name and unit of y.
    pub y_label: String,
    /// Lowest and highest y shown; by default all.
    pub y_range: Option<(f64, f64)>,
    /// Vertical lines with a word beside them.
    pub marks: Vec<(f64, String)>,
    /// The lines; the last is on top.
    pub series: Vec<Series>,
}

impl Chart {
    /// An SVG document. Refused when there is nothing to draw.
    pub fn to_svg(&self) -> Result<String> {
        let mut svg = String::new();
        self.draw_on(SVGBackend::with_string(&mut svg, SIZE))?;
        Ok(svg)
    }

    /// A PNG file. Refused when there is nothing to draw.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let mut pixels = vec![0; (SIZE.0 * SIZE.1 * 3) as usize];
        self.draw_on(BitMapBackend::with_buffer(&mut pixels, SIZE))?;
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, SIZE.0, SIZE.1);
        encoder.set_color(png::ColorType::Rgb);
        let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
        written.map_err(|e| Error::failed(format!("cannot encode the chart {:?}: {e}", self.title)))?;
        Ok(file)
    }

    fn draw_on<DB: DrawingBackend>(&self, backend: DB) -> Result<()> {
        let x = extent(self.points().map(|p| p.0), 0.0);
        let y = self.y_range.or_else(|| extent(self.points().map(|p| p.1), 0.05));
        let (Some(x), Some(y)) = (x, y) else {
            return Err(Error::refused(format!("the chart {:?} has no points", self.title)));
        };
        register_letters();
        self.draw(&backend.into_drawing_area(), x, y)
            .map_err(|e| Error::failed(format!("cannot draw the chart {:?}: {e}", self.title)))
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.series.iter().flat_map(|s| s.points.iter().copied())
    }

    fn draw<DB: DrawingBackend>(
        &self,
        root: &DrawingArea<DB, Shift>,
        x: (f64, f64),
        y: (f64, f64),
    ) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
        root.fill(&WHITE)?;
        let (head, body) = root.split_vertically(HEAD);
        self.draw_head(&head)?;
        let mut chart = ChartBuilder::on(&body)
            .margin_left(12)
            .margin_right(40)
            .margin_top(16)
            .margin_bottom(10)
            .x_label_area_size(100)
            .y_label_area_size(130)
            .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.stroke_width(2))
            .axis_style(PALE.stroke_width(2))
            .x_labels(9)
            .y_labels(7)
            .x_label_formatter(&|v| tick(*v))
            .y_label_formatter(&|v| tick(*v))
            .label_style((FONT, 28).into_font().color(&INK))
            .axis_desc_style((FONT, 28).into_font().color(&PALE))
            .x_desc(&self.x_label)
            .y_desc(&self.y_label)
            .draw()?;
        let high = y.1;
        for (at, word) in &self.marks {
            chart.draw_series(DashedLineSeries::new(
                [(*at, y.0), (*at, high)],
                10,
                8,
                PALE.stroke_width(2),
            ))?;
            let text = EmptyElement::at((*at, high))
                + Text::new(word.clone(), (10, 4), (FONT, 26).into_font().color(&PALE));
            chart.draw_series([text])?;
        }
        for series in &self.series {
            let (r, g, b) = series.color;
            let color = RGBColor(r, g, b);
            for part in series.within(y.0, y.1) {
                chart.draw_series(LineSeries::new(part, color.stroke_width(4)))?;
            }
            if series.line == Line::Dotted {
                let shown = series.points.iter().filter(|p| (y.0..=y.1).contains(&p.1));
                chart.draw_series(shown.map(|p| Circle::new(*p, 7, color.filled())))?;
            }
        }
        root.present()
    }

    /// Title, and the legend under it: one short line and a name per series.
    fn draw_head<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
        area.draw(&Text::new(
            self.title.clone(),
            (20, 14),
            (FONT, 36).into_font().style(FontStyle::Bold).color(&INK),
        ))?;
        let mut left = 20;
        for series in &self.series {
            let (r, g, b) = series.color;
            let color = RGBColor(r, g, b);
            area.draw(&PathElement::new([(left, 88), (left + 48, 88)], color.stroke_width(6)))?;
            area.draw(&Text::new(series.name.clone(), (left + 60, 74), (FONT, 28).into_font().color(&INK)))?;
            left += 60 + (series.name.chars().count() as f64 * LETTER * 28.0) as i32 + 48;
        }
        Ok(())
    }
}

/// plotters draws no letters of a font that it was not given, and measures none.
fn register_letters() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for style in [FontStyle::Normal, FontStyle::Bold] {
            // The error says that the bytes are no font, and they are the same on every machine.
            let _ = plotters::style::register_font(FONT, style, epaint_default_fonts::UBUNTU_LIGHT);
        }
    });
}

/// Lowest and highest finite value, with a margin on both sides in shares of their distance.
fn extent(values: impl Iterator<Item = f64>, margin: f64) -> Option<(f64, f64)> {
    let (low, high) = values
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let span = high - low;
    match span {
        _ if low > high => None,
        _ if span == 0.0 => Some((low - 0.5, high + 0.5)),
        _ => Some((low - margin * span, high + margin * span)),
    }
}

/// A number as short as it can be: `0.5`, `12`, `5e-4`.
fn tick(value: f64) -> String {
    if value.abs() < 1e-12 {
        return "0".into();
    }
    if (1e-2..1e5).contains(&value.abs()) {
        let text = format!("{value:.3}");
        return text.trim_end_matches('0').trim_end_matches('.').replace('-', "−");
    }
    let text = format!("{value:.2e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    format!("{digits}e{exponent}").replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        Chart {
            title: "Loss & <rate>".into(),
            x_label: "tokens (millions)".into(),
            y_label: "loss (nats per token)".into(),
            y_range: None,
            marks: vec![(1.0, "here".into())],
            series: vec![Series::new("a \"b\"", (0, 114, 178), Line::Dotted, points)],
        }
    }

    /// Tags close in the order they open, attributes are quoted, and text has no bare `<` or `&`.
    fn assert_well_formed(xml: &str) {
        let mut open = Vec::new();
        for part in xml.split('<').skip(1) {
            let (tag, text) = part.split_once('>').expect("a tag ends");
            assert!(!text.contains('&') || text.contains(';'), "{text}");
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap();
            match (tag.starts_with('/'), tag.ends_with('/')) {
                (true, _) => assert_eq!(open.pop(), Some(name)),
                (_, true) => {}
                _ => open.push(name),
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn the_svg_is_well_formed_and_says_everything() {
        let svg = chart(vec![(0.0, 3.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0)]).to_svg().unwrap();
        assert_well_formed(&svg);
        assert!(svg.starts_with("<svg ") && svg.contains("viewBox=\"0 0 1600 900\""));
        for text in [
            "Loss &amp; &lt;rate&gt;",
            "tokens (millions)",
            "loss (nats per token)",
            "here",
            "a &quot;b&quot;",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        assert_eq!(svg.matches("<circle").count(), 3);
    }

    #[test]
    fn the_png_is_the_same_drawing() {
        let chart = chart(vec![(0.0, 3.0), (1.0, 2.0), (3.0, 1.0)]);
        let file = chart.to_png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height, info.color_type), (1600, 900, png::ColorType::Rgb));
        let of_color = |color: [u8; 3]| pixels.chunks(3).filter(|p| *p == color).count();
        assert!(of_color([0, 114, 178]) > 1000, "the line");
        assert!(of_color([31, 41, 55]) > 100, "the letters"); // INK
        assert!(of_color([255, 255, 255]) > 1_000_000, "the paper");
    }

    #[test]
    fn one_point_is_a_chart_and_none_is_not() {
        assert_well_formed(&chart(vec![(1.0, 2.0)]).to_svg().unwrap());
        assert!(chart(vec![]).to_svg().is_err());
        assert!(chart(vec![(0.0, f64::NAN)]).to_svg().is_err());
    }

    #[test]
    fn ticks_are_short() {
        let ticks = [0.0, 0.5, 12.0, 3.25, 1e-3, 2.5e-4, -1.5, 123456.0].map(tick);
        assert_eq!(ticks, ["0", "0.5", "12", "3.25", "1e−3", "2.5e−4", "−1.5", "1.23e5"]);
    }
}
