//! What it takes to find the rule of a newcomer: 50 rules of all kinds, and 500
//! processes one after the other, most of which none matches. What is read of a
//! process is there already; the surveyor reads it from /proc.

use std::path::Path;

use config::{Field, Grammar, Keyword, Kind, Rules, Subject};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const RULES: usize = 50;
const PROCESSES: usize = 500;

/// A process of a machine on which many train, build and browse.
struct Made {
    name: String,
    executable: String,
    cgroup: String,
    command_line: String,
    environment: String,
    uid: u32,
}

impl Made {
    fn new(number: usize) -> Self {
        let uid = 1000 + u32::try_from(number % 40).unwrap_or(0);
        let (name, executable, words) = match number % 5 {
            0 => ("python3", "/usr/bin/python3.11", "-m train --epochs 90"),
            1 => (
                "cc1plus",
                "/usr/lib/gcc/x86_64/12/cc1plus",
                "-quiet -I include",
            ),
            2 => (
                "firefox",
                "/opt/firefox/firefox-bin",
                "-contentproc -parentBuildID",
            ),
            3 => (
                "postgres",
                "/usr/lib/postgresql/15/bin/postgres",
                "-D /var/lib",
            ),
            _ => (
                "node",
                "/usr/bin/node",
                "/home/ann/project/node_modules/.bin/tsc --watch",
            ),
        };
        Self {
            name: name.to_owned(),
            executable: executable.to_owned(),
            cgroup: format!("/user.slice/user-{uid}.slice/session-{number}.scope"),
            command_line: format!("{executable} {words} --number {number} {}", "x".repeat(200)),
            environment: format!("HOME=/home/user{uid}"),
            uid,
        }
    }
}

impl Subject for Made {
    fn texts(&mut self, field: Field, each: &mut dyn FnMut(&[u8])) {
        match field {
            Field::Name => each(self.name.as_bytes()),
            Field::Executable => each(self.executable.as_bytes()),
            Field::Cgroup => each(self.cgroup.as_bytes()),
            Field::Parent => each(b"bash"),
            Field::Ancestor => [&b"bash"[..], b"sshd", b"systemd"]
                .into_iter()
                .for_each(each),
            Field::CommandLine => each(self.command_line.as_bytes()),
            Field::Environment => each(self.environment.as_bytes()),
            Field::ContainerName => each(b"batch"),
            Field::ContainerImage => each(b"docker.io/library/python:3.13"),
            Field::ContainerLabel => each(b"com.docker.compose.service=batch"),
        }
    }

    fn credentials(&mut self) -> (u32, u32, &[u32]) {
        (self.uid, self.uid, &[])
    }
}

/// The last matches a tenth of the processes.
fn rules() -> String {
    let mut text = String::new();
    for number in 0..RULES - 1 {
        let condition = match number % 7 {
            0 => format!("name = '^worker{number}$'"),
            1 => format!("exe = '/opt/tool{number}/**/bin/*'"),
            2 => format!(r"cmdline = '--job[= ]{number}\b.*\.py'"),
            3 => format!("cgroup = '/system.slice/unit{number}.service'"),
            4 => format!("parent = '^make$', cmdline = 'target{number}'"),
            5 => format!("ancestor = 'tmux: server', env = '^AGENT={number}$'"),
            _ => format!("user = {}, name = 'python'", 90_000 + number),
        };
        text += &format!("[[rule]]\nmatch = {{ {condition} }}\nvalue = 5\n");
    }
    text + "[[rule]]\nmatch = { cmdline = 'number [0-9]*7 ' }\nvalue = 9\n"
}

fn classification(criterion: &mut Criterion) {
    let labels = [Keyword {
        name: "value".into(),
        kind: Kind::Text,
    }];
    let grammar = Grammar {
        keys: &[],
        labels: &labels,
        arguments: &[],
        scope_keys: &[],
    };
    let found = config::parse(Path::new("bench"), &rules(), grammar, |_| None);
    let found = found.unwrap_or_else(|err| panic!("{err}"));
    let number = |name: &str| name.parse().ok();
    let rules = Rules::compile(&found.rules, &number, &number);
    let rules = rules.unwrap_or_else(|err| panic!("{err}"));
    let mut processes: Vec<_> = (0..PROCESSES).map(Made::new).collect();
    let mut group = criterion.benchmark_group("rules");
    group.throughput(Throughput::Elements(PROCESSES as u64));
    group.bench_function(format!("{RULES} rules, {PROCESSES} processes"), |bencher| {
        bencher.iter(|| {
            let matched = processes.iter_mut().filter_map(|it| rules.first_match(it));
            let matched = matched.count();
            assert_eq!(matched, PROCESSES / 10);
            matched
        });
    });
    group.finish();
}

criterion_group!(benches, classification);
criterion_main!(benches);
