//! Configurations in `fixtures/haproxy` with what they mean, written by hand in their first lines:
//! `#>` one route each and `#?` one remark each, or `#!` the error. `#--- name` begins another file
//! of the same directory. `#- newer` says that haproxy 2.6 does not know them, `#- -dV` how it is
//! started.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use super::*;
use crate::policy::{
    described::{pem_files, refused_as_said, routes, said},
    intent::{Remark, Scheme, Stated},
};

const DIRECTORY: &str = "/etc/haproxy";
const MAIN: &str = "haproxy.cfg";

/// A configuration directory in memory.
struct Memory(BTreeMap<PathBuf, Vec<u8>>);

impl Memory {
    fn from_fixture(fixture: &str) -> Self {
        let mut files = BTreeMap::<PathBuf, Vec<u8>>::new();
        let mut name = Path::new(DIRECTORY).join(MAIN);
        for line in fixture.split_inclusive('\n') {
            match line.strip_prefix("#--- ") {
                Some(next) => name = Path::new(DIRECTORY).join(next.trim()),
                None => files.entry(name.clone()).or_default().extend(line.as_bytes()),
            }
        }
        Self(files)
    }

    /// What `-f` names: the main file, and the directory `conf.d` if there is one.
    fn sources(&self) -> Vec<PathBuf> {
        let directory = Path::new(DIRECTORY).join("conf.d");
        let has_directory = self.0.keys().any(|path| path.starts_with(&directory));
        let main = Path::new(DIRECTORY).join(MAIN);
        [Some(main), has_directory.then_some(directory)].into_iter().flatten().collect()
    }

    fn read_all(&self, environment: Environment) -> Result<Intent, ConfigError> {
        self.read_as(environment, true)
    }

    fn read_as(&self, environment: Environment, verifies: bool) -> Result<Intent, ConfigError> {
        let start = Start::of_files(self.sources(), DIRECTORY.into());
        read(self, &Start { environment, verifies, ..start })
    }
}

impl ConfigFiles for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if self.0.keys().any(|file| file != path && file.starts_with(path)) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn glob(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let directory = pattern.parent().unwrap();
        let is_in = |path: &&PathBuf| {
            path.parent() == Some(directory) && path.extension().is_some_and(|end| end == "cfg")
        };
        Ok(self.0.keys().filter(is_in).cloned().collect())
    }
}

/// The environment of the fixtures.
const ENVIRONMENT: [(&str, &str); 3] =
    [("APP_HOST", "10.0.0.1"), ("APP_TLS", "ssl verify none"), ("STAGE", "production")];

fn environment() -> Environment {
    let pairs = ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Environment::of_process(pairs)
}

fn fixtures() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/haproxy");
    let mut out: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    out.sort();
    out
}

/// Whether haproxy is started with `-dV`.
fn is_lax(fixture: &str) -> bool {
    !said(fixture, "#- -dV").is_empty()
}

#[test]
fn configurations_mean_what_they_say() {
    let mut good = 0;
    for (name, fixture) in fixtures().iter().filter(|(name, _)| !name.starts_with("broken")) {
        let is_known = said(fixture, "#- unknown-environment").is_empty();
        let environment = if is_known { environment() } else { Environment::unknown() };
        let intent = Memory::from_fixture(fixture).read_as(environment, !is_lax(fixture));
        let intent = intent.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(routes(&intent), said(fixture, "#>"), "{name}");
        let remark = |one: &Remark| format!("{}: {}", one.at, one.text);
        let remarks: Vec<_> = intent.remarks.iter().map(remark).collect();
        assert_eq!(remarks, said(fixture, "#?"), "{name}");
        good += 1;
    }
    assert!(good >= 30, "only {good} fixtures were found");
}

#[test]
fn broken_configurations_say_where() {
    let read = |fixture: &String| {
        Memory::from_fixture(fixture).read_all(environment()).map_err(|error| error.to_string())
    };
    let broken = refused_as_said(DIRECTORY, fixtures(), read);
    assert!(broken >= 8, "only {broken} fixtures were found");
}

#[test]
fn settings_say_where_they_stand() {
    let text = "defaults\n default-server verify none\nbackend app\n default-server ssl\n\
                server a 10.0.0.1:443 crt a.pem\n";
    let intent = Memory::from_fixture(text).read_all(environment()).unwrap();
    let route = &intent.upstreams[0].routes[0];
    let at = |place: &crate::policy::intent::Place| place.line;
    let tls = &route.tls;
    let certificate = tls.certificate.as_ref().unwrap();
    assert_eq!(
        [at(&route.at), at(&certificate.at), at(&tls.verify.as_ref().unwrap().at)],
        [5, 5, 2]
    );
}

#[test]
fn a_connection_to_one_server_is_held_against_that_server() {
    let text = "backend app\n mode http\n server a 10.0.0.1:443 ssl verify none crt a.pem\n\
                server b 10.0.0.2:443 ssl verify none\n server c 10.0.0.3:80\n";
    let intent = Memory::from_fixture(text).read_all(environment()).unwrap();
    let app = &intent.upstreams[0];
    assert_eq!((app.scheme(), app.client_certificate()), (Scheme::Unknown, Stated::Mixed));
    for (address, scheme, certificate) in [
        ("10.0.0.1:443", Scheme::Tls, Stated::Yes),
        ("10.0.0.2:443", Scheme::Tls, Stated::No),
        ("10.0.0.3:80", Scheme::Plaintext, Stated::No),
        ("10.0.0.9:443", Scheme::Unknown, Stated::Mixed),
    ] {
        let toward = app.toward(address.parse().unwrap());
        assert_eq!(
            (toward.scheme(), toward.client_certificate()),
            (scheme, certificate),
            "{address}"
        );
    }
}

#[test]
fn no_prefix_of_a_configuration_panics() {
    for (_, fixture) in fixtures() {
        for (end, _) in fixture.char_indices() {
            let _ = Memory::from_fixture(&fixture[..end]).read_all(environment());
        }
    }
}

#[test]
fn what_is_read_is_bounded() {
    for (name, text, expected) in [
        ("lines", "a\n".repeat(300_000), "more than 200000 lines"),
        ("one line", "a".repeat(100_000), "bytes in one line"),
        (
            "routes",
            format!(
                "defaults\n default-server ssl verify none ciphers {}\nbackend a\n{}",
                "b".repeat(10_000),
                " server s 10.0.0.1:443\n".repeat(10_000)
            ),
            "bytes of servers",
        ),
    ] {
        let error = Memory::from_fixture(&text).read_all(environment()).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

/// What `haproxy -c` says of a fixture, with `directory` named `/etc/haproxy` again.
fn haproxy_says(fixture: &str) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().to_str().unwrap();
    for (name, pem) in pem_files() {
        fs::write(directory.path().join(name), pem).unwrap();
    }
    let memory = Memory::from_fixture(fixture);
    for (path, content) in &memory.0 {
        let path = directory.path().join(path.strip_prefix(DIRECTORY).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, String::from_utf8_lossy(content).replace(DIRECTORY, here)).unwrap();
    }
    let mut haproxy = Command::new("haproxy");
    haproxy.arg("-c").current_dir(directory.path()).env_clear().envs(ENVIRONMENT);
    haproxy.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    // What the reader is not told, and haproxy has.
    haproxy.env("PEM", "client.pem");
    if is_lax(fixture) {
        haproxy.arg("-dV");
    }
    for source in memory.sources() {
        haproxy.arg("-f").arg(directory.path().join(source.strip_prefix(DIRECTORY).unwrap()));
    }
    let output = haproxy.output().ok()?;
    let words = String::from_utf8_lossy(&output.stderr).replace(here, DIRECTORY);
    Some(words)
}

#[test]
fn haproxy_refuses_what_we_refuse() {
    let (mut compared, mut broken) = (0, 0);
    let mut wrong = Vec::new();
    for (name, fixture) in fixtures() {
        if !said(&fixture, "#- newer").is_empty() {
            continue;
        }
        let Some(words) = haproxy_says(&fixture) else {
            hopsight_test_support::not_run("haproxy as oracle", "haproxy is not installed");
            return;
        };
        let alerts: Vec<_> = words.lines().filter(|line| line.contains("[ALERT]")).collect();
        compared += 1;
        let agrees = if name.starts_with("broken") {
            broken += 1;
            let expected = said(&fixture, "#!").pop().unwrap();
            let place = format!("{DIRECTORY}/{}", expected.split(' ').next().unwrap());
            alerts.iter().any(|line| line.contains(&place))
        } else {
            alerts.is_empty()
        };
        if !agrees {
            wrong.push(format!("{name}: {words}"));
        }
    }
    assert!(wrong.is_empty(), "haproxy says otherwise: {}", wrong.join("\n"));
    assert!(compared >= 30 && broken >= 6, "only {compared} could be compared, {broken} broken");
}
