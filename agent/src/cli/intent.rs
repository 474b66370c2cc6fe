//! `hopsight intent`: what a proxy's configuration says about its upstreams, without traffic.

use std::{io::Write as _, process::ExitCode};

use anyhow::Context as _;
use serde::Serialize;

use super::{
    configuration::{ConfigurationFiles, Read},
    paint::{ColorChoice, Style},
    table::{Cell, Table},
};
use hopsight_identity::configured::{self, Configured};
use hopsight_posture::{
    hops::labels::printable,
    policy::{
        intent::{Intent, Route, Scheme, Servers, Stated, UpstreamIntent},
        kind::ProxyKind,
    },
};
use hopsight_system::process::ProcessFacts;

/// Servers of an upstream that are named.
const MAX_NAMED: usize = 3;

/// Arguments of `hopsight intent`.
#[derive(Debug, clap::Args)]
pub struct IntentArgs {
    #[command(flatten)]
    configuration: ConfigurationFiles,

    /// Read the configuration of the proxy that this process belongs to.
    #[arg(long, value_name = "PID", conflicts_with = "files", required_unless_present = "files")]
    pid: Option<u32>,

    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One line per route.
    Table,
    /// All that was read.
    Json,
}

/// What is printed as JSON.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    proxy: ProxyKind,
    /// A configuration that is not loaded yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_reload: Option<bool>,
    #[serde(flatten)]
    intent: &'a Intent,
}

/// Runs `hopsight intent`; exit code 1 if the proxy would refuse the configuration.
///
/// # Errors
/// Nothing can be read there, or standard output cannot be written.
pub fn intent(args: &IntentArgs, color: ColorChoice) -> anyhow::Result<ExitCode> {
    let (read, pending_reload) = match args.pid {
        Some(pid) => of_process(pid)?,
        None => (args.configuration.read()?, None),
    };
    let intent = match &read.intent {
        Ok(intent) => intent,
        Err(fault) => {
            eprintln!("{}", printable(&fault.to_string(), usize::MAX));
            return Ok(ExitCode::from(1));
        }
    };
    let text = match args.output {
        Format::Table => lines(intent, pending_reload, color.for_stdout()),
        Format::Json => {
            let answer = Answer { proxy: read.kind, pending_reload, intent };
            serde_json::to_string_pretty(&answer)? + "\n"
        }
    };
    std::io::stdout().write_all(text.as_bytes()).context("write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

fn of_process(pid: u32) -> anyhow::Result<(Read, Option<bool>)> {
    let process = ProcessFacts::read(pid)?;
    let found = configured::main_of(&process)?;
    let (kind, main) = found.with_context(|| {
        let known: Vec<_> = ProxyKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("process {pid} is none of {}", known.join(", "))
    })?;
    let reading = Configured::of_main(kind, &main)?.read()?;
    let pending = reading.pending_reload();
    Ok((Read { kind, intent: reading.intent }, Some(pending)))
}

fn lines(intent: &Intent, pending: Option<bool>, colors: bool) -> String {
    let mut table = Table::new([
        "UPSTREAM",
        "SCHEME",
        "CLIENT CERT",
        "VERIFY",
        "NAME",
        "CA",
        "LOWEST",
        "SERVERS",
        "PLACE",
    ]);
    for upstream in &intent.upstreams {
        for route in &upstream.routes {
            table.push(row(upstream, route));
        }
    }
    let mut lines = table.lines(colors);
    if intent.upstreams.is_empty() {
        lines = vec!["no route leads to an upstream".to_owned()];
    }
    let remarks = intent.remarks.iter().map(|one| format!("note: {}: {}", one.at, one.text));
    lines.extend(remarks.map(|text| printable(&text, usize::MAX).into_owned()));
    if pending == Some(true) {
        lines.push("note: the files were changed after they were loaded".to_owned());
    }
    lines.join("\n") + "\n"
}

fn row(upstream: &UpstreamIntent, route: &Route) -> Vec<Cell> {
    let is_tls = matches!(route.scheme, Scheme::Tls | Scheme::Unknown);
    let tls = &route.tls;
    let of_tls = |text: Option<String>| text.filter(|_| is_tls).unwrap_or_default();
    let certificate = match (tls.has_client_certificate(), &tls.certificate, &tls.certificate_by) {
        (Stated::Yes, Some(file), _) => file.value.to_string(),
        (Stated::Unknown, _, Some(by)) => format!("unknown ({})", by.value),
        (Stated::Unknown, Some(file), None) => format!("unknown ({})", file.value),
        (stated, ..) => stated.to_string(),
    };
    let stated = |stated: Stated| match stated {
        Stated::Yes => Cell::styled("yes", Style::Green),
        Stated::No => Cell::styled("no", Style::Yellow),
        other => Cell::styled(other.as_str(), Style::Magenta),
    };
    let scheme = match route.scheme {
        Scheme::Tls => Style::Plain,
        Scheme::Plaintext => Style::Red,
        Scheme::Passthrough | Scheme::Unknown => Style::Magenta,
    };
    let name = route.expected_name().filter(|_| tls.verifies() != Stated::No);
    let verified = if is_tls { stated(tls.verifies()) } else { Cell::default() };
    vec![
        upstream.target.to_string().into(),
        Cell::styled(route.scheme.as_str(), scheme),
        of_tls(Some(certificate)).into(),
        verified,
        of_tls(name.map(ToString::to_string)).into(),
        of_tls(tls.trusted_certificate.as_ref().map(|ca| ca.value.clone())).into(),
        of_tls(tls.lowest_version().as_ref().map(ToString::to_string)).into(),
        servers(upstream, route).into(),
        Cell::styled(route.at.to_string(), Style::Dim),
    ]
}

fn servers(upstream: &UpstreamIntent, route: &Route) -> String {
    let all: Vec<_> = match route.only.as_slice() {
        [] => upstream.servers.iter().map(|server| server.address.to_string()).collect(),
        only => only.iter().map(ToString::to_string).collect(),
    };
    let mut words: Vec<_> = all.iter().take(MAX_NAMED).cloned().collect();
    if all.len() > MAX_NAMED {
        words.push(format!("and {} more", all.len() - MAX_NAMED));
    }
    if all.is_empty() || (upstream.listing == Servers::Dynamic && route.only.is_empty()) {
        words.push("at run time".to_owned());
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: IntentArgs,
    }

    fn read(name: &str, content: &str) -> Intent {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join(name);
        std::fs::write(&file, content).expect("written");
        let words = ["intent".as_ref(), file.as_os_str()];
        let line = Line::try_parse_from(words).expect("arguments");
        line.args.configuration.read().expect("readable").intent.expect("good")
    }

    #[test]
    fn a_table_says_what_was_read() {
        let text = "events {}\nhttp { upstream app { server 10.0.0.1:443; server 10.0.0.2:443; }\n\
                    server { location / { proxy_pass https://app; proxy_ssl_certificate /c.pem;\n\
                    proxy_ssl_certificate_key /c.key; proxy_ssl_protocols TLSv1.2 TLSv1.3; }\n\
                    location /b { proxy_pass http://b.internal; } include absent/*.conf; } }\n";
        let intent = read("nginx.conf", text);
        let lines = lines(&intent, Some(true), false);
        let words: Vec<Vec<_>> =
            lines.lines().map(|line| line.split_ascii_whitespace().collect()).collect();
        let place = |row: &[&str]| row.last().map(|place| place.ends_with("nginx.conf:3"));
        assert_eq!(
            words[1][..8],
            ["app", "tls", "/c.pem", "no", "-", "-", "1.2", "10.0.0.1:443"],
            "{lines}"
        );
        assert_eq!(place(&words[1]), Some(true), "{lines}");
        assert_eq!(words[2][..3], ["b.internal:80", "plaintext", "-"], "{lines}");
        assert!(lines.contains("nginx.conf:5: no file matches include"), "{lines}");
        assert!(lines.ends_with("changed after they were loaded\n"), "{lines}");
    }

    #[test]
    fn json_has_all_of_it() {
        let intent = read("haproxy.cfg", "backend app\n mode http\n server a 10.0.0.1:80\n");
        let answer = Answer { proxy: ProxyKind::Haproxy, pending_reload: None, intent: &intent };
        let json = serde_json::to_value(&answer).expect("JSON");
        assert_eq!(json["proxy"], "haproxy");
        assert_eq!(json["upstreams"][0]["target"]["group"], "app");
        assert_eq!(json["upstreams"][0]["routes"][0]["scheme"], "plaintext");
        assert_eq!(json["pending_reload"], serde_json::Value::Null);
    }

    #[test]
    fn something_has_to_be_named() {
        for (words, is_good) in [
            (&["intent", "a"][..], true),
            (&["intent", "--pid", "1"], true),
            (&["intent"], false),
            (&["intent", "a", "--pid", "1"], false),
            (&["intent", "a", "--for", "squid"], false),
        ] {
            assert_eq!(Line::try_parse_from(words).is_ok(), is_good, "{words:?}");
        }
    }

    #[test]
    fn what_is_missing_or_unknown_is_told() {
        let mut nothing = tempfile::NamedTempFile::new().expect("a file");
        nothing.write_all(b"hello\n").expect("written");
        let path = nothing.path().to_str().expect("text");
        for (file, expected) in
            [("/no/such/nginx.conf", "read /no/such/nginx.conf"), (path, "--for")]
        {
            let line = Line::try_parse_from(["intent", file]).expect("arguments");
            let error = format!("{:#}", line.args.configuration.read().expect_err("nothing there"));
            assert!(error.contains(expected), "{error}");
        }
    }
}
