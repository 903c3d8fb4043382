//! The control socket: its messages, its two ends, and which client may ask for
//! what.
//!
//! user-oomctl and psi-monitor ask ([`Client`]), the daemon answers
//! ([`Listener`], [`Connection`]). They speak Varlink, as systemd's programs do:
//! JSON over a stream, the interface `io.user-oom.Control`. A call is a
//! [`Request`] of at most [`MESSAGE_BYTES`], an answer a [`Reply`].
//!
//! The daemon's side does not wait, and does not trust what a peer says. A peer
//! that is silent, sends nonsense or never reads costs one descriptor and the
//! room of one call and its answers, and the daemon decides how many it spends.
//!
//! This crate does not decide what a request leads to. Its answers are its own
//! types, not the policy's, so the protocol stays the same when the policy
//! changes.
//!
//! A daemon and a client that asks it for relief:
//!
//! ```
//! use std::{thread, time::Duration};
//!
//! use control::{Client, Door, Place, Relief, Relieved, Reply, Request, Station};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let place = Place::at(&directory.path().join("socket"))?;
//! let mut station = Station::at(place.clone());
//! station.restore()?;
//!
//! let limit = Duration::from_secs(10);
//! let client = Client::connect(&place, limit)?;
//! let asking = thread::spawn(move || client.ask(&Request::Relief, limit));
//!
//! // A daemon polls the descriptors and does not spin.
//! let listener = station.listener(Door::Private).ok_or("it was just made")?;
//! let mut connection = loop {
//!     if let Some(connection) = listener.accept() {
//!         break connection;
//!     }
//! };
//! let call = loop {
//!     if let Some(call) = connection.receive()? {
//!         break call;
//!     }
//! };
//! assert_eq!(call.request, Request::Relief);
//! let (by, bytes) = (Relieved::Kills, 300 << 20);
//! let granted = Reply::Relief(Relief { by, processes: 1, bytes });
//! connection.reply(&granted)?;
//! assert_eq!(asking.join().expect("it does not panic")?, granted);
//! # Ok(())
//! # }
//! ```

mod client;
mod fate;
mod happened;
mod interface;
mod listener;
mod message;
mod place;
mod reply;
mod request;
mod station;
mod status;

pub use crate::client::{Answers, Client, ClientError};
pub use crate::fate::{Fate, Grounds, Signal};
pub use crate::happened::{EventKind, Happened};
pub use crate::listener::{Connection, ConnectionError, Listener, Peer, may_ask_relief};
pub use crate::message::{MESSAGE_BYTES, MessageError};
pub use crate::place::{Door, InstanceLock, Place, PlaceError};
pub use crate::reply::{CandidateRow, Denial, PlannedKill, RefusedEntry, Relief, Relieved, Reply};
pub use crate::request::{Call, Request};
pub use crate::station::Station;
pub use crate::status::{Condition, ScopeStatus, Status};
