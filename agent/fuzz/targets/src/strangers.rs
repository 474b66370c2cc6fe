//! What belongs to watched processes.

use std::path::{Path, PathBuf};

use hopsight_identity::{
    nginx::{BuiltIn, CommandLine},
    traefik,
};
use hopsight_posture::{
    hops::labels,
    policy::{apache, environment::Environment, files::ConfigFiles, haproxy, nginx},
    workload::cgroup::CgroupIdentity,
};

/// Files of a configuration, all with the same content.
struct OneFile<'a>(&'a [u8]);

impl ConfigFiles for OneFile<'_> {
    fn read(&self, _path: &Path) -> std::io::Result<Vec<u8>> {
        Ok(self.0.to_vec())
    }

    fn glob(&self, pattern: &Path) -> std::io::Result<Vec<PathBuf>> {
        Ok(vec![pattern.to_owned()])
    }
}

/// An nginx configuration: an intent, or an error with its place. (A process that is called `nginx`
/// would be watched.)
pub fn nginx_conf(data: &[u8]) {
    // Includes lead back to the same bytes: 48 levels of them take long without showing more.
    let includes = data.windows(7).filter(|word| word == b"include").count();
    if includes > 1 || data.len() > 20_000 {
        return;
    }
    match nginx::read(&OneFile(data), Path::new("/etc/nginx/nginx.conf")) {
        Ok(intent) => assert!(!intent.files.is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A haproxy configuration: an intent, or an error with its place, whether its environment is known or
/// not.
pub fn haproxy_conf(data: &[u8]) {
    if data.len() > 20_000 {
        return;
    }
    let variable = ("A".to_owned(), String::from_utf8_lossy(data).into_owned());
    for environment in [Environment::unknown(), Environment::of_process([variable])] {
        let sources = vec!["/etc/haproxy/haproxy.cfg".into()];
        let start = haproxy::Start::of_files(sources, "/".into());
        match haproxy::read(&OneFile(data), &haproxy::Start { environment, ..start }) {
            Ok(intent) => assert!(intent.upstreams.iter().all(|one| !one.routes.is_empty())),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// A configuration of Apache: an intent, or an error with its place, whether or not it is known how it
/// is started.
pub fn apache_conf(data: &[u8]) {
    // Includes lead back to the same bytes.
    let includes = data.windows(7).filter(|word| word.eq_ignore_ascii_case(b"include")).count();
    if includes > 1 || data.len() > 20_000 {
        return;
    }
    let alone = apache::Start::of_file("/etc/apache2/apache2.conf".into());
    let variable = ("A".to_owned(), String::from_utf8_lossy(data).into_owned());
    let started = apache::Start {
        environment: Environment::of_process([variable]),
        defines: Some(vec!["A".to_owned()]),
        built_in: apache::BuiltIn::Among(["mod_so.c".to_owned()].into()),
        ..alone.clone()
    };
    for start in [alone, started] {
        match apache::read(&OneFile(data), &start) {
            Ok(intent) => assert!(intent.upstreams.iter().all(|one| !one.routes.is_empty())),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// A file of Traefik's, as YAML and as TOML: an intent, or an error with its place.
pub fn traefik_conf(data: &[u8]) {
    if data.len() > 20_000 {
        return;
    }
    for name in ["/etc/traefik/a.yaml", "/etc/traefik/a.toml"] {
        match traefik::read_file(&OneFile(data), Path::new(name)) {
            Ok(intent) => assert!(intent.upstreams.iter().all(|one| !one.routes.is_empty())),
            Err(fault) => assert!(!fault.to_string().is_empty()),
        }
    }
}

/// What a process shows of itself: arguments, cgroups, and the program of an nginx. Nobody gets into a
/// pod by a name that a user can give, and nothing is longer than what it was made of.
pub fn process(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let identity = CgroupIdentity::of_process(&text);
    if let Some(container) = &identity.container {
        assert!(container.id.len() == 64 && text.contains(&container.id), "{identity:?}");
    }
    let is_a_users = |line: &str| {
        line.splitn(3, ':').nth(2).is_some_and(|path| path.starts_with("/user.slice/"))
    };
    if text.lines().all(is_a_users) {
        assert!(identity.container.is_none() && identity.pod.is_none(), "{identity:?} of {text}");
    }
    let arguments: Vec<_> = text.split('\0').map(str::to_owned).collect();
    let command = CommandLine::parse(&arguments);
    for value in [&command.configuration, &command.prefix].into_iter().flatten() {
        assert!(text.contains(value.as_str()), "{value} in {text}");
    }
    let Ok(built_in) = BuiltIn::find(data) else { panic!("bytes can be read") };
    assert!(built_in.configuration.as_os_str().len() <= 4096 + 16);
    drop(built_in.main_file(&command, Path::new("/")));
    let label = labels::label(&text);
    assert!(label.len() <= labels::MAX_LABEL_BYTES && labels::owner(&label).len() <= label.len());
}
