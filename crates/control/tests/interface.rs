//! What is answered is what the interface describes.

use std::time::Duration;

use control::{
    CandidateRow, Condition, Denial, EventKind, Fate, Grounds, Happened, PlannedKill, Relief,
    Relieved, Reply, Request, Signal, Status,
};
use proptest::prelude::*;
use serde_json::Value;

fn description() -> String {
    match Reply::description("io.user-oom.Control") {
        Reply::Description(text) => text,
        other => panic!("{other:?}"),
    }
}

/// The names of the fields between the parentheses that follow `after`.
fn fields(after: &str) -> Vec<String> {
    let description = description();
    let (_, rest) = description.split_once(after).expect("it is described");
    let (list, _) = rest.split_once(')').expect("it has an end");
    let fields = list.split(',').map(str::trim).filter(|it| !it.is_empty());
    let mut fields: Vec<_> = fields
        .map(|field| field.split_once(':').expect("a type").0.to_owned())
        .collect();
    fields.sort();
    fields
}

fn keys(value: &Value) -> Vec<String> {
    let object = value.as_object().expect("parameters are an object");
    let mut keys: Vec<_> = object.keys().cloned().collect();
    keys.sort();
    keys
}

#[test]
fn each_answer_has_the_fields_that_are_described() {
    let answers = [
        ("method Status() -> (", Reply::Status(Status::default())),
        ("method Relief() -> (", Reply::Relief(relief())),
        ("method Fate(pid: int) -> (", Reply::Fate(fate())),
        ("method Plan(level: ?Level) -> (", Reply::Plan(plan())),
        (
            "method Explain(pid: int) -> (",
            Reply::Told(String::default()),
        ),
        ("method Reload() -> (", Reply::Told(String::default())),
        (
            "method Register(pid: ?int, entry: string) -> (",
            Reply::Entry { pid: 7 },
        ),
    ];
    for (method, answer) in answers {
        assert_eq!(keys(&answer.parameters()), fields(method), "{method}");
    }
    let row = &Reply::Plan(plan()).parameters()["candidates"][0];
    assert_eq!(keys(row), fields("type CandidateRow ("));
    let named = Fate {
        name: Some("train".to_owned()),
        ..fate()
    };
    let said = named.to_string();
    let start = "7 train (not registered): SIGUSR1, then SIGKILL, ";
    assert!(said.starts_with(start), "{said}");
    let history = Reply::History(vec![named]);
    check_comes_across(&Request::History, &history);
    let victim = &history.parameters()["victims"][0];
    assert_eq!(keys(victim), fields("type Victim ("));
}

#[test]
fn each_error_has_the_fields_that_are_described() {
    for denial in denials() {
        let told = Reply::Refused(denial).parameters();
        let name = told["error"].as_str().expect("it has a name");
        let Some(name) = name.strip_prefix("io.user-oom.Control.") else {
            continue;
        };
        let described = fields(&format!("error {name} ("));
        assert_eq!(keys(&told["parameters"]), described, "{name}");
    }
}

fn relief() -> Relief {
    Relief {
        by: Relieved::Pauses,
        processes: 3,
        bytes: 1 << 20,
    }
}

fn plan() -> PlannedKill {
    PlannedKill {
        level: Condition::Warn,
        need_bytes: 1,
        frees_bytes: 2,
        covers_need: true,
        candidates: vec![CandidateRow {
            pid: 7,
            name: Some("train\x1b[2J".to_owned()),
            uid: 1000,
            processes: 1,
            value: Some(8),
            cost: "8".to_owned(),
            why: "cost 8 = value 8".to_owned(),
            held_bytes: 3 << 20,
            frees_bytes: 4,
            growth_bytes_per_second: 5,
            paused: false,
            chosen: true,
            instead: Some("7 train\x1b[2J: cost 9".to_owned()),
        }],
        unshown: 3,
    }
}

#[test]
fn a_plan_comes_across_and_its_names_cannot_write_to_the_terminal() {
    let level = Condition::Warn;
    check_comes_across(&Request::Plan { level }, &Reply::Plan(plan()));
    let told = plan().to_string();
    assert!(!told.contains('\x1b'), "{told}");
    assert!(told.contains("train?[2J"), "{told}");
    assert!(told.ends_with("and 3 others"), "{told}");
}

fn fate() -> Fate {
    Fate {
        pid: 7,
        name: None,
        value: None,
        first: Signal::Term,
        last: Signal::Kill,
        term_signal: Some("SIGUSR1".to_owned()),
        cause: Grounds::LastCall,
        need_bytes: 1,
        held_bytes: 2,
        since: Duration::from_millis(3),
        gone_after: None,
    }
}

#[test]
fn an_event_says_which_signal_a_rule_names() {
    let event = Happened {
        pid: Some(7),
        signal: Some(Signal::Term),
        ..Happened::now(EventKind::Signal)
    };
    assert_eq!(event.to_string(), "kill 7 - SIGTERM");
    let of_a_rule = Happened {
        term_signal: Some("SIGUSR1".to_owned()),
        ..event
    };
    assert_eq!(of_a_rule.to_string(), "kill 7 - SIGUSR1");
}

fn denials() -> Vec<Denial> {
    vec![
        Denial::EnoughAvailable {
            available_percent: 50,
        },
        Denial::RecoveryInterval {
            remaining: Duration::from_millis(900),
        },
        Denial::Pending { bytes: 1 << 40 },
        Denial::TakenByOthers {},
        Denial::NothingHelps { eligible_bytes: 7 },
        Denial::DryRun {},
        Denial::NoVictim {},
        Denial::NotReloaded {
            why: "a mistake".to_owned(),
        },
        Denial::NoEntry {
            why: "gone".to_owned(),
        },
        Denial::Busy {},
        Denial::not_permitted(),
        Denial::NotUnderstood {
            expected: "this".to_owned(),
            found: "that".to_owned(),
        },
        Denial::MethodNotFound {
            method: "a.b.C".to_owned(),
        },
        Denial::InterfaceNotFound {
            interface: "a.b".to_owned(),
        },
    ]
}

#[track_caller]
fn check_comes_across(request: &Request, reply: &Reply) {
    let sent = reply.encode();
    let (end, message) = sent.split_last().expect("it has an end");
    assert_eq!(*end, 0);
    assert!(!message.contains(&0));
    assert_eq!(&Reply::decode(request, message).expect("an answer"), reply);
}

#[test]
fn every_refusal_comes_across() {
    for denial in denials() {
        check_comes_across(&Request::Relief, &Reply::Refused(denial));
    }
}

proptest! {
    #[test]
    fn every_status_comes_across(
        pid: u32,
        level in prop_oneof![
            Just(Condition::Ok),
            Just(Condition::Warn),
            Just(Condition::Kill),
            Just(Condition::Unknown)
        ],
        memory: [u32; 5],
        counts: [u32; 3],
    ) {
        let [available_bytes, total_bytes, swap_free_bytes, swap_total_bytes, warn_bytes] =
            memory.map(|pages| u64::from(pages) << 12);
        let status = Status {
            pid,
            level,
            available_bytes,
            total_bytes,
            swap_free_bytes,
            swap_total_bytes,
            registered: counts[0],
            killed: counts[1].into(),
            paused: counts[2],
            warn_bytes,
            kill_bytes: warn_bytes / 2,
            full_in: (counts[0] > 0)
                .then(|| std::time::Duration::from_millis(counts[0].into())),
            scopes: vec![control::ScopeStatus {
                cgroup: "/a.slice".to_owned(),
                level,
                available_bytes,
                ..control::ScopeStatus::default()
            }],
        };
        check_comes_across(&Request::Status, &Reply::Status(status));
    }

    #[test]
    fn every_fate_comes_across(pid: u32, value: Option<u32>, since: u32, gone: Option<u32>) {
        let fate = Fate {
            pid,
            value,
            since: Duration::from_millis(since.into()),
            gone_after: gone.map(|gone| Duration::from_millis(gone.into())),
            ..fate()
        };
        check_comes_across(&Request::Fate { pid }, &Reply::Fate(fate));
    }

    #[test]
    fn nothing_that_is_no_answer_is_taken_for_one(message: Vec<u8>) {
        prop_assert!(Reply::decode(&Request::Status, &message).is_err());
    }
}

#[test]
fn a_refusal_has_its_lines_and_quotes_and_no_other_control_characters() {
    let why = "f:1:1: `it's`\n1 | \u{1b}[2J".to_owned();
    let told = Denial::NotReloaded { why }.to_string();
    assert!(
        told.ends_with("unchanged: f:1:1: `it's`\n1 | ?[2J"),
        "{told}"
    );
    let denial = Denial::NotUnderstood {
        expected: "what's right".to_owned(),
        found: "a\nb".to_owned(),
    };
    assert_eq!(denial.to_string(), "expected what's right, found a?b");
}

#[test]
fn of_what_is_no_call_little_is_quoted() {
    let quoted = "\u{7f}".repeat(300);
    let denial = control::Call::decode(format!("\"{quoted}\"").as_bytes()).unwrap_err();
    let told = denial.to_string();
    assert!(told.contains("invalid type: string"), "{told}");
    assert!(told.chars().count() < 400, "{told}");
}
