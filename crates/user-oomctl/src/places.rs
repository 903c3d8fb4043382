//! The daemon that is asked.

use std::path::Path;
use std::time::Duration;

use control::{Client, ClientError, Place, PlaceError, Reply, Request};

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
        for place in &self.places {
            let client = match Client::connect(place, PATIENCE) {
                Err(ClientError::NoDaemon { .. }) => continue,
                client => client.map_err(Error::NoAnswer)?,
            };
            return match client.ask(request, PATIENCE).map_err(Error::NoAnswer)? {
                Reply::Refused(denial) => Err(Error::Refused(denial)),
                reply => Ok(reply),
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
