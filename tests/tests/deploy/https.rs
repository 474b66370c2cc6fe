//! HTTPS with client certificates, asked by curl and openssl.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use hopsight_tests::{
    agent::binary,
    http,
    loopback::Loopback,
    pki::{DOMAIN, Identity, Pki},
    process::{self, Daemon},
    requirement,
    wait::wait_until,
};

const START: Duration = Duration::from_secs(30);

/// An agent that serves HTTPS from copies of a PKI's files.
struct Served {
    agent: Daemon,
    https: SocketAddr,
    health: SocketAddr,
    files: PathBuf,
}

impl Served {
    fn start(dir: &Path, pki: &Pki) -> Self {
        let block = Loopback::reserve().unwrap();
        let (https, health) = (block.socket(2, 9464), block.socket(2, 9465));
        let files = dir.join("tls");
        fs::create_dir_all(&files).unwrap();
        install(&files, &pki.server, &pki.root);
        // Read again as another user, by a thread that Landlock confines.
        for path in [dir, &files] {
            process::run("chmod", ["755", path.to_str().unwrap()]).unwrap();
        }
        let options = [
            "run".to_owned(),
            format!("--http={https}"),
            format!("--health={health}"),
            "--user=65532".to_owned(),
            format!("--tls-certificate={}/tls.crt", files.display()),
            format!("--tls-key={}/tls.key", files.display()),
            format!("--tls-client-ca={}/ca.crt", files.display()),
        ];
        let mut agent = Daemon::spawn(binary().unwrap(), options, &dir.join("agent.log")).unwrap();
        wait_until("the agent to be ready", START, || {
            agent.ensure_running()?;
            Ok(http::get(health, "/readyz").ok().filter(|response| response.status == 200))
        })
        .unwrap();
        Self { agent, https, health, files }
    }

    fn curl(&self, root: &Path, client: Option<&Identity>, path: &str) -> Output {
        let (ip, port) = (self.https.ip(), self.https.port());
        let mut curl = Command::new("curl");
        curl.args(["-q", "-sS", "--noproxy", "*", "--max-time", "30", "--cacert"]).arg(root);
        curl.args(["--resolve", &format!("agent.{DOMAIN}:{port}:{ip}")]);
        if let Some(identity) = client {
            curl.arg("--cert").arg(&identity.chain).arg("--key").arg(&identity.key);
        }
        curl.arg(format!("https://agent.{DOMAIN}:{port}{path}")).output().unwrap()
    }

    fn readyz(&self) -> String {
        http::get(self.health, "/readyz").unwrap().body
    }

    /// The certificate's fingerprint, as openssl sees it.
    fn fingerprint(&self, client: &Identity) -> String {
        let (chain, key) = (client.chain.display(), client.key.display());
        let script = format!(
            "openssl s_client -connect {} -servername agent.{DOMAIN} -cert {chain} -key {key} \
             </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256",
            self.https
        );
        process::run("sh", ["-c", &script]).unwrap()
    }
}

fn install(files: &Path, server: &Identity, client_ca: &Path) {
    // What the key is loaded with has to be there before it.
    for (from, to) in
        [(client_ca, "ca.crt"), (&*server.chain, "tls.crt"), (&*server.key, "tls.key")]
    {
        // As renewals do it: another file under the name.
        let new = files.join("new");
        fs::copy(from, &new).unwrap();
        fs::rename(&new, files.join(to)).unwrap();
    }
}

fn words(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

#[test]
fn only_clients_with_a_certificate_are_answered() {
    if !requirement::met("only_clients_with_a_certificate_are_answered", &["curl", "openssl"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::create(&dir.path().join("pki")).unwrap();
    let served = Served::start(dir.path(), &pki);
    for (path, part) in [
        ("/metrics", "hopsight_build_info"),
        ("/hops", "\"hops\""),
        ("/livez", "ok"),
        ("/", "<html"),
    ] {
        let output = served.curl(&pki.root, Some(&pki.client), path);
        assert!(
            output.status.success() && words(&output).contains(part),
            "{path}: {}",
            words(&output)
        );
    }
    for (name, root, client) in [
        ("no certificate", &pki.root, None),
        ("a certificate of another authority", &pki.root, Some(&pki.foreign_client)),
        ("the agent is not who the client expects", &pki.foreign_root, Some(&pki.client)),
    ] {
        let output = served.curl(root, client, "/hops");
        assert!(!output.status.success() && output.stdout.is_empty(), "{name}: {}", words(&output));
    }
    assert!(http::get(served.https, "/hops").is_err(), "clear text is not answered");
    for (path, status) in
        [("/livez", 200), ("/readyz", 200), ("/hops", 404), ("/metrics", 404), ("/", 404)]
    {
        assert_eq!(http::get(served.health, path).unwrap().status, status, "{path} without TLS");
    }
}

#[test]
fn the_command_line_speaks_https() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::create(&dir.path().join("pki")).unwrap();
    let served = Served::start(dir.path(), &pki);
    let hops = |options: &[&str]| {
        let mut hops = Command::new(binary().unwrap());
        hops.args(["hops", "-o", "json", "--address", &format!("https://{}", served.https)]);
        hops.args(options).output().unwrap()
    };
    let [root, foreign, chain, key] =
        [&*pki.root, &pki.foreign_root, &pki.client.chain, &pki.client.key]
            .map(|path: &Path| path.to_str().unwrap());
    let name = format!("agent.{DOMAIN}");
    let client = ["--cert", chain, "--key", key];
    let named = ["--cacert", root, "--server-name", &name];
    let output = hops(&[&named[..], &client].concat());
    assert!(output.status.success(), "{}", words(&output));
    assert!(words(&output).contains("\"hops\""), "{}", words(&output));
    for (case, options, said) in [
        ("no authorities", client.to_vec(), "--cacert"),
        ("no certificate", named.to_vec(), "CertificateRequired"),
        ("another name", [&named[..2], &client].concat(), "not valid for name"),
        (
            "another authority",
            [&["--cacert", foreign, "--server-name", &name][..], &client].concat(),
            "UnknownIssuer",
        ),
    ] {
        let output = hops(&options);
        assert_eq!(output.status.code(), Some(2), "{case}: {}", words(&output));
        assert!(words(&output).contains(said), "{case}: {}", words(&output));
    }
}

#[test]
fn renewed_certificates_are_used_and_broken_ones_are_not() {
    let name = "renewed_certificates_are_used_and_broken_ones_are_not";
    if !requirement::met(name, &["curl", "openssl"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::create(&dir.path().join("pki")).unwrap();
    let next = Pki::create(&dir.path().join("next")).unwrap();
    let served = Served::start(dir.path(), &pki);
    let before = served.fingerprint(&pki.client);

    fs::copy(&next.client.key, served.files.join("tls.key")).unwrap();
    let mended = |wanted: &str| {
        wait_until(wanted, START, || Ok(served.readyz().contains(wanted).then_some(())))
    };
    mended("KeyMismatch").unwrap();
    assert!(served.readyz().contains("\"ready\":true"), "it goes on with the old ones");
    assert_eq!(served.fingerprint(&pki.client), before);
    fs::remove_file(served.files.join("tls.crt")).unwrap();
    mended("No such file").unwrap();

    install(&served.files, &next.server, &next.root);
    mended(r#""tls":{"state":"ready""#).unwrap();
    assert_ne!(served.fingerprint(&next.client), before);
    let output = served.curl(&next.root, Some(&next.client), "/livez");
    assert!(output.status.success(), "{}", words(&output));
    let output = served.curl(&next.root, Some(&pki.client), "/livez");
    assert!(!output.status.success(), "the old authority no longer counts");
    assert!(served.agent.log().contains("are in use"), "{}", served.agent.log());
}

#[test]
fn files_that_cannot_be_used_stop_the_start() {
    if !requirement::met("files_that_cannot_be_used_stop_the_start", &["openssl"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::create(dir.path()).unwrap();
    let empty = dir.path().join("empty");
    fs::write(&empty, "").unwrap();
    let missing = dir.path().join("missing");
    let (chain, key) = (&pki.server.chain, &pki.server.key);
    for (certificate, key, client_ca, expected) in [
        (&missing, key, &pki.root, "read the certificates of"),
        (&empty, key, &pki.root, "holds no certificate"),
        (chain, &missing, &pki.root, "read the private key of TLS"),
        (chain, &empty, &pki.root, "read the private key of TLS"),
        (chain, &pki.client.key, &pki.root, "KeyMismatch"),
        (chain, key, &empty, "holds no certificate"),
    ] {
        let output = Command::new(binary().unwrap())
            .args(["run", "--http", "127.0.0.1:0", "--tls-certificate"])
            .arg(certificate)
            .arg("--tls-key")
            .arg(key)
            .arg("--tls-client-ca")
            .arg(client_ca)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{expected}");
        assert!(words(&output).contains(expected), "{expected}: {}", words(&output));
    }
}
