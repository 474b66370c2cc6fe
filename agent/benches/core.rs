//! Times of what the core does most: `cargo bench -p hopsight --bench core`.

mod cases;
#[path = "../examples/recorded/events.rs"]
mod events;
#[path = "../examples/recorded/mod.rs"]
mod recorded;

use criterion::{Criterion, criterion_group, criterion_main};

fn bench(criterion: &mut Criterion) {
    let scripts = recorded::scripts().expect("the recorded handshakes");
    for mut case in cases::all(&scripts) {
        criterion.bench_function(case.name, |bencher| bencher.iter(&mut case.run));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
