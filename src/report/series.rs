//! Lines of a chart.

/// How a line is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// For what was measured at every point.
    Solid,
    /// With a dot at every point, for what was measured here and there.
    Dotted,
    /// For a second line of the same colour.
    Dashed,
}

/// A named line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Red, green and blue, of 255 each.
    pub color: (u8, u8, u8),
    /// How it is drawn.
    pub line: Line,
    /// In order of x; points that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// The series of these points, in the units of the axes.
    pub fn new(name: &str, color: (u8, u8, u8), line: Line, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), color, line, points }
    }

    /// The parts between `low` and `high`, cut where the line crosses them.
    pub fn within(&self, low: f64, high: f64) -> Vec<Vec<(f64, f64)>> {
        let finite = self.points.iter().copied().filter(|p| p.0.is_finite() && p.1.is_finite());
        let points: Vec<(f64, f64)> = finite.collect();
        let inside = |p: (f64, f64)| (low..=high).contains(&p.1);
        let mut parts: Vec<Vec<(f64, f64)>> = Vec::new();
        let mut open = false;
        for (i, &point) in points.iter().enumerate() {
            let before = i.checked_sub(1).map(|i| points[i]);
            let crossing = before.filter(|b| inside(*b) != inside(point)).map(|b| {
                let edge = if b.1.max(point.1) > high { high } else { low };
                (b.0 + (point.0 - b.0) * (edge - b.1) / (point.1 - b.1), edge)
            });
            if inside(point) && !open {
                parts.push(Vec::new());
            }
            if let Some(part) = parts.last_mut().filter(|_| open || inside(point)) {
                part.extend(crossing);
                part.extend(inside(point).then_some(point));
            }
            open = inside(point);
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_the_edges() {
        let line = |ys: &[f64]| {
            let points = ys.iter().enumerate().map(|(x, y)| (x as f64, *y)).collect();
            Series::new("a", (0, 0, 0), Line::Solid, points).within(0.0, 2.0)
        };
        assert_eq!(line(&[4.0, 0.0, 1.0]), [[(0.5, 2.0), (1.0, 0.0), (2.0, 1.0)]]);
        assert_eq!(line(&[1.0, 3.0, 1.0]), [[(0.0, 1.0), (0.5, 2.0)], [(1.5, 2.0), (2.0, 1.0)]]);
        assert_eq!(line(&[1.0, -1.0]), [[(0.0, 1.0), (0.5, 0.0)]]);
        assert_eq!(line(&[1.0, f64::NAN, 2.0]), [[(0.0, 1.0), (2.0, 2.0)]]);
        assert!(line(&[3.0, 4.0]).is_empty() && line(&[]).is_empty());
    }
}
