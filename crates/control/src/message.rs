//! How a message is sent: JSON and a byte of 0, Varlink's framing.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// No call is longer, its end included.
pub const MESSAGE_BYTES: usize = 4096;

/// No answer is longer: a client takes no more from what may be no daemon.
pub(crate) const ANSWER_BYTES: usize = 8 << 20;

/// An answer that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("expected {expected}")]
pub struct MessageError {
    pub(crate) expected: &'static str,
    pub(crate) source: serde_json::Error,
}

/// `message` as it is sent.
pub(crate) fn framed(message: &impl Serialize) -> Vec<u8> {
    // What we send are maps with keys of text, which cannot fail.
    let mut bytes = serde_json::to_vec(message).unwrap_or_default();
    bytes.push(0);
    bytes
}

/// The first message in `bytes`, its end not included.
pub(crate) fn first(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some(&bytes[..end])
}

/// Bytes, shown as whole MiB.
pub(crate) struct Mebibytes(pub(crate) u64);

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0 / (1024 * 1024))
    }
}

/// A duration in whole milliseconds, as `#[serde(with)]` takes it.
pub(crate) mod milliseconds {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    pub(crate) fn serialize<S: Serializer>(of: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(super::whole(*of))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// The same, or null.
pub(crate) mod milliseconds_or_null {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        of: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        of.map(super::whole).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        let millis = Option::<u64>::deserialize(from)?;
        Ok(millis.map(Duration::from_millis))
    }
}

fn whole(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
