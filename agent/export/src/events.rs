//! One JSON object per connection report, drift event and change, for files and for live listeners.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use serde::Serialize;
use tokio::sync::broadcast;

use super::{changes::ChangeLine, time};
use crate::metrics::{catalogue::EVENT_OUTPUT_DROPPED, drift::DriftLine, samples::Samples};
use hopsight_core::report::ConnectionReport;
use hopsight_posture::{
    hops::{
        change::{HopChange, IntentChange, Renewal},
        ends::Ends,
        moment::Moment,
        witness::Witness,
    },
    policy::drift::DriftEvent,
};

/// Events by which a slow output may lag before they are dropped and counted.
const OUTPUT_QUEUE: usize = 8_192;

/// Events by which a slow listener may lag before it misses some and is told how many.
const LISTENER_QUEUE: usize = 1_024;

/// Most bytes written at once (give or take one event).
const BATCH_BYTES: usize = 64 * 1024;

/// An event, and which agent tells it.
#[derive(Serialize)]
struct Told<'a, L> {
    #[serde(flatten)]
    witness: &'a Witness,
    #[serde(flatten)]
    event: &'a L,
}

/// A report with its times by the wall clock, RFC 3339.
#[derive(Serialize)]
struct Line<'a> {
    /// When it was reported.
    time: String,
    /// `opened_at`.
    opened_time: String,
    /// `decided_at`.
    decided_time: String,
    /// `at` of `carried_from`.
    #[serde(skip_serializing_if = "Option::is_none")]
    carried_time: Option<String>,
    /// The hop's labels.
    proxy: &'a str,
    upstream: &'a str,
    /// `namespace/pod` of the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<&'a str>,
    #[serde(flatten)]
    report: &'a ConnectionReport,
}

/// One event for a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What kind: `connection`, `drift`, `hop` or `intent`.
    pub kind: &'static str,
    /// The event.
    pub json: Arc<str>,
}

/// Sends reports to whoever listens; costs nothing while nobody does.
#[derive(Debug)]
pub struct Events {
    witness: Witness,
    listeners: broadcast::Sender<Message>,
    outputs: Vec<Output>,
}

impl Default for Events {
    fn default() -> Self {
        Self::of(Witness::default())
    }
}

impl Events {
    /// Events that this agent tells.
    #[must_use]
    pub fn of(witness: Witness) -> Self {
        Self { witness, listeners: broadcast::Sender::new(LISTENER_QUEUE), outputs: Vec::new() }
    }

    /// Which agent tells them.
    #[must_use]
    pub const fn witness(&self) -> &Witness {
        &self.witness
    }

    /// Also writes every event as a line to `output`, from a thread of its own. `name` stands for
    /// it in metrics. Each write consists of whole lines; what is refused is counted and not tried
    /// again.
    pub fn write_to(
        &mut self,
        name: &'static str,
        output: Box<dyn Write + Send>,
    ) -> io::Result<()> {
        self.outputs.push(Output::start(name, output)?);
        Ok(())
    }

    /// A receiver of events from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Message> {
        self.listeners.subscribe()
    }

    /// Sends `report` at `now`. Never waits.
    pub fn send(&self, ends: &Ends, report: &ConnectionReport, now: Moment) {
        if self.is_heard() {
            let wall = |at| time::rfc3339(now.wall(at));
            let Ends { proxy, upstream, pod } = ends;
            let line = Line {
                time: time::rfc3339(now.unix_seconds),
                opened_time: wall(report.opened_at),
                decided_time: wall(report.decided_at),
                carried_time: report.carried_from.as_ref().map(|from| wall(from.at)),
                proxy,
                upstream,
                pod: pod.as_deref(),
                report,
            };
            self.send_line("connection", &line);
        }
    }

    /// Sends that a drift opened or closed. Never waits.
    pub fn send_drift(&self, event: &DriftEvent, now: f64) {
        if self.is_heard() {
            self.send_line("drift", &DriftLine::new(event, now));
        }
    }

    /// Sends that a hop is something else than before. Never waits.
    pub fn send_hop_change(&self, change: &HopChange, now: f64) {
        if self.is_heard() {
            self.send_line("hop", &ChangeLine::of_hop(change, now));
        }
    }

    /// Sends that one side of a hop has a new certificate. Never waits.
    pub fn send_renewal(&self, renewal: &Renewal, now: f64) {
        if self.is_heard() {
            self.send_line("certificate", &ChangeLine::of_renewal(renewal, now));
        }
    }

    /// Sends that a configuration says something else about a hop than before. Never waits.
    pub fn send_intent_change(&self, change: &IntentChange, now: f64) {
        if self.is_heard() {
            self.send_line("intent", &ChangeLine::of_intent(change, now));
        }
    }

    fn is_heard(&self) -> bool {
        !self.outputs.is_empty() || self.listeners.receiver_count() > 0
    }

    fn send_line(&self, kind: &'static str, event: &impl Serialize) {
        let told = Told { witness: &self.witness, event };
        let json: Arc<str> = match serde_json::to_string(&told) {
            Ok(json) => json.into(),
            Err(error) => {
                tracing::error!(%error, kind, "an event has no JSON form");
                return;
            }
        };
        for output in &self.outputs {
            output.send(json.clone());
        }
        // An error means that the last listener has just left.
        let _ = self.listeners.send(Message { kind, json });
    }

    /// Adds the number of events that were not written.
    pub fn collect(&self, samples: &mut Samples) {
        for Output { name, dropped, .. } in &self.outputs {
            samples.count(EVENT_OUTPUT_DROPPED, [name], dropped.load(Ordering::Relaxed));
        }
    }
}

/// A thread that writes lines; dropping it writes what is queued and waits for the thread.
#[derive(Debug)]
struct Output {
    name: &'static str,
    queue: Option<SyncSender<Arc<str>>>,
    dropped: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Output {
    fn start(name: &'static str, output: Box<dyn Write + Send>) -> io::Result<Self> {
        let (queue, lines) = sync_channel(OUTPUT_QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let count = dropped.clone();
        let thread = std::thread::Builder::new()
            .name(format!("events-{name}"))
            .spawn(move || write_lines(name, output, &lines, &count))?;
        Ok(Self { name, queue: Some(queue), dropped, thread: Some(thread) })
    }

    fn send(&self, line: Arc<str>) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send(line) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was already reported by it.
            let _ = thread.join();
        }
    }
}

/// Writes lines in batches until the queue is closed. Lines that cannot be written (no space left,
/// say) are counted and not tried again; a reader that went away ends the output.
fn write_lines(
    name: &'static str,
    mut output: Box<dyn Write + Send>,
    lines: &Receiver<Arc<str>>,
    dropped: &AtomicU64,
) {
    let mut is_failing = false;
    let mut batch = Vec::new();
    while let Ok(first) = lines.recv() {
        batch.clear();
        if is_failing {
            // Ends a line of which only a part may have been written.
            batch.push(b'\n');
        }
        let mut count = 0;
        let mut next = Some(first);
        while let Some(line) = next {
            batch.extend_from_slice(line.as_bytes());
            batch.push(b'\n');
            count += 1;
            next = if batch.len() < BATCH_BYTES { lines.try_recv().ok() } else { None };
        }
        let (written, result) = write_as_far_as_possible(&mut *output, &batch);
        match result.and_then(|()| output.flush()) {
            Ok(()) => {
                if std::mem::replace(&mut is_failing, false) {
                    tracing::info!(output = name, "connection events are written again");
                }
            }
            Err(error) => {
                let ends = memchr::memchr_iter(b'\n', &batch[..written]).count() as u64;
                let whole = ends.saturating_sub(u64::from(is_failing));
                dropped.fetch_add(count - whole.min(count), Ordering::Relaxed);
                if error.kind() == io::ErrorKind::BrokenPipe {
                    tracing::warn!(
                        output = name,
                        "the reader of connection events went away; nothing more is written"
                    );
                    return;
                }
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(output = name, %error, "cannot write connection events; counting them instead");
                }
            }
        }
    }
}

/// As [`Write::write_all`], but says how much was written before an error.
fn write_as_far_as_possible(output: &mut dyn Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match output.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(length) => written += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests;
