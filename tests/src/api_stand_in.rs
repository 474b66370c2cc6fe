//! A stand-in for the Kubernetes API server, for the faults a real one cannot be asked for: it
//! speaks the list and watch protocol over HTTP/1.1 and follows a script.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use serde_json::{Value, json};

/// How it answers one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A page of objects.
    List(Vec<Value>),
    /// Events of a watch, each a line; then silence until the stand-in ends.
    Watch(Vec<Value>),
    /// Events of a watch, and the connection ends in the middle of a further one.
    CutWatch(Vec<Value>),
    /// A watch that says something that is no JSON.
    Garbage,
    /// An error with this status and message.
    Refuse(u16, &'static str),
    /// The connection ends without an answer.
    HangUp,
}

#[derive(Debug, Default)]
struct Script {
    lists: VecDeque<Reply>,
    watches: VecDeque<Reply>,
    /// Objects by the path of their kind, where it has any; other kinds it does not know.
    kinds: Option<BTreeMap<String, Vec<Value>>>,
    /// How often a kind was removed.
    removals: usize,
    requests: Vec<String>,
}

/// The running stand-in; dropping it ends it.
#[derive(Debug)]
pub struct StandIn {
    /// Where it listens.
    pub address: SocketAddr,
    script: Arc<Mutex<Script>>,
    stop: Arc<AtomicBool>,
}

impl StandIn {
    /// Starts it. The last reply of each kind is given again and again.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(
        lists: impl IntoIterator<Item = Reply>,
        watches: impl IntoIterator<Item = Reply>,
    ) -> anyhow::Result<Self> {
        let script = Script {
            lists: lists.into_iter().collect(),
            watches: watches.into_iter().collect(),
            ..Script::default()
        };
        Self::follow(script)
    }

    /// Starts it with these objects, by the path of their kind (`/api/v1/pods`), none of which changes.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn serving(
        kinds: impl IntoIterator<Item = (&'static str, Vec<Value>)>,
    ) -> anyhow::Result<Self> {
        let kinds = kinds.into_iter().map(|(path, objects)| (path.to_owned(), objects));
        Self::follow(Script { kinds: Some(kinds.collect()), ..Script::default() })
    }

    fn follow(script: Script) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
        let address = listener.local_addr()?;
        let stand_in = Self { address, script: Arc::new(Mutex::new(script)), stop: Arc::default() };
        let (script, stop) = (stand_in.script.clone(), stand_in.stop.clone());
        thread::spawn(move || {
            for connection in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(connection) = connection else { continue };
                let (script, stop) = (script.clone(), stop.clone());
                // A client that leaves is no concern of the others.
                thread::spawn(move || drop(serve(&connection, &script, &stop)));
            }
        });
        Ok(stand_in)
    }

    /// Knows the kind of this path no longer, and ends all watches.
    pub fn remove(&self, path: &str) {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kinds) = &mut script.kinds {
            kinds.remove(path);
        }
        script.removals += 1;
    }

    /// The lines of the requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).requests.clone()
    }

    /// Writes a kubeconfig for it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig(&self, dir: &Path) -> anyhow::Result<PathBuf> {
        let path = dir.join("kubeconfig.json");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        });
        std::fs::write(&path, config.to_string()).context("write the kubeconfig")?;
        Ok(path)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

fn serve(connection: &TcpStream, script: &Mutex<Script>, stop: &AtomicBool) -> io::Result<()> {
    let mut lines = BufReader::new(connection);
    let mut out = connection;
    loop {
        let mut request = String::new();
        if lines.read_line(&mut request)? == 0 {
            return Ok(());
        }
        loop {
            let mut header = String::new();
            lines.read_line(&mut header)?;
            if header.trim().is_empty() {
                break;
            }
        }
        match next(script, request.trim()) {
            Reply::List(items) => {
                let list = json!({
                    "apiVersion": "v1", "kind": "List",
                    "metadata": {"resourceVersion": "100"}, "items": items,
                });
                answer(out, 200, &list.to_string())?;
            }
            Reply::Refuse(code, message) => {
                let status = json!({
                    "apiVersion": "v1", "kind": "Status", "status": "Failure", "metadata": {},
                    "message": message, "reason": "InternalError", "code": code,
                });
                answer(out, code, &status.to_string())?;
            }
            Reply::Watch(events) => {
                stream(out, &events)?;
                let removals = || script.lock().unwrap_or_else(PoisonError::into_inner).removals;
                let before = removals();
                while !stop.load(Ordering::Relaxed) && removals() == before {
                    thread::sleep(Duration::from_millis(20));
                }
                return Ok(());
            }
            Reply::CutWatch(events) => {
                stream(out, &events)?;
                return out.write_all(b"40\r\n{\"type\":\"ADDED\",\"obj");
            }
            Reply::Garbage => {
                stream(out, &[])?;
                return out.write_all(b"6\r\n<html>\r\n1\r\n\n\r\n0\r\n\r\n");
            }
            Reply::HangUp => return Ok(()),
        }
    }
}

fn next(script: &Mutex<Script>, request: &str) -> Reply {
    let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
    script.requests.push(request.to_owned());
    if let Some(kinds) = &script.kinds {
        let path = request.split([' ', '?']).nth(1).unwrap_or_default();
        return match kinds.get(path) {
            None => Reply::Refuse(404, "the server could not find the requested resource"),
            Some(_) if request.contains("watch=true") => Reply::Watch(Vec::new()),
            Some(objects) => Reply::List(objects.clone()),
        };
    }
    let replies =
        if request.contains("watch=true") { &mut script.watches } else { &mut script.lists };
    let last = replies.len() <= 1;
    let next = if last { replies.front().cloned() } else { replies.pop_front() };
    next.unwrap_or(Reply::Refuse(500, "the script has no answer"))
}

fn answer(mut out: &TcpStream, code: u16, body: &str) -> io::Result<()> {
    write!(
        out,
        "HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn stream(mut out: &TcpStream, events: &[Value]) -> io::Result<()> {
    out.write_all(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
    )?;
    for event in events {
        let line = format!("{event}\n");
        write!(out, "{:x}\r\n{line}\r\n", line.len())?;
    }
    out.flush()
}
