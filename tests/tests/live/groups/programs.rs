//! The clients with their groups and command lines.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process,
    sync::OnceLock,
};

use hopsight_tests::{agent, case::Version, client, process::run};

use super::{
    clients::{Cell, Client, Group, Offers},
    keys::{Keys, PASSWORD},
    text, trace,
};

/// A program and its arguments.
pub type Command = (PathBuf, Vec<OsString>);

/// A program that runs as long as its standard input is open.
pub type Idle = fn() -> Command;

/// Makes one.
pub type Program = fn(&Ask<'_, '_>) -> Command;

/// What a command line is made of.
pub struct Ask<'a, 'c> {
    pub cell: &'a Cell<'c>,
    pub keys: &'a Keys,
    pub dir: &'a Path,
}

const OPENSSL: &[Group] = &[
    ("x25519", "X25519"),
    ("secp256r1", "P-256"),
    ("secp384r1", "P-384"),
    ("secp521r1", "P-521"),
    ("x448", "X448"),
    ("ffdhe2048", "ffdhe2048"),
    ("ffdhe3072", "ffdhe3072"),
];
const CURVES: &[Group] = OPENSSL.split_at(5).0;
/// OpenSSL 3.5.
const NEWER: &[Group] = &[
    ("x25519", "X25519"),
    ("secp256r1", "P-256"),
    ("secp384r1", "P-384"),
    ("secp521r1", "P-521"),
    ("x448", "X448"),
    ("X25519MLKEM768", "X25519MLKEM768"),
    ("SecP256r1MLKEM768", "SecP256r1MLKEM768"),
    ("SecP384r1MLKEM1024", "SecP384r1MLKEM1024"),
];
/// Those that `set_ecdh_curve` takes, and others that are offered without it.
const OF_PYTHON: &[Group] = &[
    ("x25519", ""),
    ("secp256r1", "prime256v1"),
    ("secp384r1", "secp384r1"),
    ("secp521r1", "secp521r1"),
    ("x448", ""),
];
const GNUTLS: &[Group] = &[
    ("secp256r1", "GROUP-SECP256R1"),
    ("secp384r1", "GROUP-SECP384R1"),
    ("secp521r1", "GROUP-SECP521R1"),
    ("x25519", "GROUP-X25519"),
    ("x448", "GROUP-X448"),
    ("ffdhe2048", "GROUP-FFDHE2048"),
];
const NSS: &[Group] = &[
    ("x25519", "x25519"),
    ("secp256r1", "P256"),
    ("secp384r1", "P384"),
    ("secp521r1", "P521"),
    ("ffdhe2048", "FF2048"),
];
const JAVA: &[Group] = &[
    ("x25519", "x25519"),
    ("secp256r1", "secp256r1"),
    ("secp384r1", "secp384r1"),
    ("secp521r1", "secp521r1"),
    ("x448", "x448"),
    ("ffdhe2048", "ffdhe2048"),
];
/// What rustls and Go offer by themselves.
const THREE: &[Group] = CURVES.split_at(3).0;
const FOUR: &[Group] = CURVES.split_at(4).0;

/// Every one.
pub fn all() -> Vec<Client> {
    let client = |name, process, groups, program: Option<Program>| Client {
        name,
        process,
        shows: true,
        groups,
        offers: Offers::Any,
        program,
        idle: None,
    };
    let hidden = |client: Client| Client { shows: false, ..client };
    let own = |client: Client| Client { offers: Offers::Own, ..client };
    vec![
        client("OpenSSL", "openssl", OPENSSL, Some(openssl)),
        client("curl", "curl", CURVES, Some(curl)),
        Client {
            offers: Offers::OneOrOwn,
            idle: Some(|| (client::PYTHON.into(), words(["-c", "import ssl; input()"]))),
            ..client("Python", "python3", OF_PYTHON, Some(python))
        },
        Client {
            idle: Some(|| ("node".into(), idle_node())),
            ..client("Node", "node", CURVES, Some(node))
        },
        Client {
            idle: Some(|| (newer_node(), idle_node())),
            ..client("Node, newer", "node", NEWER, Some(node))
        },
        hidden(client("GnuTLS", "gnutls-cli", GNUTLS, Some(gnutls))),
        hidden(client("Wget", "wget", GNUTLS, Some(wget))),
        hidden(client("NSS", "tstclnt", NSS, Some(nss))),
        hidden(client("Java", "java", JAVA, Some(java))),
        // It is read where it is told to, which it is not here.
        own(hidden(client("rustls", client::RUSTLS, THREE, Some(rustls)))),
        client("nginx", "nginx", CURVES, None),
        own(client("haproxy", "haproxy", CURVES, None)),
        own(client("Caddy", "caddy", FOUR, None)),
        client("Envoy", "envoy", THREE, None),
    ]
}

fn words<const N: usize>(words: [&str; N]) -> Vec<OsString> {
    words.map(OsString::from).to_vec()
}

fn idle_node() -> Vec<OsString> {
    words(["-e", "require('tls'); process.stdin.resume()"])
}

fn newer_node() -> PathBuf {
    std::env::var_os(trace::NEWER_NODE).unwrap().into()
}

/// Whether there is a Wget, with GnuTLS and not with OpenSSL.
pub fn wget_is_gnutls() -> bool {
    let said = process::Command::new("wget").arg("--version").output();
    said.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains("+ssl/gnutls"))
}

impl Ask<'_, '_> {
    fn is_13(&self) -> bool {
        self.cell.version == Version::V13
    }

    fn url(&self) -> String {
        format!("https://{}/", self.cell.address)
    }

    /// The paths of certificate and key.
    fn own(&self) -> [String; 2] {
        let own = self.cell.pair(self.keys);
        [text(&own.certificate), text(&own.key)]
    }
}

fn openssl(ask: &Ask<'_, '_>) -> Command {
    let ([certificate, key], address) = (ask.own(), ask.cell.address.to_string());
    let version = if ask.is_13() { "-tls1_3" } else { "-tls1_2" };
    let mut args = words(["s_client", "-quiet", version, "-connect", &address]);
    args.extend(words(["-cert", &certificate, "-key", &key]));
    if !ask.cell.offered.is_empty() {
        args.extend(words(["-groups", &ask.cell.offered.join(":")]));
    }
    ("openssl".into(), args)
}

fn curl(ask: &Ask<'_, '_>) -> Command {
    let [certificate, key] = ask.own();
    let mut args = words(["-q", "--silent", "--insecure", "--include", "--max-time", "30"]);
    args.extend(words(["--noproxy", "*", "--cert", &certificate, "--key", &key]));
    if !ask.cell.offered.is_empty() {
        args.extend(words(["--curves", &ask.cell.offered.join(":")]));
    }
    args.push(ask.url().into());
    ("curl".into(), args)
}

fn python(ask: &Ask<'_, '_>) -> Command {
    const SCRIPT: &str = "\
import socket, ssl, sys
host, port, chain, key, group = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
context.load_cert_chain(chain, key)
if group:
    context.set_ecdh_curve(group)
with context.wrap_socket(socket.create_connection((host, int(port)), timeout=10)) as tls:
    tls.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
    while tls.recv(65536):
        pass
";
    let ([certificate, key], address) = (ask.own(), ask.cell.address);
    let group = ask.cell.offered.first().copied().unwrap_or_default();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    (client::PYTHON.into(), words(["-c", SCRIPT, &host, &port, &certificate, &key, group]))
}

fn node(ask: &Ask<'_, '_>) -> Command {
    const SCRIPT: &str = "\
const fs = require('fs');
const [host, port, cert, key, groups] = process.argv.slice(1);
const options = { host, port, rejectUnauthorized: false, agent: false };
if (groups) options.ecdhCurve = groups;
Object.assign(options, { cert: fs.readFileSync(cert), key: fs.readFileSync(key) });
require('https').get(options, (answer) => answer.resume()).on('error', console.error);
";
    let ([certificate, key], address) = (ask.own(), ask.cell.address);
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let groups = ask.cell.offered.join(":");
    let program = match ask.cell.client.name {
        "Node" => "node".into(),
        _ => newer_node(),
    };
    (program, words(["-e", SCRIPT, &host, &port, &certificate, &key, &groups]))
}

/// GnuTLS's words for what it is to do.
fn priority(ask: &Ask<'_, '_>) -> String {
    let version = if ask.is_13() { "1.3" } else { "1.2" };
    let only = if ask.cell.offered.is_empty() { None } else { Some("-GROUP-ALL") };
    let offered = ask.cell.offered.iter().flat_map(|group| ["+", group]);
    let groups = only.into_iter().chain(offered).collect::<Vec<_>>().join(":").replace("+:", "+");
    format!("NORMAL:-VERS-ALL:+VERS-TLS{version}:{groups}").trim_end_matches(':').to_owned()
}

fn gnutls(ask: &Ask<'_, '_>) -> Command {
    let ([certificate, key], address) = (ask.own(), ask.cell.address);
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut args = words(["--insecure", "--port", &port, "--priority", &priority(ask), &host]);
    args.extend(words(["--x509certfile", &certificate, "--x509keyfile", &key]));
    ("gnutls-cli".into(), args)
}

fn wget(ask: &Ask<'_, '_>) -> Command {
    let [certificate, key] = ask.own();
    let mut args = words(["--no-config", "--no-proxy", "--no-check-certificate", "--tries=1"]);
    args.extend(words(["--timeout=10", "-O", "/dev/null", "--no-hsts"]));
    let options = [
        format!("--certificate={certificate}"),
        format!("--private-key={key}"),
        format!("--ciphers={}", priority(ask)),
        ask.url(),
    ];
    args.extend(options.map(OsString::from));
    ("wget".into(), args)
}

fn nss(ask: &Ask<'_, '_>) -> Command {
    let address = ask.cell.address;
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let version = if ask.is_13() { "tls1.3:tls1.3" } else { "tls1.2:tls1.2" };
    let mut args =
        words(["-h", &host, "-p", &port, "-d", &text(&ask.keys.nss), "-o", "-V", version]);
    args.extend(words(["-n", ask.cell.pair(ask.keys).name]));
    if !ask.cell.offered.is_empty() {
        args.extend(words(["-I", &ask.cell.offered.join(",")]));
    }
    ("tstclnt".into(), args)
}

fn java(ask: &Ask<'_, '_>) -> Command {
    static COMPILED: OnceLock<()> = OnceLock::new();
    const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/truth/Client.java");
    let classes = text(ask.dir);
    let compile = || drop(run("javac", ["-d", &classes, SOURCE]).unwrap());
    COMPILED.get_or_init(compile);
    let (address, store) = (ask.cell.address, text(&ask.cell.pair(ask.keys).store));
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let groups = format!("-Djdk.tls.namedGroups={}", ask.cell.offered.join(","));
    let version = if ask.is_13() { "TLSv1.3" } else { "TLSv1.2" };
    let mut args = words(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &classes]);
    if !ask.cell.offered.is_empty() {
        args.push(groups.into());
    }
    args.extend(words(["Client", &host, &port, version, &store, PASSWORD]));
    ("java".into(), args)
}

fn rustls(ask: &Ask<'_, '_>) -> Command {
    let ([certificate, key], address) = (ask.own(), ask.cell.address.to_string());
    // It trusts the server's certificate or not: by then both sides have said what they use.
    let args = words([&address, "localhost", &certificate, &certificate, &key]);
    (agent::sibling(client::RUSTLS).unwrap(), args)
}
