//! Prints METRICS.md, made from the metric catalogue.

fn main() {
    print!("{}", hopsight_export::metrics::catalogue::markdown());
}
