//! A stand-in for a proxy's admin interface, for what no real one does: it hangs, drips, never ends, or
//! says something else than the truth.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;

/// How it answers.
#[derive(Clone, Debug, Default)]
pub enum Manner {
    /// It accepts, and says nothing.
    #[default]
    Silent,
    /// It says a byte of its answer after each such time.
    Drips(Duration),
    /// It says so many bytes of JSON, if somebody reads them.
    Floods(u64),
    /// It answers with this.
    Says(String),
}

/// The running stand-in; dropping it ends it.
#[derive(Debug)]
pub struct AdminStandIn {
    /// Where it listens.
    pub address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    asked: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl AdminStandIn {
    /// Starts it.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen")?;
        let stand_in = Self {
            address: listener.local_addr()?,
            manner: Arc::default(),
            asked: Arc::default(),
            stop: Arc::default(),
        };
        let (manner, asked, stop) =
            (stand_in.manner.clone(), stand_in.asked.clone(), stand_in.stop.clone());
        thread::spawn(move || {
            for connection in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(connection) = connection else { continue };
                let manner = manner.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let (asked, stop) = (asked.clone(), stop.clone());
                // Whoever asks may leave.
                thread::spawn(move || drop(answer(&connection, &manner, &asked, &stop)));
            }
        });
        Ok(stand_in)
    }

    /// Answers like this from the next question on, which is counted from 0 again.
    pub fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
        self.asked.store(0, Ordering::Relaxed);
    }

    /// How often it was asked since it behaves like this.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for AdminStandIn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

fn answer(
    mut connection: &TcpStream,
    manner: &Manner,
    asked: &AtomicU64,
    stop: &AtomicBool,
) -> io::Result<()> {
    let mut question = [0; 4096];
    if connection.read(&mut question)? == 0 {
        return Ok(());
    }
    asked.fetch_add(1, Ordering::Relaxed);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
    match manner {
        Manner::Silent => wait_gone(connection, stop),
        Manner::Drips(pause) => {
            connection.set_read_timeout(Some(*pause))?;
            for byte in head.bytes().chain(std::iter::repeat(b' ')) {
                connection.write_all(&[byte])?;
                if is_gone(connection) || stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
            Ok(())
        }
        Manner::Floods(bytes) => {
            connection.write_all(head.as_bytes())?;
            let piece = b"{\"configs\":[]},".repeat(4096);
            let mut left = *bytes;
            while left > 0 && !stop.load(Ordering::Relaxed) {
                connection.write_all(&piece)?;
                left = left.saturating_sub(piece.len() as u64);
            }
            Ok(())
        }
        Manner::Says(body) => {
            connection.write_all(head.as_bytes())?;
            connection.write_all(body.as_bytes())
        }
    }
}

/// Whether the other side has left, as far as the time of one reading shows.
fn is_gone(mut connection: &TcpStream) -> bool {
    match connection.read(&mut [0; 64]) {
        Ok(length) => length == 0,
        Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
    }
}

fn wait_gone(connection: &TcpStream, stop: &AtomicBool) -> io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_millis(100)))?;
    while !stop.load(Ordering::Relaxed) && !is_gone(connection) {}
    Ok(())
}
