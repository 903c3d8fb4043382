//! The Engine API of Docker, which Podman has too: HTTP over a Unix socket
//! (<https://docs.docker.com/reference/api/engine/>).

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde::Deserialize;

use crate::{Container, ContainerId, is_trusted};

/// No more of an answer is read. An ordinary one has 5 to 20 KiB; checks of its
/// health add up to 20.
const ANSWER_BYTES: usize = 256 << 10;
/// How many lines an answer's head may have.
const HEADERS: usize = 32;
/// Labels that are containerd's or CRI-O's to give: here an image's maker chose them.
const OF_OTHER_RUNTIMES: [&str; 2] = ["io.kubernetes.cri.", "io.kubernetes.cri-o."];

/// A runtime that does not say what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It listens no more, or has too many to hear.
    #[error("cannot connect to it")]
    Connect(#[source] io::Error),
    /// What listens is another user's.
    #[error("it belongs to uid {0}, not to root")]
    Untrusted(u32),
    /// Its time was over.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// Its answer could not be read.
    #[error("cannot read its answer")]
    Read(#[source] io::Error),
    /// It says more than is ever read.
    #[error("its answer has more than {} KiB", ANSWER_BYTES >> 10)]
    TooLong,
    /// It is busy, or has no such call.
    #[error("its answer has status {0}")]
    Status(u16),
    /// That is no answer to what was asked.
    #[error("its answer makes no sense")]
    Malformed,
}

impl AskError {
    /// Whether nothing listens there, which is ordinary.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Connect(err) if err.kind() == io::ErrorKind::NotFound)
    }
}

/// What the runtime that listens at `socket` says of the container `id` within
/// `limit`; `None`: it has none of that id.
///
/// # Errors
///
/// [`AskError`].
pub fn ask(
    socket: &Path,
    id: &ContainerId,
    limit: Duration,
) -> Result<Option<Container>, AskError> {
    let began = Instant::now();
    let late = |err: io::Error| match err.kind() {
        // What a socket says whose time is over.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => AskError::Late(limit),
        _ => AskError::Read(err),
    };
    let left = || match limit.saturating_sub(began.elapsed()) {
        Duration::ZERO => Err(late(io::ErrorKind::TimedOut.into())),
        left => Ok(left),
    };
    let mut stream = connected(socket)?;
    stream
        .set_write_timeout(Some(left()?))
        .map_err(AskError::Read)?;
    // Of HTTP/1.1 an answer may come in chunks, of 1.0 not. Without a version of
    // the API in the path, the runtime's own counts.
    let request = format!(
        "GET /containers/{}/json HTTP/1.0\r\nHost: localhost\r\nUser-Agent: user-oom\r\n\r\n",
        String::from_utf8_lossy(id)
    );
    stream.write_all(request.as_bytes()).map_err(late)?;
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    loop {
        stream
            .set_read_timeout(Some(left()?))
            .map_err(AskError::Read)?;
        let read = match stream.read(&mut piece) {
            Ok(read) => read,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(late(err)),
        };
        text.extend_from_slice(&piece[..read]);
        match answer(&text, read == 0)? {
            Some((status, body)) => return understood(status, body, id),
            None if read == 0 => return Err(AskError::Malformed),
            None => {}
        }
    }
}

fn connected(path: &Path) -> Result<UnixStream, AskError> {
    let socket = || -> Result<OwnedFd, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // EAGAIN where there is no room to wait in.
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(socket)
    };
    let socket = socket().map_err(|errno| AskError::Connect(errno.into()))?;
    let peer = socket_peercred(&socket).map_err(|errno| AskError::Connect(errno.into()))?;
    if !is_trusted(peer.uid) {
        return Err(AskError::Untrusted(peer.uid.as_raw()));
    }
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false).map_err(AskError::Connect)?;
    Ok(stream)
}

/// The status and the body of the answer that `text` is; `None`: that is not all
/// of it yet. `is_over`: no more comes.
pub(crate) fn answer(text: &[u8], is_over: bool) -> Result<Option<(u16, &[u8])>, AskError> {
    if ANSWER_BYTES < text.len() {
        return Err(AskError::TooLong);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let Ok(parsed) = head.parse(text) else {
        return Err(AskError::Malformed);
    };
    let (httparse::Status::Complete(start), Some(status)) = (parsed, head.code) else {
        return Ok(None);
    };
    let header = |name: &str| {
        let mut all = head.headers.iter();
        all.find(|header| header.name.eq_ignore_ascii_case(name))
    };
    if header("transfer-encoding").is_some() {
        return Err(AskError::Malformed);
    }
    let body = &text[start..];
    let Some(length) = header("content-length") else {
        return Ok(is_over.then_some((status, body)));
    };
    let length = std::str::from_utf8(length.value).ok();
    let length = length.and_then(|length| length.parse::<usize>().ok());
    let length = length.ok_or(AskError::Malformed)?;
    if ANSWER_BYTES < length {
        return Err(AskError::TooLong);
    }
    Ok(body.get(..length).map(|body| (status, body)))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    name: Option<String>,
    config: Option<ContainerConfig>,
    state: ContainerState,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerConfig {
    image: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerState {
    pid: u32,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

pub(crate) fn understood(
    status: u16,
    body: &[u8],
    id: &ContainerId,
) -> Result<Option<Container>, AskError> {
    match status {
        200 => {}
        404 => {
            // Else there is no such call.
            let refusal: Option<Refusal> = serde_json::from_slice(body).ok();
            let is_unknown = refusal.is_some_and(|it| it.message.contains("o such container"));
            return if is_unknown {
                Ok(None)
            } else {
                Err(AskError::Status(status))
            };
        }
        _ => return Err(AskError::Status(status)),
    }
    let Ok(found) = serde_json::from_slice::<Inspected>(body) else {
        return Err(AskError::Malformed);
    };
    // It may be another's name.
    if found.id.as_bytes() != id {
        return Ok(None);
    }
    let (image, labels) = match found.config {
        Some(config) => (config.image, config.labels),
        None => (None, None),
    };
    let is_of_another = |key: &str| OF_OTHER_RUNTIMES.iter().any(|it| key.starts_with(it));
    let mut labels = labels.unwrap_or_default();
    labels.retain(|key, _| !is_of_another(key));
    let name = found.name.unwrap_or_default();
    Ok(Some(Container::new(
        found.state.pid,
        name.strip_prefix('/').unwrap_or(&name),
        &image.unwrap_or_default(),
        labels,
    )))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    const ID: &ContainerId = b"8d9f0b52a1c34d7e96f0aa55cc0d13b27f6e4a90d1b8c3e2f4a5968778695a4b";
    /// A test that waits for an answer gets one.
    const LONG: Duration = Duration::from_secs(60);

    fn id() -> &'static str {
        std::str::from_utf8(ID).unwrap()
    }

    /// As Docker 28 writes it, but for what is not read.
    fn docker() -> String {
        format!(
            r#"{{"Id":"{}","Created":"2026-01-02T03:04:05Z","Path":"postgres","Args":[],
            "State":{{"Status":"running","Running":true,"Pid":4711,"ExitCode":0,"Health":{{"Log":[]}}}},
            "Image":"sha256:1f","Name":"/db","HostConfig":{{"Memory":0}},
            "Config":{{"Hostname":"8d9f0b52a1c3","Env":["A=b"],"Image":"postgres:16",
            "Labels":{{"com.docker.compose.service":"db","user-oom.value":"50"}}}}}}"#,
            id()
        )
    }

    fn answered(status: &str, body: &str) -> String {
        format!("HTTP/1.0 {status}\r\nContent-Type: application/json\r\n\r\n{body}")
    }

    /// What is understood of `text`, as a runtime that answers so ends it.
    fn read(text: &str) -> Result<Option<Container>, AskError> {
        let (status, body) = answer(text.as_bytes(), true)?.ok_or(AskError::Malformed)?;
        understood(status, body, ID)
    }

    #[test]
    fn name_image_and_labels_are_what_the_runtime_says() {
        let found = read(&answered("200 OK", &docker())).unwrap().unwrap();
        assert_eq!(found.pid, 4711);
        assert_eq!((&*found.name, &*found.image), ("db", "postgres:16"));
        let labels = ["com.docker.compose.service=db", "user-oom.value=50"];
        assert_eq!(found.labels, labels.map(Into::into));
    }

    #[test]
    fn an_image_gives_no_labels_that_are_another_runtimes() {
        let mut labels = r#""io.kubernetes.cri.sandbox-namespace":"kube-system","#.to_owned();
        labels.push_str(r#""io.kubernetes.cri-o.Namespace":"kube-system","a":"b""#);
        let config = format!(r#","Config":{{"Labels":{{{labels}}}}}"#);
        let body = format!(r#"{{"Id":"{}","State":{{"Pid":0}}{config}}}"#, id());
        let found = read(&answered("200 OK", &body)).unwrap().unwrap();
        assert_eq!(found.labels, ["a=b".into()]);
    }

    #[test]
    fn what_a_container_lacks_is_empty() {
        for config in [r#","Config":{"Labels":null}"#, ""] {
            let body = format!(r#"{{"Id":"{}","State":{{"Pid":0}}{config}}}"#, id());
            let found = read(&answered("200 OK", &body)).unwrap();
            assert_eq!(found, Some(Container::default()));
        }
    }

    #[test]
    fn a_container_that_is_not_there_is_none() {
        let docker = format!(r#"{{"message":"No such container: {}"}}"#, id());
        let podman = r#"{"cause":"no such container","message":"no container with name or ID \"8d\" found: no such container","response":404}"#;
        for said in [&*docker, podman] {
            assert_eq!(read(&answered("404 Not Found", said)).unwrap(), None);
        }
        // One that is called so.
        let other = docker_called_so();
        assert_eq!(read(&answered("200 OK", &other)).unwrap(), None);
    }

    fn docker_called_so() -> String {
        docker().replacen("8d9f", "9d9f", 1)
    }

    #[test]
    fn an_answer_that_is_none_is_told_from_one() {
        let said = |text: &str| read(text).unwrap_err().to_string();
        let no_call = answered("404 Not Found", r#"{"message":"page not found"}"#);
        assert_eq!(said(&no_call), "its answer has status 404");
        let refused = answered("400 Bad Request", r#"{"message":"too old"}"#);
        assert_eq!(said(&refused), "its answer has status 400");
        for text in [
            "",
            "SSH-2.0-OpenSSH_9\r\n",
            "HTTP/1.0 200 OK\r\n",
            &answered("200 OK", ""),
            &answered("200 OK", "[]"),
            &answered("200 OK", &docker()[..100]),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n{}",
            "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n{}",
        ] {
            assert_eq!(said(text), "its answer makes no sense", "{text:?}");
        }
        let announced = "HTTP/1.0 200 OK\r\nContent-Length: 999999999\r\n\r\n{";
        assert_eq!(said(announced), "its answer has more than 256 KiB");
        let long = answered("200 OK", &"[".repeat(ANSWER_BYTES));
        assert_eq!(said(&long), "its answer has more than 256 KiB");
    }

    #[test]
    fn an_answer_in_pieces_is_put_together_and_its_end_is_known() {
        let body = docker();
        let text = format!(
            "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        for cut in [0, 5, 40, text.len() - 1] {
            let part = &text.as_bytes()[..cut];
            assert!(matches!(answer(part, false), Ok(None)), "{cut}");
        }
        let whole = answer(text.as_bytes(), false).unwrap();
        assert_eq!(whole, Some((200, body.as_bytes())));
    }

    proptest! {
        #[test]
        fn no_answer_whatever_has_it_panic(
            (at, byte) in (0_usize..900, any::<u8>()),
            cut in 0_usize..900,
            is_over: bool,
        ) {
            let mut text = answered("200 OK", &docker()).into_bytes();
            text.truncate(cut);
            if let Some(changed) = text.get_mut(at) {
                *changed = byte;
            }
            if let Ok(Some((status, body))) = answer(&text, is_over) {
                let _ = understood(status, body, ID);
            }
        }
    }

    #[test]
    fn a_socket_that_is_absent_or_deaf_is_no_runtime() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert!(ask(&path, ID, LONG).unwrap_err().is_absent());
        std::fs::write(&path, "").unwrap();
        let said = ask(&path, ID, LONG).unwrap_err();
        assert!(matches!(said, AskError::Connect(_)) && !said.is_absent());
        std::fs::remove_file(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        let said = ask(&path, ID, Duration::ZERO).unwrap_err();
        assert!(matches!(said, AskError::Late(_)), "{said}");
        // Where too many wait, it is not waited for.
        let crowd = std::iter::from_fn(|| connected(&path).ok());
        let crowd: Vec<_> = crowd.collect();
        assert!(!crowd.is_empty());
        let said = ask(&path, ID, LONG).unwrap_err();
        assert!(matches!(said, AskError::Connect(_)), "{said}");
        drop(listener);
    }

    #[test]
    fn what_is_asked_is_about_one_container() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let runtime = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let read = client.read(&mut request).unwrap();
            client
                .write_all(answered("200 OK", &docker()).as_bytes())
                .unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let found = ask(&path, ID, LONG).unwrap().unwrap();
        assert_eq!(&*found.name, "db");
        let request = runtime.join().unwrap();
        let want = format!("GET /containers/{}/json HTTP/1.0\r\n", id());
        assert!(request.starts_with(&want), "{request}");
    }
}
