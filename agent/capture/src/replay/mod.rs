//! Replay: a packet capture or a recorded event file in place of the kernel.

mod packet;
mod run;
mod tcp;

pub use run::{limits, replay, replay_source, replay_with_progress};

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use pcap_file::{
    DataLink,
    pcap::PcapReader,
    pcapng::{
        Block, PcapNgReader,
        blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
    },
};

use self::{packet::tcp_segment, tcp::TcpTracker};
use super::{Source, SourceState};
use hopsight_core::model::{Event, FlowId, Timestamp};

/// Packets turned into events per call of [`Source::poll`].
const BATCH: usize = 512;

/// An input that counts what is read from it, also where another reader owns it.
struct Counted {
    input: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

type Input = BufReader<Counted>;

enum Reader {
    Pcap { reader: Box<PcapReader<Input>>, link: DataLink },
    PcapNg(Box<PcapNgReader<Input>>),
    Events(Box<Input>),
}

/// A file of packets or events.
pub struct ReplaySource {
    reader: Reader,
    tracker: TcpTracker,
    last: Timestamp,
    counts: ReplayCounts,
    bytes_read: Arc<AtomicU64>,
}

/// What became of a file's packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayCounts {
    /// Packets (or recorded events) read.
    pub read: u64,
    /// Of these, without a TCP segment that could be read.
    pub not_tcp: u64,
    /// Why reading stopped before the end of the file, if it did.
    pub damaged: Option<String>,
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
        let bytes_read = Arc::<AtomicU64>::default();
        let counted = Counted { input: Box::new(input), read: bytes_read.clone() };
        let mut buffered = BufReader::with_capacity(1 << 20, counted);
        let beginning = buffered.fill_buf().with_context(|| format!("read {}", path.display()))?;
        let mut magic = [0; 4];
        let length = beginning.len().min(magic.len());
        magic[..length].copy_from_slice(&beginning[..length]);
        let foreign =
            || format!("{} begins like a capture, but its header cannot be read", path.display());
        let reader = match &magic[..length] {
            [0xa1, 0xb2, ..] | [0xd4, 0xc3, ..] | [0x4d, 0x3c, ..] => {
                let reader = PcapReader::new(buffered).with_context(foreign)?;
                let link = reader.header().datalink;
                Reader::Pcap { reader: Box::new(reader), link }
            }
            [0x0a, 0x0d, 0x0d, 0x0a] => {
                Reader::PcapNg(Box::new(PcapNgReader::new(buffered).with_context(foreign)?))
            }
            [b'{', ..] => Reader::Events(Box::new(buffered)),
            [] => bail!("{} is empty", path.display()),
            _ => bail!(
                "{} is neither pcap nor pcapng nor a recorded event file (JSON lines); \
                 convert it with `editcap -F pcapng`",
                path.display()
            ),
        };
        Ok(Self {
            reader,
            tracker: TcpTracker::default(),
            last: Timestamp::default(),
            counts: ReplayCounts::default(),
            bytes_read,
        })
    }

    /// Time of the newest packet.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.last
    }

    /// Bytes read from the file so far, those read ahead included.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// What became of the packets so far.
    #[must_use]
    pub const fn counts(&self) -> &ReplayCounts {
        &self.counts
    }

    /// Reads one packet or event; false at the end.
    fn step(&mut self, out: &mut Vec<Event>) -> bool {
        let (link, at, data) = match &mut self.reader {
            Reader::Pcap { reader, link } => match reader.next_packet() {
                None => return false,
                Some(Err(error)) => return self.stop(&error),
                Some(Ok(packet)) => (*link, packet.timestamp, packet.data),
            },
            Reader::PcapNg(reader) => match next_pcapng(reader) {
                Ok(None) => return false,
                Ok(Some(packet)) => packet,
                Err(error) => return self.stop(&error),
            },
            Reader::Events(reader) => {
                let mut line = String::new();
                return match reader.read_line(&mut line) {
                    Ok(0) => false,
                    Ok(_) => match serde_json::from_str::<Event>(&line) {
                        Ok(event) => {
                            self.counts.read += 1;
                            self.last = self.last.max(event.at());
                            out.push(event);
                            true
                        }
                        Err(error) => {
                            let line = self.counts.read + 1;
                            self.stop(&format!("event {line}: {error}"))
                        }
                    },
                    Err(error) => self.stop(&error),
                };
            }
        };
        let at = Timestamp(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX));
        self.last = self.last.max(at);
        self.counts.read += 1;
        match tcp_segment(link, &data) {
            Some(segment) => self.tracker.segment(at, &segment, out),
            None => self.counts.not_tcp += 1,
        }
        true
    }

    fn stop(&mut self, error: &dyn std::fmt::Display) -> bool {
        self.counts.damaged = Some(error.to_string());
        false
    }
}

type Packet<'a> = (DataLink, Duration, std::borrow::Cow<'a, [u8]>);

fn next_pcapng(
    reader: &mut PcapNgReader<Input>,
) -> Result<Option<Packet<'static>>, pcap_file::PcapError> {
    loop {
        let (interface, at, data) = match reader.next_block() {
            None => return Ok(None),
            Some(Ok(Block::EnhancedPacket(packet))) => {
                (packet.interface_id, packet.timestamp, packet.data.into_owned())
            }
            Some(Ok(Block::SimplePacket(packet))) => (0, Duration::ZERO, packet.data.into_owned()),
            Some(Ok(_)) => continue,
            Some(Err(error)) => return Err(error),
        };
        let description = reader
            .interfaces()
            .get(interface as usize)
            .ok_or(pcap_file::PcapError::InvalidInterfaceId(interface))?;
        return Ok(Some((description.linktype, in_units_of(description, at), data.into())));
    }
}

/// The reader takes time stamps for nanoseconds; they are in units of the interface's
/// `if_tsresol`, microseconds where it is absent (pcapng specification, section 4.2).
fn in_units_of(interface: &InterfaceDescriptionBlock<'_>, raw: Duration) -> Duration {
    let resolution = interface.options.iter().find_map(|option| match option {
        InterfaceDescriptionOption::IfTsResol(resolution) => Some(*resolution),
        _ => None,
    });
    let resolution = resolution.unwrap_or(6);
    let exponent = u32::from(resolution & 0x7f);
    let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
    let Some(per_second) = base.checked_pow(exponent) else { return Duration::ZERO };
    let nanoseconds = raw.as_nanos().saturating_mul(1_000_000_000) / per_second;
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

impl Source for ReplaySource {
    fn poll(&mut self, _timeout: Duration, out: &mut Vec<Event>) -> anyhow::Result<SourceState> {
        for _ in 0..BATCH {
            if !self.step(out) {
                return Ok(SourceState::Ended);
            }
        }
        Ok(SourceState::Open)
    }

    fn done(&mut self, flow: FlowId) {
        self.tracker.done(flow);
    }
}
