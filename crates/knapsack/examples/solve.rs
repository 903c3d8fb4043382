//! Solves knapsack instances, one JSON object a line, from standard input:
//!
//! ```text
//! $ echo '{"weights":[3,4,5],"values":[4,5,6],"capacity":7}' |
//!       cargo run --release -p knapsack --example solve
//! {"kept_value":9,"kept_weight":7,"kept":[0,1],"exact":true,"gap":0,"micros":1.2}
//! ```
//!
//! A line that makes no sense gets an object with `error` and `line`, and the
//! run goes on.

use std::io::{self, BufRead, BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use knapsack::{Budget, Item, SelectError, Workspace};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Keeps the most value within a capacity: reads one JSON object a line,
/// {"weights":[…],"values":[…],"capacity":C}, and writes one a line.
#[derive(Debug, Parser)]
struct Options {
    /// End each search after so many milliseconds of this thread's CPU time
    /// [default: when the workspace's states are exhausted].
    #[arg(long, value_name = "MILLISECONDS")]
    budget_ms: Option<u64>,
    /// Of what keeps the most value, find the sets with the fewest items
    /// chosen, and of those one of the most weight; `exact` then covers both.
    #[arg(long)]
    ties: bool,
}

#[derive(Debug, Deserialize)]
struct Question {
    weights: Vec<u64>,
    values: Vec<u64>,
    capacity: u64,
}

#[derive(Debug, Serialize)]
struct Answer {
    kept_value: u64,
    kept_weight: u64,
    kept: Vec<u32>,
    /// Whether nothing is better.
    exact: bool,
    /// The most by which another set's value could be greater.
    gap: u64,
    /// CPU time of the search.
    micros: f64,
}

#[derive(Debug, Serialize)]
struct Refusal {
    error: String,
    line: usize,
}

#[derive(Debug, thiserror::Error)]
enum LineError {
    #[error("not a question: {0}")]
    Malformed(serde_json::Error),
    #[error("{weights} weights, but {values} values")]
    Uneven { weights: usize, values: usize },
    #[error("cannot solve: {0}")]
    Unsolvable(SelectError),
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(err) => {
            let _ = writeln!(io::stderr(), "solve: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let mut workspace = Workspace::with_states(Workspace::MAX_ITEMS, Workspace::MAX_STATES);
    let mut out = BufWriter::new(io::stdout().lock());
    for (number, line) in (1..).zip(io::stdin().lock().split(b'\n')) {
        match answer(&line?, &mut workspace, options) {
            Ok(answer) => serde_json::to_writer(&mut out, &answer)?,
            Err(err) => {
                let refusal = Refusal {
                    error: err.to_string(),
                    line: number,
                };
                serde_json::to_writer(&mut out, &refusal)?;
            }
        }
        out.write_all(b"\n")?;
        // Whoever asks line by line waits for each answer.
        out.flush()?;
    }
    Ok(())
}

fn answer(line: &[u8], workspace: &mut Workspace, options: &Options) -> Result<Answer, LineError> {
    let question: Question = serde_json::from_slice(line).map_err(LineError::Malformed)?;
    if question.weights.len() != question.values.len() {
        return Err(LineError::Uneven {
            weights: question.weights.len(),
            values: question.values.len(),
        });
    }
    let items: Vec<Item> = question
        .weights
        .iter()
        .zip(&question.values)
        .map(|(&weight, &value)| Item { weight, value })
        .collect();
    // A sum past 64 bits has an item out of range, which the solver reports.
    let total = items
        .iter()
        .fold(0_u64, |total, item| total.saturating_add(item.weight));
    let need = total.saturating_sub(question.capacity);

    let start = cpu_time();
    let deadline = options
        .budget_ms
        .map(|millis| start + Duration::from_millis(millis));
    let mut go_on = || deadline.is_none_or(|deadline| cpu_time() < deadline);
    let unlimited = Budget { states: u64::MAX };
    let selection = if options.ties {
        workspace.choose_while(&items, need, unlimited, &mut go_on)
    } else {
        workspace.choose_by_value_while(&items, need, unlimited, &mut go_on)
    }
    .map_err(LineError::Unsolvable)?;
    // To the nanosecond, which is as fine as the clock.
    let micros = ((cpu_time() - start).as_secs_f64() * 1e9).round() / 1e3;

    let mut chosen = selection.chosen.iter().copied().peekable();
    let mut kept = Vec::with_capacity(items.len());
    let (mut kept_value, mut kept_weight) = (0, 0);
    for (index, item) in (0..).zip(&items) {
        if chosen.next_if_eq(&index).is_none() {
            kept.push(index);
            kept_value += item.value;
            kept_weight += item.weight;
        }
    }
    Ok(Answer {
        kept_value,
        kept_weight,
        kept,
        exact: selection.value_proved && (selection.ties_proved || !options.ties),
        gap: selection.gap,
        micros,
    })
}

/// What this thread has had of the processor.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
