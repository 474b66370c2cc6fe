//! Prints METRICS.md, made from the metric catalogue.

fn main() {
    print!("{}", hopsight::export::metrics::markdown());
}
