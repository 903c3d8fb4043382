# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of a long job: its arguments, its value, its progress, its checkpoints.

ml_test1 and ml_test2 say what a step of theirs is (`Work`); everything that
they have in common is here. This module knows no network and no image, and
needs nothing but Python's standard library.
"""

import argparse
import contextlib
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import time

import user_value

LINE_SECONDS = 1.0  # between two lines
BAR_SECONDS = 0.1  # between two looks of the bar
BAR_WIDTH = 24  # at most, in characters
STILL_SECONDS = 10.0  # without growth, before a job counts as loaded: as long as user-oom looks back
STILL_MIB = 1  # what is no growth


class Work:
    """What a job does. One that lives for a whole run; `load` is called first."""

    epoch_word = "epoch"
    step_word = "step"
    measure_word = "loss"

    def load(self, mebibytes):
        """Fills memory with the working set; returns how many steps an epoch has."""
        raise NotImplementedError

    def step(self, epoch, step):
        """Does one step; returns the measure of how good it was, or None."""
        raise NotImplementedError

    def save(self, file, epoch, step):
        """Writes to `file` all that is needed to go on with this step."""
        raise NotImplementedError

    def restore(self, file):
        """Reads what `save` wrote; returns (epoch, step). Raises where it is not that."""
        raise NotImplementedError


class Package:
    """A package of Python's that is not in its standard library."""

    def __init__(self, title, module, debian, pip):
        self.title, self.module, self.debian, self.pip = title, module, debian, pip

    def is_installed(self):
        """Looks for it without importing it, which may take seconds."""
        return importlib.util.find_spec(self.module) is not None

    def advice(self):
        """What to do where it is not, in one sentence."""
        return (
            f"{self.title} is not installed for {sys.executable}; install it with"
            f" `apt install {self.debian}` (Debian's python3) or `pip install {self.pip}`"
        )


class Failure(Exception):
    """Why the job could not go on, in one sentence."""


class Signals:
    """Notes the signals that ask us to exit; the work looks at `came` now and then.

    Before `awaited` is set there is nothing to save, and `at_once` is called before
    they end us. (An exception would not do: importing a package may swallow it.)
    """

    def __init__(self, at_once):
        self.at_once = at_once
        self.came = None
        self.awaited = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, number, _frame):
        self.came = signal.Signals(number)
        if not self.awaited:
            self.at_once()
            self.die()

    def die(self):
        """Ends this process by the signal that came, so that our parent sees
        that the work was not finished, which an exit status of 0 would deny."""
        signal.signal(self.came, signal.SIG_DFL)
        os.kill(os.getpid(), self.came)


class Voice:
    """How a job speaks: in lines that say who, and on a terminal with a bar below."""

    def __init__(self, name, out, lines):
        self.who = f"{name} [{os.getpid()}]"
        self.out = out
        self.bar = not lines and out.isatty()

    def say(self, words):
        """Prints a line, in one write, so that the lines of several jobs do not mix."""
        self._write(f"\r\033[K{self.who} {words}\n" if self.bar else f"{self.who} {words}\n")

    def progress(self, words, part):
        """Shows how far it is: `part` is from 0 to 1."""
        if not self.bar:
            self.say(words)
            return
        # The words come first; the bar has what they leave of the line.
        columns = shutil.get_terminal_size().columns - 1
        width = min(BAR_WIDTH, columns - len(f"{self.who} [] {words}"))
        done = round(part * width)
        bar = f"[{'#' * done}{'.' * (width - done)}] " if width > 2 else ""
        self._write(f"\r\033[K{self.who} {bar}{words}"[: columns + len("\r\033[K")])

    def _write(self, text):
        self.out.write(text)
        self.out.flush()


class Meter:
    """Gathers steps until it is time to tell of them."""

    def __init__(self, clock, interval):
        self.clock, self.interval = clock, interval
        self._start_anew()

    def _start_anew(self):
        self.since, self.steps, self.measures = self.clock(), 0, []

    def add(self, measure):
        """Another step is done; returns (mean measure, steps a second) when it is time."""
        self.steps += 1
        if measure is not None:
            self.measures.append(measure)
        seconds = self.clock() - self.since
        if seconds < self.interval:
            return None
        mean = sum(self.measures) / len(self.measures) if self.measures else None
        told = mean, self.steps / seconds
        self._start_anew()
        return told


class Ready:
    """Makes a file once the memory that is held has stood still: what still grows when
    memory runs out would be taken for what fills it."""

    def __init__(self, path, clock, held_mib):
        self.path, self.clock, self.held_mib = path, clock, held_mib
        self.most, self.since = held_mib(), clock()

    def look(self):
        """Is called after each step; only reads a line of text, and nothing once the file is made."""
        if not self.path:
            return
        held = self.held_mib()
        if held > self.most + STILL_MIB:
            self.most, self.since = held, self.clock()
        elif self.clock() - self.since >= STILL_SECONDS:
            open(self.path, "w", encoding="ascii").close()
            self.path = None


def held_mib():
    """What this process holds that is in no file, in MiB."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        _, resident, shared, *_ = map(int, statm.read().split())
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


class Checkpoint:
    """A file that is always whole: the one before, or the new one."""

    def __init__(self, path):
        self.path = os.path.abspath(path)

    def write(self, fill):
        """Has `fill` write a file in its place. Where that raises, the one before is left."""
        directory, name = os.path.split(self.path)
        os.makedirs(directory, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
        try:
            with open(descriptor, "wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            os.unlink(temporary)
            raise
        # The name is on the disk once its directory is.
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, parse):
        """What `parse` makes of the file, or None where there is no file."""
        try:
            with open(self.path, "rb") as file:
                return parse(file)
        except FileNotFoundError:
            return None


def parse_arguments(name, value, about, argv):
    """The arguments that every job takes."""
    parser = argparse.ArgumentParser(prog=name, description=about, allow_abbrev=False)
    add = parser.add_argument
    add("--value", type=whole(0, 1_000_000), default=value, metavar="VALUE",
        help="what to be worth, 0 to 1000000 (default: %(default)s)")
    add("--per-hour", type=whole(0, 1_000_000), default=0, metavar="N",
        help="how much each hour since the last checkpoint adds to that (default: %(default)s)")
    add("--working-set-mib", type=whole(1), default=300, metavar="N",
        help="memory to fill with data and to go through (default: %(default)s)")
    add("--epochs", type=whole(1), default=1000, metavar="N",
        help="how often to go through it (default: %(default)s)")
    add("--checkpoint", default=default_checkpoint(name), metavar="FILE",
        help="where to save what was learnt, after each epoch and on SIGTERM, SIGINT and"
             " SIGHUP (default: %(default)s)")
    add("--resume", action="store_true", help="go on from the checkpoint, if there is one")
    add("--registry", default="/tmp/user_processes", metavar="DIR",
        help="where to register (default: %(default)s)")
    add("--ready", metavar="FILE", help="make FILE once the data is loaded and memory has stood still for 10 seconds")
    add("--lines", action="store_true", help="no progress bar, not even on a terminal")
    add("--check", action="store_true", help="only say whether what it needs is installed")
    return parser.parse_args(argv)


def whole(low, high=sys.maxsize):
    """Takes a whole number from `low` to `high`, and nothing else."""

    def parse(word):
        if not (word.isascii() and word.isdigit() and low <= int(word) <= high):
            limits = f"from {low} to {high}" if high < sys.maxsize else f"of {low} or more"
            raise argparse.ArgumentTypeError(f"`{word}' is no whole number {limits}")
        return int(word)

    return parse


def default_checkpoint(name):
    """In the folder for what a program wants to find again (XDG base directories)."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(state, "user-oom", f"{name}.checkpoint")


def run(name, value, package, make_work, about, argv=None, out=sys.stdout):
    """Runs a job from its arguments to its end; returns the exit status.

    `make_work` is called when `package` is known to be there. Ends by a signal
    where one came: see `Signals.die`.
    """
    arguments = parse_arguments(name, value, about, argv)
    if not package.is_installed():
        print(f"{name}: {package.advice()}", file=sys.stderr)
        return 1
    if arguments.check:
        return 0
    take_name(name)
    signals = Signals(at_once=lambda: user_value.unregister(arguments.registry))
    voice = Voice(name, out, arguments.lines)
    try:
        live(arguments, make_work, signals, voice)
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
    except Failure as failure:
        print(f"{name}: {failure}", file=sys.stderr)
        return 1
    finally:
        user_value.unregister(arguments.registry)
    if signals.came:
        signals.die()
    return 0


def take_name(name):
    """Is called `name`, not `python3`, in what ps, top and user-oom print."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as comm:
        comm.write(name)


def live(arguments, make_work, signals, voice):
    """From the registration to the last step, or to the step in which a signal comes."""
    registered = enlist(arguments, voice)
    checkpoint = Checkpoint(arguments.checkpoint)
    start = time.monotonic()
    work = make_work()
    steps = work.load(arguments.working_set_mib)
    seconds = time.monotonic() - start
    voice.say(f"working set of {arguments.working_set_mib} MiB loaded in {seconds:.1f} s")
    epoch, step = resume(work, checkpoint, voice) if arguments.resume else (0, 0)
    signals.awaited = True

    meter = Meter(time.monotonic, BAR_SECONDS if voice.bar else LINE_SECONDS)
    ready = Ready(arguments.ready, time.monotonic, held_mib)
    while epoch < arguments.epochs:
        while step < steps:
            if signals.came:
                voice.say(f"{signals.came.name}: {save(work, checkpoint, epoch, step, arguments.registry)}")
                return
            told = meter.add(work.step(epoch, step))
            step += 1
            ready.look()
            if told:
                tell(voice, work, arguments.epochs, epoch, steps, step, told)
                # A daemon that was started after us has made the registry since.
                registered = registered or enlist(arguments, None)
        epoch, step = epoch + 1, 0
        words = save(work, checkpoint, epoch, step, arguments.registry)
        voice.say(f"{work.epoch_word} {epoch}/{arguments.epochs} done: {words}")


def enlist(arguments, voice):
    """Registers, and says so where there is a voice; returns whether it worked.

    Where there is no daemon there is nothing to be worth something to.
    """
    try:
        user_value.register(arguments.value, arguments.registry, arguments.per_hour)
    except OSError as err:
        what, done = f"not registered ({err})", False
    else:
        what, done = f"registered in {arguments.registry}", True
    if voice:
        voice.say(f"PID {os.getpid()}, value {arguments.value}, {what}")
    return done


def resume(work, checkpoint, voice):
    """Where to go on, by the checkpoint; says so."""
    try:
        position = checkpoint.read(work.restore)
    except Exception as err:  # whatever a parser makes of a file that is not its own
        raise Failure(f"cannot resume from `{checkpoint.path}': {err}") from err
    if position is None:
        voice.say(f"there is no checkpoint {checkpoint.path}: starts at the beginning")
        return 0, 0
    epoch, step = position
    voice.say(f"resumes in {work.epoch_word} {epoch + 1} after {work.step_word} {step}")
    return position


def save(work, checkpoint, epoch, step, registry):
    """Writes the checkpoint, and tells user-oom; returns what became of it, in words."""
    try:
        checkpoint.write(lambda file: work.save(file, epoch, step))
    except Exception as err:  # PyTorch has no error of its own for a full disk
        return f"cannot write the checkpoint {checkpoint.path}: {err}"
    user_value.saved(registry)
    return f"checkpoint after {work.epoch_word} {epoch}, {work.step_word} {step} in {checkpoint.path}"


def tell(voice, work, epochs, epoch, steps, step, told):
    """Says how far it is."""
    measure, rate = told
    measured = f"{measure:.3f}" if measure is not None else "-"
    voice.progress(
        f"{work.epoch_word} {epoch + 1}/{epochs}, {work.step_word} {step}/{steps},"
        f" {work.measure_word} {measured}, {rate:.1f} {work.step_word}s/s",
        step / steps,
    )
