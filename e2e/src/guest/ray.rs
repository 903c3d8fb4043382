//! The jobs of a contest as tasks of Ray.

use std::ffi::CStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, mount};
use serde_json::json;

use super::job::{PROGRESS, REGISTRY};
use super::program::busybox;
use crate::arena::Job;

/// What starts Ray, and its tasks.
const DRIVER: &str = include_str!("../../ray/driver.py");
const AT: &str = "/run/driver.py";

/// Where it shares objects between processes.
const SHARED: &str = "/dev/shm";

/// What Ray's parts wait for each other: Python is slow where it is emulated.
const PATIENCE: [(&str, &str); 6] = [
    ("RAY_worker_register_timeout_seconds", "600"),
    ("RAY_agent_register_timeout_ms", "600000"),
    ("RAY_raylet_start_wait_time_s", "600"),
    ("RAY_health_check_timeout_ms", "600000"),
    ("RAY_gcs_server_request_timeout_seconds", "600"),
    ("RAY_gcs_rpc_server_connect_timeout_s", "600"),
];

/// Ray, with a worker for each task.
pub(super) struct Ray {
    /// Its end would be that of all.
    _driver: Child,
    tasks: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Ray {
    /// Returns once so many workers wait.
    pub(super) fn start(workers: u32, kills: bool) -> Result<Self> {
        fs::write(AT, DRIVER).context("cannot write the driver")?;
        // Its parts talk over the network.
        busybox(&["ifconfig", "lo", "up"])?;
        fs::create_dir_all(SHARED).context("cannot make a directory")?;
        let options: Option<&CStr> = None;
        mount("tmpfs", SHARED, "tmpfs", MountFlags::empty(), options)
            .context("cannot mount a tmpfs")?;
        let mut command = Command::new("/usr/bin/python3");
        command
            .args([AT, &workers.to_string(), REGISTRY, PROGRESS])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("RAY_USAGE_STATS_ENABLED", "0")
            .env("RAY_AUTH_MODE", "disabled")
            .envs(PATIENCE);
        if !kills {
            command.env("RAY_memory_monitor_refresh_ms", "0");
        }
        let driver = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut driver = driver.context("cannot start Ray")?;
        let mut ray = Self {
            tasks: driver.stdin.take().context("it reads no tasks")?,
            said: BufReader::new(driver.stdout.take().context("it says nothing")?),
            _driver: driver,
        };
        let said = ray.line()?;
        ensure!(said == "ready", "Ray says `{said}`");
        Ok(ray)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.said.read_line(&mut line);
        read.context("Ray says nothing")?;
        ensure!(!line.is_empty(), "Ray has ended");
        Ok(line.trim().to_owned())
    }

    /// Gives a worker a task; returns its pid.
    pub(super) fn work(&mut self, job: &Job) -> Result<u32> {
        let task = json!({
            "entry": job.value.map(|value| format!("{value}\n")),
            "start_mib": job.start_mib,
            "growth_mib_s": job.growth_mib_s,
            "max_mib": job.max_mib,
            "touching": job.touching,
        });
        writeln!(self.tasks, "{task}").context("Ray takes no task")?;
        let pid = self.line()?;
        pid.parse().with_context(|| format!("Ray says `{pid}`"))
    }
}
