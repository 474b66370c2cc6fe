//! An HTTP server that accepts whatever is posted to it and keeps it: the far end of a webhook or
//! of an exporter.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;

/// What was posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Path of the request.
    pub path: String,
    /// Header fields as they came, line by line.
    pub head: String,
    /// Body.
    pub body: Vec<u8>,
}

#[derive(Debug)]
struct Shared {
    posts: Mutex<Vec<Post>>,
    status: AtomicU16,
    is_over: AtomicBool,
}

/// The server. Its thread ends when this is dropped.
#[derive(Debug)]
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is none.
    pub fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind a receiver")?;
        let address = listener.local_addr().context("read the receiver's address")?;
        let shared = Arc::new(Shared {
            posts: Mutex::default(),
            status: AtomicU16::new(200),
            is_over: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        thread::Builder::new()
            .name("receiver".into())
            .spawn(move || {
                for stream in listener.incoming() {
                    if serving.is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let result = stream.context("accept").and_then(|s| answer(&s, &serving));
                    if let Err(error) = result {
                        eprintln!("receiver: {error:#}");
                    }
                }
            })
            .context("start the receiver")?;
        Ok(Self { address, shared })
    }

    /// Answers with this status from now on; what is answered with another one than 200 is kept
    /// as well.
    pub fn answer_with(&self, status: u16) {
        self.shared.status.store(status, Ordering::Relaxed);
    }

    /// What was posted so far, in order.
    #[must_use]
    pub fn posts(&self) -> Vec<Post> {
        self.shared.posts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes the thread up.
        drop(TcpStream::connect(self.address));
    }
}

/// Reads one request with a `Content-Length` and answers it.
fn answer(stream: &TcpStream, shared: &Shared) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        anyhow::ensure!(reader.read_line(&mut head)? > 0, "a request ended within its header");
    }
    let path = head.split(' ').nth(1).context("a request without path")?.to_owned();
    let length = head.lines().filter_map(|line| line.split_once(':'));
    let mut length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.find_map(|(_, value)| value.trim().parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).context("read a body")?;
    let post = Post { path, head, body };
    // Who sees the post may have the next one answered otherwise.
    let status = shared.status.load(Ordering::Relaxed);
    shared.posts.lock().unwrap_or_else(PoisonError::into_inner).push(post);
    write!(&*stream, "HTTP/1.1 {status} Answer\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .context("answer a request")
}
