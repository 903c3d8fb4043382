//! Start-up: everything that may fail, take memory or take time, before the
//! loop begins.

use std::env;
use std::ffi::{CStr, OsString};
use std::fmt::{self, Write as _};
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use config::Position;
use control::Place;
use journal::{Folder, Machine, SystemJournal, Writer};
use nix::sys::epoll::EpollFlags;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::geteuid;
use oom_policy::{Guard, Memory, Seen, Settings, Surroundings};
use reaper::{Calls, Code, Pauser, Reaper, protect_ourselves, trim_memory};
use rustix::system::uname;
use sensors::{
    Arcstats, Cgroup, CgroupError, CgroupMemory, Depth, Meminfo, Notifier, NotifierParameters,
    ProcRoot, ProcessTable, ReadError, Scopes, Zoneinfo, Zram, sees_cgroups_from_within,
};
use terminal::chain;
use value_registry::{Options, Registry};

use crate::act::Executor;
use crate::align::{self, Aligner};
use crate::arguments::{Arguments, ScopeWish, Source, Unusable};
use crate::classify::{Classifier, Programs};
use crate::clerk::{self, Clerk, ClerkError, Plans};
use crate::configuration::{self, Configuration, ScopeEntry};
use crate::container_facts::{self, ContainerFacts, RuntimePatience};
use crate::daemon::{Daemon, LoopState, OnHangup, OtherScope, Planning, StatusLine, room_for};
use crate::enrol::Enroller;
use crate::error::{Error, system};
use crate::memory::{self, Beside, ListenRetry, ListenTarget, MemorySource, Sight};
use crate::metrics::{self, MetricsFile};
use crate::pause_reader::{self, PauseReader};
use crate::paused::PausedUnits;
use crate::peers;
use crate::pressure::{self, PressureGates, PressureWatch, PressureWatches};
use crate::privileges::Privileges;
use crate::recorder::{Recorded, Recorder, SignalNotes};
use crate::recording;
use crate::registry_turn::RegistryTurn;
use crate::rehearsal;
use crate::reload::{ReadMemory, Reloads, Rereader, ScopeInForce};
use crate::rule_command::CommandStarter;
use crate::rulebook::Edition;
use crate::senses::{Senses, Unattended};
use crate::surveyor::{self, Surveyor};
use crate::tell::accounts::Accounts;
use crate::tell::hook::{self, Hooks};
use crate::tell::lane::{Desk, Lane};
use crate::tell::main_log;
use crate::tell::page::{self, Introduction, Page};
use crate::tell::scribe::{self, Scribe};
use crate::tell::syslog::Syslog;
use crate::turns::Turns;
use crate::values::Values;
use crate::wait::{Wait, WakeSource};
use crate::watchdog::{self, Watchdog};

/// The kernel's view of memory, pressure and processes.
pub(crate) const PROC: &str = "/proc";

/// The names of users: passwd(5).
pub(crate) const PASSWD: &str = "/etc/passwd";

/// The kernel's view of its modules and devices.
const SYS: &str = "/sys";

/// Other daemons that kill when memory is short: two of them kill more than
/// one would.
const OTHER_GUARDS: [&str; 3] = ["earlyoom", "nohang", "systemd-oomd"];

/// How often a cgroup is looked at, at most: one core fills 500 MiB in 200 ms.
const SHORTEST_LOOK: Duration = Duration::from_millis(5);

/// About 25 are always open, strangers' connections may be 8 more, and a look
/// opens one file at a time. With fewer it would start, and then see nothing.
const FEWEST_DESCRIPTORS: u64 = 36;

/// What the first thread's stack may need, built for debugging. Threads have
/// stacks of a size of their own.
const LEAST_STACK_BYTES: u64 = 1 << 20;

/// A daemon that is ready to guard, and has said what it watches, on standard
/// output or in `syslog`. `signals`: of [`take_signals`]; `descriptors`: of
/// [`take_descriptors`].
///
/// # Errors
///
/// [`Error`] says what it cannot do without.
pub(crate) fn daemon(
    configuration: &Configuration,
    command_line: &[OsString],
    terminal: bool,
    syslog: Option<&Syslog>,
    signals: SignalFd,
    descriptors: u64,
) -> Result<Daemon, Error> {
    let arguments = &configuration.arguments;
    let (memory_source, mut settings) = memory(configuration)?;
    let memory = memory_source.last();

    let root = ProcRoot::at(PROC);
    let privileges = Privileges::read(root.path());
    if sees_cgroups_from_within(root.path()) {
        log::warn!(
            "cgroups are seen from this container's namespace: rules match a path only from where it \
             leaves that of this container; start the container in the host's (`--cgroupns=host`)"
        );
    }

    let place = peers::place(arguments.socket.as_deref()).map_err(Error::Control)?;
    let mut desk = Desk::new().map_err(system("wake the thread that writes"))?;
    let origin = Instant::now();
    let (clerk, feed) = Clerk::spawn(
        place.clone(),
        Enroller {
            proc_root: Path::new(PROC).to_path_buf(),
            registry: arguments.registry.clone(),
            own_uid: geteuid().as_raw(),
        },
        origin,
        desk.lane(clerk::LINES),
    )
    .map_err(|err| match err {
        ClerkError::Place(err) => Error::Control(err),
        ClerkError::Bell(err) => system("wake the thread that answers")(err),
    })?;
    let options = Options {
        user_value_cap: arguments.user_value_cap,
        user_value_share: arguments.user_value_share,
        ..Options::default()
    };
    let registry = Registry::open(&arguments.registry, options).map_err(Error::Registry)?;

    let scope = memory_source.scope().cloned();
    let pressure = watch_pressure(
        arguments,
        scope.as_ref(),
        memory_source.is_containers(),
        settings.pause,
    )?;
    let others = other_scopes(configuration, scope.as_ref())?;
    for obstacle in others.iter().filter_map(|other| other.obstacle.as_ref()) {
        log::warn!("{obstacle}");
    }
    let cgroups = || {
        let others = others.iter().map(|other| Some(&other.cgroup));
        std::iter::once(scope.as_ref()).chain(others)
    };
    let scopes = Scopes::new(cgroups().map(Option::<&Cgroup>::cloned).collect());

    let (classifier, processes) = classifier(arguments, &root, privileges)?;
    // As much as it would make room for by itself, and so without a hole in
    // the heap where the smaller one was.
    let table = ProcessTable::new(root.clone(), 2 * processes);
    let mut table = table.of_scopes(&scopes);
    scan(&mut table, Depth::Full)?;
    classifier.classify_new(&mut table);
    let judged = |process: &&Seen| !process.is_kernel_thread;
    let capacity = room_for(table.processes().iter().filter(judged).count());

    let surroundings = Surroundings {
        dry_run: arguments.dryrun,
        kernel_asks: memory_source.notifier().is_some(),
    };
    let hooks = Hooks {
        executable: executable(),
        before: arguments.before.clone(),
        after: arguments.after.clone(),
        notify: arguments.notify,
    };
    if hooks.notify && !hook::can_notify(&env::var_os("PATH").unwrap_or_default()) {
        log::warn!(
            "`-n` has no effect: dbus-send is not in PATH (install package dbus-bin or dbus)"
        );
    }
    let watchdogs_lane = desk.lane(watchdog::LINES);
    let aligners_lane = desk.lane(align::LINES);
    let metrics_file = arguments.metrics_file.as_deref();
    let metrics_file = metrics_file
        .and_then(|path| MetricsFile::spawn(path, clerk.view(), desk.lane(metrics::LINES)));
    let others_lanes: Vec<_> = std::iter::repeat_with(|| desk.lane(recording::LINES))
        .take(1 + others.len())
        .collect();
    let lane = desk.lane(scribe::OUTCOMES);
    let mut starter = CommandStarter::new(executable(), lane);
    let containers_lane = Mutex::new(desk.lane(container_facts::LINES));
    let commands = starter.start_for(&configuration.rulebook);
    let mut scribe = Scribe::spawn(desk, hooks, page(syslog, cgroups()));
    main_log::hand_over(|level, text| scribe.note(level, text));

    let introduction = Introduction {
        scope: scope.as_ref(),
        others: &others
            .iter()
            .map(|it| (&it.cgroup, &it.settings, it.guarded_memory()))
            .collect::<Vec<_>>(),
        settings: &settings,
        memory: &memory,
        gate: pressure.relief.as_ref().and(arguments.gate()),
        pause_gate: pressure.pause.as_ref().and(arguments.pause_gate()),
        registry: &arguments.registry,
        socket: place.as_ref().map(Place::socket),
        dryrun: arguments.dryrun,
    };
    scribe.tell(page::introduction(&introduction));
    warn_of_other_guards(table.processes());
    // The scribe keeps its priority, being in no hurry; the reaper and the
    // surveyor, made after this, have ours.
    harden(&root, privileges);
    let reaper = Reaper::spawn()
        .inspect_err(|err| {
            log::warn!(
                "a victim's memory is freed only as fast as it exits: {}",
                chain(err)
            );
        })
        .ok();
    let paused = PausedUnits::new(spawn_pauser(
        arguments,
        &root,
        place.as_ref(),
        &mut settings,
    ));
    let mut guard = Guard::new(settings.clone(), pressure.gates(), surroundings, capacity);
    let edition = Edition {
        number: 0,
        rulebook: Arc::clone(&configuration.rulebook),
    };
    let current = Arc::new(Mutex::new(edition.clone()));
    let read = surveyor::read(
        Path::new(PROC),
        Programs::new(),
        scopes,
        Arc::clone(&current),
        container_facts(arguments, container_facts::PATIENCE),
        move |said| {
            let mut lane = containers_lane
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            lane.note(log::Level::Warn, said);
        },
    );
    let surveyor = Surveyor::spawn(read, edition);
    let latest = Arc::new(Mutex::new(settings.clone()));
    let watchdog = Watchdog::spawn(
        &latest,
        || memory_beside(arguments, scope.clone(), memory),
        watchdogs_lane,
        arguments.dryrun,
        descriptors,
    );
    let rehearsed = rehearsal::decide(&mut guard, capacity);
    rehearsal::end_a_child(&root, &executable(), reaper.as_ref())?;

    let mut recorded = others_lanes.into_iter();
    let mut recorder = |scope: (Option<&Cgroup>, bool), memory: &Memory| {
        let lane = recorded.next()?;
        record(arguments, scope, memory, lane, capacity)
    };
    let (recorder_here, signals_noted) = recorder((scope.as_ref(), true), &memory).unzip();
    scribe.signals.push(signals_noted);
    scribe.feed = Some(feed);
    let executor = Executor::new(
        root.clone(),
        reaper,
        paused,
        arguments.dryrun,
        capacity,
        1 + others.len(),
    );
    let aligner = aligner(arguments, &root, place.as_ref(), &watchdog, aligners_lane);
    if aligner.has_put_back() {
        // What was read of them before is no hint of their own.
        scan(&mut table, Depth::Full)?;
        classifier.classify_new(&mut table);
    }
    let mut senses = Senses::new(
        memory_source,
        pressure,
        table,
        surveyor,
        classifier,
        rehearsed.processes,
    );
    let wait = wire(&signals, &clerk, &mut senses)?;
    let mut reread = Vec::new();
    let mut guarded = Vec::new();
    for (number, (entry, mut other)) in (1..).zip(configuration.scopes.iter().zip(others)) {
        other.settings.pause = settings.pause;
        reread.push(ScopeInForce {
            path: entry.cgroup.clone(),
            settings: other.settings.clone(),
            gates: entry.gates(),
            memory: memory_now(arguments, Some(other.cgroup.clone())),
        });
        pressure::watch_triggers(&mut other.pressure, &wait, number);
        let (recorder, signals_noted) =
            recorder((Some(&other.cgroup), false), &other.memory.last()).unzip();
        scribe.signals.push(signals_noted);
        let mut guard = Guard::new(
            other.settings,
            other.pressure.gates(),
            Surroundings {
                kernel_asks: false,
                ..surroundings
            },
            capacity,
        );
        let rehearsed = rehearsal::decide(&mut guard, capacity);
        guarded.push(OtherScope {
            name: other.cgroup.to_string().into(),
            senses: Unattended::new(other.memory, other.pressure, rehearsed.processes),
            guard: Recorded::new(guard, recorder),
            effects: rehearsed.effects,
            round: match other.obstacle {
                None => LoopState::default(),
                Some(it) => LoopState::awaited(it.why.into(), it.is_there),
            },
        });
    }
    let reader = Rereader {
        command_line: command_line.to_vec(),
        in_force: configuration.in_force(command_line)?,
        files: configuration.files.clone(),
        settings,
        memory: memory_now(arguments, scope.clone()),
        first: scope,
        others: reread,
        target: listen_target,
        is_dry_run: arguments.dryrun,
        is_on_terminal: terminal,
        edition: current,
        latest,
        commands: starter,
    };
    let reloads = reloads(reader, &wait);
    if let Some(reports) = executor.paused.descriptor() {
        wait.add(reports, EpollFlags::EPOLLIN, WakeSource::Pauser)
            .map_err(system(WAITING))?;
    }
    let commands = commands.unwrap_or_default();
    if let Some(failed) = commands.descriptor() {
        wait.add(failed, EpollFlags::EPOLLIN, WakeSource::Command)
            .map_err(system(WAITING))?;
    }
    let turn = RegistryTurn::new(&registry, &wait).map_err(system(WAITING))?;
    Ok(Daemon {
        origin,
        wait,
        signals,
        senses,
        values: Values::new(root, registry, turn),
        guard: Recorded::new(guard, recorder_here),
        effects: rehearsed.effects,
        executor,
        commands,
        aligner,
        clerk,
        plans: Plans::default(),
        planned: Planning::default(),
        scribe,
        will: Vec::with_capacity(watchdog.room()),
        watchdog,
        status: StatusLine::every(arguments.report_interval(terminal)),
        round: LoopState::default(),
        reloads,
        reloading: None,
        hangup: hangup(),
        turns: Turns::new(),
        _metrics: metrics_file,
        scope: 0,
        others: guarded,
        is_forced: arguments.dryrun || arguments.force,
    })
}

/// A cgroup that is guarded beside what the arguments say.
struct Other {
    cgroup: Cgroup,
    memory: MemorySource,
    settings: Settings,
    pressure: PressureWatches,
    /// Why it cannot be guarded yet, where it cannot.
    obstacle: Option<ScopeObstacle>,
}

/// What the files have as `[[scope]]`. `first`: what is guarded anyway, where that is
/// not the machine.
fn other_scopes(
    configuration: &Configuration,
    first: Option<&Cgroup>,
) -> Result<Vec<Other>, Error> {
    let cgroups = cgroups_of(configuration, first)?;
    let mut others = Vec::new();
    for (scope, cgroup) in configuration.scopes.iter().zip(cgroups) {
        others.push(other_scope(scope, cgroup, configuration.arguments.dryrun)?);
    }
    Ok(others)
}

/// The cgroups that the files have as `[[scope]]`. `first`: as of [`other_scopes`].
///
/// # Errors
///
/// One cannot be, or is named twice.
pub(crate) fn cgroups_of(
    configuration: &Configuration,
    first: Option<&Cgroup>,
) -> Result<Vec<Cgroup>, Error> {
    let mut all: Vec<Cgroup> = Vec::new();
    for scope in &configuration.scopes {
        let cgroup = Cgroup::named(Path::new(PROC), &scope.cgroup)
            .map_err(|err| scope.mistake(chain(&err)))?;
        if first.into_iter().chain(&all).any(|it| *it == cgroup) {
            return Err(scope.mistake(format!(
                "cgroup `{cgroup}` is guarded already: name each once"
            )));
        }
        all.push(cgroup);
    }
    Ok(all)
}

/// By which thresholds `scope`, which is `cgroup`, is guarded; what reads its memory; and
/// why that cannot be guarded yet, where it cannot.
///
/// # Errors
///
/// What the file says of it cannot be meant.
pub(crate) fn thresholds(
    scope: &ScopeEntry,
    cgroup: Cgroup,
    is_dry_run: bool,
) -> Result<(Settings, MemorySource, Option<ScopeObstacle>), Error> {
    let arguments = &scope.arguments;
    let settings = scope.settings()?;
    let mut meminfo = meminfo(arguments.meminfo.as_deref()).map_err(Error::Memory)?;
    let machine = meminfo.read().map_err(Error::Memory)?;
    // Its files are opened where it is read.
    let within = Some(CgroupMemory::absent(cgroup));
    let mut source = MemorySource::new(meminfo, machine, Beside::default(), None).within(within);
    let not_until = |place: &Position, until: &str, why| ScopeObstacle {
        said: format!("{place}: not guarded until {until}"),
        why,
        is_there: false,
    };
    let found = Cgroup::find(Path::new(PROC), &scope.cgroup);
    let obstacle = match found.map(|_| source.read()) {
        Err(err) => Some(not_until(&scope.mark, "it is there", chain(&err))),
        Ok(Err(err)) => Some(not_until(&scope.mark, "it can be read", chain(&err))),
        Ok(Ok(Sight { memory, .. })) => {
            let is_forced = is_dry_run || arguments.force;
            let unusable = not_guarded_yet(&source, &settings, &memory, is_forced);
            unusable.map(|it| ScopeObstacle {
                is_there: true,
                ..not_until(scope.place_of(it.names), "that changes", it.to_string())
            })
        }
    };
    Ok((settings, source, obstacle))
}

fn other_scope(scope: &ScopeEntry, cgroup: Cgroup, is_dry_run: bool) -> Result<Other, Error> {
    let (settings, memory, obstacle) = thresholds(scope, cgroup.clone(), is_dry_run)?;
    let gates = scope.gates();
    let gates = PressureGates {
        pause: gates.pause.filter(|_| settings.pause),
        ..gates
    };
    let pressure = match obstacle {
        None => gates.watch(&cgroup),
        Some(_) => gates.unwatched(),
    };
    Ok(Other {
        cgroup,
        memory,
        settings: Settings {
            shortest_look: SHORTEST_LOOK,
            ..settings
        },
        pressure,
        obstacle,
    })
}

impl Other {
    /// Its memory, where it can be guarded now.
    fn guarded_memory(&self) -> Option<Memory> {
        let is_guarded = self.obstacle.is_none();
        is_guarded.then(|| self.memory.last())
    }
}

/// Why a `[[scope]]` cannot be guarded yet.
pub(crate) struct ScopeObstacle {
    /// That it is not, where that stands in the file, and until when.
    said: String,
    why: String,
    /// Its memory can be read.
    is_there: bool,
}

impl fmt::Display for ScopeObstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.said, self.why)
    }
}

/// Why a scope whose memory could be read, and was never guarded yet, is not guarded now.
/// `is_forced`: it is where processes would be killed at once.
pub(crate) fn not_guarded_yet(
    source: &MemorySource,
    settings: &Settings,
    memory: &Memory,
    is_forced: bool,
) -> Option<Unusable> {
    let unlimited = source.lacks_limit();
    let unlimited = unlimited.map(|err| Unusable::new(chain(&err), &[]));
    unlimited.or_else(|| configuration::obstacle(settings, memory, is_forced))
}

/// What reads the configuration again; `None` where no thread can be had.
fn reloads(reader: Rereader, wait: &Wait) -> Option<Reloads> {
    let cost = "the configuration is not read again without a restart";
    let reloads = Reloads::spawn(reader)
        .inspect_err(|err| log::warn!("{cost}: cannot start the thread for that: {err}"))
        .ok()?;
    wait.add(&reloads, EpollFlags::EPOLLIN, WakeSource::Reload)
        .inspect_err(|errno| log::warn!("{cost}: {}", errno.desc()))
        .ok()?;
    Some(reloads)
}

/// Reads the memory that is guarded, by descriptors of its own each time; none of a
/// cgroup that cannot be read now.
fn memory_now(arguments: &Arguments, scope: Option<Cgroup>) -> ReadMemory {
    let given = arguments.meminfo.clone();
    Box::new(move || {
        let machine = meminfo(given.as_deref()).and_then(|mut meminfo| meminfo.read());
        let machine = machine.map_err(Error::Memory)?;
        Ok(match &scope {
            None => Some(machine),
            // Without a limit it is the machine's.
            Some(scope) => CgroupMemory::absent(scope.clone()).read(&machine).ok(),
        })
    })
}

/// The journal of another scope than the first, the cgroup `scope`: each has one, since
/// each decides for itself. No two have the same: `+` stands for `/`, and what is not
/// printable, and `+` and `%` themselves, are written as `%2B`.
fn beside_journal(path: &Path, scope: &Path) -> PathBuf {
    let mut name = String::from(".");
    let scope = scope.strip_prefix("/").unwrap_or(scope);
    for byte in scope.as_os_str().as_bytes() {
        match byte {
            b'/' => name.push('+'),
            b'!'..=b'~' if !b"+%".contains(byte) => name.push(char::from(*byte)),
            byte => {
                let _ = write!(name, "%{byte:02X}");
            }
        }
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(name);
    beside.into()
}

/// Starts to keep the journal, where that is wanted and can be.
fn record(
    arguments: &Arguments,
    (scope, is_first): (Option<&Cgroup>, bool),
    memory: &Memory,
    lane: Lane,
    processes: usize,
) -> Option<(Recorder, SignalNotes)> {
    let (path, is_asked_for) = arguments.journal(geteuid().is_root())?;
    let path = match scope {
        Some(scope) if !is_first => beside_journal(path, scope.path()),
        _ => path.to_owned(),
    };
    let folder = Folder::open(&path, arguments.journal_size).inspect_err(|err| {
        let level = match is_asked_for {
            true => log::Level::Warn,
            // A second daemon, or a file system that is not written to.
            false => log::Level::Info,
        };
        log::log!(level, "no journal is kept: {}", chain(err));
    });
    let uname = uname();
    let words = [uname.sysname(), uname.release(), uname.machine()];
    let machine = Machine {
        kernel: words.map(CStr::to_string_lossy).join(" "),
        processors: thread::available_parallelism().map_or(1, NonZero::get),
        memory_bytes: memory.total_bytes,
        cgroup: scope.map(Cgroup::to_string),
        swap_bytes: memory.swap_total_bytes,
    };
    let program = concat!("user-oom ", env!("CARGO_PKG_VERSION")).to_owned();
    let writer = Writer::new(folder.ok()?, program, machine);
    let system = arguments.journald(geteuid().is_root()).and_then(|path| {
        SystemJournal::at(path.to_owned())
            .inspect_err(|err| log::warn!("nothing is sent to systemd's journal: {err}"))
            .ok()
    });
    recording::spawn(writer, system, Accounts::at(PASSWD), lane, processes)
        .inspect_err(|err| log::warn!("no journal is kept: cannot start its thread: {err}"))
        .ok()
}

const WAITING: &str = "wait for several things at once";

/// One place to wait for what comes to the loop.
///
/// # Errors
///
/// The kernel does not let us wait for what we cannot do without.
fn wire(signals: &SignalFd, clerk: &Clerk, senses: &mut Senses) -> Result<Wait, Error> {
    let wait = Wait::new().map_err(system(WAITING))?;
    wait.add(signals, EpollFlags::EPOLLIN, WakeSource::Signals)
        .map_err(system(WAITING))?;
    wait.add(clerk.descriptor(), EpollFlags::EPOLLIN, WakeSource::Clerk)
        .map_err(system(WAITING))?;
    // What follows it can guard without.
    pressure::watch_triggers(&mut senses.pressure, &wait, 0);
    if let Some(notifier) = senses.memory.notifier()
        && let Err(errno) = wait.add(notifier, EpollFlags::EPOLLPRI, WakeSource::Notifier)
    {
        log::warn!(
            "the kernel will not ask before it kills: cannot wait for memory_info.ko: {}",
            errno.desc()
        );
        senses.memory.do_without_notifier();
    }
    Ok(wait)
}

/// Where what is not logged is written to.
fn page<'a>(
    syslog: Option<&Syslog>,
    scopes: impl Iterator<Item = Option<&'a Cgroup>>,
) -> Page<Box<dyn Write + Send>> {
    let (out, width): (Box<dyn Write + Send>, _) = match syslog {
        Some(syslog) => (Box::new(syslog.writer()), None),
        None => (Box::new(anstream::stdout()), terminal::width(io::stdout())),
    };
    Page::new(out, width, Accounts::at(PASSWD)).of_scopes(scopes)
}

/// Opens what memory is read from, and makes the policy's settings of it.
fn memory(configuration: &Configuration) -> Result<(MemorySource, Settings), Error> {
    let arguments = &configuration.arguments;
    let Guarded {
        meminfo,
        scope,
        memory,
        source,
    } = guarded(arguments)?;
    if meminfo.is_containers() && scope.is_none() {
        log::info!(
            "`{}` describes a container (lxcfs): guarding the memory of this container, not the \
             machine's",
            meminfo.path().display()
        );
    }
    let beside = beside_meminfo(arguments, &meminfo, scope.is_some(), zoneinfo);
    let mut settings = settings(configuration, &memory)?;
    if scope.is_some() {
        settings.shortest_look = SHORTEST_LOOK;
    }
    let (notifier, retry) = match source {
        Source::Proc => (None, None),
        Source::Auto => match listen(&mut settings, &memory) {
            Ok((None, None)) => {
                let target = listen_target(&settings, &memory);
                (None, Some(ListenRetry::of(target)))
            }
            Ok(heard) => heard,
            Err(err) => {
                log::warn!("the kernel will not ask before it kills: {}", chain(&err));
                (None, None)
            }
        },
        Source::Module => match listen(&mut settings, &memory).map_err(Error::Memory)? {
            (None, None) => return Err(Error::NoModule),
            heard => heard,
        },
    };
    let mut source = MemorySource::new(meminfo, memory, beside, notifier).within(scope);
    if let Some(retry) = retry {
        source.listen_later(retry);
    }
    Ok((source, settings))
}

/// What is guarded, and where its memory is read.
struct Guarded {
    meminfo: Meminfo,
    /// `None`: the machine is.
    scope: Option<CgroupMemory>,
    memory: Memory,
    source: Source,
}

fn guarded(arguments: &Arguments) -> Result<Guarded, Error> {
    let wish = arguments.scope().map_err(Error::Unusable)?;
    let mut meminfo = meminfo(arguments.meminfo.as_deref()).map_err(Error::Memory)?;
    let machine = meminfo.read().map_err(Error::Memory)?;
    let mut scope = scope(wish, &machine)?;
    let is_scope = scope.is_some() || meminfo.is_containers();
    let source = arguments.source(is_scope).map_err(Error::Unusable)?;
    let memory = match &mut scope {
        Some(scope) => scope.read(&machine).map_err(Error::Memory)?,
        None => machine,
    };
    Ok(Guarded {
        meminfo,
        scope,
        memory,
        source,
    })
}

/// The policy's settings. What a file says is refused where processes would be
/// killed at once; what is typed as an argument is meant.
fn settings(configuration: &Configuration, memory: &Memory) -> Result<Settings, Error> {
    let settings = configuration.settings_on(memory).map_err(Error::Unusable)?;
    let arguments = &configuration.arguments;
    let kills = configuration.kills_at_once(&settings, memory);
    match kills.filter(|_| configuration.sets_a_threshold() && !arguments.dryrun) {
        Some(unusable) if !arguments.force => Err(Error::Unusable(unusable)),
        _ => Ok(settings),
    }
}

/// Each rule, and how many processes it matches now.
///
/// # Errors
///
/// [`Error::Processes`].
pub(crate) fn matches(configuration: &Configuration) -> Result<String, Error> {
    let rulebook = &configuration.rulebook;
    if rulebook.is_empty() {
        return Ok(String::new());
    }
    let root = ProcRoot::at(PROC);
    let mut table = ProcessTable::new(root.clone(), room_for(0));
    scan(&mut table, Depth::Fast)?;
    let mut list = String::from("\n# Rules: the first that matches counts.\n");
    let facts = container_facts(&configuration.arguments, container_facts::PERSONS_PATIENCE);
    let edition = Edition {
        number: 0,
        rulebook: Arc::clone(rulebook),
    };
    let (matched, remarks) = surveyor::matches(root.path(), &edition, table.processes(), facts);
    for (place, pids) in matched {
        let shown: Vec<_> = pids.iter().take(8).map(ToString::to_string).collect();
        let more = if shown.len() < pids.len() {
            ", …"
        } else {
            ""
        };
        let pids = match shown.is_empty() {
            true => "no process".to_owned(),
            false => format!("{} ({}{more})", pids.len(), shown.join(", ")),
        };
        let _ = writeln!(list, "# {place} matches {pids}");
    }
    for remark in rulebook.remarks.iter().chain(&remarks) {
        let _ = writeln!(list, "# {remark}");
    }
    Ok(list)
}

/// What is known of containers: nothing yet.
fn container_facts(arguments: &Arguments, patience: RuntimePatience) -> ContainerFacts {
    let sockets = match &arguments.container_socket {
        Some(socket) => vec![socket.clone()],
        None => containers::default_sockets(),
    };
    ContainerFacts::new(sockets, PathBuf::from("/"), patience)
}

/// Whether a daemon could start with `configuration` on this machine now; returns what
/// it would not guard yet.
///
/// # Errors
///
/// What keeps it from that.
pub(crate) fn check(configuration: &Configuration) -> Result<String, Error> {
    let arguments = &configuration.arguments;
    let Guarded { memory, scope, .. } = guarded(arguments)?;
    let settings = configuration
        .settings_on(&memory)
        .map_err(Error::Unusable)?;
    match configuration.kills_at_once(&settings, &memory) {
        Some(unusable) if !arguments.force => return Err(Error::Unusable(unusable)),
        _ => {}
    }
    let others = other_scopes(configuration, scope.as_ref().map(CgroupMemory::cgroup))?;
    let obstacles = others.iter().filter_map(|other| other.obstacle.as_ref());
    Ok(obstacles
        .map(|obstacle| format!("# Warning: {obstacle}.\n"))
        .collect())
}

/// The cgroup that is guarded; `None`: the machine is.
fn scope(wish: ScopeWish<'_>, machine: &Memory) -> Result<Option<CgroupMemory>, Error> {
    let path = match wish {
        ScopeWish::Machine => return Ok(None),
        ScopeWish::Own => return Ok(own_scope(machine)),
        ScopeWish::Cgroup(path) => path,
    };
    let cgroup = Cgroup::find(Path::new(PROC), path).map_err(Error::Cgroup)?;
    CgroupMemory::open(cgroup).map(Some).map_err(Error::Cgroup)
}

/// The container that we are in, where it may use less than the machine has.
fn own_scope(machine: &Memory) -> Option<CgroupMemory> {
    let Some(cgroup) = Cgroup::of_container(Path::new(PROC)) else {
        if let Some(mount) = Cgroup::hidden_by(Path::new(PROC)) {
            log::warn!(
                "if this container has a memory limit, it is not guarded: `{}` shows the cgroups \
                 outside of the container; mount its own there",
                mount.display()
            );
        }
        return None;
    };
    let unread = |err: &dyn std::error::Error| {
        log::warn!(
            "the memory limit of this container is not guarded: {}",
            chain(err)
        );
    };
    let mut scope = match CgroupMemory::open(cgroup) {
        Ok(scope) => scope,
        Err(CgroupError::NoLimit { .. }) => return None,
        Err(err) => {
            unread(&err);
            return None;
        }
    };
    let memory = scope.read(machine).inspect_err(|err| unread(err)).ok()?;
    if machine.usable_bytes() <= memory.total_bytes {
        return None;
    }
    log::info!(
        "this container may use {} of the machine's {} MiB: guarding cgroup {} (`--cgroup machine`: \
         the machine)",
        memory.total_bytes >> 20,
        machine.usable_bytes() >> 20,
        scope.cgroup()
    );
    Some(scope)
}

/// The kernel's own, or the one that is asked for, which may be another machine's.
fn meminfo(given: Option<&Path>) -> Result<Meminfo, ReadError> {
    match given {
        Some(path) => Meminfo::open(path),
        None => Meminfo::open(&Path::new(PROC).join("meminfo")).map(Meminfo::of_this_machine),
    }
}

/// The same memory once more, by descriptors of its own and without the module.
fn memory_beside(
    arguments: &Arguments,
    scope: Option<Cgroup>,
    last: Memory,
) -> Option<MemorySource> {
    // Where it cannot be read, that was said.
    let zoneinfo = || Zoneinfo::open(&Path::new(PROC).join("zoneinfo")).ok();
    let is_scope = scope.is_some();
    let scope = scope.map(CgroupMemory::open).transpose();
    let scope = scope.inspect_err(|err| watchdog::lacks(chain(err))).ok()?;
    let meminfo = meminfo(arguments.meminfo.as_deref())
        .inspect_err(|err| watchdog::lacks(chain(err)))
        .ok()?;
    let beside = beside_meminfo(arguments, &meminfo, is_scope, zoneinfo);
    Some(MemorySource::new(meminfo, last, beside, None).within(scope))
}

/// What the kernel's own meminfo leaves out; it says nothing about another, nor
/// about what is left to a cgroup or a container, which is charged neither for free
/// pages nor for what is in swap, wherever that is.
fn beside_meminfo(
    arguments: &Arguments,
    meminfo: &Meminfo,
    is_scope: bool,
    zoneinfo: impl FnOnce() -> Option<Zoneinfo>,
) -> Beside {
    if is_scope || arguments.meminfo.is_some() || meminfo.is_containers() {
        return Beside::default();
    }
    let root = Path::new(PROC);
    Beside {
        zoneinfo: zoneinfo(),
        // A kernel without swap has none, and most have no ZFS.
        zram: Zram::open(&root.join("swaps"), &blocks()).ok(),
        arcstats: Arcstats::open(&root.join("spl/kstat/zfs/arcstats")).ok(),
    }
}

/// Read once here, so that the kernel has the room it writes it to.
fn zoneinfo() -> Option<Zoneinfo> {
    let opened = Zoneinfo::open(&Path::new(PROC).join("zoneinfo"));
    match opened.and_then(|mut zoneinfo| zoneinfo.per_cpu_bytes(true).map(|_| zoneinfo)) {
        Ok(zoneinfo) => Some(zoneinfo),
        Err(err) => {
            log::warn!(
                "freed memory is counted late: cannot read the free lists of each CPU: {}",
                chain(&err)
            );
            None
        }
    }
}

/// The module, and the levels at which it is to wake us.
fn listen_target(settings: &Settings, memory: &Memory) -> ListenTarget {
    let path = Path::new(PROC).join("oom_notifier");
    let parameters = Path::new(SYS).join("module/memory_info/parameters");
    ListenTarget::new(path, NotifierParameters::at(parameters), settings, memory)
}

/// Becomes the module's listener, where it is loaded; or returns what to try
/// again, where another process is that already.
fn listen(
    settings: &mut Settings,
    memory: &Memory,
) -> Result<(Option<Notifier>, Option<ListenRetry>), ReadError> {
    let target = listen_target(settings, memory);
    let notifier = match target.listen() {
        Ok(None) => return Ok((None, None)),
        Ok(Some(notifier)) => notifier,
        Err(err) if memory::is_busy(&err) => {
            log::warn!(
                "the kernel will not ask us before it kills: {} listens to memory_info.ko; \
                 trying again until it exits",
                target.holder()
            );
            return Ok((None, Some(ListenRetry::of(target))));
        }
        Err(err) => return Err(err),
    };
    match target.grace() {
        Ok(grace) => settings.last_call_deadline = grace,
        Err(err) => log::warn!("{}; using {:?}", chain(&err), settings.last_call_deadline),
    }
    log::info!("memory_info.ko is loaded: the kernel asks before it kills");
    Ok((Some(notifier), None))
}

/// What we run as, whatever has become of its path meanwhile: a package that is
/// upgraded replaces the file.
fn executable() -> PathBuf {
    Path::new(PROC).join("self/exe")
}

/// Becomes the hook that `command` names: see [`hook::become_hook`].
pub(crate) fn become_hook(command: impl Iterator<Item = OsString>) -> Error {
    hook::become_hook(Path::new(PROC), command)
}

/// Where the kernel tells of block devices.
fn blocks() -> PathBuf {
    Path::new(SYS).join("block")
}

/// Becomes the keeper that the pauser starts: see [`pause_reader::be_the_keeper`].
pub(crate) fn be_the_keeper(arguments: impl Iterator<Item = OsString>) -> Result<(), Error> {
    pause_reader::be_the_keeper(ProcRoot::at(PROC), blocks(), arguments).map_err(system(
        "keep what is paused (standard input is not the daemon's socket)",
    ))
}

/// The path of the control socket with `ending` behind it.
fn beside(place: &Place, ending: &str) -> PathBuf {
    let mut path = place.socket().as_os_str().to_owned();
    path.push(ending);
    // The keeper is at home in `/`.
    std::path::absolute(&path).unwrap_or(path.into())
}

/// What raises the next victims for the kernel, as far as that is wanted and can
/// be. Its memo lies beside the socket; whatever is wanted now, an earlier daemon
/// may have left one.
fn aligner(
    arguments: &Arguments,
    root: &ProcRoot,
    place: Option<&Place>,
    watchdog: &Watchdog,
    lane: Lane,
) -> Aligner {
    let is_asked_for = !arguments.no_align_kernel && !arguments.dryrun;
    let lacks = match place {
        None => Some("it keeps its notes beside the control socket, and there is none"),
        // It takes descriptors too.
        Some(_) if watchdog.room() == 0 => Some("it needs the watchdog's order of kills"),
        Some(_) => None,
    };
    if is_asked_for && let Some(why) = lacks {
        log::warn!("the kernel's own choice is not aligned: {why}");
    }
    let is_wanted = is_asked_for && lacks.is_none();
    match place {
        Some(place) => Aligner::spawn(root.clone(), beside(place, ".aligned"), is_wanted, lane),
        None => Aligner::off(),
    }
}

/// What ends us by its number, besides SIGHUP. SIGTSTP (^Z) does too: a stopped guard
/// is worse than none, since it still looks like one.
const ENDING: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGTSTP,
    Signal::SIGQUIT,
];

/// What says that the program itself is wrong, and aborts it; systemd's watchdog sends
/// SIGABRT.
const FAULTS: [Signal; 7] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGTRAP,
    Signal::SIGSYS,
    Signal::SIGABRT,
];

/// What ends us is read like any other event, and no other signal that means nothing
/// to us does so: what a write to a terminal in the background or to a file that may
/// not grow brings, a limit of CPU time, a timer, or a user's slip of the hand. All of
/// these are blocked, not ignored, so that a hook has none of it (see
/// [`hook::become_hook`]). Before any thread is made and anything is written, since
/// each thread inherits what is blocked.
///
/// # Errors
///
/// The kernel has no descriptor to read them from.
pub(crate) fn take_signals() -> Result<SignalFd, Error> {
    const DOING: &str = "take signals as events";
    let mut ours: SigSet = ENDING.into_iter().collect();
    // Who starts us by nohup(1) wants us to outlive the terminal.
    if !is_hangup_ignored() {
        ours.add(Signal::SIGHUP);
    }
    // With the real-time signals, which have no names here.
    let mut blocked = SigSet::all();
    for fault in FAULTS {
        blocked.remove(fault);
    }
    if is_hangup_ignored() {
        blocked.remove(Signal::SIGHUP);
    }
    blocked.thread_block().map_err(system(DOING))?;
    SignalFd::with_flags(&ours, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(system(DOING))
}

/// What ends us does so by itself from now on: there is nothing left to end cleanly,
/// and what is written may wait for a terminal. The other signals still do not.
pub(crate) fn give_back_signals() {
    let ending = ENDING.into_iter().chain([Signal::SIGHUP]);
    let _ = ending.collect::<SigSet>().thread_unblock();
}

/// Where that cannot be told, it ends us.
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string(Path::new(PROC).join("self/status")).unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    // The lowest bit is that of signal 1, SIGHUP.
    ignored.is_some_and(|signals| signals & 1 != 0)
}

/// What SIGHUP means: on a terminal, that it is gone. A daemon that a service
/// manager has started is on none, and then it is asked to read its configuration
/// again, as daemons are by convention.
fn hangup() -> OnHangup {
    let streams = [
        io::stdin().is_terminal(),
        io::stdout().is_terminal(),
        io::stderr().is_terminal(),
    ];
    match has_terminal() || streams.contains(&true) {
        true => OnHangup::Ends,
        false => OnHangup::Reloads,
    }
}

/// Whether it has a controlling terminal, where it may also have been put in the
/// background with all its streams elsewhere.
fn has_terminal() -> bool {
    let stat = fs::read_to_string(Path::new(PROC).join("self/stat")).unwrap_or_default();
    // Behind the name: state, parent, group, session, terminal.
    let after_name = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    after_name
        .split_whitespace()
        .nth(4)
        .is_some_and(|number| number != "0")
}

/// Raises the limit for the first thread's stack where it is too small, before
/// that is used: the kernel goes by it whenever the stack grows.
///
/// # Errors
///
/// [`Error::SmallStack`].
pub(crate) fn take_stack() -> Result<(), Error> {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_STACK) else {
        return Ok(());
    };
    if LEAST_STACK_BYTES <= soft {
        return Ok(());
    }
    let raised = setrlimit(Resource::RLIMIT_STACK, LEAST_STACK_BYTES, hard);
    raised.map_err(|_| Error::SmallStack {
        limit_kib: hard >> 10,
        at_least_kib: LEAST_STACK_BYTES >> 10,
    })
}

/// Raises the limit for descriptors as far as it may be raised, before the
/// first is opened; how many we may have. One is kept for each process: where
/// the limit is lower, the table says so and opens what it needs each time.
///
/// # Errors
///
/// [`Error::FewDescriptors`].
pub(crate) fn take_descriptors() -> Result<u64, Error> {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Ok(u64::MAX);
    };
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    if limit < FEWEST_DESCRIPTORS {
        return Err(Error::FewDescriptors {
            limit,
            at_least: FEWEST_DESCRIPTORS,
        });
    }
    Ok(limit)
}

/// Raises the limit of CPU time as far as it may be raised: from the soft one on, the
/// kernel sends SIGXCPU every second, and at the hard one it kills us. That one, in
/// seconds, where there is one.
pub(crate) fn take_cpu_time() -> Option<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_CPU).ok()?;
    if soft != hard {
        let _ = setrlimit(Resource::RLIMIT_CPU, hard, hard);
    }
    (hard != RLIM_INFINITY).then_some(hard)
}

/// What feeds the gates; without a gate, the levels are there. `is_containers`: memory
/// is that of the container that we are in, so that its cgroup has the pressure.
fn watch_pressure(
    arguments: &Arguments,
    scope: Option<&Cgroup>,
    is_containers: bool,
    pauses: bool,
) -> Result<PressureWatches, Error> {
    let pause = arguments.pause_gate().filter(|_| pauses);
    let relief = arguments.gate();
    if let Some(scope) = scope.filter(|_| arguments.pressure_file.is_none()) {
        if scope.pressure().is_none() && relief.or(pause).is_some() {
            log::warn!(
                "relief and pausing by pressure are off: cgroups of version 1 have no `memory.pressure`"
            );
        }
        return Ok(PressureGates { pause, relief }.watch(scope));
    }
    let proc = Path::new(PROC);
    let containers = || Cgroup::topmost_pressure(proc).filter(|_| is_containers);
    let path = containers().unwrap_or_else(|| proc.join("pressure/memory"));
    let watch = |percent, cost| watch_for(arguments, &path, is_containers, percent, cost);
    Ok(PressureWatches::new(
        watch(relief, "relief by pressure is off")?,
        watch(pause, "pausing by pressure is off")?,
    ))
}

/// Watches for full pressure of `percent` at `path`. `is_looked_at`: what takes no
/// trigger is read, as lxcfs' is. `cost`: of doing without.
fn watch_for(
    arguments: &Arguments,
    path: &Path,
    is_looked_at: bool,
    percent: Option<psi::Percent>,
    cost: &str,
) -> Result<Option<PressureWatch>, Error> {
    let Some(percent) = percent else {
        return Ok(None);
    };
    if let Some(path) = &arguments.pressure_file {
        let pressure = PressureWatch::of_file(path, percent).map_err(Error::Pressure)?;
        return Ok(Some(pressure));
    }
    let trigger = pressure::trigger(percent).map_err(Error::Trigger)?;
    match PressureWatch::of_kernel(path, &trigger) {
        Ok(pressure) => Ok(Some(pressure)),
        Err(err) => {
            let looked_at = || PressureWatch::of_file(path, percent).ok();
            if let Some(pressure) = is_looked_at.then(looked_at).flatten() {
                log::debug!("pressure is read once a second: {}", chain(&err));
                return Ok(Some(pressure));
            }
            log::warn!("{cost}: {}", chain(&err));
            Ok(None)
        }
    }
}

/// What pauses, where that is wanted and can be; else `settings` says that it is
/// off.
fn spawn_pauser(
    arguments: &Arguments,
    root: &ProcRoot,
    place: Option<&Place>,
    settings: &mut Settings,
) -> Option<Pauser> {
    let Some(place) = place else {
        if settings.pause {
            log::warn!(
                "pausing is off: it keeps its notes beside the control socket, and there is none"
            );
        }
        settings.pause = false;
        return None;
    };
    let leftover = beside(place, ".paused");
    let reader = PauseReader::new(root.clone(), blocks());
    // Whatever is wanted now, an earlier daemon may have left something.
    match reaper::thaw_leftover(&leftover, &reader) {
        Ok(None) => {}
        Ok(Some(thawing)) => {
            log::info!(
                "thawed {} that an earlier user-oom had paused",
                thawing.thawed
            );
            for failure in &thawing.failures {
                log::warn!("{}", chain(failure));
            }
        }
        Err(err) => log::warn!("{}", chain(&err)),
    }
    if !settings.pause || arguments.dryrun {
        return None;
    }
    Pauser::spawn(reader, pause_reader::keeper(executable(), leftover))
        .inspect_err(|err| {
            log::warn!("pausing is off: {}", chain(err));
            settings.pause = false;
        })
        .ok()
}

/// Looks at all processes. What could not be read of some the first round
/// says: it is as odd then.
fn scan(table: &mut ProcessTable, depth: Depth) -> Result<(), Error> {
    match table.scan(depth) {
        Err(err) if table.processes().is_empty() => Err(Error::Processes(err)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Also, how many processes there are.
fn classifier(
    arguments: &Arguments,
    root: &ProcRoot,
    privileges: Privileges,
) -> Result<(Classifier, usize), Error> {
    let mut family = ProcessTable::new(root.clone(), room_for(0));
    scan(&mut family, Depth::Fast)?;
    let own_uid = geteuid().as_raw();
    let mut classifier = Classifier::new(
        std::process::id(),
        own_uid,
        privileges.may_signal_all(),
        family.processes(),
    );
    classifier.patterns = arguments.patterns();
    classifier.say_matches(family.processes());
    Ok((classifier, family.processes().len()))
}

fn warn_of_other_guards(processes: &[Seen]) {
    for process in processes {
        let name = process.name.to_string();
        if OTHER_GUARDS.contains(&name.as_str()) {
            log::warn!(
                "{name} is also running (pid {}): both may kill a process for the same shortage; run \
                 only one of them",
                process.id.pid
            );
        }
    }
}

/// Stays in memory, runs first, and is the last that the kernel ends, as far
/// as it is permitted.
fn harden(root: &ProcRoot, privileges: Privileges) {
    for missing in Calls::available().missing() {
        log::warn!("{missing}");
    }
    trim_memory(Code::OfLibraries);
    let locked = mlockall(
        MlockAllFlags::MCL_CURRENT
            | MlockAllFlags::MCL_FUTURE
            | MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT),
    );
    let protection = protect_ourselves(root.path());
    let own_uid = geteuid().as_raw();
    if let Some(shortfall) = privileges.shortfall(own_uid, locked.is_ok(), &protection) {
        log::warn!("{shortfall}");
    }
    if let Err(errno) = locked {
        log::debug!("cannot lock memory: {}", errno.desc());
    }
    for failure in protection.failures() {
        log::debug!("{}", chain(failure));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_scopes_have_the_same_journal() {
        let beside = |scope: &str| {
            let path = beside_journal(Path::new("/j/journal"), Path::new(scope));
            path.to_str().expect("plain").to_owned()
        };
        assert_eq!(beside("/x"), "/j/journal.x");
        assert_eq!(
            beside("/user.slice/user-1000.slice"),
            "/j/journal.user.slice+user-1000.slice"
        );
        assert_eq!(beside("/a+b c/50%"), "/j/journal.a%2Bb%20c+50%25");
        let scopes = [
            "/a/b", "/a.b", "/a+b", "/a%2Bb", "/a?", "/a\u{1}", "/a\u{2}",
        ];
        let all: BTreeSet<_> = scopes.into_iter().map(beside).collect();
        assert_eq!(all.len(), scopes.len());
    }
}
