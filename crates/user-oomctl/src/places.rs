//! The daemon that is asked.

use std::path::Path;
use std::time::{Duration, Instant};

use control::{
    Answers, Client, ClientError, ConnectionError, EventKind, Happened, Place, PlaceError, Reply,
    Request,
};

use crate::error::Error;

/// A machine that thrashes answers late.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a daemon may be.
#[derive(Clone, Debug)]
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
        let (reply, _) = self.put(request)?;
        Ok(reply)
    }

    /// Is told what happens from now on; the first event is there.
    ///
    /// # Errors
    ///
    /// As [`DaemonPlaces::ask`].
    pub(crate) fn subscribe(&self) -> Result<EventStream, Error> {
        let (reply, answers) = self.put(&Request::Subscribe)?;
        Ok(EventStream {
            first: Some(reply),
            answers,
        })
    }

    /// The first answer, and what may follow it.
    fn put(&self, request: &Request) -> Result<(Reply, Answers), Error> {
        let deadline = Instant::now() + PATIENCE;
        for place in &self.places {
            let asked = || {
                let mut answers = Client::connect(place, PATIENCE)?.put(request)?;
                Ok((answers.next(PATIENCE)?, answers))
            };
            let reply = loop {
                match asked() {
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
                Ok((Reply::Refused(denial), _)) => Err(Error::Refused(denial)),
                Ok(asked) => Ok(asked),
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

/// What happens, as it comes.
#[derive(Debug)]
pub(crate) struct EventStream {
    first: Option<Reply>,
    answers: Answers,
}

impl EventStream {
    /// Waits for the next.
    ///
    /// # Errors
    ///
    /// - [`Error::NoAnswer`]: the daemon has ended.
    /// - [`Error::Refused`]: we were too slow.
    pub(crate) fn next(&mut self) -> Result<Happened, Error> {
        let reply = match self.first.take() {
            Some(reply) => reply,
            None => self.answers.next(Duration::MAX).map_err(Error::NoAnswer)?,
        };
        match reply {
            Reply::Event(event) => Ok(*event),
            Reply::Refused(denial) => Err(Error::Refused(denial)),
            // `decode` makes no other of it.
            _ => Ok(Happened::now(EventKind::Lost)),
        }
    }
}
