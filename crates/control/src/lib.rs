//! The control socket: its messages, its two ends, and which client may ask for
//! what.
//!
//! psi-monitor asks ([`Client`]), the daemon answers ([`Listener`],
//! [`Connection`]). The socket is SOCK_SEQPACKET, so a message arrives whole or
//! not at all, and neither end waits for the rest of one. A message is a line
//! of plain words ([`Request`], [`Reply`]), at most [`MESSAGE_BYTES`] long.
//!
//! Once the daemon listens, its side does not wait, does not allocate, and does
//! not trust what a peer says. A peer that is silent, sends nonsense or never
//! reads costs one descriptor, and the daemon decides how many it spends.
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
//! use control::{Client, Door, Place, Reply, Request, Station};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let place = Place::at(&directory.path().join("socket"))?;
//! let mut station = Station::at(place.clone());
//! station.restore()?;
//!
//! let limit = Duration::from_secs(10);
//! let client = Client::connect(&place, limit)?;
//! let asking = thread::spawn(move || client.ask(Request::Relief, limit));
//!
//! // A daemon polls the descriptors and does not spin.
//! let listener = station.listener(Door::Private).ok_or("it was just made")?;
//! let connection = loop {
//!     if let Some(connection) = listener.accept() {
//!         break connection;
//!     }
//! };
//! while connection.receive()? != Some(Request::Relief) {}
//! let granted = Reply::Granted { processes: 1, bytes: 300 << 20 };
//! connection.reply(&granted)?;
//! assert_eq!(asking.join().expect("it does not panic")?, granted);
//! # Ok(())
//! # }
//! ```

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
