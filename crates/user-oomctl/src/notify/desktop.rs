//! Notifications of a desktop: <https://specifications.freedesktop.org/notification/1.3/>.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use control::{Reply, Request};
use zbus::blocking::connection::Builder;
use zbus::zvariant::Value;

use super::Notice;
use crate::error::Error;
use crate::places::DaemonPlaces;

/// A desktop that hangs is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The key and the text of the button that raises a value.
const KEEP: [&str; 2] = ["keep", "Keep this one"];
/// What it is raised to: the most that an ordinary user may give by default.
const KEEP_VALUE: &str = "1000";

#[zbus::proxy(
    interface = "org.freedesktop.Notifications",
    default_service = "org.freedesktop.Notifications",
    default_path = "/org/freedesktop/Notifications",
    gen_async = false
)]
trait Notifications {
    fn get_capabilities(&self) -> zbus::Result<Vec<String>>;

    #[expect(clippy::too_many_arguments, reason = "the specification has them")]
    fn notify(
        &self,
        app_name: &str,
        replaces_id: u32,
        app_icon: &str,
        summary: &str,
        body: &str,
        actions: &[&str],
        hints: HashMap<&str, Value<'_>>,
        expire_timeout: i32,
    ) -> zbus::Result<u32>;

    #[zbus(signal)]
    fn action_invoked(&self, id: u32, action_key: &str) -> zbus::Result<()>;
}

/// The desktop of the user that we run as.
#[derive(Debug)]
pub(super) struct Desktop {
    server: NotificationsProxy<'static>,
    has_buttons: bool,
    /// By the id of a notification: which process it was about.
    shown: Arc<Mutex<HashMap<u32, u32>>>,
}

impl Desktop {
    /// # Errors
    ///
    /// [`Error::Bus`]: there is no session bus, or none on it shows notifications.
    pub(super) fn find(daemon: &DaemonPlaces) -> Result<Self, Error> {
        let found = || {
            let bus = Builder::session()?.method_timeout(PATIENCE).build()?;
            let server = NotificationsProxy::new(&bus)?;
            let capabilities = server.get_capabilities()?;
            Ok((server, capabilities))
        };
        let (server, capabilities) = found().map_err(|source| Error::Bus {
            task: "find a desktop",
            bus: "session",
            source: Box::new(source),
        })?;
        let desktop = Self {
            has_buttons: capabilities.iter().any(|name| name == "actions"),
            server,
            shown: Arc::default(),
        };
        if desktop.has_buttons {
            desktop.answer_buttons(daemon.clone());
        }
        Ok(desktop)
    }

    /// # Errors
    ///
    /// The desktop does not take it, or not in time.
    pub(super) fn show(&mut self, notice: &Notice) -> zbus::Result<()> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = shown.iter().find(|(_, pid)| **pid == notice.pid);
        let replaces = earlier.map_or(0, |(id, _)| *id);
        let actions: &[&str] = match notice.is_warning && self.has_buttons {
            true => &KEEP,
            false => &[],
        };
        let body = escaped(&notice.body);
        let id = send(&self.server, replaces, &notice.summary, &body, actions)?;
        shown.remove(&replaces);
        shown.insert(id, notice.pid);
        Ok(())
    }

    /// Raises the value of what a person wants to keep, for as long as we run.
    fn answer_buttons(&self, daemon: DaemonPlaces) {
        let (server, shown) = (self.server.clone(), Arc::clone(&self.shown));
        thread::spawn(move || {
            let Ok(pressed) = server.receive_action_invoked() else {
                return;
            };
            for signal in pressed {
                let Ok(button) = signal.args() else { continue };
                if button.action_key != KEEP[0] {
                    continue;
                }
                let shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(pid) = shown.get(&button.id).copied() else {
                    continue;
                };
                drop(shown);
                let told = keep(&daemon, pid);
                // Where that fails, there is no desktop to be told by.
                let _ = send(&server, button.id, &told, "", &[]);
            }
        });
    }
}

fn send(
    server: &NotificationsProxy<'_>,
    replaces: u32,
    summary: &str,
    body: &str,
    actions: &[&str],
) -> zbus::Result<u32> {
    // Critical: it stays until it is seen.
    let hints = HashMap::from([("urgency", Value::U8(2))]);
    let (app, icon) = ("user-oom", "dialog-warning");
    server.notify(app, replaces, icon, summary, body, actions, hints, -1)
}

/// What came of it, for people.
fn keep(daemon: &DaemonPlaces, pid: u32) -> String {
    let request = Request::Register {
        pid: Some(pid),
        entry: KEEP_VALUE.to_owned(),
    };
    match daemon.ask(&request) {
        Ok(Reply::Entry { pid }) => format!("Process {pid} has a value of {KEEP_VALUE} now"),
        Ok(_) => format!("Process {pid} may have kept its value"),
        Err(err) => format!("Process {pid} keeps its value: {}", terminal::chain(&err)),
    }
}

/// A body may have markup in it, which a name is not to be.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
