//! Writes a capture of many handshakes, made from the recordings in `fixtures/handshakes`:
//! `synthetic_pcap FILE CONNECTIONS [DATA_PACKETS_EACH]`.
//!
//! Every connection is a recorded one under an address pair of its own, cut to Ethernet frames
//! of at most 1,448 payload bytes, several at a time in turn. `DATA_PACKETS_EACH` full packets of
//! protected application data follow each.

use std::{
    fs::{self, File},
    io::BufWriter,
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use etherparse::PacketBuilder;
use hopsight::model::{Direction, Event};
use pcap_file::pcap::{PcapPacket, PcapWriter};

const MSS: usize = 1448;
/// Connections that are open at the same time.
const INTERLEAVED: usize = 64;

/// What both sides said, in turn.
type Script = Vec<(Direction, Vec<u8>)>;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (file, connections, data) = match args.as_slice() {
        [file, connections] => (file, connections.parse::<usize>()?, 0),
        [file, connections, data] => (file, connections.parse()?, data.parse::<usize>()?),
        _ => anyhow::bail!("usage: synthetic_pcap FILE CONNECTIONS [DATA_PACKETS_EACH]"),
    };
    let mut scripts = scripts()?;
    for script in &mut scripts {
        for _ in 0..data {
            let mut record = vec![0x17, 3, 3, 0x05, 0xa3];
            record.resize(MSS, 0xa5);
            script.push((Direction::ToClient, record));
        }
    }
    let output = BufWriter::with_capacity(1 << 20, File::create(file).context("create the file")?);
    let mut writer = PcapWriter::new(output).context("write the header")?;
    let mut clock = Duration::from_secs(1_700_000_000);
    let mut packets = 0_u64;
    for first in (0..connections).step_by(INTERLEAVED) {
        let last = (first + INTERLEAVED).min(connections);
        let mut open: Vec<_> =
            (first..last).map(|n| frames(n, &scripts[n % scripts.len()]).into_iter()).collect();
        while !open.is_empty() {
            for frames in &mut open {
                let Some(frame) = frames.next() else { continue };
                clock += Duration::from_micros(1);
                let length = u32::try_from(frame.len()).context("frame length")?;
                writer
                    .write_packet(&PcapPacket::new_owned(clock, length, frame))
                    .context("write a packet")?;
                packets += 1;
            }
            open.retain(|frames| frames.len() > 0);
        }
    }
    println!("{connections} connections, {packets} packets");
    Ok(())
}

fn scripts() -> anyhow::Result<Vec<Script>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/handshakes");
    let mut files = fs::read_dir(&directory)
        .context("open fixtures/handshakes")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    files.sort();
    files.iter().map(|path| script(path)).collect()
}

fn script(path: &Path) -> anyhow::Result<Script> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let events = text.lines().map(serde_json::from_str).collect::<Result<Vec<Event>, _>>()?;
    let first = events.iter().find_map(|event| match event {
        Event::Opened { flow, .. } => Some(*flow),
        _ => None,
    });
    Ok(events
        .into_iter()
        .filter_map(|event| match event {
            Event::Segment { flow, direction, bytes, .. } if Some(flow) == first => {
                Some((direction, bytes))
            }
            _ => None,
        })
        .collect())
}

/// All frames of one connection, from SYN to the second FIN.
fn frames(number: usize, script: &Script) -> Vec<Vec<u8>> {
    let low = u16::try_from(number % 50_000).unwrap_or_default();
    let high = u8::try_from(number / 50_000 % 250).unwrap_or_default();
    let ends = [([10, 0, high, 1], 10_000 + low), ([10, 1, 0, 1], 443)];
    let mut next = [1_000_u32, 5_000];
    let mut out = Vec::new();
    let mut frame = |from: usize, syn: bool, fin: bool, payload: &[u8]| {
        let (source, target) = (ends[from], ends[1 - from]);
        let step = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4(source.0, target.0, 64)
            .tcp(source.1, target.1, next[from], 64_000);
        let step = if syn { step.syn() } else { step };
        let step = if fin { step.fin() } else { step };
        let step = if syn && from == 0 { step } else { step.ack(next[1 - from]) };
        let mut bytes = Vec::with_capacity(step.size(payload.len()));
        // Writing to a vector cannot fail, and no payload here is longer than a packet.
        let _ = step.write(&mut bytes, payload);
        let length = u32::try_from(payload.len()).unwrap_or_default();
        next[from] = next[from].wrapping_add(length + u32::from(syn) + u32::from(fin));
        out.push(bytes);
    };
    frame(0, true, false, &[]);
    frame(1, true, false, &[]);
    frame(0, false, false, &[]);
    for (direction, bytes) in script {
        for part in bytes.chunks(MSS) {
            frame(direction.index(), false, false, part);
        }
    }
    frame(0, false, true, &[]);
    frame(1, false, true, &[]);
    out
}
