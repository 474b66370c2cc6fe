//! Reads the text exposition format.

/// The sum of all series of this name whose labels contain all of `labels`.
pub fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    text.lines()
        .filter(|line| is_series_of(line, name) && labels.iter().all(|label| line.contains(label)))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

fn is_series_of(line: &str, name: &str) -> bool {
    line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
}

/// Observations of a histogram without labels: upper bounds, and how many are at or below each.
#[derive(Clone, Debug)]
pub struct Histogram(Vec<(f64, f64)>);

impl Histogram {
    /// Reads it.
    pub fn read(text: &str, name: &str) -> Self {
        let buckets = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?.strip_prefix("_bucket{le=\"")?;
            let (bound, count) = rest.split_once("\"} ")?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, count.parse().ok()?))
        });
        Self(buckets.collect())
    }

    /// What was observed since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bound: f64| {
            earlier
                .0
                .iter()
                .find(|(b, _)| b.total_cmp(&bound).is_eq())
                .map_or(0.0, |(_, count)| *count)
        };
        Self(self.0.iter().map(|(bound, count)| (*bound, count - before(*bound))).collect())
    }

    /// How many.
    pub fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// The value at or below which this share lies, interpolated within its bucket as
    /// Prometheus's `histogram_quantile` does.
    pub fn quantile(&self, share: f64) -> f64 {
        let rank = self.count() * share;
        let mut below = (0.0, 0.0);
        for &(bound, count) in &self.0 {
            if count >= rank && count > below.1 {
                if bound.is_infinite() {
                    return below.0;
                }
                return below.0 + (bound - below.0) * (rank - below.1) / (count - below.1);
            }
            below = (bound, count);
        }
        f64::NAN
    }

    /// Upper bound of the highest bucket that has an observation.
    pub fn max_bound(&self) -> f64 {
        let count = self.count();
        self.0.iter().find(|(_, below)| *below >= count).map_or(f64::NAN, |(bound, _)| *bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_read_and_interpolated() {
        let text = |counts: [u32; 3]| {
            format!(
                "# HELP t x\nt_bucket{{le=\"0.1\"}} {}\nt_bucket{{le=\"0.2\"}} {}\n\
                 t_bucket{{le=\"+Inf\"}} {}\nt_sum 1\nt_count 1\n",
                counts[0], counts[1], counts[2]
            )
        };
        let read = |counts| Histogram::read(&text(counts), "t");
        let histogram = read([15, 25, 25]).since(&read([5, 5, 5]));
        assert!((histogram.count() - 20.0).abs() < f64::EPSILON);
        assert!((histogram.quantile(0.75) - 0.15).abs() < 1e-9);
        assert!((histogram.max_bound() - 0.2).abs() < 1e-9);
    }
}
