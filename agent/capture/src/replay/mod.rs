//! Replay: a packet capture or a recorded event file in place of the kernel.

mod closed;
mod counts;
mod frame;
mod input;
mod packet;
mod pcap;
mod pcapng;
mod run;
mod tcp;

#[cfg(test)]
mod tests;

use std::{fs::File, io::Read, path::Path, time::Duration};

use anyhow::{Context as _, bail};

pub use self::{
    counts::ReplayCounts,
    packet::Unread,
    run::{limits, replay, replay_source, replay_with_progress},
};
use self::{
    frame::{Damage, Frame},
    input::{Input, WINDOW},
    packet::{Content, Fragments, content, datagram_content},
    pcap::Pcap,
    pcapng::PcapNg,
    tcp::TcpTracker,
};
use super::{Source, SourceState};
use hopsight_core::model::{ConnectionId, Event, Timestamp};

/// Packets turned into events per call of [`Source::poll`].
const BATCH: usize = 512;

enum Format {
    Pcap(Pcap),
    PcapNg(PcapNg),
    Events,
}

/// A file of packets or events.
pub struct ReplaySource {
    input: Input,
    format: Format,
    fragments: Fragments,
    tracker: TcpTracker,
    last: Timestamp,
    counts: ReplayCounts,
}

impl ReplaySource {
    /// Opens a pcap, pcapng or recorded event file, told apart by its first bytes.
    ///
    /// # Errors
    /// If the file cannot be read or is none of these.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        Self::new(file, path)
    }

    /// Reads what [`ReplaySource::open`] does from any input; `path` is its name in messages.
    ///
    /// # Errors
    /// If it cannot be read or is no capture.
    pub fn new(input: impl Read + Send + 'static, path: &Path) -> anyhow::Result<Self> {
        let mut input = Input::new(input);
        let format = format(&mut input, path)?;
        Ok(Self {
            input,
            format,
            fragments: Fragments::default(),
            tracker: TcpTracker::default(),
            last: Timestamp::default(),
            counts: ReplayCounts::default(),
        })
    }

    /// Time of the newest packet.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.last
    }

    /// Bytes read from the file so far, those read ahead included.
    #[must_use]
    pub const fn bytes_read(&self) -> u64 {
        self.input.read()
    }

    /// What became of the packets so far.
    #[must_use]
    pub fn counts(&self) -> ReplayCounts {
        let mut counts = self.counts.clone();
        counts.silent = self.tracker.silent();
        counts.add_unread(Unread::Fragment, self.fragments.unread());
        if let Format::PcapNg(file) = &self.format {
            counts.odd_options = file.odd_options();
        }
        counts
    }

    /// Reads one packet or event; false at the end.
    fn step(&mut self, out: &mut Vec<Event>) -> bool {
        let frame = match &mut self.format {
            Format::Pcap(file) => file.next(&mut self.input),
            Format::PcapNg(file) => file.next(&mut self.input),
            Format::Events => return self.event(out),
        };
        let frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => return false,
            Err(damage) => return self.stop(&damage),
        };
        self.counts.read += 1;
        self.last = self.last.max(frame.at);
        let sinks = Sinks {
            fragments: &mut self.fragments,
            tracker: &mut self.tracker,
            counts: &mut self.counts,
        };
        sinks.accept(&frame, out);
        true
    }

    fn event(&mut self, out: &mut Vec<Event>) -> bool {
        match next_event(&mut self.input, self.counts.read + 1) {
            Ok(Some(event)) => {
                self.counts.read += 1;
                self.last = self.last.max(event.at());
                out.push(event);
                true
            }
            Ok(None) => false,
            Err(damage) => self.stop(&damage),
        }
    }

    fn stop(&mut self, damage: &Damage) -> bool {
        self.counts.damaged = Some(damage.to_string());
        false
    }
}

/// Where packets go, apart from the file that they still lie in.
struct Sinks<'s> {
    fragments: &'s mut Fragments,
    tracker: &'s mut TcpTracker,
    counts: &'s mut ReplayCounts,
}

impl Sinks<'_> {
    fn accept(self, frame: &Frame<'_>, out: &mut Vec<Event>) {
        let mut whole;
        let mut found = content(frame);
        loop {
            match found {
                Content::Tcp(segment) => return self.tracker.segment(frame.at, segment, out),
                Content::Other => self.counts.not_tcp += 1,
                Content::Unread(why) => self.counts.add_unread(why, 1),
                Content::Fragment(fragment) => {
                    if let Some(datagram) = self.fragments.add(fragment) {
                        whole = datagram;
                        found = datagram_content(&whole);
                        continue;
                    }
                }
            }
            return;
        }
    }
}

fn format(input: &mut Input, path: &Path) -> anyhow::Result<Format> {
    let path = path.display();
    let foreign = || format!("{path} begins like a capture, but its header cannot be read");
    if let Some(file) = Pcap::open(input).with_context(foreign)? {
        return Ok(Format::Pcap(file));
    }
    if let Some(file) = PcapNg::open(input).with_context(foreign)? {
        return Ok(Format::PcapNg(file));
    }
    let advice = match input.peek(4).with_context(|| format!("read {path}"))? {
        [b'{', ..] => return Ok(Format::Events),
        [] => bail!("{path} is empty"),
        [0x1f, 0x8b, ..] => "is compressed; unpack it with `gunzip`",
        [0x28, 0xb5, 0x2f, 0xfd] => "is compressed; unpack it with `unzstd`",
        [0x04, 0x22, 0x4d, 0x18] => "is compressed; unpack it with `unlz4`",
        _ => {
            "is neither pcap nor pcapng nor a recorded event file (JSON lines); convert it with \
             `editcap -F pcapng`"
        }
    };
    bail!("{path} {advice}")
}

/// The next line as an event; `None` at the end. A line may be as long as the window.
fn next_event(input: &mut Input, line: u64) -> Result<Option<Event>, Damage> {
    let mut looked_at = 4096;
    let length = loop {
        let ahead = input.peek(looked_at)?;
        match memchr::memchr(b'\n', ahead) {
            Some(end) => break end + 1,
            None if ahead.len() < looked_at || looked_at == WINDOW => break ahead.len(),
            None => looked_at *= 2,
        }
    };
    let text = input.take(length)?;
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(text)
        .map(Some)
        .map_err(|cause| Damage::Event { line, cause: cause.to_string() })
}

impl Source for ReplaySource {
    fn poll(&mut self, _timeout: Duration, out: &mut Vec<Event>) -> anyhow::Result<SourceState> {
        for _ in 0..BATCH {
            if !self.step(out) {
                self.tracker.end(self.last, out);
                return Ok(SourceState::Ended);
            }
        }
        Ok(SourceState::Open)
    }

    fn done(&mut self, connection: ConnectionId) {
        self.tracker.done(connection);
    }
}
