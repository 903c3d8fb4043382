//! What is said comes across, and nothing else does.

use std::time::Duration;

use control::{
    Condition, Denial, Fate, Grounds, MESSAGE_BYTES, Reply, Request, Signal, Status, WordsError,
};
use proptest::prelude::*;

fn requests() -> impl Strategy<Value = Request> {
    prop_oneof![
        Just(Request::Relief),
        Just(Request::Status),
        any::<u32>().prop_map(|pid| Request::Fate { pid }),
    ]
}

fn refusals() -> impl Strategy<Value = Denial> {
    prop_oneof![
        any::<u32>().prop_map(|available_percent| Denial::EnoughAvailable { available_percent }),
        any::<u64>()
            .prop_map(Duration::from_millis)
            .prop_map(|remaining| Denial::RecoveryInterval { remaining }),
        any::<u64>().prop_map(|bytes| Denial::Pending { bytes }),
        any::<u64>().prop_map(|eligible_bytes| Denial::NothingHelps { eligible_bytes }),
        Just(Denial::NotPermitted),
        Just(Denial::DryRun),
        Just(Denial::NoVictim),
        Just(Denial::NotUnderstood),
    ]
}

fn statuses() -> impl Strategy<Value = Status> {
    let level = prop_oneof![
        Just(Condition::Ok),
        Just(Condition::Warn),
        Just(Condition::Kill),
        Just(Condition::Unknown)
    ];
    (
        any::<u32>(),
        level,
        any::<[u64; 4]>(),
        any::<(u32, u32)>(),
        any::<[u64; 2]>(),
    )
        .prop_map(
            |(pid, level, memory, (registered, paused), [ended, warn_bytes])| Status {
                pid,
                level,
                available_bytes: memory[0],
                total_bytes: memory[1],
                swap_free_bytes: memory[2],
                swap_total_bytes: memory[3],
                registered,
                ended,
                paused,
                warn_bytes,
            },
        )
}

fn fates() -> impl Strategy<Value = Fate> {
    let signal = || prop_oneof![Just(Signal::Term), Just(Signal::Kill)];
    let cause = prop_oneof![
        Just(Grounds::Warn),
        Just(Grounds::Kill),
        Just(Grounds::Relief),
        Just(Grounds::LastCall),
    ];
    (
        any::<(u32, Option<u32>)>(),
        (signal(), signal()),
        cause,
        any::<([u64; 3], Option<u64>)>(),
    )
        .prop_map(
            |((pid, value), (first, last), cause, (numbers, gone_after))| Fate {
                pid,
                value,
                first,
                last,
                cause,
                need_bytes: numbers[0],
                held_bytes: numbers[1],
                since: Duration::from_millis(numbers[2]),
                gone_after: gone_after.map(Duration::from_millis),
            },
        )
}

fn replies() -> impl Strategy<Value = Reply> {
    prop_oneof![
        (any::<u32>(), any::<u64>())
            .prop_map(|(processes, bytes)| Reply::Granted { processes, bytes }),
        refusals().prop_map(Reply::Refused),
        statuses().prop_map(Reply::Status),
        fates().prop_map(Reply::Fate),
    ]
}

proptest! {
    #[test]
    fn a_request_comes_across(request in requests()) {
        prop_assert_eq!(Request::decode(request.encode().as_bytes()), Ok(request));
    }

    #[test]
    fn a_reply_comes_across(reply in replies()) {
        prop_assert_eq!(Reply::decode(reply.encode().as_bytes()), Ok(reply));
    }

    #[test]
    fn bytes_at_random_harm_nobody(message in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(request) = Request::decode(&message) {
            let encoded = request.encode();
            prop_assert_eq!(encoded.as_bytes(), &message[..]);
        }
        match Reply::decode(&message) {
            Ok(reply) => {
                let encoded = reply.encode();
                prop_assert_eq!(encoded.as_bytes(), &message[..]);
            }
            Err(err) => {
                let beginning = &message[..message.len().min(64)];
                let found = format!("found `{}", beginning.escape_ascii());
                prop_assert!(err.to_string().contains(&found));
                prop_assert!(err.to_string().is_ascii());
            }
        }
    }

    /// One byte changed is another message or none, never the same one.
    #[test]
    fn every_message_has_one_spelling(
        reply in replies(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let encoded = reply.encode();
        let mut message = encoded.as_bytes().to_vec();
        let at = at.index(message.len());
        prop_assume!(message[at] != byte);
        message[at] = byte;
        if let Ok(other) = Reply::decode(&message) {
            prop_assert_ne!(other, reply);
            let encoded = other.encode();
            prop_assert_eq!(encoded.as_bytes(), &message[..]);
        }
    }

    #[test]
    fn a_reply_cut_short_is_no_reply_or_another(reply in replies(), keep in any::<prop::sample::Index>()) {
        let encoded = reply.encode();
        let message = encoded.as_bytes();
        let cut = &message[..keep.index(message.len())];
        prop_assert_ne!(Reply::decode(cut), Ok(reply));
    }
}

#[track_caller]
fn check(decoded: Result<impl std::fmt::Debug, WordsError>, want: &str) {
    let err = decoded.expect_err("it makes no sense");
    assert_eq!(err.to_string(), want);
}

#[test]
fn nonsense_is_answered_with_what_was_found() {
    check(
        Request::decode(b"releif"),
        "expected `relief`, `status` or `fate`, found `releif`",
    );
    check(
        Request::decode(b""),
        "expected `relief`, `status` or `fate`, found ``",
    );
    check(
        Request::decode(b"relief now"),
        "expected the end of the message, found `relief now`",
    );
    check(
        Request::decode(b"relief\n"),
        "expected `relief`, `status` or `fate`, found `relief\\n`",
    );
    check(
        Request::decode(b"\xff\x1b[31m"),
        "expected text, found `\\xff\\x1b[31m`",
    );
    check(
        Reply::decode(b"granted processes=-1 bytes=0"),
        "expected `processes=` and a number, found `granted processes=-1 bytes=0`",
    );
    check(
        Reply::decode(b"granted processes=4294967296 bytes=0"),
        "expected `processes=` and a number, found `granted processes=4294967296 bytes=0`",
    );
    check(
        Reply::decode(b"granted processes=1"),
        "expected `bytes=` and a number, found `granted processes=1`",
    );
    check(
        Reply::decode(b"refused because"),
        "expected a reason, found `refused because`",
    );
    check(
        Reply::decode(b"status pid=1 level=bad"),
        "expected `level=` and `ok`, `warn`, `kill` or `unknown`, found `status pid=1 level=bad`",
    );
}

#[test]
fn a_message_that_is_too_long_is_shown_in_part() {
    let message = [b'x'; MESSAGE_BYTES + 1];
    let shown = "x".repeat(64);
    check(
        Request::decode(&message),
        &format!("expected at most 256 bytes, found `{shown}...`"),
    );
    let longest = &message[..MESSAGE_BYTES];
    check(
        Request::decode(longest),
        &format!("expected `relief`, `status` or `fate`, found `{shown}...`"),
    );
}

#[test]
fn every_answer_is_a_sentence_for_people() {
    let said = |reply: Reply| reply.to_string();
    assert_eq!(
        said(Reply::Granted {
            processes: 2,
            bytes: 512 << 20
        }),
        "kills 2 processes to free 512 MiB"
    );
    assert_eq!(
        said(Reply::Granted {
            processes: 1,
            bytes: 0
        }),
        "kills 1 process to free 0 MiB"
    );
    assert_eq!(
        said(Reply::Refused(Denial::EnoughAvailable {
            available_percent: 84
        })),
        "refused: 84 % of memory is available"
    );
    assert_eq!(
        said(Reply::Refused(Denial::RecoveryInterval {
            remaining: Duration::from_millis(3_250)
        })),
        "refused: the last relief was just now; the next is possible in 3.2 s"
    );
    assert_eq!(
        said(Reply::Status(Status {
            pid: 7,
            level: Condition::Warn,
            available_bytes: 1 << 30,
            total_bytes: 16 << 30,
            registered: 3,
            ended: 1,
            warn_bytes: 2 << 30,
            ..Status::default()
        })),
        "pid 7, level warn, memory 1024 MiB of 16384 MiB available (warn at 2048 MiB), \
         swap 0 MiB of 0 MiB free, 3 registered, 1 killed"
    );
    let fate = Fate {
        pid: 7,
        value: Some(5),
        first: Signal::Term,
        last: Signal::Kill,
        cause: Grounds::Warn,
        need_bytes: 479 << 20,
        held_bytes: 600 << 20,
        since: Duration::from_millis(6_300),
        gone_after: Some(Duration::from_millis(5_100)),
    };
    assert_eq!(
        said(Reply::Fate(fate)),
        "7 (value 5): SIGTERM, then SIGKILL, 6.3 s ago; low memory (warn), need 479 MiB; \
         gone after 5.1 s, freed 600 MiB"
    );
    assert_eq!(
        said(Reply::Fate(Fate {
            value: None,
            first: Signal::Kill,
            cause: Grounds::LastCall,
            gone_after: None,
            ..fate
        })),
        "7 (not registered): SIGKILL, 6.3 s ago; the kernel was about to kill, \
         need 479 MiB; not gone yet, held 600 MiB"
    );
    assert_eq!(
        said(Reply::Refused(Denial::NoVictim)),
        "refused: user-oom has not signalled that process"
    );
}
