use std::{
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::*;

#[test]
fn command_lines() {
    let line = |configuration: Option<&str>, prefix: Option<&str>| CommandLine {
        configuration: configuration.map(str::to_owned),
        prefix: prefix.map(str::to_owned),
    };
    for (arguments, expected) in [
        (vec!["nginx: master process /usr/sbin/nginx"], line(None, None)),
        (
            vec!["nginx: master process nginx -g daemon off; -c /etc/edge.conf"],
            line(Some("/etc/edge.conf"), None),
        ),
        (
            vec!["nginx: master process /usr/sbin/nginx -g daemon on; master_process on;"],
            line(None, None),
        ),
        (
            vec![
                "nginx: master process /opt/my nginx/nginx -q -c /srv/my  edge/a.conf -g daemon off;",
            ],
            line(Some("/srv/my  edge/a.conf"), None),
        ),
        (
            vec!["nginx: master process nginx -c /srv/with -dash/x -p /srv/a b/"],
            line(Some("/srv/with -dash/x"), Some("/srv/a b/")),
        ),
        (vec!["nginx: master process nginx -c"], line(None, None)),
        (
            vec!["nginx", "-p", "/srv/edge", "-c", "edge.conf"],
            line(Some("edge.conf"), Some("/srv/edge")),
        ),
        (vec!["nginx", "-c/etc/x.conf"], line(Some("/etc/x.conf"), None)),
        (vec!["nginx", "-qc", "x.conf"], line(Some("x.conf"), None)),
        (vec!["nginx", "-g", "-c no", "-e", "stderr"], line(None, None)),
        (vec!["nginx", "-c"], line(None, None)),
        (vec![], line(None, None)),
    ] {
        let arguments: Vec<_> = arguments.into_iter().map(str::to_owned).collect();
        assert_eq!(CommandLine::parse(&arguments), expected, "{arguments:?}");
    }
}

#[test]
fn built_in_paths() {
    let debian = b"\0--prefix=%s\0configure arguments:\0 --with-cc-opt='-g -ffile-prefix-map=/b=.' --prefix=/usr/share/nginx --conf-path=/etc/nginx/nginx.conf --user=www\0";
    let quoted = b"\0 --prefix='/opt/my nginx' --conf-path='/etc/my nginx/a.conf' --user=www\0";
    let bare = b"\0nginx\0";
    let prefix_only = b"\0--prefix=/opt/nginx\0";
    let command = |configuration: Option<&str>, prefix: Option<&str>| CommandLine {
        configuration: configuration.map(str::to_owned),
        prefix: prefix.map(str::to_owned),
    };
    for (executable, command, expected) in [
        (&debian[..], command(None, None), "/etc/nginx/nginx.conf"),
        (&debian[..], command(None, Some("/srv/x")), "/etc/nginx/nginx.conf"),
        (&debian[..], command(Some("x.conf"), None), "/usr/share/nginx/x.conf"),
        (&debian[..], command(Some("x.conf"), Some("/srv/x/")), "/srv/x/x.conf"),
        (&debian[..], command(Some("x.conf"), Some("sub")), "/home/op/sub/x.conf"),
        (&debian[..], command(Some("/x.conf"), Some("/srv/x")), "/x.conf"),
        (&quoted[..], command(None, None), "/etc/my nginx/a.conf"),
        (&quoted[..], command(Some("x.conf"), None), "/opt/my nginx/x.conf"),
        (&bare[..], command(None, None), "/usr/local/nginx/conf/nginx.conf"),
        (&bare[..], command(None, Some("/srv/x")), "/srv/x/conf/nginx.conf"),
        (&prefix_only[..], command(None, None), "/opt/nginx/conf/nginx.conf"),
    ] {
        let main = BuiltIn::find(executable).unwrap().main_file(&command, Path::new("/home/op"));
        assert_eq!(main, Path::new(expected), "{command:?}");
    }
}

#[test]
fn built_in_paths_are_found_wherever_they_lie() {
    let arguments = b" --prefix=/opt/nginx --conf-path=/opt/x.conf ";
    // Around the border of the first window.
    for at in [0, (1 << 20) - 60, (1 << 20) - 20, (1 << 20) - 1, 1 << 20, (3 << 20) + 7] {
        let executable = [&vec![0; at][..], arguments].concat();
        let found = BuiltIn::find(&executable[..]).unwrap();
        assert_eq!(found.configuration, Path::new("/opt/x.conf"), "{at}");
        assert_eq!(found.prefix, Path::new("/opt/nginx"), "{at}");
    }
}

/// A real nginx that listens on a socket in its own directory; ended when dropped.
struct Running {
    child: Child,
    directory: tempfile::TempDir,
}

impl Running {
    fn start(upstream: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), upstream);
        let child = Command::new("nginx")
            .args(["-e", "stderr", "-c", "edge.conf", "-p"])
            .arg(directory.path())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self { child, directory })
    }

    fn reload(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::QUIT);
        let _ = self.child.wait();
    }
}

fn write(directory: &Path, upstream: &str) {
    let text = format!(
        "daemon off; pid nginx.pid; worker_processes 1; events {{}}\n\
         http {{ access_log off; server {{ listen unix:{}/s; location / {{ proxy_pass {upstream}; }} }} }}",
        directory.display()
    );
    fs::write(directory.join("edge.conf"), text).unwrap();
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_mins(1), "{what} never came");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_running_nginx_is_found_and_read() {
    let Some(nginx) = Running::start("http://127.0.0.1:9001") else {
        hopsight_test_support::not_run("the executable of nginx", "nginx is not installed");
        return;
    };
    let pid = nginx.child.id();
    let title = || fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    wait_until("the master", || title().starts_with(MASTER_TITLE));
    let instance = NginxInstance::of_process(pid).unwrap();
    assert_eq!(instance.main_file, nginx.directory.path().join("edge.conf"));
    let worker = || {
        fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
            .unwrap()
            .split_ascii_whitespace()
            .next()
            .and_then(|pid| pid.parse().ok())
    };
    wait_until("the worker", || worker().is_some());
    wait_until("the worker's title", || {
        NginxInstance::of_process(worker().unwrap()).is_ok_and(|found| found == instance)
    });
    let target =
        |reading: &Reading| reading.intent.as_ref().unwrap().upstreams[0].target.to_string();
    let reading = instance.read().unwrap();
    assert_eq!(target(&reading), "127.0.0.1:9001");
    assert!(!reading.pending_reload(), "{reading:?}");

    thread::sleep(Duration::from_millis(100));
    write(nginx.directory.path(), "https://127.0.0.1:9002");
    let reading = instance.read().unwrap();
    assert_eq!(target(&reading), "127.0.0.1:9002");
    assert!(reading.pending_reload(), "{reading:?}");

    thread::sleep(Duration::from_millis(100));
    nginx.reload();
    wait_until("the new worker", || !instance.read().unwrap().pending_reload());

    fs::write(nginx.directory.path().join("edge.conf"), "http {\n server {\n").unwrap();
    let error = instance.read().unwrap().intent.unwrap_err();
    assert!(error.to_string().contains("edge.conf:3: unexpected end of file"), "{error}");
}
