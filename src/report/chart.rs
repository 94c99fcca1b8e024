//! A chart as SVG text.
use super::head::{self, Head};
use super::series::{Line, Series};
use crate::{Error, Result};
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::sync::Once;

/// Pixels of the drawing, without title and legend above. Twice what is shown, because plotters rounds to whole pixels.
const BODY: (u32, u32) = (1600, 780);
const INK: RGBColor = RGBColor(31, 41, 55);
const PALE: RGBColor = RGBColor(107, 114, 128);
const GRID: RGBColor = RGBColor(229, 231, 235);
/// Pixels that are drawn and left out.
const DASH: (u32, u32) = (14, 10);
const FONT: &str = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif";

/// Lines over a common x.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What the chart shows.
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
    /// An SVG document as wide as what shows it. Refused when there is nothing to draw.
    pub fn to_svg(&self) -> Result<String> {
        let head = self.head();
        let size = (BODY.0, BODY.1 + head.height);
        let mut svg = String::new();
        self.draw_on(SVGBackend::with_string(&mut svg, size), &head)?;
        Ok(svg.replacen(&format!("width=\"{}\" height=\"{}\" ", size.0, size.1), "", 1))
    }

    /// A PNG file. Refused when there is nothing to draw.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let head = self.head();
        let size = (BODY.0, BODY.1 + head.height);
        let mut pixels = vec![0; (size.0 * size.1 * 3) as usize];
        self.draw_on(BitMapBackend::with_buffer(&mut pixels, size), &head)?;
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, size.0, size.1);
        encoder.set_color(png::ColorType::Rgb);
        let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
        written.map_err(|e| Error::failed(format!("cannot encode the chart {:?}: {e}", self.title)))?;
        Ok(file)
    }

    fn head(&self) -> Head {
        Head::new(&self.title, self.series.iter().map(|s| s.name.as_str()), BODY.0)
    }

    fn draw_on<DB: DrawingBackend>(&self, backend: DB, head: &Head) -> Result<()> {
        let x = extent(self.points().map(|p| p.0), 0.0);
        let y = self.y_range.or_else(|| extent(self.points().map(|p| p.1), 0.05));
        let (Some(x), Some(y)) = (x, y) else {
            return Err(Error::refused(format!("the chart {:?} has no points", self.title)));
        };
        register_letters();
        self.draw(&backend.into_drawing_area(), head, x, y)
            .map_err(|e| Error::failed(format!("cannot draw the chart {:?}: {e}", self.title)))
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.series.iter().flat_map(|s| s.points.iter().copied())
    }

    fn draw<DB: DrawingBackend>(
        &self,
        root: &DrawingArea<DB, Shift>,
        head: &Head,
        x: (f64, f64),
        y: (f64, f64),
    ) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
        root.fill(&WHITE)?;
        let (above, body) = root.split_vertically(head.height);
        self.draw_head(&above, head)?;
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
            .x_label_formatter(&|v| tick(*v, x.1 - x.0))
            .y_label_formatter(&|v| tick(*v, y.1 - y.0))
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
            // Beside the line, on the side that has room.
            let (left, side) =
                if *at > f64::midpoint(x.0, x.1) { (-10, HPos::Right) } else { (10, HPos::Left) };
            let style = (FONT, 26).into_font().color(&PALE).pos(Pos::new(side, VPos::Top));
            chart.draw_series([EmptyElement::at((*at, high)) + Text::new(word.clone(), (left, 4), style)])?;
        }
        for series in &self.series {
            let (r, g, b) = series.color;
            let color = RGBColor(r, g, b);
            for part in series.within(y.0, y.1) {
                let style = color.stroke_width(4);
                if series.line == Line::Dashed {
                    chart.draw_series(DashedLineSeries::new(part, DASH.0, DASH.1, style))?;
                } else {
                    chart.draw_series(LineSeries::new(part, style))?;
                }
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
        head: &Head,
    ) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>> {
        let bold = (FONT, head::TITLE).into_font().style(FontStyle::Bold).color(&INK);
        for (line, at) in &head.title {
            area.draw(&Text::new(line.clone(), *at, bold.clone()))?;
        }
        let letters = (FONT, head::LEGEND).into_font().color(&INK);
        for (series, (name, (left, top))) in self.series.iter().zip(&head.legend) {
            let (r, g, b) = series.color;
            let style = RGBColor(r, g, b).stroke_width(6);
            let line = [(*left, top + 14), (left + head::SWATCH, top + 14)];
            if series.line == Line::Dashed {
                area.draw(&DashedPathElement::new(line, DASH.0, DASH.1, style))?;
            } else {
                area.draw(&PathElement::new(line, style))?;
            }
            area.draw(&Text::new(name.clone(), (left + head::SWATCH + head::GAP, *top), letters.clone()))?;
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

/// A number as short as it can be beside others in a range of this length: `0.5`, `12`, `5e-4`.
fn tick(value: f64, range: f64) -> String {
    // Decimals of which ten in the range differ.
    let decimals =
        |unit: f64, least: usize| ((10.0 * unit / range).log10().ceil().max(0.0) as usize).clamp(least, 15);
    if value.abs() < 1e-12 {
        return "0".into();
    }
    if (1e-2..1e5).contains(&value.abs()) {
        let text = format!("{value:.*}", decimals(1.0, 3));
        return text.trim_end_matches('0').trim_end_matches('.').replace('-', "−");
    }
    let text = format!("{value:.*e}", decimals(value.abs(), 2));
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
        assert!(!svg.split('>').next().unwrap().contains("width="), "as wide as what shows it");
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
        let ticks = [0.0, 0.5, 12.0, 3.25, 1e-3, 2.5e-4, -1.5, 123456.0].map(|v| tick(v, v.abs().max(1e-3)));
        assert_eq!(ticks, ["0", "0.5", "12", "3.25", "1e−3", "2.5e−4", "−1.5", "1.23e5"]);
        // Neighbours differ, however near.
        assert_eq!([2.7512, 2.7513, 2.7514].map(|v| tick(v, 2e-4)), ["2.7512", "2.7513", "2.7514"]);
        assert_eq!([123_450.0, 123_460.0].map(|v| tick(v, 50.0)), ["1.2345e5", "1.2346e5"]);
    }
}
