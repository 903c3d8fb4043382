//! What a scan of the machine's processes costs, with 500 sleeping ones beside
//! those that are there. They are this benchmark's own, and it ends them.

use std::io;
use std::path::Path;
use std::process::{Child, Command};

use criterion::{Criterion, criterion_group, criterion_main};
use sensors::{Depth, Meminfo, ProcRoot, ProcessTable};

const SLEEPERS: usize = 500;

/// Children that end with this.
struct Sleepers(Vec<Child>);

impl Sleepers {
    fn start(count: usize) -> io::Result<Self> {
        let mut sleepers = Self(Vec::with_capacity(count));
        for _ in 0..count {
            let child = Command::new("sleep").arg("infinity").spawn()?;
            sleepers.0.push(child);
        }
        Ok(sleepers)
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that is gone already has nothing to be ended.
            let _ = child.kill();
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

fn scans(criterion: &mut Criterion) {
    let _sleepers = Sleepers::start(SLEEPERS).expect("500 processes can be started");
    let mut table = ProcessTable::new(ProcRoot::at("/proc"), 2 * SLEEPERS);
    let scan = table
        .scan(Depth::Full)
        .expect("the processes can be listed");
    let mut group = criterion.benchmark_group(format!("{} processes", scan.processes));
    for (name, depth) in [
        ("held", Depth::Held),
        ("fast", Depth::Fast),
        ("full", Depth::Full),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| table.scan(depth));
        });
    }
    group.bench_function("first, fast", |bencher| {
        bencher.iter(|| ProcessTable::new(ProcRoot::at("/proc"), 2 * SLEEPERS).scan(Depth::Fast));
    });
    group.finish();
    let mut meminfo = Meminfo::open(Path::new("/proc/meminfo")).expect("it can be opened");
    criterion.bench_function("meminfo", |bencher| bencher.iter(|| meminfo.read()));
}

criterion_group!(benches, scans);
criterion_main!(benches);
