//! How long choosing takes, on process tables and on the classes of the
//! literature.
//!
//! `examples/measure.rs` prints the same instances as one table, with what was
//! proved; `oracle/compare.py` prints OR-tools' results beside it.

mod instances;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use instances::Instance;
use knapsack::{Budget, Workspace};

fn tables(criterion: &mut Criterion) {
    for count in instances::TABLE_SIZES {
        let mut group = criterion.benchmark_group(format!("table of {count}"));
        group.sample_size(20);
        for class in instances::TABLE_VALUES {
            for kept in instances::TABLE_KEPT {
                let instance = instances::process_table(class, count, kept, 0);
                bench(&mut group, &instance);
            }
        }
        group.finish();
    }
}

fn classes(criterion: &mut Criterion) {
    for count in instances::CLASS_SIZES {
        let mut group = criterion.benchmark_group(format!("class of {count}"));
        group.sample_size(10);
        for class in instances::CLASSES {
            for range in instances::CLASS_RANGES {
                let instance = instances::pisinger(class, count, range, 2);
                bench(&mut group, &instance);
            }
        }
        group.finish();
    }
}

fn bench(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    instance: &Instance,
) {
    let items = &instance.items;
    let need = instance.need();
    let id = BenchmarkId::new(instance.class, instance.scale);
    let mut workspace = Workspace::with_states(items.len(), Workspace::MAX_STATES);
    group.bench_function(id, |bencher| {
        bencher.iter(|| {
            let selection = workspace
                .choose(items, need, Budget::default())
                .expect("the need can be covered");
            selection.value
        });
    });
}

criterion_group!(benches, tables, classes);
criterion_main!(benches);
