//! The command line as people and scripts use it, on a pipe and on a terminal.

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
};

use hopsight_posture::hops::table::Snapshot;
use hopsight_tests::{
    agent::{MadeUp, binary},
    loopback::free_socket,
};

/// The command; timeout(1) ends one that goes on although it should not.
fn hopsight(args: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.arg("60").arg(binary().unwrap());
    command.args(args).env_remove("NO_COLOR").env("TERM", "xterm").stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> (i32, String, String) {
    said(&hopsight(args).output().unwrap())
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// What the command writes on a terminal (script(1) of util-linux makes one).
fn on_terminal(args: &[&str], environment: &[(&str, &str)]) -> String {
    let words: Vec<_> = args.iter().map(|word| format!("'{word}'")).collect();
    let line = format!("'{}' {}", binary().unwrap().display(), words.join(" "));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    script.env_remove("NO_COLOR").env("TERM", "xterm").envs(environment.iter().copied());
    let output = script.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Three made-up hops: a mutual, a one-way and a plaintext one.
fn made_up() -> (MadeUp, String, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let agent = MadeUp::start(dir.path(), 3).unwrap();
    let address = agent.http.to_string();
    (agent, address, dir)
}

#[test]
fn hops_in_every_format() {
    let (_agent, address, _dir) = made_up();
    let hops = |output: &str| {
        let (code, text, errors) = run(&["hops", "--address", &address, "-o", output]);
        assert_eq!((code, errors.as_str()), (0, ""), "{output}");
        text
    };
    let words = |text: &str| text.lines().map(|line| line.split("  ").count()).max().unwrap();
    let (table, wide) = (hops("table"), hops("wide"));
    for text in [&table, &wide] {
        assert_eq!(text.lines().count(), 4, "a heading and three hops: {text}");
        assert!(text.starts_with("PROXY"), "{text}");
        assert!(text.lines().nth(1).unwrap().contains("plaintext"), "worst first: {text}");
    }
    assert!(words(&wide) > words(&table));
    assert!(wide.contains("UPSTREAM CERTIFICATE") && wide.contains("upstreams.conf:17"), "{wide}");
    let json = hops("json");
    let snapshot: Snapshot = serde_json::from_str(&json).unwrap();
    assert_eq!(snapshot.hops.len(), 3);
    let yaml = hops("yaml");
    let read: Snapshot = serde_saphyr::from_str(&yaml).unwrap();
    let upstreams = |snapshot: &Snapshot| {
        snapshot.hops.iter().map(|hop| hop.upstream.clone()).collect::<Vec<_>>()
    };
    assert_eq!(upstreams(&read), upstreams(&snapshot), "{yaml}");
}

#[test]
fn exit_codes_tell_scripts() {
    let (_agent, address, _dir) = made_up();
    let nobody = free_socket().unwrap().to_string();
    for (name, args, code) in [
        ("nothing asked", vec!["--address", &address], 0),
        ("a hop is plaintext", vec!["--address", &address, "--fail-on", "plaintext"], 1),
        ("one of several words", vec!["--address", &address, "--fail-on", "unknown,tls"], 1),
        ("no hop is unknown", vec!["--address", &address, "--fail-on", "unknown"], 0),
        (
            "not a hop of this proxy",
            vec!["--address", &address, "--proxy", "envoy", "--fail-on", "plaintext"],
            1,
        ),
        ("nothing matches", vec!["--address", &address, "--upstream", "nobody"], 1),
        ("fewer than there have to be", vec!["--address", &address, "--min-hops", "4"], 1),
        ("as many as there have to be", vec!["--address", &address, "--min-hops", "3"], 0),
        ("a violation", vec!["--address", &address, "--fail-on", "violation"], 1),
        ("no such word", vec!["--address", &address, "--fail-on", "clear"], 2),
        // Not 0: a script must not take silence for "no plaintext".
        ("no agent there", vec!["--address", &nobody, "--fail-on", "plaintext"], 2),
    ] {
        let (got, _, errors) = run(&[vec!["hops"], args].concat());
        assert_eq!(got, code, "{name}: {errors}");
        assert_eq!(errors.is_empty(), code == 0, "{name}: {errors}");
    }
}

#[test]
fn a_policy_is_compared_with_the_hops_there_are() {
    let (_agent, address, dir) = made_up();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let all = "[[policies]]\nname = \"all\"\nmatch.cidr = \"10.42.0.0/16\"\nrequire = \"tls\"\n";
    let idle = format!("{all}[[policies]]\nmatch.upstream = \"paymnets\"\nrequire = \"mtls\"\n");
    fs::write(path("all.toml"), all).unwrap();
    fs::write(path("idle.toml"), idle).unwrap();
    fs::write(
        path("none.json"),
        r#"{"at":0,"max_hops":1,"overflowed_connections":0,"expired_hops":0,"hops":[]}"#,
    )
    .unwrap();
    let (code, saved, _) = run(&["hops", "--address", &address, "-o", "json"]);
    assert_eq!(code, 0);
    fs::write(path("hops.json"), saved).unwrap();
    let nobody = free_socket().unwrap().to_string();
    for (name, policy, against, code, words) in [
        ("a live agent", "all.toml", address.clone(), 0, "policy all: 3 of 3 hops"),
        ("a saved answer", "all.toml", path("hops.json"), 0, "policy all: 3 of 3 hops"),
        ("an idle policy", "idle.toml", address.clone(), 1, "policy-2 matches none of 3 hops"),
        ("no hops", "all.toml", path("none.json"), 1, "no hops to compare with"),
        ("no answer", "all.toml", nobody, 2, "hopsight run"),
        ("no such file", "all.toml", path("nothing.json"), 2, "nothing.json"),
    ] {
        let (got, text, errors) = run(&["policy", "check", &path(policy), "--against", &against]);
        assert_eq!(got, code, "{name}: {text} {errors}");
        assert!((text.clone() + &errors).contains(words), "{name}: {text} {errors}");
    }
}

#[test]
fn colours_only_where_they_are_wanted() {
    let (_agent, address, _dir) = made_up();
    let args = ["hops", "--address", &address];
    let red = "\u{1b}[1;31mplaintext\u{1b}[0m";
    for (name, environment, colored) in [
        ("a terminal", &[][..], true),
        ("NO_COLOR", &[("NO_COLOR", "1")], false),
        ("an empty NO_COLOR says nothing", &[("NO_COLOR", "")], true),
        ("a dumb terminal", &[("TERM", "dumb")], false),
    ] {
        let text = on_terminal(&args, environment);
        assert!(text.contains("plaintext"), "{name}: {text}");
        assert_eq!(text.contains(red), colored, "{name}: {text:?}");
        assert_eq!(text.contains('\u{1b}'), colored, "{name}: {text:?}");
    }
    let (_, piped, _) = run(&args);
    assert!(!piped.contains('\u{1b}'), "{piped:?}");
    let (_, forced, _) = run(&[&args[..], &["--color", "always"]].concat());
    assert!(forced.contains(red), "{forced:?}");
}

#[test]
fn completions_and_manual_are_of_use() {
    for (shell, checker) in [("bash", Some("bash")), ("zsh", None), ("fish", None)] {
        let (code, script, _) = run(&["completions", shell]);
        assert_eq!(code, 0);
        for word in ["replay", "fail-on"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        if let Some(checker) = checker {
            let mut check = Command::new(checker).arg("-n").stdin(Stdio::piped()).spawn().unwrap();
            check.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
            assert!(check.wait().unwrap().success(), "{checker} -n");
        }
    }
    let (code, page, _) = run(&["man"]);
    assert!(code == 0 && page.contains(".TH hopsight 1"), "{page}");
}

/// A capture of UDP packets, this many bytes at least.
fn write_capture(path: &Path, bytes: usize) {
    // pcap, little endian, microseconds, Ethernet.
    let header = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1];
    let mut frame = vec![0; 1_400];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14..34].copy_from_slice(&[
        0x45, 0, 0x05, 0x6a, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    let mut out = std::io::BufWriter::new(fs::File::create(path).unwrap());
    let put = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    out.write_all(&put(&header)).unwrap();
    let length = u32::try_from(frame.len()).unwrap();
    for second in 0..u32::try_from(bytes / frame.len() + 1).unwrap() {
        out.write_all(&put(&[second, 0, length, length])).unwrap();
        out.write_all(&frame).unwrap();
    }
}

#[test]
fn replay_shows_how_far_it_is_on_a_terminal_only() {
    let dir = tempfile::tempdir().unwrap();
    let [long, short] = [("long.pcap", 17 << 20), ("short.pcap", 1 << 20)].map(|(name, bytes)| {
        let path = dir.path().join(name);
        write_capture(&path, bytes);
        path.to_str().unwrap().to_owned()
    });
    let text = on_terminal(&["replay", &long], &[]);
    assert!(text.contains("#]") && text.contains("] 100 %"), "{text:?}");
    assert!(text.contains("%\r\u{1b}[K"), "wiped before anything else is said: {text:?}");
    assert!(!on_terminal(&["replay", &short], &[]).contains('%'), "a short file needs none");
    let (code, _, errors) = run(&["replay", &long]);
    assert!(code == 0 && !errors.contains('%'), "{errors:?}");
}

#[test]
fn one_bad_file_among_several_spoils_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let [text, one, other, damaged] = ["text", "one.pcap", "other.pcap", "damaged.pcap"]
        .map(|name| dir.path().join(name).to_str().unwrap().to_owned());
    // A SYN from 10.0.0.1:1000 to 10.0.0.2:443, raw IPv4.
    let syn = [
        0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x03, 0xe8, 0x01, 0xbb,
        0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 1, 0, 0, 0, 0, 0,
    ];
    let words = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 0, 101, 1, 0, 40, 40];
    let capture: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).chain(syn).collect();
    fs::write(&text, "no capture").unwrap();
    fs::write(&one, &capture).unwrap();
    fs::write(&other, &capture).unwrap();
    fs::write(&damaged, [&capture[..], &[0; 15]].concat()).unwrap();

    let (code, shown, errors) = run(&["replay", &text, &one, &damaged, &other]);
    assert_eq!(code, 2, "{errors}");
    assert!(errors.contains(&format!("{text} is neither pcap nor pcapng")), "{errors}");
    assert!(errors.contains(&format!("{damaged}: damaged after 1 packets")), "{errors}");
    let files: Vec<_> = shown.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(files, ["FILE", &one, &damaged, &other], "{shown}");

    let (code, shown, _) = run(&["replay", &damaged]);
    assert!(code == 1 && shown.starts_with("SRC"), "{code}: {shown}");
    assert_eq!(run(&["replay", &one]).0, 0);
}

#[test]
fn bad_values_are_told_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let file = |name: &str, text: &str| {
        fs::write(path(name), text).unwrap();
        path(name)
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    let unknown_key = file("key.toml", "[watch]\nproxy = [\"nginx\"]\n");
    let out_of_range = file("range.toml", "[hops]\nmax_hops = 0\n");
    let (missing, directory) = (path("missing.toml"), path(""));
    let no_directory = path("none/events.jsonl");
    for (name, args, wants) in [
        ("missing configuration", vec!["--config", &missing], vec!["missing.toml", "No such file"]),
        ("unreadable configuration", vec!["--config", &directory], vec!["read configuration file"]),
        (
            "unknown key",
            vec!["--config", &unknown_key],
            vec!["key.toml", "line 2", "unknown field `proxy`", "`proxies`"],
        ),
        (
            "value out of range",
            vec!["--config", &out_of_range],
            vec!["range.toml", "hops.max_hops must be between 1 and"],
        ),
        ("taken port", vec!["--http", &port], vec!["address already in use", &port, "--http"]),
        ("no port", vec!["--http", "localhost"], vec!["--http", "invalid socket address"]),
        ("unknown option", vec!["--prxy", "nginx"], vec!["--prxy", "--proxy"]),
        (
            "events to nowhere",
            vec!["--events", &no_directory],
            vec!["events.jsonl", "No such file"],
        ),
    ] {
        let (code, _, errors) = run(&[vec!["run"], args].concat());
        assert_eq!(code, 2, "{name}: {errors}");
        for want in wants {
            assert!(errors.contains(want), "{name}: {want:?} is not in: {errors}");
        }
    }
}
