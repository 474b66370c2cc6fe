//! Times of what the core does most: `cargo bench -p hopsight --bench core`.

mod cases;
#[path = "../examples/recorded/events.rs"]
mod events;
#[path = "../examples/recorded/mod.rs"]
mod recorded;

use criterion::{Criterion, criterion_group, criterion_main};

fn bench(criterion: &mut Criterion) {
    for (name, prepare) in cases::ALL {
        let mut run = prepare();
        criterion.bench_function(name, |bencher| bencher.iter(&mut run));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
