//! Configurations in `fixtures/nginx` with what they mean, written by hand in their first lines:
//! `#>` one route each and `#?` one remark each, or `#!` the error. `#--- name` begins another file of the same directory.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    path::{Component, Path, PathBuf},
};

use super::*;
use crate::policy::{
    described, glob,
    intent::{Remark, Route, Scheme, Servers, Setting, Stated, Text, UpstreamIntent},
};

pub(super) const DIRECTORY: &str = "/etc/nginx";

/// A configuration directory in memory.
pub(in crate::policy) struct Memory(pub(in crate::policy) BTreeMap<PathBuf, Vec<u8>>);

impl Memory {
    pub(super) fn from_fixture(fixture: &[u8]) -> Self {
        let mut files = BTreeMap::<PathBuf, Vec<u8>>::new();
        let mut name = Path::new(DIRECTORY).join("nginx.conf");
        for line in fixture.split_inclusive(|&byte| byte == b'\n') {
            match line.strip_prefix(b"#--- ") {
                Some(next) => {
                    let next = str::from_utf8(next).unwrap().trim();
                    name = Path::new(DIRECTORY).join(next);
                    files.insert(name.clone(), Vec::new());
                }
                None => files.entry(name.clone()).or_default().extend(line),
            }
        }
        Self(files)
    }

    fn read_all(&self) -> Result<Intent, ConfigError> {
        read(self, &Path::new(DIRECTORY).join("nginx.conf"))
    }
}

impl ConfigFiles for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn glob(&self, pattern: &Path) -> io::Result<Vec<PathBuf>> {
        let mut plain = PathBuf::new();
        for part in pattern.components() {
            match part {
                Component::ParentDir => drop(plain.pop()),
                part => plain.push(part),
            }
        }
        let pattern = plain.as_path();
        let matches = |path: &Path| {
            let (path, pattern) = (path.to_str().unwrap(), pattern.to_str().unwrap());
            let hidden = path.rsplit('/').next().unwrap().starts_with('.');
            let same_depth = path.matches('/').count() == pattern.matches('/').count();
            same_depth && !hidden && glob::matches(pattern, path)
        };
        Ok(self.0.keys().filter(|path| matches(path)).cloned().collect())
    }
}

/// Reads a configuration of one file, for the tests of other modules.
pub(in crate::policy) fn read_one(main: &str) -> Result<Intent, ConfigError> {
    Memory::from_fixture(main.as_bytes()).read_all()
}

pub(super) fn fixtures() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/nginx");
    let mut out: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
        })
        .collect();
    out.sort();
    out
}

/// The lines of a fixture that begin with `marker`.
pub(super) fn said(fixture: &[u8], marker: &str) -> Vec<String> {
    described::said(&String::from_utf8_lossy(fixture), marker)
}

/// One route in the words of the fixtures: only what is said, in a fixed order.
fn describe(upstream: &UpstreamIntent, route: &Route, first: bool) -> String {
    let text = |setting: &Setting<Text>| match &setting.value {
        Text::Literal(value) => value.clone(),
        Text::Variable(value) => format!("{value}(variable)"),
    };
    let mut out = format!("{} {} {}", upstream.target, described::directive(route), route.scheme);
    if matches!(route.scheme, Scheme::Tls | Scheme::Unknown) {
        let tls = &route.tls;
        let mut add = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                write!(out, " {key}{value}").unwrap();
            }
        };
        let flag = |on: bool| on.then(String::new);
        add("cert=", tls.certificate.as_ref().map(text));
        add("key=", tls.certificate_key.as_ref().map(text));
        add("cert-by=", tls.certificate_by.as_ref().map(|by| by.value.clone()));
        add("verify", flag(tls.verifies() == Stated::Yes));
        add("verify-by=", tls.verify_by.as_ref().map(|by| by.value.clone()));
        add("ca=", tls.trusted_certificate.as_ref().map(|ca| ca.value.clone()));
        add("depth=", tls.verify_depth.as_ref().map(|depth| depth.value.to_string()));
        add("crl=", tls.crl.as_ref().map(|crl| crl.value.clone()));
        add("name=", tls.name.as_ref().map(text));
        add("sni", flag(tls.sends_server_name()));
        add("protocols=", tls.protocols.as_ref().map(|protocols| protocols.value.join(",")));
        add("ciphers=", tls.ciphers.as_ref().map(|ciphers| ciphers.value.clone()));
        add("no-reuse", flag(!tls.reuses_sessions()));
        for command in &tls.conf_commands {
            add("command=", Some(format!("{}:{}", command.value.0, command.value.1)));
        }
    }
    if !first {
        return out;
    }
    out.push_str(" ->");
    for server in &upstream.servers {
        let weight = format!("(weight={})", server.weight);
        let flags = [
            (server.weight != 1, weight.as_str()),
            (server.backup, "(backup)"),
            (server.down, "(down)"),
            (server.resolve, "(resolve)"),
        ];
        let flags = flags.iter().filter(|flag| flag.0).map(|flag| flag.1).collect::<String>();
        write!(out, " {}{flags}", server.address).unwrap();
    }
    if upstream.listing == Servers::Dynamic {
        out.push_str(" dynamic");
    }
    out
}

fn describe_all(intent: &Intent) -> Vec<String> {
    intent
        .upstreams
        .iter()
        .flat_map(|upstream| {
            upstream
                .routes
                .iter()
                .enumerate()
                .map(move |(index, route)| describe(upstream, route, index == 0))
        })
        .collect()
}

#[test]
fn configurations_mean_what_they_say() {
    let mut good = 0;
    for (name, fixture) in fixtures().iter().filter(|(name, _)| !name.starts_with("broken")) {
        let intent = Memory::from_fixture(fixture).read_all().unwrap_or_else(|error| {
            panic!("{name}: {error}");
        });
        assert_eq!(describe_all(&intent), said(fixture, "#>"), "{name}");
        let remark = |one: &Remark| format!("{}: {}", one.at, one.text);
        let remarks: Vec<_> = intent.remarks.iter().map(remark).collect();
        let told = said(fixture, "#?").into_iter().map(|told| {
            let (place, text) = told.split_once(' ').unwrap();
            format!("{DIRECTORY}/{place}: {text}")
        });
        assert_eq!(remarks, told.collect::<Vec<_>>(), "{name}");
        good += 1;
    }
    assert!(good >= 40, "only {good} fixtures were found");
}

#[test]
fn broken_configurations_say_where() {
    let read = |fixture: &Vec<u8>| {
        Memory::from_fixture(fixture).read_all().map_err(|error| error.to_string())
    };
    let broken = described::refused_as_said(DIRECTORY, fixtures(), read);
    assert!(broken >= 20, "only {broken} fixtures were found");
}

#[test]
fn settings_and_routes_say_where_they_stand() {
    let (_, fixture) = fixtures().into_iter().find(|(name, _)| name == "include-globs").unwrap();
    let intent = Memory::from_fixture(&fixture).read_all().unwrap();
    let route = &intent.upstreams[1].routes[0];
    assert_eq!(route.at.to_string(), "/etc/nginx/sites-enabled/b:1");
    assert_eq!(
        route.tls.verify.as_ref().unwrap().at.to_string(),
        "/etc/nginx/conf.d/10-tls.conf:2"
    );
    let files: Vec<_> = intent.files.iter().map(|file| file.to_str().unwrap()).collect();
    assert_eq!(
        files,
        [
            "/etc/nginx/nginx.conf",
            "/etc/nginx/mime.types",
            "/etc/nginx/conf.d/10-tls.conf",
            "/etc/nginx/sites-enabled/a",
            "/etc/nginx/sites-enabled/b",
        ]
    );
}

#[test]
fn routes_that_disagree_are_not_averaged() {
    let (_, fixture) =
        fixtures().into_iter().find(|(name, _)| name == "two-routes-differ").unwrap();
    let intent = Memory::from_fixture(&fixture).read_all().unwrap();
    let shop = &intent.upstreams[0];
    assert_eq!(shop.scheme(), Scheme::Unknown);
    assert_eq!(shop.client_certificate(), Stated::Mixed);
    assert_eq!(shop.verify(), Stated::No);
}

#[test]
fn routes_by_a_variable_count_for_every_upstream_they_may_lead_to() {
    use crate::policy::intent::Stated::{self, Mixed, No, Unknown, Yes};
    const CERTIFICATE: &str = "proxy_ssl_certificate c; proxy_ssl_certificate_key k;";
    for (name, variables, route, want) in [
        ("a map leads there", "map $arg_x $u { default va; }", "https://$u", Mixed),
        ("in braces", "map $arg_x $u { default va; }", "https://${u}/x", Mixed),
        ("a map leads elsewhere", "map $arg_x $u { default vb; }", "https://$u", Yes),
        ("one of its values does", "map $arg_x $u { a va; default vb; }", "https://$u", Mixed),
        ("a map of a variable", "map $arg_x $u { default $host; }", "https://$u", Unknown),
        ("the request decides", "", "https://$host", Unknown),
        ("a module decides", "geo $u { default va; }", "https://$u", Unknown),
        ("it cannot be this one", "", "https://other-$host", Yes),
        ("with another port", "", "https://$host:8443", Yes),
    ] {
        let upstream = |name: &str| format!("upstream {name} {{ server 10.0.0.1:443; }}");
        let location = |settings: &str, to: &str| format!("{settings} proxy_pass {to};");
        let text = format!(
            "http {{ {variables} {} {} server {{ location /a {{ {} }} location /b {{ {} }} }} }}",
            upstream("va"),
            upstream("vb"),
            location(CERTIFICATE, "https://va"),
            location("", route),
        );
        let intent = read_one(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found: Stated = intent.upstreams[0].client_certificate();
        assert_eq!(found, want, "{name}");
        // What is taken off the list may still be where an open route leads.
        assert_eq!(intent.upstreams[0].only_servers().is_none(), want == Unknown, "{name}");
    }
    let set = "http { upstream va { server 10.0.0.1:443; } server { set $u va; location / { \
               proxy_pass https://$u; } } }";
    let intent = read_one(set).unwrap();
    assert_eq!((intent.upstreams.len(), intent.upstreams[0].client_certificate()), (1, No));
    assert_eq!(intent.upstreams[0].stable_name().as_deref(), Some("va"));
}

#[test]
fn no_prefix_of_a_configuration_panics() {
    for (_, fixture) in fixtures() {
        for end in 0..fixture.len() {
            let _ = Memory::from_fixture(&fixture[..end]).read_all();
        }
    }
}

#[test]
fn a_configuration_of_nothing_but_directives_ends() {
    let error = read_one(&"a;".repeat(300_000)).unwrap_err();
    assert!(error.to_string().contains("more than 200000 directives"), "{error}");
}

#[test]
fn settings_that_each_route_has_end() {
    let command = format!("proxy_ssl_conf_command a {};", "b".repeat(4_000));
    let location = "location / { proxy_pass https://10.0.0.1; }";
    let configuration = |routes: usize| {
        format!("http {{ {} server {{ {} }} }}", command.repeat(200), location.repeat(routes))
    };
    assert_eq!(read_one(&configuration(2)).unwrap().upstreams[0].routes.len(), 2);
    let error = read_one(&configuration(1_000)).unwrap_err();
    assert!(error.to_string().contains("bytes of routes"), "{error}");
}
