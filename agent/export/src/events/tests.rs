use std::sync::{Mutex, atomic::AtomicBool};

use super::*;
use hopsight_core::model::{Security, Timestamp};
use hopsight_posture::hops::testing::{at, carried, report};

/// A file that refuses some writes after taking half of their bytes.
#[derive(Clone, Default)]
struct Disk {
    content: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut content = self.content.lock().expect("not poisoned");
        if self.full.load(Ordering::SeqCst) {
            content.extend_from_slice(&bytes[..bytes.len() / 2]);
            return Err(io::ErrorKind::StorageFull.into());
        }
        content.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file with room for so many bytes.
struct Room(Arc<Mutex<Vec<u8>>>, usize);

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut content = self.0.lock().expect("not poisoned");
        let fits = bytes.len().min(self.1 - content.len());
        if fits == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        content.extend_from_slice(&bytes[..fits]);
        Ok(fits)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn each_line_is_written_or_counted() {
    for room in [0, 1, 500, 3_000, 7_777] {
        let content = Arc::<Mutex<Vec<u8>>>::default();
        let mut events = Events::default();
        events.write_to("file", Box::new(Room(content.clone(), room))).expect("thread");
        let dropped = events.outputs[0].dropped.clone();
        for number in 0..50 {
            let report = report(number, Security::Tls);
            events.send(&Ends::of(&report), &report, at(0.0));
        }
        drop(events);
        let content = content.lock().expect("not poisoned");
        let text = String::from_utf8_lossy(&content);
        let whole = text
            .lines()
            .filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
            .count() as u64;
        // A line that lacks only its end is whole to a reader, and still counted.
        let cut = u64::from(!text.is_empty() && !text.ends_with('\n'));
        let sum = whole + dropped.load(Ordering::SeqCst);
        assert!((50..=50 + cut).contains(&sum), "room {room}: {whole} whole, {sum} in all");
    }
}

fn send_and_wait(disk: &Disk, steps: &[(bool, u64)]) -> (Vec<String>, u64) {
    let mut events = Events::default();
    events.write_to("file", Box::new(disk.clone())).expect("thread");
    let dropped = events.outputs[0].dropped.clone();
    for &(full, number) in steps {
        disk.full.store(full, Ordering::SeqCst);
        let before = disk.content.lock().expect("not poisoned").len();
        let report = report(number, Security::Tls);
        events.send(&Ends::of(&report), &report, at(0.0));
        while disk.content.lock().expect("not poisoned").len() == before {
            std::thread::yield_now();
        }
        // The content grew, but the writer may not have seen the error yet.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    drop(events);
    let content = String::from_utf8(disk.content.lock().expect("not poisoned").clone());
    let lines = content.expect("text").lines().map(str::to_owned).collect();
    (lines, dropped.load(Ordering::SeqCst))
}

#[test]
fn lines_are_whole_json_objects() {
    let (lines, dropped) = send_and_wait(&Disk::default(), &[(false, 1), (false, 2)]);
    assert_eq!((lines.len(), dropped), (2, 0));
    let first: serde_json::Value = serde_json::from_str(&lines[0]).expect("JSON");
    assert_eq!(first["time"], "1970-01-01T00:00:00.000Z");
    assert_eq!(first["security"], "tls");
    assert_eq!(first["dst"], "10.0.0.1:443");
    assert_eq!((&first["schema_version"], &first["node"]), (&1.into(), &().into()));
}

#[test]
fn events_say_who_tells_them_and_when_by_the_wall_clock() {
    let witness =
        Witness { node: Some("node-1".into()), cluster: Some("prod".into()), ..Witness::default() };
    let events = Events::of(witness);
    let mut listener = events.listen();
    let mut report = carried(report(1, Security::Mtls), 300.0);
    (report.opened_at, report.decided_at) = (Timestamp(4_000_000_000), Timestamp(5_500_000_000));
    if let Some(from) = &mut report.carried_from {
        from.at = Timestamp(1_000_000_000);
    }
    // The machine has been up for ten seconds.
    let now = Moment { unix_seconds: 110.0, monotonic: Timestamp(10_000_000_000) };
    events.send(&Ends::of(&report), &report, now);
    let told = listener.try_recv().expect("an event");
    let told: serde_json::Value = serde_json::from_str(&told.json).expect("JSON");
    for (field, want) in [
        ("time", "1970-01-01T00:01:50.000Z"),
        ("opened_time", "1970-01-01T00:01:44.000Z"),
        ("decided_time", "1970-01-01T00:01:45.500Z"),
        ("carried_time", "1970-01-01T00:01:41.000Z"),
        ("node", "node-1"),
        ("cluster", "prod"),
        ("agent_version", env!("CARGO_PKG_VERSION")),
    ] {
        assert_eq!(told[field], want, "{field}");
    }
}

#[test]
fn a_full_disk_costs_the_events_of_that_time_only() {
    let (lines, dropped) = send_and_wait(&Disk::default(), &[(false, 1), (true, 2), (false, 3)]);
    let whole: Vec<u64> = lines
        .iter()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|event| event["connection"].as_u64())
        .collect();
    assert_eq!((whole, dropped), (vec![1, 3], 1));
}

#[test]
fn a_slow_listener_is_told_what_it_missed() {
    let events = Events::default();
    let mut listener = events.listen();
    for number in 0..=LISTENER_QUEUE as u64 {
        let report = report(number, Security::Tls);
        events.send(&Ends::of(&report), &report, at(0.0));
    }
    let first = listener.try_recv();
    assert_eq!(first, Err(broadcast::error::TryRecvError::Lagged(1)));
    assert!(listener.try_recv().is_ok());
}
