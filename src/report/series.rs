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

    /// With x moved and then scaled.
    pub fn placed(mut self, offset: f64, scale: f64) -> Self {
        self.points.iter_mut().for_each(|p| p.0 = (p.0 + offset) * scale);
        self
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

/// The mean of the `width` points around each that has as many; of fewer points in all, the mean of them.
pub fn moving_average(points: &[(f64, f64)], width: usize) -> Vec<(f64, f64)> {
    let width = width.min(points.len()).max(1);
    let mean =
        |window: &[(f64, f64)]| (window[width / 2].0, window.iter().map(|p| p.1).sum::<f64>() / width as f64);
    points.windows(width).map(mean).collect()
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

    #[test]
    fn a_moving_average_is_centred() {
        let points: Vec<_> = (0..5).map(|x| (x as f64, x as f64)).collect();
        // No window at the ends: the mean of fewer points would be noise.
        assert_eq!(moving_average(&points, 3), points[1..4]);
        let spike = [(0.0, 0.0), (1.0, 3.0), (2.0, 0.0)];
        assert_eq!(moving_average(&spike, 3), [(1.0, 1.0)]);
        assert_eq!(moving_average(&spike, 9), [(1.0, 1.0)]);
        assert_eq!(moving_average(&points, 1), points);
        assert!(moving_average(&[], 3).is_empty());
    }
}
