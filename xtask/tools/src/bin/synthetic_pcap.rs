//! Writes a capture of many handshakes, made from the recordings in `fixtures/handshakes`:
//! `synthetic_pcap FILE CONNECTIONS [DATA_PACKETS_EACH]`.
//!
//! Every connection is a recorded one under an address pair of its own, cut to Ethernet frames
//! of at most 1,448 payload bytes, several at a time in turn. `DATA_PACKETS_EACH` full packets of
//! protected application data follow each, of which the first 128 bytes are in the file, as with
//! `tcpdump -s 128`.

use std::{fs::File, io::BufWriter, time::Duration};

use anyhow::Context as _;
use etherparse::PacketBuilder;
use hopsight_core::model::Direction;
use pcap_file::pcap::{PcapPacket, PcapWriter};

use hopsight_tools::recorded::{Script, scripts};

const MSS: usize = 1448;
/// Bytes captured of a packet of application data.
const SNAP: usize = 128;
/// Connections that are open at the same time.
const INTERLEAVED: usize = 64;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (file, connections, data) = match args.as_slice() {
        [file, connections] => (file, connections.parse::<usize>()?, 0),
        [file, connections, data] => (file, connections.parse()?, data.parse::<usize>()?),
        _ => anyhow::bail!("usage: synthetic_pcap FILE CONNECTIONS [DATA_PACKETS_EACH]"),
    };
    let scripts = scripts()?;
    let output = BufWriter::with_capacity(1 << 20, File::create(file).context("create the file")?);
    let mut writer = PcapWriter::new(output).context("write the header")?;
    let mut clock = Duration::from_secs(1_700_000_000);
    let mut packets = 0_u64;
    for first in (0..connections).step_by(INTERLEAVED) {
        let last = (first + INTERLEAVED).min(connections);
        let mut open: Vec<_> = (first..last)
            .map(|n| frames(n, &scripts[n % scripts.len()], data).into_iter())
            .collect();
        while !open.is_empty() {
            for frames in &mut open {
                let Some(frame) = frames.next() else { continue };
                clock += Duration::from_micros(1);
                let length = u32::try_from(frame.length).context("frame length")?;
                writer
                    .write_packet(&PcapPacket::new_owned(clock, length, frame.captured))
                    .context("write a packet")?;
                packets += 1;
            }
            open.retain(|frames| frames.len() > 0);
        }
    }
    println!("{connections} connections, {packets} packets");
    Ok(())
}

struct Frame {
    captured: Vec<u8>,
    length: usize,
}

/// All frames of one connection, from SYN to the second FIN.
fn frames(number: usize, script: &Script, data: usize) -> Vec<Frame> {
    let low = u16::try_from(number % 50_000).unwrap_or_default();
    let high = u8::try_from(number / 50_000 % 250).unwrap_or_default();
    let ends = [([10, 0, high, 1], 10_000 + low), ([10, 1, 0, 1], 443)];
    let mut next = [1_000_u32, 5_000];
    let mut out = Vec::new();
    let mut frame = |from: usize, (syn, fin): (bool, bool), payload: &[u8], snap: usize| {
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
        let whole = bytes.len();
        bytes.truncate(snap);
        out.push(Frame { captured: bytes, length: whole });
    };
    let [syn, none, fin] = [(true, false), (false, false), (false, true)];
    frame(0, syn, &[], usize::MAX);
    frame(1, syn, &[], usize::MAX);
    frame(0, none, &[], usize::MAX);
    for (direction, bytes) in &script.said {
        for part in bytes.chunks(MSS) {
            frame(direction.index(), none, part, usize::MAX);
        }
    }
    let mut record = vec![0x17, 3, 3, 0x05, 0xa3];
    record.resize(MSS, 0xa5);
    for _ in 0..data {
        frame(Direction::ToClient.index(), none, &record, SNAP);
    }
    frame(0, fin, &[], usize::MAX);
    frame(1, fin, &[], usize::MAX);
    out
}
