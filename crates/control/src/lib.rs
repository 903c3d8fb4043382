//! The words spoken on the control socket: what may be said, where, by whom.
//!
//! psi-monitor and user-oomctl ask ([`Client`]), the daemon answers
//! ([`Listener`], [`Connection`]). The socket is a SOCK_SEQPACKET one: a message
//! arrives whole or not at all, so nobody ever waits for the rest of one. A
//! message is a line of plain words ([`Request`], [`Reply`]), at most
//! [`MESSAGE_BYTES`] long.
//!
//! Once the daemon listens, nothing on its side waits, takes memory from the
//! heap or trusts what a peer says: a peer that is silent, talks nonsense or
//! never reads costs a descriptor, and how many of those it gives away the
//! daemon decides.
//!
//! What a request comes to is not decided here. The answers are words of this
//! crate and not of the policy, so what is spoken stays the same when the
//! policy changes.

mod client;
mod fate;
mod listener;
mod message;
mod place;
mod station;
mod status;
mod words;

pub use crate::client::{Client, ClientError};
pub use crate::fate::{Fate, Grounds, Signal};
pub use crate::listener::{Connection, ConnectionError, Listener, Peer, may_ask_relief};
pub use crate::message::{MESSAGE_BYTES, Message, WordsError};
pub use crate::place::{Door, InstanceLock, Place, PlaceError};
pub use crate::station::Station;
pub use crate::status::{Condition, Status};
pub use crate::words::{Denial, Reply, Request};
