//! What tshark reads of a capture is read here, or it is told that it is not: no file ends early
//! that tshark reads whole, and no TCP connection is missing in silence.
//!
//! `HOPSIGHT_CAPTURES` names a folder of captures (`cargo xtask completeness FOLDER`); else these are
//! the small cases beside the corpus, for tshark takes a quarter of a second to begin with each.
//! Without captures or without tshark it says so.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    env, fs,
    io::Read as _,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

use hopsight_capture::replay::{self, ReplayCounts};
use hopsight_test_support as support;

/// Beginnings of pcap and pcapng files, in both orders of bytes.
const MAGICS: [[u8; 4]; 7] = [
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0xa1, 0xb2, 0xcd, 0x34],
    [0x34, 0xcd, 0xb2, 0xa1],
    [0x0a, 0x0d, 0x0d, 0x0a],
];

/// The captures in and below `folder`, whatever they are called.
fn captures(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(captures(&path));
        } else if begins_like_a_capture(&path) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn begins_like_a_capture(path: &Path) -> bool {
    let mut magic = [0; 4];
    let file = fs::File::open(path);
    file.and_then(|mut file| file.read_exact(&mut magic)).is_ok() && MAGICS.contains(&magic)
}

/// What tshark shows of one packet's TCP header. In a tunnel there are several addresses.
struct Shown {
    stream: String,
    from: Vec<SocketAddr>,
    to: Vec<SocketAddr>,
}

/// What tshark reads of a file.
#[derive(Default)]
struct Seen {
    packets: u64,
    /// It complained of the file.
    complaint: Option<String>,
    streams: BTreeMap<String, Vec<Shown>>,
}

fn addresses(v4: &str, v6: &str, port: &str) -> Vec<SocketAddr> {
    let Some(port) = port.rsplit(',').next().and_then(|port| port.parse().ok()) else {
        return Vec::new();
    };
    let parse = |text: &str| text.parse::<IpAddr>().ok().map(|address| (address, port).into());
    v4.split(',').chain(v6.split(',')).filter_map(parse).collect()
}

fn tshark(file: &Path) -> Seen {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-n", "-T", "fields", "-E", "separator=|"]);
    for field in [
        "frame.number",
        "tcp.stream",
        "ip.src",
        "ipv6.src",
        "tcp.srcport",
        "ip.dst",
        "ipv6.dst",
        "tcp.dstport",
        "icmp.type",
        "icmpv6.type",
    ] {
        command.args(["-e", field]);
    }
    let output = command.output().expect("run tshark");
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint = complaint.lines().find(|line| line.starts_with("tshark: "));
    let mut seen = Seen { complaint: complaint.map(str::to_owned), ..Seen::default() };
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let fields: Vec<&str> = line.split('|').collect();
        let [_, streams, from4, from6, from_port, to4, to6, to_port, icmp, icmp6] = fields[..]
        else {
            continue;
        };
        seen.packets += 1;
        // Errors quote packets that were sent elsewhere.
        if streams.is_empty() || !icmp.is_empty() || !icmp6.is_empty() {
            continue;
        }
        let stream = streams.rsplit(',').next().unwrap_or_default().to_owned();
        let from = addresses(from4, from6, from_port);
        let to = addresses(to4, to6, to_port);
        seen.streams.entry(stream.clone()).or_default().push(Shown { stream, from, to });
    }
    seen
}

/// What we read of a file: the ends of every connection, and what became of the packets.
fn ours(file: &Path) -> (HashSet<BTreeSet<SocketAddr>>, ReplayCounts) {
    let mut connections = HashSet::new();
    let counts = replay::replay(file, replay::limits(), &mut |report| {
        let ends = [&report.src, &report.dst].map(|end| end.parse::<SocketAddr>().ok());
        let asked = Some(report.destination);
        connections.insert(ends.into_iter().chain([asked]).flatten().collect());
        Ok(())
    });
    (connections, counts.unwrap_or_else(|error| panic!("{}: {error:#}", file.display())))
}

/// Whether a packet of this stream belongs to one of our connections. A connection that was only
/// asked for has one end here.
fn is_ours(shown: &Shown, connections: &HashSet<BTreeSet<SocketAddr>>) -> bool {
    connections.iter().any(|ends| {
        let has = |side: &[SocketAddr]| side.iter().any(|end| ends.contains(end));
        if ends.len() < 2 {
            has(&shown.from) || has(&shown.to)
        } else {
            has(&shown.from) && has(&shown.to)
        }
    })
}

/// Adds a file's numbers to the sums and returns what is wrong with it.
fn compare(file: &Path, sums: &mut BTreeMap<&'static str, u64>) -> Vec<String> {
    let mut add = |what, count: u64| *sums.entry(what).or_default() += count;
    let seen = tshark(file);
    let (connections, counts) = ours(file);
    add("files", 1);
    add("packets of tshark", seen.packets);
    add("packets of ours", counts.read);
    add("streams of tshark", seen.streams.len() as u64);
    let mut wrong = Vec::new();
    if let Some(complaint) = seen.complaint {
        add("files tshark complains of", 1);
        println!("{}: {complaint}; we: {:?}", file.display(), counts.damaged);
    } else if counts.read < seen.packets || counts.damaged.is_some() {
        wrong.push(format!("{} of {} packets: {:?}", counts.read, seen.packets, counts.damaged));
    }
    let missing: Vec<_> = seen
        .streams
        .values()
        .filter(|packets| !packets.iter().any(|packet| is_ours(packet, &connections)))
        .collect();
    match counts.told().or(counts.damaged) {
        Some(told) if !missing.is_empty() => {
            add("streams told to be missing", missing.len() as u64);
            println!("{}: {} streams, {told}", file.display(), missing.len());
        }
        Some(_) => {}
        None => {
            for shown in missing.iter().filter_map(|packets| packets.first()) {
                let Shown { stream, from, to } = shown;
                wrong.push(format!("stream {stream}, {from:?} to {to:?}, is missing"));
            }
        }
    }
    wrong
}

#[test]
fn nothing_that_tshark_reads_is_missing_in_silence() {
    let folder = env::var_os("HOPSIGHT_CAPTURES")
        .map_or_else(|| support::shared().join("cases"), PathBuf::from);
    let files = captures(&folder);
    if files.is_empty() {
        println!("SKIP: no captures in {}", folder.display());
        return;
    }
    if Command::new("tshark").arg("-v").output().is_err() {
        println!("SKIP: tshark is not installed (`cargo xtask setup` installs it)");
        return;
    }
    let mut sums = BTreeMap::new();
    let mut wrong = Vec::new();
    for file in &files {
        let name = file.strip_prefix(&folder).unwrap_or(file).display().to_string();
        wrong.extend(compare(file, &mut sums).into_iter().map(|what| format!("{name}: {what}")));
    }
    for (what, count) in &sums {
        println!("{what}: {count}");
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}
