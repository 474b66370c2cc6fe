//! Configurations in `fixtures/apache` with what they mean, written by hand in their first lines: `#>`
//! one route each and `#?` one remark each, or `#!` the error. `#--- name` begins another file of the
//! same directory. `#- unknown-environment` says that only the file is known.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use super::*;
use crate::policy::{
    described::{pem_files, refused_as_said, routes, said},
    glob,
    intent::{Place, Remark, Scheme, Stated},
};

const DIRECTORY: &str = "/etc/apache2";
const MAIN: &str = "apache2.conf";
/// Modules that the fixtures need.
const MODULES: [&str; 17] = [
    "mpm_event",
    "authz_core",
    "alias",
    "dir",
    "rewrite",
    "macro",
    "slotmem_shm",
    "socache_shmcb",
    "ssl",
    "proxy",
    "proxy_http",
    "proxy_http2",
    "proxy_ajp",
    "proxy_fcgi",
    "proxy_uwsgi",
    "proxy_balancer",
    "lbmethod_byrequests",
];
/// The environment of the fixtures.
const ENVIRONMENT: [(&str, &str); 2] = [("APP_HOST", "10.0.0.1"), ("APACHE_RUN_DIR", "/run")];

/// A configuration directory in memory.
struct Memory(BTreeMap<PathBuf, Vec<u8>>);

impl Memory {
    fn from_fixture(fixture: &str) -> Self {
        let mut files = BTreeMap::<PathBuf, Vec<u8>>::new();
        let mut name = Path::new(DIRECTORY).join(MAIN);
        for line in fixture.split_inclusive('\n') {
            if let Some(next) = line.strip_prefix("#--- ") {
                name = Path::new(DIRECTORY).join(next.trim());
                files.entry(name.clone()).or_default();
            } else {
                files.entry(name.clone()).or_default().extend(line.as_bytes());
            }
        }
        Self(files)
    }

    fn read_all(&self, start: &Start) -> Result<Intent, ConfigError> {
        read(self, start)
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
        let depth = pattern.components().count();
        let mut found: Vec<PathBuf> = Vec::new();
        for file in self.0.keys() {
            let path: PathBuf = file.components().take(depth).collect();
            let fits = path.components().count() == depth
                && path.components().zip(pattern.components()).all(|(part, pattern)| {
                    let [pattern, part] = [pattern, part].map(|one| one.as_os_str().to_str());
                    glob::matches(pattern.unwrap(), part.unwrap())
                });
            if fits && !found.contains(&path) {
                found.push(path);
            }
        }
        Ok(found)
    }
}

fn load_modules() -> Vec<String> {
    let load = |name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so");
    MODULES.map(load).to_vec()
}

/// As the fixtures are started, or, where nothing but the file is known, as that is read.
fn start(fixture: &str) -> Start {
    let main = Path::new(DIRECTORY).join(MAIN);
    if !said(fixture, "#- unknown-environment").is_empty() {
        return Start::of_file(main);
    }
    let pairs = ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Start {
        environment: Environment::of_process(pairs),
        defines: Some(Vec::new()),
        built_in: BuiltIn::Among(["mod_version.c".to_owned()].into()),
        before: load_modules(),
        ..Start::of_file(main)
    }
}

fn fixtures() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/apache");
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

fn read_one(text: &str) -> Intent {
    Memory::from_fixture(text).read_all(&start(text)).unwrap()
}

#[test]
fn configurations_mean_what_they_say() {
    let mut good = 0;
    for (name, fixture) in fixtures().iter().filter(|(name, _)| !name.starts_with("broken")) {
        let read = Memory::from_fixture(fixture).read_all(&start(fixture));
        let intent = read.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(routes(&intent), said(fixture, "#>"), "{name}");
        let remark = |one: &Remark| format!("{}: {}", one.at, one.text);
        let remarks: Vec<_> = intent.remarks.iter().map(remark).collect();
        assert_eq!(remarks, said(fixture, "#?"), "{name}");
        good += 1;
    }
    assert!(good >= 40, "only {good} fixtures were found");
}

#[test]
fn broken_configurations_say_where() {
    let read = |fixture: &String| {
        let read = Memory::from_fixture(fixture).read_all(&start(fixture));
        read.map_err(|error| error.to_string())
    };
    let broken = refused_as_said(DIRECTORY, fixtures(), read);
    assert!(broken >= 13, "only {broken} fixtures were found");
}

#[test]
fn settings_say_where_they_stand() {
    let text = "SSLProxyEngine on\nSSLProxyVerify require\n<VirtualHost *:80>\n\
                SSLProxyMachineCertificateFile a.pem\nProxyPass / https://a.internal/\n</VirtualHost>\n";
    let intent = read_one(text);
    let route = &intent.upstreams[0].routes[0];
    let at = |place: &Place| place.line;
    let certificate = route.tls.certificate.as_ref().unwrap();
    let verify = route.tls.verify.as_ref().unwrap();
    assert_eq!([at(&route.at), at(&certificate.at), at(&verify.at)], [5, 4, 2]);
}

#[test]
fn a_connection_to_one_member_is_held_against_that_member() {
    let text = "SSLProxyEngine on\n<Proxy balancer://app>\nBalancerMember https://10.0.0.1\n\
                BalancerMember http://10.0.0.2\n</Proxy>\nProxyPass / balancer://app/\n";
    let app = &read_one(text).upstreams[0];
    assert_eq!(app.scheme(), Scheme::Unknown);
    for (address, scheme) in [("10.0.0.1:443", Scheme::Tls), ("10.0.0.2:80", Scheme::Plaintext)] {
        assert_eq!(app.toward(address.parse().unwrap()).scheme(), scheme, "{address}");
    }
}

#[test]
fn a_balancer_that_the_request_names_leaves_all_open() {
    let text = "SSLProxyEngine on\n<Proxy balancer://app>\nBalancerMember https://10.0.0.1\n</Proxy>\n\
                <VirtualHost *:80>\nSSLProxyMachineCertificateFile a.pem\nProxyPass / balancer://app/\n\
                </VirtualHost>\n<VirtualHost *:81>\nProxyPassMatch ^/([a-z]+)/ balancer://$1/\n\
                </VirtualHost>\n";
    let intent = read_one(text);
    assert_eq!(intent.upstreams.len(), 1);
    assert_eq!(intent.upstreams[0].client_certificate(), Stated::Unknown);
}

#[test]
fn no_prefix_of_a_configuration_panics() {
    let start = start("");
    for (_, fixture) in fixtures() {
        // What it means stands in its first lines, which say nothing to the reader.
        let begin = fixture.find("\n<").unwrap_or_default();
        for (end, _) in fixture.char_indices().skip_while(|(at, _)| *at < begin) {
            let _ = Memory::from_fixture(&fixture[begin..end]).read_all(&start);
        }
    }
}

#[test]
fn what_is_read_is_bounded() {
    let hosts = |count: usize, inside: &str| {
        format!("<VirtualHost *:80>\n{inside}\n</VirtualHost>\n").repeat(count)
    };
    for (name, text, expected) in [
        ("lines", "a\n".repeat(500_000), "more than 400000 lines"),
        (
            "one line",
            format!("Define A {}\nB ${{A}}${{A}}", "a".repeat(40_000)),
            "bytes in one line",
        ),
        ("sections", "<Location />\n".repeat(100), "nested includes and sections"),
        ("itself", "Include apache2.conf".to_owned(), "nested includes and sections"),
        (
            "macros",
            "<Macro M>\nUse M\nUse M\n</Macro>\nUse M".to_owned(),
            "nested includes and sections",
        ),
        (
            "macros that grow",
            format!(
                "<Macro A $x>\n{}</Macro>\n<Macro B $x>\n{}</Macro>\nUse B {}",
                "X $x\n".repeat(200),
                "Use A $x\n".repeat(200),
                "a".repeat(1_000)
            ),
            "bytes",
        ),
        ("conditions", "<IfVersion 2>\n</IfVersion>\n".repeat(300), "undecided conditions"),
        (
            "ways and hosts",
            "ProxyPass /a https://a/\n".repeat(6_000) + &hosts(6_000, "SSLProxyEngine on"),
            "more than",
        ),
        (
            "routes",
            format!("SSLProxyEngine on\nSSLProxyCipherSuite {}\n", "b".repeat(10_000))
                + &hosts(10_000, "ProxyPass / https://a/"),
            "bytes of routes",
        ),
    ] {
        let error = Memory::from_fixture(&text).read_all(&start("")).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

/// What `apache2 -t -D DUMP_VHOSTS` says of a fixture, with the directory named `/etc/apache2` again.
fn apache_says(fixture: &str) -> Option<(bool, String)> {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().to_str().unwrap();
    for (name, pem) in pem_files() {
        fs::write(directory.path().join(name), pem).unwrap();
    }
    fs::create_dir(directory.path().join("logs")).unwrap();
    for (path, content) in &Memory::from_fixture(fixture).0 {
        let path = directory.path().join(path.strip_prefix(DIRECTORY).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, String::from_utf8_lossy(content).replace(DIRECTORY, here)).unwrap();
    }
    let mut apache = Command::new("apache2");
    apache.args(["-t", "-D", "DUMP_VHOSTS", "-d", here, "-f", MAIN]).env_clear();
    apache.envs(std::env::var_os("PATH").map(|path| ("PATH", path))).envs(ENVIRONMENT);
    for line in load_modules().into_iter().chain(["ServerName proxy.test".to_owned()]) {
        apache.args(["-C", &line]);
    }
    let output = apache.output().ok()?;
    let words = [output.stdout, output.stderr].concat();
    let words = String::from_utf8_lossy(&words).replace(here, DIRECTORY);
    Some((output.status.success(), words))
}

#[test]
fn apache_refuses_what_we_refuse_and_has_the_same_hosts() {
    let (mut good, mut broken) = (0, 0);
    let mut wrong = Vec::new();
    for (name, fixture) in fixtures() {
        if !said(&fixture, "#- unknown-environment").is_empty() {
            continue;
        }
        let Some((is_good, words)) = apache_says(&fixture) else {
            hopsight_test_support::not_run("Apache as oracle", "apache2 is not installed");
            return;
        };
        let agrees = if name.starts_with("broken") {
            broken += 1;
            let expected = said(&fixture, "#!").pop().unwrap();
            let (file, line) = expected.split(' ').next().unwrap().split_once(':').unwrap();
            !is_good && words.contains(&format!("line {line} of {DIRECTORY}/{file}"))
        } else {
            good += 1;
            // Each virtual host is shown with its place.
            let is_shown = |Place { file, line }: &Place| {
                words.contains(&format!("({file}:{line})"))
                    || words.contains(&format!("used on line {line} of \"{file}\""))
            };
            is_good && hosts(&fixture).iter().all(is_shown)
        };
        if !agrees {
            wrong.push(format!("{name}: {words}"));
        }
    }
    assert!(wrong.is_empty(), "Apache says otherwise: {}", wrong.join("\n"));
    assert!(good >= 40 && broken >= 13, "only {good} could be compared, {broken} broken");
}

/// Where the virtual hosts of a fixture stand.
fn hosts(fixture: &str) -> Vec<Place> {
    let (memory, start) = (Memory::from_fixture(fixture), start(fixture));
    let tree = tree::TreeReader::new(&memory, &start).all(&start).unwrap();
    let hosts = tree.into_iter().filter(|one| one.name == "<virtualhost");
    hosts.map(|one| one.at).collect()
}
