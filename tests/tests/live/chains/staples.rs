//! OCSP responses that come along with certificates, made and served by OpenSSL.

use std::{fs, path::Path, process::Stdio, time::Duration};

use hopsight_posture::hops::hop::Hop;
use hopsight_tests::{
    agent::{Agent, VERDICT},
    cgroup::Cgroup,
    loopback::Loopback,
    nginx::utf8,
    place::Place,
    process::{Daemon, run},
    requirement,
    wait::wait_until,
};

use super::{compliant, open};

/// How long one connection may take.
const CONNECTION: Duration = Duration::from_secs(20);

/// Runs `openssl` in a folder, with words that are parted by spaces.
fn openssl(folder: &Path, words: &str) {
    let shell = format!("cd {} && exec openssl {words}", utf8(folder).unwrap());
    run("sh", ["-c", &shell]).unwrap();
}

/// A CA, a certificate for each of these numbers, and what the CA says of it.
fn certificates(folder: &Path, all: &[(u8, &str)]) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(folder, &format!("req -x509 -days 2 -subj /CN=ca -keyout ca.key -out ca.pem {key}"));
    for (serial, status) in all {
        let subject = format!("/CN=server-{serial}");
        openssl(
            folder,
            &format!("req -subj {subject} -keyout {serial}.key -out {serial}.csr {key}"),
        );
        let signed = format!("-CA ca.pem -CAkey ca.key -set_serial {serial} -days 2");
        openssl(folder, &format!("x509 -req -in {serial}.csr -out {serial}.pem {signed}"));
        let line = format!("{status}\t{serial:02X}\tunknown\t{subject}\n");
        fs::write(folder.join("index"), line).unwrap();
        let asked = format!("-issuer ca.pem -cert {serial}.pem -reqout {serial}.ask");
        openssl(folder, &format!("ocsp {asked}"));
        let answer = format!("-reqin {serial}.ask -respout {serial}.ocsp -ndays 1");
        let by = "-index index -CA ca.pem -rsigner ca.pem -rkey ca.key";
        openssl(folder, &format!("ocsp {by} {answer}"));
    }
}

/// What is said of the upstream's certificate: whether it is revoked, by what, and why not known.
fn revocation(hop: &Hop) -> Option<String> {
    let [server, _] = hop.servers.first()?.certificates.in_use();
    let said = server.first()?.revocation.as_ref()?;
    let by = said.by.map_or("nothing", |by| by.as_str());
    let reason = said.reason.map_or("", |reason| reason.as_str());
    Some(format!("{} by {by} {reason}", said.answer).trim_end().to_owned())
}

#[test]
fn staples_are_read_and_held_to_their_signatures() {
    if !requirement::met("staples_are_read_and_held_to_their_signatures", &["openssl", "curl"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (good, revoked) = ("V\t350101000000Z\t", "R\t350101000000Z\t250101000000Z");
    certificates(dir.path(), &[(1, good), (2, revoked), (3, good), (4, good), (5, good)]);
    let [policy, ca] = ["policy.toml", "ca.pem"].map(|name| dir.path().join(name));
    let text = "[[policies]]\nrequire = \"tls\"\nverify_upstream = \"never\"\nmust_not_be_revoked = true\n";
    fs::write(&policy, text).unwrap();
    let cgroup = Cgroup::create().unwrap();
    let own = ["--proxy", "curl", "--policy", utf8(&policy).unwrap()];
    let options = [cgroup.options().unwrap().as_slice(), &own].concat();
    let block = Loopback::reserve().unwrap();
    let agent = Agent::start(&dir.path().join("agent"), block.socket(1, 9464), &options).unwrap();
    let (verifying, trusting) = (&["--cacert", utf8(&ca).unwrap()][..], &["--insecure"][..]);
    for (host, (certificate, response, version, client, expected)) in (10..).zip([
        // The library is looked into after the first handshake, and shows from then on who verifies.
        (1, "1", "1.3", trusting, "unknown by nothing staple_not_trusted"),
        (1, "1", "1.2", verifying, "good by staple"),
        (1, "1", "1.3", verifying, "good by staple"),
        (1, "1", "1.2", trusting, "unknown by nothing staple_not_trusted"),
        (2, "2", "1.2", trusting, "revoked by staple"),
        (3, "1", "1.2", trusting, "unknown by nothing staple_of_another"),
        (4, "", "1.2", trusting, "nothing"),
        (5, "5", "1.3", verifying, "good by staple"),
    ]) {
        let name = format!("certificate {certificate}, response {response:?}, {version}");
        let address = block.socket(host, 8443);
        let path = |end: &str| dir.path().join(end);
        let mut words = format!(
            "s_server -www -accept {address} -cert {certificate}.pem -key {certificate}.key \
             -cert_chain ca.pem"
        );
        if !response.is_empty() {
            words += &format!(" -status_file {response}.ocsp");
        }
        let shell = format!("cd {} && exec openssl {words}", utf8(dir.path()).unwrap());
        let log = path(&format!("{host}.server"));
        let here = Place::here();
        let mut server =
            Daemon::spawn_reading(Stdio::piped(), &here, "sh", ["-c", &shell], &log).unwrap();
        server.wait_listening(address).unwrap();
        let connect = address.to_string();
        let (url, to) = (format!("https://server-{certificate}:8443/"), format!("::{address}"));
        let args = ["-sS", "--cert-status", "--tls-max", version, "--connect-to", &to, &url];
        let args = [&args, client].concat();
        let mut hops = Vec::new();
        wait_until(&name, VERDICT, || {
            let log = path(&format!("{host}.client"));
            let place = &cgroup.place();
            let mut client = Daemon::spawn_reading(Stdio::null(), place, "curl", &args, &log)?;
            client.wait_exit(CONNECTION)?;
            hops = agent.hops()?.hops;
            let Some(hop) = hops.iter().find(|hop| *hop.upstream == *connect) else {
                return Ok(None);
            };
            let is_evaluated = match expected {
                "good by staple" => compliant(hop),
                "revoked by staple" => open(hop) == ["certificate_revoked"],
                _ => !compliant(hop) && open(hop).is_empty(),
            };
            let said = revocation(hop);
            Ok((is_evaluated && said.as_deref().unwrap_or("nothing") == expected).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{name}: {error:#}: {hops:#?}"));
        println!("{name}: {expected}");
    }
}
