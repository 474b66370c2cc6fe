//! Full disks.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use hopsight_tests::{
    agent::Agent,
    case, process, requirement,
    topology::{Network, Topology},
    wait::wait_until,
};

/// A small file system in memory; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf, kilobytes: u32) -> Self {
        fs::create_dir_all(&path).unwrap();
        let size = format!("size={kilobytes}k");
        let target = path.to_str().unwrap();
        process::run("mount", ["-t", "tmpfs", "-o", &size, "hopsight-test", target]).unwrap();
        Self(path)
    }

    /// Takes all space that is left.
    fn fill(&self) -> PathBuf {
        let filler = self.0.join("filler");
        let mut size = 4096;
        while fs::write(&filler, vec![0; size]).is_ok() {
            size += 4096;
        }
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the agent may still write its log there.
        if let Err(error) = process::run("umount", ["-l", self.0.to_str().unwrap_or_default()]) {
            eprintln!("cannot unmount {}: {error:#}", self.0.display());
        }
    }
}

#[test]
fn events_that_find_no_space_are_counted() {
    let test = "events_that_find_no_space_are_counted";
    if !requirement::met(test, &["nginx", "mount"]) {
        return;
    }
    let topology = Topology::start(&case::named(&["http"]), Network::Ipv4).unwrap();
    let disk = SmallDisk::mount(topology.dir().join("small"), 64);
    // The agent's log is on the same disk: it cannot even say so.
    let agent = Agent::watching(&topology, "small", &["--no-library"]).unwrap().with_cut_lines();
    let hop = &topology.hops[0];
    let dropped = || {
        let value = agent.metric("hopsight_event_output_dropped_total", &[]).unwrap();
        value.unwrap_or_default()
    };
    let mut requests = 0_u32;
    let mut request = || {
        hop.request_once().unwrap();
        requests += 1;
    };
    while dropped() == 0.0 {
        request();
    }
    let filler = disk.fill();
    for _ in 0..20 {
        request();
    }
    let settled = |written_before: usize, requests: u32| {
        wait_until("every report to be written or counted", Duration::from_secs(30), || {
            #[expect(clippy::cast_precision_loss, reason = "a small count")]
            let written = (written_before + agent.whole_finals().len()) as f64;
            let sum = written + dropped();
            Ok(((sum - f64::from(requests)).abs() < 0.5).then_some(written))
        })
        .unwrap_or_else(|error| {
            let written = (written_before, agent.whole_finals().len());
            panic!("{error:#}: {written:?} written, {} dropped of {requests}", dropped())
        })
    };
    let full = settled(0, requests);
    // Room again: somebody cleaned up. What comes now is written.
    fs::remove_file(filler).unwrap();
    fs::write(disk.0.join("agent.log"), "").unwrap();
    let before = agent.whole_finals().len();
    let events = disk.0.join("events.jsonl");
    fs::OpenOptions::new().write(true).open(events).unwrap().set_len(0).unwrap();
    for _ in 0..5 {
        hop.request_once().unwrap();
    }
    let written = settled(before, requests + 5);
    assert!((written - full - 5.0).abs() < 0.5, "{full} written while full, {written} in the end");
    println!("{} reports: {written} written, {} counted", requests + 5, dropped());
}

const POLICY: &str = "[[policies]]\nname = \"all\"\nrequire = \"mtls\"\n";

fn state_file(directory: &Path) -> Option<u64> {
    let mut files = fs::read_dir(directory).ok()?.flatten();
    files
        .find(|entry| entry.path().extension().is_some_and(|ending| ending == "json"))
        .and_then(|entry| Some(entry.metadata().ok()?.len()))
}

#[test]
fn a_state_that_finds_no_space_is_saved_later() {
    let test = "a_state_that_finds_no_space_is_saved_later";
    if !requirement::met(test, &["nginx", "mount"]) {
        return;
    }
    let topology = Topology::start(&case::named(&["http"]), Network::Ipv4).unwrap();
    let disk = SmallDisk::mount(topology.dir().join("small"), 64);
    let filler = disk.fill();
    let policy = topology.dir().join("policy.toml");
    fs::write(&policy, POLICY).unwrap();
    let args = ["--policy", policy.to_str().unwrap(), "--state", disk.0.to_str().unwrap()];
    let args = [&args[..], &["--no-library"]].concat();
    let agent = Agent::watching(&topology, "agent", &args).unwrap();
    let hop = &topology.hops[0];
    hop.request().unwrap();
    // The drift is said although it cannot be kept.
    wait_until("the drift to be reported", Duration::from_mins(1), || {
        Ok((!agent.drifts().is_empty()).then_some(()))
    })
    .unwrap();
    wait_until("the agent to say that it cannot save", Duration::from_mins(1), || {
        Ok(agent.daemon.log().contains("state file").then_some(()))
    })
    .unwrap();
    assert!(state_file(&disk.0).is_none_or(|size| size == 0));
    assert_eq!(agent.get("/readyz").unwrap().status, 200);
    fs::remove_file(filler).unwrap();
    wait_until("the state to be saved", Duration::from_secs(90), || {
        hop.request_once()?;
        Ok(state_file(&disk.0).filter(|size| *size > 0).map(drop))
    })
    .unwrap();
}
