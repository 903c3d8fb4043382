//! Alone in its process, since the limit on descriptors is a process's.

use std::fs::File;
use std::time::Duration;

use control::{Client, ClientError, ConnectionError, Door, InstanceLock, Listener, Place, Request};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn without_descriptors_clients_are_hung_up_on_and_not_reported_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::at(&directory.path().join("socket")).unwrap();
    let lock = InstanceLock::take(&place).unwrap();
    let listener = Listener::bind(&place, Door::Public, &lock).unwrap();
    let clients = [(); 3].map(|()| Client::connect(&place, LIMIT).unwrap());

    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
    let hoard: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(!hoard.is_empty());
    assert!(listener.accept().is_none());
    drop(hoard);

    for client in clients {
        let err = client.ask(&Request::Status, LIMIT).unwrap_err();
        assert!(
            matches!(err, ClientError::Connection(ConnectionError::Closed)),
            "{err:?}"
        );
    }
    let _client = Client::connect(&place, LIMIT).unwrap();
    assert!(listener.accept().is_some());
    assert!(listener.accept().is_none());
}
