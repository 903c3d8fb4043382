//! What journals of earlier versions have.

use oom_policy::{Amount, Settings};

#[test]
fn settings_of_earlier_versions_can_be_read() {
    let recorded = r#"{
        "warn": {"memory": {"PartsPerMillion": 100000}, "swap": {"Bytes": 4194304}},
        "kill": {"memory": {"PartsPerMillion": 50000}, "swap": {"Bytes": 0}},
        "recovery": {"PartsPerMillion": 150000},
        "grace": {"secs": 5, "nanos": 0},
        "deadline": {"secs": 1, "nanos": 0},
        "last_call_deadline": {"secs": 0, "nanos": 500000000},
        "horizon": {"secs": 5, "nanos": 0},
        "relief_interval": {"secs": 15, "nanos": 0},
        "shortest_look": {"secs": 0, "nanos": 50000000},
        "pause": true,
        "registered_only": false,
        "by_group": false,
        "first_ordinary_uid": 1000
    }"#;
    let read: Settings = serde_json::from_str(recorded).expect("as they were written");
    assert_eq!(read.recovery, Some(Amount::percent(15)));
    assert_eq!(read.warn.swap, Amount::Bytes(4 << 20));
    assert_eq!(read.user_value_cap, 1_000_000);
}
