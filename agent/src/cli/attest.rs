//! `hopsight attest`: what agents saw, signed, for somebody who was not there.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::SystemTime,
};

use anyhow::{Context as _, anyhow, bail, ensure};

use super::client::Agent;
use hopsight_core::tls::fingerprint::Fingerprint;
use hopsight_export::{
    attestation::{
        envelope::Envelope,
        keys::{SigningKey, VerifyingKey},
        statement::Statement,
    },
    time,
};
use hopsight_posture::{
    audit::{
        account::{ACCOUNT_VERSION, Account, NodeAccount},
        chain::Link,
        refusal::{Refusal, RefusalKind},
    },
    hops::{moment::unix_seconds, table::Snapshot},
};

/// Longest file that is read, in bytes: some 50,000 hops.
const MAX_BYTES: u64 = 512 << 20;

/// Arguments of `hopsight attest`.
#[derive(Debug, clap::Args)]
pub struct AttestArgs {
    /// Saved answers of `/hops` (`curl -O http://NODE:9464/hops`), one for each node; without any the
    /// agent is asked.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Ed25519 key to sign with (PEM, PKCS #8): `openssl genpkey -algorithm ed25519 -out key.pem`.
    #[arg(long, value_name = "FILE")]
    signing_key: PathBuf,

    /// The statement before this one, which has to be of the same key. Without it this is the first of
    /// its chain.
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,

    /// Names of the nodes that have to be there, one a line: those that are not are stated as missing.
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,

    /// Where to write the statement, a new file; without it standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Where to keep the agent's answer, a new file: it is what the statement is about.
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    keep: Option<PathBuf>,

    #[command(flatten)]
    agent: Agent,
}

/// Runs `hopsight attest`.
///
/// # Errors
/// A key or an answer cannot be read, two answers are of one node, or the statement before is not one of
/// this key.
pub fn attest(args: &AttestArgs) -> anyhow::Result<ExitCode> {
    let key = SigningKey::read(&args.signing_key)?;
    let previous = args.previous.as_deref();
    let previous = previous.map(|path| read_link(path, &[key.public()])).transpose()?;
    let nodes = if args.files.is_empty() { vec![asked(args)?] } else { saved(&args.files)? };
    let missing_nodes = match &args.nodes {
        Some(path) => missing(&names(path)?, &nodes),
        None => Vec::new(),
    };
    let now = unix_seconds(SystemTime::now());
    let account = Account {
        account_version: ACCOUNT_VERSION,
        number: previous.as_ref().map_or(1, |link| link.account.number.saturating_add(1)),
        previous: previous.map(|link| link.sha256),
        written_by: concat!("hopsight ", env!("CARGO_PKG_VERSION")).into(),
        time: time::rfc3339(now).into(),
        at: now,
        missing_nodes,
        nodes,
    };
    let number = account.number;
    let statement = Statement::of(account).to_json().context("write the statement")?;
    let sha256 = Fingerprint::of(&statement);
    let envelope = serde_json::to_string(&Envelope::seal(&statement, &key))? + "\n";
    if let Some(path) = &args.output {
        write_new(path, envelope.as_bytes())?;
    } else {
        let mut out = std::io::stdout();
        out.write_all(envelope.as_bytes()).context("write to standard output")?;
    }
    eprintln!("hopsight: statement {number} of its chain, sha256 {sha256}");
    Ok(ExitCode::SUCCESS)
}

/// What the agent answers.
fn asked(args: &AttestArgs) -> anyhow::Result<NodeAccount> {
    let answer = args.agent.get("/hops")?;
    if let Some(path) = &args.keep {
        write_new(path, answer.as_bytes())?;
    }
    let kept = args.keep.as_deref().map(file_name);
    let name = kept.unwrap_or_else(|| args.agent.address.clone());
    node(&name, answer.as_bytes()).with_context(|| format!("of {}", args.agent.address))
}

fn saved(files: &[PathBuf]) -> anyhow::Result<Vec<NodeAccount>> {
    let mut nodes: Vec<NodeAccount> = Vec::with_capacity(files.len());
    for path in files {
        let bytes = read(path)?;
        let node = node(&file_name(path), &bytes).with_context(|| path.display().to_string())?;
        if let Some(same) = nodes.iter().find(|known| known.is_same_node(&node)) {
            bail!(
                "{} and {} are both answers of {}: give one for each node",
                same.source,
                node.source,
                node.name()
            );
        }
        nodes.push(node);
    }
    Ok(nodes)
}

fn node(name: &str, answer: &[u8]) -> anyhow::Result<NodeAccount> {
    let snapshot: Snapshot =
        serde_json::from_slice(answer).context("read it as an answer of /hops of this version")?;
    Ok(NodeAccount::of(name, Fingerprint::of(answer), snapshot))
}

/// Names of `wanted` that are nobody's.
fn missing(wanted: &[String], nodes: &[NodeAccount]) -> Vec<Arc<str>> {
    let is_there = |name: &str| nodes.iter().any(|node| node.name() == name);
    wanted.iter().filter(|name| !is_there(name)).map(|name| name.as_str().into()).collect()
}

/// A file's name without its folders: a statement says nothing of where its writer keeps files.
fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = File::create_new(path)
        .with_context(|| format!("make {} (it must not be there yet)", path.display()))?;
    file.write_all(bytes).with_context(|| format!("write {}", path.display()))
}

/// A file of at most [`MAX_BYTES`].
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut bytes = Vec::new();
    let mut bounded = file.take(MAX_BYTES + 1);
    bounded.read_to_end(&mut bytes).with_context(|| format!("read {}", path.display()))?;
    ensure!(bytes.len() as u64 <= MAX_BYTES, "{} is longer than 512 MiB", path.display());
    Ok(bytes)
}

/// Names, one a line; `#` begins a remark.
pub(super) fn names(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let names: Vec<_> = lines.filter(|line| !line.is_empty()).map(str::to_owned).collect();
    ensure!(!names.is_empty(), "{} names no node", path.display());
    Ok(names)
}

/// A statement that one of these keys has signed.
pub(super) fn read_link(path: &Path, keys: &[VerifyingKey]) -> anyhow::Result<Link> {
    link(&read(path)?, keys).map_err(|refusal| anyhow!("{}: {refusal}", path.display()))
}

/// The same from its bytes, or why it is none.
pub(super) fn link(bytes: &[u8], keys: &[VerifyingKey]) -> Result<Link, Refusal> {
    let refused = |kind| move |error: anyhow::Error| Refusal::new(kind, format!("{error:#}"));
    let envelope: anyhow::Result<Envelope> =
        serde_json::from_slice(bytes).context("read it as an envelope of DSSE");
    let envelope = envelope.map_err(refused(RefusalKind::Unreadable))?;
    let statement = envelope.open(keys).map_err(refused(RefusalKind::Signature))?;
    let account = Statement::parse(&statement).map_err(refused(RefusalKind::Unreadable))?;
    Ok(Link { sha256: Fingerprint::of(&statement), account })
}
