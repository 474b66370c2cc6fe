//! Times of what the core does most: `cargo bench -p hopsight-tools --bench core`.

use criterion::{Criterion, criterion_group, criterion_main};
use hopsight_tools::cases;

fn bench(criterion: &mut Criterion) {
    for (name, prepare) in cases::ALL {
        let mut run = prepare();
        criterion.bench_function(name, |bencher| bencher.iter(&mut run));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
