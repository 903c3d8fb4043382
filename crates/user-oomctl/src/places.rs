//! The daemon that is asked.

use std::path::Path;
use std::time::{Duration, Instant};

use control::{Client, ClientError, ConnectionError, Place, PlaceError, Reply, Request};

use crate::error::Error;

/// A machine that thrashes answers late.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a daemon may be.
#[derive(Debug)]
pub(crate) struct DaemonPlaces {
    /// In the order in which they are tried.
    places: Vec<Place>,
}

impl DaemonPlaces {
    /// At `socket`, where one is given; else our own user's, else root's.
    ///
    /// # Errors
    ///
    /// [`Error::Place`]: no socket can have the path given.
    pub(crate) fn find(socket: Option<&Path>) -> Result<Self, Error> {
        let mut places = match Place::find(socket) {
            Ok(place) => vec![place],
            Err(PlaceError::NoRuntimeDirectory) => Vec::new(),
            Err(err) => return Err(Error::Place(err)),
        };
        if socket.is_none() && !places.contains(&Place::system()) {
            places.push(Place::system());
        }
        Ok(Self { places })
    }

    /// Asks the first that is there.
    ///
    /// # Errors
    ///
    /// - [`Error::NoDaemon`]: none is.
    /// - [`Error::NoAnswer`]: it does not answer, or not in time.
    /// - [`Error::Refused`]: it refuses.
    pub(crate) fn ask(&self, request: &Request) -> Result<Reply, Error> {
        let deadline = Instant::now() + PATIENCE;
        for place in &self.places {
            let reply = loop {
                let client = Client::connect(place, PATIENCE);
                match client.and_then(|client| client.ask(request, PATIENCE)) {
                    // It has few places for other users than its own, each for a
                    // moment: we were not heard, and the next may be ours.
                    Err(ClientError::Connection(ConnectionError::Closed))
                        if Instant::now() < deadline => {}
                    reply => break reply,
                }
            };
            return match reply {
                Err(ClientError::NoDaemon { .. }) => continue,
                Err(err) => Err(Error::NoAnswer(err)),
                Ok(Reply::Refused(denial)) => Err(Error::Refused(denial)),
                Ok(reply) => Ok(reply),
            };
        }
        let places = self.places.iter();
        let sockets: Vec<_> = places
            .map(|place| format!("`{}`", place.socket().display()))
            .collect();
        Err(Error::NoDaemon {
            sockets: sockets.join(" or "),
        })
    }
}
