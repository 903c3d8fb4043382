//! A process as a row of numbers: a table of 500 is a line of 45 KiB, and with
//! names for all it would be ten times as long.

use std::fmt;

use oom_policy::{
    Dossier, Gain, Label, Name, Pausing, Preference, Process, ProcessId, Protection, Seen,
    SessionId, Unpausable,
};
use serde::de::{self, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One process, as a list that ends where only what is usual would follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessRow(pub Process);

const LOGIN: u8 = 1;
const KERNEL_THREAD: u8 = 2;
const FOREGROUND_JOB: u8 = 4;

/// What is known of a process besides, as far as it is not usual.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Known {
    #[serde(skip_serializing_if = "is_usual")]
    value: Option<u32>,
    #[serde(skip_serializing_if = "is_usual")]
    is_rules_value: bool,
    #[serde(skip_serializing_if = "is_usual")]
    gain: Option<Gain>,
    #[serde(skip_serializing_if = "is_usual")]
    protection: Option<Protection>,
    #[serde(skip_serializing_if = "is_usual")]
    critical_below_bytes: u64,
    #[serde(skip_serializing_if = "is_usual")]
    preference: Preference,
    #[serde(skip_serializing_if = "is_usual")]
    label: Label,
}

fn is_usual<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How many columns a row always has: up to the memory it holds.
const CERTAIN: usize = 12;

/// What may be left out at the end of a row, from the first.
const LEFT_OUT: usize = 11;

impl Serialize for ProcessRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Named one by one, so that what is added is thought of.
        let Dossier {
            value,
            is_rules_value,
            gain,
            protection,
            critical_below_bytes,
            preference,
            pause,
            label,
        } = self.0.dossier;
        let known = Known {
            value,
            is_rules_value,
            gain,
            protection,
            critical_below_bytes,
            preference,
            label,
        };
        let pause = pause_number(pause);
        let Seen {
            id,
            parent,
            group,
            session,
            kernel_session,
            login,
            uid,
            name,
            oom_score,
            oom_score_adj,
            rss_bytes,
            anon_bytes,
            swap_bytes,
            shmem_bytes,
            common_bytes,
            common_with,
            page_table_bytes,
            memory_of,
            ends_with,
            major_faults,
            is_kernel_thread,
            is_foreground_job,
        } = self.0.seen;
        let is_left_out: [bool; LEFT_OUT] = [
            page_table_bytes == 0,
            major_faults == 0,
            pause == 0,
            known == Known::default(),
            swap_bytes == 0,
            shmem_bytes == 0,
            memory_of.is_none(),
            ends_with.is_none(),
            common_bytes == 0,
            common_with.is_none(),
            // As a daemon's, and that of a session's leader.
            kernel_session == group,
        ];
        let left = is_left_out.iter().rev().take_while(|it| **it).count();
        let count = CERTAIN + LEFT_OUT - left;
        let flags = [
            (login, LOGIN),
            (is_kernel_thread, KERNEL_THREAD),
            (is_foreground_job, FOREGROUND_JOB),
        ];
        let flags = flags
            .into_iter()
            .filter(|(is_set, _)| *is_set)
            .fold(0, |flags, (_, flag)| flags | flag);
        let mut list = serializer.serialize_seq(Some(count))?;
        list.serialize_element(&id.pid)?;
        list.serialize_element(&id.start_ticks)?;
        list.serialize_element(&parent)?;
        list.serialize_element(&group)?;
        list.serialize_element(&session.0)?;
        list.serialize_element(&flags)?;
        list.serialize_element(&uid)?;
        list.serialize_element(&name)?;
        list.serialize_element(&oom_score)?;
        list.serialize_element(&oom_score_adj)?;
        list.serialize_element(&rss_bytes)?;
        list.serialize_element(&anon_bytes)?;
        for column in CERTAIN..count {
            match column - CERTAIN {
                0 => list.serialize_element(&page_table_bytes)?,
                1 => list.serialize_element(&major_faults)?,
                2 => list.serialize_element(&pause)?,
                3 => list.serialize_element(&known)?,
                4 => list.serialize_element(&swap_bytes)?,
                5 => list.serialize_element(&shmem_bytes)?,
                6 => list.serialize_element(&memory_of)?,
                7 => list.serialize_element(&ends_with)?,
                8 => list.serialize_element(&common_bytes)?,
                9 => list.serialize_element(&common_with)?,
                _ => list.serialize_element(&kernel_session)?,
            }
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for ProcessRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Columns)
    }
}

struct Columns;

impl<'de> Visitor<'de> for Columns {
    type Value = ProcessRow;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a row of {CERTAIN} to {} columns", CERTAIN + LEFT_OUT)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ProcessRow, A::Error> {
        let mut columns = 0;
        macro_rules! certain {
            () => {{
                columns += 1;
                list.next_element()?
                    .ok_or_else(|| de::Error::invalid_length(columns - 1, &self))?
            }};
        }
        macro_rules! usual {
            () => {
                list.next_element()?.unwrap_or_default()
            };
        }
        let id = ProcessId {
            pid: certain!(),
            start_ticks: certain!(),
        };
        let (parent, group) = (certain!(), certain!());
        let session = SessionId(certain!());
        let flags: u8 = certain!();
        let (uid, name): (_, Name) = (certain!(), certain!());
        let (oom_score, oom_score_adj) = (certain!(), certain!());
        let (rss_bytes, anon_bytes) = (certain!(), certain!());
        let (page_table_bytes, major_faults) = (usual!(), usual!());
        let pause: u8 = usual!();
        let pause =
            pause_of(pause).ok_or_else(|| de::Error::custom("a pause is a number up to 10"))?;
        let known: Known = usual!();
        let seen = Seen {
            parent,
            group,
            session,
            login: flags & LOGIN != 0,
            uid,
            name,
            oom_score,
            oom_score_adj,
            rss_bytes,
            anon_bytes,
            page_table_bytes,
            major_faults,
            swap_bytes: usual!(),
            shmem_bytes: usual!(),
            memory_of: usual!(),
            ends_with: usual!(),
            common_bytes: usual!(),
            common_with: usual!(),
            kernel_session: list.next_element()?.unwrap_or(group),
            is_kernel_thread: flags & KERNEL_THREAD != 0,
            is_foreground_job: flags & FOREGROUND_JOB != 0,
            id,
        };
        if list.next_element::<de::IgnoredAny>()?.is_some() {
            return Err(de::Error::custom("a row has too many columns"));
        }
        Ok(ProcessRow(Process {
            seen,
            dossier: Dossier {
                value: known.value,
                is_rules_value: known.is_rules_value,
                gain: known.gain,
                protection: known.protection,
                critical_below_bytes: known.critical_below_bytes,
                preference: known.preference,
                pause,
                label: known.label,
            },
        }))
    }
}

/// By the number that stands for each.
const PAUSES: [Pausing; 11] = [
    Pausing::Forbidden(Unpausable::Unknown),
    Pausing::Allowed,
    Pausing::Asked,
    Pausing::Forbidden(Unpausable::Entry),
    Pausing::Forbidden(Unpausable::Rule),
    Pausing::Forbidden(Unpausable::Critical),
    Pausing::Forbidden(Unpausable::PtyMaster),
    Pausing::Forbidden(Unpausable::ForegroundJob),
    Pausing::Forbidden(Unpausable::PressureWatch),
    Pausing::Forbidden(Unpausable::Watchdog),
    Pausing::Forbidden(Unpausable::NoSwap),
];

fn pause_number(pause: Pausing) -> u8 {
    let found = PAUSES.iter().position(|it| *it == pause);
    found
        .and_then(|place| u8::try_from(place).ok())
        .unwrap_or(0)
}

fn pause_of(number: u8) -> Option<Pausing> {
    PAUSES.get(usize::from(number)).copied()
}
