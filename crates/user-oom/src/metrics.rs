//! Metrics for Prometheus: OpenMetrics for those that ask at the control socket,
//! and a file for node_exporter's textfile collector, which a thread writes.

use std::convert::Infallible;
use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use control::{Condition, Status};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, prometheus_text, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::clerk::View;
use crate::tell::lane::Lane;

/// The file is written so often: as Prometheus scrapes by default.
const INTERVAL: Duration = Duration::from_secs(15);
/// Lines that say why it cannot be.
pub(crate) const LINES: usize = 4;
/// To write some numbers.
const STACK_BYTES: usize = 128 * 1024;
/// It is looked so often whether there is something to write at first.
const FIRST: Duration = Duration::from_millis(100);
/// How long the end waits for it.
const FAREWELL: Duration = Duration::from_secs(1);
const NAME: &str = "user_oom";

/// What is told beside the status.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Until memory is full.
    pub(crate) full_in: Option<Duration>,
    /// How many units were paused since the start.
    pub(crate) paused_in_all: u64,
    /// Processes without a descriptor kept, for want of descriptors.
    pub(crate) unheld: usize,
    /// Processes that cannot be read.
    pub(crate) unread: usize,
    /// What reading the last process table took,
    pub(crate) read: Duration,
    /// and deciding about it.
    pub(crate) choose: Duration,
}

/// How things were at one moment.
#[derive(Clone, Debug)]
pub(crate) struct MetricSample {
    pub(crate) status: Status,
    pub(crate) figures: Figures,
}

impl MetricSample {
    /// In the OpenMetrics text format.
    pub(crate) fn open_metrics(self) -> Result<String, fmt::Error> {
        let mut metrics = String::new();
        text::encode(&mut metrics, &self.registry())?;
        Ok(metrics)
    }

    /// In the older text format of Prometheus, which node_exporter reads.
    fn textfile(self) -> Result<String, fmt::Error> {
        let mut metrics = String::new();
        prometheus_text::encode(&mut metrics, &self.registry())?;
        Ok(metrics)
    }

    fn registry(self) -> Registry {
        let mut registry = Registry::with_prefix(NAME);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running user-oom", version);
        registry.register_collector(Box::new(self));
        registry
    }

    /// Name, what it is, value. What cannot be read is left out.
    fn gauges(&self) -> Vec<(&'static str, &'static str, f64)> {
        let Self { status, figures } = self;
        let level = match status.level {
            Condition::Ok => 0.0,
            Condition::Warn => 1.0,
            Condition::Kill => 2.0,
            Condition::Unknown => -1.0,
        };
        let mut gauges = vec![
            (
                "level",
                "How short memory is: 0 ok, 1 warn, 2 kill, -1 not readable",
                level,
            ),
            (
                "registered_processes",
                "Processes that have a value",
                status.registered.into(),
            ),
            (
                "paused_units",
                "Units that are paused now",
                status.paused.into(),
            ),
            (
                "unheld_processes",
                "Processes for which there was no file descriptor",
                float(figures.unheld as u64),
            ),
            (
                "unread_processes",
                "Processes that could not be read",
                float(figures.unread as u64),
            ),
            (
                "table_read_seconds",
                "Time that reading the last process table took",
                figures.read.as_secs_f64(),
            ),
            (
                "choice_seconds",
                "Time that the last decision took",
                figures.choose.as_secs_f64(),
            ),
        ];
        if status.level != Condition::Unknown {
            gauges.extend([
                (
                    "memory_available_bytes",
                    "Available memory",
                    float(status.available_bytes),
                ),
                (
                    "memory_total_bytes",
                    "All memory",
                    float(status.total_bytes),
                ),
                (
                    "memory_warn_threshold_bytes",
                    "At or below this much available memory, it asks victims to exit",
                    float(status.warn_bytes),
                ),
                (
                    "memory_kill_threshold_bytes",
                    "At or below this much available memory, it kills at once",
                    float(status.kill_bytes),
                ),
                (
                    "swap_free_bytes",
                    "Free swap",
                    float(status.swap_free_bytes),
                ),
                (
                    "swap_total_bytes",
                    "All swap",
                    float(status.swap_total_bytes),
                ),
            ]);
        }
        if let Some(full_in) = figures.full_in {
            gauges.push((
                "memory_full_in_seconds",
                "Time until memory is full, if it keeps falling; absent if it is not falling",
                full_in.as_secs_f64(),
            ));
        }
        gauges
    }
}

impl Collector for MetricSample {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, value) in self.gauges() {
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        let counters = [
            ("kills", "Processes that it killed", self.status.killed),
            ("pauses", "Units that it paused", self.figures.paused_in_all),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "metrics are floating-point numbers; bytes are exact up to 2^53"
)]
fn float(number: u64) -> f64 {
    number as f64
}

/// The thread that writes the file. The file is removed when this is dropped, so
/// that no figures stay that are not renewed.
#[derive(Debug)]
pub(crate) struct MetricsFile {
    end: Option<Sender<()>>,
    /// Nothing is sent; it is closed when the thread ends.
    ended: Receiver<Infallible>,
}

impl MetricsFile {
    /// Starts it, where it can be: what is written is what `view` shows.
    pub(crate) fn spawn(path: &Path, view: View, mut lane: Lane) -> Option<Self> {
        let (end, told_to_end) = mpsc::channel();
        let (sender, ended) = mpsc::channel();
        let path = path.to_path_buf();
        let thread = thread::Builder::new()
            .name("metrics".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let _sender = sender;
                let mut was_said = false;
                let mut pause = Duration::ZERO;
                while told_to_end.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    pause = match view.sample() {
                        Some(sample) => {
                            keep(&path, sample, &mut was_said, &mut lane);
                            INTERVAL
                        }
                        // Before the first round there is nothing to show.
                        None => FIRST,
                    };
                }
                let _ = fs::remove_file(&path);
            });
        if let Err(err) = thread {
            log::warn!("no metrics are written: cannot start the thread for it: {err}");
            return None;
        }
        let end = Some(end);
        Some(Self { end, ended })
    }
}

impl Drop for MetricsFile {
    fn drop(&mut self) {
        drop(self.end.take());
        // A disk that takes nothing is left behind.
        let _ = self.ended.recv_timeout(FAREWELL);
    }
}

/// Writes `sample` to the file; says so where that fails, once.
fn keep(path: &Path, sample: MetricSample, was_said: &mut bool, lane: &mut Lane) {
    let text = sample.textfile().unwrap_or_default();
    match replace(path, text.as_bytes()) {
        Ok(()) => *was_said = false,
        Err(err) if !std::mem::replace(was_said, true) => {
            lane.note(
                log::Level::Warn,
                format_args!("cannot write the metrics to `{}`: {err}", path.display()),
            );
        }
        Err(_) => {}
    }
}

/// Whole or not at all, for one that reads it meanwhile.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = beside(path);
    // Left by one that was killed; or made by another, and not written through.
    match fs::remove_file(&new) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    let written = File::create_new(&new)
        .and_then(|mut file| {
            // node_exporter is another user, whatever our umask is.
            file.set_permissions(Permissions::from_mode(0o644))?;
            file.write_all(text)
        })
        .and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// node_exporter reads names that end with `.prom`.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}
