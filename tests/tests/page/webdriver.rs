//! A Chromium without a window, driven over the W3C WebDriver protocol by chromedriver.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
};

use anyhow::Context as _;
use hopsight_tests::{http, loopback::free_socket, process::Daemon};
use serde_json::{Value, json};

const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
];

/// A browser with one open page.
pub struct Browser {
    driver: SocketAddr,
    session: String,
    _daemon: Daemon,
}

impl Browser {
    /// Starts chromedriver and a browser with its profile in `dir`.
    pub fn start(dir: &Path, width: u32, height: u32) -> anyhow::Result<Self> {
        let driver = free_socket()?;
        let port = format!("--port={}", driver.port());
        let mut daemon = Daemon::spawn("chromedriver", [port], &dir.join("chromedriver.log"))?;
        daemon.wait_listening(driver)?;
        let profile = format!("--user-data-dir={}", dir.join("profile").display());
        let size = format!("--window-size={width},{height}");
        let args: Vec<_> = FLAGS.into_iter().chain([profile.as_str(), size.as_str()]).collect();
        let wanted = json!({ "alwaysMatch": {
            "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
        }});
        let made = request(driver, "POST", "/session", &json!({ "capabilities": wanted }))?;
        let session = made["sessionId"].as_str().context("no session id")?.to_owned();
        Ok(Self { driver, session, _daemon: daemon })
    }

    fn command(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        request(self.driver, "POST", &format!("/session/{}{path}", self.session), body)
    }

    /// Loads a page.
    pub fn open(&self, url: &str) -> anyhow::Result<()> {
        self.command("/url", &json!({ "url": url })).map(drop)
    }

    /// Runs JavaScript in the page: the body of a function, whose value is returned.
    pub fn run(&self, script: &str) -> anyhow::Result<Value> {
        self.command("/execute/sync", &json!({ "script": script, "args": [] }))
            .with_context(|| format!("run {script:?} in the page"))
    }

    /// Presses a key, given as WebDriver's code point or the character itself.
    pub fn press(&self, key: char) -> anyhow::Result<()> {
        let strokes =
            json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        let actions = json!({ "actions": [{ "type": "key", "id": "keys", "actions": strokes }] });
        self.command("/actions", &actions).map(drop)
    }

    /// Gives the window another size: `width` and `height` in pixels.
    pub fn resize(&self, size: &Value) -> anyhow::Result<()> {
        self.command("/window/rect", size).map(drop)
    }

    /// What the page should believe about the user's wishes, such as a dark colour scheme.
    pub fn prefer(&self, feature: &str, value: &str) -> anyhow::Result<()> {
        let features = json!({ "features": [{ "name": feature, "value": value }] });
        let params = json!({ "cmd": "Emulation.setEmulatedMedia", "params": features });
        self.command("/goog/cdp/execute", &params).map(drop)
    }

    /// Errors and warnings of the page since the last call.
    pub fn complaints(&self) -> anyhow::Result<Vec<String>> {
        let log = self.command("/se/log", &json!({ "type": "browser" }))?;
        let entries = log.as_array().context("no log")?;
        Ok(entries.iter().map(|entry| entry["message"].to_string()).collect())
    }

    /// The page as it is printed: a PDF.
    pub fn print(&self) -> anyhow::Result<Vec<u8>> {
        let printed = self.command("/print", &json!({ "background": true }))?;
        Ok(decode_base64(printed.as_str().context("no document")?))
    }

    /// Writes a picture of the window to `path`.
    pub fn screenshot(&self, path: &Path) -> anyhow::Result<()> {
        let target = format!("/session/{}/screenshot", self.session);
        let picture = request(self.driver, "GET", &target, &Value::Null)?;
        let png = decode_base64(picture.as_str().context("no picture")?);
        std::fs::write(path, png).with_context(|| format!("write {}", path.display()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let target = format!("/session/{}", self.session);
        if let Err(error) = request(self.driver, "DELETE", &target, &Value::Null) {
            eprintln!("close the browser: {error:#}");
        }
    }
}

fn request(driver: SocketAddr, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
    let mut stream = http::connect(driver)?;
    stream.set_read_timeout(Some(std::time::Duration::from_mins(1)))?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {driver}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .context("ask chromedriver")?;
    let body = read_body(BufReader::new(stream)).context("read chromedriver's answer")?;
    let mut answer: Value =
        serde_json::from_slice(&body).context("chromedriver answered no JSON")?;
    let value = answer["value"].take();
    if let Some(error) = value.get("error").filter(|error| error.is_string()) {
        anyhow::bail!("chromedriver: {error}: {}", value["message"]);
    }
    Ok(value)
}

/// The body of an HTTP answer. Its length counts: chromedriver does not close the connection.
fn read_body(mut answer: BufReader<TcpStream>) -> anyhow::Result<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        anyhow::ensure!(answer.read_line(&mut line)? > 0, "it ended within its header");
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().context("read its length")?;
            }
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    Ok(body)
}

/// RFC 4648 section 4; characters outside the alphabet (the padding) are left out.
fn decode_base64(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter_map(|byte| alphabet.iter().position(|&a| a == byte));
    let (mut bits, mut count, mut out) = (0, 0, Vec::with_capacity(text.len() / 4 * 3));
    for digit in digits {
        bits = (bits << 6 | digit) & 0xfff;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).unwrap_or_default());
        }
    }
    out
}
