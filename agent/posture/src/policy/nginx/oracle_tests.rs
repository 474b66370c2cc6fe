//! The same fixtures, read by others: nginx itself and crossplane. Skipped where not installed.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use super::{
    tests::{DIRECTORY, Memory, fixtures, said},
    token::{End, Tokenizer},
};

/// Lays a fixture out in a real directory in place of `/etc/nginx`.
fn lay_out(fixture: &[u8], directory: &Path) {
    for (path, content) in Memory::from_fixture(fixture).0 {
        let path = directory.join(path.strip_prefix(DIRECTORY).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, replace(&content, DIRECTORY, directory.to_str().unwrap())).unwrap();
    }
}

fn replace(content: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = content;
    while !rest.is_empty() {
        if rest.starts_with(from.as_bytes()) {
            out.extend(to.as_bytes());
            rest = &rest[from.len()..];
        } else {
            out.push(rest[0]);
            rest = &rest[1..];
        }
    }
    out
}

/// What `nginx -t` says of a fixture, with `directory` named `/etc/nginx` again.
fn nginx_says(fixture: &[u8]) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    lay_out(fixture, directory.path());
    let output = Command::new("nginx")
        .args(["-t", "-e", "stderr", "-g", "pid nginx.pid;", "-c"])
        .arg(directory.path().join("nginx.conf"))
        .arg("-p")
        .arg(directory.path())
        .output()
        .ok()?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(words.replace(directory.path().to_str().unwrap(), DIRECTORY))
}

#[test]
fn nginx_refuses_what_we_refuse_and_at_the_same_line() {
    // nginx stops at these before it reaches the fault, or says them without a place.
    let blind = ["unknown directive", "no \"proxy_ssl", "no grpc_ssl"];
    let mut compared = 0;
    for (name, fixture) in fixtures() {
        let Some(words) = nginx_says(&fixture) else {
            hopsight_test_support::not_run("nginx as oracle", "nginx is not installed");
            return;
        };
        let emergency = words.lines().find(|line| line.contains("[emerg]")).unwrap_or_default();
        // nginx knows no file but a main one.
        if name == "only-what-http-includes" {
            continue;
        }
        if !name.starts_with("broken") {
            // It may lack modules, certificates and names here; its grammar must be satisfied.
            for fault in ["unexpected", "duplicate", "invalid value", "invalid URL", "not allowed"]
            {
                assert!(!emergency.contains(fault), "{name}: {emergency}");
            }
            continue;
        }
        // nginx 1.22 runs out of stack on a file that includes itself.
        if name == "broken-include-itself" {
            continue;
        }
        if blind.iter().any(|known| emergency.contains(known)) {
            // A build of nginx without a module, or of another version: no statement about ours.
            hopsight_test_support::not_run(
                "fixture that nginx here does not know",
                &format!("{name}: {emergency}"),
            );
            continue;
        }
        let expected = said(&fixture, "#!").pop().unwrap();
        let place = format!("{DIRECTORY}/{}", expected.split(' ').next().unwrap());
        assert!(emergency.ends_with(&place), "{name}: expected {place}, nginx: {emergency}");
        compared += 1;
    }
    assert!(compared >= 10, "only {compared} broken fixtures could be compared");
}

/// Prints each directive as `line`, name and arguments, separated by unit separators.
const CROSSPLANE: &str = r#"
import crossplane, sys
def walk(block):
    for d in block:
        if d["directive"] == chr(35): continue
        name = d["directive"]
        args = [] if name.endswith("_by_lua_block") else d["args"]
        if name == "if" and args: args = ["(" + args[0]] + args[1:-1] + [args[-1] + ")"]
        print("\x1f".join([str(d["line"]), name] + args))
        walk(d.get("block") or [])
for path in sys.argv[1:]:
    payload = crossplane.parse(path, single=True, check_ctx=False, check_args=False)
    if payload["status"] != "ok": sys.exit(str(payload["errors"]))
    walk(payload["config"][0]["parsed"])
"#;

fn our_words(content: &[u8]) -> Vec<String> {
    let mut tokenizer = Tokenizer::new(content);
    let mut out = Vec::new();
    loop {
        let statement = tokenizer.statement().unwrap();
        match statement.end {
            End::File => return out,
            End::CloseBrace => continue,
            End::OpenBrace if statement.words[0].ends_with("_by_lua_block") => {
                tokenizer.lua().unwrap();
            }
            End::OpenBrace | End::Semicolon => {}
        }
        out.push(format!("{}\x1f{}", statement.line, statement.words.join("\x1f")));
    }
}

#[test]
fn crossplane_splits_the_same_words() {
    let python = std::env::var("HOPSIGHT_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let installed = Command::new(&python)
        .args(["-c", "import crossplane"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !installed {
        hopsight_test_support::not_run("crossplane", &format!("{python} has no such module"));
        return;
    }
    // Escapes and a file that is not UTF-8: nginx is the judge there, crossplane differs.
    let differs = ["non-utf8-comment", "third-party-modules", "quoting", "if-and-limit-except"];
    for (name, fixture) in fixtures() {
        if name.starts_with("broken") || differs.contains(&name.as_str()) {
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        for (path, content) in Memory::from_fixture(&fixture).0 {
            if path.extension().is_some_and(|extension| extension == "bak")
                || path.ends_with("conf.d/.hidden.conf")
            {
                continue;
            }
            let file = directory.path().join("one.conf");
            fs::write(&file, &content).unwrap();
            let output =
                Command::new(&python).args(["-c", CROSSPLANE]).arg(&file).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {errors}");
            let theirs = String::from_utf8(output.stdout).unwrap();
            let theirs: Vec<_> = theirs.lines().map(str::to_owned).collect();
            assert_eq!(our_words(&content), theirs, "{name}: {}", path.display());
        }
    }
}
